//! One log record and its forms: a line of text, a JSON object, a user's template.

use std::fmt::Write as _;

use jiff::Timestamp;
use serde_json::{Map, Value};

use super::{Level, template::Template};

/// Records are cut to this many bytes and marked (configuration reference 9.2).
pub const RECORD_BYTES_MAX: usize = 32 * 1024;
pub(super) const MARK: &str = " [truncated]";

/// The two kinds of lines (configuration reference 9.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Runtime,
    Access,
}

impl Kind {
    pub fn name(self) -> &'static str {
        match self {
            Self::Runtime => "runtimeLog",
            Self::Access => "accessLog",
        }
    }
}

/// What is known of a line before it has a form.
#[derive(Clone, Debug)]
pub struct Record<'a> {
    pub time: Timestamp,
    pub logger: &'a str,
    pub level: Level,
    pub kind: Kind,
    /// As it was given: forms escape it.
    pub message: &'a str,
    pub request_id: Option<&'a str>,
    /// `<binding>.<namespace>`.
    pub policy: Option<&'a str>,
    /// `<api>.<namespace>.svc`.
    pub api: Option<&'a str>,
}

/// How the date of a JSON record is written, in the words of Fluent Bit's `json_date_format`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DateFormat {
    /// Seconds with a fraction.
    Double,
    Epoch,
    EpochMs,
    Iso8601,
    JavaSqlTimestamp,
}

/// The form of an output's lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Form {
    Text,
    /// `date_key`: `None` leaves the date out.
    Json {
        date_key: Option<String>,
        date: DateFormat,
    },
    Template(Template),
}

impl Form {
    /// JSON as on standard output.
    pub fn json() -> Self {
        Self::Json { date_key: Some("date".into()), date: DateFormat::Iso8601 }
    }

    /// The record in this form with its line feed, at most [`RECORD_BYTES_MAX`] bytes and the line
    /// feed. Only the message is cut.
    pub fn line(&self, record: &Record<'_>) -> String {
        let mut kept = cut(record.message, RECORD_BYTES_MAX);
        let mut line = self.render(record, kept);
        let mut marked = kept.len() == record.message.len();
        while !marked || (line.len() > RECORD_BYTES_MAX && !kept.is_empty()) {
            // Escapes and templates make a line longer than its message, so shrink by the ratio, and a
            // little more for the mark.
            let bytes = if line.len() + MARK.len() > RECORD_BYTES_MAX {
                (kept.len() * RECORD_BYTES_MAX / line.len()).saturating_sub(4 * MARK.len())
            } else {
                kept.len()
            };
            kept = cut(kept, bytes);
            line = self.render(record, &format!("{kept}{MARK}"));
            marked = true;
        }
        line.push('\n');
        line
    }

    fn render(&self, record: &Record<'_>, message: &str) -> String {
        match self {
            Self::Text => text(record, message),
            Self::Json { date_key, date } => json(record, message, date_key.as_deref(), *date),
            Self::Template(template) => template.render(record, message),
        }
    }
}

/// The lines of configuration reference 9.3.
fn text(record: &Record<'_>, message: &str) -> String {
    let mut line = String::with_capacity(message.len() + 160);
    if record.kind == Kind::Access {
        line.push_str(&date(record.time));
        line.push(' ');
    }
    let _ = write!(line, "[{}][{}] ", record.logger, record.level.name());
    if let (Some(policy), Some(api)) = (record.policy, record.api) {
        let _ = write!(line, "wasm log {policy}.{api} main: ");
        if record.kind == Kind::Runtime {
            let _ = write!(line, "[policy: {policy}][api: {api}]");
        }
    } else if let Some(api) = record.api {
        let _ = write!(line, "[api: {api}]");
    }
    if let Some(id) = record.request_id {
        line.push_str("[req: ");
        escape(id, &mut line);
        line.push(']');
    }
    if line.ends_with(']') && (record.request_id.is_some() || record.api.is_some()) {
        line.push(' ');
    }
    if record.kind == Kind::Access {
        line.push_str("[accessLog] ");
    }
    escape(message, &mut line);
    line
}

fn json(record: &Record<'_>, message: &str, date_key: Option<&str>, format: DateFormat) -> String {
    let mut map = Map::new();
    if let Some(key) = date_key {
        map.insert(key.to_owned(), json_date(record.time, format));
    }
    let mut put = |name: &str, value: &str| map.insert(name.to_owned(), Value::from(value));
    put("logger", record.logger);
    put("level", record.level.name());
    put("kind", record.kind.name());
    put("message", message);
    for (name, value) in [("request_id", record.request_id), ("policy", record.policy), ("api", record.api)] {
        value.and_then(|value| put(name, value));
    }
    // `serde_json` escapes what JSON asks for: control characters below DEL. What is left of them, and
    // the line breaks, can only be inside its strings.
    let mut line = String::new();
    escape(&Value::Object(map).to_string(), &mut line);
    line
}

/// `17/11/2022-09:48:27AM`, in UTC (configuration reference 9.2).
pub(super) fn date(time: Timestamp) -> String {
    time.strftime("%d/%m/%Y-%I:%M:%S%p").to_string()
}

fn json_date(time: Timestamp, format: DateFormat) -> Value {
    match format {
        DateFormat::Double => Value::from(time.as_microsecond() as f64 / 1e6),
        DateFormat::Epoch => Value::from(time.as_second()),
        DateFormat::EpochMs => Value::from(time.as_millisecond()),
        DateFormat::Iso8601 => Value::from(time.strftime("%Y-%m-%dT%H:%M:%S%.6fZ").to_string()),
        DateFormat::JavaSqlTimestamp => Value::from(time.strftime("%Y-%m-%d %H:%M:%S%.6f").to_string()),
    }
}

/// Control characters (C0, DEL, C1) and the Unicode line breaks as escapes: one record stays one
/// line, and no message can move a terminal's cursor.
pub(super) fn escape(text: &str, line: &mut String) {
    for c in text.chars() {
        match c {
            '\n' => line.push_str("\\n"),
            '\r' => line.push_str("\\r"),
            '\t' => line.push_str("\\t"),
            c if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}') => {
                let _ = write!(line, "\\u{:04x}", u32::from(c));
            }
            c => line.push(c),
        }
    }
}

/// The longest beginning of at most `bytes` bytes that ends between characters.
fn cut(text: &str, bytes: usize) -> &str {
    if text.len() <= bytes { text } else { &text[..text.floor_char_boundary(bytes)] }
}
