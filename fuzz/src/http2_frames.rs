//! What a client of HTTP/2 sends: however its bytes are cut, the same requests come of it and the same answers; what is counted
//! stays within its limits; and what our encoder writes of a request is read again as it was.

use std::rc::Rc;

use portcullis::{
    data_plane::{
        http1::head::HeadRules,
        http2::{
            frame::Reason,
            head::{HeadReader, Rules},
            hpack::{decode::Decoder, encode::Encoder},
            server::{
                STREAMS_MAX,
                channel::Channel,
                input::{Event, Input},
                link::Link,
            },
        },
    },
    http::{Headers, Step},
};

use super::cuts;

const RULES: Rules = Rules { fields: HeadRules { fields_max: 32, merge_slashes: true }, bytes_max: 4096 };

/// What came of some bytes.
#[derive(Debug, Default, PartialEq)]
struct Outcome {
    requests: Vec<String>,
    bodies: Vec<u8>,
    end: Option<Reason>,
    output: Vec<u8>,
}

/// A server that answers requests of `/up` when their body has ended, and all others at once.
struct Server {
    link: Link,
    input: Input,
    unread: Vec<u8>,
    uploads: Vec<Rc<Channel>>,
    encoder: Encoder,
    decoder: Decoder,
    outcome: Outcome,
}

impl Server {
    fn new() -> Self {
        Self {
            link: Link::new(RULES.bytes_max),
            input: Input::default(),
            unread: Vec::new(),
            uploads: Vec::new(),
            encoder: Encoder::default(),
            decoder: Decoder::default(),
            outcome: Outcome::default(),
        }
    }

    fn take(&mut self, bytes: &[u8]) {
        self.unread.extend_from_slice(bytes);
        while self.outcome.end.is_none() {
            let mut event = None;
            match self.input.next(&self.unread, &self.link, RULES, &mut event) {
                Ok(0) => return,
                Ok(read) => drop(self.unread.drain(..read)),
                Err(reason) => self.outcome.end = Some(reason),
            }
            if let Some(event) = event {
                self.happened(event);
            }
            self.serve();
        }
    }

    fn happened(&mut self, event: Event) {
        let told = match event {
            Event::Refused(asked) => format!("refused {asked:?}"),
            Event::Malformed(what, asked) => format!("{what} {asked:?}"),
            Event::Arrived(arrival) => match arrival.head {
                Err((refusal, asked)) => {
                    self.answer(&arrival.channel, refusal.status());
                    format!("{refusal:?} {asked:?}")
                }
                Ok(head) => {
                    self.pass_on(&head.headers);
                    let path = head.headers.str(head.path).to_owned();
                    if path == "/up" {
                        self.uploads.push(arrival.channel);
                    } else {
                        self.answer(&arrival.channel, 200);
                    }
                    format!("{} {path} {:?}", head.method, head.headers)
                }
            },
        };
        self.outcome.requests.push(told);
    }

    fn answer(&self, channel: &Rc<Channel>, status: u16) {
        if !channel.is_closed() {
            self.link.head(channel, status, &Headers::new(), None, true);
        }
        self.link.leave(channel);
    }

    /// Takes what has come of all uploads.
    fn serve(&mut self) {
        for channel in std::mem::take(&mut self.uploads) {
            loop {
                match channel.poll_ready() {
                    std::task::Poll::Ready(Ok(Step::Data)) => {
                        let taken = channel.lend(&mut |bytes| {
                            self.outcome.bodies.extend_from_slice(bytes);
                            bytes.len()
                        });
                        self.link.release(Some(&channel), taken);
                    }
                    std::task::Poll::Ready(Ok(Step::End)) => {
                        self.answer(&channel, 201);
                        break;
                    }
                    std::task::Poll::Ready(Err(_)) => {
                        self.link.leave(&channel);
                        break;
                    }
                    std::task::Poll::Pending => {
                        self.uploads.push(Rc::clone(&channel));
                        break;
                    }
                }
            }
        }
    }

    /// What was read of a request, written and read once more.
    fn pass_on(&mut self, headers: &Headers) {
        let mut block = Vec::new();
        self.encoder.begin(&mut block);
        for (name, value) in headers.iter() {
            self.encoder.field(name.as_bytes(), value, &mut block);
        }
        let mut fields = headers.iter();
        let decoded = self.decoder.decode(&block, |name, value| {
            assert_eq!(fields.next().map(|(name, value)| (name.as_bytes(), value)), Some((name, value)));
            true
        });
        assert_eq!((decoded, fields.next()), (Ok(()), None));
    }

    fn outcome(mut self) -> Outcome {
        let mut open = 0;
        self.link.for_each(|_| open += 1);
        assert!(open <= STREAMS_MAX, "{open} streams");
        self.outcome.output = self.link.output.borrow().bytes().to_vec();
        self.outcome
    }
}

fn whole(bytes: &[u8]) -> Outcome {
    let mut server = Server::new();
    server.take(bytes);
    server.outcome()
}

/// # Panics
/// When a property does not hold.
pub fn check(bytes: &[u8]) {
    let shown = bytes.escape_ascii();
    let expected = whole(bytes);
    for cut in cuts(bytes) {
        let mut server = Server::new();
        server.take(&bytes[..cut]);
        server.take(&bytes[cut..]);
        assert_eq!(server.outcome(), expected, "cut at {cut}: {shown}");
    }
    // A block alone: what is shown of it does not depend on who looks.
    let mut reader = HeadReader::default();
    let _ = Decoder::default().decode(bytes, |name, value| reader.field(name, value, RULES));
    let _ = reader.finish(RULES);
}

/// Whether it is all in order, with a request.
pub fn is_accepted(bytes: &[u8]) -> bool {
    let outcome = whole(bytes);
    outcome.end.is_none() && !outcome.requests.is_empty()
}
