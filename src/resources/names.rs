//! What the resolver must know about policies; the catalog, which is on the same floor, tells it.

pub use crate::policy::Direction;

/// The catalog as the resolver sees it.
pub trait PolicyNames {
    /// The facts about a policy, by exact name.
    fn find(&self, name: &str) -> Option<PolicyFacts>;

    /// All names, for suggestions.
    fn names(&self) -> Vec<&str>;
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PolicyFacts {
    pub name: &'static str,
    pub direction: Direction,
    /// Runs before all others, whatever its order, and cannot be limited by rules (CORS).
    pub cors_first: bool,
    /// `false`: the name is known, but what it refers to does not exist yet.
    pub supported: bool,
}
