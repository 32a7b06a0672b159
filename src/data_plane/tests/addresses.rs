//! Names with several addresses, and names that lead elsewhere after a while (configuration reference 7.3).

use std::{
    cell::RefCell,
    collections::BTreeMap,
    net::IpAddr,
    rc::Rc,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use tokio::{
    net::{TcpListener, TcpStream},
    time::{sleep, timeout},
};

use super::{
    bench::{Bench, accepted, run},
    http2_out,
};
use crate::{base::lock, data_plane::resolver::Lookup, resources::ServiceScheme};

const GET: &str = "GET / HTTP/1.1\r\nhost: h\r\n\r\n";

/// Loopback addresses that the name has.
#[derive(Clone, Default)]
struct Dns(Arc<Mutex<Vec<IpAddr>>>);

impl Dns {
    fn says(&self, hosts: &[u8]) {
        *lock(&self.0) = hosts.iter().map(|host| IpAddr::from([127, 0, 0, *host])).collect();
    }

    fn lookup(&self) -> Lookup {
        let dns = self.clone();
        Arc::new(move |_| {
            let addresses = lock(&dns.0).clone();
            Box::pin(async move { Ok(addresses) })
        })
    }
}

/// Listens at 127.0.0.HOST for each host, all on one port.
async fn listen(hosts: &[u8]) -> (u16, Vec<TcpListener>) {
    'port: loop {
        let first = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = first.local_addr().unwrap().port();
        let mut listeners = Vec::new();
        for host in hosts {
            match *host {
                1 => continue,
                host => match TcpListener::bind((IpAddr::from([127, 0, 0, host]), port)).await {
                    Ok(listener) => listeners.push(listener),
                    Err(_) => continue 'port,
                },
            }
        }
        if hosts.contains(&1) {
            listeners.insert(0, first);
        }
        return (port, listeners);
    }
}

/// What each address was asked, and how many connections it has accepted.
type Seen = Rc<RefCell<BTreeMap<u8, (usize, usize)>>>;

fn host_of(listener: &TcpListener) -> u8 {
    let IpAddr::V4(address) = listener.local_addr().unwrap().ip() else { panic!("no IPv6 here") };
    address.octets()[3]
}

/// Answers everything with its own number.
fn serve(listeners: Vec<TcpListener>, scheme: ServiceScheme) -> Seen {
    let seen = Seen::default();
    for listener in listeners {
        let (seen, host) = (Rc::clone(&seen), host_of(&listener));
        actix_rt::spawn(async move {
            loop {
                let asked = {
                    let seen = Rc::clone(&seen);
                    move || seen.borrow_mut().entry(host).or_default().0 += 1
                };
                if scheme == ServiceScheme::H2 {
                    let (stream, _) = listener.accept().await.unwrap();
                    seen.borrow_mut().entry(host).or_default().1 += 1;
                    actix_rt::spawn(async move {
                        // One that was opened in advance may have closed already.
                        let Ok(connection) = h2::server::handshake(stream).await else { return };
                        let mut requests = http2_out::requests(connection);
                        while let Some((_, mut respond)) = requests.recv().await {
                            asked();
                            respond.send_response(http2_out::head(200 + u16::from(host)), true).unwrap();
                        }
                    });
                } else {
                    let mut peer = accepted(&listener).await;
                    seen.borrow_mut().entry(host).or_default().1 += 1;
                    actix_rt::spawn(async move {
                        while peer.message().await.is_some() {
                            asked();
                            let head =
                                format!("HTTP/1.1 {} OK\r\ncontent-length: 0\r\n\r\n", 200 + u16::from(host));
                            peer.send(head).await;
                        }
                    });
                }
            }
        });
    }
    seen
}

#[test]
fn requests_take_turns_over_the_addresses_of_a_name() {
    for scheme in [ServiceScheme::Http, ServiceScheme::H2] {
        run(async move {
            let (port, listeners) = listen(&[1, 2, 3]).await;
            let seen = serve(listeners, scheme);
            let dns = Dns::default();
            dns.says(&[1, 2, 3]);
            let bench = Bench::named(scheme, port, dns.lookup()).await;
            let mut client = bench.connect().await;
            // The first makes one connection, the others come in advance.
            for _ in 0..20 {
                client.send(GET).await;
                client.message().await.unwrap();
                sleep(Duration::from_millis(5)).await;
            }
            seen.borrow_mut().values_mut().for_each(|seen| seen.0 = 0);
            for _ in 0..30 {
                client.send(GET).await;
                client.message().await.unwrap();
            }
            assert_eq!(
                *seen.borrow(),
                BTreeMap::from([(1, (10, 1)), (2, (10, 1)), (3, (10, 1))]),
                "{scheme:?}"
            );
        });
    }
}

/// Takes no more connections: the kernel answers nothing, as somebody who is gone.
async fn silence(listener: &TcpListener) -> Vec<TcpStream> {
    socket2::SockRef::from(listener).listen(0).unwrap();
    let mut held = Vec::new();
    let connect = || TcpStream::connect(listener.local_addr().unwrap());
    while let Ok(Ok(stream)) = timeout(Duration::from_millis(50), connect()).await {
        held.push(stream);
    }
    held
}

#[test]
fn an_address_that_cannot_be_reached_costs_no_request_its_answer() {
    run(async {
        let (port, mut listeners) = listen(&[1, 2, 3]).await;
        let silent = listeners.pop().unwrap();
        let _held = silence(&silent).await;
        // 4 refuses.
        let seen = serve(listeners, ServiceScheme::Http);
        let dns = Dns::default();
        dns.says(&[3, 4, 1, 2]);
        let bench = Bench::named(ServiceScheme::Http, port, dns.lookup()).await;
        let begin = Instant::now();
        for _ in 0..40 {
            assert!(["201", "202"].contains(&bench.ask(GET).await.status()));
        }
        assert!(begin.elapsed() < Duration::from_secs(4), "{:?}", begin.elapsed());
        let asked: Vec<usize> = seen.borrow().values().map(|seen| seen.0).collect();
        assert!(asked.len() == 2 && asked.iter().all(|asked| *asked >= 10), "{asked:?}");
    });
}

#[test]
fn all_addresses_together_have_the_time_of_one_connection() {
    run(async {
        let (port, listeners) = listen(&[1, 2, 3]).await;
        let mut held = Vec::new();
        for listener in &listeners {
            held.extend(silence(listener).await);
        }
        let dns = Dns::default();
        dns.says(&[1, 2, 3]);
        let bench = Bench::named(ServiceScheme::Http, port, dns.lookup()).await;
        let begin = Instant::now();
        assert_eq!(bench.ask(GET).await.status(), "503");
        let limit = Bench::connect_timeout();
        assert!((limit..limit * 2).contains(&begin.elapsed()), "{:?}", begin.elapsed());
    });
}

#[test]
fn addresses_take_turns_where_each_request_needs_a_connection_and_come_back_after_a_failure() {
    run(async {
        let (port, mut listeners) = listen(&[1, 2, 3]).await;
        let third = listeners.pop().unwrap();
        let away = third.local_addr().unwrap();
        drop(third);
        let seen = Seen::default();
        listeners.into_iter().for_each(|listener| serve_once(listener, &seen));
        let dns = Dns::default();
        dns.says(&[1, 2, 3]);
        let bench = Bench::named(ServiceScheme::Http, port, dns.lookup()).await;
        let ask = async |count| {
            for _ in 0..count {
                assert_eq!(bench.ask(GET).await.status(), "200");
                bench.look();
                sleep(Duration::from_millis(5)).await;
            }
        };
        ask(10).await;
        seen.borrow_mut().clear();
        ask(20).await;
        let asked = seen.borrow().clone();
        assert!(asked.len() == 2 && asked.values().all(|seen| seen.0 >= 8), "{asked:?}");
        serve_once(TcpListener::bind(away).await.unwrap(), &seen);
        // It has failed once, and gets another try after a second.
        let begin = Instant::now();
        while !seen.borrow().contains_key(&3) {
            assert!(begin.elapsed() < Duration::from_secs(20));
            ask(1).await;
        }
        seen.borrow_mut().clear();
        ask(30).await;
        let asked = seen.borrow().clone();
        assert!(asked.len() == 3 && asked.values().all(|seen| seen.0 >= 8), "{asked:?}");
    });
}

/// Answers one request on each connection, and counts them.
fn serve_once(listener: TcpListener, seen: &Seen) {
    let (seen, host) = (Rc::clone(seen), host_of(&listener));
    actix_rt::spawn(async move {
        loop {
            let mut peer = accepted(&listener).await;
            let seen = Rc::clone(&seen);
            actix_rt::spawn(async move {
                // What was opened in advance may never be used.
                if peer.message().await.is_some() {
                    seen.borrow_mut().entry(host).or_default().0 += 1;
                    peer.send("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n").await;
                }
            });
        }
    });
}

#[test]
fn a_name_that_leads_elsewhere_is_followed_while_its_connections_are_busy() {
    for scheme in [ServiceScheme::Http, ServiceScheme::H2] {
        run(async move {
            let (port, listeners) = listen(&[1, 2]).await;
            let seen = serve(listeners, scheme);
            let dns = Dns::default();
            dns.says(&[1]);
            let bench = Bench::named(scheme, port, dns.lookup()).await;
            let mut client = bench.connect().await;
            let mut moved = None;
            for number in 0..200 {
                if number == 50 {
                    dns.says(&[2]);
                }
                client.send(GET).await;
                let status = client.message().await.unwrap().status().to_owned();
                match status.as_str() {
                    "201" if moved.is_none() => {}
                    "202" => moved = moved.or(Some(number)),
                    status => panic!("{status} at {number}"),
                }
                bench.look();
                sleep(Duration::from_millis(2)).await;
            }
            assert!(moved.is_some_and(|moved| (50..70).contains(&moved)), "{scheme:?}: {moved:?}");
            let seen = seen.borrow();
            assert_eq!((seen[&1].1, seen[&2].1), (1, 1), "one connection each");
            assert_eq!(bench.upstream.gauges.line.connections(), 1, "the other one is closed");
        });
    }
}

#[test]
fn what_is_under_way_ends_where_it_began_and_its_connection_is_not_used_again() {
    run(async {
        let (port, listeners) = listen(&[1, 2]).await;
        let [old, new] = <[TcpListener; 2]>::try_from(listeners).unwrap();
        let dns = Dns::default();
        dns.says(&[1]);
        let bench = Bench::named(ServiceScheme::Http, port, dns.lookup()).await;
        let mut client = bench.connect().await;
        client.send(GET).await;
        let mut slow = accepted(&old).await;
        slow.message().await.unwrap();
        dns.says(&[2]);
        for _ in 0..3 {
            bench.look();
            sleep(Duration::from_millis(5)).await;
        }
        let seen = serve(vec![new], ServiceScheme::Http);
        assert_eq!(bench.ask(GET).await.status(), "202");
        slow.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
        assert_eq!(client.message().await.unwrap().body, b"ok");
        assert_eq!(slow.rest().await, (Vec::new(), true), "it closes");
        client.send(GET).await;
        assert_eq!(client.message().await.unwrap().status(), "202");
        assert_eq!(seen.borrow()[&2].0, 2);
    });
}
