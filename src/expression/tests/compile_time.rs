//! Limits and warnings at load time.

use super::*;

#[test]
fn an_expression_is_at_most_8_kib_long() {
    let text = |length: usize| format!("#['{}']", "x".repeat(length - 2));
    assert!(Template::compile(&text(EXPRESSION_BYTES_MAX)).is_ok());
    let error = Template::compile(&text(EXPRESSION_BYTES_MAX + 1)).unwrap_err();
    assert_eq!((error.offset, error.message.as_str()), (0, "the expression is longer than 8 KiB"));
    // Literal text has no such limit.
    assert!(Template::compile(&"x".repeat(EXPRESSION_BYTES_MAX * 2)).is_ok());
}

#[test]
fn nesting_is_at_most_64_levels_deep() {
    for (open, core, close) in [
        ("(", "1", ")"),
        ("[", "1", "]"),
        ("lower(", "'a'", ")"),
        ("not ", "true", ""),
        ("payload[", "0", "]"),
        ("if (true) 1 else ", "2", ""),
        ("if (", "true", ") true else false"),
    ] {
        let nested = |depth: usize| format!("#[{}{core}{}]", open.repeat(depth), close.repeat(depth));
        let deepest = Template::compile(&nested(DEPTH_MAX)).unwrap_or_else(|error| panic!("{open}: {error}"));
        let value = deepest.eval(&Request::default()).map(Value::into_owned);
        // `[[…]]` and the calls have values; indexing an object by a number is an error.
        assert_eq!(value.is_ok(), open != "payload[", "{open}: {value:?}");
        let error = Template::compile(&nested(DEPTH_MAX + 1)).unwrap_err();
        assert_eq!(error.message, "the expression is nested more than 64 levels deep", "{open}");
        assert!(Template::compile(&nested(700)).is_err(), "{open}");
    }
}

#[test]
fn long_chains_are_not_nesting() {
    let joined = vec!["'a'"; 1500].join("++");
    assert_eq!(eval(&joined).to_string().len(), 1500);
    assert_eq!(eval(&vec!["true"; 900].join(" and ")), Value::Boolean(true));
    assert_eq!(eval(&format!("payload{}", ".a".repeat(4000))), Value::Null);
    assert_eq!(eval(&vec!["null"; 500].join(" default ")), Value::Null);
}

#[test]
fn the_offset_counts_in_the_text_that_was_given() {
    let error = Template::compile("  #[ bad ]  ").unwrap_err();
    assert_eq!(error.offset, 5);
    let error = Template::compile("#['é' ++ bad]").unwrap_err();
    assert_eq!(error.offset, "#['é' ++ ".len());
}

#[test]
fn an_unknown_attribute_is_warned_about_and_null() {
    let template = compile("attributes.requestpath");
    let [warning] = template.warnings() else { panic!("{:?}", template.warnings()) };
    assert_eq!(warning.help, "did you mean `attributes.requestPath`?");
    assert_values(&[("attributes.nothing.more", "null")]);
}

#[test]
fn interpolation_is_plain_text_with_a_warning() {
    let template = compile("'a $(payload)'");
    assert_eq!(template.warnings().len(), 1);
    assert_values(&[("'a $(payload)'", r#""a $(payload)""#)]);
    assert_eq!(compile(r"'a \$(payload)'").warnings(), []);
}

#[test]
fn an_expression_that_is_not_closed_is_text_with_a_warning() {
    let template = Template::compile("#[payload").unwrap();
    assert_eq!((template.literal(), template.warnings().len()), (Some("#[payload"), 1));
}

#[test]
fn findings_become_diagnostics_with_their_help() {
    let error: crate::base::Diagnostic = refused("paylod").into();
    assert_eq!(error.message, "expression: unknown variable `paylod` (at byte 0)");
    assert_eq!((error.is_error(), error.help), (true, vec!["did you mean `payload`?".to_owned()]));
    let template = compile("not 'a' contains 'b'");
    let warning: crate::base::Diagnostic = (&template.warnings()[0]).into();
    assert_eq!((warning.is_error(), warning.help.len()), (false, 1));
}
