//! Adds header fields to requests and responses (policies reference 4.1).

mod config;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use crate::{
    expression::{Scope, Template, Uses, Value},
    http::{
        Headers, Request,
        headers::{is_field_value, is_token},
    },
    policy::{
        Built, Category, ConfigProblem, Direction, Handling, Next, Policy, PolicyDefinition, PolicyServices,
        Rejection, RequestScope, RequestView, ResponseScope, payload, scope::advise,
    },
};
pub use config::{Config, Header};

/// Fields that have one value: a new one replaces the old. Others are kept and a field is appended.
const REPLACED: [&str; 2] = ["access-control-allow-origin", "content-type"];

/// Framing and fields of one connection are no header fields here (`http` module): what a
/// configuration says about them is ignored, with a warning.
const IGNORED: [&str; 11] = [
    "connection",
    "content-length",
    "expect",
    "host",
    "http2-settings",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

pub struct HeaderInjection {
    request: Additions,
    response: Additions,
}

/// The fields for one direction.
struct Additions {
    headers: Vec<Header>,
    uses: Uses,
}

impl PolicyDefinition for HeaderInjection {
    const NAME: &'static str = "header-injection-flex";
    const CATEGORY: Category = Category::Transformation;
    const DIRECTION: Direction = Direction::Inbound;
    const SUMMARY: &'static str = "Adds header fields to requests and responses.";
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
        let request = Additions::new("inboundHeaders", config.inbound_headers, services, &mut problems);
        let response = Additions::new("outboundHeaders", config.outbound_headers, services, &mut problems);
        if !problems.is_empty() {
            return Err(problems);
        }
        Ok(Built::Step(Arc::new(Self { request, response })))
    }
}

impl Additions {
    fn new(
        field: &str,
        headers: Vec<Header>,
        services: &PolicyServices,
        problems: &mut Vec<ConfigProblem>,
    ) -> Self {
        let mut uses = Uses::default();
        let mut kept = Vec::with_capacity(headers.len());
        for (index, header) in headers.into_iter().enumerate() {
            let (key, value) = (format!("{field}[{index}].key"), format!("{field}[{index}].value"));
            advise(services, &key, &header.key);
            advise(services, &value, &header.value);
            if header.key.literal().is_some_and(|name| !is_token(name.as_bytes())) {
                problems.push(ConfigProblem::new(
                    key,
                    "is not the name of a header field (RFC 9110 section 5.1)",
                ));
            } else if header.key.literal().is_some_and(is_ignored) {
                let problem =
                    ConfigProblem::new(key, "the gateway sets this field itself: it is not injected");
                services.warn(problem);
                continue;
            }
            if header.value.literal().is_some_and(|text| !is_field_value(text.as_bytes())) {
                problems.push(ConfigProblem::new(value, "control characters cannot stand in a header field"));
            }
            for template in [&header.key, &header.value] {
                let more = template.uses();
                uses.payload |= more.payload;
                uses.request_attributes |= more.request_attributes;
            }
            kept.push(header);
        }
        Self { headers: kept, uses }
    }
}

fn is_ignored(name: &str) -> bool {
    IGNORED.iter().any(|ignored| name.eq_ignore_ascii_case(ignored))
}

impl Policy for HeaderInjection {
    fn handle<'a>(&'a self, mut request: Request, next: Next<'a>) -> Handling<'a> {
        if self.request.uses.payload || !self.response.headers.is_empty() {
            return self.wrap(request, next);
        }
        match self.request.inject_into_request(&mut request, &next, None) {
            Ok(()) => next.pass(request),
            Err(rejection) => Handling::refuse(rejection),
        }
    }

    fn reads_request_body(&self) -> bool {
        self.request.uses.payload
    }
}

impl HeaderInjection {
    fn wrap<'a>(&'a self, mut request: Request, next: Next<'a>) -> Handling<'a> {
        Handling::wait(async move {
            let exchange = next.exchange();
            let limit = next.body_bytes_max();
            let payload = match self.request.uses.payload {
                false => None,
                true => Some(
                    payload::of_request(&mut request, limit).await?.ok_or_else(payload::too_large_request)?,
                ),
            };
            self.request.inject_into_request(&mut request, &next, payload.as_ref())?;
            let view = RequestView::capture(&request, self.response.uses);
            let mut response = next.run(request).await;
            let payload = match self.response.uses.payload {
                false => Value::Null,
                true => payload::of_response(&mut response, limit)
                    .await?
                    .ok_or_else(payload::too_large_response)?,
            };
            for header in &self.response.headers {
                let field = match header.literal() {
                    Some(field) => inject(&mut response.headers, field.0, field.1),
                    None => {
                        let scope = ResponseScope::new(&response, &view, exchange).with_payload(&payload);
                        let (name, value) = header.evaluate(&scope)?;
                        inject(&mut response.headers, &name, &value)
                    }
                };
                field?;
            }
            Ok(response)
        })
    }
}

impl Additions {
    fn inject_into_request(
        &self,
        request: &mut Request,
        next: &Next<'_>,
        payload: Option<&Value<'static>>,
    ) -> Result<(), Rejection> {
        for header in &self.headers {
            if let Some((name, value)) = header.literal() {
                inject(&mut request.headers, name, value)?;
                continue;
            }
            let scope = RequestScope::new(request, next.exchange());
            let (name, value) = match payload {
                Some(payload) => header.evaluate(&scope.with_payload(payload))?,
                None => header.evaluate(&scope)?,
            };
            inject(&mut request.headers, &name, &value)?;
        }
        Ok(())
    }
}

impl Header {
    fn literal(&self) -> Option<(&str, &str)> {
        self.key.literal().zip(self.value.literal())
    }

    fn evaluate(&self, scope: &dyn Scope) -> Result<(String, String), Rejection> {
        let text = |template: &Template, what: &str| match template.eval_string(scope) {
            Ok(Some(text)) => Ok(text.into_owned()),
            Ok(None) => Err(failure(format!("the {what} of a header is null: {}", template.source()))),
            Err(error) => Err(failure(format!("the {what} of a header: {error}: {}", template.source()))),
        };
        Ok((text(&self.key, "name")?, text(&self.value, "value")?))
    }
}

/// Adds one field; what cannot be written is a failure, so nothing can split a head.
fn inject(headers: &mut Headers, name: &str, value: &str) -> Result<(), Rejection> {
    if is_ignored(name) {
        return Ok(());
    }
    let written = if REPLACED.iter().any(|replaced| name.eq_ignore_ascii_case(replaced)) {
        headers.set(name, value)
    } else {
        headers.append(name, value)
    };
    written.map_err(|error| failure(error.to_string()))
}

fn failure(detail: String) -> Rejection {
    Rejection::json(500, "header_not_evaluated", "Internal Server Error").log(detail)
}
