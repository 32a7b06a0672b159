//! Content digests: the key of everything compiled. Equal digest, same object.

use std::fmt;

use sha2::{Digest as _, Sha256};

/// SHA-256 of a canonical form.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest([u8; 32]);

impl Digest {
    pub fn of(bytes: impl AsRef<[u8]>) -> Self {
        Self(Sha256::digest(bytes.as_ref()).into())
    }

    pub fn builder() -> DigestBuilder {
        DigestBuilder(Sha256::new())
    }

    /// The digest that these bytes are; they are not digested.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Reads what `Display` wrote.
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        let byte = |at: usize| u8::from_str_radix(text.get(2 * at..2 * at + 2)?, 16).ok();
        let bytes: Option<Vec<u8>> = digits.then(|| (0..32).map(byte).collect()).flatten();
        bytes?.try_into().ok().map(Self)
    }

    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The first 12 hexadecimal digits: enough to tell two configurations apart in a log line.
    pub fn short(&self) -> String {
        self.to_string()[..12].to_owned()
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.short())
    }
}

/// Digest of a sequence of parts. Each part is length-prefixed, so `("ab", "c")` and `("a", "bc")`
/// differ.
pub struct DigestBuilder(Sha256);

impl DigestBuilder {
    #[must_use]
    pub fn part(mut self, bytes: impl AsRef<[u8]>) -> Self {
        self.add(bytes);
        self
    }

    pub fn add(&mut self, bytes: impl AsRef<[u8]>) {
        let bytes = bytes.as_ref();
        self.0.update((bytes.len() as u64).to_le_bytes());
        self.0.update(bytes);
    }

    pub fn finish(self) -> Digest {
        Digest(self.0.finalize().into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_read_as_it_is_written() {
        let digest = Digest::of("x");
        assert_eq!(Digest::parse(&digest.to_string()), Some(digest));
        assert_eq!(Digest::from_bytes(*digest.as_bytes()), digest);
        let text = digest.to_string();
        for wrong in
            [&text[1..], "", &text.to_uppercase(), &text.replace(&text[..1], "g"), &format!("{text}0")]
        {
            assert_eq!(Digest::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn parts_are_length_prefixed() {
        let one = Digest::builder().part("ab").part("c").finish();
        let other = Digest::builder().part("a").part("bc").finish();
        assert_ne!(one, other);
    }
}
