//! The PROXY protocol, versions 1 and 2: who is behind a load balancer's connection (configuration
//! reference 11, decision 21; "spec" here is HAProxy's `proxy-protocol.txt`).
//!
//! The header comes before TLS and HTTP. Where it is switched on it is required: guessing whether one
//! is there would let anybody claim any address (spec section 2).

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    str::FromStr,
    time::Duration,
};

use tokio::{net::TcpStream, time::timeout};

use crate::{
    http::{PreambleError, read_preamble},
    telemetry::metrics::ConnectionRefusal,
};

/// Longest header of version 1, its CRLF included (spec 2.1).
const V1_BYTES_MAX: usize = 107;
/// Longest header of version 2 that is taken: what HAProxy's own buffer holds by default. Addresses
/// need 52 bytes, the rest are TLVs.
const V2_BYTES_MAX: usize = 16 * 1024;
const V2_SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// Signature, version and command, family and transport, length.
const V2_FIXED_BYTES: usize = 16;
const V1_START: &[u8] = b"PROXY ";

/// What a header says about the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The connection is made on behalf of this client.
    Client(SocketAddr),
    /// The sender speaks for itself (`LOCAL`, such as a health check) or cannot name the client by
    /// an IP address and TCP port (`UNKNOWN`, `UNSPEC`, UNIX, datagrams): the socket's own address counts.
    Connection,
}

/// What cannot be taken for a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoHeader {
    /// The first bytes are something else.
    Missing,
    /// It begins like a header and breaks a rule, here named.
    Malformed(&'static str),
}

use NoHeader::{Malformed, Missing};

/// Reads a header from the first bytes of a connection: what it says, and its length in bytes.
/// `None`: it is not complete.
///
/// # Errors
/// [`NoHeader`], as early as the bytes can tell.
pub fn parse(bytes: &[u8]) -> Result<Option<(Source, usize)>, NoHeader> {
    if begins(bytes, V1_START) {
        return parse_v1(bytes);
    }
    if begins(bytes, V2_SIGNATURE) {
        return parse_v2(bytes);
    }
    Err(Missing)
}

/// Whether the bytes agree with `start` as far as both go.
fn begins(bytes: &[u8], start: &[u8]) -> bool {
    let both = bytes.len().min(start.len());
    bytes[..both] == start[..both]
}

fn parse_v1(bytes: &[u8]) -> Result<Option<(Source, usize)>, NoHeader> {
    let visible = &bytes[..bytes.len().min(V1_BYTES_MAX)];
    let Some(end) = memchr::memchr2(b'\r', b'\n', visible) else {
        let too_long = visible.len() == V1_BYTES_MAX;
        return if too_long { Err(Malformed("no CRLF in the first 107 bytes")) } else { Ok(None) };
    };
    match visible[end..] {
        [b'\r', b'\n', ..] => {}
        [b'\r'] if visible.len() < V1_BYTES_MAX => return Ok(None),
        _ => return Err(Malformed("a line end that is not CRLF")),
    }
    let rest = visible.get(V1_START.len()..end).ok_or(Malformed("no protocol"))?;
    let source = match rest.split(|&b| b == b' ').next() {
        // Whatever follows is to be passed over (spec 2.1).
        Some(b"UNKNOWN") => Source::Connection,
        Some(b"TCP4") => Source::Client(client_v1::<Ipv4Addr>(&rest[4..])?),
        Some(b"TCP6") => Source::Client(client_v1::<Ipv6Addr>(&rest[4..])?),
        _ => return Err(Malformed("unknown protocol")),
    };
    Ok(Some((source, end + 2)))
}

/// ` SOURCE DESTINATION PORT PORT`, each after exactly one space. The destination is checked only:
/// listeners are told apart by the socket's own address.
fn client_v1<Address: FromStr + Into<IpAddr>>(text: &[u8]) -> Result<SocketAddr, NoHeader> {
    let text = str::from_utf8(text).map_err(|_| Malformed("not ASCII"))?;
    let mut words = text.split(' ');
    let five = (words.next(), words.next(), words.next(), words.next(), words.next(), words.next());
    let (Some(""), Some(source), Some(destination), Some(port), Some(destination_port), None) = five else {
        return Err(Malformed("not two addresses and two ports"));
    };
    // The parsers of the standard library refuse leading zeros and blanks as the spec does.
    let address = |word: &str| word.parse::<Address>().map_err(|_| Malformed("address"));
    let (source, _) = (address(source)?, address(destination)?);
    let (port, _) = (port_v1(port)?, port_v1(destination_port)?);
    Ok(address_of(source.into(), port))
}

/// One client has one address, however the proxy listens: an IPv4 address in the clothes of IPv6 is one of IPv4.
fn address_of(address: IpAddr, port: u16) -> SocketAddr {
    SocketAddr::new(address.to_canonical(), port)
}

/// Decimal, no sign, no leading zero.
fn port_v1(word: &str) -> Result<u16, NoHeader> {
    let digits = !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit());
    let canonical = digits && (word == "0" || !word.starts_with('0'));
    canonical.then(|| word.parse().ok()).flatten().ok_or(Malformed("port"))
}

fn parse_v2(bytes: &[u8]) -> Result<Option<(Source, usize)>, NoHeader> {
    // Refused as soon as it is seen, without waiting for the rest.
    let local = match bytes.get(12) {
        Some(0x20) => true,
        Some(0x21) => false,
        Some(byte) if byte >> 4 == 2 => return Err(Malformed("unknown command")),
        Some(_) => return Err(Malformed("unknown version")),
        None => return Ok(None),
    };
    let Some(&[family, high, low]) = bytes.get(13..V2_FIXED_BYTES) else { return Ok(None) };
    let length = V2_FIXED_BYTES + usize::from(u16::from_be_bytes([high, low]));
    if length > V2_BYTES_MAX {
        return Err(Malformed("longer than 16 KiB"));
    }
    let Some(block) = bytes.get(V2_FIXED_BYTES..length) else { return Ok(None) };
    let source = if local { Source::Connection } else { source_v2(family, block)? };
    Ok(Some((source, length)))
}

/// The address block; TLVs behind it are passed over.
fn source_v2(family: u8, block: &[u8]) -> Result<Source, NoHeader> {
    const UNIX_BYTES: usize = 216;
    let (family, transport) = (family >> 4, family & 0x0f);
    if family > 3 {
        return Err(Malformed("unknown address family"));
    }
    if transport > 2 {
        return Err(Malformed("unknown transport"));
    }
    let short = || Malformed("too short for its addresses");
    let client = match family {
        1 => {
            let (addresses, ports) = block.split_first_chunk::<8>().ok_or_else(short)?;
            let [a, b, c, d, ..] = *addresses;
            Some((IpAddr::from([a, b, c, d]), ports))
        }
        2 => {
            let (source, rest) = block.split_first_chunk::<16>().ok_or_else(short)?;
            Some((IpAddr::from(*source), rest.get(16..).ok_or_else(short)?))
        }
        3 if block.len() < UNIX_BYTES => return Err(short()),
        _ => None,
    };
    let Some((address, ports)) = client else { return Ok(Source::Connection) };
    let &[high, low, _, _, ..] = ports else { return Err(short()) };
    // Only a stream can be what comes on this connection (spec 2.2: others fall back to UNSPEC).
    Ok(match transport {
        1 => Source::Client(address_of(address, u16::from_be_bytes([high, low]))),
        _ => Source::Connection,
    })
}

/// Reads the header of a connection from `remote` and gives the client's address; the bytes behind
/// the header stay in the socket.
///
/// # Errors
/// Why the connection must be closed.
pub async fn receive(
    stream: &mut TcpStream,
    remote: SocketAddr,
    deadline: Duration,
) -> Result<SocketAddr, ConnectionRefusal> {
    let outcome = timeout(deadline, read_preamble(stream, parse)).await;
    let (refusal, why) = match outcome {
        Ok(Ok(Source::Client(client))) => return Ok(client),
        Ok(Ok(Source::Connection)) => return Ok(remote),
        Ok(Err(PreambleError::Malformed(Malformed(why)))) => (ConnectionRefusal::ProxyHeaderMalformed, why),
        Ok(Err(PreambleError::Malformed(Missing))) => {
            (ConnectionRefusal::ProxyHeaderMissing, "it begins with something else")
        }
        Ok(Err(PreambleError::Closed | PreambleError::Io(_))) => {
            (ConnectionRefusal::ProxyHeaderMissing, "the connection ended first")
        }
        Err(_) => (ConnectionRefusal::ProxyHeaderTimeout, "it took too long"),
    };
    tracing::debug!(%remote, why, "closed: no PROXY header");
    Err(refusal)
}

#[cfg(test)]
mod tests;
