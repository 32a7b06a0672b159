//! Log lines: runtime logs by `tracing`, access logs by [`Log::access`], both on standard output and
//! on the outputs that a [`LogPlan`] names (configuration reference 9).
//!
//! A line is formatted by the thread that logs, copied into a bounded queue and carried away by the
//! output's own thread, so no output can hold up a worker. What does not fit is dropped and counted.

mod layer;
mod output;
mod parameters;
mod plan;
mod queue;
mod record;
mod routes;
mod sinks;
mod template;

#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    fmt, io,
    net::IpAddr,
    os::fd::AsFd as _,
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicU8, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use jiff::Timestamp;
use tracing_subscriber::layer::SubscriberExt as _;

use self::{
    output::{Output, Report, Sink},
    queue::{Queue, Totals},
    routes::Routes,
    sinks::StdoutSink,
};
use super::metrics::{Exposition, Kind as MetricKind};
use crate::{
    base::{Diagnostics, ResourceName, lock},
    outbound::OutboundClient,
    settings::{self, LogFormat},
};

pub use crate::settings::LogLevel as Level;
pub use plan::{LogPlan, OutputKind, OutputPlan};
pub use queue::QueueLimits;
pub use record::{Form, Kind, RECORD_BYTES_MAX, Record};

#[cfg(test)]
pub(crate) use sinks::Captured;

/// Name of the output that is always there.
pub const STDOUT: &str = "stdout";

/// Of the path in the line of a request.
const PATH_BYTES_MAX: usize = 8 * 1024;

/// Lines that wait for one output; with [`settings::Log::buffer`] whichever is reached first.
const LINES_MAX: usize = 100_000;
const NOTHING: u8 = u8::MAX;

/// Level of the installed log, so that a line at a level that is off costs one load.
static LEVEL: AtomicU8 = AtomicU8::new(NOTHING);
static INSTALLED: OnceLock<Log> = OnceLock::new();

/// A line of Message Logging.
#[derive(Clone, Copy, Debug)]
pub struct AccessLine<'a> {
    /// The policy's binding.
    pub binding: &'a ResourceName,
    pub api: &'a ResourceName,
    pub request_id: &'a str,
    pub level: Level,
    /// Put before the message in brackets.
    pub category: Option<&'a str>,
    pub message: &'a str,
}

/// A line of the built-in access log (decision 8), which the setting `access_log` switches on.
#[derive(Clone, Copy, Debug)]
pub struct RequestLine<'a> {
    /// `None` when no API was chosen.
    pub api: Option<&'a ResourceName>,
    pub request_id: &'a str,
    pub peer: IpAddr,
    /// Of what was refused before it was read: `None`, as the path.
    pub method: Option<&'a str>,
    /// The path as policies and routes matched it (decision 1), before it was rewritten. The query is
    /// left out: tokens travel there.
    pub target: Option<&'a str>,
    /// 0 when no response was sent.
    pub status: u16,
    pub elapsed: Duration,
    pub request_bytes: u64,
    pub response_bytes: u64,
}

/// Stands for a method or a path that nobody knows.
const UNKNOWN: &str = "-";

/// Whether the installed log takes lines of this level. Ask before making a message.
pub fn log_enabled(level: Level) -> bool {
    // No level is as high as NOTHING.
    level as u8 >= LEVEL.load(Relaxed)
}

/// Writes to the installed log; see [`Log::access`].
pub fn access(line: &AccessLine<'_>) {
    if let Some(log) = INSTALLED.get() {
        log.access(line);
    }
}

/// Writes to the installed log; see [`Log::policy`].
pub fn policy(line: &AccessLine<'_>) {
    if let Some(log) = INSTALLED.get() {
        log.policy(line);
    }
}

/// Writes to the installed log; see [`Log::request`].
pub fn request(line: &RequestLine<'_>) {
    if let Some(log) = INSTALLED.get() {
        log.request(line);
    }
}

/// The log of the process. Cheap to clone.
#[derive(Clone)]
pub struct Log(Arc<Inner>);

struct Inner {
    level: AtomicU8,
    /// Of the settings, for plans that name none.
    base_level: Level,
    limits: QueueLimits,
    /// Both kinds always go there too (configuration reference 9.1).
    stdout: Output,
    routes: ArcSwap<Routes>,
    applied: Mutex<Applied>,
}

#[derive(Default)]
struct Applied {
    level: Option<Level>,
    /// Of all outputs whose threads run, those of plans gone by included.
    queues: Vec<Arc<Queue>>,
    /// By name, of every output there was: what one gives up after it was removed is not forgotten.
    totals: BTreeMap<String, Arc<Totals>>,
    client: Option<OutboundClient>,
}

impl Log {
    /// Starts with standard output only.
    ///
    /// # Errors
    /// When the system grants no thread, or no descriptor.
    pub fn start(settings: &settings::Log) -> io::Result<Self> {
        let stdout = io::stdout().as_fd().try_clone_to_owned()?;
        Self::with_stdout(settings, Box::new(StdoutSink::new(stdout.into())))
    }

    /// A log whose standard output is kept for the test to read.
    #[cfg(test)]
    pub(crate) fn captured(settings: &settings::Log) -> (Self, Captured) {
        let captured = Captured::default();
        (Self::with_stdout(settings, Box::new(captured.clone())).expect("a thread"), captured)
    }

    fn with_stdout(settings: &settings::Log, sink: Box<dyn Sink>) -> io::Result<Self> {
        let form = match settings.format {
            LogFormat::Text => Form::Text,
            LogFormat::Json => Form::json(),
        };
        let limits = QueueLimits { bytes: settings.buffer, lines: LINES_MAX };
        let silent: Report = Arc::new(|_| {});
        let mut applied = Applied::default();
        let totals = applied.totals.entry(STDOUT.to_owned()).or_default().clone();
        Ok(Self(Arc::new(Inner {
            level: AtomicU8::new(settings.level as u8),
            base_level: settings.level,
            limits,
            stdout: Output::start(STDOUT, form, limits, totals, sink, silent)?,
            routes: ArcSwap::default(),
            applied: Mutex::new(applied),
        })))
    }

    /// Makes this the log of the process: of `tracing` events, [`access`] and [`log_enabled`].
    ///
    /// # Errors
    /// When the process has one already.
    pub fn install(&self) -> Result<(), AlreadyInstalled> {
        INSTALLED.set(self.clone()).map_err(|_| AlreadyInstalled)?;
        LEVEL.store(self.level() as u8, Relaxed);
        let subscriber = tracing_subscriber::registry().with(layer::LogLayer(self.clone()));
        tracing::subscriber::set_global_default(subscriber).map_err(|_| AlreadyInstalled)
    }

    /// A subscriber for the events of one thread.
    #[cfg(test)]
    pub(crate) fn subscriber(&self) -> impl tracing::Subscriber + Send + std::marker::Sync {
        tracing_subscriber::registry().with(layer::LogLayer(self.clone()))
    }

    pub fn level(&self) -> Level {
        Level::ALL[usize::from(self.0.level.load(Relaxed)).min(Level::ALL.len() - 1)]
    }

    /// From now on, without a restart (configuration reference 9.2).
    pub fn set_level(&self, level: Level) {
        self.0.level.store(level as u8, Relaxed);
        if INSTALLED.get().is_some_and(|log| Arc::ptr_eq(&log.0, &self.0)) {
            LEVEL.store(level as u8, Relaxed);
        }
        tracing::callsite::rebuild_interest_cache();
    }

    /// Whether lines of this level are written.
    pub fn enabled(&self, level: Level) -> bool {
        level as u8 >= self.0.level.load(Relaxed)
    }

    /// Writes a line of kind `accessLog` if its level is on.
    pub fn access(&self, line: &AccessLine<'_>) {
        self.policy_line(line, Kind::Access);
    }

    /// Writes what a policy says about itself, of kind `runtimeLog`, if its level is on.
    pub fn policy(&self, line: &AccessLine<'_>) {
        self.policy_line(line, Kind::Runtime);
    }

    /// Writes one line for a request, of kind `accessLog` and level `info`, if that level is on.
    pub fn request(&self, line: &RequestLine<'_>) {
        if !self.enabled(Level::Info) {
            return;
        }
        let path = line.target.map_or(UNKNOWN, |target| target.split(['?', '#']).next().unwrap_or_default());
        // Cut here, so that no path costs the line what follows it.
        let shown = &path[..path.floor_char_boundary(PATH_BYTES_MAX)];
        let cut = if shown.len() < path.len() { record::MARK } else { "" };
        let message = format!(
            "{} {} {shown}{cut} {} {:.3}ms in={} out={}",
            line.peer,
            line.method.unwrap_or(UNKNOWN),
            line.status,
            line.elapsed.as_secs_f64() * 1e3,
            line.request_bytes,
            line.response_bytes
        );
        let api = line.api.map(|api| format!("{}.{}.svc", api.name, api.namespace));
        self.write(&Record {
            time: Timestamp::now(),
            logger: "flex-gateway-envoy",
            level: Level::Info,
            kind: Kind::Access,
            message: &message,
            request_id: Some(line.request_id),
            policy: None,
            api: api.as_deref(),
        });
    }

    fn policy_line(&self, line: &AccessLine<'_>, kind: Kind) {
        if !self.enabled(line.level) {
            return;
        }
        let with_category = line.category.map(|category| format!("[{category}] {}", line.message));
        self.write(&Record {
            time: Timestamp::now(),
            logger: "flex-gateway-envoy",
            level: line.level,
            kind,
            message: with_category.as_deref().unwrap_or(line.message),
            request_id: Some(line.request_id),
            policy: Some(&format!("{}.{}", line.binding.name, line.binding.namespace)),
            api: Some(&format!("{}.{}.svc", line.api.name, line.api.namespace)),
        });
    }

    /// Sends a record to standard output and to the outputs of its kind.
    fn write(&self, record: &Record<'_>) {
        self.0.stdout.write(record);
        let routes = self.0.routes.load();
        let outputs = match record.kind {
            Kind::Runtime => &routes.runtime,
            Kind::Access => &routes.access,
        };
        outputs.iter().for_each(|output| output.write(record));
    }

    /// Goes over to a plan. Outputs that it shares with the one before go on undisturbed; those gone
    /// deliver what they hold. The level follows when the plan names another than the plan before,
    /// so that a level set by hand survives changes elsewhere. Returns which outputs could not be
    /// started, besides those that [`LogPlan::check`] tells of.
    pub fn apply(&self, plan: &LogPlan) -> Diagnostics {
        let (specs, _) = plan.compile();
        let mut found = Diagnostics::default();
        let mut applied = lock(&self.0.applied);
        let routes = Routes::build(self, plan, specs, &mut applied, &mut found);
        self.0.routes.store(Arc::new(routes));
        applied.queues.retain(|queue| !queue.is_finished());
        if applied.level != plan.level {
            applied.level = plan.level;
            self.set_level(plan.level.unwrap_or(self.0.base_level));
        }
        found
    }

    /// Opens files anew, after a tool has moved them away (SIGUSR1, decision 22).
    pub fn reopen(&self) {
        let routes = self.0.routes.load();
        routes.files().for_each(|output| output.queue().reopen());
    }

    /// Waits until all lines so far are delivered. False when the time was too short; their outputs
    /// go on trying.
    pub fn flush(&self, time: Duration) -> bool {
        let until = Instant::now() + time;
        let mut queues = lock(&self.0.applied).queues.clone();
        // Last, because failing outputs report there.
        queues.push(self.0.stdout.queue().clone());
        // All get their chance, also after one that failed.
        queues.iter().filter(|queue| !queue.flush(until)).count() == 0
    }

    /// A way for outputs to tell of their failures: on standard output only.
    fn report(&self) -> Report {
        let log = Arc::downgrade(&self.0);
        Arc::new(move |message| {
            if let Some(log) = log.upgrade()
                && Level::Warn as u8 >= log.level.load(Relaxed)
            {
                log.stdout.write(&Record {
                    time: Timestamp::now(),
                    logger: "flex-gateway-fluent",
                    level: Level::Warn,
                    kind: Kind::Runtime,
                    message,
                    request_id: None,
                    policy: None,
                    api: None,
                });
            }
        })
    }

    /// Lines written and dropped by output, for the metrics page. Those of outputs that are gone stay.
    pub fn expose(&self, page: &mut Exposition) {
        let totals = lock(&self.0.applied).totals.clone();
        let mut family = |name: &str, help: &str, pick: fn(&Totals) -> &AtomicU64| {
            page.family(name, MetricKind::Counter, help);
            for (output, totals) in &totals {
                page.sample("", &[("output", output)], pick(totals).load(Relaxed));
            }
        };
        family("portcullis_log_lines_total", "Log lines delivered, by output.", |totals| &totals.written);
        family("portcullis_log_dropped_lines_total", "Log lines lost, by output.", |totals| &totals.dropped);
        page.family("portcullis_log_buffer_bytes", MetricKind::Gauge, "Log lines held for an output.");
        let routes = self.0.routes.load();
        for output in std::iter::once(&self.0.stdout).chain(routes.all()) {
            page.sample("", &[("output", &output.name)], output.queue().held_bytes() as u64);
        }
    }
}

/// The process has a log already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AlreadyInstalled;

impl fmt::Display for AlreadyInstalled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the process has a log already")
    }
}

impl std::error::Error for AlreadyInstalled {}
