//! Watches the configuration folders and says when they have changed (decision 16).

use std::{path::PathBuf, time::Duration};

use actix::{Actor, ActorContext, Addr, AsyncContext, Context, Handler, Message, SpawnHandle};
use notify::{RecommendedWatcher, RecursiveMode, Watcher};

use super::reconciler::{Reconciler, ReloadNow};

/// Changes that a file system does not announce (network mounts) are found this late.
const RESCAN: Duration = Duration::from_secs(30);

pub struct FileWatcher {
    paths: Vec<PathBuf>,
    quiet: Duration,
    at_most: Duration,
    reconciler: Addr<Reconciler>,
    watcher: Option<RecommendedWatcher>,
    /// When the first change of this burst came.
    burst: Option<std::time::Instant>,
    pending: Option<SpawnHandle>,
}

impl FileWatcher {
    /// `quiet`: how long nothing must change; `at_most`: after this long it is applied all the same.
    pub fn new(
        paths: Vec<PathBuf>,
        quiet: Duration,
        at_most: Duration,
        reconciler: Addr<Reconciler>,
    ) -> Self {
        Self { paths, quiet, at_most, reconciler, watcher: None, burst: None, pending: None }
    }

    fn watch(&mut self, ctx: &Context<Self>) -> notify::Result<()> {
        let me = ctx.address();
        let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            let only_read = event.is_ok_and(|event| event.kind.is_access());
            if !only_read && me.try_send(Changed).is_err() {
                // The mailbox is full of the same message.
            }
        })?;
        for path in &self.paths {
            // The folder of a single file: editors replace files, and a watch would follow the old.
            let folder = if path.is_dir() { path.as_path() } else { path.parent().unwrap_or(path) };
            let folder = if folder.as_os_str().is_empty() { std::path::Path::new(".") } else { folder };
            watcher.watch(folder, RecursiveMode::Recursive)?;
        }
        self.watcher = Some(watcher);
        Ok(())
    }
}

impl Actor for FileWatcher {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        if let Err(error) = self.watch(ctx) {
            tracing::warn!(
                "cannot watch the configuration ({error}): changes are found every {} s, or at once by \
                 SIGHUP",
                RESCAN.as_secs()
            );
        }
        ctx.run_interval(RESCAN, |act, _| act.reload());
    }
}

/// Something in a folder has changed.
#[derive(Message)]
#[rtype(result = "()")]
struct Changed;

impl Handler<Changed> for FileWatcher {
    type Result = ();

    fn handle(&mut self, _: Changed, ctx: &mut Context<Self>) {
        let now = std::time::Instant::now();
        let since = *self.burst.get_or_insert(now);
        let left = self.at_most.saturating_sub(now - since);
        if let Some(pending) = self.pending.take() {
            ctx.cancel_future(pending);
        }
        self.pending = Some(ctx.run_later(self.quiet.min(left), |act, _| {
            act.burst = None;
            act.pending = None;
            act.reload();
        }));
    }
}

impl FileWatcher {
    fn reload(&self) {
        if self.reconciler.try_send(ReloadNow).is_err() {
            tracing::debug!("a reload is waiting already");
        }
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
