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
    fn parts_are_length_prefixed() {
        let one = Digest::builder().part("ab").part("c").finish();
        let other = Digest::builder().part("a").part("bc").finish();
        assert_ne!(one, other);
    }
}
