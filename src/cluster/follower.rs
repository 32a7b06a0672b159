//! What a replica that follows does about the record that is stored.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::record::{NotARecord, Record};
use crate::{
    base::{Digest, seal::KeyRing},
    storage::Versioned,
};

/// How long until a record that was refused here is tried again: what it lacked may be there by then, such as a file
/// with a certificate.
const TRY_AGAIN: Duration = Duration::from_secs(30);

/// The records that this replica knows.
pub struct Follower {
    gateway: Arc<str>,
    ring: Arc<KeyRing>,
    /// The newest that was put in force, or that lay on the disk: nothing older is accepted.
    held: Option<Versioned>,
    /// Whether `held` is in force.
    in_force: bool,
    /// The newest, and that from the disk.
    refused: Vec<(u64, Instant)>,
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    Nothing,
    /// Put it in force, then tell [`Follower::applied`] or [`Follower::refused`].
    Offer(Record, Versioned),
    /// What is stored is older than what is held, or is gone: store this.
    WriteBack(Versioned),
}

/// Why a record is not even offered.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Unacceptable {
    pub version: u64,
    pub reason: String,
    /// It is one of ours, but older than what is known.
    pub older: bool,
    /// Tells two of them apart.
    pub digest: Digest,
}

impl Follower {
    pub fn new(gateway: &str, ring: Arc<KeyRing>) -> Self {
        Self { gateway: gateway.into(), ring, held: None, in_force: false, refused: Vec::new() }
    }

    /// Version of what is in force.
    pub fn version(&self) -> Option<u64> {
        self.held.as_ref().filter(|_| self.in_force).map(|held| held.version)
    }

    /// Takes the last known good configuration from the disk: nothing older is accepted from now on.
    ///
    /// # Errors
    /// When it is none of ours.
    pub fn found(&mut self, kept: Versioned) -> Result<(), NotARecord> {
        Record::open(&kept, &self.ring, &self.gateway)?;
        self.held = Some(kept);
        Ok(())
    }

    /// The last known good configuration, as long as nothing is in force.
    pub fn fallback(&self) -> Option<(Record, Versioned)> {
        let held = self.held.as_ref().filter(|_| !self.in_force)?;
        let record = Record::open(held, &self.ring, &self.gateway).ok()?;
        Some((record, held.clone()))
    }

    /// Judges what is stored. `peers`: the newest version that other replicas say is in force there.
    ///
    /// # Errors
    /// When what is stored must not be believed, together with what to do about it.
    pub fn judge(
        &self,
        stored: Option<&Versioned>,
        peers: Option<u64>,
        now: Instant,
    ) -> Result<Step, Box<(Unacceptable, Step)>> {
        let Some(stored) = stored else {
            let held = self.held.clone().filter(|_| self.in_force);
            return Ok(held.map_or(Step::Nothing, Step::WriteBack));
        };
        if self.in_force && self.held.as_ref() == Some(stored) {
            return Ok(Step::Nothing);
        }
        let unacceptable = |reason: String, older, step| {
            let digest = Digest::of(&stored.value);
            Err(Box::new((Unacceptable { version: stored.version, reason, older, digest }, step)))
        };
        let record = match Record::open(stored, &self.ring, &self.gateway) {
            Ok(record) => record,
            // Whoever wrote it may have a key that this replica lacks: it is not for a follower to remove it.
            Err(reason) => return unacceptable(reason.to_string(), false, Step::Nothing),
        };
        let known = self.held.as_ref().map(|held| held.version);
        if let Some(held) = self.held.as_ref().filter(|held| held.version > record.version) {
            let reason = format!("it is older than version {}, which this replica has", held.version);
            return unacceptable(reason, true, Step::WriteBack(held.clone()));
        }
        if let Some(peers) = peers.filter(|peers| *peers > record.version && known.is_none()) {
            let reason = format!("it is older than version {peers}, which other replicas have in force");
            return unacceptable(reason, true, Step::Nothing);
        }
        if self.in_force && known == Some(record.version) {
            // Sealed twice, by a publisher that did not know whether it had been stored.
            return Ok(Step::Nothing);
        }
        if self.is_waiting(record.version, now) {
            return Ok(Step::Nothing);
        }
        Ok(Step::Offer(record, stored.clone()))
    }

    /// Whether a version was refused here not long ago.
    pub fn is_waiting(&self, version: u64, now: Instant) -> bool {
        self.refused.iter().any(|(refused, at)| *refused == version && now.duration_since(*at) < TRY_AGAIN)
    }

    /// What was offered is in force.
    pub fn applied(&mut self, stored: Versioned) {
        self.held = Some(stored);
        self.in_force = true;
        self.refused.clear();
    }

    /// What was offered is not in force; it is offered again after a while.
    pub fn refused(&mut self, version: u64, now: Instant) {
        self.refused.retain(|(refused, _)| *refused != version);
        self.refused.push((version, now));
    }

    /// Something changed here: what was refused is worth another try.
    pub fn forget_refusal(&mut self) {
        self.refused.clear();
    }
}
