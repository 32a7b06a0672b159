//! The smuggling corpus through HTTP/2 to HTTP/1.1: whatever a client puts into the fields and frames of HTTP/2, the
//! upstream sees one request of HTTP/1.1 that means the same, or none (RFC 9113 sections 8.2, 8.3 and 10.3).

use std::sync::{Arc, Mutex};

use cluster_tests::client::get;
use cluster_tests::http2::{Http2, Outcome, block, data, flag, frame, kind};
use cluster_tests::upstream::Upstream;

use crate::smuggling::in_front_of;
use crate::smuggling_corpus::REQUESTS;

/// Request lines with their bodies.
type Notes = Arc<Mutex<Vec<(String, Vec<u8>)>>>;

/// An upstream that notes what arrives complete.
fn noting() -> (Upstream, Notes) {
    let seen = Notes::default();
    let notes = Arc::clone(&seen);
    let upstream = Upstream::start(move |exchange| {
        let line = exchange.request.head.first_line.clone();
        let body = exchange.body()?;
        notes.lock().expect("no panic").push((line, body));
        exchange.reply(200, "", b"seen")
    });
    (upstream, seen)
}

/// What the upstream could not read. A request that is cut with its connection is none.
fn unread(upstream: &Upstream) -> Vec<String> {
    let problems = upstream.problems().into_iter();
    problems.filter(|problem| !problem.contains("before its body")).collect()
}

type Fields = Vec<(String, String)>;

/// The fields of HTTP/2 that say what a text of HTTP/1.1 says, right or wrong, and its body.
fn translated(text: &str) -> (Fields, Vec<u8>) {
    let text = text.replace("{H}", "Host: gateway.test\r\n");
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let mut lines = head.split("\r\n");
    let line = lines.next().unwrap_or_default();
    let (method, rest) = line.split_once(' ').unwrap_or((line, ""));
    let target = rest.rsplit_once(' ').map_or(rest, |(target, _)| target);
    let pseudo =
        [(":method", method), (":scheme", "http"), (":path", target), (":authority", "gateway.test")];
    let mut fields: Fields = pseudo.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    for line in lines {
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        fields.push((name.to_ascii_lowercase(), value.strip_prefix(' ').unwrap_or(value).to_owned()));
    }
    (fields, body.chars().map(|c| u8::try_from(u32::from(c)).expect("Latin-1")).collect())
}

fn send(client: &mut Http2, fields: &Fields, body: &[u8]) {
    let fields: Vec<_> = fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let end = if body.is_empty() { flag::WHOLE } else { flag::END_HEADERS };
    client.send(&frame(kind::HEADERS, end, 1, &block(&fields)));
    if !body.is_empty() {
        client.send(&data(1, flag::END_STREAM, body));
    }
}

const REFUSED: [Outcome; 2] = [Outcome::Reset(1), Outcome::Status(400)];

#[test]
fn what_the_corpus_says_in_http_2_reaches_the_upstream_as_one_request_or_not_at_all() {
    let (upstream, seen) = noting();
    let (_gateway, address) = in_front_of(&upstream);
    let (mut arrived, mut problems) = (0, Vec::new());
    for (says, text, _) in REQUESTS {
        upstream.forget();
        seen.lock().expect("no panic").clear();
        let (fields, body) = translated(text);
        let mut client = Http2::connect(address);
        send(&mut client, &fields, &body);
        let outcome = client.outcome(&[]);
        // If the bytes on the pooled connection had been read in two ways, this answer would be another's.
        let probe = get(address, "/probe");
        let noted = std::mem::take(&mut *seen.lock().expect("no panic"));
        let others: Vec<_> = noted.iter().filter(|(line, _)| line != "GET /probe HTTP/1.1").collect();
        if probe.status != 200 || probe.text() != "seen" || noted.len() - others.len() != 1 {
            problems.push(format!("{says}: the next request got {} {:?}", probe.status, noted));
        }
        let unread = unread(&upstream);
        if !unread.is_empty() {
            problems.push(format!("{says}: the upstream could not read {unread:?}"));
        }
        match others.as_slice() {
            [] => {}
            [(line, found)] => {
                arrived += 1;
                let method = &fields[0].1;
                if *found != body
                    || !line.starts_with(&format!("{method} /a"))
                    || line.matches(' ').count() != 2
                {
                    problems.push(format!("{says}: arrived as {line:?} with {} bytes", found.len()));
                }
            }
            more => problems.push(format!("{says}: {} requests arrived: {more:?}", more.len())),
        }
        if others.is_empty() && matches!(outcome, Ok(Outcome::Status(200..=299))) {
            problems.push(format!("{says}: answered {outcome:?}, and nothing arrived"));
        }
    }
    println!("{arrived} of {} arrived", REQUESTS.len());
    assert!(problems.is_empty(), "{}", problems.join("\n"));
    assert!(arrived >= 8, "{arrived}: what has one meaning arrives");
}

#[test]
fn what_only_http_2_can_say_wrongly_is_refused() {
    let plain = |more: &[(&str, &str)]| -> Fields {
        let pseudo =
            [(":method", "POST"), (":scheme", "http"), (":path", "/a"), (":authority", "gateway.test")];
        [&pseudo, more]
            .concat()
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect()
    };
    let with = |name: &str, value: &str| -> Fields {
        let mut fields = plain(&[]);
        let at = fields.iter().position(|(known, _)| known == name).expect("a pseudo field");
        value.clone_into(&mut fields[at].1);
        fields
    };
    let cases: Vec<(&str, Fields)> = vec![
        ("a line break in a value", plain(&[("x-a", "b\r\nx-b: c")])),
        (
            "a whole request in a value",
            plain(&[("x-a", "b\r\n\r\nGET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n")]),
        ),
        ("a line feed in a value", plain(&[("x-a", "b\nc: d")])),
        ("a carriage return at the end of a value", plain(&[("x-a", "b\r")])),
        ("a NUL in a value", plain(&[("x-a", "b\0")])),
        ("a line break in a name", plain(&[("x-a: b\r\nx-b", "c")])),
        ("a colon in a name", plain(&[("x-a:b", "c")])),
        ("a space in a name", plain(&[("x a", "c")])),
        ("a quotation mark in a name", plain(&[("x\"a", "c")])),
        ("a capital in a name", plain(&[("X-A", "c")])),
        ("an empty name", plain(&[("", "c")])),
        ("a coding", plain(&[("transfer-encoding", "chunked")])),
        ("a connection field", plain(&[("connection", "content-length")])),
        ("a length that is less than the data", plain(&[("content-length", "1")])),
        ("a length that is more than the data", plain(&[("content-length", "99")])),
        ("two lengths", plain(&[("content-length", "4"), ("content-length", "5")])),
        ("a length with a sign", plain(&[("content-length", "+4")])),
        ("a list of lengths", plain(&[("content-length", "4, 4")])),
        ("a request line in the path", with(":path", "/a HTTP/1.1\r\nx-b: c")),
        ("a space in the path", with(":path", "/a b")),
        ("a path that is none", with(":path", "a")),
        ("an empty path", with(":path", "")),
        ("a request line in the method", with(":method", "GET /smuggled HTTP/1.1\r\nx: y")),
        ("a space in the method", with(":method", "PO ST")),
        ("an empty method", with(":method", "")),
        ("a line break in the authority", with(":authority", "gateway.test\r\nx-b: c")),
        ("user information in the authority", with(":authority", "ada@gateway.test")),
        ("a path in the authority", with(":authority", "gateway.test/cart")),
        ("a host that is not the authority", plain(&[("host", "evil.test")])),
        ("two hosts", plain(&[("host", "gateway.test"), ("host", "gateway.test")])),
        ("a pseudo field twice", plain(&[(":path", "/b")])),
        ("a pseudo field behind a field", plain(&[("x-a", "b"), (":path", "/b")])),
        ("a pseudo field that nobody knows", plain(&[(":protocol", "websocket")])),
        ("a status", plain(&[(":status", "200")])),
    ];
    let (upstream, seen) = noting();
    let (_gateway, address) = in_front_of(&upstream);
    let mut problems = Vec::new();
    for (says, fields) in &cases {
        let mut client = Http2::connect(address);
        send(&mut client, fields, b"abcd");
        let outcome = client.outcome(&REFUSED);
        if !matches!(&outcome, Ok(Outcome::Reset(_) | Outcome::GoAway(_) | Outcome::Status(400..=499))) {
            problems.push(format!("{says}: {outcome:?}"));
        }
        let arrived = std::mem::take(&mut *seen.lock().expect("no panic"));
        if !arrived.is_empty() {
            problems.push(format!("{says}: arrived as {arrived:?}"));
        }
    }
    assert!(problems.is_empty(), "{} of {}:\n{}", problems.len(), cases.len(), problems.join("\n"));
    assert_eq!(get(address, "/probe").text(), "seen");
    assert!(unread(&upstream).is_empty(), "{:?}", upstream.problems());
}
