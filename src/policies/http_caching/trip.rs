//! A request on its way to the origin, and its response on the way back and into the cache.

use std::{
    sync::{Arc, atomic::Ordering},
    time::SystemTime,
};

use bytes::Bytes;

use super::{
    Cache,
    collect::Collector,
    entry::{BODY_BYTES_MAX, Entry, Kept, Stamp, Varies, is_storable},
    fill::{Fill, store_beside},
    freshness::Arrival,
    keys::{RequestKeys, Vary},
    shared::Order,
    storing::{Asked, Storable},
    validators,
};
use crate::{
    expression::Value,
    http::{Body, Headers, Length, Method, Origin, Request, Response, date},
    policy::{Exchange, Next, Rejection, RequestView, ResponseScope, chain::Outcome, payload},
    telemetry::metrics::CacheLookup,
};

/// A request on its way to the origin, and what its response is stored with.
pub(super) struct Trip {
    pub keys: RequestKeys,
    pub asked: Asked,
    pub view: RequestView,
    pub began: Began,
    /// On the policy's clock and on the wall clock.
    pub started: (u64, SystemTime),
}

pub(super) enum Began {
    Memory(u64),
    Shared { generations: [u64; 2], varies: Option<Varies>, fill: Option<Fill> },
}

impl Trip {
    /// A response without `Date` gets the time when its request was received (policies reference 3.4).
    fn date(&self, response: &mut Response) {
        let is_final = response.origin == Origin::Upstream && response.status >= 200;
        if is_final && !response.headers.contains("date") {
            response.headers.push_field("date", date::write(self.started.1).as_bytes());
        }
    }

    /// What came is not stored, and neither would be what came to others who ask the same.
    fn useless(self) {
        if let Began::Shared { fill: Some(mut fill), .. } = self.began {
            fill.useless();
        }
    }
}

impl Cache {
    /// Asks the origin, for a response or for whether the stored one is still good.
    pub(super) async fn fetch(
        self: &Arc<Self>,
        mut request: Request,
        next: Next<'_>,
        trip: Trip,
        stale: Option<Arc<Kept>>,
    ) -> Outcome {
        let (exchange, limit) = (next.exchange(), next.body_bytes_max());
        let lookup = if stale.is_some() { CacheLookup::Stale } else { CacheLookup::Miss };
        self.observer.looked_up(lookup);
        let Some(Kept::Response(stored)) = stale.as_deref() else {
            let response = next.run(request).await;
            return self.keep(trip, response, exchange, limit).await;
        };
        // Whoever asks conditionally asks for what it has itself.
        let is_conditional = validators::is_conditional(&request.headers);
        let again = (!is_conditional).then(|| (next.again(), request.without_body()));
        if !is_conditional {
            validators::ask(&mut request, &stored.headers)
                .map_err(|error| payload::bad_response(error.to_string()))?;
        }
        let mut response = next.run(request).await;
        trip.date(&mut response);
        if response.status != 304 || response.origin != Origin::Upstream {
            return self.keep(trip, response, exchange, limit).await;
        }
        if !validators::is_selected(&response.headers, &stored.headers) {
            return match again {
                // The origin speaks of another response than the one it was asked about: without a condition it
                // cannot.
                Some((next, request)) => {
                    let response = next.run(request).await;
                    self.keep(trip, response, exchange, limit).await
                }
                None => Ok(response),
            };
        }
        if is_conditional && !validators::has_validator(&response.headers) {
            return Ok(response);
        }
        let fresh = self.freshen(trip, stored, &response);
        Ok(if is_conditional { response } else { fresh })
    }

    /// The stored response with what a 304 says anew; stored again, where it may be.
    fn freshen(self: &Arc<Self>, trip: Trip, stored: &Entry, not_modified: &Response) -> Response {
        let headers = validators::freshened(&stored.headers, &not_modified.headers);
        let mut response =
            Response { status: stored.status, headers, origin: Origin::Upstream, ..Response::empty(200) };
        response.stamped = not_modified.stamped;
        let arrival = self.arrival(&trip);
        let body = Bytes::clone(&stored.body);
        if let Some(storable) = self.terms.storable(&trip.asked, &response, arrival) {
            self.store(trip, storable, &response, Bytes::clone(&body));
        }
        if !body.is_empty() {
            response.body = Body::Whole(body);
        }
        response
    }

    fn arrival(&self, trip: &Trip) -> Arrival {
        let at = self.clock.micros();
        Arrival { at, delay: at.saturating_sub(trip.started.0), wall: self.clock.wall() }
    }

    /// Stores a response, where it may be, as soon as its body has passed.
    async fn keep(
        self: &Arc<Self>,
        trip: Trip,
        mut response: Response,
        exchange: &Exchange,
        limit: usize,
    ) -> Outcome {
        trip.date(&mut response);
        let Some(storable) = self.terms.storable(&trip.asked, &response, self.arrival(&trip)) else {
            trip.useless();
            return Ok(response);
        };
        // Before anything waits for the body.
        let is_too_long =
            matches!(response.body.length(), Length::Known(length) if length > BODY_BYTES_MAX as u64);
        if is_too_long
            || is_endless(&response.headers)
            || is_of_a_call(&response.headers)
            || !self.is_wanted(&trip, &mut response, exchange, limit).await?
        {
            trip.useless();
            return Ok(response);
        }
        self.warn_of_credentials(&trip.asked);
        match &response.body {
            Body::Empty => self.store(trip, storable, &response, Bytes::new()),
            Body::Whole(bytes) => {
                let bytes = Bytes::clone(bytes);
                self.store(trip, storable, &response, bytes);
            }
            _ => {
                let body = std::mem::take(&mut response.body);
                let head = Response {
                    headers: response.headers.clone(),
                    declared_length: response.declared_length,
                    ..Response::empty(response.status)
                };
                let cache = Arc::clone(self);
                response.body = Collector::body(body, Arc::clone(&self.budget), move |body| match body {
                    Some(body) => cache.store(trip, storable, &head, body),
                    None => trip.useless(),
                });
            }
        }
        Ok(response)
    }

    /// The response condition; null and errors are no (policies reference 7.4).
    async fn is_wanted(
        &self,
        trip: &Trip,
        response: &mut Response,
        exchange: &Exchange,
        limit: usize,
    ) -> Result<bool, Rejection> {
        let Some(condition) = &self.response else { return Ok(true) };
        let limit = limit.min(BODY_BYTES_MAX);
        let payload = match self.response_uses.payload {
            false => Value::Null,
            true => {
                let Some(payload) = payload::of_response(response, limit).await? else { return Ok(false) };
                payload
            }
        };
        let scope = ResponseScope::new(response, &trip.view, exchange).with_payload(&payload);
        Ok(matches!(condition.eval_condition(&scope), Ok(Some(true))))
    }

    /// Once: what belongs to one caller may be served to others.
    fn warn_of_credentials(&self, asked: &Asked) {
        let depends = self.key.uses().authentication || self.key.reads_header("authorization");
        if asked.is_authorized
            && !self.is_strict
            && !depends
            && !self.has_warned.swap(true, Ordering::Relaxed)
        {
            tracing::warn!(
                binding = self.binding,
                "responses to requests with credentials are stored under a key that does not depend on them: make \
                 `httpCachingKey` read `authentication` or the header, or set `rfc9111: true`"
            );
        }
    }

    fn store(self: &Arc<Self>, trip: Trip, storable: Storable, head: &Response, body: Bytes) {
        let Storable { said, timing, vary } = storable;
        if body.len() > BODY_BYTES_MAX {
            return trip.useless();
        }
        let headers = head.headers.compact(|name| {
            is_storable(name) && !(self.strips_cookies && name.eq_ignore_ascii_case("set-cookie"))
        });
        // The next request for it has to ask the origin too, and so does everybody who would wait for that.
        let asks_each_time = said.no_cache || timing.fresh_for <= 0;
        let to_head = trip.asked.method == Method::Head;
        let (declared_length, status) = (head.declared_length.filter(|_| to_head), head.status);
        let kept = Kept::Response(Entry { status, headers, body, to_head, declared_length, said, timing });
        let (base, subject) = (if to_head { trip.keys.head } else { trip.keys.full }, trip.keys.subject);
        let names = match vary {
            Vary::By(names) => Some(names),
            Vary::Not | Vary::Always => None,
        };
        let request = trip.view.head();
        match trip.began {
            Began::Memory(began) => {
                let memory = &self.place.memory;
                let key = match names.zip(request) {
                    Some((names, request)) => {
                        memory.varies(base, subject, began, names, timing).key(&base, &request)
                    }
                    None => base,
                };
                memory.put(key, subject, began, Arc::new(kept), self.clock.micros());
            }
            Began::Shared { generations, varies, mut fill } => {
                if asks_each_time && let Some(fill) = &mut fill {
                    fill.useless();
                }
                let Some(shared) = &self.place.shared else { return };
                let stamp = || Stamp { generations, number: fastrand::u64(..), subject };
                let mut orders = Vec::with_capacity(2);
                let key = match names.zip(request) {
                    Some((names, request)) => {
                        let varies = Varies::with(varies, names, timing);
                        let key = varies.key(&base, &request);
                        orders.push(Order { key: base, stamp: stamp(), kept: Kept::Varies(varies) });
                        key
                    }
                    None => base,
                };
                orders.push(Order { key, stamp: stamp(), kept });
                let cache = Arc::clone(self);
                store_beside(shared, orders, fill, move |unavailable| cache.storage_failed(unavailable));
            }
        }
    }
}

/// The answer to a gRPC call that failed at once, in a head alone: for HTTP it is a 200 like any other.
fn is_of_a_call(headers: &Headers) -> bool {
    headers.contains("grpc-status")
}

/// Events come until somebody has enough: their end is that of the connection, not of a response.
fn is_endless(headers: &Headers) -> bool {
    let value = headers.get("content-type").unwrap_or_default();
    value
        .split(|byte| *byte == b';')
        .next()
        .is_some_and(|it| it.trim_ascii().eq_ignore_ascii_case(b"text/event-stream"))
}
