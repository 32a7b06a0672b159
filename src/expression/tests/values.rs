//! Reference 7.4: values, errors and the casting for the consumer.

use super::*;

#[test]
fn selecting_from_null_gives_null() {
    assert_values(&[
        ("null.a", "null"),
        ("vars.none.a.b", "null"),
        ("(null)[0]", "null"),
        ("payload.none.a['b'][2]", "null"),
    ]);
}

#[test]
fn a_missing_key_gives_null() {
    assert_values(&[("payload.missing", "null"), ("payload['missing'].more", "null")]);
}

#[test]
fn an_index_out_of_range_gives_null() {
    assert_values(&[
        ("payload.tags[3]", "null"),
        ("payload.tags[-4]", "null"),
        ("payload.tags[1e300]", "null"),
        ("'ab'[2]", "null"),
        ("[][0]", "null"),
    ]);
}

#[test]
fn negative_indices_count_from_the_end() {
    assert_values(&[
        ("payload.tags[-2]", r#""b""#),
        ("splitBy('a,b,c', ',')[-1]", r#""c""#),
        ("'né'[-1]", r#""é""#),
    ]);
}

#[test]
fn array_by_string_collects_that_key_from_each_object() {
    assert_values(&[
        ("payload.items.id", "[1, 2]"),
        ("payload.items['id'][-1]", "2"),
        ("[payload.user, 'text', payload.items[0]].id", "[1]"),
        ("payload.tags.id", "[]"),
    ]);
}

#[test]
fn selections_outside_the_subset_are_errors() {
    for (expression, message) in [
        ("payload[0]", "cannot select from Object by Number"),
        ("attributes.headers[0]", "cannot select from Object by Number"),
        ("attributes.headers[null]", "cannot select from Object by Null"),
        ("'text'.a", "cannot select from String by String"),
        ("payload.user.age.x", "cannot select from Number by String"),
        ("true[0]", "cannot select from Boolean by Number"),
        ("payload.tags[0.5]", "an index must be a whole number"),
        ("payload.tags[true]", "cannot select from Array by Boolean"),
    ] {
        assert_eq!(eval_error(expression).message, message, "{expression}");
    }
}

#[test]
fn equality_does_not_convert_types() {
    assert_values(&[
        ("1 == '1'", "false"),
        ("true == 'true'", "false"),
        ("null == ''", "false"),
        ("null == null", "true"),
        ("null == false", "false"),
        ("'a' == 'A'", "false"),
        ("['a', 1] == ['a', 1]", "true"),
        ("payload.items[0] == payload.items[2]", "false"),
        ("payload.user == payload.user", "true"),
    ]);
}

#[test]
fn objects_are_equal_whatever_the_order_of_their_keys() {
    let many = |keys: &mut dyn Iterator<Item = u32>| {
        let text: Vec<String> = keys.map(|key| format!("\"k{key}\": {key}")).collect();
        json(&format!("{{{}}}", text.join(",")))
    };
    assert_eq!(json(r#"{"a": 1, "b": 2}"#), json(r#"{"b": 2, "a": 1}"#));
    assert_ne!(json(r#"{"a": 1, "b": 2}"#), json(r#"{"b": 1, "a": 2}"#));
    assert_eq!(many(&mut (0..50)), many(&mut (0..50).rev()));
    assert_ne!(many(&mut (0..50)), many(&mut (1..51).rev()));
}

#[test]
fn an_order_between_mixed_types_is_an_error() {
    for expression in ["1 <= '2'", "'a' >= 1", "null >= 400", "true < false", "attributes.statusCode >= 400"]
    {
        assert!(
            eval_error(expression).message.starts_with("only two numbers or two strings"),
            "{expression}"
        );
    }
}

#[test]
fn default_replaces_null_only_and_catches_no_error() {
    assert_values(&[
        ("null default 'x'", r#""x""#),
        ("'' default 'x'", r#""""#),
        ("false default 'x'", "false"),
        ("0 default 1", "0"),
        ("'a' default lower(1)", r#""a""#),
    ]);
    eval_error("lower(1) default 'x'");
}

#[test]
fn and_and_or_short_circuit() {
    assert_values(&[("false and lower(1)", "false"), ("true or lower(1)", "true")]);
    eval_error("true and lower(1)");
}

#[test]
fn logic_needs_booleans_and_takes_null_as_false() {
    assert_values(&[
        ("null and true", "false"),
        ("null or true", "true"),
        ("null or null", "false"),
        ("not null", "true"),
    ]);
    assert_eq!(eval_error("'true' and true").message, "`and` needs a Boolean, this is of type String");
    assert_eq!(eval_error("not 1").message, "`not` needs a Boolean, this is of type Number");
    assert_eq!(eval_error("if ('x') 1 else 2").message, "`if` needs a Boolean, this is of type String");
}

#[test]
fn an_error_says_where_and_never_quotes_a_value() {
    let error = eval_error("'ok' ++ lower(attributes.headers)");
    assert_eq!(error.offset, 2 + "'ok' ++ ".len());
    assert_eq!(error.to_string(), "`lower` does not take (Object) (at byte 10)");
    let secret = eval_error("attributes.headers.authorization ++ 1");
    assert!(!secret.to_string().contains("YWxp"), "{secret}");
}

#[test]
fn where_a_string_is_wanted_numbers_and_booleans_are_printed() {
    let request = Request::default();
    let text = |expression: &str| {
        let template = compile(expression);
        template.eval_string(&request).map(|text| text.map(std::borrow::Cow::into_owned))
    };
    for (expression, expected) in [
        ("42", "42"),
        ("42.0", "42"),
        ("-0.0", "0"),
        ("0.5", "0.5"),
        ("1e21", "1e21"),
        ("123456789012", "123456789012"),
        ("true", "true"),
        ("not true", "false"),
        ("attributes.method", "GET"),
    ] {
        assert_eq!(text(expression), Ok(Some(expected.to_owned())), "{expression}");
    }
    assert_eq!(text("null"), Ok(None));
    assert_eq!(
        text("payload.tags").unwrap_err().message,
        "a String is wanted here, the result is of type Array"
    );
    assert!(text("payload.user").is_err());
}

#[test]
fn where_text_is_wanted_arrays_and_objects_are_json() {
    let request = Request::default();
    let template = compile("payload");
    assert_eq!(
        template.eval_text(&request).unwrap().unwrap(),
        r#"{"user":{"name":"bob","age":42,"ratio":0.5},"tags":["a","b","a"],"items":[{"id":1},{"other":0},{"id":2}],"none":null}"#
    );
    assert_eq!(compile("null").eval_text(&request), Ok(None));
}

#[test]
fn a_condition_is_a_boolean_or_one_of_the_strings_true_and_false() {
    let request = Request::default();
    assert_eq!(Template::compile("true").unwrap().eval_condition(&request), Ok(Some(true)));
    assert_eq!(compile("'false'").eval_condition(&request), Ok(Some(false)));
    assert_eq!(compile("attributes.method == 'GET'").eval_condition(&request), Ok(Some(true)));
    assert_eq!(compile("vars.none").eval_condition(&request), Ok(None));
    assert!(compile("'yes'").eval_condition(&request).is_err());
    assert!(compile("1").eval_condition(&request).is_err());
}

#[test]
fn one_evaluation_produces_a_bounded_amount() {
    let big = Request { vars: Value::from("x".repeat(1 << 20)), ..Request::default() };
    let joined = vec!["vars"; 17].join(" ++ ");
    let error = compile(&joined).eval(&big).unwrap_err();
    assert!(error.message.contains("16 MiB"), "{error}");
    assert!(compile("splitBy(vars, '')").eval(&big).is_err());
    assert!(compile("vars ++ vars").eval(&big).is_ok());
}
