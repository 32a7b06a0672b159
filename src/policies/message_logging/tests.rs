//! Sentences of policies reference 4.3, and its row in 7.4.

use std::{
    sync::{Mutex, atomic::AtomicUsize},
    time::Duration,
};

use super::*;
use crate::{
    document::deserialize,
    http::{Body, Response},
    policies::basic_authentication::BasicAuthentication,
    policy::{
        RequestId,
        testkit::{Bench, block_on_ready, body_text, problems, step, yaml},
    },
};

/// Keeps lines as `LEVEL [category] message`, reports with a leading `!`.
struct Kept {
    level: Mutex<Level>,
    lines: Mutex<Vec<String>>,
    asked: AtomicUsize,
}

impl Kept {
    fn new(level: Level) -> Arc<Self> {
        Arc::new(Self { level: Mutex::new(level), lines: Mutex::default(), asked: AtomicUsize::new(0) })
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.lines.lock().expect("whole"))
    }

    fn keep(&self, mark: &str, line: &AccessLine<'_>) {
        if line.level < *self.level.lock().expect("whole") {
            return;
        }
        let category = line.category.map(|category| format!("[{category}] ")).unwrap_or_default();
        let text = format!("{mark}{} {category}{}", line.level.name().to_uppercase(), line.message);
        self.lines.lock().expect("whole").push(text);
    }
}

impl Journal for Arc<Kept> {
    fn enabled(&self, level: Level) -> bool {
        self.asked.fetch_add(1, Relaxed);
        level >= *self.level.lock().expect("whole")
    }

    fn access(&self, line: &AccessLine<'_>) {
        self.keep("", line);
    }

    fn report(&self, line: &AccessLine<'_>) {
        self.keep("!", line);
    }
}

fn services() -> PolicyServices {
    let (binding, api) = (ResourceName::new("default", "audit"), ResourceName::new("shop", "orders"));
    PolicyServices::new(binding, api, "replica-1".into())
}

fn policy(journal: &Arc<Kept>, config: &str) -> Arc<MessageLogging<Arc<Kept>>> {
    let config = deserialize::<Config>(&yaml(config), "config").value.expect("a valid configuration");
    Arc::new(
        MessageLogging::new(config, &services(), Arc::clone(journal)).unwrap_or_else(|p| panic!("{p:?}")),
    )
}

/// A bench and its journal at level info.
fn bench(config: &str) -> (Bench, Arc<Kept>) {
    let journal = Kept::new(Level::Info);
    (Bench::new(policy(&journal, config)), journal)
}

/// The configuration of one item.
fn item(data: &str) -> String {
    format!("{{loggingConfiguration: [{{itemName: one, itemData: {{{data}}}}}]}}")
}

fn logged(data: &str, request: Request) -> Vec<String> {
    let (bench, journal) = bench(&item(data));
    bench.send(request);
    journal.take()
}

fn get(target: &str) -> Request {
    Request::for_test("GET", target, &[("x-a", "1"), ("X-A", "2")])
}

#[test]
fn the_first_section_is_on_and_the_second_off_unless_said_otherwise() {
    assert_eq!(
        logged("message: \"#[attributes.statusCode default 'before']\", level: INFO", get("/")),
        ["INFO before"]
    );
}

#[test]
fn the_first_section_is_logged_before_the_api_is_called_and_the_second_after() {
    let data = "message: \"#[attributes.method ++ ' ' ++ (attributes.statusCode default 0) as String]\", \
                level: WARN, secondSection: true";
    assert_eq!(logged(data, get("/")), ["WARN GET 0", "WARN GET 200"]);
}

#[test]
fn an_item_is_logged_only_when_its_condition_is_true() {
    for (condition, expected) in [
        ("\"#[attributes.requestPath == '/a']\"", 1),
        ("\"#[attributes.requestPath == '/b']\"", 0),
        ("'true'", 1),
        ("'false'", 0),
        ("'#[null]'", 0),
        ("true", 1),
    ] {
        let data = format!("message: m, level: INFO, conditional: {condition}");
        assert_eq!(logged(&data, get("/a")).len(), expected, "{condition}");
    }
}

#[test]
fn the_category_is_a_prefix() {
    assert_eq!(logged("message: m, level: ERROR, category: audit", get("/")), ["ERROR [audit] m"]);
    assert_eq!(logged("message: m, level: ERROR, category: ''", get("/")), ["ERROR m"]);
}

#[test]
fn several_items_log_with_several_levels_as_far_as_the_gateways_level_lets_them() {
    let config = "{loggingConfiguration: [
        {itemName: a, itemData: {message: a, level: debug}},
        {itemName: b, itemData: {message: b, level: INFO}},
        {itemName: c, itemData: {message: c, level: WARN}},
        {itemName: d, itemData: {message: d, level: ERROR}}]}";
    for (level, expected) in [
        (Level::Debug, &["DEBUG a", "INFO b", "WARN c", "ERROR d"][..]),
        (Level::Warn, &["WARN c", "ERROR d"]),
        (Level::Fatal, &[]),
    ] {
        let journal = Kept::new(level);
        Bench::new(policy(&journal, config)).get("/", &[]);
        assert_eq!(journal.take(), expected);
    }
}

#[test]
fn a_level_that_is_off_costs_one_question_and_no_body_is_read() {
    let journal = Kept::new(Level::Warn);
    let config = item("message: '#[payload]', level: INFO, secondSection: true");
    let bench = Bench::new(policy(&journal, &config));
    assert_eq!(bench.get("/", &[]).status, 200);
    assert_eq!(journal.asked.load(Relaxed), 1);
    assert_eq!(journal.take(), [""; 0]);
}

#[test]
fn the_level_can_change_at_run_time() {
    let (bench, journal) = bench(&item("message: m, level: INFO"));
    *journal.level.lock().expect("whole") = Level::Error;
    bench.get("/", &[]);
    assert_eq!(journal.take(), [""; 0]);
    *journal.level.lock().expect("whole") = Level::Debug;
    bench.get("/", &[]);
    assert_eq!(journal.take(), ["INFO m"]);
}

#[test]
fn non_string_results_are_rendered_as_json_and_null_is_empty() {
    for (expression, expected) in [
        ("attributes.queryParams", r#"INFO {"a":"1","b":"x y"}"#),
        ("[1, true, null]", "INFO [1,true,null]"),
        ("42", "INFO 42"),
        ("true", "INFO true"),
        ("attributes.headers['none']", "INFO "),
        ("attributes.headers['x-a']", "INFO 1, 2"),
    ] {
        let data = format!("message: \"#[{expression}]\", level: INFO");
        assert_eq!(logged(&data, get("/?a=1&b=x%20y")), [expected]);
    }
}

#[test]
fn a_failing_expression_logs_nothing_for_that_item_and_warns_once_a_minute() {
    let config = "{loggingConfiguration: [
        {itemName: bad, itemData: {message: \"#['a' ++ null]\", level: INFO}},
        {itemName: good, itemData: {message: good, level: INFO}}]}";
    let (mut bench, journal) = bench(config);
    let at = |seconds: u64| {
        let peer = Request::for_test("GET", "/", &[]).peer;
        let id = RequestId::parse(b"id").expect("visible");
        Exchange::new(peer, id, Duration::ZERO, Duration::ZERO)
            .received_at(UNIX_EPOCH + Duration::from_secs(seconds))
    };
    for (seconds, lines) in [(1000, 2), (1001, 1), (1059, 1), (1060, 2), (1061, 1)] {
        bench.exchange = at(seconds);
        bench.get("/", &[]);
        let found = journal.take();
        assert_eq!(found.len(), lines, "{seconds}: {found:?}");
        assert_eq!(found.last().map(String::as_str), Some("INFO good"));
        if lines == 2 {
            let start = "!WARN the message of the item `bad` failed, nothing is logged for it: ";
            assert!(found[0].starts_with(start), "{}", found[0]);
        }
    }
    assert_eq!(logged("message: m, level: INFO, conditional: '#[1 < null]'", get("/")).len(), 1);
}

#[test]
fn variables_of_both_halves() {
    let message = "#[vars.apiName ++ '|' ++ vars.apiInstanceName ++ '|' ++ vars.reqId ++ '|' ++ vars.hostId ++ '|' ++ \
                   vars.receivedTs ++ '|' ++ vars.requestDisposition ++ '|' ++ vars.request.method ++ '|' ++ \
                   vars.request.requestPath ++ '|' ++ vars.request.remoteAddress ++ '|' ++ \
                   vars.request.headers['x-a'] ++ '|' ++ vars.method ++ vars.requestPath ++ vars.remoteAddress]";
    let expected = "INFO orders|orders|3e1f6a0c-test|replica-1|1970-01-01T00:00:00.000Z|PROCESSED|GET|/p|\
                    192.0.2.7:50000|1, 2|GET/p192.0.2.7:50000";
    let data = format!("message: \"{message}\", level: INFO, secondSection: true");
    assert_eq!(logged(&data, get("/p?q")), [expected, expected]);
}

#[test]
fn the_reply_time_is_known_in_the_response_half_only() {
    let data = "message: '#[vars.repliedTs != null]', level: INFO, secondSection: true";
    assert_eq!(logged(data, get("/")), ["INFO false", "INFO true"]);
}

#[test]
fn the_runtime_version_has_a_v() {
    let lines = logged("message: '#[vars.runtimeVersion]', level: INFO", get("/"));
    assert_eq!(lines, [format!("INFO v{}", env!("CARGO_PKG_VERSION"))]);
}

#[test]
fn platform_identifiers_and_unknown_names_are_null_in_local_mode() {
    for name in
        ["orgId", "masterOrgId", "envId", "apiId", "apiVersion", "nonsense", "request.nonsense", "reqId.x"]
    {
        let data = format!("message: '#[vars.{name} == null]', level: INFO");
        assert_eq!(logged(&data, get("/")), ["INFO true"], "{name}");
    }
}

#[test]
fn all_variables_can_be_logged_at_once() {
    let lines =
        logged("message: '#[vars]', level: INFO, firstSection: false, secondSection: true", get("/p"));
    assert!(
        lines[0].contains(r#""reqId":"3e1f6a0c-test""#) && lines[0].contains(r#""x-a":"1, 2""#),
        "{}",
        lines[0]
    );
}

#[test]
fn a_rejection_by_a_later_policy_is_seen_in_the_second_section() {
    let journal = Kept::new(Level::Info);
    let data = "message: \"#[vars.requestDisposition ++ ' ' ++ vars.violation.policyName ++ ' ' ++ \
                vars.violation.violationType ++ ' ' ++ attributes.statusCode as String]\", \
                conditional: '#[attributes.statusCode >= 400]', level: WARN, firstSection: false, secondSection: true";
    let refusing = step::<BasicAuthentication>("{username: a, password: b}");
    let bench = Bench::chain(vec![policy(&journal, &item(data)), refusing]);
    assert_eq!(bench.get("/", &[]).status, 401);
    assert_eq!(journal.take(), ["WARN VIOLATION policy-1 VIOLATION 401"]);
}

#[test]
fn a_rejection_by_an_earlier_policy_is_not_logged() {
    let journal = Kept::new(Level::Info);
    let refusing = step::<BasicAuthentication>("{username: a, password: b}");
    let logging = policy(&journal, &item("message: m, level: INFO, secondSection: true"));
    assert_eq!(Bench::chain(vec![refusing, logging]).get("/", &[]).status, 401);
    assert_eq!(journal.take(), [""; 0]);
}

fn post(body: &str) -> Request {
    let mut request = Request::for_test("POST", "/", &[("content-type", "application/json")]);
    request.body = body.to_owned().into();
    request
}

#[test]
fn items_that_mention_payload_buffer_the_body_and_forward_it_unchanged() {
    let config = item("message: '#[payload]', level: INFO, secondSection: true");
    let (bench, journal) = bench(&config);
    assert!(policy(&journal, &config).reads_request_body());
    assert!(!policy(&journal, &item("message: m, level: INFO")).reads_request_body());
    let bench = bench.answering(|_| {
        let mut response = Response::empty(200);
        response.body = "answer".into();
        response
    });
    let response = bench.send(post(r#"{"a": [1]}"#));
    assert_eq!(body_text(response), "answer");
    let sent = std::mem::take(&mut bench.seen.borrow_mut()[0].body);
    assert!(matches!(sent, Body::Whole(bytes) if &*bytes == br#"{"a": [1]}"#));
    assert_eq!(journal.take(), [r#"INFO {"a":[1]}"#, "INFO answer"]);
}

#[test]
fn over_the_limit_the_line_is_without_payload_and_the_exchange_goes_on() {
    let (bench, journal) =
        bench(&item("message: \"#[payload default 'none']\", level: INFO, secondSection: true"));
    let long = "x".repeat((1 << 20) + 1);
    let answer = long.clone();
    let bench = bench.answering(move |_| {
        let mut response = Response::empty(200);
        response.body = answer.clone().into();
        response
    });
    let response = bench.send(post(&long));
    assert_eq!(response.status, 200);
    assert!(matches!(&response.body, Body::Whole(bytes) if bytes.len() == long.len()));
    assert!(matches!(&bench.seen.borrow()[0].body, Body::Whole(bytes) if bytes.len() == long.len()));
    assert_eq!(journal.take(), ["INFO none", "INFO none"]);
}

#[test]
fn event_streams_and_grpc_are_not_held_back() {
    for content_type in ["text/event-stream", "application/grpc+proto", "Application/gRPC"] {
        let (bench, journal) = bench(&item(
            "message: \"#[payload default 'none']\", level: INFO, firstSection: false, secondSection: true",
        ));
        let bench = bench.answering(move |_| {
            let mut response = Response::empty(200);
            response.headers.append("content-type", content_type).expect("a valid field");
            response.body = "data: 1".into();
            response
        });
        assert_eq!(body_text(bench.get("/", &[])), "data: 1");
        assert_eq!(journal.take(), ["INFO none"], "{content_type}");
    }
}

#[test]
fn masking_changes_the_log_text_only() {
    let config = "{loggingConfiguration: [{itemName: a, itemData: {message: '#[payload]', level: INFO}}],
        enableDataMasking: true, dataMasking: {entities: [Email, 'credit card'], customPatterns: [{name: n, pattern: 'emp-[0-9]+'}]}}";
    let (bench, journal) = bench(config);
    let body = r#"["ada@example.com","4111 1111 1111 1111","emp-17","415-555-2671"]"#;
    block_on_ready(bench.send_async(post(body)));
    assert_eq!(journal.take(), [r#"INFO ["****","****","****","415-555-2671"]"#]);
    assert!(matches!(&bench.seen.borrow()[0].body, Body::Whole(bytes) if &**bytes == body.as_bytes()));
}

#[test]
fn without_enable_data_masking_nothing_is_masked() {
    let config = "{loggingConfiguration: [{itemName: a, itemData: {message: ada@example.com, level: INFO}}],
        dataMasking: {entities: Email}}";
    let (bench, journal) = bench(config);
    bench.get("/", &[]);
    assert_eq!(journal.take(), ["INFO ada@example.com"]);
}

#[test]
fn what_is_wrong_with_a_configuration() {
    assert_eq!(
        problems::<MessageLogging>("{}"),
        ["E config.loggingConfiguration: the field `loggingConfiguration` is missing"]
    );
    let found = problems::<MessageLogging>(
        "{loggingConfiguration: [{itemName: a, itemData: {message: '#[', level: LOUD}}], dataMasking: {entities: [Mail]}}",
    );
    assert_eq!(
        found,
        [
            "E config.loggingConfiguration[0].itemData.level: unknown value `LOUD`",
            "E config.dataMasking.entities[0]: unknown value `Mail`",
        ]
    );
    assert_eq!(
        problems::<MessageLogging>(
            "{loggingConfiguration: [{itemName: a, itemData: {message: m, level: INFO, firstSection: false}}], enableDataMasking: true}"
        ),
        [
            "W config.enableDataMasking: nothing is named that could be masked",
            "W config.loggingConfiguration[0].itemData: both sections are off: the item logs nothing",
        ]
    );
}
