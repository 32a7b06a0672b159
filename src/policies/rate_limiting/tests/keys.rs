use super::*;

fn by(selector: &str) -> Limited {
    Limited::new(&format!(
        "rateLimits: [{{maximumRequests: 1, timePeriodInMilliseconds: 1000}}]\nkeySelector: \"#[{selector}]\""
    ))
}

const KEY: &str = "attributes.headers['x-key']";

#[test]
fn each_key_has_its_own_counter() {
    let limited = by(KEY);
    let statuses: Vec<_> = ["a", "b", "a", "b", "c"].iter().map(|key| limited.status(key)).collect();
    assert_eq!(statuses, [200, 200, 429, 429, 200]);
}

#[test]
fn windows_of_different_keys_are_independent() {
    let limited = by(KEY);
    assert_eq!(limited.status("a"), 200);
    limited.pass_ms(600);
    assert_eq!(limited.status("b"), 200);
    limited.pass_ms(400);
    assert_eq!([limited.status("a"), limited.status("b")], [200, 429]);
    limited.pass_ms(600);
    assert_eq!([limited.status("a"), limited.status("b")], [429, 200]);
}

#[test]
fn keys_are_case_sensitive() {
    let limited = by(KEY);
    assert_eq!([limited.status("a"), limited.status("A")], [200, 200]);
}

#[test]
fn null_is_the_empty_string_which_is_a_bucket_of_its_own() {
    let limited = by(KEY);
    assert_eq!([limited.get(&[]).status, limited.status("a")], [200, 200]);
    assert_eq!([limited.get(&[]).status, limited.status("")], [429, 429]);
}

#[test]
fn an_error_in_the_expression_is_the_empty_string_too() {
    let limited = by("attributes.headers['x-key'] ++ null");
    assert_eq!([limited.status("a"), limited.status("b")], [200, 429]);
}

#[test]
fn the_result_is_cast_to_a_string() {
    let limited = by("attributes.headers['x-key'] == 'a'");
    assert_eq!([limited.status("a"), limited.status("b"), limited.status("c")], [200, 200, 429]);
    let limited = by("sizeOf(attributes.headers['x-key'])");
    assert_eq!([limited.status("a"), limited.status("bb"), limited.status("cc")], [200, 200, 429]);
}

#[test]
fn an_unsupported_variable_of_old_samples_is_one_shared_bucket() {
    let limited = by("attributes.clientAddress.ip");
    assert_eq!(limited.statuses(2), [200, 429]);
}

#[test]
fn the_identity_of_the_caller_may_be_the_key() {
    let limited = by("authentication.clientId default attributes.headers['x-key']");
    assert_eq!(limited.status("one"), 200);
    limited.bench.exchange.authentication_mut().client_id = Some("one".into());
    assert_eq!(limited.status("two"), 429);
    limited.bench.exchange.authentication_mut().client_id = Some("two".into());
    assert_eq!(limited.status("one"), 200);
}

#[test]
fn without_key_selector_there_is_one_bucket() {
    for selector in ["", "keySelector: ''", "keySelector: "] {
        let limited = Limited::new(&format!(
            "rateLimits: [{{maximumRequests: 1, timePeriodInMilliseconds: 1000}}]\n{selector}"
        ));
        assert_eq!([limited.status("a"), limited.status("b")], [200, 429], "{selector}");
    }
}

#[test]
fn long_keys_are_told_apart_as_short_ones_are() {
    let limited = by(KEY);
    let long = "k".repeat(20_000);
    assert_eq!([limited.status(&long), limited.status(&format!("{long}x"))], [200, 200]);
    assert_eq!([limited.status(&long), limited.status(&format!("{long}x"))], [429, 429]);
}

#[test]
fn a_key_from_the_payload_holds_the_body_back() {
    let limited = by("payload.customer");
    let statuses: Vec<_> = [r#"{"customer":"a"}"#, r#"{"customer":"b"}"#, r#"{"customer":"a"}"#]
        .into_iter()
        .map(|body| limited.bench.send(post(body)).status)
        .collect();
    assert_eq!(statuses, [200, 200, 429]);
}

#[test]
fn a_payload_over_the_buffer_limit_is_413() {
    let limited = by("payload.customer");
    let response = limited.bench.send(post(&"x".repeat((1 << 20) + 1)));
    assert_eq!(response.status, 413);
    assert_eq!(limited.bench.upstream_calls(), 0);
}

#[test]
fn only_a_key_that_needs_the_payload_reads_the_body() {
    let reads = |selector: &str| {
        let config = format!(
            "rateLimits: [{{maximumRequests: 1, timePeriodInMilliseconds: 1}}]\nkeySelector: \"#[{selector}]\""
        );
        crate::policy::testkit::step::<RateLimiting>(&config).reads_request_body()
    };
    assert!(reads("payload.customer"));
    assert!(!reads(KEY));
}
