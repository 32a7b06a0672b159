//! Calls that many requests make at once for the same, made once.

use std::{
    collections::HashMap,
    future::Future,
    hash::Hash,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use crate::base::lock;

/// At most one call at a time for each key. A request gets what a call gives that began after it came: never what was
/// true only before. An error is good for all who waited for it: another call might take as long.
pub struct Flights<K: Copy + Eq + Hash, T> {
    seats: Mutex<HashMap<K, Arc<Seat<T>>>>,
    moments: AtomicU64,
}

/// The last call for a key: for whom it is good, those who came before that moment, and what it gave. Kept while somebody
/// waits.
struct Seat<T>(tokio::sync::Mutex<Option<(u64, T)>>);

/// Whoever goes last takes the seat along.
struct Sitting<'f, K: Copy + Eq + Hash, T> {
    flights: &'f Flights<K, T>,
    key: K,
    seat: Arc<Seat<T>>,
}

impl<K: Copy + Eq + Hash, T> Default for Flights<K, T> {
    fn default() -> Self {
        Self { seats: Mutex::default(), moments: AtomicU64::new(0) }
    }
}

impl<K: Copy + Eq + Hash, T: Clone, E: Clone> Flights<K, Result<T, E>> {
    /// What `call` gives, or what another one's call for this key gave.
    ///
    /// # Errors
    /// As of `call`.
    pub async fn join(&self, key: K, call: impl Future<Output = Result<T, E>>) -> Result<T, E> {
        let came = self.moment();
        let sitting = self.sit(key);
        let mut last = sitting.seat.0.lock().await;
        if let Some((until, given)) = &*last
            && *until > came
        {
            return given.clone();
        }
        let begun = self.moment();
        let given = call.await;
        let until = if given.is_ok() { begun } else { self.moment() };
        *last = Some((until, given.clone()));
        given
    }
}

impl<K: Copy + Eq + Hash, T> Flights<K, T> {
    fn moment(&self) -> u64 {
        self.moments.fetch_add(1, Ordering::Relaxed)
    }

    fn sit(&self, key: K) -> Sitting<'_, K, T> {
        let mut seats = lock(&self.seats);
        let seat = seats.entry(key).or_insert_with(|| Arc::new(Seat(tokio::sync::Mutex::new(None))));
        Sitting { flights: self, key, seat: Arc::clone(seat) }
    }
}

impl<K: Copy + Eq + Hash, T> Drop for Sitting<'_, K, T> {
    fn drop(&mut self) {
        let mut seats = lock(&self.flights.seats);
        // The map's and this one.
        if Arc::strong_count(&self.seat) == 2 {
            seats.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::atomic::AtomicUsize, time::Duration};

    use super::*;

    #[tokio::test]
    async fn what_many_ask_at_once_is_called_once_for_the_first_and_once_for_all_others() {
        let (flights, calls) = (Flights::default(), AtomicUsize::new(0));
        let call = || async {
            tokio::time::sleep(Duration::from_millis(5)).await;
            Ok::<_, ()>(calls.fetch_add(1, Ordering::Relaxed) + 1)
        };
        let asked = (0..100).map(|_| flights.join("key", call()));
        let given = futures_util::future::join_all(asked).await;
        assert_eq!(
            (given[0], &given[1..]),
            (Ok(1), &[Ok(2); 99][..]),
            "a call that had begun before is nobody else's"
        );
        assert!(lock(&flights.seats).is_empty(), "nothing is kept");
        assert_eq!(flights.join("key", call()).await, Ok(3));
    }

    #[tokio::test]
    async fn who_waited_for_a_call_that_failed_does_not_wait_for_another() {
        let (flights, calls) = (Flights::default(), AtomicUsize::new(0));
        let call = || async {
            tokio::time::sleep(Duration::from_millis(5)).await;
            Err::<(), _>(calls.fetch_add(1, Ordering::Relaxed) + 1)
        };
        let given = futures_util::future::join_all((0..100).map(|_| flights.join("key", call()))).await;
        assert_eq!(given, [Err(1); 100]);
        assert_eq!(flights.join("key", call()).await, Err(2), "who comes afterwards did not wait");
    }

    #[tokio::test]
    async fn a_caller_that_goes_away_leaves_the_call_to_the_next() {
        let flights = Flights::default();
        let gone = flights.join(1, std::future::pending::<Result<u32, ()>>());
        assert!(tokio::time::timeout(Duration::from_millis(1), gone).await.is_err());
        assert_eq!(flights.join(1, async { Ok(7) }).await, Ok(7));
        assert!(lock(&flights.seats).is_empty());
    }
}
