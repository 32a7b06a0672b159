//! Where settings come from, as values, so that a test needs no environment.

use std::{collections::BTreeMap, env, path::PathBuf};

use super::{Machine, table::FILE_VARIABLE};

/// A setting given on the command line.
#[derive(Clone, Debug)]
pub struct Override {
    /// Key of the table, such as `admin.address`.
    pub key: String,
    pub value: String,
    /// How the user gave it, for errors: `--admin`.
    pub flag: String,
}

impl Override {
    pub fn new(key: impl Into<String>, value: impl Into<String>, flag: impl Into<String>) -> Self {
        Self { key: key.into(), value: value.into(), flag: flag.into() }
    }
}

/// Everything that settings are made of.
#[derive(Clone, Debug)]
pub struct Sources {
    /// `--settings`; ranks above the variable `PORTCULLIS_SETTINGS`.
    pub file: Option<PathBuf>,
    pub environment: BTreeMap<String, String>,
    /// Repeated keys make a list.
    pub overrides: Vec<Override>,
    pub machine: Machine,
}

impl Sources {
    /// Nothing but defaults.
    pub fn none(machine: Machine) -> Self {
        Self { file: None, environment: BTreeMap::new(), overrides: Vec::new(), machine }
    }

    /// This process's environment and machine with the given file and flags.
    pub fn of_process(file: Option<PathBuf>, overrides: Vec<Override>) -> Self {
        let environment = env::vars_os()
            .map(|(name, value)| (name.to_string_lossy().into_owned(), value.to_string_lossy().into_owned()))
            .collect();
        Self { file, environment, overrides, machine: Machine::this() }
    }

    /// The settings file to read, if any.
    pub(super) fn settings_file(&self) -> Option<PathBuf> {
        self.file.clone().or_else(|| {
            self.environment.get(FILE_VARIABLE).filter(|path| !path.is_empty()).map(PathBuf::from)
        })
    }
}
