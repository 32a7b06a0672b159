//! A client's connection: accepts its streams, holds it to its limits, ends it in order.
//!
//! | module | what it does |
//! | --- | --- |
//! | `input` | reads frames and decides what each does |
//! | `control` | frames that carry nothing of a message |
//! | `link` | what a connection and its streams share: the output, the windows, the streams that are open |
//! | `channel` | one stream, as its connection and its request share it |
//! | `closed` | the streams that have closed not long ago |
//! | `output` | what is to be written |
//! | `sender` | sends the body of a response |

pub mod channel;
pub mod closed;
mod control;
pub mod input;
pub mod link;
pub mod output;
pub mod sender;

use std::{
    cell::Cell,
    future::{Future, poll_fn},
    pin::pin,
    rc::Rc,
    task::{Context, Poll},
    time::Duration,
};

use self::{
    input::{Arrival, Event, Input},
    link::Link,
};
use super::{
    FRAME_BYTES_MAX,
    frame::{HEAD_BYTES, Reason},
    head::Rules,
    io::Linger,
    slots::{Inbox, Slots},
    stream,
};
use crate::{
    data_plane::{
        acceptor::Listener,
        http1::{
            head::HeadRules,
            wire::{ReadBuffer, Transport, Wire},
        },
        refusal::Asked,
        serving::reject,
        timers::{Timer, Watch},
        worker::Worker,
    },
    http::Peer,
};

/// Streams that a client may have open (decision 7).
pub const STREAMS_MAX: u32 = 128;

/// For how long a client whose connection is outdated may open streams before it has heard that it ends; one that does
/// not listen is refused then.
const OUTDATED: Duration = Duration::from_secs(1);

/// For how long a connection has just begun: whoever connects during a drain has what it came for answered before it is told that
/// the connection ends. Clients that are told before would connect again and again.
const JUST_BEGUN: Duration = Duration::from_secs(1);

/// Rounds of reading, serving and writing that a connection gets at a time; then the others of the worker get theirs, and
/// those of its streams that wait for a socket are woken.
const ROUNDS_MAX: usize = 4;

/// What the streams of a connection share.
pub struct Connection<'w> {
    pub worker: &'w Worker,
    pub peer: Rc<Peer>,
    pub link: Rc<Link>,
    began: Duration,
    /// Since when its port asks for something else: it ends.
    outdated: Cell<Option<Duration>>,
    listener: Rc<Listener>,
    watch: Rc<Watch>,
}

/// What a connection waits for, and so which deadline rules it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Waiting {
    /// The client, to say what it has to say first.
    Beginning,
    /// Its streams, which have deadlines of their own.
    Streams,
    /// The rest of a header block, after so many others: another number is another wait.
    Block(u64),
    /// The client, to read responses that are complete here; so much of the output has been written.
    Tail(u64),
    /// Another stream than this one.
    Idle(u32),
    /// The client, to close: it knows that the connection ends.
    End,
}

/// How far the end of a connection has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd)]
enum Ending {
    Not,
    /// The client is asked to begin no more streams, and the rest is served.
    Asked,
    /// The client has heard it, and was told which stream is the last.
    Told,
    /// The last frame is on its way, or in the output.
    Over,
    /// Everything is written: nothing more will be.
    Shut,
}

/// Serves a connection until it closes. `read` is what was received already, the preface first. Counting
/// the connection is the caller's.
pub async fn serve_connection(
    worker: &Worker,
    transport: Transport,
    read: ReadBuffer,
    peer: Rc<Peer>,
    listener: Rc<Listener>,
) {
    let mut wire = Wire::new(transport);
    wire.input = read;
    let link = Link::new(worker.pins.pin().engine.head_bytes_max);
    let connection = Connection {
        worker,
        peer,
        link: Rc::new(link),
        began: worker.timers.now(),
        outdated: Cell::new(None),
        listener,
        watch: worker.timers.watch(),
    };
    let connection = &connection;
    let mut run = Run {
        connection,
        wire,
        input: Input::default(),
        streams: Slots::new(|inbox| stream::serve_each(connection, inbox)),
        waiting: Waiting::Streams,
        ending: Ending::Not,
        linger: Linger::default(),
        has_looked: false,
    };
    // One task polls everything of this connection: what its streams have to say leaves in one write.
    poll_fn(|cx| run.poll(cx)).await;
}

impl Connection<'_> {
    /// Its port asks for something else now.
    pub fn is_outdated(&self) {
        if self.outdated.get().is_none() {
            self.outdated.set(Some(self.worker.timers.now()));
        }
    }

    /// Whether it takes no stream any more.
    fn is_over(&self) -> bool {
        self.outdated.get().is_some_and(|since| self.worker.timers.now() > since + OUTDATED)
    }

    /// Whether it is to end when the client has been heard out.
    fn is_draining(&self) -> bool {
        self.worker.is_draining() || self.listener.is_draining() || self.outdated.get().is_some()
    }

    /// Zero is for ever.
    fn patience(&self, waiting: Waiting) -> Duration {
        let pin = self.worker.pins.pin();
        match waiting {
            Waiting::Streams => Duration::ZERO,
            Waiting::Beginning | Waiting::Block(_) => pin.engine.head_timeout,
            Waiting::Tail(_) => pin.engine.stream_idle,
            Waiting::Idle(_) => pin.engine.client_idle,
            Waiting::End => self.link.meter.patience_at_end(),
        }
    }

    fn rules(&self) -> Rules {
        let pin = self.worker.pins.pin();
        let fields =
            HeadRules { fields_max: pin.engine.head_fields_max, merge_slashes: pin.engine.merge_slashes };
        Rules { fields, bytes_max: pin.engine.head_bytes_max }
    }

    /// Counts and logs what is refused without an answer.
    pub fn reject(&self, reason: &'static str, asked: impl FnOnce() -> Asked) {
        reject(self.worker, &self.worker.pins.pin(), &self.peer, reason, asked);
    }
}

/// The client has closed the connection, or it has failed.
struct Gone;

/// A connection at work.
struct Run<'c, F, M> {
    connection: &'c Connection<'c>,
    wire: Wire,
    input: Input,
    streams: Slots<Arrival, F, M>,
    waiting: Waiting,
    ending: Ending,
    linger: Linger,
    /// What had been read before the protocol was known has been looked at.
    has_looked: bool,
}

impl<F: Future<Output = ()>, M: Fn(Rc<Inbox<Arrival>>) -> F> Run<'_, F, M> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let connection = self.connection;
        connection.watch.register(cx);
        connection.link.meter.tell_time(connection.worker.timers.now());
        for _ in 0..ROUNDS_MAX {
            // The drain of its address is over: what is still under way is cut (decision 18).
            if connection.listener.is_closed() {
                return Poll::Ready(());
            }
            if self.ending == Ending::Shut {
                return self.linger.poll(cx, &mut self.wire.transport, &connection.watch);
            }
            self.streams.poll();
            if self.read(cx).is_err() {
                return Poll::Ready(());
            }
            self.streams.poll();
            self.look_at_time();
            self.end_in_order();
            let was_choked = connection.link.is_choked();
            let is_written =
                match connection.link.output.borrow_mut().poll_write(cx, &mut self.wire.transport) {
                    Poll::Ready(Ok(())) => true,
                    Poll::Ready(Err(_)) => return Poll::Ready(()),
                    Poll::Pending => false,
                };
            if is_written && self.ending == Ending::Over {
                if self.shut(cx).is_ready() {
                    continue;
                }
            } else if connection.link.wake_waiting() || was_choked && !connection.link.is_choked() {
                continue;
            }
            let waiting = self.waiting();
            if waiting != self.waiting {
                self.waiting = waiting;
                connection.watch.arm(Timer::Connection, connection.patience(waiting));
                if let Waiting::Idle(_) = waiting {
                    self.streams.rest();
                    self.input.rest();
                    connection.link.output.borrow_mut().rest();
                }
            }
            if !connection.watch.is_due(Timer::Connection) {
                self.streams.sleep(cx);
                return Poll::Pending;
            }
            match waiting {
                Waiting::Idle(_) => self.ask_to_end(),
                // Nothing else can come on this connection before the block is complete.
                Waiting::Block(_) => {
                    connection.reject("head_timeout", Asked::default);
                    self.fail(Reason::NoError);
                }
                Waiting::Beginning | Waiting::Streams | Waiting::Tail(_) | Waiting::End => {
                    return Poll::Ready(());
                }
            }
        }
        // Woken once the worker has looked what has arrived on its sockets.
        let next_turn = pin!(tokio::task::yield_now());
        next_turn.poll(cx)
    }

    /// Reads what has come and acts on it.
    ///
    /// # Errors
    /// The client is gone.
    fn read(&mut self, cx: &mut Context<'_>) -> Result<(), Gone> {
        if !std::mem::replace(&mut self.has_looked, true) {
            self.act();
        }
        // A client that takes no answers gets none: what it sends waits.
        while self.ending < Ending::Over && !self.connection.link.is_choked() {
            let arrived = match self.wire.input.is_empty() {
                true => self.wire.poll_arrival(cx),
                false => self.wire.poll_fill(cx, HEAD_BYTES + FRAME_BYTES_MAX as usize),
            };
            match arrived {
                Poll::Ready(Ok(0) | Err(_)) => return Err(Gone),
                Poll::Ready(Ok(_)) => self.act(),
                Poll::Pending => break,
            }
        }
        Ok(())
    }

    /// Acts on the frames that have come whole.
    fn act(&mut self) {
        let connection = self.connection;
        let rules = connection.rules();
        loop {
            let mut event = None;
            match self.input.next(self.wire.input.unread(), &connection.link, rules, &mut event) {
                Ok(0) => return,
                Ok(bytes) => self.wire.input.consume(bytes),
                Err(reason) => return self.fail(reason),
            }
            if let Some(event) = event {
                self.happened(event);
            }
            if connection.link.meter.is_flooded() {
                return self.fail(Reason::EnhanceYourCalm);
            }
        }
    }

    fn happened(&mut self, event: Event) {
        let connection = self.connection;
        match event {
            // Nothing was done with it: it may be sent again elsewhere (RFC 9113 section 8.7).
            Event::Arrived(arrival) if connection.is_over() => {
                connection.link.reset(arrival.channel.id, Reason::RefusedStream);
            }
            Event::Arrived(arrival) => self.streams.serve(arrival),
            Event::Malformed(what, asked) => {
                tracing::debug!(peer = %connection.peer.remote, "malformed request: {what}");
                connection.reject("malformed_head", || asked);
            }
            Event::Refused(asked) => connection.reject("http2_streams", || asked),
        }
    }

    /// Resets streams whose clients go on with a request that has long been answered, and asks the client to begin no more.
    fn look_at_time(&mut self) {
        let Connection { link, watch, worker, began, .. } = self.connection;
        let now = worker.timers.now();
        let mut next = link.reset_unfinished(now);
        if self.ending == Ending::Not && self.connection.is_draining() {
            let farewell = *began + JUST_BEGUN;
            if now >= farewell {
                self.ask_to_end();
            } else {
                next = Some(next.map_or(farewell, |next| next.min(farewell)));
            }
        }
        match next {
            Some(next) => watch.arm(Timer::StreamIdle, next.saturating_sub(now)),
            None => watch.disarm(Timer::StreamIdle),
        }
    }

    /// Goes on with the end of the connection, where it has come so far.
    fn end_in_order(&mut self) {
        let link = &self.connection.link;
        let is_done = !link.has_channels() && self.streams.is_idle();
        if self.ending == Ending::Asked && self.input.has_heard
            || self.ending < Ending::Told && self.input.is_left && is_done
        {
            let last = link.last_stream();
            link.go_away(last, Reason::NoError);
            self.input.last_served = Some(last);
            self.ending = Ending::Told;
        }
        if self.ending == Ending::Told && is_done {
            self.ending = Ending::Over;
        }
    }

    fn ask_to_end(&mut self) {
        if self.ending == Ending::Not {
            self.connection.link.say_farewell();
            self.ending = Ending::Asked;
        }
    }

    /// Ends the connection at once: its streams are over (RFC 9113 section 5.4.1).
    fn fail(&mut self, reason: Reason) {
        if reason == Reason::EnhanceYourCalm {
            self.connection.worker.metrics.request_refused("http2_flood");
        }
        let link = &self.connection.link;
        link.meter.end();
        link.go_away(self.input.last_served.unwrap_or(link.last_stream()), reason);
        link.close_all();
        self.ending = Ending::Over;
    }

    /// Says that nothing follows, and reads on for a while, so that closing does not take the last frames away from the client.
    fn shut(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let connection = self.connection;
        connection.link.meter.end();
        if self.wire.transport.poll_shutdown(cx).is_pending() {
            return Poll::Pending;
        }
        connection.watch.arm(Timer::Connection, connection.link.meter.patience_at_end());
        self.ending = Ending::Shut;
        Poll::Ready(())
    }

    fn waiting(&self) -> Waiting {
        let link = &self.connection.link;
        let output = link.output.borrow();
        match () {
            () if link.meter.is_ended() => Waiting::End,
            () if self.ending == Ending::Over && !output.is_empty() => Waiting::Tail(output.written_ever),
            () if self.ending == Ending::Over => Waiting::End,
            () if !self.input.has_begun() => Waiting::Beginning,
            // Not where it is we who do not read.
            () if !output.is_choking() && self.input.is_block_open(self.wire.input.unread()) => {
                Waiting::Block(self.input.blocks)
            }
            () if !self.streams.is_idle() => Waiting::Streams,
            () if !output.is_empty() => Waiting::Tail(output.written_ever),
            () if self.ending != Ending::Not => Waiting::End,
            () => Waiting::Idle(link.last_stream()),
        }
    }
}

#[cfg(test)]
mod tests;
