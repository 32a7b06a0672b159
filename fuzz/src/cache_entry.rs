//! Entries of the shared HTTP cache: whoever can write to Redis can write anything under an entry's key. What is
//! read is what would be written, byte for byte, and nothing in it can split or frame a message.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use portcullis::policies::http_caching::entry::{Kept, decode, encode, parse};

use super::cuts;

/// # Panics
/// When a property does not hold.
pub fn check(bytes: &[u8]) {
    let shown = bytes.escape_ascii();
    let whole = Bytes::copy_from_slice(bytes);
    for seconds in [0, 1_790_000_000, 1 << 40] {
        let wall = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        let read = decode(&whole, 5, wall);
        assert_eq!(read.is_some(), is_accepted(bytes), "{shown}");
        if let Some((kept, _)) = read {
            let timing = kept.timing();
            assert!(timing.age(u64::MAX) >= timing.age(5), "{shown}");
            assert!(timing.fresh_for(u64::MAX) <= timing.fresh_for(5), "{shown}");
            assert!(timing.kept_for(u64::MAX).is_none(), "{shown}");
        }
    }
    let Some((kept, stamp, stored)) = parse(&whole) else { return };
    let wall = SystemTime::UNIX_EPOCH + Duration::from_micros(stored);
    assert_eq!(encode(&kept, &stamp, 0, wall), bytes, "written otherwise: {shown}");
    for end in cuts(bytes) {
        assert!(parse(&whole.slice(..end)).is_none(), "{shown} at {end}");
    }
    if let Kept::Response(entry) = kept {
        let mut head = Vec::new();
        entry.headers.write_to(&mut head);
        let lines: Vec<&[u8]> = head.split(|&byte| byte == b'\n').collect();
        // The last is what follows the last line's end: nothing.
        assert_eq!(lines.len(), entry.headers.len() + 1, "{shown}");
        for line in &lines[..entry.headers.len()] {
            let line = line.strip_suffix(b"\r").unwrap_or_else(|| panic!("a bare LF: {shown}"));
            assert!(!line.contains(&b'\r') && line.contains(&b':'), "{shown}");
            let name = line.split(|&byte| byte == b':').next().unwrap_or_default().to_ascii_lowercase();
            let framing: [&[u8]; 4] = [b"content-length", b"transfer-encoding", b"connection", b"upgrade"];
            assert!(!framing.contains(&&name[..]), "{shown}");
        }
    }
}

/// Whether the bytes are an entry.
pub fn is_accepted(bytes: &[u8]) -> bool {
    parse(&Bytes::copy_from_slice(bytes)).is_some()
}
