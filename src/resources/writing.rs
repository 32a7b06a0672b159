//! Files that somebody is writing. The beginning of a file may be one that is sound, without the policies that come behind it: it is
//! not read before it is closed.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use super::load::is_resource_file;
use crate::base::lock;

/// For how long a file counts as being written after its last change, when nobody has said that it is closed.
pub const WRITING: Duration = Duration::from_secs(5);
/// For how long a file counts as being written at the most: something that is none of ours may be written for ever.
pub const WRITING_AT_MOST: Duration = Duration::from_secs(30);

/// Whoever watches the files tells it, whoever reads them asks it. Clones are the same.
#[derive(Clone, Default)]
pub struct Writing(Arc<Mutex<Written>>);

#[derive(Default)]
struct Written {
    files: BTreeMap<PathBuf, Changes>,
    /// How files are called that count whatever they end in. Others in the same folders are none of ours.
    names: BTreeSet<OsString>,
}

/// Of one file, since somebody has opened it.
#[derive(Clone, Copy)]
struct Changes {
    first: Instant,
    last: Instant,
}

impl Changes {
    /// For how long it counts as being written, if nothing more happens.
    fn left(&self, now: Instant) -> Option<Duration> {
        let end = (self.last + WRITING).min(self.first + WRITING_AT_MOST);
        let left = end.saturating_duration_since(now);
        (!left.is_zero()).then_some(left)
    }
}

impl Writing {
    /// The files that count whatever they are called, in place of those before.
    pub fn know<'p>(&self, files: impl Iterator<Item = &'p PathBuf>) {
        let name = |path: &Path| path.file_name().map(OsString::from);
        let names = files.flat_map(|path| [name(path), real(path).and_then(|path| name(&path))]);
        lock(&self.0).names = names.flatten().collect();
    }

    /// Somebody has written to these.
    pub fn changed(&self, paths: &[PathBuf], now: Instant) {
        let Written { files, names } = &mut *lock(&self.0);
        for path in paths {
            if is_resource_file(path) || path.file_name().is_some_and(|name| names.contains(name)) {
                files.entry(path.clone()).or_insert(Changes { first: now, last: now }).last = now;
            }
        }
    }

    /// These are closed, or gone. Whether one of them was being written.
    pub fn ended(&self, paths: &[PathBuf]) -> bool {
        let files = &mut lock(&self.0).files;
        paths.iter().filter(|path| files.remove(*path).is_some()).count() > 0
    }

    /// For how long to wait for somebody to end.
    pub fn left(&self, now: Instant) -> Option<Duration> {
        let files = &mut lock(&self.0).files;
        // One that is written for longer is forgotten when it has been quiet for a while, or is closed.
        files.retain(|_, changes| now.saturating_duration_since(changes.last) < WRITING);
        files.values().filter_map(|changes| changes.left(now)).max()
    }

    /// Whether this file, by whatever name, is being written.
    pub fn is_written(&self, path: &Path, now: Instant) -> bool {
        let written: Vec<PathBuf> = {
            let files = &lock(&self.0).files;
            let written = files.iter().filter(|(_, changes)| changes.left(now).is_some());
            written.map(|(path, _)| path.clone()).collect()
        };
        let same =
            |written: &PathBuf| written == path || real(written).is_some_and(|it| real(path) == Some(it));
        written.iter().any(same)
    }
}

/// By the one name that all others lead to.
pub fn real(path: impl AsRef<Path>) -> Option<PathBuf> {
    fs::canonicalize(path).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_being_written_until_it_is_closed_or_has_not_changed_for_long() {
        let (writing, start) = (Writing::default(), Instant::now());
        writing.know(["a", "b"].map(PathBuf::from).iter());
        let after = |millis: u64| start + Duration::from_millis(millis);
        let changed = |path: &str, at: u64| writing.changed(&[path.into()], after(at));
        changed("a", 0);
        changed("b", 1000);
        assert_eq!(writing.left(after(1000)), Some(WRITING));
        assert!(writing.is_written(Path::new("a"), after(1000)));
        assert!(writing.ended(&["b".into()]), "now it is time to look");
        assert!(!writing.ended(&["c".into()]), "nothing was written");
        assert_eq!(writing.left(after(1000)), Some(WRITING - Duration::from_secs(1)));
        assert_eq!(writing.left(after(5000)), None);
        assert!(!writing.is_written(Path::new("a"), after(5000)));
        changed("some.log", 6000);
        assert_eq!(writing.left(after(6000)), None, "it is none of ours");
    }

    #[test]
    fn a_file_that_is_written_for_ever_is_waited_for_once() {
        let (writing, start) = (Writing::default(), Instant::now());
        for second in 0..100 {
            let now = start + Duration::from_secs(second);
            writing.changed(&["a.yaml".into()], now);
            let waits = second < WRITING_AT_MOST.as_secs();
            assert_eq!(writing.left(now).is_some(), waits, "{second}");
            assert_eq!(writing.is_written(Path::new("a.yaml"), now), waits, "{second}");
        }
    }

    #[test]
    fn a_file_is_known_by_all_of_its_names() {
        let folder = tempfile::tempdir().unwrap();
        let (file, link) = (folder.path().join("a.yaml"), folder.path().join("b.yaml"));
        fs::write(&file, "").unwrap();
        std::os::unix::fs::symlink("a.yaml", &link).unwrap();
        let (writing, now) = (Writing::default(), Instant::now());
        writing.changed(&[file], now);
        assert!(writing.is_written(&link, now) && !writing.is_written(folder.path(), now));
    }
}
