//! Writes header blocks.

use std::collections::VecDeque;

use super::{FIELD_OVERHEAD, STATIC, TABLE_BYTES_MAX, huffman};
use crate::data_plane::http1::encode::number;

/// Fields that differ from message to message, or are secret: they would drive out what comes again (RFC 7541 section 7.1).
fn is_kept_out(name: &[u8]) -> bool {
    matches!(
        name,
        b"content-length"
            | b"etag"
            | b"set-cookie"
            | b"location"
            | b"age"
            | b"last-modified"
            | b"content-range"
            | b"expires"
            | b"x-request-id"
            | b"authorization"
            | b"proxy-authorization"
            | b"www-authenticate"
    )
}

/// Larger fields are never in the table.
const INDEXED_BYTES_MAX: usize = 256;

/// Places for what is in the table, each of one entry. A field may be in either of two; three that want the same two displace
/// each other, and are written out once more.
const PLACES: usize = 64;

/// One direction's state: blocks are read in the order in which they were written.
pub struct Encoder {
    places: Vec<Option<Entry>>,
    /// All that is in the table, the newest last, also what has lost its place.
    sizes: VecDeque<(usize, u8)>,
    inserted: u64,
    bytes: usize,
    bytes_max: usize,
    /// What the peer has set since the last block: the least, and the last.
    resized: Option<(usize, usize)>,
    lower: Vec<u8>,
}

struct Entry {
    /// Which one it was, from 1.
    number: u64,
    /// Name and value.
    field: Vec<u8>,
    name: usize,
}

impl Default for Encoder {
    fn default() -> Self {
        Self {
            places: Vec::new(),
            sizes: VecDeque::new(),
            inserted: 0,
            bytes: 0,
            bytes_max: TABLE_BYTES_MAX,
            resized: None,
            lower: Vec::new(),
        }
    }
}

impl Encoder {
    /// `SETTINGS_HEADER_TABLE_SIZE`: what the peer's table may hold.
    pub fn limit(&mut self, bytes: u32) {
        let bytes = (bytes as usize).min(TABLE_BYTES_MAX);
        let least = self.resized.map_or(bytes, |(least, _)| least.min(bytes));
        self.resized = Some((least, bytes));
    }

    /// Begins a block.
    pub fn begin(&mut self, into: &mut Vec<u8>) {
        let Some((least, last)) = self.resized.take() else { return };
        if least < self.bytes_max {
            self.resize(least, into);
        }
        if last != self.bytes_max {
            self.resize(last, into);
        }
    }

    fn resize(&mut self, bytes: usize, into: &mut Vec<u8>) {
        self.bytes_max = bytes;
        self.shrink_to(bytes);
        integer(0x20, 5, bytes, into);
    }

    pub fn status(&mut self, status: u16, into: &mut Vec<u8>) {
        let index = match status {
            200 => 8,
            204 => 9,
            206 => 10,
            304 => 11,
            400 => 12,
            404 => 13,
            500 => 14,
            _ => {
                let digits = [100, 10, 1].map(|unit| b'0' + (status / unit % 10) as u8);
                return self.lowered(b":status", &digits, into);
            }
        };
        into.push(0x80 | index);
    }

    /// Writes `content-length`.
    pub fn content_length(&mut self, length: u64, into: &mut Vec<u8>) {
        // A literal without indexing, its name from the static table.
        integer(0, 4, 28, into);
        let start = into.len();
        into.push(0);
        number(into, length);
        // At most twenty digits.
        into[start] = (into.len() - start - 1) as u8;
    }

    /// Writes a field, its name in lower case.
    pub fn field(&mut self, name: &[u8], value: &[u8], into: &mut Vec<u8>) {
        if !name.iter().any(u8::is_ascii_uppercase) {
            return self.lowered(name, value, into);
        }
        let mut lower = std::mem::take(&mut self.lower);
        lower.clear();
        lower.extend_from_slice(name);
        lower.make_ascii_lowercase();
        self.lowered(&lower, value, into);
        self.lower = lower;
    }

    fn lowered(&mut self, name: &[u8], value: &[u8], into: &mut Vec<u8>) {
        let size = name.len() + value.len();
        if size > INDEXED_BYTES_MAX || size + FIELD_OVERHEAD > self.bytes_max || is_kept_out(name) {
            // Literal without indexing (6.2.2).
            name_of(0, 4, name, into);
            integer(0, 7, value.len(), into);
            return into.extend_from_slice(value);
        }
        let places = places(name, value);
        for place in places {
            if let Some(Some(entry)) = self.places.get(usize::from(place))
                && entry.field.split_at(entry.name) == (name, value)
            {
                let index = STATIC.len() + 1 + (self.inserted - entry.number) as usize;
                return integer(0x80, 7, index, into);
            }
        }
        // Literal with incremental indexing (6.2.1).
        name_of(0x40, 6, name, into);
        string(value, into);
        self.insert(places, name, value);
    }

    fn insert(&mut self, places: [u8; 2], name: &[u8], value: &[u8]) {
        let size = name.len() + value.len() + FIELD_OVERHEAD;
        self.shrink_to(self.bytes_max - size);
        self.bytes += size;
        self.inserted += 1;
        if self.places.is_empty() {
            self.places.resize_with(PLACES, || None);
        }
        // The older of the two gives way.
        let number = |place: u8| self.places[usize::from(place)].as_ref().map_or(0, |entry| entry.number);
        let [one, other] = places;
        let place = if number(one) <= number(other) { one } else { other };
        self.sizes.push_back((size, place));
        let entry = Entry { number: self.inserted, field: [name, value].concat(), name: name.len() };
        self.places[usize::from(place)] = Some(entry);
    }

    fn shrink_to(&mut self, bytes: usize) {
        while self.bytes > bytes {
            let oldest = self.inserted + 1 - self.sizes.len() as u64;
            let Some((size, place)) = self.sizes.pop_front() else { return };
            self.bytes -= size;
            let place = &mut self.places[usize::from(place)];
            if place.as_ref().is_some_and(|entry| entry.number == oldest) {
                *place = None;
            }
        }
    }
}

/// Where a field is looked for, by its lengths and its ends.
fn places(name: &[u8], value: &[u8]) -> [u8; 2] {
    let ends = ends(name) ^ ends(value).rotate_left(29) ^ (name.len() << 8 ^ value.len()) as u64;
    let place = (ends.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (u64::BITS - PLACES.ilog2())) as u8;
    [place, place ^ 1]
}

/// The first and the last eight bytes, in one number.
fn ends(text: &[u8]) -> u64 {
    match (text.first_chunk::<8>(), text.last_chunk::<8>()) {
        (Some(first), Some(last)) => u64::from_be_bytes(*first).rotate_left(17) ^ u64::from_be_bytes(*last),
        _ => text.iter().fold(0, |word, &byte| word << 8 | u64::from(byte)),
    }
}

/// The first index of a name in the static table.
fn static_name(name: &[u8]) -> Option<usize> {
    let &(from, to) = BY_LENGTH.get(name.len())?;
    ORDERED[usize::from(from)..usize::from(to)]
        .iter()
        .find(|&&at| STATIC[usize::from(at)].0.as_bytes() == name)
        .map(|&at| usize::from(at) + 1)
}

/// Length of the longest name in the static table.
const NAME_MAX: usize = 27;

/// Entries of the static table that are the first of their name, by the length of that.
static ORDERED: [u8; STATIC.len()] = ordered().0;

/// Where those of a length are.
static BY_LENGTH: [(u8, u8); NAME_MAX + 1] = ordered().1;

const fn ordered() -> ([u8; STATIC.len()], [(u8, u8); NAME_MAX + 1]) {
    let (mut ordered, mut by_length) = ([0; STATIC.len()], [(0, 0); NAME_MAX + 1]);
    let (mut placed, mut length) = (0, 0);
    while length <= NAME_MAX {
        by_length[length].0 = placed as u8;
        let mut at = 0;
        while at < STATIC.len() {
            if STATIC[at].0.len() == length {
                ordered[placed] = at as u8;
                placed += 1;
            }
            at += 1;
        }
        by_length[length].1 = placed as u8;
        length += 1;
    }
    assert!(placed == STATIC.len(), "a longer name");
    (ordered, by_length)
}

/// The name of a literal.
fn name_of(mark: u8, prefix: u32, name: &[u8], into: &mut Vec<u8>) {
    match static_name(name) {
        Some(index) => integer(mark, prefix, index, into),
        None => {
            into.push(mark);
            string(name, into);
        }
    }
}

fn string(text: &[u8], into: &mut Vec<u8>) {
    let coded = huffman::coded_len(text);
    if coded < text.len() {
        integer(0x80, 7, coded, into);
        huffman::encode(text, into);
    } else {
        integer(0, 7, text.len(), into);
        into.extend_from_slice(text);
    }
}

/// Section 5.1.
fn integer(mark: u8, prefix: u32, value: usize, into: &mut Vec<u8>) {
    let mask = (1 << prefix) - 1;
    if value < mask {
        return into.push(mark | value as u8);
    }
    into.push(mark | mask as u8);
    let mut rest = value - mask;
    while rest >= 0x80 {
        into.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    into.push(rest as u8);
}

#[cfg(test)]
mod tests {
    use super::{super::decode::Decoder, *};

    /// Writes and reads fields on one connection.
    #[derive(Default)]
    struct Both {
        encoder: Encoder,
        decoder: Decoder,
    }

    impl Both {
        /// How long the block was.
        fn pass(&mut self, status: u16, fields: &[(&str, &str)]) -> usize {
            let mut block = Vec::new();
            self.encoder.begin(&mut block);
            self.encoder.status(status, &mut block);
            for (name, value) in fields {
                self.encoder.field(name.as_bytes(), value.as_bytes(), &mut block);
            }
            let mut read = Vec::new();
            self.decoder
                .decode(&block, |name, value| {
                    read.push((
                        String::from_utf8_lossy(name).into_owned(),
                        String::from_utf8_lossy(value).into_owned(),
                    ));
                    true
                })
                .expect("our own block");
            let mut expected = vec![(":status".to_owned(), status.to_string())];
            expected
                .extend(fields.iter().map(|(name, value)| (name.to_ascii_lowercase(), (*value).to_owned())));
            assert_eq!(read, expected);
            block.len()
        }
    }

    #[test]
    fn names_are_found_in_the_static_table_at_their_first_place() {
        for (at, (name, _)) in STATIC.iter().enumerate() {
            let first = STATIC.iter().position(|(known, _)| known == name);
            assert_eq!(static_name(name.as_bytes()), first.map(|first| first + 1), "{at}");
        }
        for unknown in ["", "x", "content-typo", "access-control-allow-origins"] {
            assert_eq!(static_name(unknown.as_bytes()), None);
        }
    }

    #[test]
    fn a_length_is_a_literal() {
        for length in [0, 7, 128, u64::MAX] {
            let mut block = Vec::new();
            Encoder::default().content_length(length, &mut block);
            let mut read = None;
            let decoded = Decoder::default().decode(&block, |name, value| {
                assert_eq!(name, b"content-length");
                read = std::str::from_utf8(value).ok().map(|value| value.parse());
                true
            });
            assert_eq!((decoded, read), (Ok(()), Some(Ok(length))));
        }
    }

    #[test]
    fn what_comes_again_takes_a_byte_or_two() {
        let mut both = Both::default();
        let fields = [
            ("Server", "nginx"),
            ("date", "Mon, 21 Oct 2013 20:13:21 GMT"),
            ("content-type", "application/json"),
            ("x-custom", ""),
        ];
        assert!(both.pass(200, &fields) > 40);
        assert_eq!(both.pass(200, &fields), 5);
        assert!(both.pass(503, &fields) > 5, "a status that is not in the static table");
        assert_eq!(both.pass(503, &fields), 5);
    }

    #[test]
    fn what_differs_each_time_or_is_secret_is_not_kept() {
        let mut both = Both::default();
        let fields = [("content-length", "128"), ("set-cookie", "session=1"), ("etag", "\"a\"")];
        assert_eq!(both.pass(200, &fields), both.pass(200, &fields));
        assert_eq!(both.encoder.bytes, 0);
        both.pass(200, &[("x-long", &"x".repeat(300))]);
        assert_eq!(both.encoder.bytes, 0);
    }

    #[test]
    fn whatever_is_driven_out_or_displaced_both_sides_agree() {
        let mut both = Both::default();
        let mut random = 1_u32;
        let mut next = |below: u32| {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (random >> 8) % below
        };
        for round in 0..3000 {
            if round % 100 == 99 {
                for _ in 0..next(3) {
                    both.encoder.limit(next(5000));
                }
            }
            let fields: Vec<(String, String)> = (0..next(12))
                .map(|_| (format!("x-{}", next(30)), "v".repeat(next(120) as usize) + &next(4).to_string()))
                .collect();
            let fields: Vec<(&str, &str)> = fields.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
            both.pass(200 + (round % 5) as u16, &fields);
            assert!(both.encoder.bytes <= both.encoder.bytes_max);
            assert!(both.encoder.places.iter().flatten().all(|entry| entry.field.len() <= INDEXED_BYTES_MAX));
        }
    }

    #[test]
    fn a_table_that_the_peer_does_not_want_is_not_used() {
        let mut both = Both::default();
        both.pass(200, &[("a", "b")]);
        both.encoder.limit(0);
        both.encoder.limit(u32::MAX);
        let fields = [("a", "b")];
        assert!(both.pass(200, &fields) > 3, "emptied in between");
        both.encoder.limit(0);
        both.pass(200, &fields);
        assert_eq!(both.pass(200, &fields), both.pass(200, &fields));
        assert_eq!(both.encoder.bytes, 0);
    }
}
