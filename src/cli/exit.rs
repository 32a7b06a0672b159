//! Exit codes (after sysexits.h).

use std::process::{ExitCode, Termination};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    Ok = 0,
    /// Something failed that is none of the below; for `probe`: no.
    Failure = 1,
    /// The command line is wrong.
    Usage = 64,
    /// Resources have errors.
    Resources = 65,
    /// A running gateway, an address or a service cannot be had.
    Unavailable = 69,
    /// Settings are wrong.
    Settings = 78,
}

impl Termination for Exit {
    fn report(self) -> ExitCode {
        ExitCode::from(self as u8)
    }
}
