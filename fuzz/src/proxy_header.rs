//! PROXY headers: what the specification read slowly says, whole and cut anywhere, and nothing else.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use portcullis::data_plane::proxy_protocol::{Source, parse};

use super::cuts;

const V2_SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// # Panics
/// When a property does not hold.
pub fn check(bytes: &[u8]) {
    let shown = bytes.escape_ascii();
    let ours = parse(bytes);
    for end in cuts(bytes) {
        match parse(&bytes[..end]) {
            Ok(None) => {
                let taken = ours.as_ref().ok().copied().flatten().map(|(_, taken)| taken);
                assert!(taken.is_none_or(|taken| end < taken), "{shown} at {end}");
            }
            decided => assert_eq!(decided, ours, "{shown} at {end}"),
        }
    }
    let expected = version_1(bytes).or_else(|| version_2(bytes));
    match &ours {
        Ok(Some(found)) => assert_eq!(Some(*found), expected, "{shown}"),
        Ok(None) => assert!(expected.is_none() && can_go_on(bytes), "waits for more: {shown}"),
        Err(why) => assert!(expected.is_none(), "refused ({why:?}): {shown}"),
    }
    if let Ok(Some((Source::Client(client), _))) = ours {
        check_written(client);
    }
}

/// Whether the bytes begin with a header.
pub fn is_accepted(bytes: &[u8]) -> bool {
    matches!(parse(bytes), Ok(Some(_)))
}

/// A client that we know is one that we understand in both versions.
fn check_written(client: SocketAddr) {
    let (family, code) = if client.is_ipv4() { ("TCP4", 0x11) } else { ("TCP6", 0x21) };
    let (ip, port) = (client.ip(), client.port());
    let line = format!("PROXY {family} {ip} {ip} {port} 0\r\n");
    assert_eq!(parse(line.as_bytes()), Ok(Some((Source::Client(client), line.len()))), "{line:?}");
    let octets = match ip {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    };
    let block = [&octets[..], &octets, &port.to_be_bytes(), &[0, 0]].concat();
    let wire = [V2_SIGNATURE, &[0x21, code, 0, block.len() as u8], &block].concat();
    assert_eq!(parse(&wire), Ok(Some((Source::Client(client), wire.len()))), "{client}");
}

/// Whether these bytes may be the beginning of a header.
fn can_go_on(bytes: &[u8]) -> bool {
    let begins = |start: &[u8]| bytes.iter().zip(start).all(|(byte, other)| byte == other);
    let line_goes_on = || bytes.len() < 107 && !bytes.contains(&b'\n');
    begins(b"PROXY ") && line_goes_on() || begins(V2_SIGNATURE) && bytes.len() < 16 * 1024
}

/// A line of the specification's section 2.1.
fn version_1(bytes: &[u8]) -> Option<(Source, usize)> {
    let end = bytes.iter().position(|&b| b == b'\r' || b == b'\n')?;
    if bytes.get(end..end + 2)? != b"\r\n" || end + 2 > 107 {
        return None;
    }
    let words: Vec<&[u8]> = bytes[..end].split(|&b| b == b' ').collect();
    let (first, words) = words.split_first()?;
    let (protocol, words) = words.split_first()?;
    let source = match (*first, *protocol) {
        (b"PROXY", b"UNKNOWN") => Source::Connection,
        (b"PROXY", protocol @ (b"TCP4" | b"TCP6")) => {
            let [source, destination, port, other] = <[&[u8]; 4]>::try_from(words).ok()?;
            let address = if protocol == b"TCP4" { ipv4 } else { ipv6 };
            address(destination)?;
            decimal(other, 65_535)?;
            Source::Client(SocketAddr::new(address(source)?, decimal(port, 65_535)? as u16))
        }
        _ => return None,
    };
    Some((source, end + 2))
}

fn ipv4(text: &[u8]) -> Option<IpAddr> {
    let octets: Option<Vec<u8>> = text.split(|&b| b == b'.').map(|o| Some(decimal(o, 255)? as u8)).collect();
    Some(Ipv4Addr::from(<[u8; 4]>::try_from(octets?).ok()?).into())
}

fn ipv6(text: &[u8]) -> Option<IpAddr> {
    std::str::from_utf8(text).ok()?.parse::<Ipv6Addr>().ok().map(IpAddr::from)
}

/// Digits without a zero in front.
fn decimal(text: &[u8], most: u32) -> Option<u32> {
    let plain = (1..=5).contains(&text.len()) && text.iter().all(u8::is_ascii_digit);
    if !plain || text.len() > 1 && text[0] == b'0' {
        return None;
    }
    let number = text.iter().fold(0, |sum: u32, digit| sum * 10 + u32::from(digit - b'0'));
    (number <= most).then_some(number)
}

/// A block of the specification's section 2.2.
fn version_2(bytes: &[u8]) -> Option<(Source, usize)> {
    let rest = bytes.strip_prefix(V2_SIGNATURE)?;
    let [command, family, high, low] = <[u8; 4]>::try_from(rest.get(..4)?).ok()?;
    let length = usize::from(high) * 256 + usize::from(low);
    let block = rest.get(4..4 + length)?;
    let whole = 16 + length;
    if whole > 16 * 1024 {
        return None;
    }
    match command {
        0x20 => return Some((Source::Connection, whole)),
        0x21 => {}
        _ => return None,
    }
    let (family, transport) = (family / 16, family % 16);
    let needed = match family {
        0 => 0,
        1 => 12,
        2 => 36,
        3 => 216,
        _ => return None,
    };
    if transport > 2 || block.len() < needed {
        return None;
    }
    let port = |at: usize| u16::from(block[at]) * 256 + u16::from(block[at + 1]);
    let source = match (family, transport) {
        (1, 1) => {
            let octets = <[u8; 4]>::try_from(&block[..4]).ok()?;
            Source::Client(SocketAddr::new(octets.into(), port(8)))
        }
        (2, 1) => {
            let octets = <[u8; 16]>::try_from(&block[..16]).ok()?;
            Source::Client(SocketAddr::new(octets.into(), port(32)))
        }
        _ => Source::Connection,
    };
    Some((source, whole))
}
