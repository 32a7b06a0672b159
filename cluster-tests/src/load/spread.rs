//! Clients spread over several replicas, and every answer with who gave it and when.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::{TOLD_MAX, get_bytes};
use crate::client::{Client, Response};

/// After a failure a client waits this long before it connects again: a replica that is gone is not hammered.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_millis(20);

/// Who asks whom for what.
#[derive(Clone)]
pub struct Spread {
    /// The replicas. Client `i` stays with the replica `i % n`, also while it is gone.
    pub addresses: Vec<SocketAddr>,
    /// Clients, each with a connection that it keeps for as long as the server lets it.
    pub connections: usize,
    /// A GET as bytes.
    pub request: Vec<u8>,
    /// Each client waits so long between an answer and its next request.
    pub pause: Duration,
}

/// One answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answer {
    /// The place of the replica in [`Spread::addresses`].
    pub replica: usize,
    pub status: u16,
    /// When it was asked for, since the load began.
    pub asked: Duration,
    /// When it was there as a whole, since the load began.
    pub answered: Duration,
}

/// A request without an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    pub replica: usize,
    /// Since the load began.
    pub at: Duration,
}

/// What happened.
#[derive(Debug, Clone, Default)]
pub struct Counted {
    /// In the order in which they came.
    pub answers: Vec<Answer>,
    pub failures: Vec<Failure>,
    /// The first failures in words.
    pub told: Vec<String>,
}

impl Counted {
    /// Answers with this status.
    #[must_use]
    pub fn status(&self, status: u16) -> usize {
        self.answers.iter().filter(|answer| answer.status == status).count()
    }

    /// Answers by status.
    #[must_use]
    pub fn by_status(&self) -> BTreeMap<u16, usize> {
        let mut counts = BTreeMap::new();
        for answer in &self.answers {
            *counts.entry(answer.status).or_default() += 1;
        }
        counts
    }

    /// Answers with this status by the second in which they came.
    #[must_use]
    pub fn per_second(&self, status: u16) -> Vec<usize> {
        let mut counts = Vec::new();
        for answer in self.answers.iter().filter(|answer| answer.status == status) {
            let second = answer.answered.as_secs() as usize;
            counts.resize(counts.len().max(second + 1), 0);
            counts[second] += 1;
        }
        counts
    }

    /// What one replica answered, and what failed at it.
    #[must_use]
    pub fn of(&self, replica: usize) -> Self {
        Self {
            answers: self.answers.iter().copied().filter(|answer| answer.replica == replica).collect(),
            failures: self.failures.iter().filter(|failure| failure.replica == replica).cloned().collect(),
            told: self.told.clone(),
        }
    }
}

/// Running clients; they stop with the value.
pub struct Spreading {
    shared: Arc<Shared>,
    clients: Vec<JoinHandle<Counted>>,
}

struct Shared {
    work: Spread,
    began: Instant,
    stop: AtomicBool,
    failed: AtomicU64,
    statuses: Mutex<BTreeMap<u16, u64>>,
}

impl Spread {
    /// So many clients that ask for a path without a pause.
    #[must_use]
    pub fn over(addresses: &[SocketAddr], connections: usize, path: &str) -> Self {
        Self { addresses: addresses.to_vec(), connections, request: get_bytes(path), pause: Duration::ZERO }
    }

    /// Starts the clients.
    #[must_use]
    pub fn start(self) -> Spreading {
        let connections = self.connections;
        let shared = Arc::new(Shared {
            work: self,
            began: Instant::now(),
            stop: AtomicBool::new(false),
            failed: AtomicU64::new(0),
            statuses: Mutex::default(),
        });
        let client = |index| {
            let shared = Arc::clone(&shared);
            std::thread::spawn(move || shared.run(index))
        };
        let clients = (0..connections).map(client).collect();
        Spreading { shared, clients }
    }

    /// Runs the clients for so long.
    #[must_use]
    pub fn run_for(self, time: Duration) -> Counted {
        let running = self.start();
        std::thread::sleep(time);
        running.stop()
    }
}

impl Spreading {
    /// Answers with this status so far.
    #[must_use]
    pub fn status(&self, status: u16) -> u64 {
        crate::lock(&self.shared.statuses).get(&status).copied().unwrap_or(0)
    }

    /// Requests without an answer so far.
    #[must_use]
    pub fn failed(&self) -> u64 {
        self.shared.failed.load(Ordering::Relaxed)
    }

    /// How long it runs.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.shared.began.elapsed()
    }

    /// Stops the clients after their current request.
    ///
    /// # Panics
    /// When a client panicked.
    #[must_use]
    pub fn stop(mut self) -> Counted {
        self.shared.stop.store(true, Ordering::Relaxed);
        let mut all = Counted::default();
        for client in self.clients.drain(..) {
            let counted = client.join().expect("a client does not panic");
            all.answers.extend(counted.answers);
            all.failures.extend(counted.failures);
            all.told.extend(counted.told);
        }
        all.answers.sort_by_key(|answer| answer.answered);
        all.failures.sort_by_key(|failure| failure.at);
        all.told.truncate(TOLD_MAX);
        all
    }
}

impl Drop for Spreading {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
    }
}

impl Shared {
    fn run(&self, index: usize) -> Counted {
        let replica = index % self.work.addresses.len();
        let mut counted = Counted::default();
        let mut kept: Option<Client> = None;
        while !self.stop.load(Ordering::Relaxed) {
            let asked = self.began.elapsed();
            match self.ask(replica, kept.take()) {
                Ok((response, client)) => {
                    let (status, answered) = (response.status, self.began.elapsed());
                    counted.answers.push(Answer { replica, status, asked, answered });
                    *crate::lock(&self.statuses).entry(status).or_default() += 1;
                    kept = (!response.closes()).then_some(client);
                    if !self.work.pause.is_zero() {
                        std::thread::sleep(self.work.pause);
                    }
                }
                Err(error) => {
                    counted.failures.push(Failure { replica, at: self.began.elapsed() });
                    self.failed.fetch_add(1, Ordering::Relaxed);
                    if counted.told.len() < TOLD_MAX {
                        counted.told.push(format!("replica {replica} at {asked:?}: {error}"));
                    }
                    std::thread::sleep(PAUSE_AFTER_FAILURE);
                }
            }
        }
        counted
    }

    fn ask(&self, replica: usize, kept: Option<Client>) -> std::io::Result<(Response, Client)> {
        let mut client = match kept {
            Some(client) => client,
            None => Client::try_connect(self.work.addresses[replica])?,
        };
        let response = client.exchange("GET", &self.work.request)?;
        Ok((response, client))
    }
}
