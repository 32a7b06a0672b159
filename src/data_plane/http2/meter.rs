//! Counts what a peer sends, frame by frame: work that it can order for almost nothing (decision 7). What it can make us hold has
//! limits where it is held.

use std::{
    cell::{Cell, OnceCell, RefCell},
    io,
    time::Duration,
};

use super::{
    EMPTY_FRAME_WORTH, UPSTREAM_FRAMES_UNTAKEN_MAX,
    frame::{HEAD_BYTES, Head, flag, kind},
    io::{FAREWELL, LINGER},
};
use crate::tls::Failure;

/// The time that counts are summed over, in slices.
const WINDOW_SLICES: usize = 6;
const SLICE: Duration = Duration::from_secs(5);

/// Streams that a peer may reset in a window (decision 7): each was a request that was served for
/// nothing.
pub const RESETS_MAX: u32 = 200;

/// SETTINGS in a window. A peer sends one, and another when its memory gets scarce.
pub const SETTINGS_MAX: u32 = 100;

/// PING, PRIORITY, WINDOW_UPDATE, empty DATA and unknown frames in a window, beyond those that go with
/// frames of substance.
pub const CONTROL_MAX: u32 = 1000;

/// Control frames that go with one frame of substance: a peer may answer each DATA frame with two
/// WINDOW_UPDATEs and measure its way with a PING.
const CONTROL_PER_SUBSTANCE: u32 = 4;

/// Counts of the last thirty seconds.
#[derive(Default)]
struct Recent {
    slices: [Cell<u32>; WINDOW_SLICES],
    slice: Cell<u64>,
}

impl Recent {
    /// Forgets what is long past; where the present counts.
    fn turn_to(&self, now: Duration) -> &Cell<u32> {
        let slice = now.as_secs() / SLICE.as_secs();
        let passed = (slice - self.slice.get()).min(WINDOW_SLICES as u64);
        for gone in 0..passed {
            self.slices[((slice - gone) % WINDOW_SLICES as u64) as usize].set(0);
        }
        self.slice.set(slice);
        &self.slices[(slice % WINDOW_SLICES as u64) as usize]
    }

    fn add(&self, now: Duration) {
        let current = self.turn_to(now);
        current.set(current.get().saturating_add(1));
    }

    fn sum(&self, now: Duration) -> u32 {
        self.turn_to(now);
        self.slices.iter().fold(0, |sum, slice| sum.saturating_add(slice.get()))
    }
}

/// The frame that is passing.
#[derive(Default)]
struct Passing {
    head: [u8; HEAD_BYTES],
    head_bytes: usize,
    payload_left: usize,
}

/// What passes on one connection.
#[derive(Default)]
pub struct Meter {
    passing: RefCell<Passing>,
    bytes: Cell<u64>,
    messages: Cell<u64>,
    written: Cell<u64>,
    /// The peer is a server: it may reset as many streams as it is sent.
    is_server: bool,
    /// Frames of messages that have come, but for those that somebody has taken.
    untaken: Cell<usize>,
    resets: Recent,
    settings: Recent,
    control: Recent,
    substance: Recent,
    now: Cell<Duration>,
    flooded: Cell<bool>,
    ended: Cell<bool>,
    refused: OnceCell<Failure>,
}

impl Meter {
    /// For a connection to an upstream.
    pub fn of_server() -> Self {
        Self { is_server: true, ..Self::default() }
    }

    /// Bytes received so far.
    pub fn bytes(&self) -> u64 {
        self.bytes.get()
    }

    /// Frames so far that carry something of a message.
    pub fn messages(&self) -> u64 {
        self.messages.get()
    }

    /// Bytes written so far.
    pub fn written(&self) -> u64 {
        self.written.get()
    }

    pub fn wrote(&self, bytes: usize) {
        self.written.set(self.written.get() + bytes as u64);
    }

    /// Reading has failed.
    pub fn failed(&self, error: &io::Error) {
        if let Some(failure) = Failure::of_first_read(error).filter(|_| self.bytes() == 0) {
            // The first is the cause of all others.
            let _ = self.refused.set(failure);
        }
    }

    /// Why the peer has refused us, if TLS says so.
    pub fn refused(&self) -> Option<&Failure> {
        self.refused.get()
    }

    /// What it was told last.
    pub fn now(&self) -> Duration {
        self.now.get()
    }

    /// Tells the time, since anything that does not change.
    pub fn tell_time(&self, now: Duration) {
        self.now.set(self.now.get().max(now));
    }

    /// The peer asks for more work than it may.
    pub fn is_flooded(&self) -> bool {
        self.flooded.get()
    }

    /// The connection is being closed: its peer has little time left.
    pub fn end(&self) {
        self.ended.set(true);
    }

    /// How long it has, without a sign of life, to read what is on its way and to close.
    pub fn patience_at_end(&self) -> Duration {
        if self.is_server || self.is_flooded() { LINGER } else { FAREWELL }
    }

    pub fn is_ended(&self) -> bool {
        self.ended.get()
    }

    /// Somebody has taken what a frame carries of a message.
    pub fn took(&self) {
        self.untaken.set(self.untaken.get().saturating_sub(1));
    }

    /// So much has come that nobody took, because its streams were reset, that `h2` will end the connection some day. There is better
    /// use for a new one.
    pub fn is_worn(&self) -> bool {
        self.untaken.get() > UPSTREAM_FRAMES_UNTAKEN_MAX
    }

    /// A frame of substance was sent: the peer will answer it with control frames.
    pub fn sent(&self) {
        self.substance.add(self.now.get());
    }

    /// Looks at received bytes, from the first frame on.
    pub fn received(&self, mut bytes: &[u8]) {
        self.bytes.set(self.bytes.get() + bytes.len() as u64);
        let passing = &mut *self.passing.borrow_mut();
        while !bytes.is_empty() {
            if passing.payload_left > 0 {
                let skipped = bytes.len().min(passing.payload_left);
                passing.payload_left -= skipped;
                bytes = &bytes[skipped..];
            } else {
                let taken = bytes.len().min(HEAD_BYTES - passing.head_bytes);
                passing.head[passing.head_bytes..][..taken].copy_from_slice(&bytes[..taken]);
                passing.head_bytes += taken;
                bytes = &bytes[taken..];
                if passing.head_bytes < HEAD_BYTES {
                    return;
                }
                passing.head_bytes = 0;
                self.frame(passing);
            }
        }
    }

    fn frame(&self, passing: &mut Passing) {
        let head = Head::read(&passing.head);
        passing.payload_left = head.length;
        self.count(head.kind, head.flags, head.length);
    }

    /// Counts a frame that was received.
    pub fn count(&self, kind: u8, flags: u8, length: usize) {
        // END_STREAM of DATA, ACK of SETTINGS: an acknowledgement moves nothing, and one is due.
        let marked = flags & (flag::END_STREAM | flag::ACK) != 0;
        match kind {
            kind::HEADERS => self.came(),
            kind::CONTINUATION => {}
            kind::DATA if length > 0 || marked => self.came(),
            kind::DATA => {
                self.untaken.set(self.untaken.get() + EMPTY_FRAME_WORTH);
                self.count_control();
            }
            // A server may reset as many as it is sent; whether a client's ends something is known to who looks further.
            kind::RST_STREAM => {}
            kind::SETTINGS if !marked => self.add(&self.settings, SETTINGS_MAX),
            _ => self.count_control(),
        }
    }

    /// Counts a frame of substance.
    fn came(&self) {
        self.substance.add(self.now.get());
        self.messages.set(self.messages.get() + 1);
        self.untaken.set(self.untaken.get() + 1);
    }

    /// Counts a frame that moves nothing.
    pub fn count_control(&self) {
        let with_substance = self.substance.sum(self.now.get()).saturating_mul(CONTROL_PER_SUBSTANCE);
        self.add(&self.control, CONTROL_MAX.saturating_add(with_substance));
    }

    /// Counts a stream that the peer has reset, or has brought us to reset.
    pub fn count_reset(&self) {
        self.add(&self.resets, RESETS_MAX);
    }

    fn add(&self, recent: &Recent, max: u32) {
        recent.add(self.now.get());
        if recent.sum(self.now.get()) > max {
            self.flooded.set(true);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, payload: usize) -> Vec<u8> {
        let mut bytes =
            vec![(payload >> 16) as u8, (payload >> 8) as u8, payload as u8, kind, flags, 0, 0, 0, 1];
        bytes.resize(HEAD_BYTES + payload, b'x');
        bytes
    }

    #[test]
    fn more_than_200_resets_in_30_seconds_are_a_flood() {
        let meter = Meter::default();
        for _ in 0..RESETS_MAX {
            meter.count_reset();
        }
        assert!(!meter.is_flooded());
        meter.count_reset();
        assert!(meter.is_flooded());
    }

    #[test]
    fn resets_that_are_long_past_do_not_count() {
        let meter = Meter::default();
        for second in 0..1000 {
            meter.tell_time(Duration::from_secs(second));
            for _ in 0..6 {
                meter.count_reset();
            }
        }
        assert!(!meter.is_flooded());
    }

    #[test]
    fn a_flood_is_counted_however_its_bytes_are_split() {
        let bytes = frame(4, 0, 12).repeat(SETTINGS_MAX as usize);
        for size in 1..40 {
            let meter = Meter::default();
            bytes.chunks(size).for_each(|part| meter.received(part));
            assert!(!meter.is_flooded(), "{size}");
            frame(4, 0, 12).chunks(size).for_each(|part| meter.received(part));
            assert!(meter.is_flooded(), "{size}");
        }
    }

    #[test]
    fn acknowledgements_count_as_frames_that_move_nothing() {
        let meter = Meter::default();
        meter.received(&frame(4, 1, 0).repeat(CONTROL_MAX as usize));
        assert!(!meter.is_flooded());
        meter.received(&frame(4, 1, 0));
        assert!(meter.is_flooded());
    }

    #[test]
    fn substance_that_is_long_past_earns_nothing() {
        let meter = Meter::default();
        (0..10_000).for_each(|_| meter.sent());
        meter.received(&frame(6, 0, 8).repeat(2 * CONTROL_MAX as usize));
        assert!(!meter.is_flooded());
        meter.tell_time(Duration::from_secs(60));
        meter.received(&frame(6, 0, 8).repeat(CONTROL_MAX as usize));
        assert!(!meter.is_flooded());
        meter.received(&frame(6, 0, 8));
        assert!(meter.is_flooded());
    }

    #[test]
    fn what_comes_and_is_not_taken_wears_a_connection_out() {
        let meter = Meter::of_server();
        for _ in 0..2 * UPSTREAM_FRAMES_UNTAKEN_MAX {
            meter.received(&[frame(1, 4, 1), frame(0, 0, 20), frame(0, 1, 0)].concat());
            (0..3).for_each(|_| meter.took());
        }
        assert!(!meter.is_worn());
        meter.received(&frame(0, 0, 20).repeat(UPSTREAM_FRAMES_UNTAKEN_MAX));
        assert!(!meter.is_worn());
        meter.received(&frame(0, 0, 20));
        assert!(meter.is_worn());
        // A hundred in all its life, and `h2` ends it.
        let meter = Meter::of_server();
        meter.received(&frame(0, 0, 0).repeat(50));
        assert!(!meter.is_worn());
        meter.received(&frame(0, 0, 0).repeat(2));
        assert!(meter.is_worn());
    }

    #[test]
    fn pings_that_measure_a_stream_at_work_are_no_flood() {
        let meter = Meter::default();
        for _ in 0..100_000 {
            meter.sent();
            meter.received(&frame(8, 0, 4));
            meter.received(&frame(6, 0, 8));
        }
        assert!(!meter.is_flooded());
        let idle = Meter::default();
        idle.received(&frame(6, 0, 8).repeat(CONTROL_MAX as usize + 1));
        assert!(idle.is_flooded());
    }
}
