//! Whether a Redis is still the process that it was: after a restart what it remembers may be older than what it
//! said (decision 36), and to ask for its run id would take a command that tells much more (decision 33).
//!
//! Redis 7.0 and later forgets scripts when it ends, and never gives them to another node. So each connection leaves
//! one behind that nobody else has, and the next one looks whether it is there. Before 7.0 they may lie in RDB files,
//! which replicas are given too: there it may be found after a loss, which then only the beats of replicas show.

use std::time::Duration;

use redis::{ServerErrorKind, Value};
use tokio::time::timeout;

use super::{
    link::{Link, is},
    plan::Address,
    scripts::Script,
};
use crate::base::seal::random;

/// For two small questions on a new connection.
const PATIENCE: Duration = Duration::from_secs(1);

pub(super) struct Marker {
    script: Script,
    last: Option<Address>,
    /// A restart loses nothing: every write is on disk before it is answered.
    durable: bool,
}

impl Marker {
    pub fn new(durable: bool) -> Self {
        let text = format!("return '{:032x}'", u128::from_be_bytes(random()));
        Self { script: Script::new(text), last: None, durable }
    }

    /// Leaves the marker. Whether this is another memory than that of the connection before, if there was one.
    pub async fn is_lost(&mut self, link: &Link) -> bool {
        let there = timeout(PATIENCE, self.is_there(link)).await.unwrap_or(false);
        let same_place = self.last.as_ref().map(|last| *last == link.address);
        self.last = Some(link.address.clone());
        match same_place {
            None => false,
            Some(true) => !there && !self.durable,
            Some(false) => true,
        }
    }

    async fn is_there(&self, link: &Link) -> bool {
        let found = link.ask(&self.script.by_name(None, &[])).await;
        let missing = matches!(&found, Ok(Value::ServerError(error)) if is(error, ServerErrorKind::NoScript));
        if missing {
            // What it answers does not matter: if it is not kept, the next look says so.
            let _ = link.ask(&self.script.by_text(None, &[])).await;
        }
        matches!(found, Ok(Value::BulkString(_) | Value::SimpleString(_)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As in two processes that begin in one copy of a machine.
    #[test]
    fn two_markers_differ_whatever_the_generator_begins_with() {
        let text = || {
            fastrand::seed(1);
            Marker::new(false).script.by_text(None, &[]).get_packed_command()
        };
        assert_ne!(text(), text());
    }
}
