//! Reads what a client sends, frame by frame (RFC 9113 section 6), and decides what each frame does.

use std::rc::Rc;

use super::{
    super::{
        FRAME_BYTES_MAX, PREFACE,
        frame::{self, HEAD_BYTES, Head, Reason, flag, kind},
        head::{HeadReader, Refused, RequestHead, Rules, TrailerReader, Unread},
        hpack::decode::{DecodeError, Decoder},
    },
    channel::Channel,
    closed::Closed,
    control,
    link::Link,
};
use crate::data_plane::refusal::{Asked, Refusal};

/// A header block of so many frames is an attack: what they could hold is far beyond any limit of heads.
const CONTINUATIONS_MAX: usize = 64;

/// Compressed bytes of a block, for each byte that its list may have.
const BLOCK_BYTES_PER_BYTE: usize = 2;

/// What a client has begun.
pub struct Arrival {
    pub channel: Rc<Channel>,
    /// The request, or the answer that it gets in place of being served.
    pub head: Result<RequestHead, (Refusal, Asked)>,
    pub to_head: bool,
    pub is_grpc: bool,
}

/// What a frame was, for the caller to act on.
pub enum Event {
    Arrived(Arrival),
    /// It was malformed, and its stream is reset.
    Malformed(&'static str, Asked),
    /// There are too many streams: it was reset before anything was done with it.
    Refused(Asked),
}

/// What is read of one connection.
#[derive(Default)]
pub struct Input {
    stage: Stage,
    block: Option<OpenBlock>,
    decoder: Decoder,
    heads: HeadReader,
    /// Streams after this one are not served: the client has been told.
    pub last_served: Option<u32>,
    /// The client goes away.
    pub is_left: bool,
    /// It has heard that the connection ends.
    pub has_heard: bool,
    /// Header blocks that have come whole.
    pub blocks: u64,
    /// The last stream that was refused because there were too many.
    refused: u32,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Stage {
    #[default]
    Preface,
    Settings,
    Frames,
}

/// A header block whose end has not come.
struct OpenBlock {
    head: Head,
    bytes: Vec<u8>,
    continuations: usize,
}

/// What a header block belongs to.
enum Purpose {
    Request {
        is_refused: bool,
    },
    Trailers(Rc<Channel>),
    /// A stream that is of no interest any more: read for the sake of the table.
    Nothing,
}

impl Input {
    /// The client has said what it has to say first.
    pub fn has_begun(&self) -> bool {
        self.stage == Stage::Frames
    }

    /// A header block has begun, in these bytes or before them, and has not ended.
    pub fn is_block_open(&self, unread: &[u8]) -> bool {
        self.block.is_some() || self.has_begun() && unread.get(3) == Some(&kind::HEADERS)
    }

    /// Holds no more memory than an ordinary head needs.
    pub fn rest(&mut self) {
        self.decoder.rest();
        self.heads.rest();
    }

    /// Reads the next frame of `unread`; how many bytes it took, 0 where it has not come whole.
    ///
    /// # Errors
    /// The connection ends for this reason (section 5.4.1).
    pub fn next(
        &mut self,
        unread: &[u8],
        link: &Link,
        rules: Rules,
        event: &mut Option<Event>,
    ) -> Result<usize, Reason> {
        if self.stage == Stage::Preface {
            let known = unread.len().min(PREFACE.len());
            if unread[..known] != PREFACE[..known] {
                return Err(Reason::Protocol);
            }
            if known < PREFACE.len() {
                return Ok(0);
            }
            self.stage = Stage::Settings;
            return Ok(known);
        }
        let Some(first) = unread.first_chunk() else { return Ok(0) };
        let head = Head::read(first);
        // Known before the payload comes.
        if head.length > FRAME_BYTES_MAX as usize {
            return Err(Reason::FrameSize);
        }
        if self.stage == Stage::Settings && (head.kind != kind::SETTINGS || head.has(flag::ACK)) {
            return Err(Reason::Protocol);
        }
        let Some(payload) = unread[HEAD_BYTES..].get(..head.length) else { return Ok(0) };
        self.stage = Stage::Frames;
        // What of DATA is padding, and whether anybody wants it or a header block, is known further on.
        if !matches!(head.kind, kind::DATA | kind::HEADERS) {
            link.meter.count(head.kind, head.flags, head.length);
        }
        *event = self.frame(head, payload, link, rules)?;
        Ok(HEAD_BYTES + head.length)
    }

    fn frame(
        &mut self,
        head: Head,
        payload: &[u8],
        link: &Link,
        rules: Rules,
    ) -> Result<Option<Event>, Reason> {
        if self.block.is_some() && head.kind != kind::CONTINUATION {
            return Err(Reason::Protocol);
        }
        let on_stream = head.stream != 0;
        let is_idle = on_stream && (head.stream > link.last_stream() || head.stream.is_multiple_of(2));
        match head.kind {
            kind::HEADERS => return self.headers(head, payload, link, rules),
            kind::CONTINUATION => return self.continuation(head, payload, link, rules),
            kind::DATA if !on_stream || is_idle => return Err(Reason::Protocol),
            kind::DATA => self.data(head, payload, link)?,
            kind::PRIORITY if !on_stream => return Err(Reason::Protocol),
            kind::PRIORITY if payload.len() != 5 => match link.channel(head.stream) {
                Some(channel) => refuse(link, &channel, Reason::FrameSize),
                None => return Err(Reason::FrameSize),
            },
            // Deprecated (section 5.3.2).
            kind::PRIORITY => {}
            kind::RST_STREAM if payload.len() != 4 => return Err(Reason::FrameSize),
            kind::RST_STREAM if !on_stream || is_idle => return Err(Reason::Protocol),
            kind::RST_STREAM => {
                match link.channel(head.stream) {
                    Some(channel) if !channel.has_sent.get() => link.meter.count_reset(),
                    // It was answered, or had closed: many clients answer so what they have no more use for.
                    _ => link.meter.count_control(),
                }
                link.close(head.stream);
            }
            kind::SETTINGS => control::settings(head, payload, link)?,
            kind::PING if on_stream => return Err(Reason::Protocol),
            kind::PING if payload.len() != 8 => return Err(Reason::FrameSize),
            kind::PING if head.has(flag::ACK) => self.has_heard |= Link::is_farewell(payload),
            kind::PING => link.answer_ping(payload),
            kind::GOAWAY if on_stream => return Err(Reason::Protocol),
            kind::GOAWAY if payload.len() < 8 => return Err(Reason::FrameSize),
            kind::GOAWAY => self.is_left = true,
            kind::WINDOW_UPDATE => {
                let increment = <[u8; 4]>::try_from(payload).map_err(|_| Reason::FrameSize)?;
                control::window_update(
                    head.stream,
                    u32::from_be_bytes(increment) & 0x7fff_ffff,
                    is_idle,
                    link,
                )?;
            }
            // A client pushes nothing (section 8.4).
            kind::PUSH_PROMISE => return Err(Reason::Protocol),
            // Section 5.5.
            _ => {}
        }
        Ok(None)
    }

    fn data(&self, head: Head, payload: &[u8], link: &Link) -> Result<(), Reason> {
        let data = frame::unpadded(head, payload).ok_or(Reason::Protocol)?;
        // Padding counts (section 6.9.1).
        if !link.charge(payload.len()) {
            return Err(Reason::FlowControl);
        }
        let ends = head.has(flag::END_STREAM);
        let Some(channel) = link.channel(head.stream) else {
            link.release(None, payload.len());
            // What was on its way when the stream was reset may be as many small pieces as its window holds.
            let is_late = self.is_unserved(head.stream) || link.closed.how(head.stream) == Some(Closed::Here);
            if !is_late || data.is_empty() {
                link.meter.count_control();
            }
            if !is_late {
                // Or it was refused, with so many others that this one is forgotten.
                link.reset(head.stream, Reason::StreamClosed);
            }
            return Ok(());
        };
        link.meter.count(head.kind, head.flags, data.len());
        let window = channel.receive_window.get() - payload.len() as i64;
        channel.receive_window.set(window);
        let fault = match () {
            () if channel.has_received() => Some(Reason::StreamClosed),
            () if window < 0 => Some(Reason::FlowControl),
            () if !channel.count(data.len(), ends) => {
                channel.broken();
                Some(Reason::Protocol)
            }
            () => None,
        };
        if let Some(reason) = fault {
            link.release(None, payload.len());
            refuse(link, &channel, reason);
            return Ok(());
        }
        let kept = if channel.receive(data) { data.len() } else { 0 };
        if payload.len() > kept {
            // What nobody wants opens the connection's window alone: the stream's is no use to anybody.
            let stream = (kept > 0 || data.is_empty()).then_some(&*channel);
            link.release(stream, payload.len() - kept);
        }
        if ends {
            link.received(&channel);
        }
        // What was taken before may be worth a frame now that there is less left.
        link.release(None, 0);
        Ok(())
    }

    /// The client had not heard that nothing more is served when it began this stream (section 6.8).
    fn is_unserved(&self, stream: u32) -> bool {
        self.last_served.is_some_and(|last| stream > last)
    }

    fn headers(
        &mut self,
        head: Head,
        payload: &[u8],
        link: &Link,
        rules: Rules,
    ) -> Result<Option<Event>, Reason> {
        if head.stream.is_multiple_of(2) {
            return Err(Reason::Protocol);
        }
        let mut fragment = frame::unpadded(head, payload).ok_or(Reason::Protocol)?;
        if head.has(flag::PRIORITY) {
            fragment = fragment.get(5..).ok_or(Reason::FrameSize)?;
        }
        if head.has(flag::END_HEADERS) {
            return self.block(head, fragment, link, rules);
        }
        self.block = Some(OpenBlock { head, bytes: fragment.to_vec(), continuations: 0 });
        Ok(None)
    }

    fn continuation(
        &mut self,
        head: Head,
        payload: &[u8],
        link: &Link,
        rules: Rules,
    ) -> Result<Option<Event>, Reason> {
        let Some(mut open) = self.block.take().filter(|open| open.head.stream == head.stream) else {
            return Err(Reason::Protocol);
        };
        open.continuations += 1;
        let bytes_max = rules.bytes_max.saturating_mul(BLOCK_BYTES_PER_BYTE).max(FRAME_BYTES_MAX as usize);
        if open.continuations > CONTINUATIONS_MAX || open.bytes.len() + payload.len() > bytes_max {
            return Err(Reason::EnhanceYourCalm);
        }
        open.bytes.extend_from_slice(payload);
        if head.has(flag::END_HEADERS) {
            return self.block(open.head, &open.bytes, link, rules);
        }
        self.block = Some(open);
        Ok(None)
    }

    /// A whole header block. Whatever it is for, it has to be decoded (section 4.3).
    fn block(
        &mut self,
        head: Head,
        block: &[u8],
        link: &Link,
        rules: Rules,
    ) -> Result<Option<Event>, Reason> {
        let ends = head.has(flag::END_STREAM);
        self.blocks += 1;
        let purpose = self.purpose(head, link)?;
        match purpose {
            Purpose::Nothing => link.meter.count_control(),
            _ => link.meter.count(head.kind, head.flags, head.length),
        }
        match purpose {
            Purpose::Request { is_refused } => {
                let heads = &mut self.heads;
                decoded(self.decoder.decode(block, |name, value| heads.field(name, value, rules)))?;
                let read = heads.finish(rules);
                if is_refused {
                    self.refused = head.stream;
                    link.reset(head.stream, Reason::RefusedStream);
                    let asked = read.map_or_else(|unread| unread.asked, |request| request.asked());
                    return Ok(Some(Event::Refused(asked)));
                }
                Ok(Some(request(head.stream, read, ends, link)))
            }
            Purpose::Trailers(channel) => {
                let mut trailers = TrailerReader::default();
                decoded(self.decoder.decode(block, |name, value| trailers.field(name, value, rules)))?;
                match trailers.finish() {
                    _ if channel.has_received() => refuse(link, &channel, Reason::StreamClosed),
                    Ok(trailers) if ends && channel.count(0, true) => {
                        channel.set_trailers(trailers);
                        link.received(&channel);
                    }
                    _ => malformed(link, &channel),
                }
                Ok(None)
            }
            Purpose::Nothing => {
                let mut unread = TrailerReader::default();
                decoded(self.decoder.decode(block, |name, value| unread.field(name, value, rules)))?;
                Ok(None)
            }
        }
    }

    fn purpose(&self, head: Head, link: &Link) -> Result<Purpose, Reason> {
        if let Some(channel) = link.channel(head.stream) {
            return Ok(Purpose::Trailers(channel));
        }
        if self.is_unserved(head.stream) {
            link.began(head.stream.max(link.last_stream()));
            return Ok(Purpose::Nothing);
        }
        if head.stream <= link.last_stream() {
            return match link.closed.how(head.stream) {
                // Trailers on their way, one block a stream; decoding more is work for nothing.
                Some(Closed::Here) => {
                    link.meter.count_reset();
                    Ok(Purpose::Nothing)
                }
                Some(Closed::There) => Err(Reason::StreamClosed),
                // One of so many that were refused that it is forgotten.
                None if head.stream <= self.refused => Ok(Purpose::Nothing),
                None => Err(Reason::Protocol),
            };
        }
        link.began(head.stream);
        Ok(Purpose::Request { is_refused: link.is_full() })
    }
}

fn decoded(outcome: Result<(), DecodeError>) -> Result<(), Reason> {
    outcome.map_err(|error| match error {
        DecodeError::Compression => Reason::Compression,
        DecodeError::Stopped => Reason::EnhanceYourCalm,
    })
}

/// Opens the stream of a request.
fn request(stream: u32, read: Result<RequestHead, Unread>, ends: bool, link: &Link) -> Event {
    let length = read.as_ref().ok().and_then(|head| head.length);
    let channel = link.open(stream, length, ends);
    let is_grpc = read.as_ref().map_or_else(|unread| unread.is_grpc, |head| head.is_grpc);
    let head = match read {
        // A length and no body (section 8.1.1).
        Ok(head) if ends && length.is_some_and(|length| length > 0) => {
            malformed(link, &channel);
            return Event::Malformed("content-length without a body", head.asked());
        }
        Ok(head) => Ok(head),
        Err(Unread { refused: Refused::Malformed(what), asked, .. }) => {
            malformed(link, &channel);
            return Event::Malformed(what, asked);
        }
        Err(Unread { refused: Refused::Answered(refusal), asked, .. }) => Err((refusal, asked)),
    };
    let to_head = match &head {
        Ok(head) => head.method == crate::http::Method::Head,
        Err((_, asked)) => asked.method == Some(crate::http::Method::Head),
    };
    Event::Arrived(Arrival { channel, head, to_head, is_grpc })
}

/// A message that is not what it should be (section 8.1.1).
fn malformed(link: &Link, channel: &Channel) {
    channel.broken();
    refuse(link, channel, Reason::Protocol);
}

/// A stream error (section 5.4.2): what a client brings the gateway to reset counts like what it resets itself.
pub fn refuse(link: &Link, channel: &Channel, reason: Reason) {
    link.meter.count_reset();
    link.reset(channel.id, reason);
}
