//! Log lines for requests and responses (policies reference 4.3). Nothing here refuses a request or
//! changes a response.

mod config;
mod masking;
#[cfg(test)]
mod tests;
mod variables;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{SystemTime, UNIX_EPOCH},
};

use crate::{
    base::ResourceName,
    expression::{EvalError, Scope, Template, Uses, Value},
    http::{Headers, Request, Response},
    policy::{
        Built, Category, ConfigProblem, Direction, Exchange, Handling, Next, Policy, PolicyDefinition,
        PolicyServices, Rejection, RequestScope, RequestView, ResponseScope,
        chain::PolicyObserver,
        payload,
        scope::{RequestHead, advise},
    },
    telemetry::{self, AccessLine, Level, log_enabled},
};
pub use config::Config;
use masking::Masker;
use variables::{LogVariables, Needs};

/// A failing item is reported this often, not for each request.
const WARNING_INTERVAL_S: u64 = 60;

/// Where lines go; a trait so that tests can read them.
pub trait Journal: Send + Sync + 'static {
    fn enabled(&self, level: Level) -> bool;
    /// A line of an item.
    fn access(&self, line: &AccessLine<'_>);
    /// What the policy says about itself.
    fn report(&self, line: &AccessLine<'_>);
}

/// The log of the process.
pub struct Installed;

impl Journal for Installed {
    fn enabled(&self, level: Level) -> bool {
        log_enabled(level)
    }

    fn access(&self, line: &AccessLine<'_>) {
        telemetry::log::access(line);
    }

    fn report(&self, line: &AccessLine<'_>) {
        telemetry::log::policy(line);
    }
}

pub struct MessageLogging<J = Installed> {
    items: Vec<Item>,
    /// The highest level of all items: when that is off, nothing can be logged.
    loudest: Level,
    masker: Masker,
    /// Read by items of the response half.
    response_uses: Uses,
    keeps_request_headers: bool,
    binding: ResourceName,
    api: ResourceName,
    replica: Arc<str>,
    observer: Arc<dyn PolicyObserver>,
    /// Seconds since 1970 of the last report.
    reported_s: AtomicU64,
    journal: J,
}

struct Item {
    name: String,
    message: Template,
    conditional: Option<Template>,
    category: Option<String>,
    level: Level,
    first_section: bool,
    second_section: bool,
}

/// The half in which an item speaks.
#[derive(Clone, Copy)]
enum Section {
    First,
    Second,
}

impl PolicyDefinition for MessageLogging {
    const NAME: &'static str = "message-logging-flex";
    const CATEGORY: Category = Category::Troubleshooting;
    const DIRECTION: Direction = Direction::Inbound;
    const SUMMARY: &'static str = "Writes log lines about requests and responses.";
    const README: &'static str = include_str!("README.md");
    const EXAMPLE: &'static str = include_str!("example.yaml");
    type Config = Config;

    fn build(config: Config, services: &PolicyServices) -> Result<Built, Vec<ConfigProblem>> {
        Ok(Built::Step(Arc::new(Self::new(config, services, Installed)?)))
    }
}

impl<J: Journal> MessageLogging<J> {
    fn new(config: Config, services: &PolicyServices, journal: J) -> Result<Self, Vec<ConfigProblem>> {
        let items: Vec<Item> = config.logging_configuration.into_iter().map(Item::from).collect();
        let masker = Masker::new(&config.data_masking)?;
        let masker = match config.enable_data_masking {
            true if masker.is_empty() => {
                services.warn(
                    ConfigProblem::new("enableDataMasking", "nothing is named that could be masked")
                        .help("list `dataMasking.entities` or `dataMasking.customPatterns`"),
                );
                masker
            }
            true => masker,
            false => Masker::default(),
        };
        let mut response_uses = Uses::default();
        let mut needs = Needs::default();
        for (index, item) in items.iter().enumerate() {
            for (name, template) in item.templates() {
                advise(services, &format!("loggingConfiguration[{index}].itemData.{name}"), template);
                if item.second_section {
                    needs.add(template);
                    response_uses.request_attributes |= template.uses().request_attributes;
                }
            }
            if !item.first_section && !item.second_section {
                let field = format!("loggingConfiguration[{index}].itemData");
                services.warn(ConfigProblem::new(field, "both sections are off: the item logs nothing"));
            }
        }
        response_uses.request_attributes |= needs.request;
        Ok(Self {
            loudest: items.iter().map(|item| item.level).max().unwrap_or(Level::Debug),
            items,
            masker,
            response_uses,
            keeps_request_headers: needs.request_headers,
            binding: services.binding.clone(),
            api: services.target.clone(),
            replica: Arc::clone(&services.replica_name),
            observer: Arc::clone(&services.observer),
            reported_s: AtomicU64::new(0),
            journal,
        })
    }
}

impl From<config::Item> for Item {
    fn from(item: config::Item) -> Self {
        let data = item.item_data;
        Self {
            name: item.item_name,
            message: data.message,
            // Left empty is not configured (policies reference 1.4).
            conditional: data.conditional.filter(|condition| !condition.source().is_empty()),
            category: data.category.filter(|category| !category.is_empty()),
            level: data.level.into(),
            first_section: data.first_section,
            second_section: data.second_section,
        }
    }
}

impl Item {
    fn templates(&self) -> impl Iterator<Item = (&'static str, &Template)> {
        let conditional = self.conditional.iter().map(|template| ("conditional", template));
        std::iter::once(("message", &self.message)).chain(conditional)
    }

    fn speaks_in(&self, section: Section) -> bool {
        match section {
            Section::First => self.first_section,
            Section::Second => self.second_section,
        }
    }

    fn reads_payload(&self) -> bool {
        self.templates().any(|(_, template)| template.uses().payload)
    }
}

impl<J: Journal> Policy for MessageLogging<J> {
    fn handle<'a>(&'a self, request: Request, next: Next<'a>) -> Handling<'a> {
        if !self.journal.enabled(self.loudest) {
            return next.pass(request);
        }
        if self.active(Section::Second).next().is_some() || self.wants_payload(Section::First) {
            return self.wrap(request, next);
        }
        self.log_request(&request, next.exchange(), &Value::Null);
        next.pass(request)
    }

    fn reads_request_body(&self) -> bool {
        self.items.iter().any(|item| item.first_section && item.reads_payload())
    }
}

impl<J: Journal> MessageLogging<J> {
    /// The items of a half whose level is on just now.
    fn active(&self, section: Section) -> impl Iterator<Item = &Item> {
        self.items.iter().filter(move |item| item.speaks_in(section) && self.journal.enabled(item.level))
    }

    fn wants_payload(&self, section: Section) -> bool {
        self.active(section).any(Item::reads_payload)
    }

    fn wrap<'a>(&'a self, mut request: Request, next: Next<'a>) -> Handling<'a> {
        Handling::wait(async move {
            let (exchange, limit) = (next.exchange(), next.body_bytes_max());
            let payload = self.request_payload(&mut request, limit).await?;
            self.log_request(&request, exchange, &payload);
            if self.active(Section::Second).next().is_none() {
                return next.pass(request).await;
            }
            let view = match self.keeps_request_headers {
                true => RequestView::capture_with_headers(&request),
                false => RequestView::capture(&request, self.response_uses),
            };
            let mut response = next.run(request).await;
            let payload = self.response_payload(&mut response, limit).await?;
            self.log_response(&response, &view, exchange, &payload);
            Ok(response)
        })
    }

    /// The body, if an item wants it; over the limit null, and the exchange goes on.
    async fn request_payload(
        &self,
        request: &mut Request,
        limit: usize,
    ) -> Result<Value<'static>, Rejection> {
        if !self.wants_payload(Section::First) || is_stream(&request.headers) {
            return Ok(Value::Null);
        }
        let payload = payload::of_request(request, limit).await?;
        Ok(payload.unwrap_or(Value::Null))
    }

    async fn response_payload(
        &self,
        response: &mut Response,
        limit: usize,
    ) -> Result<Value<'static>, Rejection> {
        if !self.wants_payload(Section::Second) || is_stream(&response.headers) {
            return Ok(Value::Null);
        }
        let payload = payload::of_response(response, limit).await?;
        Ok(payload.unwrap_or(Value::Null))
    }

    fn log_request(&self, request: &Request, exchange: &Exchange, payload: &Value<'static>) {
        let mut active = self.active(Section::First).peekable();
        if active.peek().is_none() {
            return;
        }
        let variables = self.variables(exchange, Some(RequestHead::of(request)), None);
        let scope = RequestScope::new(request, exchange).with_payload(payload).with_variables(&variables);
        active.for_each(|item| self.log(item, &scope, exchange));
    }

    fn log_response(
        &self,
        response: &Response,
        view: &RequestView,
        exchange: &Exchange,
        payload: &Value<'static>,
    ) {
        let variables = self.variables(exchange, view.head(), Some(SystemTime::now()));
        let scope =
            ResponseScope::new(response, view, exchange).with_payload(payload).with_variables(&variables);
        self.active(Section::Second).for_each(|item| self.log(item, &scope, exchange));
    }

    fn variables<'v>(
        &'v self,
        exchange: &'v Exchange,
        request: Option<RequestHead<'v>>,
        replied: Option<SystemTime>,
    ) -> LogVariables<'v> {
        LogVariables { api: &self.api.name, replica: &self.replica, exchange, request, replied }
    }

    fn log(&self, item: &Item, scope: &dyn Scope, exchange: &Exchange) {
        match item.conditional.as_ref().map(|conditional| conditional.eval_condition(scope)) {
            None | Some(Ok(Some(true))) => {}
            Some(Ok(_)) => return,
            Some(Err(error)) => return self.report(item, "condition", &error, exchange),
        }
        match item.message.eval_text(scope) {
            Ok(text) => {
                let text = self.masker.mask(text.unwrap_or_default());
                let line = self.line(item.level, item.category.as_deref(), &text, exchange);
                self.journal.access(&line);
            }
            Err(error) => self.report(item, "message", &error, exchange),
        }
    }

    /// Counted each time, and one warning in a while. The error names types, never values.
    fn report(&self, item: &Item, what: &str, error: &EvalError, exchange: &Exchange) {
        self.observer.failed();
        let now = exchange.received().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let last = self.reported_s.load(Relaxed);
        // Zero is never; a clock that went back reports again.
        let is_due = last == 0 || now.abs_diff(last) >= WARNING_INTERVAL_S;
        if is_due && self.reported_s.compare_exchange(last, now.max(1), Relaxed, Relaxed).is_ok() {
            let text =
                format!("the {what} of the item `{}` failed, nothing is logged for it: {error}", item.name);
            self.journal.report(&self.line(Level::Warn, None, &text, exchange));
        }
    }

    fn line<'l>(
        &'l self,
        level: Level,
        category: Option<&'l str>,
        message: &'l str,
        exchange: &'l Exchange,
    ) -> AccessLine<'l> {
        AccessLine {
            binding: &self.binding,
            api: &self.api,
            request_id: exchange.request_id(),
            level,
            category,
            message,
        }
    }
}

/// Streams that are not held back for a log line: event streams have no end to wait for, gRPC ends in
/// trailers.
fn is_stream(headers: &Headers) -> bool {
    let content_type = headers.get("content-type").unwrap_or_default();
    [&b"text/event-stream"[..], b"application/grpc"].iter().any(|stream| {
        content_type.get(..stream.len()).is_some_and(|start| start.eq_ignore_ascii_case(stream))
    })
}
