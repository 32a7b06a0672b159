//! A tunnel: what follows a switch of protocols, both ways, until both have ended.
//!
//! Bytes go from the buffer of one connection to the socket of the other; nothing is read while what
//! was read cannot be written, and a quiet direction holds no buffer.

use std::{
    cell::RefCell,
    future::poll_fn,
    io::{self, IoSlice},
    rc::Rc,
    task::{Context, Poll, ready},
    time::Duration,
};

use super::{client::ClientConnection, sender::Sink, wire::Wire};
use crate::{
    data_plane::timers::{Timer, Watch},
    telemetry::metrics::{Tunnelled, Tunnels},
};

/// Reads and writes of one turn of a direction: the other must get its turn too.
const STEPS_MAX: usize = 16;

/// An upstream that has agreed to another protocol. Dropped, its connection closes.
pub struct Upgraded {
    pub upstream: Rc<ClientConnection>,
    /// One of those that the client offered.
    pub protocol: Box<str>,
    /// How long nothing may move in either direction; zero is for ever.
    pub idle: Duration,
}

/// How a tunnel ended, for the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TunnelEnd {
    /// It got everything and the end.
    Complete,
    /// Nothing moved for too long, or the gateway closes.
    Expired,
    /// The upstream broke off: what it got is not all there was.
    Broken,
}

/// One direction.
struct Way<'a> {
    from: &'a RefCell<Wire>,
    to: &'a RefCell<Wire>,
    state: State,
    moved: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Open,
    /// The end was reached and passed on.
    Ended,
    /// Nobody reads any more at the other end. What comes from there may still be on its way.
    Unread,
    /// One of the connections was reset: nothing that it carried is complete.
    Broken,
}

/// Runs a tunnel between a client and an upstream. `closing` says that the gateway ends it.
pub async fn run(
    client: &RefCell<Wire>,
    upgraded: &Upgraded,
    watch: &Watch,
    metrics: &Tunnels,
    closing: impl Fn() -> bool,
) -> TunnelEnd {
    let upstream = upgraded.upstream.wire();
    let mut up = Way { from: client, to: upstream, state: State::Open, moved: 0 };
    let mut down = Way { from: upstream, to: client, state: State::Open, moved: 0 };
    let _open = metrics.opened(&upgraded.protocol);
    watch.arm(Timer::StreamIdle, upgraded.idle);
    let expired = poll_fn(|cx| {
        let states = (up.poll(cx), down.poll(cx));
        let moved = Tunnelled { up: std::mem::take(&mut up.moved), down: std::mem::take(&mut down.moved) };
        if moved != Tunnelled::default() {
            watch.restart(Timer::StreamIdle);
            metrics.moved(moved);
        }
        match states {
            (State::Broken, _) | (_, State::Broken) => Poll::Ready(false),
            (State::Open, _) | (_, State::Open) if watch.is_due(Timer::StreamIdle) || closing() => {
                Poll::Ready(true)
            }
            (State::Open, _) | (_, State::Open) => Poll::Pending,
            _ => Poll::Ready(false),
        }
    })
    .await;
    watch.disarm(Timer::StreamIdle);
    if !expired && up.state != State::Ended {
        upstream.borrow().transport.reset_when_closed();
    }
    match down.state {
        _ if expired => TunnelEnd::Expired,
        State::Ended => TunnelEnd::Complete,
        _ => TunnelEnd::Broken,
    }
}

impl Way<'_> {
    /// Moves what there is.
    fn poll(&mut self, cx: &mut Context<'_>) -> State {
        if self.state == State::Open
            && let Poll::Ready(state) = self.poll_move(cx)
        {
            self.state = state;
        }
        self.state
    }

    fn poll_move(&mut self, cx: &mut Context<'_>) -> Poll<State> {
        let (mut from, mut to) = (self.from.borrow_mut(), self.to.borrow_mut());
        for _ in 0..STEPS_MAX {
            if !from.input.is_empty() {
                match ready!(to.transport.poll_write(cx, &[IoSlice::new(from.input.unread())])) {
                    // A reset is told once: a read of the same connection would now find an orderly end.
                    Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {
                        return Poll::Ready(State::Broken);
                    }
                    Ok(0) | Err(_) => return Poll::Ready(State::Unread),
                    Ok(written) => {
                        from.input.consume(written);
                        self.moved += written as u64;
                    }
                }
            } else if from.closed {
                let told = ready!(to.transport.poll_shutdown(cx));
                return Poll::Ready(if told.is_ok() { State::Ended } else { State::Unread });
            } else {
                match from.poll_arrival(cx) {
                    Poll::Ready(Ok(_)) => {}
                    Poll::Ready(Err(_)) => return Poll::Ready(State::Broken),
                    Poll::Pending => {
                        from.input.rest();
                        // TLS keeps records back. A sink that fails is noticed with the next write.
                        let _ = to.transport.poll_flush(cx);
                        return Poll::Pending;
                    }
                }
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}
