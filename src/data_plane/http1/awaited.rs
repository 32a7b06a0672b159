//! The head of the final response, and the interim ones before it.

use super::{head::ResponseHead, upgrade};

/// Interim responses to one request: far more than services send. Together they may be as long as
/// one head may be.
pub const INTERIMS_MAX: usize = 64;

/// What is known of the head that is waited for.
pub struct Awaited<'a> {
    pub to_head: bool,
    pub upgrade: Option<&'a str>,
    pub head_bytes_max: usize,
    pub interims: usize,
    pub interim_bytes: usize,
    /// Bytes at hand have not been looked at.
    pub undecided: bool,
}

impl Awaited<'_> {
    /// Counts an interim response of so many bytes; whether it is within the bounds.
    pub fn admits(&mut self, bytes: usize) -> bool {
        self.interims += 1;
        self.interim_bytes += bytes;
        self.interims <= INTERIMS_MAX && self.interim_bytes <= self.head_bytes_max
    }

    /// Whether a switch of protocols was asked for.
    pub fn agrees(&self, head: &ResponseHead) -> bool {
        self.upgrade
            .zip(head.upgrade)
            .is_some_and(|(offered, chosen)| upgrade::accepts(offered, head.headers.bytes(chosen)))
    }
}
