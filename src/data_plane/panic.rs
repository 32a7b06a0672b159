//! A panic ends one request, not the connections of others.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    task::Poll,
};

use crate::{data_plane::worker::Worker, policy::Exchange};

/// What served a request panicked. It must not be polled again.
#[derive(Debug)]
pub(super) struct Panicked;

/// Polls what serves a request. The connection (HTTP/2: the stream) ends after a panic, and what was
/// polled is dropped: nothing looks at the state that the panic left behind.
pub(super) fn guard<T>(
    worker: &Worker,
    exchange: &Exchange,
    poll: impl FnOnce() -> Poll<T>,
) -> Poll<Result<T, Panicked>> {
    match catch_unwind(AssertUnwindSafe(poll)) {
        Ok(polled) => polled.map(Ok),
        Err(_) => {
            worker.metrics.panicked();
            tracing::error!(request_id = exchange.request_id(), "the serving of a request panicked");
            Poll::Ready(Err(Panicked))
        }
    }
}
