//! Listening sockets: one for each worker on each address, so that the kernel spreads connections
//! and no thread hands them over (docs/decisions/0002).

use std::{
    io,
    net::{SocketAddr, TcpListener},
};

use socket2::{Domain, Protocol, Socket, Type};

/// Connections that the kernel completes before they are accepted; it cuts this to its own limit.
const BACKLOG: i32 = 4096;

/// Binds `count` sockets to an address. `beside_own`: sockets of this process are bound to the same
/// port already, to all addresses or to one of them, and may be in the way of nobody but others.
///
/// # Errors
/// Of the system: the address is in use by another process, not of this machine, or not allowed.
pub fn bind(address: SocketAddr, count: usize, beside_own: bool) -> io::Result<Vec<TcpListener>> {
    // Sockets that share an address would be shared with another process of the same user, too:
    // find out first whether it is free. Beside sockets of our own that was found out for them, and
    // the kernel lets the new ones in, so that a port changes its address without a gap.
    if !beside_own {
        drop(open(address, false)?);
    }
    (0..count).map(|_| open(address, true)).collect()
}

fn open(address: SocketAddr, shared: bool) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        // `[::]` means IPv6 only, as in the original (docs/decisions/0004).
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    if shared {
        socket.set_reuse_port(true)?;
        // Connections have it from the socket that they are accepted on: one call for all of them.
        socket.set_tcp_nodelay(true)?;
    }
    socket.bind(&address.into())?;
    if shared {
        socket.listen(BACKLOG)?;
    }
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn an_address_in_use_by_somebody_else_is_an_error() {
        let other = TcpListener::bind("127.0.0.1:0").unwrap();
        let error = bind(other.local_addr().unwrap(), 2, false).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    }

    #[test]
    fn connections_do_not_wait_to_fill_a_segment() {
        let sockets = bind("127.0.0.1:0".parse().unwrap(), 1, false).unwrap();
        sockets[0].set_nonblocking(false).unwrap();
        let address = sockets[0].local_addr().unwrap();
        let _client = std::net::TcpStream::connect_timeout(&address, Duration::from_secs(10)).unwrap();
        assert!(sockets[0].accept().unwrap().0.nodelay().unwrap());
    }

    #[test]
    fn a_port_of_our_own_may_change_its_address_but_one_of_somebody_else_is_an_error_all_the_same() {
        let own = bind("127.0.0.1:0".parse().unwrap(), 1, false).unwrap();
        let all = SocketAddr::from(([0, 0, 0, 0], own[0].local_addr().unwrap().port()));
        assert!(bind(all, 2, false).is_err());
        assert_eq!(bind(all, 2, true).unwrap().len(), 2);
        let other = TcpListener::bind("127.0.0.1:0").unwrap();
        let all = SocketAddr::from(([0, 0, 0, 0], other.local_addr().unwrap().port()));
        assert_eq!(bind(all, 1, true).unwrap_err().kind(), io::ErrorKind::AddrInUse);
    }
}
