//! What comes before a protocol on a connection: read from the socket to its last byte and no further,
//! so that whoever speaks next, TLS or HTTP, finds the socket as if nothing had been there.

use std::io;

use tokio::{io::AsyncReadExt, net::TcpStream};

/// Bytes looked at in one go; most preambles fit.
const PEEK_BYTES: usize = 512;

/// Why there is no preamble.
#[derive(Debug)]
pub enum PreambleError<E> {
    /// The peer closed before it was complete.
    Closed,
    Io(io::Error),
    /// The parser's finding.
    Malformed(E),
}

/// Reads a preamble that `parse` understands: given all of it so far, it tells the value and its
/// length in bytes, or `None` while more is needed. Its errors bound what is kept: it must refuse
/// what is too long. Has no deadline of its own.
///
/// # Errors
/// [`PreambleError`].
pub async fn read_preamble<T, E>(
    stream: &mut TcpStream,
    parse: impl Fn(&[u8]) -> Result<Option<(T, usize)>, E>,
) -> Result<T, PreambleError<E>> {
    let mut peeked = [0; PEEK_BYTES];
    let mut known = Vec::new();
    loop {
        let before = known.len();
        let arrived = stream.peek(&mut peeked).await.map_err(PreambleError::Io)?;
        if arrived == 0 {
            return Err(PreambleError::Closed);
        }
        known.extend_from_slice(&peeked[..arrived]);
        let found = parse(&known).map_err(PreambleError::Malformed)?;
        // While the preamble goes on, everything that has arrived belongs to it.
        let (value, end) = found.map_or((None, known.len()), |(value, length)| (Some(value), length));
        stream.read_exact(&mut peeked[..end - before]).await.map_err(PreambleError::Io)?;
        if let Some(value) = value {
            return Ok(value);
        }
    }
}
