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
