//! Payload on its way out: bytes that are shared already, or a recycled buffer.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
};

use bytes::{Buf, Bytes};

/// Capacity of a recycled buffer: what fits in one frame.
pub const CHUNK_BYTES: usize = super::FRAME_BYTES_MAX as usize;
const SHELF_CHUNKS_MAX: usize = 64;

/// Less than this gets memory of its own size: what waits for a slow peer may not hold many times its
/// length.
const RECYCLED_BYTES_MIN: usize = CHUNK_BYTES / 4;

thread_local! {
    static SHELF: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// The payload of one DATA frame.
pub struct Chunk {
    bytes: Payload,
    read: usize,
    counted: Option<Rc<Cell<usize>>>,
}

enum Payload {
    Shared(Bytes),
    Recycled(Vec<u8>),
}

impl Chunk {
    pub fn empty() -> Self {
        Self::shared(Bytes::new())
    }

    pub fn shared(bytes: Bytes) -> Self {
        Self { bytes: Payload::Shared(bytes), read: 0, counted: None }
    }

    /// Copies bytes that stay with their source.
    pub fn copied(bytes: &[u8]) -> Self {
        if !(RECYCLED_BYTES_MIN..=CHUNK_BYTES).contains(&bytes.len()) {
            return Self::shared(Bytes::copy_from_slice(bytes));
        }
        let mut buffer = SHELF.with_borrow_mut(Vec::pop).unwrap_or_else(|| Vec::with_capacity(CHUNK_BYTES));
        buffer.extend_from_slice(bytes);
        Self { bytes: Payload::Recycled(buffer), read: 0, counted: None }
    }

    /// Counts as unsent until it is dropped, which is when it has been written, or its stream was reset.
    #[must_use]
    pub fn counted(mut self, unsent: &Rc<Cell<usize>>) -> Self {
        unsent.set(unsent.get() + 1);
        self.counted = Some(Rc::clone(unsent));
        self
    }
}

impl Buf for Chunk {
    fn remaining(&self) -> usize {
        self.chunk().len()
    }

    fn chunk(&self) -> &[u8] {
        let bytes: &[u8] = match &self.bytes {
            Payload::Shared(bytes) => bytes,
            Payload::Recycled(bytes) => bytes,
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
        if let Some(unsent) = &self.counted {
            unsent.set(unsent.get() - 1);
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
    use super::*;

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
}
