//! The tree of a document: values with their place and the text they were written as.

use std::sync::Arc;

use serde::{Serialize, Serializer};

use super::Place;
use crate::base::{Digest, digest::DigestBuilder};

/// A value and where it stands. Cheap to clone: collections are shared.
#[derive(Clone, Debug)]
pub struct Node {
    pub value: NodeValue,
    pub place: Place,
}

#[derive(Clone, Debug)]
pub enum NodeValue {
    Scalar {
        /// The source text, escapes resolved: `yes` is `yes`, `010` is `010`.
        text: Arc<str>,
        /// Written in quotes or as a block: certainly text.
        quoted: bool,
        /// The environment variable that the text came from. Such text is never shown.
        variable: Option<Arc<str>>,
    },
    Sequence(Arc<[Node]>),
    /// In the order written; keys are unique.
    Mapping(Arc<[(Key, Node)]>),
    /// Nothing, `~` or `null`.
    Null,
}

/// A key of a mapping.
#[derive(Clone, Debug)]
pub struct Key {
    pub text: Arc<str>,
    pub place: Place,
}

/// What a plain scalar means in the YAML 1.2 core schema.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Resolved<'a> {
    Bool(bool),
    Integer(i128),
    Float(f64),
    Text(&'a str),
}

impl Node {
    pub fn null(place: Place) -> Self {
        Self { value: NodeValue::Null, place }
    }

    /// A text value, as if written in quotes at `place`.
    pub fn text(place: Place, text: impl AsRef<str>) -> Self {
        Self {
            value: NodeValue::Scalar { text: Arc::from(text.as_ref()), quoted: true, variable: None },
            place,
        }
    }

    pub fn sequence(place: Place, items: Vec<Node>) -> Self {
        Self { value: NodeValue::Sequence(items.into()), place }
    }

    pub fn mapping(place: Place, entries: Vec<(Key, Node)>) -> Self {
        Self { value: NodeValue::Mapping(entries.into()), place }
    }

    pub fn is_null(&self) -> bool {
        matches!(self.value, NodeValue::Null)
    }

    /// The text of a scalar.
    pub fn as_text(&self) -> Option<&Arc<str>> {
        match &self.value {
            NodeValue::Scalar { text, .. } => Some(text),
            _ => None,
        }
    }

    /// The entries of a mapping; none for anything else.
    pub fn entries(&self) -> &[(Key, Node)] {
        match &self.value {
            NodeValue::Mapping(entries) => entries,
            _ => &[],
        }
    }

    /// All scalars, with their text.
    pub fn each_text(&self, tell: &mut dyn FnMut(&str)) {
        match &self.value {
            NodeValue::Null => {}
            NodeValue::Scalar { text, .. } => tell(text),
            NodeValue::Sequence(items) => items.iter().for_each(|item| item.each_text(tell)),
            NodeValue::Mapping(entries) => entries.iter().for_each(|(_, value)| value.each_text(tell)),
        }
    }

    /// The items of a sequence; none for anything else.
    pub fn items(&self) -> &[Node] {
        match &self.value {
            NodeValue::Sequence(items) => items,
            _ => &[],
        }
    }

    /// The value of a key: the exact spelling first, else without regard to case (configuration
    /// reference 2.2).
    pub fn get_ignore_case(&self, name: &str) -> Option<&Node> {
        self.entry_ignore_case(name).map(|(_, node)| node)
    }

    /// As [`Node::get_ignore_case`], with the key.
    pub fn entry_ignore_case(&self, name: &str) -> Option<&(Key, Node)> {
        let entries = self.entries();
        entries
            .iter()
            .find(|(key, _)| *key.text == *name)
            .or_else(|| entries.iter().find(|(key, _)| key.text.eq_ignore_ascii_case(name)))
    }

    /// "text `x`", "a list", ...; never the value of a variable.
    pub fn describe(&self) -> String {
        match &self.value {
            NodeValue::Scalar { variable: Some(name), .. } => format!("the value of ${name}"),
            NodeValue::Scalar { text, quoted, .. } => match resolve(text, *quoted) {
                Resolved::Bool(_) => format!("the boolean `{text}`"),
                Resolved::Integer(_) | Resolved::Float(_) => format!("the number `{text}`"),
                Resolved::Text("") => "empty text".to_owned(),
                Resolved::Text(_) => format!("the text `{}`", shortened(text)),
            },
            NodeValue::Sequence(_) => "a list".to_owned(),
            NodeValue::Mapping(_) => "a mapping".to_owned(),
            NodeValue::Null => "nothing".to_owned(),
        }
    }

    /// As [`Node::describe`], without the value.
    pub fn describe_kind(&self) -> String {
        match &self.value {
            NodeValue::Scalar { variable: None, text, quoted } => match resolve(text, *quoted) {
                Resolved::Bool(_) => "a boolean".to_owned(),
                Resolved::Integer(_) | Resolved::Float(_) => "a number".to_owned(),
                Resolved::Text("") => "empty text".to_owned(),
                Resolved::Text(_) => "text".to_owned(),
            },
            _ => self.describe(),
        }
    }

    /// Digest of the content: independent of positions, of the order of keys, and of quotes where
    /// they change nothing.
    pub fn canonical_digest(&self) -> Digest {
        let mut digest = Digest::builder();
        self.digest_into(&mut digest);
        digest.finish()
    }

    fn digest_into(&self, digest: &mut DigestBuilder) {
        match &self.value {
            NodeValue::Null => digest.add("null"),
            NodeValue::Scalar { text, quoted, .. } => {
                digest.add(if matches!(resolve(text, *quoted), Resolved::Text(_)) {
                    "text"
                } else {
                    "plain"
                });
                digest.add(text.as_bytes());
            }
            NodeValue::Sequence(items) => {
                digest.add(format!("list {}", items.len()));
                items.iter().for_each(|item| item.digest_into(digest));
            }
            NodeValue::Mapping(entries) => {
                let mut entries: Vec<_> = entries.iter().collect();
                entries.sort_by(|(a, _), (b, _)| a.text.cmp(&b.text));
                digest.add(format!("map {}", entries.len()));
                for (key, value) in entries {
                    digest.add(key.text.as_bytes());
                    value.digest_into(digest);
                }
            }
        }
    }
}

/// Only what a line of a message can hold.
pub fn shortened(text: &str) -> String {
    const SHOWN_CHARS_MAX: usize = 60;
    let line = text.lines().next().unwrap_or("");
    if line.len() == text.len() && text.chars().count() <= SHOWN_CHARS_MAX {
        return text.to_owned();
    }
    line.chars().take(SHOWN_CHARS_MAX).chain(['…']).collect()
}

/// Resolves a scalar by the YAML 1.2 core schema. Quoted scalars are text.
pub fn resolve(text: &str, quoted: bool) -> Resolved<'_> {
    if quoted {
        return Resolved::Text(text);
    }
    match text {
        "true" | "True" | "TRUE" => return Resolved::Bool(true),
        "false" | "False" | "FALSE" => return Resolved::Bool(false),
        _ => {}
    }
    if let Some(number) = integer(text) {
        return Resolved::Integer(number);
    }
    float(text).map_or(Resolved::Text(text), Resolved::Float)
}

/// A YAML 1.2 core integer: decimal with an optional sign, `0x…`, `0o…`.
pub fn integer(text: &str) -> Option<i128> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if let Some(hex) = text.strip_prefix("0x") {
        return all(hex, |c| c.is_ascii_hexdigit()).then(|| i128::from_str_radix(hex, 16).ok())?;
    }
    if let Some(octal) = text.strip_prefix("0o") {
        return all(octal, |c| matches!(c, '0'..='7')).then(|| i128::from_str_radix(octal, 8).ok())?;
    }
    if !all(digits, |c| c.is_ascii_digit()) {
        return None;
    }
    text.strip_prefix('+').unwrap_or(text).parse().ok()
}

/// A YAML 1.2 core float; integers count.
pub fn float(text: &str) -> Option<f64> {
    match text.strip_prefix(['+', '-']).unwrap_or(text) {
        ".inf" | ".Inf" | ".INF" if text.starts_with('-') => return Some(f64::NEG_INFINITY),
        ".inf" | ".Inf" | ".INF" => return Some(f64::INFINITY),
        ".nan" | ".NaN" | ".NAN" => return Some(f64::NAN),
        _ => {}
    }
    let number_like = text.bytes().any(|b| b.is_ascii_digit())
        && text.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'+' | b'-' | b'.' | b'e' | b'E'));
    number_like.then(|| text.parse().ok())?
}

fn all(text: &str, test: impl Fn(char) -> bool) -> bool {
    !text.is_empty() && text.chars().all(test)
}

/// For dumps: scalars by the core schema; a value that came from a variable as `$NAME`.
impl Serialize for Node {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.value {
            NodeValue::Null => serializer.serialize_unit(),
            NodeValue::Scalar { variable: Some(name), .. } => serializer.serialize_str(&format!("${name}")),
            NodeValue::Scalar { text, quoted, .. } => match resolve(text, *quoted) {
                Resolved::Bool(value) => serializer.serialize_bool(value),
                Resolved::Integer(value) => match (i64::try_from(value), u64::try_from(value)) {
                    (Ok(value), _) => serializer.serialize_i64(value),
                    (_, Ok(value)) => serializer.serialize_u64(value),
                    _ => serializer.serialize_str(text),
                },
                Resolved::Float(value) if value.is_finite() => serializer.serialize_f64(value),
                Resolved::Float(_) | Resolved::Text(_) => serializer.serialize_str(text),
            },
            NodeValue::Sequence(items) => serializer.collect_seq(items.iter()),
            NodeValue::Mapping(entries) => {
                serializer.collect_map(entries.iter().map(|(key, value)| (&*key.text, value)))
            }
        }
    }
}
