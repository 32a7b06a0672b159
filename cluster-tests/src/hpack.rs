//! Reads header blocks (RFC 7541). Huffman codes of up to fifteen bits: all of ASCII that appears in fields.

use std::collections::VecDeque;
use std::io;

use crate::wire::invalid;

/// Size of the dynamic table unless SETTINGS say otherwise; the client of these tests never does.
const TABLE_BYTES: usize = 4096;
/// What an entry counts beyond its texts (RFC 7541 section 4.1).
const ENTRY_BYTES: usize = 32;

type Field = (String, String);

/// The fields that both sides know by number (RFC 7541 appendix A), from 1.
#[rustfmt::skip]
const STATIC: [(&str, &str); 61] = [
    (":authority", ""), (":method", "GET"), (":method", "POST"), (":path", "/"), (":path", "/index.html"),
    (":scheme", "http"), (":scheme", "https"), (":status", "200"), (":status", "204"), (":status", "206"),
    (":status", "304"), (":status", "400"), (":status", "404"), (":status", "500"), ("accept-charset", ""),
    ("accept-encoding", "gzip, deflate"), ("accept-language", ""), ("accept-ranges", ""), ("accept", ""),
    ("access-control-allow-origin", ""), ("age", ""), ("allow", ""), ("authorization", ""), ("cache-control", ""),
    ("content-disposition", ""), ("content-encoding", ""), ("content-language", ""), ("content-length", ""),
    ("content-location", ""), ("content-range", ""), ("content-type", ""), ("cookie", ""), ("date", ""), ("etag", ""),
    ("expect", ""), ("expires", ""), ("from", ""), ("host", ""), ("if-match", ""), ("if-modified-since", ""),
    ("if-none-match", ""), ("if-range", ""), ("if-unmodified-since", ""), ("last-modified", ""), ("link", ""),
    ("location", ""), ("max-forwards", ""), ("proxy-authenticate", ""), ("proxy-authorization", ""), ("range", ""),
    ("referer", ""), ("refresh", ""), ("retry-after", ""), ("server", ""), ("set-cookie", ""),
    ("strict-transport-security", ""), ("transfer-encoding", ""), ("user-agent", ""), ("vary", ""), ("via", ""),
    ("www-authenticate", ""),
];

/// Characters by the length of their codes. Codes count upwards within a length, and each length goes on where the shorter
/// one ended (RFC 7541 section 5.2), so this is all there is to know.
const HUFFMAN: [(u32, &str); 10] = [
    (5, "012aceiost"),
    (6, " %-./3456789=A_bdfghlmnpru"),
    (7, ":BCDEFGHIJKLMNOPQRSTUVWYjkqvwxyz"),
    (8, "&*,;XZ"),
    (10, "!\"()?"),
    (11, "'+|"),
    (12, "#>"),
    (13, "\0$@[]~"),
    (14, "^}"),
    (15, "<`{"),
];

/// The state of one direction of a connection.
#[derive(Debug)]
pub struct Decoder {
    table: VecDeque<Field>,
    bytes_max: usize,
}

impl Default for Decoder {
    fn default() -> Self {
        Self { table: VecDeque::new(), bytes_max: TABLE_BYTES }
    }
}

impl Decoder {
    /// The fields of one complete block.
    ///
    /// # Errors
    /// What RFC 7541 forbids.
    pub fn block(&mut self, block: &[u8]) -> io::Result<Vec<Field>> {
        let mut reader = Reader { rest: block };
        let mut fields = Vec::new();
        while let Some(first) = reader.rest.first().copied() {
            match first {
                0x80.. => fields.push(self.entry(reader.number(7)?)?),
                0x40..0x80 => {
                    let field = self.literal(&mut reader, 6)?;
                    fields.push(field.clone());
                    self.table.push_front(field);
                    self.shrink();
                }
                0x20..0x40 => {
                    self.bytes_max = reader.number(5)?;
                    if self.bytes_max > TABLE_BYTES || !fields.is_empty() {
                        return Err(invalid("a size of the dynamic table that nobody allowed"));
                    }
                    self.shrink();
                }
                _ => fields.push(self.literal(&mut reader, 4)?),
            }
        }
        Ok(fields)
    }

    fn literal(&self, reader: &mut Reader<'_>, prefix: u32) -> io::Result<Field> {
        let name = match reader.number(prefix)? {
            0 => reader.text()?,
            index => self.entry(index)?.0,
        };
        Ok((name, reader.text()?))
    }

    fn entry(&self, index: usize) -> io::Result<Field> {
        let known = index.checked_sub(1).ok_or_else(|| invalid("index 0"))?;
        if let Some((name, value)) = STATIC.get(known) {
            return Ok(((*name).to_owned(), (*value).to_owned()));
        }
        let learned = self.table.get(known - STATIC.len());
        learned.cloned().ok_or_else(|| invalid(format!("index {index} is beyond the tables")))
    }

    fn shrink(&mut self) {
        let bytes = |table: &VecDeque<Field>| -> usize {
            table.iter().map(|(name, value)| name.len() + value.len() + ENTRY_BYTES).sum()
        };
        while bytes(&self.table) > self.bytes_max {
            self.table.pop_back();
        }
    }
}

struct Reader<'a> {
    rest: &'a [u8],
}

impl Reader<'_> {
    fn byte(&mut self) -> io::Result<u8> {
        let (first, rest) = self.rest.split_first().ok_or_else(|| invalid("the header block is cut"))?;
        self.rest = rest;
        Ok(*first)
    }

    /// An integer whose first byte has this many bits for it (RFC 7541 section 5.1).
    fn number(&mut self, prefix: u32) -> io::Result<usize> {
        let mask = (1_usize << prefix) - 1;
        let mut value = usize::from(self.byte()?) & mask;
        if value < mask {
            return Ok(value);
        }
        for shift in [0, 7, 14, 21] {
            let byte = self.byte()?;
            value += usize::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(invalid("a number that no header block needs"))
    }

    fn text(&mut self) -> io::Result<String> {
        let huffman = self.rest.first().is_some_and(|byte| byte & 0x80 != 0);
        let length = self.number(7)?;
        let bytes = self.rest.get(..length).ok_or_else(|| invalid("a text is cut"))?;
        self.rest = &self.rest[length..];
        if huffman { unpack(bytes) } else { Ok(bytes.iter().map(|byte| char::from(*byte)).collect()) }
    }
}

fn unpack(bytes: &[u8]) -> io::Result<String> {
    let mut text = String::new();
    let (mut code, mut length) = (0_u32, 0_u32);
    for bit in bytes.iter().flat_map(|byte| (0..8).rev().map(move |at| u32::from(byte >> at & 1))) {
        (code, length) = (code << 1 | bit, length + 1);
        if let Some(character) = character(code, length) {
            text.push(character);
            (code, length) = (0, 0);
        }
    }
    // What is left is the beginning of a code of ones.
    if length < 8 && code == (1 << length) - 1 {
        Ok(text)
    } else {
        Err(invalid("a Huffman code that is cut"))
    }
}

fn character(code: u32, length: u32) -> Option<char> {
    let mut first = 0_u32;
    let mut before = 0_u32;
    for (bits, characters) in HUFFMAN {
        first <<= bits - before;
        before = bits;
        let count = u32::try_from(characters.len()).expect("few characters");
        if bits == length {
            return characters.chars().nth(code.checked_sub(first)? as usize);
        }
        first += count;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 7541 appendix C.6.1 and C.6.2.
    #[test]
    fn the_examples_of_the_rfc_are_read() {
        let bytes = |hex: &str| -> Vec<u8> {
            (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
        };
        let mut decoder = Decoder { bytes_max: 256, ..Decoder::default() };
        let first = bytes(
            "488264025885aec3771a4b6196d07abe941054d444a8200595040b8166e082a62d1bff6e919d29ad171863c78f0b97c8e9ae82ae43d3",
        );
        let fields = decoder.block(&first).expect("the first example");
        assert_eq!(fields[0], (":status".to_owned(), "302".to_owned()));
        assert_eq!(fields[2], ("date".to_owned(), "Mon, 21 Oct 2013 20:13:21 GMT".to_owned()));
        let second = decoder.block(&bytes("4883640effc1c0bf")).expect("the second example");
        assert_eq!(second[0].1, "307");
        assert_eq!(second[1], ("cache-control".to_owned(), "private".to_owned()));
        assert_eq!(second[3], ("location".to_owned(), "https://www.example.com".to_owned()));
    }
}
