//! One request to one upstream: limits, connection, deadlines, retries, and what each failure
//! is for the client (configuration reference 4.8, 7.1, 7.2).

use std::{fmt::Display, future::poll_fn, pin::pin, rc::Rc, sync::Arc, task::Poll, time::SystemTime};

use super::{
    client_side::ClientSide,
    connect::ConnectError,
    envoy,
    http1::{
        client::{ExchangeLimits, Outgoing},
        encode,
        fault::{ExchangeError, Fault},
        sender,
        tunnel::Upgraded,
    },
    http2::{self, shared::SharedConnection},
    pool::{AcquireError, Connection, Pool, Wanted},
    replay::Replay,
    timers::Timer,
    worker::Worker,
};
use crate::{
    http::{Body, BodyError, BodySource, Method, Origin, Request, Response},
    outbound::ProxyError,
    policy::{Exchange, Rejection, chain::Outcome},
    snapshot::{EngineSettings, Gauge, Ticket, UpstreamPlan},
    tls::Reason,
};

/// What a forward works with.
pub struct Forward<'a> {
    pub worker: &'a Worker,
    pub engine: &'a EngineSettings,
    pub client: &'a dyn ClientSide,
}

impl Forward<'_> {
    /// Sends a request whose path is the upstream's and gives the response, its body still arriving.
    ///
    /// # Errors
    /// A [`Rejection`] with the status of the failure.
    pub fn send<'a>(
        &'a self,
        mut request: Request,
        upstream: &'a Arc<UpstreamPlan>,
        exchange: &'a Exchange,
    ) -> impl Future<Output = Outcome> + 'a {
        envoy::to_upstream(&mut request.headers, self.engine, exchange.response_timeout());
        // No `async fn`: that would hold the request twice.
        async move {
            if let Some(reason) = &upstream.blocked {
                return Err(unavailable("blocked", "upstream not available").log(reason.clone()));
            }
            self.client.watch().arm(Timer::StreamIdle, exchange.stream_idle_timeout());
            let mut retries = Retries::default();
            let mut failed = Vec::new();
            loop {
                let upgrades = request.upgrade.is_some() && request.body.is_empty();
                let fresh_only = retries.made > 0;
                let connection = self.connection(upstream, exchange, fresh_only, &failed, upgrades).await?;
                let shared = connection.shared();
                let reused = matches!(&connection, Connection::Http1(connection) if connection.is_reused());
                let replay = Replay::of(&mut request, &connection);
                let outcome = self.exchange(connection, &mut request, upstream, exchange).await;
                let took = self.client.watch().awaited();
                match outcome {
                    Ok(mut response) => {
                        replay.forget();
                        upstream.metrics.responded(took);
                        upstream.answered();
                        envoy::from_upstream(&mut response, self.engine, took);
                        // Passed on, it bears the time at which it came (RFC 9110 section 6.6.1).
                        response.headers.push_date(SystemTime::now);
                        return Ok(response);
                    }
                    Err(error) => {
                        let fault = error.fault;
                        failed.extend(shared);
                        // An upstream that closes what it is not busy with is not in trouble: such retries are as many
                        // as there are requests.
                        let limited = error.begun && !reused;
                        // No retry is counted that would not be made.
                        let body = retries.body(error, &request.method, replay);
                        match body.filter(|_| retries.enter(upstream, limited)) {
                            Some(body) => request.body = body,
                            None => return Err(self.explain(fault, upstream)),
                        }
                    }
                }
            }
        }
    }

    /// Without a wait, if a connection is at hand.
    async fn connection(
        &self,
        upstream: &Arc<UpstreamPlan>,
        exchange: &Exchange,
        fresh_only: bool,
        failed: &[Rc<SharedConnection>],
        upgrades: bool,
    ) -> Result<Connection, Rejection> {
        let pool = self.worker.pools.pool(upstream);
        let wanted = Wanted {
            plan: upstream,
            fresh_only,
            failed,
            http1: upgrades && pool.upgrades_apart(),
            worker: self.worker,
            engine: self.engine,
            request_id: exchange.request_id(),
        };
        match if wanted.http1 { None } else { pool.at_hand(&wanted) } {
            Some(connection) => Ok(connection),
            // In a box: what happens seldom makes the future of every request no larger.
            None => Box::pin(self.acquire(&pool, wanted, exchange)).await,
        }
    }

    async fn acquire(
        &self,
        pool: &Rc<Pool>,
        wanted: Wanted<'_>,
        exchange: &Exchange,
    ) -> Result<Connection, Rejection> {
        let upstream = wanted.plan;
        let mut acquire = pin!(pool.acquire(&wanted));
        // A request that waits for a connection waits no longer than one that waits for its answer, and nothing moves.
        let watch = self.client.watch();
        watch.arm(Timer::Response, exchange.response_timeout());
        let outcome = poll_fn(|cx| match acquire.as_mut().poll(cx) {
            Poll::Pending if watch.is_due(Timer::Response) => Poll::Ready(Err(Fault::ResponseTimeout)),
            Poll::Pending if watch.is_due(Timer::StreamIdle) => Poll::Ready(Err(Fault::StreamIdle)),
            outcome => outcome.map(Ok),
        })
        .await;
        watch.disarm(Timer::Response);
        match outcome {
            Ok(Ok(connection)) => Ok(connection),
            Ok(Err(AcquireError::Overflow)) => Err(self.overflow()),
            Ok(Err(AcquireError::Connect(error))) => Err(refuse_connect(&error, upstream)),
            Err(fault) => Err(self.explain(fault, upstream)),
        }
    }

    async fn exchange(
        &self,
        connection: Connection,
        request: &mut Request,
        upstream: &Arc<UpstreamPlan>,
        exchange: &Exchange,
    ) -> Result<Response, ExchangeError> {
        let Some(ticket) = upstream.gauges.enter(Gauge::Requests, upstream.limits.requests_max) else {
            upstream.metrics.overflow();
            // The connection has not been used: it goes back.
            if let Connection::Http1(connection) = &connection {
                connection.release();
            }
            let body = std::mem::take(&mut request.body);
            return Err(ExchangeError {
                fault: Fault::Overflow,
                begun: false,
                body_untouched: true,
                answered: false,
                body,
            });
        };
        // A policy may have made a body for it: then it is a request like any other.
        request.upgrade = request.upgrade.filter(|_| request.body.is_empty());
        // Requests in a tunnel are as those without a proxy.
        let via = upstream.endpoint.proxy.as_ref().filter(|via| !via.tunnel);
        if via.is_some() {
            request.headers.remove("proxy-authorization");
        }
        let authority = match via {
            // A proxy replaces Host by the target's authority (RFC 9112 section 3.2.2).
            Some(via) => &*via.authority,
            None if self.engine.rewrite_host => &*upstream.authority,
            None => request.authority(),
        };
        let limits = ExchangeLimits {
            response_timeout: exchange.response_timeout(),
            head_bytes_max: self.engine.head_bytes_max,
        };
        upstream.metrics.request();
        let connection = match connection {
            Connection::Http1(connection) => connection,
            Connection::Http2(place) => {
                let authority =
                    if authority.is_empty() { &*upstream.authority } else { authority }.to_owned();
                let scheme = match upstream.endpoint.tls {
                    Some(_) => http::uri::Scheme::HTTPS,
                    None => http::uri::Scheme::HTTP,
                };
                let outgoing = http2::client::Outgoing { request, authority: &authority, scheme };
                return Box::pin(http2::client::exchange(place, outgoing, limits, self.client, ticket)).await;
            }
        };
        let mut head = sender::buffer();
        let framing = encode::request(&mut head, request, authority, via.map(|via| &*via.proxy));
        let outgoing = Outgoing {
            head,
            framing,
            held: request.body.awaits_continue(),
            body: std::mem::take(&mut request.body),
            to_head: request.method == Method::Head,
            upgrade: request.upgrade.map(|protocols| request.headers.str(protocols)),
        };
        let head = connection.exchange(outgoing, limits, self.client, ticket).await?;
        let body = match head.upgrade {
            Some(protocol) if head.status == 101 => {
                let protocol = head.headers.str(protocol).into();
                let idle = exchange.stream_idle_timeout();
                self.client.upgraded(Upgraded { upstream: connection, protocol, idle });
                Body::Empty
            }
            _ => connection.response_body(&head),
        };
        match via {
            Some(via) if head.status == 407 => {
                via.failed(&upstream.name, &ProxyError::Refused(407));
                return Err(ExchangeError {
                    fault: Fault::ProxyCredentials,
                    begun: true,
                    body_untouched: false,
                    answered: true,
                    body: Body::Empty,
                });
            }
            Some(via) => via.works(&upstream.name),
            None => {}
        }
        Ok(Response {
            status: head.status,
            headers: head.headers,
            body,
            origin: Origin::Upstream,
            declared_length: head.declared_length,
            stamped: false,
        })
    }

    /// The answer for a failure (configuration reference 4.8).
    fn explain(&self, fault: Fault, upstream: &UpstreamPlan) -> Rejection {
        match fault {
            Fault::Closed => unavailable(
                "upstream_reset",
                "upstream connect error or disconnect/reset before headers. reset reason: connection termination",
            ),
            Fault::Tls(reason) => refused_by_tls(upstream, reason.of_upstream()),
            Fault::Malformed(what) => protocol_error(upstream, what),
            Fault::Head(error) => protocol_error(upstream, format_args!("response head: {}", error.what())),
            Fault::ResponseTimeout => {
                upstream.metrics.timeout();
                Rejection::text(504, "response_timeout", "upstream request timeout")
            }
            Fault::StreamIdle | Fault::RequestBody(BodyError::IdleTimeout) => {
                Rejection::text(504, "stream_idle", "stream timeout")
            }
            Fault::RequestBody(BodyError::TooLarge) => {
                Rejection::json(413, "request_body_limit", "Payload Too Large")
            }
            Fault::RequestBody(BodyError::Malformed | BodyError::Disconnected) => {
                Rejection::json(400, "request_body", "Bad Request")
            }
            Fault::ProxyCredentials => connect_failure(),
            Fault::Overflow => self.overflow(),
        }
    }

    fn overflow(&self) -> Rejection {
        let text = "upstream connect error or disconnect/reset before headers. reset reason: overflow";
        // A place may be free at any moment: a second is the shortest that the field can say.
        envoy::overloaded(unavailable("overflow", text).header("retry-after", "1"), self.engine)
    }
}

/// Retries of one request, at most. Two upstreams that close by turns would have it go round for ever.
const RETRIES_MAX: u32 = 3;

/// The retries of one request (decision 4).
#[derive(Default)]
struct Retries {
    made: u32,
    /// One of the attempts was begun: there is one further chance for all that may have had an effect.
    begun: bool,
    /// Counts the one that is under way, if it is limited.
    ticket: Option<Ticket>,
}

impl Retries {
    /// The body to send again, if the request may be sent again: no byte of it was written, or its method is idempotent;
    /// its body can be replayed and no byte of the response came.
    fn body(&mut self, error: ExchangeError, method: &Method, replay: Replay) -> Option<Body> {
        let is_safe = !error.begun || (method.is_idempotent() && !self.begun);
        if error.fault != Fault::Closed || error.answered || !is_safe || self.made == RETRIES_MAX {
            return None;
        }
        self.made += 1;
        self.begun |= error.begun;
        replay.body(error)
    }

    /// Whether there may be one more: if it is limited, because there is room beside those of other requests, which is taken.
    fn enter(&mut self, upstream: &UpstreamPlan, limited: bool) -> bool {
        // The one before is over.
        self.ticket = None;
        if limited {
            self.ticket = upstream.gauges.enter(Gauge::Retries, upstream.limits.retries_max);
        }
        let admitted = !limited || self.ticket.is_some();
        if admitted {
            upstream.metrics.retry();
        } else {
            upstream.metrics.overflow();
        }
        admitted
    }
}

fn unavailable(reason: &'static str, text: &'static str) -> Rejection {
    Rejection::text(503, reason, text)
}

fn connect_failure() -> Rejection {
    unavailable(
        "connect_failure",
        "upstream connect error or disconnect/reset before headers. reset reason: connection failure",
    )
}

fn connect_timeout() -> Rejection {
    unavailable(
        "connect_timeout",
        "upstream connect error or disconnect/reset before headers. reset reason: connection timeout",
    )
}

fn protocol_error(upstream: &UpstreamPlan, what: impl Display) -> Rejection {
    Rejection::text(
        502,
        "upstream_protocol",
        "upstream connect error or disconnect/reset before headers. reset reason: protocol error",
    )
    .log(format!("upstream {}: {what}", upstream.name))
}

/// Why is for the log alone (connected mode reference 21.11, K13).
fn refused_by_tls(upstream: &UpstreamPlan, why: impl Display) -> Rejection {
    connect_failure().log(format!("upstream {}: {why}", upstream.name))
}

fn refuse_connect(error: &ConnectError, upstream: &UpstreamPlan) -> Rejection {
    let rejection = match error {
        ConnectError::Timeout => connect_timeout(),
        ConnectError::Tls(failure) if failure.reason == Reason::Timeout => {
            connect_timeout().log(format!("upstream {}: {error}", upstream.name))
        }
        ConnectError::Tls(_) => refused_by_tls(upstream, error),
        ConnectError::Resolve | ConnectError::Refused | ConnectError::Proxy(_) => connect_failure(),
    };
    match &upstream.endpoint.proxy {
        Some(via) => rejection.log(format!("through the forward proxy {}: {error}", via.proxy)),
        None => rejection,
    }
}
