//! `Extension` (configuration reference 3.5): the definition of a policy.

use serde::Deserialize;

use super::{Ordered, sound, typed};
use crate::document::{Node, OneOrMany, Problem, RawNode, Spanned};

/// A valid extension.
#[derive(Clone, Debug)]
pub struct Extension {
    /// Names of its parents.
    pub extends: Vec<String>,
    /// It carries code, so bindings may name it.
    pub implementation: bool,
}

#[derive(Deserialize)]
struct Written {
    #[serde(default)]
    extends: OneOrMany<Parent>,
    #[serde(default)]
    properties: Ordered<RawNode>,
    #[serde(default)]
    required: OneOrMany<Spanned<String>>,
}

#[derive(Deserialize)]
struct Parent {
    name: Spanned<String>,
    namespace: Option<String>,
    kind: Option<String>,
}

pub(super) fn read(spec: &Node, problems: &mut Vec<Problem>) -> Option<Extension> {
    let written: Written = typed(spec, "spec", problems)?;
    let sound = sound(problems);
    let known = |name: &str| written.properties.iter().any(|(property, _)| *property.value == *name);
    let own_definition = written.extends.iter().any(|parent| parent.name.value == "extension-definition");
    for name in written.required.iter().filter(|name| sound && own_definition && !known(name)) {
        problems.push(
            name.warning(format!("`{}` is required, but there is no such property", name.value))
                .help("add it to `properties`"),
        );
    }
    for parent in written.extends.iter().filter(|parent| parent.name.is_empty()) {
        let kind = parent.kind.as_deref().unwrap_or("Extension");
        let namespace = parent.namespace.as_deref().unwrap_or("default");
        let message = format!("the name of the parent {kind} in namespace `{namespace}` is empty");
        problems.push(parent.name.error(message));
    }
    let extends: Vec<_> = written.extends.iter().map(|parent| parent.name.value.clone()).collect();
    let implementation = extends.iter().any(|name| name == "proxy-wasm-filter") || known("implementation");
    if implementation {
        let place = written.extends.first().map_or(&spec.place, |parent| &parent.name.place);
        problems.push(
            Problem::warning(place, "spec", "custom policies are not supported yet")
                .help("an API that binds this policy answers 503 on every path"),
        );
    }
    Some(Extension { extends, implementation })
}
