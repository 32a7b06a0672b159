//! Values that must never be printed.

use std::{borrow::Cow, fmt};

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Deserializer};

use super::suggest::closest;

/// A configured secret. `Debug` and `Display` redact it and it does not serialise, so it cannot
/// end in a log, a dump or an error by accident; `expose` is the one way to read it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret<T = String>(T);

/// What is shown in place of a secret.
pub const REDACTED: &str = "<redacted>";

/// Parts of names whose value is never shown, whatever they stand in.
const SECRET_PARTS: [&str; 13] = [
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
    "textkey",
];

/// Of these, names with a slip in them are as secret.
const SECRET_NAMES: [&str; 4] = ["password", "passphrase", "authorization", "credentials"];

/// Whether the value of a field or header of this name is not to be shown. `key` alone does not say so: it
/// is the private key of a certificate, or the name of a header to inject.
pub fn names_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    SECRET_PARTS.iter().any(|part| name.contains(part)) || closest(&name, SECRET_NAMES).is_some()
}

/// The name of a field that nobody knows, as a message may show it: where a blank is missing behind the colon, the value is a part of
/// it.
pub fn shown_name(name: &str) -> Cow<'_, str> {
    match name.find([':', '=']) {
        Some(end) if names_secret(&name[..end]) => Cow::Owned(format!("{}{REDACTED}", &name[..=end])),
        _ => Cow::Borrowed(name),
    }
}

/// A line of a configuration file as a finding may show it: what follows a name that [`names_secret`], users
/// and passwords in addresses, and lines of keys and certificates are left out. `before` is the line above
/// it, which may name the header whose value this is.
pub fn shown_line<'l>(line: &'l str, before: &str) -> Cow<'l, str> {
    let trimmed = line.trim();
    // Nothing but the name of a secret stands above it.
    let is_below = before.trim_end().trim_end_matches(['|', '>', '-', '+', ' ']).ends_with(':')
        && secret_name(before).is_some();
    if is_encoded(trimmed) || trimmed.contains("PRIVATE KEY") || is_below && !is_variable(trimmed) {
        let indent = line.len() - line.trim_start().len();
        return Cow::Owned(format!("{}{REDACTED}", &line[..indent]));
    }
    let is_value = trimmed.trim_start_matches("- ").to_ascii_lowercase().starts_with("value");
    let start = match secret_name(line) {
        Some(end) => secret_start(line, value_before(line, end).unwrap_or(end)),
        None => {
            line.find([':', '=']).map(|colon| colon + 1).filter(|_| is_value && secret_name(before).is_some())
        }
    };
    let line = match start.map(|start| line.split_at(start)) {
        Some((shown, secret)) if !is_closing(secret) && !is_variable(secret) => {
            Cow::Owned(format!("{shown} {REDACTED}"))
        }
        _ => Cow::Borrowed(line),
    };
    let keys: Vec<String> =
        line.split_ascii_whitespace().filter(|word| is_key(word)).map(str::to_owned).collect();
    let line = keys.iter().fold(line, |line, key| Cow::Owned(line.replace(key, REDACTED)));
    match without_userinfo(&line) {
        Some(shown) => Cow::Owned(shown),
        None => line,
    }
}

/// What of an address without a scheme may be shown: before an `@` there may be a password.
pub fn behind_user(address: &str) -> &str {
    address.rsplit_once('@').map_or(address, |(_, host)| host)
}

/// The text without users and passwords in addresses, of whatever form; `None`: there are none.
pub fn without_userinfo(text: &str) -> Option<String> {
    let mut shown = String::new();
    let mut is_found = false;
    for word in words(text) {
        let (from, to) = userinfo(word).unwrap_or_default();
        is_found |= to > 0;
        let hidden = if to > 0 { REDACTED } else { "" };
        shown.extend([&word[..from], hidden, &word[to..]]);
    }
    is_found.then_some(shown)
}

/// The words of a text, with what ends each of them. An address has more characters than other words.
fn words(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let ends = |c: char| c.is_whitespace() || "\"`".contains(c);
        let wide = rest.find(ends).map_or(rest, |end| &rest[..end]);
        let narrow = rest.find(|c: char| ends(c) || "',(){}[]".contains(c));
        let end = match narrow {
            Some(end) if !rest[..end].contains("://") => end,
            _ => wide.len(),
        };
        let end = rest[end..].chars().next().map_or(end, |last| end + last.len_utf8());
        let (word, after) = rest.split_at(end);
        rest = after;
        (!word.is_empty()).then_some(word)
    })
}

/// Where a word has what stands before an `@`, if that names a user.
fn userinfo(word: &str) -> Option<(usize, usize)> {
    let at = word.rfind('@')?;
    let scheme = word[..at].find("://").map(|scheme| scheme + 3);
    let start = scheme.unwrap_or(0);
    let user = &word[start..at];
    // A path may have an `@` in it, behind a host and a port.
    let has_password = user.rsplit_once(':').is_some_and(|(_, rest)| match rest.split_once('/') {
        Some((port, _)) => port.bytes().any(|byte| !byte.is_ascii_digit()),
        None => true,
    });
    (has_password || scheme.is_some() && !user.is_empty() && !user.contains('/')).then_some((start, at))
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

/// Where the key `value` ends that stands before the name of its secret: `{value: …, key: Authorization}`.
fn value_before(line: &str, name_end: usize) -> Option<usize> {
    let lower = line[..name_end].to_ascii_lowercase();
    let mut ends = lower.match_indices("value").map(|(at, word)| at + word.len());
    ends.find(|end| line[*end..].trim_start_matches(['"', '\'', ' ']).starts_with(':'))
}

/// Where the secret starts whose name ends here: behind a colon or an equals sign, else right behind the name, as in
/// `Authorization Splunk …`. A path goes on behind it.
fn secret_start(line: &str, name_end: usize) -> Option<usize> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    let rest = line[name_end..].trim_start_matches(is_name);
    let start = line.len() - rest.len();
    let value = rest.trim_start();
    let is_behind_blank = value.len() < rest.len() && !value.starts_with([':', '=', '#', ',', '}', ']']);
    match rest.find([':', '=']) {
        Some(at) if !is_behind_blank => Some(start + at + 1),
        _ => (!rest.starts_with(['/', '(', '.'])).then_some(start),
    }
}

/// Nothing but what closes a text or a flow collection.
fn is_closing(text: &str) -> bool {
    text.chars().all(|c| c.is_whitespace() || ",}])\"'".contains(c))
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

/// A word with base64 in it that is no path: letters of both cases and digits, for long.
pub fn is_key(word: &str) -> bool {
    // Of an address each segment counts on its own: together they are a path.
    let of_base64 = if word.contains("://") { "+=" } else { "+/=" };
    let mut runs = word.split(|c: char| !c.is_ascii_alphanumeric() && !of_base64.contains(c));
    runs.any(|run| {
        let has = |kind: fn(&u8) -> bool| run.as_bytes().iter().any(kind);
        run.len() >= 40
            && has(u8::is_ascii_uppercase)
            && has(u8::is_ascii_lowercase)
            && has(u8::is_ascii_digit)
            && !run.starts_with('/')
    })
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
    use super::{names_secret, shown_line, shown_name};

    #[test]
    fn a_name_with_its_value_in_it_is_shown_without() {
        assert_eq!(shown_name("password:hunter2"), "password:<redacted>");
        assert_eq!(shown_name("x-note"), "x-note");
        assert_eq!(shown_name("urn:a"), "urn:a");
        for secret in ["pasword", "Passphrese", "authorisation", "textKey"] {
            assert!(names_secret(secret), "{secret}");
        }
        for other in ["secure", "path", "passthrough", "port", "order", "key"] {
            assert!(!names_secret(other), "{other}");
        }
    }

    #[test]
    fn a_line_is_shown_without_the_secret_on_it() {
        let encoded = format!("      {}", "QUJD".repeat(16));
        let (key, redacted) = (format!("  tls: {{key: {}}}", "QUJDa1".repeat(16)), "  tls: {key: <redacted>");
        for (before, line, shown) in [
            ("", "  password: hunter2", "  password: <redacted>"),
            ("", "{Password: hunter2, a: b}", "{Password: <redacted>"),
            ("", "  \"clientSecret\" : \"hunter2\",", "  \"clientSecret\" : <redacted>"),
            ("", "  - {key: Authorization, value: hunter2}", "  - {key: Authorization, value: <redacted>"),
            ("", "  - {value: hunter2, key: Authorization}", "  - {value: <redacted>"),
            ("", "  - {\"value\" : hunter2, key: x-api-key}", "  - {\"value\" : <redacted>"),
            ("", "  - {a: value, key: Authorization}", "  - {a: value, key: Authorization}"),
            (
                "",
                "  {a: b, header: \"Authorization Splunk hunter2\"}",
                "  {a: b, header: \"Authorization <redacted>",
            ),
            ("", "  [\"Authorization\", \"Splunk hunter2\"]", "  [\"Authorization <redacted>"),
            ("", "  header: X-Api-Key hunter2: x", "  header: X-Api-Key <redacted>"),
            ("", "  header: \"Authorization $TOKEN\"", "  header: \"Authorization $TOKEN\""),
            ("", "  header: Authorization", "  header: Authorization"),
            ("", "  {key: \"Authorization\" }", "  {key: \"Authorization\" }"),
            ("", "  path: /token/.*", "  path: /token/.*"),
            ("  - key: authorization", "    value: hunter2", "    value: <redacted>"),
            ("  - key: x-note", "    value: seen", "    value: seen"),
            ("", "  key: \"-----BEGIN PRIVATE KEY-----hunter2\"", "  <redacted>"),
            ("", &encoded, "      <redacted>"),
            ("", &key, redacted),
            ("  password:", "    [hunter2]", "    <redacted>"),
            ("  password:", "    $NAME", "    $NAME"),
            (
                "",
                "  path: /Api/V1/customers/of/some/region/and/their/orders",
                "  path: /Api/V1/customers/of/some/region/and/their/orders",
            ),
            ("", "  password:", "  password:"),
            ("  password: hunter2", "  username: u", "  username: u"),
            ("", "  password: \"${NAME}\"", "  password: \"${NAME}\""),
            ("", "{port: $SHOP_PASSWORD, size: 2}", "{port: $SHOP_PASSWORD, size: 2}"),
            ("", "  address: http://u:hunter2@a:80", "  address: http://<redacted>@a:80"),
            ("", "  address: http://a/b@c", "  address: http://a/b@c"),
            ("", "  a: http://h:80/@scope", "  a: http://h:80/@scope"),
            ("", "{to: a@b.test, x: \"http://u:hunter2@h\"}", "{to: a@b.test, x: \"http://<redacted>@h\"}"),
            ("", "  a: [http://u:hunt@er2@h, v:hunter2@h]", "  a: [http://<redacted>@h, <redacted>@h]"),
            ("", "  a: http://u:hun)te}r2@h", "  a: http://<redacted>@h"),
            ("  password: |", "    hunter2", "    <redacted>"),
            ("", "  address: u:hunter2@a:80", "  address: <redacted>@a:80"),
            ("", "  address: http:/u:hunter2@a", "  address: <redacted>@a"),
            ("", "  address: http://u:hunter/2@a", "  address: http://<redacted>@a"),
            ("", "  mail: a@b.test", "  mail: a@b.test"),
        ] {
            assert_eq!(shown_line(line, before), shown, "{line}");
        }
    }
}
