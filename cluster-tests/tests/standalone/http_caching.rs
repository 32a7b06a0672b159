//! HTTP Caching on the wire (policies reference 3.4): bodies pass while they are collected, all workers share what is stored,
//! and it outlives what it should.

use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;

use cluster_tests::client::{Client, Response, call, get};
use cluster_tests::config::api_with;
use cluster_tests::eventually;
use cluster_tests::gateway::{Gateway, Plan};
use cluster_tests::ports;
use cluster_tests::upstream::Upstream;
use serde_json::{Value, json};

fn cached(address: SocketAddr, upstream: &Upstream, config: &Value) -> Value {
    let policies = json!([{"policyRef": {"name": "http-caching-flex"}, "config": config}]);
    api_with("cached", &format!("http://{address}"), &upstream.url(), policies)
}

fn local() -> SocketAddr {
    ([127, 0, 0, 1], ports::free()).into()
}

/// With one worker, which has stored a response before it reads the next request.
fn start(upstream: &Upstream, config: &Value) -> (Gateway, SocketAddr) {
    let address = local();
    (Plan::new().workers(1).with("api.yaml", &[cached(address, upstream, config)]).start(), address)
}

/// Answers with the number of the request, counted from 1.
fn counting(extra: &'static str) -> Upstream {
    let count = AtomicUsize::new(0);
    Upstream::start(move |exchange| {
        let number = count.fetch_add(1, Ordering::SeqCst) + 1;
        exchange.reply(200, extra, number.to_string().as_bytes())
    })
}

fn age(response: &Response) -> Option<u64> {
    response.head.all("age").next()?.parse().ok()
}

#[test]
fn a_body_reaches_its_client_while_it_is_collected_and_the_next_client_has_it_from_the_cache() {
    let (go_on, told) = mpsc::channel::<()>();
    let told = Mutex::new(told);
    let upstream = Upstream::start(move |exchange| {
        exchange.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n")?;
        let _ = told.lock().map(|told| told.recv());
        exchange.write(b"3\r\ntwo\r\n0\r\n\r\n")
    });
    let (_gateway, address) = start(&upstream, &json!({}));
    let mut client = Client::connect(address);
    client.send(b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n");
    let (head, mut body) = client.head_for("GET").unwrap();
    assert_eq!(head.status, 200);
    assert_eq!(client.wire.piece(&mut body).unwrap().as_deref(), Some(&b"one"[..]));
    go_on.send(()).unwrap();
    assert_eq!(client.wire.whole(&mut body).unwrap(), b"two");
    let hit = get(address, "/a");
    assert_eq!((hit.status, hit.text().as_str(), age(&hit).is_some()), (200, "onetwo", true));
    assert_eq!(hit.head.all("content-length").collect::<Vec<_>>(), ["6"]);
    let head = call(address, "HEAD", "/a", "", "");
    assert_eq!(head.head.all("content-length").collect::<Vec<_>>(), ["6"]);
    assert_eq!(upstream.received().len(), 1);
}

#[test]
fn all_workers_share_what_is_stored_and_a_reload_that_does_not_change_the_policy_keeps_it() {
    let (upstream, address) = (counting(""), local());
    let plan = |config: &Value| [cached(address, &upstream, config)];
    let gateway = Plan::new().workers(4).with("api.yaml", &plan(&json!({}))).start();
    // What a client has whole is stored a moment later.
    let hit = || {
        eventually("a hit", || {
            let response = get(address, "/");
            age(&response).map(|_| response.text())
        })
    };
    let stored = hit();
    // Connections are spread over the workers.
    for _ in 0..32 {
        assert_eq!(get(address, "/").text(), stored);
    }
    let mut other = cached(local(), &upstream, &json!({}));
    other["metadata"]["name"] = json!("other");
    let mut both = plan(&json!({})).to_vec();
    both.push(other);
    assert_eq!(gateway.apply("api.yaml", &both).status, 200);
    assert_eq!(get(address, "/").text(), stored);
    // Another configuration starts empty.
    assert_eq!(gateway.apply("api.yaml", &plan(&json!({"ttl": 601}))).status, 200);
    assert_ne!(hit(), stored);
}

#[test]
fn what_is_not_complete_is_not_stored() {
    let count = AtomicUsize::new(0);
    let upstream = Upstream::start(move |exchange| {
        if count.fetch_add(1, Ordering::SeqCst) == 0 {
            exchange.write(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\none")?;
            exchange.close();
            return Ok(());
        }
        exchange.reply(200, "", b"whole")
    });
    let (_gateway, address) = start(&upstream, &json!({}));
    let broken = Client::connect(address).exchange("GET", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(broken.is_err(), "{broken:?}");
    assert_eq!(get(address, "/").text(), "whole");
    assert_eq!(get(address, "/").text(), "whole");
    assert_eq!(upstream.received().len(), 2);
}

#[test]
fn a_body_over_1_mb_passes_and_is_not_stored() {
    let upstream = Upstream::start(|exchange| {
        let length = if exchange.request.target == "/large" { (1 << 20) + 1 } else { 1 << 20 };
        exchange.reply(200, "", &vec![b'x'; length])
    });
    let (_gateway, address) = start(&upstream, &json!({}));
    for (path, length, calls) in [("/large", (1 << 20) + 1, 2), ("/", 1 << 20, 3)] {
        for _ in 0..2 {
            assert_eq!(get(address, path).body.len(), length);
        }
        assert_eq!(upstream.received().len(), calls, "{path}");
    }
}

#[test]
fn an_entry_is_invalidated_by_the_header_and_a_condition_is_answered_304() {
    let upstream = counting("ETag: \"a\"\r\nContent-Type: text/plain\r\n");
    let (_gateway, address) = start(&upstream, &json!({"invalidationHeader": "x-purge"}));
    assert_eq!(get(address, "/").text(), "1");
    let same = call(address, "GET", "/", "If-None-Match: \"a\"\r\n", "");
    assert_eq!((same.status, same.body.len()), (304, 0));
    assert_eq!(same.head.all("content-type").count() + same.head.all("content-length").count(), 0);
    assert_eq!(call(address, "GET", "/", "X-Purge: invalidate\r\n", "").text(), "2");
    assert_eq!(get(address, "/").text(), "2");
}

#[test]
fn with_a_folder_for_state_the_cache_survives_a_restart() {
    let (upstream, address) = (counting("Cache-Control: max-age=600\r\n"), local());
    let state = tempfile::tempdir().unwrap();
    let folder = format!("state.folder={}", state.path().display());
    let config = json!({"persistCache": true, "invalidationHeader": "x-purge"});
    let plan = Plan::new().workers(1).with("api.yaml", &[cached(address, &upstream, &config)]);
    let gateway = plan.argument("--set").argument(&folder).start();
    assert_eq!((get(address, "/a").text(), get(address, "/b").text()), ("1".to_owned(), "2".to_owned()));
    let inside = |folder: std::path::PathBuf| {
        std::fs::read_dir(folder).into_iter().flatten().map(|entry| entry.unwrap().path())
    };
    // What is being written has an extension.
    let written = || {
        let files = inside(state.path().join("http-cache")).flat_map(inside).flat_map(inside);
        files.filter(|file| file.extension().is_none()).collect::<Vec<_>>()
    };
    eventually("two entries on the disk", || <[_; 2]>::try_from(written()).ok());
    assert_eq!(call(address, "POST", "/b", "X-Purge: invalidate\r\n", "").text(), "3");
    let entry = eventually("one entry on the disk", || <[_; 1]>::try_from(written()).ok());
    // The disk is read beside the first request. The last that is read is damaged, and is removed.
    let damaged = entry[0].with_file_name("0".repeat(64));
    std::fs::write(&damaged, "damaged").unwrap();
    let gateway = gateway.restart();
    eventually("ready again", || gateway.ready().then_some(()));
    let _ = call(address, "POST", "/none", "", "");
    eventually("the disk was read", || (!damaged.exists()).then_some(()));
    assert_eq!(get(address, "/a").text(), "1");
    assert_ne!(get(address, "/b").text(), "2");
}

#[test]
fn memory_for_responses_is_bounded_by_the_setting() {
    let upstream = Upstream::start(|exchange| exchange.reply(200, "", &vec![b'x'; 700 << 10]));
    let address = local();
    let gateway = Plan::new()
        .workers(1)
        .with("api.yaml", &[cached(address, &upstream, &json!({}))])
        .argument("--set")
        .argument("limits.cache_bytes=2MiB")
        .start();
    for index in 0..40 {
        assert_eq!(get(address, &format!("/{index}")).body.len(), 700 << 10);
    }
    assert_eq!(get(address, "/39").body.len(), 700 << 10);
    assert_eq!(upstream.received().len(), 40, "the latest is there");
    let _ = get(address, "/0");
    assert_eq!(upstream.received().len(), 41, "the oldest is not");
    drop(gateway);
}

/// Decision 6: header removal wins, over what is stored as over what has just come.
#[test]
fn what_is_removed_from_a_response_is_removed_from_the_stored_one_too() {
    let (upstream, address) = (counting("Cache-Control: max-age=60\r\n"), local());
    let policies = json!([
        {"policyRef": {"name": "http-caching-flex"}, "config": {}},
        {"policyRef": {"name": "header-removal-flex"}, "config": {"outboundHeaders": ["server"]}},
    ]);
    let api = api_with("cached", &format!("http://{address}"), &upstream.url(), policies);
    let _gateway = Plan::new().workers(1).with("api.yaml", &[api]).start();
    for _ in 0..3 {
        let response = get(address, "/");
        assert_eq!((response.text().as_str(), response.head.get("server")), ("1", None));
    }
}

#[test]
fn events_pass_at_once_also_where_the_condition_reads_the_body() {
    let (go_on, told) = mpsc::channel::<()>();
    let told = Mutex::new(told);
    let upstream = Upstream::start(move |exchange| {
        exchange.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n")?;
        let _ = told.lock().map(|told| told.recv());
        exchange.write(b"0\r\n\r\n")
    });
    let (_gateway, address) = start(&upstream, &json!({"responseExpression": "#[payload != '']"}));
    let mut client = Client::connect(address);
    client.send(b"GET /events HTTP/1.1\r\nHost: a\r\n\r\n");
    let (head, mut body) = client.head_for("GET").unwrap();
    assert_eq!(head.status, 200);
    assert_eq!(client.wire.piece(&mut body).unwrap().as_deref(), Some(&b"one"[..]));
    go_on.send(()).unwrap();
}
