//! What is written of an entry, and what is refused when it is read.

use std::time::{Duration, SystemTime};

use bytes::Bytes;

use crate::{
    base::Digest,
    http::Headers,
    policies::http_caching::{
        directives::ResponseDirectives,
        entry::{Entry, Kept, Stamp, Varies, decode, encode, is_storable},
        freshness::Timing,
    },
};

const SECOND: u64 = 1_000_000;

pub fn response(body: &'static str) -> Kept {
    let mut headers = Headers::new();
    headers.append("Content-Type", "text/plain").unwrap();
    headers.append("cache-control", "max-age=60, no-cache").unwrap();
    Kept::Response(Entry {
        status: 200,
        said: ResponseDirectives::of(&headers),
        headers,
        body: Bytes::from_static(body.as_bytes()),
        to_head: false,
        declared_length: None,
        timing: Timing { at: 0, age: SECOND, fresh_for: 60 * SECOND as i64, kept_for: 90 * SECOND },
    })
}

fn stamp() -> Stamp {
    Stamp { generations: [3, 4], number: 5, subject: Digest::of("subject") }
}

fn wall(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000 + seconds)
}

#[test]
fn what_was_written_is_read_and_the_time_in_between_has_passed() {
    let bytes = Bytes::from(encode(&response("text"), &stamp(), 0, wall(0)));
    let (kept, read) = decode(&bytes, 77 * SECOND, wall(10)).expect("it was written");
    assert_eq!(read, stamp());
    let Kept::Response(entry) = kept else { panic!("a response") };
    assert_eq!((entry.status, &entry.body[..]), (200, &b"text"[..]));
    assert_eq!(entry.headers.get("content-type"), Some(&b"text/plain"[..]));
    assert!(entry.said.no_cache);
    let now = 77 * SECOND;
    assert_eq!(entry.timing.age(now), 11 * SECOND);
    assert_eq!(entry.timing.fresh_for(now + SECOND), 49 * SECOND as i64);
    assert_eq!(entry.timing.kept_for(now), Some(Duration::from_secs(80)));
    assert_eq!(entry.timing.kept_for(now + 80 * SECOND), None);
}

#[test]
fn a_wall_clock_that_went_back_makes_nothing_younger_than_it_was() {
    let bytes = Bytes::from(encode(&response(""), &stamp(), 5 * SECOND, wall(100)));
    let (kept, _) = decode(&bytes, 0, wall(50)).expect("it was written");
    // Five seconds had passed before it was written; what the clock lost is not counted as negative.
    assert_eq!(kept.timing().age(0), SECOND);
}

#[test]
fn how_responses_vary_is_written_and_read() {
    let timing = *response("").timing();
    let varies = Varies { names: vec!["accept".into(), "accept-language".into()], family: 7, timing };
    let bytes = Bytes::from(encode(&Kept::Varies(varies.clone()), &stamp(), 0, wall(0)));
    match decode(&bytes, 0, wall(0)) {
        Some((Kept::Varies(read), _)) => assert_eq!(read, varies),
        _ => panic!("it was written"),
    }
}

#[test]
fn nothing_that_was_cut_or_prolonged_is_read() {
    let bytes = encode(&response("text"), &stamp(), 0, wall(0));
    for end in 0..bytes.len() {
        assert!(decode(&Bytes::copy_from_slice(&bytes[..end]), 0, wall(0)).is_none(), "{end}");
    }
    assert!(decode(&Bytes::from([&bytes[..], b"x"].concat()), 0, wall(0)).is_none());
    let mut other = bytes;
    other[0] = 2;
    assert!(decode(&Bytes::from(other), 0, wall(0)).is_none(), "another version");
}

/// An entry with one field as somebody may forge it.
fn forged(name: &[u8], value: &[u8]) -> Bytes {
    let bytes = encode(&response(""), &stamp(), 0, wall(0));
    let at = bytes.windows(12).position(|window| window == b"Content-Type").unwrap() - 4;
    let end = at + 4 + 12 + 4 + 10;
    let length = |text: &[u8]| (text.len() as u32).to_be_bytes();
    Bytes::from([&bytes[..at], &length(name), name, &length(value), value, &bytes[end..]].concat())
}

#[test]
fn forged_fields_that_could_split_or_frame_a_message_are_refused() {
    assert!(decode(&forged(b"x-good", b"yes"), 0, wall(0)).is_some());
    for (name, value) in [
        (&b"x"[..], &b"a\r\nb: c"[..]),
        (b"x y", b"a"),
        (b"", b"a"),
        (b"x", b"a\0"),
        (b"x", b" a"),
        (b"Content-Length", b"5"),
        (b"transfer-encoding", b"chunked"),
        (b"connection", b"close"),
        (b"Upgrade", b"x"),
        (b"trailer", b"x"),
        (b"host", b"x"),
    ] {
        assert!(decode(&forged(name, value), 0, wall(0)).is_none(), "{}", name.escape_ascii());
        assert!(value != b"chunked" || !is_storable("Transfer-Encoding"));
    }
}

#[test]
fn random_damage_never_panics_and_what_is_read_is_written_the_same() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let bytes = encode(&response("text"), &stamp(), 0, wall(0));
    let mut read = 0;
    for _ in 0..20_000 {
        let mut damaged = bytes.clone();
        for _ in 0..random.usize(1..4) {
            let at = random.usize(..damaged.len());
            damaged[at] = random.u8(..);
        }
        let damaged = Bytes::from(damaged);
        if let Some((kept, stamp)) = decode(&damaged, 0, SystemTime::UNIX_EPOCH) {
            read += 1;
            let _ = encode(&kept, &stamp, 0, SystemTime::UNIX_EPOCH);
            let _ = (kept.timing().age(u64::MAX), kept.timing().fresh_for(u64::MAX));
        }
    }
    assert!(read > 0);
}
