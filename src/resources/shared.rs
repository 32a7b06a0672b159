//! Files that were read by another replica (decision 38).

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::base::Digest;

/// A file as the replica that read it had it: before any variable was replaced, so that each replica replaces its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SharedFile {
    /// Its path there, for messages.
    pub name: Arc<str>,
    pub text: Arc<str>,
}

/// A configuration that this replica is given.
#[derive(Clone, Debug)]
pub struct SharedFiles {
    pub version: u64,
    pub files: Arc<[SharedFile]>,
}

impl SharedFiles {
    /// What is written before the name of such a file in messages.
    pub const PREFIX: &str = "shared:";

    /// Of what the files say, whatever they are called: equal for replicas that have the same files in different
    /// folders.
    pub fn digest(files: &[SharedFile]) -> Digest {
        let mut texts: Vec<&str> = files.iter().map(|file| &*file.text).collect();
        texts.sort_unstable();
        texts.into_iter().fold(Digest::builder(), |digest, text| digest.part(text)).finish()
    }
}
