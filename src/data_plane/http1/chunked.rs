//! Body decoding: where the bytes of a body lie in what was received (RFC 9112 sections 6 and 7).

use super::{fields::is_forbidden_trailer, head::Framing};
use crate::http::{
    BodyError, Headers, Length,
    headers::{is_field_value, is_token, token_len, trim},
};

/// Longest chunk-size line with its extensions, and longest trailer section, bytes. Nothing that
/// clients send comes near; what is longer is an attack on memory.
const CHUNK_LINE_BYTES_MAX: usize = 512;
pub const TRAILER_BYTES_MAX: usize = 8 * 1024;
/// Extension bytes in one body: they carry nothing and are dropped.
const EXTENSION_BYTES_MAX: usize = 16 * 1024;
pub const TRAILER_FIELDS_MAX: usize = 64;

/// Follows the framing of one body.
#[derive(Debug)]
pub struct Decoder {
    state: State,
    extension_bytes: usize,
    trailers: Option<Headers>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Bytes left.
    Length(u64),
    ChunkSize,
    /// Bytes left of this chunk, its final CRLF not counted.
    ChunkData(u64),
    ChunkEnd,
    Trailers,
    UntilClose,
    Done,
}

/// What lies at the front of the received bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// This many bytes of the body.
    Data(usize),
    /// The end of the body.
    End,
    /// Nothing yet: more must be received.
    Nothing,
}

impl Decoder {
    pub fn new(framing: Framing) -> Self {
        let state = match framing {
            Framing::None => State::Done,
            Framing::Length(length) => State::Length(length),
            Framing::Chunked => State::ChunkSize,
            Framing::UntilClose => State::UntilClose,
        };
        Self { state, extension_bytes: 0, trailers: None }
    }

    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    pub fn length(&self) -> Length {
        match self.state {
            State::Length(left) => Length::Known(left),
            State::Done => Length::Known(0),
            _ => Length::Unknown,
        }
    }

    /// The trailer fields, once, after the end.
    pub fn take_trailers(&mut self) -> Option<Headers> {
        self.trailers.take()
    }

    /// Passes over framing at the front of `received`: how many bytes of it, and what follows.
    ///
    /// # Errors
    /// [`BodyError::Malformed`] for framing with no single meaning.
    pub fn advance(&mut self, received: &[u8]) -> Result<(usize, Found), BodyError> {
        let mut skipped = 0;
        loop {
            let rest = &received[skipped..];
            let step = match self.state {
                State::Done => return Ok((skipped, Found::End)),
                State::Length(left) | State::ChunkData(left) => {
                    let at_hand = usize::try_from(left).unwrap_or(usize::MAX).min(rest.len());
                    let found = if at_hand == 0 { Found::Nothing } else { Found::Data(at_hand) };
                    return Ok((skipped, found));
                }
                State::UntilClose => {
                    let found = if rest.is_empty() { Found::Nothing } else { Found::Data(rest.len()) };
                    return Ok((skipped, found));
                }
                State::ChunkSize => self.chunk_size(rest)?,
                State::ChunkEnd => match rest {
                    [b'\r', b'\n', ..] => {
                        self.state = State::ChunkSize;
                        Some(2)
                    }
                    [] | [b'\r'] => None,
                    _ => return Err(BodyError::Malformed),
                },
                State::Trailers => self.trailer_section(rest)?,
            };
            match step {
                Some(length) => skipped += length,
                None => return Ok((skipped, Found::Nothing)),
            }
        }
    }

    /// The consumer has taken bytes that [`Self::advance`] found.
    pub fn taken(&mut self, bytes: usize) {
        let after = |left: u64| left.saturating_sub(bytes as u64);
        self.state = match self.state {
            State::Length(left) if after(left) == 0 => State::Done,
            State::Length(left) => State::Length(after(left)),
            State::ChunkData(left) if after(left) == 0 => State::ChunkEnd,
            State::ChunkData(left) => State::ChunkData(after(left)),
            other => other,
        };
    }

    /// The peer closed the connection.
    ///
    /// # Errors
    /// [`BodyError::Disconnected`] unless the body ends so.
    pub fn closed(&mut self) -> Result<(), BodyError> {
        match self.state {
            State::UntilClose | State::Done => {
                self.state = State::Done;
                Ok(())
            }
            _ => Err(BodyError::Disconnected),
        }
    }

    /// `chunk-size [chunk-ext] CRLF`: at least one digit, a number that fits, and extensions of
    /// visible characters only.
    fn chunk_size(&mut self, rest: &[u8]) -> Result<Option<usize>, BodyError> {
        let Some(line) = line(rest, CHUNK_LINE_BYTES_MAX)? else { return Ok(None) };
        let digits = line.iter().position(|b| !b.is_ascii_hexdigit()).unwrap_or(line.len());
        // 15 digits: sizes below 2^60, so that sums of them cannot overflow.
        if !(1..=15).contains(&digits) {
            return Err(BodyError::Malformed);
        }
        let size = line[..digits].iter().fold(0, |sum: u64, &digit| {
            sum << 4 | u64::from(char::from(digit).to_digit(16).unwrap_or_default())
        });
        let extension = &line[digits..];
        self.extension_bytes += extension.len();
        if !is_extension(extension) || self.extension_bytes > EXTENSION_BYTES_MAX {
            return Err(BodyError::Malformed);
        }
        self.state = if size == 0 { State::Trailers } else { State::ChunkData(size) };
        Ok(Some(line.len() + 2))
    }

    fn trailer_section(&mut self, rest: &[u8]) -> Result<Option<usize>, BodyError> {
        if rest.starts_with(b"\r\n") {
            self.state = State::Done;
            return Ok(Some(2));
        }
        if rest.is_empty() || rest == b"\r" {
            return Ok(None);
        }
        let Some(end) = memchr::memmem::find(rest, b"\r\n\r\n") else {
            // As below, whatever pieces it came in: the end may be one byte away.
            let over = rest.len() >= TRAILER_BYTES_MAX + 4;
            return if over { Err(BodyError::Malformed) } else { Ok(None) };
        };
        if end > TRAILER_BYTES_MAX {
            return Err(BodyError::Malformed);
        }
        self.trailers = Some(parse_trailers(&rest[..end])?);
        self.state = State::Done;
        Ok(Some(end + 4))
    }
}

/// The line at the front without its CRLF; `None` while it is not complete.
fn line(rest: &[u8], limit: usize) -> Result<Option<&[u8]>, BodyError> {
    match memchr::memchr(b'\n', &rest[..rest.len().min(limit)]) {
        Some(at) if at > 0 && rest[at - 1] == b'\r' => Ok(Some(&rest[..at - 1])),
        Some(_) => Err(BodyError::Malformed),
        None if rest.len() >= limit => Err(BodyError::Malformed),
        None => Ok(None),
    }
}

/// `*( BWS ";" BWS name [ BWS "=" BWS value ] )`, a value being a token or a quoted string
/// (RFC 9112 section 7.1.1). Anything else after the size is where two parsers part ways.
fn is_extension(mut rest: &[u8]) -> bool {
    while !rest.is_empty() {
        let Some((b';', after)) = trim_start(rest).split_first() else { return false };
        let (name, after) = split_token(trim_start(after));
        if name.is_empty() {
            return false;
        }
        rest = after;
        if let Some((b'=', value)) = trim_start(after).split_first() {
            let value = trim_start(value);
            let end = match value.first() {
                Some(b'"') => quoted_string(value),
                _ => Some(split_token(value).0.len()).filter(|&length| length > 0),
            };
            let Some(end) = end else { return false };
            rest = &value[end..];
        }
    }
    true
}

fn trim_start(bytes: &[u8]) -> &[u8] {
    let blanks = bytes.iter().take_while(|b| matches!(b, b' ' | b'\t')).count();
    &bytes[blanks..]
}

fn split_token(bytes: &[u8]) -> (&[u8], &[u8]) {
    bytes.split_at(token_len(bytes))
}

/// Length of the quoted string at the front (RFC 9110 section 5.6.4).
fn quoted_string(bytes: &[u8]) -> Option<usize> {
    let mut at = 1;
    loop {
        match bytes.get(at)? {
            b'"' => return Some(at + 1),
            b'\\' => at += 1,
            _ => {}
        }
        if !is_field_value(bytes.get(at..=at)?) {
            return None;
        }
        at += 1;
    }
}

/// Fields that may not be trailers are dropped; anything malformed is an error.
fn parse_trailers(section: &[u8]) -> Result<Headers, BodyError> {
    let mut trailers = Headers::new();
    let mut fields = 0;
    let mut rest = section;
    while !rest.is_empty() {
        let end = memchr::memmem::find(rest, b"\r\n").unwrap_or(rest.len());
        let line = &rest[..end];
        rest = rest.get(end + 2..).unwrap_or_default();
        let colon = memchr::memchr(b':', line).ok_or(BodyError::Malformed)?;
        let name = std::str::from_utf8(&line[..colon]).map_err(|_| BodyError::Malformed)?;
        let value = trim(&line[colon + 1..]);
        fields += 1;
        // A bare CR or LF is no part of a value.
        if fields > TRAILER_FIELDS_MAX || !is_token(name.as_bytes()) || !is_field_value(value) {
            return Err(BodyError::Malformed);
        }
        if !is_forbidden_trailer(name) {
            trailers.append(name, value).map_err(|_| BodyError::Malformed)?;
        }
    }
    Ok(trailers)
}

#[cfg(test)]
mod tests;
