//! Sessions with clients that can be resumed, until all of them are forgotten: no single ticket can be called back.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use arc_swap::{ArcSwap, Guard};
use rustls::{
    Error,
    crypto::aws_lc_rs,
    server::{ProducesTickets, ServerSessionMemoryCache, StoresServerSessions},
};

use crate::base::lock;

/// Sessions of TLS 1.2 clients without tickets, for each port.
pub const SESSIONS_MAX: u16 = 1024;

/// Who must not resume has everybody begin anew: not more often than this.
const FORGET_PERIOD: Duration = Duration::from_secs(30);

/// What a backend resumes sessions with.
#[derive(Debug)]
pub struct Sessions<T> {
    kept: ArcSwap<T>,
    forgotten: Mutex<Option<Instant>>,
}

impl<T> Sessions<T> {
    pub fn new(kept: T) -> Self {
        Self { kept: ArcSwap::from_pointee(kept), forgotten: Mutex::default() }
    }

    pub fn load(&self) -> Guard<Arc<T>> {
        self.kept.load()
    }

    /// No session is resumed that was made up to now, unless that was so not long ago.
    pub fn forget<E: std::fmt::Display>(&self, anew: impl FnOnce() -> Result<T, E>) {
        let mut forgotten = lock(&self.forgotten);
        if forgotten.is_some_and(|at| at.elapsed() < FORGET_PERIOD) {
            return;
        }
        match anew() {
            Ok(kept) => {
                self.kept.store(Arc::new(kept));
                *forgotten = Some(Instant::now());
            }
            Err(error) => tracing::error!(%error, "TLS sessions stay"),
        }
    }
}

/// For rustls: the keys of its tickets, and what is kept for those who take none.
#[derive(Debug)]
pub struct RustlsSessions {
    tickets: Arc<dyn ProducesTickets>,
    others: Arc<dyn StoresServerSessions>,
}

impl RustlsSessions {
    /// # Errors
    /// There is no randomness.
    pub fn new() -> Result<Self, Error> {
        let (tickets, others) =
            (aws_lc_rs::Ticketer::new()?, ServerSessionMemoryCache::new(SESSIONS_MAX.into()));
        Ok(Self { tickets, others })
    }
}

impl ProducesTickets for Sessions<RustlsSessions> {
    fn enabled(&self) -> bool {
        self.load().tickets.enabled()
    }

    fn lifetime(&self) -> u32 {
        self.load().tickets.lifetime()
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        self.load().tickets.encrypt(plain)
    }

    fn decrypt(&self, cipher: &[u8]) -> Option<Vec<u8>> {
        self.load().tickets.decrypt(cipher)
    }
}

impl StoresServerSessions for Sessions<RustlsSessions> {
    fn put(&self, key: Vec<u8>, value: Vec<u8>) -> bool {
        self.load().others.put(key, value)
    }

    fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.load().others.get(key)
    }

    fn take(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.load().others.take(key)
    }

    fn can_cache(&self) -> bool {
        self.load().others.can_cache()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tickets_are_void_when_they_are_forgotten_which_is_not_done_again_soon() {
        let sessions = Sessions::new(RustlsSessions::new().unwrap());
        let is_good = |ticket: &[u8]| sessions.decrypt(ticket).as_deref() == Some(b"a session");
        let ticket = || sessions.encrypt(b"a session").unwrap();
        let first = ticket();
        assert!(is_good(&first));
        sessions.forget(RustlsSessions::new);
        assert!(!is_good(&first));
        let second = ticket();
        sessions.forget(RustlsSessions::new);
        assert!(is_good(&second), "one client cannot have all others make full handshakes all the time");
    }
}
