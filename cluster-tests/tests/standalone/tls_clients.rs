//! What is spoken with clients over TLS, which certificate they are shown, and clients that misbehave in the handshake
//! (configuration reference 6.1, pitfalls 4 and 5 of the TLS backends): with either backend.

use std::io;
use std::net::SocketAddr;
use std::process::Command;
use std::time::{Duration, Instant};

use cluster_tests::client::Client;
use cluster_tests::gateway::Gateway;
use cluster_tests::tls::{Doors, Wanted, certificate, client_hello, curl, handshake};
use cluster_tests::upstream::Upstream;
use cluster_tests::{PATIENCE, eventually};
use serde_json::json;

/// Answers with the body that was sent.
fn mirror() -> Upstream {
    Upstream::start(|exchange| {
        let body = exchange.body()?;
        exchange.reply(200, "", &body)
    })
}

/// Bytes that are not text, and not the same in any two places.
fn some_mib() -> Vec<u8> {
    (0..3_500_000_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
}

#[test]
fn http_2_is_spoken_with_curl_nghttp_and_h2load_with_bodies_of_some_mib_both_ways() {
    let doors = Doors::new(mirror());
    let _gateway = doors.plan(&json!({})).start();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (file, body) = (folder.path().join("body").display().to_string(), some_mib());
    std::fs::write(&file, &body).expect("writable");
    for (backend, address) in doors.each() {
        for (wanted, version) in [("--http2", "2"), ("--http1.1", "1.1")] {
            for tls in ["1.2", "1.3"] {
                let data = format!("@{file}");
                let answer = doors.curl(address, &[wanted, "--tls-max", tls, "--data-binary", &data]);
                assert_eq!((answer.status, answer.version.as_str()), (200, version), "{}", answer.complaint);
                assert!(answer.body == body, "{backend} {version} {tls}: {} bytes", answer.body.len());
            }
        }
        let url = format!("https://{address}/a");
        let said = Command::new("nghttp").args(["--no-verify-peer", "-d", &file, &url]).output();
        let said = said.expect("nghttp is installed");
        assert!(said.stdout == body, "{backend}: {} bytes of nghttp", said.stdout.len());
        let loaded =
            Command::new("h2load").args(["-n2000", "-c20", "-m10", "-d", "/etc/hostname", &url]).output();
        let report = String::from_utf8_lossy(&loaded.expect("h2load is installed").stdout).into_owned();
        assert!(report.contains("2000 succeeded, 0 failed, 0 errored, 0 timeout"), "{backend}: {report}");
        assert!(report.contains("Application protocol: h2\n"), "{backend}: {report}");
    }
}

/// The protocol that `openssl` is told; `None` when the handshake fails.
fn agreed(address: SocketAddr, arguments: &[&str]) -> Option<String> {
    let output = handshake(address, arguments);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() || said.contains("Cipher is (NONE)") {
        return None;
    }
    let named = said.lines().find_map(|line| line.strip_prefix("ALPN protocol: ").map(str::to_owned));
    Some(named.unwrap_or_default())
}

#[test]
fn the_protocol_is_the_first_of_our_list_that_the_client_knows_pitfall_4() {
    let doors = Doors::new(mirror());
    let gateway = doors.plan(&json!({})).start();
    for (list, both, reversed, h2, http1) in [
        (json!([]), Some("h2"), Some("h2"), Some("h2"), Some("http/1.1")),
        (json!(["h2", "http/1.1"]), Some("h2"), Some("h2"), Some("h2"), Some("http/1.1")),
        (json!(["http/1.1", "h2"]), Some("http/1.1"), Some("http/1.1"), Some("h2"), Some("http/1.1")),
        (json!(["http/1.1"]), Some("http/1.1"), Some("http/1.1"), None, Some("http/1.1")),
        (json!(["h2"]), Some("h2"), Some("h2"), Some("h2"), None),
    ] {
        let _ = gateway.apply("api.yaml", &doors.resources(&json!({"alpn": list})));
        for (backend, address) in doors.each() {
            for version in ["-tls1_2", "-tls1_3"] {
                for (offered, expected) in [
                    ("h2,http/1.1", both),
                    ("http/1.1,h2", reversed),
                    ("h2", h2),
                    ("http/1.1", http1),
                    ("spdy/3", None),
                ] {
                    let seen = agreed(address, &[version, "-alpn", offered]);
                    assert_eq!(seen.as_deref(), expected, "{backend} {version} {list} {offered}");
                }
                assert_eq!(agreed(address, &[version]).as_deref(), Some(""), "{backend}: without ALPN");
            }
        }
    }
}

#[test]
fn http_2_is_not_spoken_over_tls_1_1_with_a_client_pitfall_5() {
    let doors = Doors::new(mirror());
    let old = json!({
        "minversion": "1.1",
        "ciphers": ["TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA", "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"],
    });
    let _gateway = doors.plan(&old).start();
    // Such a list is OpenSSL's on either port.
    for (_, address) in doors.each() {
        let at = |version: &str, offered: &str| {
            agreed(address, &[version, "-cipher", "ALL:@SECLEVEL=0", "-alpn", offered])
        };
        assert_eq!(at("-tls1_1", "h2,http/1.1").as_deref(), Some("http/1.1"));
        assert_eq!(at("-tls1_1", "h2"), None);
        assert_eq!(at("-tls1_2", "h2,http/1.1").as_deref(), Some("h2"));
    }
}

/// The common name in the certificate that a client is shown who asks for this name, or for none.
fn shown(address: SocketAddr, name: Option<&str>) -> String {
    let mut command = Command::new("openssl");
    command.args(["s_client", "-connect", &address.to_string()]).stdin(std::process::Stdio::null());
    match name {
        Some(name) => command.args(["-servername", name]),
        None => command.arg("-noservername"),
    };
    let output = command.output().expect("openssl is installed");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let subject = said.lines().find_map(|line| line.strip_prefix("subject=")).unwrap_or_default();
    subject.rsplit("= ").next().unwrap_or_default().to_owned()
}

#[test]
fn a_client_is_shown_the_certificate_for_the_name_that_it_asks_for_and_else_the_default() {
    let mut doors = Doors::new(mirror());
    let issue = |subject: &str, names: &str, key: &str| {
        doors.authority.issue_as(Wanted { subject, names, key, ..Wanted::default() })
    };
    let shop = issue("/CN=shop", "DNS:shop.test", "ec");
    let wild = issue("/CN=wild", "DNS:*.wild.test", "rsa:2048");
    let own = issue("/CN=own", "DNS:one.test,DNS:two.test,DNS:*.three.test", "rsa:2048");
    let special = issue("/CN=special", "DNS:special.wild.test", "rsa:2048");
    doors.pair = issue("/CN=default", "DNS:gateway.test", "rsa:2048");
    let named = json!({"certificates": [
        {"hosts": ["shop.test"], "certificate": certificate(&shop)},
        {"hosts": ["*.wild.test"], "certificate": certificate(&wild)},
        {"certificate": certificate(&own)},
        {"hosts": ["special.wild.test"], "certificate": certificate(&special)},
    ]});
    let gateway = doors.plan(&named).start();
    for (backend, address) in doors.each() {
        for (name, certificate) in [
            ("shop.test", "shop"),
            ("SHOP.Test", "shop"),
            ("a.wild.test", "wild"),
            ("b.wild.test", "wild"),
            ("special.wild.test", "special"),
            ("one.test", "own"),
            ("two.test", "own"),
            ("x.three.test", "own"),
            ("gateway.test", "default"),
            ("unknown.test", "default"),
            ("wild.test", "default"),
            ("a.b.wild.test", "default"),
            ("www.shop.test", "default"),
        ] {
            assert_eq!(shown(address, Some(name)), certificate, "{backend} {name}");
        }
        assert_eq!(shown(address, None), "default", "{backend}: no name");
        for host in ["shop.test", "a.wild.test", "two.test", "gateway.test"] {
            for tls in ["1.2", "1.3"] {
                let trusted = doors.authority.certificate();
                let answer = curl(&trusted, address, host, &["--tls-max", tls]);
                assert_eq!(answer.status, 200, "{backend} {tls} {host}: {}", answer.complaint);
            }
        }
    }
    // Without them, by a reload.
    let _ = gateway.apply("api.yaml", &doors.resources(&json!({})));
    for (backend, address) in doors.each() {
        assert_eq!(shown(address, Some("shop.test")), "default", "{backend}");
    }
}

fn failures(gateway: &Gateway, reason: &str) -> f64 {
    gateway.metric("portcullis_tls_handshake_failures_total", &[&format!("reason=\"{reason}\"")])
}

/// What a server says until it closes the connection.
fn until_closed(client: &mut Client) -> Vec<u8> {
    let started = Instant::now();
    loop {
        match client.wire.fill() {
            Ok(0) => break,
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => break,
            Err(error) => panic!("not closed: {error}"),
        }
    }
    assert!(started.elapsed() < PATIENCE);
    client.wire.buffered().to_vec()
}

const HANDSHAKE: u8 = 0x16;
const ALERT: u8 = 0x15;

#[test]
fn a_client_that_stalls_in_the_handshake_is_cut_off_at_its_deadline_and_harms_nobody() {
    let doors = Doors::new(mirror());
    let plan = doors.plan(&json!({})).workers(1);
    let gateway = plan.environment("PORTCULLIS_TIMEOUTS__TLS_HANDSHAKE", "4s").start();
    let hello = client_hello(&[]);
    for (backend, address) in doors.each() {
        let before = failures(&gateway, "timeout");
        let stall = |sent: &[u8]| {
            let mut client = Client::connect(address);
            client.send(sent);
            client
        };
        let begun = Instant::now();
        let mut stalled: Vec<_> =
            [0, 3, 5, 100, hello.len() - 1].iter().map(|sent| stall(&hello[..*sent])).collect();
        let mut answered: Vec<_> = (0..20).map(|_| stall(&hello)).collect();
        let mut bytewise = Client::connect(address);
        bytewise.send_bytewise(&hello);
        answered.push(bytewise);
        let answer = doors.curl(address, &[]);
        assert_eq!(answer.status, 200, "{backend}, beside all of them: {}", answer.complaint);
        for client in &mut stalled {
            assert!(until_closed(client).is_empty(), "{backend}: nothing is said to half a hello");
        }
        for client in &mut answered {
            assert_eq!(until_closed(client).first(), Some(&HANDSHAKE), "{backend}");
        }
        assert!(begun.elapsed() > Duration::from_secs(3), "{backend}: {:?}", begun.elapsed());
        eventually("all are counted", || (failures(&gateway, "timeout") - before == 26.0).then_some(()));
    }
}

#[test]
fn a_hello_that_comes_byte_by_byte_is_served_in_time_and_cut_off_beyond() {
    let doors = Doors::new(mirror());
    let plan = doors.plan(&json!({}));
    let _gateway = plan.environment("PORTCULLIS_TIMEOUTS__TLS_HANDSHAKE", "3s").start();
    let hello = client_hello(&[]);
    for (backend, address) in doors.each() {
        let begun = Instant::now();
        let mut slow = Client::connect(address);
        let sent = hello.iter().take_while(|byte| {
            slow.send(std::slice::from_ref(byte));
            slow.silent_for(Duration::from_millis(50))
        });
        let sent = sent.count();
        assert!(sent < hello.len() && slow.closed(), "{backend}: {sent} bytes");
        assert!(begun.elapsed() >= Duration::from_millis(2_700), "{backend}: {:?}", begun.elapsed());
        assert_eq!(doors.curl(address, &[]).status, 200);
    }
}

#[test]
fn plain_http_and_garbage_on_a_tls_port_get_an_alert_at_most() {
    let doors = Doors::new(mirror());
    let gateway = doors.plan(&json!({})).start();
    let hello = client_hello(&[]);
    let mut damaged = hello.clone();
    // The length of the session id: more than there is.
    damaged[43] = 0xff;
    let messages = [
        b"GET /a HTTP/1.1\r\nHost: gateway.test\r\n\r\n".to_vec(),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
        b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n".to_vec(),
        vec![0xff; 70_000],
        vec![0; 64],
        // A record that is too long, one that is empty, and one with an alert.
        b"\x16\x03\x01\xff\xff\x01".iter().copied().chain([1; 70_000]).collect(),
        b"\x16\x03\x01\x00\x00".to_vec(),
        b"\x15\x03\x01\x00\x02\x02\x28".to_vec(),
        damaged,
    ];
    let mut rng = cluster_tests::seeded("plain_http_and_garbage_on_a_tls_port_get_an_alert_at_most");
    let mut torn = Vec::new();
    for _ in 0..50 {
        let mut message = hello.clone();
        for _ in 0..3 {
            // Neither the head of the record nor that of the message: so it is complete.
            let at = rng.usize(9..message.len());
            message[at] = rng.u8(..);
        }
        torn.push(message);
    }
    for (backend, address) in doors.each() {
        let before = failures(&gateway, "malformed");
        for message in &messages {
            let mut client = Client::connect(address);
            client.send(message);
            let answer = until_closed(&mut client);
            assert!(answer.first().is_none_or(|first| *first == ALERT), "{backend}: {answer:02x?}");
        }
        let all = messages.len();
        eventually("they are counted", || {
            (failures(&gateway, "malformed") - before >= all as f64 - 1.0).then_some(())
        });
        for message in &torn {
            let mut client = Client::connect(address);
            client.send(message);
            // Some are still a hello: then the server waits.
            if client.wire.fill().is_ok_and(|read| read > 0) {
                assert!([ALERT, HANDSHAKE].contains(&client.wire.buffered()[0]), "{backend}");
            }
        }
        let answer = doors.curl(address, &[]);
        assert_eq!(answer.status, 200, "{backend}: {}", answer.complaint);
    }
    assert!(doors.upstream.received().iter().all(|request| request.target == "/a"));
    assert_eq!(doors.upstream.received().len(), 2);
}

#[test]
fn who_comes_when_all_places_for_handshakes_are_taken_takes_that_of_the_oldest() {
    let doors = Doors::new(mirror());
    let plan = doors.plan(&json!({})).workers(1);
    // Beyond the patience of this test: nobody is cut off by the deadline.
    let plan = plan.environment("PORTCULLIS_TIMEOUTS__TLS_HANDSHAKE", "5m");
    let gateway = plan.environment("PORTCULLIS_LIMITS__TLS_HANDSHAKES", "4").start();
    let hello = client_hello(&[]);
    for (backend, address) in doors.each() {
        let before = failures(&gateway, "overload");
        let mut stalled: Vec<_> = (0..12)
            .map(|_| {
                let mut client = Client::connect(address);
                client.send(&hello);
                // It has its place when it is answered.
                assert!(client.wire.fill().is_ok_and(|read| read > 0), "{backend}");
                client
            })
            .collect();
        for client in &mut stalled[..8] {
            let _ = until_closed(client);
        }
        eventually("they are counted", || (failures(&gateway, "overload") - before == 8.0).then_some(()));
        let answer = doors.curl(address, &[]);
        assert_eq!(answer.status, 200, "{backend}: {}", answer.complaint);
        eventually("one more", || (failures(&gateway, "overload") - before == 9.0).then_some(()));
        eventually("the last three", || {
            (gateway.metric("portcullis_connections_active", &[]) == 3.0).then_some(())
        });
        drop(stalled);
        eventually("nobody is left", || {
            gateway.metric("portcullis_connections_active", &[]).lt(&2.0).then_some(())
        });
    }
}
