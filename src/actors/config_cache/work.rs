//! The work of the config cache, one thing after the other.

use std::{
    collections::HashSet,
    pin::pin,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use tokio::{
    sync::watch,
    time::{MissedTickBehavior, interval, interval_at},
};

use super::{Parts, lock, members};
use crate::{
    actors::reconciler::Offer,
    cluster::{
        Follower, Membership, Publisher, Record, follower,
        last_known_good::LastKnownGood,
        membership::{EVERY, Event, GONE_AFTER, Said, State},
        publisher,
        view::Problem,
    },
    settings::ShareConfig,
    storage::{Channel, Heard, Key, Keys, Outcome, Subscription, Versioned},
};

/// How often the stored record is looked at although nobody said that it changed: a message may get lost.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// A storage that does not answer for so long at the start is away: the last known good configuration serves.
const AWAY_AFTER: Duration = Duration::from_secs(2);
/// As long as nobody counts on, the number that tells of a lost memory is kept.
const COUNTER_TTL: Duration = Duration::from_secs(24 * 3600);
/// The reconciler may compile for as long.
const OFFER_TIMEOUT: Duration = Duration::from_secs(120);
/// How often a record is written again when another publisher was quicker.
const WRITES_MAX: usize = 3;

pub(super) struct Work {
    parts: Parts,
    role: Role,
    membership: Membership,
    leaving: watch::Receiver<bool>,
    members: Key,
    counter: Key,
    record: Key,
    changes: Channel,
    subscription: Subscription,
    started: Instant,
    reported: HashSet<Problem>,
    /// Why the newest shared configuration is not in force here.
    rejected: Option<String>,
}

enum Role {
    Alone,
    Publishes(Publisher),
    Follows(Follower, Option<LastKnownGood>),
}

fn now_ms() -> u64 {
    let since = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

impl Work {
    pub fn new(parts: Parts, leaving: watch::Receiver<bool>) -> Self {
        let settings = &parts.settings;
        let (gateway, replica) = (settings.gateway.id.as_str(), settings.gateway.replica.as_str());
        let keys = Keys::of(gateway);
        let role = match (settings.cluster.share_config, &parts.ring) {
            (ShareConfig::Publish, Some(ring)) => {
                Role::Publishes(Publisher::new(gateway, replica, Arc::clone(ring)))
            }
            (ShareConfig::Follow, Some(ring)) => {
                let disk = settings.state.folder.as_ref().map(|folder| LastKnownGood::of(folder, gateway));
                Role::Follows(Follower::new(gateway, Arc::clone(ring)), disk)
            }
            _ => Role::Alone,
        };
        let changes = keys.channel("configuration");
        Self {
            role,
            membership: Membership::new(gateway, replica, parts.ring.clone(), now_ms()),
            leaving,
            members: members(settings),
            counter: keys.digested("beats", &[replica.as_bytes()]),
            record: keys.named("configuration"),
            subscription: parts.storage.subscribe(&changes),
            changes,
            started: Instant::now(),
            reported: HashSet::new(),
            rejected: None,
            parts,
        }
    }

    /// Until the replica leaves.
    pub async fn run(mut self) {
        self.read_disk().await;
        // Own files say where the shared storage is.
        if self.parts.in_force.wait_for(|in_force| in_force.generation > 0).await.is_err() {
            return;
        }
        self.started = Instant::now();
        self.in_force_changed();
        let mut beats = interval(EVERY);
        beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut looks = interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let look = tokio::select! {
                _ = beats.tick() => self.is_behind(),
                _ = looks.tick() => true,
                Heard::Message(_) | Heard::Gap = self.subscription.next() => true,
                changed = self.parts.in_force.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    self.in_force_changed();
                    true
                }
                _ = self.leaving.changed() => return,
            };
            if look {
                self.look().await;
            }
            Box::pin(self.beat()).await;
        }
    }

    /// Whether another replica is known to have a newer configuration, or this one has something to write.
    fn is_behind(&self) -> bool {
        match &self.role {
            Role::Alone => false,
            Role::Publishes(publisher) => publisher.is_pending(),
            Role::Follows(follower, _) if self.rejected.is_none() => {
                follower.version().is_none() || self.membership.newest_record() > follower.version()
            }
            Role::Follows(..) => false,
        }
    }

    fn in_force_changed(&mut self) {
        let in_force = self.parts.in_force.borrow_and_update().clone();
        match &mut self.role {
            Role::Alone => {}
            // What this replica does not accept as it is written, or what may be a folder that is not mounted, is
            // nothing that others should have.
            Role::Publishes(_) if in_force.written_errors > 0 => self.report(Problem::NotShared {
                generation: in_force.generation,
                reason: "it has errors".to_owned(),
            }),
            Role::Publishes(_) if in_force.apis == 0 => self.report(Problem::NotShared {
                generation: in_force.generation,
                reason: "there is no ApiInstance in it".to_owned(),
            }),
            Role::Publishes(publisher) => publisher.accepted(in_force.files),
            Role::Follows(follower, _) => follower.forget_refusal(),
        }
    }

    async fn read_disk(&mut self) {
        let Role::Follows(follower, Some(disk)) = &mut self.role else { return };
        let reading = disk.clone();
        let read = tokio::task::spawn_blocking(move || reading.read()).await;
        let found = match read {
            Ok(Ok(None)) | Err(_) => return,
            Ok(Ok(Some(kept))) => follower.found(kept).map_err(|refused| refused.to_string()),
            Ok(Err(error)) => Err(error.to_string()),
        };
        if let Err(reason) = found {
            let path = disk.path().display().to_string();
            self.report(Problem::Disk { path, reason });
        }
    }

    /// Looks at the record that is stored.
    async fn look(&mut self) {
        if matches!(self.role, Role::Alone) {
            return;
        }
        let mut in_the_way = false;
        for _ in 0..WRITES_MAX {
            let stored = self.stored().await;
            lock(&self.parts.view).storage_error = stored.as_ref().err().cloned();
            let peers = self.membership.newest_record();
            let again = match &self.role {
                Role::Publishes(_) => match stored {
                    Ok(stored) => {
                        let again = self.publish(stored.as_ref(), peers, in_the_way).await;
                        // What cannot even be read as a record lets none through.
                        in_the_way = again && stored.is_none();
                        again
                    }
                    Err(_) => false,
                },
                _ => {
                    self.follow(stored, peers).await;
                    false
                }
            };
            if !again {
                return;
            }
        }
    }

    async fn stored(&self) -> Result<Option<Versioned>, String> {
        if !self.parts.storage.is_shared() {
            return Err("no `sharedStorage` is in force".to_owned());
        }
        self.parts.storage.versioned(&self.record).await.map_err(|error| error.to_string())
    }

    /// Whether to look again: another publisher was quicker, or something is in the way; then it is removed first.
    async fn publish(&mut self, stored: Option<&Versioned>, peers: Option<u64>, in_the_way: bool) -> bool {
        let Role::Publishes(publisher) = &mut self.role else { return false };
        let (step, oddity) = match publisher.judge(stored, peers, now_ms()) {
            Ok(judged) => judged,
            Err(too_large) => {
                let generation = self.parts.in_force.borrow().generation;
                self.report(Problem::NotShared { generation, reason: too_large.to_string() });
                return false;
            }
        };
        if let Some(oddity) = oddity {
            self.report(Problem::Oddity(oddity));
        }
        let (record, remove) = match step {
            publisher::Step::Nothing => return false,
            publisher::Step::Write(record) => (record, in_the_way && stored.is_none()),
            publisher::Step::Replace(record) => (record, true),
        };
        match self.store(&record, remove).await {
            Ok(true) => {
                tracing::info!("configuration version {} is shared", record.version);
                if let Role::Publishes(publisher) = &mut self.role {
                    publisher.wrote(record);
                }
                false
            }
            Ok(false) => true,
            // It may be stored; the next look knows.
            Err(error) => {
                lock(&self.parts.view).storage_error = Some(error.to_string());
                false
            }
        }
    }

    /// Stores a record, and says so.
    async fn store(&self, record: &Versioned, remove: bool) -> Outcome<bool> {
        let storage = &self.parts.storage;
        if remove {
            storage.remove(std::slice::from_ref(&self.record)).await?;
        }
        let stored = storage.advance(&self.record, record).await?;
        if stored {
            // Who does not hear it looks by itself.
            let _ = storage.publish(&self.changes, &record.version.to_be_bytes()).await;
        }
        Ok(stored)
    }

    async fn follow(&mut self, stored: Result<Option<Versioned>, String>, peers: Option<u64>) {
        let Role::Follows(follower, _) = &self.role else { return };
        let now = Instant::now();
        let away = stored.is_err() && self.parts.storage.is_shared();
        let step = match stored.map(|stored| follower.judge(stored.as_ref(), peers, now)) {
            Err(_) if away && now.duration_since(self.started) < AWAY_AFTER => return,
            Err(_) => follower::Step::Nothing,
            Ok(Ok(step)) => step,
            Ok(Err(refused)) => {
                let (unacceptable, step) = *refused;
                self.report(Problem::Unacceptable(unacceptable));
                step
            }
        };
        match step {
            follower::Step::Nothing => {}
            follower::Step::Offer(record, stored) => self.offer(record, stored).await,
            follower::Step::WriteBack(held) => {
                if let Ok(true) = self.store(&held, false).await {
                    tracing::warn!(
                        "the shared storage had lost configuration version {}; it is there again",
                        held.version
                    );
                }
            }
        }
        let Role::Follows(follower, _) = &self.role else { return };
        if let Some((record, held)) = follower.fallback()
            && !follower.is_waiting(record.version, Instant::now())
        {
            self.offer(record, held).await;
        }
    }

    /// Puts a record in force, and keeps it on disk if that goes well.
    pub async fn offer(&mut self, record: Record, stored: Versioned) {
        let version = record.version;
        let mut offered = pin!(self.parts.reconciler.send(Offer(record.files())).timeout(OFFER_TIMEOUT));
        let mut beats = interval_at(tokio::time::Instant::now() + EVERY, EVERY);
        // The reconciler may be waiting for addresses, or for a file that is being written: this replica lives all the same.
        let offered = loop {
            tokio::select! {
                offered = &mut offered => break offered,
                _ = beats.tick() => Box::pin(self.beat()).await,
            }
        };
        let offered = offered.unwrap_or_else(|error| Err(format!("the reconciler does not answer: {error}")));
        let Role::Follows(follower, disk) = &mut self.role else { return };
        let refused = match offered {
            Ok(_) => {
                follower.applied(stored.clone());
                None
            }
            Err(reason) => {
                follower.refused(version, Instant::now());
                Some(format!("version {version}: {reason}"))
            }
        };
        self.rejected.clone_from(&refused);
        if let Some(reason) = refused {
            self.report(Problem::Rejected { reason });
            return;
        }
        tracing::info!("configuration version {version} of replica {} is in force", record.content.publisher);
        let Some(disk) = disk.clone() else { return };
        let path = disk.path().display().to_string();
        let written = tokio::task::spawn_blocking(move || match disk.read() {
            Ok(Some(kept)) if kept == stored => Ok(()),
            _ => disk.write(&stored),
        });
        if let Ok(Err(error)) = written.await {
            self.report(Problem::Disk { path, reason: error.to_string() });
        }
    }

    /// Says that this replica lives, and hears of the others.
    async fn beat(&mut self) {
        let said = self.said();
        let word = self.membership.say(said);
        let (settings, storage) = (Arc::clone(&self.parts.settings), self.parts.storage.clone());
        let replica = &settings.gateway.replica;
        let heard = if storage.is_shared() && !*self.leaving.borrow() {
            let (beats, counted) = tokio::join!(
                storage.beat(&self.members, replica, &word, GONE_AFTER),
                storage.increment(&self.counter, COUNTER_TTL),
            );
            // Who spoils the number shall not make this replica deaf.
            beats.map(|beats| (beats, counted.ok())).map_err(|error| error.to_string())
        } else {
            Err("no `sharedStorage` is in force".to_owned())
        };
        let error = match heard {
            Ok((beats, counted)) => {
                for event in self.membership.heard(&beats, counted, Instant::now()) {
                    self.tell(event);
                }
                storage.fleet().saw(self.membership.replicas(), self.membership.rank());
                None
            }
            Err(error) => {
                self.membership.missed();
                Some(error)
            }
        };
        let mut view = lock(&self.parts.view);
        view.expected = settings.cluster.expected_replicas;
        view.shared = storage.is_shared();
        view.storage_error = error;
        view.losses = storage.fleet().losses();
        view.see(&self.membership);
    }

    fn said(&self) -> Said {
        let in_force = self.parts.in_force.borrow();
        let (share, record) = match &self.role {
            Role::Alone => (ShareConfig::Off, None),
            Role::Publishes(publisher) => (ShareConfig::Publish, publisher.version()),
            Role::Follows(follower, _) => (ShareConfig::Follow, follower.version()),
        };
        let waits = in_force.generation == 0 || matches!(share, ShareConfig::Follow) && record.is_none();
        Said {
            name: self.parts.settings.gateway.name.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            share,
            digest: in_force.digest.clone(),
            generation: in_force.generation,
            errors: u64::try_from(in_force.errors).unwrap_or(u64::MAX),
            record,
            state: match self.rejected {
                Some(_) => State::Rejected,
                None if waits => State::Waiting,
                None => State::Applied,
            },
            reason: self.rejected.clone().or_else(|| in_force.first_error.clone()),
            ..Said::default()
        }
    }

    fn tell(&self, event: Event) {
        match event {
            Event::LostMemory => {
                self.parts.storage.fleet().lost();
                tracing::warn!("{event}");
            }
            Event::Joined { .. } | Event::Left { .. } | Event::Agree => tracing::info!("{event}"),
            Event::Differ(_) | Event::SameId | Event::Ignored { .. } => tracing::warn!("{event}"),
        }
    }

    /// Each problem once.
    fn report(&mut self, problem: Problem) {
        lock(&self.parts.view).last_problem = Some(problem.to_string());
        if self.reported.insert(problem.clone()) {
            lock(&self.parts.view).count(&problem);
            tracing::warn!("{problem}");
        }
        // Whoever writes ever new ones into the storage fills no memory here.
        if self.reported.len() > Problem::REMEMBERED_MAX {
            self.reported.clear();
        }
    }
}
