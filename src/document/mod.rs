//! Floor 1: YAML and JSON text in, typed values with perfect positions out.
//!
//! Text becomes a tree of [`Node`]s that remember where they stand and how they were written
//! (`yes` stays `yes`); [`deserialize()`] turns a node into any serde type and reports *all* problems
//! at once, each with file, line and column (decision 15).

pub mod deserialize;
pub mod environment;
pub mod files;
pub mod node;
pub mod parse;
pub mod problem;
pub mod source;

pub use deserialize::{Deserialized, OneOrMany, RawNode, Spanned, deserialize, deserialize_config};
pub use environment::{is_unset, substitute_environment, unset_secrets, variable_name};
pub use files::{read_text, read_up_to};
pub use node::{Key, Node, NodeValue, shortened};
pub use parse::{Document, Limits, Parsed, parse};
pub use problem::Problem;
pub use source::{Place, SourceFile};

#[cfg(test)]
mod tests;
