//! What a client says first: rustls, fed with the same bytes, is the judge of when it is complete, and of the name.

use std::io::Cursor;

use portcullis::tls::hello::Progress;
use rustls::server::Acceptor;

use super::cuts;

/// # Panics
/// When a property does not hold.
pub fn check(bytes: &[u8]) {
    let shown = bytes.escape_ascii();
    let whole = Progress::default().is_decided(bytes);
    // Once decided, always decided; and the way it was cut does not matter.
    let mut growing = Progress::default();
    let mut decided = false;
    for end in cuts(bytes).chain([bytes.len()]) {
        let now = growing.is_decided(&bytes[..end]);
        assert!(now || !decided, "undecided again at {end}: {shown}");
        assert_eq!(now, Progress::default().is_decided(&bytes[..end]), "at {end}: {shown}");
        decided = now;
    }
    assert_eq!(decided, whole, "{shown}");
    if !whole {
        assert!(!is_accepted(bytes), "rustls has enough, we wait: {shown}");
    }
}

/// Whether rustls takes the bytes for a ClientHello.
pub fn is_accepted(bytes: &[u8]) -> bool {
    let mut acceptor = Acceptor::default();
    let mut rest = Cursor::new(bytes);
    loop {
        match acceptor.read_tls(&mut rest) {
            Ok(0) | Err(_) => return false,
            Ok(_) => {}
        }
        match acceptor.accept() {
            Ok(Some(_)) => return true,
            Ok(None) => {}
            Err(_) => return false,
        }
    }
}
