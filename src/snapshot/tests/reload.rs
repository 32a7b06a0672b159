//! What goes on from one generation to the next (decision 12).

use std::{
    fs,
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{
    http::{Request, Response},
    policy::{
        Chain, Exchange, RequestId,
        testkit::{Bench, block_on_ready},
    },
    settings::Settings,
    snapshot::{Generation, InstancePlan, Look, Reconciliation},
    telemetry::metrics::Registry,
};

const HEAD: &str = "apiVersion: gateway.mulesoft.com/v1alpha1\n";

/// A configuration of one file, read again and again.
struct Gateway {
    folder: tempfile::TempDir,
    wanted: Reconciliation,
}

impl Gateway {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut settings = Settings::default();
        settings.config.paths = vec![folder.path().to_owned()];
        let nothing_set = Arc::new(|_: &str| None);
        let wanted = Reconciliation::new(Arc::new(settings), nothing_set, Arc::new(Registry::new(1)), None);
        Self { folder, wanted }
    }

    fn load(&mut self, text: &str) -> Box<Generation> {
        fs::write(self.folder.path().join("a.yaml"), text).expect("a writable folder");
        match self.wanted.look(Instant::now()).0 {
            Look::Changed(generation) => generation,
            Look::Unchanged => panic!("nothing has changed"),
        }
    }
}

/// An API with this list of inline policies.
fn api(policies: &str) -> String {
    format!(
        "{HEAD}kind: ApiInstance\nmetadata: {{name: api}}\nspec:\n  address: http://127.0.0.1:8080\n  policies: {policies}\n"
    )
}

fn binding(spec: &str) -> String {
    format!(
        "---\n{HEAD}kind: PolicyBinding\nmetadata: {{name: guard}}\nspec: {{targetRef: {{name: api}}, {spec}}}\n"
    )
}

fn configuration(spec: &str) -> String {
    format!("---\n{HEAD}kind: Configuration\nmetadata: {{name: all}}\nspec: {spec}\n")
}

fn plan(generation: &Generation) -> Arc<InstancePlan> {
    Arc::clone(generation.snapshot.instances().next().expect("the API"))
}

fn ask(chain: &Chain, request: Request) -> Response {
    let (peer, id) = (Rc::clone(&request.peer), RequestId::parse(b"test").expect("visible"));
    let exchange = Exchange::new(peer, id, Duration::from_secs(15), Duration::from_secs(300));
    block_on_ready(chain.run(request, &exchange, &Bench::chain(Vec::new())))
}

fn get(chain: &Chain, path: &str, headers: &[(&str, &str)]) -> u16 {
    ask(chain, Request::for_test("GET", path, headers)).status
}

fn messages(generation: &Generation) -> Vec<&str> {
    generation.diagnostics.iter().map(|found| found.message.as_str()).collect()
}

#[test]
fn the_last_good_version_of_a_policy_stays_with_its_rules() {
    let mut gateway = Gateway::new();
    let guard = |network: &str, path: &str| {
        let config = format!("{{ips: [\"{network}\"], ipExpression: \"#[attributes.headers['x-ip']]\"}}");
        api("[]")
            + &binding(&format!(
                "policyRef: {{name: ip-allowlist-flex}}, rules: [{{path: \"{path}\"}}], config: {config}"
            ))
    };
    let outside = [("x-ip", "192.0.2.1")];
    let good = plan(&gateway.load(&guard("10.0.0.0/8", "/admin.*")));
    assert_eq!((get(&good.chain, "/admin", &outside), get(&good.chain, "/reports", &outside)), (403, 200));
    for _ in 0..2 {
        let after = gateway.load(&guard("10.0.0.0/33", "/reports.*"));
        let kept = plan(&after);
        assert_eq!(kept.blocked, None);
        assert!(
            messages(&after).contains(&"the last good configuration of `ip-allowlist-flex` stays in force")
        );
        assert_eq!(
            (get(&kept.chain, "/admin", &outside), get(&kept.chain, "/reports", &outside)),
            (403, 200)
        );
        gateway.wanted.repeat();
    }
    let mended = plan(&gateway.load(&guard("10.0.0.0/16", "/reports.*")));
    assert_eq!(
        (get(&mended.chain, "/admin", &outside), get(&mended.chain, "/reports", &outside)),
        (200, 403)
    );
}

#[test]
fn an_inline_policy_that_cannot_be_built_gets_no_version_of_another() {
    let login = |user: &str, path: &str| {
        format!(
            "{{policyRef: {{name: http-basic-authentication-flex}}, rules: [{{path: {path}}}], config: {{{user}}}}}"
        )
    };
    let (ada, bob) = (login("username: ada, password: a", "/a"), login("username: bob, password: b", "/b"));
    let broken = login("username: bob", "/b");
    let list = |policies: &[&String]| {
        let policies: Vec<&str> = policies.iter().map(|policy| policy.as_str()).collect();
        api(&format!("[{}]", policies.join(", ")))
    };
    for (says, after, is_kept) in [
        ("in its place", list(&[&ada, &broken]), true),
        ("in the place of another that is gone", list(&[&broken]), false),
        ("in the place of another that has moved", list(&[&broken, &ada]), false),
        ("in a longer list", list(&[&ada, &broken, &bob]), false),
    ] {
        let mut gateway = Gateway::new();
        assert_eq!(plan(&gateway.load(&list(&[&ada, &bob]))).blocked, None);
        let plan = plan(&gateway.load(&after));
        assert_eq!(plan.blocked.is_none(), is_kept, "{says}: {:?}", plan.blocked);
    }
}

#[test]
fn a_buffer_limit_that_changes_holds_for_policies_that_go_on() {
    let mut gateway = Gateway::new();
    let text = |limits: &str| {
        let limit = "{policyRef: {name: rate-limiting-flex}, config: {keySelector: \"#[payload]\", rateLimits: \
                     [{maximumRequests: 1, timePeriodInMilliseconds: 3600000}]}}";
        api(&format!("[{limit}]")) + &configuration(limits)
    };
    let post = |chain: &Chain, body: &str| {
        let mut request = Request::for_test("POST", "/", &[("content-type", "text/plain")]);
        request.body = body.to_owned().into();
        ask(chain, request).status
    };
    let before = plan(&gateway.load(&text("{}")));
    let (long, longer) = ("x".repeat(70_000), "x".repeat(70_001));
    assert_eq!([post(&before.chain, "a"), post(&before.chain, &long)], [200, 200]);
    let after = plan(&gateway.load(&text("{connectionBufferLimits: {global: 65536}}")));
    assert!(Arc::ptr_eq(&before.chain.steps()[0].policy, &after.chain.steps()[0].policy));
    assert_eq!(post(&after.chain, &longer), 413);
    assert_eq!([post(&after.chain, "a"), post(&after.chain, "b")], [429, 200], "the windows go on");
}

#[test]
fn warnings_of_policies_that_go_on_are_said_in_each_generation() {
    let mut gateway = Gateway::new();
    let shared = configuration("{sharedStorage: {redis: {address: \"127.0.0.1:1\"}}}");
    let limit = |comment: &str, beside: &str| {
        let limit = "{policyRef: {name: rate-limiting-flex}, config: {clusterizable: true, rateLimits: \
                     [{maximumRequests: 1, timePeriodInMilliseconds: 3600000}]}}";
        format!("{comment}{}{beside}", api(&format!("[{limit}]")))
    };
    let alone = "there is no shared storage: each replica grants the whole quota";
    let mut lines = Vec::new();
    let mut policies = Vec::new();
    for (comment, beside, says) in [
        ("", "", true),
        ("# moved\n", "", true),
        ("", &shared, false),
        ("# moved\n", &shared, false),
        ("", "", true),
    ] {
        let generation = gateway.load(&limit(comment, beside));
        assert_eq!(messages(&generation).contains(&alone), says, "{comment}{beside}");
        let found = generation.diagnostics.iter().find(|found| found.message == alone);
        lines.extend(found.and_then(|found| found.location.as_ref()).map(|at| at.line));
        policies.push(Arc::clone(&plan(&generation).chain.steps()[0].policy));
    }
    assert_eq!(lines[1], lines[0] + 1, "where it stands now");
    assert!(Arc::ptr_eq(&policies[0], &policies[1]) && Arc::ptr_eq(&policies[3], &policies[4]));
}
