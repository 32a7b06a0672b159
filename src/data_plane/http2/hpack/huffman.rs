//! Huffman-coded strings (RFC 7541 section 5.2 and appendix B).
//!
//! The code is canonical: codes of one length follow each other in the order of their symbols, and the first of a length
//! follows the last of the length before. So the lengths are all that has to be written down.

use super::CompressionError;

/// Bits of the code of each byte.
#[rustfmt::skip]
const LENGTHS: [u8; 256] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28,
    6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10,
    13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6,
    15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28,
    20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24,
    22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
    26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27,
    20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26,
];

/// Bits of the longest code. The end of string is the last of them, and never written.
const LENGTH_MAX: usize = 30;

/// Bits that a look-up decodes at a time; the characters that fields are made of have no longer codes.
const SHORT_BITS: u32 = 8;

struct Codes {
    of: [u32; 256],
    /// Bytes in the order of their codes.
    ordered: [u8; 256],
    /// By length: the first code, and where its byte is in `ordered`.
    first: [u32; LENGTH_MAX + 1],
    at: [u32; LENGTH_MAX + 1],
    count: [u32; LENGTH_MAX + 1],
    /// The byte and the length of the code that eight bits begin with; a length of 0 is a longer one.
    short: [(u8, u8); 1 << SHORT_BITS],
}

static CODES: Codes = codes();

const fn codes() -> Codes {
    let mut codes = Codes {
        of: [0; 256],
        ordered: [0; 256],
        first: [0; LENGTH_MAX + 1],
        at: [0; LENGTH_MAX + 1],
        count: [0; LENGTH_MAX + 1],
        short: [(0, 0); 1 << SHORT_BITS],
    };
    let (mut code, mut placed, mut length) = (0, 0, 1);
    while length <= LENGTH_MAX {
        code <<= 1;
        codes.first[length] = code;
        codes.at[length] = placed;
        let mut byte = 0;
        while byte < 256 {
            if LENGTHS[byte] as usize == length {
                codes.of[byte] = code;
                codes.ordered[placed as usize] = byte as u8;
                placed += 1;
                if length as u32 <= SHORT_BITS {
                    let spare = SHORT_BITS - length as u32;
                    let mut rest = 0;
                    while rest < 1 << spare {
                        codes.short[((code << spare) + rest) as usize] = (byte as u8, length as u8);
                        rest += 1;
                    }
                }
                code += 1;
            }
            byte += 1;
        }
        codes.count[length] = code - codes.first[length];
        length += 1;
    }
    codes
}

/// Appends the decoded string.
///
/// # Errors
/// [`CompressionError`]: the end of string inside, or padding that is not its beginning or takes a byte (RFC 7541 section 5.2).
pub fn decode(coded: &[u8], into: &mut Vec<u8>) -> Result<(), CompressionError> {
    // No code has less than five bits.
    into.reserve(coded.len() * 8 / 5 + 1);
    let mut coded = coded.iter();
    // The next bits, the first of them highest.
    let (mut bits, mut held) = (0_u64, 0_u32);
    loop {
        while held <= 56 {
            let Some(&byte) = coded.next() else { break };
            bits |= u64::from(byte) << (56 - held);
            held += 8;
        }
        if held == 0 {
            return Ok(());
        }
        let (byte, length) = CODES.short[(bits >> (64 - SHORT_BITS)) as usize];
        if length != 0 && u32::from(length) <= held {
            into.push(byte);
            bits <<= length;
            held -= u32::from(length);
            continue;
        }
        // What is left is shorter than a code: padding.
        if held < 8 && bits >> (64 - held) == (1 << held) - 1 {
            return Ok(());
        }
        let long = (SHORT_BITS as usize + 1..=LENGTH_MAX.min(held as usize)).find_map(|length| {
            let offset = ((bits >> (64 - length)) as u32).checked_sub(CODES.first[length])?;
            (offset < CODES.count[length])
                .then(|| (CODES.ordered[(CODES.at[length] + offset) as usize], length))
        });
        let (byte, length) = long.ok_or(CompressionError)?;
        into.push(byte);
        bits <<= length;
        held -= length as u32;
    }
}

/// Bytes that a string takes when it is coded.
pub fn coded_len(text: &[u8]) -> usize {
    text.iter().map(|&byte| usize::from(LENGTHS[usize::from(byte)])).sum::<usize>().div_ceil(8)
}

/// Appends the coded string.
pub fn encode(text: &[u8], into: &mut Vec<u8>) {
    let (mut bits, mut held) = (0_u64, 0_u32);
    for &byte in text {
        let length = u32::from(LENGTHS[usize::from(byte)]);
        bits = bits << length | u64::from(CODES.of[usize::from(byte)]);
        held += length;
        while held >= 8 {
            held -= 8;
            into.push((bits >> held) as u8);
        }
    }
    if held > 0 {
        // Padded with the beginning of the end of string, which is ones.
        into.push((bits << (8 - held)) as u8 | (0xff >> held));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(coded: &[u8]) -> Result<Vec<u8>, CompressionError> {
        let mut text = Vec::new();
        decode(coded, &mut text).map(|()| text)
    }

    #[test]
    fn the_strings_of_rfc_7541_appendix_c_are_coded_as_there() {
        for (text, coded) in [
            ("www.example.com", "f1e3c2e5f23a6ba0ab90f4ff"),
            ("no-cache", "a8eb10649cbf"),
            ("custom-key", "25a849e95ba97d7f"),
            ("custom-value", "25a849e95bb8e8b4bf"),
            ("302", "6402"),
            ("private", "aec3771a4b"),
            ("Mon, 21 Oct 2013 20:13:21 GMT", "d07abe941054d444a8200595040b8166e082a62d1bff"),
            ("https://www.example.com", "9d29ad171863c78f0b97c8e9ae82ae43d3"),
            (
                "foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1",
                "94e7821dd7f2e6c7b335dfdfcd5b3960d5af27087f3672c1ab270fb5291f9587316065c003ed4ee5b1063d5007",
            ),
        ] {
            let mut ours = Vec::new();
            encode(text.as_bytes(), &mut ours);
            let hex: String = ours.iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(hex, coded, "{text}");
            assert_eq!(coded_len(text.as_bytes()), ours.len());
            assert_eq!(decoded(&ours).unwrap(), text.as_bytes());
        }
    }

    #[test]
    fn every_byte_comes_back_wherever_it_stands() {
        for byte in 0..=255 {
            for before in 0..9 {
                let text = [vec![b'0'; before], vec![byte; 3]].concat();
                let mut coded = Vec::new();
                encode(&text, &mut coded);
                assert_eq!(decoded(&coded).unwrap(), text);
            }
        }
    }

    #[test]
    fn the_codes_at_both_ends_of_appendix_b_are_those_of_the_table() {
        for (byte, code) in
            [(b'0', 0), (b'a', 3), (b' ', 0x14), (b'X', 0xfc), (b'{', 0x7ffe), (0, 0x1ff8), (22, 0x3fff_fffe)]
        {
            assert_eq!(CODES.of[usize::from(byte)], code, "{byte}");
        }
    }

    #[test]
    fn padding_is_less_than_a_byte_of_ones_and_the_end_of_string_is_never_there() {
        for coded in [
            &[0xff][..],
            &[0x1f, 0xff],
            &[0x18],
            &[0xff, 0xff, 0xff, 0xff],
            &[0xff, 0xff, 0xff, 0xfc],
            &[0xff, 0xff, 0xff, 0xff, 0xff],
        ] {
            assert!(decoded(coded).is_err(), "{coded:x?}");
        }
        assert_eq!(decoded(&[]).unwrap(), b"");
        assert_eq!(decoded(&[0x1f]).unwrap(), b"a");
    }
}
