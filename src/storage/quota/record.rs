//! What the storage remembers of one limit and key, and the one step that changes it.

use std::collections::BTreeMap;

use super::{Answer, Call, Leased, NUMBER_MAX, Window};

/// The open window and who has how much of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    window: Window,
    claimants: BTreeMap<String, Claim>,
    /// Until then some replicas may have tokens that nobody knows of: memory was lost, or they have just gone on alone.
    recovering: u64,
}

/// How long after one that went on alone all others are back, and have told what they admitted: they try twice a second.
const BACK: u64 = 1_000_000;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Claim {
    number: u64,
    held: u64,
}

impl Record {
    /// Answers a call at `now`, microseconds by the clock of the storage. `lease.lua` does the same.
    pub fn lease(record: &mut Option<Self>, call: &Call, now: u64) -> Answer {
        let limit = call.limit.min(NUMBER_MAX);
        let period = call.period.clamp(1, NUMBER_MAX);
        // A window that ended cannot be claimed any more.
        let open = call.window.filter(|window| window.end > now);
        let carried = call.window.is_none() || open.is_some();
        let lost_record = record.is_none() && call.lost;
        let record = record.get_or_insert_with(|| Self::starting(open, period, now));
        record.roll(period, now);

        let count = record.claimants.len() as u64;
        let known = record.claimants.get(&call.claimant).copied();
        if known.is_some_and(|known| call.number <= known.number) {
            return Answer::Stale;
        }
        let claim = if carried { call.claim.min(NUMBER_MAX) } else { 0 };
        // What was admitted without the storage it never knew.
        let forgotten = known.is_none() && open.is_some() && claim > 0 && call.granted;
        let alone = known.is_none() && claim > 0 && !call.granted;
        let lost_until = if lost_record || forgotten { record.window.end } else { 0 };
        let alone_until = if alone { now + BACK } else { 0 };
        record.recovering = record.recovering.max(lost_until).max(alone_until);
        let count = count + u64::from(known.is_none());
        let replicas = call.replicas.max(1);

        let others = record.held() - known.map_or(0, |known| known.held);
        let rest = limit.saturating_sub(others + claim);
        let share = (rest / (2 * replicas)).max(1).min(rest);
        let mut grant = call.want.min(share);
        if now < record.recovering && count < replicas {
            // Of all ranks together, the limit.
            let share = (limit + call.rank.min(replicas - 1)) / replicas;
            grant = grant.min(share.saturating_sub(claim));
        }
        record.claimants.insert(call.claimant.clone(), Claim { number: call.number, held: claim + grant });
        Answer::Leased(Leased {
            window: record.window,
            left: record.window.end.saturating_sub(now),
            carried,
            forgotten,
            grant,
            rest: rest - grant,
        })
    }

    /// The window that a claimant still knows, or one that begins now.
    fn starting(open: Option<Window>, period: u64, now: u64) -> Self {
        let known = open.filter(|window| window.start <= now && window.end - window.start <= period);
        let window = known.unwrap_or(Window { start: now, end: now + period });
        Self { window, claimants: BTreeMap::new(), recovering: 0 }
    }

    /// Moves to the window that `now` lies in: windows tile, and begin anew after one in which nobody asked
    /// (decision 34). A clock that was set back makes the window longer, never its tokens more. One that is open and
    /// longer than the configuration's (or none of ours) ends sooner, and what was given of it stays given.
    fn roll(&mut self, period: u64, now: u64) {
        let Window { start, end } = self.window;
        if now >= end {
            let start = if now - end < period { end } else { now };
            *self = Self::starting(None, period, start);
        } else if now < start || end - start > period {
            self.window = Window { start: now, end: now + (end - start).min(period) };
        }
    }

    /// When nobody needs to remember it any more, microseconds.
    pub fn forgotten_at(&self) -> u64 {
        self.window.end + (self.window.end - self.window.start)
    }

    /// Tokens that claimants have.
    pub fn held(&self) -> u64 {
        self.claimants.values().map(|claim| claim.held).sum()
    }
}
