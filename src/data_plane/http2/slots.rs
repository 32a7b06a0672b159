//! The streams of a connection, each in a place of its own. A place serves one stream after the other, so that a stream
//! costs no allocation and no copy of its future, and what it works with lies where the one before it worked.

use std::{
    cell::Cell,
    future::{Future, poll_fn},
    pin::Pin,
    rc::Rc,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
};

/// Turns that streams which wake each other get at a time; then the other connections of the worker get theirs.
const TURNS_MAX: usize = 4;

/// Places of one connection, all served by futures that `occupy` makes. Such a future never ends: it serves what its
/// [`Inbox`] gives, one after the other.
pub struct Slots<W, F, M> {
    occupy: M,
    slots: Vec<Slot<W, F>>,
    /// Places without a stream; the last to become so is the first to be used.
    free: Vec<usize>,
    woken: Arc<Woken>,
    /// Those of this turn; kept for its capacity.
    turn: Vec<usize>,
}

struct Slot<W, F> {
    future: Pin<Box<F>>,
    inbox: Rc<Inbox<W>>,
    call: Arc<Call>,
    waker: Waker,
}

/// What is to be done in a place.
pub struct Inbox<W> {
    next: Cell<Option<W>>,
    is_busy: Cell<bool>,
}

impl<W> Inbox<W> {
    /// The next piece of work. Asking for it says that the one before is done.
    pub async fn next(&self) -> W {
        poll_fn(|_| {
            let next = self.next.take();
            self.is_busy.set(next.is_some());
            // Whoever puts something in wakes the place.
            next.map_or(Poll::Pending, Poll::Ready)
        })
        .await
    }
}

/// Wakes one place.
struct Call {
    index: usize,
    is_waiting: AtomicBool,
    woken: Arc<Woken>,
}

/// The places that want to be polled, and who polls them.
#[derive(Default)]
struct Woken(Mutex<Calls>);

#[derive(Default)]
struct Calls {
    waiting: Vec<usize>,
    /// Nobody while the connection is being polled: it looks itself before it goes to sleep.
    connection: Option<Waker>,
}

impl Woken {
    fn with<T>(&self, act: impl FnOnce(&mut Calls) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Wake for Call {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.is_waiting.swap(true, Ordering::AcqRel) {
            return;
        }
        let connection = self.woken.with(|calls| {
            calls.waiting.push(self.index);
            calls.connection.take()
        });
        if let Some(connection) = connection {
            connection.wake();
        }
    }
}

impl<W, F: Future<Output = ()>, M: Fn(Rc<Inbox<W>>) -> F> Slots<W, F, M> {
    pub fn new(occupy: M) -> Self {
        Self { occupy, slots: Vec::new(), free: Vec::new(), woken: Arc::default(), turn: Vec::new() }
    }

    /// Has a place serve this, from the next [`Self::poll`] on.
    pub fn serve(&mut self, work: W) {
        let index = self.free.pop().unwrap_or_else(|| self.open());
        let slot = &self.slots[index];
        slot.inbox.next.set(Some(work));
        slot.inbox.is_busy.set(true);
        slot.call.wake_by_ref();
    }

    fn open(&mut self) -> usize {
        let index = self.slots.len();
        let inbox = Rc::new(Inbox { next: Cell::new(None), is_busy: Cell::new(false) });
        let call =
            Arc::new(Call { index, is_waiting: AtomicBool::new(false), woken: Arc::clone(&self.woken) });
        let future = Box::pin((self.occupy)(Rc::clone(&inbox)));
        self.slots.push(Slot { future, inbox, waker: Waker::from(Arc::clone(&call)), call });
        index
    }

    /// Whether no place is busy.
    pub fn is_idle(&self) -> bool {
        self.free.len() == self.slots.len()
    }

    /// Polls those that want to be. Nothing wakes the caller's task before it calls [`Self::sleep`].
    pub fn poll(&mut self) {
        for _ in 0..TURNS_MAX {
            self.woken.with(|calls| {
                calls.connection = None;
                std::mem::swap(&mut calls.waiting, &mut self.turn);
            });
            if self.turn.is_empty() {
                return;
            }
            for index in self.turn.drain(..) {
                // What has gone may have left a waker behind.
                let Some(slot) = self.slots.get_mut(index) else { continue };
                slot.call.is_waiting.store(false, Ordering::Release);
                let was_busy = slot.inbox.is_busy.get();
                let ended = slot.future.as_mut().poll(&mut Context::from_waker(&slot.waker));
                debug_assert!(ended.is_pending(), "a place is never done");
                if was_busy && !slot.inbox.is_busy.get() {
                    self.free.push(index);
                }
            }
        }
    }

    /// The caller's task is woken from now on when a place wants to be polled.
    pub fn sleep(&self, cx: &Context<'_>) {
        let is_wanted = self.woken.with(|calls| {
            calls.connection = Some(cx.waker().clone());
            !calls.waiting.is_empty()
        });
        if is_wanted {
            cx.waker().wake_by_ref();
        }
    }

    /// Holds no memory while no place is busy.
    pub fn rest(&mut self) {
        if self.is_idle() {
            self.slots = Vec::new();
            self.free = Vec::new();
            self.turn = Vec::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::RefCell, sync::atomic::AtomicUsize};

    use super::*;

    #[derive(Default)]
    struct Connection(AtomicUsize);

    impl Wake for Connection {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// What a place waits for: the number of polls that are still to come, and who is to be woken.
    type Event = Rc<(Cell<usize>, RefCell<Option<Waker>>)>;

    fn event(polls: usize) -> Event {
        Rc::new((Cell::new(polls), RefCell::default()))
    }

    fn happen(event: &Event) {
        event.0.set(event.0.get() - 1);
        if let Some(waker) = event.1.take() {
            waker.wake();
        }
    }

    async fn serve_each(inbox: Rc<Inbox<Event>>, served: &Cell<usize>, polls: &Cell<usize>) {
        loop {
            let event = inbox.next().await;
            poll_fn(|cx| {
                polls.set(polls.get() + 1);
                if event.0.get() == 0 {
                    return Poll::Ready(());
                }
                event.1.replace(Some(cx.waker().clone()));
                Poll::Pending
            })
            .await;
            served.set(served.get() + 1);
        }
    }

    #[test]
    fn a_place_serves_one_after_the_other_and_only_those_that_are_woken_are_polled() {
        let (served, polls) = (Cell::new(0), Cell::new(0));
        let connection = Arc::new(Connection::default());
        let waker = Waker::from(Arc::clone(&connection));
        let cx = Context::from_waker(&waker);
        let mut slots = Slots::new(|inbox| serve_each(inbox, &served, &polls));
        let events = [event(1), event(1), event(0)];
        events.iter().for_each(|event| slots.serve(Rc::clone(event)));
        assert!(!slots.is_idle());
        slots.poll();
        assert_eq!((served.get(), polls.get()), (1, 3));
        slots.sleep(&cx);
        assert_eq!(connection.0.load(Ordering::Relaxed), 0);
        happen(&events[1]);
        assert_eq!(connection.0.load(Ordering::Relaxed), 1, "the connection is woken once");
        slots.poll();
        assert_eq!((served.get(), polls.get()), (2, 4));
        // Both places that are free are used again.
        slots.serve(event(0));
        slots.serve(event(0));
        slots.poll();
        assert_eq!((served.get(), slots.slots.len()), (4, 3));
        happen(&events[0]);
        slots.poll();
        assert!(slots.is_idle() && served.get() == 5);
    }

    #[test]
    fn what_wakes_before_the_connection_sleeps_wakes_it_when_it_does() {
        let (served, polls) = (Cell::new(0), Cell::new(0));
        let connection = Arc::new(Connection::default());
        let waker = Waker::from(Arc::clone(&connection));
        let mut slots = Slots::new(|inbox| serve_each(inbox, &served, &polls));
        let event = event(1);
        slots.serve(Rc::clone(&event));
        slots.poll();
        happen(&event);
        assert_eq!(connection.0.load(Ordering::Relaxed), 0);
        slots.sleep(&Context::from_waker(&waker));
        assert_eq!(connection.0.load(Ordering::Relaxed), 1);
        slots.poll();
        assert_eq!(served.get(), 1);
    }

    #[test]
    fn idle_places_are_freed_and_what_wakes_them_later_is_nothing() {
        let (served, polls) = (Cell::new(0), Cell::new(0));
        let mut slots = Slots::new(|inbox| serve_each(inbox, &served, &polls));
        let events: Vec<Event> = (0..5).map(|_| event(1)).collect();
        events.iter().for_each(|event| slots.serve(Rc::clone(event)));
        slots.poll();
        slots.rest();
        assert_eq!(slots.slots.len(), 5, "they are busy");
        let wakers: Vec<Waker> = events.iter().map(|event| event.1.borrow().clone().unwrap()).collect();
        events.iter().for_each(happen);
        slots.poll();
        slots.rest();
        assert_eq!(slots.slots.capacity(), 0);
        wakers.iter().for_each(Waker::wake_by_ref);
        slots.poll();
        slots.serve(event(0));
        slots.serve(event(0));
        slots.poll();
        assert!(slots.is_idle() && served.get() == 7);
    }
}
