//! Bodies to values (reference 7.5): JSON and XML by their media types, everything else as text.

use std::{borrow::Cow, cell::Cell, fmt};

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use super::{
    charset::Charset,
    value::{Object, Value},
    xml,
};

/// Values that one body may hold. A body of 1 MiB, the default limit of buffering, never has more.
pub const PAYLOAD_VALUES_MAX: usize = 1 << 20;

/// Nesting of arrays, objects and elements: bounds the stack that reading and comparing need.
pub const PAYLOAD_DEPTH_MAX: usize = 64;

/// The value of `payload`. Null when the body is not what its media type says, exceeds the limits
/// above, or is not text of its charset; why is logged at debug level, without the content.
pub fn payload_value(content_type: Option<&str>, body: &[u8]) -> Value<'static> {
    let content_type = content_type.unwrap_or_default();
    let (media_type, parameters) = content_type.split_once(';').unwrap_or((content_type, ""));
    let media_type = media_type.trim().to_ascii_lowercase();
    let read = if is_json(&media_type) {
        json(body)
    } else {
        decode(body, parameters).and_then(|text| {
            if is_xml(&media_type) { xml::read(&text) } else { Ok(text.into_owned().into()) }
        })
    };
    read.unwrap_or_else(|reason| {
        tracing::debug!(media_type, reason, "payload is null: the body could not be read");
        Value::Null
    })
}

fn is_json(media_type: &str) -> bool {
    matches!(media_type, "application/json" | "text/json") || media_type.ends_with("+json")
}

fn is_xml(media_type: &str) -> bool {
    matches!(media_type, "application/xml" | "text/xml") || media_type.ends_with("+xml")
}

fn decode<'b>(body: &'b [u8], parameters: &str) -> Result<Cow<'b, str>, String> {
    let named = parameters.split(';').find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        name.trim().eq_ignore_ascii_case("charset").then(|| value.trim().trim_matches('"'))
    });
    let charset = match named {
        None => Charset::Utf8,
        Some(name) => Charset::from_name(name).ok_or("the charset is not supported")?,
    };
    charset.decode(Cow::Borrowed(body)).map_err(str::to_owned)
}

fn json(body: &[u8]) -> Result<Value<'static>, String> {
    let body = body.strip_prefix("\u{feff}".as_bytes()).unwrap_or(body);
    let left = Cell::new(PAYLOAD_VALUES_MAX);
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    let value = Seed { left: &left, depth: 0 }
        .deserialize(&mut deserializer)
        .and_then(|value| deserializer.end().map(|()| value));
    // The position only: the rest of serde_json's message can quote the content.
    value.map_err(|error| format!("JSON error at line {} column {}", error.line(), error.column()))
}

/// Reads JSON straight into values, counting them.
#[derive(Clone, Copy)]
struct Seed<'c> {
    left: &'c Cell<usize>,
    depth: usize,
}

impl Seed<'_> {
    fn nested<E: Error>(self) -> Result<Self, E> {
        if self.depth == PAYLOAD_DEPTH_MAX {
            return Err(E::custom("nested too deep"));
        }
        Ok(Self { depth: self.depth + 1, ..self })
    }
}

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = Value<'static>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value<'static>, D::Error> {
        let left = self.left.get().checked_sub(1).ok_or_else(|| D::Error::custom("too many values"))?;
        self.left.set(left);
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seed<'_> {
    type Value = Value<'static>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E: Error>(self) -> Result<Value<'static>, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: Error>(self, flag: bool) -> Result<Value<'static>, E> {
        Ok(flag.into())
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Value<'static>, E> {
        Ok(Value::Number(number as f64))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Value<'static>, E> {
        Ok(Value::Number(number as f64))
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Value<'static>, E> {
        Ok(Value::Number(number))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Value<'static>, E> {
        Ok(text.to_owned().into())
    }

    fn visit_string<E: Error>(self, text: String) -> Result<Value<'static>, E> {
        Ok(text.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Value<'static>, A::Error> {
        let seed = self.nested()?;
        let mut items = Vec::new();
        while let Some(item) = sequence.next_element_seed(seed)? {
            items.push(item);
        }
        Ok(items.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value<'static>, A::Error> {
        let seed = self.nested()?;
        let mut members = Vec::new();
        while let Some(key) = map.next_key::<String>()? {
            members.push((Cow::Owned(key), map.next_value_seed(seed)?));
        }
        Ok(Object::new(members).into())
    }
}
