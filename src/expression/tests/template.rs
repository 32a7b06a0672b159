//! Section 7, introduction: what is an expression and what is text.

use super::*;

#[test]
fn only_a_wrapper_around_the_whole_string_makes_an_expression() {
    for (text, literal) in [
        ("plain", Some("plain")),
        ("", Some("")),
        ("  padded ", Some("  padded ")),
        ("before #[payload]", Some("before #[payload]")),
        ("#[payload] after", Some("#[payload] after")),
        ("\\#[payload]", Some("#[payload]")),
        (" \\#[a] \\ b", Some(" #[a] \\ b")),
        ("C:\\dir", Some("C:\\dir")),
        ("[payload]", Some("[payload]")),
        ("#[payload]", None),
        ("  #[payload]\n", None),
    ] {
        assert_eq!(Template::compile(text).unwrap().literal(), literal, "{text}");
    }
}

#[test]
fn a_literal_evaluates_to_its_text() {
    let template = Template::compile("eu-1").unwrap();
    let request = Request::default();
    assert_eq!(template.eval(&request), Ok(Value::from("eu-1")));
    assert_eq!(template.eval_string(&request).unwrap().unwrap(), "eu-1");
    assert!(request.asked.take().is_empty());
}

#[test]
fn a_template_is_shared_between_threads_and_prints_its_source() {
    fn shared<T: Send + Sync + Clone + 'static>(_: &T) {}
    let template = compile("payload");
    shared(&template);
    assert_eq!(format!("{template:?}"), "Template(\"#[payload]\")");
    assert_eq!(template, template.clone());
    assert_ne!(template, compile("vars"));
}

#[test]
fn a_template_is_a_string_in_configuration() {
    let template: Template = serde_json::from_str(r##""#[payload]""##).unwrap();
    assert_eq!(serde_json::to_string(&template).unwrap(), r##""#[payload]""##);
    let error = serde_json::from_str::<Template>(r##""#[paylod]""##).unwrap_err().to_string();
    assert!(error.contains("did you mean `payload`?"), "{error}");
    let schema = schemars::schema_for!(Template);
    assert_eq!(schema.get("type").and_then(|kind| kind.as_str()), Some("string"));
}

#[test]
fn owned_values_outlive_the_request() {
    let value = {
        let request = Request::default();
        compile("[attributes.headers, payload, attributes.method]").eval(&request).unwrap().into_owned()
    };
    assert_eq!(value.to_json().matches("shop.example").count(), 1);
}
