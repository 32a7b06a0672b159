//! The certificate for a name (SNI): looked up as fast as it is, it is the one that a walk over all listed names finds.

use jiff::Timestamp;
use portcullis::{
    base::Secret,
    tls::{Certificate, Findings, choice::Choice, identity::Identity},
};

/// The first line is the name that a client asks for, each further one the names of one more certificate.
fn lines(bytes: &[u8]) -> (String, Vec<Vec<String>>) {
    let text = String::from_utf8_lossy(bytes);
    let mut lines = text.split('\n');
    let asked = lines.next().unwrap_or_default().to_owned();
    (asked, lines.take(8).map(|line| line.split(' ').map(str::to_owned).collect()).collect())
}

fn identity() -> Identity {
    let certificate = Certificate {
        key: Secret::new(include_str!("../../src/tls/fixtures/ec-sec1.key").to_owned()),
        crt: include_str!("../../src/tls/fixtures/ec.crt").to_owned(),
    };
    Identity::read(&certificate, Timestamp::UNIX_EPOCH, &mut Findings::default()).expect("a fixture")
}

fn choice(listed: &[Vec<String>]) -> (Choice, Findings) {
    let identity = identity();
    let mut choice = Choice::new(identity.clone());
    let mut findings = Findings::default();
    for hosts in listed {
        choice.add(identity.clone(), hosts, "certificates[0]", &mut findings);
    }
    (choice, findings)
}

/// # Panics
/// When a property does not hold.
pub fn check(bytes: &[u8]) {
    let (asked, listed) = lines(bytes);
    let (choice, findings) = choice(&listed);
    let index = choice.index(Some(&asked));
    assert!(index <= listed.len());
    assert_eq!(choice.index(None), 0);
    if findings.errors.is_empty() {
        assert_eq!(index, slowly(&asked, &listed), "{asked:?} of {listed:?}");
    }
}

/// Whether the lists are, and one of them has the name.
pub fn is_accepted(bytes: &[u8]) -> bool {
    let (asked, listed) = lines(bytes);
    let (choice, findings) = choice(&listed);
    findings.errors.is_empty() && choice.index(Some(&asked)) > 0
}

/// An exact name wins over a wildcard, which stands for exactly one label.
fn slowly(asked: &str, listed: &[Vec<String>]) -> usize {
    let plain = |name: &str| name.to_ascii_lowercase();
    let find = |matches: &dyn Fn(&str) -> bool| {
        listed.iter().position(|hosts| hosts.iter().any(|host| matches(&plain(host)))).map(|at| at + 1)
    };
    // The final dot of an absolute name is none of it (RFC 6066 section 3).
    let asked = plain(asked.trim_end_matches('.'));
    let exact = find(&|host| !host.starts_with('*') && host.trim_end_matches('.') == asked);
    let wildcard = || {
        let (_, domain) = asked.split_once('.')?;
        find(&|host| host.strip_prefix("*.").is_some_and(|rest| rest.trim_end_matches('.') == domain))
    };
    exact.or_else(wildcard).unwrap_or(0)
}
