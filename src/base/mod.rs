//! Floor 0: small types that everything above speaks in. No I/O, no async.

pub mod clock;
pub mod config_problem;
pub mod diagnostics;
pub mod digest;
pub mod dns_name;
pub mod ids;
pub mod lock;
pub mod pattern;
pub mod seal;
pub mod secret;
pub mod seldom;
pub mod suggest;

pub use clock::Clock;
pub use config_problem::ConfigProblem;
pub use diagnostics::{Diagnostic, Diagnostics, Location, Severity, Subject, plural};
pub use digest::{Digest, DigestBuilder};
pub use dns_name::dns_name;
pub use ids::ResourceName;
pub use lock::lock;
pub use secret::Secret;
pub use seldom::{Seldom, Trouble};
