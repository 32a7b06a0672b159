//! One node as a serde deserializer: conversions between scalars and the errors they end in.

use serde::de::{self, IntoDeserializer as _, Visitor};

use super::{
    Failure, Path, Session,
    access::{Items, MapEntries, Single, StructEntries, Variant},
    filler::Filler,
    listed, unknown_value, wrappers,
};
use crate::document::{
    Node, NodeValue,
    environment::variable_name,
    node::{Resolved, float, integer, resolve},
};

#[derive(Clone, Copy)]
pub(super) struct NodeDeserializer<'a> {
    pub node: &'a Node,
    pub path: &'a Path<'a>,
    pub session: &'a Session,
    /// The value of a free map: there, nothing is empty text (`{team: }` in labels).
    pub in_map: bool,
}

type Outcome<T> = Result<T, Failure>;

impl<'a> NodeDeserializer<'a> {
    fn masked(self) -> bool {
        !self.session.masked.is_empty() && self.session.masked.contains(&std::ptr::from_ref(self.node))
    }

    fn unexpected(self, expected: &str) -> Failure {
        self.unlike(expected, &self.node.describe())
    }

    /// A mapping or a list belongs here.
    fn misplaced(self, expected: &str) -> Failure {
        if self.session.quotes || self.node.as_text().is_none() {
            return self.unexpected(expected);
        }
        Failure { withheld: true, ..self.unlike(expected, &self.node.describe_kind()) }
    }

    fn unlike(self, expected: &str, found: &str) -> Failure {
        let mut failure = Failure::new(format!("expected {expected}, found {found}"));
        if let NodeValue::Scalar { text, variable: None, .. } = &self.node.value
            && let Some(name) = variable_name(text)
        {
            failure = failure.help(format!("the environment variable `{name}` is not set"));
        }
        failure.empty = self.node.as_text().is_some_and(|text| text.is_empty());
        failure.at(self)
    }

    /// The text of a scalar.
    fn text(self, expected: &str) -> Outcome<&'a str> {
        match &self.node.value {
            NodeValue::Scalar { text, .. } => Ok(text),
            NodeValue::Null if self.in_map => Ok(""),
            _ => Err(self.unexpected(expected)),
        }
    }

    fn integer_in(self, min: i128, max: i128) -> Outcome<i128> {
        const EXPECTED: &str = "an integer";
        let text = self.text(EXPECTED)?;
        let Some(number) = integer(text) else { return Err(self.unexpected(EXPECTED)) };
        if (min..=max).contains(&number) {
            return Ok(number);
        }
        let range = if max > i128::from(u32::MAX) && min == 0 && number < 0 {
            "expected 0 or more".to_owned()
        } else {
            format!("expected an integer from {min} to {max}")
        };
        Err(Failure::new(format!("{number} is out of range: {range}")).at(self))
    }

    fn boolean(self) -> Outcome<bool> {
        const EXPECTED: &str = "a boolean (`true` or `false`)";
        match self.text(EXPECTED)?.to_ascii_lowercase().as_str() {
            "true" | "yes" | "on" => Ok(true),
            "false" | "no" | "off" => Ok(false),
            _ => Err(self.unexpected(EXPECTED)),
        }
    }
}

macro_rules! integers {
    ($($method:ident $visit:ident $type:ty as $wide:ty;)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Outcome<V::Value> {
            if self.masked() {
                return Filler.$method(visitor);
            }
            let number = self.integer_in(<$type>::MIN as i128, <$type>::MAX as i128)?;
            visitor.$visit(number as $wide).map_err(|failure: Failure| failure.at(self))
        }
    )*};
}

impl<'de> de::Deserializer<'de> for NodeDeserializer<'_> {
    type Error = Failure;

    integers! {
        deserialize_i8 visit_i64 i8 as i64;
        deserialize_i16 visit_i64 i16 as i64;
        deserialize_i32 visit_i64 i32 as i64;
        deserialize_i64 visit_i64 i64 as i64;
        deserialize_u8 visit_u64 u8 as u64;
        deserialize_u16 visit_u64 u16 as u64;
        deserialize_u32 visit_u64 u32 as u64;
        deserialize_u64 visit_u64 u64 as u64;
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Outcome<V::Value> {
        if self.masked() {
            return Filler.deserialize_any(visitor);
        }
        let outcome = match &self.node.value {
            NodeValue::Null => visitor.visit_unit(),
            NodeValue::Scalar { text, quoted, .. } => match resolve(text, *quoted) {
                Resolved::Bool(value) => visitor.visit_bool(value),
                Resolved::Integer(value) => match (i64::try_from(value), u64::try_from(value)) {
                    (_, Ok(value)) => visitor.visit_u64(value),
                    (Ok(value), _) => visitor.visit_i64(value),
                    _ => visitor.visit_str(text),
                },
                Resolved::Float(value) => visitor.visit_f64(value),
                Resolved::Text(text) => visitor.visit_str(text),
            },
            NodeValue::Sequence(items) => visitor.visit_seq(Items::new(self, items)),
            NodeValue::Mapping(_) => visitor.visit_map(MapEntries::new(self)),
        };
        outcome.map_err(|failure: Failure| failure.at(self))
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Outcome<V::Value> {
        if self.masked() {
            return Filler.deserialize_bool(visitor);
        }
        visitor.visit_bool(self.boolean()?).map_err(|failure: Failure| failure.at(self))
    }

    fn deserialize_f32<V: Visitor<'de>>(self, visitor: V) -> Outcome<V::Value> {
        self.deserialize_f64(visitor)
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Outcome<V::Value> {
        if self.masked() {
            return Filler.deserialize_f64(visitor);
        }
        let number = float(self.text("a number")?).ok_or_else(|| self.unexpected("a number"))?;
        visitor.visit_f64(number).map_err(|failure: Failure| failure.at(self))
    }

    fn deserialize_char<V: Visitor<'de>>(self, visitor: V) -> Outcome<V::Value> {
        self.deserialize_str(visitor)
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Outcome<V::Value> {
        if self.masked() {
            return Filler.deserialize_str(visitor);
        }
        visitor.visit_str(self.text("text")?).map_err(|failure: Failure| failure.at(self))
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Outcome<V::Value> {
        self.deserialize_str(visitor)
    }

    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Outcome<V::Value> {
        if self.masked() {
            return Filler.deserialize_bytes(visitor);
        }
        visitor.visit_bytes(self.text("text")?.as_bytes()).map_err(|failure: Failure| failure.at(self))
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Outcome<V::Value> {
        self.deserialize_bytes(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Outcome<V::Value> {
        if self.node.is_null() || self.masked() { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Outcome<V::Value> {
        if self.node.is_null() || self.masked() {
            return visitor.visit_unit();
        }
        Err(self.unexpected("nothing"))
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Outcome<V::Value> {
        self.deserialize_unit(visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Outcome<V::Value> {
        match name {
            wrappers::RAW_NODE => {
                wrappers::hand_over(self.node.clone(), String::new());
                visitor.visit_unit()
            }
            wrappers::SPANNED => {
                wrappers::hand_over(Node::null(self.node.place.clone()), self.path.to_string());
                visitor.visit_newtype_struct(self)
            }
            wrappers::ONE_OR_MANY if !self.masked() => match &self.node.value {
                NodeValue::Sequence(items) => visitor.visit_seq(Items::new(self, items)),
                NodeValue::Null => visitor.visit_seq(Items::new(self, &[])),
                _ => visitor.visit_seq(Single(Some(self))),
            },
            wrappers::ONE_OR_MANY => Filler.deserialize_seq(visitor),
            _ => visitor.visit_newtype_struct(self),
        }
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Outcome<V::Value> {
        if self.masked() {
            return Filler.deserialize_seq(visitor);
        }
        match &self.node.value {
            NodeValue::Sequence(items) => {
                visitor.visit_seq(Items::new(self, items)).map_err(|failure: Failure| failure.at(self))
            }
            NodeValue::Scalar { .. } => Err(self
                .misplaced("a list")
                .help("write it as a list: `[…]`, or one line `- …` for each item")),
            _ => Err(self.unexpected("a list")),
        }
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _: usize, visitor: V) -> Outcome<V::Value> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: usize,
        visitor: V,
    ) -> Outcome<V::Value> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Outcome<V::Value> {
        if self.masked() {
            return Filler.deserialize_map(visitor);
        }
        if !matches!(self.node.value, NodeValue::Mapping(_)) {
            return Err(self.misplaced("a mapping"));
        }
        visitor.visit_map(MapEntries::new(self)).map_err(|failure: Failure| failure.at(self))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Outcome<V::Value> {
        if self.masked() {
            return Filler.deserialize_struct(name, fields, visitor);
        }
        if !matches!(self.node.value, NodeValue::Mapping(_)) {
            let failure = self.misplaced("a mapping");
            return Err(if fields.is_empty() {
                failure
            } else {
                failure.help(format!("its fields: {}", listed(fields)))
            });
        }
        visitor.visit_map(StructEntries::new(self, fields)).map_err(|failure: Failure| failure.at(self))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Outcome<V::Value> {
        if self.masked() {
            return Filler.deserialize_enum(name, variants, visitor);
        }
        let (written, content) = match &self.node.value {
            NodeValue::Scalar { text, .. } => (text, None),
            NodeValue::Mapping(entries) if entries.len() == 1 => (&entries[0].0.text, Some(&entries[0].1)),
            _ => {
                return Err(self.unexpected("one word").help(format!("allowed: {}", listed(variants))));
            }
        };
        let variant = variants
            .iter()
            .find(|variant| ***variant == **written)
            .or_else(|| variants.iter().find(|variant| variant.eq_ignore_ascii_case(written)));
        let Some(variant) = variant else {
            let mut failure = unknown_value(written, variants).at(self);
            if let Some(name) = variable_name(written) {
                failure = failure.help(format!("the environment variable `{name}` is not set"));
            }
            return Err(failure);
        };
        visitor
            .visit_enum(Variant { of: self, variant, content })
            .map_err(|failure: Failure| failure.at(self))
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Outcome<V::Value> {
        self.deserialize_str(visitor)
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Outcome<V::Value> {
        visitor.visit_unit()
    }
}

/// Feeds a name to a seed: keys and variants.
pub(super) fn name_into<'de, S: de::DeserializeSeed<'de>>(seed: S, name: &str) -> Outcome<S::Value> {
    seed.deserialize(name.into_deserializer())
}
