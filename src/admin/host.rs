//! The admin API answers requests that name it by address or as `localhost` only: so a page in
//! somebody's browser cannot reach it through a host name of its own (DNS rebinding).

use std::net::IpAddr;

/// Whether the authority of a request is an address or `localhost`.
pub fn is_local_name(authority: &str) -> bool {
    let host = crate::http::request::host_of(authority);
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost") || bare.parse::<IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::is_local_name;

    #[test]
    fn a_host_name_from_outside_is_refused() {
        for (authority, fine) in [
            ("127.0.0.1:9902", true),
            ("[::1]:9902", true),
            ("localhost", true),
            ("10.0.0.7", true),
            ("rebound.example:9902", false),
            ("", false),
        ] {
            assert_eq!(is_local_name(authority), fine, "{authority}");
        }
    }
}
