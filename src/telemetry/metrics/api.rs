//! Counters of one API instance.

use std::time::Duration;

use super::{
    cells::{Counter, Distribution, Histogram, PerWorker},
    exposition::{Exposition, Kind},
};
use crate::base::ResourceName;

/// A method as a label: the eight that matter, so that a client cannot make series.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    Get,
    Head,
    Post,
    Put,
    Delete,
    Patch,
    Options,
    Other,
}

const METHODS: [&str; 8] = ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "other"];

impl From<&[u8]> for Method {
    fn from(token: &[u8]) -> Self {
        match token {
            b"GET" => Self::Get,
            b"HEAD" => Self::Head,
            b"POST" => Self::Post,
            b"PUT" => Self::Put,
            b"DELETE" => Self::Delete,
            b"PATCH" => Self::Patch,
            b"OPTIONS" => Self::Options,
            _ => Self::Other,
        }
    }
}

/// `none`: the exchange ended before a response, as when the client went away.
const CLASSES: [&str; 6] = ["none", "1xx", "2xx", "3xx", "4xx", "5xx"];

/// One finished request.
#[derive(Clone, Copy, Debug)]
pub struct RequestRecord {
    pub method: Method,
    /// 0 when no response was sent.
    pub status: u16,
    /// From the complete head of the request to the last of the response.
    pub elapsed: Duration,
    /// Body bytes as they crossed the client's connection.
    pub request_bytes: u64,
    pub response_bytes: u64,
}

#[derive(Default)]
struct Slot {
    started: Counter,
    finished: Counter,
    by_method_and_class: [[Counter; CLASSES.len()]; METHODS.len()],
    request_bytes: Counter,
    response_bytes: Counter,
    elapsed: Histogram,
}

/// Counters of one API instance; see the module for who may write them.
pub struct ApiMetrics {
    pub(super) name: ResourceName,
    slots: PerWorker<Slot>,
}

impl ApiMetrics {
    pub(super) fn new(name: ResourceName, workers: usize) -> Self {
        Self { name, slots: PerWorker::new(workers) }
    }

    /// A request was routed to this API. Each call is paired with one of [`Self::finished`].
    pub fn started(&self) {
        let (slot, writer) = self.slots.mine();
        slot.started.add(writer, 1);
    }

    /// The exchange is over, however it ended.
    pub fn finished(&self, record: &RequestRecord) {
        let (slot, writer) = self.slots.mine();
        let class = usize::from(record.status / 100);
        let class = if class < CLASSES.len() { class } else { 0 };
        slot.finished.add(writer, 1);
        slot.by_method_and_class[record.method as usize][class].add(writer, 1);
        slot.request_bytes.add(writer, record.request_bytes);
        slot.response_bytes.add(writer, record.response_bytes);
        slot.elapsed.observe(writer, record.elapsed);
    }

    /// Requests in progress.
    pub fn active(&self) -> u64 {
        let (started, finished) =
            (self.slots.sum(|slot| &slot.started), self.slots.sum(|slot| &slot.finished));
        // Read one after the other, so one may be a moment ahead.
        started.saturating_sub(finished)
    }

    /// Requests that ended.
    pub fn total(&self) -> u64 {
        self.slots.sum(|slot| &slot.finished)
    }
}

/// Writes the families of all APIs.
pub(super) fn expose(apis: &[std::sync::Arc<ApiMetrics>], page: &mut Exposition) {
    let labels =
        |api: &ApiMetrics| [("namespace", api.name.namespace.clone()), ("api", api.name.name.clone())];
    page.family(
        "portcullis_api_requests_total",
        Kind::Counter,
        "Requests that ended, by method and class of status.",
    );
    for api in apis {
        let [namespace, name] = labels(api);
        for (m, method) in METHODS.iter().enumerate() {
            for (c, class) in CLASSES.iter().enumerate() {
                // Most pairs never happen; a thousand APIs would make 48,000 lines of zeros.
                let count = api.slots.sum(|slot| &slot.by_method_and_class[m][c]);
                if count > 0 {
                    let labels = [
                        (namespace.0, &*namespace.1),
                        (name.0, &*name.1),
                        ("method", method),
                        ("status", class),
                    ];
                    page.sample("", &labels, count);
                }
            }
        }
    }
    let mut family = |name: &str, kind: Kind, help: &str, value: &dyn Fn(&ApiMetrics) -> u64| {
        page.family(name, kind, help);
        for api in apis {
            let [namespace, name] = labels(api);
            page.sample("", &[(namespace.0, &*namespace.1), (name.0, &*name.1)], value(api));
        }
    };
    family("portcullis_api_active_requests", Kind::Gauge, "Requests in progress.", &ApiMetrics::active);
    family("portcullis_api_request_bytes_total", Kind::Counter, "Bytes of request bodies.", &|api| {
        api.slots.sum(|slot| &slot.request_bytes)
    });
    family("portcullis_api_response_bytes_total", Kind::Counter, "Bytes of response bodies.", &|api| {
        api.slots.sum(|slot| &slot.response_bytes)
    });
    page.family(
        "portcullis_api_request_duration_seconds",
        Kind::Histogram,
        "From the complete head of a request to the last of its response.",
    );
    for api in apis {
        let mut distribution = Distribution::default();
        api.slots.all().for_each(|slot| distribution.add(&slot.elapsed));
        let [namespace, name] = labels(api);
        page.histogram(&[(namespace.0, &*namespace.1), (name.0, &*name.1)], &distribution);
    }
}
