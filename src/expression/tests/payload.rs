//! Reference 7.5, row `payload`.

use super::*;

fn xml(text: &str) -> Value<'static> {
    payload_value(Some("text/xml; charset=utf-8"), text.as_bytes())
}

#[test]
fn json_media_types_are_parsed() {
    for media_type in
        ["application/json", "Application/JSON; charset=utf-8", "text/json", "application/hal+json"]
    {
        let value = payload_value(Some(media_type), br#"{"a": [1, 2.5, "x", true, null, -3]}"#);
        assert_eq!(value, json(r#"{"a": [1, 2.5, "x", true, null, -3]}"#), "{media_type}");
    }
    assert_eq!(payload_value(Some("application/json"), b"\xef\xbb\xbf[1]"), json("[1]"));
}

#[test]
fn other_media_types_are_text() {
    assert_eq!(payload_value(Some("text/plain"), b"{}"), Value::from("{}"));
    assert_eq!(payload_value(None, b"abc"), Value::from("abc"));
    assert_eq!(payload_value(None, b""), Value::from(""));
    assert_eq!(payload_value(Some("text/plain; charset=\"ISO-8859-1\""), b"\xe9"), Value::from("é"));
}

#[test]
fn what_cannot_be_read_is_null() {
    for (media_type, body) in [
        ("application/json", &b"{\"a\": }"[..]),
        ("application/json", b"{} {}"),
        ("application/json", b""),
        ("application/json", b"\"\xff\""),
        ("text/plain", b"\xff"),
        ("text/plain; charset=utf-7", b"a"),
        ("application/xml", b"<a><b></a>"),
        ("application/xml", b"\xff"),
    ] {
        assert!(payload_value(Some(media_type), body).is_null(), "{media_type} {body:?}");
    }
}

#[test]
fn a_repeated_json_key_takes_the_last_value() {
    let value = payload_value(Some("application/json"), br#"{"a": 1, "b": 2, "a": 3}"#);
    assert_eq!(value.to_json(), r#"{"a":3,"b":2}"#);
    let pairs: Vec<String> = (0..40).map(|key| format!("\"k{}\": {key}", key % 20)).collect();
    let value = payload_value(Some("application/json"), format!("{{{}}}", pairs.join(",")).as_bytes());
    assert_eq!((value.at(&["k0"]), value.at(&["k19"])), (Value::Number(20.0), Value::Number(39.0)));
}

#[test]
fn nesting_and_number_of_values_are_limited() {
    let deep = |depth: usize| format!("{}1{}", "[".repeat(depth), "]".repeat(depth));
    assert!(!payload_value(Some("application/json"), deep(PAYLOAD_DEPTH_MAX).as_bytes()).is_null());
    assert!(payload_value(Some("application/json"), deep(PAYLOAD_DEPTH_MAX + 1).as_bytes()).is_null());
    let deep = |depth: usize| format!("{}{}", "<a>".repeat(depth), "</a>".repeat(depth));
    assert!(!xml(&deep(PAYLOAD_DEPTH_MAX)).is_null());
    assert!(xml(&deep(PAYLOAD_DEPTH_MAX + 1)).is_null());
    let wide = format!("[{}1]", "1,".repeat(PAYLOAD_VALUES_MAX));
    assert!(payload_value(Some("application/json"), wide.as_bytes()).is_null());
}

#[test]
fn xml_elements_are_selected_by_local_name() {
    let value = xml(
        r#"<?xml version="1.0"?><!-- c --><s:Envelope xmlns:s="urn:s"><s:Header><id n="1">42</id></s:Header></s:Envelope>"#,
    );
    assert_eq!(value.at(&["Envelope", "Header", "id"]), Value::from("42"));
    let request = Request { payload: value, ..Request::default() };
    assert_eq!(compile("payload.Envelope.Header.id").eval(&request), Ok(Value::from("42")));
}

#[test]
fn repeated_xml_elements_are_an_array() {
    let value = xml("<list><i>1</i><other/><i>2</i><i><k>3</k></i></list>");
    assert_eq!(value, json(r#"{"list": {"i": ["1", "2", {"k": "3"}], "other": ""}}"#));
}

#[test]
fn xml_text_joins_character_data_and_references() {
    assert_eq!(xml("<a>x &lt;&#65;&#x42;<![CDATA[<&>]]> y</a>").at(&["a"]), Value::from("x <AB<&> y"));
}

#[test]
fn entities_of_a_document_type_are_never_expanded() {
    assert!(xml(r#"<!DOCTYPE a [<!ENTITY e SYSTEM "file:///etc/passwd">]><a>&e;</a>"#).is_null());
    assert!(xml(r#"<!DOCTYPE a [<!ENTITY e "boom">]><a>&e;</a>"#).is_null());
    assert_eq!(xml("<!DOCTYPE a><a>x</a>").at(&["a"]), Value::from("x"));
}

#[test]
fn xml_that_is_not_one_document_is_null() {
    for text in ["", "text", "<a/><b/>", "<a>", "</a>", "<a/>text", "<a b=></a", "<a>&#0;</a>", "<a>&</a>"] {
        assert!(xml(text).is_null(), "{text}: {}", xml(text));
    }
}
