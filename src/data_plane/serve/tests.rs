use super::*;
use crate::settings::Settings;

fn engine(trusted: &[&str]) -> EngineSettings {
    let settings = Settings {
        trusted_proxies: trusted.iter().map(|net| net.parse().expect("a network")).collect(),
        ..Settings::default()
    };
    EngineSettings::of(&settings, &Default::default())
}

fn forwarded(trusted: &[&str], headers: &[(&str, &str)]) -> Request {
    // The peer of a test request is 192.0.2.7.
    let mut request = Request::for_test("GET", "/", headers);
    set_forwarded(&mut request, &engine(trusted), "id-1");
    request
}

fn value(request: &Request, name: &str) -> Option<String> {
    request.headers.joined(name).map(Into::into)
}

#[test]
fn exactly_one_slash_stands_at_the_seam() {
    for (prefix, kept, expected) in [
        ("", "/a", "/a"),
        ("/orders", "/foo", "/orders/foo"),
        ("/anything/echo/", "/some/route", "/anything/echo/some/route"),
        ("/posts", "/9", "/posts/9"),
        ("", "", "/"),
        ("/v1", "", "/v1"),
        ("", "2/5", "/2/5"),
        ("/v1", "x", "/v1/x"),
    ] {
        let [prefix, slash] = seam(prefix, kept);
        assert_eq!(format!("{prefix}{slash}{kept}"), expected);
    }
}

#[test]
fn the_peer_is_appended_to_x_forwarded_for() {
    assert_eq!(value(&forwarded(&[], &[]), "x-forwarded-for").as_deref(), Some("192.0.2.7"));
    let request = forwarded(&[], &[("x-forwarded-for", "10.0.0.1"), ("x-forwarded-for", "10.0.0.2")]);
    assert_eq!(value(&request, "x-forwarded-for").as_deref(), Some("10.0.0.1, 10.0.0.2, 192.0.2.7"));
}

#[test]
fn hops_outside_the_trusted_proxies_are_cut_off() {
    let spoofed = [("x-forwarded-for", "1.1.1.1, 203.0.113.9, 10.0.0.2")];
    let untrusted = forwarded(&["10.0.0.0/8"], &spoofed);
    assert_eq!(value(&untrusted, "x-forwarded-for").as_deref(), Some("192.0.2.7"));
    let trusted = forwarded(&["10.0.0.0/8", "192.0.2.0/24"], &spoofed);
    assert_eq!(value(&trusted, "x-forwarded-for").as_deref(), Some("203.0.113.9, 10.0.0.2, 192.0.2.7"));
}

#[test]
fn only_a_trusted_proxy_tells_scheme_and_host() {
    let claims = [("x-forwarded-proto", "https"), ("x-forwarded-host", "evil.test")];
    let direct = forwarded(&[], &claims);
    assert_eq!(value(&direct, "x-forwarded-proto").as_deref(), Some("http"));
    assert_eq!(value(&direct, "x-forwarded-host"), None);
    let proxied = forwarded(&["192.0.2.7/32"], &claims);
    assert_eq!(value(&proxied, "x-forwarded-proto").as_deref(), Some("https"));
    assert_eq!(value(&proxied, "x-forwarded-host").as_deref(), Some("evil.test"));
}

/// Configuration reference 4.7: `headers.envoy`.
#[test]
fn envoy_fields_of_a_client_pass_only_when_switched_on_and_not_past_declared_proxies() {
    let fields = [("X-Envoy-Retry-On", "5xx"), ("x-envoy-internal", "true"), ("x-other", "1")];
    let passed = |envoy_headers: bool, trusted: &[&str]| {
        let mut request = Request::for_test("GET", "/", &fields);
        set_forwarded(&mut request, &EngineSettings { envoy_headers, ..engine(trusted) }, "id-1");
        assert!(request.headers.contains("x-other"));
        ["x-envoy-retry-on", "x-envoy-internal"].map(|name| request.headers.contains(name))
    };
    assert_eq!(passed(false, &[]), [false, false]);
    assert_eq!(passed(false, &["192.0.2.7/32"]), [false, false]);
    assert_eq!(passed(true, &[]), [true, false], "who is internal is not for a client to say");
    assert_eq!(passed(true, &["10.0.0.0/8"]), [false, false]);
    assert_eq!(passed(true, &["192.0.2.7/32"]), [true, true]);
}

#[test]
fn a_client_certificate_header_from_outside_is_removed() {
    let request = forwarded(&[], &[("x-forwarded-client-cert", "By=spiffe://x")]);
    assert_eq!(value(&request, "x-forwarded-client-cert"), None);
}
