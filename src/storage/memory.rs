//! The storage of a replica that is alone: the same contract, in this process.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Mutex, MutexGuard},
    time::{Duration, Instant},
};

use crate::base::lock;

use super::{Beat, Key, Outcome, Versioned, quota};

/// Changes between two looks for what is over.
const SWEEP_AFTER: usize = 1024;

#[derive(Default)]
pub(super) struct Memory(Mutex<Contents>);

#[derive(Default)]
struct Contents {
    values: HashMap<Key, Kept>,
    changes: usize,
}

struct Kept {
    value: Value,
    /// `None`: for good.
    ends: Option<Instant>,
}

enum Value {
    Bytes(Vec<u8>),
    Number(u64),
    Versioned(Versioned),
    /// By when they came.
    List(Vec<(Instant, String)>),
    Members(BTreeMap<String, (Instant, Vec<u8>)>),
    Quota(quota::Record),
}

impl Memory {
    fn contents(&self) -> MutexGuard<'_, Contents> {
        let mut contents = lock(&self.0);
        contents.changes += 1;
        if contents.changes >= SWEEP_AFTER {
            contents.changes = 0;
            let now = Instant::now();
            contents.values.retain(|_, kept| kept.lives(now));
        }
        contents
    }

    pub fn get(&self, keys: &[Key]) -> Outcome<Vec<Option<Vec<u8>>>> {
        let contents = self.contents();
        let now = Instant::now();
        let value = |key: &Key| match &contents.values.get(key).filter(|kept| kept.lives(now))?.value {
            Value::Bytes(bytes) => Some(bytes.clone()),
            Value::Number(number) => Some(number.to_string().into_bytes()),
            _ => None,
        };
        Ok(keys.iter().map(value).collect())
    }

    pub fn set(&self, key: &Key, value: &[u8], ttl: Duration) -> Outcome<()> {
        self.contents().put(key, Value::Bytes(value.to_vec()), Some(ttl));
        Ok(())
    }

    pub fn set_if_absent(&self, key: &Key, value: &[u8], ttl: Duration) -> Outcome<bool> {
        let mut contents = self.contents();
        let absent = contents.live(key).is_none();
        if absent {
            contents.put(key, Value::Bytes(value.to_vec()), Some(ttl));
        }
        Ok(absent)
    }

    pub fn remove_if(&self, key: &Key, value: &[u8]) -> Outcome<bool> {
        let mut contents = self.contents();
        let held = matches!(contents.live(key), Some(Value::Bytes(bytes)) if bytes == value);
        if held {
            contents.values.remove(key);
        }
        Ok(held)
    }

    pub fn remove(&self, keys: &[Key]) -> Outcome<()> {
        let mut contents = self.contents();
        for key in keys {
            contents.values.remove(key);
        }
        Ok(())
    }

    pub fn prolong(&self, key: &Key, ttl: Duration) -> Outcome<bool> {
        let mut contents = self.contents();
        let now = Instant::now();
        let kept = contents.values.get_mut(key).filter(|kept| kept.lives(now));
        Ok(kept.map(|kept| kept.ends = now.checked_add(ttl)).is_some())
    }

    pub fn increment(&self, key: &Key, ttl: Duration) -> Outcome<u64> {
        let mut contents = self.contents();
        let number = match contents.live(key) {
            Some(Value::Number(number)) => *number + 1,
            _ => 1,
        };
        contents.put(key, Value::Number(number), Some(ttl));
        Ok(number)
    }

    pub fn advance(&self, key: &Key, value: &Versioned) -> Outcome<bool> {
        let mut contents = self.contents();
        let newer = match contents.live(key) {
            Some(Value::Versioned(stored)) => value.version > stored.version,
            _ => true,
        };
        if newer {
            contents.put(key, Value::Versioned(value.clone()), None);
        }
        Ok(newer)
    }

    pub fn versioned(&self, key: &Key) -> Outcome<Option<Versioned>> {
        Ok(match self.contents().live(key) {
            Some(Value::Versioned(stored)) => Some(stored.clone()),
            _ => None,
        })
    }

    pub fn enlist(&self, list: &Key, member: &str, max: usize, ttl: Duration) -> Outcome<Vec<String>> {
        let now = Instant::now();
        let mut contents = self.contents();
        let mut members = contents.take_list(list);
        if !members.iter().any(|(_, there)| there == member) {
            members.push((now, member.to_owned()));
        }
        let old = members.iter().take_while(|(came, _)| now.duration_since(*came) >= ttl).count();
        let gone = members.drain(..old.max(members.len().saturating_sub(max)));
        let gone = gone.map(|(_, member)| member).collect();
        contents.put(list, Value::List(members), Some(ttl));
        Ok(gone)
    }

    pub fn delist(&self, list: &Key, member: &str) -> Outcome<()> {
        if let Some(Value::List(members)) = self.contents().live(list) {
            members.retain(|(_, there)| there != member);
        }
        Ok(())
    }

    pub fn drain(&self, list: &Key, max: usize) -> Outcome<Vec<String>> {
        let mut contents = self.contents();
        let Some(Value::List(members)) = contents.live(list) else { return Ok(Vec::new()) };
        let gone = members.drain(..max.min(members.len()));
        Ok(gone.map(|(_, member)| member).collect())
    }

    pub fn beat(
        &self,
        members: &Key,
        member: &str,
        value: &[u8],
        gone_after: Duration,
    ) -> Outcome<Vec<Beat>> {
        let now = Instant::now();
        let mut contents = self.contents();
        let mut all = match contents.values.remove(members) {
            Some(Kept { value: Value::Members(all), .. }) => all,
            _ => BTreeMap::new(),
        };
        all.insert(member.to_owned(), (now, value.to_vec()));
        all.retain(|_, (said, _)| now.duration_since(*said) < gone_after);
        let beats = all.iter().map(|(member, (said, value))| Beat {
            member: member.clone(),
            value: value.clone(),
            age: now.duration_since(*said),
        });
        let beats = beats.collect();
        contents.put(members, Value::Members(all), Some(gone_after));
        Ok(beats)
    }

    pub fn leave(&self, members: &Key, member: &str) -> Outcome<()> {
        if let Some(Value::Members(all)) = self.contents().live(members) {
            all.remove(member);
        }
        Ok(())
    }

    pub fn lease(
        &self,
        calls: &[(Key, quota::Call)],
        mut answered: impl FnMut(usize, Outcome<quota::Answer>),
    ) {
        let epoch = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
        let now = u64::try_from(epoch.as_micros()).unwrap_or(u64::MAX);
        let lease = |(key, call): &(Key, quota::Call)| {
            let mut contents = self.contents();
            let mut record = match contents.values.remove(key) {
                Some(kept @ Kept { value: Value::Quota(_), .. }) if kept.lives(Instant::now()) => {
                    match kept.value {
                        Value::Quota(record) => Some(record),
                        _ => None,
                    }
                }
                _ => None,
            };
            let answer = quota::Record::lease(&mut record, call, now);
            if let Some(record) = record {
                let ttl = Duration::from_micros(record.forgotten_at().saturating_sub(now));
                contents.put(key, Value::Quota(record), Some(ttl));
            }
            Ok(answer)
        };
        calls.iter().map(lease).enumerate().for_each(|(index, answer)| answered(index, answer));
    }
}

impl Contents {
    fn live(&mut self, key: &Key) -> Option<&mut Value> {
        let kept = self.values.get_mut(key)?;
        kept.lives(Instant::now()).then_some(&mut kept.value)
    }

    fn put(&mut self, key: &Key, value: Value, ttl: Option<Duration>) {
        // A life beyond what the clock can count is one without an end.
        let ends = ttl.and_then(|ttl| Instant::now().checked_add(ttl));
        self.values.insert(key.clone(), Kept { value, ends });
    }

    fn take_list(&mut self, key: &Key) -> Vec<(Instant, String)> {
        match self.values.remove(key) {
            Some(Kept { value: Value::List(members), .. }) => members,
            _ => Vec::new(),
        }
    }
}

impl Kept {
    fn lives(&self, now: Instant) -> bool {
        self.ends.is_none_or(|ends| ends > now)
    }
}
