//! Reference 7.1, column "not supported": each refused by name when the configuration is loaded.

use super::*;

/// Expression, place in it, part of the message, part of the help.
fn assert_refused(table: &[(&str, usize, &str, &str)]) {
    for (expression, offset, message, help) in table {
        let error = refused(expression);
        assert!(error.message.contains(message), "{expression}: {error}");
        assert!(
            help.is_empty() || error.help.iter().any(|line| line.contains(help)),
            "{expression}: {error}"
        );
        assert_eq!(error.offset, *offset, "{expression}: {error}");
    }
}

#[test]
fn constructs_of_dataweave_outside_the_subset_are_refused_by_name() {
    assert_refused(&[
        ("{ a: 1 }", 0, "object literals", ""),
        ("do { 1 }", 0, "`do`", "if (condition)"),
        ("payload match 'x'", 8, "`match`", ""),
        ("using (a = 1) a", 0, "`using`", ""),
        ("(x) -> x", 1, "unknown variable `x`", ""),
        ("payload map (x -> x)", 8, "the DataWeave function `map` is not supported", "functions are"),
        ("var x = 1", 0, "`var` declarations", ""),
        ("payload..name", 7, "`..`", "each level"),
        ("payload.*name", 8, "`.*`", ""),
        ("payload.@name", 8, "attribute selectors", ""),
        ("payload.name?", 12, "`?`", "!= null"),
        ("payload.name!", 12, "`!`", "!= null"),
        ("payload.tags[0 to 1]", 15, "ranges", ""),
        ("'1' ~= 1", 4, "`~=`", "as String"),
        ("|2024-01-01|", 0, "dates", ""),
        ("/a.*/", 0, "arithmetic (`/`)", ""),
        ("1 + 2", 2, "arithmetic (`+`)", "`++`"),
        ("1 - 2", 2, "arithmetic (`-`)", ""),
        ("2 * 2", 2, "arithmetic (`*`)", ""),
        ("4 / 2", 2, "arithmetic (`/`)", ""),
        ("-payload", 0, "arithmetic (`-`)", ""),
        ("payload is String", 8, "type tests", ""),
        ("true && false", 5, "`&&`", "`and`"),
        ("true || false", 5, "`||`", "`or`"),
        ("payload = 1", 8, "`=`", "`==`"),
        ("$.name", 0, "`$`", ""),
        ("payload // note", 8, "comments", "YAML"),
        ("/* note */ payload", 0, "comments", ""),
        ("payload as Date", 11, "cannot convert to `Date`", "String, Number, Boolean"),
        ("payload as string", 11, "cannot convert to `string`", "String"),
        ("'a' as Binary", 7, "cannot convert to `Binary`", "toBinary"),
        ("'1' as Number {format: '0'}", 14, "object literals", ""),
    ]);
}

#[test]
fn now_is_refused_with_a_clear_message() {
    assert_refused(&[("now()", 0, "`now()` is not supported", "vars.receivedTs")]);
}

#[test]
fn an_unknown_function_is_answered_with_the_closest() {
    assert_refused(&[
        ("contain('a', 'b')", 0, "unknown function `contain`", "did you mean `contains`?"),
        ("'a,b' splitby ','", 6, "unknown function `splitby`", "did you mean `splitBy`?"),
        ("substringAfter('a', 'b')", 0, "needs its module", "dw::core::Strings::substringAfter"),
        (
            "dw::Strings::substringAfter('a', 'b')",
            0,
            "not in that module",
            "dw::core::Strings::substringAfter",
        ),
        (
            "dw::core::Strings::substringAftr('a', 'b')",
            0,
            "unknown function",
            "dw::core::Strings::substringAfter",
        ),
        ("frobnicate(1)", 0, "unknown function `frobnicate`", "functions are ++, --, contains"),
        ("dw::core::Binaries::toHex('a')", 0, "unknown function", ""),
        ("p('key')", 0, "the DataWeave function `p`", ""),
    ]);
}

#[test]
fn an_unknown_variable_is_answered_with_the_closest() {
    assert_refused(&[
        ("attribute.method", 0, "unknown variable `attribute`", "did you mean `attributes`?"),
        ("Payload", 0, "unknown variable `Payload`", "did you mean `payload`?"),
        ("True", 0, "unknown variable `True`", "did you mean `true`?"),
        ("banana", 0, "unknown variable `banana`", "a text needs quotes: 'banana'"),
        ("lower", 0, "`lower` is a function", "call it: lower(…)"),
    ]);
}

#[test]
fn an_unquoted_name_with_a_dash_is_explained() {
    assert_refused(&[("attributes.headers.x-tenant-id", 20, "arithmetic (`-`)", ".'x-tenant-id'")]);
}

#[test]
fn a_wrong_number_of_arguments_is_refused() {
    assert_refused(&[
        ("lower()", 0, "`lower` takes 1 argument, 0 given", ""),
        ("contains('a')", 0, "`contains` takes 2 arguments, 1 given", ""),
        ("uuid(1)", 0, "`uuid` takes no argument, 1 given", ""),
        ("'a' lower 'b'", 4, "cannot stand between two values", "call it: lower(…)"),
        ("'a' uuid 'b'", 4, "cannot stand between two values", "call it: uuid()"),
    ]);
}

#[test]
fn an_unknown_encoding_is_refused() {
    assert_refused(&[
        ("dw::util::Coercions::toBinary('a', 'UTF-99')", 35, "unknown encoding `UTF-99`", "UTF-8"),
        ("'a' dw::util::Coercions::toBinary 'x'", 34, "unknown encoding `x`", "UTF-8"),
    ]);
}

#[test]
fn syntax_errors_have_their_place_and_a_remedy() {
    assert_refused(&[
        ("", 0, "expected a value, found the end", ""),
        ("  ", 0, "expected a value, found the end", ""),
        ("'abc", 0, "the string is not closed", "end it with '"),
        ("'a\\d'", 2, "unknown escape", "`\\\\`"),
        ("'\\u12'", 1, "four hexadecimal digits", ""),
        ("'\\uD800'", 1, "four hexadecimal digits", ""),
        ("lower('a'", 9, "expected `)` to close the call", ""),
        ("(true", 5, "expected `)` to close the parenthesis", ""),
        ("payload[0", 9, "expected `]`", ""),
        ("['a' 'b']", 5, "expected `]` to close the array", ""),
        ("if (true) 1", 11, "expected `else`", "else null"),
        ("if true 1 else 2", 3, "expected `(`", ""),
        ("'a' ++ if (true) 'b' else 'c'", 7, "`if` cannot be an operand", "parentheses"),
        ("true and", 8, "expected a value", "too early"),
        ("payload.", 8, "expected a name after `.`", "quoted"),
        ("payload.0", 8, "not a number", "[0]"),
        ("'a' 'b'", 4, "expected an operator or the end", ""),
        (
            "payload] ++ #[payload",
            7,
            "expected an operator or the end, found `]`",
            "surrounds the whole text",
        ),
        ("1e999", 0, "out of range", ""),
        ("\u{201c}a\u{201d}", 0, "unexpected character", "typographic"),
        ("é", 0, "unexpected character", ""),
        (".a", 0, "expected a value", "a selector follows a value"),
        ("dw::core", 0, "unknown function `dw::core`", ""),
        ("and(true, false)", 0, "expected a value, found `and`", ""),
    ]);
}
