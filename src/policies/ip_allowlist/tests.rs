//! Sentences of policies reference 2.10 and 2.11.

use super::*;
use crate::{
    policies::addresses::tests::{assert_refused, bench, from},
    policy::testkit::{Bench, problems, step},
};

#[test]
fn a_listed_address_passes_and_no_other() {
    let bench = bench::<IpAllowlist>("{ips: ['10.20.0.0/16', 203.0.113.7, '2001:db8:10::/48', 192.168.2]}");
    for inside in ["10.20.255.1", "203.0.113.7", "2001:db8:10::9", "192.168.2.77"] {
        assert_eq!(from(&bench, inside).status, 200, "{inside}");
    }
    for outside in ["10.21.0.1", "203.0.113.8", "2001:db8:11::9", "192.168.3.0"] {
        assert_refused(from(&bench, outside));
    }
    assert_eq!(bench.upstream_calls(), 4);
}

#[test]
fn of_a_list_the_first_element_counts() {
    let bench = bench::<IpAllowlist>("{ips: [10.0.0.1]}");
    assert_eq!(from(&bench, " 10.0.0.1 , 10.0.0.2").status, 200);
    assert_refused(from(&bench, "10.0.0.2, 10.0.0.1"));
    let fields = [("x-forwarded-for", "10.0.0.1"), ("x-forwarded-for", "10.0.0.2")];
    assert_eq!(bench.get("/", &fields).status, 200);
}

#[test]
fn an_address_that_is_null_empty_or_none_is_refused() {
    let bench = bench::<IpAllowlist>("{ips: ['0.0.0.0/0', '::/0']}");
    assert_refused(bench.get("/", &[]));
    for text in ["", "unknown", ",10.0.0.1"] {
        assert_refused(from(&bench, text));
    }
}

#[test]
fn an_expression_that_fails_refuses() {
    let policy = step::<IpAllowlist>("{ips: ['0.0.0.0/0'], ipExpression: \"#['a' ++ null]\"}");
    assert_refused(Bench::new(policy).get("/", &[]));
}

#[test]
fn the_remote_address_has_a_port_which_is_stripped() {
    for expression in ["#[attributes.remoteAddress]", "#[trim(attributes.remoteAddress)]"] {
        let config = |ip: &str| format!("{{ips: [{ip}], ipExpression: '{expression}'}}");
        let inside = Bench::new(step::<IpAllowlist>(&config("192.0.2.7")));
        assert_eq!(from(&inside, "10.9.9.9").status, 200);
        let outside = Bench::new(step::<IpAllowlist>(&config("192.0.2.8")));
        assert_refused(from(&outside, "192.0.2.8"));
    }
}

/// The proxy itself is the last, which the gateway has appended.
#[test]
fn behind_one_proxy_the_last_element_but_one_can_be_used() {
    let by = |at: &str| {
        format!(
            "{{ips: [10.0.0.2], ipExpression: \"#[trim(splitBy(attributes.headers.'x-forwarded-for', ',')[{at}])]\"}}"
        )
    };
    let bench = bench::<IpAllowlist>(&by("-2"));
    assert_eq!(from(&bench, "10.0.0.1, 10.0.0.2, 127.0.0.1").status, 200);
    assert_refused(from(&bench, "10.0.0.2, 10.0.0.1, 127.0.0.1"));
    let warnings = |at: &str| problems::<IpAllowlist>(&by(at)).len();
    assert_eq!((warnings("-2"), warnings("-1"), warnings(" -1 ")), (1, 2, 2));
}

#[test]
fn what_is_wrong_with_a_configuration() {
    let found = problems::<IpAllowlist>("{ips: [10.0.0.1, nonsense], ipExpression: '#[payload.ip]'}");
    assert_eq!(
        found,
        [
            "E config.ips[1]: `nonsense` is no IP address or network",
            "E config.ipExpression: an address is not read from the body of a request",
        ]
    );
    assert_eq!(
        problems::<IpAllowlist>("{ips: [], ipExpression: '#[attributes.remoteAddress]'}"),
        ["E config.ips: the list is empty"]
    );
    assert_eq!(problems::<IpAllowlist>("{}"), ["E config.ips: the field `ips` is missing"]);
}
