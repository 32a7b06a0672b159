//! The fault proxy against clients and servers of the harness.

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use cluster_tests::client::{Client, get};
use cluster_tests::eventually;
use cluster_tests::fault_proxy::{FaultProxy, Faults, Way};
use cluster_tests::upstream::Upstream;

const SHORT: Duration = Duration::from_millis(200);
const ASK: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";

/// A server that answers each request with `right`.
fn server() -> (Upstream, FaultProxy) {
    let server = Upstream::start(|exchange| exchange.reply(200, "", b"right"));
    let proxy = FaultProxy::start(server.address());
    (server, proxy)
}

fn took(client: &mut Client) -> Duration {
    let begun = Instant::now();
    assert_eq!(client.get("/", "a", "").text(), "right");
    begun.elapsed()
}

#[test]
fn without_faults_bytes_pass_both_ways_and_are_counted() {
    let server = Upstream::echo("up");
    let proxy = FaultProxy::start(server.address());
    let body = "x".repeat(3 << 20);
    let answer = cluster_tests::client::call(proxy.address(), "POST", "/", "", &body).json();
    assert!(answer["body"] == body.as_str());
    eventually("it is over", || (proxy.open() == 0).then_some(()));
    assert!(proxy.bytes(Way::ToServer) > 3 << 20 && proxy.bytes(Way::ToClient) > 3 << 20);
    assert_eq!(proxy.bytes(Way::Both), proxy.bytes(Way::ToServer) + proxy.bytes(Way::ToClient));
    assert_eq!((proxy.connections(), server.connections()), (1, 1));
}

#[test]
fn a_delay_comes_to_a_live_connection_each_way_by_itself_and_a_loss_is_a_stall() {
    let (_server, proxy) = server();
    let mut client = Client::connect(proxy.address());
    took(&mut client);
    proxy.set(Way::ToServer, Faults { delay: SHORT, jitter: SHORT, ..Faults::default() });
    assert!(took(&mut client) >= SHORT);
    proxy.delay(SHORT);
    assert!(took(&mut client) >= 2 * SHORT);
    proxy.set(Way::Both, Faults { loss: 1.0, stall: 2 * SHORT, ..Faults::default() });
    assert!(took(&mut client) >= 4 * SHORT);
    proxy.set(Way::Both, Faults { loss: 0.0, stall: Duration::MAX, ..Faults::default() });
    took(&mut client);
    assert_eq!(proxy.connections(), 1);
}

#[test]
fn what_is_on_its_way_follows_a_change_at_once_and_in_order() {
    let (server, proxy) = server();
    let mut client = Client::connect(proxy.address());
    proxy.set(Way::ToServer, Faults { delay: Duration::from_secs(3600), jitter: SHORT, ..Faults::default() });
    for number in 0..20 {
        client.send(format!("GET /{number} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes());
    }
    assert!(client.silent_for(SHORT));
    proxy.set(Way::ToServer, Faults { jitter: SHORT, ..Faults::default() });
    for _ in 0..20 {
        assert_eq!(client.response_to("GET").expect("an answer").status, 200);
    }
    let targets: Vec<_> = server.received().into_iter().map(|request| request.target).collect();
    assert_eq!(targets, (0..20).map(|number| format!("/{number}")).collect::<Vec<_>>());
}

#[test]
fn a_partition_ends_no_connection_and_loses_nothing() {
    let (server, proxy) = server();
    let mut client = Client::connect(proxy.address());
    took(&mut client);
    proxy.partition();
    client.send(ASK);
    let mut other = Client::connect(proxy.address());
    other.send(ASK);
    assert!(client.silent_for(SHORT) && other.silent_for(SHORT));
    assert_eq!(server.received().len(), 1);
    proxy.heal();
    for client in [&mut client, &mut other] {
        assert_eq!(client.response_to("GET").expect("an answer").text(), "right");
    }
}

#[test]
fn a_black_hole_swallows_and_what_has_a_gap_stays_silent_while_new_connections_live() {
    let (server, proxy) = server();
    let (mut torn, mut idle) = (Client::connect(proxy.address()), Client::connect(proxy.address()));
    took(&mut torn);
    took(&mut idle);
    proxy.black_hole();
    torn.send(ASK);
    assert!(torn.silent_for(SHORT));
    proxy.heal();
    torn.send(ASK);
    assert!(torn.silent_for(SHORT), "the stream has a gap");
    assert_eq!((get(proxy.address(), "/").status, server.received().len()), (200, 3));
    took(&mut idle);
}

#[test]
fn answers_can_be_swallowed_while_requests_arrive() {
    let (server, proxy) = server();
    let mut client = Client::connect(proxy.address());
    proxy.set(Way::ToClient, Faults { black_hole: true, ..Faults::default() });
    client.send(ASK);
    eventually("the request arrives", || (server.received().len() == 1).then_some(()));
    assert!(client.silent_for(SHORT));
}

#[test]
fn while_it_refuses_live_connections_go_on_and_new_ones_find_nobody() {
    let (_server, proxy) = server();
    let mut client = Client::connect(proxy.address());
    for _ in 0..3 {
        proxy.refuse();
        let refused = TcpStream::connect(proxy.address()).expect_err("nobody listens");
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
        took(&mut client);
        proxy.heal();
        assert_eq!(get(proxy.address(), "/").text(), "right");
    }
    assert_eq!(proxy.connections(), 4);
}

#[test]
fn a_reset_is_seen_as_such_on_both_sides_also_by_one_who_does_not_read() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let proxy = FaultProxy::start(listener.local_addr().expect("bound"));
    for full in [false, true] {
        let mut client = TcpStream::connect(proxy.address()).expect("it listens");
        let (mut server, _) = listener.accept().expect("it connects");
        client.write_all(b"hello").expect("connected");
        server.read_exact(&mut [0; 5]).expect("hello");
        if full {
            client.set_write_timeout(Some(SHORT)).expect("not zero");
            while client.write(&[0; 65_536]).is_ok() {}
        }
        eventually("it is known", || (proxy.open() == 1).then_some(()));
        proxy.reset_connections();
        assert_eq!(proxy.open(), 0);
        for socket in [&mut client, &mut server] {
            let end = std::io::copy(socket, &mut std::io::sink()).expect_err("no orderly end");
            assert_eq!(end.kind(), ErrorKind::ConnectionReset);
        }
    }
}

#[test]
fn an_end_and_a_reset_of_one_side_reach_the_other() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let proxy = FaultProxy::start(listener.local_addr().expect("bound"));
    for reset in [false, true] {
        let client = TcpStream::connect(proxy.address()).expect("it listens");
        let (mut server, _) = listener.accept().expect("it connects");
        if reset {
            socket2::SockRef::from(&client).set_linger(Some(Duration::ZERO)).expect("a socket");
            drop(client);
            assert_eq!(server.read(&mut [0]).expect_err("a reset").kind(), ErrorKind::ConnectionReset);
        } else {
            client.shutdown(std::net::Shutdown::Write).expect("connected");
            assert_eq!(server.read(&mut [0]).expect("an orderly end"), 0);
            server.write_all(b"still").expect("the other way is open");
            drop(server);
            let mut rest = String::new();
            (&client).read_to_string(&mut rest).expect("an orderly end");
            assert_eq!(rest, "still");
        }
    }
}

#[test]
fn without_a_server_clients_see_a_reset() {
    let proxy = FaultProxy::start(([127, 0, 0, 1], cluster_tests::ports::free()).into());
    let mut client = TcpStream::connect(proxy.address()).expect("it listens");
    assert_eq!(client.read(&mut [0]).expect_err("no server").kind(), ErrorKind::ConnectionReset);
}

#[test]
fn a_bandwidth_is_kept_and_ends_when_it_is_lifted() {
    let server = Upstream::start(|exchange| exchange.reply(200, "", &[b'x'; 40_000]));
    let proxy = FaultProxy::start(server.address());
    proxy.set(Way::ToClient, Faults { bandwidth: Some(100_000), ..Faults::default() });
    let begun = Instant::now();
    assert_eq!(get(proxy.address(), "/").body.len(), 40_000);
    assert!(begun.elapsed() >= Duration::from_millis(350), "{:?}", begun.elapsed());
    let before = proxy.bytes(Way::ToClient);
    proxy.set(Way::ToClient, Faults { bandwidth: Some(1), ..Faults::default() });
    let mut client = Client::connect(proxy.address());
    client.send(ASK);
    eventually("it trickles", || (proxy.bytes(Way::ToClient) > before).then_some(()));
    proxy.heal();
    assert_eq!(client.response_to("GET").expect("an answer").body.len(), 40_000);
}
