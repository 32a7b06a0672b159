//! Deadlines on one coarse tick per worker: arming one is a store, no timer is created for it.

use std::{
    cell::{Cell, RefCell},
    rc::{Rc, Weak},
    task::{Context, Waker},
    time::{Duration, Instant},
};

/// How often deadlines are looked at: they fire up to this much late, never early.
pub const TICK: Duration = Duration::from_millis(50);

/// Deadlines are milliseconds since the worker started, 0 is none.
type Millis = u64;

/// What a connection is waiting for, at most one of each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timer {
    /// The connection itself: idle between requests, a head that does not end, lingering.
    Connection,
    /// The head of the upstream's response.
    Response,
    /// Nothing moves on the stream.
    StreamIdle,
    /// The upstream's `100 (Continue)`.
    Continue,
}

const TIMERS: usize = 4;

/// The clock and all deadlines of one worker.
pub struct Timers {
    started: Cell<Instant>,
    now: Cell<Millis>,
    watches: RefCell<Vec<Weak<Watch>>>,
}

/// The deadlines of one connection.
pub struct Watch {
    timers: Rc<Timers>,
    deadlines: [Cell<Millis>; TIMERS],
    periods: [Cell<Millis>; TIMERS],
    /// Since when the response to the request under way is awaited.
    awaiting: Cell<Option<Instant>>,
    sleeper: Sleeper,
}

/// The task that is to be woken, if there is one.
#[derive(Default)]
pub struct Sleeper(RefCell<Option<Waker>>);

impl Sleeper {
    /// Notes the task to wake.
    pub fn register(&self, cx: &Context<'_>) {
        let mut waker = self.0.borrow_mut();
        if !waker.as_ref().is_some_and(|known| known.will_wake(cx.waker())) {
            *waker = Some(cx.waker().clone());
        }
    }

    pub fn wake(&self) {
        if let Some(waker) = &*self.0.borrow() {
            waker.wake_by_ref();
        }
    }
}

impl Timers {
    pub fn new() -> Rc<Self> {
        Rc::new(Self { started: Cell::new(Instant::now()), now: Cell::new(1), watches: RefCell::default() })
    }

    /// A new set of deadlines, none armed.
    pub fn watch(self: &Rc<Self>) -> Rc<Watch> {
        let watch = Rc::new(Watch {
            timers: Rc::clone(self),
            deadlines: Default::default(),
            periods: Default::default(),
            awaiting: Cell::default(),
            sleeper: Sleeper::default(),
        });
        self.watches.borrow_mut().push(Rc::downgrade(&watch));
        watch
    }

    /// The coarse time since the worker started, up to a tick behind.
    pub fn now(&self) -> Duration {
        Duration::from_millis(self.now.get())
    }

    /// Wakes every connection, so that it looks at what has changed.
    pub fn wake_all(&self) {
        for watch in self.watches.borrow().iter().filter_map(Weak::upgrade) {
            watch.wake();
        }
    }

    /// As if so much more time had passed.
    #[cfg(test)]
    pub fn skip(&self, time: Duration) {
        self.started.set(self.started.get() - time);
        self.tick();
    }

    /// Ticks for as long as it is polled. Call once a worker.
    pub async fn run(self: Rc<Self>) {
        let mut interval = tokio::time::interval(TICK);
        interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        loop {
            interval.tick().await;
            self.tick();
        }
    }

    /// Wakes whatever is due and forgets connections that are gone.
    fn tick(&self) {
        let now = self.started.get().elapsed().as_millis() as Millis + 1;
        self.now.set(now);
        self.watches.borrow_mut().retain(|watch| match watch.upgrade() {
            Some(watch) => {
                watch.wake_if_due(now);
                true
            }
            None => false,
        });
    }
}

impl Watch {
    /// Arms a deadline `period` from now; zero disarms it.
    pub fn arm(&self, timer: Timer, period: Duration) {
        // Less than a millisecond is not none.
        let period = period.as_millis().max(u128::from(!period.is_zero())) as Millis;
        self.periods[timer as usize].set(period);
        // The coarse clock is up to a tick behind: never early.
        let tick = TICK.as_millis() as Millis;
        let deadline = if period == 0 { 0 } else { self.timers.now.get() + period + tick };
        self.deadlines[timer as usize].set(deadline);
    }

    /// The request has been sent: the wait for its response begins, with the response timeout as its deadline.
    pub fn await_response(&self, timeout: Duration) {
        self.awaiting.set(Some(Instant::now()));
        self.arm(Timer::Response, timeout);
    }

    /// How long the response was awaited; zero where it came before the end of the request. The wait is over.
    pub fn awaited(&self) -> Duration {
        self.awaiting.take().map(|since| since.elapsed()).unwrap_or_default()
    }

    pub fn disarm(&self, timer: Timer) {
        self.deadlines[timer as usize].set(0);
    }

    /// Disarms every deadline, so that another request can use them.
    pub fn disarm_all(&self) {
        self.deadlines.iter().for_each(|deadline| deadline.set(0));
        self.awaiting.set(None);
    }

    /// Starts a period anew, if it is armed: something has moved.
    pub fn restart(&self, timer: Timer) {
        let deadline = &self.deadlines[timer as usize];
        if deadline.get() != 0 {
            let tick = TICK.as_millis() as Millis;
            deadline.set(self.timers.now.get() + self.periods[timer as usize].get() + tick);
        }
    }

    pub fn is_due(&self, timer: Timer) -> bool {
        let deadline = self.deadlines[timer as usize].get();
        deadline != 0 && deadline <= self.timers.now.get()
    }

    /// Notes the task to wake when a deadline is due. One task polls everything of a connection.
    pub fn register(&self, cx: &Context<'_>) {
        self.sleeper.register(cx);
    }

    /// Wakes the task for another reason than a deadline.
    pub fn wake(&self) {
        self.sleeper.wake();
    }

    fn wake_if_due(&self, now: Millis) {
        if self.deadlines.iter().any(|deadline| deadline.get() != 0 && deadline.get() <= now) {
            self.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_is_never_early_and_restarts_when_something_moves() {
        let timers = Timers::new();
        let watch = timers.watch();
        assert!(!watch.is_due(Timer::Response));
        watch.arm(Timer::Response, Duration::from_millis(100));
        timers.now.set(timers.now.get() + 100);
        assert!(!watch.is_due(Timer::Response));
        watch.restart(Timer::Response);
        timers.now.set(timers.now.get() + 120);
        assert!(!watch.is_due(Timer::Response));
        timers.now.set(timers.now.get() + 60);
        assert!(watch.is_due(Timer::Response));
        watch.disarm(Timer::Response);
        assert!(!watch.is_due(Timer::Response));
    }

    #[test]
    fn less_than_a_millisecond_is_a_deadline() {
        let timers = Timers::new();
        let watch = timers.watch();
        watch.arm(Timer::StreamIdle, Duration::from_micros(500));
        timers.now.set(timers.now.get() + 1 + TICK.as_millis() as Millis);
        assert!(watch.is_due(Timer::StreamIdle));
    }

    #[test]
    fn zero_is_no_deadline() {
        let timers = Timers::new();
        let watch = timers.watch();
        watch.arm(Timer::StreamIdle, Duration::ZERO);
        watch.restart(Timer::StreamIdle);
        timers.now.set(u64::MAX);
        assert!(!watch.is_due(Timer::StreamIdle));
    }

    #[test]
    fn connections_that_are_gone_are_forgotten() {
        let timers = Timers::new();
        drop(timers.watch());
        let kept = timers.watch();
        timers.tick();
        assert_eq!(timers.watches.borrow().len(), 1);
        drop(kept);
    }
}
