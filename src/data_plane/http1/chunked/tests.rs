use super::*;

fn decode(framing: Framing, bytes: &[u8]) -> Result<(Vec<u8>, bool), BodyError> {
    let mut decoder = Decoder::new(framing);
    let mut rest = bytes;
    let mut body = Vec::new();
    loop {
        let (framing, found) = decoder.advance(rest)?;
        rest = &rest[framing..];
        match found {
            Found::Data(length) => {
                body.extend_from_slice(&rest[..length]);
                rest = &rest[length..];
                decoder.taken(length);
            }
            Found::End => return Ok((body, true)),
            Found::Nothing => return Ok((body, false)),
        }
    }
}

#[test]
fn chunks_are_joined() {
    let wire = b"5\r\nhello\r\n1;name=value\r\n!\r\n0\r\n\r\n";
    assert_eq!(decode(Framing::Chunked, wire), Ok((b"hello!".to_vec(), true)));
}

fn refused(wire: &str) -> bool {
    decode(Framing::Chunked, wire.as_bytes()) == Err(BodyError::Malformed)
}

#[test]
fn a_chunk_size_is_hexadecimal_digits_that_fit() {
    for size in [
        "",
        "x",
        "-1",
        "+1",
        "0x1",
        " 1",
        "1 ",
        "1\t",
        "g",
        "1000000000000000",
        "0000000000000001",
        "ffffffffffffffffffff",
    ] {
        assert!(refused(&format!("{size}\r\na\r\n0\r\n\r\n")), "{size:?}");
    }
    assert_eq!(decode(Framing::Chunked, b"A\r\n0123456789\r\n000\r\n\r\n").unwrap().0, b"0123456789");
}

#[test]
fn extensions_are_names_with_values_or_junk() {
    for extension in [";a", ";a=b", " ; a = \"b;\\\"c\" ;d", ";a=\"\""] {
        let wire = format!("1{extension}\r\nx\r\n0\r\n\r\n");
        assert_eq!(decode(Framing::Chunked, wire.as_bytes()), Ok((b"x".to_vec(), true)), "{extension:?}");
    }
    for extension in [
        ";",
        ";;",
        ";=b",
        ";a=",
        ";a b",
        ";a=\"b",
        ";a=\"b\"c",
        ";a=b c",
        "z",
        ";a ",
        ";\u{e9}",
        ";a=\"\x01\"",
    ] {
        assert!(refused(&format!("1{extension}\r\nx\r\n0\r\n\r\n")), "{extension:?}");
    }
}

#[test]
fn lines_end_with_cr_and_lf_in_chunks_and_in_trailers() {
    for wire in [
        "1\nx\r\n0\r\n\r\n",
        "1\r\nx\n0\r\n\r\n",
        "1\r\nxy\r\n0\r\n\r\n",
        "1\r\nx\r\r\n0\r\n\r\n",
        "0\r\na: b\nc: d\r\n\r\n",
        "0\r\na: b\rc\r\n\r\n",
        "0\r\na: b\r\n c\r\n\r\n",
        "0\r\nno colon\r\n\r\n",
        "0\r\na : b\r\n\r\n",
        "0\r\ncontent-length: \x01\r\n\r\n",
    ] {
        assert!(refused(wire), "{wire:?}");
    }
}

#[test]
fn fields_that_may_not_be_trailers_are_dropped() {
    let mut decoder = Decoder::new(Framing::Chunked);
    let wire = b"0\r\nContent-Length: 5\r\nHost: b\r\nAuthorization: x\r\nx-sum: 1\r\n\r\n";
    assert_eq!(decoder.advance(wire), Ok((wire.len(), Found::End)));
    let trailers = decoder.take_trailers().unwrap();
    assert_eq!(trailers.iter().collect::<Vec<_>>(), [("x-sum", &b"1"[..])]);
}

#[test]
fn what_a_peer_can_make_us_keep_is_limited() {
    assert!(refused(&format!("1;{}", "a".repeat(CHUNK_LINE_BYTES_MAX))));
    assert!(refused(&format!("0\r\nx: {}", "a".repeat(TRAILER_BYTES_MAX + 1))));
    assert!(refused(&format!("0\r\n{}\r\n", "a: b\r\n".repeat(TRAILER_FIELDS_MAX + 1))));
    let line = format!("1;{}\r\nx\r\n", "a".repeat(400));
    assert!(refused(&line.repeat(EXTENSION_BYTES_MAX / 400 + 1)));
}

#[test]
fn the_largest_trailer_section_is_accepted_however_it_arrives() {
    let wire = format!("0\r\nx: {}\r\n\r\n", "a".repeat(TRAILER_BYTES_MAX - 3)).into_bytes();
    for end in wire.len() - 6..=wire.len() {
        let mut decoder = Decoder::new(Framing::Chunked);
        let (size_line, _) = decoder.advance(&wire[..end]).expect("nothing is wrong yet");
        if end < wire.len() {
            assert_eq!(decoder.advance(&wire[size_line..]).map(|(_, found)| found), Ok(Found::End), "{end}");
        }
        assert!(decoder.is_done(), "{end}");
    }
    let longer = wire.len() - 5;
    let wire = [&wire[..longer], b"a", &wire[longer..]].concat();
    assert_eq!(decode(Framing::Chunked, &wire), Err(BodyError::Malformed));
}

#[test]
fn a_body_that_breaks_off_is_no_body() {
    for framing in [Framing::Length(3), Framing::Chunked] {
        assert_eq!(Decoder::new(framing).closed(), Err(BodyError::Disconnected));
    }
    assert_eq!(Decoder::new(Framing::UntilClose).closed(), Ok(()));
}
