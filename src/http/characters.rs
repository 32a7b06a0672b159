//! Which bytes may stand where in a head (RFC 9110 sections 5.5 and 5.6).

/// Without the optional white space around a field value.
pub fn trim(value: &[u8]) -> &[u8] {
    let start = value.iter().position(|b| !matches!(b, b' ' | b'\t')).unwrap_or(value.len());
    let end = value.iter().rposition(|b| !matches!(b, b' ' | b'\t')).map_or(start, |last| last + 1);
    &value[start..end]
}

/// `tchar` of RFC 9110 section 5.6.2.
fn is_token_byte(byte: u8) -> bool {
    TOKEN[usize::from(byte)]
}

/// A look-up a byte: every byte of every name passes here.
static TOKEN: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < table.len() {
        table[byte] = (byte as u8).is_ascii_alphanumeric();
        byte += 1;
    }
    let marks = b"!#$%&'*+-.^_`|~";
    let mut at = 0;
    while at < marks.len() {
        table[marks[at] as usize] = true;
        at += 1;
    }
    table
};

pub fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && token_len(bytes) == bytes.len()
}

/// How many token bytes stand at the beginning.
pub fn token_len(bytes: &[u8]) -> usize {
    let (chunks, _) = bytes.as_chunks::<8>();
    // One branch for eight bytes.
    let whole =
        chunks.iter().take_while(|chunk| chunk.iter().fold(true, |all, &byte| all & is_token_byte(byte)));
    let start = whole.count() * 8;
    bytes[start..].iter().position(|&byte| !is_token_byte(byte)).map_or(bytes.len(), |more| start + more)
}

/// Visible characters, blanks, tabs and obs-text (RFC 9110 section 5.5).
pub fn is_field_value(bytes: &[u8]) -> bool {
    let mut bad = [0; LANES];
    in_lanes(bytes, |chunk| {
        for (bad, &b) in bad.iter_mut().zip(chunk) {
            *bad |= u8::from((b < 0x20) & (b != b'\t')) | u8::from(b == 0x7f);
        }
    });
    bad == [0; LANES]
}

/// Whether a head of so many lines has no control character but tabs and its line ends: where every LF
/// follows a CR, a CR too many stands alone.
pub fn is_text_of_lines(head: &[u8], lines: usize) -> bool {
    let (mut clean, mut found) = (true, 0);
    // Parts in which no lane can count beyond a byte.
    for part in head.chunks(255 * LANES) {
        let (mut bad, mut returns) = ([0; LANES], [0; LANES]);
        in_lanes(part, |chunk| {
            for lane in 0..LANES {
                let b = chunk[lane];
                let control = (b < 0x20) & (b != b'\t') & (b != b'\r') & (b != b'\n') | (b == 0x7f);
                bad[lane] |= u8::from(control);
                returns[lane] += u8::from(b == b'\r');
            }
        });
        clean &= bad == [0; LANES];
        found += returns.iter().map(|&count| usize::from(count)).sum::<usize>();
    }
    clean && found == lines
}

/// Bytes looked at together. Loops over arrays of this length become vector instructions.
const LANES: usize = 16;

/// Calls `look` with all bytes, the last ones filled up with blanks.
#[inline(always)]
fn in_lanes(bytes: &[u8], mut look: impl FnMut(&[u8; LANES])) {
    let (chunks, rest) = bytes.as_chunks();
    for chunk in chunks {
        look(chunk);
    }
    if !rest.is_empty() {
        let mut last = [b' '; LANES];
        last[..rest.len()].copy_from_slice(rest);
        look(&last);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_ends_at_its_first_other_byte_wherever_that_is() {
        for length in 0..40 {
            let text = vec![b'a'; length];
            assert_eq!(token_len(&text), length);
            assert_eq!(is_token(&text), length > 0);
            for at in 0..length {
                for byte in 0..=255 {
                    let mut text = text.clone();
                    text[at] = byte;
                    assert_eq!(
                        token_len(&text),
                        if is_token_byte(byte) { length } else { at },
                        "{byte} at {at}"
                    );
                }
            }
        }
    }

    #[test]
    fn a_head_has_as_many_returns_as_lines_and_no_other_control_character() {
        for filler in [0, 1, 14, 15, 16, 17, 300, 255 * 16, 9_000] {
            let head = format!("GET / HTTP/1.1\r\nx: {}\r\n\r\n", "\t".repeat(filler));
            assert!(is_text_of_lines(head.as_bytes(), 3), "{filler}");
            for at in [0, 5, 19, head.len() / 2, head.len() - 5] {
                for byte in (0..0x20).chain([0x7f]).filter(|byte| !b"\t\n".contains(byte)) {
                    let mut head = head.clone().into_bytes();
                    if !head[at].is_ascii_control() || head[at] == b'\t' {
                        head[at] = byte;
                        assert!(!is_text_of_lines(&head, 3), "{byte:#x} at {at} of {}", head.len());
                    }
                }
            }
        }
    }
}
