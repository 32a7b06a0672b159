//! Regular expressions of a configuration: RE2's dialect (configuration reference 3.6) on the `regex`
//! crate.
//!
//! `\d`, `\s`, `\w` and `\b` know ASCII only, as RE2's do. There is no look-around but one: a negative
//! look-ahead at the very beginning, which callers make a negated condition ([`split_negation`]).

use std::{borrow::Cow, ops::Range};

use regex::{Regex, RegexBuilder};
use regex_syntax::{
    ast::{self, Ast},
    hir::Hir,
};

/// Bytes that a compiled expression may take; what RE2 based products allow is of that order.
const COMPILED_BYTES_MAX: usize = 1 << 20;

/// Why a text is no expression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PatternError {
    pub message: String,
    pub help: &'static str,
}

/// Parses an expression, which costs little; whether it is too large shows only [`whole`].
///
/// # Errors
/// [`PatternError`], in words for the user.
pub fn parse(source: &str) -> Result<Hir, PatternError> {
    regex_syntax::parse(&ascii(source)?).map_err(|error| explain(source, &error.to_string()))
}

/// Compiles an expression that is to match a text as a whole. `fold`: upper and lower case are one.
///
/// # Errors
/// [`PatternError`], in words for the user.
pub fn whole(source: &str, fold: bool) -> Result<Regex, PatternError> {
    build(source, &format!(r"\A(?:{})\z", ascii(source)?), fold)
}

/// Compiles an expression that is to match the beginning of a text.
///
/// # Errors
/// [`PatternError`], in words for the user.
pub fn beginning(source: &str, fold: bool) -> Result<Regex, PatternError> {
    build(source, &format!(r"\A(?:{})", ascii(source)?), fold)
}

/// Compiles an expression that is to be found anywhere in a text.
///
/// # Errors
/// [`PatternError`], in words for the user.
pub fn within(source: &str) -> Result<Regex, PatternError> {
    build(source, &ascii(source)?, false)
}

fn build(source: &str, pattern: &str, fold: bool) -> Result<Regex, PatternError> {
    let mut builder = RegexBuilder::new(pattern);
    builder.size_limit(COMPILED_BYTES_MAX).case_insensitive(fold);
    builder.build().map_err(|error| explain(source, &error.to_string()))
}

/// `(?!a)b` as `a` and `b`; `None` where an expression does not begin so.
///
/// # Errors
/// When `b` has alternatives outside a group: the look-ahead would belong to the first of them only.
pub fn split_negation(source: &str) -> Result<Option<(&str, &str)>, PatternError> {
    let Some(inner) = source.strip_prefix("(?!") else { return Ok(None) };
    // The bracket that closes it is the first before which an expression stands.
    let closes = |&(at, _): &(usize, &str)| ast_of(&inner[..at]).is_ok();
    let Some((end, _)) = inner.match_indices(')').find(closes) else { return Ok(None) };
    let (refused, rest) = (&inner[..end], &inner[end + 1..]);
    if matches!(ast_of(rest), Ok(Ast::Alternation(_))) {
        return Err(PatternError {
            message: format!("the look-ahead of `{source}` belongs to the first alternative only"),
            help: "put the alternatives in a group: `(?!a)(?:b|c)`",
        });
    }
    Ok(Some((refused, rest)))
}

fn ast_of(source: &str) -> Result<Ast, PatternError> {
    ast::parse::Parser::new().parse(source).map_err(|error| explain(source, &error.to_string()))
}

/// The expression with the classes of RE2 in place of those of the crate, which know all of Unicode. That
/// it is parsed by itself also refuses `a)|(b`, which would break out of a group around it.
fn ascii(source: &str) -> Result<Cow<'_, str>, PatternError> {
    let parsed = ast_of(source)?;
    if !source.contains(['\\', '[']) {
        return Ok(Cow::Borrowed(source));
    }
    let mut found = ast::visit(&parsed, Classes::default()).map_err(|OperationOnClasses| PatternError {
        message: format!("`{source}` has `[`, `&&`, `--` or `~~` inside `[…]`"),
        help: "there they are plain characters in RE2, and operations elsewhere: put `\\` before each of them",
    })?;
    found.sort_by_key(|(span, _)| std::cmp::Reverse(span.start));
    let mut text = source.to_owned();
    found.into_iter().for_each(|(span, ascii)| text.replace_range(span, ascii));
    Ok(Cow::Owned(text))
}

/// Collects what is to be replaced, with what.
#[derive(Default)]
struct Classes(Vec<(Range<usize>, &'static str)>);

impl Classes {
    fn class(&mut self, class: &ast::ClassPerl) {
        use ast::ClassPerlKind::{Digit, Space, Word};
        let ascii = match (&class.kind, class.negated) {
            (Digit, false) => "[0-9]",
            (Digit, true) => "[^0-9]",
            (Space, false) => r"[\t\n\f\r ]",
            (Space, true) => r"[^\t\n\f\r ]",
            (Word, false) => "[0-9A-Za-z_]",
            (Word, true) => "[^0-9A-Za-z_]",
        };
        self.0.push((class.span.start.offset..class.span.end.offset, ascii));
    }
}

/// What the crate knows and RE2 does not: a class in a class, and what two of them have in common or not.
struct OperationOnClasses;

impl ast::Visitor for Classes {
    type Output = Vec<(Range<usize>, &'static str)>;
    type Err = OperationOnClasses;

    fn finish(self) -> Result<Self::Output, Self::Err> {
        Ok(self.0)
    }

    fn visit_pre(&mut self, ast: &Ast) -> Result<(), Self::Err> {
        match ast {
            Ast::ClassPerl(class) => self.class(class),
            Ast::Assertion(assertion) if assertion.kind == ast::AssertionKind::WordBoundary => {
                self.0.push((assertion.span.start.offset..assertion.span.end.offset, r"(?-u:\b)"));
            }
            _ => {}
        }
        Ok(())
    }

    fn visit_class_set_item_pre(&mut self, item: &ast::ClassSetItem) -> Result<(), Self::Err> {
        match item {
            ast::ClassSetItem::Bracketed(_) => return Err(OperationOnClasses),
            ast::ClassSetItem::Perl(class) => self.class(class),
            _ => {}
        }
        Ok(())
    }

    fn visit_class_set_binary_op_pre(&mut self, _: &ast::ClassSetBinaryOp) -> Result<(), Self::Err> {
        Err(OperationOnClasses)
    }
}

fn explain(source: &str, error: &str) -> PatternError {
    if ["(?=", "(?!", "(?<=", "(?<!"].iter().any(|look| source.contains(look)) {
        return PatternError {
            message: format!("`{source}` uses look-around, which RE2 does not have"),
            help: "a leading `(?!…)` is supported; elsewhere list several rules, in the order in which they should \
                   be tried",
        };
    }
    if error.contains("backreferences are not supported") {
        return PatternError {
            message: format!("`{source}` uses a back-reference, which RE2 does not have"),
            help: "write out the alternatives instead",
        };
    }
    let cause = error.lines().next_back().unwrap_or(error).trim();
    let cause = cause.strip_prefix("error: ").unwrap_or(cause);
    PatternError {
        message: format!("`{source}` is no valid regular expression: {cause}"),
        help: "the syntax is RE2's; to match a special character as it is, put `\\` before it",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_know_ascii_only() {
        for (source, text, matches) in [
            (r"\d+", "17", true),
            (r"\d+", "\u{0661}", false),
            (r"\w+", "a_1", true),
            (r"\w+", "\u{e9}", false),
            (r"\W", "\u{e9}", true),
            (r"[\w.-]+", "a.b-c", true),
            (r"[\w.-]+", "\u{e9}", false),
            (r"[^\d/]+", "a\u{e9}", true),
            (r"a\sb", "a\u{a0}b", false),
            (r"a\sb", "a b", true),
            (r"\\d", r"\d", true),
            (r"a\b-\bb", "a-b", true),
        ] {
            assert_eq!(whole(source, false).unwrap().is_match(text), matches, "{source} on {text}");
        }
    }

    #[test]
    fn what_the_crate_does_with_classes_and_re2_does_not_is_refused() {
        for source in ["/q/[a-z0-9&&=]+", "[a-z--b]", "[a~~b]", "[[a]b]", r"[\w&&[^_]]"] {
            let error = whole(source, false).expect_err(source);
            assert!(error.message.contains("inside `[…]`"), "{source}: {}", error.message);
            assert!(parse(source).is_err() && within(source).is_err(), "{source}");
        }
        for (source, text) in
            [(r"[a-z\&\&=]+", "a&="), ("[a&]+", "a&"), ("[+-]", "-"), ("[[:alpha:]~]+", "a~")]
        {
            assert!(whole(source, false).unwrap().is_match(text), "{source}");
        }
    }

    #[test]
    fn an_expression_stays_in_the_group_around_it() {
        for source in ["a)|(b", "a)", "(a", "[a"] {
            assert!(whole(source, false).is_err() && parse(source).is_err(), "{source}");
        }
        assert!(!whole("a|b", false).unwrap().is_match("ab"));
    }

    #[test]
    fn a_leading_negation_is_found_whatever_stands_in_it() {
        for (source, parts) in [
            ("(?!/admin)(/.*)", Some(("/admin", "(/.*)"))),
            ("(?!a(b)c)d", Some(("a(b)c", "d"))),
            ("(?![)])x", Some(("[)]", "x"))),
            (r"(?!a\)b).*", Some((r"a\)b", ".*"))),
            ("(?:a)b", None),
            ("/a", None),
        ] {
            assert_eq!(split_negation(source).unwrap(), parts, "{source}");
        }
        assert!(split_negation("(?!a)b|c").unwrap_err().message.contains("first alternative"));
        assert!(split_negation("(?!a)(?:b|c)").unwrap().is_some());
    }

    #[test]
    fn an_expression_that_would_take_too_much_is_refused() {
        assert!(parse("(a{500}){500}").is_ok());
        assert!(whole("(a{500}){500}", false).unwrap_err().message.contains("exceeds"));
    }
}
