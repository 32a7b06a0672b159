//! Floor 3: the policies, one folder each, the same five files. [`catalog`] is the one list.

pub mod catalog;
