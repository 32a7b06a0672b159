//! The configuration that replicas share, as it lies in the shared storage and on disk (decision 38; connected mode
//! reference 7.5 and 7.7).
//!
//! Sealed: only who has a key of `cluster.key_file` can read or make one. The id of the gateway and the version are
//! bound to it, so a record of another gateway, or one under another version, does not open.

use std::{fmt, sync::Arc};

use serde::{Deserialize, Serialize};

use crate::{
    base::{
        Digest,
        seal::{KeyRing, Purpose},
    },
    resources::{SharedFile, SharedFiles},
    storage::{VALUE_BYTES_MAX, Versioned},
};

/// The first byte of what is sealed.
const FORMAT: u8 = 1;
const FILES_MAX: usize = 10_000;
const NAME_BYTES_MAX: usize = 4096;

/// A configuration that a replica had accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The greater one is the newer.
    pub version: u64,
    pub content: Content,
}

/// What a record says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Content {
    /// Id of the replica that published it.
    pub publisher: String,
    /// When, in milliseconds since 1970 by its clock. For people.
    pub published_ms: u64,
    pub files: Arc<[SharedFile]>,
}

/// Why bytes are not a record for this gateway. The text shows nothing of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotARecord {
    /// Nobody with one of our keys made it for this gateway and this version.
    Seal,
    /// Made by a gateway of another version.
    Format(u8),
    Malformed,
}

impl fmt::Display for NotARecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Seal => f.write_str(
                "it is not sealed for this gateway and its version by a key of `cluster.key_file`: forged, damaged, or \
                 made with a key that this replica lacks",
            ),
            Self::Format(format) => write!(f, "it has the format {format}, which this version cannot read"),
            Self::Malformed => f.write_str("what is sealed in it is no configuration"),
        }
    }
}

/// The configuration does not fit into a record: it would be this many bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLarge(pub usize);

impl fmt::Display for TooLarge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "it has {} bytes and at most {VALUE_BYTES_MAX} can be shared; make the files smaller, or give each replica its \
             own copy of them (`cluster.share_config: off`)",
            self.0
        )
    }
}

impl Record {
    /// The form in which it is stored.
    ///
    /// # Errors
    /// When that is more than a value may have.
    pub fn seal(&self, ring: &KeyRing, gateway: &str) -> Result<Versioned, TooLarge> {
        let plain = self.content.encode();
        let value = ring.seal(Purpose::Configuration, &bound(gateway, self.version), &plain);
        if value.len() > VALUE_BYTES_MAX {
            return Err(TooLarge(value.len()));
        }
        Ok(Versioned { version: self.version, value })
    }

    /// Reads what is stored.
    ///
    /// # Errors
    /// [`NotARecord`], whatever the bytes are.
    pub fn open(stored: &Versioned, ring: &KeyRing, gateway: &str) -> Result<Self, NotARecord> {
        if stored.value.len() > VALUE_BYTES_MAX {
            return Err(NotARecord::Seal);
        }
        let aad = bound(gateway, stored.version);
        let plain = ring.open(Purpose::Configuration, &aad, &stored.value).ok_or(NotARecord::Seal)?;
        Ok(Self { version: stored.version, content: Content::decode(&plain)? })
    }

    /// Of what its files say.
    pub fn digest(&self) -> Digest {
        SharedFiles::digest(&self.content.files)
    }

    pub fn files(&self) -> SharedFiles {
        SharedFiles { version: self.version, files: Arc::clone(&self.content.files) }
    }
}

/// What a seal binds to the record.
fn bound(gateway: &str, version: u64) -> Vec<u8> {
    [&version.to_be_bytes()[..], gateway.as_bytes()].concat()
}

impl Content {
    /// What is sealed.
    pub fn encode(&self) -> Vec<u8> {
        let mut plain = vec![FORMAT];
        serde_json::to_writer(&mut plain, self).expect("strings and numbers can be written to memory");
        plain
    }

    /// Reads what was sealed. Memory is bounded by a few times the length.
    ///
    /// # Errors
    /// [`NotARecord`], whatever the bytes are.
    pub fn decode(plain: &[u8]) -> Result<Self, NotARecord> {
        let json = match plain {
            [FORMAT, json @ ..] => json,
            [format, ..] => return Err(NotARecord::Format(*format)),
            [] => return Err(NotARecord::Malformed),
        };
        let content: Self = serde_json::from_slice(json).map_err(|_| NotARecord::Malformed)?;
        let named = |file: &SharedFile| is_name(&file.name);
        let sound = content.files.len() <= FILES_MAX && content.files.iter().all(named);
        if sound && is_name(&content.publisher) { Ok(content) } else { Err(NotARecord::Malformed) }
    }
}

/// It ends in messages.
fn is_name(text: &str) -> bool {
    !text.is_empty() && text.len() <= NAME_BYTES_MAX && !text.chars().any(char::is_control)
}
