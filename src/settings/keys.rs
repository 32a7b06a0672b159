//! The file of the gateway's keys (`cluster.key_file`).

use std::{fs, os::unix::fs::MetadataExt as _, path::Path};

use crate::{
    base::{Diagnostic, Diagnostics, seal::KeyRing},
    document::read_text,
};

use super::{Cluster, SettingsError};

/// Far above any file of keys.
const FILE_BYTES_MAX: u64 = 64 << 10;
/// Permissions beyond reading and writing by the owner and reading by the group.
const TOO_WIDE: u32 = 0o037;

impl Cluster {
    /// The keys of `key_file`, where one is set, with what the user should know about the file.
    ///
    /// # Errors
    /// When the file cannot be read, or a line of it is no key. No message shows what is in the file.
    pub fn key_ring(&self) -> Result<(Option<KeyRing>, Diagnostics), SettingsError> {
        let mut warnings = Diagnostics::default();
        let Some(path) = &self.key_file else { return Ok((None, warnings)) };
        read(path, &mut warnings).map(|ring| (Some(ring), warnings)).map_err(|found| {
            let mut problems = Diagnostics::default();
            problems.extend(found.into_iter().map(|problem| problem.field("cluster.key_file")));
            SettingsError { problems }
        })
    }
}

fn read(path: &Path, warnings: &mut Diagnostics) -> Result<KeyRing, Vec<Diagnostic>> {
    let shown = path.display().to_string();
    let read = read_text(path, FILE_BYTES_MAX).and_then(|text| Ok((text, fs::metadata(path)?.mode())));
    let (text, mode) = read.map_err(|error| {
        let problem = Diagnostic::error(format!("the keys in `{shown}` cannot be read: {error}"));
        vec![problem.help("make a key: portcullis cluster-key >> FILE; all replicas need the same file")]
    })?;
    if mode & TOO_WIDE != 0 {
        warnings.push(
            Diagnostic::warning(format!("others may read or change the keys in `{shown}`"))
                .field("cluster.key_file")
                .help(format!("chmod 600 {shown}")),
        );
    }
    KeyRing::parse(&shown, &text)
}
