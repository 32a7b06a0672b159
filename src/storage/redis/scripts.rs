//! What takes more than one step in Redis is a script there. It is called by its name, and sent only to a Redis that
//! does not know it: new, restarted, failed over to or flushed.

use std::sync::LazyLock;

use redis::{Cmd, cmd};
use sha1::{Digest as _, Sha1};

use crate::storage::{Key, quota};

pub(super) struct Script {
    text: String,
    /// Its SHA-1.
    name: String,
}

macro_rules! scripts {
    ($($name:ident: $text:expr,)*) => {
        $(pub(super) static $name: LazyLock<Script> = LazyLock::new(|| Script::new($text.to_owned()));)*
    };
}

scripts! {
    GET: include_str!("scripts/get.lua"),
    REMOVE_IF: include_str!("scripts/remove_if.lua"),
    INCREMENT: include_str!("scripts/increment.lua"),
    ADVANCE: include_str!("scripts/advance.lua"),
    VERSIONED: include_str!("scripts/versioned.lua"),
    ENLIST: include_str!("scripts/enlist.lua"),
    DRAIN: include_str!("scripts/drain.lua"),
    BEAT: include_str!("scripts/beat.lua"),
    LEASE: quota::LEASE_SCRIPT,
}

impl Script {
    pub fn new(text: String) -> Self {
        let name = Sha1::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
        Self { text, name }
    }

    pub fn by_name(&self, key: Option<&Key>, arguments: &[&[u8]]) -> Cmd {
        command("EVALSHA", &self.name, key, arguments)
    }

    pub fn by_text(&self, key: Option<&Key>, arguments: &[&[u8]]) -> Cmd {
        command("EVAL", &self.text, key, arguments)
    }
}

fn command(verb: &str, script: &str, key: Option<&Key>, arguments: &[&[u8]]) -> Cmd {
    let mut command = cmd(verb);
    command.arg(script).arg(usize::from(key.is_some()));
    if let Some(key) = key {
        command.arg(key.as_str());
    }
    for argument in arguments {
        command.arg(*argument);
    }
    command
}
