//! Removes header fields from requests and responses (policies reference 4.2).

mod config;
mod pattern;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use crate::{
    expression::{Scope, Template, Uses, Value},
    http::{Body, Headers, Request, headers::is_token},
    policy::{
        Built, Category, ConfigProblem, Direction, Handling, Next, Policy, PolicyDefinition, PolicyServices,
        Rejection, RequestScope, RequestView, ResponseScope, payload, scope::advise,
    },
};
pub use config::Config;
use pattern::NamePattern;

/// Never removed, whatever an entry says. Some of them are no fields in [`Headers`] anyway.
const KEPT: [&str; 7] =
    ["accept", "host", "content-type", "content-length", "date", "transfer-encoding", "connection"];

pub struct HeaderRemoval {
    request: Removals,
    response: Removals,
}

/// What goes in one direction.
#[derive(Default)]
struct Removals {
    patterns: Arc<Vec<NamePattern>>,
    expressions: Vec<Template>,
    uses: Uses,
}

impl PolicyDefinition for HeaderRemoval {
    const NAME: &'static str = "header-removal-flex";
    const CATEGORY: Category = Category::Transformation;
    const DIRECTION: Direction = Direction::Inbound;
    const SUMMARY: &'static str = "Removes header fields from requests and responses.";
    const README: &'static str = include_str!("README.md");
    const EXAMPLE: &'static str = include_str!("example.yaml");
    type Config = Config;

    fn build(config: Config, services: &PolicyServices) -> Result<Built, Vec<ConfigProblem>> {
        let mut problems = Vec::new();
        if config.inbound_headers.is_empty() && config.outbound_headers.is_empty() {
            problems.push(
                ConfigProblem::new("", "both lists are empty")
                    .help("give `inboundHeaders` for requests, `outboundHeaders` for responses, or both"),
            );
        }
        let request = Removals::new("inboundHeaders", config.inbound_headers.0, services, &mut problems);
        let response = Removals::new("outboundHeaders", config.outbound_headers.0, services, &mut problems);
        if !problems.is_empty() {
            return Err(problems);
        }
        Ok(Built::Step(Arc::new(Self { request, response })))
    }
}

impl Removals {
    fn new(
        field: &str,
        entries: Vec<Template>,
        services: &PolicyServices,
        problems: &mut Vec<ConfigProblem>,
    ) -> Self {
        let mut removals = Self::default();
        let mut patterns = Vec::new();
        for (index, entry) in entries.into_iter().enumerate() {
            let field = format!("{field}[{index}]");
            advise(services, &field, &entry);
            let Some(text) = entry.literal() else {
                removals.uses.payload |= entry.uses().payload;
                removals.uses.request_attributes |= entry.uses().request_attributes;
                removals.expressions.push(entry);
                continue;
            };
            if is_kept(text) {
                services.warn(ConfigProblem::new(&field, format!("`{text}` is never removed")));
            }
            match NamePattern::compile(text) {
                Ok(pattern) => patterns.push(pattern),
                Err(message) => {
                    problems.push(ConfigProblem::new(field, message).help("the dialect is RE2"));
                }
            }
        }
        removals.patterns = Arc::new(patterns);
        removals
    }

    fn is_empty(&self) -> bool {
        self.patterns.is_empty() && self.expressions.is_empty()
    }

    /// The names that the expressions give.
    fn names(&self, scope: &dyn Scope) -> Result<Vec<String>, Rejection> {
        let name = |template: &Template| match template.eval_string(scope) {
            Ok(Some(name)) if is_token(name.as_bytes()) => Ok(name.into_owned()),
            Ok(Some(_)) => Err(failure(template, "not the name of a header field")),
            Ok(None) => Err(failure(template, "null")),
            Err(error) => Err(failure(template, error)),
        };
        self.expressions.iter().map(name).collect()
    }

    /// From the head, and from the trailers when they come: who reads the message may not tell the two apart.
    fn apply(&self, headers: &mut Headers, body: &mut Body, names: Vec<String>) {
        let patterns = Arc::clone(&self.patterns);
        let remove = move |headers: &mut Headers| {
            headers.retain(|name, _| is_kept(name) || !is_named(name, &patterns, &names));
        };
        remove(headers);
        *body = std::mem::take(body).revising_trailers(remove);
    }
}

fn is_named(name: &str, patterns: &[NamePattern], names: &[String]) -> bool {
    patterns.iter().any(|pattern| pattern.matches(name))
        || names.iter().any(|given| given.eq_ignore_ascii_case(name))
}

fn is_kept(name: &str) -> bool {
    KEPT.iter().any(|kept| name.eq_ignore_ascii_case(kept))
}

fn failure(template: &Template, why: impl ToString) -> Rejection {
    Rejection::json(500, "header_not_evaluated", "Internal Server Error").log(format!(
        "the name of a header to remove: {}: {}",
        why.to_string(),
        template.source()
    ))
}

impl Policy for HeaderRemoval {
    fn handle<'a>(&'a self, mut request: Request, next: Next<'a>) -> Handling<'a> {
        if self.request.uses.payload || !self.response.is_empty() {
            return self.wrap(request, next);
        }
        match self.remove_from_request(&mut request, &next, &Value::Null) {
            Ok(()) => next.pass(request),
            Err(rejection) => Handling::refuse(rejection),
        }
    }

    fn reads_request_body(&self) -> bool {
        self.request.uses.payload
    }
}

impl HeaderRemoval {
    fn wrap<'a>(&'a self, mut request: Request, next: Next<'a>) -> Handling<'a> {
        Handling::wait(async move {
            let exchange = next.exchange();
            let limit = next.body_bytes_max();
            let payload = match self.request.uses.payload {
                false => Value::Null,
                true => {
                    payload::of_request(&mut request, limit).await?.ok_or_else(payload::too_large_request)?
                }
            };
            self.remove_from_request(&mut request, &next, &payload)?;
            let view = RequestView::capture(&request, self.response.uses);
            let mut response = next.run(request).await;
            let payload = match self.response.uses.payload {
                false => Value::Null,
                true => payload::of_response(&mut response, limit)
                    .await?
                    .ok_or_else(payload::too_large_response)?,
            };
            let scope = ResponseScope::new(&response, &view, exchange).with_payload(&payload);
            let names = self.response.names(&scope)?;
            self.response.apply(&mut response.headers, &mut response.body, names);
            Ok(response)
        })
    }

    fn remove_from_request(
        &self,
        request: &mut Request,
        next: &Next<'_>,
        payload: &Value<'static>,
    ) -> Result<(), Rejection> {
        if self.request.is_empty() {
            return Ok(());
        }
        let names = self.request.names(&RequestScope::new(request, next.exchange()).with_payload(payload))?;
        // It stands beside the other fields, since it is for the gateway first.
        request.upgrade.take_if(|_| is_named("upgrade", &self.request.patterns, &names));
        self.request.apply(&mut request.headers, &mut request.body, names);
        Ok(())
    }
}
