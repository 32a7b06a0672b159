use super::*;
use crate::policy::testkit::problems;

const LIMITS: &str = "rateLimits: [{maximumRequests: 1, timePeriodInMilliseconds: 1000}]";

#[test]
fn limits_are_required() {
    assert_eq!(problems::<RateLimiting>("{}"), ["E config.rateLimits: the field `rateLimits` is missing"]);
    assert_eq!(
        problems::<RateLimiting>("rateLimits: []"),
        ["E config.rateLimits: `rateLimits` is empty: at least one limit is needed"]
    );
    assert_eq!(
        problems::<RateLimiting>("rateLimits: [{maximumRequests: 1}, {timePeriodInMilliseconds: 1}]"),
        [
            "E config.rateLimits[0].timePeriodInMilliseconds: the field `timePeriodInMilliseconds` is missing",
            "E config.rateLimits[1].maximumRequests: the field `maximumRequests` is missing",
        ]
    );
}

#[test]
fn numbers_and_booleans_may_be_written_as_strings() {
    let limited = Limited::new(
        "rateLimits: [{maximumRequests: '1', timePeriodInMilliseconds: '1000'}]
exposeHeaders: 'true'
clusterizable: 'false'",
    );
    assert_eq!(told(&limited.get(&[])), Some((1, 0, 1000)));
}

#[test]
fn a_window_without_length_is_an_error_and_a_quota_of_nothing_a_warning() {
    assert_eq!(
        problems::<RateLimiting>("rateLimits: [{maximumRequests: 0, timePeriodInMilliseconds: 0}]"),
        [
            "W config.rateLimits[0].maximumRequests: 0 refuses every request",
            "E config.rateLimits[0].timePeriodInMilliseconds: a window of 0 milliseconds has no end: \
             expected 1 or more",
        ]
    );
    let limited = Limited::new("rateLimits: [{maximumRequests: 0, timePeriodInMilliseconds: 1}]");
    assert_eq!(limited.statuses(1), [429]);
}

#[test]
fn options_inside_the_list_are_accepted_with_a_warning() {
    let config = "rateLimits:
- maximumRequests: 1
  timePeriodInMilliseconds: 1000
  keySelector: \"#[attributes.headers['x-key']]\"
  exposeHeaders: true";
    assert_eq!(
        problems::<RateLimiting>(config),
        [
            "W config.rateLimits[0].keySelector: `keySelector` belongs beside `rateLimits`; it is read here too",
            "W config.rateLimits[0].exposeHeaders: `exposeHeaders` belongs beside `rateLimits`; \
             it is read here too",
        ]
    );
    let limited = Limited::new(config);
    assert_eq!([limited.status("a"), limited.status("b"), limited.status("a")], [200, 200, 429]);
    assert_eq!(told(&limited.get(&[])), Some((1, 0, 1000)));
}

#[test]
fn options_beside_the_list_win_then_the_first_item_that_has_them() {
    let config = "rateLimits:
- {maximumRequests: 5, timePeriodInMilliseconds: 1000, exposeHeaders: true}
- {maximumRequests: 6, timePeriodInMilliseconds: 1000, exposeHeaders: false}";
    assert!(told(&Limited::new(config).get(&[])).is_some());
    assert_eq!(
        problems::<RateLimiting>(config)[1],
        "W config.rateLimits[1].exposeHeaders: `exposeHeaders` is given already; this one is ignored"
    );
    let config = format!("{config}\nexposeHeaders: false");
    assert!(told(&Limited::new(&config).get(&[])).is_none());
}

#[test]
fn asking_for_distribution_is_one_warning_and_works_per_replica() {
    let warnings =
        problems::<RateLimiting>(&format!("{LIMITS}\nclusterizable: true\nblockOnUnknownQuota: false"));
    assert_eq!(
        warnings,
        ["W config.clusterizable: there is no shared storage: each replica grants the whole quota"]
    );
    for config in [LIMITS.to_owned(), format!("{LIMITS}\nclusterizable: false")] {
        assert_eq!(problems::<RateLimiting>(&config), [""; 0]);
    }
}

#[test]
fn a_key_that_is_plain_text_is_a_warning() {
    let warnings = problems::<RateLimiting>(&format!("{LIMITS}\nkeySelector: attributes.headers['x-key']"));
    assert_eq!(warnings, ["W config.keySelector: a plain text is the same key for every request"]);
}

#[test]
fn a_key_that_is_no_expression_is_an_error_at_its_place() {
    let problems = problems::<RateLimiting>(&format!("{LIMITS}\nkeySelector: '#[(]'"));
    assert!(matches!(&*problems, [one] if one.starts_with("E config.keySelector: ")), "{problems:?}");
}

#[test]
fn an_expression_that_is_not_closed_is_a_warning() {
    let problems = problems::<RateLimiting>(&format!("{LIMITS}\nkeySelector: '#[payload.a'"));
    assert!(problems[0].starts_with("W config.keySelector: the text starts with `#[`"), "{problems:?}");
}

#[test]
fn unknown_parameters_are_ignored_with_a_warning() {
    let problems = problems::<RateLimiting>(&format!("{LIMITS}\nretryAfter: true"));
    assert!(matches!(&*problems, [one] if one.starts_with("W config.retryAfter: ")), "{problems:?}");
}
