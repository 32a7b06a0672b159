//! The table of parameters in a policy's README, made from the JSON Schema of its configuration.

use serde_json::{Map, Value};

use super::catalog::README_TABLE;
use crate::policy::PolicyEntry;

/// Deeper than any configuration nests: a bound for schemas that refer to themselves.
const DEPTH_MAX: usize = 6;

/// The table of a policy's parameters as Markdown, nested ones as `list[].name`.
pub(super) fn parameters_table(entry: &PolicyEntry) -> String {
    let root = entry.schema().to_value();
    let mut rows = Vec::new();
    properties(&root, &root, "", 0, &mut rows);
    if rows.is_empty() {
        return "None.\n".to_owned();
    }
    let mut table =
        "| parameter | type | required | default | meaning |\n| --- | --- | --- | --- | --- |\n".to_owned();
    for row in rows {
        table.push_str(&row);
    }
    table
}

/// A README with its table made anew; `None` when it lacks the two lines.
pub(super) fn with_table(readme: &str, table: &str) -> Option<String> {
    let [begin, end] = README_TABLE;
    let (before, rest) = readme.split_once(begin)?;
    let (_, after) = rest.split_once(end)?;
    Some(format!("{before}{begin}\n{table}{end}{after}"))
}

fn properties(root: &Value, schema: &Value, path: &str, depth: usize, rows: &mut Vec<String>) {
    let schema = resolved(root, schema);
    let (Some(members), true) = (schema.get("properties").and_then(Value::as_object), depth < DEPTH_MAX)
    else {
        return;
    };
    let required: Vec<&str> = schema
        .get("required")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    for (name, member) in members {
        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        let inner = resolved(root, member);
        let default = match member.get("default") {
            None | Some(Value::Null) => String::new(),
            Some(value) => format!("`{value}`"),
        };
        let meaning = text_of(member).or_else(|| text_of(inner)).unwrap_or_default();
        let needed = if required.contains(&name.as_str()) { "yes" } else { "no" };
        rows.push(format!("| `{path}` | {} | {needed} | {default} | {meaning} |\n", type_of(root, inner)));
        match item_of(root, inner) {
            Some(item) => properties(root, item, &format!("{path}[]"), depth + 1, rows),
            None => properties(root, inner, &path, depth + 1, rows),
        }
    }
}

fn text_of(schema: &Value) -> Option<String> {
    let text = schema.get("description")?.as_str()?;
    Some(text.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|"))
}

/// Follows a reference, and looks through what `Option` and one-or-many make.
fn resolved<'a>(root: &'a Value, schema: &'a Value) -> &'a Value {
    let mut schema = schema;
    for _ in 0..DEPTH_MAX {
        if let Some(reference) = schema.get("$ref").and_then(Value::as_str) {
            match root.pointer(reference.trim_start_matches('#')) {
                Some(target) => schema = target,
                None => return schema,
            }
        } else if let Some(choice) = choices(schema).find(|choice| !is_null(choice)) {
            if !is_list_or_one(schema) && choices(schema).filter(|choice| !is_null(choice)).count() > 1 {
                return schema;
            }
            schema = choice;
        } else {
            return schema;
        }
    }
    schema
}

fn choices(schema: &Value) -> impl Iterator<Item = &Value> {
    schema.get("anyOf").and_then(Value::as_array).into_iter().flatten()
}

fn is_null(schema: &Value) -> bool {
    schema.get("type").and_then(Value::as_str) == Some("null")
}

/// The schema of `OneOrMany`: the list first.
fn is_list_or_one(schema: &Value) -> bool {
    choices(schema).next().is_some_and(|first| first.get("items").is_some())
}

fn item_of<'a>(root: &'a Value, schema: &'a Value) -> Option<&'a Value> {
    schema.get("items").map(|item| resolved(root, item))
}

fn type_of(root: &Value, schema: &Value) -> String {
    if let Some(words) = words(schema) {
        return words.join(", ");
    }
    if schema.get("format").and_then(Value::as_str) == Some("dataweave-expression") {
        return "expression".to_owned();
    }
    let several: Vec<String> = choices(schema)
        .filter(|choice| !is_null(choice))
        .map(|choice| type_of(root, resolved(root, choice)))
        .collect();
    if !several.is_empty() {
        return several.join(" or ");
    }
    let name = match schema.get("type") {
        Some(Value::String(name)) => name.as_str(),
        Some(Value::Array(names)) => {
            names.iter().filter_map(Value::as_str).find(|name| *name != "null").unwrap_or("any")
        }
        _ => "any",
    };
    match name {
        "array" => match item_of(root, schema) {
            Some(item) => format!("list of {}", type_of(root, item)),
            None => "list".to_owned(),
        },
        "object" => "mapping".to_owned(),
        "string" if is_secret(schema) => "string (secret)".to_owned(),
        name => name.to_owned(),
    }
}

fn is_secret(schema: &Value) -> bool {
    schema.get("writeOnly") == Some(&Value::Bool(true))
}

/// The words that an enumeration allows.
fn words(schema: &Value) -> Option<Vec<String>> {
    let quoted = |value: &Value| value.as_str().map(|word| format!("`{word}`"));
    if let Some(list) = schema.get("enum").and_then(Value::as_array) {
        return Some(list.iter().filter_map(quoted).collect());
    }
    let list = schema.get("oneOf").and_then(Value::as_array)?;
    let constant = |choice: &Value| -> Option<Vec<String>> {
        let members: &Map<String, Value> = choice.as_object()?;
        match members.get("const") {
            Some(word) => quoted(word).map(|word| vec![word]),
            None => words(choice),
        }
    };
    list.iter().map(constant).collect::<Option<Vec<_>>>().map(|groups| groups.concat())
}
