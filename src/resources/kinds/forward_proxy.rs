//! `forwardProxy` of a `Configuration` (configuration reference 11).

use std::sync::Arc;

use serde::Deserialize;

use crate::{
    base::{Secret, secret::without_userinfo},
    document::{OneOrMany, Problem, Spanned},
    outbound::ForwardProxy,
    resources::address::proxy_address,
};

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct WrittenForwardProxy {
    https: Option<Spanned<WrittenProxy>>,
    no_proxy: OneOrMany<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WrittenProxy {
    address: Spanned<String>,
    basic_auth: Option<BasicAuth>,
}

#[derive(Deserialize)]
struct BasicAuth {
    username: Spanned<String>,
    password: Spanned<Secret>,
}

/// `None`: calls are direct.
pub(super) fn read(
    written: &Spanned<WrittenForwardProxy>,
    problems: &mut Vec<Problem>,
) -> Option<Arc<ForwardProxy>> {
    check_exceptions(&written.no_proxy, problems);
    let Some(https) = &written.https else {
        if super::sound(problems) {
            problems.push(
                written
                    .warning("`forwardProxy` names no proxy; it has no effect")
                    .help("write `https: {address: \"http://proxy.example.com:3128\"}`"),
            );
        }
        return None;
    };
    let (host, port) = proxy_address(&https.address, problems)?;
    let proxy = ForwardProxy::new(host, port).except(written.no_proxy.iter().map(|host| host.value.trim()));
    let Some(BasicAuth { username, password }) = &https.basic_auth else { return Some(Arc::new(proxy)) };
    let mut checked = true;
    if username.contains(':') {
        problems.push(username.error("a user name for basic authentication cannot contain a colon"));
        checked = false;
    }
    let has_control = |text: &str| text.chars().any(char::is_control);
    for (found, place) in [
        (has_control(username), username.error("control characters cannot be sent")),
        (has_control(password.expose()), password.error("control characters cannot be sent")),
    ] {
        if found {
            problems.push(place);
            checked = false;
        }
    }
    checked.then(|| Arc::new(proxy.with_credentials(username, password)))
}

fn check_exceptions(hosts: &OneOrMany<Spanned<String>>, problems: &mut Vec<Problem>) {
    for host in hosts.iter() {
        let name = host.trim();
        let is_address = name.parse::<std::net::IpAddr>().is_ok() || name.starts_with('[');
        let odd = name.is_empty() || name == "." || (!is_address && name.contains(['*', '/', ':', ',']));
        if odd {
            problems.push(
                host.warning(format!(
                    "no host is `{}`; it has no effect",
                    without_userinfo(host).unwrap_or_else(|| host.value.clone())
                ))
                .help("write a host name, or a suffix with a leading dot such as `.svc.cluster.local`"),
            );
        }
    }
}
