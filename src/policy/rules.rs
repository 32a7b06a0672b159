//! Rules: which requests a policy applies to and which route takes a request (configuration
//! reference 3.6).
//!
//! All four kinds of expression match as a whole, RE2 dialect. Most expressions in practice are a
//! plain prefix, a word or a list of words; those are recognised when compiled and matched without
//! the regex engine.

use std::borrow::Cow;

use regex::Regex;
use regex_syntax::hir::{Hir, HirKind};

use crate::http::{Request, request::host_of};

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
    pub help: Vec<String>,
}

/// A list of rules: the first that holds decides. An empty list holds for every request.
#[derive(Debug, Default)]
pub struct RuleSet(Vec<Rule>);

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

    /// What the first rule that holds keeps of the path (configuration reference 4.5: `T`);
    /// `None` where no rule holds.
    pub fn kept_path<'p>(&self, path: &'p str, request: &Request) -> Option<Cow<'p, str>> {
        if self.0.is_empty() {
            return Some(Cow::Borrowed(path));
        }
        let rule = self.0.iter().find(|rule| rule.holds(path, request))?;
        Some(rule.path.as_ref().map_or(Cow::Borrowed(path), |pattern| pattern.kept(path)))
    }

    /// Whether a path expression has a capture group inside another, which repeats text (4.5).
    pub fn has_nested_groups(source: &str) -> bool {
        fn nested(hir: &Hir, inside: bool) -> bool {
            match hir.kind() {
                HirKind::Capture(capture) => inside || nested(&capture.sub, true),
                HirKind::Repetition(repetition) => nested(&repetition.sub, inside),
                HirKind::Concat(parts) | HirKind::Alternation(parts) => {
                    parts.iter().any(|part| nested(part, inside))
                }
                _ => false,
            }
        }
        regex_syntax::parse(source).is_ok_and(|hir| nested(&hir, false))
    }
}

impl Rule {
    fn compile(source: &RuleSource<'_>) -> Result<Self, RuleError> {
        let pattern = |field: &str, text: Option<&str>| match text {
            None => Ok(None),
            Some(text) => Pattern::compile(text).map(Some).map_err(|(message, help)| RuleError {
                field: field.to_owned(),
                message,
                help,
            }),
        };
        let mut headers = Vec::with_capacity(source.headers.len());
        for (name, text) in &source.headers {
            if let Some(compiled) = pattern(&format!("headers.{name}"), Some(text))? {
                headers.push(((*name).into(), compiled));
            }
        }
        Ok(Self {
            path: pattern("path", source.path)?,
            methods: pattern("methods", source.methods)?,
            host: match (pattern("host", source.host)?, source.host) {
                // Hosts compare without regard to case (RFC 9110 section 4.2.3).
                (Some(_), Some(text)) => pattern("host", Some(&format!("(?i:{text})")))?,
                _ => None,
            },
            headers,
        })
    }

    fn holds(&self, path: &str, request: &Request) -> bool {
        self.path.as_ref().is_none_or(|pattern| pattern.matches(path))
            && self.methods.as_ref().is_none_or(|pattern| pattern.matches(request.method.as_str()))
            && self.host.as_ref().is_none_or(|pattern| {
                let authority = request.authority();
                let host = host_of(authority);
                // The final dot of an absolute name changes nothing.
                pattern.matches(host)
                    || host.strip_suffix('.').is_some_and(|host| pattern.matches(host))
                    || pattern.matches(authority)
            })
            && self.headers.iter().all(|(name, pattern)| match &**name {
                // `host` is no field of `Headers`, but a rule may name it.
                name if name.eq_ignore_ascii_case("host") => pattern.matches(request.authority()),
                name => request.headers.joined(name).is_some_and(|value| pattern.matches(&value)),
            })
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

type PatternError = (String, Vec<String>);

impl Pattern {
    fn compile(source: &str) -> Result<Self, PatternError> {
        if let Some(parts) = split_leading_negation(source) {
            let (refused, rest) = parts;
            let refused = build(&format!(r"\A(?:{refused})"), source)?;
            return Ok(Self::Unless { refused, rest: Box::new(Self::compile(rest)?) });
        }
        // The message of the parser shows the expression as the user wrote it.
        let hir = regex_syntax::parse(source).map_err(|error| explain(source, &error.to_string()))?;
        Ok(match Self::simple(&hir) {
            Some(pattern) => pattern,
            None => Self::Expression(build(&format!(r"\A(?:{source})\z"), source)?),
        })
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

/// Bytes that a compiled expression may take; what RE2 based products allow is of that order.
const REGEX_BYTES_MAX: usize = 1 << 20;

fn build(pattern: &str, shown: &str) -> Result<Regex, PatternError> {
    regex::RegexBuilder::new(pattern)
        .size_limit(REGEX_BYTES_MAX)
        .build()
        .map_err(|error| explain(shown, &error.to_string()))
}

fn explain(source: &str, error: &str) -> PatternError {
    if source.contains("(?=") || source.contains("(?!") || source.contains("(?<") {
        return (
            format!("`{source}` uses look-around, which RE2 does not have"),
            vec![
                "a leading `(?!…)` is supported; elsewhere list several rules, in the order in which they \
                 should be tried"
                    .to_owned(),
            ],
        );
    }
    if error.contains("backreferences are not supported") {
        let help = "write out the alternatives instead".to_owned();
        return (format!("`{source}` uses a back-reference, which RE2 does not have"), vec![help]);
    }
    let cause = error.lines().next_back().unwrap_or(error);
    let cause = cause.strip_prefix("error: ").unwrap_or(cause);
    (format!("`{source}` is no regular expression: {cause}"), vec!["the dialect is RE2".to_owned()])
}

/// `(?!a)b` as `("a", "b")`.
fn split_leading_negation(source: &str) -> Option<(&str, &str)> {
    let inner = source.strip_prefix("(?!")?;
    let mut depth = 1;
    let mut escaped = false;
    for (at, c) in inner.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '(' => depth += 1,
            ')' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return Some((&inner[..at], &inner[at + 1..]));
        }
    }
    None
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
