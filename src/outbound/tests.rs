//! What the module promises, against peers written by hand on raw sockets.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex, mpsc},
    thread,
    time::{Duration, Instant},
};

use awc::http::Method;
use rustls::{
    ClientConfig, RootCertStore, ServerConfig, ServerConnection, StreamOwned,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};

use super::{Call, ForwardProxy, Limits, OutboundClient, OutboundError};
use crate::base::Secret;

/// Accepts connections until the test ends; each is answered by `serve` on its own thread.
fn peer(serve: impl Fn(usize, TcpStream) + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("bound");
    let serve = Arc::new(serve);
    thread::spawn(move || {
        for (index, stream) in listener.incoming().enumerate() {
            let serve = serve.clone();
            thread::spawn(move || serve(index, stream.expect("accepted")));
        }
    });
    address
}

fn read_head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|n| n == 1) {
        head.push(byte[0]);
    }
    String::from_utf8(head).expect("ASCII")
}

fn answer(stream: &mut TcpStream, body: &str) {
    let _ = write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
}

fn client(change: impl FnOnce(&mut Limits)) -> OutboundClient {
    let mut limits = Limits::default();
    change(&mut limits);
    OutboundClient::start(limits).expect("a thread")
}

fn get(client: &OutboundClient, address: SocketAddr) -> Result<super::Answer, OutboundError> {
    client.call(Call::new(Method::GET, format!("http://{address}/")))
}

#[test]
fn after_an_interim_response_the_next_call_gets_its_own_answer() {
    let address = peer(|index, mut stream| {
        // Keeps every connection open and serves whatever comes on it, as a keep-alive peer does.
        let mut first = true;
        while !read_head(&mut stream).is_empty() {
            if index == 0 && first {
                let _ = stream.write_all(b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n");
                answer(&mut stream, "for the first");
                first = false;
            } else {
                answer(&mut stream, &format!("for connection {index}"));
            }
        }
    });
    let client = client(|_| {});
    assert_eq!(get(&client, address).expect_err("awc cannot read past it"), OutboundError::Interim(103));
    for index in 1..4 {
        assert_eq!(get(&client, address).expect("an answer").body, format!("for connection {index}"));
    }
}

#[test]
fn no_two_calls_share_a_connection_even_when_the_peer_would_keep_it() {
    let (heads, seen) = mpsc::channel();
    let heads = Mutex::new(heads);
    let address = peer(move |index, mut stream| {
        loop {
            let head = read_head(&mut stream);
            if head.is_empty() {
                break;
            }
            let _ = heads.lock().expect("whole").send((index, head));
            answer(&mut stream, "ok");
        }
    });
    let client = client(|_| {});
    for index in 0..3 {
        assert_eq!(get(&client, address).expect("an answer").status, 200);
        let (connection, head) = seen.recv().expect("a head");
        assert_eq!(connection, index);
        assert!(head.contains("connection: close\r\n"), "{head}");
        assert!(head.contains("user-agent: portcullis/"), "{head}");
    }
}

#[test]
fn a_call_carries_its_method_headers_and_body() {
    let (sent, seen) = mpsc::channel();
    let sent = Mutex::new(sent);
    let address = peer(move |_, mut stream| {
        let head = read_head(&mut stream);
        let mut body = [0; 4];
        stream.read_exact(&mut body).expect("a body");
        let _ = sent.lock().expect("whole").send((head, body));
        answer(&mut stream, "ok");
    });
    let mut call = Call::new(Method::POST, format!("http://{address}/in?x=1"));
    call.headers = vec![("x-a".into(), "1".into()), ("x-a".into(), "2".into())];
    call.body = "ping".into();
    client(|_| {}).call(call).expect("an answer");
    let (head, body) = seen.recv().expect("a request");
    assert!(head.starts_with("POST /in?x=1 HTTP/1.1\r\n"), "{head}");
    assert!(
        head.contains("x-a: 1\r\n") && head.contains("x-a: 2\r\n") && head.contains("content-length: 4"),
        "{head}"
    );
    assert_eq!(&body, b"ping");
}

#[test]
fn the_deadline_covers_a_body_that_trickles() {
    let address = peer(|_, mut stream| {
        read_head(&mut stream);
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n");
        while stream.write_all(b"x").is_ok() {
            thread::park_timeout(Duration::from_millis(20));
        }
    });
    let started = Instant::now();
    let result = get(&client(|limits| limits.deadline = Duration::from_millis(200)), address);
    assert_eq!(result.expect_err("too slow"), OutboundError::Timeout);
    assert!(started.elapsed() < Duration::from_secs(5));
}

#[test]
fn an_answer_over_the_limit_is_refused() {
    let address = peer(|_, mut stream| {
        read_head(&mut stream);
        answer(&mut stream, &"x".repeat(2000));
    });
    let result = get(&client(|limits| limits.answer_bytes = 1999), address);
    assert_eq!(result.expect_err("too large"), OutboundError::TooLarge { limit: 1999 });
    assert_eq!(get(&client(|limits| limits.answer_bytes = 2000), address).expect("fits").body.len(), 2000);
}

#[test]
fn redirects_are_not_followed() {
    let address = peer(|index, mut stream| {
        assert_eq!(index, 0, "a second connection means that the redirect was followed");
        read_head(&mut stream);
        let _ = stream.write_all(b"HTTP/1.1 302 Found\r\nlocation: /elsewhere\r\ncontent-length: 0\r\n\r\n");
    });
    assert_eq!(get(&client(|_| {}), address).expect("an answer").status, 302);
}

#[test]
fn calls_beyond_those_running_and_waiting_are_refused_at_once() {
    let (release, gate) = mpsc::channel::<()>();
    let gate = Mutex::new(gate);
    let (arrived, at_peer) = mpsc::channel();
    let arrived = Mutex::new(arrived);
    let address = peer(move |_, mut stream| {
        read_head(&mut stream);
        let _ = arrived.lock().expect("whole").send(());
        let _ = gate.lock().expect("whole").recv();
        answer(&mut stream, "ok");
    });
    let client = client(|limits| (limits.concurrency, limits.waiting) = (1, 1));
    let callers: Vec<_> = (0..2)
        .map(|_| {
            let receiver =
                client.submit(Call::new(Method::GET, format!("http://{address}/"))).expect("admitted");
            thread::spawn(move || receiver.blocking_recv().expect("a result").map(|answer| answer.status))
        })
        .collect();
    at_peer.recv().expect("the first runs");
    assert_eq!(get(&client, address).expect_err("full"), OutboundError::Busy);
    assert!(at_peer.try_recv().is_err(), "the second waits for its turn");
    for _ in 0..2 {
        release.send(()).expect("the peer listens");
    }
    for caller in callers {
        assert_eq!(caller.join().expect("no panic"), Ok(200));
    }
}

#[test]
fn errors_are_typed_and_hold_nothing_of_the_request() {
    let client = client(|_| {});
    let unused = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("bound");
    let error = client
        .call(Call::new(Method::GET, format!("http://user:hunter2@{unused}/path?token=hunter2")))
        .expect_err("nobody listens");
    assert_eq!(error, OutboundError::Connect(std::io::ErrorKind::ConnectionRefused));
    assert!(!error.to_string().contains("hunter2"));
    for uri in ["", "/relative", "ftp://a/", "http://", "http://a b/"] {
        let error = client.call(Call::new(Method::GET, uri)).expect_err(uri);
        assert_eq!(error, OutboundError::InvalidUri, "{uri}");
    }
    let mut call = Call::new(Method::GET, format!("http://{unused}/"));
    call.headers.push(("x-a".into(), "line\r\nx-b: injected".into()));
    assert_eq!(client.call(call).expect_err("refused"), OutboundError::InvalidUri);
    let address = peer(|_, mut stream| {
        read_head(&mut stream);
        let _ = stream.write_all(b"SMTP ready\r\n\r\n");
    });
    assert_eq!(get(&client, address).expect_err("not HTTP"), OutboundError::Response);
    let address = peer(|_, stream| drop(stream));
    assert!(get(&client, address).expect_err("closed").may_pass());
}

#[test]
fn a_peer_that_does_not_speak_tls_is_a_tls_or_connection_error() {
    let address = peer(|_, mut stream| {
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
        let _ = stream.read(&mut [0; 1024]);
    });
    let mut call = Call::new(Method::GET, format!("https://{address}/"));
    call.tls = super::any_server();
    let error = client(|_| {}).call(call).expect_err("no TLS there");
    assert!(matches!(error, OutboundError::Tls(_)), "{error:?}");
}

#[test]
fn clear_text_through_a_proxy_has_an_absolute_target_and_a_proxy_that_refuses_is_named() {
    let (asked, heads) = mpsc::channel();
    let asked = Mutex::new(asked);
    let proxy = peer(move |index, mut stream| {
        let _ = asked.lock().expect("whole").send(read_head(&mut stream));
        if index == 1 {
            let _ = stream.write_all(b"HTTP/1.1 407 Who\r\ncontent-length: 0\r\n\r\n");
        } else {
            answer(&mut stream, "ok");
        }
    });
    let through = ForwardProxy::new(proxy.ip().to_string(), proxy.port());
    let through = Arc::new(through.with_credentials("u", &Secret::new("p".to_owned())));
    let call = |uri: &str| {
        let mut call = Call::new(Method::GET, uri);
        call.proxy = Some(through.clone());
        client(|_| {}).call(call)
    };
    assert_eq!(call("http://user:pass@logs.test:81/a?b=c").expect("an answer").body, "ok");
    let head = heads.recv().expect("a request");
    assert!(head.starts_with("GET http://logs.test:81/a?b=c HTTP/1.1\r\n"), "{head}");
    for field in ["host: logs.test:81\r\n", "proxy-authorization: basic dtpw\r\n"] {
        assert_eq!(head.to_ascii_lowercase().matches(field).count(), 1, "{head}");
    }
    let refused = call("http://logs.test/").expect_err("refused");
    let named = format!("http://{proxy}: it asks for other credentials (status 407)");
    assert_eq!(refused, OutboundError::Proxy(named));
    assert!(heads.recv().expect("a request").starts_with("GET http://logs.test/ HTTP/1.1\r\n"));
    let unused = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("bound");
    let mut call = Call::new(Method::GET, "https://logs.test/");
    call.tls = super::any_server();
    call.proxy = Some(Arc::new(ForwardProxy::new("127.0.0.1", unused.port())));
    let refused = client(|_| {}).call(call).expect_err("nobody listens");
    assert_eq!(
        refused,
        OutboundError::Proxy(format!("http://{unused}: connection failed: connection refused"))
    );
}

/// Self-signed, for `localhost` and 127.0.0.1; made with `openssl req -x509` for this test only.
fn certificate() -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(include_bytes!("fixtures/self-signed.crt")).expect("a certificate")
}

/// Answers one request on each TLS connection.
fn tls_peer() -> SocketAddr {
    let key = PrivateKeyDer::from_pem_slice(include_bytes!("fixtures/self-signed.key")).expect("a key");
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("TLS 1.2 and 1.3")
        .with_no_client_auth()
        .with_single_cert(vec![certificate()], key)
        .expect("they belong together");
    let config = Arc::new(config);
    peer(move |_, stream| {
        let connection = ServerConnection::new(config.clone()).expect("a connection");
        let mut stream = StreamOwned::new(connection, stream);
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") {
            if !stream.read(&mut byte).is_ok_and(|n| n == 1) {
                return;
            }
            head.push(byte[0]);
        }
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nsecret");
        let _ = stream.flush();
    })
}

#[test]
fn a_server_is_verified_against_the_systems_roots_or_the_given_configuration() {
    let address = tls_peer();
    let client = client(|_| {});
    let call = |tls| {
        let mut call = Call::new(Method::GET, format!("https://{address}/"));
        call.tls = tls;
        client.call(call)
    };
    let error = call(None).expect_err("nobody vouches for it");
    assert!(matches!(error, OutboundError::Tls(_) | OutboundError::NoRoots), "{error:?}");
    assert_eq!(call(super::any_server()).expect("whoever it is").body, "secret");
    let mut roots = RootCertStore::empty();
    roots.add(certificate()).expect("an anchor");
    let pinned = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("TLS 1.2 and 1.3")
        .with_root_certificates(roots)
        .with_no_client_auth();
    assert_eq!(call(Some(Arc::new(pinned))).expect("the very certificate").body, "secret");
}
