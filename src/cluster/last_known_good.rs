//! The shared configuration on disk: what a replica starts with when the shared storage is away (connected mode
//! reference 7.7). It is the record as it was stored, sealed.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use crate::{
    base::Digest,
    storage::{VALUE_BYTES_MAX, Versioned},
};

/// Bytes before the sealed value: its version.
const VERSION_BYTES: usize = 8;

/// The file of a gateway.
#[derive(Clone, Debug)]
pub struct LastKnownGood(PathBuf);

impl LastKnownGood {
    /// In the folder `state.folder`, where gateways do not disturb each other.
    pub fn of(folder: &Path, gateway: &str) -> Self {
        Self(folder.join(format!("configuration-{}.sealed", Digest::of(gateway).short())))
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    /// What is there; nothing, if there never was anything.
    ///
    /// # Errors
    /// When it cannot be read, or cannot be what was written.
    pub fn read(&self) -> io::Result<Option<Versioned>> {
        let file = match File::open(&self.0) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let most = (VERSION_BYTES + VALUE_BYTES_MAX) as u64;
        let mut bytes = Vec::new();
        file.take(most + 1).read_to_end(&mut bytes)?;
        match bytes.split_first_chunk::<VERSION_BYTES>() {
            Some((version, value)) if value.len() <= VALUE_BYTES_MAX => {
                Ok(Some(Versioned { version: u64::from_be_bytes(*version), value: value.to_vec() }))
            }
            _ => Err(io::Error::new(io::ErrorKind::InvalidData, "it is damaged")),
        }
    }

    /// Keeps a record: at every moment the old one is there or the new one, also after a loss of power.
    ///
    /// # Errors
    /// Of the file system; the old one is there still.
    pub fn write(&self, record: &Versioned) -> io::Result<()> {
        let folder = self.0.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(folder)?;
        // Replicas on one host may share the folder.
        let next = self.0.with_extension(format!("{}.new", std::process::id()));
        let written = (|| {
            let mut file =
                OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&next)?;
            file.write_all(&record.version.to_be_bytes())?;
            file.write_all(&record.value)?;
            file.sync_all()?;
            fs::rename(&next, &self.0)?;
            File::open(folder)?.sync_all()
        })();
        if written.is_err() {
            // There may be none.
            let _ = fs::remove_file(&next);
        }
        written
    }
}
