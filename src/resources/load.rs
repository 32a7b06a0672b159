//! Which files belong to a configuration, and what one of them holds.

use std::{
    collections::HashSet,
    fs, io,
    os::unix::{ffi::OsStrExt as _, fs::MetadataExt as _},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Instant, SystemTime},
};

use super::{
    envelope::{self, Read, Resource},
    store::{ResourceSet, ResourceStore},
};
use crate::{
    base::{Diagnostic, ResourceName},
    document::{Limits, SourceFile, parse, read_up_to},
};

/// The value of an environment variable.
pub type Lookup = Arc<dyn Fn(&str) -> Option<String> + Send + Sync>;

/// Folders inside folders, at most.
const FOLDER_DEPTH_MAX: usize = 32;

/// Reads files and folders once: nothing is kept back, nothing is waited for.
pub fn load(paths: &[PathBuf], environment: Lookup) -> ResourceSet {
    ResourceStore::new(environment).rescan(paths, Instant::now()).set
}

/// What tells that a file has changed without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    /// Cannot be set back by a program.
    status_changed: (i64, i64),
}

impl Stamp {
    fn of(metadata: &fs::Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            status_changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }

    /// Changed so shortly before `now` that a second change could leave the same stamp (clocks of
    /// file systems tick every few milliseconds).
    pub(super) fn is_fresh(&self, now: SystemTime) -> bool {
        let now = now.duration_since(SystemTime::UNIX_EPOCH).map_or(i64::MAX, |since| since.as_secs() as i64);
        now.saturating_sub(self.status_changed.0) <= 1
    }
}

/// A file to read.
#[derive(Debug)]
pub(super) struct Found {
    pub path: PathBuf,
    pub stamp: Stamp,
}

/// What a look at the folders found.
pub(super) struct Files {
    /// In the order of their paths, each once.
    pub found: Vec<Found>,
    /// Files and folders that are there, or may be, but cannot be read now.
    pub hidden: Vec<PathBuf>,
}

/// All files of a configuration.
pub(super) fn find(paths: &[PathBuf], diagnostics: &mut Vec<Diagnostic>) -> Files {
    let mut walk =
        Walk { found: Vec::new(), hidden: Vec::new(), seen: HashSet::new(), files: 0, diagnostics };
    for path in paths {
        match fs::metadata(path) {
            // What is named by the user is read whatever it is called.
            Ok(metadata) if metadata.is_dir() => {
                let before = (walk.files, walk.hidden.len());
                // Of a folder that is named twice, the resources are read once.
                if walk.folder(path, &metadata, 0) && (walk.files, walk.hidden.len()) == before {
                    let message = format!("no resources in `{}`", path.display());
                    walk.diagnostics.push(
                        Diagnostic::warning(message)
                            .help("what is read of a folder are its files that end in .yaml, .yml or .json"),
                    );
                }
            }
            Ok(metadata) => walk.file(path, &metadata),
            // Nobody unmounts a configuration to end what it serves.
            Err(error) => {
                walk.hidden.push(path.clone());
                walk.diagnostics.push(unreadable(path, &error));
            }
        }
    }
    walk.found.sort_by(|a, b| a.path.cmp(&b.path));
    Files { found: walk.found, hidden: walk.hidden }
}

struct Walk<'a> {
    found: Vec<Found>,
    hidden: Vec<PathBuf>,
    /// Device and inode of files and folders: symbolic links may lead to the same one twice.
    seen: HashSet<(u64, u64)>,
    /// Files that were come upon, by whatever name.
    files: usize,
    diagnostics: &'a mut Vec<Diagnostic>,
}

impl Walk<'_> {
    /// Whether it was not known already.
    fn folder(&mut self, path: &Path, metadata: &fs::Metadata, depth: usize) -> bool {
        if !self.seen.insert((metadata.dev(), metadata.ino())) {
            return false;
        }
        if depth > FOLDER_DEPTH_MAX {
            self.hidden.push(path.to_owned());
            let message =
                format!("`{}` is not read: it is more than {FOLDER_DEPTH_MAX} folders deep", path.display());
            self.diagnostics.push(Diagnostic::error(message).help("move it up; it may hold policies"));
            return true;
        }
        let entries = match fs::read_dir(path) {
            Ok(entries) => entries,
            Err(error) => {
                self.unreadable(path, &error);
                return true;
            }
        };
        let mut paths = Vec::new();
        for entry in entries {
            match entry {
                Ok(entry) => paths.push(entry.path()),
                // Nobody knows which entries are missing.
                Err(error) => self.unreadable(path, &error),
            }
        }
        paths.sort();
        for path in paths {
            // Kubernetes mounts a file as a link through `..data`; its targets are hidden, so each
            // file is read once, under its own name.
            if path.file_name().is_none_or(|name| name.as_bytes().starts_with(b".")) {
                continue;
            }
            match fs::metadata(&path) {
                Ok(metadata) if metadata.is_dir() => {
                    self.folder(&path, &metadata, depth + 1);
                }
                Ok(metadata) if metadata.is_file() && is_resource_file(&path) => self.file(&path, &metadata),
                Ok(_) => {}
                Err(error) if is_resource_file(&path) => self.unreadable(&path, &error),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                // It may be a folder.
                Err(error) => self.unreadable(&path, &error),
            }
        }
        true
    }

    fn file(&mut self, path: &Path, metadata: &fs::Metadata) {
        self.files += 1;
        if self.seen.insert((metadata.dev(), metadata.ino())) {
            self.found.push(Found { path: path.to_owned(), stamp: Stamp::of(metadata) });
        }
    }

    fn unreadable(&mut self, path: &Path, error: &io::Error) {
        if error.kind() != io::ErrorKind::NotFound {
            self.hidden.push(path.to_owned());
        }
        self.diagnostics.push(unreadable(path, error));
    }
}

/// Whether a file of a folder is read.
pub fn is_resource_file(path: &Path) -> bool {
    let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or("");
    ["yaml", "yml", "json"].iter().any(|known| extension.eq_ignore_ascii_case(known))
}

fn unreadable(path: &Path, error: &io::Error) -> Diagnostic {
    let cause = match error.kind() {
        io::ErrorKind::NotFound => "there is no such file or folder".to_owned(),
        io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        _ => error.to_string(),
    };
    Diagnostic::error(format!("cannot read `{}`: {cause}", path.display()))
}

/// The content of one file.
#[derive(Clone, Debug, Default)]
pub(super) struct Content {
    pub resources: Vec<Arc<Resource>>,
    pub diagnostics: Vec<Diagnostic>,
    /// Not even the documents could be told apart, or one does not say which resource it is: what
    /// was here before may still be meant (configuration reference 15, Do 1).
    pub broken: Option<String>,
    /// A document that may be one of ours, with a slip in its head.
    pub slip: Option<Diagnostic>,
    /// The names in such documents; `None`: cut before that.
    pub slips: Vec<Option<ResourceName>>,
    /// Nothing in it but white space and comments.
    pub empty: bool,
}

/// Reads the bytes of a file, or so many that it is seen to be too large.
pub(super) fn read_file(path: &Path) -> Result<Vec<u8>, Box<Diagnostic>> {
    // A character that is cut is none of the file's mistakes.
    const WHOLE_CHARACTER: u64 = 3;
    let bytes_max = Limits::default().file_bytes_max as u64 + WHOLE_CHARACTER;
    let mut bytes = read_up_to(path, bytes_max).map_err(|error| Box::new(unreadable(path, &error)))?;
    if bytes.len() as u64 > bytes_max
        && let Err(cut) = std::str::from_utf8(&bytes)
        && cut.error_len().is_none()
    {
        bytes.truncate(cut.valid_up_to());
    }
    Ok(bytes)
}

/// Parses a file that was read.
pub(super) fn parse_file(path: &Path, bytes: Vec<u8>, environment: &Lookup) -> Content {
    let shown = path.display().to_string();
    let mut content = Content::default();
    let file = match SourceFile::from_bytes(&shown, bytes) {
        Ok(file) => file,
        Err(problem) => {
            content.broken = Some(problem.message.clone());
            content.diagnostics.push((*problem).into());
            return content;
        }
    };
    let parsed = parse(&file, Limits::default());
    if let Some(error) = parsed.error {
        content.broken = Some(error.message.clone());
        content.diagnostics.push(error.into());
        return content;
    }
    content.empty = parsed.documents.is_empty();
    for document in &parsed.documents {
        match envelope::read(document, &**environment, &mut content.diagnostics) {
            Read::Resource(resource) => content.resources.push(resource),
            Read::Ignored => {}
            Read::Slip(problem, name) => {
                content.slip.get_or_insert(*problem);
                content.slips.push(name);
            }
            Read::Unidentified => {
                content.broken = Some("a document in the file does not say which resource it is".to_owned());
            }
        }
    }
    content
}
