use super::*;

fn parsed(text: &str) -> Parsed {
    parse(&SourceFile::new("test.yaml", text), Limits::default())
}

fn error(text: &str) -> String {
    let error = parsed(text).error.expect("a syntax error");
    format!(
        "{}:{} {} | {}",
        error.location.line,
        error.location.column,
        error.message,
        error.help.join(" | ")
    )
}

fn json(text: &str) -> Vec<String> {
    let parsed = parsed(text);
    assert_eq!(parsed.error, None);
    let document = |d: &Document| serde_json::to_string(&d.root).expect("a node serialises");
    parsed.documents.iter().map(document).collect()
}

#[test]
fn scalars_keep_their_source_text() {
    let parsed = parsed("{a: yes, b: \"yes\", c: 010, d: 1.0, e: 'it''s', f: |\n  x\n }");
    let root = &parsed.documents[0].root;
    let texts: Vec<_> = root.entries().iter().filter_map(|(_, node)| node.as_text()).map(|t| &**t).collect();
    assert_eq!(texts[..5], ["yes", "yes", "010", "1.0", "it's"]);
}

#[test]
fn empty_documents_and_zero_width_lines_are_skipped() {
    let text = "\u{feff}---\n---\n# nothing\n---\na: 1\n\u{200b}\n\u{200b}---\u{200b}\n\u{200b} \n---\nb: 2\n---\n~\n";
    assert_eq!(json(text), [r#"{"a":1}"#, r#"{"b":2}"#]);
    assert_eq!(parsed(text).documents[1].root.place.line, 10);
}

#[test]
fn duplicate_keys_are_an_error_with_both_places() {
    let parsed = parsed("a: 1\nb: 2\na: 3\n---\nc: 1\n");
    let problem = &parsed.documents[0].problems[0];
    assert_eq!((problem.location.line, problem.location.column), (3, 1));
    assert_eq!(problem.message, "the key `a` is given twice");
    assert_eq!(problem.help, ["the first is at 1:1"]);
    assert!(parsed.documents[1].problems.is_empty());
}

#[test]
fn anchors_aliases_and_merge_keys_are_followed() {
    let text = "base: &b {x: 1, y: 2}\nother: {<<: *b, y: 3}\nlist: [*b]\nquoted: {\"<<\": 1}";
    assert_eq!(
        json(text),
        [r#"{"base":{"x":1,"y":2},"other":{"y":3,"x":1},"list":[{"x":1,"y":2}],"quoted":{"<<":1}}"#]
    );
}

#[test]
fn alias_expansion_is_limited() {
    let mut text = "a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]\n".to_owned();
    for level in 1..9 {
        let refs = vec![format!("*a{}", level - 1); 10].join(", ");
        text += &format!("a{level}: &a{level} [{refs}]\n");
    }
    assert!(error(&text).contains("the file holds more than 1000000 values"));
    assert!(error("a: &a [*a]").contains("refers to the value that contains it"));
}

#[test]
fn depth_and_size_are_limited() {
    let deep = format!("{}{}", "[".repeat(65), "]".repeat(65));
    assert!(error(&deep).starts_with("1:65 values are nested more than 64 levels deep"));
    assert_eq!(parsed(&format!("{}{}", "[".repeat(63), "]".repeat(63))).error, None);
    let large = parsed(&"#".repeat((8 << 20) + 1)).error.expect("it is too large");
    assert!(large.message.contains("too large") && large.location.line_text.is_empty(), "{large:?}");
}

#[test]
fn a_tab_in_the_indentation_is_named() {
    assert_eq!(
        error("spec:\n\taddress: x\n"),
        "2:1 a tab is used for indentation | YAML allows only spaces there; replace the tab by spaces"
    );
}

#[test]
fn json_files_may_use_tabs_and_surrogate_pairs() {
    let file = SourceFile::new("a.JSON", "{\n\t\"a\": \"\\ud83d\\ude00 \\u0041\\/\",\n\t\"b\": [1]\n}\n");
    let parsed = parse(&file, Limits::default());
    assert_eq!(parsed.error, None);
    let shown = serde_json::to_string(&parsed.documents[0].root).expect("a node serialises");
    assert_eq!(shown, r#"{"a":"😀 A/","b":[1]}"#);
}

#[test]
fn a_file_that_is_not_utf_8_names_the_place() {
    let error = SourceFile::from_bytes("x.yaml", b"a: 1\nb: \xff".to_vec()).expect_err("not UTF-8");
    assert_eq!((error.location.line, error.location.column), (2, 4));
}

#[test]
fn the_digest_depends_on_content_only() {
    let digest = |text: &str| parsed(text).documents[0].root.canonical_digest();
    assert_eq!(digest("{a: 1, b: x}"), digest("b: \"x\"\na:   1\n"));
    assert_ne!(digest("a: 1"), digest("a: \"1\""));
    assert_ne!(digest("a: [x, y]"), digest("a: [y, x]"));
    assert_ne!(digest("a: [[], x]"), digest("a: [[x]]"));
}

#[test]
fn a_line_ends_in_lf_or_cr_lf_or_cr_for_the_place_and_for_its_excerpt() {
    let parsed = parsed("a: 1\rb: 2\r\nc: 3\nb: 4");
    let location = &parsed.documents[0].problems[0].location;
    assert_eq!((location.line, location.column, &*location.line_text), (4, 1, "b: 4"));
    let error = SourceFile::from_bytes("x.yaml", b"a: 1\rb: \xff".to_vec()).expect_err("not UTF-8");
    assert_eq!((error.location.line, error.location.column, &*error.location.line_text), (2, 4, "b: "));
}

#[test]
fn what_is_missing_at_the_end_is_reported_where_the_file_ends() {
    for (text, expected) in [
        ("a: {b: é", (1, 9, "a: {b: é")),
        ("a: 1\nb", (2, 2, "b")),
        ("a: [1\n", (2, 1, "")),
        ("a:\n  b: [1,\r", (3, 1, "")),
        ("a: 1\r\u{200b}\r\nb", (3, 2, "b")),
    ] {
        let location = parsed(text).error.expect("a syntax error").location;
        assert_eq!((location.line, location.column, &*location.line_text), expected, "{text:?}");
    }
}

#[test]
fn lines_and_columns_count_characters_from_1() {
    let root = parsed("größe: {ä: x}\r\nb:\r\n  - y\r\n").documents[0].root.clone();
    let x = root.get_ignore_case("größe").and_then(|n| n.get_ignore_case("ä")).expect("there");
    assert_eq!((x.place.line, x.place.column, &*x.place.location().line_text), (1, 12, "größe: {ä: x}"));
    let y = &root.get_ignore_case("B").expect("there").items()[0];
    assert_eq!((y.place.line, y.place.column), (3, 5));
}
