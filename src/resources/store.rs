//! The resources in force, over reloads: the last good version of everything that is broken at the
//! moment (configuration reference 15, Do 1 and 2; decision 16).

mod findings;
mod state;

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    hash::{DefaultHasher, Hash as _, Hasher as _},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use self::{
    findings::{MOVED, duplicate, moved, not_here},
    state::FileState,
};
use super::{
    Kind, SharedFile, SharedFiles,
    envelope::Resource,
    load::{Content, Files, Lookup, Stamp, find, parse_file, read_file},
    writing::Writing,
};
use crate::{
    base::{Diagnostic, Digest, ResourceName, Subject},
    document::SourceFile,
};

/// How long resources outlive a file that became empty or vanished: editors truncate, then write
/// (decision 16).
pub const HOLD: Duration = Duration::from_secs(1);

/// A resource of a generation.
#[derive(Clone, Debug)]
pub struct Entry {
    /// What is in force; without a `spec` nothing is.
    pub resource: Arc<Resource>,
    /// Why the resource is not, or not in its newest version, in force.
    pub not_ready: Option<String>,
    pub origin: Origin,
}

/// Where a resource comes from. The first ranks above the second.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// This replica's own files.
    Files,
    /// The configuration that replicas share.
    Shared,
}

/// The resources of a generation in (path, document) order, each identity once.
#[derive(Clone, Debug, Default)]
pub struct ResourceSet {
    pub entries: Vec<Entry>,
    /// Everything found in files and single resources.
    pub diagnostics: Vec<Diagnostic>,
}

impl ResourceSet {
    /// The files that the resources in force stand in, as they were read, in the order of the resources. As long as no
    /// resource has an error that is all there is to say.
    pub fn files(&self) -> Vec<SharedFile> {
        let mut seen: HashSet<*const SourceFile> = HashSet::new();
        let sources = self.entries.iter().map(|entry| &entry.resource.origin.file);
        let sources = sources.filter(|source| seen.insert(Arc::as_ptr(source)));
        sources
            .map(|file| SharedFile { name: Arc::clone(&file.path), text: file.text.as_str().into() })
            .collect()
    }

    /// Findings about files, or documents in them, that do not say which resource they hold: it may be
    /// a policy of any API.
    pub fn broken(&self) -> impl Iterator<Item = &Diagnostic> {
        self.diagnostics.iter().filter(|found| found.is_error() && found.subject.is_none())
    }
}

/// The outcome of [`ResourceStore::rescan`].
#[derive(Clone, Debug)]
pub struct Rescan {
    /// Resources or diagnostics differ from those of the scan before. True for the first.
    pub changed: bool,
    /// Rescan again at this time: until then the resources of an empty or missing file are held.
    pub hold_until: Option<Instant>,
    pub set: ResourceSet,
}

/// What is known of the files of a configuration.
pub struct ResourceStore {
    environment: Lookup,
    writing: Writing,
    files: BTreeMap<PathBuf, FileState>,
    /// What a sound file does not hold any more, while it may have moved to what cannot be read.
    leaving: HashMap<Subject, Arc<Resource>>,
    /// Something cannot be read, or does not say what it holds.
    is_in_doubt: bool,
    /// Names in documents that are nearly resources; `None`: it may be any.
    slips: HashSet<Option<ResourceName>>,
    set: ResourceSet,
    scanned: bool,
    /// Of files, in their order, and of what was kept back: changes whenever the set does.
    fingerprint: Option<u64>,
    hold: Duration,
    /// Resources come from the configuration that replicas share; own files say how to reach it.
    follows: bool,
    shared: Option<Shared>,
}

/// The shared configuration, read.
struct Shared {
    version: u64,
    contents: Vec<Content>,
}

/// What [`ResourceStore::take_shared`] replaced.
pub struct Replaced {
    shared: Option<Shared>,
    set: ResourceSet,
    fingerprint: Option<u64>,
}

impl ResourceStore {
    pub fn new(environment: Lookup) -> Self {
        Self {
            environment,
            writing: Writing::default(),
            files: BTreeMap::new(),
            leaving: HashMap::new(),
            is_in_doubt: false,
            slips: HashSet::new(),
            set: ResourceSet::default(),
            scanned: false,
            fingerprint: None,
            hold: HOLD,
            follows: false,
            shared: None,
        }
    }

    /// Who is to be told which files are being written: they are read when that ends.
    pub fn writing(&self) -> Writing {
        self.writing.clone()
    }

    /// Takes `Configuration` resources only from own files, and all others from the configuration that replicas share.
    #[must_use]
    pub fn following(mut self, follows: bool) -> Self {
        self.follows = follows;
        self
    }

    /// From the next scan on, this is what replicas share.
    pub fn take_shared(&mut self, shared: &SharedFiles) -> Replaced {
        let read = |file: &SharedFile| {
            let name = format!("{}{}", SharedFiles::PREFIX, file.name);
            parse_file(Path::new(&name), file.text.as_bytes().to_vec(), &self.environment)
        };
        let contents = shared.files.iter().map(read).collect();
        Replaced {
            shared: self.shared.replace(Shared { version: shared.version, contents }),
            set: self.set.clone(),
            fingerprint: self.fingerprint,
        }
    }

    /// Goes back to what was shared before, as if nothing had been scanned since.
    pub fn put_back(&mut self, replaced: Replaced) {
        self.shared = replaced.shared;
        self.set = replaced.set;
        self.fingerprint = replaced.fingerprint;
    }

    /// Version of the shared configuration that scans give.
    pub fn shared_version(&self) -> Option<u64> {
        self.shared.as_ref().map(|shared| shared.version)
    }

    /// Holds the resources of a file that became empty or vanished for another time than [`HOLD`].
    #[must_use]
    pub fn with_hold(mut self, hold: Duration) -> Self {
        self.hold = hold;
        self
    }

    /// Looks at all files below `paths`, reads those that changed, and gives the resources in force.
    /// `now` drives the holding back of resources whose file became empty or vanished.
    pub fn rescan(&mut self, paths: &[PathBuf], now: Instant) -> Rescan {
        let mut diagnostics = Vec::new();
        let Files { found, hidden } = find(paths, &mut diagnostics);
        let clock = SystemTime::now();
        let mut missing: Vec<PathBuf> = self.files.keys().cloned().collect();
        let mut is_unfinished = false;
        for file in found {
            if let Ok(at) = missing.binary_search(&file.path) {
                missing.remove(at);
            }
            if self.writing.is_written(&file.path, now) {
                is_unfinished = true;
                self.wait_for(&file.path, now, &mut diagnostics);
            } else {
                self.look_at(&file.path, file.stamp, clock, now, &mut diagnostics);
            }
        }
        for path in missing {
            let is_hidden = hidden.iter().any(|above| path.starts_with(above));
            if let Some(state) = self.files.get_mut(&path) {
                if is_hidden {
                    state.cannot_be_read();
                    continue;
                }
                state.stamp = None;
                state.content =
                    Content { empty: true, broken: state.content.broken.take(), ..Content::default() };
                state.bytes = Digest::of("");
                state.gone_at.get_or_insert(now + self.hold);
            }
        }
        // What was broken and is empty now was about to be mended.
        let is_over =
            |state: &&mut FileState| state.content.empty && state.gone_at.is_none_or(|at| at <= now);
        self.files.values_mut().filter(is_over).for_each(|state| state.content.broken = None);
        diagnostics.extend(self.files.iter().filter_map(|(path, state)| state.held(path)));
        self.is_in_doubt = is_unfinished
            || diagnostics.iter().any(|found| found.is_error() && found.subject.is_none())
            || self.files.values().any(|state| state.content.broken.is_some());
        let hold_until = self.let_go(now);
        let fingerprint = self.fingerprint(&diagnostics);
        let changed = !self.scanned || self.fingerprint != Some(fingerprint);
        if changed {
            self.set = self.merge(diagnostics);
        }
        self.fingerprint = Some(fingerprint);
        self.scanned = true;
        Rescan { changed, hold_until, set: self.set.clone() }
    }

    /// What was read of it before counts until it is closed.
    fn wait_for(&mut self, path: &Path, now: Instant, diagnostics: &mut Vec<Diagnostic>) {
        match self.files.get_mut(path) {
            Some(state) => state.gone_at = state.gone_at.map(|_| now + self.hold),
            None => diagnostics.push(
                Diagnostic::error(format!("`{}` is being written", path.display()))
                    .help("it is read when it is closed"),
            ),
        }
    }

    /// Lets go what is gone, unless it may have moved to where it cannot be read; when to look again.
    fn let_go(&mut self, now: Instant) -> Option<Instant> {
        self.bequeath();
        self.slips = self.files.values().flat_map(|state| state.content.slips.iter().cloned()).collect();
        let (is_in_doubt, slips) = (self.is_in_doubt, &self.slips);
        let may_have_moved = |subject: &Subject| is_in_doubt || may_be(slips, subject);
        let again = now + self.hold.max(HOLD);
        for state in self.files.values_mut().filter(|state| state.gone_at.is_some_and(|at| at <= now)) {
            state.good.retain(|subject, _| may_have_moved(subject));
            state.gone_at = (!state.good.is_empty()).then_some(again);
        }
        self.files
            .retain(|_, state| state.stamp.is_some() || !state.good.is_empty() || state.gone_at.is_some());
        let files = &self.files;
        self.leaving.retain(|subject, _| {
            may_have_moved(subject) && !files.values().any(|state| state.good.contains_key(subject))
        });
        let leaving = (!self.leaving.is_empty()).then_some(again);
        self.files.values().filter_map(|state| state.gone_at).chain(leaving).min()
    }

    /// What is moved to another file and broken on the way has its last good version there.
    fn bequeath(&mut self) {
        let gone = self.files.values().filter(|state| state.gone_at.is_some());
        let mut left: HashMap<Subject, Arc<Resource>> = gone.flat_map(|state| state.good.clone()).collect();
        left.extend(self.leaving.clone());
        if left.is_empty() {
            return;
        }
        for state in self.files.values_mut().filter(|state| state.gone_at.is_none()) {
            let FileState { content, good, .. } = state;
            for broken in content.resources.iter().filter(|resource| resource.spec.is_none()) {
                if let Some(before) = left.get(&broken.subject) {
                    good.entry(before.subject.clone()).or_insert_with(|| Arc::clone(before));
                }
            }
        }
    }

    fn look_at(
        &mut self,
        path: &Path,
        stamp: Stamp,
        clock: SystemTime,
        now: Instant,
        diagnostics: &mut Vec<Diagnostic>,
    ) {
        let known = self.files.get_mut(path);
        if known.as_ref().is_some_and(|state| state.stamp == Some(stamp) && !state.doubtful) {
            return;
        }
        let bytes = match read_file(path) {
            Ok(bytes) => bytes,
            Err(diagnostic) => {
                diagnostics.push(*diagnostic);
                if let Some(state) = known {
                    state.cannot_be_read();
                }
                return;
            }
        };
        let digest = Digest::of(&bytes);
        let doubtful = stamp.is_fresh(clock);
        if let Some(state) = known
            && state.bytes == digest
            && state.stamp.is_some()
        {
            state.stamp = Some(stamp);
            state.doubtful = doubtful;
            return;
        }
        let content = parse_file(path, bytes, &self.environment);
        let state = self.files.entry(path.to_owned()).or_insert_with(|| FileState {
            stamp: None,
            doubtful: false,
            bytes: digest,
            content: Content::default(),
            good: HashMap::new(),
            gone_at: None,
        });
        state.stamp = Some(stamp);
        state.doubtful = doubtful;
        state.bytes = digest;
        let dropped = state.take(content, now + self.hold);
        self.leaving.extend(dropped);
    }

    /// The parts of the state that decide the outcome.
    fn fingerprint(&self, diagnostics: &[Diagnostic]) -> u64 {
        let mut hasher = DefaultHasher::new();
        for (path, state) in &self.files {
            (path, &state.bytes, state.good.len(), state.stamp.is_some()).hash(&mut hasher);
        }
        diagnostics.iter().for_each(|diagnostic| diagnostic.message.hash(&mut hasher));
        let held =
            self.files.values().filter(|state| state.gone_at.is_some()).flat_map(|state| state.good.keys());
        let moved = held.filter(|subject| self.may_have_moved(subject)).count();
        (self.leaving.len(), moved).hash(&mut hasher);
        self.shared_version().hash(&mut hasher);
        hasher.finish()
    }

    /// One entry for each identity: what files say now, in order, then what they said before.
    fn merge(&self, mut diagnostics: Vec<Diagnostic>) -> ResourceSet {
        let mut definitions: Vec<(&FileState, &Arc<Resource>)> = Vec::new();
        // Where several define the same: the first that is sound, or was, else the first.
        let mut chosen: HashMap<Subject, usize> = HashMap::new();
        for state in self.files.values() {
            diagnostics.extend(state.content.diagnostics.iter().cloned());
            for resource in &state.content.resources {
                if !self.takes(resource) {
                    diagnostics.push(not_here(resource));
                    continue;
                }
                let first = *chosen.entry(resource.subject.clone()).or_insert(definitions.len());
                let has_none = |(state, first): &(&FileState, &Arc<Resource>)| !state.has(first);
                if definitions.get(first).is_some_and(has_none) && state.has(resource) {
                    chosen.insert(resource.subject.clone(), definitions.len());
                }
                definitions.push((state, resource));
            }
        }
        let mut entries: Vec<Entry> = Vec::new();
        for (at, (state, resource)) in definitions.iter().enumerate() {
            match chosen[&resource.subject] {
                first if first == at => entries.push(state.entry(resource, self.good(&resource.subject))),
                first => diagnostics.push(duplicate(resource, definitions[first].1)),
            }
        }
        for state in self.files.values() {
            let missing = |good: &&Arc<Resource>| !chosen.contains_key(&good.subject);
            let mut kept: Vec<_> =
                state.good.values().filter(missing).filter(|good| self.takes(good)).collect();
            kept.sort_by_key(|good| good.document);
            for good in kept {
                // The same words in every scan, so that holding changes nothing.
                let reason = match &state.content.broken {
                    Some(cause) => Some(format!("the last good version is in force: {cause}")),
                    None => self.may_have_moved(&good.subject).then(|| MOVED.to_owned()),
                };
                if reason.as_deref() == Some(MOVED) {
                    diagnostics.push(moved(good));
                }
                chosen.insert(good.subject.clone(), entries.len());
                entries.push(Entry { resource: good.clone(), not_ready: reason, origin: Origin::Files });
            }
        }
        let missing = |left: &&Arc<Resource>| !chosen.contains_key(&left.subject) && self.takes(left);
        let mut leaving: Vec<_> = self.leaving.values().filter(missing).collect();
        leaving.sort_by_key(|left| &left.subject);
        diagnostics.extend(leaving.iter().map(|left| moved(left)));
        entries.extend(leaving.into_iter().map(|left| Entry {
            resource: Arc::clone(left),
            not_ready: Some(MOVED.to_owned()),
            origin: Origin::Files,
        }));
        self.merge_shared(&mut entries, &mut diagnostics);
        ResourceSet { entries, diagnostics }
    }

    fn may_have_moved(&self, subject: &Subject) -> bool {
        self.is_in_doubt || may_be(&self.slips, subject)
    }

    /// Whether own files may hold it.
    fn takes(&self, resource: &Resource) -> bool {
        !self.follows || resource.kind == Kind::Configuration
    }

    /// The last good version in any file.
    fn good(&self, subject: &Subject) -> Option<&Arc<Resource>> {
        let mut goods = self.files.values().filter_map(|state| state.good.get(subject));
        goods.next().or(self.leaving.get(subject))
    }

    /// Own files hold only what has no identity to clash with: `Configuration`, which is merged key by key.
    fn merge_shared(&self, entries: &mut Vec<Entry>, diagnostics: &mut Vec<Diagnostic>) {
        let mut index: HashMap<&Subject, &Arc<Resource>> = HashMap::new();
        for content in self.shared.iter().flat_map(|shared| &shared.contents) {
            diagnostics.extend(content.diagnostics.iter().cloned());
            for resource in &content.resources {
                if let Some(first) = index.get(&resource.subject) {
                    diagnostics.push(duplicate(resource, first));
                    continue;
                }
                index.insert(&resource.subject, resource);
                entries.push(Entry {
                    resource: resource.clone(),
                    not_ready: resource.error.clone(),
                    origin: Origin::Shared,
                });
            }
        }
    }
}

fn may_be(slips: &HashSet<Option<ResourceName>>, subject: &Subject) -> bool {
    slips.contains(&None) || slips.contains(&Some(subject.name.clone()))
}
