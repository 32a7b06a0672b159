//! Test names are sentences of reference section 7; one file per table.

use std::cell::RefCell;

use super::*;

mod compile_time;
mod documented;
mod functions;
mod payload;
mod precedence;
mod refused;
mod robustness;
mod syntax;
mod template;
mod values;
mod variables;
mod worked;

/// A request in memory, which notes what it is asked for.
pub struct Request {
    pub headers: Vec<(&'static str, Value<'static>)>,
    pub attributes: Vec<(Attribute, Value<'static>)>,
    pub authentication: Value<'static>,
    pub payload: Value<'static>,
    pub vars: Value<'static>,
    pub asked: RefCell<Vec<String>>,
}

impl Default for Request {
    fn default() -> Self {
        Self {
            headers: vec![
                ("host", "shop.example".into()),
                ("x-tenant-id", "acme".into()),
                ("x-forwarded-for", "203.0.113.7, 10.0.0.2 ,10.0.0.3".into()),
                ("authorization", "Basic YWxpY2U6c2VjcmV0".into()),
                ("cookie", "theme=dark; sid=s1; lang=en".into()),
            ],
            attributes: vec![
                (Attribute::Method, "GET".into()),
                (Attribute::QueryParams, json(r#"{"page": "2", "q": "a b"}"#)),
                (Attribute::QueryString, "page=2&q=a%20b".into()),
                (Attribute::RequestPath, "/orders/7".into()),
                (Attribute::RequestUri, "/orders/7?page=2&q=a%20b".into()),
                (Attribute::LocalAddress, "10.0.0.1:8081".into()),
                (Attribute::RemoteAddress, "203.0.113.7:51234".into()),
                (Attribute::Scheme, "https".into()),
                (Attribute::Version, "HTTP/1.1".into()),
            ],
            authentication: json(
                r#"{"principal": "alice", "clientId": "c-1",
                    "properties": {"slaId": 3, "claims": {"scope": "read write", "admin": true}}}"#,
            ),
            payload: json(
                r#"{"user": {"name": "bob", "age": 42, "ratio": 0.5}, "tags": ["a", "b", "a"],
                    "items": [{"id": 1}, {"other": 0}, {"id": 2}], "none": null}"#,
            ),
            vars: json(r#"{"apiName": "orders", "claimSet": {"iss": "https://idp"}}"#),
            asked: RefCell::default(),
        }
    }
}

impl Request {
    fn asked(&self, what: impl Into<String>) {
        self.asked.borrow_mut().push(what.into());
    }
}

impl Scope for Request {
    fn attribute(&self, attribute: Attribute) -> Value<'_> {
        self.asked(attribute.name());
        self.attributes
            .iter()
            .find(|(known, _)| *known == attribute)
            .map_or(Value::Null, |(_, value)| value.borrowed())
    }

    fn header(&self, name: &str) -> Value<'_> {
        self.asked(format!("header {name}"));
        self.headers
            .iter()
            .find(|(known, _)| *known == name)
            .map_or(Value::Null, |(_, value)| value.borrowed())
    }

    fn headers(&self) -> Value<'_> {
        self.asked("headers");
        let members = self.headers.iter().map(|(name, value)| ((*name).into(), value.borrowed())).collect();
        Object::headers(members).into()
    }

    fn authentication(&self, path: &[&str]) -> Value<'_> {
        self.asked(format!("authentication {}", path.join("/")));
        self.authentication.at(path)
    }

    fn payload(&self) -> &Value<'_> {
        self.asked("payload");
        &self.payload
    }

    fn var(&self, path: &[&str]) -> Value<'_> {
        self.asked(format!("var {}", path.join("/")));
        self.vars.at(path)
    }

    fn random(&self) -> u128 {
        7
    }
}

pub fn json(text: &str) -> Value<'static> {
    serde_json::from_str::<serde_json::Value>(text).unwrap().into()
}

/// The expression without its `#[ ]`, compiled.
pub fn compile(expression: &str) -> Template {
    Template::compile(&format!("#[{expression}]")).unwrap_or_else(|error| panic!("{expression}: {error}"))
}

/// The value of an expression for the default request.
pub fn eval(expression: &str) -> Value<'static> {
    let template = compile(expression);
    let request = Request::default();
    let value = template.eval(&request).unwrap_or_else(|error| panic!("{expression}: {error}"));
    value.into_owned()
}

/// Checks `expression => value as JSON` pairs.
pub fn assert_values(table: &[(&str, &str)]) {
    for (expression, expected) in table {
        assert_eq!(eval(expression), json(expected), "{expression}");
    }
}

/// The message of an evaluation error.
pub fn eval_error(expression: &str) -> EvalError {
    let template = compile(expression);
    let request = Request::default();
    match template.eval(&request) {
        Ok(value) => panic!("{expression} has a value: {value}"),
        Err(error) => error,
    }
}

/// The error of an expression that does not compile; its offset counts from inside the `#[`.
pub fn refused(expression: &str) -> ExpressionError {
    match Template::compile(&format!("#[{expression}]")) {
        Ok(_) => panic!("{expression} compiles"),
        Err(mut error) => {
            error.offset -= 2;
            error
        }
    }
}
