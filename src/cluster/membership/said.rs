//! What a replica says of itself.

use serde::{Deserialize, Serialize};

use crate::settings::ShareConfig;

/// All of it, sealed.
pub(super) const BYTES_MAX: usize = 4096;
/// Ids, names, versions, digests.
pub(super) const TEXT_BYTES_MAX: usize = 256;
/// Why a configuration was refused.
const REASON_BYTES_MAX: usize = 768;

/// A replica's word. Fields that a later version adds are skipped.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Said {
    /// Set by [`super::Membership::say`], as `beat` is: no word of one life has the number of another.
    pub life: u64,
    pub beat: u64,
    /// Of the replica, for people.
    pub name: String,
    /// Of the program.
    pub version: String,
    pub share: ShareConfig,
    /// Of the snapshot in force; empty before the first.
    pub digest: String,
    pub generation: u64,
    /// Errors of the configuration in force.
    pub errors: u64,
    /// Version of the shared configuration that is in force, or that this replica publishes.
    pub record: Option<u64>,
    pub state: State,
    /// Why it was rejected, or the first error of what is in force.
    pub reason: Option<String>,
}

/// What became of the newest configuration.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// There is none yet.
    #[default]
    Waiting,
    Applied,
    /// What was in force before is in force still.
    Rejected,
}

impl Said {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut said = self.clone();
        for text in [&mut said.name, &mut said.version, &mut said.digest] {
            cut(text, TEXT_BYTES_MAX);
        }
        if let Some(reason) = &mut said.reason {
            cut(reason, REASON_BYTES_MAX);
        }
        serde_json::to_vec(&said).expect("strings and numbers can be written to memory")
    }

    /// Above that of every earlier word of the replica.
    pub(super) fn number(&self) -> (u64, u64) {
        (self.life, self.beat)
    }

    /// Reads a word; nothing, if a replica cannot have said it.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        if bytes.len() > BYTES_MAX {
            return None;
        }
        let said: Self = serde_json::from_slice(bytes).ok()?;
        let reason = said.reason.as_deref().unwrap_or_default();
        let texts = [&said.name, &said.version, &said.digest].map(String::as_str);
        let sound = |text: &str, max: usize| text.len() <= max && !text.chars().any(char::is_control);
        let fine = texts.into_iter().all(|text| sound(text, TEXT_BYTES_MAX));
        (fine && sound(reason, REASON_BYTES_MAX)).then_some(said)
    }
}

/// Control characters become blanks, and what is beyond `max` bytes goes.
fn cut(text: &mut String, max: usize) {
    if text.chars().any(char::is_control) {
        *text = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    }
    let end = (0..=max.min(text.len())).rev().find(|end| text.is_char_boundary(*end));
    text.truncate(end.unwrap_or_default());
}
