//! Watches the configuration folders and says when they have changed (decision 16).

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsString,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use actix::{
    Actor, ActorContext, ActorFutureExt, Addr, AsyncContext, Context, Handler, Message, MessageResult,
    SpawnHandle, WrapFuture,
};
use jiff::Timestamp;
use notify::{
    Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher,
    event::{AccessKind, AccessMode, ModifyKind},
};
use serde::Serialize;

use super::reconciler::{Reconciler, ReloadNow};
use crate::{base::lock, resources::load::is_resource_file};

/// Changes that a file system does not announce (network mounts) are found this late.
const RESCAN: Duration = Duration::from_secs(30);

/// For how long a file counts as being written after its last change, when nobody has said that it is closed.
const WRITING: Duration = Duration::from_secs(5);
/// For how long changes wait for files that are being written: something that is none of ours may be written for ever.
const WRITING_AT_MOST: Duration = Duration::from_secs(30);

/// Files of the configuration that somebody is writing. The beginning of a file may be one that is sound, without the
/// policies that come behind it.
#[derive(Clone, Default)]
struct Writing(Arc<Mutex<Written>>);

#[derive(Default)]
struct Written {
    /// When each changed last.
    files: BTreeMap<PathBuf, Instant>,
    /// How files are called that count whatever they end in. Others in the same folders are none of ours.
    names: BTreeSet<OsString>,
}

impl Written {
    fn counts(&self, path: &Path) -> bool {
        is_resource_file(path) || path.file_name().is_some_and(|name| self.names.contains(name))
    }

    fn changed(&mut self, paths: &[PathBuf], now: Instant) {
        for path in paths {
            if self.counts(path) {
                self.files.insert(path.clone(), now);
            }
        }
    }

    /// Whether one of them was being written.
    fn ended(&mut self, paths: &[PathBuf]) -> bool {
        paths.iter().filter(|path| self.files.remove(*path).is_some()).count() > 0
    }
}

impl Writing {
    /// The files that count whatever they are called, in place of those before.
    fn know<'p>(&self, files: impl Iterator<Item = &'p PathBuf>) {
        let name = |path: &Path| path.file_name().map(OsString::from);
        let names = files.flat_map(|path| [name(path), real(path).and_then(|path| name(&path))]);
        lock(&self.0).names = names.flatten().collect();
    }

    /// Whether the event tells of a change, or of the end of one.
    fn see(&self, event: &Event, now: Instant) -> bool {
        let mut writing = lock(&self.0);
        match event.kind {
            EventKind::Modify(ModifyKind::Data(_)) => {
                writing.changed(&event.paths, now);
                true
            }
            EventKind::Access(AccessKind::Close(AccessMode::Write)) => writing.ended(&event.paths),
            EventKind::Access(_) => false,
            EventKind::Modify(ModifyKind::Name(_)) | EventKind::Remove(_) => {
                writing.ended(&event.paths);
                true
            }
            // Or more has happened than is told.
            _ => true,
        }
    }

    /// For how long to wait for somebody to end.
    fn left(&self, now: Instant) -> Option<Duration> {
        let files = &mut lock(&self.0).files;
        files.retain(|_, last| now.saturating_duration_since(*last) < WRITING);
        files.values().map(|last| WRITING.saturating_sub(now.saturating_duration_since(*last))).max()
    }
}

pub struct FileWatcher {
    quiet: Duration,
    at_most: Duration,
    reconciler: Addr<Reconciler>,
    watcher: Option<RecommendedWatcher>,
    state: FileWatcherState,
    writing: Writing,
    /// When the first change of this burst came.
    burst: Option<Instant>,
    pending: Option<SpawnHandle>,
}

/// What the watcher tells of itself. Times are UTC.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FileWatcherState {
    pub paths: Vec<Watched>,
    /// Changes that the system announced.
    pub events: u64,
    pub last_event: Option<String>,
    /// The last look that no event asked for; there is one every 30 s.
    pub last_rescan: Option<String>,
    /// What the system could not announce, since the start.
    pub errors: u64,
    pub last_error: Option<String>,
}

/// A folder or file of the configuration.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Watched {
    pub path: PathBuf,
    /// Whether changes are announced; otherwise rescans find them.
    pub watched: bool,
    pub error: Option<String>,
}

impl FileWatcher {
    /// `quiet`: how long nothing must change; `at_most`: after this long it is applied all the same, unless a file is being
    /// written.
    pub fn new(
        paths: Vec<PathBuf>,
        quiet: Duration,
        at_most: Duration,
        reconciler: Addr<Reconciler>,
    ) -> Self {
        let paths = paths.into_iter().map(|path| Watched { path, ..Watched::default() }).collect();
        let state = FileWatcherState { paths, ..FileWatcherState::default() };
        let writing = Writing::default();
        writing.know(state.paths.iter().map(|watched| &watched.path));
        Self { quiet, at_most, reconciler, watcher: None, state, writing, burst: None, pending: None }
    }

    /// Watches every path; again, too, because a folder that was replaced is another one to the system.
    fn watch(&mut self, ctx: &Context<Self>) {
        let made = match self.watcher.take() {
            Some(watcher) => Ok(watcher),
            None => {
                let (me, writing) = (ctx.address(), self.writing.clone());
                notify::recommended_watcher(move |event: notify::Result<Event>| {
                    let has_changed = event.as_ref().map_or(true, |event| writing.see(event, Instant::now()));
                    let changed = Changed(event.err().map(|error| error.to_string()));
                    if has_changed && me.try_send(changed).is_err() {
                        // The mailbox is full of the same message.
                    }
                })
            }
        };
        let mut made = made.map_err(|error| error.to_string());
        for watched in &mut self.state.paths {
            let done = match &mut made {
                Ok(watcher) => {
                    let folder = folder_of(&watched.path);
                    watcher.watch(folder, RecursiveMode::Recursive).map_err(|error| error.to_string())
                }
                Err(error) => Err(error.clone()),
            };
            let error = done.err();
            if let Some(error) = error.as_ref().filter(|error| watched.error.as_ref() != Some(error)) {
                tracing::warn!(
                    "cannot watch {} ({error}): changes are found every {} s, or at once by SIGHUP",
                    watched.path.display(),
                    RESCAN.as_secs()
                );
            }
            (watched.watched, watched.error) = (error.is_none(), error);
        }
        self.watcher = made.ok();
    }

    /// Applies what has changed, when nobody is writing.
    fn apply(&mut self, ctx: &mut Context<Self>) {
        let now = Instant::now();
        let waits = self.burst.is_none_or(|burst| now - burst < WRITING_AT_MOST);
        if let Some(left) = self.writing.left(now).filter(|_| waits) {
            self.pending = Some(ctx.run_later(left, Self::apply));
            return;
        }
        self.burst = None;
        self.pending = None;
        self.reload(ctx);
    }

    fn reload(&self, ctx: &mut Context<Self>) {
        let answer = self.reconciler.send(ReloadNow).into_actor(self);
        ctx.spawn(answer.map(|answer, act, _| {
            // Why nothing was put in force is in the log.
            if let Ok(Ok(reloaded)) = answer {
                act.follow(&reloaded.files);
            }
        }));
    }

    /// Watches the folders of these files too, and of all links on the way to them and to the configuration.
    fn follow(&mut self, files: &[PathBuf]) {
        self.writing.know(self.state.paths.iter().map(|watched| &watched.path).chain(files));
        let Some(watcher) = &mut self.watcher else { return };
        let configured = self.state.paths.iter().map(|watched| &watched.path);
        let links = configured.clone().flat_map(folders_to);
        let folders: BTreeSet<PathBuf> =
            files.iter().flat_map(folders_to).chain(links).filter_map(real).collect();
        // Those of the configuration are watched already, with all that is below them.
        let known: Vec<PathBuf> = configured.filter_map(|path| real(folder_of(path))).collect();
        for folder in folders.iter().filter(|folder| !known.iter().any(|known| folder.starts_with(known))) {
            // Otherwise changes are found by the next rescan.
            if let Err(error) = watcher.watch(folder, RecursiveMode::NonRecursive) {
                tracing::debug!("cannot watch {}: {error}", folder.display());
            }
        }
    }
}

/// The folder of a single file: editors replace files, and a watch would follow the old.
fn folder_of(path: &Path) -> &Path {
    let folder = if path.is_dir() { path } else { path.parent().unwrap_or(path) };
    if folder.as_os_str().is_empty() { Path::new(".") } else { folder }
}

/// Links on the way to a file, at most: as many as the system follows.
const LINKS_MAX: usize = 40;

/// The folders in which a change can make a path lead to another file: its own, and that of each symbolic link on the
/// way, as Kubernetes mounts files through `..data`.
fn folders_to(path: impl AsRef<Path>) -> Vec<PathBuf> {
    let path = std::path::absolute(&path).unwrap_or_else(|_| path.as_ref().to_owned());
    let mut folders = vec![folder_of(&path).to_owned()];
    let mut followed = vec![path];
    let mut at = 0;
    while at < followed.len() && followed.len() < LINKS_MAX {
        let path = followed[at].clone();
        at += 1;
        for link in path.ancestors() {
            let (Ok(target), Some(folder)) = (std::fs::read_link(link), link.parent()) else { continue };
            folders.push(folder.to_owned());
            let behind = path.strip_prefix(link).unwrap_or(Path::new(""));
            followed.push(folder.join(target).join(behind));
        }
    }
    folders.extend(followed.iter().filter_map(|path| path.parent()).map(Path::to_owned));
    folders
}

/// By the one name that all others lead to.
fn real(folder: impl AsRef<Path>) -> Option<PathBuf> {
    std::fs::canonicalize(folder).ok()
}

fn now() -> Option<String> {
    Some(Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string())
}

impl Actor for FileWatcher {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        self.watch(ctx);
        ctx.run_interval(RESCAN, |act, ctx| {
            act.watch(ctx);
            act.state.last_rescan = now();
            // What is being written is looked at when that ends.
            if act.writing.left(Instant::now()).is_none() {
                act.reload(ctx);
            }
        });
    }
}

/// Something in a folder has changed, or perhaps has: the system could not say, for the reason given.
#[derive(Message)]
#[rtype(result = "()")]
struct Changed(Option<String>);

impl Handler<Changed> for FileWatcher {
    type Result = ();

    fn handle(&mut self, Changed(error): Changed, ctx: &mut Context<Self>) {
        match error {
            Some(error) => {
                tracing::warn!("watching the configuration: {error}");
                self.state.errors += 1;
                self.state.last_error = Some(error);
            }
            None => {
                self.state.events += 1;
                self.state.last_event = now();
            }
        }
        let now = Instant::now();
        let since = *self.burst.get_or_insert(now);
        let left = self.at_most.saturating_sub(now - since);
        if let Some(pending) = self.pending.take() {
            ctx.cancel_future(pending);
        }
        self.pending = Some(ctx.run_later(self.quiet.min(left), Self::apply));
    }
}

/// The configuration names these files: their changes are changes of it.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Follow(pub Vec<PathBuf>);

impl Handler<Follow> for FileWatcher {
    type Result = ();

    fn handle(&mut self, Follow(files): Follow, _: &mut Context<Self>) {
        self.follow(&files);
    }
}

/// Asks for the state.
#[derive(Message)]
#[rtype(result = "FileWatcherState")]
pub struct Describe;

impl Handler<Describe> for FileWatcher {
    type Result = MessageResult<Describe>;

    fn handle(&mut self, _: Describe, _: &mut Context<Self>) -> Self::Result {
        MessageResult(self.state.clone())
    }
}

/// Ends the watch.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Stop;

impl Handler<Stop> for FileWatcher {
    type Result = ();

    fn handle(&mut self, _: Stop, ctx: &mut Context<Self>) {
        ctx.stop();
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink};

    use notify::event::{CreateKind, DataChange, RemoveKind};

    use super::*;

    #[test]
    fn a_file_is_being_written_until_it_is_closed_or_gone_or_has_not_changed_for_long() {
        let (writing, start) = (Writing::default(), Instant::now());
        writing.know(["a", "b"].map(PathBuf::from).iter());
        let after = |millis: u64| start + Duration::from_millis(millis);
        let see = |kind: EventKind, path: &str, at: u64| {
            writing.see(&Event::new(kind).add_path(PathBuf::from(path)), after(at))
        };
        let modified = EventKind::Modify(ModifyKind::Data(DataChange::Any));
        let closed = EventKind::Access(AccessKind::Close(AccessMode::Write));
        assert!(see(EventKind::Create(CreateKind::File), "a", 0));
        assert_eq!(writing.left(after(0)), None, "a link, or nothing is in it yet");
        assert!(see(modified, "a", 0) && see(modified, "b", 1000));
        assert_eq!(writing.left(after(1000)), Some(WRITING));
        assert!(!see(EventKind::Access(AccessKind::Close(AccessMode::Read)), "b", 1000));
        assert!(see(closed, "b", 1000), "now it is time to look");
        assert!(!see(closed, "c", 1000), "nothing was written");
        assert_eq!(writing.left(after(1000)), Some(WRITING - Duration::from_secs(1)));
        assert_eq!(writing.left(after(5000)), None);
        assert!(see(modified, "some.log", 6000));
        assert_eq!(writing.left(after(6000)), None, "it is none of ours");
        assert!(see(modified, "a", 6000) && see(EventKind::Remove(RemoveKind::File), "a", 6000));
        assert_eq!(writing.left(after(6000)), None);
    }

    #[test]
    fn every_link_on_the_way_to_a_file_lies_in_a_folder_that_is_watched() {
        let all = tempfile::tempdir().unwrap();
        let at = |path: &str| all.path().join(path);
        for folder in ["volume/..2026", "links", "elsewhere"] {
            fs::create_dir_all(at(folder)).unwrap();
        }
        fs::write(at("volume/..2026/tls.crt"), "").unwrap();
        // As Kubernetes mounts a secret, and a link to its folder from somewhere else.
        symlink("..2026", at("volume/..data")).unwrap();
        symlink("..data/tls.crt", at("volume/tls.crt")).unwrap();
        symlink("../volume", at("links/volume")).unwrap();
        symlink(at("links/volume/tls.crt"), at("elsewhere/tls.crt")).unwrap();
        let folders: BTreeSet<_> = folders_to(at("elsewhere/tls.crt")).iter().filter_map(real).collect();
        for folder in ["elsewhere", "links", "volume", "volume/..2026"] {
            assert!(folders.contains(&real(at(folder)).unwrap()), "{folder}: {folders:?}");
        }
        // Links in a circle end.
        symlink("round", at("links/round")).unwrap();
        assert!(folders_to(at("links/round/tls.crt")).contains(&at("links")));
    }
}
