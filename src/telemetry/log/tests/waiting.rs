//! What waits for an output, how it is taken, and what ends a wait.

use std::{
    sync::{Arc, atomic::Ordering::Relaxed, mpsc},
    thread,
    time::{Duration, Instant},
};

use super::{
    super::{
        output::{Failure, Output, Sink},
        queue::{Queue, QueueLimits, SEGMENT_BYTES_MAX, Totals, Work},
        record::Form,
        template::Template,
    },
    SOON, record,
};

fn queue(bytes: usize) -> Queue {
    Queue::new(QueueLimits { bytes, lines: usize::MAX }, Arc::default())
}

/// A line of so many bytes.
fn line(bytes: usize) -> String {
    "x".repeat(bytes - 1) + "\n"
}

fn started(name: &str, limits: QueueLimits, totals: &Arc<Totals>, sink: impl Sink + 'static) -> Output {
    let form = Form::Template(Template::parse("{message}").0);
    Output::start(name, form, limits, totals.clone(), Box::new(sink), Arc::new(|_| {})).expect("a thread")
}

fn totals(totals: &Totals) -> (u64, u64) {
    (totals.written.load(Relaxed), totals.dropped.load(Relaxed))
}

#[test]
fn batches_are_whole_lines_of_about_the_size_asked_for() {
    let lines = Arc::default();
    let queue = Queue::new(QueueLimits { bytes: 1 << 20, lines: 100 }, Arc::clone(&lines));
    let third = SEGMENT_BYTES_MAX / 3;
    let long = 2 * SEGMENT_BYTES_MAX;
    for bytes in [third; 7].into_iter().chain([long]) {
        queue.push(&line(bytes));
    }
    let mut sizes = Vec::new();
    while queue.held_bytes() > 0 {
        let Work { batch, reopen } = queue.take(2 * SEGMENT_BYTES_MAX, Duration::ZERO).expect("lines");
        assert!(batch.ends_with(b"\n") && !reopen);
        sizes.push((batch.len(), batch.iter().filter(|byte| **byte == b'\n').count()));
        queue.done(sizes.len() > 1);
    }
    assert_eq!(sizes, [(6 * third, 6), (third, 1), (long, 1)]);
    queue.close();
    assert_eq!(queue.take(1, Duration::ZERO), None);
    assert_eq!(totals(&lines), (2, 6));
}

#[test]
fn lingering_ends_as_soon_as_a_batch_or_half_of_the_buffer_waits() {
    for (batch, buffer) in [(10_000, 1 << 20), (1 << 20, 20_000)] {
        let queue = Arc::new(queue(buffer));
        let (sent, taken) = mpsc::channel();
        let taker = queue.clone();
        thread::spawn(move || sent.send(taker.take(batch, 3 * SOON)));
        let until = Instant::now() + SOON;
        let work = loop {
            queue.push(&line(1_000));
            // Line by line, so that the other thread lingers meanwhile.
            match taken.recv_timeout(Duration::from_millis(5)) {
                Ok(work) => break work.expect("lines"),
                Err(_) => assert!(Instant::now() < until, "{} bytes wait", queue.held_bytes()),
            }
        };
        assert!(work.batch.len() >= 10_000, "{}", work.batch.len());
    }
}

#[test]
fn a_large_backlog_is_taken_without_moving_what_stays() {
    let queue = queue(1 << 30);
    let long = line(SEGMENT_BYTES_MAX / 2);
    (0..4_096).for_each(|_| queue.push(&long));
    let begun = Instant::now();
    let mut batches = 0;
    while queue.held_bytes() > 0 {
        let work = queue.take(SEGMENT_BYTES_MAX, Duration::ZERO).expect("lines");
        assert_eq!(work.batch.len(), SEGMENT_BYTES_MAX);
        queue.done(true);
        batches += 1;
    }
    assert_eq!(batches, 2_048);
    // Moving 128 MiB for each batch would take many times longer.
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
}

/// Takes nothing until the other end of its channel goes.
struct Stuck(mpsc::Receiver<()>);

impl Sink for Stuck {
    fn deliver(&mut self, batch: &mut Vec<u8>) -> Result<(), Failure> {
        let _ = self.0.recv();
        batch.clear();
        Ok(())
    }
}

#[test]
fn an_output_that_hangs_never_blocks_a_writer_and_drops_are_counted() {
    for (limits, fits) in
        [(QueueLimits { bytes: 1000, lines: 1_000_000 }, 10), (QueueLimits { bytes: 1 << 30, lines: 7 }, 7)]
    {
        let (release, gate) = mpsc::channel();
        let lines = Arc::default();
        let output = started("hung", limits, &lines, Stuck(gate));
        let message = "x".repeat(99);
        for _ in 0..500 {
            output.write(&record(&message));
        }
        assert_eq!(totals(&lines), (0, 500 - fits));
        assert_eq!(output.queue().held_bytes() as u64, fits * 100, "what the thread holds counts too");
        assert!(!output.queue().flush(Instant::now() + Duration::from_millis(20)), "the deadline is kept");
        drop(release);
        assert!(output.queue().flush(Instant::now() + SOON));
        assert_eq!(totals(&lines), (fits, 500 - fits));
    }
}

/// Fails until it is opened anew, and tells of each attempt.
struct Moved {
    attempts: mpsc::Sender<()>,
    reopened: bool,
}

impl Sink for Moved {
    fn deliver(&mut self, batch: &mut Vec<u8>) -> Result<(), Failure> {
        let _ = self.attempts.send(());
        if !self.reopened {
            return Err(Failure::Later("it was moved".to_owned()));
        }
        batch.clear();
        Ok(())
    }

    fn reopen(&mut self) {
        self.reopened = true;
    }
}

#[test]
fn a_reopening_ends_the_pause_between_two_attempts() {
    let paused = Arc::new(queue(1_000));
    let (sent, over) = mpsc::channel();
    let pausing = paused.clone();
    thread::spawn(move || sent.send(pausing.pause(3 * SOON, false)));
    paused.reopen();
    assert_eq!(over.recv_timeout(SOON), Ok(true));

    let (attempts, seen) = mpsc::channel();
    let limits = QueueLimits { bytes: 1_000, lines: 10 };
    let output = started("moved", limits, &Arc::default(), Moved { attempts, reopened: false });
    output.write(&record("m"));
    seen.recv_timeout(SOON).expect("an attempt");
    output.queue().reopen();
    assert!(output.queue().flush(Instant::now() + SOON), "opened anew before the next attempt");
}

#[test]
fn a_name_that_no_thread_can_have_ends_nothing() {
    let (_, gate) = mpsc::channel();
    let output = started("a\0b", QueueLimits { bytes: 1_000, lines: 10 }, &Arc::default(), Stuck(gate));
    output.write(&record("m"));
    assert!(output.queue().flush(Instant::now() + SOON));
}
