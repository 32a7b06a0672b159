//! Payload on its way out: bytes that are shared already, or a recycled buffer.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    task::{Context, Poll, Waker},
};

use bytes::{Buf, Bytes};

/// Capacity of a recycled buffer: what fits in one frame.
pub const CHUNK_BYTES: usize = super::FRAME_BYTES_MAX as usize;
const SHELF_CHUNKS_MAX: usize = 64;

/// Less than this is small, and gets memory of its own size: what waits for a slow peer may not hold many
/// times its length.
pub const SMALL_BYTES_MAX: usize = CHUNK_BYTES / 4;

/// Small chunks of one stream that may wait for a slow peer: each costs more than its bytes.
const SMALL_UNSENT_MAX: usize = 32;

thread_local! {
    static SHELF: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// The payload of one DATA frame.
pub struct Chunk {
    bytes: Payload,
    read: usize,
    small: Option<Rc<SmallUnsent>>,
}

/// Small chunks of one stream that have not been written.
#[derive(Default)]
pub struct SmallUnsent {
    count: Cell<usize>,
    waker: RefCell<Option<Waker>>,
}

impl SmallUnsent {
    /// Waits until there may be one more.
    pub fn poll_room(&self, cx: &Context<'_>) -> Poll<()> {
        if self.count.get() < SMALL_UNSENT_MAX {
            return Poll::Ready(());
        }
        self.waker.replace(Some(cx.waker().clone()));
        Poll::Pending
    }
}

enum Payload {
    Shared(Bytes),
    Recycled(Vec<u8>),
    Gathered(Vec<u8>),
}

impl Chunk {
    pub fn empty() -> Self {
        Self::shared(Bytes::new())
    }

    pub fn shared(bytes: Bytes) -> Self {
        Self::of(Payload::Shared(bytes))
    }

    fn of(bytes: Payload) -> Self {
        Self { bytes, read: 0, small: None }
    }

    /// Copies bytes that stay with their source.
    pub fn copied(bytes: &[u8]) -> Self {
        if !(SMALL_BYTES_MAX..=CHUNK_BYTES).contains(&bytes.len()) {
            return Self::shared(Bytes::copy_from_slice(bytes));
        }
        let mut buffer = SHELF.with_borrow_mut(Vec::pop).unwrap_or_else(|| Vec::with_capacity(CHUNK_BYTES));
        buffer.extend_from_slice(bytes);
        Self::of(Payload::Recycled(buffer))
    }

    /// Both in one; for small ones that have not been counted.
    #[must_use]
    pub fn followed_by(self, more: Self) -> Self {
        let mut both = match &self.bytes {
            Payload::Gathered(_) => self,
            _ => Self::of(Payload::Gathered(self.chunk().to_vec())),
        };
        if let Payload::Gathered(bytes) = &mut both.bytes {
            bytes.extend_from_slice(more.chunk());
        }
        both
    }

    /// Counts among the small ones of its stream until it is dropped.
    pub fn count_small(&mut self, unsent: &Rc<SmallUnsent>) {
        unsent.count.set(unsent.count.get() + 1);
        self.small = Some(Rc::clone(unsent));
    }
}

impl Buf for Chunk {
    fn remaining(&self) -> usize {
        self.chunk().len()
    }

    fn chunk(&self) -> &[u8] {
        let bytes: &[u8] = match &self.bytes {
            Payload::Shared(bytes) => bytes,
            Payload::Recycled(bytes) | Payload::Gathered(bytes) => bytes,
        };
        bytes.get(self.read..).unwrap_or_default()
    }

    fn advance(&mut self, bytes: usize) {
        assert!(bytes <= self.remaining(), "advanced beyond the end");
        self.read += bytes;
    }
}

impl Drop for Chunk {
    fn drop(&mut self) {
        if let Some(unsent) = &self.small {
            unsent.count.set(unsent.count.get() - 1);
            if let Some(waker) = unsent.waker.take() {
                waker.wake();
            }
        }
        if let Payload::Recycled(buffer) = &mut self.bytes {
            let mut buffer = std::mem::take(buffer);
            buffer.clear();
            let _ = SHELF.try_with(|shelf| {
                let mut shelf = shelf.borrow_mut();
                if shelf.len() < SHELF_CHUNKS_MAX {
                    shelf.push(buffer);
                }
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::{
            Arc,
            atomic::{AtomicUsize, Ordering},
        },
        task::Wake,
    };

    use super::*;

    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn a_recycled_chunk_gives_what_was_copied_and_remembers_nothing() {
        for text in ["first, longer".repeat(400), "second".repeat(700), "small".to_owned()] {
            let mut chunk = Chunk::copied(text.as_bytes());
            assert_eq!(chunk.chunk(), text.as_bytes());
            chunk.advance(3);
            assert_eq!(chunk.chunk(), &text.as_bytes()[3..]);
            assert_eq!(chunk.remaining(), text.len() - 3);
        }
        assert_eq!(Chunk::empty().remaining(), 0);
    }

    #[test]
    fn small_chunks_that_wait_are_few_and_one_that_has_gone_makes_room() {
        let unsent = Rc::new(SmallUnsent::default());
        let woken = Arc::new(Woken::default());
        let waker = Waker::from(Arc::clone(&woken));
        let mut chunks = Vec::new();
        while unsent.poll_room(&Context::from_waker(&waker)).is_ready() {
            let mut chunk = Chunk::copied(b"x");
            chunk.count_small(&unsent);
            chunks.push(chunk);
        }
        assert_eq!((chunks.len(), woken.0.load(Ordering::Relaxed)), (SMALL_UNSENT_MAX, 0));
        chunks.pop();
        assert_eq!(woken.0.load(Ordering::Relaxed), 1);
        assert!(unsent.poll_room(&Context::from_waker(&waker)).is_ready());
    }

    #[test]
    fn what_is_gathered_is_in_order() {
        let mut both = Chunk::copied(b"one").followed_by(Chunk::copied(b"two")).followed_by(Chunk::empty());
        both.advance(1);
        assert_eq!(both.chunk(), b"netwo");
    }
}
