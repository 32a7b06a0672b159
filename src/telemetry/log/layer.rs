//! From `tracing` events to records of kind `runtimeLog`.

use std::fmt::{self, Write as _};

use jiff::Timestamp;
use tracing::{
    Event, Metadata, Subscriber,
    field::{Field, Visit},
    level_filters::LevelFilter,
    subscriber::Interest,
};
use tracing_subscriber::layer::{Context, Layer};

use super::{Kind, Level, Log, Record};

const AGENT: &str = "flex-gateway-agent";
const PROXY: &str = "flex-gateway-envoy";

/// Writes events to a [`Log`]. The control path logs as `flex-gateway-agent`, the data plane as
/// `flex-gateway-envoy`; a target that begins with `flex-gateway-` names its logger itself
/// (configuration reference 1). The fields `request_id`, `policy` and `api` have their own places,
/// others follow the message as `name=value`.
pub(super) struct LogLayer(pub Log);

impl<S: Subscriber> Layer<S> for LogLayer {
    fn register_callsite(&self, _: &'static Metadata<'static>) -> Interest {
        // The level changes at run time.
        Interest::sometimes()
    }

    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        // Of libraries, only what an operator must know: they would drown our own lines at `debug`.
        let ours = logger(metadata.target()).is_some() || *metadata.level() <= tracing::Level::WARN;
        ours && metadata.is_event() && self.0.enabled(level(metadata))
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(match self.0.level() {
            Level::Debug => LevelFilter::DEBUG,
            Level::Info => LevelFilter::INFO,
            Level::Warn => LevelFilter::WARN,
            Level::Error => LevelFilter::ERROR,
            Level::Fatal => LevelFilter::OFF,
        })
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        fields.message.push_str(&fields.rest);
        self.0.write(&Record {
            time: Timestamp::now(),
            logger: logger(event.metadata().target()).unwrap_or(AGENT),
            level: level(event.metadata()),
            kind: Kind::Runtime,
            message: &fields.message,
            request_id: fields.request_id.as_deref(),
            policy: fields.policy.as_deref(),
            api: fields.api.as_deref(),
        });
    }
}

/// `None` for the targets of libraries.
fn logger(target: &str) -> Option<&str> {
    let inside = |module: &str| {
        target.strip_prefix(module).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
    };
    if target.starts_with("flex-gateway-") {
        Some(target)
    } else if inside("portcullis::data_plane") || inside("portcullis::policies") {
        Some(PROXY)
    } else {
        inside("portcullis").then_some(AGENT)
    }
}

fn level(metadata: &Metadata<'_>) -> Level {
    match *metadata.level() {
        tracing::Level::ERROR => Level::Error,
        tracing::Level::WARN => Level::Warn,
        tracing::Level::INFO => Level::Info,
        tracing::Level::DEBUG | tracing::Level::TRACE => Level::Debug,
    }
}

#[derive(Default)]
struct Fields {
    message: String,
    rest: String,
    request_id: Option<String>,
    policy: Option<String>,
    api: Option<String>,
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "message" => self.message.push_str(value),
            "request_id" => self.request_id = Some(value.to_owned()),
            "policy" => self.policy = Some(value.to_owned()),
            "api" => self.api = Some(value.to_owned()),
            name => {
                let _ = write!(self.rest, " {name}={value}");
            }
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.record_str(field, &format!("{value:?}"));
    }
}
