//! Expressions: what does not compile is refused at a place inside the text; what compiles has a value or an
//! error, the same each time, within its budget; what is no expression is its own text.

use portcullis::expression::{Attribute, Object, PRODUCED_BYTES_MAX, Scope, Template, Value, payload_value};

/// The most that values may weigh as JSON, in multiples of what an evaluation may produce: JSON escapes a
/// character with up to six.
const JSON_FACTOR: usize = 6;

/// The text is an expression; a line break divides it from the payload that it may read.
///
/// # Panics
/// When a property does not hold.
pub fn check(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let (written, payload) = text.split_once('\n').unwrap_or((&text, ""));
    check_literal(written);
    let text = format!("#[{written}]");
    let template = match Template::compile(&text) {
        Ok(template) => template,
        Err(error) => {
            assert!(text.is_char_boundary(error.offset), "{} of {text:?}: {error}", error.offset);
            assert!(!error.message.is_empty(), "{text:?}");
            return;
        }
    };
    assert_eq!(template.source(), text);
    for warning in template.warnings() {
        assert!(text.is_char_boundary(warning.offset), "{} of {text:?}: {warning:?}", warning.offset);
    }
    for content_type in ["application/json", "application/xml", "text/plain"] {
        let request = Request { payload: payload_value(Some(content_type), payload.as_bytes()) };
        let outcome = |template: &Template| {
            template.eval(&request).map(|value| value.to_json()).map_err(|error| error.to_string())
        };
        let first = outcome(&template);
        assert_eq!(outcome(&template), first, "evaluated twice: {text:?}");
        if let Ok(json) = &first {
            let most = (PRODUCED_BYTES_MAX + payload.len() + text.len() + 4096) * JSON_FACTOR;
            assert!(json.len() <= most, "{} bytes: {text:?}", json.len());
        }
        let again = Template::compile(template.source()).expect("it compiled before");
        assert_eq!(outcome(&again), first, "compiled twice: {text:?}");
        check_conversions(&template, &request, &text);
    }
}

/// Whether the text compiles.
pub fn is_accepted(bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(bytes);
    Template::compile(&format!("#[{}]", text.split('\n').next().unwrap_or_default())).is_ok()
}

/// Text that is not marked as an expression is itself.
fn check_literal(text: &str) {
    let outer = text.trim();
    if outer.starts_with("#[") || outer.starts_with("\\#[") {
        return;
    }
    let template = Template::compile(text).expect("text is no expression");
    assert_eq!(template.literal(), Some(text));
    assert_eq!(template.eval_string(&Request { payload: Value::Null }).ok().flatten().as_deref(), Some(text));
}

/// What a policy asks for agrees with the value.
fn check_conversions(template: &Template, request: &Request<'_>, text: &str) {
    let value = template.eval(request);
    if let Ok(Value::Boolean(flag)) = value {
        assert_eq!(template.eval_condition(request), Ok(Some(flag)), "{text:?}");
    }
    if let (Ok(Some(string)), Ok(all)) = (template.eval_string(request), template.eval_text(request)) {
        assert_eq!(Some(string), all, "{text:?}");
    }
    assert_eq!(template.eval_text(request).is_ok(), value.is_ok(), "{text:?}");
}

/// A request in memory.
struct Request<'p> {
    payload: Value<'p>,
}

impl Scope for Request<'_> {
    fn attribute(&self, attribute: Attribute) -> Value<'_> {
        match attribute {
            Attribute::Method => "GET".into(),
            Attribute::QueryString => "page=2&q=a%20b".into(),
            Attribute::QueryParams => Object::new(vec![("page".into(), "2".into())]).into(),
            Attribute::RequestPath => "/orders/7".into(),
            Attribute::RemoteAddress => "203.0.113.7:51234".into(),
            _ => Value::Null,
        }
    }

    fn header(&self, name: &str) -> Value<'_> {
        match name {
            "host" => "shop.example".into(),
            "x-forwarded-for" => "203.0.113.7, 10.0.0.2 ,10.0.0.3".into(),
            "authorization" => "Basic YWxpY2U6c2VjcmV0".into(),
            _ => Value::Null,
        }
    }

    fn headers(&self) -> Value<'_> {
        Object::headers(vec![("host".into(), self.header("host"))]).into()
    }

    fn payload(&self) -> &Value<'_> {
        &self.payload
    }

    fn random(&self) -> u128 {
        7
    }
}
