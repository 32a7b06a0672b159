//! The cluster as one replica sees it, for people and metrics.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{
    follower::Unacceptable,
    membership::{Event, Membership, State},
    publisher::Oddity,
};
use crate::{
    settings::ShareConfig,
    telemetry::metrics::{Exposition, Kind},
};

/// What `/status` says of the cluster.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClusterView {
    /// Whether this replica shares a storage with others.
    pub shared: bool,
    /// Why the storage did not answer the last time.
    pub storage_error: Option<String>,
    /// By id.
    pub replicas: Vec<Replica>,
    /// How many there are until some are seen.
    pub expected: usize,
    /// Which of them this one is, from 0.
    pub rank: usize,
    pub same_digest: bool,
    /// How often the storage had forgotten what this replica stored.
    pub losses: u64,
    /// What was last wrong with the shared configuration.
    pub last_problem: Option<String>,
    #[serde(skip)]
    refused: [u64; REFUSALS.len()],
}

/// A replica.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Replica {
    pub id: String,
    pub name: String,
    /// The one that is asked.
    pub own: bool,
    pub version: String,
    pub share: ShareConfig,
    pub digest: String,
    pub generation: u64,
    pub errors: u64,
    /// Version of the shared configuration.
    pub record: Option<u64>,
    pub state: State,
    pub reason: Option<String>,
    pub age_ms: u64,
}

const REFUSALS: [&str; 3] = ["not_believed", "older", "not_applicable"];

impl ClusterView {
    /// Takes over who is there.
    pub fn see(&mut self, membership: &Membership) {
        self.rank = membership.rank();
        self.same_digest = membership.same_digest();
        let members = membership.members().into_iter().map(|member| Replica {
            id: member.id,
            name: member.said.name,
            own: member.own,
            version: member.said.version,
            share: member.said.share,
            digest: member.said.digest,
            generation: member.said.generation,
            errors: member.said.errors,
            record: member.said.record,
            state: member.said.state,
            reason: member.said.reason,
            age_ms: u64::try_from(member.age.as_millis()).unwrap_or(u64::MAX),
        });
        self.replicas = members.collect();
    }

    /// Counts a problem for the metrics.
    pub fn count(&mut self, problem: &Problem) {
        let reason = match problem {
            Problem::Unacceptable(unacceptable) if unacceptable.older => 1,
            Problem::Oddity(Oddity::Older { .. }) => 1,
            Problem::Unacceptable(_) | Problem::Oddity(Oddity::Unreadable { .. }) => 0,
            Problem::Rejected { .. } => 2,
            Problem::Oddity(Oddity::OtherPublisher { .. })
            | Problem::NotShared { .. }
            | Problem::Disk { .. } => return,
        };
        self.refused[reason] += 1;
    }

    pub fn expose(&self, page: &mut Exposition) {
        let mut gauge = |name: &str, help: &str, value: u64| page.single(name, Kind::Gauge, help, value);
        let replicas = u64::try_from(self.replicas.len()).unwrap_or(u64::MAX);
        gauge("portcullis_cluster_replicas", "Replicas of the gateway as last seen.", replicas);
        gauge(
            "portcullis_cluster_same_digest",
            "1 while all replicas run the same configuration.",
            u64::from(self.same_digest),
        );
        let own = self.replicas.iter().find(|replica| replica.own);
        gauge(
            "portcullis_shared_config_version",
            "Version of the shared configuration that is in force or published here; 0 for none.",
            own.and_then(|own| own.record).unwrap_or_default(),
        );
        page.family(
            "portcullis_shared_config_refused_total",
            Kind::Counter,
            "Shared configurations that were refused, by reason.",
        );
        for (reason, count) in REFUSALS.iter().zip(self.refused) {
            page.sample("", &[("reason", reason)], count);
        }
        page.single(
            "portcullis_cluster_storage_losses_total",
            Kind::Counter,
            "Times that the shared storage had forgotten what this replica stored.",
            self.losses,
        );
    }
}

/// Something wrong with the shared configuration.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Problem {
    /// What is stored must not be believed.
    Unacceptable(Unacceptable),
    Oddity(Oddity),
    /// It cannot be put in force here.
    Rejected {
        reason: String,
    },
    NotShared {
        generation: u64,
        reason: String,
    },
    /// The last known good configuration.
    Disk {
        path: String,
        reason: String,
    },
}

impl Problem {
    /// How many are told apart.
    pub const REMEMBERED_MAX: usize = 256;
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unacceptable(Unacceptable { version, reason, .. }) => {
                write!(f, "the shared configuration version {version} is refused: {reason}")
            }
            Self::Oddity(Oddity::Unreadable { version, reason }) => {
                write!(f, "the shared configuration version {version} is written over: {reason}")
            }
            Self::Oddity(Oddity::Older { version }) => write!(
                f,
                "the shared configuration version {version} is written over: it is older than what this replica wrote"
            ),
            Self::Oddity(Oddity::OtherPublisher { version, publisher }) => write!(
                f,
                "replica {publisher} has published other files as version {version}; of several publishers the one whose \
                 files changed last has the word: give them the same files, or let one publish only"
            ),
            Self::Rejected { reason } => {
                write!(f, "the shared configuration is refused, and what was in force stays: {reason}")
            }
            Self::NotShared { generation, reason } => write!(
                f,
                "generation {generation} is not shared, those who follow keep what they have: {reason}"
            ),
            Self::Disk { path, reason } => {
                write!(f, "the last known good configuration in {path} is of no use: {reason}")
            }
        }
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Joined { id, name } => write!(f, "replica {id} ({name}) is there"),
            Self::Left { id } => write!(f, "replica {id} is gone"),
            Self::Differ(digests) => {
                f.write_str("the replicas do not run the same configuration:")?;
                for (index, (digest, ids)) in digests.iter().enumerate() {
                    let separator = if index == 0 { "" } else { ";" };
                    write!(f, "{separator} {digest} on {}", ids.join(", "))?;
                }
                f.write_str("; `portcullis replicas` shows more")
            }
            Self::Agree => f.write_str("all replicas run the same configuration"),
            Self::LostMemory => f.write_str("the shared storage has forgotten what this replica had stored"),
            Self::SameId => f.write_str(
                "another process has the id of this replica: give each its own, `gateway.replica`",
            ),
            Self::Ignored { members } => write!(
                f,
                "entries in the list of replicas are none of this gateway's, or sealed with a key that this replica \
                 lacks; ignored: {members}"
            ),
        }
    }
}
