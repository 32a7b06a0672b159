//! One limit of one key as a replica sees it: tokens leased from the storage, and what to do without them
//! (`docs/cluster-limits.md`). No I/O: time comes in as readings of a clock that does not jump, microseconds.

use super::{
    Allowance, Fallback, Quota,
    cap::Cap,
    view::{Found, View},
};
use crate::storage::quota::{Answer, Call, Leased, NUMBER_MAX, Window};

/// How long the tokens of one call should last at least.
const HORIZON: u64 = 100_000;
/// Far from exhaustion a call brings as many tokens as this, where so many are used within [`BRISK`].
const BATCH: u64 = 64;
/// A lease used up faster than this is followed by a larger one, one that lasted twice as long by a smaller one.
const BRISK: u64 = 1_000_000;
/// A window without tokens is asked for again this often, since others may give some back; a window shorter than forty
/// times that, at a fortieth of its length.
const ASK_AGAIN: u64 = 250_000;
/// After a call that failed: where nobody waits, and where requests do.
const TRY_AGAIN: u64 = 100_000;
const TRY_AGAIN_SOON: u64 = 20_000;
/// See [`Lease::grace`]; a call is made at once rather than a little later.
const GRACE_MAX: u64 = 10_000;
const DELAY_MIN: u64 = 1000;
/// Clocks of two machines may differ in speed by a thousandth, twice what NTP corrects: a lease ends that much early.
const DRIFT: u32 = 10;

/// What became of a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Account {
    /// `None`: the storage never told of it.
    pub window: Option<Window>,
    pub admitted: u64,
    pub granted: u64,
}

#[derive(Debug, Default)]
pub struct Lease {
    /// Where in the storage its record lies.
    pub district: u8,
    open: Option<Open>,
    /// Of the open window: admitted, leased and not used, leased in all.
    admitted: u64,
    tokens: u64,
    granted: u64,
    /// Tokens of it that nobody had when the storage was last asked.
    rest: u64,
    /// The last call brought nothing although something was wanted.
    dry: bool,
    /// Number of the last call, and what it was, while it is not answered.
    number: u64,
    sent: Option<Sent>,
    /// A call was asked for that has not been made yet.
    called_for: bool,
    /// A call has failed: the storage may count more as held here than is.
    untold: bool,
    /// How long the last answer took.
    trip: u64,
    /// No call before, unless requests wait; and none at all.
    ask_at: u64,
    send_at: u64,
    /// When the last call for tokens was made, and what it asked for.
    asked: u64,
    size: u64,
    /// What was used since then, or, where there was nothing to use, since its answer; when that began, and whether so.
    used: u64,
    since: u64,
    ran_out: bool,
    /// A call made sooner than this after the end of a window may find it open still.
    grace: u64,
    /// The end of a window that nobody knows yet, but a request asked for.
    awaited: u64,
    /// Requests that found no token since.
    waiting: u64,
    /// With so few tokens more are asked for.
    low: u64,
    cap: Cap,
}

#[derive(Clone, Copy, Debug)]
struct Sent {
    at: u64,
    wants: bool,
}

/// The open window, or the last one.
#[derive(Clone, Copy, Debug)]
struct Open {
    window: Option<Window>,
    /// On this replica's clock: its tokens are not used from then on. By the clock of the storage it ends then or later.
    ends: u64,
    /// By the clock of the storage it has ended then, if that is as fast: what clients are told.
    told: u64,
    /// By the clock of the storage it has ended then at the latest: a replica alone goes on with the next.
    over: u64,
}

impl Lease {
    /// One whose record lies in this district of the storage.
    pub fn of(district: u8) -> Self {
        Self { district, ..Self::default() }
    }

    /// When the open window ends, on this replica's clock, and the one that a request waits for: until then it is of use.
    pub fn end(&self) -> u64 {
        self.open.map_or(0, |open| open.over).max(self.awaited)
    }

    /// Whether the tokens of the open window are still good.
    fn is_live(&self, now: u64) -> bool {
        self.open.is_some_and(|open| now < open.ends)
    }

    /// Whether it has to do without the storage.
    fn is_alone(&self, view: &View) -> bool {
        view.away & (1 << self.district) != 0
    }

    /// What a request finds now. Nothing is taken: a request needs a token of every limit.
    pub fn look(&mut self, quota: &Quota, view: &View) -> Found {
        let live = self.is_live(view.now);
        if !live {
            // The tokens of a window end with it.
            self.tokens = 0;
            if self.awaited <= view.now {
                self.awaited = view.now.saturating_add(quota.period);
            }
        }
        if quota.requests_max == 0 {
            return Found::Nothing;
        }
        if self.tokens > 0 {
            return if self.cap.used < quota.requests_max { Found::Token } else { Found::Nothing };
        }
        if self.is_alone(view) {
            return self.look_alone(quota, view);
        }
        if live && (self.rest == 0 || self.dry && view.now < self.ask_at) {
            return Found::Nothing;
        }
        Found::Wait
    }

    /// The answer without the storage: windows tile on, on this replica's clock.
    fn look_alone(&mut self, quota: &Quota, view: &View) -> Found {
        let share = match view.fallback {
            Fallback::Closed => return Found::Unknown,
            Fallback::Open => u64::MAX,
            Fallback::Share => share(quota.requests_max, view),
        };
        self.tile(quota, view.now);
        match self.admitted < share {
            true => Found::Token,
            false => Found::Nothing,
        }
    }

    /// Moves to the window that `now` lies in, if that is another: by the tiles of the last one, or, after a whole window
    /// without a request, to one that begins now and that the storage does not know.
    fn tile(&mut self, quota: &Quota, now: u64) {
        let next = match self.open {
            Some(open) if now < open.over => return,
            Some(open) if now - open.over < quota.period => {
                let over = open.over.saturating_add(quota.period + (quota.period >> DRIFT));
                let next = |Window { end, .. }| Window { start: end, end: end + quota.period };
                Open { window: open.window.map(next), ends: over, told: over, over }
            }
            _ => {
                let over = now.saturating_add(quota.period);
                Open { window: None, ends: over, told: over, over }
            }
        };
        self.open = Some(next);
        self.admitted = 0;
        self.granted = 0;
        self.rest = 0;
        // An answer to come speaks of the window before.
        self.sent = None;
        self.cap.open(quota, now);
    }

    /// Takes the token that [`Lease::look`] found.
    pub fn take(&mut self) {
        // Alone there are no tokens, only what has been admitted.
        self.tokens = self.tokens.saturating_sub(1);
        self.admitted += 1;
        self.used += 1;
        self.cap.used += 1;
    }

    /// Whether the storage should be asked now, and no call is under way or has been called for: once it says so,
    /// [`Lease::ask`] is next. `waits`: a request cannot go on without.
    pub fn should_ask(&mut self, view: &View, waits: bool) -> bool {
        self.waiting += u64::from(waits);
        if self.sent.is_none() && !self.called_for {
            self.called_for = waits || self.is_due(view);
            return self.called_for;
        }
        false
    }

    /// Whether it is time to ask although no request waits.
    fn is_due(&self, view: &View) -> bool {
        let live = self.is_live(view.now);
        let alone = self.is_alone(view);
        match self.tokens {
            // Most keys are seen once: nothing is leased in advance for one that has asked once so far.
            0 if live && !alone && self.size <= 1 && self.rest > 0 && !self.dry => false,
            // Others may have given some back; or the storage may be there again.
            0 => view.now >= self.ask_at,
            tokens => live && !alone && self.rest > 0 && tokens <= self.low && view.now >= self.ask_at,
        }
    }

    /// The call for more tokens, unless one is under way.
    pub fn ask(&mut self, quota: &Quota, view: &View, claimant: &str) -> Option<Call> {
        self.called_for = false;
        if self.sent.is_some() {
            return None;
        }
        let elapsed = view.now.saturating_sub(self.asked);
        let pace = times(self.used, self.horizon(), view.now.saturating_sub(self.since).max(1000));
        if elapsed < BRISK {
            let growth = if self.ran_out { BATCH } else { 2 };
            self.size = self.size.saturating_mul(growth).min(pace.max(BATCH)).max(self.size);
        } else if elapsed > 2 * BRISK {
            self.size /= 2;
        }
        self.size = self.size.max(self.waiting).max(1);
        let want = self.size;
        self.begin(view.now);
        self.waiting = 0;
        let open_still = self.open.filter(|open| view.now >= open.ends);
        let send_at = open_still.map_or(0, |open| open.ends + self.grace).max(self.send_at);
        let delay = send_at.saturating_sub(view.now);
        let call = self.call(quota, view, claimant, want);
        let at = if delay < DELAY_MIN { view.now } else { view.now + delay };
        self.sent = Some(Sent { at, wants: true });
        Some(call)
    }

    /// When the call that is under way is to be sent.
    pub fn sends_at(&self) -> u64 {
        self.sent.map_or(0, |sent| sent.at)
    }

    /// What is used from now on is the pace.
    fn begin(&mut self, now: u64) {
        self.asked = now;
        self.since = now;
        self.used = 0;
        self.ran_out = false;
    }

    /// The call that gives back what has not been used for a while, if there is any.
    pub fn give_back(&mut self, quota: &Quota, view: &View, claimant: &str) -> Option<Call> {
        let live = self.is_live(view.now);
        // What was counted as held ends with its window.
        self.untold &= live;
        if self.sent.is_some() || !live || self.is_alone(view) {
            return None;
        }
        let elapsed = view.now.saturating_sub(self.asked).max(1);
        // What the pace so far will use in as long again.
        let keep = if elapsed < idle(quota) { self.tokens } else { self.used.min(self.tokens) };
        // As long as there is plenty, a call for each batch is enough; what is known of that is never old.
        let is_plenty = keep > 0 && self.rest > quota.requests_max / 2 && elapsed < quota.period / 8;
        if !self.untold && (keep == self.tokens || is_plenty) {
            return None;
        }
        if keep < self.tokens {
            self.tokens = keep;
            self.size = keep.max(1);
            self.low = 0;
        }
        self.begin(view.now);
        Some(self.call(quota, view, claimant, 0))
    }

    /// The call that tells what this replica has, where the storage has lost its memory (`keep`), or gives it back, where
    /// the policy ends. What it has used the storage knows, as long as that came from it.
    pub fn tell(&mut self, quota: &Quota, view: &View, claimant: &str, keep: bool) -> Option<Call> {
        // The answer to a call that is under way may be that more is held.
        let is_open = self.untold || self.sent.is_some();
        let known = self.is_live(view.now) && (self.admitted > 0 || self.tokens > 0 || is_open);
        if !known || keep && self.sent.is_some() {
            return None;
        }
        if !keep {
            if self.tokens == 0 && self.admitted <= self.granted && !is_open {
                return None;
            }
            self.tokens = 0;
        }
        Some(self.call(quota, view, claimant, 0))
    }

    fn call(&mut self, quota: &Quota, view: &View, claimant: &str, want: u64) -> Call {
        // A window that only this replica knew is over when its own clock says so.
        if self.open.is_some_and(|open| open.window.is_none() && view.now >= open.ends) {
            self.open = None;
            self.admitted = 0;
            self.granted = 0;
        }
        self.number += 1;
        self.sent = Some(Sent { at: view.now, wants: want > 0 });
        Call {
            claimant: claimant.to_owned(),
            number: self.number,
            window: self.open.and_then(|open| open.window),
            claim: self.admitted.saturating_add(self.tokens),
            granted: self.granted > 0,
            want,
            limit: quota.requests_max,
            period: quota.period,
            replicas: view.replicas,
            rank: view.rank,
            // Whatever was open then has ended a period later.
            lost: view.lost_at.is_some_and(|at| view.now < at.saturating_add(quota.period)),
        }
    }

    /// Whether the answer to the last call shows that the storage has forgotten what it granted of a window that is open.
    pub fn is_forgotten(&self, number: u64, answer: &Answer) -> bool {
        number == self.number && matches!(answer, Answer::Leased(leased) if leased.forgotten)
    }

    /// Takes note of an answer. What became of the window before, if another has begun.
    pub fn answered(&mut self, quota: &Quota, now: u64, number: u64, answer: &Answer) -> Option<Account> {
        // Tokens of an answer that is not waited for any more are taken back by the next call.
        if number != self.number {
            return None;
        }
        let sent = self.sent.take()?;
        let Answer::Leased(leased) = answer else {
            self.retry_at(now);
            return None;
        };
        self.untold = false;
        let &Leased { window, left, carried, grant, rest, .. } = leased;
        // Someone else may have written what is answered.
        let left = left.min(quota.period.saturating_mul(2)).min(NUMBER_MAX);
        let (grant, rest) = (grant.min(quota.requests_max), rest.min(quota.requests_max));
        let ends = sent.at.saturating_add(left - (left >> DRIFT));
        let end_at_most = now.saturating_add(left + (left >> DRIFT));
        let over = match self.open {
            Some(_) if carried => None,
            Some(_) => {
                let account = self.account();
                self.admitted = 0;
                self.tokens = 0;
                self.granted = 0;
                self.cap.open(quota, now);
                account
            }
            None => {
                self.cap.open(quota, now);
                None
            }
        };
        let told = now.saturating_add(left);
        self.open = Some(Open { window: Some(window), ends, told, over: end_at_most });
        if self.tokens == 0 {
            self.since = now;
            self.used = 0;
            self.ran_out = true;
        }
        self.granted = self.granted.saturating_add(grant);
        self.tokens = if now < ends { self.tokens.saturating_add(grant) } else { 0 };
        self.rest = rest;
        self.dry = sent.wants && grant == 0;
        self.trip = now.saturating_sub(sent.at);
        // As much as calls differ in what they take, and clocks in their speed; a fraction of what is at stake, a call.
        self.grace = ((left >> DRIFT) + self.trip / 16).min(self.trip / 4).min(GRACE_MAX);
        let meanwhile = times(self.size, 2 * self.trip, self.horizon());
        self.low = meanwhile.max(grant / 4).min(self.tokens / 2);
        self.ask_at =
            if rest == 0 || self.dry { now + ASK_AGAIN.min(quota.period / 40).max(1000) } else { now };
        over
    }

    /// Takes note of a call that failed.
    pub fn failed(&mut self, now: u64, number: u64) {
        if number == self.number && self.sent.take().is_some() {
            self.untold = true;
            self.retry_at(now);
            self.send_at = now + TRY_AGAIN_SOON;
        }
    }

    /// How long the tokens of one call should last.
    fn horizon(&self) -> u64 {
        HORIZON.max(4 * self.trip)
    }

    fn retry_at(&mut self, now: u64) {
        self.ask_at = now + TRY_AGAIN;
    }

    #[cfg(test)]
    pub fn has_tokens(&self) -> bool {
        self.tokens > 0
    }

    /// Whether there are tokens that may have to be given back, or that the storage may believe to be here.
    pub fn holds(&self) -> bool {
        self.tokens > 0 || self.untold
    }

    /// The open window, or the last one, so far.
    pub fn account(&self) -> Option<Account> {
        let open = self.open?;
        Some(Account { window: open.window, admitted: self.admitted, granted: self.granted })
    }

    /// What a request is told that found this.
    pub fn allowance(&self, quota: &Quota, view: &View) -> Allowance {
        let remaining = match (self.is_alone(view) && self.tokens == 0, view.fallback) {
            (true, Fallback::Share) => share(quota.requests_max, view).saturating_sub(self.admitted),
            (true, Fallback::Closed) => 0,
            (true, Fallback::Open) => quota.requests_max.saturating_sub(self.admitted),
            // What is not known to be less is whole.
            (false, _) if !self.is_live(view.now) => quota.requests_max,
            // What others hold back is none of it.
            (false, _) if self.tokens == 0 && self.dry => 0,
            // What nobody had when the storage was last asked, and what this replica has.
            (false, _) => self.rest.saturating_add(self.tokens).min(quota.requests_max),
        };
        let reset = self.open.map_or(quota.period, |open| open.told.saturating_sub(view.now));
        Allowance { limit: quota.requests_max, remaining, reset_ms: reset.div_ceil(1000) }
    }
}

/// `count` in `given`, how many in `wanted`; `given` is not zero.
fn times(count: u64, wanted: u64, given: u64) -> u64 {
    let scaled = u128::from(count) * u128::from(wanted) / u128::from(given);
    u64::try_from(scaled).unwrap_or(u64::MAX)
}

/// A replica's share of a limit: the shares of all make the limit.
fn share(limit: u64, view: &View) -> u64 {
    limit.saturating_add(view.rank) / view.replicas.max(1)
}

/// Tokens not used for so long are given back.
pub fn idle(quota: &Quota) -> u64 {
    (quota.period / 16).clamp(1000, 500_000)
}
