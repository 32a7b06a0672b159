//! What is stored under a key, and how it is written outside of this process.

use std::time::SystemTime;

use bytes::Bytes;

use super::{
    directives::ResponseDirectives,
    freshness::{MICROS_MAX, Timing, micros_between},
};
use crate::{
    base::Digest,
    http::{
        Headers,
        headers::{HOP_BY_HOP, is_field_value, is_token},
    },
};

/// The largest body that is stored: 1 MB (policies reference 3.4).
pub const BODY_BYTES_MAX: usize = 1 << 20;
/// All headers of a response together, in the form that is written.
pub const HEAD_BYTES_MAX: usize = 256 << 10;
/// Fields that a response may vary by.
pub const VARY_NAMES_MAX: usize = 16;
const VARY_NAME_BYTES_MAX: usize = 128;
const FIELDS_MAX: usize = 1024;

/// What the memory for an entry is counted as beyond its bytes.
const OVERHEAD_BYTES: usize = 512;

/// A stored response.
pub struct Entry {
    pub status: u16,
    pub headers: Headers,
    pub body: Bytes,
    /// A response to HEAD.
    pub to_head: bool,
    /// The length that it declared.
    pub declared_length: Option<u64>,
    /// What its headers say.
    pub said: ResponseDirectives,
    pub timing: Timing,
}

/// The responses for a key differ by fields of the request: each is found under a key of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Varies {
    /// In lower case, sorted.
    pub names: Vec<String>,
    /// Part of the keys of the responses: another number, and none of those from before is found.
    pub family: u64,
    pub timing: Timing,
}

/// What stands under a key.
pub enum Kept {
    Response(Entry),
    Varies(Varies),
}

impl Kept {
    pub fn timing(&self) -> &Timing {
        match self {
            Self::Response(entry) => &entry.timing,
            Self::Varies(varies) => &varies.timing,
        }
    }

    fn timing_mut(&mut self) -> &mut Timing {
        match self {
            Self::Response(entry) => &mut entry.timing,
            Self::Varies(varies) => &mut varies.timing,
        }
    }

    /// What it is counted as in memory.
    pub fn bytes(&self) -> usize {
        OVERHEAD_BYTES
            + match self {
                Self::Response(entry) => head_bytes(&entry.headers) + entry.body.len(),
                Self::Varies(varies) => varies.names.iter().map(String::len).sum(),
            }
    }
}

/// Fields that are for one connection, or whose meaning the gateway writes anew; none of them is ever stored
/// (RFC 9111 section 3.1).
pub fn is_storable(name: &str) -> bool {
    const MORE: [&str; 8] = [
        "age",
        "content-length",
        "host",
        "proxy-authenticate",
        "proxy-authentication-info",
        "proxy-authorization",
        "trailer",
        "upgrade",
    ];
    !HOP_BY_HOP.iter().chain(&MORE).any(|other| name.eq_ignore_ascii_case(other))
}

/// Bytes of headers in the form that is written.
pub fn head_bytes(headers: &Headers) -> usize {
    headers.iter().map(|(name, value)| name.len() + value.len() + 8).sum()
}

/// What is written of an entry beside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// The numbers of the cache and of the subject when the request for it began: with others it is not found.
    pub generations: [u64; 2],
    /// Names this writing: what says that it is fresh has the same.
    pub number: u64,
    /// What an invalidation of it would name.
    pub subject: Digest,
}

const VERSION: u8 = 1;
const RESPONSE: u8 = 1;
const RESPONSE_WITH_LENGTH: u8 = 2;
const VARIES: u8 = 3;
const RESPONSE_TO_HEAD: u8 = 4;

/// Writes an entry. `now` and `wall` are the same moment on the policy's clock and on the wall clock.
pub fn encode(kept: &Kept, stamp: &Stamp, now: u64, wall: SystemTime) -> Vec<u8> {
    let timing = kept.timing();
    let elapsed = now.saturating_sub(timing.at);
    let stored = micros_between(SystemTime::UNIX_EPOCH, wall).saturating_sub(elapsed);
    let mut out = Vec::with_capacity(kept.bytes());
    let kind = match kept {
        Kept::Response(entry) if entry.declared_length.is_some() => RESPONSE_WITH_LENGTH,
        Kept::Response(entry) if entry.to_head => RESPONSE_TO_HEAD,
        Kept::Response(_) => RESPONSE,
        Kept::Varies(_) => VARIES,
    };
    out.extend([VERSION, kind]);
    stamp.generations.iter().chain([&stamp.number]).for_each(|number| out.extend(number.to_be_bytes()));
    out.extend(stamp.subject.as_bytes());
    out.extend(stored.to_be_bytes());
    out.extend(timing.age.min(MICROS_MAX).to_be_bytes());
    out.extend(timing.fresh_for.clamp(-(MICROS_MAX as i64), MICROS_MAX as i64).to_be_bytes());
    out.extend(timing.kept_for.min(MICROS_MAX).to_be_bytes());
    match kept {
        Kept::Response(entry) => {
            out.extend(entry.status.to_be_bytes());
            if let Some(length) = entry.declared_length {
                out.extend(length.to_be_bytes());
            }
            out.extend((entry.headers.len() as u32).to_be_bytes());
            for (name, value) in entry.headers.iter() {
                for text in [name.as_bytes(), value] {
                    out.extend((text.len() as u32).to_be_bytes());
                    out.extend(text);
                }
            }
            out.extend((entry.body.len() as u32).to_be_bytes());
            out.extend(&entry.body);
        }
        Kept::Varies(varies) => {
            out.extend(varies.family.to_be_bytes());
            out.extend((varies.names.len() as u32).to_be_bytes());
            for name in &varies.names {
                out.extend((name.len() as u32).to_be_bytes());
                out.extend(name.as_bytes());
            }
        }
    }
    out
}

/// Reads what [`encode`] wrote, at `now` on the policy's clock, which is `wall` on the wall clock. Nothing else is
/// accepted: who can write where it lies may have written anything. The body shares the memory of `bytes`.
pub fn decode(bytes: &Bytes, now: u64, wall: SystemTime) -> Option<(Kept, Stamp)> {
    let (mut kept, stamp, stored) = parse(bytes)?;
    let elapsed = micros_between(SystemTime::UNIX_EPOCH, wall).saturating_sub(stored);
    let timing = kept.timing_mut();
    *timing = timing.seen(now, elapsed);
    Some((kept, stamp))
}

/// As [`decode`], without what has passed since: also when it was stored, microseconds since 1970.
pub fn parse(bytes: &Bytes) -> Option<(Kept, Stamp, u64)> {
    let mut reader = Reader { rest: bytes };
    let [VERSION, kind] = *reader.array()? else { return None };
    let generations = [reader.number()?, reader.number()?];
    let number = reader.number()?;
    let subject = Digest::from_bytes(*reader.array()?);
    let stored = reader.number()?;
    let (age, fresh_for, kept_for) = (reader.number()?, reader.number()? as i64, reader.number()?);
    let countable = stored.max(age).max(fresh_for.unsigned_abs()).max(kept_for) <= MICROS_MAX;
    let timing = Timing { at: 0, age, fresh_for, kept_for };
    let kept = match kind {
        RESPONSE | RESPONSE_WITH_LENGTH | RESPONSE_TO_HEAD => {
            let status = u16::from_be_bytes(*reader.array()?);
            let declared_length = match kind {
                RESPONSE_WITH_LENGTH => Some(reader.number()?),
                _ => None,
            };
            let headers = reader.headers()?;
            let length = reader.length(BODY_BYTES_MAX)?;
            let body = bytes.slice_ref(reader.take(length)?);
            let said = ResponseDirectives::of(&headers);
            (200..=599).contains(&status).then_some(())?;
            let to_head = kind != RESPONSE;
            (!to_head || body.is_empty()).then_some(())?;
            Kept::Response(Entry { status, headers, body, to_head, declared_length, said, timing })
        }
        VARIES => {
            let family = reader.number()?;
            let count = reader.length(VARY_NAMES_MAX)?;
            let names = (0..count).map(|_| reader.vary_name()).collect::<Option<Vec<_>>>()?;
            names.is_sorted_by(|one, other| one < other).then_some(())?;
            (!names.is_empty()).then_some(())?;
            Kept::Varies(Varies { names, family, timing })
        }
        _ => return None,
    };
    (countable && reader.rest.is_empty()).then_some((kept, Stamp { generations, number, subject }, stored))
}

/// Takes bytes from the front, as long as there are any.
struct Reader<'b> {
    rest: &'b [u8],
}

impl<'b> Reader<'b> {
    fn array<const N: usize>(&mut self) -> Option<&'b [u8; N]> {
        let (array, rest) = self.rest.split_first_chunk()?;
        self.rest = rest;
        Some(array)
    }

    fn take(&mut self, length: usize) -> Option<&'b [u8]> {
        let (taken, rest) = self.rest.split_at_checked(length)?;
        self.rest = rest;
        Some(taken)
    }

    fn number(&mut self) -> Option<u64> {
        self.array().map(|bytes| u64::from_be_bytes(*bytes))
    }

    fn length(&mut self, most: usize) -> Option<usize> {
        let length = u32::from_be_bytes(*self.array()?) as usize;
        (length <= most).then_some(length)
    }

    fn headers(&mut self) -> Option<Headers> {
        let count = self.length(FIELDS_MAX)?;
        let mut headers = Headers::new();
        let mut left = HEAD_BYTES_MAX;
        for _ in 0..count {
            let length = self.length(left)?;
            let name = std::str::from_utf8(self.take(length)?).ok()?;
            let length = self.length(left)?;
            let value = self.take(length)?;
            left = left.checked_sub(name.len() + value.len() + 8)?;
            let trimmed = crate::http::headers::trim(value).len() == value.len();
            if !(is_token(name.as_bytes()) && is_field_value(value) && trimmed && is_storable(name)) {
                return None;
            }
            headers.push_field(name, value);
        }
        Some(headers)
    }

    fn vary_name(&mut self) -> Option<String> {
        let length = self.length(VARY_NAME_BYTES_MAX)?;
        let name = std::str::from_utf8(self.take(length)?).ok()?;
        is_vary_name(name).then(|| name.to_owned())
    }
}

/// A name that responses can vary by: in lower case, and not too long.
pub fn is_vary_name(name: &str) -> bool {
    let token = is_token(name.as_bytes()) && name != "*";
    token && name.len() <= VARY_NAME_BYTES_MAX && !name.bytes().any(|byte| byte.is_ascii_uppercase())
}

/// Whether a response can be stored at all: its head can be written and read again.
pub fn fits(headers: &Headers) -> bool {
    headers.len() <= FIELDS_MAX && head_bytes(headers) <= HEAD_BYTES_MAX
}
