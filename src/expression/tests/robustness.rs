//! No input makes the compiler or the evaluator panic. Failures print the text, and the seed is
//! fixed, so that they repeat.

use super::*;

const TOKENS: &[&str] = &[
    "attributes",
    "authentication",
    "payload",
    "vars",
    "headers",
    "method",
    ".",
    ".",
    "..",
    "[",
    "]",
    "(",
    ")",
    ",",
    "'a'",
    "\"b\"",
    "'",
    "\"",
    "\\",
    "0",
    "-1",
    "1.5",
    "1e9",
    "true",
    "false",
    "null",
    "if",
    "else",
    "not",
    "and",
    "or",
    "==",
    "!=",
    "<",
    "<=",
    ">",
    ">=",
    "~=",
    "default",
    "++",
    "--",
    "-",
    "as",
    "String",
    "Number",
    "Boolean",
    "contains",
    "splitBy",
    "lower",
    "trim",
    "sizeOf",
    "isEmpty",
    "uuid",
    "dw::core::Strings::substringAfter",
    "dw::core::Binaries::fromBase64",
    "dw::core::Binaries::toBase64",
    "dw::util::Coercions::toBinary",
    "::",
    "dw",
    "{",
    "}",
    "->",
    "|",
    "$",
    "?",
    "!",
    "#[",
    "---",
    "output",
    "%dw",
    "é",
    "\u{0}",
    "\u{1F600}",
    "unknown",
];

fn exercise(text: &str, request: &Request) -> bool {
    let Ok(template) = Template::compile(text) else { return false };
    let _ = template.eval_string(request);
    let _ = template.eval_text(request);
    let _ = template.eval_condition(request);
    template.literal().is_none()
}

#[test]
fn random_bytes_never_panic() {
    let mut random = fastrand::Rng::with_seed(1);
    let request = Request::default();
    for _ in 0..20_000 {
        let length = random.usize(0..40);
        let bytes: Vec<u8> = (0..length).map(|_| random.u8(..)).collect();
        let text = String::from_utf8_lossy(&bytes);
        exercise(&text, &request);
        exercise(&format!("#[{text}]"), &request);
        payload_value(Some("application/json"), &bytes);
        payload_value(Some("application/xml"), format!("<a>{text}</a>").as_bytes());
    }
}

#[test]
fn random_token_sequences_never_panic() {
    let mut random = fastrand::Rng::with_seed(2);
    let request = Request::default();
    let mut compiled = 0;
    for _ in 0..100_000 {
        let words: Vec<&str> =
            (0..random.usize(1..9)).map(|_| TOKENS[random.usize(..TOKENS.len())]).collect();
        let separator = if random.bool() { " " } else { "" };
        compiled += usize::from(exercise(&format!("#[{}]", words.join(separator)), &request));
    }
    assert!(
        compiled > 500,
        "only {compiled} sequences were expressions: the test does not reach the evaluator"
    );
}

/// A well-formed expression, so that the evaluator sees every combination of types.
fn expression(random: &mut fastrand::Rng, depth: usize) -> String {
    const LEAVES: &[&str] = &[
        "1",
        "-2",
        "0.5",
        "'a'",
        "'é,b'",
        "''",
        "true",
        "false",
        "null",
        "[]",
        "['a', 1]",
        "payload",
        "payload.tags",
        "payload.user",
        "payload.items",
        "attributes",
        "attributes.headers",
        "attributes.headers.host",
        "attributes.method",
        "attributes.statusCode",
        "authentication",
        "authentication.properties.slaId",
        "vars",
        "vars.none",
        "uuid()",
    ];
    const INFIX: &[&str] = &[
        "==",
        "!=",
        "<",
        ">=",
        "and",
        "or",
        "default",
        "++",
        "--",
        "contains",
        "splitBy",
        "dw::core::Strings::substringBefore",
        "dw::core::Strings::substringAfterLast",
    ];
    const CALLS: &[&str] = &[
        "lower",
        "upper",
        "trim",
        "sizeOf",
        "isEmpty",
        "not ",
        "dw::core::Binaries::toBase64",
        "dw::core::Binaries::fromBase64",
    ];
    if depth == 0 {
        return LEAVES[random.usize(..LEAVES.len())].to_owned();
    }
    let a = expression(random, depth - 1);
    match random.u8(..8) {
        0..=2 => {
            let b = expression(random, depth - 1);
            format!("({a}) {} ({b})", INFIX[random.usize(..INFIX.len())])
        }
        3 | 4 => format!("{}({a})", CALLS[random.usize(..CALLS.len())]),
        5 if random.bool() => format!("dw::util::Coercions::toBinary({a}, 'ISO-8859-1')"),
        5 => format!("({a})[{}]", expression(random, depth - 1)),
        6 => format!("if ({a}) {} else 'no'", expression(random, depth - 1)),
        _ => format!("[({a}) as String, ({a}).id]"),
    }
}

#[test]
fn random_expressions_of_all_types_never_panic() {
    let mut random = fastrand::Rng::with_seed(3);
    let request = Request::default();
    let mut values = 0;
    for _ in 0..30_000 {
        let depth = random.usize(0..4);
        let text = format!("#[{}]", expression(&mut random, depth));
        let template = Template::compile(&text).unwrap_or_else(|error| panic!("{text}: {error}"));
        values += usize::from(template.eval(&request).is_ok_and(|value| !value.to_json().is_empty()));
        exercise(&text, &request);
    }
    assert!(values > 5_000, "only {values} expressions had a value");
}
