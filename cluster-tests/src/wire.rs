//! A buffered socket and a strict, slow HTTP/1.1 parser: the oracle the gateway is judged by.
//!
//! Nothing is forgiven: bare LF or CR, folded lines, space before a colon, two framings, a chunk extension are all errors,
//! because the gateway must never emit them, whatever it was sent.

use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// No head of ours is longer; a longer one is a bug on the other side.
const HEAD_BYTES_MAX: usize = 256 * 1024;

/// An `InvalidData` error with a sentence.
pub fn invalid(why: impl Into<String>) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, why.into())
}

/// First line and fields of a message, with its exact bytes.
#[derive(Debug, Clone, Default)]
pub struct Head {
    pub first_line: String,
    pub fields: Vec<(String, String)>,
    pub raw: Vec<u8>,
}

impl Head {
    /// Every value of a field, in order.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.fields
            .iter()
            .filter(move |(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    /// The first value of a field.
    #[must_use]
    pub fn get<'a>(&'a self, name: &'a str) -> Option<&'a str> {
        self.all(name).next()
    }
}

/// How a body ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    None,
    Length(u64),
    Chunked,
    UntilClose,
}

/// Where the reading of a body stands.
#[derive(Debug)]
pub struct Body {
    framing: Framing,
    left: u64,
    ended: bool,
    pub trailers: Vec<(String, String)>,
}

impl Body {
    #[must_use]
    pub fn new(framing: Framing) -> Self {
        let left = if let Framing::Length(length) = framing { length } else { 0 };
        let ended = matches!(framing, Framing::None | Framing::Length(0));
        Self { framing, left, ended, trailers: Vec::new() }
    }

    /// Whether the last byte was read.
    #[must_use]
    pub fn ended(&self) -> bool {
        self.ended
    }
}

/// A socket with what was read ahead of it.
#[derive(Debug)]
pub struct Wire {
    socket: TcpStream,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
}

impl Wire {
    /// # Errors
    /// When the socket refuses its options.
    pub fn new(socket: TcpStream, patience: Duration) -> io::Result<Self> {
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(patience))?;
        socket.set_write_timeout(Some(patience))?;
        Ok(Self { socket, buffer: vec![0; 128 * 1024], start: 0, end: 0 })
    }

    #[must_use]
    pub fn socket(&self) -> &TcpStream {
        &self.socket
    }

    /// # Errors
    /// As the socket.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.socket.write_all(bytes)
    }

    /// Bytes read but not yet taken.
    #[must_use]
    pub fn buffered(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }

    /// Reads more; 0 means the end of the stream.
    ///
    /// # Errors
    /// As the socket; a timeout is `TimedOut` or `WouldBlock`.
    pub fn fill(&mut self) -> io::Result<usize> {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        } else if self.end == self.buffer.len() {
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
            if self.end == self.buffer.len() {
                self.buffer.resize(self.end * 2, 0);
            }
        }
        loop {
            match self.socket.read(&mut self.buffer[self.end..]) {
                // A socket with a timeout is interrupted when its machine stands still for a moment.
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
                Ok(count) => {
                    self.end += count;
                    return Ok(count);
                }
            }
        }
    }

    fn byte(&mut self) -> io::Result<Option<u8>> {
        if self.start == self.end && self.fill()? == 0 {
            return Ok(None);
        }
        self.start += 1;
        Ok(Some(self.buffer[self.start - 1]))
    }

    /// One line without its CRLF, or `None` at a clean end.
    ///
    /// # Errors
    /// A bare CR or LF, an end within the line, or a line that never ends.
    pub fn line(&mut self) -> io::Result<Option<Vec<u8>>> {
        let mut line = Vec::new();
        loop {
            match self.byte()? {
                None if line.is_empty() => return Ok(None),
                None => return Err(invalid(format!("the stream ends within a line: {:?}", text(&line)))),
                Some(b'\n') => return Err(invalid(format!("bare LF after {:?}", text(&line)))),
                Some(b'\r') if self.byte()? == Some(b'\n') => return Ok(Some(line)),
                Some(b'\r') => return Err(invalid(format!("bare CR after {:?}", text(&line)))),
                Some(byte) => line.push(byte),
            }
            if line.len() > HEAD_BYTES_MAX {
                return Err(invalid("a line without an end"));
            }
        }
    }

    /// The next head, or `None` when the stream ends before its first byte.
    ///
    /// # Errors
    /// Anything that is not exactly RFC 9112.
    pub fn head(&mut self) -> io::Result<Option<Head>> {
        let Some(first) = self.line()? else { return Ok(None) };
        let mut head = Head { first_line: text(&first), raw: first, ..Head::default() };
        head.raw.extend_from_slice(b"\r\n");
        loop {
            let line = self.line()?.ok_or_else(|| invalid("the stream ends within a head"))?;
            head.raw.extend_from_slice(&line);
            head.raw.extend_from_slice(b"\r\n");
            if line.is_empty() {
                return Ok(Some(head));
            }
            head.fields.push(field(&line)?);
        }
    }

    /// The next piece of a body, or `None` at its end (trailers are then in `body`).
    ///
    /// # Errors
    /// A body that ends early or whose chunks are not exactly RFC 9112.
    pub fn piece(&mut self, body: &mut Body) -> io::Result<Option<Vec<u8>>> {
        if body.ended {
            return Ok(None);
        }
        if body.framing == Framing::UntilClose {
            if self.start == self.end && self.fill()? == 0 {
                body.ended = true;
                return Ok(None);
            }
            return Ok(Some(self.take(usize::MAX)));
        }
        if body.framing == Framing::Chunked && body.left == 0 {
            body.left = self.chunk_size()?;
            if body.left == 0 {
                while let Some(line) = self.line()?.filter(|line| !line.is_empty()) {
                    body.trailers.push(field(&line)?);
                }
                body.ended = true;
                return Ok(None);
            }
        }
        if self.start == self.end && self.fill()? == 0 {
            return Err(invalid(format!("the stream ends {} bytes before its body", body.left)));
        }
        let piece = self.take(usize::try_from(body.left).unwrap_or(usize::MAX));
        body.left -= piece.len() as u64;
        if body.left == 0 {
            match body.framing {
                Framing::Chunked if self.line()?.is_some_and(|line| line.is_empty()) => {}
                Framing::Chunked => return Err(invalid("no CRLF after a chunk")),
                _ => body.ended = true,
            }
        }
        Ok(Some(piece))
    }

    fn chunk_size(&mut self) -> io::Result<u64> {
        let line = self.line()?.ok_or_else(|| invalid("the stream ends before the last chunk"))?;
        let digits = line.iter().all(u8::is_ascii_hexdigit) && !line.is_empty() && line.len() <= 15;
        let size = if digits { u64::from_str_radix(&text(&line), 16).ok() } else { None };
        size.ok_or_else(|| invalid(format!("not a chunk size: {:?}", text(&line))))
    }

    /// Exactly this many bytes, whatever they mean.
    ///
    /// # Errors
    /// An end before that, or as the socket.
    pub fn exactly(&mut self, count: usize) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::with_capacity(count);
        while bytes.len() < count {
            if self.start == self.end && self.fill()? == 0 {
                return Err(invalid(format!("the stream ends {} bytes early", count - bytes.len())));
            }
            bytes.extend(self.take(count - bytes.len()));
        }
        Ok(bytes)
    }

    /// What has arrived, at least one byte; empty at the end of the stream.
    ///
    /// # Errors
    /// As the socket.
    pub fn some(&mut self) -> io::Result<Vec<u8>> {
        if self.start == self.end {
            self.fill()?;
        }
        Ok(self.take(usize::MAX))
    }

    /// Everything up to the end of the stream.
    ///
    /// # Errors
    /// As the socket: an end by reset is one.
    pub fn to_end(&mut self) -> io::Result<Vec<u8>> {
        let mut bytes = self.take(usize::MAX);
        while self.fill()? > 0 {
            bytes.extend(self.take(usize::MAX));
        }
        Ok(bytes)
    }

    /// Says that nothing more is sent.
    ///
    /// # Errors
    /// As the socket.
    pub fn finish(&self) -> io::Result<()> {
        self.socket.shutdown(std::net::Shutdown::Write)
    }

    /// The end of this connection is a reset.
    ///
    /// # Errors
    /// As the socket.
    pub fn reset_at_end(&self) -> io::Result<()> {
        socket2::SockRef::from(&self.socket).set_linger(Some(Duration::ZERO))
    }

    fn take(&mut self, at_most: usize) -> Vec<u8> {
        let count = at_most.min(self.end - self.start);
        let piece = self.buffer[self.start..self.start + count].to_vec();
        self.start += count;
        piece
    }

    /// Everything up to the body's end.
    ///
    /// # Errors
    /// As [`Wire::piece`].
    pub fn whole(&mut self, body: &mut Body) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        while let Some(piece) = self.piece(body)? {
            bytes.extend_from_slice(&piece);
        }
        Ok(bytes)
    }
}

/// Bytes as text, each byte one character, so that nothing is lost or replaced.
#[must_use]
pub fn text(bytes: &[u8]) -> String {
    bytes.iter().map(|&byte| char::from(byte)).collect()
}

fn is_token(name: &[u8]) -> bool {
    let mark = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    !name.is_empty() && name.iter().all(mark)
}

fn field(line: &[u8]) -> io::Result<(String, String)> {
    let colon = line.iter().position(|&byte| byte == b':');
    let colon = colon.ok_or_else(|| invalid(format!("a field without a colon: {:?}", text(line))))?;
    let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
    if !is_token(name) {
        return Err(invalid(format!("not a field name: {:?}", text(name))));
    }
    if value.iter().any(|&byte| (byte < 0x20 && byte != b'\t') || byte == 0x7f) {
        return Err(invalid(format!("a control character in the value of {}", text(name))));
    }
    Ok((text(name), text(value)))
}

/// How the body of this message ends; `answers` is the method it answers, `None` for a request.
///
/// # Errors
/// Two framings, or one that is not exactly one `Content-Length` or `Transfer-Encoding: chunked`.
pub fn framing(head: &Head, status: Option<u16>, answers: Option<&str>) -> io::Result<Framing> {
    let codings: Vec<&str> = head.all("transfer-encoding").collect();
    let lengths: Vec<&str> = head.all("content-length").collect();
    let declared = match (codings.as_slice(), lengths.as_slice()) {
        ([], []) => None,
        ([coding], []) if coding.eq_ignore_ascii_case("chunked") => Some(Framing::Chunked),
        ([], [length]) if !length.is_empty() && length.bytes().all(|byte| byte.is_ascii_digit()) => {
            Some(Framing::Length(length.parse().map_err(|_| invalid("a length beyond 64 bits"))?))
        }
        _ => return Err(invalid(format!("framing {codings:?} with lengths {lengths:?}"))),
    };
    match status {
        None => Ok(declared.unwrap_or(Framing::None)),
        Some(100..200 | 204 | 304) => Ok(Framing::None),
        Some(_) if answers == Some("HEAD") => Ok(Framing::None),
        Some(_) => Ok(declared.unwrap_or(Framing::UntilClose)),
    }
}

/// The status of a response head.
///
/// # Errors
/// When the line is not a status line of HTTP/1.x.
pub fn status(head: &Head) -> io::Result<u16> {
    let line = &head.first_line;
    let bytes = line.as_bytes();
    let shaped = (line.starts_with("HTTP/1.1 ") || line.starts_with("HTTP/1.0 "))
        && bytes.len() >= 13
        && bytes[9..12].iter().all(u8::is_ascii_digit)
        && bytes[12] == b' ';
    let code = if shaped { line[9..12].parse().ok() } else { None };
    code.ok_or_else(|| invalid(format!("not a status line: {line:?}")))
}
