//! Who is there.

use std::time::{Duration, Instant};

use super::*;
use crate::{
    cluster::{
        Membership,
        membership::{Event, Said, State},
    },
    storage::Beat,
};

const SECOND: Duration = Duration::from_secs(1);

fn said(digest: &str) -> Said {
    Said { digest: digest.to_owned(), state: State::Applied, ..Said::default() }
}

/// Replicas, and a storage that keeps what they say.
struct Cluster {
    now: Instant,
    counted: u64,
    words: Vec<Beat>,
}

impl Cluster {
    fn new() -> Self {
        Self { now: Instant::now(), counted: 0, words: Vec::new() }
    }

    fn put(&mut self, member: &str, value: Vec<u8>) {
        self.words.retain(|word| word.member != member);
        self.words.push(Beat { member: member.to_owned(), value, age: Duration::ZERO });
        self.words.sort_by(|a, b| a.member.cmp(&b.member));
    }

    fn speaks(&mut self, id: &str, replica: &mut Membership, digest: &str) {
        let word = replica.say(said(digest));
        self.put(id, word);
    }

    /// The own beat of a replica, a second after the one before.
    fn beat(&mut self, own: &mut Membership, digest: &str) -> Vec<Event> {
        self.now += SECOND;
        self.counted += 1;
        self.speaks("own", own, digest);
        own.heard(&self.words, Some(self.counted), self.now)
    }
}

fn replica(id: &str, ring: Option<&Arc<KeyRing>>, life: u64) -> Membership {
    Membership::new(GATEWAY, id, ring.cloned(), life)
}

fn ids(membership: &Membership) -> Vec<String> {
    membership.members().into_iter().map(|member| member.id).collect()
}

#[test]
fn replicas_are_counted_and_ranked_by_their_ids() {
    let mut cluster = Cluster::new();
    let (mut own, mut a, mut z) = (replica("own", None, 1), replica("a", None, 1), replica("z", None, 1));
    assert!(cluster.beat(&mut own, "d").is_empty());
    assert_eq!((own.replicas(), own.rank()), (1, 0));
    cluster.speaks("a", &mut a, "d");
    cluster.speaks("z", &mut z, "d");
    let events = cluster.beat(&mut own, "d");
    assert!(matches!(&events[..], [Event::Joined { .. }, Event::Joined { .. }]), "{events:?}");
    assert_eq!((own.replicas(), own.rank(), own.same_digest()), (3, 1, true));
    assert_eq!(ids(&own), ["a", "own", "z"]);
}

#[test]
fn a_replica_that_repeats_its_last_word_is_gone_after_five_seconds() {
    let ring = ring(&[&KeyRing::new_line("a")]);
    let mut cluster = Cluster::new();
    let (mut own, mut a) = (replica("own", Some(&ring), 1), replica("a", Some(&ring), 1));
    cluster.speaks("a", &mut a, "d");
    let older = cluster.words[0].value.clone();
    cluster.speaks("a", &mut a, "d");
    cluster.beat(&mut own, "d");
    for _ in 0..4 {
        assert!(cluster.beat(&mut own, "d").is_empty());
    }
    // Neither the last word nor one before it keeps a replica alive.
    cluster.put("a", older);
    assert_eq!(cluster.beat(&mut own, "d"), [Event::Left { id: "a".to_owned() }]);
    assert_eq!(own.replicas(), 1);
}

#[test]
fn a_replica_that_takes_its_leave_is_gone_at_once() {
    let mut cluster = Cluster::new();
    let (mut own, mut a) = (replica("own", None, 1), replica("a", None, 1));
    for _ in 0..6 {
        cluster.speaks("a", &mut a, "d");
        cluster.beat(&mut own, "d");
    }
    cluster.words.retain(|word| word.member != "a");
    assert_eq!(cluster.beat(&mut own, "d"), [Event::Left { id: "a".to_owned() }]);
}

#[test]
fn nobody_brings_a_replica_back_by_repeating_what_it_said() {
    let ring = ring(&[&KeyRing::new_line("a")]);
    let mut cluster = Cluster::new();
    let (mut own, mut a) = (replica("own", Some(&ring), 1), replica("a", Some(&ring), 1));
    let came_and_went = |events: &[Event]| matches!(events, [Event::Joined { .. }, Event::Left { .. }]);
    for _ in 0..3 {
        // It comes back itself, and is killed.
        cluster.speaks("a", &mut a, "d");
        let events: Vec<Event> = (0..30).flat_map(|_| cluster.beat(&mut own, "d")).collect();
        assert!(came_and_went(&events), "{events:?}");
    }
    // One that takes its leave.
    cluster.speaks("a", &mut a, "d");
    let mut events = cluster.beat(&mut own, "d");
    let last = cluster.words.remove(0);
    events.extend(cluster.beat(&mut own, "d"));
    cluster.words.insert(0, last);
    events.extend((0..30).flat_map(|_| cluster.beat(&mut own, "d")));
    assert!(came_and_went(&events), "{events:?}");
    cluster.speaks("a", &mut replica("a", Some(&ring), 2), "d");
    cluster.beat(&mut own, "d");
    assert_eq!(own.replicas(), 2, "another life of it");
}

#[test]
fn of_too_many_that_are_gone_those_that_left_last_are_remembered() {
    let mut cluster = Cluster::new();
    let mut own = replica("own", None, 1);
    let mut words: Vec<Vec<Beat>> = Vec::new();
    for batch in 0..5 {
        for number in 0..1000 {
            let id = format!("{batch}.{number}");
            let value = replica(&id, None, 1).say(said("d"));
            cluster.words.push(Beat { member: id, value, age: Duration::ZERO });
        }
        words.push(cluster.words.iter().filter(|word| word.member != "own").cloned().collect());
        cluster.beat(&mut own, "d");
        cluster.words.clear();
        (0..6).for_each(|_| drop(cluster.beat(&mut own, "d")));
        assert_eq!(own.replicas(), 1);
    }
    for (batch, replicas) in [(4, 1), (0, 1 + 5000 - 4096)] {
        cluster.words = words[batch].clone();
        cluster.beat(&mut own, "d");
        assert_eq!(own.replicas(), replicas, "{batch}");
    }
}

#[test]
fn after_an_interruption_the_others_have_a_moment_to_be_heard_again() {
    let mut cluster = Cluster::new();
    let (mut own, mut a) = (replica("own", None, 1), replica("a", None, 1));
    for _ in 0..6 {
        cluster.speaks("a", &mut a, "d");
        cluster.beat(&mut own, "d");
    }
    for _ in 0..60 {
        cluster.now += SECOND;
        own.missed();
    }
    assert_eq!(own.replicas(), 2, "what was last seen stays");
    // The storage has forgotten who does not speak.
    cluster.words.clear();
    cluster.beat(&mut own, "d");
    assert_eq!(own.replicas(), 2);
    cluster.speaks("a", &mut a, "d");
    for _ in 0..4 {
        assert!(cluster.beat(&mut own, "d").is_empty());
    }
    assert_eq!(own.replicas(), 2);
}

#[test]
fn a_restarted_replica_under_the_same_id_is_heard_at_once() {
    let mut cluster = Cluster::new();
    let (mut own, mut a) = (replica("own", None, 1), replica("a", None, 10));
    for _ in 0..3 {
        cluster.speaks("a", &mut a, "old");
        cluster.beat(&mut own, "d");
    }
    let mut again = replica("a", None, 11);
    cluster.speaks("a", &mut again, "d");
    cluster.beat(&mut own, "d");
    assert!(own.same_digest());
}

#[test]
fn different_digests_are_reported_once_when_they_last_and_once_when_they_are_over() {
    let mut cluster = Cluster::new();
    let (mut own, mut a) = (replica("own", None, 1), replica("a", None, 1));
    let mut round = |own: &mut Membership, digest: &str| {
        cluster.speaks("a", &mut a, "new");
        cluster.beat(own, digest)
    };
    round(&mut own, "new");
    // A change reaches all within a moment.
    for _ in 0..3 {
        assert!(round(&mut own, "old").is_empty());
    }
    assert!(round(&mut own, "new").is_empty());
    let events: Vec<Event> = (0..20).flat_map(|_| round(&mut own, "old")).collect();
    let expected = vec![("new".to_owned(), vec!["a".to_owned()]), ("old".to_owned(), vec!["own".to_owned()])];
    assert_eq!(events, [Event::Differ(expected)]);
    assert!(!own.same_digest());
    let events: Vec<Event> = (0..20).flat_map(|_| round(&mut own, "new")).collect();
    assert_eq!(events, [Event::Agree]);
}

#[test]
fn a_storage_that_counts_on_from_before_has_lost_its_memory() {
    let mut cluster = Cluster::new();
    let mut own = replica("own", None, 1);
    for _ in 0..5 {
        assert!(cluster.beat(&mut own, "d").is_empty());
    }
    for counted in [0, 0] {
        cluster.counted = counted;
        assert_eq!(cluster.beat(&mut own, "d"), [Event::LostMemory], "{counted}");
    }
    assert!(cluster.beat(&mut own, "d").is_empty());
    // A step that may or may not have been counted is no loss, and no stranger.
    own.missed();
    own.missed();
    cluster.counted += 1;
    assert!(cluster.beat(&mut own, "d").is_empty());
    own.missed();
    assert!(cluster.beat(&mut own, "d").is_empty());
}

#[test]
fn who_bears_the_id_of_this_replica_too_is_noticed() {
    let mut cluster = Cluster::new();
    let mut own = replica("own", None, 1);
    cluster.beat(&mut own, "d");
    let events: Vec<Event> = (0..10)
        .flat_map(|_| {
            cluster.counted += 1;
            cluster.beat(&mut own, "d")
        })
        .collect();
    assert_eq!(events, [Event::SameId]);
}

#[test]
fn with_keys_only_what_is_sealed_for_this_id_and_gateway_counts() {
    let ring = ring(&[&KeyRing::new_line("a")]);
    let mut cluster = Cluster::new();
    let mut own = replica("own", Some(&ring), 1);
    let sealed_for_b = replica("b", Some(&ring), 1).say(said("d"));
    cluster.put("a", sealed_for_b);
    let mut elsewhere = Membership::new("another", "c", Some(Arc::clone(&ring)), 1);
    cluster.speaks("c", &mut elsewhere, "d");
    cluster.speaks("plain", &mut replica("plain", None, 1), "d");
    cluster.put("forged", b"\x01\x01a".to_vec());
    assert_eq!(cluster.beat(&mut own, "d"), [Event::Ignored { members: 4 }]);
    assert_eq!(own.replicas(), 1);
    assert!(cluster.beat(&mut own, "d").is_empty(), "said once");
}

#[test]
fn a_word_is_small_and_holds_nothing_that_could_spoil_a_log() {
    let mut talkative = replica("a", None, 1);
    let long = Said { name: "n\n".repeat(5000), reason: Some("é".repeat(5000)), ..said("d") };
    let word = talkative.say(long);
    let read = Said::decode(&word).unwrap();
    assert!(word.len() < 4096 && read.name.len() == 256 && !read.name.contains('\n'), "{}", word.len());
    let good = String::from_utf8(word).unwrap();
    assert!(Said::decode(good.replace("\"d\"", "\"d\\u0007\"").as_bytes()).is_none());
    assert!(Said::decode(good.replace("\"d\"", &format!("\"{}\"", "d".repeat(257))).as_bytes()).is_none());
    assert!(Said::decode(good.replace("applied", "risen").as_bytes()).is_none());
    assert!(Said::decode(&vec![b' '; 10_000]).is_none());
    // A later version may say more.
    assert!(Said::decode(good.replacen('{', "{\"more\":[1],", 1).as_bytes()).is_some());
}

#[test]
fn the_newest_version_that_others_have_counts_only_if_they_can_prove_it() {
    let ring = ring(&[&KeyRing::new_line("a")]);
    let newest = |ring: Option<&Arc<KeyRing>>| {
        let mut cluster = Cluster::new();
        let (mut own, mut a) = (replica("own", ring, 1), replica("a", ring, 1));
        let word = a.say(Said { record: Some(9), ..said("d") });
        cluster.put("a", word);
        cluster.beat(&mut own, "d");
        own.newest_record()
    };
    assert_eq!((newest(Some(&ring)), newest(None)), (Some(9), None));
}
