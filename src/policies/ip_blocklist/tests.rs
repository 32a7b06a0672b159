//! Sentences of policies reference 2.10 and 2.11.

use super::*;
use crate::{
    policies::addresses::tests::{assert_refused, bench, from},
    policy::testkit::{Bench, problems, step},
};

#[test]
fn a_listed_address_is_refused_and_no_other() {
    let bench = bench::<IpBlocklist>("{ips: ['198.51.100', '192.0.2.0/25', '2001:db8::/32']}");
    for listed in ["198.51.100.200", "192.0.2.1", "2001:db8::5", "::ffff:192.0.2.1", "192.0.2.1:99, 10.0.0.1"]
    {
        assert_refused(from(&bench, listed));
    }
    assert_eq!(bench.upstream_calls(), 0);
    for other in ["198.51.101.1", "192.0.2.128", "2001:db9::1", "10.0.0.1, 192.0.2.1"] {
        assert_eq!(from(&bench, other).status, 200, "{other}");
    }
}

#[test]
fn an_address_that_is_null_empty_or_none_passes() {
    let bench = bench::<IpBlocklist>("{ips: ['0.0.0.0/0', '::/0']}");
    assert_eq!(bench.get("/", &[]).status, 200);
    for text in ["", "unknown"] {
        assert_eq!(from(&bench, text).status, 200, "{text}");
    }
}

#[test]
fn an_expression_that_fails_passes() {
    let policy = step::<IpBlocklist>("{ips: ['0.0.0.0/0'], ipExpression: \"#['a' ++ null]\"}");
    assert_eq!(Bench::new(policy).get("/", &[]).status, 200);
}

#[test]
fn the_peer_can_be_used() {
    let policy = step::<IpBlocklist>("{ips: 192.0.2.7, ipExpression: '#[attributes.remoteAddress]'}");
    assert_refused(Bench::new(policy).get("/", &[]));
}

#[test]
fn a_plain_text_is_no_expression_and_an_empty_one_means_the_default() {
    let found = problems::<IpBlocklist>("{ips: [10.0.0.1], ipExpression: attributes.remoteAddress}");
    assert_eq!(found, ["E config.ipExpression: a plain text is the same for every request, and no address"]);
    assert_refused(from(&bench::<IpBlocklist>("{ips: [192.0.2.1], ipExpression: ''}"), "192.0.2.1"));
}
