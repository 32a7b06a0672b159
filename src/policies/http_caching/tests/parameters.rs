//! Policies reference 3.4, the table of parameters.

use super::*;
use crate::policies::http_caching::config;
use crate::policy::testkit::{build, problems};

#[test]
fn no_parameter_has_to_be_written_and_the_defaults_are_those_of_the_table() {
    assert_eq!(problems::<HttpCaching>("{}"), [""; 0]);
    let cached = Cached::new("{}", &[]);
    assert_eq!(cached.cache.key.source(), "#[attributes.requestPath]");
    assert_eq!(cached.cache.request.as_ref().map(|it| it.source()), Some(config::REQUEST));
    assert_eq!(cached.cache.response.as_ref().map(|it| it.source()), Some(config::RESPONSE));
    assert_eq!((config::ENTRIES_MAX, config::TTL), (10_000, 600));
    assert_eq!(cached.cache.terms.ttl, 600_000_000);
    assert_eq!(cached.cache.terms.rules, crate::policies::http_caching::freshness::Rules::Vendor);
    assert_eq!(cached.cache.invalidation_header, None);
    assert!(cached.cache.place.disk.is_none() && cached.cache.place.shared.is_none());
}

#[test]
fn a_key_that_is_left_empty_is_the_default() {
    assert_eq!(Cached::new("httpCachingKey: ''", &[]).cache.key.source(), config::KEY);
}

#[test]
fn an_expression_that_is_present_but_empty_holds_for_all() {
    let cached =
        Cached::answering("{requestExpression: '', responseExpression: ''}", |_| upstream(500, &[], "x"));
    cached.send("POST", "/", &[]);
    assert_eq!(cached.send("POST", "/", &[]).status, 500);
    assert_eq!(cached.calls(), 1);
}

#[test]
fn what_cannot_be_meant_is_refused_with_a_remedy() {
    assert_eq!(
        problems::<HttpCaching>("maxCacheEntries: 0"),
        ["E config.maxCacheEntries: 0 entries store nothing: expected 1 or more"]
    );
    assert_eq!(
        problems::<HttpCaching>("invalidationHeader: 'a b'"),
        ["E config.invalidationHeader: is not the name of a header (RFC 9110 section 5.1)"]
    );
    let both = problems::<HttpCaching>("{rfc9111: true, useHttpCacheHeaders: false}");
    assert!(both[0].starts_with("E config.useHttpCacheHeaders: cannot be `false`"), "{both:?}");
    assert!(problems::<HttpCaching>("ttl: -1")[0].starts_with("E config.ttl"));
    assert!(
        problems::<HttpCaching>("httpCachingKey: '#[attributes.]'")[0].starts_with("E config.httpCachingKey")
    );
}

#[test]
fn what_is_legal_but_unwise_is_warned_of() {
    assert_eq!(problems::<HttpCaching>("ttl: 0"), ["W config.ttl: 0 seconds store nothing"]);
    assert_eq!(
        problems::<HttpCaching>("httpCachingKey: all"),
        ["W config.httpCachingKey: a plain text is the same key for every request"]
    );
}

#[test]
fn without_a_folder_for_state_a_cache_that_is_to_survive_is_in_memory_with_a_warning() {
    let (built, found) = build::<HttpCaching>("persistCache: true");
    assert!(built.is_some());
    assert_eq!(
        found,
        ["W config.persistCache: there is no folder for state: the cache ends with the process"]
    );
}

#[test]
fn a_shared_cache_without_a_storage_or_without_keys_is_warned_of() {
    let found = |services: &PolicyServices| {
        let entry = crate::policy::PolicyEntry::of::<HttpCaching>();
        let problems = entry.build(&yaml("distributed: true"), "config", services).problems;
        problems.into_iter().map(|problem| problem.message).collect::<Vec<_>>()
    };
    let alone = found(&services());
    assert_eq!(alone, ["there is no shared storage: each replica has a cache of its own"]);
    let open = found(&with(services(), |services| services.shared_storage = true));
    assert!(
        open[0].starts_with("whoever can read the shared storage reads the cached responses"),
        "{open:?}"
    );
    let line = crate::base::seal::KeyRing::new_line("a");
    let sealed = with(services(), |services| {
        services.shared_storage = true;
        services.caching.seals = crate::base::seal::KeyRing::parse("keys", &line).ok().map(Arc::new);
    });
    assert_eq!(found(&sealed), [""; 0]);
}

#[test]
fn strings_count_as_numbers_and_booleans() {
    let cached = Cached::new("{ttl: '5', useHttpCacheHeaders: 'false'}", &[]);
    assert_eq!(cached.cache.terms.ttl, 5_000_000);
    assert_eq!(cached.cache.terms.rules, crate::policies::http_caching::freshness::Rules::Fixed);
}
