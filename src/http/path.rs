//! One form of the path for every decision (decision 1).
//!
//! Before anything is matched, escapes of unreserved characters are decoded and all others written in
//! upper case, characters that want an escape get one, dot segments are removed and repeated slashes
//! are collapsed; policies and routes match on that form and it is the
//! form that is forwarded, so no rule can be slipped past by another spelling of the same path.

use std::borrow::Cow;

/// Why a path is refused with 400.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathError {
    /// Not `/…`.
    NotAbsolute,
    /// A character that RFC 3986 does not allow in a path, or `\`.
    InvalidCharacter,
    /// `%` without two hexadecimal digits.
    MalformedEscape,
    /// `%00`.
    NulByte,
}

/// The normal form of a raw path (no query). Borrowed when the path is normal already.
///
/// # Errors
/// [`PathError`] when the path has no single meaning.
pub fn normalise(raw: &[u8], merge_slashes: bool) -> Result<Cow<'_, [u8]>, PathError> {
    if raw.first() != Some(&b'/') {
        return Err(PathError::NotAbsolute);
    }
    if is_normal(raw, merge_slashes)? {
        return Ok(Cow::Borrowed(raw));
    }
    let spelled = spell(raw);
    Ok(Cow::Owned(resolve_segments(&spelled, merge_slashes)))
}

/// Whether a piece of a path, put behind a slash, is in the normal form. Groups of a rule may cut a path
/// anywhere, so that `p../secret` leaves `../secret`.
pub fn is_normal_piece(piece: &[u8]) -> bool {
    !is_dot_segment(piece) && is_normal(piece, false) == Ok(true)
}

/// `pchar` and `/`, without `%` (RFC 3986 section 3.3).
fn is_path_byte(byte: u8) -> bool {
    is_unreserved(byte) || b"/:@!$&'()*+,;=".contains(&byte)
}

fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)
}

/// Whether paths in their normal form have a character as an escape only.
pub fn wants_escape(character: char) -> bool {
    !u8::try_from(character).is_ok_and(|byte| is_path_byte(byte) || byte == b'%')
}

/// An expression for paths whose escapes are those of the normal form: unreserved characters stand for
/// themselves, other escapes are in upper case.
pub fn normal_pattern(pattern: &str) -> Cow<'_, str> {
    let mut text = String::new();
    let mut taken = 0;
    for (at, _) in pattern.match_indices('%') {
        let Ok(value) = escape_at(pattern.as_bytes(), at) else { continue };
        if is_unreserved(value) {
            // `\%` is `%`.
            let before = &pattern[taken..at];
            let backslashes = before.len() - before.trim_end_matches('\\').len();
            text.push_str(&before[..before.len() - backslashes % 2]);
            if !value.is_ascii_alphanumeric() {
                text.push('\\');
            }
            text.push(value.into());
        } else {
            text.push_str(&pattern[taken..at]);
            text.push_str(&pattern[at..at + 3].to_ascii_uppercase());
        }
        taken = at + 3;
    }
    if taken == 0 {
        return Cow::Borrowed(pattern);
    }
    text.push_str(&pattern[taken..]);
    Cow::Owned(text)
}

/// Bytes that browsers send in paths although RFC 3986 wants them escaped. They have one meaning only,
/// so they are taken, and matched and forwarded as their escapes.
fn is_tolerated(byte: u8) -> bool {
    b"\"<>[]^`{|}".contains(&byte)
}

/// Checks every byte and tells whether the path is in normal form.
fn is_normal(raw: &[u8], merge_slashes: bool) -> Result<bool, PathError> {
    let mut normal = true;
    let mut i = 0;
    while i < raw.len() {
        match raw[i] {
            b'%' => {
                let value = escape_at(raw, i)?;
                normal &= !is_unreserved(value);
                normal &= !raw[i + 1].is_ascii_lowercase() && !raw[i + 2].is_ascii_lowercase();
                i += 2;
            }
            b'/' => {
                normal &= !(merge_slashes && raw.get(i + 1) == Some(&b'/'));
                normal &= !is_dot_segment(&raw[i + 1..]);
            }
            byte if is_path_byte(byte) => {}
            byte if is_tolerated(byte) => normal = false,
            _ => return Err(PathError::InvalidCharacter),
        }
        i += 1;
    }
    Ok(normal)
}

fn is_dot_segment(rest: &[u8]) -> bool {
    let segment = rest.split(|&b| b == b'/').next().unwrap_or_default();
    // A dot segment has at most two dots; not worth reading a long segment for.
    rest.first() == Some(&b'.') && (segment == b"." || segment == b"..")
}

fn escape_at(raw: &[u8], at: usize) -> Result<u8, PathError> {
    let digit = |offset: usize| {
        raw.get(at + offset).and_then(|&b| char::from(b).to_digit(16)).ok_or(PathError::MalformedEscape)
    };
    let value = (digit(1)? * 16 + digit(2)?) as u8;
    if value == 0 { Err(PathError::NulByte) } else { Ok(value) }
}

/// Each character in its one spelling: unreserved ones as they are, `%2F` and the like, which keep their
/// meaning, in upper case (RFC 3986 section 6.2.2).
fn spell(raw: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(raw.len());
    let mut i = 0;
    while i < raw.len() {
        let (value, len) = match raw[i] {
            b'%' => (escape_at(raw, i).unwrap_or(b'%'), 3),
            byte => (byte, 1),
        };
        if len == 1 && is_path_byte(value) || is_unreserved(value) {
            out.push(value);
        } else {
            const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
            out.extend([b'%', DIGITS[usize::from(value >> 4)], DIGITS[usize::from(value & 15)]]);
        }
        i += len;
    }
    out
}

/// `remove_dot_segments` of RFC 3986 section 5.2.4, and repeated slashes.
fn resolve_segments(path: &[u8], merge_slashes: bool) -> Vec<u8> {
    let mut segments: Vec<&[u8]> = Vec::new();
    let mut parts = path[1..].split(|&b| b == b'/').peekable();
    while let Some(part) = parts.next() {
        let last = parts.peek().is_none();
        match part {
            b"." | b".." => {
                if part == b".." {
                    segments.pop();
                }
                if last {
                    segments.push(b"");
                }
            }
            b"" if merge_slashes && !last => {}
            _ => segments.push(part),
        }
    }
    let mut out = Vec::with_capacity(path.len());
    for segment in segments {
        out.push(b'/');
        out.extend_from_slice(segment);
    }
    if out.is_empty() {
        out.push(b'/');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn normal(raw: &str) -> Result<String, PathError> {
        normalise(raw.as_bytes(), true).map(|path| String::from_utf8(path.into_owned()).unwrap())
    }

    #[test]
    fn every_spelling_of_a_path_has_one_form() {
        for raw in
            ["/cart", "/c%61rt", "//cart", "/x/../cart", "/./cart", "/x/%2e%2e/cart", "/../cart", "/%2E/cart"]
        {
            assert_eq!(normal(raw).as_deref(), Ok("/cart"), "{raw}");
        }
    }

    #[test]
    fn reserved_escapes_keep_their_meaning() {
        for raw in ["/a%2Fb%3F", "/a%2fb%3f", "/a%2Fb%3f"] {
            assert_eq!(normal(raw), Ok("/a%2Fb%3F".into()), "{raw}");
        }
    }

    #[test]
    fn a_character_that_wants_an_escape_and_its_escape_are_one() {
        for raw in ["/a|b", "/a%7cb", "/a%7Cb", "/./a|b"] {
            assert_eq!(normal(raw), Ok("/a%7Cb".into()), "{raw}");
        }
        assert_eq!(normal("/[\"<x>\"]^`{}"), Ok("/%5B%22%3Cx%3E%22%5D%5E%60%7B%7D".into()));
    }

    #[test]
    fn trailing_slashes_are_kept() {
        assert_eq!(normal("/a/"), Ok("/a/".into()));
        assert_eq!(normal("/a//"), Ok("/a/".into()));
        assert_eq!(normal("/a/b/.."), Ok("/a/".into()));
        assert_eq!(normal("/a/."), Ok("/a/".into()));
        assert_eq!(normal("/.."), Ok("/".into()));
        assert_eq!(normal("//"), Ok("/".into()));
        assert_eq!(normal("/"), Ok("/".into()));
    }

    #[test]
    fn what_has_no_single_meaning_is_refused() {
        assert_eq!(normal("/a\\b"), Err(PathError::InvalidCharacter));
        assert_eq!(normal("/a%00"), Err(PathError::NulByte));
        assert_eq!(normal("/a%zz"), Err(PathError::MalformedEscape));
        assert_eq!(normal("/a%4"), Err(PathError::MalformedEscape));
        assert_eq!(normal("/a\u{e9}"), Err(PathError::InvalidCharacter));
        assert_eq!(normal("/a b"), Err(PathError::InvalidCharacter));
        assert_eq!(normal("a"), Err(PathError::NotAbsolute));
        assert_eq!(normal(""), Err(PathError::NotAbsolute));
    }

    #[test]
    fn slashes_stay_when_merging_is_off() {
        assert_eq!(normalise(b"//a//b", false).as_deref(), Ok(&b"//a//b"[..]));
    }

    #[test]
    fn normalising_twice_changes_nothing() {
        let pieces = ["/", "//", ".", "..", "%2e", "%2E", "a", "%61", "%2F", "%2f", "|", "%7c", "%41"];
        let mut random = fastrand::Rng::with_seed(7);
        for _ in 0..20_000 {
            let mut raw = String::from("/");
            for _ in 0..random.usize(..8) {
                raw.push_str(pieces[random.usize(..pieces.len())]);
            }
            let once = normal(&raw).unwrap();
            assert_eq!(normal(&once).unwrap(), once, "{raw}");
            assert!(
                !once.contains("//") && !once.split('/').any(|s| s == "." || s == ".."),
                "{raw} -> {once}"
            );
        }
    }
}
