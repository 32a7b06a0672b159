//! Names parsed once at the edge.

use std::{fmt, sync::Arc};

/// `namespace/name` of a resource. Cheap to clone; ordered by namespace, then name, which is the
/// order that breaks ties wherever the reference asks for "(namespace, name)".
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ResourceName {
    pub namespace: Arc<str>,
    pub name: Arc<str>,
}

/// The namespace of a resource that names none (configuration reference 2.3).
pub const DEFAULT_NAMESPACE: &str = "default";

impl ResourceName {
    pub fn new(namespace: impl AsRef<str>, name: impl AsRef<str>) -> Self {
        Self { namespace: Arc::from(namespace.as_ref()), name: Arc::from(name.as_ref()) }
    }
}

impl fmt::Display for ResourceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

impl fmt::Debug for ResourceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
