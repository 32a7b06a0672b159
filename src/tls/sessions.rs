//! Sessions with clients that rustls can resume, until all of them are forgotten.

use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::{
    Error,
    crypto::aws_lc_rs,
    server::{ProducesTickets, ServerSessionMemoryCache, StoresServerSessions},
};

/// Sessions of TLS 1.2 clients without tickets, for each port.
pub const SESSIONS_MAX: usize = 1024;

/// The keys of the tickets, and what is kept for those who take none. No single ticket can be called back, so who must not
/// resume has everybody begin anew.
#[derive(Debug)]
pub struct Sessions(ArcSwap<Kept>);

#[derive(Debug)]
struct Kept {
    tickets: Arc<dyn ProducesTickets>,
    others: Arc<dyn StoresServerSessions>,
}

impl Sessions {
    /// # Errors
    /// There is no randomness.
    pub fn new() -> Result<Self, Error> {
        Ok(Self(ArcSwap::from_pointee(Kept::new()?)))
    }

    /// No session is resumed that was made up to now.
    pub fn forget(&self) {
        match Kept::new() {
            Ok(new) => self.0.store(Arc::new(new)),
            Err(error) => tracing::error!(%error, "TLS sessions stay"),
        }
    }
}

impl Kept {
    fn new() -> Result<Self, Error> {
        let (tickets, others) = (aws_lc_rs::Ticketer::new()?, ServerSessionMemoryCache::new(SESSIONS_MAX));
        Ok(Self { tickets, others })
    }
}

impl ProducesTickets for Sessions {
    fn enabled(&self) -> bool {
        self.0.load().tickets.enabled()
    }

    fn lifetime(&self) -> u32 {
        self.0.load().tickets.lifetime()
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        self.0.load().tickets.encrypt(plain)
    }

    fn decrypt(&self, cipher: &[u8]) -> Option<Vec<u8>> {
        self.0.load().tickets.decrypt(cipher)
    }
}

impl StoresServerSessions for Sessions {
    fn put(&self, key: Vec<u8>, value: Vec<u8>) -> bool {
        self.0.load().others.put(key, value)
    }

    fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.0.load().others.get(key)
    }

    fn take(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.0.load().others.take(key)
    }

    fn can_cache(&self) -> bool {
        self.0.load().others.can_cache()
    }
}
