//! Reference 7.2.

use super::{super::functions::ENTRIES, *};

#[test]
fn each_function_is_found_by_its_own_row() {
    for entry in ENTRIES {
        assert_eq!(entry.function.entry().name, entry.name);
    }
}

#[test]
fn a_function_of_two_arguments_is_called_or_infix() {
    assert_values(&[
        ("contains('abc', 'b')", "true"),
        ("'abc' contains 'b'", "true"),
        ("'abc' contains('b')", "true"),
        ("++('a', 'b')", r#""ab""#),
        ("'k=v' dw::core::Strings::substringAfter '='", r#""v""#),
        ("'a,b' splitBy ',' contains 'b'", "true"),
    ]);
}

#[test]
fn plus_plus_joins_strings_and_arrays() {
    assert_values(&[("'a' ++ 'b' ++ 'c'", r#""abc""#), ("['a'] ++ payload.tags", r#"["a", "a", "b", "a"]"#)]);
    assert_eq!(
        eval_error("'a' ++ 1").message,
        "`++` does not take (String, Number); convert with `as String`"
    );
    assert_eq!(
        eval_error("'a' ++ null").message,
        "`++` does not take (String, Null); give a null an alternative with `default`"
    );
    eval_error("'a' ++ ['b']");
}

#[test]
fn minus_minus_removes_equal_items_equal_pairs_and_keys() {
    assert_values(&[
        ("payload.tags -- ['a']", r#"["b"]"#),
        ("['a', 1, '1'] -- [1]", r#"["a", "1"]"#),
        ("payload.tags -- 'a'", r#"["b"]"#),
        ("payload.user -- ['age', 'ratio', 'absent']", r#"{"name": "bob"}"#),
        ("payload.items[0] -- payload.items[2]", r#"{"id": 1}"#),
        ("payload.items[0] -- payload.items[0]", "{}"),
    ]);
    eval_error("null -- ['a']");
    eval_error("payload.user -- [1]");
    eval_error("'a' -- 'a'");
}

#[test]
fn minus_minus_takes_a_plain_string_as_a_list_of_one_and_ignores_the_case_of_headers() {
    let names = |expression: &str| match eval(expression) {
        Value::Object(object) => {
            object.members().iter().map(|(name, _)| name.to_string()).collect::<Vec<_>>()
        }
        other => panic!("{other}"),
    };
    let rest = ["host", "x-tenant-id", "x-forwarded-for", "cookie"];
    assert_eq!(names(r#"attributes.headers -- "Authorization""#), rest);
    assert_eq!(names("attributes.headers -- ['AUTHORIZATION']"), rest);
    // What is left is still an object of headers.
    assert_values(&[("(attributes.headers -- 'Host').'X-Tenant-Id'", r#""acme""#)]);
}

#[test]
fn long_lists_are_subtracted_by_value_too() {
    let many = "['1', 2, true, null, ['a'], payload.user, 'x', 'y', 'z', 0.5]";
    assert_values(&[(
        &format!("['a', '1', 2, '2', ['a'], ['b'], payload.user, null] -- {many}"),
        r#"["a", "2", ["b"]]"#,
    )]);
}

#[test]
fn contains_is_membership_or_substring_without_regex() {
    assert_values(&[
        ("payload.tags contains 'b'", "true"),
        ("payload.tags contains 'c'", "false"),
        ("[1, '2'] contains 2", "false"),
        ("[null] contains null", "true"),
        ("payload.items contains payload.items[0]", "true"),
        ("'a.c' contains 'a.'", "true"),
        ("'abc' contains 'a.'", "false"),
    ]);
    eval_error("null contains 'a'");
    eval_error("'abc' contains 1");
}

#[test]
fn lower_upper_and_trim_take_strings_and_give_null_for_null() {
    assert_values(&[
        ("lower('ÀbC')", r#""àbc""#),
        ("upper('àbC')", r#""ÀBC""#),
        ("lower('abc')", r#""abc""#),
        ("upper(attributes.method)", r#""GET""#),
        ("trim('  a b\t')", r#""a b""#),
        ("trim(lower(' A '))", r#""a""#),
        ("lower(null)", "null"),
        ("upper(null)", "null"),
        ("trim(null)", "null"),
    ]);
    eval_error("lower(1)");
    eval_error("trim(['a'])");
}

#[test]
fn split_by_has_a_literal_separator_and_keeps_empty_parts() {
    assert_values(&[
        ("splitBy('a,,b,', ',')", r#"["a", "", "b", ""]"#),
        ("splitBy('a.b', '.')", r#"["a", "b"]"#),
        ("splitBy('', ',')", r#"[""]"#),
        ("splitBy('aé', '')", r#"["a", "é"]"#),
        ("splitBy(lower('A-B'), '-')", r#"["a", "b"]"#),
    ]);
    eval_error("splitBy(null, ',')");
    eval_error("splitBy('a', null)");
}

#[test]
fn split_by_converts_binary_from_utf_8() {
    assert_values(&[("splitBy(dw::core::Binaries::fromBase64('w6k6eA=='), ':')", r#"["é", "x"]"#)]);
    assert_eq!(
        eval_error("splitBy(dw::core::Binaries::fromBase64('/w=='), ':')").message,
        "the bytes are not UTF-8"
    );
}

/// Policies reference, part B, 5.2.
#[test]
fn functions_of_texts_take_bytes_of_utf_8() {
    let bytes = "dw::core::Binaries::fromBase64('w4k6Yg==')";
    assert_values(&[
        (&format!("dw::core::Strings::substringBefore({bytes}, ':')"), r#""É""#),
        (&format!("lower({bytes})"), r#""é:b""#),
        (&format!("{bytes} contains ':'"), "true"),
        (&format!("'x' ++ {bytes}"), r#""xÉ:b""#),
        (&format!("sizeOf(trim({bytes}))"), "3"),
    ]);
    eval_error("lower(dw::core::Binaries::fromBase64('/w=='))");
}

#[test]
fn is_empty_is_for_null_texts_arrays_and_objects() {
    assert_values(&[
        ("isEmpty(null)", "true"),
        ("isEmpty('')", "true"),
        ("isEmpty(' ')", "false"),
        ("isEmpty([])", "true"),
        ("isEmpty(payload.tags)", "false"),
        ("isEmpty(payload.user -- ['age', 'ratio', 'name'])", "true"),
        ("isEmpty(attributes.headers)", "false"),
    ]);
    assert_eq!(eval_error("isEmpty(0)").message, "`isEmpty` does not take (Number)");
}

#[test]
fn size_of_counts_items_keys_and_characters() {
    assert_values(&[
        ("sizeOf(payload.tags)", "3"),
        ("sizeOf(payload.user)", "3"),
        ("sizeOf('héé')", "3"),
        ("sizeOf(attributes.headers)", "5"),
    ]);
    eval_error("sizeOf(null)");
}

#[test]
fn uuid_is_random_and_of_version_4() {
    let text = eval("uuid()").to_string();
    let version = text.as_bytes()[14];
    assert_eq!((text.len(), version), (36, b'4'));
    // The randomness comes from the scope, which is fixed here.
    assert_eq!(eval("uuid()"), eval("uuid()"));
    assert!(compile("uuid()").uses().random);
}

#[test]
fn substring_functions_give_the_empty_string_without_the_separator() {
    assert_values(&[
        ("dw::core::Strings::substringAfter('a.b.c', '.')", r#""b.c""#),
        ("dw::core::Strings::substringAfterLast('a.b.c', '.')", r#""c""#),
        ("dw::core::Strings::substringBefore('a.b.c', '.')", r#""a""#),
        ("dw::core::Strings::substringBeforeLast('a.b.c', '.')", r#""a.b""#),
        ("dw::core::Strings::substringAfter('abc', '.')", r#""""#),
        ("dw::core::Strings::substringAfterLast('abc', '.')", r#""""#),
        ("dw::core::Strings::substringBefore('abc', '.')", r#""""#),
        ("dw::core::Strings::substringBeforeLast('abc', '.')", r#""""#),
        ("dw::core::Strings::substringAfter(lower('A.B'), '.')", r#""b""#),
    ]);
}

#[test]
fn substring_functions_give_null_for_null() {
    for name in ["substringAfter", "substringAfterLast", "substringBefore", "substringBeforeLast"] {
        assert_values(&[(&format!("dw::core::Strings::{name}(null, '.')"), "null")]);
        eval_error(&format!("dw::core::Strings::{name}('a', null)"));
    }
}

#[test]
fn base64_converts_both_ways_and_tolerates_blanks_around() {
    assert_values(&[
        ("dw::core::Binaries::toBase64(dw::core::Binaries::fromBase64('YWxp'))", r#""YWxp""#),
        ("dw::core::Binaries::toBase64('ali')", r#""YWxp""#),
        ("dw::core::Binaries::fromBase64(' YQ== \n') as String", r#""a""#),
        ("dw::core::Binaries::fromBase64('YQ') as String", r#""a""#),
    ]);
    assert_eq!(
        eval_error("dw::core::Binaries::fromBase64('*') as String").message,
        "`fromBase64`: the text is not Base64"
    );
    eval_error("dw::core::Binaries::fromBase64(null)");
}

#[test]
fn binaries_are_found_by_both_module_paths() {
    assert_values(&[
        ("dw::Binaries::toBase64('a')", r#""YQ==""#),
        ("dw::core::Binaries::toBase64('a')", r#""YQ==""#),
    ]);
}

#[test]
fn coercions_convert_between_strings_and_binaries() {
    let to_binary = "dw::util::Coercions::toBinary";
    let to_string = "dw::util::Coercions::toString";
    assert_values(&[
        (&format!("{to_string}({to_binary}('é', 'UTF-8'), 'utf-8')"), r#""é""#),
        (&format!("dw::core::Binaries::toBase64({to_binary}('é', 'ISO-8859-1'))"), r#""6Q==""#),
        (&format!("{to_string}(dw::core::Binaries::fromBase64('6Q=='), 'ISO-8859-1')"), r#""é""#),
        (&format!("{to_string}({to_binary}('a', 'US-ASCII'), 'US-ASCII')"), r#""a""#),
    ]);
    eval_error(&format!("{to_binary}('é', 'US-ASCII')"));
    eval_error(&format!("{to_binary}('€', 'ISO-8859-1')"));
    eval_error(&format!("{to_string}('a', 'UTF-8')"));
    eval_error(&format!("{to_string}({to_binary}('a', 'UTF-8'), attributes.method)"));
}

#[test]
fn a_binary_result_is_an_error() {
    let error = eval_error("dw::core::Binaries::fromBase64('YQ==')");
    assert!(error.message.contains("the result is Binary"), "{error}");
    eval_error("[dw::core::Binaries::fromBase64('YQ==')]");
}
