//! What every storage keeps, whatever it is made of. Keys are new ones in each run, so that it can be run again on the
//! same storage.

use std::{collections::BTreeSet, time::Duration};

use futures_util::future::join_all;
use portcullis::storage::{
    Heard, Key, Keys, Storage, VALUE_BYTES_MAX, Versioned,
    quota::{Answer, Call, Leased},
};

use super::{GATEWAY, eventually, leased};

const LONG: Duration = Duration::from_secs(60);
const SHORT: Duration = Duration::from_millis(120);

/// A storage, and where in it this run works.
pub struct Run {
    storage: Storage,
    keys: Keys,
    nonce: [u8; 8],
}

/// Everything.
pub async fn holds(storage: &Storage) {
    let run =
        Run { storage: storage.clone(), keys: Keys::of(GATEWAY), nonce: fastrand::u64(..).to_be_bytes() };
    run.values().await;
    run.large_values().await;
    run.locks().await;
    run.numbers().await;
    run.versions().await;
    run.lists().await;
    run.members().await;
    run.messages().await;
    run.leases().await;
    run.a_shorter_period().await;
    run.many_at_once().await;
}

impl Run {
    fn key(&self, name: &str) -> Key {
        self.keys.digested("test", &[&self.nonce, name.as_bytes()])
    }

    async fn values(&self) {
        let (one, other, none) = (self.key("one"), self.key("other"), self.key("none"));
        self.storage.set(&one, b"1", LONG).await.expect("stored");
        self.storage.set(&other, b"\0\r\n\xff", LONG).await.expect("stored");
        let values = self.storage.get(&[none.clone(), other.clone(), one.clone()]).await.expect("an answer");
        assert_eq!(
            values,
            [None, Some(b"\0\r\n\xff".to_vec()), Some(b"1".to_vec())],
            "in the order of the keys"
        );
        assert_eq!(self.storage.get(&[]).await, Ok(Vec::new()));
        self.storage.set(&one, b"", LONG).await.expect("stored over");
        assert_eq!(self.value(&one).await, Some(Vec::new()), "empty is not nothing");
        self.storage.remove(&[one.clone(), none, other.clone()]).await.expect("removed");
        assert_eq!(self.storage.get(&[one.clone(), other]).await, Ok(vec![None, None]));
        self.storage.set(&one, b"brief", SHORT).await.expect("stored");
        self.gone(&one).await;
    }

    async fn large_values(&self) {
        for bytes in [16 << 10, (16 << 10) + 1, 1 << 20, VALUE_BYTES_MAX] {
            let key = self.key("large");
            let value: Vec<u8> = (0..bytes).map(|at| (at % 251) as u8).collect();
            self.storage.set(&key, &value, LONG).await.expect("stored");
            assert!(self.value(&key).await == Some(value), "{bytes} bytes come back as they were");
            self.storage.remove(&[key]).await.expect("removed");
        }
    }

    async fn locks(&self) {
        let lock = self.key("lock");
        assert_eq!(self.storage.set_if_absent(&lock, b"mine", LONG).await, Ok(true));
        assert_eq!(self.storage.set_if_absent(&lock, b"yours", LONG).await, Ok(false));
        assert_eq!(self.storage.remove_if(&lock, b"yours").await, Ok(false), "only who has it gives it back");
        assert_eq!(self.value(&lock).await.as_deref(), Some(&b"mine"[..]));
        assert_eq!(self.storage.remove_if(&lock, b"mine").await, Ok(true));
        assert_eq!(self.storage.remove_if(&lock, b"mine").await, Ok(false));
        assert_eq!(self.storage.set_if_absent(&lock, b"yours", SHORT).await, Ok(true));
        let free =
            async || self.storage.set_if_absent(&lock, b"mine", LONG).await.expect("an answer").then_some(());
        eventually("a lock whose time is over is free", free).await;
    }

    async fn numbers(&self) {
        let number = self.key("number");
        for expected in 1..=3 {
            assert_eq!(self.storage.increment(&number, LONG).await, Ok(expected));
        }
        assert_eq!(self.value(&number).await.as_deref(), Some(&b"3"[..]));
        self.storage.increment(&number, SHORT).await.expect("an answer");
        self.gone(&number).await;
        assert_eq!(self.storage.increment(&number, LONG).await, Ok(1), "it starts again");
        let brief = self.key("brief");
        assert_eq!(self.storage.prolong(&brief, LONG).await, Ok(false), "nothing comes of nothing");
        assert_eq!(self.value(&brief).await, None);
        self.storage.set(&brief, b"1", LONG).await.expect("stored");
        assert_eq!(self.storage.prolong(&brief, SHORT).await, Ok(true));
        self.gone(&brief).await;
    }

    async fn versions(&self) {
        let key = self.key("versioned");
        let versioned = |version, value: &[u8]| Versioned { version, value: value.to_vec() };
        assert_eq!(self.storage.versioned(&key).await, Ok(None));
        assert_eq!(self.storage.advance(&key, &versioned(9, b"nine")).await, Ok(true));
        for not_newer in [0, 8, 9] {
            assert_eq!(self.storage.advance(&key, &versioned(not_newer, b"old")).await, Ok(false));
        }
        assert_eq!(self.storage.versioned(&key).await, Ok(Some(versioned(9, b"nine"))));
        // Beyond what a double can tell apart, and by number rather than by text.
        for version in [10, 1 << 53, (1 << 53) + 1, u64::MAX] {
            let large = versioned(version, &vec![7; 1 << 20]);
            assert_eq!(self.storage.advance(&key, &large).await, Ok(true), "{version}");
            assert!(self.storage.versioned(&key).await == Ok(Some(large)), "{version}");
        }
        assert_eq!(self.storage.advance(&key, &versioned(u64::MAX - 1, b"")).await, Ok(false));
        let race = self.key("race");
        let advances = (1..=40).map(|version| {
            let (race, value) = (&race, versioned(version, format!("{version}").as_bytes()));
            async move { self.storage.advance(race, &value).await.expect("an answer") }
        });
        let advances = join_all(advances).await;
        assert!(advances[39], "the newest always gets in");
        assert_eq!(self.storage.versioned(&race).await, Ok(Some(versioned(40, b"40"))));
    }

    async fn lists(&self) {
        let list = self.key("list");
        let enter =
            async |member: &str| self.storage.enlist(&list, member, 3, LONG).await.expect("an answer");
        for member in ["c", "b", "a"] {
            assert_eq!(enter(member).await, Vec::<String>::new());
        }
        assert_eq!(enter("b").await, Vec::<String>::new(), "it is there, and keeps its place");
        assert_eq!(enter("d").await, ["c"], "the first to come is the first to go");
        self.storage.delist(&list, "b").await.expect("taken off");
        self.storage.delist(&list, "b").await.expect("it was not there");
        assert_eq!(self.storage.drain(&list, 1).await.expect("an answer"), ["a"]);
        assert_eq!(self.storage.drain(&list, 9).await.expect("an answer"), ["d"]);
        assert_eq!(self.storage.drain(&list, 9).await.expect("an answer"), Vec::<String>::new());
        self.storage.delist(&self.key("no list"), "b").await.expect("nothing to do");
        let old = self.key("old");
        self.storage.enlist(&old, "first", 9, LONG).await.expect("an answer");
        // However long it takes in truth, it is old then.
        tokio::time::sleep(2 * SHORT).await;
        let gone = self.storage.enlist(&old, "second", 9, SHORT).await.expect("an answer");
        assert_eq!(gone, ["first"], "what is older than it may be goes");
    }

    async fn members(&self) {
        let members = self.key("members");
        let beat = async |member: &str, value: &[u8], gone_after| {
            let all = self.storage.beat(&members, member, value, gone_after).await.expect("an answer");
            all.into_iter().map(|beat| (beat.member, beat.value, beat.age)).collect::<Vec<_>>()
        };
        let names = |all: &[(String, Vec<u8>, Duration)]| {
            all.iter().map(|(member, ..)| member.clone()).collect::<Vec<_>>()
        };
        assert_eq!(names(&beat("b", b"\0 \n", LONG).await), ["b"]);
        assert_eq!(names(&beat("c", b"", LONG).await), ["b", "c"]);
        let all = beat("a", b"1 2", LONG).await;
        assert_eq!(names(&all), ["a", "b", "c"], "by name");
        assert_eq!(
            (all[0].1.as_slice(), all[1].1.as_slice(), all[2].1.as_slice()),
            (&b"1 2"[..], &b"\0 \n"[..], &b""[..])
        );
        assert!(all.iter().all(|(.., age)| *age < LONG));
        self.storage.leave(&members, "a").await.expect("left");
        self.storage.leave(&members, "a").await.expect("it was not there");
        self.storage.leave(&self.key("no members"), "a").await.expect("nothing to do");
        assert_eq!(names(&beat("b", b"new", LONG).await), ["b", "c"]);
        eventually("who is not heard of is gone", async || {
            let all = beat("b", b"new", SHORT).await;
            (names(&all) == ["b"]).then_some(())
        })
        .await;
    }

    async fn messages(&self) {
        let (channel, other) = (self.keys.channel("test"), self.keys.channel("other"));
        let mut ours = self.storage.subscribe(&channel);
        let mut theirs = self.storage.subscribe(&other);
        let message = self.nonce.map(|byte| format!("{byte}")).join(".").into_bytes();
        // Whoever listens from now on hears what is published once it does.
        for (subscription, channel) in [(&mut ours, &channel), (&mut theirs, &other)] {
            eventually("a message", async || {
                self.storage.publish(channel, &message).await.expect("published");
                let heard = tokio::time::timeout(Duration::from_millis(50), subscription.next()).await;
                (heard == Ok(Heard::Message(message.clone()))).then_some(())
            })
            .await;
        }
    }

    async fn leases(&self) {
        let limit = self.key("limit");
        let call = |claimant: &str, number, claim, want| Call {
            claimant: claimant.to_owned(),
            number,
            window: None,
            claim,
            granted: claim > 0,
            want,
            limit: 10,
            period: LONG.as_micros() as u64,
            replicas: 1,
            rank: 0,
            lost: false,
        };
        let ask = async |call: Call| {
            leased(&self.storage, &[(limit.clone(), call)]).await.remove(0).expect("an answer")
        };
        let Answer::Leased(first) = ask(call("a", 1, 0, 4)).await else { panic!("a lease") };
        assert_eq!((first.grant, first.rest, first.carried), (4, 6, true));
        assert_eq!(first.window.end - first.window.start, LONG.as_micros() as u64);
        assert!((1..=LONG.as_micros() as u64).contains(&first.left));
        assert_eq!(ask(call("a", 1, 0, 4)).await, Answer::Stale, "a call that was answered");
        let known = Call { window: Some(first.window), replicas: 2, ..call("b", 1, 0, 9) };
        let Answer::Leased(second) = ask(known).await else { panic!("a lease") };
        assert_eq!((second.window, second.grant), (first.window, 1), "a share of the rest for the second");
        let Answer::Leased(back) = ask(Call { window: Some(first.window), ..call("a", 2, 1, 0) }).await
        else {
            panic!("a lease")
        };
        assert_eq!((back.grant, back.rest), (0, 8), "what is not claimed is given back");
        assert!(leased(&self.storage, &[]).await.is_empty());
    }

    /// Of a window that is over nobody holds anything, though it was longer than windows are now.
    async fn a_shorter_period(&self) {
        let limit = self.key("shorter");
        let ask = async |claimant: &str, want, period: Duration| {
            let call = Call {
                claimant: claimant.to_owned(),
                number: 1,
                window: None,
                claim: 0,
                granted: false,
                want,
                limit: 10,
                period: period.as_micros() as u64,
                replicas: 1,
                rank: 0,
                lost: false,
            };
            match leased(&self.storage, &[(limit.clone(), call)]).await.remove(0).expect("an answer") {
                Answer::Leased(leased) => leased,
                Answer::Stale => panic!("a lease"),
            }
        };
        let first = ask("a", 4, 2 * SHORT).await;
        tokio::time::sleep(Duration::from_micros(first.left) + Duration::from_millis(1)).await;
        let second = ask("b", 0, SHORT).await;
        assert_eq!((first.rest, second.rest), (6, 10));
    }

    /// Nothing is counted twice, whoever asks and however many at a time.
    async fn many_at_once(&self) {
        let number = self.key("many");
        let numbers = (0..200).map(|_| self.storage.increment(&number, LONG));
        let numbers: BTreeSet<u64> =
            join_all(numbers).await.into_iter().map(|number| number.expect("a number")).collect();
        assert_eq!(numbers, (1..=200).collect());
        let limits: Vec<Key> = (0..5).map(|limit| self.key(&format!("limit {limit}"))).collect();
        let asks = (0..20).map(|claimant| {
            let calls = limits.iter().map(|limit| {
                let call = Call {
                    claimant: format!("claimant {claimant}"),
                    number: 1,
                    window: None,
                    claim: 0,
                    granted: false,
                    want: 100,
                    limit: 500,
                    period: LONG.as_micros() as u64,
                    replicas: 4,
                    rank: 0,
                    lost: false,
                };
                (limit.clone(), call)
            });
            let calls: Vec<_> = calls.collect();
            async move { leased(&self.storage, &calls).await }
        });
        let mut granted = vec![0; limits.len()];
        for answers in join_all(asks).await {
            for (limit, answer) in answers.into_iter().enumerate() {
                let Answer::Leased(Leased { grant, .. }) = answer.expect("an answer") else {
                    panic!("a lease")
                };
                granted[limit] += grant;
            }
        }
        assert!(granted.iter().all(|granted| (200..=500).contains(granted)), "{granted:?}");
    }

    async fn value(&self, key: &Key) -> Option<Vec<u8>> {
        self.storage.get(std::slice::from_ref(key)).await.expect("an answer").remove(0)
    }

    async fn gone(&self, key: &Key) {
        let gone = async || self.value(key).await.is_none().then_some(());
        eventually("what is stored for a time is gone after it", gone).await;
    }
}
