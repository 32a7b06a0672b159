use std::{cell::RefCell, rc::Rc};

use super::*;
use crate::policy::{
    RuleSource, ViolationKind,
    testkit::{Bench, block_on_ready, body_text},
};

/// Notes its name on the way in and out.
struct Wrap(&'static str);

thread_local! {
    static TRACE: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

fn note(text: String) {
    TRACE.with_borrow_mut(|trace| trace.push(text));
}

fn trace() -> Vec<String> {
    TRACE.take()
}

impl Policy for Wrap {
    fn handle<'a>(&'a self, request: Request, next: Next<'a>) -> Handling<'a> {
        Handling::wait(async move {
            note(format!("{} in", self.0));
            let response = next.run(request).await;
            note(format!("{} out {}", self.0, response.status));
            Ok(response)
        })
    }
}

struct Gate(&'static str);

impl Policy for Gate {
    fn handle<'a>(&'a self, request: Request, next: Next<'a>) -> Handling<'a> {
        note(format!("{} gate", self.0));
        next.pass(request)
    }
}

struct Refuse;

impl Policy for Refuse {
    fn handle<'a>(&'a self, _: Request, _: Next<'a>) -> Handling<'a> {
        Handling::refuse(Rejection::json(403, "refused", "no"))
    }
}

struct ReadsBody(&'static str);

impl Policy for ReadsBody {
    fn handle<'a>(&'a self, request: Request, next: Next<'a>) -> Handling<'a> {
        note(format!("{} body", self.0));
        next.pass(request)
    }

    fn reads_request_body(&self) -> bool {
        true
    }
}

#[test]
fn requests_run_the_chain_in_order_and_responses_in_reverse() {
    let bench = Bench::chain(vec![Arc::new(Wrap("a")), Arc::new(Gate("b")), Arc::new(Wrap("c"))]);
    assert_eq!(bench.get("/", &[]).status, 200);
    assert_eq!(trace(), ["a in", "b gate", "c in", "c out 200", "a out 200"]);
}

#[test]
fn a_refusal_passes_back_through_the_policies_that_ran() {
    let bench = Bench::chain(vec![Arc::new(Wrap("a")), Arc::new(Refuse), Arc::new(Wrap("c"))]);
    let response = bench.get("/", &[]);
    assert_eq!(response.status, 403);
    assert_eq!(body_text(response), r#"{"error":"no"}"#);
    assert_eq!(trace(), ["a in", "a out 403"]);
    assert_eq!(bench.upstream_calls(), 0);
}

#[test]
fn a_refusal_is_recorded_as_the_violation_of_its_policy() {
    let bench = Bench::chain(vec![Arc::new(Wrap("a")), Arc::new(Gate("b")), Arc::new(Refuse)]);
    bench.get("/", &[]);
    let violation = bench.exchange.violation().expect("recorded");
    assert_eq!(violation.policy_name, "policy-2");
    assert_eq!(violation.kind, ViolationKind::Violation);
}

#[test]
fn policies_that_read_the_body_run_after_those_that_look_at_the_head() {
    let bench = Bench::chain(vec![
        Arc::new(ReadsBody("1")),
        Arc::new(Gate("2")),
        Arc::new(ReadsBody("3")),
        Arc::new(Gate("4")),
    ]);
    bench.get("/", &[]);
    assert_eq!(trace(), ["2 gate", "4 gate", "1 body", "3 body"]);
}

#[test]
fn a_policy_whose_rules_do_not_hold_is_skipped_in_both_directions() {
    let rules = [RuleSource { path: Some("/admin/.*"), ..RuleSource::default() }];
    let step = Step {
        policy: Arc::new(Wrap("admin")),
        rules: RuleSet::compile(&rules).expect("valid"),
        binding: ResourceName::new("default", "b"),
        name: "p".into(),
        observer: Arc::new(Unobserved),
    };
    let chain = Chain::new(vec![step], 0);
    let upstream = Bench::chain(Vec::new());
    for (target, base, expected) in
        [("/shop/admin/x", 5, 2), ("/shop/x", 5, 0), ("/admin/x", 0, 2), ("/shop/admin/x", 0, 0)]
    {
        let request = Request::for_test("GET", target, &[]);
        let exchange = Exchange::new(
            Rc::clone(&request.peer),
            crate::policy::RequestId::random(),
            std::time::Duration::ZERO,
            std::time::Duration::ZERO,
        );
        exchange.set_base_path_bytes(base);
        block_on_ready(chain.run(request, &exchange, &upstream));
        assert_eq!(trace().len(), expected, "{target} below {base} bytes");
    }
}
