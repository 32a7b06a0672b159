//! The cache of one policy on the disk of its replica, so that it survives a restart: a file for each entry, written
//! by a thread of its own after the memory, which decides alone what there is.

use std::{
    collections::HashMap,
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak},
    thread,
    time::SystemTime,
};

use bytes::Bytes;

use super::{
    entry::{BODY_BYTES_MAX, HEAD_BYTES_MAX, Kept, Stamp, decode, encode},
    memory::Memory,
};
use crate::{
    base::{
        Digest, lock,
        seal::{KeyRing, Purpose},
    },
    policy::Clock,
};

/// The largest file that can hold an entry, sealed.
const FILE_BYTES_MAX: usize = BODY_BYTES_MAX + HEAD_BYTES_MAX + 1024;
const DIGEST_BYTES: usize = 32;
/// Ends the name of a file that is not complete.
const UNFINISHED: &str = ".new";

/// What has changed in memory and not on the disk yet. Of each key only the last change: it holds no more than the
/// memory does, and the keys of files that are to go.
#[derive(Default)]
pub struct Mirror {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    changes: HashMap<Digest, Option<Change>>,
    closed: bool,
    /// The thread is neither reading nor writing.
    idle: bool,
}

type Change = (Arc<Kept>, Digest);

impl Mirror {
    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// What stands under the key now, and its subject.
    pub fn changed(&self, key: Digest, change: Option<Change>) {
        self.state().changes.insert(key, change);
        self.changed.notify_all();
    }

    /// Nothing more will change.
    pub fn close(&self) {
        self.state().closed = true;
        self.changed.notify_all();
    }

    /// Waits for changes; `None` when there will be none.
    fn next(&self) -> Option<HashMap<Digest, Option<Change>>> {
        let mut state = self.state();
        loop {
            if !state.changes.is_empty() {
                state.idle = false;
                return Some(std::mem::take(&mut state.changes));
            }
            if state.closed {
                return None;
            }
            state.idle = true;
            self.changed.notify_all();
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Waits until the disk is as the memory is.
    #[cfg(test)]
    pub fn settle(&self) {
        let mut state = self.state();
        while !(state.idle && state.changes.is_empty()) {
            state = self.changed.wait(state).unwrap();
        }
    }
}

/// Where the entries lie, and how.
pub struct Disk {
    folder: PathBuf,
    namespace: Digest,
    seals: Option<Arc<KeyRing>>,
    clock: Clock,
    entries_max: usize,
}

impl Disk {
    /// In the folder of the replica's state: a folder for the binding, and in it one for its configuration.
    pub fn new(
        state: &Path,
        [binding, namespace]: [Digest; 2],
        seals: Option<Arc<KeyRing>>,
        clock: Clock,
        entries_max: usize,
    ) -> Self {
        let folder = state.join("http-cache").join(binding.to_string()).join(namespace.to_string());
        Self { folder, namespace, seals, clock, entries_max }
    }

    /// Starts the thread that reads what is there, and then writes what changes for as long as the memory lives.
    pub fn start(self, mirror: Arc<Mirror>, memory: &Arc<Memory>) {
        let memory = Arc::downgrade(memory);
        let started = thread::Builder::new().name("http-cache".to_owned()).spawn(move || {
            self.load(&memory);
            let mut complained = false;
            while let Some(changes) = mirror.next() {
                // What is to go first: it must not be there after a restart.
                let (gone, kept): (Vec<_>, Vec<_>) =
                    changes.into_iter().partition(|(_, change)| change.is_none());
                for (key, change) in gone.into_iter().chain(kept) {
                    let written = match change {
                        Some((kept, subject)) => self.write(&key, &kept, subject),
                        None => self.remove(&key),
                    };
                    if let Err(error) = written
                        && !std::mem::replace(&mut complained, true)
                    {
                        let folder = self.folder.display();
                        tracing::warn!("cached responses cannot be kept in {folder}: {error}");
                    }
                }
            }
        });
        if let Err(error) = started {
            tracing::warn!("cached responses will not survive a restart: no thread for them: {error}");
        }
    }

    /// Removes all that the binding has there, which keeps nothing there now: should it do so again, what was invalidated
    /// meanwhile must not come back.
    pub fn forget(self) {
        let Some(folder) = self.folder.parent().filter(|folder| folder.exists()).map(Path::to_owned) else {
            return;
        };
        let remove = move || {
            if let Err(error) = fs::remove_dir_all(&folder) {
                tracing::warn!("cached responses cannot be removed from {}: {error}", folder.display());
            }
        };
        let started = thread::Builder::new().name("http-cache".to_owned()).spawn(remove);
        if let Err(error) = started {
            tracing::warn!("cached responses cannot be removed: no thread for them: {error}");
        }
    }

    fn path(&self, key: &Digest) -> PathBuf {
        self.folder.join(key.to_string())
    }

    /// An entry of another cache, or under another key, does not open.
    fn aad(&self, key: &Digest) -> Vec<u8> {
        [&b"disk"[..], self.namespace.as_bytes(), key.as_bytes()].concat()
    }

    fn write(&self, key: &Digest, kept: &Kept, subject: Digest) -> io::Result<()> {
        let stamp = Stamp { generations: [0, 0], number: 0, subject };
        let plain = encode(kept, &stamp, self.clock.micros(), self.clock.wall());
        let text = match &self.seals {
            Some(seals) => seals.seal(Purpose::HttpCache, &self.aad(key), &plain),
            None => [&Digest::of(&plain).as_bytes()[..], &plain].concat(),
        };
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.folder)?;
        let (path, unfinished) = (self.path(key), self.folder.join(format!("{key}{UNFINISHED}")));
        let mut file =
            OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&unfinished)?;
        file.write_all(&text)?;
        fs::rename(unfinished, path)
    }

    fn remove(&self, key: &Digest) -> io::Result<()> {
        match fs::remove_file(self.path(key)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Takes the entries into memory, oldest first. What is over, damaged, too much or not of this cache is removed.
    fn load(&self, memory: &Weak<Memory>) {
        self.clear_others();
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.folder).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let Some(name) = name.to_str() else { continue };
            match Digest::parse(name) {
                Some(key) => {
                    let written = entry.metadata().and_then(|about| about.modified());
                    found.push((written.unwrap_or(SystemTime::UNIX_EPOCH), key));
                }
                None if name.strip_suffix(UNFINISHED).is_some_and(|name| Digest::parse(name).is_some()) => {
                    let _ = fs::remove_file(entry.path());
                }
                None => {}
            }
        }
        found.sort_unstable_by_key(|(written, _)| *written);
        let too_many = found.len().saturating_sub(self.entries_max);
        for (index, (_, key)) in found.into_iter().enumerate() {
            let Some(memory) = memory.upgrade() else { return };
            let restored = index >= too_many
                && self.read(&key).is_some_and(|(kept, subject)| {
                    memory.restore(key, subject, Arc::new(kept), self.clock.micros())
                });
            if !restored {
                let _ = self.remove(&key);
            }
        }
    }

    /// What the binding had stored under other configurations is never found again.
    fn clear_others(&self) {
        let beside = self.folder.parent().and_then(|folder| fs::read_dir(folder).ok());
        for folder in beside.into_iter().flatten().flatten() {
            let name = folder.file_name();
            let other = name.to_str().and_then(Digest::parse).filter(|other| *other != self.namespace);
            if other.is_some() {
                let _ = fs::remove_dir_all(folder.path());
            }
        }
    }

    fn read(&self, key: &Digest) -> Option<(Kept, Digest)> {
        let mut text = Vec::new();
        let file = File::open(self.path(key)).ok()?;
        file.take(FILE_BYTES_MAX as u64 + 1).read_to_end(&mut text).ok()?;
        if text.len() > FILE_BYTES_MAX {
            return None;
        }
        let plain = match &self.seals {
            Some(seals) => Bytes::from(seals.open(Purpose::HttpCache, &self.aad(key), &text)?),
            None => {
                let (digest, plain) = text.split_at_checked(DIGEST_BYTES)?;
                (Digest::of(plain).as_bytes() == digest).then_some(())?;
                Bytes::from(text).slice(DIGEST_BYTES..)
            }
        };
        let (mut kept, stamp) = decode(&plain, self.clock.micros(), self.clock.wall())?;
        if let Kept::Response(entry) = &mut kept {
            entry.headers = entry.headers.compact(|_| true);
        }
        Some((kept, stamp.subject))
    }
}
