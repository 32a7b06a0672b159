//! What a connection and its streams share, without a socket.

use super::{
    super::{
        CONNECTION_WINDOW_BYTES, PREFACE, STREAM_WINDOW_BYTES,
        frame::{self, HEAD_BYTES, Head, flag, kind},
    },
    channel::Channel,
    *,
};
use crate::http::{Body, Headers, Length, Step};
use bytes::Bytes;

mod floods;

const RULES: Rules = Rules { fields: HeadRules { fields_max: 8, merge_slashes: true }, bytes_max: 2000 };

fn link() -> Link {
    Link::new(RULES.bytes_max)
}

/// The frames that wait to be written.
fn written(link: &Link) -> Vec<(Head, Vec<u8>)> {
    let output = link.output.borrow();
    let mut rest = output.bytes();
    let mut frames = Vec::new();
    while let Some(head) = rest.first_chunk() {
        let head = Head::read(head);
        let (payload, next) = rest[HEAD_BYTES..].split_at(head.length);
        frames.push((head, payload.to_vec()));
        rest = next;
    }
    assert!(rest.is_empty());
    frames
}

/// By how much the client's window for all streams together was opened since the beginning.
fn opened(link: &Link) -> u32 {
    let updates =
        written(link).into_iter().filter(|(head, _)| (head.kind, head.stream) == (kind::WINDOW_UPDATE, 0));
    updates.skip(1).map(|(_, payload)| u32::from_be_bytes(payload.try_into().unwrap())).sum()
}

/// A client's bytes.
#[derive(Default)]
struct Client {
    input: Input,
    arrived: Vec<input::Arrival>,
}

impl Client {
    fn begun(link: &Link) -> Self {
        let mut client = Self::default();
        let settings =
            [PREFACE, &Head { length: 0, kind: kind::SETTINGS, flags: 0, stream: 0 }.bytes()].concat();
        client.says(link, &settings).unwrap();
        client
    }

    fn says(&mut self, link: &Link, mut bytes: &[u8]) -> Result<(), Reason> {
        while !bytes.is_empty() {
            let mut event = None;
            let read = self.input.next(bytes, link, RULES, &mut event)?;
            assert!(read > 0, "a whole frame");
            bytes = &bytes[read..];
            if let Some(Event::Arrived(arrival)) = event {
                self.arrived.push(arrival);
            }
        }
        Ok(())
    }

    fn sends(&mut self, link: &Link, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Result<(), Reason> {
        let mut bytes = Vec::new();
        frame::write(&mut bytes, kind, flags, stream, payload);
        self.says(link, &bytes)
    }

    /// `POST /` without its body.
    fn posts(&mut self, link: &Link, stream: u32) -> Rc<Channel> {
        let block = b"\x83\x86\x84\x01\x06a.test";
        self.sends(link, kind::HEADERS, flag::END_HEADERS, stream, block).unwrap();
        Rc::clone(&self.arrived.last().expect("a request").channel)
    }

    fn uploads(&mut self, link: &Link, stream: u32, bytes: usize) -> Result<(), Reason> {
        let payload = vec![b'x'; bytes];
        payload
            .chunks(FRAME_BYTES_MAX as usize)
            .try_for_each(|part| self.sends(link, kind::DATA, 0, stream, part))
    }
}

fn take(link: &Link, channel: &Channel, bytes: usize) {
    let mut left = bytes;
    while left > 0 {
        let taken = channel.lend(&mut |unread| unread.len().min(left));
        assert!(taken > 0, "{left} bytes are missing");
        left -= taken;
        link.release(Some(channel), taken);
    }
}

#[test]
fn uploads_that_nobody_takes_leave_room_for_one_that_is_taken() {
    let link = link();
    let mut client = Client::begun(&link);
    for stream in [1, 3, 5] {
        client.posts(&link, stream);
        client.uploads(&link, stream, STREAM_WINDOW_BYTES as usize).unwrap();
    }
    let healthy = client.posts(&link, 7);
    let mut window = CONNECTION_WINDOW_BYTES as usize - 3 * STREAM_WINDOW_BYTES as usize;
    let mut sent = 0;
    for _ in 0..200 {
        let before = opened(&link) as usize;
        let part = window.min(10_000);
        client.uploads(&link, 7, part).unwrap();
        take(&link, &healthy, part);
        sent += part;
        window = window - part + opened(&link) as usize - before;
    }
    assert_eq!(sent, 2_000_000);
}

#[test]
fn what_was_taken_is_announced_when_others_use_up_the_rest() {
    let link = link();
    let mut client = Client::begun(&link);
    let taken = client.posts(&link, 1);
    let mut left = CONNECTION_WINDOW_BYTES as usize;
    for _ in 0..2 {
        client.uploads(&link, 1, 150_000).unwrap();
        take(&link, &taken, 150_000);
        left -= 150_000;
    }
    assert_eq!(opened(&link), 0);
    for stream in [3, 5, 7] {
        client.posts(&link, stream);
        let part = left.min(STREAM_WINDOW_BYTES as usize);
        client.uploads(&link, stream, part).unwrap();
        left -= part;
    }
    assert_eq!((left, opened(&link)), (0, 300_000));
}

#[test]
fn what_was_taken_of_a_body_is_given_back_once() {
    let link = link();
    let mut client = Client::begun(&link);
    for round in 0..8 {
        let channel = client.posts(&link, 2 * round + 1);
        client.uploads(&link, channel.id, STREAM_WINDOW_BYTES as usize).unwrap();
        take(&link, &channel, 100_000);
        link.leave(&channel);
        let sent = (round + 1) * STREAM_WINDOW_BYTES;
        assert!(opened(&link) <= sent && opened(&link) + CONNECTION_WINDOW_BYTES / 2 > sent, "{round}");
    }
}

#[test]
fn more_than_the_windows_of_stream_and_connection_is_an_error() {
    let link = link();
    let mut client = Client::begun(&link);
    let first = client.posts(&link, 1);
    client.uploads(&link, 1, STREAM_WINDOW_BYTES as usize + 1).unwrap();
    assert!(first.is_closed());
    assert_eq!(written(&link).last().unwrap().1, (Reason::FlowControl as u32).to_be_bytes());
    let link = self::link();
    let mut client = Client::begun(&link);
    for stream in [1, 3, 5, 7] {
        client.posts(&link, stream);
        client.uploads(&link, stream, STREAM_WINDOW_BYTES as usize).unwrap();
    }
    client.posts(&link, 9);
    assert_eq!(client.uploads(&link, 9, 1), Err(Reason::FlowControl));
}

#[test]
fn a_large_body_is_shown_in_pieces() {
    let link = link();
    let mut client = Client::begun(&link);
    let channel = client.posts(&link, 1);
    client.uploads(&link, 1, STREAM_WINDOW_BYTES as usize).unwrap();
    let (mut pieces, mut bytes) = (0, 0);
    while channel.poll_ready().is_ready() {
        bytes += channel.lend(&mut |shown| {
            assert!(shown.len() <= 16 * 1024);
            shown.len()
        });
        pieces += 1;
    }
    assert_eq!((pieces, bytes), (16, STREAM_WINDOW_BYTES as usize));
}

#[test]
fn a_burst_leaves_no_memory_behind_for_the_life_of_its_stream() {
    let link = link();
    let mut client = Client::begun(&link);
    let channel = client.posts(&link, 1);
    client.uploads(&link, 1, STREAM_WINDOW_BYTES as usize).unwrap();
    assert!(channel.capacity() >= STREAM_WINDOW_BYTES as usize);
    take(&link, &channel, STREAM_WINDOW_BYTES as usize - 2000);
    assert!(channel.capacity() <= 40 * 1024, "{}", channel.capacity());
    take(&link, &channel, 2000);
    assert!(channel.capacity() <= 32 * 1024, "{}", channel.capacity());
}

#[test]
fn streams_that_want_to_send_and_end_are_forgotten_and_those_that_stay_have_their_turns_in_order() {
    let link = link();
    let channels: Vec<Rc<Channel>> = (0..9).map(|at| link.open(2 * at + 1, None, true)).collect();
    channels.iter().for_each(|channel| link.wait(channel));
    link.reset(channels[0].id, Reason::Cancel);
    assert_eq!(Rc::strong_count(&channels[0]), 1, "nothing holds it");
    let turns = || {
        assert!(link.wake_waiting());
        let woken: Vec<&Rc<Channel>> =
            channels[1..].iter().filter(|channel| !channel.is_waiting.get()).collect();
        // Each of them sends, and wants to send more.
        woken.iter().for_each(|channel| link.wait(channel));
        woken.iter().map(|channel| channel.id).collect::<Vec<u32>>()
    };
    assert_eq!([turns(), turns(), turns()], [[3, 5, 7, 9], [11, 13, 15, 17], [3, 5, 7, 9]]);
    link.close_all();
    assert!(!link.wake_waiting());
    assert!(channels.iter().all(|channel| Rc::strong_count(channel) == 1));
}

#[test]
fn streams_take_turns_however_little_the_client_takes_at_a_time() {
    let link = link();
    let channels: Vec<Rc<Channel>> = (0..5).map(|at| link.open(2 * at + 1, None, true)).collect();
    channels.iter().for_each(|channel| {
        channel.widen(1 << 24);
    });
    let send = |channel: &Rc<Channel>| match link.poll_room(channel) {
        Poll::Ready(room) => {
            let mut data = link.begin_data(channel);
            assert!(link.extend_data(channel, &mut data, &vec![b'x'; room]));
            link.wait(channel);
            room
        }
        Poll::Pending => 0,
    };
    let mut sent = [0; 5];
    // The window that a connection begins with goes to the first ones.
    for (channel, sent) in channels.iter().zip(&mut sent) {
        *sent += send(channel);
    }
    assert_eq!(sent.iter().sum::<usize>(), 65_535);
    for round in 0..100 {
        link.output.take();
        assert!(!link.wake_waiting(), "without a window");
        link.widen([10_000, 16_384, 20_000][round % 3]);
        while link.wake_waiting() {
            for (channel, sent) in channels.iter().zip(&mut sent) {
                *sent += if channel.is_waiting.get() { 0 } else { send(channel) };
            }
        }
    }
    assert!(sent.iter().all(|&sent| sent > 200_000), "{sent:?}");
}

#[test]
fn a_head_waits_for_no_window() {
    let link = link();
    let channels: Vec<Rc<Channel>> = (0..3).map(|at| link.open(2 * at + 1, None, true)).collect();
    while let Poll::Ready(room) = link.poll_room(&channels[0]) {
        let mut data = link.begin_data(&channels[0]);
        link.extend_data(&channels[0], &mut data, &vec![b'x'; room]);
    }
    let mut data = link.begin_data(&channels[0]);
    link.extend_data(&channels[0], &mut data, b"the output is full");
    assert!(link.poll_output(&channels[1]).is_pending() && link.poll_room(&channels[2]).is_pending());
    assert!(!link.wake_waiting());
    // The client reads, and opens nothing.
    link.output.take();
    assert!(link.wake_waiting() && !link.wake_waiting());
    assert!(link.poll_output(&channels[1]).is_ready() && channels[2].is_waiting.get());
}

#[test]
fn trailers_wait_until_the_client_has_read_what_was_written_before() {
    let link = link();
    let mut client = Client::begun(&link);
    let channels = [1, 3].map(|stream| client.posts(&link, stream));
    for _ in 0..4 {
        let mut data = link.begin_data(&channels[0]);
        link.extend_data(&channels[0], &mut data, &[b'x'; FRAME_BYTES_MAX as usize]);
    }
    assert!(!link.has_room());
    let full = written(&link).len();
    let mut fields = Headers::new();
    fields.append("grpc-status", "0").unwrap();
    let mut body = Body::whole(Bytes::new(), Some(fields));
    let cx = &mut Context::from_waker(std::task::Waker::noop());
    let mut sender = sender::Sender::new(&link, &channels[1], Length::Unknown);
    // From its last piece of a body.
    link.wait(&channels[1]);
    for _ in 0..2 {
        assert!(sender.poll_send(cx, &mut body, &|| {}).is_pending());
        assert_eq!(written(&link).len(), full);
    }
    link.output.take();
    assert!(link.wake_waiting() && matches!(sender.poll_send(cx, &mut body, &|| {}), Poll::Ready(Ok(()))));
    let frames: Vec<_> =
        written(&link).into_iter().map(|(head, _)| (head.kind, head.flags, head.stream)).collect();
    assert_eq!(frames, [(kind::HEADERS, flag::END_HEADERS | flag::END_STREAM, 3)]);
}

#[test]
fn what_begins_after_the_last_goaway_is_ignored_and_never_said_to_be_served() {
    let link = link();
    let mut client = Client::begun(&link);
    let served = client.posts(&link, 1);
    client.input.last_served = Some(1);
    let before = written(&link).len();
    client.sends(&link, kind::HEADERS, flag::END_HEADERS, 3, b"\x83\x86\x84\x41\x06a.test").unwrap();
    client.uploads(&link, 3, 1000).unwrap();
    client.sends(&link, kind::HEADERS, flag::END_HEADERS | flag::END_STREAM, 3, b"\x40\x01a\x01b").unwrap();
    assert_eq!((client.arrived.len(), written(&link).len()), (1, before));
    assert!(!served.is_closed() && !link.meter.is_flooded());
    // Their blocks were read: the table knows them.
    client.sends(&link, kind::HEADERS, flag::END_HEADERS | flag::END_STREAM, 1, b"\xbe").unwrap();
    assert_eq!(served.poll_ready(), Poll::Ready(Ok(Step::End)));
    assert_eq!(served.trailers().unwrap().get("a"), Some(&b"b"[..]));
}

#[test]
fn an_answer_that_has_no_need_of_the_request_says_so_where_that_goes_on() {
    let link = link();
    let mut client = Client::begun(&link);
    let channels = [1, 3, 5].map(|stream| client.posts(&link, stream));
    for channel in &channels {
        link.head(channel, 404, &Headers::new(), None, true);
        link.leave(channel);
    }
    let frames = written(&link);
    let Some((head, block)) = frames.last() else { panic!() };
    assert_eq!(
        (head.kind, head.flags, &block[..]),
        (kind::HEADERS, flag::END_HEADERS | flag::END_STREAM, &b"\x8d"[..])
    );
    // The first ends; the client gives up the second; the third goes on.
    client.sends(&link, kind::DATA, flag::END_STREAM, 1, b"abc").unwrap();
    client.sends(&link, kind::RST_STREAM, 0, 3, &[0, 0, 0, 8]).unwrap();
    client.uploads(&link, 5, 1000).unwrap();
    assert_eq!(link.reset_unfinished(Duration::ZERO), Some(Duration::from_millis(250)));
    assert_eq!(written(&link).len(), frames.len());
    assert_eq!(link.reset_unfinished(Duration::from_secs(1)), None);
    let after = written(&link);
    let (reset, code) = &after[frames.len()];
    assert_eq!(
        (reset.kind, reset.stream, &code[..], after.len()),
        (kind::RST_STREAM, 5, &[0; 4][..], frames.len() + 1)
    );
    // What was on its way is no error.
    client.uploads(&link, 5, 1000).unwrap();
    client.sends(&link, kind::DATA, flag::END_STREAM, 5, b"").unwrap();
    assert_eq!(written(&link).len(), after.len());
}

#[test]
fn a_block_that_is_larger_than_a_frame_goes_on_in_others() {
    let link = link();
    let channel = link.open(1, None, true);
    let mut headers = Headers::new();
    for at in 0..5 {
        headers.append("x-large", format!("{at}").repeat(8_000)).unwrap();
    }
    headers.append("Connection", "close").unwrap();
    link.head(&channel, 200, &headers, Some(7), true);
    let frames = written(&link);
    let kinds: Vec<_> = frames.iter().skip(2).map(|(head, _)| (head.kind, head.flags)).collect();
    assert_eq!(
        kinds,
        [(kind::HEADERS, flag::END_STREAM), (kind::CONTINUATION, 0), (kind::CONTINUATION, flag::END_HEADERS)]
    );
    let block: Vec<u8> = frames.iter().skip(2).flat_map(|(_, payload)| payload.clone()).collect();
    let mut names = Vec::new();
    let mut decoder = super::super::hpack::decode::Decoder::default();
    decoder
        .decode(&block, |name, _| {
            names.push(String::from_utf8_lossy(name).into_owned());
            true
        })
        .unwrap();
    assert_eq!(names, [":status", "x-large", "x-large", "x-large", "x-large", "x-large", "content-length"]);
}
