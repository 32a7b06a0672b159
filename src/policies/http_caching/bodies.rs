//! Bodies that came from the storage, for as long as somebody is still sent one: each counts once for the budget, however
//! many are sent it.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, Weak},
};

use bytes::Bytes;

use crate::{base::lock, policy::Budget};

pub struct Bodies {
    budget: Arc<Budget>,
    /// By the number of their writing.
    held: Mutex<HashMap<u64, Weak<Held>>>,
}

/// Below this number nobody looks for those that are gone.
const SWEEP_FROM: usize = 64;

struct Held {
    bytes: Bytes,
    budget: Arc<Budget>,
}

struct Share(Arc<Held>);

impl AsRef<[u8]> for Share {
    fn as_ref(&self) -> &[u8] {
        &self.0.bytes
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.budget.give_back(self.bytes.len());
    }
}

impl Bodies {
    pub fn new(budget: &Arc<Budget>) -> Self {
        Self { budget: Arc::clone(budget), held: Mutex::default() }
    }

    /// The same bytes, shared with those that are sent them already; `None`: there is no room for them.
    pub fn hold(&self, number: u64, bytes: Bytes) -> Option<Bytes> {
        if bytes.is_empty() {
            return Some(bytes);
        }
        let known = lock(&self.held).get(&number).and_then(Weak::upgrade);
        // Who can write to the storage may have given two the same number.
        if let Some(known) = known.filter(|known| known.bytes == bytes) {
            return Some(Bytes::from_owner(Share(known)));
        }
        self.budget.take(bytes.len());
        let held = Arc::new(Held { bytes, budget: Arc::clone(&self.budget) });
        self.budget.make_room();
        if self.budget.bytes() > self.budget.bytes_max() {
            return None;
        }
        let mut all = lock(&self.held);
        if all.len() >= SWEEP_FROM && all.len() == all.capacity() {
            all.retain(|_, held| held.strong_count() > 0);
        }
        all.insert(number, Arc::downgrade(&held));
        Some(Bytes::from_owner(Share(held)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_body_counts_once_until_the_last_is_sent_and_what_does_not_fit_is_not_held() {
        let budget = Arc::new(Budget::new(10));
        let bodies = Bodies::new(&budget);
        let body = || Bytes::from(b"12345678".to_vec());
        let sent: Vec<_> = (0..100).map(|_| bodies.hold(1, body()).unwrap()).collect();
        assert_eq!((budget.bytes(), &sent[99][..]), (8, &b"12345678"[..]));
        assert_eq!(bodies.hold(1, Bytes::from_static(b"abc")), None, "another one by the same number");
        assert_eq!(bodies.hold(2, body()), None);
        drop(sent);
        assert_eq!(budget.bytes(), 0);
        assert!(bodies.hold(2, body()).is_some());
    }

    #[test]
    fn those_that_are_gone_are_not_remembered() {
        let budget = Arc::new(Budget::new(10));
        let bodies = Bodies::new(&budget);
        for number in 0..10_000 {
            let _ = bodies.hold(number, Bytes::from_static(b"1"));
        }
        assert!(lock(&bodies.held).len() < 1000);
    }
}
