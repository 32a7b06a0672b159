//! A client's connection: accepts its streams, holds it to its limits, ends it in order.

use std::{
    cell::{Cell, RefCell},
    future::{Future, poll_fn},
    pin::pin,
    rc::Rc,
    task::Poll,
    time::Duration,
};

use futures_util::stream::{FuturesUnordered, StreamExt};
use h2::{
    Reason,
    server::{self, Handshake},
};

use super::{
    CONNECTION_WINDOW_BYTES, FRAME_BYTES_MAX, FRAME_OVERHEAD_BYTES_MAX, SEND_BUFFER_BYTES_MAX,
    STREAM_WINDOW_BYTES,
    chunk::Chunk,
    io::Io,
    meter::{Meter, RESETS_MAX},
    stream,
};
use crate::{
    data_plane::{
        acceptor::Listener,
        http1::wire::{ReadBuffer, Transport},
        refusal::Asked,
        serving::reject,
        timers::{Timer, Watch},
        worker::Worker,
    },
    http::Peer,
    snapshot::EngineSettings,
};

/// Streams that a client may have open (decision 7).
const STREAMS_MAX: u32 = 128;

/// For how long a client whose connection is outdated may open streams before it has heard that it ends; one that does
/// not listen is refused then.
const OUTDATED: Duration = Duration::from_secs(1);

/// What the streams of a connection share.
pub struct Connection<'w> {
    pub worker: &'w Worker,
    pub peer: Rc<Peer>,
    pub meter: Rc<Meter>,
    /// Since when its port asks for something else: it ends.
    outdated: Cell<Option<Duration>>,
    listener: Rc<Listener>,
    watch: Rc<Watch>,
    /// Deadlines of streams that have ended, for the next ones.
    watches: RefCell<Vec<Rc<Watch>>>,
}

impl Connection<'_> {
    /// Deadlines for one stream.
    pub fn lend_watch(&self) -> Rc<Watch> {
        let kept = self.watches.borrow_mut().pop();
        kept.unwrap_or_else(|| self.worker.timers.watch())
    }

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

    /// Takes the deadlines of a stream back, unless somebody still holds on to them.
    pub fn take_back(&self, watch: Rc<Watch>) {
        if Rc::strong_count(&watch) == 1 {
            watch.disarm_all();
            self.watches.borrow_mut().push(watch);
        }
    }
}

/// What a connection waits for, and so which deadline rules it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Waiting {
    /// Its streams, which have deadlines of their own.
    Streams,
    /// The rest of a header block.
    Block,
    /// The client, to read so many chunks of responses that are complete here: another number is another
    /// wait.
    Tail(usize),
    /// A first stream, or another one.
    Idle,
    /// The client, to close: it knows that the connection ends.
    End,
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
    let meter = Rc::new(Meter::default());
    let watch = worker.timers.watch();
    let io = Io::new(transport, read, Rc::clone(&meter), Rc::clone(&watch));
    let handshake = builder(&worker.pins.pin().engine).handshake(io);
    let connection = Connection {
        worker,
        peer,
        meter,
        outdated: Cell::new(None),
        listener,
        watch,
        watches: RefCell::default(),
    };
    connection.run(handshake).await;
}

fn builder(engine: &EngineSettings) -> server::Builder {
    let mut builder = server::Builder::new();
    builder
        .initial_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_frame_size(FRAME_BYTES_MAX)
        .data_frame_budget(FRAME_OVERHEAD_BYTES_MAX)
        .max_concurrent_streams(STREAMS_MAX)
        // Resets are the meter's to count; `h2` alone would end the connection at the 21st early one.
        .max_pending_accept_reset_streams(RESETS_MAX as usize)
        .max_header_list_size(engine.head_bytes_max as u32)
        .max_send_buffer_size(SEND_BUFFER_BYTES_MAX);
    builder
}

impl Connection<'_> {
    async fn run(&self, handshake: Handshake<Io, Chunk>) {
        let mut handshake = pin!(handshake);
        self.watch.arm(Timer::Connection, self.worker.pins.pin().engine.head_timeout);
        let begun = poll_fn(|cx| {
            self.watch.register(cx);
            match handshake.as_mut().poll(cx) {
                Poll::Ready(connection) => Poll::Ready(connection.ok()),
                Poll::Pending if self.watch.is_due(Timer::Connection) => Poll::Ready(None),
                Poll::Pending => Poll::Pending,
            }
        })
        .await;
        let Some(mut frames) = begun else { return };
        let mut streams = FuturesUnordered::new();
        let mut waiting = Waiting::Streams;
        let mut ending = false;
        self.watch.disarm(Timer::Connection);
        // One task polls everything of this connection: what its streams have to say leaves in one write.
        poll_fn(|cx| {
            self.watch.register(cx);
            self.meter.tell_time(self.worker.timers.now());
            loop {
                while let Poll::Ready(Some(())) = streams.poll_next_unpin(cx) {}
                let mut again = false;
                loop {
                    match frames.poll_accept(cx) {
                        // Nothing was done with it: it may be sent again elsewhere (RFC 9113 section 8.7).
                        Poll::Ready(Some(Ok((_, mut respond)))) if self.is_over() => {
                            respond.send_reset(Reason::REFUSED_STREAM);
                        }
                        Poll::Ready(Some(Ok((request, respond)))) => {
                            streams.push(stream::serve(self, request, respond));
                            again = true;
                        }
                        Poll::Ready(Some(Err(_)) | None) => return Poll::Ready(()),
                        Poll::Pending => break,
                    }
                }
                if self.meter.is_flooded() && !self.meter.is_ended() {
                    self.worker.metrics.request_refused("http2_flood");
                    self.meter.end();
                    frames.abrupt_shutdown(Reason::ENHANCE_YOUR_CALM);
                    continue;
                }
                if again {
                    continue;
                }
                let drains = || {
                    self.worker.is_draining() || self.listener.is_draining() || self.outdated.get().is_some()
                };
                if !ending && drains() {
                    ending = true;
                    frames.graceful_shutdown();
                    continue;
                }
                let now = self.waiting_for(streams.is_empty(), ending);
                if now != waiting {
                    waiting = now;
                    self.watch.arm(Timer::Connection, self.patience(now));
                }
                // The drain of its address is over: what is still under way is cut (decision 18).
                if self.listener.is_closed() {
                    return Poll::Ready(());
                }
                if !self.watch.is_due(Timer::Connection) {
                    return Poll::Pending;
                }
                match now {
                    Waiting::Streams => return Poll::Pending,
                    Waiting::End | Waiting::Tail(_) => return Poll::Ready(()),
                    Waiting::Idle => {
                        ending = true;
                        frames.graceful_shutdown();
                    }
                    // Nothing else can come on this connection before the block is complete.
                    Waiting::Block => {
                        reject(
                            self.worker,
                            &self.worker.pins.pin(),
                            &self.peer,
                            "head_timeout",
                            Asked::default,
                        );
                        self.meter.end();
                        frames.abrupt_shutdown(Reason::NO_ERROR);
                    }
                }
            }
        })
        .await;
    }

    fn waiting_for(&self, no_streams: bool, ending: bool) -> Waiting {
        match no_streams {
            _ if self.meter.is_ended() => Waiting::End,
            _ if self.meter.is_block_open() => Waiting::Block,
            false => Waiting::Streams,
            true if self.meter.unsent().get() > 0 => Waiting::Tail(self.meter.unsent().get()),
            true if ending => Waiting::End,
            true => Waiting::Idle,
        }
    }

    /// Zero is for ever.
    fn patience(&self, waiting: Waiting) -> Duration {
        let pin = self.worker.pins.pin();
        match waiting {
            Waiting::Streams => Duration::ZERO,
            Waiting::Block => pin.engine.head_timeout,
            Waiting::Tail(_) => pin.engine.stream_idle,
            Waiting::Idle => pin.engine.client_idle,
            Waiting::End => self.meter.patience_at_end(),
        }
    }
}
