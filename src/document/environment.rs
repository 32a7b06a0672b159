//! `$NAME` and `${NAME}` in values (configuration reference 2.4).

use std::sync::Arc;

use super::{Node, NodeValue, Problem};
use crate::base::secret::names_secret;

/// Replaces every scalar that is, as a whole, `$NAME` or `${NAME}` (decision 13) by what `lookup`
/// returns for `NAME`. The result remembers the variable, so that it is never shown, and counts as
/// unquoted, so that it is converted to the type of its field. Anything else that contains `$`,
/// expressions `#[…]` among them, is left alone. An unset variable leaves the text as it is, with a
/// warning. `path_prefix` is the field path of `node`.
pub fn substitute_environment(
    node: &Node,
    path_prefix: &str,
    lookup: &dyn Fn(&str) -> Option<String>,
) -> (Node, Vec<Problem>) {
    let mut problems = Vec::new();
    let node = substitute(node, path_prefix, lookup, &mut problems);
    (node, problems)
}

/// Secrets that are the name of a variable, because it is not set: whoever has read the configuration would know them.
pub fn unset_secrets(node: &Node, path: &str) -> Vec<Problem> {
    let mut problems = Vec::new();
    find_unset_secrets(node, path, &mut problems);
    problems
}

fn find_unset_secrets(node: &Node, path: &str, problems: &mut Vec<Problem>) {
    match &node.value {
        NodeValue::Mapping(entries) => {
            for (key, child) in entries.iter() {
                let path = super::deserialize::join(path, &key.text);
                match &child.value {
                    NodeValue::Scalar { text, variable: None, .. } if names_secret(&key.text) => {
                        problems.extend(variable_name(text).map(|name| {
                            Problem::error(&child.place, &path, format!("{}{name}{}", UNSET.0, UNSET.1)).help(
                                format!("`{text}` would be a secret that everybody knows; set `{name}` for the gateway"),
                            )
                        }));
                    }
                    _ => find_unset_secrets(child, &path, problems),
                }
            }
        }
        NodeValue::Sequence(items) => {
            for (index, item) in items.iter().enumerate() {
                find_unset_secrets(item, &format!("{path}[{index}]"), problems);
            }
        }
        NodeValue::Scalar { .. } | NodeValue::Null => {}
    }
}

/// Whether a finding says that a variable is not set.
pub fn is_unset(message: &str) -> bool {
    message.starts_with(UNSET.0) && message.ends_with(UNSET.1)
}

/// Before and after the name.
const UNSET: (&str, &str) = ("the environment variable `", "` is not set");

fn substitute(
    node: &Node,
    path: &str,
    lookup: &dyn Fn(&str) -> Option<String>,
    problems: &mut Vec<Problem>,
) -> Node {
    let value = match &node.value {
        NodeValue::Scalar { text, variable: None, .. } => {
            let Some(name) = variable_name(text) else { return node.clone() };
            let Some(value) = lookup(name) else {
                problems.push(
                    Problem::warning(&node.place, path, format!("{}{name}{}", UNSET.0, UNSET.1))
                        .help(format!("the text `{text}` is used as it is; set `{name}` for the gateway")),
                );
                return node.clone();
            };
            NodeValue::Scalar { text: value.into(), quoted: false, variable: Some(Arc::from(name)) }
        }
        NodeValue::Sequence(items) => NodeValue::Sequence(
            items
                .iter()
                .enumerate()
                .map(|(index, item)| substitute(item, &format!("{path}[{index}]"), lookup, problems))
                .collect(),
        ),
        NodeValue::Mapping(entries) => NodeValue::Mapping(
            entries
                .iter()
                .map(|(key, value)| {
                    let path = super::deserialize::join(path, &key.text);
                    (key.clone(), substitute(value, &path, lookup, problems))
                })
                .collect(),
        ),
        NodeValue::Scalar { .. } | NodeValue::Null => return node.clone(),
    };
    Node { value, place: node.place.clone() }
}

/// `NAME` of `$NAME` or `${NAME}`, where `NAME` is `[A-Za-z_][A-Za-z0-9_]*`.
pub fn variable_name(text: &str) -> Option<&str> {
    let rest = text.strip_prefix('$')?;
    let name = rest.strip_prefix('{').map_or(Some(rest), |inner| inner.strip_suffix('}'))?;
    let mut bytes = name.bytes();
    let first = bytes.next()?;
    let valid = (first.is_ascii_alphabetic() || first == b'_')
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    valid.then_some(name)
}
