//! The functions of the subset: names, arities and semantics (reference 7.2).

use std::{borrow::Cow, cell::Cell, collections::HashSet};

use base64::{Engine as _, alphabet, engine};

use super::{
    charset::Charset,
    value::{Items, Member, Object, Value},
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Function {
    Concatenate,
    Remove,
    Contains,
    Lower,
    Upper,
    Trim,
    SplitBy,
    SizeOf,
    Uuid,
    SubstringAfter,
    SubstringAfterLast,
    SubstringBefore,
    SubstringBeforeLast,
    ToBase64,
    FromBase64,
    ToBinary,
    ToString,
}

/// A function's place in the language.
#[derive(Debug)]
pub struct Entry {
    pub function: Function,
    pub name: &'static str,
    /// Modules it is reachable through; for those that also need none, see [`Entry::bare`].
    pub modules: &'static [&'static str],
    pub arity: usize,
}

const CORE: &[&str] = &["dw::Core"];
const STRINGS: &[&str] = &["dw::core::Strings"];
/// Some pages of the vendor leave out `core`; both are accepted.
const BINARIES: &[&str] = &["dw::core::Binaries", "dw::Binaries"];
const COERCIONS: &[&str] = &["dw::util::Coercions"];

pub const ENTRIES: &[Entry] = &[
    entry(Function::Concatenate, "++", CORE, 2),
    entry(Function::Remove, "--", CORE, 2),
    entry(Function::Contains, "contains", CORE, 2),
    entry(Function::Lower, "lower", CORE, 1),
    entry(Function::Upper, "upper", CORE, 1),
    entry(Function::Trim, "trim", CORE, 1),
    entry(Function::SplitBy, "splitBy", CORE, 2),
    entry(Function::SizeOf, "sizeOf", CORE, 1),
    entry(Function::Uuid, "uuid", CORE, 0),
    entry(Function::SubstringAfter, "substringAfter", STRINGS, 2),
    entry(Function::SubstringAfterLast, "substringAfterLast", STRINGS, 2),
    entry(Function::SubstringBefore, "substringBefore", STRINGS, 2),
    entry(Function::SubstringBeforeLast, "substringBeforeLast", STRINGS, 2),
    entry(Function::ToBase64, "toBase64", BINARIES, 1),
    entry(Function::FromBase64, "fromBase64", BINARIES, 1),
    entry(Function::ToBinary, "toBinary", COERCIONS, 2),
    entry(Function::ToString, "toString", COERCIONS, 2),
];

const fn entry(
    function: Function,
    name: &'static str,
    modules: &'static [&'static str],
    arity: usize,
) -> Entry {
    Entry { function, name, modules, arity }
}

impl Entry {
    /// Whether the name alone is enough. Functions of modules need their module, because the
    /// subset has no imports.
    pub fn bare(&self) -> bool {
        self.modules == CORE
    }

    /// The name as an expression writes it.
    pub fn full_name(&self) -> String {
        if self.bare() { self.name.to_owned() } else { format!("{}::{}", self.modules[0], self.name) }
    }
}

impl Function {
    pub fn entry(self) -> &'static Entry {
        // The table has one row per variant, in the order of the enum; a test holds it.
        &ENTRIES[self as usize]
    }

    /// The function of a written path such as `trim` or `dw::core::Strings::substringAfter`.
    pub fn from_path(path: &str) -> Option<Self> {
        let (module, name) = path.rsplit_once("::").unwrap_or(("", path));
        ENTRIES
            .iter()
            .find(|entry| {
                entry.name == name
                    && if module.is_empty() { entry.bare() } else { entry.modules.contains(&module) }
            })
            .map(|entry| entry.function)
    }
}

/// Bytes that one evaluation may produce in new strings and lists. Above what a policy can use (a
/// buffered body is 1 MiB by default), below what would hurt a worker.
pub const PRODUCED_BYTES_MAX: usize = 16 << 20;

/// What is left of [`PRODUCED_BYTES_MAX`] in one evaluation.
pub struct Budget(Cell<usize>);

impl Budget {
    pub fn new() -> Self {
        Self(Cell::new(PRODUCED_BYTES_MAX))
    }

    pub fn spend(&self, bytes: usize) -> Result<(), Failure> {
        match self.0.get().checked_sub(bytes) {
            Some(left) => {
                self.0.set(left);
                Ok(())
            }
            None => Err(Failure::new(format!(
                "the expression produces more than {} MiB of intermediate values",
                PRODUCED_BYTES_MAX >> 20
            ))),
        }
    }

    fn spend_items(&self, items: usize) -> Result<(), Failure> {
        self.spend(items.saturating_mul(size_of::<Value<'_>>()))
    }
}

/// Why a value could not be computed. Names types only, never values: they may be secrets.
#[derive(Debug)]
pub struct Failure(pub Cow<'static, str>);

impl Failure {
    pub fn new(message: impl Into<Cow<'static, str>>) -> Self {
        Self(message.into())
    }
}

type Outcome<'a> = Result<Value<'a>, Failure>;

/// A function of one argument.
pub fn call_one<'a>(function: Function, value: Value<'a>, budget: &Budget) -> Outcome<'a> {
    match (function, value) {
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
        (Function::SplitBy, Binary(bytes), String(separator)) => {
            split(Charset::Utf8.decode(bytes).map_err(Failure::new)?, &separator, budget)
        }
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

/// `uuid()`: a random version 4 UUID as text.
pub fn uuid(random: u128) -> Value<'static> {
    uuid::Builder::from_random_bytes(random.to_ne_bytes()).into_uuid().to_string().into()
}

fn charset(name: &str) -> Result<Charset, Failure> {
    Charset::from_name(name)
        .ok_or_else(|| Failure::new(format!("unknown encoding; supported are {}", Charset::NAMES.join(", "))))
}

fn wrong_types(function: Function, values: &[&Value<'_>]) -> Failure {
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

fn owned_items<'a>(items: Items<'a, Value<'a>>, budget: &Budget) -> Result<Vec<Value<'a>>, Failure> {
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

fn remove<'a>(left: Value<'a>, right: Value<'a>, budget: &Budget) -> Outcome<'a> {
    // A plain string stands for a list of one, as in `attributes.headers -- "Authorization"`.
    let right = match right {
        text @ Value::String(_) => Value::from(vec![text]),
        other => other,
    };
    match (left, right) {
        (Value::Array(items), Value::Array(removed)) => {
            let removed = Removed::new(removed.iter(), budget)?;
            let mut kept = Vec::new();
            for item in owned_items(items, budget)? {
                if !removed.has(&item, budget)? {
                    kept.push(item);
                }
            }
            Ok(kept.into())
        }
        (Value::Object(object), Value::Array(keys)) => {
            let fold = object.is_case_insensitive();
            let mut removed = HashSet::new();
            for key in keys.iter() {
                let Some(key) = key.as_str() else {
                    return Err(Failure::new(format!(
                        "`--` removes keys by a list of strings; the list has an item of type {}",
                        key.type_name()
                    )));
                };
                removed.insert(folded(key, fold));
            }
            without(object, budget, |(key, _)| Ok(removed.contains(&folded(key, fold))))
        }
        (Value::Object(object), Value::Object(pairs)) => {
            let fold = object.is_case_insensitive();
            let pairs: HashSet<(Cow<'_, str>, String)> = pairs
                .members()
                .iter()
                .map(|(key, value)| Ok((folded(key, fold), canonical(value, budget)?)))
                .collect::<Result<_, Failure>>()?;
            without(object, budget, |(key, value)| {
                Ok(pairs.contains(&(folded(key, fold), canonical(value, budget)?)))
            })
        }
        (left, right) => Err(wrong_types(Function::Remove, &[&left, &right])),
    }
}

fn folded(key: &str, fold: bool) -> Cow<'_, str> {
    if fold && key.bytes().any(|byte| byte.is_ascii_uppercase()) {
        Cow::Owned(key.to_ascii_lowercase())
    } else {
        Cow::Borrowed(key)
    }
}

fn without<'a>(
    object: Object<'a>,
    budget: &Budget,
    is_removed: impl Fn(&Member<'a>) -> Result<bool, Failure>,
) -> Outcome<'a> {
    budget.spend_items(object.members().len())?;
    let shell = object.with_members(Vec::new());
    let mut kept = Vec::new();
    for member in object.into_members() {
        if !is_removed(&member)? {
            kept.push(member);
        }
    }
    Ok(shell.with_members(kept).into())
}

/// The right operand of `Array -- Array`: a few values are compared one by one, more are looked up
/// by their canonical text, so that two lists from a body do not cost their product.
enum Removed<'v, 'a> {
    Few(Vec<&'v Value<'a>>),
    Many(HashSet<String>),
}

impl<'v, 'a> Removed<'v, 'a> {
    fn new(values: impl ExactSizeIterator<Item = &'v Value<'a>>, budget: &Budget) -> Result<Self, Failure>
    where
        'a: 'v,
    {
        const FEW: usize = 8;
        if values.len() <= FEW {
            return Ok(Self::Few(values.collect()));
        }
        Ok(Self::Many(values.map(|value| canonical(value, budget)).collect::<Result<_, _>>()?))
    }

    fn has(&self, value: &Value<'_>, budget: &Budget) -> Result<bool, Failure> {
        match self {
            Self::Few(values) => Ok(values.contains(&value)),
            Self::Many(texts) => Ok(texts.contains(&canonical(value, budget)?)),
        }
    }
}

/// A text that is equal for equal values only.
fn canonical(value: &Value<'_>, budget: &Budget) -> Result<String, Failure> {
    fn write(value: &Value<'_>, out: &mut String) {
        match value {
            Value::Array(items) => {
                out.push('[');
                for item in items.iter() {
                    write(item, out);
                    out.push(',');
                }
                out.push(']');
            }
            Value::Object(object) => {
                let mut members: Vec<_> = object.members().iter().collect();
                members.sort_by(|(a, _), (b, _)| a.cmp(b));
                out.push('{');
                for (key, value) in members {
                    write(&Value::from(&**key), out);
                    out.push(':');
                    write(value, out);
                    out.push(',');
                }
                out.push('}');
            }
            scalar => out.push_str(&scalar.to_json()),
        }
    }
    let mut text = String::new();
    write(value, &mut text);
    budget.spend(text.len())?;
    Ok(text)
}
