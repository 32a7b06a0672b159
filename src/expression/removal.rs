//! `--`: equal items of arrays, keys or equal pairs of objects (reference 7.2).

use std::{borrow::Cow, collections::HashSet};

use super::{
    budget::{Budget, Failure},
    calls::{owned_items, wrong_types},
    functions::Function,
    value::{Member, Object, Value},
};

type Outcome<'a> = Result<Value<'a>, Failure>;

pub fn remove<'a>(left: Value<'a>, right: Value<'a>, budget: &Budget) -> Outcome<'a> {
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
