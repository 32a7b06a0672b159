//! Each rule that a sender can break, by name (spec 2.1 and 2.2).

use super::*;

fn client(address: &str) -> Source {
    Source::Client(address.parse().expect("an address"))
}

fn v2(command: u8, family: u8, block: &[u8]) -> Vec<u8> {
    let mut bytes = V2_SIGNATURE.to_vec();
    bytes.extend([command, family]);
    bytes.extend((block.len() as u16).to_be_bytes());
    bytes.extend(block);
    bytes
}

/// 192.0.2.7:50000 to 198.51.100.1:443.
const INET: &[u8] = &[192, 0, 2, 7, 198, 51, 100, 1, 0xc3, 0x50, 0x01, 0xbb];

fn inet6() -> Vec<u8> {
    let source: Ipv6Addr = "2001:db8::7".parse().expect("an address");
    [&source.octets()[..], &[0; 16], &[0xc3, 0x50, 0x01, 0xbb]].concat()
}

fn good() -> Vec<(Vec<u8>, Source)> {
    let v1 = |line: &str| format!("PROXY {line}\r\n").into_bytes();
    let tlv = [INET, &[0x02, 0, 3, b'a', b'.', b'b']].concat();
    let longest = "PROXY UNKNOWN ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff \
                   ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n";
    assert_eq!(longest.len(), V1_BYTES_MAX);
    vec![
        (v1("TCP4 192.0.2.7 198.51.100.1 50000 443"), client("192.0.2.7:50000")),
        (v1("TCP4 255.255.255.255 255.255.255.255 65535 65535"), client("255.255.255.255:65535")),
        (v1("TCP4 0.0.0.0 0.0.0.0 0 0"), client("0.0.0.0:0")),
        (v1("TCP6 2001:db8::7 ::1 50000 443"), client("[2001:db8::7]:50000")),
        (v1("TCP6 2001:DB8:0:0:0:0:0:7 ::1 50000 443"), client("[2001:db8::7]:50000")),
        (v1("TCP6 ::ffff:192.0.2.7 ::ffff:198.51.100.1 50000 443"), client("192.0.2.7:50000")),
        (v1("UNKNOWN"), Source::Connection),
        (v1("UNKNOWN whatever \u{1}\u{7f} 7"), Source::Connection),
        (longest.as_bytes().to_vec(), Source::Connection),
        (v2(0x21, 0x11, INET), client("192.0.2.7:50000")),
        (v2(0x21, 0x21, &inet6()), client("[2001:db8::7]:50000")),
        (v2(0x21, 0x11, &tlv), client("192.0.2.7:50000")),
        (v2(0x20, 0x00, &[]), Source::Connection),
        // The family of LOCAL is ignored, whatever it is, and its block is passed over.
        (v2(0x20, 0x11, INET), Source::Connection),
        (v2(0x20, 0xff, &[1, 2, 3]), Source::Connection),
        (v2(0x21, 0x00, &[]), Source::Connection),
        (v2(0x21, 0x00, &[7; 40]), Source::Connection),
        (v2(0x21, 0x10, INET), Source::Connection),
        (v2(0x21, 0x01, INET), Source::Connection),
        (v2(0x21, 0x12, INET), Source::Connection),
        (v2(0x21, 0x22, &inet6()), Source::Connection),
        (v2(0x21, 0x31, &[b'/'; 216]), Source::Connection),
        (v2(0x21, 0x32, &[b'/'; 216]), Source::Connection),
        (v2(0x20, 0x00, &[0; V2_BYTES_MAX - V2_FIXED_BYTES]), Source::Connection),
    ]
}

#[test]
fn a_header_names_the_client_or_leaves_the_address_of_the_socket() {
    for (bytes, source) in good() {
        let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(80)]).into_owned();
        assert_eq!(parse(&bytes), Ok(Some((source, bytes.len()))), "{shown:?}");
    }
}

#[test]
fn what_follows_a_header_is_not_part_of_it() {
    for (mut bytes, source) in good() {
        let length = bytes.len();
        bytes.extend(b"PROXY TCP4 1.1.1.1 1.1.1.1 1 1\r\nGET / HTTP/1.1\r\n\r\n");
        assert_eq!(parse(&bytes), Ok(Some((source, length))));
    }
}

#[test]
fn every_beginning_of_a_header_is_incomplete_and_never_an_error() {
    for (bytes, _) in good() {
        for end in 0..bytes.len() {
            assert_eq!(parse(&bytes[..end]), Ok(None), "{end} of {}", bytes.len());
        }
    }
}

#[test]
fn each_rule_of_version_1_is_held() {
    let address = "1.2.3.4";
    for (line, why) in [
        ("PROXY TCP4 1.2.3.4 5.6.7.8 1 2\n", "a line end that is not CRLF"),
        ("PROXY TCP4 1.2.3.4 5.6.7.8 1 2\rX", "a line end that is not CRLF"),
        ("PROXY UNKNOWN\n", "a line end that is not CRLF"),
        ("PROXY \r\n", "unknown protocol"),
        ("PROXY  TCP4 1.2.3.4 5.6.7.8 1 2\r\n", "unknown protocol"),
        ("PROXY TCP5 1.2.3.4 5.6.7.8 1 2\r\n", "unknown protocol"),
        ("PROXY tcp4 1.2.3.4 5.6.7.8 1 2\r\n", "unknown protocol"),
        ("PROXY UNKNOWNS\r\n", "unknown protocol"),
        ("PROXY UDP4 1.2.3.4 5.6.7.8 1 2\r\n", "unknown protocol"),
        ("PROXY TCP4\r\n", "not two addresses and two ports"),
        ("PROXY TCP4 1.2.3.4 5.6.7.8 1\r\n", "not two addresses and two ports"),
        ("PROXY TCP4 1.2.3.4 5.6.7.8 1 2 \r\n", "not two addresses and two ports"),
        ("PROXY TCP4 1.2.3.4 5.6.7.8 1 2 3\r\n", "not two addresses and two ports"),
        ("PROXY TCP4  1.2.3.4 5.6.7.8 1 2\r\n", "not two addresses and two ports"),
        ("PROXY TCP4\t1.2.3.4 5.6.7.8 1 2\r\n", "unknown protocol"),
        ("PROXY TCP4 01.2.3.4 5.6.7.8 1 2\r\n", "address"),
        ("PROXY TCP4 1.2.3 5.6.7.8 1 2\r\n", "address"),
        ("PROXY TCP4 1.2.3.256 5.6.7.8 1 2\r\n", "address"),
        ("PROXY TCP4 1.2.3.4 host 1 2\r\n", "address"),
        ("PROXY TCP4 ::1 ::1 1 2\r\n", "address"),
        ("PROXY TCP6 1.2.3.4 5.6.7.8 1 2\r\n", "address"),
        ("PROXY TCP6 ::1 1.2.3.4 1 2\r\n", "address"),
        ("PROXY TCP6 1::2::3 ::1 1 2\r\n", "address"),
        ("PROXY TCP6 1:2:3:4:5:6:7 ::1 1 2\r\n", "address"),
        ("PROXY TCP6 fe80::1%eth0 ::1 1 2\r\n", "address"),
        ("PROXY TCP6 [::1] ::1 1 2\r\n", "address"),
        ("PROXY TCP4 1.2.3.4 5.6.7.8 65536 2\r\n", "port"),
        ("PROXY TCP4 1.2.3.4 5.6.7.8 1 65536\r\n", "port"),
        ("PROXY TCP4 1.2.3.4 5.6.7.8 01 2\r\n", "port"),
        ("PROXY TCP4 1.2.3.4 5.6.7.8 00 2\r\n", "port"),
        ("PROXY TCP4 1.2.3.4 5.6.7.8 +1 2\r\n", "port"),
        ("PROXY TCP4 1.2.3.4 5.6.7.8 -1 2\r\n", "port"),
        ("PROXY TCP4 1.2.3.4 5.6.7.8 1 http\r\n", "port"),
    ] {
        assert_eq!(parse(line.as_bytes()), Err(Malformed(why)), "{line:?}");
    }
    let mut bytes = format!("PROXY TCP4 {address} ").into_bytes();
    bytes.extend([0xff, b' ', b'1', b' ', b'2', b'\r', b'\n']);
    assert_eq!(parse(&bytes), Err(Malformed("not ASCII")));
}

#[test]
fn a_line_without_crlf_in_107_bytes_is_refused_with_the_107th() {
    let endless = format!("PROXY UNKNOWN {}", "x".repeat(200));
    assert_eq!(parse(&endless.as_bytes()[..106]), Ok(None));
    let refused = Err(Malformed("no CRLF in the first 107 bytes"));
    assert_eq!(parse(&endless.as_bytes()[..107]), refused);
    assert_eq!(parse(endless.as_bytes()), refused);
    let one_too_long = format!("PROXY UNKNOWN {}\r\n", "x".repeat(107 - 14 - 1));
    assert_eq!(one_too_long.len(), 108);
    assert_eq!(parse(one_too_long.as_bytes()), Err(Malformed("a line end that is not CRLF")));
}

#[test]
fn each_rule_of_version_2_is_held() {
    let too_long = u16::try_from(V2_BYTES_MAX - V2_FIXED_BYTES + 1).expect("16 bits").to_be_bytes();
    let announced = [V2_SIGNATURE, &[0x21, 0x11], &too_long].concat();
    for (bytes, why) in [
        ([V2_SIGNATURE, &[0x11]].concat(), "unknown version"),
        ([V2_SIGNATURE, &[0x31]].concat(), "unknown version"),
        ([V2_SIGNATURE, &[0x01]].concat(), "unknown version"),
        ([V2_SIGNATURE, &[0x22]].concat(), "unknown command"),
        ([V2_SIGNATURE, &[0x2f]].concat(), "unknown command"),
        (v2(0x21, 0x41, INET), "unknown address family"),
        (v2(0x21, 0xf1, INET), "unknown address family"),
        (v2(0x21, 0x13, INET), "unknown transport"),
        (v2(0x21, 0x03, INET), "unknown transport"),
        (v2(0x21, 0x11, &INET[..11]), "too short for its addresses"),
        (v2(0x21, 0x11, &[]), "too short for its addresses"),
        (v2(0x21, 0x12, &INET[..8]), "too short for its addresses"),
        (v2(0x21, 0x21, &inet6()[..35]), "too short for its addresses"),
        (v2(0x21, 0x21, INET), "too short for its addresses"),
        (v2(0x21, 0x31, &[0; 215]), "too short for its addresses"),
        (announced, "longer than 16 KiB"),
    ] {
        assert_eq!(parse(&bytes), Err(Malformed(why)), "{bytes:?}");
    }
}

#[test]
fn other_protocols_are_told_apart_by_the_first_byte_that_differs() {
    for bytes in [
        &b"G"[..],
        b"GET / HTTP/1.1\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"PROXY\r\n",
        b"PROXYTCP4",
        b"proxy TCP4 1.2.3.4 5.6.7.8 1 2\r\n",
        b" PROXY TCP4",
        b"\r\nGET",
        b"\r\n\r\n\0\r\nQUIX",
        b"\x16\x03\x01",
    ] {
        assert_eq!(parse(bytes), Err(Missing), "{bytes:?}");
    }
}

#[test]
fn any_bytes_are_refused_or_read_within_their_length() {
    let mut random = fastrand::Rng::with_seed(21);
    let samples: Vec<_> = good().into_iter().filter(|(bytes, _)| bytes.len() < 300).collect();
    for round in 0..50_000 {
        let (mut bytes, _) = samples[round % samples.len()].clone();
        for _ in 0..random.usize(1..4) {
            let at = random.usize(..bytes.len());
            bytes[at] = random.u8(..);
        }
        bytes.truncate(random.usize(..=bytes.len()));
        if let Ok(Some((_, length))) = parse(&bytes) {
            assert!(length <= bytes.len(), "{bytes:?}");
            // A header does not change by what follows it, nor is one complete without its last byte.
            assert_ne!(parse(&bytes[..length - 1]), parse(&bytes), "{bytes:?}");
        }
    }
}
