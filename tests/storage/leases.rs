//! The script of leases against the code that says what it means: both must answer alike, whatever they are asked.

use std::collections::HashMap;

use cluster_tests::redis::Redis;
use portcullis::storage::quota::{Answer, Call, LEASE_SCRIPT, NUMBER_MAX, Record, Window};
use redis::{Commands, Connection, Value};

const STEPS: usize = 50_000;

/// The script, told the time by its last argument; what it forgets is forgotten by the test.
fn script() -> String {
    let told = LEASE_SCRIPT.replace("local time = redis.call('TIME')", "local time = {'0', ARGV[13]}");
    assert_ne!(told, LEASE_SCRIPT);
    let lines = told.lines().filter(|line| !line.contains("'PEXPIRE'"));
    let script = lines.collect::<Vec<_>>().join("\n");
    assert_ne!(script.lines().count(), told.lines().count());
    script
}

/// A world of some limits, in which time goes on, now and then back.
struct World {
    connection: Connection,
    script: String,
    random: fastrand::Rng,
    records: HashMap<usize, Option<Record>>,
    numbers: HashMap<(usize, usize), u64>,
    known: Vec<Window>,
    now: u64,
    period: u64,
    limit: u64,
}

#[test]
fn the_script_answers_as_the_record_does() {
    let redis = Redis::standalone();
    let address = redis.address();
    let client = redis::Client::open(format!("redis://{address}")).expect("an address");
    let mut random = cluster_tests::seeded("leases");
    let mut granted = 0;
    for _ in 0..20 {
        let mut connection = client.get_connection().expect("a connection");
        redis::cmd("FLUSHALL").exec(&mut connection).expect("wiped");
        let period = *random.choice(&[1, 1000, 1_000_000, 3_600_000_000]).unwrap_or(&1);
        let limit = *random.choice(&[0, 1, 7, 1000, NUMBER_MAX, u64::MAX]).unwrap_or(&1);
        let mut world = World {
            connection,
            script: script(),
            random: random.fork(),
            records: HashMap::new(),
            numbers: HashMap::new(),
            known: Vec::new(),
            now: 1_790_000_000_000_000,
            period,
            limit,
        };
        for step in 0..STEPS / 20 {
            granted += world.step(step);
        }
    }
    assert!(granted > 1000, "it did lease: {granted}");
}

impl World {
    /// One call, to both. Whether something was leased.
    fn step(&mut self, step: usize) -> u64 {
        let pass = self.random.u64(0..=self.period / 4 + 1);
        self.now = match self.random.u8(..) {
            0..=2 => self.now - pass,
            3..=5 => self.now + 3 * self.period,
            _ => self.now + pass,
        };
        let place = self.random.usize(..3);
        let key = format!("limit {place}");
        let record = self.records.entry(place).or_default();
        // Time and accidents.
        let over = record.as_ref().is_some_and(|record| self.now >= record.forgotten_at());
        if over && self.random.bool() || self.random.u8(..) < 4 {
            *record = None;
            let _: i64 = self.connection.del(&key).expect("an answer");
        }
        let call = self.call(place);
        let record = self.records.entry(place).or_default();
        let expected = Record::lease(record, &call, self.now);
        let answer = ask(&mut self.connection, &self.script, &key, &call, self.now);
        let says = match expected {
            Answer::Stale => vec![0],
            Answer::Leased(leased) => {
                self.known.push(leased.window);
                let carried = u64::from(leased.carried);
                vec![
                    1,
                    leased.window.start,
                    leased.window.end,
                    leased.left,
                    carried,
                    u64::from(leased.forgotten),
                    leased.grant,
                    leased.rest,
                ]
            }
        };
        assert_eq!(answer, says, "step {step}: {call:?} at {}", self.now);
        u64::from(matches!(expected, Answer::Leased(leased) if leased.grant > 0))
    }

    fn call(&mut self, place: usize) -> Call {
        let claimant = self.random.usize(..5);
        let number = self.numbers.entry((place, claimant)).or_default();
        *number += self.random.u64(..3);
        let number = *number;
        let recent = self.known.len().saturating_sub(6);
        let window = self.random.choice(&self.known[recent..]).copied().filter(|_| self.random.u8(..) > 60);
        let limit = if self.random.u8(..) < 10 { self.random.u64(..) } else { self.limit };
        let size = limit.min(1 << self.random.u32(0..64)).max(1);
        Call {
            claimant: format!("claimant {claimant}"),
            number,
            window,
            claim: if self.random.bool() { 0 } else { self.random.u64(..=size) },
            granted: self.random.bool(),
            want: self.random.u64(..=size),
            limit,
            period: if self.random.u8(..) < 10 { self.random.u64(1..=2 * self.period) } else { self.period },
            replicas: self.random.u64(1..8),
            rank: self.random.u64(..9),
            lost: self.random.u8(..) < 40,
        }
    }
}

fn ask(connection: &mut Connection, script: &str, key: &str, call: &Call, now: u64) -> Vec<u64> {
    let window = call.window.unwrap_or(Window { start: 0, end: 0 });
    let mut eval = redis::cmd("EVAL");
    eval.arg(script).arg(1).arg(key).arg(&call.claimant).arg(call.number).arg(window.start).arg(window.end);
    eval.arg(call.claim).arg(u8::from(call.granted)).arg(call.want).arg(call.limit).arg(call.period);
    eval.arg(call.replicas).arg(call.rank).arg(u8::from(call.lost)).arg(now);
    match eval.query(connection).expect("the script runs") {
        Value::Array(items) => {
            let number = |item: &Value| match item {
                Value::Int(number) => u64::try_from(*number).expect("no negative number"),
                other => panic!("{other:?} is no number"),
            };
            items.iter().map(number).collect()
        }
        other => panic!("{other:?} is no list"),
    }
}
