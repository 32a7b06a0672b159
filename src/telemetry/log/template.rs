//! Templates of `file` outputs: text with `{date}`, `{logger}`, `{level}`, `{kind}` and `{message}`
//! (configuration reference 9.2); `{request_id}`, `{policy}` and `{api}` are ours.

use super::record::{Record, date, escape};

const VARIABLES: &[&str] = &["date", "logger", "level", "kind", "message", "request_id", "policy", "api"];

/// A parsed template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template(Vec<Part>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Variable(&'static str),
}

impl Template {
    /// Also returns the names in braces that are no variables; they stay in the text.
    pub fn parse(text: &str) -> (Self, Vec<String>) {
        let mut parts = Vec::new();
        let mut unknown = Vec::new();
        let mut literal = String::new();
        // A block scalar ends in a line feed; the output adds its own.
        let mut rest = text.trim_end_matches(['\n', '\r']);
        while let Some(open) = rest.find('{') {
            let (before, after) = rest.split_at(open);
            literal.push_str(before);
            let name = after[1..].split_once('}').map(|(name, _)| name);
            let is_name = |name: &&str| {
                !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
            };
            match name.filter(is_name) {
                Some(name) => {
                    match VARIABLES.iter().find(|known| **known == name) {
                        Some(known) => {
                            parts.push(Part::Text(std::mem::take(&mut literal)));
                            parts.push(Part::Variable(known));
                        }
                        None => {
                            literal.push_str(&after[..name.len() + 2]);
                            unknown.push(name.to_owned());
                        }
                    }
                    rest = &after[name.len() + 2..];
                }
                None => {
                    literal.push('{');
                    rest = &after[1..];
                }
            }
        }
        literal.push_str(rest);
        parts.push(Part::Text(literal));
        (Self(parts), unknown)
    }

    pub(super) fn render(&self, record: &Record<'_>, message: &str) -> String {
        let mut line = String::new();
        for part in &self.0 {
            match part {
                Part::Text(text) => line.push_str(text),
                Part::Variable("date") => line.push_str(&date(record.time)),
                Part::Variable("logger") => line.push_str(record.logger),
                Part::Variable("level") => line.push_str(record.level.name()),
                Part::Variable("kind") => line.push_str(record.kind.name()),
                Part::Variable("message") => escape(message, &mut line),
                Part::Variable("request_id") => escape(record.request_id.unwrap_or_default(), &mut line),
                Part::Variable("policy") => line.push_str(record.policy.unwrap_or_default()),
                Part::Variable(_) => line.push_str(record.api.unwrap_or_default()),
            }
        }
        line
    }
}

/// For messages: the variables there are.
pub(super) fn variables() -> String {
    VARIABLES.iter().map(|name| format!("{{{name}}}")).collect::<Vec<_>>().join(", ")
}
