//! One request: looked up, and answered from what was found.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;

use super::{
    Cache,
    directives::RequestDirectives,
    entry::{Entry, Kept},
    fill::{Fill, Filling, beside, to_the_end},
    freshness::Rules,
    keys::{RequestKeys, subject_of},
    memory::Memory,
    shared::{Shared, better},
    storing::Asked,
    trip::{Began, Trip},
    validators,
};
use crate::{
    base::Digest,
    expression::Value,
    http::{Body, Method, Origin, Request, Response},
    policy::{Exchange, Handling, Next, Rejection, RequestView, chain::Outcome, scope::RequestHead},
    storage::{Outcome as Done, Unavailable},
    telemetry::metrics::CacheLookup,
};

/// For how long a request waits for another one that fetches the same.
const WAIT_MAX: Duration = Duration::from_secs(2);
/// Between two looks whether it has come.
const WAIT_STEP: Duration = Duration::from_millis(25);

/// What a client asks by the invalidation header.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Invalidation {
    One,
    All,
}

/// What comes of a look.
enum Decision {
    Answer(Response),
    /// A stored response that has to be validated first.
    Validate(Arc<Kept>),
    Fetch,
    /// The client wants nothing but a stored response.
    NotCached,
}

impl Cache {
    /// `payload` is that of the request, where an expression reads it; `None`: it is too large to be read, so that the
    /// request has no key and is not for the cache.
    pub(super) fn serve<'a>(
        self: &'a Arc<Self>,
        request: Request,
        next: Next<'a>,
        payload: Option<&Value<'static>>,
    ) -> Handling<'a> {
        let invalidation = self.invalidation(&request);
        let is_for = payload.is_some_and(|payload| self.is_for(&request, &next, payload));
        let wants_key = is_for || invalidation == Some(Invalidation::One);
        let key = payload.filter(|_| wants_key).and_then(|payload| self.key_of(&request, &next, payload));
        let keys = key.map(|key| match self.is_strict {
            true => RequestKeys::of_target(&key, &request),
            false => RequestKeys::of_expression(&key),
        });
        let looks = keys.filter(|_| is_for && self.suits(&request));
        if is_for && looks.is_none() && self.is_strict && Self::wants_stored_only(&request) {
            return Handling::refuse(self.not_cached());
        }
        let Some(invalidation) = invalidation else { return self.go_on(request, next, looks) };
        match (invalidation, keys) {
            (Invalidation::All, _) => self.place.memory.invalidate_all(),
            (Invalidation::One, Some(keys)) => {
                self.place.memory.invalidate(keys.subject, &[keys.full, keys.head]);
            }
            (Invalidation::One, None) => {}
        }
        if let Some(shared) = self.place.shared() {
            return Handling::wait(async move {
                let (cache, shared) = (Arc::clone(self), Arc::clone(shared));
                to_the_end(async move { cache.invalidate_shared(&shared, invalidation, keys).await }).await;
                self.go_on(request, next, looks).await
            });
        }
        self.go_on(request, next, looks)
    }

    fn invalidation(&self, request: &Request) -> Option<Invalidation> {
        match request.headers.get(self.invalidation_header.as_ref()?)? {
            b"invalidate" => Some(Invalidation::One),
            b"invalidate-all" => Some(Invalidation::All),
            _ => None,
        }
    }

    async fn invalidate_shared(&self, shared: &Arc<Shared>, which: Invalidation, keys: Option<RequestKeys>) {
        let done = match (which, keys) {
            (Invalidation::All, _) => shared.invalidate_all().await,
            (Invalidation::One, Some(keys)) => {
                shared.invalidate(&keys.subject, &[keys.full, keys.head]).await
            }
            (Invalidation::One, None) => Ok(()),
        };
        match done {
            Err(unavailable) => self.owe(shared, &unavailable),
            Ok(()) if which == Invalidation::All => {
                let shared = Arc::clone(shared);
                beside(async move { shared.sweep().await.unwrap_or_default() });
            }
            Ok(()) => {}
        }
    }

    /// An invalidation did not reach the storage.
    fn owe(&self, shared: &Arc<Shared>, unavailable: &Unavailable) {
        self.storage_failed(unavailable);
        shared.owe();
    }

    pub(super) fn storage_failed(&self, unavailable: &Unavailable) {
        self.observer.failed();
        tracing::debug!(binding = self.binding, "HTTP caching: the shared storage: {unavailable}");
    }

    /// Whether a stored response could answer the request at all: not an upgrade, not a part, no condition that only
    /// the origin can evaluate.
    fn suits(&self, request: &Request) -> bool {
        let headers = &request.headers;
        let for_the_origin = validators::FOR_THE_ORIGIN.iter().any(|name| headers.contains(name));
        let is_part = headers.contains("range") && (self.is_strict || !self.key.reads_header("range"));
        // What content makes of a response is for those who send the same content.
        let has_safe_form = match request.method {
            Method::Get | Method::Head => {
                request.body.is_empty() || !self.is_strict && self.key.uses().payload
            }
            _ => !self.is_strict,
        };
        request.upgrade.is_none() && !for_the_origin && !is_part && has_safe_form
    }

    /// No stored response can be used, and the client wants no other.
    fn wants_stored_only(request: &Request) -> bool {
        is_safe(&request.method) && RequestDirectives::of(&request.headers, true).only_if_cached
    }

    fn go_on<'a>(
        self: &'a Arc<Self>,
        request: Request,
        next: Next<'a>,
        looks: Option<RequestKeys>,
    ) -> Handling<'a> {
        let Some(keys) = looks else {
            return match self.is_strict && !is_safe(&request.method) {
                true => Handling::wait(self.pass_unsafe(request, next)),
                false => next.pass(request),
            };
        };
        let to_head = request.method == Method::Head;
        let asked = self.asked(&request, next.exchange());
        if let Some(shared) = self.place.shared() {
            if shared.owes() {
                return Handling::wait(async move { self.without_look(request, next, &asked.said).await });
            }
            return Handling::wait(self.serve_shared(shared, request, next, keys, asked));
        }
        let (memory, now) = (&self.place.memory, self.clock.micros());
        let found = find(memory, &keys, &request, to_head, now);
        let stale = match self.decide(&request, &asked, found, now) {
            Decision::Answer(response) => return Handling::answer(response),
            Decision::NotCached => return Handling::refuse(self.not_cached()),
            Decision::Validate(kept) => Some(kept),
            Decision::Fetch => None,
        };
        let view = match self.terms.honor_vary {
            true => RequestView::capture_with_headers(&request),
            false => RequestView::capture(&request, self.response_uses),
        };
        let trip = self.trip(keys, asked, view, Began::Memory(memory.begin()));
        Handling::wait(self.fetch(request, next, trip, stale))
    }

    /// Passes a request on that may change what it names, and forgets what was stored of that unless the origin
    /// refused (RFC 9111 section 4.4).
    async fn pass_unsafe(self: &Arc<Self>, request: Request, next: Next<'_>) -> Outcome {
        let mut unanswered = Unanswered { cache: self, subject: Some(subject_of(&request)) };
        let response = next.run(request).await;
        if let Some(subject) = unanswered.subject.take()
            && (200..400).contains(&response.status)
        {
            to_the_end(self.forget(subject)).await;
        }
        Ok(response)
    }

    /// Forgets what was stored of a URI: here at once, and in the shared storage by what it gives back.
    fn forget(self: &Arc<Self>, subject: Digest) -> impl Future<Output = ()> + Send + use<> {
        self.place.memory.invalidate(subject, &[]);
        let cache = Arc::clone(self);
        async move {
            if let Some(shared) = cache.place.shared()
                && let Err(unavailable) = shared.invalidate(&subject, &[]).await
            {
                cache.owe(shared, &unavailable);
            }
        }
    }

    fn asked(&self, request: &Request, exchange: &Exchange) -> Asked {
        let headers = &request.headers;
        Asked {
            method: request.method.clone(),
            said: match self.terms.rules {
                Rules::Fixed => RequestDirectives::default(),
                Rules::Vendor | Rules::Rfc9111 => RequestDirectives::of(headers, self.is_strict),
            },
            is_authorized: headers.contains("authorization") || exchange.authentication().is_some(),
            is_keyed_by_range: headers.contains("range"),
        }
    }

    fn trip(&self, keys: RequestKeys, asked: Asked, view: RequestView, began: Began) -> Trip {
        Trip { keys, asked, view, began, started: (self.clock.micros(), self.clock.wall()) }
    }

    /// What to do with what is stored (RFC 9111 section 4; the vendor's rules know fresh and nothing else).
    fn decide(&self, request: &Request, asked: &Asked, found: Option<Arc<Kept>>, now: u64) -> Decision {
        let said = &asked.said;
        let found = found.filter(|_| self.is_strict || !said.no_cache);
        let otherwise =
            if self.is_strict && said.only_if_cached { Decision::NotCached } else { Decision::Fetch };
        let Some(kept) = found else { return otherwise };
        let Kept::Response(entry) = &*kept else { return otherwise };
        let fresh_for = entry.timing.fresh_for(now);
        if !self.is_strict {
            return if fresh_for > 0 {
                Decision::Answer(self.answer(request, entry, now))
            } else {
                otherwise
            };
        }
        let micros = |seconds: u64| seconds.saturating_mul(1_000_000);
        let is_young = said.max_age.is_none_or(|seconds| entry.timing.age(now) <= micros(seconds));
        let lasts =
            said.min_fresh.is_none_or(|seconds| fresh_for >= 0 && fresh_for as u64 >= micros(seconds));
        let is_accepted_stale = !entry.said.forbids_stale()
            && said.min_fresh.is_none()
            && said.max_stale.is_some_and(|seconds| fresh_for.unsigned_abs() <= micros(seconds));
        let is_good = if fresh_for > 0 { lasts } else { is_accepted_stale };
        if is_good && is_young && !said.no_cache && !entry.said.no_cache {
            return Decision::Answer(self.answer(request, entry, now));
        }
        let validates = validators::has_validator(&entry.headers) && !entry.to_head;
        match validates && request.method == Method::Get && !said.only_if_cached {
            true => Decision::Validate(kept),
            false => otherwise,
        }
    }

    /// The stored response, as the one to this request.
    fn answer(&self, request: &Request, entry: &Entry, now: u64) -> Response {
        self.observer.looked_up(CacheLookup::Hit);
        let mut headers = entry.headers.clone();
        headers.replace_field("age", (entry.timing.age(now) / 1_000_000).to_string().as_bytes());
        let mut response =
            Response { status: entry.status, headers, origin: Origin::Upstream, ..Response::empty(200) };
        // It had the gateway's own fields when it was stored, or was to have none.
        response.stamped = true;
        let wall = self.clock.wall();
        if entry.status == 200
            && validators::not_modified(&request.method, &request.headers, &entry.headers, wall)
        {
            response.status = 304;
            validators::without_body(&mut response.headers);
        } else if request.method == Method::Head {
            let whole = (!entry.to_head).then_some(entry.body.len() as u64);
            response.declared_length = entry.declared_length.or(whole);
        } else if !entry.body.is_empty() {
            response.body = Body::Whole(Bytes::clone(&entry.body));
        }
        response
    }

    /// RFC 9111 section 5.2.1.7.
    fn not_cached(&self) -> Rejection {
        self.observer.looked_up(CacheLookup::Miss);
        Rejection::json(504, "only_if_cached", "Gateway Timeout")
    }

    /// From the shared storage; what is not there is fetched by one request of all replicas, as far as the others
    /// can wait for it.
    async fn serve_shared(
        self: &Arc<Self>,
        shared: &Arc<Shared>,
        request: Request,
        next: Next<'_>,
        keys: RequestKeys,
        asked: Asked,
    ) -> Outcome {
        let view = self.terms.honor_vary.then(|| RequestView::capture_with_headers(&request));
        let head = view.as_ref().and_then(RequestView::head);
        let said = &asked.said;
        // A reload is not helped by what another one has fetched.
        let collapses = !said.no_store && !said.no_cache && said.max_age != Some(0);
        let until = self.clock.micros() + WAIT_MAX.as_micros() as u64;
        let mut fill = None;
        let (stale, looked) = loop {
            let looked = match shared.look(&keys, head.as_ref(), request.method == Method::Head).await {
                Ok(looked) => looked,
                Err(unavailable) => {
                    self.storage_failed(&unavailable);
                    return self.without_look(request, next, said).await;
                }
            };
            let now = self.clock.micros();
            let stale = match self.decide(&request, &asked, looked.kept.clone(), now) {
                Decision::Answer(response) => return Ok(response),
                Decision::NotCached => return Err(self.not_cached()),
                Decision::Validate(kept) => Some(kept),
                Decision::Fetch => None,
            };
            if !collapses || fill.is_some() || looked.filling == Filling::Useless {
                break (stale, looked);
            }
            if now >= until {
                fill = Some(Fill::without(shared, &looked.fills));
                break (stale, looked);
            }
            let waited = match looked.filling {
                Filling::Nobody => match Fill::take(shared, &looked.fills).await {
                    // One that ended in between may have stored it.
                    Ok(Some(taken)) => {
                        fill = Some(taken);
                        Ok(())
                    }
                    Ok(None) => {
                        self.clock.sleep(WAIT_STEP).await;
                        Ok(())
                    }
                    Err(unavailable) => Err(unavailable),
                },
                filling => self.wait(shared, looked.fills, filling, until).await,
            };
            if let Err(unavailable) = waited {
                self.storage_failed(&unavailable);
                break (stale, looked);
            }
        };
        let generations = match shared.begin(&keys, looked.generations).await {
            Ok(generations) => generations,
            Err(unavailable) => {
                self.storage_failed(&unavailable);
                looked.generations
            }
        };
        let began = Began::Shared { generations, varies: looked.varies, fill };
        let view = view.unwrap_or_else(|| RequestView::capture(&request, self.response_uses));
        let trip = self.trip(keys, asked, view, began);
        self.fetch(request, next, trip, stale).await
    }

    /// Until whoever fills the entry has ended, or it is too late.
    async fn wait(&self, shared: &Shared, fills: Digest, filling: Filling, until: u64) -> Done<()> {
        while self.clock.micros() < until {
            self.clock.sleep(WAIT_STEP).await;
            if shared.filling(fills).await? != filling {
                break;
            }
        }
        Ok(())
    }

    /// What a request is answered that the storage could not be looked through for.
    async fn without_look(&self, request: Request, next: Next<'_>, said: &RequestDirectives) -> Outcome {
        if self.is_strict && said.only_if_cached {
            return Err(self.not_cached());
        }
        self.observer.looked_up(CacheLookup::Miss);
        next.pass(request).await
    }
}

/// An unsafe request that the origin may have carried out. Dropped before it is answered, as when its client leaves, it
/// counts as if it had been.
struct Unanswered<'c> {
    cache: &'c Arc<Cache>,
    subject: Option<Digest>,
}

impl Drop for Unanswered<'_> {
    fn drop(&mut self) {
        if let Some(subject) = self.subject.take() {
            beside(self.cache.forget(subject));
        }
    }
}

/// RFC 9110 section 9.2.1.
fn is_safe(method: &Method) -> bool {
    match method {
        Method::Get | Method::Head | Method::Options => true,
        Method::Other(token) => &**token == "TRACE",
        Method::Post | Method::Put | Method::Patch | Method::Delete => false,
    }
}

/// The response under the request's own key, for HEAD also what was stored of HEAD.
fn find(
    memory: &Memory,
    keys: &RequestKeys,
    request: &Request,
    to_head: bool,
    now: u64,
) -> Option<Arc<Kept>> {
    let candidates = if to_head { &[keys.full, keys.head][..] } else { &[keys.full] };
    let found = candidates.iter().map(|key| {
        let kept = memory.get(key, now)?;
        match &*kept {
            Kept::Response(_) => Some(kept),
            Kept::Varies(varies) => memory.get(&varies.key(key, &RequestHead::of(request)), now),
        }
    });
    found.fold(None, |best, kept| better(best, kept, now))
}
