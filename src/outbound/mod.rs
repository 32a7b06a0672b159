//! The gateway's own HTTP calls, such as to a log collector: awc behind one type.
//!
//! awc takes any interim response (103, 102, an unsolicited 100) for the final one and puts the
//! connection back into its pool while the real response is on its way, so that the next caller is
//! given the answer to the call before. No header tells such a connection from a healthy one
//! afterwards. So no two calls ever share one: every call has a connector of its own, which goes,
//! with its pool and its connection, when the call ends; `connection: close` tells the peer so. A
//! call that meets an interim response fails as [`OutboundError::Interim`]. The proxied path does
//! not use this module.
//!
//! awc is not `Send`. It lives on one thread, and [`OutboundClient`] is a handle that may be cloned
//! and sent.

mod call;
mod error;
pub mod proxy;
mod tls;

#[cfg(test)]
mod tests;

use std::{io, sync::Arc, thread, time::Duration};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

pub use call::{Answer, Call, Limits};
pub use error::OutboundError;
pub use proxy::{ForwardProxy, ProxyError};
pub use tls::{any_server, system_roots};

/// Calls out. Cheap to clone; the thread behind it ends with the last clone.
#[derive(Clone)]
pub struct OutboundClient {
    jobs: mpsc::UnboundedSender<Job>,
    /// Running and waiting calls; bounds the channel.
    admission: Arc<Semaphore>,
}

struct Job {
    call: Call,
    started: tokio::time::Instant,
    reply: oneshot::Sender<Result<Answer, OutboundError>>,
    admitted: OwnedSemaphorePermit,
}

impl OutboundClient {
    /// Starts the thread.
    ///
    /// # Errors
    /// When the system grants no thread or no event queue.
    pub fn start(limits: Limits) -> io::Result<Self> {
        let (jobs, inbox) = mpsc::unbounded_channel();
        let admission = Arc::new(Semaphore::new(limits.concurrency + limits.waiting));
        let runtime = actix_rt::Runtime::new;
        let (ready, started) = std::sync::mpsc::channel();
        thread::Builder::new().name("outbound".into()).spawn(move || match runtime() {
            Ok(runtime) => {
                // The other end waits for exactly this.
                let _ = ready.send(Ok(()));
                runtime.block_on(serve(inbox, limits));
            }
            Err(error) => {
                let _ = ready.send(Err(error));
            }
        })?;
        started.recv().unwrap_or_else(|_| Err(io::Error::other("the outbound thread ended at its start")))?;
        Ok(Self { jobs, admission })
    }

    /// Makes a call and reads its whole answer; for a thread without a runtime. The status is the caller's to judge.
    ///
    /// # Errors
    /// Never holds the address's user part, path or query, nor any header: safe to log.
    pub fn call(&self, call: Call) -> Result<Answer, OutboundError> {
        self.submit(call)?.blocking_recv().unwrap_or(Err(OutboundError::Stopped))
    }

    fn submit(&self, call: Call) -> Result<oneshot::Receiver<Result<Answer, OutboundError>>, OutboundError> {
        let admitted = self.admission.clone().try_acquire_owned().map_err(|_| OutboundError::Busy)?;
        let (reply, answer) = oneshot::channel();
        let job = Job { call, started: tokio::time::Instant::now(), reply, admitted };
        self.jobs.send(job).map_err(|_| OutboundError::Stopped)?;
        Ok(answer)
    }
}

async fn serve(mut inbox: mpsc::UnboundedReceiver<Job>, limits: Limits) {
    let running = Arc::new(Semaphore::new(limits.concurrency));
    while let Some(job) = inbox.recv().await {
        let running = running.clone();
        actix_rt::spawn(async move {
            // Named, because a block captures only the fields it names: held until the call is over.
            let _admitted = job.admitted;
            let deadline = job.started + limits.deadline;
            let work = async {
                let _turn = running.acquire().await.map_err(|_| OutboundError::Stopped)?;
                call::run(&job.call, &limits).await
            };
            let result = tokio::time::timeout_at(deadline, work).await;
            // The caller may have gone away.
            let _ = job.reply.send(result.unwrap_or(Err(OutboundError::Timeout)));
        });
    }
}

impl Default for Limits {
    /// 10 s in all, 5 s to connect, 1 MiB of answer, 32 calls at a time and 256 waiting: the
    /// gateway's own calls are few, and none may hold memory for long.
    fn default() -> Self {
        Self {
            deadline: Duration::from_secs(10),
            connect: Duration::from_secs(5),
            answer_bytes: 1 << 20,
            concurrency: 32,
            waiting: 256,
        }
    }
}
