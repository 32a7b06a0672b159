//! Types of settings: how each is written, checked and described.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use ipnet::IpNet;

use crate::base::dns_name;

/// The type of a setting, with its bounds (inclusive).
#[derive(Debug)]
pub enum Kind {
    Bool,
    /// A word or text without control characters, not empty.
    Name,
    /// A value for a header field: visible ASCII and blanks, not empty.
    Token,
    Count(u64, u64),
    Bytes(u64, u64),
    /// Milliseconds.
    Duration(u64, u64),
    /// Milliseconds; a value outside is moved to the nearer end.
    Clamped(u64, u64),
    /// Address and port.
    Address,
    Choice(&'static [&'static str]),
    /// Of what.
    List(&'static str),
    Networks,
    Hosts,
    /// A special word, or else the inner kind.
    Or(&'static str, &'static Kind),
}

/// As it stands in a source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Raw {
    Scalar(String),
    List(Vec<String>),
    Map(BTreeMap<String, String>),
}

/// After reading.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    Bool(bool),
    Text(String),
    Number(u64),
    Duration(Duration),
    Address(SocketAddr),
    List(Vec<String>),
    Networks(Vec<IpNet>),
    Hosts(BTreeMap<String, Vec<IpAddr>>),
    /// The special word of [`Kind::Or`].
    Word,
}

impl Kind {
    /// Whether it is given more than once by giving more of it.
    pub(super) fn is_list(&self) -> bool {
        matches!(self, Self::List(_) | Self::Networks | Self::Hosts)
    }

    /// Reads a value. A bare number is a duration in seconds only where `bare_seconds` says so, as
    /// the vendor's variables have it.
    ///
    /// # Errors
    /// The form that was expected, for a person.
    pub(super) fn read(&self, raw: &Raw, bare_seconds: bool) -> Result<Value, String> {
        self.read_checked(raw, bare_seconds).ok_or_else(|| self.expected())
    }

    fn read_checked(&self, raw: &Raw, bare_seconds: bool) -> Option<Value> {
        match self {
            Self::List(_) => return Some(Value::List(items(raw)?)),
            Self::Networks => {
                return items(raw)?
                    .iter()
                    .map(|item| network(item))
                    .collect::<Option<_>>()
                    .map(Value::Networks);
            }
            Self::Hosts => return hosts(raw).map(Value::Hosts),
            _ => {}
        }
        let Raw::Scalar(text) = raw else { return None };
        let text = text.trim();
        match self {
            Self::Or(word, inner) => {
                if text.eq_ignore_ascii_case(word) {
                    return Some(Value::Word);
                }
                inner.read_checked(raw, bare_seconds)
            }
            Self::Bool => boolean(text).map(Value::Bool),
            Self::Name => {
                let good = !text.is_empty() && !text.chars().any(char::is_control);
                good.then(|| Value::Text(text.to_owned()))
            }
            Self::Token => {
                let good = !text.is_empty() && text.bytes().all(|byte| matches!(byte, b' '..=b'~'));
                good.then(|| Value::Text(text.to_owned()))
            }
            Self::Count(low, high) => {
                let number = digits(text)?;
                (*low..=*high).contains(&number).then_some(Value::Number(number))
            }
            Self::Bytes(low, high) => {
                let number = bytes(text)?;
                (*low..=*high).contains(&number).then_some(Value::Number(number))
            }
            Self::Duration(low, high) => {
                let millis = duration_ms(text, bare_seconds)?;
                (*low..=*high).contains(&millis).then(|| Value::Duration(Duration::from_millis(millis)))
            }
            Self::Clamped(low, high) => duration_ms(text, bare_seconds)
                .map(|millis| Value::Duration(Duration::from_millis(millis.clamp(*low, *high)))),
            Self::Address => text.parse().ok().map(Value::Address),
            Self::Choice(words) => words
                .iter()
                .find(|word| word.eq_ignore_ascii_case(text))
                .map(|word| Value::Text((*word).to_owned())),
            Self::List(_) | Self::Networks | Self::Hosts => None,
        }
    }

    /// The form that a value must have, for a person.
    pub fn expected(&self) -> String {
        match self {
            Self::Bool => "`true` or `false` (or `yes`, `on`, `1`; `no`, `off`, `0`)".into(),
            Self::Name => "a name without control characters".into(),
            Self::Token => "visible ASCII characters".into(),
            Self::Count(low, high) => format!("a whole number from {low} to {high}"),
            Self::Bytes(low, u64::MAX) => {
                format!("a size of at least {} such as `512KiB` or a number of bytes", show_bytes(*low))
            }
            Self::Bytes(low, high) => format!(
                "a size from {} to {} such as `512KiB` or a number of bytes",
                show_bytes(*low),
                show_bytes(*high)
            ),
            Self::Duration(low, high) => format!(
                "a duration from {} to {} such as `50ms`, `5s` or `1m`",
                show_duration(*low),
                show_duration(*high)
            ),
            Self::Clamped(low, high) => format!(
                "a duration such as `5s`; moved into {} to {}",
                show_duration(*low),
                show_duration(*high)
            ),
            Self::Address => "an address with port such as `127.0.0.1:9902` or `[::1]:9902`".into(),
            Self::Choice(words) => {
                words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ")
            }
            Self::List(of) => format!("a list, each a {of} (in a variable: joined by `,`)"),
            Self::Networks => {
                "a list of addresses and networks such as `10.0.0.0/8` (in a variable: joined by `,`)".into()
            }
            Self::Hosts => {
                "a map of host name to address (in a variable: `name=address`, joined by `,`)".into()
            }
            Self::Or("", inner) => format!("{}, or nothing", inner.expected()),
            Self::Or(word, inner) => format!("`{word}` or {}", inner.expected()),
        }
    }
}

fn items(raw: &Raw) -> Option<Vec<String>> {
    match raw {
        Raw::Scalar(text) => Some(split(text)),
        Raw::List(items) => Some(items.clone()),
        Raw::Map(_) => None,
    }
}

/// The items of a list in a variable or behind `--set`.
pub(super) fn split(text: &str) -> Vec<String> {
    text.split(',').map(str::trim).filter(|item| !item.is_empty()).map(str::to_owned).collect()
}

fn network(text: &str) -> Option<IpNet> {
    text.parse().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))
}

fn hosts(raw: &Raw) -> Option<BTreeMap<String, Vec<IpAddr>>> {
    let pairs: Vec<(String, String)> = match raw {
        Raw::Map(map) => map.iter().map(|(name, value)| (name.clone(), value.clone())).collect(),
        other => items(other)?
            .iter()
            .map(|item| item.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned())))
            .collect::<Option<_>>()?,
    };
    let mut hosts: BTreeMap<String, Vec<IpAddr>> = BTreeMap::new();
    for (name, addresses) in pairs {
        let name = dns_name(name.trim()).into_owned();
        let addresses: Vec<IpAddr> =
            addresses.split_whitespace().map(str::parse).collect::<Result<_, _>>().ok()?;
        if name.is_empty() || addresses.is_empty() {
            return None;
        }
        let known = hosts.entry(name).or_default();
        addresses.into_iter().for_each(|address| {
            if !known.contains(&address) {
                known.push(address);
            }
        });
    }
    Some(hosts)
}

/// As the vendor's variables and YAML 1.1 habits write it.
fn boolean(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" | "1" => Some(true),
        "false" | "no" | "off" | "0" => Some(false),
        _ => None,
    }
}

/// Digits only: `u64::from_str` would take a leading `+`.
fn digits(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

fn bytes(text: &str) -> Option<u64> {
    let (number, unit) = split_unit(text);
    let factor = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "kb" => 1000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        "k" | "kib" => 1 << 10,
        "m" | "mib" => 1 << 20,
        "g" | "gib" => 1 << 30,
        _ => return None,
    };
    digits(number)?.checked_mul(factor)
}

/// Terms such as `1m30s`, as Go and the vendor's variables write durations.
fn duration_ms(text: &str, bare_seconds: bool) -> Option<u64> {
    if let Some(number) = digits(text).filter(|_| !text.is_empty()) {
        return (bare_seconds || number == 0).then(|| number.checked_mul(1000)).flatten();
    }
    let mut rest = text;
    let mut total: u64 = 0;
    while !rest.is_empty() {
        let (number, after) = split_unit(rest);
        let end = after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len());
        let (unit, next) = after.split_at(end);
        let factor = match unit.trim() {
            "ms" => 1,
            "s" => 1000,
            "m" => 60_000,
            "h" => 3_600_000,
            _ => return None,
        };
        total = total.checked_add(digits(number).filter(|_| !number.is_empty())?.checked_mul(factor)?)?;
        rest = next;
    }
    (!text.is_empty()).then_some(total)
}

fn split_unit(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    (number, unit.trim())
}

fn show_bytes(bytes: u64) -> String {
    match bytes {
        _ if bytes != 0 && bytes.is_multiple_of(1 << 30) => format!("{}GiB", bytes >> 30),
        _ if bytes != 0 && bytes.is_multiple_of(1 << 20) => format!("{}MiB", bytes >> 20),
        _ if bytes != 0 && bytes.is_multiple_of(1 << 10) => format!("{}KiB", bytes >> 10),
        _ => bytes.to_string(),
    }
}

fn show_duration(millis: u64) -> String {
    match millis {
        0 => "0s".into(),
        _ if millis.is_multiple_of(3_600_000) => format!("{}h", millis / 3_600_000),
        _ if millis.is_multiple_of(1000) => format!("{}s", millis / 1000),
        _ => format!("{millis}ms"),
    }
}
