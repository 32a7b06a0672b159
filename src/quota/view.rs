//! What a lease sees of the world, and a request of a lease.

use super::Fallback;

/// What the world looks like to a lease.
#[derive(Clone, Copy, Debug)]
pub struct View {
    /// Microseconds on this replica's clock.
    pub now: u64,
    /// Districts of the storage whose calls fail, or have not been answered for too long: a bit each.
    pub away: u64,
    pub fallback: Fallback,
    /// Replicas last seen, at least 1, and how many of them come before this one.
    pub replicas: u64,
    pub rank: u64,
    /// When the storage was last seen to have lost its memory, if it ever was.
    pub lost_at: Option<u64>,
}

/// What a request finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// A token, not yet taken.
    Token,
    /// None, and none to come in this window.
    Nothing,
    /// None, and nobody knows whether there are any.
    Unknown,
    /// None yet: the storage has to be asked.
    Wait,
}
