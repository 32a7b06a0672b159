//! Runs one policy, or a chain, against a stub upstream, without sockets.

use std::{
    cell::RefCell,
    future::Future,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::{Duration, SystemTime},
};

use super::{
    Built, Chain, Exchange, Handling, Policy, PolicyDefinition, PolicyEntry, PolicyServices, RequestId,
    RuleSet, Step, Terminal, chain::Unobserved,
};
use crate::{
    base::ResourceName,
    document::{Limits, Node, SourceFile, parse},
    http::{Body, Collected, Request, Response},
};

/// A chain in front of an upstream that answers what the test says.
pub struct Bench {
    chain: Chain,
    answer: Box<dyn Fn(&Request) -> Response>,
    /// Requests as they reached the upstream, oldest first.
    pub seen: RefCell<Vec<Request>>,
    pub exchange: Exchange,
}

impl Bench {
    pub fn new(policy: Arc<dyn Policy>) -> Self {
        Self::chain(vec![policy])
    }

    pub fn chain(policies: Vec<Arc<dyn Policy>>) -> Self {
        Self::holding(1 << 20, policies)
    }

    /// With policies that may hold bodies of this size in memory; elsewhere it is 1 MiB.
    pub fn holding(body_bytes_max: usize, policies: Vec<Arc<dyn Policy>>) -> Self {
        let steps = policies
            .into_iter()
            .enumerate()
            .map(|(index, policy)| Step {
                policy,
                rules: RuleSet::default(),
                binding: ResourceName::new("default", format!("binding-{index}")),
                name: format!("policy-{index}").into(),
                observer: Arc::new(Unobserved),
            })
            .collect();
        let request = Request::for_test("GET", "/", &[]);
        let exchange = Exchange::new(
            Rc::clone(&request.peer),
            RequestId::parse(b"3e1f6a0c-test").expect("visible"),
            Duration::from_secs(15),
            Duration::from_secs(300),
        )
        .received_at(SystemTime::UNIX_EPOCH);
        Self {
            chain: Chain::new(steps, body_bytes_max),
            answer: Box::new(|_| Response::empty(200)),
            seen: RefCell::default(),
            exchange,
        }
    }

    /// What the upstream answers.
    #[must_use]
    pub fn answering(mut self, answer: impl Fn(&Request) -> Response + 'static) -> Self {
        self.answer = Box::new(answer);
        self
    }

    /// Sends a request. For policies that never wait.
    pub fn send(&self, request: Request) -> Response {
        block_on_ready(self.send_async(request))
    }

    pub async fn send_async(&self, request: Request) -> Response {
        self.chain.run(request, &self.exchange, self).await
    }

    pub fn get(&self, target: &str, headers: &[(&str, &str)]) -> Response {
        self.send(Request::for_test("GET", target, headers))
    }

    /// How many requests reached the upstream.
    pub fn upstream_calls(&self) -> usize {
        self.seen.borrow().len()
    }

    /// A field of the last request that reached the upstream.
    pub fn upstream_header(&self, name: &str) -> Option<String> {
        self.seen.borrow().last().and_then(|request| request.headers.joined(name).map(Into::into))
    }
}

impl Terminal for Bench {
    fn finish<'a>(&'a self, request: Request, _: &'a Exchange) -> Handling<'a> {
        let response = (self.answer)(&request);
        self.seen.borrow_mut().push(request);
        Handling::answer(response)
    }
}

/// The body of a response of the gateway as text.
pub fn body_text(response: Response) -> String {
    match block_on_ready(response.body.collect(1 << 20)) {
        Ok(Collected::Whole(bytes, _)) => String::from_utf8_lossy(&bytes).into_owned(),
        Ok(Collected::TooLarge(Body::Whole(_) | _)) | Err(_) => panic!("a test body is small and whole"),
    }
}

/// A field of a response as text.
pub fn header(response: &Response, name: &str) -> Option<String> {
    response.headers.joined(name).map(Into::into)
}

/// Drives a future that needs nothing from outside.
///
/// # Panics
/// If it has to wait.
pub fn block_on_ready<T>(future: impl Future<Output = T>) -> T {
    let mut future = std::pin::pin!(future);
    match future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("the future had to wait"),
    }
}

/// The value of a YAML text.
pub fn yaml(text: &str) -> Node {
    let parsed = parse(&SourceFile::new("test.yaml", text), Limits::default());
    assert!(parsed.error.is_none(), "{:?}", parsed.error);
    parsed.documents.into_iter().next().expect("one document").root
}

/// What a policy is built with in tests.
pub fn services() -> PolicyServices {
    let (binding, target) = (ResourceName::new("default", "binding"), ResourceName::new("default", "api"));
    PolicyServices::new(binding, target, "replica".into())
}

/// Builds a policy from the YAML text of its `config`. Problems as `E field: message` and
/// `W field: message`, in the order of the text.
pub fn build<D: PolicyDefinition>(config: &str) -> (Option<Built>, Vec<String>) {
    let made = PolicyEntry::of::<D>().build(&yaml(config), "config", &services());
    let problems = made.problems.into_iter().map(|problem| {
        let severity = if problem.is_error() { 'E' } else { 'W' };
        format!("{severity} {}: {}", problem.field, problem.message)
    });
    (made.built, problems.collect())
}

/// What is wrong with a `config`.
pub fn problems<D: PolicyDefinition>(config: &str) -> Vec<String> {
    build::<D>(config).1
}

/// The policy that a `config` without problems makes.
pub fn step<D: PolicyDefinition>(config: &str) -> Arc<dyn Policy> {
    match build::<D>(config) {
        (Some(Built::Step(policy)), problems) if problems.is_empty() => policy,
        (_, problems) => panic!("no step: {problems:?}"),
    }
}
