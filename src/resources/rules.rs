//! Rule objects: conditions on requests (configuration reference 3.6).

use regex::Regex;
use regex_syntax::hir::Hir;
use serde::Deserialize;

use super::{kinds::Ordered, model::Rule};
use crate::document::{OneOrMany, Problem, Spanned};

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
        if !is_header_name(name) {
            problems.push(name.error(format!("`{}` is no header name", name.value)));
        }
    }
    rule
}

fn is_header_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
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
    if usage == RuleUse::Route
        && regex.is_some_and(|parsed| parsed.properties().explicit_captures_len() > 1)
        && nested_groups(path)
    {
        problems.push(
            path.warning("a capture group inside another repeats its text in the path sent upstream")
                .help("write `(?:…)` for groups that shall not be kept"),
        );
    }
}

/// Whether a capture group stands inside another.
fn nested_groups(pattern: &str) -> bool {
    let mut open: Vec<bool> = Vec::new();
    let mut chars = pattern.chars().peekable();
    let mut class = false;
    while let Some(c) = chars.next() {
        match c {
            '\\' => {
                chars.next();
            }
            '[' if !class => class = true,
            ']' => class = false,
            '(' if !class => {
                let captures = chars.peek() != Some(&'?') || {
                    chars.next();
                    matches!(chars.peek(), Some('P' | '<'))
                };
                if captures && open.contains(&true) {
                    return true;
                }
                open.push(captures);
            }
            ')' if !class => {
                open.pop();
            }
            _ => {}
        }
    }
    false
}

/// `None`: an error was reported. `Some(None)`: plain text, no expression needed.
///
/// Only parsed: compiling all expressions of a thousand APIs would take longer than all the rest,
/// and the compiler of rules does it anyway. Counted repetitions are compiled, since they alone can
/// make an expression too large.
fn check_regex(pattern: &Spanned<String>, problems: &mut Vec<Problem>) -> Option<Option<Hir>> {
    if !pattern.contains(['\\', '.', '+', '*', '?', '(', ')', '|', '[', ']', '{', '}', '^', '$']) {
        return Some(None);
    }
    let anchored = format!("^(?:{})$", pattern.value);
    let too_large = || Regex::new(&anchored).err().map(|error| error.to_string());
    let error = match regex_syntax::parse(&anchored) {
        Ok(_) if pattern.contains('{') => too_large(),
        Ok(parsed) => return Some(Some(parsed)),
        Err(error) => Some(error.to_string()),
    };
    match error {
        None => Some(regex_syntax::parse(&anchored).ok()),
        Some(error) => {
            problems.push(regex_problem(pattern, &error));
            None
        }
    }
}

fn regex_problem(pattern: &Spanned<String>, text: &str) -> Problem {
    if ["(?!", "(?=", "(?<!", "(?<="].iter().any(|look| pattern.contains(look)) {
        return pattern
            .error("look-around is not supported in regular expressions")
            .help("the syntax is RE2's: list what shall match, in several rules if need be");
    }
    let cause = text.lines().last().unwrap_or(text).trim().trim_start_matches("error: ").to_owned();
    let problem = pattern.error(format!("`{}` is no valid regular expression: {cause}", pattern.value));
    if cause.contains("backreferences") {
        return problem.help("the syntax is RE2's, which has no back-references");
    }
    problem.help("the syntax is RE2's; to match a special character as it is, put `\\` before it")
}
