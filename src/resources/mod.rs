//! Floor 3: from files to a resolved model.
//!
//! `envelope` makes resources of documents, `kinds` judges each `spec`, `load` walks folders,
//! `store` keeps the last good version over reloads, `normalise` names inline parts, and `resolve`
//! follows references and ends in the [`ResolvedModel`] that the compiler reads.

mod address;
pub mod envelope;
pub mod kinds;
pub mod load;
pub mod model;
mod names;
mod normalise;
mod resolve;
mod rules;
mod shared;
pub mod store;
pub mod variables;
pub mod writing;

#[cfg(test)]
pub(crate) mod tests;

pub use envelope::Resource;
pub use kinds::{Kind, Spec};
pub use load::load;
pub use model::{
    BoundPolicy, Destination, Extension, Instance, ListenAddress, ListenScheme, ResolvedModel, ResourceState,
    Route, Rule, Service, ServiceAddress, ServiceScheme, TlsBinding,
};
pub use names::{Direction, PolicyFacts, PolicyNames};
pub use resolve::{Inputs, resolve, spellings};
pub use shared::{SharedFile, SharedFiles};
pub use store::{Entry, Origin, Rescan, ResourceSet, ResourceStore};
