//! Which names an entry means.

use regex::Regex;

use crate::{base::pattern, http::headers::is_token};

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
        match pattern::whole(entry, true) {
            Ok(regex) if is_token(entry.as_bytes()) => Ok(Self::Either(entry.into(), regex)),
            Ok(regex) => Ok(Self::Expression(regex)),
            Err(_) if is_token(entry.as_bytes()) => Ok(Self::Name(entry.into())),
            Err(error) => Err(format!("no header name, and {}", error.message)),
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
