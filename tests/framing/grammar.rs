//! Messages grown from the grammar of RFC 9110 and RFC 9112, with its rarer branches taken often, and damage of
//! the kinds that parsers disagree about.

use fastrand::Rng;

fn one<'a>(random: &mut Rng, of: &[&'a str]) -> &'a str {
    of[random.usize(..of.len())]
}

/// Mostly none: the rare branch of a rule.
fn seldom<'a>(random: &mut Rng, of: &[&'a str]) -> &'a str {
    if random.u8(..4) == 0 { one(random, of) } else { "" }
}

/// In any spelling that means the same.
fn any_case(random: &mut Rng, name: &str) -> String {
    let upper = random.u8(..3);
    name.chars()
        .map(|c| match upper {
            0 => c,
            1 => c.to_ascii_uppercase(),
            _ if random.bool() => c.to_ascii_uppercase(),
            _ => c,
        })
        .collect()
}

/// `field-name ":" OWS field-value OWS CRLF`.
fn field(random: &mut Rng, name: &str, value: &str) -> String {
    let name = any_case(random, name);
    let before = one(random, &[" ", " ", " ", "", "\t", " \t "]);
    format!("{name}:{before}{value}{}\r\n", seldom(random, &[" ", "\t", "  "]))
}

/// Fields that go through as they are.
fn plain_fields(random: &mut Rng, out: &mut Vec<String>) {
    for _ in 0..random.usize(..6) {
        let name = one(
            random,
            &["accept", "x-a", "x-a", "!#$%&'*+-.^_`|~9", "cookie", "x-content-length", "te-x", "a"],
        );
        let value = one(random, &["", "1", "a, b", "x\ty", "\"q;,\"", "caf\u{e9}", "a:b", "{}[]@\\", "0x5"]);
        out.push(field(random, name, value));
    }
}

/// Fields of the connection; some nominate a field that is there, some one that is not.
fn connection_fields(random: &mut Rng, out: &mut Vec<String>) {
    if random.u8(..3) == 0 {
        let options =
            ["close", "keep-alive", "x-a", ", ,close", "Close, X-A", "x-none", "te", "keep-alive,,x-a"];
        let value = one(random, &options);
        out.push(field(random, "connection", value));
    }
    if random.u8(..6) == 0 {
        let (name, value) = [("te", "trailers"), ("keep-alive", "timeout=5"), ("proxy-connection", "close")]
            [random.usize(..3)];
        out.push(field(random, name, value));
    }
}

fn length(random: &mut Rng) -> String {
    match random.u8(..5) {
        0 => "0".into(),
        1 => format!("{:019}", random.u32(..)),
        2 => "9223372036854775807".into(),
        _ => random.u16(..).to_string(),
    }
}

/// Lines below a start line, in any order, as Latin-1 text.
fn head(random: &mut Rng, start: String, mut fields: Vec<String>) -> Vec<u8> {
    random.shuffle(&mut fields);
    let text = format!("{start}\r\n{}\r\n", fields.concat());
    // Sometimes UTF-8, sometimes one byte for each character: a parser may not care.
    if random.bool() { text.into_bytes() } else { text.chars().map(|c| c as u8).collect() }
}

fn path(random: &mut Rng) -> String {
    let mut path = String::new();
    for _ in 0..random.usize(1..5) {
        path.push('/');
        path += one(
            random,
            &[
                "a",
                "",
                ".",
                "..",
                "%2e",
                "%2E%2e",
                "%2F",
                "%41b",
                "a;b=c",
                "~",
                "%7e",
                "$&'()*+,=:@!",
                "\"<>^`{|}",
            ],
        );
    }
    path
}

pub fn request(random: &mut Rng) -> Vec<u8> {
    let old = random.u8(..5) == 0;
    let host = one(
        random,
        &[
            "api.test",
            "a:8080",
            "[::1]:80",
            "[2001:db8::1]",
            "A.test:",
            "127.0.0.1",
            "a%41b",
            "h-_~!$&'()*+,;=:65535",
        ],
    );
    let mut method =
        one(random, &["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "M-SEARCH", "!x~"]);
    let path_and_query = path(random) + seldom(random, &["?", "?a=b&c=%20", "?/?:@", "?{\"q\":[1]}", "??"]);
    let mut absolute = false;
    let target = match random.u8(..8) {
        0 => {
            absolute = true;
            let scheme = one(random, &["http://", "https://", "HTTP://"]);
            format!("{scheme}{host}{}", if random.u8(..4) == 0 { "?only" } else { &path_and_query })
        }
        1 => {
            method = "OPTIONS";
            "*".to_owned()
        }
        _ => path_and_query,
    };
    let mut fields = Vec::new();
    if !(old && random.bool()) {
        let value = if absolute && random.bool() { host.to_ascii_uppercase() } else { host.to_owned() };
        fields.push(field(random, "host", &value));
    }
    plain_fields(random, &mut fields);
    connection_fields(random, &mut fields);
    match random.u8(..4) {
        0 => {
            let length = length(random);
            fields.push(field(random, "content-length", &length));
        }
        1 if !old => {
            let coding = any_case(random, "chunked");
            fields.push(field(random, "transfer-encoding", &coding));
        }
        _ => {}
    }
    if random.u8(..8) == 0 {
        fields.push(field(random, "expect", "100-Continue"));
    }
    head(random, format!("{method} {target} HTTP/1.{}", if old { 0 } else { 1 }), fields)
}

pub fn response(random: &mut Rng) -> Vec<u8> {
    let old = random.u8(..5) == 0;
    let status = [100, 103, 200, 200, 200, 204, 206, 301, 304, 404, 451, 500, 599][random.usize(..13)];
    let reason = one(random, &["", " ", " OK", " Not Found", " caf\u{e9} \t x"]);
    let mut fields = Vec::new();
    plain_fields(random, &mut fields);
    connection_fields(random, &mut fields);
    let never_a_body = status < 200 || status == 204;
    match random.u8(..3) {
        0 => {
            let length = if never_a_body { "0".into() } else { length(random) };
            fields.push(field(random, "content-length", &length));
        }
        1 if !old && !never_a_body => {
            let coding = any_case(random, "chunked");
            fields.push(field(random, "transfer-encoding", &coding));
        }
        _ => {}
    }
    head(random, format!("HTTP/1.{} {status}{reason}", if old { 0 } else { 1 }), fields)
}

pub fn chunked(random: &mut Rng) -> Vec<u8> {
    let mut wire = Vec::new();
    let extension = |random: &mut Rng| {
        seldom(random, &[";a", ";a=b", " ; a\t=\tb", ";q=\"x;\\\"y\r\"", ";a=\"\"", ";a;b=c"])
            .replace('\r', "")
    };
    for _ in 0..random.usize(..5) {
        let size = if random.u8(..8) == 0 { random.usize(1..600) } else { random.usize(1..20) };
        let digits = if random.bool() { format!("{size:x}") } else { format!("{size:04X}") };
        wire.extend_from_slice(format!("{digits}{}\r\n", extension(random)).as_bytes());
        // Data that looks like framing.
        wire.extend((0..size).map(|_| [b'\r', b'\n', b'0', b'a', b';', random.u8(..)][random.usize(..6)]));
        wire.extend_from_slice(b"\r\n");
    }
    let end = one(random, &["0", "0", "000000000000000"]);
    wire.extend_from_slice(format!("{end}{}\r\n", extension(random)).as_bytes());
    for _ in 0..random.usize(..3) {
        let name = one(random, &["x-sum", "content-length", "te", "x", "host", "set-cookie"]);
        let value = one(random, &["", "1", "a b", "x\ty"]);
        wire.extend_from_slice(field(random, name, value).as_bytes());
    }
    wire.extend_from_slice(b"\r\n");
    if random.u8(..4) == 0 {
        wire.extend_from_slice(b"GET / HTTP/1.1\r\nhost: next\r\n\r\n");
    }
    wire
}

/// One to three small damages.
pub fn damage(random: &mut Rng, valid: &[u8]) -> Vec<u8> {
    const PIECES: [&[u8]; 28] = [
        b"\r",
        b"\n",
        b"\r\n",
        b"\0",
        b" ",
        b"\t",
        b":",
        b",",
        b";",
        b"%",
        b"%2e",
        b"/",
        b"\\",
        b"?",
        b"#",
        b"\x7f",
        b"\x80",
        b"\xff",
        b"\x0b",
        b"0",
        b"5",
        b"f",
        b"\"",
        b"=",
        b"chunked",
        b"HTTP/1.1",
        b"[",
        b"@",
    ];
    let mut bytes = valid.to_vec();
    for _ in 0..random.usize(1..=3) {
        let at = random.usize(..=bytes.len());
        let end = (at + random.usize(1..4)).min(bytes.len());
        match random.u8(..5) {
            0 => drop(bytes.drain(at..end)),
            1 => drop(bytes.splice(at..at, PIECES[random.usize(..PIECES.len())].iter().copied())),
            2 => drop(bytes.splice(at..end, PIECES[random.usize(..PIECES.len())].iter().copied())),
            3 => {
                // A line once more, somewhere else.
                let lines: Vec<&[u8]> = valid.split_inclusive(|&b| b == b'\n').collect();
                let line = random.choice(lines).unwrap_or_default().to_vec();
                drop(bytes.splice(at..at, line));
            }
            _ => {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte = random.u8(..);
                }
            }
        }
    }
    bytes
}
