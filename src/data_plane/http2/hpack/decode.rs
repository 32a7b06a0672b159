//! Reads header blocks.

use std::collections::VecDeque;

use super::{CompressionError, FIELD_OVERHEAD, STATIC, TABLE_BYTES_MAX, huffman};

/// One direction's state: a block can be read only after all blocks before it.
#[derive(Default)]
pub struct Decoder {
    table: Table,
    /// The field that is being read.
    field: Vec<u8>,
}

/// Why a block was not read to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecodeError {
    Compression,
    /// Whoever takes the fields wants no more: the connection has to end, for the table is not what the peer thinks it is.
    Stopped,
}

impl From<CompressionError> for DecodeError {
    fn from(_: CompressionError) -> Self {
        Self::Compression
    }
}

impl Decoder {
    /// Reads a whole block, and shows each field, name and value, to `take`, which says whether it wants more.
    ///
    /// # Errors
    /// [`DecodeError`]; either ends the connection.
    pub fn decode(
        &mut self,
        block: &[u8],
        mut take: impl FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<(), DecodeError> {
        let mut block = Block(block);
        let mut begun = false;
        while let Some(&first) = block.0.first() {
            let wants_more = match first {
                // Indexed field (6.1).
                0x80.. => {
                    let (name, value) = self.table.get(block.integer(7)?)?;
                    take(name, value)
                }
                // Literal with incremental indexing (6.2.1).
                0x40.. => {
                    let name = self.literal(&mut block, 6)?;
                    self.table.insert(&self.field, name);
                    take(&self.field[..name], &self.field[name..])
                }
                // Dynamic table size update (6.3), at the beginning alone (4.2).
                0x20.. => {
                    let bytes = block.integer(5)?;
                    if begun || bytes > TABLE_BYTES_MAX {
                        return Err(DecodeError::Compression);
                    }
                    self.table.resize(bytes);
                    continue;
                }
                // Literal without indexing, or never indexed (6.2.2, 6.2.3).
                _ => {
                    let name = self.literal(&mut block, 4)?;
                    take(&self.field[..name], &self.field[name..])
                }
            };
            if !wants_more {
                return Err(DecodeError::Stopped);
            }
            begun = true;
        }
        Ok(())
    }

    /// Holds no memory for a field that was large.
    pub fn rest(&mut self) {
        if self.field.capacity() > TABLE_BYTES_MAX {
            self.field = Vec::new();
        }
    }

    /// Reads a literal into `field`; how long its name is.
    fn literal(&mut self, block: &mut Block<'_>, prefix: u32) -> Result<usize, CompressionError> {
        self.field.clear();
        match block.integer(prefix)? {
            0 => block.string(&mut self.field)?,
            index => self.field.extend_from_slice(self.table.get(index)?.0),
        }
        let name = self.field.len();
        block.string(&mut self.field)?;
        Ok(name)
    }
}

/// What is left of a block.
struct Block<'b>(&'b [u8]);

impl Block<'_> {
    fn byte(&mut self) -> Result<u8, CompressionError> {
        let (&first, rest) = self.0.split_first().ok_or(CompressionError)?;
        self.0 = rest;
        Ok(first)
    }

    /// Section 5.1. Nothing that is counted here needs more than three further bytes.
    fn integer(&mut self, prefix: u32) -> Result<usize, CompressionError> {
        let mask = (1 << prefix) - 1;
        let mut value = usize::from(self.byte()?) & mask;
        if value < mask {
            return Ok(value);
        }
        for shift in [0, 7, 14] {
            let byte = self.byte()?;
            value += usize::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(CompressionError)
    }

    /// Section 5.2.
    fn string(&mut self, into: &mut Vec<u8>) -> Result<(), CompressionError> {
        let is_coded = self.0.first().is_some_and(|first| first & 0x80 != 0);
        let length = self.integer(7)?;
        let (text, rest) = self.0.split_at_checked(length).ok_or(CompressionError)?;
        self.0 = rest;
        if is_coded {
            return huffman::decode(text, into);
        }
        into.extend_from_slice(text);
        Ok(())
    }
}

/// The dynamic table (section 2.3.2), the newest entry first.
struct Table {
    entries: VecDeque<Entry>,
    bytes: usize,
    bytes_max: usize,
}

struct Entry {
    /// Name and value.
    field: Box<[u8]>,
    name: usize,
}

impl Default for Table {
    fn default() -> Self {
        Self { entries: VecDeque::new(), bytes: 0, bytes_max: TABLE_BYTES_MAX }
    }
}

impl Table {
    fn get(&self, index: usize) -> Result<(&[u8], &[u8]), CompressionError> {
        let index = index.checked_sub(1).ok_or(CompressionError)?;
        if let Some((name, value)) = STATIC.get(index) {
            return Ok((name.as_bytes(), value.as_bytes()));
        }
        let entry = self.entries.get(index - STATIC.len()).ok_or(CompressionError)?;
        Ok(entry.field.split_at(entry.name))
    }

    /// Section 4.4: what is larger than the table empties it.
    fn insert(&mut self, field: &[u8], name: usize) {
        let size = field.len() + FIELD_OVERHEAD;
        self.shrink_to(self.bytes_max.saturating_sub(size));
        if size <= self.bytes_max {
            self.bytes += size;
            self.entries.push_front(Entry { field: field.into(), name });
        }
    }

    fn resize(&mut self, bytes_max: usize) {
        self.bytes_max = bytes_max;
        self.shrink_to(bytes_max);
    }

    fn shrink_to(&mut self, bytes: usize) {
        while self.bytes > bytes {
            let Some(oldest) = self.entries.pop_back() else { return };
            self.bytes -= oldest.field.len() + FIELD_OVERHEAD;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(hex: &str) -> Vec<u8> {
        let hex: Vec<u8> = hex.bytes().filter(u8::is_ascii_hexdigit).collect();
        hex.chunks(2)
            .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
            .collect()
    }

    fn read(decoder: &mut Decoder, block: &[u8]) -> Result<Vec<String>, DecodeError> {
        let mut fields = Vec::new();
        decoder.decode(block, |name, value| {
            fields.push(format!("{}={}", String::from_utf8_lossy(name), String::from_utf8_lossy(value)));
            true
        })?;
        Ok(fields)
    }

    #[test]
    fn the_requests_of_rfc_7541_appendix_c_are_read_one_after_the_other() {
        for blocks in [
            // C.3
            [
                "8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
                "8286 84be 5808 6e6f 2d63 6163 6865",
                "8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65",
            ],
            // C.4
            [
                "8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff",
                "8286 84be 5886 a8eb 1064 9cbf",
                "8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf",
            ],
        ] {
            let mut decoder = Decoder::default();
            let mut next = |at: usize| read(&mut decoder, &bytes(blocks[at])).unwrap().join(" ");
            assert_eq!(next(0), ":method=GET :scheme=http :path=/ :authority=www.example.com");
            assert_eq!(
                next(1),
                ":method=GET :scheme=http :path=/ :authority=www.example.com cache-control=no-cache"
            );
            assert_eq!(
                next(2),
                ":method=GET :scheme=https :path=/index.html :authority=www.example.com custom-key=custom-value"
            );
            assert_eq!(decoder.table.bytes, 164);
        }
    }

    #[test]
    fn a_small_table_forgets_as_in_rfc_7541_c_6() {
        let mut decoder = Decoder::default();
        decoder.table.resize(256);
        for (block, size) in [
            (
                "4882 6402 5885 aec3 771a 4b61 96d0 7abe 9410 54d4 44a8 2005 9504 0b81 66e0 82a6 2d1b ff6e \
                 919d 29ad 1718 63c7 8f0b 97c8 e9ae 82ae 43d3",
                222,
            ),
            ("4883 640e ffc1 c0bf", 222),
            (
                "88c1 6196 d07a be94 1054 d444 a820 0595 040b 8166 e084 a62d 1bff c05a 839b d9ab 77ad 94e7 \
                 821d d7f2 e6c7 b335 dfdf cd5b 3960 d5af 2708 7f36 72c1 ab27 0fb5 291f 9587 3160 65c0 03ed \
                 4ee5 b106 3d50 07",
                215,
            ),
        ] {
            let fields = read(&mut decoder, &bytes(block)).unwrap();
            assert!(fields.contains(&"location=https://www.example.com".to_owned()), "{fields:?}");
            assert_eq!(decoder.table.bytes, size);
        }
    }

    #[test]
    fn what_is_larger_than_the_table_empties_it() {
        let mut decoder = Decoder::default();
        decoder.table.resize(60);
        read(&mut decoder, b"\x40\x01a\x01b").unwrap();
        assert_eq!(decoder.table.entries.len(), 1);
        let value = "v".repeat(40);
        let fields = read(&mut decoder, format!("\x40\x01a\x28{value}").as_bytes()).unwrap();
        assert_eq!(fields, [format!("a={value}")]);
        assert_eq!((decoder.table.entries.len(), decoder.table.bytes), (0, 0));
    }

    #[test]
    fn a_name_may_come_from_the_entry_that_its_field_drives_out() {
        let mut decoder = Decoder::default();
        decoder.table.resize(40);
        read(&mut decoder, b"\x40\x03abc\x01d").unwrap();
        assert_eq!(read(&mut decoder, b"\x7e\x02de\xbe").unwrap(), ["abc=de", "abc=de"]);
    }

    #[test]
    fn whoever_wants_no_more_is_shown_no_more() {
        let mut shown = 0;
        let stopped = Decoder::default().decode(&[0x82; 100], |_, _| {
            shown += 1;
            shown < 3
        });
        assert_eq!((stopped, shown), (Err(DecodeError::Stopped), 3));
    }

    #[test]
    fn blocks_that_are_cut_anywhere_are_refused_or_shorter() {
        let block = bytes(
            "8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff40 0a63 7573 746f 6d2d 6b65 790c 6375 7374 6f6d 2d76 616c 7565",
        );
        let whole = read(&mut Decoder::default(), &block).unwrap();
        for end in 0..block.len() {
            if let Ok(fields) = read(&mut Decoder::default(), &block[..end]) {
                assert!(fields.len() < whole.len() && whole.starts_with(&fields), "{end}");
            }
        }
    }
}
