//! Which messages are served, in which order, and which are refused.

use std::time::Duration;

use super::{
    bench::{Bench, ROOMY, accepted, answer_all, run, upstream},
    http2_in,
};
use crate::{
    settings,
    telemetry::{Level, Log},
};

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

#[test]
fn pipelined_requests_are_answered_in_order() {
    run(async {
        let listener = upstream().await;
        let bench = Bench::new(&listener, ROOMY).await;
        actix_rt::spawn(async move {
            let mut peer = accepted(&listener).await;
            while let Some(request) = peer.message().await {
                let path = request.head.split(' ').nth(1).unwrap().to_owned();
                peer.send(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{path}", path.len())).await;
            }
        });
        let mut client = bench.connect().await;
        let requests: String = (0..50).map(|n| format!("GET /{n} HTTP/1.1\r\nhost: a\r\n\r\n")).collect();
        client.send(requests).await;
        for n in 0..50 {
            assert_eq!(client.message().await.expect("a response").body, format!("/{n}").as_bytes());
        }
    });
}

#[test]
fn a_response_before_the_connection_closes_survives_a_pipelined_request() {
    run(async {
        let listener = upstream().await;
        let bench = Bench::new(&listener, ROOMY).await;
        answer_all(listener, OK);
        let mut client = bench.connect().await;
        let second = format!("GET /2 HTTP/1.1\r\nhost: a\r\nx: {}\r\n\r\n", "y".repeat(50_000));
        client.send(format!("GET /1 HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n{second}")).await;
        let answer = client.message().await.expect("a response");
        assert!(answer.has("connection: close"));
        assert_eq!(client.rest().await, (Vec::new(), true));
    });
}

#[test]
fn interim_responses_never_reach_another_caller() {
    run(async {
        let listener = upstream().await;
        let bench = Bench::new(&listener, ROOMY).await;
        actix_rt::spawn(async move {
            let mut peer = accepted(&listener).await;
            for n in 1.. {
                if peer.message().await.is_none() {
                    return;
                }
                peer.send("HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n")
                    .await;
                peer.send(format!("HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n{n}")).await;
            }
        });
        for n in 1..6 {
            // Clients of HTTP/1.0 do not know them.
            let (version, interims): (_, &[&str]) = if n % 2 == 0 { (0, &[]) } else { (1, &["103", "102"]) };
            let mut client = bench.connect().await;
            client.send(format!("GET / HTTP/1.{version}\r\nhost: a\r\n\r\n")).await;
            let answer = client.message().await.expect("a response");
            assert_eq!((answer.status(), &answer.body[..]), ("200", n.to_string().as_bytes()));
            assert_eq!(client.interims, interims);
        }
    });
}

#[test]
fn responses_without_a_body_keep_both_connections() {
    run(async {
        for (method, answer, status, declared) in [
            ("HEAD", "HTTP/1.1 200 OK\r\ncontent-length: 1234\r\n\r\n", "200", Some("content-length: 1234")),
            ("HEAD", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", "200", None),
            ("GET", "HTTP/1.1 204 No Content\r\n\r\n", "204", None),
            (
                "GET",
                "HTTP/1.1 304 Not Modified\r\ncontent-length: 99\r\n\r\n",
                "304",
                Some("content-length: 99"),
            ),
        ] {
            let listener = upstream().await;
            let bench = Bench::new(&listener, ROOMY).await;
            let serving = actix_rt::spawn(async move {
                let mut peer = accepted(&listener).await;
                for _ in 0..3 {
                    peer.message().await.expect("all on one connection");
                    peer.send(answer).await;
                }
            });
            let mut client = bench.connect().await;
            for _ in 0..3 {
                client.send(format!("{method} / HTTP/1.1\r\nhost: a\r\n\r\n")).await;
                let head = client.head().await.expect("a response");
                assert_eq!(head.status(), status);
                assert!(declared.is_none_or(|line| head.has(line)), "{}", head.head);
                assert!(client.unread.is_empty());
            }
            serving.await.unwrap();
        }
    });
}

#[test]
fn http_1_0_is_spoken_on_both_sides() {
    run(async {
        let listener = upstream().await;
        let bench = Bench::new(&listener, ROOMY).await;
        actix_rt::spawn(async move {
            loop {
                let mut peer = accepted(&listener).await;
                peer.message().await.expect("a request");
                peer.send("HTTP/1.0 200 OK\r\n\r\nuntil the end").await;
            }
        });
        let mut client = bench.connect().await;
        client.send("GET / HTTP/1.0\r\nconnection: keep-alive\r\n\r\n").await;
        let head = client.head().await.expect("a response");
        assert!(head.has("connection: close"), "{}", head.head);
        assert_eq!(client.rest().await, (b"until the end".to_vec(), true));
        let answer = bench.ask("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
        assert_eq!(answer.body, b"until the end");
    });
}

#[test]
fn a_head_of_exactly_the_limit_is_served_and_one_byte_more_is_not() {
    run(async {
        let listener = upstream().await;
        let bench = Bench::new(&listener, ROOMY).await;
        answer_all(listener, OK);
        for (length, status) in [(61_440, "200"), (61_441, "431"), (90_000, "431")] {
            let frame = "GET / HTTP/1.1\r\nhost: a\r\nx: \r\n\r\n".len();
            let request = format!("GET / HTTP/1.1\r\nhost: a\r\nx: {}\r\n\r\n", "y".repeat(length - frame));
            assert_eq!(bench.ask(&request).await.status(), status, "{length}");
        }
        let fields = |count| (0..count).map(|n| format!("x{n}: y\r\n")).collect::<String>();
        for (count, status) in [(128, "200"), (129, "431")] {
            let request = format!("GET / HTTP/1.1\r\nhost: a\r\n{}\r\n", fields(count - 1));
            assert_eq!(bench.ask(&request).await.status(), status, "{count} fields");
        }
    });
}

#[test]
fn what_has_no_single_meaning_is_refused_and_the_connection_closes() {
    run(async {
        let listener = upstream().await;
        let bench = Bench::new(&listener, ROOMY).await;
        answer_all(listener, OK);
        let pipelined = "GET /next HTTP/1.1\r\nhost: a\r\n\r\n";
        for (request, status) in [
            ("GET / HTTP/1.1\r\n\r\n", "400"),
            ("GET / HTTP/1.1\nhost: a\n\n", "400"),
            ("\r\n\r\nGET / HTTP/1.1\r\nhost: a\r\n\r\n", "400"),
            ("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n", "400"),
            ("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\nx\r\n", "400"),
            (
                "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n0\r\na: b\nc: d\r\n\r\n",
                "400",
            ),
            ("GET / HTTP/3.0\r\nhost: a\r\n\r\n", "505"),
            ("GET / HTTQ/1.1\r\nhost: a\r\n\r\n", "400"),
            ("TRACE / HTTP/1.1\r\nhost: a\r\n\r\n", "405"),
            ("GET / HTTP/1.1\r\nhost: a\r\nexpect: miracles\r\n\r\n", "417"),
        ] {
            let mut client = bench.connect().await;
            client.send(format!("{request}{pipelined}")).await;
            let refusal = client.message().await.expect("a refusal");
            assert_eq!((refusal.status(), refusal.has("connection: close")), (status, true), "{request:?}");
            assert!(client.rest().await.0.is_empty(), "{request:?}");
        }
        let answer = bench.ask("\r\nGET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
        assert_eq!(answer.status(), "200", "one empty line is passed over");
    });
}

#[test]
fn empty_lines_keep_no_connection() {
    run(async {
        let listener = upstream().await;
        let bench = Bench::new(&listener, ROOMY).await;
        answer_all(listener, OK);
        let mut client = bench.connect().await;
        client.send("\r\n").await;
        tokio::time::sleep(Duration::from_millis(50)).await;
        client.send("\r\n").await;
        assert_eq!(client.message().await.expect("a refusal").status(), "400", "in pieces as in one");
        let mut client = bench.connect().await;
        client.send("\r\n").await;
        tokio::time::sleep(Duration::from_millis(50)).await;
        bench.worker.timers.skip(settings::Settings::default().timeouts.head + Duration::from_secs(1));
        client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
        assert_eq!(client.message().await.expect("an answer").status(), "200", "it idled");
    });
}

#[test]
fn the_limit_of_a_response_head_is_the_same_however_it_comes() {
    run(async {
        let large = format!("HTTP/1.1 200 OK\r\ncontent-length: 0\r\nx: {}\r\n\r\n", "y".repeat(2000));
        for (limit, status) in [(1024, "502"), (4096, "200")] {
            let listener = upstream().await;
            let bench = Bench::with(&listener, ROOMY, |engine| engine.head_bytes_max = limit).await;
            answer_all(listener, large.clone().leak());
            assert_eq!(bench.ask("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.status(), status);
        }
    });
}

#[test]
fn a_response_that_cannot_be_trusted_is_502() {
    run(async {
        for answer in [
            "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 1\r\n\r\nx",
            "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n",
            "HTTP/1.1 200 OK\ncontent-length: 0\n\n",
            "\r\nHTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
            "HTTP/1.1 204 No Content\r\ncontent-length: 5\r\n\r\nhello",
            "HTTP/1.1 101 Switching Protocols\r\n\r\n",
            "HTTP/1.1 600 Odd\r\n\r\n",
            "SSH-2.0-OpenSSH\r\n\r\n",
        ] {
            let listener = upstream().await;
            let bench = Bench::new(&listener, ROOMY).await;
            answer_all(listener, answer);
            assert_eq!(bench.ask("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.status(), "502", "{answer:?}");
        }
    });
}

#[test]
fn the_log_says_what_is_wrong_with_the_head_of_an_upstream_and_shows_nothing_of_it() {
    let (log, out) =
        Log::captured(&settings::Log { level: Level::Debug, ..settings::Settings::default().log });
    let _listens = tracing::subscriber::set_default(log.subscriber());
    run(async {
        for (answer, what) in [
            ("HTTP/1.1 200 OK\r\nbad hunter2: 1\r\n\r\n", "field name"),
            ("HTTP/1.1 200 OK\nhunter2: 1\n\n", "bare LF"),
            ("hunter2\r\n\r\n", "status line"),
            ("HTTP/2.0 200 OK\r\nhunter2: 1\r\n\r\n", "neither HTTP/1.0 nor HTTP/1.1"),
        ] {
            let listener = upstream().await;
            let bench = Bench::new(&listener, ROOMY).await;
            answer_all(listener, answer);
            assert_eq!(bench.ask("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.status(), "502", "{answer:?}");
            assert!(log.flush(Duration::from_secs(10)));
            let text = out.text();
            assert!(
                text.contains(&format!("upstream default/api: response head: {what}")),
                "{answer:?}: {text}"
            );
            assert!(!text.contains("hunter2"), "{text}");
        }
    });
}

#[test]
fn options_of_the_whole_server_reach_an_upstream_as_they_are() {
    run(async {
        let listener = upstream().await;
        let bench = Bench::new(&listener, ROOMY).await;
        let target = |wanted: &'static str| {
            let listener = &listener;
            async move {
                let mut peer = accepted(listener).await;
                let request = peer.message().await.expect("a request");
                assert_eq!(request.head.split(' ').take(2).collect::<Vec<_>>(), ["OPTIONS", wanted]);
                peer.send("HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n").await;
            }
        };
        for (said, wanted) in
            [("*", "*"), ("http://a", "*"), ("http://a/", "/"), ("http://a?x", "/?x"), ("/", "/")]
        {
            let request = format!("OPTIONS {said} HTTP/1.1\r\nhost: a\r\n\r\n");
            let (answer, ()) = tokio::join!(bench.ask(&request), target(wanted));
            assert_eq!(answer.status(), "204", "{said}");
        }
    });
}

#[test]
fn options_of_the_whole_server_pass_from_http_2_to_http_2_too() {
    run(async {
        let listener = upstream().await;
        let bench = Bench::h2(&listener, ROOMY).await;
        actix_rt::spawn(async move {
            let stream = listener.accept().await.unwrap().0;
            let mut connection = h2::server::handshake(stream).await.unwrap();
            while let Some(Ok((request, mut respond))) = connection.accept().await {
                assert_eq!(request.method(), http::Method::OPTIONS);
                let path = request.uri().path().to_owned();
                let answer = http::Response::builder().header("x-path", path).body(()).unwrap();
                respond.send_response(answer, true).unwrap();
            }
        });
        let mut client = http2_in::connect(&bench).await;
        let parts = http::uri::Builder::new().scheme("http").authority("api.test").path_and_query("*");
        let request = http::Request::options(parts.build().unwrap()).body(()).unwrap();
        let response = client.send_request(request, true).unwrap().0.await.unwrap();
        assert_eq!((response.status().as_u16(), &response.headers()["x-path"]), (200, &"*".parse().unwrap()));
    });
}

#[test]
fn a_request_that_names_no_host_has_none_to_forward() {
    run(async {
        let listener = upstream().await;
        let bench = Bench::new(&listener, ROOMY).await;
        for (said, forwarded) in
            [("HTTP/1.0\r\n", None), ("HTTP/1.1\r\nhost:\r\n", None), ("HTTP/1.0\r\nhost: a\r\n", Some("a"))]
        {
            let mut client = bench.connect().await;
            client.send(format!("GET / {said}\r\n")).await;
            let mut peer = accepted(&listener).await;
            let request = peer.message().await.expect("a request");
            assert_eq!(request.value("x-forwarded-host"), forwarded, "{said:?}");
            assert!(request.has("host: upstream.test"), "{}", request.head);
            peer.send("HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n").await;
            client.message().await.expect("an answer");
        }
    });
}

#[test]
fn a_response_without_a_date_bears_the_time_at_which_it_came() {
    run(async {
        for (fields, dates) in
            [("", None), ("date: Sun, 06 Nov 1994 08:49:37 GMT\r\n", Some("Sun, 06 Nov 1994 08:49:37 GMT"))]
        {
            let listener = upstream().await;
            let bench = Bench::new(&listener, ROOMY).await;
            let answer = format!("HTTP/1.1 200 OK\r\n{fields}content-length: 0\r\n\r\n");
            answer_all(listener, Box::leak(answer.into_boxed_str()));
            let before = std::time::SystemTime::now() - Duration::from_secs(1);
            let message = bench.ask("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
            let over_http2 = http2_in::get(&mut http2_in::connect(&bench).await, "/").await.unwrap();
            let second = over_http2.headers()["date"].to_str().unwrap();
            for date in [message.value("date").expect("a date"), second] {
                let at = crate::http::date::parse(date.as_bytes(), before).expect("a date");
                assert!(
                    dates.map_or(at >= before && at <= std::time::SystemTime::now(), |dates| dates == date),
                    "{date}"
                );
            }
            assert_eq!(message.head.matches("date: ").count(), 1);
        }
    });
}
