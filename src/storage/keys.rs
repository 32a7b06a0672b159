//! Names in the shared storage: all begin with the gateway's own prefix, which is what its ACL user may touch.

use std::{fmt, sync::Arc};

use crate::base::Digest;

/// Digits of a digest that stand in a key: 128 bits.
const DIGEST_DIGITS: usize = 32;

/// Makes the names of one gateway (decision 31): `gw:<id>:…`.
#[derive(Clone, Debug)]
pub struct Keys(Arc<str>);

/// A key. What stands in braces decides which node of a cluster has it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key(Arc<str>);

/// A channel of messages.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Channel(Arc<str>);

impl Keys {
    /// Characters of the id that mean something in a name are written as in an URL: braces would move all keys to one
    /// node, a colon could make one gateway's names those of another, and the others are patterns of ACLs.
    pub fn of(gateway: &str) -> Self {
        let pairs = [
            ('%', "%25"),
            ('{', "%7B"),
            ('}', "%7D"),
            (':', "%3A"),
            ('*', "%2A"),
            ('?', "%3F"),
            ('[', "%5B"),
        ];
        let escaped = pairs.iter().fold(gateway.to_owned(), |id, (from, to)| id.replace(*from, to));
        Self(escaped.into())
    }

    /// A key whose parts may come from anywhere, clients among them: only their digest is written, so that no
    /// credential stands in Redis as part of a name.
    pub fn digested(&self, kind: &str, parts: &[&[u8]]) -> Key {
        let digest = parts.iter().fold(Digest::builder(), |digest, part| digest.part(part)).finish();
        Key(format!("gw:{}:{{{kind}:{}}}", self.0, &digest.to_string()[..DIGEST_DIGITS]).into())
    }

    /// A key of the gateway as a whole.
    pub fn named(&self, name: &'static str) -> Key {
        Key(format!("gw:{}:{name}", self.0).into())
    }

    pub fn channel(&self, name: &'static str) -> Channel {
        Channel(format!("gw:{}:{name}", self.0).into())
    }
}

impl Key {
    /// Another key, which lies where this one does.
    #[must_use]
    pub fn beside(&self, name: &'static str) -> Self {
        Self(format!("{}:{name}", self.0).into())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Channel {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
