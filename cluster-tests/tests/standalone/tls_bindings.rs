//! Which `tls` and `tls-outbound` bindings are in force when there are several, or none that says for what it is
//! (configuration reference 6.2 and 6.3, decision 12).

use cluster_tests::binary::validate;
use cluster_tests::client::get;
use cluster_tests::config::{api, binding, service};
use cluster_tests::gateway::Plan;
use cluster_tests::ports;
use cluster_tests::tls::Authority;
use cluster_tests::upstream::Upstream;
use serde_json::{Value, json};

fn outbound(name: &str, config: Value) -> Value {
    binding(name, "Service", "shop-up", "tls-outbound", json!({"config": config}))
}

#[test]
fn a_second_outbound_binding_does_not_replace_the_first() {
    let (authority, stranger, upstream) =
        (Authority::new(), Authority::named("other CA"), Upstream::echo("up"));
    let front = authority.front("localhost", upstream.address());
    let port = ports::free();
    let url = format!("https://localhost:{}", front.port());
    let strict = outbound("strict", json!({"trustedCA": stranger.pem()}));
    let lax = |name: &str| outbound(name, json!({"skipValidation": true}));
    let gateway = Plan::new()
        .with("api.yaml", &[api("shop", &format!("http://127.0.0.1:{port}"), &url)])
        .with("tls.yaml", std::slice::from_ref(&strict))
        .start();
    let status = || get(([127, 0, 0, 1], port).into(), "/a").status;
    assert_eq!(status(), 503, "the wrong authority");
    for name in ["a-lax", "z-lax"] {
        gateway.apply("more.yaml", &[lax(name)]);
        assert_eq!(status(), 503, "{name}: what is active stays");
        let (ready, reason) = gateway.condition("PolicyBinding", name);
        assert_eq!(ready, "False", "{reason}");
        assert!(reason.contains("has the TLS context of default/strict"), "{reason}");
        // As in the generation that comes after.
        gateway.apply("other.yaml", &[service(name, "http://127.0.0.1:9")]);
        assert_eq!((status(), gateway.condition("PolicyBinding", name).0.as_str()), (503, "False"));
    }
    // The same context twice is one.
    gateway
        .apply("more.yaml", &[outbound("equal", json!({"trustedCA": stranger.pem(), "minversion": "1.2"}))]);
    assert_eq!(gateway.condition("PolicyBinding", "equal").0, "True");
    // The active binding's own change is a change.
    gateway.apply("more.yaml", &[lax("a-lax")]);
    gateway.apply("tls.yaml", &[outbound("strict", json!({"trustedCA": authority.pem()}))]);
    assert_eq!(status(), 200, "{}", gateway.log());
    let both = [service("shop-up", &url), strict, lax("z-lax")];
    let (code, said) = validate(&both, &[]);
    assert_eq!(code, Some(65), "{said}");
    assert!(said.contains("a Service has one context: make them equal, or remove one"), "{said}");
}
