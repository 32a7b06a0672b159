//! Runs the corpus: nothing that two parsers could read differently passes, in either direction.

use std::net::{Shutdown, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use cluster_tests::client::{Client, Response, get};
use cluster_tests::config::{api_with, login};
use cluster_tests::gateway::{Gateway, Plan};
use cluster_tests::load::{Load, OnClose, Work, get_bytes};
use cluster_tests::upstream::{Exchange, Upstream};
use cluster_tests::{eventually, ports};
use serde_json::json;

use crate::smuggling_corpus::{Becomes, REQUESTS, RESPONSES, Then};

/// What an attacker would append to a request that two parsers read differently.
const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nHost: gateway.test\r\n\r\n";

fn bytes(latin: &str) -> Vec<u8> {
    let latin = latin.replace("{H}", "Host: gateway.test\r\n");
    latin.chars().map(|c| u8::try_from(u32::from(c)).expect("the corpus is Latin-1")).collect()
}

/// A gateway on one worker (so that every connection shares one upstream pool) in front of this upstream.
pub fn in_front_of(upstream: &Upstream) -> (Gateway, SocketAddr) {
    let port = ports::free();
    let policies = json!([login(json!([{"path": "/cart(/.*)?"}]))]);
    let api = api_with("open", &format!("http://127.0.0.1:{port}"), &upstream.url(), policies);
    (Plan::new().with("api.yaml", &[api]).workers(1).start(), ([127, 0, 0, 1], port).into())
}

/// Runs every case and reports all that went wrong at once.
fn report(problems: Vec<String>, cases: usize) {
    assert!(problems.is_empty(), "{} of {cases} cases:\n{}", problems.len(), problems.join("\n"));
}

struct Seen {
    upstream: Upstream,
    /// Whether a request to `/a` arrived with a complete body.
    complete: Arc<AtomicBool>,
}

impl Seen {
    fn start() -> Self {
        let complete = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&complete);
        let upstream = Upstream::start(move |exchange| {
            exchange.body()?;
            flag.store(true, Ordering::SeqCst);
            echo(exchange)
        });
        Self { upstream, complete }
    }

    fn forget(&self) {
        self.upstream.forget();
        self.complete.store(false, Ordering::SeqCst);
    }
}

/// The body was read already, so it is told apart by the caller; here only what came with the head and after the body.
fn echo(exchange: &mut Exchange<'_>) -> std::io::Result<()> {
    exchange.reply(200, "X-Upstream: yes\r\n", b"seen")
}

fn judge_request(case: &Then, client: &mut Client, method: &str, seen: &Seen) -> Result<(), String> {
    let told =
        |result: std::io::Result<Response>| result.map_err(|error| format!("no strict answer: {error}"));
    match case {
        Then::Refused(statuses) => {
            let response = told(client.response_to(method))?;
            if !statuses.contains(&response.status) {
                return Err(format!("answered {} instead of {statuses:?}", response.status));
            }
            if !client.closed() {
                return Err("not closed after the refusal".into());
            }
            if !seen.upstream.received().is_empty() {
                return Err(format!(
                    "reached the upstream: {:?}",
                    seen.upstream.received()[0].head.first_line
                ));
            }
        }
        Then::BodyRefused => {
            let response = told(client.response_to(method))?;
            if response.status != 400 || !client.closed() {
                return Err(format!("answered {}, or not closed", response.status));
            }
            never_complete(seen)?;
        }
        Then::Incomplete => {
            if let Ok(response) = client.response_to(method)
                && response.status < 400
            {
                return Err(format!("answered {}", response.status));
            }
            never_complete(seen)?;
        }
        Then::NoSuchTrailers(_) | Then::Arrives { .. } => unreachable!("judged by the echo"),
    }
    Ok(())
}

fn never_complete(seen: &Seen) -> Result<(), String> {
    if seen.complete.load(Ordering::SeqCst) {
        return Err("the upstream saw a complete body".into());
    }
    match seen.upstream.received().iter().find(|request| request.target == "/smuggled") {
        Some(_) => Err("the appended request was served".into()),
        None => Ok(()),
    }
}

#[test]
fn requests_that_can_be_read_in_two_ways_are_refused_and_close_the_connection() {
    let seen = Seen::start();
    let (gateway, address) = in_front_of(&seen.upstream);
    let mut problems = Vec::new();
    for (says, send, case) in REQUESTS {
        if matches!(case, Then::Arrives { .. } | Then::NoSuchTrailers(_)) {
            continue;
        }
        let request = bytes(send);
        let method = if send.starts_with("HEAD") { "HEAD" } else { "GET" };
        for bytewise in [false, true] {
            seen.forget();
            let mut client = Client::connect(address);
            client.send_as(bytewise, &request);
            if matches!(case, Then::Incomplete) {
                let _ = client.wire.socket().shutdown(Shutdown::Write);
            } else if !bytewise {
                client.send(SMUGGLED.as_bytes());
            }
            if let Err(why) = judge_request(case, &mut client, method, &seen) {
                problems.push(format!("{says} (bytewise {bytewise}): {why}"));
            }
        }
    }
    assert!(gateway.ready());
    report(problems, REQUESTS.len());
}

fn judge_arrival(case: &Then, response: &Response) -> Result<(), String> {
    let seen = if response.status == 200 { response.json() } else { serde_json::Value::Null };
    let names = |list: &str| -> Vec<String> {
        let pairs = seen[list].as_array().cloned().unwrap_or_default();
        pairs.iter().map(|pair| pair[0].as_str().unwrap_or_default().to_ascii_lowercase()).collect()
    };
    match case {
        Then::NoSuchTrailers(lacks) => {
            match names("trailers").iter().find(|name| lacks.contains(&name.as_str())) {
                Some(name) => Err(format!("the trailer {name} arrived")),
                None if [200, 400].contains(&response.status) => Ok(()),
                None => Err(format!("answered {}", response.status)),
            }
        }
        Then::Arrives { line, has, lacks, body } => {
            let arrived = format!(
                "{} {} HTTP/1.1",
                seen["method"].as_str().unwrap_or("-"),
                seen["target"].as_str().unwrap_or("-")
            );
            let fields: Vec<String> = seen["fields"]
                .as_array()
                .cloned()
                .unwrap_or_default()
                .iter()
                .map(|pair| {
                    format!(
                        "{}: {}",
                        pair[0].as_str().unwrap_or_default().to_ascii_lowercase(),
                        pair[1].as_str().unwrap_or_default()
                    )
                })
                .collect();
            if arrived != *line || seen["body"] != **body {
                return Err(format!(
                    "status {}, arrived as {arrived:?} with {:?}",
                    response.status, seen["body"]
                ));
            }
            if let Some(missing) = has.iter().find(|field| !fields.contains(&(**field).to_owned())) {
                return Err(format!("{missing:?} did not arrive: {fields:?}"));
            }
            match names("fields").iter().find(|name| lacks.contains(&name.as_str())) {
                Some(name) => Err(format!("the field {name} arrived")),
                None => Ok(()),
            }
        }
        _ => Ok(()),
    }
}

#[test]
fn requests_that_can_be_read_in_one_way_arrive_in_that_form() {
    // The answer of a HEAD has no body to tell what arrived: such a request is echoed to the next GET on the connection.
    let last = std::sync::Mutex::new(Vec::new());
    let upstream = Upstream::start(move |exchange| {
        let body = exchange.body()?;
        let request = exchange.request.clone();
        let mut last = last.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if request.target != "/last" {
            let seen = json!({
                "method": request.method, "target": request.target, "fields": request.head.fields,
                "body": String::from_utf8_lossy(&body), "trailers": exchange.trailers(),
            });
            *last = seen.to_string().into_bytes();
        }
        exchange.reply(200, "", &last)
    });
    let (_gateway, address) = in_front_of(&upstream);
    let mut problems = Vec::new();
    for (says, send, case) in REQUESTS {
        if !matches!(case, Then::Arrives { .. } | Then::NoSuchTrailers(_)) {
            continue;
        }
        let request = bytes(send);
        let method = if send.starts_with("HEAD") { "HEAD" } else { "GET" };
        for bytewise in [false, true] {
            upstream.forget();
            let mut client = Client::connect(address);
            client.send_as(bytewise, &request);
            let mut outcome =
                client.response_to(method).map_err(|error| format!("no strict answer: {error}"));
            // The next request on this connection must be read as itself: both sides agree where the first one ended.
            if outcome.as_ref().is_ok_and(|response| response.status == 200 && !response.closes()) {
                let next = client.exchange("GET", b"GET /last HTTP/1.1\r\nHost: gateway.test\r\n\r\n");
                outcome = next.map_err(|error| format!("the next request on the connection: {error}"));
            }
            let verdict = outcome.and_then(|response| judge_arrival(case, &response));
            let noted = upstream.problems();
            if let Err(why) = verdict {
                problems.push(format!("{says} (bytewise {bytewise}): {why}"));
            } else if !noted.is_empty() && !matches!(case, Then::NoSuchTrailers(_)) {
                problems.push(format!(
                    "{says} (bytewise {bytewise}): the upstream could not parse it: {noted:?}"
                ));
            }
        }
    }
    report(problems, REQUESTS.len());
}

fn judge_answer(case: &Becomes, address: SocketAddr, method: &str, path: &str) -> Result<(), String> {
    let mut client = Client::connect(address);
    client.send(format!("{method} {path} HTTP/1.1\r\nHost: gateway.test\r\n\r\n").as_bytes());
    let response = client.response_to(method);
    match case {
        Becomes::Failure(statuses) => {
            let response = response.map_err(|error| format!("no strict answer: {error}"))?;
            let listed = statuses.contains(&response.status);
            if listed { Ok(()) } else { Err(format!("answered {} instead of {statuses:?}", response.status)) }
        }
        Becomes::Cut => match response {
            Ok(response) if response.status == 502 => Ok(()),
            Ok(response) => Err(format!("{} with a complete body {:?}", response.status, response.text())),
            Err(_) => Ok(()),
        },
        Becomes::Passes(status, body, lacks) => {
            let response = response.map_err(|error| format!("no strict answer: {error}"))?;
            if response.status != *status || response.text() != *body {
                return Err(format!("became {} with {:?}", response.status, response.text()));
            }
            let trailers = response.trailers.iter().map(|(name, _)| name.to_ascii_lowercase());
            let fields = response.head.fields.iter().map(|(name, _)| name.to_ascii_lowercase());
            let framed = |name: &String| {
                name == "content-length" && response.head.get("transfer-encoding").is_none() && *status == 200
            };
            match fields
                .filter(|name| !framed(name))
                .chain(trailers)
                .find(|name| lacks.contains(&name.as_str()))
            {
                Some(name) => Err(format!("the field {name} went through")),
                None => Ok(()),
            }
        }
    }
}

#[test]
fn answers_that_can_be_read_in_two_ways_never_reach_a_client() {
    let upstream = Upstream::start(|exchange| {
        let target = exchange.request.target.clone();
        match target.strip_prefix("/case/").and_then(|number| number.parse::<usize>().ok()) {
            Some(number) => {
                let (_, _, answer, closes, _) = &RESPONSES[number];
                exchange.write(&bytes(answer))?;
                if *closes {
                    exchange.close();
                }
                Ok(())
            }
            None => exchange.reply(200, "", target.as_bytes()),
        }
    });
    let (_gateway, address) = in_front_of(&upstream);
    let mut problems = Vec::new();
    for (number, (says, method, _, _, case)) in RESPONSES.iter().enumerate() {
        for round in 0..2 {
            if let Err(why) = judge_answer(case, address, method, &format!("/case/{number}")) {
                problems.push(format!("{says} (round {round}): {why}"));
            }
            // Whoever comes next on the same worker must get its own answer.
            let path = format!("/own/{number}/{round}");
            let next = get(address, &path);
            if next.text() != path || next.status != 200 {
                problems.push(format!("{says}: the next client got {} {:?}", next.status, next.text()));
            }
        }
    }
    report(problems, RESPONSES.len());
}

#[test]
fn an_interim_answer_never_leaks_into_another_clients_answer() {
    let upstream = Upstream::start(|exchange| {
        let target = exchange.request.target.clone();
        exchange.write(b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>\r\n\r\n")?;
        // The final answer comes in a packet of its own, when a careless pool has already lent the connection again.
        std::thread::sleep(std::time::Duration::from_millis(fastrand::u64(0..4)));
        exchange.reply(200, "", target.as_bytes())
    });
    let (_gateway, address) = in_front_of(&upstream);
    let load = Load::start(Work {
        address,
        kept: 8,
        fresh: 4,
        on_close: OnClose::Reconnect,
        request: Arc::new(|number| get_bytes(&format!("/{number}"))),
        check: Arc::new(|number, response| match response.text() {
            text if response.status == 200 && text == format!("/{number}") => Ok(()),
            text => Err(format!("{} {text:?}", response.status)),
        }),
    });
    eventually("two thousand answers", || (load.answered() > 2_000).then_some(()));
    load.stop().assert_clean();
}

#[test]
fn heads_beyond_the_limits_are_answered_431() {
    let upstream = Upstream::echo("up");
    let (_gateway, address) = in_front_of(&upstream);
    let fields = |count: usize| (0..count).map(|n| format!("X-{n}: y\r\n")).collect::<String>();
    let long = format!("X-Long: {}\r\n", "x".repeat(61_441));
    for (says, extra, status) in [
        ("one field of 61,441 bytes", long, 431),
        ("129 fields", fields(128), 431),
        ("128 fields", fields(127), 200),
        ("a head of 60,000 bytes", format!("X-Long: {}\r\n", "x".repeat(59_900)), 200),
    ] {
        upstream.forget();
        let request = format!("GET /a HTTP/1.1\r\nHost: gateway.test\r\n{extra}\r\n");
        let mut client = Client::connect(address);
        let response =
            client.exchange("GET", request.as_bytes()).unwrap_or_else(|error| panic!("{says}: {error}"));
        assert_eq!(response.status, status, "{says}");
        assert_eq!(upstream.received().len(), usize::from(status == 200), "{says}");
    }
    let mut client = Client::connect(address);
    let target = format!("GET /{} HTTP/1.1\r\nHost: gateway.test\r\n\r\n", "x".repeat(61_441));
    let response = client.exchange("GET", target.as_bytes()).expect("a refusal");
    assert!([414, 431].contains(&response.status), "{}", response.status);
}

#[test]
fn a_request_line_without_an_end_is_refused_and_not_collected() {
    let upstream = Upstream::echo("up");
    let (gateway, address) = in_front_of(&upstream);
    let before = gateway.resident_kib();
    let mut client = Client::connect(address);
    for _ in 0..512 {
        client.send(&[b'A'; 16 * 1024]);
    }
    let _ = client.response_to("GET");
    assert!(client.closed());
    assert!(gateway.resident_kib() < before + 8 * 1024, "{before} KiB, then {} KiB", gateway.resident_kib());
}
