//! What is to be written to a client: frames, in the order in which they were made.

use std::{
    io::{self, IoSlice},
    task::{Context, Poll, ready},
};

use super::super::{
    FRAME_BYTES_MAX,
    frame::{self, HEAD_BYTES, Head, flag, kind},
};
use crate::data_plane::http1::{sender::Sink, wire::Transport};

/// Answers to frames (PING, SETTINGS) may go beyond what streams may write; then nothing more is read.
const ANSWERS_BYTES_MAX: usize = 128 * 1024;

/// What has been written is cut off the front when it is so much.
const CUT_BYTES_MIN: usize = 64 * 1024;

/// See the [module](self).
#[derive(Default)]
pub struct Output {
    bytes: Vec<u8>,
    /// Of `bytes`.
    written: usize,
    /// Since the connection began: tells one wait from another.
    pub written_ever: u64,
}

/// A DATA frame in the output.
pub struct Data {
    start: usize,
    end: usize,
}

impl Output {
    /// Bytes that wait to be written.
    pub fn unwritten(&self) -> usize {
        self.bytes.len() - self.written
    }

    /// So much waits that the client does not even read the answers to its frames.
    pub fn is_choking(&self) -> bool {
        self.unwritten() > ANSWERS_BYTES_MAX
    }

    /// All of it has reached the socket.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// What waits to be written.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[self.written..]
    }

    /// Writes what there is to write; pending when the client does not take it.
    ///
    /// # Errors
    /// The connection is gone.
    pub fn poll_write(&mut self, cx: &mut Context<'_>, transport: &mut Transport) -> Poll<io::Result<()>> {
        if self.bytes.is_empty() {
            return Poll::Ready(Ok(()));
        }
        while self.unwritten() > 0 {
            let written = ready!(transport.poll_write(cx, &[IoSlice::new(self.bytes())]))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.written += written;
            self.written_ever += written as u64;
            if self.written >= CUT_BYTES_MIN {
                self.bytes.drain(..std::mem::take(&mut self.written));
            }
        }
        ready!(transport.poll_flush(cx))?;
        self.written = 0;
        self.bytes.clear();
        Poll::Ready(Ok(()))
    }

    /// Holds no memory while there is nothing.
    pub fn rest(&mut self) {
        if self.bytes.is_empty() {
            self.bytes = Vec::new();
        }
    }

    pub fn frame(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        frame::write(&mut self.bytes, kind, flags, stream, payload);
    }

    /// HEADERS, and CONTINUATION for what does not fit in one frame; `write` appends the block.
    pub fn block(&mut self, stream: u32, ends: bool, write: impl FnOnce(&mut Vec<u8>)) {
        let frame_max = FRAME_BYTES_MAX as usize;
        let start = self.bytes.len();
        let begin = start + HEAD_BYTES;
        self.bytes.resize(begin, 0);
        write(&mut self.bytes);
        let length = self.bytes.len() - begin;
        let rest = if length > frame_max { self.bytes.split_off(begin + frame_max) } else { Vec::new() };
        let mut flags = if ends { flag::END_STREAM } else { flag::NONE };
        if rest.is_empty() {
            flags |= flag::END_HEADERS;
        }
        let head = Head { length: length.min(frame_max), kind: kind::HEADERS, flags, stream };
        self.bytes[start..begin].copy_from_slice(&head.bytes());
        let mut parts = rest.chunks(frame_max).peekable();
        while let Some(part) = parts.next() {
            let flags = if parts.peek().is_none() { flag::END_HEADERS } else { flag::NONE };
            self.frame(kind::CONTINUATION, flags, stream, part);
        }
    }

    /// Begins a DATA frame without payload.
    pub fn begin_data(&mut self, stream: u32) -> Data {
        let start = self.bytes.len();
        self.frame(kind::DATA, flag::NONE, stream, &[]);
        Data { start, end: self.bytes.len() }
    }

    /// Appends payload, for which there is room, to a frame; `false` where something was written behind it meanwhile.
    pub fn extend_data(&mut self, data: &mut Data, payload: &[u8]) -> bool {
        if self.bytes.len() != data.end {
            return false;
        }
        self.bytes.extend_from_slice(payload);
        data.end = self.bytes.len();
        let [_, length @ ..] = ((data.end - data.start - HEAD_BYTES) as u32).to_be_bytes();
        self.bytes[data.start..data.start + length.len()].copy_from_slice(&length);
        true
    }

    /// The frame is the last one of its stream.
    pub fn end_data(&mut self, data: &Data) {
        self.bytes[data.start + 4] |= flag::END_STREAM;
    }
}
