//! What is DataWeave but not in the subset (reference 7.1), and what is neither: each refused by
//! its name, with what to write instead.

use super::{
    ExpressionError,
    ast::{Kind, Node},
    functions::ENTRIES,
    lexer::Token,
    variables::ROOTS,
};
use crate::base::suggest;

/// Functions of DataWeave that the subset lacks, for a better message than "unknown".
const ABSENT_FUNCTIONS: &[&str] = &[
    "abs",
    "avg",
    "ceil",
    "daysBetween",
    "distinctBy",
    "endsWith",
    "entriesOf",
    "filter",
    "filterObject",
    "find",
    "flatMap",
    "flatten",
    "floor",
    "groupBy",
    "indexOf",
    "isBlank",
    "joinBy",
    "keysOf",
    "lastIndexOf",
    "log",
    "lookup",
    "map",
    "mapObject",
    "match",
    "matches",
    "max",
    "maxBy",
    "min",
    "minBy",
    "mod",
    "namesOf",
    "orderBy",
    "p",
    "pluck",
    "pow",
    "random",
    "randomInt",
    "read",
    "readUrl",
    "reduce",
    "replace",
    "round",
    "scan",
    "sqrt",
    "startsWith",
    "sum",
    "typeOf",
    "unzip",
    "valuesOf",
    "with",
    "write",
    "xsiType",
    "zip",
];

fn unsupported(offset: usize, what: &str) -> ExpressionError {
    ExpressionError::at(offset, format!("{what} not supported in expressions"))
}

/// The length of a leading header (`%dw 2.0`, `output …`, `---`), which is accepted and ignored.
pub fn header_length(text: &str, base: usize) -> Result<usize, ExpressionError> {
    let start = text.len() - text.trim_start().len();
    let body = &text[start..];
    let word = body.split_whitespace().next().unwrap_or_default();
    if !matches!(word, "%dw" | "output") && !word.starts_with("---") {
        return Ok(0);
    }
    let Some(length) = body.find("---") else {
        return Err(ExpressionError::at(base + start, format!("the header that `{word}` starts has no end"))
            .help("put `---` between the header and the expression, or leave the header out"));
    };
    let mut words = body[..length].split_whitespace();
    while let Some(word) = words.next() {
        match word {
            "%dw" => drop(words.next()),
            "output" => drop(words.next()),
            // Writer properties, such as `indent=false`.
            _ if word.contains('=') && !word.starts_with('=') => {}
            _ => {
                let at = start + body[..length].find(word).unwrap_or_default();
                return Err(unsupported(base + at, &format!("the header directive `{word}` is"))
                    .help("only `%dw 2.0` and `output …` may stand before `---`; both are ignored"));
            }
        }
    }
    Ok(start + length + "---".len())
}

/// Signs and words that DataWeave knows and the subset does not.
pub fn construct(token: &Token<'_>, offset: usize) -> Option<ExpressionError> {
    Some(match *token {
        Token::Symbol(sign @ ("+" | "-" | "*" | "/" | "%" | "^")) => arithmetic(sign, offset),
        Token::Symbol("~=") => {
            unsupported(offset, "`~=` is").help("convert and compare: a as String == b as String")
        }
        Token::Symbol("->") => unsupported(offset, "lambdas (`->`) are"),
        Token::Symbol("$") => unsupported(offset, "`$`, the parameter of a lambda, is"),
        Token::Symbol("{" | "}") => unsupported(offset, "object literals and `do` blocks (`{ }`) are"),
        Token::Symbol("|") => unsupported(offset, "dates and periods (`|…|`) are"),
        Token::Symbol("?") => unsupported(offset, "`?` is").help("test for presence with `!= null`"),
        Token::Symbol("!") => {
            unsupported(offset, "the selector `!` is").help("test for presence with `!= null`")
        }
        Token::Symbol("..") => {
            unsupported(offset, "the descendants selector `..` is").help("name each level: a.b.c")
        }
        Token::Symbol("@") => unsupported(offset, "XML attribute selectors (`.@`) are"),
        Token::Symbol("#") => unsupported(offset, "`#` is"),
        Token::Symbol("&") => unsupported(offset, "`&` is").help("write `and`"),
        Token::Symbol("&&") => unsupported(offset, "`&&` is").help("write `and`"),
        Token::Symbol("||") => unsupported(offset, "`||` is").help("write `or`"),
        Token::Symbol("=") => unsupported(offset, "`=` is").help("equality is `==`"),
        Token::Symbol(";") => unsupported(offset, "`;` is").help("write one expression"),
        Token::Name("to") => unsupported(offset, "ranges (`to`) are").help("select single items by index"),
        Token::Name("is") => unsupported(offset, "type tests (`is`) are"),
        Token::Name(word @ ("do" | "match" | "using" | "unless" | "otherwise" | "case" | "update")) => {
            unsupported(offset, &format!("`{word}` is")).help("choose with: if (condition) a else b")
        }
        Token::Name(word @ ("var" | "fun" | "import" | "type" | "ns")) => {
            unsupported(offset, &format!("`{word}` declarations are"))
        }
        _ => return None,
    })
}

pub fn arithmetic(sign: &str, offset: usize) -> ExpressionError {
    unsupported(offset, &format!("arithmetic (`{sign}`) is"))
        .help("join strings with `++`; a minus may start a number only, as in [-1]")
}

/// A token where a value should start.
pub fn value(token: &Token<'_>, offset: usize) -> ExpressionError {
    if let Some(refusal) = construct(token, offset) {
        return refusal;
    }
    let error = ExpressionError::at(offset, format!("expected a value, found {}", describe(token)));
    match token {
        Token::End => error.help("the expression ends too early; is an operand or a `)` missing?"),
        Token::Symbol("." | "[") => error.help("a selector follows a value, as in attributes.method"),
        _ => error,
    }
}

/// Words of the grammar that start no value. (`not` does.)
pub fn is_keyword(word: &str) -> bool {
    matches!(word, "if" | "else" | "and" | "or" | "as" | "default")
}

/// A name where a value should start that is neither a variable nor a call.
pub fn name(name: &str, offset: usize) -> ExpressionError {
    if name == "if" {
        return ExpressionError::at(offset, "`if` cannot be an operand").help("put parentheses around it");
    }
    if let Some(refusal) = construct(&Token::Name(name), offset) {
        return refusal;
    }
    if is_keyword(name) {
        return ExpressionError::at(offset, format!("expected a value, found `{name}`"));
    }
    if ENTRIES.iter().any(|entry| entry.name == name) {
        return ExpressionError::at(offset, format!("`{name}` is a function and needs its arguments"))
            .help(format!("call it: {name}(…)"));
    }
    let error = ExpressionError::at(offset, format!("unknown variable `{name}`"));
    let literals = ["true", "false", "null"];
    match suggest::closest(name, ROOTS.into_iter().chain(literals)) {
        Some(close) => error.help(format!("did you mean `{close}`?")),
        None => error.help(format!("known are {}; a text needs quotes: '{name}'", ROOTS.join(", "))),
    }
}

pub fn unknown_function(path: &str, offset: usize) -> ExpressionError {
    if !path.contains("::")
        && let Some(refusal) = construct(&Token::Name(path), offset)
    {
        return refusal;
    }
    let name = path.rsplit("::").next().unwrap_or(path);
    if let Some(entry) = ENTRIES.iter().find(|entry| entry.name == name) {
        let full = entry.full_name();
        let message = if path == name {
            format!("the function `{name}` needs its module")
        } else {
            format!("`{name}` is not in that module")
        };
        return ExpressionError::at(offset, message).help(format!("write {full}(…)"));
    }
    if name == "now" {
        return unsupported(offset, "`now()` is").help(
            "dates are not part of the subset; message logging has vars.receivedTs and vars.repliedTs",
        );
    }
    if ABSENT_FUNCTIONS.contains(&name) {
        return unsupported(offset, &format!("the DataWeave function `{name}` is"))
            .help(format!("functions are {}", function_list()));
    }
    let error = ExpressionError::at(offset, format!("unknown function `{path}`"));
    match suggest::closest(name, ENTRIES.iter().map(|entry| entry.name)) {
        Some(close) => {
            let full =
                ENTRIES.iter().find(|entry| entry.name == close).map(super::functions::Entry::full_name);
            error.help(format!("did you mean `{}`?", full.as_deref().unwrap_or(close)))
        }
        None => error.help(format!("functions are {}", function_list())),
    }
}

fn function_list() -> String {
    ENTRIES.iter().map(super::functions::Entry::full_name).collect::<Vec<_>>().join(", ")
}

/// A token after `.`.
pub fn selector(token: &Token<'_>, offset: usize) -> ExpressionError {
    match token {
        Token::Symbol("*") => unsupported(offset, "the multi-value selector `.*` is"),
        Token::Symbol("@" | "^" | "#") => unsupported(offset, "metadata and attribute selectors are"),
        Token::Number(_) => ExpressionError::at(offset, "a name follows `.`, not a number")
            .help("an index is written in brackets: [0]"),
        _ => ExpressionError::at(offset, format!("expected a name after `.`, found {}", describe(token)))
            .help("a name with other signs than letters, digits and _ is quoted: .'x-tenant-id'"),
    }
}

/// A token after `as`.
pub fn cast_type(token: &Token<'_>, offset: usize) -> ExpressionError {
    let error = match token {
        Token::Name(name) => ExpressionError::at(offset, format!("cannot convert to `{name}`")),
        other => {
            ExpressionError::at(offset, format!("expected a type after `as`, found {}", describe(other)))
        }
    };
    match token {
        Token::Name("Binary") => error.help("write dw::util::Coercions::toBinary(text, 'UTF-8')"),
        _ => error.help("types are String, Number, Boolean"),
    }
}

/// A token after a whole expression.
pub fn after_expression(token: &Token<'_>, offset: usize, before: &Node) -> ExpressionError {
    if let Token::Symbol("-") = token
        && matches!(before.kind, Kind::Variable(_) | Kind::Select { .. })
    {
        return arithmetic("-", offset)
            .help("a name with a dash is quoted: attributes.headers.'x-tenant-id'");
    }
    if let Some(refusal) = construct(token, offset) {
        return refusal;
    }
    let error =
        ExpressionError::at(offset, format!("expected an operator or the end, found {}", describe(token)));
    match token {
        Token::Symbol("]") => {
            error.help("`#[ … ]` surrounds the whole text once; join parts inside with `++`")
        }
        Token::Symbol("::") => {
            error.help("a module path is part of a call: dw::core::Strings::substringAfter(…)")
        }
        _ => error,
    }
}

/// A token as messages name it.
pub fn describe(token: &Token<'_>) -> String {
    match token {
        Token::Number(number) => format!("the number {number}"),
        Token::Text(_) => "a string".to_owned(),
        Token::Name(name) => format!("`{name}`"),
        Token::Symbol(symbol) => format!("`{symbol}`"),
        Token::End => "the end of the expression".to_owned(),
    }
}
