//! Who belongs to the gateway, and what each runs (decision 31; connected mode reference 6).
//!
//! Every replica says once a second that it lives, and what it has in force. What the others say is not believed
//! blindly: with keys it is sealed, without them it is at least bounded, and whoever repeats an old word is as silent
//! as one who says nothing.

mod said;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, Instant},
};

pub use said::{Said, State};

use crate::{
    base::seal::{KeyRing, Purpose},
    storage::Beat,
};

/// How often a replica says that it lives (decision 31).
pub const EVERY: Duration = Duration::from_secs(1);
/// How long after its last word a replica is gone (decision 31).
pub const GONE_AFTER: Duration = Duration::from_secs(5);
/// Replicas that are gone and whose last words are remembered, so that nobody brings them back by repeating these; of
/// more, those that left last.
const GONE_MAX: usize = 4096;
/// Different digests are reported after this long: a change takes a moment to reach all.
const SETTLED_AFTER: Duration = GONE_AFTER;

/// The replicas as this one sees them.
pub struct Membership {
    gateway: Arc<str>,
    own: Arc<str>,
    ring: Option<Arc<KeyRing>>,
    /// Milliseconds since 1970 at the start: tells this life of the replica from the one before.
    life: u64,
    beats: u64,
    others: BTreeMap<String, Other>,
    gone: BTreeMap<String, Gone>,
    own_said: Option<Said>,
    /// Since when no word of the storage has been missed.
    in_touch_since: Option<Instant>,
    counter: Counter,
    ignored: usize,
    differ: Differ,
}

struct Other {
    said: Said,
    /// When it last said something new.
    spoke: Instant,
    age: Duration,
}

struct Gone {
    /// Life and beat of its last word.
    last: (u64, u64),
    since: Instant,
}

/// A number in the storage that this replica alone counts up: it tells that the storage has forgotten something, and
/// that somebody else bears this replica's id.
#[derive(Default)]
struct Counter {
    last: Option<u64>,
    /// Steps that may or may not have been counted.
    unsure: u64,
    doubles: u32,
}

#[derive(Default)]
struct Differ {
    since: Option<Instant>,
    reported: bool,
}

/// A replica, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    pub id: String,
    pub own: bool,
    pub said: Said,
    /// Since its last word.
    pub age: Duration,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    Joined {
        id: String,
        name: String,
    },
    Left {
        id: String,
    },
    /// The replicas do not run the same configuration: the digests, each with the replicas that run it.
    Differ(Vec<(String, Vec<String>)>),
    Agree,
    /// The storage has forgotten what this replica had stored.
    LostMemory,
    /// Another process bears the id of this replica.
    SameId,
    /// So many ids under which something was said that no replica of the gateway can have said.
    Ignored {
        members: usize,
    },
}

impl Membership {
    /// `life`: milliseconds since 1970.
    pub fn new(gateway: &str, own: &str, ring: Option<Arc<KeyRing>>, life: u64) -> Self {
        Self {
            gateway: gateway.into(),
            own: own.into(),
            ring,
            life,
            beats: 0,
            others: BTreeMap::new(),
            gone: BTreeMap::new(),
            own_said: None,
            in_touch_since: None,
            counter: Counter::default(),
            ignored: 0,
            differ: Differ::default(),
        }
    }

    /// The next word of this replica, as it is stored.
    pub fn say(&mut self, mut said: Said) -> Vec<u8> {
        self.beats += 1;
        (said.life, said.beat) = (self.life, self.beats);
        let plain = said.encode();
        self.own_said = Some(said);
        match &self.ring {
            Some(ring) => ring.seal(Purpose::Member, &self.bound(&self.own), &plain),
            None => plain,
        }
    }

    fn bound(&self, id: &str) -> Vec<u8> {
        [self.gateway.as_bytes(), b"\0", id.as_bytes()].concat()
    }

    /// What a replica said, if it can have said that.
    fn understand(&self, beat: &Beat) -> Option<Said> {
        let named = !beat.member.is_empty() && beat.member.len() <= said::TEXT_BYTES_MAX;
        if !named || beat.member.chars().any(char::is_control) || beat.value.len() > said::BYTES_MAX {
            return None;
        }
        match &self.ring {
            Some(ring) => {
                Said::decode(&ring.open(Purpose::Member, &self.bound(&beat.member), &beat.value)?)
            }
            None => Said::decode(&beat.value),
        }
    }

    /// Takes note of what the storage tells: the members, no more than it tells of at a time
    /// ([`MEMBERS_MAX`](crate::storage::redis::reply::MEMBERS_MAX)), and the number that counts this replica's words, if it is one.
    pub fn heard(&mut self, beats: &[Beat], counted: Option<u64>, now: Instant) -> Vec<Event> {
        let mut events = Vec::new();
        let lost = match counted {
            Some(counted) => self.count(counted, &mut events),
            None => {
                self.counter.unsure += 1;
                false
            }
        };
        if lost {
            self.in_touch_since = None;
        }
        let in_touch_since = *self.in_touch_since.get_or_insert(now);
        let mut present = BTreeSet::new();
        let mut ignored = 0;
        for beat in beats.iter().filter(|beat| *beat.member != *self.own) {
            let Some(said) = self.understand(beat) else {
                ignored += 1;
                continue;
            };
            present.insert(beat.member.clone());
            let repeated = self.gone.get(&beat.member).is_some_and(|gone| said.number() <= gone.last);
            match self.others.get_mut(&beat.member) {
                Some(known) => {
                    if said.number() > known.said.number() {
                        *known = Other { said, spoke: now, age: beat.age };
                    } else {
                        known.age = beat.age.max(now.duration_since(known.spoke));
                    }
                }
                None if beat.age < GONE_AFTER && !repeated => {
                    self.gone.remove(&beat.member);
                    events.push(Event::Joined { id: beat.member.clone(), name: said.name.clone() });
                    self.others.insert(beat.member.clone(), Other { said, spoke: now, age: beat.age });
                }
                None => {}
            }
        }
        if ignored > 0 && self.ignored == 0 {
            events.push(Event::Ignored { members: ignored });
        }
        self.ignored = ignored;
        // After an interruption, or a loss, the others need a moment to be heard again. Else, who is not there has
        // taken its leave.
        let settled = now.duration_since(in_touch_since) >= GONE_AFTER;
        self.others.retain(|id, other| {
            let silent = now.duration_since(other.spoke.max(in_touch_since));
            let stays = silent < GONE_AFTER && (!settled || present.contains(id));
            if !stays {
                events.push(Event::Left { id: id.clone() });
                self.gone.insert(id.clone(), Gone { last: other.said.number(), since: now });
            }
            stays
        });
        while self.gone.len() > GONE_MAX
            && let Some((first, _)) = self.gone.iter().min_by_key(|(_, gone)| gone.since)
        {
            let first = first.clone();
            self.gone.remove(&first);
        }
        self.compare(now, &mut events);
        events
    }

    /// The storage did not answer. What was last seen stays.
    pub fn missed(&mut self) {
        self.in_touch_since = None;
        self.counter.unsure += 1;
    }

    /// Whether the storage has forgotten.
    fn count(&mut self, counted: u64, events: &mut Vec<Event>) -> bool {
        let counter = &mut self.counter;
        let lost = counter.last.is_some_and(|last| counted <= last);
        if lost {
            events.push(Event::LostMemory);
        }
        let expected = counter.last.map(|last| last.saturating_add(counter.unsure).saturating_add(1));
        if expected.is_some_and(|expected| counted > expected) {
            counter.doubles += 1;
            // Once may be the restart of a process whose last word came late.
            if counter.doubles == 3 {
                events.push(Event::SameId);
            }
        } else {
            counter.doubles = 0;
        }
        counter.last = Some(counted);
        counter.unsure = 0;
        lost
    }

    fn compare(&mut self, now: Instant, events: &mut Vec<Event>) {
        if self.same_digest() {
            if std::mem::take(&mut self.differ).reported {
                events.push(Event::Agree);
            }
            return;
        }
        let since = *self.differ.since.get_or_insert(now);
        if !self.differ.reported && now.duration_since(since) >= SETTLED_AFTER {
            self.differ.reported = true;
            let mut digests: BTreeMap<String, Vec<String>> = BTreeMap::new();
            for member in self.members() {
                digests.entry(member.said.digest).or_default().push(member.id);
            }
            events.push(Event::Differ(digests.into_iter().collect()));
        }
    }

    /// This replica and the others, by id.
    pub fn members(&self) -> Vec<Member> {
        let own = self.own_said.clone().map(|said| Member {
            id: self.own.to_string(),
            own: true,
            said,
            age: Duration::ZERO,
        });
        let others = self.others.iter().map(|(id, other)| Member {
            id: id.clone(),
            own: false,
            said: other.said.clone(),
            age: other.age,
        });
        let mut all: Vec<Member> = own.into_iter().chain(others).collect();
        all.sort_by(|a, b| a.id.cmp(&b.id));
        all
    }

    /// How many replicas there are, this one among them.
    pub fn replicas(&self) -> usize {
        self.others.len() + 1
    }

    /// Which of them this one is, from 0.
    pub fn rank(&self) -> usize {
        self.others.keys().filter(|id| id.as_str() < &*self.own).count()
    }

    /// Whether all run the same configuration.
    pub fn same_digest(&self) -> bool {
        let own = self.own_said.as_ref().map(|said| &said.digest);
        self.others.values().all(|other| Some(&other.said.digest) == own)
    }

    /// The newest version of the shared configuration that another replica has in force. Only what is sealed counts.
    pub fn newest_record(&self) -> Option<u64> {
        self.ring.as_ref()?;
        self.others.values().filter_map(|other| other.said.record).max()
    }
}
