//! `sharedStorage` (configuration reference 8.1, decision 32).

use super::resolve_text;
use crate::{
    resources::kinds::shared_storage::SharedStorage,
    storage::redis::plan::{Address, Plan, Topology},
};

/// The plan of `redis: …`, and the messages beside it.
fn plan(redis: &str) -> (Option<Plan>, Vec<String>) {
    let text = format!(
        "apiVersion: gateway.mulesoft.com/v1alpha1\nkind: Configuration\nmetadata: {{name: shared}}\nspec:\n  \
         sharedStorage: {{redis: {redis}}}\n"
    );
    let model = resolve_text(&text);
    let plan = match &model.settings.shared_storage {
        Some(SharedStorage::Redis(plan)) => Some((**plan).clone()),
        _ => None,
    };
    (plan, model.diagnostics.iter().map(|found| found.message.clone()).collect())
}

#[test]
fn a_single_address_is_a_stand_alone_instance_and_all_spellings_mean_the_same() {
    let (plain, found) = plan("{address: 'localhost:6379', username: gw, password: pw, db: 2}");
    assert_eq!(found, Vec::<String>::new());
    let plain = plain.expect("a plan");
    assert_eq!(plain.topology, Topology::Standalone(Address::new("localhost", 6379)));
    assert_eq!(plain.credentials.username.as_deref(), Some("gw"));
    assert_eq!(plain.database, 2);
    assert!(plain.tls.is_none() && !plain.durable);
    let (spelled, _) = plan("{address: 'localhost:6379', user: gw, password: pw, DB: '2'}");
    assert_eq!(spelled.expect("a plan").digest(), plain.digest());
    let (durable, _) =
        plan("{address: 'localhost:6379', user: gw, password: pw, DB: 2, appendfsync: always}");
    assert!(durable.expect("a plan").durable);
}

#[test]
fn an_empty_password_and_user_are_none() {
    let (plan, found) = plan("{address: 'localhost:6379', username: '', password: ''}");
    assert_eq!(plan.expect("a plan").credentials.password, None);
    assert_eq!(found.len(), 1, "{found:?}");
}

#[test]
fn sentinels_have_a_password_of_their_own() {
    let sentinel =
        "sentinel: {addresses: ['127.0.0.1:1', '[::1]:2'], masterName: main, username: s, password: q}";
    let (plan, found) = plan(&format!("{{password: pw, {sentinel}}}"));
    assert_eq!(found, Vec::<String>::new());
    let Topology::Sentinel { sentinels, master, credentials } = plan.expect("a plan").topology else {
        panic!("no sentinels")
    };
    assert_eq!(sentinels, [Address::new("127.0.0.1", 1), Address::new("::1", 2)]);
    assert_eq!((master.as_str(), credentials.username.as_deref()), ("main", Some("s")));
    assert_eq!(credentials.password.map(|password| password.expose().clone()).as_deref(), Some("q"));
}

#[test]
fn a_cluster_is_found_through_any_of_its_nodes() {
    let (plan, found) = plan("{password: pw, cluster: {addresses: ['127.0.0.1:1', 'localhost:2']}}");
    assert_eq!(found, Vec::<String>::new());
    let nodes = vec![Address::new("127.0.0.1", 1), Address::new("localhost", 2)];
    assert_eq!(plan.expect("a plan").topology, Topology::Cluster(nodes));
}

#[test]
fn plain_text_to_another_machine_and_no_password_are_accepted_with_warnings() {
    let (there, found) = plan("{address: 'redis:6379'}");
    assert!(there.is_some());
    assert_eq!(found.len(), 2, "{found:?}");
    let (there, found) = plan("{address: '127.0.0.1:6379'}");
    assert!(there.is_some());
    assert_eq!(found.len(), 1, "{found:?}");
}

#[test]
fn an_empty_tls_object_switches_tls_on_and_none_is_plain_tcp() {
    let (secured, _) = plan("{address: 'redis:6379', password: pw, tls: {skipValidation: true}}");
    assert!(secured.expect("a plan").tls.is_some());
    let (plain, _) = plan("{address: 'localhost:6379', password: pw, tls: null}");
    assert!(plain.expect("a plan").tls.is_none());
    // Without the authorities of the system there is an error, and never a plain connection.
    let (defaults, found) = plan("{address: 'redis:6379', password: pw, tls: {}}");
    assert!(defaults.is_none_or(|plan| plan.tls.is_some()), "{found:?}");
}

#[test]
fn what_is_wrong_with_its_tls_leaves_no_plan_at_all() {
    let (plan, found) = plan("{address: 'redis:6379', password: pw, tls: {trustedCA: 'nonsense'}}");
    assert!(plan.is_none());
    assert!(!found.is_empty());
}
