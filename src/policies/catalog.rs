//! The one list of policies. Help, schemas, documentation and the compiler read it.

use crate::policy::PolicyEntry;

/// Every policy, by name.
pub const CATALOG: &[PolicyEntry] = &[];

/// The policy with exactly this name.
pub fn find(name: &str) -> Option<&'static PolicyEntry> {
    CATALOG.iter().find(|entry| entry.name == name)
}
