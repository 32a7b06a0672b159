//! Rule objects: conditions on requests (configuration reference 3.6).

use regex_syntax::hir::{Hir, HirKind};
use serde::Deserialize;

use super::{kinds::Ordered, model::Rule};
use crate::{
    base::pattern,
    document::{OneOrMany, Problem, Spanned},
    http::{
        headers::{HOP_BY_HOP, is_token},
        path::wants_escape,
    },
};

/// A rule as written.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct RuleSpec {
    path: Option<Spanned<String>>,
    #[serde(alias = "method")]
    methods: Option<OneOrMany<Spanned<String>>>,
    host: Option<Spanned<String>>,
    headers: Ordered<Spanned<String>>,
}

/// Who a rule belongs to: capture groups mean something in routes only.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum RuleUse {
    Route,
    Policy,
}

/// Checks the rules and gives their final form: an empty text counts as not given, a list of
/// methods as alternatives.
pub fn read_rules(specs: &[RuleSpec], usage: RuleUse, problems: &mut Vec<Problem>) -> Vec<Rule> {
    specs.iter().map(|spec| read_rule(spec, usage, problems)).collect()
}

fn read_rule(spec: &RuleSpec, usage: RuleUse, problems: &mut Vec<Problem>) -> Rule {
    let given = |value: &Option<Spanned<String>>| value.clone().filter(|text| !text.is_empty());
    let rule = Rule {
        path: given(&spec.path),
        methods: spec.methods.as_ref().and_then(|list| joined(list)),
        host: given(&spec.host),
        headers: spec.headers.iter().map(|(name, value)| (name.value.clone(), value.clone())).collect(),
    };
    if let Some(path) = &rule.path {
        check_path(path, usage, problems);
    }
    if let Some(methods) = &rule.methods {
        check_regex(methods, problems);
        if methods.chars().all(|c| c.is_ascii_lowercase() || c == '|') {
            problems.push(
                methods
                    .warning(format!(
                        "no request has the method `{}`: methods are case-sensitive",
                        methods.value
                    ))
                    .help(format!("write `{}`", methods.to_uppercase())),
            );
        }
    }
    if let Some(host) = &rule.host {
        check_regex(host, problems);
    }
    for (name, value) in spec.headers.iter() {
        check_regex(value, problems);
        if !is_token(name.as_bytes()) {
            problems.push(name.error(format!("`{}` is no header name", name.value)));
        }
        if HOP_BY_HOP.iter().any(|hop| name.eq_ignore_ascii_case(hop)) {
            problems.push(
                name.warning(format!(
                    "this never holds: no rule sees `{}`, which is for one connection alone",
                    name.value
                ))
                .help("name a header that goes from end to end; for WebSocket that is `upgrade`"),
            );
        }
    }
    rule
}

/// Several methods are alternatives; one is a regular expression as it is.
fn joined(list: &[Spanned<String>]) -> Option<Spanned<String>> {
    let first = list.first()?;
    let texts: Vec<_> = list.iter().map(|item| item.value.as_str()).filter(|text| !text.is_empty()).collect();
    (!texts.is_empty()).then(|| first.clone().map(|_| texts.join("|")))
}

fn check_path(path: &Spanned<String>, usage: RuleUse, problems: &mut Vec<Problem>) {
    let Some(regex) = check_regex(path, problems) else { return };
    if path.starts_with(|c: char| c.is_ascii_alphanumeric()) {
        problems.push(
            path.warning(format!("no request path matches `{}`: paths start with `/`", path.value))
                .help(format!("write `/{}`", path.value)),
        );
    }
    let unescaped = match &regex {
        Some(parsed) => unescaped(parsed),
        None => path.chars().find(|c| wants_escape(*c)),
    };
    if let Some(character) = unescaped {
        let escape: String = character.to_string().bytes().map(|byte| format!("%{byte:02X}")).collect();
        problems.push(
            path.warning(format!(
                "no request path has `{}`: paths are compared in their escaped form",
                character.escape_debug()
            ))
            .help(format!("write `{escape}`")),
        );
    }
    if usage == RuleUse::Route && regex.is_some_and(|parsed| nested_groups(&parsed, false)) {
        problems.push(
            path.warning("a capture group inside another repeats its text in the path sent upstream")
                .help("write `(?:…)` for groups that shall not be kept"),
        );
    }
}

/// A character that stands for itself and that requests have as an escape only.
fn unescaped(hir: &Hir) -> Option<char> {
    match hir.kind() {
        HirKind::Literal(literal) => {
            String::from_utf8_lossy(&literal.0).chars().find(|character| wants_escape(*character))
        }
        HirKind::Capture(capture) => unescaped(&capture.sub),
        HirKind::Repetition(repetition) => unescaped(&repetition.sub),
        HirKind::Concat(parts) | HirKind::Alternation(parts) => parts.iter().find_map(unescaped),
        _ => None,
    }
}

/// Whether a capture group stands inside another.
fn nested_groups(hir: &Hir, inside: bool) -> bool {
    match hir.kind() {
        HirKind::Capture(capture) => inside || nested_groups(&capture.sub, true),
        HirKind::Repetition(repetition) => nested_groups(&repetition.sub, inside),
        HirKind::Concat(parts) | HirKind::Alternation(parts) => {
            parts.iter().any(|part| nested_groups(part, inside))
        }
        _ => false,
    }
}

/// `None`: an error was reported. `Some(None)`: plain text, no expression needed.
///
/// Only parsed: compiling all expressions of a thousand APIs would take longer than all the rest,
/// and the compiler of rules does it anyway. Counted repetitions are compiled, since they alone can
/// make an expression too large.
fn check_regex(written: &Spanned<String>, problems: &mut Vec<Problem>) -> Option<Option<Hir>> {
    if !written
        .contains(['\\', '.', '+', '*', '?', '(', ')', '|', '[', ']', '{', '}', '^', '$', '"', '<', '>', '`'])
    {
        return Some(None);
    }
    let check = |text: &str| {
        if text.contains('{') {
            pattern::whole(text, false)?;
        }
        pattern::parse(text)
    };
    let checked = pattern::split_negation(written).and_then(|parts| match parts {
        Some((refused, rest)) => check(refused).and_then(|_| check(rest)),
        None => check(written),
    });
    match checked {
        Ok(hir) => Some(Some(hir)),
        Err(error) => {
            problems.push(written.error(error.message).help(error.help));
            None
        }
    }
}
