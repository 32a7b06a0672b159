use super::*;
use crate::{
    resources::{ListenScheme, Route, ServiceScheme},
    settings::DynamicPort,
};

pub(super) const HEAD: &str = "apiVersion: gateway.mulesoft.com/v1alpha1\n";

pub(super) fn instance(name: &str, address: &str) -> String {
    format!("---\n{HEAD}kind: ApiInstance\nmetadata: {{name: {name}}}\nspec: {{address: \"{address}\"}}\n")
}

pub(super) fn service(name: &str) -> String {
    format!("---\n{HEAD}kind: Service\nmetadata: {{name: {name}}}\nspec: {{address: \"http://{name}\"}}\n")
}

pub(super) fn binding(name: &str, spec: &str) -> String {
    format!("---\n{HEAD}kind: PolicyBinding\nmetadata: {{name: {name}}}\nspec: {spec}\n")
}

pub(super) fn errors(model: &ResolvedModel) -> Vec<String> {
    model.diagnostics.iter().filter(|d| d.is_error()).map(|d| d.message.clone()).collect()
}

fn chain(model: &ResolvedModel, name: &str) -> Vec<String> {
    let instance = model.instances.iter().find(|instance| *instance.name.name == *name).expect("an instance");
    instance.policies.iter().map(|policy| policy.binding.name.to_string()).collect()
}

fn route_names(routes: &[Route]) -> Vec<&str> {
    routes.iter().map(|route| &*route.name.name).collect()
}

#[test]
fn inline_parts_get_the_names_of_the_reference() {
    let model = resolve_text(include_str!("../fixtures/examples/20-1.yaml"));
    assert_eq!(errors(&model), Vec::<String>::new());
    let shop = &model.instances[0];
    assert_eq!(shop.address.to_string(), "http://0.0.0.0:8080/shop");
    assert_eq!(shop.labels["tier"], "public");
    let services: Vec<_> =
        model.services.iter().map(|s| (s.name.to_string(), s.address.to_string())).collect();
    assert_eq!(services[0], ("default/shop-catalog".to_owned(), "http://catalog.internal:9000".to_owned()));
    assert_eq!(
        services[1],
        ("default/shop-checkout".to_owned(), "https://checkout.internal:8443".to_owned())
    );
    assert_eq!(
        model.services[1].policies[0].binding.to_string(),
        "default/shop-checkout-idle-timeout-flex-1"
    );
    assert_eq!(route_names(&shop.routes), ["shop-catalog-route-1", "shop-checkout-route-1"]);
    let catalog = &shop.routes[0];
    assert_eq!(catalog.order, 50);
    assert_eq!((catalog.destinations[0].path.as_str(), catalog.rules.len()), ("/v2", 2));
    assert_eq!(catalog.rules[0].methods.as_ref().map(|m| m.value.as_str()), Some("GET|HEAD"));
    assert_eq!(shop.routes[1].rules[0].headers[0].0, "x-channel");
    assert_eq!(
        chain(&model, "shop"),
        ["shop-cors-flex-1", "shop-http-basic-authentication-flex-2", "shop-rate-limiting-flex-3"]
    );
    let login = &shop.policies[1];
    assert_eq!(&*login.config_field, "spec.policies[1].config");
    let user = login.config.get_ignore_case("username").and_then(|node| node.as_text());
    assert_eq!(user.map(|text| &**text), Some("alice"));
    assert!(!serde_json::to_string(&login.config).expect("it serialises").contains("alice"));
}

#[test]
fn routes_are_tried_by_order_and_cross_namespaces() {
    let model = resolve_text(include_str!("../fixtures/examples/20-2.yaml"));
    assert_eq!(errors(&model), Vec::<String>::new());
    let routes = &model.instances[0].routes;
    assert_eq!(route_names(routes), ["reports-route", "orders-route"]);
    assert_eq!(routes[0].destinations[0].service.to_string(), "backends/reports");
    let weights: Vec<_> = routes[1].destinations.iter().map(|d| (d.weight, d.path.as_str())).collect();
    assert_eq!(weights, [(9, ""), (1, "/beta")]);
    assert_eq!(model.services[0].address.path, "");
}

#[test]
fn automated_policies_are_selected_by_labels_as_written() {
    let model = resolve_text(include_str!("../fixtures/examples/20-3.yaml"));
    assert_eq!(errors(&model), Vec::<String>::new());
    assert_eq!(chain(&model, "notes"), ["log-everything", "writes-need-login", "notes-header"]);
    assert!(model.instances[0].policies[0].automated);
}

#[test]
fn the_chain_is_cors_then_order_then_automated_then_list_position_then_name() {
    let text = format!(
        "{HEAD}kind: ApiInstance\nmetadata: {{name: api}}\nspec:\n  address: http://0.0.0.0:80\n  policies:\n    \
         - {{policyRef: {{name: header-removal-flex}}, order: 40}}\n    - policyRef: {{name: rate-limiting-flex}}\n    \
         - policyRef: {{name: header-injection-flex}}\n    - {{policyRef: {{name: cors-flex}}, order: 90}}\n{}{}{}",
        binding("b-late", "{targetRef: {name: api}, policyRef: {name: spike-control-flex}}"),
        binding("a-late", "{targetRef: {name: api}, policyRef: {name: spike-control-flex}}"),
        binding("auto", "{targetRef: {kind: Selector}, policyRef: {name: ip-blocklist-flex}}"),
    );
    assert_eq!(
        chain(&resolve_text(&text), "api"),
        [
            "api-cors-flex-4",
            "api-header-removal-flex-1",
            "auto",
            "api-rate-limiting-flex-2",
            "api-header-injection-flex-3",
            "a-late",
            "b-late"
        ]
    );
}

#[test]
fn base_paths_clash_by_segments_and_the_active_instance_is_kept() {
    let first =
        resolve_text(&(instance("b", "http://0.0.0.0:80/cats") + &instance("c", "http://0.0.0.0:80/cat")));
    assert_eq!(errors(&first), Vec::<String>::new());
    let text = instance("a", "http://127.0.0.1:80/cats/dogs/")
        + &instance("b", "http://0.0.0.0:80/cats")
        + &instance("other", "http://0.0.0.0:81/cats");
    let served = |model: &ResolvedModel| {
        model.instances.iter().map(|instance| instance.name.name.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(served(&resolve_text(&text)), ["a", "other"]);
    let after = resolve_after(&text, Some(&first));
    assert_eq!(served(&after), ["b", "other"]);
    assert_eq!(
        errors(&after),
        ["the base path `/cats/dogs/` on port 80 clashes with the ApiInstance default/b"]
    );
}

#[test]
fn an_update_that_clashes_keeps_the_version_that_is_served() {
    let first = resolve_text(&(instance("a", "http://0.0.0.0:80/a") + &instance("b", "http://0.0.0.0:80/b")));
    let text = instance("a", "http://0.0.0.0:80/b/deeper") + &instance("b", "http://0.0.0.0:80/b");
    let after = resolve_after(&text, Some(&first));
    assert_eq!(after.instances[0].address.base_path, "/a");
    assert_eq!(after.instances.len(), 2);
    assert!(after.resources[0].ready.is_err());
}

#[test]
fn a_policy_that_cannot_be_applied_never_leaves_its_api_open() {
    for policy in ["jwt-validation-flex", "jwt-validatoin-flex", "my-custom-flex"] {
        let text = instance("api", "http://0.0.0.0:80")
            + &instance("other", "http://0.0.0.0:81")
            + &binding("guard", &format!("{{targetRef: {{name: api}}, policyRef: {{name: {policy}}}}}"))
            + "---\napiVersion: gateway.mulesoft.com/v1alpha1\nkind: Extension\nmetadata: {name: my-custom-flex}\n\
               spec: {extends: [{name: proxy-wasm-filter}]}\n";
        let model = resolve_text(&text);
        assert!(model.instances[0].blocked.is_some(), "{policy}");
        assert!(model.instances[1].blocked.is_none(), "{policy}");
    }
}

#[test]
fn a_policy_that_cannot_be_applied_after_an_update_stays_as_it_was() {
    let text = |policy: &str, way: &str, inline: &str| {
        format!(
            "{HEAD}kind: ApiInstance\nmetadata: {{name: api}}\nspec:\n  address: http://0.0.0.0:80\n  policies:\n    \
             - {{policyRef: {{name: {inline}}}, config: {{a: 1}}}}\n{}{}{}",
            service("backend"),
            binding(
                "guard",
                &format!("{{targetRef: {{name: api}}, policyRef: {{name: {policy}}}, config: {{b: 2}}}}")
            ),
            binding(
                "way",
                &format!("{{targetRef: {{name: api}}, policyRef: {{name: route}}, config: {way}}}")
            ),
        )
    };
    let good = resolve_text(&text("ip-blocklist-flex", "{destinationRef: {name: backend}}", "cors-flex"));
    assert_eq!(errors(&good), Vec::<String>::new());
    let broken = text("ip-blokclist-flex", "{destinationRef: {}}", "jwt-validation-flex");
    let after = resolve_after(&broken, Some(&good));
    assert_eq!(after.instances[0].blocked, None);
    assert_eq!(chain(&after, "api"), ["api-cors-flex-1", "guard"]);
    assert_eq!(route_names(&after.instances[0].routes), ["way"]);
    assert_eq!(after.instances[0].digest, good.instances[0].digest);
    assert!(
        after
            .resources
            .iter()
            .filter(|resource| &*resource.subject.kind == "PolicyBinding")
            .all(|r| r.ready.is_err())
    );
    // What never was good takes the API out, and so does everything after a restart.
    let more = broken.clone() + &binding("new", "{targetRef: {name: api}, policyRef: {name: nonsense}}");
    assert!(resolve_after(&more, Some(&good)).instances[0].blocked.is_some());
    assert!(resolve_text(&broken).instances[0].blocked.is_some());
}

#[test]
fn a_slip_in_an_inline_policy_keeps_it_beside_tls_and_routes_too() {
    let text = |first: &str, second: &str| {
        let policies = format!(
            "[{{policyRef: {{name: {first}}}}}, {{policyRef: {{name: {second}}}, config: {{a: 1}}}}]"
        );
        format!(
            "{HEAD}kind: ApiInstance\nmetadata: {{name: api}}\nspec: {{address: \"http://0.0.0.0:80\", policies: {policies}}}\n"
        )
    };
    for beside in ["tls", "circuit-breaker-flex", "cors-flex"] {
        let good = resolve_text(&text(beside, "rate-limiting-flex"));
        let chain_before = chain(&good, "api");
        let after = resolve_after(&text(beside, "rate-limitng-flex"), Some(&good));
        assert_eq!(after.instances[0].blocked, None, "{beside}");
        assert_eq!(chain(&after, "api"), chain_before, "{beside}");
    }
}

#[test]
fn an_invalid_binding_takes_its_target_out() {
    for target in
        ["{name: api}", "{kind: apiinstance, name: api}", "{kind: Selector, selector: {labels: {}}}"]
    {
        let spec = format!("{{targetRef: {target}, policyRef: {{name: ip-blocklist-flex}}, order: first}}");
        let model = resolve_text(&(instance("api", "http://0.0.0.0:80") + &binding("guard", &spec)));
        assert!(model.instances[0].blocked.is_some(), "{target}");
    }
}

#[test]
fn a_binding_without_kind_finds_the_instance_first_and_the_service_for_outbound_policies() {
    let text = instance("same", "http://0.0.0.0:80")
        + &service("same")
        + &service("alone")
        + &binding("in", "{targetRef: {name: same}, policyRef: {name: ip-blocklist-flex}}")
        + &binding("out", "{targetRef: {name: same}, policyRef: {name: idle-timeout-flex}}")
        + &binding("short", "{targetRef: {name: same}, policyRef: {name: circuit-breaker}}")
        + &binding("alone", "{targetRef: {name: alone}, policyRef: {name: idle-timeout}}");
    let model = resolve_text(&text);
    assert_eq!(errors(&model), Vec::<String>::new());
    assert_eq!(chain(&model, "same"), ["in"]);
    let outbound: Vec<_> = model.services.iter().map(|s| s.policies[0].policy.as_str()).collect();
    assert_eq!(outbound, ["idle-timeout-flex", "idle-timeout-flex"]);
    assert_eq!(model.services[1].policies[1].policy, "circuit-breaker-flex");
}

#[test]
fn built_in_policies_are_found_from_any_namespace() {
    let text = format!(
        "{HEAD}kind: ApiInstance\nmetadata: {{name: api, namespace: far}}\nspec:\n  address: http://[::1]:80/\n  \
         policies: {{policyRef: {{name: cors-flex, namespace: elsewhere}}}}\n"
    );
    let model = resolve_text(&text);
    assert_eq!(model.diagnostics.iter().count(), 0);
    assert_eq!(model.instances[0].policies[0].policy, "cors-flex");
    assert_eq!(model.instances[0].address.scheme, ListenScheme::Http);
    assert_eq!(model.instances[0].address.base_path, "");
}

#[test]
fn tls_belongs_to_the_port_and_one_that_is_not_valid_closes_it() {
    let apis = instance("a", "http://0.0.0.0:443/a")
        + &instance("b", "http://0.0.0.0:443/b")
        + &instance("c", "https://0.0.0.0:8443/c")
        + &instance("d", "http://0.0.0.0:8443/d");
    let open = |model: &ResolvedModel| {
        model.instances.iter().map(|instance| instance.name.name.to_string()).collect::<Vec<_>>()
    };
    let good = apis.clone() + &binding("tls", "{targetRef: {name: a}, policyRef: {name: tls}, config: {}}");
    let model = resolve_text(&good);
    assert_eq!(open(&model), ["a", "b", "d"]);
    assert_eq!(errors(&model), ["`https://` needs a `tls` policy on port 8443"]);
    assert_eq!(model.tls[0].ports.iter().copied().collect::<Vec<_>>(), [443]);
    let invalid =
        apis.clone() + &binding("tls", "{targetRef: {name: a}, policyRef: {name: tls}, order: early}");
    assert_eq!(open(&resolve_text(&invalid)), ["d"]);
    // A slip in the policy's name takes nothing away from what is served.
    let misspelt = apis.clone() + &binding("tls", "{targetRef: {name: a}, policyRef: {name: tsl}}");
    let kept = resolve_after(&misspelt, Some(&model));
    assert_eq!((open(&kept), kept.tls.len()), (open(&model), 1));
    // Removed altogether, TLS leaves `http://` in plain text, with a warning for each instance.
    let removed = resolve_after(&apis, Some(&model));
    assert!(removed.tls.is_empty());
    let warnings: Vec<_> = removed.diagnostics.iter().filter(|d| !d.is_error()).collect();
    assert_eq!(warnings.len(), 2);
    assert!(warnings.iter().all(|d| d.message == "port 443 answers in plain text from now on"));
}

/// Decision 12; a binding that is really gone is in the test above.
#[test]
fn a_port_keeps_its_tls_while_a_binding_of_it_leads_nowhere() {
    let apis = instance("a", "http://0.0.0.0:443/a") + &instance("b", "http://0.0.0.0:443/b");
    let tls = |spec: &str| binding("tls", &format!("{{policyRef: {{name: tls}}, {spec}}}"));
    let before = resolve_text(&(apis.clone() + &tls("targetRef: {name: a}")));
    let good = tls("targetRef: {name: a}");
    let slips = [
        tls("targetRef: {name: aa}"),
        tls("order: 1"),
        tls("targetRef: {kind: Service, name: a}"),
        tls("targetRef: {kind: Selector, selector: {labels: {a: b}}}"),
        service("s") + &tls("targetRef: {kind: Service, name: s}"),
        tls("targetRef: {kind: Gateway, name: a}"),
        good.replace("name: tls}\nspec", "name: renamed}\nspec").replace("a}}", "a}, order: early}"),
        good.replace("PolicyBinding", "PolicyBindng"),
        good.replace("v1alpha1", "v1"),
    ];
    for slip in slips {
        let after = resolve_after(&(apis.clone() + &slip), Some(&before));
        let ports: Vec<u16> = after.tls.iter().flat_map(|tls| tls.ports.iter().copied()).collect();
        assert_eq!(ports, [443], "{slip}");
        assert_eq!(after.instances.len(), 2, "{slip}");
        let kept = |found: &&crate::base::Diagnostic| found.message == "port 443 keeps the TLS that it has";
        assert_eq!(after.diagnostics.iter().filter(kept).count(), 2, "{slip}");
        // And in the next generation.
        let again = resolve_after(&(apis.clone() + &slip), Some(&after));
        let ports: Vec<u16> = again.tls.iter().flat_map(|tls| tls.ports.iter().copied()).collect();
        assert_eq!((ports.as_slice(), again.instances.len()), (&[443][..], 2), "{slip}");
        assert!(resolve_after(&apis, Some(&again)).tls.is_empty(), "{slip}: removed");
    }
}

#[test]
fn a_service_with_outbound_tls_is_not_called_in_plain_text() {
    let text = service("s")
        + &binding("tls", "{targetRef: {kind: Service, name: s}, policyRef: {name: tls-outbound}}");
    assert!(resolve_text(&text).services[0].blocked.is_some());
}

#[test]
fn an_h2_service_is_spoken_to_in_http_2() {
    let text =
        format!("{HEAD}kind: Service\nmetadata: {{name: s}}\nspec: {{address: \"H2://Up.Stream:50051\"}}\n");
    let service = &resolve_text(&text).services[0];
    assert_eq!((service.address.scheme, service.address.host.as_str()), (ServiceScheme::H2, "up.stream"));
    assert!(service.blocked.is_none());
}

#[test]
fn configurations_merge_by_key_and_the_first_by_name_wins() {
    let text = format!(
        "{HEAD}kind: Configuration\nmetadata: {{name: b}}\nspec: {{timeouts: {{streamIdleSeconds: 1}}, probe: {{enabled: true, port: 3000}}}}\n\
         ---\n{HEAD}kind: Configuration\nmetadata: {{name: a}}\nspec: {{Timeouts: {{streamIdleSeconds: $TEN}}, routing: {{rewriteHostHeader: no}}}}\n"
    );
    let model = resolve_text(&text);
    let timeouts = model.settings.timeouts.clone().expect("timeouts");
    assert_eq!(timeouts.stream_idle, Some(std::time::Duration::from_secs(10)));
    assert_eq!(model.settings.rewrite_host_header, Some(false));
    assert!(model.settings.probe.as_ref().is_some_and(|probe| probe.enabled));
    let messages: Vec<_> = model.diagnostics.iter().map(|d| d.message.as_str()).collect();
    assert_eq!(messages, ["`timeouts` is already set by Configuration default/a; this is ignored"]);
}

#[test]
fn a_dynamic_port_replaces_the_one_that_is_written() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("a.yaml");
    std::fs::write(&path, instance("a", "http://0.0.0.0:8081") + &instance("b", "http://0.0.0.0:8082"))
        .expect("written");
    let environment = environment();
    let set = load(&[path], environment.clone());
    let ports = |dynamic_port| {
        let inputs = Inputs { policies: &Catalog, environment: &*environment, dynamic_port, previous: None };
        let model = resolve(&set, inputs);
        model.instances.iter().map(|instance| instance.address.port).collect::<Vec<_>>()
    };
    assert_eq!(ports(None), [8081, 8082]);
    assert_eq!(ports(Some(DynamicPort { written: 8081, bound: 9000 })), [9000, 8082]);
    let clash = ports(Some(DynamicPort { written: 8081, bound: 8082 }));
    assert_eq!(clash, [8082], "what is replaced may clash like what is written");
}

#[test]
fn digests_do_not_depend_on_positions() {
    let text = instance("a", "http://0.0.0.0:80") + &service("s");
    let moved = format!("# moved\n\n{text}");
    assert_eq!(resolve_text(&text).digest(), resolve_text(&moved).digest());
    assert_ne!(resolve_text(&text).digest(), resolve_text(&text.replace(":80", ":81")).digest());
}
