//! Floor 5, the cluster: what the replicas of a gateway tell each other beside requests (decisions 31, 33, 35, 38).
//!
//! [`membership`] is who is there and what each runs. [`record`] is the configuration as it lies in Redis and on disk;
//! [`publisher`] and [`follower`] decide what to do about the one that is there, [`last_known_good`] keeps it over
//! restarts; [`view`] is what people see of it. None of them waits for anything: the actor `ConfigCache` carries out what they decide.

pub mod follower;
pub mod last_known_good;
pub mod membership;
pub mod publisher;
pub mod record;
pub mod view;

#[cfg(test)]
mod tests;

pub use follower::Follower;
pub use membership::Membership;
pub use publisher::Publisher;
pub use record::Record;
