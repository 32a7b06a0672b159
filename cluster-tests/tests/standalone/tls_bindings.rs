//! Which `tls` and `tls-outbound` bindings are in force when there are several, or none that says for what it is
//! (configuration reference 6.2 and 6.3, decision 12).

use cluster_tests::binary::validate;
use cluster_tests::client::{Client, get};
use cluster_tests::config::{api, binding, service};
use cluster_tests::gateway::{Gateway, Plan};
use cluster_tests::tls::{Authority, Pair, certificate, curl, with};
use cluster_tests::upstream::Upstream;
use cluster_tests::{eventually, ports};
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

#[test]
fn a_list_of_files_is_refused_and_what_it_was_to_restrict_is_not_open() {
    let (authority, upstream) = (Authority::new(), Upstream::echo("up"));
    let [server, good, bad] = ["gateway.test", "good.test", "bad.test"].map(|name| authority.issue(name));
    let folder = tempfile::tempdir().expect("a temporary folder");
    let list = folder.path().join("ca.crl");
    std::fs::write(&list, authority.revoke(&bad)).expect("a writable folder");
    let port = ports::free();
    let tls = |crl: Value| {
        let config = json!({
            "certificate": certificate(&server), "trustedCA": authority.pem(), "requireClientCertificate": true,
        });
        binding("shop-tls", "ApiInstance", "shop", "tls", json!({"config": with(&config, crl)}))
    };
    let plan = |crl: Value| {
        let shop = api("shop", &format!("http://127.0.0.1:{port}"), &upstream.url());
        Plan::new().with("api.yaml", &[shop]).with("tls.yaml", &[tls(crl)])
    };
    let status = |(crt, key): &Pair| {
        let (crt, key) = (crt.to_string_lossy(), key.to_string_lossy());
        let own = ["--cert", &*crt, "--key", &*key];
        curl(&authority.certificate(), ([127, 0, 0, 1], port).into(), "gateway.test/a", &own).status
    };
    let gateway = plan(json!({"crlFile": list})).start();
    assert_eq!((status(&good), status(&bad)), (200, 0));
    for wrong in [json!([list]), json!(null), json!("")] {
        gateway.apply("tls.yaml", &[tls(json!({"crlFile": wrong}))]);
        assert_eq!((status(&good), status(&bad)), (200, 0), "{wrong}: the last good context stays");
        let (ready, reason) = gateway.condition("PolicyBinding", "shop-tls");
        assert_eq!(ready, "False");
        assert!(reason.contains("expected the path of a file"), "{reason}");
    }
    drop(gateway);
    let gateway = plan(json!({"crlFile": [list]})).start_unready();
    gateway.says("expected the path of a file, found a list");
    gateway.says("stays closed");
    assert!(Client::try_connect(([127, 0, 0, 1], port).into()).is_err());
}

/// Secured and in plain text: 0 where there is no answer.
fn both_ways(authority: &Authority, port: u16) -> (u16, u16) {
    let secured = curl(&authority.certificate(), ([127, 0, 0, 1], port).into(), "gateway.test/a", &[]).status;
    let plain = Client::try_connect(([127, 0, 0, 1], port).into()).ok().and_then(|mut client| {
        let request = b"GET /a HTTP/1.1\r\nHost: gateway.test\r\nConnection: close\r\n\r\n";
        client.exchange("GET", request).ok()
    });
    (secured, plain.map_or(0, |response| response.status))
}

fn vanishes(gateway: &Gateway, file: &str, expected: impl Fn() -> bool) {
    gateway.remove(file);
    // A file that vanishes is held for a moment (decision 16).
    eventually("it is gone", || {
        gateway.reload();
        expected().then_some(())
    });
}

#[test]
fn a_slip_in_the_target_kind_or_version_of_a_tls_binding_turns_no_port_to_plain_text() {
    let (authority, upstream, port) = (Authority::new(), Upstream::echo("up"), ports::free());
    let pair = authority.issue("gateway.test");
    let tls = |name: &str, target: &str| {
        let config = json!({"config": {"certificate": certificate(&pair)}});
        binding(name, "ApiInstance", target, "tls", config)
    };
    let good = tls("shop-tls", "shop");
    let shop = api("shop", &format!("http://127.0.0.1:{port}"), &upstream.url());
    let gateway = Plan::new().with("api.yaml", &[shop]).with("tls.yaml", std::slice::from_ref(&good)).start();
    assert_eq!(both_ways(&authority, port), (200, 0));
    let mut kind = good.clone();
    kind["kind"] = json!("PolicyBindng");
    let mut version = good.clone();
    version["apiVersion"] = json!("gateway.mulesoft.com/v1");
    let mut nothing = good.clone();
    nothing["spec"].as_object_mut().expect("an object").remove("targetRef");
    let mut of_service = good;
    of_service["spec"]["targetRef"] = json!({"kind": "Service", "name": "shop-up"});
    let slips =
        [tls("shop-tls", "shpo"), tls("other-name", "shpo"), kind.clone(), version, nothing, of_service];
    for slip in &slips {
        gateway.apply("tls.yaml", std::slice::from_ref(slip));
        assert_eq!(both_ways(&authority, port).1, 0, "{slip}");
        gateway.says("keeps the TLS that it has");
        let (code, said) = validate(std::slice::from_ref(slip), &[]);
        assert_eq!(code, Some(65), "{said}");
    }
    gateway.apply("tls.yaml", &[tls("other-name", "shpo")]);
    assert_eq!(both_ways(&authority, port), (200, 0));
    // Even where the file is another one.
    gateway.apply("new.yaml", &[kind]);
    vanishes(&gateway, "tls.yaml", || gateway.log().contains("`PolicyBindng` is not known"));
    assert_eq!(both_ways(&authority, port), (200, 0));
    // What is really removed is gone.
    vanishes(&gateway, "new.yaml", || both_ways(&authority, port) == (0, 200));
    gateway.says("answers in plain text from now on");
}

#[test]
fn an_api_whose_new_address_clashes_stays_where_it_is_with_tls_and_its_policies() {
    let (authority, upstream) = (Authority::new(), Upstream::echo("up"));
    let (secured, plain) = (ports::free(), ports::free());
    let pair = authority.issue("gateway.test");
    let shop = |port: u16| api("shop", &format!("https://127.0.0.1:{port}"), &upstream.url());
    let tls = json!({"config": {"certificate": certificate(&pair)}});
    let gateway = Plan::new()
        .with("shop.yaml", &[shop(secured)])
        .with("other.yaml", &[api("other", &format!("http://127.0.0.1:{plain}"), &upstream.url())])
        .with("tls.yaml", &[binding("shop-tls", "ApiInstance", "shop", "tls", tls)])
        .start();
    let both = || [both_ways(&authority, secured), both_ways(&authority, plain)];
    assert_eq!(both(), [(200, 0), (0, 200)]);
    gateway.apply("shop.yaml", &[shop(plain)]);
    assert_eq!(both(), [(200, 0), (0, 200)], "the neighbour speaks no TLS, and the API nothing else");
    let (ready, reason) = gateway.condition("ApiInstance", "shop");
    assert!(ready == "False" && reason.contains("clashes"), "{ready} {reason}");
    // In the next generation, with a policy that comes while it clashes.
    let nobody = json!({"config": {"ips": ["127.0.0.1"], "ipExpression": "#[attributes.remoteAddress]"}});
    gateway.apply("nobody.yaml", &[binding("nobody", "ApiInstance", "shop", "ip-blocklist-flex", nobody)]);
    assert_eq!(both(), [(403, 0), (0, 200)]);
    gateway.apply("shop.yaml", &[shop(secured)]);
    assert_eq!((both(), gateway.condition("ApiInstance", "shop").0.as_str()), ([(403, 0), (0, 200)], "True"));
}
