//! Configuration reference 9, sentence by sentence.

use std::{
    collections::BTreeMap,
    fs,
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    path::Path,
    sync::{Arc, mpsc},
    thread,
    time::Duration,
};

use super::{record::DateFormat, template::Template, *};
use crate::document::{Place, Spanned};

mod targets;
mod waiting;

const SOON: Duration = Duration::from_secs(20);

fn settings() -> settings::Log {
    settings::Log { level: Level::Info, format: LogFormat::Text, buffer: 8 << 20 }
}

fn names() -> (ResourceName, ResourceName) {
    (ResourceName::new("default", "audit"), ResourceName::new("shop", "orders"))
}

fn say(log: &Log, level: Level, message: &str) {
    let (binding, api) = names();
    log.access(&AccessLine {
        binding: &binding,
        api: &api,
        request_id: "r-1",
        level,
        category: None,
        message,
    });
}

fn output(name: &str, kind: OutputKind, parameters: &[(&str, &str)]) -> OutputPlan {
    let mut map: BTreeMap<String, Spanned<Vec<String>>> = BTreeMap::new();
    for (key, value) in parameters {
        let new = || Spanned::new(Vec::new(), Place::nowhere(), format!("parameters.{key}"));
        map.entry((*key).to_owned()).or_insert_with(new).value.push((*value).to_owned());
    }
    OutputPlan { name: Spanned::new(name.into(), Place::nowhere(), "name"), kind, parameters: map }
}

/// A plan whose outputs all take access logs.
fn access_plan(outputs: Vec<OutputPlan>) -> LogPlan {
    let access = outputs.iter().map(|output| output.name.value.clone()).collect();
    LogPlan { outputs, access, ..LogPlan::default() }
}

fn applied(log: &Log, plan: &LogPlan) {
    let found = log.apply(plan);
    assert!(found.is_empty(), "{found:?}");
}

fn record(message: &str) -> Record<'_> {
    Record {
        time: "2022-11-17T09:48:27.25Z".parse().expect("a time"),
        logger: "flex-gateway-envoy",
        level: Level::Warn,
        kind: Kind::Access,
        message,
        request_id: Some("r-1"),
        policy: Some("audit.default"),
        api: Some("orders.shop.svc"),
    }
}

#[test]
fn runtime_lines_have_the_logger_the_level_and_the_message() {
    let (log, out) = Log::captured(&settings());
    tracing::subscriber::with_default(log.subscriber(), || {
        tracing::info!(target: "portcullis::actors::gateway", "Creating gateway");
        tracing::info!(target: "flex-gateway-envoy", "all dependencies initialized. starting workers");
        tracing::warn!(target: "portcullis::data_plane::forward", count = 3, host = "a", "odd");
        tracing::info!(target: "some_library", "chatter");
        tracing::error!(target: "some_library", "broken");
    });
    assert!(log.flush(SOON));
    let expected = "[flex-gateway-agent][info] Creating gateway\n\
        [flex-gateway-envoy][info] all dependencies initialized. starting workers\n\
        [flex-gateway-envoy][warn] odd count=3 host=a\n\
        [flex-gateway-agent][error] broken\n";
    assert_eq!(out.text(), expected);
}

#[test]
fn a_line_of_a_policy_names_binding_api_and_request() {
    let (log, out) = Log::captured(&settings());
    let (binding, api) = names();
    let line = AccessLine {
        binding: &binding,
        api: &api,
        request_id: "8b1c",
        level: Level::Warn,
        category: None,
        message: "expression failed",
    };
    log.policy(&line);
    assert!(log.flush(SOON));
    let expected = "[flex-gateway-envoy][warn] wasm log audit.default.orders.shop.svc main: \
        [policy: audit.default][api: orders.shop.svc][req: 8b1c] expression failed\n";
    assert_eq!(out.text(), expected);
}

#[test]
fn an_access_line_has_date_binding_api_request_and_marker() {
    let line = Form::Text.line(&record("GET /orders"));
    let expected = "17/11/2022-09:48:27AM [flex-gateway-envoy][warn] wasm log \
        audit.default.orders.shop.svc main: [req: r-1] [accessLog] GET /orders\n";
    assert_eq!(line, expected);
    let mut evening = record("x");
    evening.time = "2022-11-17T21:48:27Z".parse().expect("a time");
    assert!(Form::Text.line(&evening).starts_with("17/11/2022-09:48:27PM "));
}

#[test]
fn the_built_in_access_log_has_one_line_for_each_request_without_its_query() {
    let (log, out) = Log::captured(&settings());
    let (_, api) = names();
    let mut line = RequestLine {
        api: Some(&api),
        request_id: "r-1",
        peer: "10.0.0.7".parse().expect("an address"),
        method: Some("GET"),
        target: Some("/orders/7?token=hunter2"),
        status: 200,
        elapsed: Duration::from_micros(1_250),
        request_bytes: 0,
        response_bytes: 17,
    };
    log.request(&line);
    line.api = None;
    log.request(&line);
    (line.method, line.target, line.status) = (None, None, 400);
    log.request(&line);
    log.set_level(Level::Warn);
    log.request(&line);
    assert!(log.flush(SOON));
    let text = out.text();
    let lines: Vec<&str> = text.lines().map(|line| line.split_once(' ').expect("a date").1).collect();
    let rest = "[req: r-1] [accessLog] 10.0.0.7 GET /orders/7 200 1.250ms in=0 out=17";
    assert_eq!(
        lines,
        [
            format!("[flex-gateway-envoy][info] [api: orders.shop.svc]{rest}"),
            format!("[flex-gateway-envoy][info] {rest}"),
            format!("[flex-gateway-envoy][info] {}", rest.replace("GET /orders/7 200", "- - 400")),
        ]
    );
}

#[test]
fn a_category_is_a_prefix_of_the_message() {
    let (log, out) = Log::captured(&settings());
    let (binding, api) = names();
    let category = Some("audit");
    log.access(&AccessLine {
        binding: &binding,
        api: &api,
        request_id: "r",
        level: Level::Info,
        category,
        message: "m",
    });
    assert!(log.flush(SOON));
    assert!(out.text().ends_with(" [req: r] [accessLog] [audit] m\n"), "{}", out.text());
}

#[test]
fn a_json_line_has_date_logger_level_kind_message_request_policy_and_api() {
    let line = Form::json().line(&record("say \"hi\"\n"));
    let expected = concat!(
        r#"{"date":"2022-11-17T09:48:27.250000Z","logger":"flex-gateway-envoy","level":"warn","#,
        r#""kind":"accessLog","message":"say \"hi\"\n","request_id":"r-1","policy":"audit.default","#,
        r#""api":"orders.shop.svc"}"#,
        "\n"
    );
    assert_eq!(line, expected);
    let (log, out) = Log::captured(&settings::Log { format: LogFormat::Json, ..settings() });
    tracing::subscriber::with_default(log.subscriber(), || {
        tracing::info!(target: "portcullis::cli", request_id = "r-9", "x");
    });
    assert!(log.flush(SOON));
    let read: serde_json::Value = serde_json::from_str(&out.text()).expect("one object");
    assert_eq!((&read["kind"], &read["request_id"]), (&"runtimeLog".into(), &"r-9".into()));
}

#[test]
fn newlines_and_control_characters_are_escaped_so_that_one_record_is_one_line() {
    let message = "a\nb\r\tc\u{1b}[31m\u{9b}x\u{7f}\u{2028}é";
    let escaped = "a\\nb\\r\\tc\\u001b[31m\\u009bx\\u007f\\u2028é\n";
    assert!(Form::Text.line(&record(message)).ends_with(escaped));
    let (template, _) = Template::parse("{message}");
    assert_eq!(Form::Template(template).line(&record(message)), escaped);
    let json = Form::json().line(&record(message));
    assert!(json.contains(&format!("\"message\":\"{}\"", escaped.trim_end())), "{json}");
    let read: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!((json.matches('\n').count(), &read["message"]), (1, &message.into()));
}

#[test]
fn a_long_path_costs_the_line_of_a_request_nothing_that_follows_it() {
    let (log, out) = Log::captured(&settings());
    let target = format!("/{}", "x".repeat(60_000));
    log.request(&RequestLine {
        api: None,
        request_id: "r-1",
        peer: "10.0.0.7".parse().expect("an address"),
        method: Some("GET"),
        target: Some(&target),
        status: 403,
        elapsed: Duration::from_micros(1_250),
        request_bytes: 0,
        response_bytes: 17,
    });
    assert!(log.flush(SOON));
    let line = out.text();
    assert!(line.contains("xxx [truncated] 403 1.250ms in=0 out=17"), "{}", line.len());
    assert!(line.len() < 10_000);
}

#[test]
fn records_over_32_kib_are_truncated_and_marked() {
    let forms = [Form::Text, Form::json(), Form::Template(Template::parse("{message} {message}").0)];
    for text in ["x", "\n", "é", "\"", "\u{9b}"] {
        for form in &forms {
            let line = form.line(&record(&text.repeat(200_000)));
            assert!(line.len() <= RECORD_BYTES_MAX + 1, "{form:?} {text:?}: {}", line.len());
            assert!(line.contains(" [truncated]") && line.ends_with('\n'));
            assert!(line.len() > RECORD_BYTES_MAX / 8, "{form:?} {text:?}: {}", line.len());
        }
    }
    let whole = "x".repeat(32_000);
    assert!(!Form::Text.line(&record(&whole)).contains("[truncated]"));
}

#[test]
fn both_kinds_always_go_to_standard_output_as_well() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("a.log");
    let (log, out) = Log::captured(&settings());
    let disk = output(
        "disk",
        OutputKind::File,
        &[("file", path.to_str().expect("UTF-8")), ("format", "template"), ("template", "{kind} {message}")],
    );
    applied(
        &log,
        &LogPlan {
            outputs: vec![disk],
            runtime: vec!["disk".into()],
            access: vec!["disk".into()],
            level: None,
            proxy: None,
        },
    );
    say(&log, Level::Info, "one");
    tracing::subscriber::with_default(log.subscriber(), || tracing::info!(target: "portcullis", "two"));
    assert!(log.flush(SOON));
    assert!(out.text().contains("[accessLog] one\n") && out.text().contains("[info] two\n"));
    assert_eq!(fs::read_to_string(&path).expect("written"), "accessLog one\nruntimeLog two\n");
}

#[test]
fn empty_lists_leave_only_standard_output() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("a.log");
    let (log, out) = Log::captured(&settings());
    let disk = output("disk", OutputKind::File, &[("file", path.to_str().expect("UTF-8"))]);
    applied(&log, &LogPlan { outputs: vec![disk], ..LogPlan::default() });
    say(&log, Level::Info, "one");
    assert!(log.flush(SOON));
    assert!(out.text().contains("one") && !path.exists());
}

#[test]
fn a_line_is_emitted_only_if_the_gateways_own_level_lets_it_through() {
    let words = ["debug", "info", "warn", "error", "fatal"];
    for (index, own) in Level::ALL.into_iter().enumerate() {
        let (log, out) = Log::captured(&settings::Log { level: own, ..settings() });
        for level in Level::ALL {
            say(&log, level, "m");
            assert_eq!(log.enabled(level), level >= own);
        }
        assert!(log.flush(SOON));
        let seen: Vec<String> = out
            .text()
            .lines()
            .map(|line| line.split(['[', ']']).nth(3).expect("a level").to_owned())
            .collect();
        assert_eq!(seen, words[index..], "{own:?}");
    }
}

#[test]
fn the_level_changes_without_a_restart_by_hand_and_by_configuration() {
    let (log, out) = Log::captured(&settings());
    let plan = |level| LogPlan { level, ..LogPlan::default() };
    let shows = |level, message: &str| {
        tracing::subscriber::with_default(log.subscriber(), || match level {
            Level::Debug => tracing::debug!(target: "portcullis", "{message}"),
            _ => tracing::info!(target: "portcullis", "{message}"),
        });
        assert!(log.flush(SOON));
        out.text().contains(message)
    };
    assert!(!shows(Level::Debug, "d-1"));
    log.set_level(Level::Debug);
    assert!(shows(Level::Debug, "d-2"));
    applied(&log, &plan(None));
    assert!(shows(Level::Debug, "d-3"), "a plan that says nothing new about levels leaves it");
    applied(&log, &plan(Some(Level::Warn)));
    assert!(!shows(Level::Info, "i-1"));
    applied(&log, &plan(None));
    assert!(shows(Level::Info, "i-2"), "back to the setting");
}

#[test]
fn a_level_that_is_off_costs_one_load_and_nothing_is_on_before_the_installation() {
    let (log, out) = Log::captured(&settings());
    assert!(!log_enabled(Level::Fatal));
    log.install().expect("the only test that installs");
    assert_eq!(log.install(), Err(AlreadyInstalled));
    assert!(log_enabled(Level::Info) && !log_enabled(Level::Debug));
    log.set_level(Level::Error);
    assert!(!log_enabled(Level::Warn) && log_enabled(Level::Error));
    let (binding, api) = names();
    access(&AccessLine {
        binding: &binding,
        api: &api,
        request_id: "r",
        level: Level::Error,
        category: None,
        message: "via the process",
    });
    assert!(log.flush(SOON));
    assert!(out.text().contains("via the process"));
}

#[test]
fn the_file_output_of_example_20_5_writes_its_template() {
    let folder = tempfile::tempdir().expect("a folder");
    let (log, _) = Log::captured(&settings());
    let disk = output(
        "disk",
        OutputKind::File,
        &[
            ("path", folder.path().to_str().expect("UTF-8")),
            ("file", "gateway.log"),
            ("format", "template"),
            ("template", "[{date}][{logger}][{level}][{kind}] {message}\n"),
        ],
    );
    applied(&log, &access_plan(vec![disk]));
    say(&log, Level::Error, "hello");
    assert!(log.flush(SOON));
    let text = fs::read_to_string(folder.path().join("gateway.log")).expect("written");
    let (date, rest) = text.strip_prefix('[').and_then(|text| text.split_once(']')).expect("a date");
    assert_eq!(rest, "[flex-gateway-envoy][error][accessLog] hello\n");
    assert!(
        date.len() == "17/11/2022-09:48:27AM".len() && (date.ends_with("AM") || date.ends_with("PM")),
        "{date}"
    );
}

#[test]
fn a_file_output_takes_path_and_file_or_an_absolute_file_and_writes_lines_of_json() {
    let folder = tempfile::tempdir().expect("a folder");
    let (log, _) = Log::captured(&settings());
    let absolute = folder.path().join("b.log");
    let outputs = vec![
        output(
            "a",
            OutputKind::File,
            &[
                ("path", folder.path().to_str().expect("UTF-8")),
                ("file", "a.log"),
                ("json_date_key", "ts"),
                ("json_date_format", "epoch"),
            ],
        ),
        output(
            "b",
            OutputKind::File,
            &[("path", "/nowhere"), ("file", absolute.to_str().expect("UTF-8")), ("json_date_key", "false")],
        ),
    ];
    applied(&log, &access_plan(outputs));
    say(&log, Level::Info, "hello");
    assert!(log.flush(SOON));
    let read = |path: &Path| -> serde_json::Value {
        serde_json::from_str(&fs::read_to_string(path).expect("written")).expect("one object")
    };
    let (a, b) = (read(&folder.path().join("a.log")), read(&absolute));
    assert!(a["ts"].is_i64() && a["message"] == "hello");
    assert!(b.get("date").is_none() && b["message"] == "hello");
}

#[test]
fn json_date_formats_are_those_of_fluent_bit() {
    let date = |date| {
        let form = Form::Json { date_key: Some("d".into()), date };
        let line: serde_json::Value = serde_json::from_str(&form.line(&record("m"))).expect("JSON");
        line["d"].to_string()
    };
    assert_eq!(date(DateFormat::Double), "1668678507.25");
    assert_eq!(date(DateFormat::Epoch), "1668678507");
    assert_eq!(date(DateFormat::EpochMs), "1668678507250");
    assert_eq!(date(DateFormat::Iso8601), "\"2022-11-17T09:48:27.250000Z\"");
    assert_eq!(date(DateFormat::JavaSqlTimestamp), "\"2022-11-17 09:48:27.250000\"");
}

#[test]
fn a_template_keeps_braces_that_are_no_variables() {
    let (template, unknown) = Template::parse("{ {message} {nope} {}} {request_id}|{policy}|{api}{");
    assert_eq!(unknown, ["nope"]);
    assert_eq!(
        Form::Template(template).line(&record("m{level}")),
        "{ m{level} {nope} {}} r-1|audit.default|orders.shop.svc{\n"
    );
}

#[test]
fn files_are_reopened_after_a_rotation() {
    let folder = tempfile::tempdir().expect("a folder");
    let (path, moved) = (folder.path().join("a.log"), folder.path().join("a.log.1"));
    let (log, _) = Log::captured(&settings());
    applied(
        &log,
        &access_plan(vec![output(
            "a",
            OutputKind::File,
            &[("file", path.to_str().expect("UTF-8")), ("format", "template"), ("template", "{message}")],
        )]),
    );
    say(&log, Level::Info, "before");
    assert!(log.flush(SOON));
    fs::rename(&path, &moved).expect("moved");
    say(&log, Level::Info, "between");
    assert!(log.flush(SOON));
    log.reopen();
    assert!(log.flush(SOON));
    assert!(path.exists(), "opened at once");
    say(&log, Level::Info, "after");
    assert!(log.flush(SOON));
    assert_eq!(fs::read_to_string(&moved).expect("there"), "before\nbetween\n");
    assert_eq!(fs::read_to_string(&path).expect("there"), "after\n");
}

#[test]
fn an_unwritable_folder_is_reported_and_lines_wait_until_it_can_be_written() {
    let folder = tempfile::tempdir().expect("a folder");
    let late = folder.path().join("late");
    let (log, out) = Log::captured(&settings());
    let path = late.join("a.log");
    applied(
        &log,
        &access_plan(vec![output(
            "disk",
            OutputKind::File,
            &[("file", path.to_str().expect("UTF-8")), ("format", "template"), ("template", "{message}")],
        )]),
    );
    say(&log, Level::Info, "patient");
    assert!(!log.flush(Duration::from_millis(300)), "nothing can be delivered");
    assert!(
        out.text().contains("[flex-gateway-fluent][warn] log output `disk` does not work, trying again"),
        "{}",
        out.text()
    );
    fs::create_dir(&late).expect("made");
    assert!(log.flush(SOON));
    assert_eq!(fs::read_to_string(&path).expect("there"), "patient\n");
    assert!(log.flush(SOON));
    assert!(out.text().contains("`disk` works again"), "{}", out.text());
}

#[test]
fn parameters_that_do_not_fit_are_named_without_their_values() {
    type Case<'a> = (OutputKind, &'a [(&'a str, &'a str)], &'a str);
    let cases: [Case<'_>; 14] = [
        (OutputKind::File, &[("path", "d")], "name"),
        (OutputKind::File, &[("file", "f"), ("format", "csv")], "parameters.format"),
        (OutputKind::File, &[("file", "f"), ("format", "template")], "name"),
        (OutputKind::File, &[("file", "f"), ("json_date_format", "hunter2")], "parameters.json_date_format"),
        (OutputKind::Http, &[("port", "80")], "name"),
        (OutputKind::Http, &[("host", "")], "parameters.host"),
        (OutputKind::Http, &[("host", "http://hunter2")], "parameters.host"),
        (OutputKind::Http, &[("host", "a"), ("port", "0")], "parameters.port"),
        (OutputKind::Http, &[("host", "a"), ("uri", "/a b")], "parameters.uri"),
        (OutputKind::Http, &[("host", "a"), ("format", "msgpack")], "parameters.format"),
        (OutputKind::Http, &[("host", "a"), ("header", "hunter2")], "parameters.header"),
        (OutputKind::Http, &[("host", "a"), ("header", "x-a hunter2\nx-b: c")], "parameters.header"),
        (OutputKind::Http, &[("host", "a"), ("tls", "perhaps")], "parameters.tls"),
        (OutputKind::Http, &[("host", "a"), ("compress", "gzip")], "parameters.compress"),
    ];
    for (kind, parameters, field) in cases {
        let found: Vec<_> = access_plan(vec![output("x", kind, parameters)]).check().into_iter().collect();
        assert_eq!(found.len(), 1, "{parameters:?}: {found:?}");
        assert_eq!(found[0].field.as_deref(), Some(field));
        assert!(!format!("{found:?}").contains("hunter2"));
    }
}

/// One request of a collector: head and body.
type Received = (String, String);

/// A collector on a raw socket; `statuses` answer in turn, then 200.
fn collector(statuses: &'static [u16]) -> (u16, mpsc::Receiver<Received>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("bound").port();
    let (sent, seen) = mpsc::channel();
    thread::spawn(move || {
        for (index, stream) in listener.incoming().enumerate() {
            let mut stream = stream.expect("accepted");
            let _ = sent.send(read_request(&mut stream));
            let status = statuses.get(index).copied().unwrap_or(200);
            let _ = write!(stream, "HTTP/1.1 {status} X\r\ncontent-length: 0\r\n\r\n");
        }
    });
    (port, seen)
}

fn read_request(stream: &mut TcpStream) -> Received {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).expect("a head");
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).expect("ASCII").to_lowercase();
    let length = head.split("content-length: ").nth(1).and_then(|rest| rest.lines().next());
    let mut body = vec![0; length.map_or(0, |length| length.parse().expect("a number"))];
    stream.read_exact(&mut body).expect("a body");
    (head, String::from_utf8(body).expect("UTF-8"))
}

#[test]
fn an_http_output_sends_lines_of_json_with_its_headers_in_batches() {
    let (port, seen) = collector(&[]);
    let (log, _) = Log::captured(&settings());
    let port = port.to_string();
    applied(
        &log,
        &access_plan(vec![output(
            "c",
            OutputKind::Http,
            &[
                ("host", "127.0.0.1"),
                ("port", &port),
                ("uri", "/ingest"),
                ("format", "json_lines"),
                ("tls", "off"),
                ("header", "X-Token abc"),
                ("header", "X-Other: d e"),
                ("http_user", "u"),
                ("http_passwd", "p"),
            ],
        )]),
    );
    for n in 0..3 {
        say(&log, Level::Info, &format!("m{n}"));
    }
    assert!(log.flush(SOON));
    let mut lines = Vec::new();
    while lines.len() < 3 {
        let (head, body) = seen.recv_timeout(SOON).expect("a request");
        assert!(head.starts_with("post /ingest http/1.1\r\n"), "{head}");
        for header in [
            "x-token: abc\r\n",
            "x-other: d e\r\n",
            "authorization: basic dtpw\r\n",
            "content-type: application/x-ndjson\r\n",
        ] {
            assert!(head.contains(header), "{header} in {head}");
        }
        lines.extend(body.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).expect("JSON")));
    }
    let messages: Vec<_> = lines.iter().map(|line| line["message"].as_str().expect("text")).collect();
    assert_eq!(messages, ["m0", "m1", "m2"]);
    assert!(lines[0]["date"].is_f64());
}

#[test]
fn an_http_output_tries_again_after_a_failure_of_the_collector_and_not_after_a_refusal() {
    let (port, seen) = collector(&[503, 200, 400]);
    let (log, out) = Log::captured(&settings());
    let port = port.to_string();
    let parameters = [("host", "127.0.0.1"), ("port", &port), ("format", "json")];
    applied(&log, &access_plan(vec![output("c", OutputKind::Http, &parameters)]));
    say(&log, Level::Info, "kept");
    assert!(log.flush(SOON));
    let (first, second) = (seen.recv_timeout(SOON).expect("one"), seen.recv_timeout(SOON).expect("again"));
    assert_eq!(first.1, second.1);
    let array: serde_json::Value = serde_json::from_str(&second.1).expect("JSON");
    assert_eq!(array[0]["message"], "kept");
    say(&log, Level::Info, "refused");
    assert!(log.flush(SOON));
    assert!(seen.recv_timeout(SOON).expect("once").1.contains("refused"));
    assert!(log.flush(SOON));
    assert!(
        out.text().contains("log output `c` refused lines, which are lost: status 400"),
        "{}",
        out.text()
    );
    let mut page = Exposition::default();
    log.expose(&mut page);
    let page = page.finish();
    assert!(page.contains("portcullis_log_lines_total{output=\"c\"} 1\n"), "{page}");
    assert!(page.contains("portcullis_log_dropped_lines_total{output=\"c\"} 1\n"), "{page}");
}

#[test]
fn a_change_of_outputs_loses_no_line() {
    let folder = tempfile::tempdir().expect("a folder");
    let (log, _) = Log::captured(&settings());
    let plan = |file: &str| {
        let path = folder.path().join(file);
        access_plan(vec![output(
            "disk",
            OutputKind::File,
            &[("file", path.to_str().expect("UTF-8")), ("format", "template"), ("template", "{message}")],
        )])
    };
    applied(&log, &plan("0"));
    let writers: Vec<_> = (0..2)
        .map(|writer| {
            let log = log.clone();
            thread::spawn(move || (0..5_000).for_each(|n| say(&log, Level::Info, &format!("{writer}-{n}"))))
        })
        .collect();
    for change in 1..40 {
        applied(&log, &plan(&(change % 3).to_string()));
    }
    writers.into_iter().for_each(|writer| writer.join().expect("no panic"));
    assert!(log.flush(SOON));
    let mut lines: Vec<String> = Vec::new();
    for file in 0..3 {
        let text = fs::read_to_string(folder.path().join(file.to_string())).unwrap_or_default();
        lines.extend(text.lines().map(str::to_owned));
    }
    lines.sort();
    lines.dedup();
    assert_eq!(lines.len(), 10_000);
}

#[test]
fn an_unchanged_output_goes_on_undisturbed() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("a.log");
    let (log, _) = Log::captured(&settings());
    let mut plan =
        access_plan(vec![output("disk", OutputKind::File, &[("file", path.to_str().expect("UTF-8"))])]);
    applied(&log, &plan);
    let before = log.0.routes.load().access[0].clone();
    plan.level = Some(Level::Debug);
    plan.outputs.push(output("more", OutputKind::Stdout, &[]));
    applied(&log, &plan);
    assert!(Arc::ptr_eq(&before, &log.0.routes.load().access[0]));
}

#[test]
fn counters_go_on_when_an_output_changes_and_tell_what_a_removed_one_gives_up() {
    let folder = tempfile::tempdir().expect("a folder");
    let (log, _) = Log::captured(&settings());
    let path = |file: &str| folder.path().join(file).to_str().expect("UTF-8").to_owned();
    for file in ["a.log", "b.log", "nowhere/c.log"] {
        applied(&log, &access_plan(vec![output("disk", OutputKind::File, &[("file", &path(file))])]));
        say(&log, Level::Info, "m");
    }
    applied(&log, &LogPlan::default());
    assert!(log.flush(SOON));
    let mut page = Exposition::default();
    log.expose(&mut page);
    let page = page.finish();
    for sample in [
        "portcullis_log_lines_total{output=\"disk\"} 2\n",
        "portcullis_log_dropped_lines_total{output=\"disk\"} 1\n",
        "portcullis_log_lines_total{output=\"stdout\"} ",
        "portcullis_log_buffer_bytes{output=\"stdout\"} 0\n",
    ] {
        assert_eq!(page.matches(sample).count(), 1, "{sample} in {page}");
    }
}
