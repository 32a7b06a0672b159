//! RFC 9111 section 5.2: how `Cache-Control` is read.

use crate::{
    http::Headers,
    policies::http_caching::directives::{RequestDirectives, ResponseDirectives, members, split_list},
};

fn headers(fields: &[(&str, &str)]) -> Headers {
    let mut headers = Headers::new();
    fields.iter().for_each(|(name, value)| headers.append(name, value).expect("a valid field"));
    headers
}

fn response(value: &str) -> ResponseDirectives {
    ResponseDirectives::of(&headers(&[("cache-control", value)]))
}

fn request(value: &str) -> RequestDirectives {
    RequestDirectives::of(&headers(&[("Cache-Control", value)]), true)
}

#[test]
fn directives_are_compared_without_regard_to_case_and_unknown_ones_are_ignored_section_5_2() {
    let said = response("PUBLIC, Max-Age=5, community=\"UCI\", immutable");
    assert_eq!(said, ResponseDirectives { public: true, max_age: Some(5), ..Default::default() });
}

#[test]
fn behind_a_quote_that_does_not_end_every_comma_separates() {
    let list = "a=\"b, no-store\\\", \"c, private";
    assert_eq!(split_list(list).collect::<Vec<_>>(), ["a=\"b, no-store\\\", \"c", "private"]);
    let hostile = "\"\\\",".repeat(20_000);
    // Each of them once: looking for the end of each quote would take minutes.
    assert_eq!(split_list(&hostile).count(), 20_000);
}

#[test]
fn arguments_are_tokens_or_quoted_strings_section_5_2() {
    assert_eq!(response("max-age=\"5\"").max_age, Some(5));
    assert_eq!(response("max-age = 5").max_age, Some(5));
    assert_eq!(response("s-maxage=\"\\5\"").s_maxage, Some(5));
}

#[test]
fn several_lines_are_one_list_and_commas_in_quotes_separate_nothing() {
    let said = ResponseDirectives::of(&headers(&[
        ("cache-control", "private=\"a, no-store\""),
        ("cache-control", ", max-age=1 ,,"),
    ]));
    assert_eq!(said, ResponseDirectives { private: true, max_age: Some(1), ..Default::default() });
    assert_eq!(split_list(" a ,\"b, \\\", c\" ,, d").collect::<Vec<_>>(), ["a", "\"b, \\\", c\"", "d"]);
    assert_eq!(split_list("\"open, a").collect::<Vec<_>>(), ["\"open", "a"]);
    assert_eq!(members("").count(), 0);
}

#[test]
fn a_number_too_large_to_count_is_the_largest_section_1_2_2() {
    assert_eq!(response("max-age=99999999999999999999999").max_age, Some(1 << 31));
    assert_eq!(response("max-age=2147483649").max_age, Some(1 << 31));
}

#[test]
fn what_is_no_number_and_what_is_said_twice_differently_is_stale_section_4_2_1() {
    for value in [
        "max-age=a",
        "max-age=-5",
        "max-age=+5",
        "max-age=5.0",
        "max-age",
        "max-age=",
        "max-age=5, max-age=6",
    ] {
        assert_eq!(response(value).max_age, Some(0), "{value}");
    }
    assert_eq!(response("max-age=5, max-age=5").max_age, Some(5));
}

#[test]
fn what_a_client_says_unclearly_asks_for_the_most() {
    assert_eq!(request("max-age=x").max_age, Some(0));
    assert_eq!(request("max-age=5, max-age=3").max_age, Some(3));
    assert_eq!(request("min-fresh=x").min_fresh, Some(u64::MAX));
    assert_eq!(request("max-stale").max_stale, Some(u64::MAX));
    assert_eq!(request("max-stale=x").max_stale, Some(0));
    assert_eq!(request("max-stale=7").max_stale, Some(7));
    let said = request("no-cache, no-store, only-if-cached");
    assert!(said.no_cache && said.no_store && said.only_if_cached);
}

#[test]
fn pragma_counts_where_there_is_no_cache_control_section_5_4() {
    assert!(RequestDirectives::of(&headers(&[("pragma", "x, no-cache")]), true).no_cache);
    assert!(!RequestDirectives::of(&headers(&[("pragma", "no-cache")]), false).no_cache, "not the vendor's");
    assert!(!RequestDirectives::of(&headers(&[("pragma", "x")]), true).no_cache);
    let both = headers(&[("pragma", "no-cache"), ("cache-control", "max-age=5")]);
    assert!(!RequestDirectives::of(&both, true).no_cache);
}

#[test]
fn what_stands_behind_a_quote_that_does_not_end_is_heard() {
    let said =
        ResponseDirectives::of(&headers(&[("cache-control", "max-age=60, ext=\"a, private, no-store")]));
    assert!(said.private && said.no_store);
    assert_eq!(said.max_age, Some(60));
}
