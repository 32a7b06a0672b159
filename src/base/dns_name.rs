//! One form for names of hosts.

use std::borrow::Cow;

/// A name without the dot that stands for the root, in lower case (RFC 4343 section 2): two that are equal have the
/// same addresses.
pub fn dns_name(host: &str) -> Cow<'_, str> {
    let name = host.trim_end_matches('.');
    if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
        name.to_ascii_lowercase().into()
    } else {
        name.into()
    }
}
