//! Parsers that read the RFCs' grammar one step after the other, without a care for speed. They share
//! no code with the engine.

/// What a request head says.
#[derive(Debug, PartialEq, Eq)]
pub struct Meaning {
    pub method: String,
    pub minor: u8,
    pub path: String,
    pub query: Option<String>,
    pub authority: String,
    pub fields: Vec<(String, Vec<u8>)>,
    pub body: Coding,
    pub close: bool,
    pub keep_alive: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coding {
    Length(u64),
    Chunked,
}

/// Where the bytes that end a head are, the empty line included.
pub fn head_length(bytes: &[u8]) -> Option<usize> {
    bytes.windows(4).position(|four| four == b"\r\n\r\n").map(|at| at + 4)
}

/// A head up to its empty line; `None` where it must be refused.
pub fn request(head: &[u8]) -> Option<Meaning> {
    let lines = lines(head.strip_suffix(b"\r\n\r\n")?)?;
    let (start, rest) = lines.split_first()?;
    let [method, target, version] =
        <[&[u8]; 3]>::try_from(start.split(|&b| b == b' ').collect::<Vec<_>>()).ok()?;
    let minor = match version {
        b"HTTP/1.1" => 1,
        b"HTTP/1.0" => 0,
        _ => return None,
    };
    if !token(method) || method == b"TRACE" || method == b"CONNECT" {
        return None;
    }
    let known: [&[u8]; 9] =
        [b"GET", b"HEAD", b"POST", b"PUT", b"PATCH", b"DELETE", b"OPTIONS", b"TRACE", b"CONNECT"];
    if !known.contains(&method) && known.contains(&method.to_ascii_uppercase().as_slice()) {
        return None;
    }
    let all = rest.iter().map(|line| field(line)).collect::<Option<Vec<Field>>>()?;
    if all.len() > 128 {
        return None;
    }
    let of = |name: &str| values_of(&all, name);
    let body = match (of("content-length").as_slice(), of("transfer-encoding").as_slice()) {
        ([], []) => Coding::Length(0),
        ([digits], []) => {
            let plain = !digits.is_empty() && digits.len() < 20 && digits.iter().all(u8::is_ascii_digit);
            Coding::Length(plain.then(|| String::from_utf8_lossy(digits).parse().ok()).flatten()?)
        }
        ([], [coding]) if coding.eq_ignore_ascii_case(b"chunked") && minor == 1 => Coding::Chunked,
        _ => return None,
    };
    if of("expect").iter().any(|value| !value.eq_ignore_ascii_case(b"100-continue")) {
        return None;
    }
    let options = connection_options(&of("connection"))?;
    let hosts = of("host");
    if hosts.len() > 1 || hosts.iter().any(|host| !authority(host)) {
        return None;
    }
    let (absolute, path, query) = target_parts(target, method)?;
    let authority = match (absolute, hosts.first()) {
        (Some(wanted), _) if wanted.is_empty() || !authority(&wanted) => return None,
        (Some(wanted), Some(host)) if wanted.eq_ignore_ascii_case(host) => host.clone(),
        (Some(_), Some(_)) => return None,
        (None, Some(host)) => host.clone(),
        (_, None) if minor == 1 => return None,
        (wanted, None) => wanted.unwrap_or_default(),
    };
    let fields = forwarded(all, &options);
    Some(Meaning {
        method: String::from_utf8(method.to_vec()).ok()?,
        minor,
        path,
        query,
        authority: String::from_utf8(authority).ok()?,
        fields,
        body,
        close: options.iter().any(|option| option == "close"),
        keep_alive: options.iter().any(|option| option == "keep-alive"),
    })
}

type Field = (String, Vec<u8>);

/// A field line without its CRLF.
fn field(line: &[u8]) -> Option<Field> {
    let colon = line.iter().position(|&b| b == b':')?;
    let (name, value) = (&line[..colon], blanks_off(&line[colon + 1..]));
    if !token(name) || value.iter().any(|&b| b != b'\t' && (b < 32 || b == 127)) {
        return None;
    }
    Some((String::from_utf8(name.to_vec()).ok()?, value.to_vec()))
}

fn values_of(all: &[Field], name: &str) -> Vec<Vec<u8>> {
    all.iter().filter(|(other, _)| other.eq_ignore_ascii_case(name)).map(|(_, value)| value.clone()).collect()
}

/// What `Connection` lists, in lower case.
fn connection_options(values: &[Vec<u8>]) -> Option<Vec<String>> {
    let mut options = Vec::new();
    for value in values {
        for option in value.split(|&b| b == b',').map(blanks_off).filter(|option| !option.is_empty()) {
            if !token(option) {
                return None;
            }
            options.push(String::from_utf8(option.to_ascii_lowercase()).ok()?);
        }
    }
    Some(options)
}

/// The fields that do not concern one connection only.
fn forwarded(all: Vec<Field>, options: &[String]) -> Vec<Field> {
    let own = [
        "host",
        "connection",
        "content-length",
        "transfer-encoding",
        "te",
        "upgrade",
        "keep-alive",
        "proxy-connection",
        "expect",
        "http2-settings",
    ];
    let ours = |name: &str| {
        let listed =
            options.iter().any(|option| option == name && option != "close" && option != "keep-alive");
        own.contains(&name) || listed
    };
    all.into_iter().filter(|(name, _)| !ours(&name.to_ascii_lowercase())).collect()
}

/// What a response head says.
#[derive(Debug, PartialEq, Eq)]
pub struct ResponseMeaning {
    pub status: u16,
    pub minor: u8,
    pub fields: Vec<(String, Vec<u8>)>,
    /// `None`: the body ends with the connection.
    pub body: Option<Coding>,
    /// `content-length`, whether there is a body or not.
    pub declared: Option<u64>,
    pub close: bool,
    pub keep_alive: bool,
}

/// The head of a response up to its empty line; `None` where it must be refused. `to_head`: the request was
/// HEAD.
pub fn response(head: &[u8], to_head: bool) -> Option<ResponseMeaning> {
    let lines = lines(head.strip_suffix(b"\r\n\r\n")?)?;
    let (start, rest) = lines.split_first()?;
    let minor = match start.get(..9)? {
        b"HTTP/1.1 " => 1,
        b"HTTP/1.0 " => 0,
        _ => return None,
    };
    let digits = start.get(9..12)?;
    if !digits.iter().all(u8::is_ascii_digit) || !(b'1'..=b'5').contains(&digits[0]) {
        return None;
    }
    let status = digits.iter().fold(0, |sum, digit| sum * 10 + u16::from(digit - b'0'));
    match &start[12..] {
        [] => {}
        [b' ', reason @ ..] if reason.iter().all(|&b| b == b'\t' || (b >= 32 && b != 127)) => {}
        _ => return None,
    }
    let all = rest.iter().map(|line| field(line)).collect::<Option<Vec<Field>>>()?;
    let hosts = values_of(&all, "host");
    if all.len() > 256 || hosts.len() > 1 || hosts.iter().any(|host| !authority(host)) {
        return None;
    }
    let declared = match values_of(&all, "content-length").as_slice() {
        [] => None,
        [digits] if !digits.is_empty() && digits.len() < 20 && digits.iter().all(u8::is_ascii_digit) => {
            Some(String::from_utf8_lossy(digits).parse().ok()?)
        }
        _ => return None,
    };
    let chunked = match values_of(&all, "transfer-encoding").as_slice() {
        [] => false,
        [coding] if coding.eq_ignore_ascii_case(b"chunked") && minor == 1 => true,
        _ => return None,
    };
    let never_a_body = status < 200 || status == 204;
    if chunked && declared.is_some() || never_a_body && (chunked || declared.is_some_and(|length| length > 0))
    {
        return None;
    }
    let options = connection_options(&values_of(&all, "connection"))?;
    Some(ResponseMeaning {
        status,
        minor,
        fields: forwarded(all, &options),
        body: match declared {
            _ if never_a_body || to_head || status == 304 => Some(Coding::Length(0)),
            _ if chunked => Some(Coding::Chunked),
            length => length.map(Coding::Length),
        },
        declared,
        close: options.iter().any(|option| option == "close"),
        keep_alive: options.iter().any(|option| option == "keep-alive"),
    })
}

type Parts = (Option<Vec<u8>>, String, Option<String>);

fn target_parts(target: &[u8], method: &[u8]) -> Option<Parts> {
    let text = std::str::from_utf8(target).ok()?;
    if text == "*" {
        return (method == b"OPTIONS").then(|| (None, "/".to_owned(), None));
    }
    let lower = text.to_ascii_lowercase();
    let scheme = ["http://", "https://"].into_iter().find(|scheme| lower.starts_with(scheme));
    let (absolute, rest) = match scheme {
        None if text.starts_with('/') => (None, text),
        None => return None,
        Some(scheme) => {
            let rest = &text[scheme.len()..];
            let end = rest.find(['/', '?']).unwrap_or(rest.len());
            (Some(rest.as_bytes()[..end].to_vec()), &rest[end..])
        }
    };
    let (path, query) = match rest.split_once('?') {
        Some((path, query)) => (path, Some(query.to_owned())),
        None => (rest, None),
    };
    let query_fits =
        |query: &String| query.bytes().all(|b| (33..127).contains(&b) && b != b'#' && b != b'\\');
    if !query.as_ref().is_none_or(query_fits) {
        return None;
    }
    Some((absolute, one_path(if path.is_empty() { "/" } else { path })?, query))
}

/// Decision 1, one character after the other.
fn one_path(raw: &str) -> Option<String> {
    let mut decoded = String::new();
    let mut rest = raw;
    while let Some(character) = rest.chars().next() {
        if character == '%' {
            let digits = rest.get(1..3)?;
            if !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
                return None;
            }
            let value = char::from(u8::from_str_radix(digits, 16).ok()?);
            if value == '\0' {
                return None;
            }
            let free = value.is_ascii_alphanumeric() || "-._~".contains(value);
            if free {
                decoded.push(value);
            } else {
                decoded.push_str(&rest[..3].to_ascii_uppercase());
            }
            rest = &rest[3..];
        } else {
            if !character.is_ascii_graphic() || "#?\\".contains(character) {
                return None;
            }
            if "\"<>[]^`{|}".contains(character) {
                decoded.push_str(&format!("%{:02X}", u32::from(character)));
            } else {
                decoded.push(character);
            }
            rest = &rest[1..];
        }
    }
    let mut stack: Vec<&str> = Vec::new();
    let mut parts: Vec<&str> = decoded.split('/').skip(1).collect();
    let last = parts.pop()?;
    for part in parts {
        match part {
            "" | "." => {}
            ".." => drop(stack.pop()),
            _ => stack.push(part),
        }
    }
    let last = match last {
        "." => "",
        ".." => {
            stack.pop();
            ""
        }
        other => other,
    };
    stack.push(last);
    Some(format!("/{}", stack.join("/")))
}

fn authority(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    let (host, port) = match text.rfind(']') {
        Some(end) => (&text[..=end], text[end + 1..].strip_prefix(':').map(Some).unwrap_or(None)),
        None => text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port))),
    };
    if text.contains(']') && port.is_none() && !text.ends_with(']') {
        return false;
    }
    let host_fits = match host.strip_prefix('[') {
        Some(inner) => inner.strip_suffix(']').is_some_and(|ip| ip.parse::<std::net::Ipv6Addr>().is_ok()),
        None => {
            let pieces: Vec<&str> = host.split('%').collect();
            let plain = |piece: &str| {
                piece.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=".contains(&b))
            };
            plain(pieces[0])
                && pieces[1..].iter().all(|piece| {
                    piece.len() >= 2
                        && piece.is_char_boundary(2)
                        && piece[..2].bytes().all(|b| b.is_ascii_hexdigit())
                        && plain(&piece[2..])
                })
        }
    };
    let port_fits = port.is_none_or(|port| {
        port.is_empty()
            || port.len() <= 5 && port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_ok()
    });
    host_fits && port_fits && !(host.is_empty() && port.is_some())
}

/// Body, trailers, length on the wire.
pub type Decoded = (Vec<u8>, Vec<(String, Vec<u8>)>, usize);

/// A chunked body: its bytes, its trailers, and how long it is on the wire. `None` where it is
/// malformed or not complete.
pub fn chunked(bytes: &[u8]) -> Option<Decoded> {
    let (mut body, mut at) = (Vec::new(), 0);
    loop {
        let line = line_at(bytes, at)?;
        at += line.len() + 2;
        let digits = line.iter().take_while(|b| b.is_ascii_hexdigit()).count();
        if digits == 0 || digits > 15 || !extensions(&line[digits..]) {
            return None;
        }
        let size = usize::from_str_radix(std::str::from_utf8(&line[..digits]).ok()?, 16).ok()?;
        if size == 0 {
            break;
        }
        body.extend_from_slice(bytes.get(at..at.checked_add(size)?)?);
        at += size;
        if bytes.get(at..at + 2)? != b"\r\n" {
            return None;
        }
        at += 2;
    }
    let mut trailers = Vec::new();
    loop {
        let line = line_at(bytes, at)?;
        at += line.len() + 2;
        if line.is_empty() {
            return Some((body, trailers, at));
        }
        trailers.push(field(line)?);
    }
}

/// The line that begins at `at`: up to CRLF, with no CR or LF alone.
fn line_at(bytes: &[u8], at: usize) -> Option<&[u8]> {
    let rest = bytes.get(at..)?;
    let end = rest.windows(2).position(|two| two == b"\r\n")?;
    (!rest[..end].contains(&b'\n') && !rest[..end].contains(&b'\r')).then_some(&rest[..end])
}

/// `*( BWS ";" BWS token [ BWS "=" BWS ( token / quoted-string ) ] )` by a small machine.
fn extensions(bytes: &[u8]) -> bool {
    #[derive(Clone, Copy, PartialEq)]
    enum At {
        Start,
        Blank,
        Semicolon,
        Name,
        AfterName,
        Equals,
        Value,
        Quoted,
        Escape,
        Closed,
    }
    let mut state = At::Start;
    for &b in bytes {
        let blank = b == b' ' || b == b'\t';
        let text = b == b'\t' || (b >= 32 && b != 127);
        state = match state {
            At::Start | At::Value | At::Closed | At::Blank | At::AfterName | At::Name if b == b';' => {
                At::Semicolon
            }
            At::Start | At::Value | At::Closed | At::Blank if blank => At::Blank,
            At::Semicolon if blank => At::Semicolon,
            At::Semicolon | At::Name if token(&[b]) => At::Name,
            At::Name | At::AfterName if blank => At::AfterName,
            At::Name | At::AfterName if b == b'=' => At::Equals,
            At::Equals if blank => At::Equals,
            At::Equals if b == b'"' => At::Quoted,
            At::Equals | At::Value if token(&[b]) => At::Value,
            At::Quoted if b == b'"' => At::Closed,
            At::Quoted if b == b'\\' => At::Escape,
            At::Quoted | At::Escape if text => At::Quoted,
            _ => return false,
        };
    }
    matches!(state, At::Start | At::Name | At::Value | At::Closed)
}

fn lines(text: &[u8]) -> Option<Vec<&[u8]>> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some(end) = rest.windows(2).position(|two| two == b"\r\n") {
        found.push(&rest[..end]);
        rest = &rest[end + 2..];
    }
    found.push(rest);
    found.iter().all(|line| !line.contains(&b'\r') && !line.contains(&b'\n')).then_some(found)
}

fn blanks_off(mut value: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    value
}

fn token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(b))
}
