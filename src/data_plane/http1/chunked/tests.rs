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
