//! What serde's visitors walk over: list items, map entries, struct fields, enum variants.

use std::vec;

use serde::de::{self, DeserializeSeed, Visitor};

use super::{
    Failure, Path, Segment,
    filler::Filler,
    listed,
    node_deserializer::{NodeDeserializer, name_into},
};
use crate::{
    base::{
        secret::{REDACTED, names_secret, shown_name},
        suggest::closest,
    },
    document::{Key, Node, Problem},
};

impl<'a> NodeDeserializer<'a> {
    fn child<'b>(self, node: &'b Node, path: &'b Path<'b>, in_map: bool) -> NodeDeserializer<'b>
    where
        'a: 'b,
    {
        NodeDeserializer { node, path, session: self.session, in_map }
    }

    /// Reads a value. What a type finds wrong after its text was read is placed here, at the value;
    /// when the value is masked, it is the filler that a type does not like, and what is around it
    /// has to be masked next.
    fn read<'de, T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Failure> {
        let outcome = seed.deserialize(self);
        if self.hides(self.node) { outcome } else { outcome.map_err(|failure| failure.at(self)) }
    }

    fn hides(self, node: &Node) -> bool {
        self.session.masked.contains(&std::ptr::from_ref(node))
    }
}

/// The items of a list; masked ones are left out.
pub(super) struct Items<'a> {
    of: NodeDeserializer<'a>,
    items: std::iter::Enumerate<std::slice::Iter<'a, Node>>,
}

impl<'a> Items<'a> {
    pub fn new(of: NodeDeserializer<'a>, items: &'a [Node]) -> Self {
        Self { of, items: items.iter().enumerate() }
    }
}

impl<'de> de::SeqAccess<'de> for Items<'_> {
    type Error = Failure;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Failure> {
        let of = self.of;
        let Some((index, item)) = self.items.find(|(_, item)| !of.hides(item)) else { return Ok(None) };
        let path = Path { parent: Some(of.path), segment: Segment::Index(index) };
        of.child(item, &path, false).read(seed).map(Some)
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.items.len())
    }
}

/// A single value where a list is accepted too.
pub(super) struct Single<'a>(pub Option<NodeDeserializer<'a>>);

impl<'de> de::SeqAccess<'de> for Single<'_> {
    type Error = Failure;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Failure> {
        self.0.take().map(|of| of.read(seed)).transpose()
    }
}

/// The entries of a free map; masked ones are left out.
pub(super) struct MapEntries<'a> {
    of: NodeDeserializer<'a>,
    entries: std::slice::Iter<'a, (Key, Node)>,
    value: Option<&'a (Key, Node)>,
}

impl<'a> MapEntries<'a> {
    pub fn new(of: NodeDeserializer<'a>) -> Self {
        Self { of, entries: of.node.entries().iter(), value: None }
    }
}

impl<'de> de::MapAccess<'de> for MapEntries<'_> {
    type Error = Failure;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Failure> {
        let of = self.of;
        self.value = self.entries.find(|(_, value)| !of.hides(value));
        let Some((key, value)) = self.value else { return Ok(None) };
        let path = Path { parent: Some(of.path), segment: Segment::Key(&key.text) };
        // A key of the wrong kind is reported at the key; masking its value drops the entry.
        let at_key = Node::text(key.place.clone(), &key.text);
        let outcome = seed.deserialize(of.child(&at_key, &path, true)).map_err(|failure| {
            let mut failure = failure.at(of.child(&at_key, &path, true));
            failure.node = Some(std::ptr::from_ref(value));
            failure
        });
        outcome.map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Failure> {
        let Some((key, value)) = self.value.take() else {
            return Err(de::Error::custom("a value was asked for before its key"));
        };
        let path = Path { parent: Some(self.of.path), segment: Segment::Key(&key.text) };
        self.of.child(value, &path, true).read(seed)
    }
}

/// The fields of a struct: matched without regard to case, unknown ones warned about, masked and
/// missing ones last and filled.
pub(super) struct StructEntries<'a> {
    of: NodeDeserializer<'a>,
    fields: vec::IntoIter<(&'static str, Option<&'a Node>)>,
    value: Option<(&'static str, Option<&'a Node>)>,
}

impl<'a> StructEntries<'a> {
    pub fn new(of: NodeDeserializer<'a>, allowed: &'static [&'static str]) -> Self {
        let mut found: Vec<(&'static str, Option<&'a Node>)> = Vec::new();
        for (key, value) in of.node.entries() {
            let field = allowed
                .iter()
                .find(|field| ***field == *key.text)
                .or_else(|| allowed.iter().find(|field| field.eq_ignore_ascii_case(&key.text)));
            let Some(field) = field else {
                let warning = unknown_field(of, key, value, allowed);
                of.session.warn(warning);
                continue;
            };
            if found.iter().any(|(other, _)| other == field) {
                of.session.warn(given_twice(of, key, field));
                continue;
            }
            // Nothing written after the colon is the same as not writing the field.
            if !value.is_null() && !of.session.absent.contains(&std::ptr::from_ref(value)) {
                found.push((field, Some(value)));
            }
        }
        let (mut fields, filled): (Vec<_>, Vec<_>) =
            found.into_iter().partition(|(_, value)| value.is_some_and(|value| !of.hides(value)));
        fields.extend(filled);
        let node = std::ptr::from_ref(of.node);
        let missing = allowed.iter().filter(|field| of.session.missing.contains(&(node, **field)));
        fields.extend(missing.map(|field| (*field, None)));
        Self { of, fields: fields.into_iter(), value: None }
    }
}

fn unknown_field(of: NodeDeserializer<'_>, key: &Key, value: &Node, allowed: &[&str]) -> Problem {
    // The second part of a secret with a comma in it looks like a field without a value.
    let is_part = value.is_null() && of.node.entries().iter().any(|(other, _)| names_secret(&other.text));
    let shown = if is_part { REDACTED.into() } else { shown_name(&key.text) };
    let path = Path { parent: Some(of.path), segment: Segment::Key(&shown) };
    let message = format!("unknown field `{shown}`; it is ignored");
    let mut problem = Problem::warning(&key.place, path.to_string(), message);
    if let Some(close) = closest(&shown, allowed.iter().copied()) {
        problem = problem.help(format!("did you mean `{close}`?"));
    }
    if allowed.is_empty() {
        problem.help("no field is known here")
    } else {
        problem.help(format!("allowed: {}", listed(allowed)))
    }
}

fn given_twice(of: NodeDeserializer<'_>, key: &Key, field: &'static str) -> Problem {
    let path = Path { parent: Some(of.path), segment: Segment::Key(field) };
    Problem::error(
        &key.place,
        path.to_string(),
        format!("the field `{field}` is given twice, here as `{}`", key.text),
    )
    .help("field names are matched without regard to case; keep one")
}

impl<'de> de::MapAccess<'de> for StructEntries<'_> {
    type Error = Failure;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Failure> {
        self.value = self.fields.next();
        self.value.map(|(field, _)| name_into(seed, field)).transpose()
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Failure> {
        match self.value.take() {
            Some((field, Some(value))) => {
                let path = Path { parent: Some(self.of.path), segment: Segment::Key(field) };
                self.of.child(value, &path, false).read(seed)
            }
            Some((_, None)) => seed.deserialize(Filler),
            None => Err(de::Error::custom("a value was asked for before its key")),
        }
    }
}

/// An enum: `name` alone, or a mapping of one key.
pub(super) struct Variant<'a> {
    pub of: NodeDeserializer<'a>,
    pub variant: &'static str,
    pub content: Option<&'a Node>,
}

impl<'de, 'a> de::EnumAccess<'de> for Variant<'a> {
    type Error = Failure;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self), Failure> {
        Ok((name_into(seed, self.variant)?, self))
    }
}

impl Variant<'_> {
    fn content(&self) -> Result<&Node, Failure> {
        self.content
            .ok_or_else(|| Failure::new(format!("`{0}` needs a value: `{0}: …`", self.variant)).at(self.of))
    }

    fn path(&self) -> Path<'_> {
        Path { parent: Some(self.of.path), segment: Segment::Key(self.variant) }
    }
}

impl<'de> de::VariantAccess<'de> for Variant<'_> {
    type Error = Failure;

    fn unit_variant(self) -> Result<(), Failure> {
        match self.content {
            Some(content) if !content.is_null() => {
                Err(Failure::new(format!("`{}` takes no value", self.variant)).at(self.of))
            }
            _ => Ok(()),
        }
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Failure> {
        let path = self.path();
        seed.deserialize(self.of.child(self.content()?, &path, false))
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Failure> {
        let path = self.path();
        de::Deserializer::deserialize_seq(self.of.child(self.content()?, &path, false), visitor)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Failure> {
        let path = self.path();
        let content = self.of.child(self.content()?, &path, false);
        de::Deserializer::deserialize_struct(content, self.variant, fields, visitor)
    }
}
