//! The protocol against everything that can happen to it, as a seeded simulation: messages that are late, lost, doubled
//! or out of order, replicas that crash or are cut off, a storage that stands still or forgets, clocks that differ in
//! reading and speed. It drives the very code of replica ([`Lease`]) and storage ([`Record::lease`]).

use std::collections::HashMap;

use crate::{
    quota::{
        Fallback, Quota,
        lease::Lease,
        view::{Found, View},
    },
    storage::quota::{Answer, Call, Record, Window},
};

/// Microseconds.
const MS: u64 = 1000;
/// A call that is not answered by then has failed, on the replica's clock.
const DEADLINE: u64 = 100 * MS;

/// What may go wrong, each in so many of a million steps.
#[derive(Clone, Copy, Default)]
struct Faults {
    lost: u32,
    doubled: u32,
    /// A message takes up to two windows.
    late: u32,
    crash: u32,
    cut_off: u32,
    stands_still: u32,
    /// The storage forgets everything.
    forgets: u32,
    /// The storage goes back to what it was some time ago.
    goes_back: u32,
    /// The limit changes in one replica.
    reload: u32,
}

const NONE: Faults = Faults {
    lost: 0,
    doubled: 0,
    late: 0,
    crash: 0,
    cut_off: 0,
    stands_still: 0,
    forgets: 0,
    goes_back: 0,
    reload: 0,
};

struct Replica {
    lease: Lease,
    claimant: String,
    quota: Quota,
    down: bool,
    cut_off: bool,
    /// The call that is under way, and when it was sent, on this replica's clock.
    under_way: Option<(u64, u64)>,
    /// Its clock: so much ahead, and so many millionths too fast.
    ahead: u64,
    fast: i64,
    lost_at: Option<u64>,
    /// Chance of a request in a step, in 1000.
    demand: u32,
}

#[derive(Clone)]
enum Message {
    Call { from: usize, call: Call },
    Answer { to: usize, claimant: String, number: u64, answer: Answer },
}

struct World {
    random: fastrand::Rng,
    faults: Faults,
    fallback: Fallback,
    now: u64,
    replicas: Vec<Replica>,
    record: Option<Record>,
    /// Earlier states of it.
    past: Vec<Option<Record>>,
    still_until: u64,
    messages: Vec<(u64, Message)>,
    lives: u64,
    /// By the start of the window: its end, what was admitted of it, what is allowed.
    windows: HashMap<u64, Seen>,
    calls: u64,
    admitted: u64,
    /// What replicas had when the storage forgot it, and when the windows are over that began until then.
    forgotten: Vec<(u64, u64)>,
    /// Who admitted without the storage, by window: lives, since a replica that crashes does not know what it admitted.
    alone: HashMap<u64, Vec<String>>,
}

#[derive(Clone, Copy)]
struct Seen {
    end: u64,
    admitted: u64,
    allowed: u64,
}

impl World {
    fn new(seed: u64, replicas: usize, quota: Quota, faults: Faults, fallback: Fallback) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let replicas = (0..replicas)
            .map(|index| Replica {
                lease: Lease::default(),
                claimant: format!("r{index}"),
                quota,
                down: false,
                cut_off: false,
                under_way: None,
                ahead: random.u64(0..1 << 50),
                fast: random.i64(-500..=500),
                lost_at: None,
                demand: random.u32(50..1000),
            })
            .collect();
        Self {
            random,
            faults,
            fallback,
            now: 1_700_000_000_000_000,
            replicas,
            record: None,
            past: Vec::new(),
            still_until: 0,
            messages: Vec::new(),
            lives: 0,
            windows: HashMap::new(),
            calls: 0,
            admitted: 0,
            forgotten: Vec::new(),
            alone: HashMap::new(),
        }
    }

    fn happens(&mut self, in_a_million: u32) -> bool {
        in_a_million > 0 && self.random.u32(0..1_000_000) < in_a_million
    }

    fn clock(&self, replica: usize) -> u64 {
        let Replica { ahead, fast, .. } = self.replicas[replica];
        let since = self.now - 1_700_000_000_000_000;
        (ahead + since).wrapping_add_signed((since as i64 / 1000) * fast / 1000)
    }

    fn view(&self, replica: usize) -> View {
        View {
            now: self.clock(replica),
            away: u64::from(self.replicas[replica].down),
            fallback: self.fallback,
            replicas: self.replicas.len() as u64,
            rank: replica as u64,
            lost_at: self.replicas[replica].lost_at,
        }
    }

    fn send(&mut self, message: Message, later: u64) {
        let (Message::Call { from: replica, .. } | Message::Answer { to: replica, .. }) = message;
        if self.replicas[replica].cut_off || self.happens(self.faults.lost) {
            return;
        }
        let copies = 1 + u64::from(self.happens(self.faults.doubled));
        for _ in 0..copies {
            let period = self.replicas[replica].quota.period;
            let delay = match self.happens(self.faults.late) {
                true => self.random.u64(0..2 * period),
                false => self.random.u64(50..2 * MS),
            };
            self.messages.push((self.now + later + delay, message.clone()));
        }
    }

    fn sent(&mut self, replica: usize, call: Option<Call>) {
        let Some(call) = call else { return };
        self.calls += 1;
        let now = self.clock(replica);
        self.replicas[replica].under_way = Some((call.number, now));
        // The clock of a replica may be faster than that of the world: twice the time is enough.
        let later = 2 * self.replicas[replica].lease.sends_at().saturating_sub(now);
        self.send(Message::Call { from: replica, call }, later);
    }

    /// A request at a replica.
    fn request(&mut self, replica: usize) {
        let view = self.view(replica);
        let one = &mut self.replicas[replica];
        let found = one.lease.look(&one.quota, &view);
        if found == Found::Token {
            let alone = !one.lease.has_tokens();
            one.lease.take();
            self.admitted += 1;
            self.admit(replica, alone);
        }
        let one = &mut self.replicas[replica];
        if one.lease.should_ask(&view, found == Found::Wait) {
            let call = one.lease.ask(&one.quota.clone(), &view, &one.claimant.clone());
            self.sent(replica, call);
        }
    }

    fn admit(&mut self, replica: usize, alone: bool) {
        let one = &self.replicas[replica];
        let account = one.lease.account().expect("something was admitted of it");
        let Some(Window { start, end }) = account.window else {
            assert!(alone, "a token of a window that the storage never told of");
            return;
        };
        let quota = one.quota;
        assert!(self.now >= start, "a window that has not begun");
        let seen = self.windows.entry(start).or_insert(Seen { end, admitted: 0, allowed: 0 });
        seen.admitted += 1;
        seen.allowed = seen.allowed.max(quota.requests_max);
        if alone {
            let without = self.alone.entry(start).or_default();
            if !without.contains(&one.claimant) {
                without.push(one.claimant.clone());
            }
        } else {
            assert!(self.now < seen.end, "invariant 2: a token of a window that is over");
        }
        let shares = match self.fallback {
            Fallback::Share => self.alone.get(&start).map_or(0, |without| {
                without.len() as u64 * quota.requests_max.div_ceil(self.replicas.len() as u64)
            }),
            _ => 0,
        };
        let forgotten = self.forgotten.iter().filter(|(until, _)| start < *until).map(|(_, held)| held);
        let allowed = seen.allowed + shares + forgotten.sum::<u64>();
        assert!(seen.admitted <= allowed, "invariant 1: {} of {allowed} in {start}", seen.admitted);
    }

    fn deliver(&mut self) {
        while let Some(index) = self.messages.iter().position(|(at, _)| *at <= self.now) {
            let (_, message) = self.messages.swap_remove(index);
            match message {
                Message::Call { from, call } => {
                    if self.now < self.still_until {
                        let later = self.still_until + self.random.u64(0..MS);
                        self.messages.push((later, Message::Call { from, call }));
                        continue;
                    }
                    if self.record.as_ref().is_some_and(|record| record.forgotten_at() <= self.now) {
                        self.record = None;
                    }
                    let answer = Record::lease(&mut self.record, &call, self.now);
                    self.past.push(self.record.clone());
                    if self.past.len() > 64 {
                        self.past.remove(0);
                    }
                    let (claimant, number) = (call.claimant, call.number);
                    self.send(Message::Answer { to: from, claimant, number, answer }, 0);
                }
                Message::Answer { to, claimant, number, answer } => {
                    let now = self.clock(to);
                    let one = &mut self.replicas[to];
                    if one.claimant != claimant || one.cut_off {
                        continue;
                    }
                    if one.under_way.is_some_and(|(under_way, _)| under_way == number) {
                        one.under_way = None;
                        one.down = false;
                    }
                    if one.lease.is_forgotten(number, &answer) {
                        one.lost_at = Some(now);
                    }
                    one.lease.answered(&one.quota.clone(), now, number, &answer);
                }
            }
        }
    }

    fn time_passes(&mut self) {
        self.now += self.random.u64(0..200);
        self.deliver();
        for replica in 0..self.replicas.len() {
            let now = self.clock(replica);
            let one = &mut self.replicas[replica];
            if let Some((number, sent)) = one.under_way
                && now - sent > DEADLINE
            {
                one.under_way = None;
                one.down = true;
                one.lease.failed(now, number);
            }
        }
    }

    fn sweep(&mut self, replica: usize) {
        let view = self.view(replica);
        let one = &mut self.replicas[replica];
        let call = one.lease.give_back(&one.quota.clone(), &view, &one.claimant.clone());
        self.sent(replica, call);
    }

    fn new_life(&mut self, replica: usize) {
        self.lives += 1;
        let one = &mut self.replicas[replica];
        one.lease = Lease::default();
        one.under_way = None;
        one.claimant = format!("r{replica}.{}", self.lives);
    }

    /// What the storage would have to remember now and does not after `record` takes its place.
    fn forget(&mut self, record: Option<Record>) {
        let held: u64 = self
            .replicas
            .iter()
            .filter_map(|one| one.lease.account())
            .filter(|account| account.window.is_some_and(|window| window.end > self.now))
            .map(|account| account.granted.max(account.admitted))
            .sum();
        // Calls under way, and replicas that crashed, are of the silent ones too.
        let remembered = self.record.as_ref().map_or(0, Record::held);
        let period = self.replicas.iter().map(|one| one.quota.period).max().unwrap_or_default();
        self.forgotten.push((self.now + period, held.max(remembered)));
        self.record = record;
        for replica in 0..self.replicas.len() {
            self.replicas[replica].lost_at = Some(self.clock(replica));
        }
    }

    fn fault(&mut self) {
        let replica = self.random.usize(0..self.replicas.len());
        if self.happens(self.faults.crash) {
            self.new_life(replica);
        }
        if self.happens(self.faults.cut_off) {
            self.replicas[replica].cut_off = true;
        }
        if self.faults.cut_off > 0 && self.happens(200) {
            self.replicas[replica].cut_off = false;
        }
        if self.happens(self.faults.stands_still) {
            let period = self.replicas[replica].quota.period;
            self.still_until = self.now + self.random.u64(0..2 * period);
        }
        if self.happens(self.faults.forgets) {
            self.forget(None);
        }
        if self.happens(self.faults.goes_back) && !self.past.is_empty() {
            let state = self.past[self.random.usize(0..self.past.len())].clone();
            self.forget(state);
        }
        if self.happens(self.faults.reload) {
            self.new_life(replica);
            let limit = self.replicas[replica].quota.requests_max;
            self.replicas[replica].quota.requests_max = self.random.u64(1..=limit * 2);
        }
    }

    fn step(&mut self) {
        self.time_passes();
        for replica in 0..self.replicas.len() {
            if self.random.u32(0..1000) < self.replicas[replica].demand {
                self.request(replica);
            }
        }
        if self.random.u32(0..200) == 0 {
            let replica = self.random.usize(0..self.replicas.len());
            self.sweep(replica);
        }
        if self.random.u32(0..5000) == 0 {
            let replica = self.random.usize(0..self.replicas.len());
            self.replicas[replica].demand = self.random.u32(0..1000);
        }
        self.fault();
    }

    /// Windows that are over, with what was admitted of each.
    fn over(&self) -> impl Iterator<Item = u64> + '_ {
        self.windows.values().filter(|seen| seen.end + MS < self.now).map(|seen| seen.admitted)
    }
}

fn seed() -> u64 {
    let seed = std::env::var("PORTCULLIS_TEST_SEED").ok().and_then(|text| text.parse().ok());
    let seed = seed.unwrap_or_else(|| fastrand::u64(..));
    println!("PORTCULLIS_TEST_SEED={seed}");
    seed
}

/// Many worlds, a million steps in all.
fn simulate(faults: Faults, fallback: Fallback) {
    let mut seeds = fastrand::Rng::with_seed(seed());
    let (mut admitted, mut windows) = (0, 0);
    for _ in 0..50 {
        let seed = seeds.u64(..);
        let quota = Quota { requests_max: seeds.u64(1..2000), period: seeds.u64(20 * MS..400 * MS) };
        let mut world = World::new(seed, seeds.usize(1..6), quota, faults, fallback);
        for _ in 0..20_000 {
            world.step();
        }
        admitted += world.admitted;
        windows += world.over().count();
    }
    // In a single world everybody may be cut off from first to last.
    assert!(admitted > 100_000 && windows > 100, "{admitted} admitted in {windows} windows");
}

const NETWORK: Faults =
    Faults { lost: 20_000, doubled: 20_000, late: 10_000, crash: 100, cut_off: 50, stands_still: 50, ..NONE };

#[test]
fn no_window_admits_more_than_its_limit_whatever_happens_to_messages_replicas_and_clocks() {
    simulate(NETWORK, Fallback::Closed);
}

#[test]
fn a_limit_that_changes_admits_no_more_than_the_larger_in_the_window_of_the_change() {
    simulate(Faults { reload: 200, ..NETWORK }, Fallback::Closed);
}

#[test]
fn shares_of_replicas_that_are_cut_off_are_all_that_comes_on_top() {
    simulate(NETWORK, Fallback::Share);
}

#[test]
fn a_storage_that_forgets_or_goes_back_costs_at_most_what_it_forgot() {
    simulate(Faults { forgets: 50, goes_back: 50, ..NETWORK }, Fallback::Closed);
}

#[test]
fn where_demand_exceeds_the_limit_hardly_anything_is_left() {
    let mut seeds = fastrand::Rng::with_seed(seed());
    for _ in 0..10 {
        let quota = Quota { requests_max: seeds.u64(100..3000), period: 1000 * MS };
        let count = seeds.usize(1..5);
        let mut world = World::new(seeds.u64(..), count, quota, NONE, Fallback::Closed);
        world.replicas.iter_mut().for_each(|one| one.demand = 900);
        for _ in 0..60_000 {
            world.time_passes();
            // One after the other is the only one that is asked.
            let busy = (world.now / (100 * MS)) as usize % count;
            for _ in 0..3 {
                world.request(busy);
            }
            let replica = world.random.usize(0..count);
            world.sweep(replica);
        }
        let allowed = quota.requests_max / 100 + count as u64;
        let windows: Vec<u64> = world.over().collect();
        assert!(windows.len() >= 4, "{} windows", windows.len());
        for admitted in windows {
            assert!(admitted <= quota.requests_max);
            assert!(admitted + allowed >= quota.requests_max, "{admitted} of {quota:?}, {count} replicas");
        }
    }
}

#[test]
fn far_from_the_limit_there_is_less_than_one_call_for_fifty_requests() {
    let quota = Quota { requests_max: 1_000_000, period: 1000 * MS };
    let mut world = World::new(7, 3, quota, NONE, Fallback::Closed);
    world.replicas.iter_mut().for_each(|one| one.demand = 1000);
    for _ in 0..200_000 {
        world.step();
        world.replicas.iter_mut().for_each(|one| one.demand = 1000);
    }
    assert!(world.calls * 50 < world.admitted, "{} calls for {} requests", world.calls, world.admitted);
}
