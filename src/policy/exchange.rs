//! What is known of one request beyond its head; policies share it while the chain runs.

use std::{
    cell::{Cell, Ref, RefCell, RefMut},
    rc::Rc,
    time::{Duration, Instant, SystemTime},
};

use serde_json::{Map, Value};

use super::ViolationKind;
use crate::http::{Origin, Peer, Request, Response};

/// The identity of the caller (policies reference 1.6), filled by policies that establish it and
/// readable by every policy ordered after them.
#[derive(Clone, Debug, Default)]
pub struct Authentication {
    pub principal: Option<String>,
    pub client_id: Option<String>,
    pub client_name: Option<String>,
    /// `slaId`, `claims`, `jwt`, `userProperties`: merged over policies.
    pub properties: Map<String, Value>,
}

/// The last refusal (policies reference 1.5). A later one overwrites.
#[derive(Clone, Debug)]
pub struct Violation {
    pub policy_name: String,
    pub kind: ViolationKind,
    pub client_id: Option<String>,
    pub client_name: Option<String>,
}

/// A request id: 1 to 128 visible characters, kept in place so that having it costs no allocation.
#[derive(Clone, Copy)]
pub struct RequestId {
    bytes: [u8; Self::LEN_MAX],
    len: u8,
}

impl RequestId {
    pub const LEN_MAX: usize = 128;

    /// `None` for anything but 1 to 128 visible ASCII characters (decision 2).
    pub fn parse(value: &[u8]) -> Option<Self> {
        let fits = (1..=Self::LEN_MAX).contains(&value.len());
        if !fits || !value.iter().all(u8::is_ascii_graphic) {
            return None;
        }
        let mut bytes = [0; Self::LEN_MAX];
        bytes[..value.len()].copy_from_slice(value);
        Some(Self { bytes, len: value.len() as u8 })
    }

    /// A random (version 4) UUID.
    pub fn random() -> Self {
        let uuid = uuid::Builder::from_random_bytes(fastrand::u128(..).to_ne_bytes()).into_uuid();
        let mut bytes = [0; Self::LEN_MAX];
        let len = uuid.hyphenated().encode_lower(&mut bytes).len() as u8;
        Self { bytes, len }
    }

    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.bytes[..usize::from(self.len)]).unwrap_or_default()
    }
}

/// One request and its response.
pub struct Exchange {
    peer: Rc<Peer>,
    request_id: RequestId,
    started: Instant,
    /// The same by the wall clock, once somebody has asked.
    received: Cell<Option<SystemTime>>,
    base_path_bytes: Cell<usize>,
    step: Cell<usize>,
    response_timeout: Cell<Duration>,
    stream_idle_timeout: Cell<Duration>,
    server: Option<Rc<str>>,
    authentication: RefCell<Option<Box<Authentication>>>,
    violation: RefCell<Option<Box<Violation>>>,
}

impl Exchange {
    /// It starts now. `response_timeout` and `stream_idle_timeout` are those of the gateway; zero is none.
    pub fn new(
        peer: Rc<Peer>,
        request_id: RequestId,
        response_timeout: Duration,
        stream_idle_timeout: Duration,
    ) -> Self {
        Self {
            peer,
            request_id,
            started: Instant::now(),
            received: Cell::new(None),
            base_path_bytes: Cell::new(0),
            step: Cell::new(0),
            response_timeout: Cell::new(response_timeout),
            stream_idle_timeout: Cell::new(stream_idle_timeout),
            server: None,
            authentication: RefCell::default(),
            violation: RefCell::default(),
        }
    }

    /// The value of `server` on the response; `None` leaves the field out (decision 6).
    #[must_use]
    pub fn with_server(mut self, server: Option<Rc<str>>) -> Self {
        self.server = server;
        self
    }

    /// Puts the gateway's own fields on a response, once, before the first policy sees it: so header
    /// removal wins over them.
    pub(super) fn stamp(&self, response: &mut Response) {
        if response.stamped {
            return;
        }
        response.stamped = true;
        match &self.server {
            // The setting is checked when it is read.
            Some(server) => response.headers.replace_field("server", server.as_bytes()),
            None => {
                response.headers.remove("server");
            }
        }
        if response.origin == Origin::Gateway {
            response.headers.push_date(|| self.received());
        }
    }

    /// A response that is made outside any chain, with the gateway's own fields.
    pub fn stamped(&self, mut response: Response) -> Response {
        self.stamp(&mut response);
        response
    }

    pub fn peer(&self) -> &Peer {
        &self.peer
    }

    pub fn request_id(&self) -> &str {
        self.request_id.as_str()
    }

    /// When the head of the request was complete.
    pub fn started(&self) -> Instant {
        self.started
    }

    /// The same by the wall clock; the same time whenever it is asked for.
    pub fn received(&self) -> SystemTime {
        let received = self.received.get().unwrap_or_else(|| SystemTime::now() - self.started.elapsed());
        self.received.set(Some(received));
        received
    }

    #[cfg(test)]
    #[must_use]
    pub fn received_at(self, time: SystemTime) -> Self {
        self.received.set(Some(time));
        self
    }

    /// The router says how many bytes of the path are the base path of the instance.
    pub fn set_base_path_bytes(&self, bytes: usize) {
        self.base_path_bytes.set(bytes);
    }

    /// The path relative to the base path of the instance (configuration reference 3.6).
    pub fn relative_path<'r>(&self, request: &'r Request) -> &'r str {
        request.path().get(self.base_path_bytes.get()..).unwrap_or_default()
    }

    /// How long to wait for the head of the upstream's response; zero is for ever.
    pub fn response_timeout(&self) -> Duration {
        self.response_timeout.get()
    }

    pub fn set_response_timeout(&self, timeout: Duration) {
        self.response_timeout.set(timeout);
    }

    /// How long nothing may move in either direction; zero is for ever.
    pub fn stream_idle_timeout(&self) -> Duration {
        self.stream_idle_timeout.get()
    }

    pub fn set_stream_idle_timeout(&self, timeout: Duration) {
        self.stream_idle_timeout.set(timeout);
    }

    /// The caller's identity as far as it is established.
    pub fn authentication(&self) -> Option<Ref<'_, Authentication>> {
        Ref::filter_map(self.authentication.borrow(), |slot| slot.as_deref()).ok()
    }

    /// For policies that establish the identity.
    pub fn authentication_mut(&self) -> RefMut<'_, Authentication> {
        RefMut::map(self.authentication.borrow_mut(), |slot| &mut **slot.get_or_insert_default())
    }

    /// The last refusal of this request, if there was one.
    pub fn violation(&self) -> Option<Ref<'_, Violation>> {
        Ref::filter_map(self.violation.borrow(), |slot| slot.as_deref()).ok()
    }

    pub(super) fn record_violation(&self, policy: &str, kind: ViolationKind) {
        let (client_id, client_name) = match self.authentication() {
            Some(who) => (who.client_id.clone(), who.client_name.clone()),
            None => (None, None),
        };
        let violation = Violation { policy_name: policy.to_owned(), kind, client_id, client_name };
        *self.violation.borrow_mut() = Some(Box::new(violation));
    }

    /// 1-based index of the policy at work, 0 for the terminal: a refusal is its doing.
    pub(super) fn enter_step(&self, step: usize) {
        self.step.set(step);
    }

    pub(super) fn current_step(&self) -> usize {
        self.step.get()
    }
}

#[cfg(test)]
mod tests {
    use super::RequestId;

    #[test]
    fn a_request_id_is_1_to_128_visible_characters() {
        assert!(RequestId::parse(b"").is_none());
        assert!(RequestId::parse(&[b'a'; 129]).is_none());
        assert!(RequestId::parse(b"a b").is_none());
        assert_eq!(RequestId::parse(&[b'a'; 128]).map(|id| id.as_str().len()), Some(128));
        assert_eq!(RequestId::random().as_str().len(), 36);
        assert_ne!(RequestId::random().as_str(), RequestId::random().as_str());
    }
}
