//! Reference 7.1: what is supported.

use super::*;

#[test]
fn literals_are_booleans_strings_numbers_arrays_and_null() {
    assert_values(&[
        ("true", "true"),
        ("false", "false"),
        ("null", "null"),
        ("'single'", r#""single""#),
        ("\"double\"", r#""double""#),
        ("42", "42"),
        ("-1.5", "-1.5"),
        ("2e3", "2000"),
        ("[]", "[]"),
        ("['a', 1, [true]]", r#"["a", 1, [true]]"#),
        ("[attributes.method, 1]", r#"["GET", 1]"#),
    ]);
}

#[test]
fn strings_have_the_escapes_of_dataweave() {
    assert_values(&[
        (r"'it\'s'", r#""it's""#),
        (r#""say \"x\"""#, r#""say \"x\"""#),
        (r"'a\\b\n\t\r\u00e9\/\$'", r#""a\\b\n\t\ré/$""#),
        (r"'\uD83D\uDE00'", r#""😀""#),
        (r#"'"'"#, r#""\"""#),
    ]);
}

#[test]
fn if_chooses_between_two_branches() {
    assert_values(&[
        ("if (true) 'a' else 'b'", r#""a""#),
        ("if (attributes.method == 'PUT') 1 else if (attributes.method == 'GET') 2 else 3", "2"),
        ("if (vars.unknown) 'a' else 'b'", r#""b""#),
        ("(if (true) 'a' else 'b') ++ 'c'", r#""ac""#),
        ("if (true) 'a' else 'b' ++ 'c'", r#""a""#),
    ]);
}

#[test]
fn if_evaluates_the_chosen_branch_only() {
    assert_values(&[("if (true) 1 else lower(5)", "1")]);
}

#[test]
fn selectors_are_dotted_quoted_or_in_brackets() {
    assert_values(&[
        ("payload.user.name", r#""bob""#),
        ("payload.'user'.\"name\"", r#""bob""#),
        ("payload['user']['name']", r#""bob""#),
        ("payload[vars.key default 'user'].name", r#""bob""#),
        ("payload.tags[0]", r#""a""#),
        ("['x', 'y'][1]", r#""y""#),
        ("'héllo'[1]", r#""é""#),
        ("(payload.user).name", r#""bob""#),
    ]);
}

#[test]
fn keywords_are_names_after_a_dot() {
    assert_values(&[("payload.default", "null"), ("payload.not", "null"), ("vars.if.else", "null")]);
}

#[test]
fn relations_compare_numbers_and_strings() {
    assert_values(&[
        ("1 == 1.0", "true"),
        ("'a' != 'b'", "true"),
        ("2 >= 2", "true"),
        ("3 <= 2", "false"),
        ("'a' < 'b'", "true"),
        ("'b' > 'B'", "true"),
        ("1 < 2 == true", "true"),
    ]);
}

#[test]
fn logic_is_not_and_or_with_an_exclamation_mark_for_not() {
    assert_values(&[
        ("not true", "false"),
        ("!false", "true"),
        ("not not true", "true"),
        ("true and false", "false"),
        ("true and true and true", "true"),
        ("false or true", "true"),
        ("true or true and false", "true"),
    ]);
}

#[test]
fn as_converts_to_string_number_and_boolean() {
    assert_values(&[
        ("payload.user.age as String", r#""42""#),
        ("true as String", r#""true""#),
        ("'x' as String", r#""x""#),
        ("' 12.50 ' as Number", "12.5"),
        ("7 as Number", "7"),
        ("'true' as Boolean", "true"),
        ("'false' as Boolean", "false"),
        ("dw::core::Binaries::fromBase64('YQ==') as String", r#""a""#),
    ]);
    for expression in [
        "null as String",
        "'x' as Number",
        "'inf' as Number",
        "'1e999' as Number",
        "1 as Boolean",
        "'yes' as Boolean",
        "['a'] as String",
        "true as Number",
    ] {
        eval_error(expression);
    }
}

#[test]
fn a_leading_header_is_accepted_and_ignored() {
    assert_values(&[
        ("output text/plain --- attributes.method", r#""GET""#),
        ("\n%dw 2.0\noutput application/json indent=false\n---\nattributes.method", r#""GET""#),
        ("---\nattributes.method", r#""GET""#),
        ("---'a'", r#""a""#),
    ]);
    assert_eq!(
        refused("%dw 2.0\nvar x = 1\n---\nx").message,
        "the header directive `var` is not supported in expressions"
    );
    assert!(refused("output text/plain attributes.method").message.contains("has no end"));
    let late = refused("output text/plain --- bad");
    assert_eq!((late.offset, late.message.as_str()), (22, "unknown variable `bad`"));
}

#[test]
fn blanks_and_line_breaks_are_free() {
    assert_values(&[("\n  payload\n  .user [ 'name' ]\n ++\t'!' \n", r#""bob!""#)]);
}
