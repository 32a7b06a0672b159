//! What a client says first. It is collected before anything else is done for it: which context serves it is decided
//! when its ClientHello is complete, and until then it costs neither cryptography nor a place among the handshakes.

use std::io;

use tokio::{io::AsyncReadExt, net::TcpStream};

/// A ClientHello with a hybrid key share has some 1,800 bytes.
const FIRST_BYTES: usize = 2048;
/// The longest handshake message that rustls takes.
const MESSAGE_BYTES_MAX: usize = 0xffff;
/// What is longer is left to the handshake, with a place that it may lose.
const HELLO_BYTES_MAX: usize = 32 * 1024;
/// RFC 8446 section 5.1.
const RECORD_BYTES_MAX: usize = 16 * 1024;

const HANDSHAKE: u8 = 22;
const MAJOR_VERSION: u8 = 3;
const CLIENT_HELLO: u8 = 1;
const RECORD_HEAD_BYTES: usize = 5;
const MESSAGE_HEAD_BYTES: usize = 4;

/// Follows a ClientHello over the records that it lies in (RFC 8446 sections 4 and 5.1).
#[derive(Default)]
pub struct Progress {
    /// Bytes of the records that are complete.
    passed: usize,
    message_head: [u8; MESSAGE_HEAD_BYTES],
    /// Bytes of the message in them.
    seen: usize,
    decided: bool,
}

impl Progress {
    /// Whether the ClientHello is complete in all that was received so far, or can never be: then it is up to the
    /// handshake, which knows the right alert.
    pub fn is_decided(&mut self, received: &[u8]) -> bool {
        // What follows a ClientHello is none of ours.
        self.decided = self.decided || self.decides(received);
        self.decided
    }

    fn decides(&mut self, received: &[u8]) -> bool {
        loop {
            let rest = &received[self.passed..];
            let strange = rest.first().is_some_and(|kind| *kind != HANDSHAKE)
                || rest.get(1).is_some_and(|major| *major != MAJOR_VERSION);
            if strange || received.len() >= HELLO_BYTES_MAX {
                return true;
            }
            let Some((head, rest)) = rest.split_at_checked(RECORD_HEAD_BYTES) else { return false };
            let length = usize::from(u16::from_be_bytes([head[3], head[4]]));
            if length == 0 || length > RECORD_BYTES_MAX {
                return true;
            }
            let Some(fragment) = rest.get(..length) else { return false };
            let known = self.seen.min(MESSAGE_HEAD_BYTES);
            for (into, byte) in self.message_head[known..].iter_mut().zip(fragment) {
                *into = *byte;
            }
            self.passed += RECORD_HEAD_BYTES + length;
            self.seen += length;
            if self.seen >= MESSAGE_HEAD_BYTES {
                let [kind, high, middle, low] = self.message_head;
                let wanted = u32::from_be_bytes([0, high, middle, low]) as usize;
                let complete = self.seen >= MESSAGE_HEAD_BYTES + wanted;
                if complete || kind != CLIENT_HELLO || wanted > MESSAGE_BYTES_MAX {
                    return true;
                }
            }
        }
    }
}

/// Collects what a client says first.
///
/// # Errors
/// Of the socket; `UnexpectedEof` when the client closes before.
pub async fn collect(mut socket: TcpStream) -> io::Result<Greeted> {
    let mut received = Vec::with_capacity(FIRST_BYTES);
    let mut progress = Progress::default();
    while !progress.is_decided(&received) {
        if socket.read_buf(&mut received).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(Greeted { received, socket })
}

/// A connection of which the beginning has been received already.
pub struct Greeted {
    pub socket: TcpStream,
    pub received: Vec<u8>,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A message of this kind and length in records of these sizes, the last one repeated.
    fn records(kind: u8, length: usize, sizes: &[usize]) -> Vec<u8> {
        let mut message = vec![kind];
        message.extend_from_slice(&(length as u32).to_be_bytes()[1..]);
        message.resize(MESSAGE_HEAD_BYTES + length, 7);
        let mut bytes = Vec::new();
        let mut rest = message.as_slice();
        let mut sizes = sizes.iter().copied();
        let mut size = 1;
        while !rest.is_empty() {
            size = sizes.next().unwrap_or(size).min(rest.len());
            let (fragment, after) = rest.split_at(size);
            bytes.extend_from_slice(&[HANDSHAKE, MAJOR_VERSION, 1]);
            bytes.extend_from_slice(&(fragment.len() as u16).to_be_bytes());
            bytes.extend_from_slice(fragment);
            rest = after;
        }
        bytes
    }

    #[test]
    fn a_client_hello_is_complete_with_its_last_byte_however_it_is_cut() {
        for sizes in [&[600][..], &[1], &[3, 1, 100], &[2, 2, 300]] {
            let bytes = records(CLIENT_HELLO, 500, sizes);
            let mut progress = Progress::default();
            for end in 0..bytes.len() {
                assert!(!progress.is_decided(&bytes[..end]), "{sizes:?}: {end} of {}", bytes.len());
            }
            assert!(progress.is_decided(&bytes), "{sizes:?}");
            assert!(Progress::default().is_decided(&bytes), "{sizes:?}, all at once");
        }
    }

    #[test]
    fn what_is_no_client_hello_is_left_to_the_handshake_at_once() {
        let decided = |bytes: &[u8]| Progress::default().is_decided(bytes);
        assert!(decided(b"GET / HTTP/1.1\r\n"));
        assert!(decided(&[HANDSHAKE, 2]));
        assert!(decided(&[HANDSHAKE, MAJOR_VERSION, 1, 0, 0]), "an empty record");
        assert!(decided(&[HANDSHAKE, MAJOR_VERSION, 1, 0x40, 1]), "a record that is too long");
        assert!(decided(&records(2, 10, &[4])[..9]), "a ServerHello");
        assert!(decided(&records(CLIENT_HELLO, MESSAGE_BYTES_MAX + 1, &[4])[..9]), "too long");
        assert!(!decided(&records(CLIENT_HELLO, MESSAGE_BYTES_MAX, &[4])[..9]));
        assert!(!decided(&[]));
    }

    #[test]
    fn no_more_is_collected_than_a_long_hello_needs() {
        let bytes = records(CLIENT_HELLO, MESSAGE_BYTES_MAX, &[100]);
        let mut progress = Progress::default();
        assert!(!progress.is_decided(&bytes[..HELLO_BYTES_MAX - 1]));
        assert!(progress.is_decided(&bytes[..HELLO_BYTES_MAX]));
    }
}
