//! What the resolver must know about policies; the catalog, which is on the same floor, tells it.

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

/// Where a policy takes part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Between client and routing; bound to an `ApiInstance`.
    Inbound,
    /// Between routing and upstream; bound to a `Service`.
    Outbound,
    /// `route` and `route-weighted`; bound to an `ApiInstance`.
    Routing,
    /// `tls` (bound to an `ApiInstance`) and `tls-outbound` (bound to a `Service`).
    Tls,
}
