//! What a client may send for nothing.

use super::*;
use crate::data_plane::http2::meter::CONTROL_MAX;

#[test]
fn resets_count_where_they_end_something() {
    let link = link();
    let mut client = Client::begun(&link);
    for at in 0..250 {
        let channel = client.posts(&link, 2 * at + 1);
        link.reset(channel.id, Reason::Internal);
        // As some clients answer what was on its way.
        client.sends(&link, kind::RST_STREAM, 0, channel.id, &[0, 0, 0, 5]).unwrap();
    }
    assert!(!link.meter.is_flooded());
    for at in 250..500 {
        let channel = client.posts(&link, 2 * at + 1);
        link.head(&channel, 401, &Headers::new(), None, true);
        link.leave(&channel);
        client.sends(&link, kind::RST_STREAM, 0, channel.id, &[0; 4]).unwrap();
    }
    for at in 500..701 {
        assert!(!link.meter.is_flooded(), "{at}");
        client.posts(&link, 2 * at + 1);
        client.sends(&link, kind::RST_STREAM, 0, 2 * at + 1, &[0, 0, 0, 8]).unwrap();
    }
    assert!(link.meter.is_flooded());
}

#[test]
fn padding_alone_moves_nothing() {
    let link = link();
    let mut client = Client::begun(&link);
    client.posts(&link, 1);
    (0..2000).for_each(|_| client.sends(&link, kind::DATA, flag::PADDED, 1, b"\x01\0").unwrap());
    assert!(link.meter.is_flooded());
}

#[test]
fn a_client_that_has_not_heard_how_many_streams_there_may_be_keeps_those() {
    let link = link();
    let mut client = Client::begun(&link);
    let channels: Vec<_> = (0..STREAMS_MAX).map(|at| client.posts(&link, 2 * at + 1)).collect();
    for at in STREAMS_MAX..3 * STREAMS_MAX {
        client
            .sends(&link, kind::HEADERS, flag::END_HEADERS, 2 * at + 1, b"\x83\x86\x84\x01\x06a.test")
            .unwrap();
    }
    for _ in 0..3 {
        for at in 0..3 * STREAMS_MAX {
            client.uploads(&link, 2 * at + 1, 10).unwrap();
        }
    }
    for at in STREAMS_MAX..3 * STREAMS_MAX {
        let trailers = b"\0\x01a\x01b";
        client
            .sends(&link, kind::HEADERS, flag::END_HEADERS | flag::END_STREAM, 2 * at + 1, trailers)
            .unwrap();
    }
    assert!(!link.meter.is_flooded());
    assert!(channels.iter().all(|channel| !channel.is_closed()));
    assert_eq!(client.arrived.len(), channels.len());
}

#[test]
fn data_of_a_stream_that_was_reset_here_earns_no_other_frames() {
    let link = link();
    let mut client = Client::begun(&link);
    client.posts(&link, 1);
    link.reset(1, Reason::Internal);
    // Pieces of an upload that was refused.
    (0..2 * CONTROL_MAX).for_each(|_| client.sends(&link, kind::DATA, 0, 1, b"x").unwrap());
    assert!(!link.meter.is_flooded());
    (0..CONTROL_MAX + 8).for_each(|_| client.sends(&link, kind::DATA, flag::END_STREAM, 1, b"").unwrap());
    assert!(link.meter.is_flooded());
}

#[test]
fn header_blocks_that_are_read_for_the_table_alone_earn_no_other_frames() {
    let link = link();
    let mut client = Client::begun(&link);
    client.posts(&link, 1);
    client.input.last_served = Some(1);
    for at in 1..2 * CONTROL_MAX {
        client.sends(&link, kind::HEADERS, flag::END_HEADERS, 2 * at + 1, b"\x83\x86\x84").unwrap();
    }
    assert!(link.meter.is_flooded());
}
