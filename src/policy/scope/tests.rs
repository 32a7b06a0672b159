use super::*;
use crate::{expression::Template, policy::testkit::Bench};

fn request() -> Request {
    let mut request = Request::for_test(
        "POST",
        "/shop/a%2Fb?x=1&x=2&name=a%20b+c&flag&bad=%zz",
        &[("Host", "shop.test:8080"), ("X-Tenant", "acme"), ("accept", "a"), ("Accept", "b")],
    );
    request.body = "hello".into();
    request
}

fn assert_texts(scope: &dyn Scope, table: &[(&str, &str)]) {
    for (expression, expected) in table {
        let template = Template::compile(&format!("#[{expression}]")).expect(expression);
        let value = template.eval(scope).expect(expression);
        assert_eq!(value.to_string(), *expected, "{expression}");
    }
}

const REQUEST_ATTRIBUTES: [(&str, &str); 11] = [
    ("attributes.method", "POST"),
    ("attributes.queryParams.x", "1"),
    ("attributes.queryParams.name", "a b c"),
    ("attributes.queryParams", r#"{"x":"1","name":"a b c","flag":"","bad":"%zz"}"#),
    ("attributes.queryString", "x=1&x=2&name=a%20b+c&flag&bad=%zz"),
    ("attributes.requestPath", "/shop/a%2Fb"),
    ("attributes.requestUri", "/shop/a%2Fb?x=1&x=2&name=a%20b+c&flag&bad=%zz"),
    ("attributes.localAddress", "127.0.0.1:8080"),
    ("attributes.remoteAddress", "192.0.2.7:50000"),
    ("attributes.scheme", "http"),
    ("attributes.version", "HTTP/1.1"),
];

#[test]
fn attributes_of_the_request_in_the_request_half() {
    let (request, bench) = (request(), Bench::chain(Vec::new()));
    let scope = RequestScope::new(&request, &bench.exchange);
    assert_texts(&scope, &REQUEST_ATTRIBUTES);
    assert_texts(
        &scope,
        &[
            ("attributes.statusCode", "null"),
            ("attributes.headers.host", "shop.test:8080"),
            ("attributes.headers['X-TENANT']", "acme"),
            ("attributes.headers.accept", "a, b"),
            ("attributes.headers['content-length']", "5"),
            ("attributes.headers['x-none']", "null"),
            (
                "attributes.headers",
                r#"{"host":"shop.test:8080","content-length":"5","x-tenant":"acme","accept":"a, b"}"#,
            ),
            ("authentication.principal", "null"),
            ("payload", "null"),
            ("vars.anything", "null"),
        ],
    );
}

#[test]
fn request_attributes_stay_readable_in_the_response_half_and_headers_switch() {
    let (request, bench) = (request(), Bench::chain(Vec::new()));
    let uses = Template::compile("#[attributes.method]").expect("valid").uses();
    let view = RequestView::capture(&request, uses);
    drop(request);
    let mut response = Response::empty(404);
    for (name, value) in [("Set-Cookie", "a=1"), ("set-cookie", "b=2"), ("X-Up", "u")] {
        response.headers.append(name, value).expect("a valid field");
    }
    let scope = ResponseScope::new(&response, &view, &bench.exchange);
    assert_texts(&scope, &REQUEST_ATTRIBUTES);
    assert_texts(
        &scope,
        &[
            ("attributes.statusCode", "404"),
            ("attributes.headers['set-cookie']", r#"["a=1","b=2"]"#),
            ("attributes.headers['x-up']", "u"),
            ("attributes.headers.host", "null"),
            ("attributes.headers", r#"{"set-cookie":["a=1","b=2"],"x-up":"u"}"#),
        ],
    );
}

#[test]
fn request_headers_are_kept_for_the_response_half_only_when_asked_for() {
    let request = request();
    let attributes = Uses { request_attributes: true, ..Uses::default() };
    assert!(RequestView::capture(&request, attributes).header("x-tenant").is_null());
    assert!(RequestView::capture(&request, Uses::default()).attribute(Attribute::Method).is_null());
    let view = RequestView::capture_with_headers(&request);
    assert_eq!(view.header("x-tenant"), Value::from("acme"));
    assert_eq!(view.header("host"), Value::from("shop.test:8080"));
    assert_eq!(view.attribute(Attribute::RequestPath), Value::from("/shop/a%2Fb"));
}

#[test]
fn authentication_is_read_from_the_exchange() {
    let (request, bench) = (request(), Bench::chain(Vec::new()));
    {
        let mut who = bench.exchange.authentication_mut();
        who.principal = Some("ada".to_owned());
        who.client_id = Some("c-1".to_owned());
        let claims = serde_json::json!({"scope": "read", "roles": [{"n": 1}, {"n": 2}], "deep": {"x": true}});
        who.properties.insert("claims".to_owned(), claims);
    }
    let scope = RequestScope::new(&request, &bench.exchange);
    assert_texts(
        &scope,
        &[
            ("authentication.principal", "ada"),
            ("authentication.clientId", "c-1"),
            ("authentication.clientName", "null"),
            ("authentication.properties.claims.scope", "read"),
            ("authentication.properties.claims.deep.x", "true"),
            ("authentication.properties.claims.roles.n", "[1,2]"),
            ("authentication.properties.claims.none.x", "null"),
            ("authentication.properties.none", "null"),
            ("authentication.none", "null"),
        ],
    );
    assert!(scope.authentication(&[]).to_string().starts_with(r#"{"principal":"ada","clientId":"c-1""#));
}

#[test]
fn what_a_client_proved_with_its_certificate_is_an_attribute_in_both_halves() {
    let (mut request, bench) = (request(), Bench::chain(Vec::new()));
    assert_texts(
        &RequestScope::new(&request, &bench.exchange),
        &[("attributes.clientCertificate", "null"), ("attributes.clientCertificate.subject", "null")],
    );
    let certificate = crate::http::ClientCertificate {
        subject: "CN=a,O=b".to_owned(),
        dns_names: vec!["a.test".to_owned(), "b.test".to_owned()],
        addresses: vec![[10, 0, 0, 7].into()],
        emails: vec!["ada@a.test".to_owned()],
        fingerprint: "00ff".to_owned(),
        ..crate::http::ClientCertificate::default()
    };
    request.peer = Rc::new((*request.peer).clone().secured(crate::base::Digest::of(""), Some(certificate)));
    let table = [
        ("attributes.clientCertificate.subject", "CN=a,O=b"),
        ("attributes.clientCertificate.dnsNames[1]", "b.test"),
        ("attributes.clientCertificate.uris", "[]"),
        ("attributes.clientCertificate.ipAddresses[0]", "10.0.0.7"),
        ("attributes.clientCertificate.emailAddresses[0]", "ada@a.test"),
        ("attributes.clientCertificate.fingerprint", "00ff"),
        ("attributes.clientCertificate.dnsNames contains 'a.test'", "true"),
    ];
    assert_texts(&RequestScope::new(&request, &bench.exchange), &table);
    let uses = Template::compile("#[attributes.clientCertificate.subject]").expect("it compiles").uses();
    let view = RequestView::capture(&request, uses);
    let response = Response::empty(200);
    assert_texts(&ResponseScope::new(&response, &view, &bench.exchange), &table);
}
