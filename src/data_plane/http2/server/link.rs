//! What a connection and its streams share: what is to be written, the windows, the streams that are open.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    rc::Rc,
    task::Poll,
    time::Duration,
};

use super::{
    super::{
        CONNECTION_WINDOW_BYTES, FRAME_BYTES_MAX, STREAM_WINDOW_BYTES,
        frame::{Reason, flag, kind, setting},
        hpack::encode::Encoder,
        meter::Meter,
    },
    STREAMS_MAX,
    channel::Channel,
    closed::{Closed, Ended},
    output::{Data, Output},
};
use crate::{data_plane::http1::fields::ConnectionField, http::Headers};

/// Bytes that may wait for a client that does not read; then streams wait.
const OUTPUT_BYTES_MAX: usize = 64 * 1024;

/// The window that both sides begin with (RFC 9113 section 6.9.2).
const FIRST_WINDOW_BYTES: u32 = 65_535;

/// The largest there may be (section 6.9.1).
pub const WINDOW_MAX: i64 = 0x7fff_ffff;

/// What a PING carries that asks whether a GOAWAY has arrived.
const FAREWELL_PING: [u8; 8] = *b"farewell";

/// How long a request may go on that is answered: what comes is dropped, and the window of its stream stays as it is. Clients that
/// are in common use lose an answer behind which they read the reset.
const UNFINISHED: Duration = Duration::from_millis(250);

/// See the [module](self).
pub struct Link {
    pub meter: Meter,
    pub output: RefCell<Output>,
    encoder: RefCell<Encoder>,
    /// Those that are open on either side, by their number.
    channels: RefCell<Vec<Rc<Channel>>>,
    /// Those that have a head to send and are not let yet; who waits longest is first.
    heads: RefCell<VecDeque<Rc<Channel>>>,
    /// Likewise those that have a piece of a body, for which there must be room in the window, too.
    bodies: RefCell<VecDeque<Rc<Channel>>>,
    /// What may be sent on all streams together.
    send_window: Cell<i64>,
    /// What may be sent on a new stream.
    first_send_window: Cell<i64>,
    /// What the client may send on all streams together.
    receive_window: Cell<i64>,
    /// What was taken, and the client does not know yet.
    taken: Cell<u32>,
    last_stream: Cell<u32>,
    /// Those that are answered, whose requests go on all the same, and until when they may.
    unfinished: RefCell<VecDeque<(Duration, u32)>>,
    /// Those that have closed.
    pub closed: Ended,
}

impl Link {
    pub fn new(head_bytes_max: usize) -> Self {
        let mut output = Output::default();
        let settings = [
            (setting::MAX_CONCURRENT_STREAMS, STREAMS_MAX),
            (setting::INITIAL_WINDOW_SIZE, STREAM_WINDOW_BYTES),
            (setting::MAX_HEADER_LIST_SIZE, u32::try_from(head_bytes_max).unwrap_or(u32::MAX)),
        ];
        let mut payload = Vec::with_capacity(settings.len() * 6);
        for (name, value) in settings {
            payload.extend_from_slice(&name.to_be_bytes());
            payload.extend_from_slice(&value.to_be_bytes());
        }
        output.frame(kind::SETTINGS, flag::NONE, 0, &payload);
        let more = CONNECTION_WINDOW_BYTES - FIRST_WINDOW_BYTES;
        output.frame(kind::WINDOW_UPDATE, flag::NONE, 0, &more.to_be_bytes());
        Self {
            meter: Meter::default(),
            output: RefCell::new(output),
            encoder: RefCell::default(),
            channels: RefCell::default(),
            heads: RefCell::default(),
            bodies: RefCell::default(),
            send_window: Cell::new(FIRST_WINDOW_BYTES.into()),
            first_send_window: Cell::new(FIRST_WINDOW_BYTES.into()),
            receive_window: Cell::new(CONNECTION_WINDOW_BYTES.into()),
            taken: Cell::new(0),
            last_stream: Cell::new(0),
            unfinished: RefCell::default(),
            closed: Ended::default(),
        }
    }

    /// Bytes that wait to be written.
    pub fn unwritten(&self) -> usize {
        self.output.borrow().unwritten()
    }

    /// The client has read enough of what was written before that streams may write.
    pub fn has_room(&self) -> bool {
        self.unwritten() < OUTPUT_BYTES_MAX
    }

    /// The client does not even read the answers to its frames.
    pub fn is_choked(&self) -> bool {
        self.output.borrow().is_choking()
    }

    /// Writes a frame.
    fn frame(&self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        self.output.borrow_mut().frame(kind, flags, stream, payload);
    }

    /// Writes the head of a response. `declared` is its `content-length`.
    pub fn head(&self, channel: &Channel, status: u16, headers: &Headers, declared: Option<u64>, ends: bool) {
        self.block(channel, ends, |encoder, output| {
            encoder.status(status, output);
            write_fields(encoder, headers, output);
            if let Some(length) = declared {
                encoder.content_length(length, output);
            }
        });
    }

    /// Writes trailers, which end the stream.
    pub fn trailers(&self, channel: &Channel, trailers: &Headers) {
        self.block(channel, true, |encoder, output| write_fields(encoder, trailers, output));
    }

    fn block(&self, channel: &Channel, ends: bool, write: impl FnOnce(&mut Encoder, &mut Vec<u8>)) {
        let encoder = &mut *self.encoder.borrow_mut();
        self.output.borrow_mut().block(channel.id, ends, |output| {
            encoder.begin(output);
            write(encoder, output);
        });
        self.meter.sent();
        if ends {
            self.ended(channel);
        }
    }

    /// Begins a DATA frame without payload.
    pub fn begin_data(&self, channel: &Channel) -> Data {
        self.meter.sent();
        self.output.borrow_mut().begin_data(channel.id)
    }

    /// Appends payload, for which there is room, to a frame; `false` where something was written behind it meanwhile.
    pub fn extend_data(&self, channel: &Channel, data: &mut Data, payload: &[u8]) -> bool {
        let is_extended = self.output.borrow_mut().extend_data(data, payload);
        if is_extended {
            let size = payload.len() as i64;
            self.send_window.set(self.send_window.get() - size);
            channel.send_window.set(channel.send_window.get() - size);
        }
        is_extended
    }

    /// The frame is the last one of its stream.
    pub fn end_data(&self, channel: &Channel, data: &Data) {
        self.output.borrow_mut().end_data(data);
        self.ended(channel);
    }

    /// How many bytes may be sent on a stream now. Otherwise it is woken when that may have changed.
    pub fn poll_room(&self, channel: &Rc<Channel>) -> Poll<usize> {
        if !self.has_room() || self.send_window.get() <= 0 {
            self.wait(channel);
            return Poll::Pending;
        }
        let room = channel.send_window.get().min(self.send_window.get()).min(FRAME_BYTES_MAX.into());
        // A stream whose own window is used up is woken when it is opened.
        if room <= 0 { Poll::Pending } else { Poll::Ready(room as usize) }
    }

    /// Waits until the client has read enough of what was written before. Heads need no window.
    pub fn poll_output(&self, channel: &Rc<Channel>) -> Poll<()> {
        if self.has_room() {
            return Poll::Ready(());
        }
        if !self.heads.borrow().iter().any(|waiting| waiting.id == channel.id) {
            // Whoever wants to send trailers may stand in the line of bodies still, and need the window no more.
            self.step_out(channel);
            stand_in(&self.heads, channel);
        }
        Poll::Pending
    }

    /// Has a stream wait until all that wait already had their turn.
    pub fn wait(&self, channel: &Rc<Channel>) {
        stand_in(&self.bodies, channel);
    }

    /// Wakes as many of those that wait as there is room for; whether there are such. Who has had its turn stands behind those
    /// that are left.
    pub fn wake_waiting(&self) -> bool {
        let frame = i64::from(FRAME_BYTES_MAX);
        let mut room = OUTPUT_BYTES_MAX as i64 - self.unwritten() as i64;
        let mut window = self.send_window.get();
        let mut has_woken = false;
        while room > 0 && wake_first(&self.heads) {
            room -= frame;
            has_woken = true;
        }
        while room.min(window) > 0 && wake_first(&self.bodies) {
            room -= frame;
            window -= frame;
            has_woken = true;
        }
        has_woken
    }

    /// A stream that the client has begun.
    pub fn open(&self, stream: u32, length: Option<u64>, ends: bool) -> Rc<Channel> {
        let channel = Rc::new(Channel::new(stream, self.first_send_window.get(), length, ends));
        self.channels.borrow_mut().push(Rc::clone(&channel));
        channel
    }

    pub fn channel(&self, stream: u32) -> Option<Rc<Channel>> {
        let channels = self.channels.borrow();
        let at = channels.binary_search_by_key(&stream, |channel| channel.id).ok()?;
        Some(Rc::clone(&channels[at]))
    }

    pub fn is_full(&self) -> bool {
        self.channels.borrow().len() >= STREAMS_MAX as usize
    }

    pub fn has_channels(&self) -> bool {
        !self.channels.borrow().is_empty()
    }

    /// The highest stream that the client has begun.
    pub fn last_stream(&self) -> u32 {
        self.last_stream.get()
    }

    pub fn began(&self, stream: u32) {
        self.last_stream.set(stream);
    }

    /// Resets a stream, of which there may be nothing here.
    pub fn reset(&self, stream: u32, reason: Reason) {
        self.frame(kind::RST_STREAM, flag::NONE, stream, &(reason as u32).to_be_bytes());
        self.closed.remember(stream, Closed::Here);
        self.forget(stream);
    }

    /// A stream is closed, and not by us. What was received of it is still there for its request.
    pub fn close(&self, stream: u32) {
        self.closed.remember(stream, Closed::There);
        self.forget(stream);
    }

    fn forget(&self, stream: u32) {
        let mut channels = self.channels.borrow_mut();
        let Ok(at) = channels.binary_search_by_key(&stream, |channel| channel.id) else { return };
        let channel = channels.remove(at);
        drop(channels);
        self.step_out(&channel);
        channel.closed();
    }

    fn step_out(&self, channel: &Channel) {
        if channel.is_waiting.take() {
            for line in [&self.heads, &self.bodies] {
                line.borrow_mut().retain(|waiting| waiting.id != channel.id);
            }
        }
    }

    /// Forgets all streams: the connection ends.
    pub fn close_all(&self) {
        self.heads.take();
        self.bodies.take();
        self.channels.take().iter().for_each(|channel| channel.closed());
    }

    /// Nothing more is sent on a stream.
    fn ended(&self, channel: &Channel) {
        channel.has_sent.set(true);
        if channel.has_received() {
            self.close(channel.id);
        }
    }

    /// Nothing more is received on a stream.
    pub fn received(&self, channel: &Channel) {
        channel.set_received();
        if channel.has_sent.get() {
            self.close(channel.id);
        }
    }

    /// Nobody serves a stream any more. What it still holds of the connection's window is free; a client that has no whole answer
    /// is told that there is none.
    pub fn leave(&self, channel: &Channel) {
        self.release(None, channel.stop());
        if channel.is_closed() {
            return;
        }
        match (channel.has_sent.get(), channel.has_received()) {
            (true, true) => {}
            (true, false) => {
                let until = self.meter.now() + UNFINISHED;
                let mut unfinished = self.unfinished.borrow_mut();
                if unfinished.len() >= 2 * STREAMS_MAX as usize {
                    unfinished.retain(|(_, stream)| self.channel(*stream).is_some());
                }
                unfinished.push_back((until, channel.id));
            }
            (false, _) => self.reset(channel.id, Reason::Cancel),
        }
    }

    /// Tells clients that their answers had no need of the rest of the request (RFC 9113 section 8.1), where that has not come by
    /// now; when to look again.
    pub fn reset_unfinished(&self, now: Duration) -> Option<Duration> {
        loop {
            let (until, stream) = *self.unfinished.borrow().front()?;
            if self.channel(stream).is_some() {
                if until > now {
                    return Some(until);
                }
                self.reset(stream, Reason::NoError);
            }
            self.unfinished.borrow_mut().pop_front();
        }
    }

    /// All streams, for what concerns each of them.
    pub fn for_each(&self, mut act: impl FnMut(&Channel)) {
        self.channels.borrow().iter().for_each(|channel| act(channel));
    }

    /// The client has sent so much; whether it was allowed to.
    pub fn charge(&self, bytes: usize) -> bool {
        self.receive_window.set(self.receive_window.get() - bytes as i64);
        self.receive_window.get() >= 0
    }

    /// So much of what the client has sent takes no room here any more. `channel` is the stream, if it goes on.
    pub fn release(&self, channel: Option<&Channel>, bytes: usize) {
        // Streams whose bodies nobody takes hold a part of it: what is worth a frame is measured by what is left for the others.
        let left = self.receive_window.get().clamp(0, CONNECTION_WINDOW_BYTES.into());
        let again = announce(&self.taken, left as u32, bytes);
        if again > 0 {
            self.receive_window.set(self.receive_window.get() + i64::from(again));
            self.frame(kind::WINDOW_UPDATE, flag::NONE, 0, &again.to_be_bytes());
        }
        let goes_on = |channel: &&Channel| !channel.has_received() && !channel.is_closed();
        let Some(channel) = channel.filter(goes_on) else { return };
        let again = announce(&channel.taken, STREAM_WINDOW_BYTES, bytes);
        if again > 0 {
            channel.receive_window.set(channel.receive_window.get() + i64::from(again));
            self.frame(kind::WINDOW_UPDATE, flag::NONE, channel.id, &again.to_be_bytes());
        }
    }

    /// The client takes more on all streams together; `false` where that is more than there may be.
    pub fn widen(&self, bytes: u32) -> bool {
        self.send_window.set(self.send_window.get() + i64::from(bytes));
        self.send_window.get() <= WINDOW_MAX
    }

    /// `SETTINGS_INITIAL_WINDOW_SIZE`: changes what may be sent on each stream (section 6.9.2); `false` where that is more than
    /// there may be.
    pub fn set_first_window(&self, bytes: u32) -> bool {
        let change = i64::from(bytes) - self.first_send_window.replace(bytes.into());
        let mut is_allowed = true;
        self.for_each(|channel| is_allowed &= channel.widen(change));
        is_allowed
    }

    pub fn set_table_size(&self, bytes: u32) {
        self.encoder.borrow_mut().limit(bytes);
    }

    pub fn acknowledge_settings(&self) {
        self.frame(kind::SETTINGS, flag::ACK, 0, &[]);
    }

    pub fn answer_ping(&self, payload: &[u8]) {
        self.frame(kind::PING, flag::ACK, 0, payload);
    }

    /// Tells the client to begin no more streams; those that it begins before it has heard are served.
    pub fn say_farewell(&self) {
        self.go_away(WINDOW_MAX as u32, Reason::NoError);
        self.frame(kind::PING, flag::NONE, 0, &FAREWELL_PING);
    }

    /// Whether this answers [`Self::say_farewell`].
    pub fn is_farewell(payload: &[u8]) -> bool {
        payload == FAREWELL_PING
    }

    /// Streams after `last` are not served.
    pub fn go_away(&self, last: u32, reason: Reason) {
        let payload = [last.to_be_bytes(), (reason as u32).to_be_bytes()].concat();
        self.frame(kind::GOAWAY, flag::NONE, 0, &payload);
    }
}

/// Adds to what was taken; when it is worth a frame, which is half of the window, how much that is by now.
fn announce(taken: &Cell<u32>, window: u32, bytes: usize) -> u32 {
    taken.set(taken.get() + bytes as u32);
    if taken.get() < window / 2 { 0 } else { taken.take() }
}

/// Puts a stream at the end of a line, where it is in none.
fn stand_in(line: &RefCell<VecDeque<Rc<Channel>>>, channel: &Rc<Channel>) {
    if !channel.is_waiting.replace(true) {
        line.borrow_mut().push_back(Rc::clone(channel));
    }
}

/// Wakes the first of a line; whether there is one.
fn wake_first(line: &RefCell<VecDeque<Rc<Channel>>>) -> bool {
    let Some(channel) = line.borrow_mut().pop_front() else { return false };
    channel.is_waiting.set(false);
    channel.sleeper.wake();
    true
}

/// All fields but those that concern a connection of HTTP/1.1, whoever added them.
fn write_fields(encoder: &mut Encoder, headers: &Headers, output: &mut Vec<u8>) {
    for (name, value) in headers.iter_bytes() {
        if ConnectionField::of(name).is_none() {
            encoder.field(name, value, output);
        }
    }
}
