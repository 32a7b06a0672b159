//! What the functions do (reference 7.2).

use std::borrow::Cow;

use base64::{Engine as _, alphabet, engine};

use super::{
    budget::{Budget, Failure},
    charset::Charset,
    functions::Function,
    removal::remove,
    value::{Items, Value},
};

type Outcome<'a> = Result<Value<'a>, Failure>;

/// A function of one argument.
pub fn call_one<'a>(function: Function, value: Value<'a>, budget: &Budget) -> Outcome<'a> {
    let value = match function {
        Function::SizeOf | Function::IsEmpty | Function::ToBase64 => value,
        _ => as_text(value, budget)?,
    };
    match (function, value) {
        (Function::IsEmpty, value) => {
            is_empty(&value).map(Value::from).ok_or_else(|| wrong_types(function, &[&value]))
        }
        (Function::Lower | Function::Upper | Function::Trim, Value::Null) => Ok(Value::Null),
        (Function::Lower, Value::String(text)) => lower(text, budget),
        (Function::Upper, Value::String(text)) => upper(text, budget),
        (Function::Trim, Value::String(text)) => map_text(text, budget, |text| Some(text.trim())),
        (Function::SizeOf, Value::Array(items)) => Ok(Value::Number(items.len() as f64)),
        (Function::SizeOf, Value::Object(object)) => Ok(Value::Number(object.members().len() as f64)),
        (Function::SizeOf, Value::String(text)) => Ok(Value::Number(text.chars().count() as f64)),
        (Function::ToBase64, Value::Binary(bytes)) => to_base64(&bytes, budget),
        (Function::ToBase64, Value::String(text)) => to_base64(text.as_bytes(), budget),
        (Function::FromBase64, Value::String(text)) => from_base64(&text, budget),
        (function, value) => Err(wrong_types(function, &[&value])),
    }
}

/// A function of two arguments.
pub fn call_two<'a>(function: Function, left: Value<'a>, right: Value<'a>, budget: &Budget) -> Outcome<'a> {
    use Value::{Array, Binary, Null, String};
    let (left, right) = match (function, &left) {
        (Function::ToString | Function::Remove, _) | (Function::Contains, Array(_)) => (left, right),
        _ => (as_text(left, budget)?, as_text(right, budget)?),
    };
    match (function, left, right) {
        (Function::Concatenate, String(left), String(right)) => {
            budget.spend(right.len())?;
            let mut text = owned_text(left, budget)?;
            text.push_str(&right);
            Ok(text.into())
        }
        (Function::Concatenate, Array(left), Array(right)) => {
            budget.spend_items(right.len())?;
            let mut items = owned_items(left, budget)?;
            items.extend(owned_items(right, budget)?);
            Ok(items.into())
        }
        (Function::Remove, left, right) => remove(left, right, budget),
        (Function::Contains, Array(items), wanted) => Ok(items.contains(&wanted).into()),
        (Function::Contains, String(text), String(part)) => Ok(text.contains(&*part).into()),
        (Function::SplitBy, String(text), String(separator)) => split(text, &separator, budget),
        (Function::SubstringAfter, String(text), String(mark)) => {
            map_text(text, budget, |text| text.split_once(&*mark).map(|(_, after)| after))
        }
        (Function::SubstringAfterLast, String(text), String(mark)) => {
            map_text(text, budget, |text| text.rsplit_once(&*mark).map(|(_, after)| after))
        }
        (Function::SubstringBefore, String(text), String(mark)) => {
            map_text(text, budget, |text| text.split_once(&*mark).map(|(before, _)| before))
        }
        (Function::SubstringBeforeLast, String(text), String(mark)) => {
            map_text(text, budget, |text| text.rsplit_once(&*mark).map(|(before, _)| before))
        }
        (
            Function::SubstringAfter
            | Function::SubstringAfterLast
            | Function::SubstringBefore
            | Function::SubstringBeforeLast,
            Null,
            String(_),
        ) => Ok(Null),
        (Function::ToBinary, String(text), String(name)) => {
            let charset = charset(&name)?;
            budget.spend(text.len())?;
            Ok(Binary(charset.encode(text).map_err(Failure::new)?))
        }
        (Function::ToString, Binary(bytes), String(name)) => {
            let charset = charset(&name)?;
            budget.spend(bytes.len().saturating_mul(2))?;
            Ok(String(charset.decode(bytes).map_err(Failure::new)?))
        }
        (function, left, right) => Err(wrong_types(function, &[&left, &right])),
    }
}

/// Functions that take texts take bytes of UTF-8 too (policies reference, part B, 5.2).
fn as_text<'a>(value: Value<'a>, budget: &Budget) -> Outcome<'a> {
    match value {
        Value::Binary(bytes) => {
            budget.spend(bytes.len())?;
            Ok(Value::String(Charset::Utf8.decode(bytes).map_err(Failure::new)?))
        }
        other => Ok(other),
    }
}

/// `None`: a value that is neither empty nor full.
fn is_empty(value: &Value<'_>) -> Option<bool> {
    match value {
        Value::Null => Some(true),
        Value::String(text) => Some(text.is_empty()),
        Value::Binary(bytes) => Some(bytes.is_empty()),
        Value::Array(items) => Some(items.len() == 0),
        Value::Object(object) => Some(object.members().len() == 0),
        Value::Boolean(_) | Value::Number(_) => None,
    }
}

/// `uuid()`: a random version 4 UUID as text.
pub fn uuid(random: u128) -> Value<'static> {
    uuid::Builder::from_random_bytes(random.to_ne_bytes()).into_uuid().to_string().into()
}

fn charset(name: &str) -> Result<Charset, Failure> {
    Charset::from_name(name)
        .ok_or_else(|| Failure::new(format!("unknown encoding; supported are {}", Charset::NAMES.join(", "))))
}

pub fn wrong_types(function: Function, values: &[&Value<'_>]) -> Failure {
    let types: Vec<&str> = values.iter().map(|value| value.type_name()).collect();
    let remedy = match function {
        _ if values.iter().any(|value| value.is_null()) => "; give a null an alternative with `default`",
        Function::Concatenate => "; convert with `as String`",
        _ => "",
    };
    Failure::new(format!("`{}` does not take ({}){remedy}", function.entry().name, types.join(", ")))
}

fn owned_text(text: Cow<'_, str>, budget: &Budget) -> Result<String, Failure> {
    if matches!(text, Cow::Borrowed(_)) {
        budget.spend(text.len())?;
    }
    Ok(text.into_owned())
}

pub fn owned_items<'a>(items: Items<'a, Value<'a>>, budget: &Budget) -> Result<Vec<Value<'a>>, Failure> {
    match items {
        Items::Owned(items) => Ok(items),
        Items::Borrowed(items) => {
            budget.spend_items(items.len())?;
            Ok(items.iter().map(Value::borrowed).collect())
        }
    }
}

/// A part of the text, borrowed when the text is; `None` is the empty string.
fn map_text<'a>(
    text: Cow<'a, str>,
    budget: &Budget,
    part: impl for<'t> FnOnce(&'t str) -> Option<&'t str>,
) -> Outcome<'a> {
    match text {
        Cow::Borrowed(text) => Ok(part(text).unwrap_or_default().into()),
        Cow::Owned(text) => {
            let part = part(&text).unwrap_or_default();
            if part.len() == text.len() {
                return Ok(text.into());
            }
            budget.spend(part.len())?;
            Ok(part.to_owned().into())
        }
    }
}

fn lower<'a>(text: Cow<'a, str>, budget: &Budget) -> Outcome<'a> {
    if text.bytes().all(|byte| byte.is_ascii() && !byte.is_ascii_uppercase()) {
        return Ok(Value::String(text));
    }
    budget.spend(text.len())?;
    Ok(text.to_lowercase().into())
}

fn upper<'a>(text: Cow<'a, str>, budget: &Budget) -> Outcome<'a> {
    if text.bytes().all(|byte| byte.is_ascii() && !byte.is_ascii_lowercase()) {
        return Ok(Value::String(text));
    }
    budget.spend(text.len())?;
    Ok(text.to_uppercase().into())
}

/// Literal separator, empty parts are kept; an empty separator gives the characters.
fn split<'a>(text: Cow<'a, str>, separator: &str, budget: &Budget) -> Outcome<'a> {
    fn parts<'t>(text: &'t str, separator: &str, budget: &Budget) -> Result<Vec<&'t str>, Failure> {
        let mut parts = Vec::new();
        let mut add = |part| {
            budget.spend_items(1)?;
            parts.push(part);
            Ok::<_, Failure>(())
        };
        if separator.is_empty() {
            let mut rest = text;
            while let Some(first) = rest.chars().next() {
                let (character, after) = rest.split_at(first.len_utf8());
                add(character)?;
                rest = after;
            }
        } else {
            text.split(separator).try_for_each(add)?;
        }
        Ok(parts)
    }
    let items: Vec<Value<'a>> = match text {
        Cow::Borrowed(text) => parts(text, separator, budget)?.into_iter().map(Value::from).collect(),
        Cow::Owned(text) => {
            budget.spend(text.len())?;
            parts(&text, separator, budget)?.into_iter().map(|part| part.to_owned().into()).collect()
        }
    };
    Ok(items.into())
}

/// Reads the standard alphabet with or without padding.
const LENIENT: engine::GeneralPurpose = engine::GeneralPurpose::new(
    &alphabet::STANDARD,
    engine::GeneralPurposeConfig::new()
        .with_decode_padding_mode(engine::DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

fn to_base64(bytes: &[u8], budget: &Budget) -> Outcome<'static> {
    budget.spend(bytes.len() / 3 * 4 + 4)?;
    Ok(engine::general_purpose::STANDARD.encode(bytes).into())
}

fn from_base64(text: &str, budget: &Budget) -> Outcome<'static> {
    budget.spend(text.len())?;
    match LENIENT.decode(text.trim()) {
        Ok(bytes) => Ok(Value::Binary(Cow::Owned(bytes))),
        Err(_) => Err(Failure::new("`fromBase64`: the text is not Base64")),
    }
}
