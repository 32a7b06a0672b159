//! What an expression computes with: reference section 7.1 "Types".
//!
//! A value borrows wherever it can: from the template (literals), from the scope (headers, claims,
//! the parsed payload) and from parts of both, so that most expressions of real configurations are
//! evaluated without an allocation.

use std::{borrow::Cow, collections::HashMap, ops::Deref};

/// A value of the DataWeave subset. `Binary` occurs inside an expression only, never as its result.
#[derive(Clone, Debug, Default)]
pub enum Value<'a> {
    #[default]
    Null,
    Boolean(bool),
    /// Always finite.
    Number(f64),
    String(Cow<'a, str>),
    Array(Items<'a, Value<'a>>),
    Object(Object<'a>),
    Binary(Cow<'a, [u8]>),
}

/// A sequence, owned or borrowed. (`Cow<[T]>` would make values invariant in their lifetime.)
#[derive(Clone, Debug)]
pub enum Items<'a, T> {
    Owned(Vec<T>),
    Borrowed(&'a [T]),
}

impl<T> Deref for Items<'_, T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        match self {
            Self::Owned(items) => items,
            Self::Borrowed(items) => items,
        }
    }
}

impl<T> From<Vec<T>> for Items<'_, T> {
    fn from(items: Vec<T>) -> Self {
        Self::Owned(items)
    }
}

/// A member of an object: key and value.
pub type Member<'a> = (Cow<'a, str>, Value<'a>);

/// Keys and values in their order; keys are unique.
#[derive(Clone, Debug)]
pub struct Object<'a> {
    members: Items<'a, Member<'a>>,
    case_insensitive: bool,
}

impl<'a> Object<'a> {
    /// An object whose keys are compared exactly. A repeated key keeps its first place and takes
    /// the last value.
    pub fn new(members: Vec<Member<'a>>) -> Self {
        Self { members: unique(members).into(), case_insensitive: false }
    }

    /// An object whose keys are compared without regard to ASCII case: `attributes.headers`
    /// (reference 7.5). The caller gives each name once, in lower case.
    pub fn headers(members: Vec<Member<'a>>) -> Self {
        Self { members: members.into(), case_insensitive: true }
    }

    /// The same keys under the same comparison, with these members only.
    pub(super) fn with_members(&self, members: Vec<Member<'a>>) -> Self {
        Self { members: members.into(), case_insensitive: self.case_insensitive }
    }

    pub fn members(&self) -> &[Member<'a>] {
        &self.members
    }

    pub fn is_case_insensitive(&self) -> bool {
        self.case_insensitive
    }

    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<&Value<'a>> {
        self.position(key).map(|at| &self.members[at].1)
    }

    /// The value of a key, taken out of the object.
    pub(super) fn take(self, key: &str) -> Option<Value<'a>> {
        let at = self.position(key)?;
        match self.members {
            Items::Owned(mut members) => Some(members.swap_remove(at).1),
            Items::Borrowed(members) => Some(members[at].1.borrowed()),
        }
    }

    pub(super) fn into_members(self) -> Vec<Member<'a>> {
        match self.members {
            Items::Owned(members) => members,
            Items::Borrowed(members) => {
                members.iter().map(|(key, value)| (Cow::Borrowed(&**key), value.borrowed())).collect()
            }
        }
    }

    fn position(&self, key: &str) -> Option<usize> {
        if self.case_insensitive {
            self.members.iter().position(|(name, _)| name.eq_ignore_ascii_case(key))
        } else {
            self.members.iter().position(|(name, _)| name == key)
        }
    }
}

/// Below this many members a linear search beats building an index.
const INDEX_FROM: usize = 8;

fn unique(members: Vec<Member<'_>>) -> Vec<Member<'_>> {
    if members.len() <= INDEX_FROM {
        let mut kept: Vec<Member<'_>> = Vec::with_capacity(members.len());
        for (key, value) in members {
            match kept.iter_mut().find(|(known, _)| *known == key) {
                Some((_, old)) => *old = value,
                None => kept.push((key, value)),
            }
        }
        return kept;
    }
    let mut places: HashMap<Cow<'_, str>, usize> = HashMap::with_capacity(members.len());
    let mut kept: Vec<Member<'_>> = Vec::with_capacity(members.len());
    for (key, value) in members {
        match places.get(&key) {
            Some(&at) => kept[at].1 = value,
            None => {
                places.insert(key.clone(), kept.len());
                kept.push((key, value));
            }
        }
    }
    kept
}

impl<'a> Value<'a> {
    /// The name of the type, as expressions and messages write it.
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::Null => "Null",
            Self::Boolean(_) => "Boolean",
            Self::Number(_) => "Number",
            Self::String(_) => "String",
            Self::Array(_) => "Array",
            Self::Object(_) => "Object",
            Self::Binary(_) => "Binary",
        }
    }

    pub fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }

    /// The text of a String value.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(text) => Some(text),
            _ => None,
        }
    }

    /// The same value, borrowed: constant time whatever its size.
    pub fn borrowed(&self) -> Value<'_> {
        match self {
            Self::Null => Value::Null,
            Self::Boolean(flag) => Value::Boolean(*flag),
            Self::Number(number) => Value::Number(*number),
            Self::String(text) => Value::String(Cow::Borrowed(text)),
            Self::Array(items) => Value::Array(Items::Borrowed(items)),
            Self::Object(object) => Value::Object(Object {
                members: Items::Borrowed(&object.members),
                case_insensitive: object.case_insensitive,
            }),
            Self::Binary(bytes) => Value::Binary(Cow::Borrowed(bytes)),
        }
    }

    /// The same value with copies of all it borrows.
    pub fn into_owned(self) -> Value<'static> {
        match self {
            Self::Null => Value::Null,
            Self::Boolean(flag) => Value::Boolean(flag),
            Self::Number(number) => Value::Number(number),
            Self::String(text) => Value::String(Cow::Owned(text.into_owned())),
            Self::Array(items) => {
                let items: Vec<_> = items.iter().map(|item| item.clone().into_owned()).collect();
                Value::Array(items.into())
            }
            Self::Object(object) => {
                let case_insensitive = object.case_insensitive;
                let members: Vec<_> = object
                    .into_members()
                    .into_iter()
                    .map(|(key, value)| (Cow::Owned(key.into_owned()), value.into_owned()))
                    .collect();
                Value::Object(Object { members: members.into(), case_insensitive })
            }
            Self::Binary(bytes) => Value::Binary(Cow::Owned(bytes.into_owned())),
        }
    }

    /// The value at a path of keys, for scopes that keep a tree (claims, introspection answers).
    /// Follows the selectors of the language; a path through something without members is null.
    pub fn at(&self, path: &[&str]) -> Value<'_> {
        path.iter().try_fold(self.borrowed(), |value, key| value.member(key)).unwrap_or(Value::Null)
    }

    /// The `.key` selector (reference 7.4): a missing key and a key of null are null; a key of an
    /// array collects that key from each object in it. `Err` holds the value that has no members.
    pub(super) fn member(self, key: &str) -> Result<Value<'a>, Value<'a>> {
        match self {
            Self::Null => Ok(Value::Null),
            Self::Object(object) => Ok(object.take(key).unwrap_or_default()),
            Self::Array(items) => {
                let collected: Vec<Value<'a>> = match items {
                    Items::Borrowed(items) => items.iter().filter_map(|item| item.own_member(key)).collect(),
                    Items::Owned(items) => items
                        .into_iter()
                        .filter_map(|item| match item {
                            Value::Object(object) => object.take(key),
                            _ => None,
                        })
                        .collect(),
                };
                Ok(Value::Array(collected.into()))
            }
            other => Err(other),
        }
    }

    fn own_member(&self, key: &str) -> Option<Value<'_>> {
        match self {
            Self::Object(object) => object.get(key).map(Value::borrowed),
            _ => None,
        }
    }

    /// How the value reads where a string is wanted (reference 7.4): strings as they are, numbers
    /// without a trailing `.0`, `true`, `false`. `None` for null, arrays, objects and binaries.
    pub fn to_text(&self) -> Option<Cow<'_, str>> {
        match self {
            Self::String(text) => Some(Cow::Borrowed(text)),
            Self::Boolean(true) => Some(Cow::Borrowed("true")),
            Self::Boolean(false) => Some(Cow::Borrowed("false")),
            Self::Number(number) => Some(Cow::Owned(number_text(*number))),
            Self::Null | Self::Array(_) | Self::Object(_) | Self::Binary(_) => None,
        }
    }

    /// The value as JSON text: what message logging writes for arrays and objects.
    pub fn to_json(&self) -> String {
        // Keys are strings and numbers finite, so serde_json has nothing to refuse.
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// A number as text: `42`, `0.5`, `-1`; from 1e21 on with an exponent.
pub(super) fn number_text(number: f64) -> String {
    if number == 0.0 {
        return "0".to_owned(); // also -0.0
    }
    if number.abs() < 1e21 && number.abs() >= 1e-7 { format!("{number}") } else { format!("{number:e}") }
}

/// `==` of the language: no conversion between types, strings by code point, objects without regard
/// to the order of their keys.
impl PartialEq for Value<'_> {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Null, Self::Null) => true,
            (Self::Boolean(a), Self::Boolean(b)) => a == b,
            (Self::Number(a), Self::Number(b)) => a == b,
            (Self::String(a), Self::String(b)) => a == b,
            (Self::Array(a), Self::Array(b)) => **a == **b,
            (Self::Object(a), Self::Object(b)) => a == b,
            (Self::Binary(a), Self::Binary(b)) => a == b,
            _ => false,
        }
    }
}

impl PartialEq for Object<'_> {
    fn eq(&self, other: &Self) -> bool {
        if self.members.len() != other.members.len() {
            return false;
        }
        let same_order = self.members.iter().zip(other.members.iter()).all(|((a, _), (b, _))| a == b);
        if same_order {
            return self.members.iter().zip(other.members.iter()).all(|((_, a), (_, b))| a == b);
        }
        if self.members.len() <= INDEX_FROM {
            return self.members.iter().all(|(key, value)| other.get(key) == Some(value));
        }
        let index: HashMap<&str, &Value<'_>> =
            other.members.iter().map(|(key, value)| (&**key, value)).collect();
        self.members.iter().all(|(key, value)| index.get(&**key).is_some_and(|found| *found == value))
    }
}

/// The number as an integer, when it is one that a 64-bit float holds exactly.
pub(super) fn whole(number: f64) -> Option<i64> {
    const EXACT: f64 = 9_007_199_254_740_992.0; // 2^53
    (number.fract() == 0.0 && number.abs() <= EXACT).then_some(number as i64)
}
