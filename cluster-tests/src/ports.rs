//! Ports that stay reserved until they are used.
//!
//! They lie below the ephemeral range (32768 and up on Linux), so that no outgoing connection can take one between the
//! release by the reservation and the bind by the gateway.

use std::collections::HashSet;
use std::net::TcpListener;
use std::sync::Mutex;

use crate::lock;

const FIRST: u16 = 18_000;
const LAST: u16 = 31_999;
/// The vendor keeps it for itself; an instance must not use it (configuration reference 1).
const FORBIDDEN: u16 = 9_998;

static TAKEN: Mutex<Option<HashSet<u16>>> = Mutex::new(None);

/// A port nobody else in this process gets, held by a socket until [`Port::release`].
#[derive(Debug)]
pub struct Port {
    number: u16,
    held: Option<TcpListener>,
}

impl Port {
    /// Reserves a free port on every address.
    ///
    /// # Panics
    /// When no port is free.
    #[must_use]
    pub fn reserve() -> Self {
        for _ in 0..2_000 {
            let number = fastrand::u16(FIRST..=LAST);
            // First: what another test has released is to be bound by its gateway, and not for a moment by this.
            if number == FORBIDDEN || !lock(&TAKEN).get_or_insert_default().insert(number) {
                continue;
            }
            if let Ok(listener) = TcpListener::bind(("0.0.0.0", number)) {
                return Self { number, held: Some(listener) };
            }
        }
        panic!("no free port between {FIRST} and {LAST}");
    }

    /// The number.
    #[must_use]
    pub fn number(&self) -> u16 {
        self.number
    }

    /// Closes the holding socket: whoever is meant to use the port binds it now.
    pub fn release(&mut self) -> u16 {
        self.held = None;
        self.number
    }
}

/// A port for immediate use by a gateway that is about to start.
#[must_use]
pub fn free() -> u16 {
    Port::reserve().release()
}
