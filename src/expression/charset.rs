//! Character encodings by name: `toBinary`, `toString`, and the `charset` of a text body.
//! Text that an encoding cannot express, or bytes that it does not produce, are an error: a
//! replacement character in a key or a credential would make different values equal.

use std::borrow::Cow;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Charset {
    Utf8,
    Ascii,
    Latin1,
}

impl Charset {
    /// The names to show; further aliases are accepted.
    pub const NAMES: [&str; 3] = ["UTF-8", "US-ASCII", "ISO-8859-1"];

    /// The encoding of a name, case ignored.
    pub fn from_name(name: &str) -> Option<Self> {
        const ALIASES: [(&str, Charset); 7] = [
            ("UTF-8", Charset::Utf8),
            ("UTF8", Charset::Utf8),
            ("US-ASCII", Charset::Ascii),
            ("ASCII", Charset::Ascii),
            ("ISO-8859-1", Charset::Latin1),
            ("ISO8859_1", Charset::Latin1),
            ("LATIN1", Charset::Latin1),
        ];
        let name = name.trim();
        ALIASES.iter().find(|(alias, _)| alias.eq_ignore_ascii_case(name)).map(|(_, charset)| *charset)
    }

    pub fn encode(self, text: Cow<'_, str>) -> Result<Cow<'_, [u8]>, &'static str> {
        match self {
            Self::Latin1 if !text.is_ascii() => text
                .chars()
                .map(|c| u8::try_from(u32::from(c)))
                .collect::<Result<Vec<u8>, _>>()
                .map(Cow::Owned)
                .map_err(|_| "the text has characters outside ISO-8859-1"),
            Self::Ascii if !text.is_ascii() => Err("the text has characters outside US-ASCII"),
            _ => Ok(match text {
                Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
                Cow::Owned(text) => Cow::Owned(text.into_bytes()),
            }),
        }
    }

    pub fn decode(self, bytes: Cow<'_, [u8]>) -> Result<Cow<'_, str>, &'static str> {
        match self {
            Self::Latin1 if !bytes.is_ascii() => {
                Ok(Cow::Owned(bytes.iter().map(|byte| char::from(*byte)).collect()))
            }
            Self::Ascii if !bytes.is_ascii() => Err("the bytes are not US-ASCII"),
            _ => match bytes {
                Cow::Borrowed(bytes) => std::str::from_utf8(bytes).map(Cow::Borrowed).map_err(|_| NOT_UTF8),
                Cow::Owned(bytes) => String::from_utf8(bytes).map(Cow::Owned).map_err(|_| NOT_UTF8),
            },
        }
    }
}

const NOT_UTF8: &str = "the bytes are not UTF-8";
