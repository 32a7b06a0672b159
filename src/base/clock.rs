//! Time for what counts or waits: a value, so that tests are instant and repeatable.

use std::time::{Duration, SystemTime};
#[cfg(test)]
use std::{
    future::poll_fn,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::Poll,
};

use rustix::time::{ClockId, clock_gettime};

/// A clock that never goes back, never jumps and goes on while the machine sleeps (`CLOCK_BOOTTIME`: the standard
/// library's `Instant` stands still then, and what it measures would outlive its time). Its readings compare only
/// with each other.
#[derive(Clone, Debug)]
pub struct Clock(Source);

#[derive(Clone, Debug)]
enum Source {
    /// The reading that counts as zero.
    System(Duration),
    #[cfg(test)]
    Manual(Arc<AtomicU64>),
}

impl Clock {
    /// The clock of the machine, from zero.
    pub fn system() -> Self {
        Self(Source::System(since_boot()))
    }

    /// A clock that stands still until [`Clock::advance`] moves it.
    #[cfg(test)]
    pub fn manual() -> Self {
        Self(Source::Manual(Arc::default()))
    }

    /// Microseconds since the clock was made.
    pub fn micros(&self) -> u64 {
        match &self.0 {
            Source::System(start) => micros(since_boot().saturating_sub(*start)),
            #[cfg(test)]
            Source::Manual(now) => now.load(Ordering::SeqCst),
        }
    }

    /// What time others would say it is. It may jump: only for times that leave the process or come from outside.
    pub fn wall(&self) -> SystemTime {
        match &self.0 {
            Source::System(_) => SystemTime::now(),
            // The date of the examples in RFC 9110.
            #[cfg(test)]
            Source::Manual(_) => {
                SystemTime::UNIX_EPOCH
                    + Duration::from_secs(784_111_777)
                    + Duration::from_micros(self.micros())
            }
        }
    }

    /// Waits. The wait on a manual clock ends when the clock has been moved and it is polled again.
    pub async fn sleep(&self, duration: Duration) {
        match &self.0 {
            Source::System(_) => tokio::time::sleep(duration).await,
            #[cfg(test)]
            Source::Manual(now) => {
                let end = self.micros() + micros(duration);
                poll_fn(|_| match now.load(Ordering::SeqCst) >= end {
                    true => Poll::Ready(()),
                    false => Poll::Pending,
                })
                .await;
            }
        }
    }

    /// Moves a manual clock.
    #[cfg(test)]
    pub fn advance(&self, duration: Duration) {
        if let Source::Manual(now) = &self.0 {
            now.fetch_add(micros(duration), Ordering::SeqCst);
        }
    }
}

fn since_boot() -> Duration {
    let now = clock_gettime(ClockId::Boottime);
    Duration::new(now.tv_sec.unsigned_abs(), now.tv_nsec.unsigned_abs() as u32)
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[test]
    fn a_manual_clock_moves_only_when_told() {
        let clock = Clock::manual();
        let twin = clock.clone();
        assert_eq!(clock.micros(), 0);
        twin.advance(Duration::from_millis(3));
        assert_eq!(clock.micros(), 3000);
        assert!(clock.sleep(Duration::ZERO).now_or_never().is_some());
    }

    #[test]
    fn the_system_clock_never_goes_back() {
        let clock = Clock::system();
        let first = clock.micros();
        while clock.micros() == first {
            std::hint::spin_loop();
        }
        assert!(clock.micros() > first);
    }
}
