//! Which names an entry means.

use regex::{Regex, RegexBuilder};

use crate::http::headers::is_token;

/// Bytes that a compiled expression may take.
const REGEX_BYTES_MAX: usize = 1 << 20;

/// A name, or an expression for whole names; neither regards case.
#[derive(Debug)]
pub enum NamePattern {
    Name(Box<str>),
    /// `name.*`
    Prefix(Box<str>),
    Expression(Regex),
    /// A name that is an expression too: either way counts (policies reference 4.2).
    Either(Box<str>, Regex),
}

impl NamePattern {
    /// # Errors
    /// A text for the user when the entry is neither a name nor an expression.
    pub fn compile(entry: &str) -> Result<Self, String> {
        if is_plain(entry) {
            return Ok(Self::Name(entry.into()));
        }
        if let Some(prefix) = entry.strip_suffix(".*").filter(|prefix| prefix.is_empty() || is_plain(prefix))
        {
            return Ok(Self::Prefix(prefix.into()));
        }
        let compiled = RegexBuilder::new(&format!(r"\A(?:{entry})\z"))
            .case_insensitive(true)
            .size_limit(REGEX_BYTES_MAX)
            .build();
        match compiled {
            Ok(regex) if is_token(entry.as_bytes()) => Ok(Self::Either(entry.into(), regex)),
            Ok(regex) => Ok(Self::Expression(regex)),
            Err(_) if is_token(entry.as_bytes()) => Ok(Self::Name(entry.into())),
            Err(error) => {
                let cause = error.to_string();
                let cause = cause.lines().next_back().unwrap_or_default();
                let cause = cause.strip_prefix("error: ").unwrap_or(cause);
                Err(format!("`{entry}` is neither a name nor a regular expression: {cause}"))
            }
        }
    }

    pub fn matches(&self, name: &str) -> bool {
        match self {
            Self::Name(wanted) => name.eq_ignore_ascii_case(wanted),
            Self::Prefix(prefix) => {
                name.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix))
            }
            Self::Expression(regex) => regex.is_match(name),
            Self::Either(wanted, regex) => name.eq_ignore_ascii_case(wanted) || regex.is_match(name),
        }
    }
}

/// Without any sign that means something in an expression.
fn is_plain(entry: &str) -> bool {
    !entry.is_empty() && entry.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
}
