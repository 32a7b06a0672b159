//! What a replica that publishes does about the record that is stored.
//!
//! It writes when its own configuration has changed, and at its start if what is stored differs; and it restores what
//! it wrote when that has gone or was replaced by something older or unreadable. It never writes because another
//! publisher wrote: of two with different files the one that changed last has the word, and both say that they differ;
//! of two with the same files each seals under its first key at its start, and then lets the other's seal be.

use std::sync::Arc;

use super::record::{Content, Record, TooLarge};
use crate::{
    base::{Digest, seal::KeyRing},
    resources::{SharedFile, SharedFiles},
    storage::Versioned,
};

/// Versions are milliseconds since 1970 where nothing forbids it, so that they grow even for a publisher that finds
/// an empty storage. One that is further ahead than this is none of ours, unless it opens.
const AHEAD_MAX_MS: u64 = 366 * 24 * 3600 * 1000;

pub struct Publisher {
    gateway: Arc<str>,
    replica: Arc<str>,
    ring: Arc<KeyRing>,
    accepted: Option<Accepted>,
    /// What this replica wrote, or found stored with the same content.
    written: Option<Versioned>,
}

struct Accepted {
    files: Arc<[SharedFile]>,
    digest: Digest,
    /// Not known to be stored yet.
    pending: bool,
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    Nothing,
    /// Store it; then tell [`Publisher::wrote`].
    Write(Versioned),
    /// As [`Step::Write`], after what is stored has been removed: it has a version that nothing could be above.
    Replace(Versioned),
}

/// What is odd about the record that is stored.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Oddity {
    /// It is not to be believed, and is written over.
    Unreadable { version: u64, reason: String },
    /// It is older than what this replica wrote, and is written over.
    Older { version: u64 },
    /// Another publisher has other files.
    OtherPublisher { version: u64, publisher: String },
}

impl Publisher {
    pub fn new(gateway: &str, replica: &str, ring: Arc<KeyRing>) -> Self {
        Self { gateway: gateway.into(), replica: replica.into(), ring, accepted: None, written: None }
    }

    /// Version of what this replica last wrote or found to be the same.
    pub fn version(&self) -> Option<u64> {
        self.written.as_ref().map(|written| written.version)
    }

    /// This replica has put these files in force, without an error.
    pub fn accepted(&mut self, files: Arc<[SharedFile]>) {
        let digest = SharedFiles::digest(&files);
        match &mut self.accepted {
            Some(accepted) if accepted.digest == digest => accepted.files = files,
            _ => self.accepted = Some(Accepted { files, digest, pending: true }),
        }
    }

    /// Whether something waits to be written.
    pub fn is_pending(&self) -> bool {
        self.accepted.as_ref().is_some_and(|accepted| accepted.pending)
    }

    /// Judges what is stored. `now_ms`: milliseconds since 1970; `peers`: the newest version that other replicas say is
    /// in force there.
    ///
    /// # Errors
    /// When the configuration is too large to be shared.
    pub fn judge(
        &mut self,
        stored: Option<&Versioned>,
        peers: Option<u64>,
        now_ms: u64,
    ) -> Result<(Step, Option<Oddity>), TooLarge> {
        let Some(accepted) = &mut self.accepted else { return Ok((Step::Nothing, None)) };
        let opened = stored.map(|stored| (stored, Record::open(stored, &self.ring, &self.gateway)));
        let written = self.written.as_ref().map(|written| written.version);
        let oddity = match opened {
            None => None,
            Some((stored, Ok(record))) if record.digest() == accepted.digest => {
                // While keys are changed the first one of another publisher may be another.
                let sealed = !accepted.pending || self.ring.is_current(&stored.value);
                if sealed && written.is_none_or(|own| own <= stored.version) {
                    accepted.pending = false;
                    self.written = Some(stored.clone());
                    return Ok((Step::Nothing, None));
                }
                None
            }
            Some((stored, Err(reason))) => {
                Some(Oddity::Unreadable { version: stored.version, reason: reason.to_string() })
            }
            Some((stored, Ok(_))) if written.is_some_and(|own| own > stored.version) => {
                Some(Oddity::Older { version: stored.version })
            }
            Some((stored, Ok(record))) => {
                let publisher = record.content.publisher;
                // What it has written itself, perhaps before a restart, it may change.
                let is_own = accepted.pending && *publisher == *self.replica;
                let oddity =
                    (!is_own).then_some(Oddity::OtherPublisher { version: stored.version, publisher });
                if !accepted.pending {
                    return Ok((Step::Nothing, oddity));
                }
                oddity
            }
        };
        let unreadable = matches!(oddity, Some(Oddity::Unreadable { .. }));
        if !accepted.pending
            && !unreadable
            && let Some(written) = &self.written
            && stored.is_none_or(|stored| stored.version < written.version)
        {
            return Ok((Step::Write(written.clone()), oddity));
        }
        let hopeless =
            unreadable && stored.is_some_and(|stored| stored.version > now_ms.saturating_add(AHEAD_MAX_MS));
        let above = [stored.filter(|_| !hopeless).map(|stored| stored.version), written, peers];
        let above = above.into_iter().flatten().max();
        let version = above.map_or(now_ms, |above| now_ms.max(above.saturating_add(1)));
        let content = Content {
            publisher: self.replica.to_string(),
            published_ms: now_ms,
            files: Arc::clone(&accepted.files),
        };
        let sealed = Record { version, content }.seal(&self.ring, &self.gateway)?;
        Ok((if hopeless { Step::Replace(sealed) } else { Step::Write(sealed) }, oddity))
    }

    /// What [`Publisher::judge`] gave is stored.
    pub fn wrote(&mut self, stored: Versioned) {
        self.written = Some(stored);
        if let Some(accepted) = &mut self.accepted {
            accepted.pending = false;
        }
    }
}
