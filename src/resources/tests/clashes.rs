//! Base paths and names that two resources want (configuration reference 3.1, 4.2; 15, Do 2).

use super::{
    model::{HEAD, binding, errors, instance, service},
    *,
};

fn addresses(model: &ResolvedModel) -> Vec<String> {
    model.instances.iter().map(|instance| instance.address.to_string()).collect()
}

fn tls_ports(model: &ResolvedModel) -> Vec<u16> {
    model.tls.iter().flat_map(|tls| tls.ports.iter().copied()).collect()
}

fn with_service(name: &str, service: &str, address: &str) -> String {
    format!(
        "---\n{HEAD}kind: ApiInstance\nmetadata: {{name: {name}}}\n\
         spec: {{address: \"http://0.0.0.0:80/{name}\", services: {{{service}: {{address: \"{address}\"}}}}}}\n"
    )
}

#[test]
fn an_update_that_clashes_stays_at_its_port_with_the_tls_of_that() {
    let beside = instance("b", "http://0.0.0.0:9443")
        + &binding("tls", "{targetRef: {name: a}, policyRef: {name: tls}, config: {}}");
    let mut before = resolve_text(&(instance("a", "https://0.0.0.0:8443") + &beside));
    assert_eq!((errors(&before), tls_ports(&before)), (Vec::new(), vec![8443]));
    // In the generations that come after, too.
    for _ in 0..2 {
        let after = resolve_after(&(instance("a", "https://0.0.0.0:9443") + &beside), Some(&before));
        assert_eq!(addresses(&after), ["https://0.0.0.0:8443", "http://0.0.0.0:9443"]);
        assert_eq!(tls_ports(&after), [8443], "and its neighbour stays in plain text");
        let found: Vec<_> = after.diagnostics.iter().collect();
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].message.contains("clashes with the ApiInstance default/b"), "{}", found[0]);
        assert_eq!(found[0].help[0], "default/a stays at `https://0.0.0.0:8443`");
        assert!(after.resources[0].ready.is_err());
        before = after;
    }
    let mended = resolve_after(&(instance("a", "https://0.0.0.0:7443") + &beside), Some(&before));
    assert_eq!((errors(&mended), tls_ports(&mended)), (Vec::new(), vec![7443]));
}

#[test]
fn an_update_that_clashes_is_in_force_in_all_but_its_address() {
    let beside = instance("b", "http://0.0.0.0:80/b");
    let first = resolve_text(&(instance("a", "http://0.0.0.0:80/a") + &beside));
    let slip = instance("a", "http://0.0.0.0:80/b/deeper") + &beside;
    let bound = |policy: &str| {
        binding("guard", &format!("{{targetRef: {{name: a}}, policyRef: {{name: {policy}}}}}"))
    };
    let guarded = resolve_after(&(slip.clone() + &bound("ip-blocklist-flex")), Some(&first));
    assert_eq!(addresses(&guarded), ["http://0.0.0.0:80/a", "http://0.0.0.0:80/b"]);
    assert_eq!((guarded.instances[0].policies.len(), &guarded.instances[0].blocked), (1, &None));
    let unknown = resolve_after(&(slip + &bound("jwt-validatoin-flex")), Some(&first));
    assert_eq!(addresses(&unknown), addresses(&guarded));
    assert!(unknown.instances[0].blocked.is_some(), "never without a policy that is meant for it");
}

#[test]
fn who_goes_back_after_a_clash_has_its_address_before_those_that_come() {
    let beside = instance("b", "http://0.0.0.0:9000");
    let first = resolve_text(
        &(instance("z", "http://0.0.0.0:8000") + &instance("m", "http://0.0.0.0:7000") + &beside),
    );
    let text = instance("z", "http://0.0.0.0:9000")
        + &instance("m", "http://0.0.0.0:8000")
        + &instance("a", "http://0.0.0.0:7000")
        + &beside;
    let after = resolve_after(&text, Some(&first));
    assert_eq!(addresses(&after), ["http://0.0.0.0:9000", "http://0.0.0.0:7000", "http://0.0.0.0:8000"]);
    assert_eq!(errors(&after).len(), 3, "the new one is not served: {:?}", errors(&after));
    // Two that change places are in nobody's way.
    let text = instance("z", "http://0.0.0.0:7000") + &instance("m", "http://0.0.0.0:8000") + &beside;
    let swapped = resolve_after(&text, Some(&first));
    assert_eq!(addresses(&swapped), ["http://0.0.0.0:9000", "http://0.0.0.0:8000", "http://0.0.0.0:7000"]);
    assert_eq!(errors(&swapped), Vec::<String>::new());
}

#[test]
fn an_inline_service_whose_name_is_taken_sends_no_request_to_the_other() {
    let hosts = |model: &ResolvedModel| {
        model.services.iter().map(|service| service.address.host.clone()).collect::<Vec<_>>()
    };
    let shop = with_service("shop", "catalog", "http://new");
    let written = service("shop-catalog");
    let model = resolve_text(&(written.clone() + &shop));
    assert_eq!(hosts(&model), ["shop-catalog"]);
    let reason = model.instances[0].blocked.as_deref().expect("503");
    assert_eq!(reason, "the Service default/shop-catalog exists twice; this one is left out");
    // Two inline ones.
    let model =
        resolve_text(&(with_service("x", "b-c", "http://one") + &with_service("x-b", "c", "http://two")));
    assert_eq!(hosts(&model), ["one"]);
    assert_eq!(model.instances.iter().map(|api| api.blocked.is_some()).collect::<Vec<_>>(), [false, true]);
    // What is served stays, whichever is first.
    let before = resolve_text(&shop);
    for text in [written.clone() + &shop, shop.clone() + &written] {
        let after = resolve_after(&text, Some(&before));
        assert_eq!((hosts(&after), &after.instances[0].blocked), (vec!["new".to_owned()], &None));
        assert_eq!(errors(&after).len(), 1);
    }
    let before = resolve_text(&written);
    for text in [written.clone() + &shop, shop + &written] {
        let after = resolve_after(&text, Some(&before));
        assert_eq!(hosts(&after), ["shop-catalog"]);
        assert!(after.instances[0].blocked.is_some(), "the new API answers 503");
    }
}
