//! An output: a queue, and a thread that carries lines from it to their target.

use std::{io, sync::Arc, thread, time::Duration};

use super::{
    queue::{Queue, QueueLimits, Totals, Work},
    record::{Form, Record},
};

/// Where lines go. Lives on the output's own thread and may block.
pub(super) trait Sink: Send {
    /// Delivers whole lines. On an error, `batch` is left with what was not delivered.
    fn deliver(&mut self, batch: &mut Vec<u8>) -> Result<(), Failure>;

    /// Opens the target anew, after somebody has moved it away.
    fn reopen(&mut self) {}

    /// Lines are worth collecting for this long, up to about so many bytes.
    fn batching(&self) -> (Duration, usize) {
        (Duration::ZERO, 1 << 20)
    }
}

#[derive(Debug)]
pub(super) enum Failure {
    /// The same lines may be taken later.
    Later(String),
    /// They will never be taken.
    Never(String),
}

/// Tells the operator about an output, by a way that does not lead back into it.
pub(super) type Report = Arc<dyn Fn(&str) + Send + Sync>;

/// Dropping it lets the thread deliver what is queued and end.
pub(super) struct Output {
    pub name: String,
    form: Form,
    queue: Arc<Queue>,
}

impl Output {
    /// # Errors
    /// When the system grants no thread.
    pub fn start(
        name: &str,
        form: Form,
        limits: QueueLimits,
        totals: Arc<Totals>,
        sink: Box<dyn Sink>,
        report: Report,
    ) -> io::Result<Self> {
        let queue = Arc::new(Queue::new(limits, totals));
        let thread_queue = queue.clone();
        let thread_name = name.to_owned();
        // Linux shows 15 bytes of it; a NUL in it would be a panic.
        thread::Builder::new().name(format!("log-{}", name.escape_debug())).spawn(move || {
            run(&thread_name, &thread_queue, sink, &report);
            thread_queue.finish();
        })?;
        Ok(Self { name: name.to_owned(), form, queue })
    }

    pub fn write(&self, record: &Record<'_>) {
        self.queue.push(&self.form.line(record));
    }

    pub fn queue(&self) -> &Arc<Queue> {
        &self.queue
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        self.queue.close();
    }
}

const FIRST_DELAY: Duration = Duration::from_millis(250);
const LONGEST_DELAY: Duration = Duration::from_secs(30);
/// Of an output that was removed while its target does not answer.
const ATTEMPTS_AFTER_CLOSE: u32 = 5;

fn run(name: &str, queue: &Queue, mut sink: Box<dyn Sink>, report: &Report) {
    let (linger, bytes_max) = sink.batching();
    while let Some(Work { mut batch, reopen }) = queue.take(bytes_max, linger) {
        if reopen {
            sink.reopen();
        }
        let delivered = batch.is_empty() || persist(name, queue, sink.as_mut(), &mut batch, report);
        queue.done(delivered);
    }
}

/// Tries until the lines are delivered (true) or given up.
fn persist(name: &str, queue: &Queue, sink: &mut dyn Sink, batch: &mut Vec<u8>, report: &Report) -> bool {
    let mut delay = FIRST_DELAY;
    let (mut failures, mut failures_closed) = (0_u64, 0);
    loop {
        match sink.deliver(batch) {
            Ok(()) => {
                if failures > 0 {
                    report(&format!("log output `{name}` works again after {failures} failed attempts"));
                }
                return true;
            }
            Err(Failure::Never(why)) => {
                report(&format!("log output `{name}` refused lines, which are lost: {why}"));
                return false;
            }
            Err(Failure::Later(why)) => {
                if failures == 0 {
                    report(&format!("log output `{name}` does not work, trying again: {why}"));
                }
                failures += 1;
                failures_closed += u32::from(queue.is_closed());
                if !queue.pause(delay, failures_closed >= ATTEMPTS_AFTER_CLOSE) {
                    report(&format!("log output `{name}` was removed and its last lines are lost: {why}"));
                    return false;
                }
                if queue.take_reopen() {
                    sink.reopen();
                }
                delay = (delay * 2).min(LONGEST_DELAY);
            }
        }
    }
}
