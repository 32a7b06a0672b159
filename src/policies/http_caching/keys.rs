//! Under what responses are found, and which of them an invalidation means.

use super::{
    directives::split_list,
    entry::{VARY_NAMES_MAX, Varies, is_vary_name},
    freshness::Timing,
};
use crate::{
    base::Digest,
    http::{Headers, Request, Scheme},
    policy::scope::RequestHead,
};

/// The keys of one request.
#[derive(Clone, Copy, Debug)]
pub struct RequestKeys {
    /// Of a response with its body.
    pub full: Digest,
    /// Of a response to HEAD, which answers nothing but HEAD.
    pub head: Digest,
    /// What an invalidation by this request means.
    pub subject: Digest,
}

impl RequestKeys {
    /// By what the key expression gave, and nothing else (policies reference 3.4).
    pub fn of_expression(key: &str) -> Self {
        let full = Digest::builder().part(key).finish();
        Self::of(full, full)
    }

    /// By the target URI too (RFC 9111 section 2), whatever the expression gave; an invalidation means the URI.
    pub fn of_target(key: &str, request: &Request) -> Self {
        let subject = subject_of(request);
        Self::of(Digest::builder().part(key).part(subject.as_bytes()).finish(), subject)
    }

    fn of(full: Digest, subject: Digest) -> Self {
        Self { full, head: Digest::builder().part(full.as_bytes()).part("HEAD").finish(), subject }
    }
}

/// The target URI (RFC 9110 section 7.1).
pub fn subject_of(request: &Request) -> Digest {
    let query = request.query();
    Digest::builder()
        .part(request.peer.scheme.as_str())
        .part(without_default_port(request.authority(), request.peer.scheme).to_ascii_lowercase())
        .part(request.path())
        .part(if query.is_some() { "?" } else { "" })
        .part(query.unwrap_or_default())
        .finish()
}

/// The port that a scheme means anyway says nothing (RFC 9110 section 4.2.3).
fn without_default_port(authority: &str, scheme: Scheme) -> &str {
    let port = if scheme == Scheme::Https { ":443" } else { ":80" };
    authority.strip_suffix(port).or_else(|| authority.strip_suffix(':')).unwrap_or(authority)
}

/// What a response says of how it was chosen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Vary {
    Not,
    /// Names in lower case, sorted, each once.
    By(Vec<String>),
    /// By something that no key can hold: it matches no other request (RFC 9111 section 4.1).
    Always,
}

impl Vary {
    pub fn of(response: &Headers) -> Self {
        let Some(list) = response.joined("vary") else { return Self::Not };
        let mut names: Vec<String> = split_list(&list).map(str::to_ascii_lowercase).collect();
        names.sort_unstable();
        names.dedup();
        match names.len() {
            0 => Self::Not,
            1..=VARY_NAMES_MAX if names.iter().all(|name| is_vary_name(name)) => Self::By(names),
            _ => Self::Always,
        }
    }
}

impl Varies {
    /// By these names, for as long as any response lives that is found by them: as those do that are known, or anew.
    pub fn with(known: Option<Self>, names: Vec<String>, timing: Timing) -> Self {
        match known.filter(|known| known.names == names) {
            Some(known) => Self { timing: known.timing.or_longer(timing), ..known },
            None => Self { names, family: fastrand::u64(..), timing },
        }
    }

    /// The key of the response to this request: equal for two requests with the same fields (RFC 9111 section 4.1).
    pub fn key(&self, base: &Digest, request: &RequestHead<'_>) -> Digest {
        let mut key = Digest::builder().part(base.as_bytes()).part(self.family.to_be_bytes());
        for name in &self.names {
            key.add(name);
            match request.field_bytes(name) {
                Some(value) => {
                    key.add("=");
                    key.add(&*value);
                }
                // One that is missing matches only one that is missing.
                None => key.add(""),
            }
        }
        key.finish()
    }
}
