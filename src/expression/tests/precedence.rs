//! Reference 7.3.

use super::*;

/// The two texts have the same value, or fail both with the same message.
fn assert_same(bare: &str, grouped: &str) {
    let request = Request::default();
    let (bare, grouped) = (compile(bare), compile(grouped));
    match (bare.eval(&request), grouped.eval(&request)) {
        (Ok(a), Ok(b)) => assert_eq!(a, b, "{bare:?} {grouped:?}"),
        (Err(a), Err(b)) => assert_eq!(a.message, b.message, "{bare:?} {grouped:?}"),
        (a, b) => panic!("{bare:?} gives {a:?}, {grouped:?} gives {b:?}"),
    }
}

#[test]
fn operators_group_as_the_table_says() {
    assert_same("not true == false", "(not true) == false");
    assert_same("not '1' as Boolean", "(not '1') as Boolean");
    assert_same("'1' as Number < 2", "('1' as Number) < 2");
    assert_same("1 < 2 == 3 > 2", "(1 < 2) == (3 > 2)");
    assert_same("false == true and false", "(false == true) and false");
    assert_same("true or true and false", "true or (true and false)");
    assert_same("null default 1 == 1", "null default (1 == 1)");
}

#[test]
fn two_contains_joined_by_and_are_a_type_error() {
    let bare = "attributes.method contains 'G' and attributes.method contains 'E'";
    assert_same(bare, "(attributes.method contains ('G' and attributes.method)) contains 'E'");
    eval_error(bare);
    assert_values(&[("(attributes.method contains 'G') and (attributes.method contains 'E')", "true")]);
}

#[test]
fn not_binds_tighter_than_contains() {
    assert_same("not attributes.method contains 'x'", "(not attributes.method) contains 'x'");
    assert_values(&[("not(attributes.method contains 'x')", "true")]);
}

#[test]
fn default_takes_a_whole_comparison() {
    assert_values(&[
        ("vars.none default '' == ''", "true"),
        ("attributes.method default '' == 'y'", r#""GET""#),
        ("(vars.none default '') == ''", "true"),
    ]);
}

#[test]
fn concatenation_and_default_are_left_associative() {
    assert_values(&[("'n=' ++ attributes.method default '-'", r#""n=GET""#)]);
    eval_error("'n=' ++ vars.none default '-'");
    assert_values(&[("'n=' ++ (vars.none default '-')", r#""n=-""#)]);
    assert_values(&[("vars.a default vars.b default 'c' ++ 'd'", r#""cd""#)]);
}

#[test]
fn a_bare_logical_or_comparison_operand_of_an_infix_function_is_warned_about() {
    let table = [
        ("attributes.method contains 'x' and true", 27, "`and` binds tighter than `contains`"),
        ("not attributes.method contains 'x'", 0, "`not` binds tighter than `contains`"),
        ("vars.x default '' == 'y'", 15, "`==` binds tighter than `default`"),
        ("'a' ++ 'b' or false", 7, "`or` binds tighter than `++`"),
        ("1 < 2 splitBy ','", 0, "`<` binds tighter than `splitBy`"),
    ];
    for (expression, offset, message) in table {
        let template = compile(expression);
        let [warning] = template.warnings() else { panic!("{expression}: {:?}", template.warnings()) };
        assert_eq!(warning.offset, offset + 2, "{expression}");
        assert!(warning.message.starts_with(message), "{expression}: {}", warning.message);
    }
}

#[test]
fn parentheses_and_plain_operators_are_not_warned_about() {
    for expression in [
        "(attributes.method contains 'x') and (attributes.method contains 'y')",
        "not(attributes.method contains 'x')",
        "vars.x default ('' == 'y')",
        "attributes.method == 'x' and not true",
        "(true and false) default true",
        "['a' == 'b'] contains true",
        "'x' as String ++ 'y'",
    ] {
        assert_eq!(compile(expression).warnings(), [], "{expression}");
    }
}
