//! `policies list`, `policies show`, `policies schema`: what the catalog says, for people and for
//! editors.

use std::{
    fmt,
    io::{self, Write},
};

use serde_json::{Map, Value, json};

use crate::{
    base::suggest::closest,
    policies::{
        catalog::{self, CATALOG, README_TABLE},
        names,
    },
    policy::PolicyEntry,
};

#[cfg(test)]
mod tests;

/// Why a policy cannot be shown.
#[derive(Debug)]
pub enum PolicyError {
    /// No policy has this name; the closest that one has.
    Unknown { name: String, closest: Option<&'static str> },
    /// The vendor has it, and this gateway not yet.
    NotYet { name: String },
    /// The output could not be written.
    Output(io::Error),
}

impl fmt::Display for PolicyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown { name, closest } => {
                write!(f, "unknown policy `{name}`")?;
                if let Some(close) = closest {
                    write!(f, "\nhelp: did you mean `{close}`?")?;
                }
                f.write_str("\nhelp: `portcullis policies list` shows all policies")
            }
            Self::NotYet { name } => write!(f, "the policy `{name}` is not supported yet"),
            Self::Output(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for PolicyError {}

impl From<io::Error> for PolicyError {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}

/// Writes one line for each policy, then the names that are known but not supported yet.
///
/// # Errors
/// The output cannot be written.
pub fn list(out: &mut dyn Write) -> io::Result<()> {
    let width = |column: fn(&PolicyEntry) -> String| CATALOG.iter().map(|entry| column(entry).len()).max();
    let names = width(|entry| entry.name.to_owned()).unwrap_or_default();
    let directions = width(direction).unwrap_or_default();
    let categories = width(category).unwrap_or_default();
    for entry in CATALOG {
        let (direction, category) = (direction(entry), category(entry));
        writeln!(
            out,
            "{:names$}  {direction:directions$}  {category:categories$}  {}",
            entry.name, entry.summary
        )?;
    }
    let not_yet: Vec<&str> = names::not_yet().collect();
    writeln!(out, "\nNot supported yet: {}", not_yet.join(", "))
}

/// Writes all there is to say about a policy: what it does, parameters, answers, an example.
///
/// # Errors
/// No such policy, or the output cannot be written.
pub fn show(name: &str, out: &mut dyn Write) -> Result<(), PolicyError> {
    let entry = find(name)?;
    // The README ends in a link to the example, which is written out here instead.
    let text = entry.readme.split("\n## Example\n").next().unwrap_or_default();
    for line in text.trim_end().lines().filter(|line| !README_TABLE.contains(line)) {
        writeln!(out, "{line}")?;
    }
    writeln!(out, "\n## Example\n\n```yaml\n{}\n```", entry.example.trim_end())?;
    Ok(())
}

/// Writes the JSON Schema (2020-12) of the `config` of a policy; for `all`, one document with the
/// schema of each policy in `$defs`.
///
/// # Errors
/// No such policy, or the output cannot be written.
pub fn schema(name: &str, out: &mut dyn Write) -> Result<(), PolicyError> {
    let document = if name == "all" {
        let schemas: Map<String, Value> =
            CATALOG.iter().map(|entry| (entry.name.to_owned(), schema_of(entry))).collect();
        json!({
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "title": "config of policies",
            "$defs": schemas,
        })
    } else {
        schema_of(find(name)?)
    };
    writeln!(out, "{document:#}")?;
    Ok(())
}

/// The schema as a resource of its own, so that its references hold inside another document too.
fn schema_of(entry: &PolicyEntry) -> Value {
    let mut schema = entry.schema();
    schema.insert("$id".to_owned(), format!("urn:portcullis:policy:{}", entry.name).into());
    schema.insert("title".to_owned(), format!("config of {}", entry.name).into());
    if schema.get("description").is_none() {
        schema.insert("description".to_owned(), entry.summary.into());
    }
    schema.to_value()
}

/// The policy of a name; as in configuration, `-flex` may be missing.
fn find(name: &str) -> Result<&'static PolicyEntry, PolicyError> {
    let suffixed = format!("{name}-flex");
    if let Some(entry) = catalog::find(name).or_else(|| catalog::find(&suffixed)) {
        return Ok(entry);
    }
    if let Some(name) = names::not_yet().find(|known| *known == name || *known == suffixed) {
        return Err(PolicyError::NotYet { name: name.to_owned() });
    }
    let closest = closest(name, CATALOG.iter().map(|entry| entry.name));
    Err(PolicyError::Unknown { name: name.to_owned(), closest })
}

fn direction(entry: &PolicyEntry) -> String {
    word(json!(entry.direction))
}

fn category(entry: &PolicyEntry) -> String {
    word(json!(entry.category))
}

/// The text that an enum is serialized as.
fn word(value: Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
