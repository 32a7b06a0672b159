//! HTTP/2 by hand, frame by frame: it keeps no rule but the ones its caller keeps, so it can break each one alone. A client, and
//! what a server needs ([`crate::http2_server`]). It shares no code with the gateway.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use crate::PATIENCE;
use crate::hpack::Decoder;
use crate::wire::invalid;

pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Frame types (RFC 9113 section 6).
pub mod kind {
    pub const DATA: u8 = 0;
    pub const HEADERS: u8 = 1;
    pub const PRIORITY: u8 = 2;
    pub const RST_STREAM: u8 = 3;
    pub const SETTINGS: u8 = 4;
    pub const PUSH_PROMISE: u8 = 5;
    pub const PING: u8 = 6;
    pub const GOAWAY: u8 = 7;
    pub const WINDOW_UPDATE: u8 = 8;
    pub const CONTINUATION: u8 = 9;
}

/// Flags; which of them a frame knows depends on its type.
pub mod flag {
    pub const NONE: u8 = 0;
    pub const ACK: u8 = 1;
    pub const END_STREAM: u8 = 1;
    pub const END_HEADERS: u8 = 4;
    pub const PADDED: u8 = 8;
    pub const PRIORITY: u8 = 0x20;
    /// A request that is complete with its head.
    pub const WHOLE: u8 = END_STREAM | END_HEADERS;
}

/// Error codes (RFC 9113 section 7).
pub mod code {
    pub const NO_ERROR: u32 = 0;
    pub const PROTOCOL_ERROR: u32 = 1;
    pub const INTERNAL_ERROR: u32 = 2;
    pub const FLOW_CONTROL_ERROR: u32 = 3;
    pub const STREAM_CLOSED: u32 = 5;
    pub const FRAME_SIZE_ERROR: u32 = 6;
    pub const REFUSED_STREAM: u32 = 7;
    pub const CANCEL: u32 = 8;
    pub const COMPRESSION_ERROR: u32 = 9;
    pub const ENHANCE_YOUR_CALM: u32 = 11;
}

/// A frame with any content. The length is that of the payload.
#[must_use]
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a payload of a frame").to_be_bytes();
    let mut bytes = vec![length[1], length[2], length[3], kind, flags];
    bytes.extend_from_slice(&stream.to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

/// SETTINGS with these parameters.
#[must_use]
pub fn settings(parameters: &[(u16, u32)]) -> Vec<u8> {
    let payload = parameters.iter().flat_map(|(id, value)| {
        let id = id.to_be_bytes();
        id.into_iter().chain(value.to_be_bytes())
    });
    frame(kind::SETTINGS, flag::NONE, 0, &payload.collect::<Vec<u8>>())
}

#[must_use]
pub fn window_update(stream: u32, increment: u32) -> Vec<u8> {
    frame(kind::WINDOW_UPDATE, flag::NONE, stream, &increment.to_be_bytes())
}

#[must_use]
pub fn reset(stream: u32, code: u32) -> Vec<u8> {
    frame(kind::RST_STREAM, flag::NONE, stream, &code.to_be_bytes())
}

#[must_use]
pub fn data(stream: u32, flags: u8, payload: &[u8]) -> Vec<u8> {
    frame(kind::DATA, flags, stream, payload)
}

/// A header block of these fields, each a literal without indexing (RFC 7541 section 6.2.2): any bytes are possible.
#[must_use]
pub fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, value) in fields {
        bytes.push(0);
        for text in [name, value] {
            // Texts are bytes written as Latin-1.
            let text: Vec<u8> = text.chars().map(|c| u8::try_from(u32::from(c)).expect("Latin-1")).collect();
            push_length(&mut bytes, text.len());
            bytes.extend_from_slice(&text);
        }
    }
    bytes
}

/// A length with a prefix of seven bits, no Huffman code (RFC 7541 sections 5.1 and 5.2).
fn push_length(bytes: &mut Vec<u8>, length: usize) {
    if length < 0x7f {
        return bytes.push(u8::try_from(length).expect("less than 127"));
    }
    bytes.push(0x7f);
    let mut rest = length - 0x7f;
    while rest >= 0x80 {
        bytes.push(u8::try_from(rest % 0x80).expect("seven bits") | 0x80);
        rest /= 0x80;
    }
    bytes.push(u8::try_from(rest).expect("seven bits"));
}

/// The header block of a request, more fields behind the four pseudo fields.
#[must_use]
pub fn request(method: &str, path: &str, more: &[(&str, &str)]) -> Vec<u8> {
    let pseudo = [(":method", method), (":scheme", "http"), (":path", path), (":authority", "gateway.test")];
    block(&[&pseudo, more].concat())
}

/// HEADERS of a request that has no body.
#[must_use]
pub fn get(stream: u32, path: &str) -> Vec<u8> {
    frame(kind::HEADERS, flag::WHOLE, stream, &request("GET", path, &[]))
}

/// HEADERS of a request whose body is to follow.
#[must_use]
pub fn post(stream: u32, path: &str, more: &[(&str, &str)]) -> Vec<u8> {
    frame(kind::HEADERS, flag::END_HEADERS, stream, &request("POST", path, more))
}

/// A frame as it was received.
#[derive(Debug, Clone)]
pub struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

impl Frame {
    #[must_use]
    pub fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// Four bytes of the payload, as a number.
    ///
    /// # Panics
    /// When the payload is shorter: the gateway has sent a malformed frame.
    #[must_use]
    pub fn number(&self, at: usize) -> u32 {
        u32::from_be_bytes(self.payload[at..at + 4].try_into().expect("four bytes"))
    }
}

/// What becomes of a connection, or of the stream that a test looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// GOAWAY with this code, and the connection is closed.
    GoAway(u32),
    /// RST_STREAM with this code; the connection goes on.
    Reset(u32),
    /// The stream is answered with this final status.
    Status(u16),
    /// The connection is closed without a word.
    Closed,
    /// The connection goes on as if nothing had happened.
    Alive,
}

const SENTINEL: &[u8; 8] = b"sentinel";

/// A connection that speaks HTTP/2.
#[derive(Debug)]
pub struct Http2 {
    socket: TcpStream,
    decoder: Decoder,
    /// The stream that [`Http2::outcome`] looks at.
    pub watched: u32,
}

impl Http2 {
    /// Connects, and sends the preface with empty SETTINGS.
    ///
    /// # Panics
    /// When nobody listens.
    #[must_use]
    pub fn connect(address: SocketAddr) -> Self {
        let mut client = Self::connect_silently(address);
        client.send(&[PREFACE, &settings(&[])].concat());
        client
    }

    /// Connects and sends nothing.
    ///
    /// # Panics
    /// When nobody listens.
    #[must_use]
    pub fn connect_silently(address: SocketAddr) -> Self {
        let socket = TcpStream::connect_timeout(&address, PATIENCE);
        let socket = socket.unwrap_or_else(|error| panic!("cannot connect to {address}: {error}"));
        socket.set_read_timeout(Some(PATIENCE)).expect("a timeout above zero");
        socket.set_write_timeout(Some(PATIENCE)).expect("a timeout above zero");
        socket.set_nodelay(true).expect("a connected socket");
        Self { socket, decoder: Decoder::default(), watched: 1 }
    }

    /// The other side: a connection that was accepted, its preface read. No SETTINGS are sent.
    ///
    /// # Errors
    /// A peer that begins with anything but the preface.
    pub fn accepted(mut socket: TcpStream) -> io::Result<Self> {
        socket.set_read_timeout(Some(PATIENCE * 4))?;
        socket.set_write_timeout(Some(PATIENCE))?;
        socket.set_nodelay(true)?;
        let mut preface = [0; PREFACE.len()];
        socket.read_exact(&mut preface)?;
        if preface != PREFACE {
            return Err(invalid("not the preface of HTTP/2"));
        }
        Ok(Self { socket, decoder: Decoder::default(), watched: 1 })
    }

    /// Leaves with a reset.
    ///
    /// # Panics
    /// Never on a connected socket.
    pub fn reset(self) {
        socket2::SockRef::from(&self.socket).set_linger(Some(Duration::ZERO)).expect("a connected socket");
    }

    #[must_use]
    pub fn socket(&self) -> &TcpStream {
        &self.socket
    }

    /// Writes bytes. Errors are left for the reading side to find: a server that refuses may close first.
    pub fn send(&mut self, bytes: &[u8]) {
        let _ = self.socket.write_all(bytes);
    }

    /// As [`Http2::send`]; whether they were written.
    pub fn try_send(&mut self, bytes: &[u8]) -> bool {
        self.socket.write_all(bytes).is_ok()
    }

    /// A second handle of the same connection, to write with while this one reads.
    ///
    /// # Panics
    /// When there are no more descriptors.
    #[must_use]
    pub fn twin(&self) -> Self {
        let socket = self.socket.try_clone().expect("a descriptor is left");
        Self { socket, decoder: Decoder::default(), watched: self.watched }
    }

    /// The next frame, `None` when the connection is closed. SETTINGS are acknowledged.
    ///
    /// # Errors
    /// When nothing comes.
    pub fn receive(&mut self) -> io::Result<Option<Frame>> {
        let mut head = [0; 9];
        match self.socket.read_exact(&mut head) {
            Ok(()) => {}
            Err(error) if is_closed(&error) => return Ok(None),
            Err(error) => return Err(error),
        }
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        let mut payload = vec![0; length as usize];
        match self.socket.read_exact(&mut payload) {
            Ok(()) => {}
            Err(error) if is_closed(&error) => return Ok(None),
            Err(error) => return Err(error),
        }
        let frame = Frame { kind: head[3], flags: head[4], stream, payload };
        if frame.kind == kind::SETTINGS && !frame.has(flag::ACK) {
            self.send(&self::frame(kind::SETTINGS, flag::ACK, 0, &[]));
        }
        Ok(Some(frame))
    }

    /// The fields of HEADERS that are complete in one frame, as the gateway sends them.
    ///
    /// # Errors
    /// A header block that cannot be read.
    pub fn fields(&mut self, headers: &Frame) -> io::Result<Vec<(String, String)>> {
        if headers.has(flag::PADDED | flag::PRIORITY) || !headers.has(flag::END_HEADERS) {
            return Err(invalid("HEADERS of a shape that the gateway never sends"));
        }
        self.decoder.block(&headers.payload)
    }

    /// Reads until a frame of this kind arrives on this stream.
    ///
    /// # Errors
    /// When the connection is closed first, or nothing comes.
    pub fn until(&mut self, stream: u32, kind: u8) -> io::Result<Frame> {
        loop {
            let frame = self.receive()?.ok_or_else(|| invalid("closed first"))?;
            if frame.kind == kind::HEADERS && (kind, stream) != (kind::HEADERS, frame.stream) {
                self.fields(&frame)?;
            }
            if (frame.kind, frame.stream) == (kind, stream) {
                return Ok(frame);
            }
        }
    }

    /// Reads until this stream has been answered to its end.
    ///
    /// # Errors
    /// As [`Http2::until`], and a stream that is reset.
    pub fn until_answered(&mut self, stream: u32) -> io::Result<()> {
        loop {
            let frame = self.receive()?.ok_or_else(|| invalid("closed first"))?;
            if frame.kind == kind::HEADERS {
                self.fields(&frame)?;
            }
            if frame.stream != stream {
                continue;
            }
            match frame.kind {
                kind::RST_STREAM => return Err(invalid("reset instead of answered")),
                kind::HEADERS | kind::DATA if frame.has(flag::END_STREAM) => return Ok(()),
                _ => {}
            }
        }
    }

    /// What became of everything sent so far. A PING tells where it ends: if going on is not `among` what is accepted, the
    /// fate of the watched stream is waited for.
    ///
    /// # Errors
    /// When nothing comes, or what cannot be read.
    pub fn outcome(&mut self, among: &[Outcome]) -> io::Result<Outcome> {
        self.send(&frame(kind::PING, flag::NONE, 0, SENTINEL));
        let started = Instant::now();
        let mut patience = PATIENCE;
        while let Some(left) = patience.checked_sub(started.elapsed()).filter(|left| !left.is_zero()) {
            self.socket.set_read_timeout(Some(left))?;
            let frame = match self.receive() {
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                    break;
                }
                frame => frame?,
            };
            let Some(frame) = frame else { return Ok(Outcome::Closed) };
            match frame.kind {
                kind::GOAWAY => return self.gone(&frame),
                kind::RST_STREAM if frame.stream == self.watched => {
                    return Ok(Outcome::Reset(frame.number(0)));
                }
                kind::HEADERS => {
                    let fields = self.fields(&frame)?;
                    let status = fields.iter().find(|(name, _)| name == ":status");
                    let status = status.and_then(|(_, status)| status.parse().ok()).unwrap_or(0);
                    if frame.stream == self.watched && status >= 200 {
                        return Ok(Outcome::Status(status));
                    }
                }
                kind::PING if frame.has(flag::ACK) && frame.payload == SENTINEL => {
                    if among.contains(&Outcome::Alive) {
                        return Ok(Outcome::Alive);
                    }
                    // What concerns a stream may still come, but soon.
                    patience = started.elapsed() + Duration::from_secs(5);
                }
                _ => {}
            }
        }
        Ok(Outcome::Alive)
    }

    /// A connection error ends the connection (RFC 9113 section 5.4.1).
    fn gone(&mut self, goaway: &Frame) -> io::Result<Outcome> {
        self.socket.set_read_timeout(Some(PATIENCE))?;
        while self.receive()?.is_some() {}
        Ok(Outcome::GoAway(goaway.number(4)))
    }
}

fn is_closed(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};
    matches!(error.kind(), UnexpectedEof | ConnectionReset | BrokenPipe)
}
