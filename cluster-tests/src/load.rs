//! Many clients at once that count what went wrong; [`Spread`] asks several replicas.

mod spread;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

pub use spread::{Answer, Counted, Failure, Spread, Spreading};

use crate::client::{Client, Response};
use crate::lock;

/// Failures that are kept in words; the rest is only counted.
const TOLD_MAX: usize = 20;

/// What a client does when the server says `Connection: close`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnClose {
    /// Opens a new connection to the same address.
    Reconnect,
    /// Goes elsewhere, as behind a load balancer: this client is done.
    Leave,
}

/// Judges the answer to the request of this number.
pub type Check = dyn Fn(u64, &Response) -> Result<(), String> + Send + Sync;

/// Who asks for what, and what counts as right.
pub struct Work {
    pub address: SocketAddr,
    /// Clients that keep their connection.
    pub kept: usize,
    /// Clients that open one connection per request.
    pub fresh: usize,
    pub on_close: OnClose,
    /// A request as bytes, by a number no other request of this load has; always a GET or a POST with its own length.
    pub request: Arc<dyn Fn(u64) -> Vec<u8> + Send + Sync>,
    /// `Err` says what is wrong with an answer.
    pub check: Arc<Check>,
}

/// Running clients.
pub struct Load {
    counts: Arc<Counts>,
    clients: Vec<JoinHandle<()>>,
}

#[derive(Default)]
struct Counts {
    stop: AtomicBool,
    answered: AtomicU64,
    failed: AtomicU64,
    left: AtomicU64,
    told: Mutex<Vec<String>>,
}

/// What was counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tally {
    pub answered: u64,
    pub failed: u64,
    /// Clients that went elsewhere because the server asked them to.
    pub left: u64,
    /// The first failures in words.
    pub told: Vec<String>,
}

impl Tally {
    /// # Panics
    /// When anything failed, or nothing was asked.
    pub fn assert_clean(&self) {
        assert_eq!(self.failed, 0, "of {} requests: {:#?}", self.answered + self.failed, self.told);
        assert!(self.answered > 0, "the load asked nothing");
    }
}

impl Load {
    #[must_use]
    pub fn start(work: Work) -> Self {
        let (work, counts) = (Arc::new(work), Arc::new(Counts::default()));
        let clients = (0..work.kept + work.fresh)
            .map(|index| {
                let (work, counts) = (Arc::clone(&work), Arc::clone(&counts));
                std::thread::spawn(move || run(&work, &counts, index))
            })
            .collect();
        Self { counts, clients }
    }

    /// Requests answered so far.
    #[must_use]
    pub fn answered(&self) -> u64 {
        self.counts.answered.load(Ordering::Relaxed)
    }

    /// Requests that failed so far.
    #[must_use]
    pub fn failed(&self) -> u64 {
        self.counts.failed.load(Ordering::Relaxed)
    }

    /// Whether every client left.
    #[must_use]
    pub fn all_left(&self) -> bool {
        self.clients.iter().all(JoinHandle::is_finished)
    }

    /// Stops the clients after their current request.
    ///
    /// # Panics
    /// When a client thread panicked.
    #[must_use]
    pub fn stop(self) -> Tally {
        self.counts.stop.store(true, Ordering::Relaxed);
        for client in self.clients {
            client.join().expect("a client does not panic");
        }
        let counts = &self.counts;
        Tally {
            answered: counts.answered.load(Ordering::Relaxed),
            failed: counts.failed.load(Ordering::Relaxed),
            left: counts.left.load(Ordering::Relaxed),
            told: lock(&counts.told).clone(),
        }
    }
}

/// The longest time between two of these moments that follow each other; none: zero.
#[must_use]
pub fn longest_pause(times: impl IntoIterator<Item = Duration>) -> Duration {
    let mut times: Vec<_> = times.into_iter().collect();
    times.sort();
    times.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or_default()
}

fn run(work: &Work, counts: &Counts, index: usize) {
    let keeps = index < work.kept;
    let mut kept: Option<Client> = None;
    let mut number = index as u64;
    while !counts.stop.load(Ordering::Relaxed) {
        number += (work.kept + work.fresh) as u64;
        let reused = kept.is_some();
        match ask(work, kept.take(), number) {
            Ok((response, client)) => {
                match (work.check)(number, &response) {
                    Ok(()) => drop(counts.answered.fetch_add(1, Ordering::Relaxed)),
                    Err(why) => fail(counts, format!("request {number}: {why}")),
                }
                if response.closes() && work.on_close == OnClose::Leave {
                    counts.left.fetch_add(1, Ordering::Relaxed);
                    return;
                }
                kept = if keeps && !response.closes() { Some(client) } else { None };
            }
            Err(error) => fail(counts, format!("request {number}, reused connection {reused}: {error}")),
        }
    }
}

fn ask(work: &Work, kept: Option<Client>, number: u64) -> std::io::Result<(Response, Client)> {
    let mut client = match kept {
        Some(client) => client,
        None => Client::try_connect(work.address)?,
    };
    let request = (work.request)(number);
    let method = if request.starts_with(b"POST") { "POST" } else { "GET" };
    let response = client.exchange(method, &request)?;
    Ok((response, client))
}

fn fail(counts: &Counts, why: String) {
    counts.failed.fetch_add(1, Ordering::Relaxed);
    let mut told = lock(&counts.told);
    if told.len() < TOLD_MAX {
        told.push(why);
    }
}

/// A GET as bytes.
#[must_use]
pub fn get_bytes(path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: gateway.test\r\n\r\n").into_bytes()
}
