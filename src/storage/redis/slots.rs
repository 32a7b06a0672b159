//! Which slot of a cluster a key lies in, and which node has it.

use super::plan::Address;
use crate::storage::Key;

/// Of a cluster (the Redis cluster specification).
pub const SLOTS: u16 = 16384;

/// Slots that lie together on one master.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Share {
    pub first: u16,
    pub last: u16,
    pub master: Address,
}

/// What stands in the first braces decides, if anything does; else the whole key.
pub fn slot(key: &Key) -> u16 {
    let key = key.as_str();
    let inside = key.find('{').and_then(|open| {
        let rest = &key[open + 1..];
        rest.find('}').map(|close| &rest[..close]).filter(|inside| !inside.is_empty())
    });
    crc16(inside.unwrap_or(key).as_bytes()) % SLOTS
}

/// CRC-16/XMODEM.
fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, byte| {
        (0..8).fold(crc ^ (u16::from(*byte) << 8), |crc, _| {
            if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 }
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::Keys;

    /// As in the cluster specification, appendix A; the slots are those that `CLUSTER KEYSLOT` tells.
    #[test]
    fn the_slot_is_the_crc_of_what_stands_in_braces() {
        assert_eq!(crc16(b"123456789"), 0x31C3);
        let keys = Keys::of("shop");
        let (one, other) = (keys.digested("limit", &[b"a"]), keys.digested("limit", &[b"b"]));
        assert_ne!(slot(&one), slot(&other));
        assert_eq!(slot(&keys.named("members")), crc16(b"gw:shop:members") % SLOTS);
        let inside = one.as_str().split(['{', '}']).nth(1).expect("braces");
        assert_eq!(slot(&one), crc16(inside.as_bytes()) % SLOTS);
    }
}
