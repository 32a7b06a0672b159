//! `spec.address` of instances and services (configuration reference 3.2, 4.1).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::model::{ListenAddress, ListenScheme, ServiceAddress, ServiceScheme};
use crate::{
    base::{secret::behind_user, suggest::closest},
    document::{Problem, Spanned},
    http::path,
    settings::RESERVED_PORT,
};

/// The address of an instance; `None` when a problem is an error.
pub fn listen_address(written: &Spanned<String>, problems: &mut Vec<Problem>) -> Option<ListenAddress> {
    let example = "write `http://0.0.0.0:8080/base/path`";
    let parts = Parts::split(written, &["http", "https"], example, problems)?;
    let scheme = if parts.scheme == "https" { ListenScheme::Https } else { ListenScheme::Http };
    let host = bind_address(written, parts.host, problems);
    let port = match parts.port {
        Some("") | None => {
            problems.push(written.error("the port is missing").help(example));
            None
        }
        Some(port) => valid_port(written, port, problems),
    };
    if port == Some(RESERVED_PORT) {
        problems.push(
            written.error("port 9998 is reserved for internal use").help("choose another port for this API"),
        );
        return None;
    }
    let base_path = if parts.path == "/" { "" } else { parts.path };
    let normal = normal_path(written, base_path, problems);
    if base_path.contains(['*', '(', ')', '[', ']', '{', '}', '|', '^', '$', '\\']) {
        problems.push(
            written
                .warning("the base path is no regular expression; it is matched as it is written")
                .help("choose by pattern in `rules[].path` instead"),
        );
    }
    Some(ListenAddress { scheme, host: host?, port: port?, base_path: normal? })
}

/// The base path as requests are matched with it.
fn normal_path(written: &Spanned<String>, path: &str, problems: &mut Vec<Problem>) -> Option<String> {
    if path.contains("//") {
        problems.push(
            written
                .warning(format!("no request has the base path `{path}`"))
                .help("repeated slashes are removed from requests before they are matched"),
        );
    }
    if path.is_empty() {
        return Some(String::new());
    }
    let Ok(normal) = path::normalise(path.as_bytes(), false) else {
        problems.push(
            written
                .error(format!("`{path}` is no path that a request can have"))
                .help("write what RFC 3986 does not allow as escapes, such as `%20` for a blank"),
        );
        return None;
    };
    let normal = String::from_utf8_lossy(&normal).into_owned();
    if normal != path {
        problems.push(
            written
                .warning(format!("the base path `{path}` is `{normal}` in another spelling"))
                .help("paths are compared in that one spelling, however a client writes them"),
        );
    }
    Some(if normal == "/" { String::new() } else { normal })
}

fn bind_address(written: &Spanned<String>, host: &str, problems: &mut Vec<Problem>) -> Option<IpAddr> {
    if host.eq_ignore_ascii_case("localhost") {
        problems.push(
            written
                .warning("`localhost` binds 127.0.0.1: the API can be reached from this host only")
                .help("write `0.0.0.0` to accept connections from everywhere"),
        );
        return Some(Ipv4Addr::LOCALHOST.into());
    }
    let parsed = match host.strip_prefix('[').and_then(|inner| inner.strip_suffix(']')) {
        Some(inner) => inner.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
        None => host.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
    };
    if parsed.is_none() {
        problems.push(
            written
                .error(format!("`{host}` is no IP address to listen on"))
                .help("the host is the bind address: write `0.0.0.0` for all interfaces, `[::]` for IPv6")
                .help("to serve only some host names, use `rules[].host`"),
        );
    }
    parsed
}

/// The address of an upstream; `None` when a problem is an error.
pub fn service_address(written: &Spanned<String>, problems: &mut Vec<Problem>) -> Option<ServiceAddress> {
    let example = "write `http://backend.example.com:8080`";
    let parts = Parts::split(written, &["http", "https", "h2"], example, problems)?;
    let (scheme, default_port) = match parts.scheme.as_str() {
        "https" => (ServiceScheme::Https, 443),
        "h2" => (ServiceScheme::H2, 80),
        _ => (ServiceScheme::Http, 80),
    };
    let port = match parts.port {
        None | Some("") => Some(default_port),
        Some(port) => valid_port(written, port, problems),
    };
    let host = host_name(written, parts.host, example, problems);
    let path = parts.path.trim_end_matches('/').to_owned();
    if !path.is_empty() {
        problems.push(
            written
                .warning(format!("the path `{path}` of a service address is put before `destinationPath`"))
                .help("write it as `destinationPath` of the route, which every version understands"),
        );
    }
    Some(ServiceAddress { scheme, host: host?, port: port?, path })
}

/// Host, without brackets, and port of a forward proxy; `None` when a problem is an error.
pub fn proxy_address(written: &Spanned<String>, problems: &mut Vec<Problem>) -> Option<(String, u16)> {
    if written.trim_start().to_ascii_lowercase().starts_with("https://") {
        problems.push(
            written
                .error("TLS towards a forward proxy is not supported yet")
                .help("write `http://`; calls to `https://` upstreams are encrypted end to end all the same"),
        );
        return None;
    }
    let example = "write `http://proxy.example.com:3128`; name and password go to `basicAuth`";
    let parts = Parts::split(written, &["http"], example, problems)?;
    let port = match parts.port {
        None | Some("") => Some(80),
        Some(port) => valid_port(written, port, problems),
    };
    let host = host_name(written, parts.host, example, problems);
    if !parts.path.trim_end_matches('/').is_empty() {
        problems.push(written.error("the address of a proxy has no path").help(example));
        return None;
    }
    Some((host?, port?))
}

/// A host name in lower case, or an IP address without brackets.
fn host_name(
    written: &Spanned<String>,
    host: &str,
    example: &str,
    problems: &mut Vec<Problem>,
) -> Option<String> {
    let name = match host.strip_prefix('[').and_then(|inner| inner.strip_suffix(']')) {
        Some(inner) => inner.parse::<Ipv6Addr>().ok().map(|address| address.to_string()),
        None => valid_host(host).then(|| host.to_ascii_lowercase()),
    };
    if name.is_none() {
        let international = "write a name with other letters as DNS has it: `xn--…`";
        let help = if host.is_ascii() { example } else { international };
        problems.push(written.error(format!("`{host}` is no host name or IP address")).help(help));
    }
    name
}

fn valid_host(host: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
            && !label.starts_with('-')
    };
    host.len() <= 253 && host.trim_end_matches('.').split('.').all(label)
}

fn valid_port(written: &Spanned<String>, port: &str, problems: &mut Vec<Problem>) -> Option<u16> {
    let digits = port.bytes().all(|byte| byte.is_ascii_digit());
    let number = port.parse::<u16>().ok().filter(|number| digits && *number != 0);
    if number.is_none() {
        let problem = written.error(format!("`{port}` is no port: expected a number from 1 to 65535"));
        problems.push(problem);
    }
    number
}

/// `scheme://host:port/path`, not yet judged.
struct Parts<'a> {
    scheme: String,
    host: &'a str,
    port: Option<&'a str>,
    path: &'a str,
}

impl<'a> Parts<'a> {
    fn split(
        written: &'a Spanned<String>,
        schemes: &[&str],
        example: &str,
        problems: &mut Vec<Problem>,
    ) -> Option<Self> {
        let text: &str = &written.value;
        let mut error = |message: String, help: &str| {
            problems.push(written.error(message).help(help));
            None
        };
        let Some((scheme, rest)) = text.split_once("://") else {
            return error(format!("`{}` is no address", behind_user(text)), example);
        };
        let scheme = scheme.to_ascii_lowercase();
        if !schemes.contains(&scheme.as_str()) {
            let allowed = schemes.iter().map(|s| format!("`{s}://`")).collect::<Vec<_>>().join(", ");
            let help = match closest(&scheme, schemes.iter().copied()) {
                Some(close) => format!("did you mean `{close}://`? allowed: {allowed}"),
                None => format!("allowed: {allowed}"),
            };
            return error(format!("unknown protocol `{scheme}`"), &help);
        }
        if let Some(odd) =
            text.chars().find(|c| c.is_whitespace() || c.is_control() || matches!(c, '"' | '<' | '>'))
        {
            return error(format!("an address cannot contain {odd:?}"), example);
        }
        if text.contains(['?', '#']) {
            return error("an address has no query and no fragment".to_owned(), example);
        }
        let (authority, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
        // What follows the colon may be a password with a slash in it.
        let is_no_port = |port: &str| port.bytes().any(|byte| !byte.is_ascii_digit());
        let behind = authority.rsplit(']').next().unwrap_or(authority).split_once(':');
        let is_cut = path.contains('@') && behind.is_some_and(|(_, port)| is_no_port(port));
        if authority.contains('@') || is_cut {
            return error("an address has no user and password".to_owned(), example);
        }
        let bracketed = authority.starts_with('[') && (authority.ends_with(']') || authority.contains("]:"));
        if !bracketed && (authority.contains(['[', ']']) || authority.matches(':').count() > 1) {
            return error(
                format!("`{authority}` is no host and port"),
                "write an IPv6 address in brackets: `[::1]:8080`",
            );
        }
        // The colon after the bracket of an IPv6 address, or the only colon.
        let (host, port) = match authority.rfind(']') {
            Some(end) => {
                let (host, rest) = authority.split_at(end + 1);
                (host, rest.strip_prefix(':'))
            }
            None => authority.split_once(':').map_or((authority, None), |(host, port)| (host, Some(port))),
        };
        if host.is_empty() {
            return error("the host is missing".to_owned(), example);
        }
        Some(Self { scheme, host, port, path })
    }
}
