//! The chain: policies in order, then the terminal step.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use super::{Exchange, Rejection, RuleSet, ViolationKind};
use crate::{
    base::ResourceName,
    http::{Request, Response},
    telemetry::metrics::CacheLookup,
};

/// One policy instance. It is shared by all workers; what it keeps between requests (windows,
/// counters) lives in it and survives a reload that does not change its configuration.
pub trait Policy: Send + Sync {
    fn handle<'a>(&'a self, request: Request, next: Next<'a>) -> Handling<'a>;

    /// Whether it reads the request body. Such policies run after all that look at the head only
    /// (decision 11), so nothing is buffered for a client that authentication would refuse.
    fn reads_request_body(&self) -> bool {
        false
    }
}

pub type Outcome = Result<Response, Rejection>;

/// A policy at work: an answer at once, or a future.
pub enum Handling<'a> {
    Ready(Option<Outcome>),
    Pending(Pin<Box<dyn Future<Output = Outcome> + 'a>>),
}

impl<'a> Handling<'a> {
    /// A policy that has to wait, or acts on the response.
    pub fn wait(future: impl Future<Output = Outcome> + 'a) -> Self {
        Self::Pending(Box::pin(future))
    }

    /// Refuses the request.
    pub fn refuse(rejection: Rejection) -> Self {
        Self::Ready(Some(Err(rejection)))
    }

    /// Answers the request in place of the upstream.
    pub fn answer(response: Response) -> Self {
        Self::Ready(Some(Ok(response)))
    }
}

impl Future for Handling<'_> {
    type Output = Outcome;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Outcome> {
        match &mut *self {
            Handling::Ready(outcome) => {
                Poll::Ready(outcome.take().expect("a future is not polled after its end"))
            }
            Handling::Pending(future) => future.as_mut().poll(cx),
        }
    }
}

/// What the chain ends in: for the inbound chain the choice of a route, for an outbound chain the
/// exchange with the upstream.
pub trait Terminal {
    fn finish<'a>(&'a self, request: Request, exchange: &'a Exchange) -> Handling<'a>;
}

/// A policy in a chain.
pub struct Step {
    pub policy: Arc<dyn Policy>,
    pub rules: RuleSet,
    /// The binding, as logs and violations name it.
    pub binding: ResourceName,
    /// `policyRef.name`.
    pub name: Arc<str>,
    pub observer: Arc<dyn PolicyObserver>,
}

/// Counts what becomes of a policy's work; a trait so that the kernel does not depend on how counting
/// is done.
pub trait PolicyObserver: Send + Sync {
    /// It answered in place of the API.
    fn refused(&self, status: u16);
    /// It could not do its work ([`ViolationKind::Error`]), whether it refused for that or went on.
    fn failed(&self);
    /// It looked for a stored response.
    fn looked_up(&self, lookup: CacheLookup);
}

/// Counts nothing.
pub struct Unobserved;

impl PolicyObserver for Unobserved {
    fn refused(&self, _: u16) {}
    fn failed(&self) {}
    fn looked_up(&self, _: CacheLookup) {}
}

/// Policies in execution order.
#[derive(Default)]
pub struct Chain {
    steps: Vec<Step>,
    body_bytes_max: usize,
}

impl Chain {
    /// The order given, except that policies that read the request body come after all others
    /// (decision 11). `body_bytes_max`: the largest body that a policy may hold in memory (configuration reference
    /// 7.4). It is the chain's, not the policy's: policies outlive a change of it.
    pub fn new(mut steps: Vec<Step>, body_bytes_max: usize) -> Self {
        steps.sort_by_key(|step| step.policy.reads_request_body());
        Self { steps, body_bytes_max }
    }

    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// Sends a request through the whole chain. Refusals come back as responses.
    pub async fn run<'a>(
        &'a self,
        request: Request,
        exchange: &'a Exchange,
        terminal: &'a dyn Terminal,
    ) -> Response {
        Next { chain: self, index: 0, exchange, terminal }.run(request).await
    }
}

/// The rest of the chain, from the point of view of one policy.
pub struct Next<'a> {
    chain: &'a Chain,
    index: usize,
    exchange: &'a Exchange,
    terminal: &'a dyn Terminal,
}

impl<'a> Next<'a> {
    /// What is known of this request beyond its head.
    pub fn exchange(&self) -> &'a Exchange {
        self.exchange
    }

    /// The largest body that a policy may hold in memory, bytes.
    pub fn body_bytes_max(&self) -> usize {
        self.chain.body_bytes_max
    }

    /// The same rest of the chain once more, for a policy whose first try may bring nothing that it can use.
    pub fn again(&self) -> Next<'a> {
        Next { chain: self.chain, index: self.index, exchange: self.exchange, terminal: self.terminal }
    }

    /// The rest of the chain, for a policy that is done with the request. Policies whose rules do
    /// not hold are skipped before any future is made (decision 14).
    pub fn pass(mut self, request: Request) -> Handling<'a> {
        while let Some(step) = self.chain.steps.get(self.index) {
            self.index += 1;
            if step.rules.concerns(self.exchange.relative_path(&request), &request) {
                self.exchange.enter_step(self.index);
                return step.policy.handle(request, self);
            }
        }
        self.exchange.enter_step(0);
        self.terminal.finish(request, self.exchange)
    }

    /// Runs the rest of the chain and gives its response. Infallible: a refusal by an inner policy
    /// is a response here, so that outer policies see it.
    pub async fn run(self, request: Request) -> Response {
        let (chain, exchange) = (self.chain, self.exchange);
        let caller = exchange.current_step();
        let mut response = match self.pass(request).await {
            Ok(response) => response,
            Err(rejection) => chain.refuse(exchange, rejection),
        };
        exchange.stamp(&mut response);
        exchange.enter_step(caller);
        response
    }
}

impl Chain {
    /// Records the refusal by the step that was last entered and makes its response.
    fn refuse(&self, exchange: &Exchange, rejection: Rejection) -> Response {
        let step = exchange.current_step().checked_sub(1).and_then(|index| self.steps.get(index));
        if let Some(step) = step {
            step.observer.refused(rejection.status());
            if rejection.kind() == ViolationKind::Error {
                step.observer.failed();
            }
            exchange.record_violation(&step.name, rejection.kind());
        }
        if let Some(detail) = rejection.detail() {
            let policy = step.map_or_else(String::new, |step| step.binding.to_string());
            tracing::debug!(request_id = exchange.request_id(), policy, "{detail}");
        }
        rejection.into_response()
    }
}

#[cfg(test)]
mod tests;
