//! Watches the configuration folders and says when they have changed (decision 16).

use std::{
    collections::BTreeSet,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
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
use crate::resources::writing::{WRITING_AT_MOST, Writing, real};

/// Changes that a file system does not announce (network mounts) are found this late.
const RESCAN: Duration = Duration::from_secs(30);

/// Whether the event tells of a change of the configuration, or of the end of one; who is writing is noted.
fn see(writing: &Writing, event: &Event, now: Instant) -> bool {
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
    /// Device and inode of the folder that is watched.
    #[serde(skip)]
    folder: Option<(u64, u64)>,
}

impl Watched {
    /// The folder is another one than was watched: moved there, or behind a link that leads elsewhere now.
    fn is_replaced(&self) -> bool {
        self.watched && identity(folder_of(&self.path)) != self.folder
    }
}

fn identity(folder: &Path) -> Option<(u64, u64)> {
    std::fs::metadata(folder).ok().map(|metadata| (metadata.dev(), metadata.ino()))
}

impl FileWatcher {
    /// `quiet`: how long nothing must change; `at_most`: after this long it is applied all the same, unless a file is being
    /// written, which is told to `writing`.
    pub fn new(
        paths: Vec<PathBuf>,
        quiet: Duration,
        at_most: Duration,
        writing: Writing,
        reconciler: Addr<Reconciler>,
    ) -> Self {
        let paths = paths.into_iter().map(|path| Watched { path, ..Watched::default() }).collect();
        let state = FileWatcherState { paths, ..FileWatcherState::default() };
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
                    let has_changed =
                        event.as_ref().map_or(true, |event| see(&writing, event, Instant::now()));
                    let changed = Changed(event.err().map(|error| error.to_string()));
                    if has_changed && me.try_send(changed).is_err() {
                        // The mailbox is full of the same message.
                    }
                })
            }
        };
        let mut made = made.map_err(|error| error.to_string());
        let known = self.with_all_below();
        for watched in &mut self.state.paths {
            let done = match &mut made {
                Ok(watcher) => {
                    let folder = folder_of(&watched.path);
                    watched.folder = identity(folder);
                    watcher.watch(folder, mode(folder, &known)).map_err(|error| error.to_string())
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
        ctx.spawn(answer.map(|answer, act, ctx| {
            // Why nothing was put in force is in the log.
            if let Ok(Ok(reloaded)) = answer {
                act.follow(&reloaded.files);
            }
            if act.state.paths.iter().any(Watched::is_replaced) {
                act.watch(ctx);
                // What has changed before it was watched.
                act.reload(ctx);
            }
        }));
    }

    /// Watches the folders of these files too, and of all links on the way to them and to the configuration.
    fn follow(&mut self, files: &[PathBuf]) {
        self.writing.know(self.state.paths.iter().map(|watched| &watched.path).chain(files));
        let known = self.with_all_below();
        let Some(watcher) = &mut self.watcher else { return };
        let configured = self.state.paths.iter().map(|watched| &watched.path);
        let links = configured.flat_map(folders_to);
        let folders: BTreeSet<PathBuf> =
            files.iter().flat_map(folders_to).chain(links).filter_map(real).collect();
        for folder in folders.iter().filter(|folder| mode(folder, &known) == RecursiveMode::NonRecursive) {
            // Otherwise changes are found by the next rescan.
            if let Err(error) = watcher.watch(folder, RecursiveMode::NonRecursive) {
                tracing::debug!("cannot watch {}: {error}", folder.display());
            }
        }
    }

    /// The folders that are named themselves.
    fn with_all_below(&self) -> Vec<PathBuf> {
        let paths = self.state.paths.iter().map(|watched| &watched.path);
        paths.filter(|path| path.is_dir()).filter_map(real).collect()
    }
}

/// A folder is watched with all that is below it if it is named itself, or below one that is. That of a file is not:
/// it may be the root of the file system.
fn mode(folder: &Path, with_all_below: &[PathBuf]) -> RecursiveMode {
    let real = real(folder);
    let is_below = |above: &PathBuf| real.as_ref().is_some_and(|real| real.starts_with(above));
    if with_all_below.iter().any(is_below) { RecursiveMode::Recursive } else { RecursiveMode::NonRecursive }
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
    fn a_change_is_one_to_look_at_and_so_is_its_end() {
        let (writing, now) = (Writing::default(), Instant::now());
        let see = |kind: EventKind, path: &str| {
            super::see(&writing, &Event::new(kind).add_path(PathBuf::from(path)), now)
        };
        let modified = EventKind::Modify(ModifyKind::Data(DataChange::Any));
        let closed = EventKind::Access(AccessKind::Close(AccessMode::Write));
        assert!(see(EventKind::Create(CreateKind::File), "a.yaml"));
        assert_eq!(writing.left(now), None, "a link, or nothing is in it yet");
        assert!(see(modified, "a.yaml") && writing.left(now).is_some());
        assert!(!see(EventKind::Access(AccessKind::Close(AccessMode::Read)), "a.yaml"));
        assert!(see(closed, "a.yaml") && writing.left(now).is_none());
        assert!(!see(closed, "c.yaml"), "nothing was written");
        assert!(see(modified, "a.yaml") && see(EventKind::Remove(RemoveKind::File), "a.yaml"));
        assert_eq!(writing.left(now), None);
    }

    #[test]
    fn of_a_file_that_is_named_its_folder_is_watched_and_nothing_below() {
        let all = tempfile::tempdir().unwrap();
        let at = |path: &str| all.path().join(path);
        fs::create_dir_all(at("apis/team")).unwrap();
        fs::write(at("apis/a.yaml"), "").unwrap();
        fs::write(at("b.yaml"), "").unwrap();
        symlink(at("apis"), at("link")).unwrap();
        let of = |named: &[&str]| {
            let named = named.iter().map(|path| at(path)).filter(|path| path.is_dir());
            named.filter_map(real).collect::<Vec<_>>()
        };
        for (named, file, expected) in [
            (&["b.yaml"][..], "b.yaml", RecursiveMode::NonRecursive),
            (&["apis"], "apis", RecursiveMode::Recursive),
            // Not less of it because a file in it is named too, by whatever name.
            (&["apis", "apis/a.yaml"], "apis/a.yaml", RecursiveMode::Recursive),
            (&["link", "apis/a.yaml"], "apis/a.yaml", RecursiveMode::Recursive),
            (&["apis", "b.yaml"], "b.yaml", RecursiveMode::NonRecursive),
        ] {
            assert_eq!(mode(folder_of(&at(file)), &of(named)), expected, "{file} of {named:?}");
        }
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
