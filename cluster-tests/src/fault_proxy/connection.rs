//! One connection through the proxy: two sockets, and for each way a thread that reads and one that writes.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::Faults;
use super::pipe::{End, Next, Pipe};

/// How often a thread that cannot write looks whether the connection was broken off.
const LOOK: Duration = Duration::from_millis(20);

/// Its sockets close when the last thread lets go of it.
pub(super) struct Connection {
    client: TcpStream,
    server: TcpStream,
    /// To the server, to the client.
    pipes: [Pipe; 2],
}

impl Connection {
    pub(super) fn new(client: TcpStream, server: TcpStream, faults: [Faults; 2]) -> io::Result<Self> {
        for socket in [&client, &server] {
            socket.set_nodelay(true)?;
            socket.set_write_timeout(Some(LOOK))?;
        }
        Ok(Self { client, server, pipes: faults.map(Pipe::new) })
    }

    pub(super) fn pipe(&self, index: usize) -> &Pipe {
        &self.pipes[index]
    }

    /// Both sides see a reset, as soon as the threads have let go.
    pub(super) fn reset(&self) {
        for socket in [&self.client, &self.server] {
            // The peer may have closed it.
            let _ = socket2::SockRef::from(socket).set_linger(Some(Duration::ZERO));
        }
        self.pipes.iter().for_each(Pipe::break_off);
        for socket in [&self.client, &self.server] {
            // Wakes the reader and sends nothing.
            let _ = socket.shutdown(Shutdown::Read);
        }
    }

    /// Passes on what comes, until both ways have ended or the connection was broken off.
    pub(super) fn run(&self, bytes: &[Arc<AtomicU64>; 2]) {
        let ways = [(&self.client, &self.server), (&self.server, &self.client)];
        std::thread::scope(|scope| {
            for ((from, to), (pipe, count)) in ways.into_iter().zip(self.pipes.iter().zip(bytes)) {
                scope.spawn(move || read(from, pipe));
                scope.spawn(move || {
                    if !write(to, pipe, count) {
                        self.reset();
                    }
                });
            }
        });
    }
}

fn read(mut from: &TcpStream, pipe: &Pipe) {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let next = match from.read(&mut buffer) {
            Ok(0) => Next::End(End::Closed),
            Ok(count) => Next::Bytes(buffer[..count].to_vec()),
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(_) => Next::End(End::Reset),
        };
        let ended = matches!(next, Next::End(_));
        if !pipe.put(next) || ended {
            return;
        }
    }
}

/// True when this way ended in order; false when the whole connection has to end with a reset.
fn write(to: &TcpStream, pipe: &Pipe, count: &AtomicU64) -> bool {
    while let Some(next) = pipe.take() {
        match next {
            Next::Bytes(bytes) => {
                if write_all(to, pipe, &bytes).is_err() {
                    return false;
                }
                count.fetch_add(bytes.len() as u64, Ordering::Relaxed);
            }
            Next::End(End::Reset) => return false,
            Next::End(End::Closed) => {
                // The peer may be gone, too.
                let _ = to.shutdown(Shutdown::Write);
                return true;
            }
        }
    }
    false
}

fn write_all(mut to: &TcpStream, pipe: &Pipe, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        if pipe.broken() {
            return Err(ErrorKind::ConnectionAborted.into());
        }
        match to.write(bytes) {
            Ok(count) => bytes = &bytes[count..],
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted
                ) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
