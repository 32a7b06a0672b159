//! Records, publishers, followers and members, without a storage: decisions 31 and 38.

mod membership;
mod sharing;

use std::sync::Arc;

use super::{Record, record::Content};
use crate::{base::seal::KeyRing, resources::SharedFile, storage::Versioned};

const GATEWAY: &str = "shop";

fn ring(lines: &[&str]) -> Arc<KeyRing> {
    Arc::new(KeyRing::parse("keys", &lines.join("\n")).unwrap())
}

fn files(text: &str) -> Arc<[SharedFile]> {
    Arc::new([SharedFile { name: "conf/a.yaml".into(), text: text.into() }])
}

fn content(text: &str) -> Content {
    Content { publisher: "p".to_owned(), published_ms: 1, files: files(text) }
}

fn sealed(ring: &KeyRing, version: u64, text: &str) -> Versioned {
    Record { version, content: content(text) }.seal(ring, GATEWAY).unwrap()
}
