//! The shared side of exact limits: the record of one limit and key, from which replicas lease tokens
//! (`docs/cluster-limits.md`).
//!
//! [`Record::lease`] is the meaning; `lease.lua` is the same in Redis, where it runs as one atomic step. Tests hold
//! the two against each other.

mod record;

pub use record::Record;

/// The script that Redis runs: the key, then the arguments in the order of [`Call`]'s fields.
pub const LEASE_SCRIPT: &str = include_str!("lease.lua");

/// The largest number of tokens and the longest period, microseconds: what a script can count exactly.
pub const NUMBER_MAX: u64 = 1 << 52;

/// A window by the clock of the storage, microseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Window {
    pub start: u64,
    /// The first moment that is not in it.
    pub end: u64,
}

/// What a replica says of a limit and asks for, in one. It says *all* that it has of a window, not what changed: so a
/// call that got lost, was repeated or came late can hide tokens but never make any.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// One life of one policy in one replica: nobody else, before or after, has this name.
    pub claimant: String,
    /// Above that of every earlier call of the claimant.
    pub number: u64,
    /// Which window `claim` speaks of; `None`: one that the storage never told of.
    pub window: Option<Window>,
    /// Tokens of that window that the claimant has admitted or still holds.
    pub claim: u64,
    /// Whether the storage has granted some of that window, so that it knows the claimant unless it has forgotten it.
    pub granted: bool,
    /// Tokens that it would like.
    pub want: u64,
    /// Tokens of a window.
    pub limit: u64,
    /// Length of a window, microseconds.
    pub period: u64,
    /// Replicas that may want tokens, at least 1, and how many of them come before the claimant's.
    pub replicas: u64,
    pub rank: u64,
    /// The claimant knows that the storage has lost its memory not long ago.
    pub lost: bool,
}

/// What the storage says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// A later call of the claimant was answered before.
    Stale,
    Leased(Leased),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leased {
    /// The window that is open.
    pub window: Window,
    /// Of it, microseconds; counted from some moment after the call was sent, so that a lease which ends that long
    /// after the sending can only end early.
    pub left: u64,
    /// Whether `claim` counts in this window; else its window is over.
    pub carried: bool,
    /// The claimant was granted tokens of a window that is open, and nothing is known of it: memory was lost.
    pub forgotten: bool,
    /// Tokens that the claimant now has besides its claim.
    pub grant: u64,
    /// Tokens that nobody has.
    pub rest: u64,
}
