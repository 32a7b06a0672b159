//! Types that ask the deserializer for more than serde's data model knows: a list or a single
//! value, a value with its place, an unread sub-tree. With any other deserializer (JSON, for
//! example) they work too, without places.

use std::{borrow::Cow, cell::RefCell, fmt, marker::PhantomData, ops::Deref, sync::Arc};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{
    Deserialize, Deserializer,
    de::{SeqAccess, Visitor},
};

use crate::{
    base::Location,
    document::{Node, Place, Problem},
};

pub(super) const ONE_OR_MANY: &str = "$document::OneOrMany";
pub(super) const SPANNED: &str = "$document::Spanned";
pub(super) const RAW_NODE: &str = "$document::RawNode";

thread_local! {
    /// What the deserializer hands to the visitor that it calls next: serde has no other way.
    static HANDED_OVER: RefCell<Option<(Node, String)>> = const { RefCell::new(None) };
}

pub(super) fn hand_over(node: Node, path: String) {
    HANDED_OVER.with(|slot| *slot.borrow_mut() = Some((node, path)));
}

fn take() -> Option<(Node, String)> {
    HANDED_OVER.with(|slot| slot.borrow_mut().take())
}

/// A list that may be written as a single value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OneOrMany<T>(pub Vec<T>);

impl<T> Default for OneOrMany<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> Deref for OneOrMany<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.0
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for OneOrMany<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Wanted<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Wanted<T> {
            type Value = OneOrMany<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list or a single value")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<OneOrMany<T>, A::Error> {
                let mut list = Vec::new();
                while let Some(item) = items.next_element()? {
                    list.push(item);
                }
                Ok(OneOrMany(list))
            }

            fn visit_newtype_struct<D: Deserializer<'de>>(self, inner: D) -> Result<OneOrMany<T>, D::Error> {
                Vec::deserialize(inner).map(OneOrMany)
            }
        }
        deserializer.deserialize_newtype_struct(ONE_OR_MANY, Wanted(PhantomData))
    }
}

impl<T: JsonSchema> JsonSchema for OneOrMany<T> {
    fn schema_name() -> Cow<'static, str> {
        format!("OneOrMany_{}", T::schema_name()).into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let item = generator.subschema_for::<T>();
        json_schema!({"anyOf": [{"type": "array", "items": item}, item]})
    }
}

/// A value that knows where it was written.
#[derive(Clone, Debug)]
pub struct Spanned<T> {
    pub value: T,
    pub place: Place,
    /// The field path, such as `spec.rules[0].path`.
    pub field: Arc<str>,
}

impl<T> Spanned<T> {
    pub fn new(value: T, place: Place, field: impl AsRef<str>) -> Self {
        Self { value, place, field: Arc::from(field.as_ref()) }
    }

    pub fn location(&self) -> Location {
        self.place.location()
    }

    /// An error about this value.
    pub fn error(&self, message: impl Into<String>) -> Problem {
        Problem::error(&self.place, &*self.field, message)
    }

    /// A warning about this value.
    pub fn warning(&self, message: impl Into<String>) -> Problem {
        Problem::warning(&self.place, &*self.field, message)
    }

    pub fn map<U>(self, change: impl FnOnce(T) -> U) -> Spanned<U> {
        Spanned { value: change(self.value), place: self.place, field: self.field }
    }

    /// The place alone.
    pub fn map_ref(&self) -> Spanned<()> {
        Spanned { value: (), place: self.place.clone(), field: self.field.clone() }
    }
}

impl<T> Spanned<Option<T>> {
    pub fn transpose(self) -> Option<Spanned<T>> {
        let Self { value, place, field } = self;
        value.map(|value| Spanned { value, place, field })
    }
}

impl<T> Deref for Spanned<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Spanned<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Wanted<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Wanted<T> {
            type Value = Spanned<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a value")
            }

            fn visit_newtype_struct<D: Deserializer<'de>>(self, inner: D) -> Result<Spanned<T>, D::Error> {
                let (node, path) = take().unwrap_or_else(|| (Node::null(Place::nowhere()), String::new()));
                T::deserialize(inner).map(|value| Spanned::new(value, node.place, path))
            }
        }
        deserializer.deserialize_newtype_struct(SPANNED, Wanted(PhantomData))
    }
}

impl<T: JsonSchema> JsonSchema for Spanned<T> {
    fn schema_name() -> Cow<'static, str> {
        T::schema_name()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        generator.subschema_for::<T>()
    }
}

/// A sub-tree kept as it is, for example the `config` of a policy.
#[derive(Clone, Debug)]
pub struct RawNode(pub Node);

impl Default for RawNode {
    fn default() -> Self {
        Self(Node::null(Place::nowhere()))
    }
}

impl Deref for RawNode {
    type Target = Node;

    fn deref(&self) -> &Node {
        &self.0
    }
}

impl<'de> Deserialize<'de> for RawNode {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Wanted;
        impl<'de> Visitor<'de> for Wanted {
            type Value = RawNode;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a value read by the resource loader")
            }

            fn visit_unit<E: serde::de::Error>(self) -> Result<RawNode, E> {
                Ok(take().map_or_else(RawNode::default, |(node, _)| RawNode(node)))
            }
        }
        deserializer.deserialize_newtype_struct(RAW_NODE, Wanted)
    }
}

impl JsonSchema for RawNode {
    fn schema_name() -> Cow<'static, str> {
        "Any".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        true.into()
    }
}
