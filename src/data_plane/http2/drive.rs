//! What moves the frames of a connection to an upstream, and how it is set up.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    rc::Rc,
    task::Poll,
    time::Duration,
};

use h2::{
    Ping, PingPong,
    client::{self, Builder},
};

use super::{
    FRAME_BYTES_MAX, SEND_BUFFER_BYTES_MAX, UPSTREAM_CONNECTION_WINDOW_BYTES,
    UPSTREAM_FRAME_OVERHEAD_BYTES_MAX, UPSTREAM_LATE_FRAMES_MAX, UPSTREAM_STREAM_WINDOW_BYTES, chunk::Chunk,
    io::Io, meter::Meter,
};
use crate::data_plane::timers::{Timer, Timers, Watch};

/// An upstream that has been silent for so long while requests wait for it is asked for a sign of life,
/// and has so long to give one.
const SILENCE_MAX: Duration = Duration::from_secs(20);
const PONG_WAIT: Duration = Duration::from_secs(10);

/// So often while nothing of a message comes, and once in so long from then on. A gRPC server takes PINGs in five minutes
/// of its own silence for a flood, and ends the connection at the fourth.
const QUESTIONS_MAX: u32 = 2;
const QUESTIONS_APART: Duration = Duration::from_secs(310);

/// What speaks HTTP/2 on a new connection.
pub fn builder(head_bytes_max: usize) -> Builder {
    let mut builder = Builder::new();
    builder
        .initial_window_size(UPSTREAM_STREAM_WINDOW_BYTES)
        .initial_connection_window_size(UPSTREAM_CONNECTION_WINDOW_BYTES)
        .max_frame_size(FRAME_BYTES_MAX)
        .data_frame_budget(UPSTREAM_FRAME_OVERHEAD_BYTES_MAX)
        .max_local_error_reset_streams(Some(UPSTREAM_LATE_FRAMES_MAX))
        .max_header_list_size(head_bytes_max as u32)
        .max_send_buffer_size(SEND_BUFFER_BYTES_MAX)
        .enable_push(false);
    builder
}

/// Moves the frames of a connection until it ends, or its peer gives no sign of life while streams wait.
pub async fn drive(
    connection: client::Connection<Io, Chunk>,
    meter: &Meter,
    watch: &Rc<Watch>,
    timers: &Timers,
    busy: impl Fn() -> bool,
) {
    let mut connection = connection;
    let mut pings = connection.ping_pong();
    let mut asked = false;
    let mut heard = (meter.bytes(), meter.messages());
    let mut questions = 0;
    let mut asked_at = timers.now();
    watch.arm(Timer::Connection, SILENCE_MAX);
    poll_fn(|cx| {
        watch.register(cx);
        meter.tell_time(timers.now());
        if pin!(&mut connection).poll(cx).is_ready() || meter.is_flooded() {
            return Poll::Ready(());
        }
        // Always: an answer that nobody has looked at would be in the way of the next question.
        if pings.as_mut().is_some_and(|pings| pings.poll_pong(cx).is_ready()) {
            asked = false;
        }
        if meter.is_ended() {
            return if watch.is_due(Timer::Connection) { Poll::Ready(()) } else { Poll::Pending };
        }
        let (bytes, messages) = std::mem::replace(&mut heard, (meter.bytes(), meter.messages()));
        if messages != meter.messages() {
            questions = 0;
        }
        if bytes != meter.bytes() {
            asked = false;
            watch.arm(Timer::Connection, SILENCE_MAX);
        } else if !watch.is_due(Timer::Connection) {
            return Poll::Pending;
        } else if busy() && asked {
            return Poll::Ready(());
        } else if !busy() || questions >= QUESTIONS_MAX && timers.now() < asked_at + QUESTIONS_APART {
            asked = false;
            watch.arm(Timer::Connection, SILENCE_MAX);
        } else {
            asked = ask(&mut pings);
            asked_at = timers.now();
            questions += 1;
            watch.arm(Timer::Connection, PONG_WAIT);
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    })
    .await;
}

/// Whether an answer is due: a question of before may still be open.
fn ask(pings: &mut Option<PingPong>) -> bool {
    let Some(pings) = pings else { return false };
    let _ = pings.send_ping(Ping::opaque());
    true
}
