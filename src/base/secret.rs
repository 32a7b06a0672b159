//! Values that must never be printed.

use std::{borrow::Cow, fmt};

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Deserializer};

/// A configured secret. `Debug` and `Display` redact it and it does not serialise, so it cannot
/// end in a log, a dump or an error by accident; `expose` is the one way to read it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret<T = String>(T);

/// What is shown in place of a secret.
pub const REDACTED: &str = "<redacted>";

/// Parts of names whose value is never shown, whatever they stand in.
const SECRET_PARTS: [&str; 12] = [
    "password",
    "passwd",
    "passphrase",
    "secret",
    "token",
    "apikey",
    "api_key",
    "api-key",
    "x-auth",
    "cookie",
    "credential",
    "authorization",
];

/// Whether the value of a field or header of this name is not to be shown. `key` alone does not say so: it
/// is the private key of a certificate, or the name of a header to inject.
pub fn names_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    SECRET_PARTS.iter().any(|part| name.contains(part))
}

/// A line of a configuration file as a finding may show it: what follows a name that [`names_secret`], users
/// and passwords in addresses, and lines of keys and certificates are left out. `before` is the line above
/// it, which may name the header whose value this is.
pub fn shown_line<'l>(line: &'l str, before: &str) -> Cow<'l, str> {
    let trimmed = line.trim();
    if is_encoded(trimmed) || trimmed.contains("PRIVATE KEY") {
        let indent = line.len() - line.trim_start().len();
        return Cow::Owned(format!("{}{REDACTED}", &line[..indent]));
    }
    let is_value = trimmed.trim_start_matches("- ").to_ascii_lowercase().starts_with("value");
    let name_end = secret_name(line).or_else(|| secret_name(before).filter(|_| is_value).map(|_| 0));
    let colon = name_end.and_then(|end| Some(end + line[end..].find([':', '='])?));
    let line = match colon.map(|colon| line.split_at(colon + 1)) {
        Some((shown, secret)) if !secret.trim().is_empty() && !is_variable(secret) => {
            Cow::Owned(format!("{shown} {REDACTED}"))
        }
        _ => Cow::Borrowed(line),
    };
    let userinfo = line.find("://").and_then(|at| {
        let rest = &line[at + 3..];
        Some((at + 3, at + 3 + rest.find('@').filter(|&end| !rest[..end].contains(['/', ' ', '"', ',']))?))
    });
    match userinfo {
        Some((from, to)) => Cow::Owned(format!("{}{REDACTED}{}", &line[..from], &line[to..])),
        None => line,
    }
}

/// Where the first name ends that [`names_secret`]; variables are named, not shown, so they do not count.
fn secret_name(line: &str) -> Option<usize> {
    let lower = line.to_ascii_lowercase();
    let part = SECRET_PARTS.iter().flat_map(|part| lower.match_indices(part)).filter(|(at, _)| {
        let word = lower[..*at].trim_end_matches(|c: char| c.is_ascii_alphanumeric() || c == '_');
        !word.ends_with('$') && !word.ends_with("${")
    });
    part.map(|(at, part)| at + part.len()).min()
}

/// `$NAME` or `${NAME}`, quoted or not, with what may close a flow collection behind it.
fn is_variable(text: &str) -> bool {
    let text = text.trim().trim_end_matches(['}', ']', ',', '"', '\'', ' ']).trim_start_matches(['"', '\'']);
    text.strip_prefix('$').is_some_and(|name| {
        name.trim_start_matches('{').bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
    })
}

/// A line of base64, as PEM has it.
fn is_encoded(text: &str) -> bool {
    text.len() >= 32 && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"+/=".contains(&b))
}

impl<T> Secret<T> {
    pub fn new(value: T) -> Self {
        Self(value)
    }

    pub fn expose(&self) -> &T {
        &self.0
    }
}

impl<T> fmt::Debug for Secret<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(REDACTED)
    }
}

impl<T> fmt::Display for Secret<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(REDACTED)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Secret<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        T::deserialize(deserializer).map(Self)
    }
}

/// In a schema a secret is its inner type marked `writeOnly` (JSON Schema 9.4), which is also how
/// `dump` knows what to redact.
impl<T: JsonSchema> JsonSchema for Secret<T> {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        format!("Secret_{}", T::schema_name()).into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let mut schema = T::json_schema(generator);
        schema.insert("writeOnly".to_owned(), true.into());
        schema
    }
}

#[cfg(test)]
mod tests {
    use super::shown_line;

    #[test]
    fn a_line_is_shown_without_the_secret_on_it() {
        let encoded = format!("      {}", "QUJD".repeat(16));
        for (before, line, shown) in [
            ("", "  password: hunter2", "  password: <redacted>"),
            ("", "{Password: hunter2, a: b}", "{Password: <redacted>"),
            ("", "  \"clientSecret\" : \"hunter2\",", "  \"clientSecret\" : <redacted>"),
            ("", "  - {key: Authorization, value: hunter2}", "  - {key: Authorization, value: <redacted>"),
            ("  - key: authorization", "    value: hunter2", "    value: <redacted>"),
            ("  - key: x-note", "    value: seen", "    value: seen"),
            ("", "  key: \"-----BEGIN PRIVATE KEY-----hunter2\"", "  <redacted>"),
            ("", &encoded, "      <redacted>"),
            ("", "  password:", "  password:"),
            ("  password: hunter2", "  username: u", "  username: u"),
            ("", "  password: \"${NAME}\"", "  password: \"${NAME}\""),
            ("", "{port: $SHOP_PASSWORD, size: 2}", "{port: $SHOP_PASSWORD, size: 2}"),
            ("", "  address: http://u:hunter2@a:80", "  address: http://<redacted>@a:80"),
            ("", "  address: http://a/b@c", "  address: http://a/b@c"),
        ] {
            assert_eq!(shown_line(line, before), shown, "{line}");
        }
    }
}
