//! The built-in access log (decision 8): a line for each request, whatever became of it.

use std::net::SocketAddr;

use cluster_tests::client::Client;
use cluster_tests::config::api;
use cluster_tests::gateway::{Gateway, Plan};
use cluster_tests::http2::code::CANCEL;
use cluster_tests::http2::{Http2, get, kind, reset};
use cluster_tests::ports;
use cluster_tests::upstream::Upstream;

fn logging(upstream: &Upstream) -> (Gateway, SocketAddr) {
    let port = ports::free();
    let api = api("api", &format!("http://127.0.0.1:{port}"), &upstream.url());
    let plan = Plan::new().with("api.yaml", &[api]).environment("PORTCULLIS_ACCESS_LOG", "true");
    (plan.start(), ([127, 0, 0, 1], port).into())
}

/// Answers with two bytes of a body that goes on for ever.
fn endless() -> Upstream {
    Upstream::start(|exchange| {
        exchange.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n")?;
        exchange.until_closed();
        Ok(())
    })
}

/// A client that has read the two bytes.
fn begun(address: SocketAddr, path: &str) -> Http2 {
    let mut client = Http2::connect(address);
    client.send(&get(1, path));
    assert_eq!(client.until(1, kind::DATA).expect("the beginning of a body").payload, b"ab");
    client
}

#[test]
fn what_its_client_cuts_is_logged_with_the_status_and_the_bytes_that_were_sent() {
    let upstream = endless();
    let (gateway, address) = logging(&upstream);
    let mut resetting = begun(address, "/reset");
    resetting.send(&reset(1, CANCEL));
    assert!(gateway.says(" GET /reset 200 ").ends_with(" in=0 out=2"));
    drop(begun(address, "/closed"));
    assert!(gateway.says(" GET /closed 200 ").ends_with(" in=0 out=2"));
    let mut client = Client::connect(address);
    client.send(b"GET /over-http-1 HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.head_for("GET").expect("a head").0.status, 200);
    drop(client);
    assert!(gateway.says(" GET /over-http-1 200 ").ends_with(" in=0 out=2"));
}
