//! Rules: which requests a policy applies to and which route takes a request (configuration
//! reference 3.6).
//!
//! All four kinds of expression match as a whole, RE2 dialect. Most expressions in practice are a
//! plain prefix, a word or a list of words; those are recognised when compiled and matched without
//! the regex engine.

use std::{borrow::Cow, sync::Arc};

use regex::Regex;
use regex_syntax::hir::{Hir, HirKind};

use super::scope::RequestHead;
use crate::{
    base::pattern::{self, PatternError},
    http::{Request, path, request::host_of},
};

/// The source of one rule; `None` matches everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RuleSource<'a> {
    pub path: Option<&'a str>,
    pub methods: Option<&'a str>,
    pub host: Option<&'a str>,
    pub headers: Vec<(&'a str, &'a str)>,
}

/// Which expression of a rule is wrong, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleError {
    /// `path`, `methods`, `host` or `headers.<name>`.
    pub field: String,
    pub message: String,
    pub help: String,
}

/// A list of rules: the first that holds decides. An empty list holds for every request.
#[derive(Clone, Debug, Default)]
pub struct RuleSet(Arc<[Rule]>);

#[derive(Debug, Default)]
struct Rule {
    path: Option<Pattern>,
    methods: Option<Pattern>,
    host: Option<Pattern>,
    headers: Vec<(Box<str>, Pattern)>,
}

impl RuleSet {
    /// # Errors
    /// The index of the first rule that does not compile, with the reason.
    pub fn compile(sources: &[RuleSource<'_>]) -> Result<Self, (usize, RuleError)> {
        sources
            .iter()
            .enumerate()
            .map(|(index, source)| Rule::compile(source).map_err(|error| (index, error)))
            .collect::<Result<_, _>>()
            .map(Self)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a rule holds. `path` is relative to the base path of the instance, without query.
    pub fn holds(&self, path: &str, request: &Request) -> bool {
        self.0.is_empty() || self.0.iter().any(|rule| rule.holds(path, request))
    }

    /// Whether a policy with these rules is for a request. An instance is asked for its base path without a slash
    /// behind it too, which the upstream gets as `/` (configuration reference 4.5): a rule for that holds for both.
    pub fn concerns(&self, path: &str, request: &Request) -> bool {
        self.holds(path, request) || path.is_empty() && self.holds("/", request)
    }

    /// What the first rule that holds keeps of the path (configuration reference 4.5: `T`);
    /// `None` where no rule holds.
    pub fn kept_path<'p>(&self, path: &'p str, request: &Request) -> Option<Cow<'p, str>> {
        if self.0.is_empty() {
            return Some(Cow::Borrowed(path));
        }
        let rule = self.0.iter().find(|rule| rule.holds(path, request))?;
        Some(rule.path.as_ref().map_or(Cow::Borrowed(path), |pattern| pattern.kept(path)))
    }
}

impl Rule {
    fn compile(source: &RuleSource<'_>) -> Result<Self, RuleError> {
        let pattern = |field: &str, text: &str, fold: bool| {
            Pattern::compile(text, fold).map_err(|error| RuleError {
                field: field.to_owned(),
                message: error.message,
                help: error.help.to_owned(),
            })
        };
        let mut headers = Vec::with_capacity(source.headers.len());
        for (name, text) in &source.headers {
            let field = format!("headers.{name}");
            let name = name.to_ascii_lowercase().into_boxed_str();
            let compiled = pattern(&field, text, *name == *"host")?;
            headers.push((name, compiled));
        }
        Ok(Self {
            path: source.path.map(|text| pattern("path", &path::normal_pattern(text), false)).transpose()?,
            methods: source.methods.map(|text| pattern("methods", text, false)).transpose()?,
            // Hosts compare without regard to case (RFC 9110 section 4.2.3).
            host: source.host.map(|text| pattern("host", text, true)).transpose()?,
            headers,
        })
    }

    fn holds(&self, path: &str, request: &Request) -> bool {
        self.path.as_ref().is_none_or(|pattern| pattern.matches(path))
            && self.methods.as_ref().is_none_or(|pattern| pattern.matches(request.method.as_str()))
            && self.host.as_ref().is_none_or(|pattern| {
                let authority = lower_case(request.authority());
                let host = host_of(&authority);
                // The final dot of an absolute name changes nothing.
                pattern.matches_any(&[host, host.strip_suffix('.').unwrap_or(host), &authority])
            })
            && self.headers.iter().all(|(name, pattern)| match &**name {
                "host" => pattern.matches(&lower_case(request.authority())),
                name => RequestHead::of(request).field(name).is_some_and(|value| pattern.matches(&value)),
            })
    }
}

fn lower_case(text: &str) -> Cow<'_, str> {
    match text.bytes().any(|byte| byte.is_ascii_uppercase()) {
        true => Cow::Owned(text.to_ascii_lowercase()),
        false => Cow::Borrowed(text),
    }
}

/// One expression, matched as a whole.
#[derive(Debug)]
enum Pattern {
    /// `.*`, and `(.*)`, which keeps what it matches.
    Any,
    Exact(Box<str>),
    /// `literal.*`
    Prefix(Box<str>),
    /// `literal(/.*)` and the like: keeps what follows the first `skip` bytes.
    PrefixKeepingTail {
        prefix: Box<str>,
        skip: usize,
    },
    /// `GET|POST`
    Words(Box<[Box<str>]>),
    Expression(Regex),
    /// `(?!refused)rest`
    Unless {
        refused: Regex,
        rest: Box<Pattern>,
    },
}

impl Pattern {
    /// `fold`: it is to match texts in lower case, in whatever case it is written.
    fn compile(source: &str, fold: bool) -> Result<Self, PatternError> {
        if let Some((refused, rest)) = pattern::split_negation(source)? {
            let refused = pattern::beginning(refused, fold)?;
            return Ok(Self::Unless { refused, rest: Box::new(Self::compile(rest, fold)?) });
        }
        Ok(match Self::simple(&pattern::parse(source)?) {
            Some(pattern) if fold => pattern.in_lower_case(),
            Some(pattern) => pattern,
            None => Self::Expression(pattern::whole(source, fold)?),
        })
    }

    fn in_lower_case(self) -> Self {
        let lower = |word: Box<str>| word.to_ascii_lowercase().into_boxed_str();
        match self {
            Self::Exact(word) => Self::Exact(lower(word)),
            Self::Prefix(prefix) => Self::Prefix(lower(prefix)),
            Self::PrefixKeepingTail { prefix, skip } => {
                Self::PrefixKeepingTail { prefix: lower(prefix), skip }
            }
            Self::Words(words) => Self::Words(words.into_iter().map(lower).collect()),
            other => other,
        }
    }

    /// Recognises the forms that need no regex engine.
    fn simple(hir: &Hir) -> Option<Self> {
        if let Some(word) = literal(hir) {
            return Some(Self::Exact(word));
        }
        if is_anything(hir) {
            return Some(Self::Any);
        }
        match hir.kind() {
            HirKind::Capture(capture) if is_anything(&capture.sub) => Some(Self::Any),
            HirKind::Alternation(branches) => {
                branches.iter().map(literal).collect::<Option<Vec<_>>>().map(|w| Self::Words(w.into()))
            }
            HirKind::Concat(parts) => {
                let [head, tail] = parts.as_slice() else { return None };
                let prefix = literal(head)?;
                if is_anything(tail) {
                    return Some(Self::Prefix(prefix));
                }
                let HirKind::Capture(capture) = tail.kind() else { return None };
                let skip = prefix.len();
                if is_anything(&capture.sub) {
                    return Some(Self::PrefixKeepingTail { prefix, skip });
                }
                let HirKind::Concat(inner) = capture.sub.kind() else { return None };
                let [first, rest] = inner.as_slice() else { return None };
                let first = literal(first)?;
                is_anything(rest)
                    .then(|| Self::PrefixKeepingTail { prefix: format!("{prefix}{first}").into(), skip })
            }
            _ => None,
        }
    }

    fn matches(&self, text: &str) -> bool {
        match self {
            // `.` is any character but a line feed, which no field that is matched can contain.
            Self::Any => true,
            Self::Exact(word) => text == &**word,
            Self::Prefix(prefix) | Self::PrefixKeepingTail { prefix, .. } => text.starts_with(&**prefix),
            Self::Words(words) => words.iter().any(|word| text == &**word),
            Self::Expression(regex) => regex.is_match(text),
            Self::Unless { refused, rest } => !refused.is_match(text) && rest.matches(text),
        }
    }

    /// The same for a text with several spellings: what is refused is refused in each of them.
    fn matches_any(&self, spellings: &[&str]) -> bool {
        match self {
            Self::Unless { refused, rest } => {
                !spellings.iter().any(|text| refused.is_match(text)) && rest.matches_any(spellings)
            }
            _ => spellings.iter().any(|text| self.matches(text)),
        }
    }

    /// What is kept of a path that matches: all groups in order, or the path if there is none.
    fn kept<'p>(&self, path: &'p str) -> Cow<'p, str> {
        match self {
            Self::PrefixKeepingTail { skip, .. } => Cow::Borrowed(&path[*skip..]),
            Self::Expression(regex) if regex.captures_len() > 1 => match regex.captures(path) {
                None => Cow::Borrowed(path),
                Some(groups) if groups.len() == 2 => {
                    Cow::Borrowed(groups.get(1).map_or("", |group| group.as_str()))
                }
                Some(groups) => Cow::Owned(groups.iter().skip(1).flatten().map(|g| g.as_str()).collect()),
            },
            Self::Unless { rest, .. } => rest.kept(path),
            _ => Cow::Borrowed(path),
        }
    }
}

fn literal(hir: &Hir) -> Option<Box<str>> {
    match hir.kind() {
        HirKind::Literal(literal) => std::str::from_utf8(&literal.0).ok().map(Into::into),
        _ => None,
    }
}

/// Exactly `.*`.
fn is_anything(hir: &Hir) -> bool {
    match hir.kind() {
        HirKind::Repetition(repetition) => {
            repetition.min == 0
                && repetition.max.is_none()
                && *repetition.sub == Hir::dot(regex_syntax::hir::Dot::AnyCharExceptLF)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests;
