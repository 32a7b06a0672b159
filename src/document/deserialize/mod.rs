//! A serde deserializer over [`Node`]s that reports every problem at once, each with its place.
//!
//! serde stops at the first error. So the error is recorded, the node it is about is *masked*, and
//! the whole is deserialized again, until nothing new is found. A masked or missing required value
//! is replaced by a filler (`filler.rs`), so that one mistake is reported once.

mod access;
mod filler;
mod node_deserializer;
mod wrappers;

#[cfg(test)]
mod tests;

use std::{
    cell::RefCell,
    collections::HashSet,
    fmt::{self, Write as _},
};

use serde::de::{self, DeserializeOwned};

use super::{Node, Place, Problem};
use crate::base::{Severity, secret::shown_name};
use node_deserializer::NodeDeserializer;
pub use wrappers::{OneOrMany, RawNode, Spanned};

/// How often one value is read anew: the number of errors reported at most.
const PASSES_MAX: usize = 100;

/// The outcome of [`deserialize`].
#[derive(Debug)]
pub struct Deserialized<T> {
    /// Absent exactly when `problems` contains an error.
    pub value: Option<T>,
    /// When there are errors: the value with wrong optional parts and list items left out and
    /// wrong required parts imitated, so that further checks can run. What is imitated stands at
    /// [`Place::nowhere`]; `None` if that is not possible.
    pub partial: Option<T>,
    /// In the order of the text.
    pub problems: Vec<Problem>,
}

/// Reads a value of type `T`. Struct fields match without regard to case, unknown fields are
/// warned about, scalars are converted to the type that is asked for (configuration reference 2.2).
/// `path_prefix` is the field path of `node`, put before the paths in problems.
pub fn deserialize<T: DeserializeOwned>(node: &Node, path_prefix: &str) -> Deserialized<T> {
    read(node, path_prefix, true)
}

/// As [`deserialize()`], for the configuration of a policy: a scalar where a mapping or a list belongs may be a secret
/// that stands in the wrong place, and is not quoted.
pub fn deserialize_config<T: DeserializeOwned>(node: &Node, path_prefix: &str) -> Deserialized<T> {
    read(node, path_prefix, false)
}

fn read<T: DeserializeOwned>(node: &Node, path_prefix: &str, quotes: bool) -> Deserialized<T> {
    let mut session = Session { quotes, ..Session::default() };
    let mut withheld = HashSet::new();
    let mut errors: Vec<Problem> = Vec::new();
    let mut value = None;
    let path = Path { parent: None, segment: Segment::Root(path_prefix) };
    for _ in 0..PASSES_MAX {
        let attempt =
            T::deserialize(NodeDeserializer { node, path: &path, session: &session, in_map: false });
        let failure = match attempt {
            Ok(found) => {
                value = Some(found);
                break;
            }
            Err(failure) => failure,
        };
        let Failure { mut problem, node: at, missing, filler, empty, withheld: is_withheld } = failure;
        let at = at.unwrap_or(node);
        if empty && session.absent.insert(at) {
            continue;
        }
        if !filler && let Some(problem) = problem.take() {
            if is_withheld {
                withheld.insert(problem.location.line);
            }
            errors.push(*problem);
        }
        let progress = match missing {
            Some(field) if !filler => session.missing.insert((at, field)),
            _ => session.masked.insert(at),
        };
        if !progress || (at == std::ptr::from_ref(node) && missing.is_none()) {
            break;
        }
    }
    let mut problems = session.warnings.into_inner();
    problems.extend(errors);
    problems.sort_by_key(|p| (p.location.line, p.location.column));
    for problem in problems.iter_mut().filter(|problem| withheld.contains(&problem.location.line)) {
        problem.location.line_text = "".into();
    }
    let mut seen = HashSet::new();
    problems
        .retain(|p| seen.insert((p.location.line, p.location.column, p.field.clone(), p.message.clone())));
    if problems.iter().any(Problem::is_error) {
        return Deserialized { value: None, partial: value, problems };
    }
    Deserialized { value, partial: None, problems }
}

/// What the passes over one value share. Nodes are known by their address, which does not change.
#[derive(Default)]
struct Session {
    /// Whether what stands in the wrong place is quoted.
    quotes: bool,
    masked: HashSet<*const Node>,
    missing: HashSet<(*const Node, &'static str)>,
    /// Empty texts that are no text: as a field of a struct, they count as not written.
    absent: HashSet<*const Node>,
    warnings: RefCell<Vec<Problem>>,
}

impl Session {
    fn warn(&self, problem: Problem) {
        self.warnings.borrow_mut().push(problem);
    }
}

#[derive(Clone, Copy)]
enum Segment<'a> {
    Root(&'a str),
    Key(&'a str),
    Index(usize),
}

/// A field path, kept on the stack and written out only when there is something to report.
struct Path<'a> {
    parent: Option<&'a Path<'a>>,
    segment: Segment<'a>,
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let before = self.parent.map(Path::to_string).unwrap_or_default();
        match self.segment {
            Segment::Root(prefix) => f.write_str(prefix),
            Segment::Key(key) => f.write_str(&join(&before, &shown_name(key))),
            Segment::Index(index) => write!(f, "{before}[{index}]"),
        }
    }
}

/// `path.key`, or `path["odd key"]`.
pub fn join(path: &str, key: &str) -> String {
    let plain = !key.is_empty()
        && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'/' | b'@'));
    let mut out = path.to_owned();
    let written = match (plain, out.is_empty()) {
        (true, true) => out.write_str(key),
        (true, false) => write!(out, ".{key}"),
        (false, _) => write!(out, "[{key:?}]"),
    };
    debug_assert!(written.is_ok(), "writing to a String does not fail");
    out
}

/// The error type: what serde says, and, as soon as it passes a deserializer, where.
#[derive(Debug, Default)]
pub struct Failure {
    problem: Option<Box<Problem>>,
    node: Option<*const Node>,
    missing: Option<&'static str>,
    /// Caused by a filler, so not the user's doing.
    filler: bool,
    /// An empty text where a number, a boolean or one of some words is expected (policies reference 1.4:
    /// left empty is not configured).
    empty: bool,
    /// What it is about is not to be shown.
    withheld: bool,
}

impl Failure {
    fn new(message: impl Into<String>) -> Self {
        let problem = Problem::error(&Place::nowhere(), "", message);
        Self { problem: Some(Box::new(problem)), ..Self::default() }
    }

    fn help(mut self, text: impl Into<String>) -> Self {
        if let Some(problem) = &mut self.problem {
            problem.help.push(text.into());
        }
        self
    }

    fn by_filler() -> Self {
        Self { filler: true, ..Self::default() }
    }

    /// Fixes the place, unless an inner value did.
    fn at(mut self, at: NodeDeserializer<'_>) -> Self {
        if self.node.is_some() {
            return self;
        }
        self.node = Some(at.node);
        if let Some(problem) = &mut self.problem {
            problem.location = at.node.place.location();
            problem.field = match self.missing {
                Some(field) => join(&at.path.to_string(), field),
                None => at.path.to_string(),
            };
            if let super::NodeValue::Scalar { text, variable: Some(name), .. } = &at.node.value
                && !text.is_empty()
            {
                problem.message = problem.message.replace(&**text, &format!("${name}"));
            }
        }
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.problem.as_ref().map_or("invalid value", |problem| &problem.message))
    }
}

impl std::error::Error for Failure {}

impl de::Error for Failure {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::new(message.to_string())
    }

    fn invalid_type(unexpected: de::Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        Self::new(format!("expected {expected}, found {unexpected}"))
    }

    fn invalid_value(unexpected: de::Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        Self::new(format!("expected {expected}, found {unexpected}"))
    }

    fn unknown_variant(variant: &str, expected: &'static [&'static str]) -> Self {
        unknown_value(variant, expected)
    }

    fn missing_field(field: &'static str) -> Self {
        Self { missing: Some(field), ..Self::new(format!("the field `{field}` is missing")) }
    }

    fn duplicate_field(field: &'static str) -> Self {
        Self::new(format!("the field `{field}` is given twice, under two names"))
    }
}

/// "unknown value", with a suggestion and all that is allowed.
fn unknown_value(found: &str, allowed: &[&str]) -> Failure {
    let mut failure = Failure::new(format!("unknown value `{}`", super::node::shortened(found)));
    if let Some(close) = crate::base::suggest::closest(found, allowed.iter().copied()) {
        failure = failure.help(format!("did you mean `{close}`?"));
    }
    failure.empty = found.is_empty();
    failure.help(format!("allowed: {}", listed(allowed)))
}

fn listed(words: &[&str]) -> String {
    words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ")
}

/// Whether any of the problems is an error.
pub fn has_errors(problems: &[Problem]) -> bool {
    problems.iter().any(|problem| problem.severity == Severity::Error)
}
