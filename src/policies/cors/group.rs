//! What one group of origins may do.

use super::config::OriginGroup;

/// When a group names no methods. HEAD is allowed wherever GET is.
const METHODS: [&str; 8] = ["CONNECT", "DELETE", "GET", "OPTIONS", "PATCH", "POST", "PUT", "TRACE"];

/// Request headers that every site may send (Fetch, CORS-safelisted request-header).
const SAFE_HEADERS: [&str; 5] = ["accept", "accept-language", "content-language", "content-type", "range"];

/// A compiled group; texts are what the answers carry.
pub struct Group {
    origins: Vec<String>,
    any_origin: bool,
    methods: Vec<String>,
    pub allow_methods: String,
    headers: Vec<String>,
    any_header: bool,
    allow_headers: String,
    pub expose_headers: String,
    pub max_age: String,
}

impl Group {
    pub fn new(config: OriginGroup) -> Self {
        let methods: Vec<String> = match config.allowed_methods.is_empty() {
            true => METHODS.map(str::to_owned).into(),
            false => config
                .allowed_methods
                .into_iter()
                .filter(|method| method.is_allowed)
                .map(|method| method.method_name.trim().to_ascii_uppercase())
                .collect(),
        };
        let (any, origins): (Vec<String>, Vec<String>) =
            config.origins.0.into_iter().map(|origin| origin.trim().to_owned()).partition(|o| o == "*");
        let (any_header, headers): (Vec<String>, Vec<String>) =
            config.headers.0.into_iter().map(|name| name.trim().to_owned()).partition(|name| name == "*");
        Self {
            origins,
            any_origin: !any.is_empty(),
            allow_methods: methods.join(", "),
            methods,
            allow_headers: headers.join(", "),
            headers,
            any_header: !any_header.is_empty(),
            expose_headers: config.exposed_headers.join(", "),
            max_age: config.access_control_max_age.to_string(),
        }
    }

    pub fn lists(&self, origin: &str) -> bool {
        self.origins.iter().any(|listed| same_origin(listed, origin))
    }

    pub fn takes_any_origin(&self) -> bool {
        self.any_origin
    }

    pub fn allows_method(&self, method: &str) -> bool {
        let listed = |method: &str| self.methods.iter().any(|allowed| allowed == method);
        listed(method) || (method == "HEAD" && listed("GET"))
    }

    /// The value of `access-control-allow-headers` for what a preflight asks for; empty when there
    /// is nothing to say, `None` when a header is not allowed.
    pub fn allowed_headers(&self, requested: &str) -> Option<String> {
        if self.any_header {
            return Some(requested.to_owned());
        }
        let mut allowed = self.allow_headers.clone();
        for name in requested.split(',').map(str::trim).filter(|name| !name.is_empty()) {
            if self.headers.iter().any(|listed| listed.eq_ignore_ascii_case(name)) {
                continue;
            }
            if !SAFE_HEADERS.iter().any(|safe| safe.eq_ignore_ascii_case(name)) {
                return None;
            }
            // A browser asks for a safe name only when its value is not: it must read it here.
            if !allowed.is_empty() {
                allowed.push_str(", ");
            }
            allowed.push_str(name);
        }
        Some(allowed)
    }
}

/// Without regard to case and with the default port left out or not.
fn same_origin(a: &str, b: &str) -> bool {
    without_default_port(a).eq_ignore_ascii_case(without_default_port(b))
}

fn without_default_port(origin: &str) -> &str {
    let origin = origin.strip_suffix('/').unwrap_or(origin);
    let is =
        |scheme: &str| origin.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme));
    let port = if is("https://") {
        ":443"
    } else if is("http://") {
        ":80"
    } else {
        return origin;
    };
    origin.strip_suffix(port).unwrap_or(origin)
}
