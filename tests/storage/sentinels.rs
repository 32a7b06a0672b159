//! Sentinels of which one knows less than the others, or does not answer: the others are asked too.

use std::net::SocketAddr;

use cluster_tests::{
    ports,
    redis::{Redis, Terms},
};
use portcullis::storage::{
    Storage,
    redis::plan::{Credentials, Plan, Topology},
};

use super::{THREAD, address, addresses, connected, eventually, hostile::Impostor, run};

fn attached(sentinels: &[&Impostor]) -> Storage {
    let sentinels: Vec<SocketAddr> = sentinels.iter().map(|sentinel| sentinel.address).collect();
    let plan = Plan::new(Topology::Sentinel {
        sentinels: addresses(&sentinels),
        master: "m".to_owned(),
        credentials: Credentials::default(),
    });
    let storage = Storage::in_memory();
    storage.attach(Some(&plan), &THREAD).expect("a plan that can be made");
    storage
}

/// A sentinel that names this master.
fn naming(master: SocketAddr) -> Impostor {
    let sentinel = Impostor::new("-ERR unknown command\r\n");
    names(&sentinel, master);
    sentinel
}

fn names(sentinel: &Impostor, master: SocketAddr) {
    let (host, port) = (master.ip().to_string(), master.port().to_string());
    sentinel.says(format!("*2\r\n${}\r\n{host}\r\n${}\r\n{port}\r\n", host.len(), port.len()));
}

#[test]
fn a_sentinel_that_still_names_the_old_master_does_not_hide_the_others() {
    let master = Redis::standalone();
    let demoted =
        Redis::start(Terms::new().line(&format!("replicaof 127.0.0.1 {}", master.address().port())));
    let gone = SocketAddr::from(([127, 0, 0, 1], ports::free()));
    for old in [gone, demoted.address()] {
        run(async {
            let storage = attached(&[&naming(old), &naming(master.address())]);
            connected(&storage).await;
            assert_eq!(storage.status().nodes[0].address, address(master.address()).to_string());
        });
    }
}

#[test]
fn a_sentinel_that_does_not_answer_does_not_hide_what_the_others_say_of_a_master_that_lives() {
    let (old, new) = (Redis::standalone(), Redis::standalone());
    let (silent, other) = (Impostor::new(""), naming(old.address()));
    silent.says("");
    run(async {
        let storage = attached(&[&silent, &other]);
        connected(&storage).await;
        // The connection with the one that answered is given up.
        let before = silent.asked();
        other.says("");
        eventually("the first is asked again", async || (silent.asked() > before).then_some(())).await;
        names(&other, new.address());
        let new = address(new.address()).to_string();
        eventually("the new master is followed", async || {
            let status = storage.status();
            (status.connected && status.nodes[0].address == new).then_some(())
        })
        .await;
    });
}
