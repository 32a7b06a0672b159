use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use super::*;

fn proxy(direct: &[&str]) -> ForwardProxy {
    ForwardProxy::new("proxy.test", 3128).except(direct)
}

#[test]
fn hosts_in_no_proxy_are_exact_names_or_suffixes_with_a_leading_dot() {
    let proxy =
        proxy(&["logs.example.com", ".svc.cluster.local", "192.0.2.1", "[2001:db8::1]", "Mixed.Test"]);
    for (host, direct) in [
        ("logs.example.com", true),
        ("LOGS.example.com", true),
        ("mixed.test", true),
        ("a.logs.example.com", false),
        ("example.com", false),
        ("a.svc.cluster.local", true),
        ("a.b.svc.cluster.local", true),
        ("svc.cluster.local", false),
        ("asvc.cluster.local", false),
        ("192.0.2.1", true),
        ("192.0.2.11", false),
        ("2001:db8::1", true),
        ("2001:db8:0:0:0:0:0:1", true),
        ("2001:db8::2", false),
    ] {
        assert_eq!(proxy.serves(host), !direct, "{host}");
    }
    assert!(proxy.serves_exact("a.svc.cluster.local"), "log outputs heed exact names only");
    assert!(!proxy.serves_exact("logs.example.com"));
}

#[test]
fn credentials_are_sent_as_rfc_7617_has_it_and_never_shown() {
    let proxy = proxy(&[]).with_credentials("Aladdin", &Secret::new("open sesame".to_owned()));
    assert_eq!(proxy.authorization(), Some("Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="));
    let shown = format!("{proxy:?} {proxy}");
    assert!(!shown.contains("sesame") && !shown.contains("QWxh"), "{shown}");
}

/// What a proxy was asked, and what came of its answer; bytes behind the answer's head come back.
async fn tunnelled(answer: &[u8]) -> (String, Result<String, ProxyError>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound");
    let answer = answer.to_vec();
    let server = actix_rt::spawn(async move {
        let (mut peer, _) = listener.accept().await.expect("a connection");
        let mut asked = Vec::new();
        while !asked.ends_with(b"\r\n\r\n") {
            asked.push(peer.read_u8().await.expect("a request"));
        }
        // In two pieces: the head ends wherever it ends.
        let (first, rest) = answer.split_at(answer.len() / 2);
        peer.write_all(first).await.expect("taken");
        actix_rt::task::yield_now().await;
        let _ = peer.write_all(rest).await;
        String::from_utf8(asked).expect("ASCII")
    });
    let mut stream = TcpStream::connect(address).await.expect("connected");
    let proxy = proxy(&[]).with_credentials("u", &Secret::new("p".to_owned()));
    let outcome = match proxy.tunnel(&mut stream, "orders.test:443").await {
        Ok(()) => {
            let mut rest = String::new();
            stream.read_to_string(&mut rest).await.expect("what follows");
            Ok(rest)
        }
        Err(error) => Err(error),
    };
    (server.await.expect("no panic"), outcome)
}

#[actix_rt::test]
async fn a_2xx_opens_the_tunnel_and_what_follows_it_belongs_to_the_other_side() {
    for answer in [
        "HTTP/1.1 200 Connection established\r\n\r\nSSH-2.0",
        "HTTP/1.0 200 OK\r\nvia: x\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\nSSH-2.0",
        "HTTP/1.1 204 \r\n\r\nSSH-2.0",
    ] {
        let (asked, outcome) = tunnelled(answer.as_bytes()).await;
        assert_eq!(outcome.as_deref(), Ok("SSH-2.0"), "{answer}");
        assert_eq!(
            asked,
            "CONNECT orders.test:443 HTTP/1.1\r\nhost: orders.test:443\r\nproxy-authorization: Basic dTpw\r\n\r\n"
        );
    }
}

#[actix_rt::test]
async fn everything_else_is_an_error_of_the_proxy() {
    let long = format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "y".repeat(ANSWER_BYTES_MAX));
    let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "x: y\r\n".repeat(ANSWER_FIELDS_MAX + 1));
    for (answer, error) in [
        ("HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", ProxyError::Refused(407)),
        ("HTTP/1.1 502 Bad Gateway\r\n\r\nno route", ProxyError::Refused(502)),
        ("HTTP/1.1 302 Found\r\nlocation: /\r\n\r\n", ProxyError::Refused(302)),
        ("HTTP/1.1 100 Continue\r\n\r\n", ProxyError::Malformed("it has no final status")),
        ("HTTP/1.1 700 Odd\r\n\r\n", ProxyError::Malformed("it has no final status")),
        ("SSH-2.0-OpenSSH\r\n", ProxyError::Malformed("it does not begin with HTTP")),
        ("\r\nHTTP/1.1 200 OK\r\n\r\n", ProxyError::Malformed("it does not begin with HTTP")),
        ("HTTP/1.1 200 OK\n\n", ProxyError::Malformed("it is no HTTP response")),
        ("HTTP/2 200\r\n\r\n", ProxyError::Malformed("it is no HTTP response")),
        ("HTTP/1.1 200 OK\r\nbad field\r\n\r\n", ProxyError::Malformed("it is no HTTP response")),
        ("HTTP/1.1 200 OK\r\nx: y\r\n", ProxyError::Closed),
        (&long, ProxyError::Malformed("its head is too long")),
        (&many, ProxyError::Malformed("its head has too many fields")),
    ] {
        let (_, outcome) = tunnelled(answer.as_bytes()).await;
        assert_eq!(outcome, Err(error), "{:?}", &answer[..answer.len().min(60)]);
    }
}
