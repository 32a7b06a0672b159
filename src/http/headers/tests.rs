//! Rules of heads.

use super::*;

fn sample() -> Headers {
    let mut headers = Headers::new();
    headers.append("Accept", "a").unwrap();
    headers.append("x-one", "1").unwrap();
    headers.append("accept", "b").unwrap();
    headers
}

#[test]
fn names_compare_without_regard_to_case_and_keep_their_spelling() {
    let headers = sample();
    assert_eq!(headers.get("ACCEPT"), Some(&b"a"[..]));
    assert_eq!(headers.joined("accept").as_deref(), Some("a, b"));
    let names: Vec<_> = headers.iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["Accept", "x-one", "accept"]);
}

#[test]
fn set_replaces_all_fields_of_a_name() {
    let mut headers = sample();
    headers.set("accept", "c").unwrap();
    let mut out = Vec::new();
    headers.write_to(&mut out);
    assert_eq!(out, b"x-one: 1\r\naccept: c\r\n");
}

#[test]
fn names_that_begin_alike_are_removed_together_without_regard_to_case() {
    let mut headers = Headers::new();
    for name in ["X-Envoy-Internal", "x-envoy", "accept", "x-envoyage", "x-ENVOY-", "x-envoy-b"] {
        headers.append(name, "1").unwrap();
    }
    headers.remove_prefixed("x-envoy-");
    let names: Vec<_> = headers.iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["x-envoy", "accept", "x-envoyage"]);
}

#[test]
fn a_value_can_never_split_a_head() {
    let mut headers = sample();
    assert_eq!(headers.append("x", "a\r\nb: c"), Err(InvalidField));
    assert_eq!(headers.append("x y", "a"), Err(InvalidField));
    assert_eq!(headers.append("", "a"), Err(InvalidField));
    assert_eq!(headers.append("x", "a\0"), Err(InvalidField));
    assert_eq!(headers.len(), 3);
}

#[test]
fn odd_spacing_on_the_wire_is_written_anew() {
    let mut headers = Headers::new();
    let text = headers.push_text(b"a:1\r\nb: 2\r\nc:  3 \r\n");
    let spans = [(0, 1, 2, 1), (5, 1, 8, 1), (11, 1, 15, 1)];
    for (name, name_len, value, value_len) in spans {
        headers
            .push_spans(Headers::sub_span(text, name, name_len), Headers::sub_span(text, value, value_len));
    }
    let mut out = Vec::new();
    headers.write_to(&mut out);
    assert_eq!(out, b"a: 1\r\nb: 2\r\nc: 3\r\n");
}

#[test]
fn a_recycled_head_remembers_nothing() {
    drop(sample());
    let headers = Headers::new();
    assert!(headers.is_empty());
    assert!(headers.get("accept").is_none());
}

#[test]
fn a_compact_copy_has_the_fields_and_nothing_else() {
    let mut headers = sample();
    for _ in 0..100 {
        headers.set("accept", "c").unwrap();
    }
    let compact = headers.compact(|_| true);
    let (mut one, mut other) = (Vec::new(), Vec::new());
    headers.write_to(&mut one);
    compact.write_to(&mut other);
    assert_eq!(one, other);
    assert_eq!(compact.text.capacity(), one.len());
    assert!(compact.capacity() < headers.capacity() / 4);
    let one = headers.compact(|name| name == "accept");
    assert_eq!(one.iter().collect::<Vec<_>>(), [("accept", &b"c"[..])]);
    assert_eq!(one.text.capacity(), "accept: c\r\n".len());
}

#[test]
fn bytes_that_are_no_text_stay_apart() {
    let mut headers = Headers::new();
    headers.append("x", b"M\xfcller").unwrap();
    headers.append("x", "2").unwrap();
    assert_eq!(headers.joined_bytes("x").as_deref(), Some(&b"M\xfcller, 2"[..]));
    assert_eq!(headers.joined("x").as_deref(), Some("M\u{fffd}ller, 2"));
}
