//! What replicas read that somebody else may have written: records of the configuration, and what replicas say of
//! themselves. Nothing opens that was not sealed; what was sealed is small, and nothing of it can spoil a log.

use std::{
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use portcullis::{
    base::seal::{KeyRing, Purpose},
    cluster::{Follower, Membership, Record, membership::Said, record::Content},
    storage::{Beat, Versioned},
};

fn ring() -> Arc<KeyRing> {
    static RING: OnceLock<Arc<KeyRing>> = OnceLock::new();
    let made = || Arc::new(KeyRing::parse("keys", &KeyRing::new_line("a")).expect("a new key is good"));
    Arc::clone(RING.get_or_init(made))
}

fn is_clean(text: &str) -> bool {
    !text.chars().any(char::is_control)
}

/// # Panics
/// When a property does not hold.
pub fn check(bytes: &[u8]) {
    let ring = ring();
    let plain = Versioned { version: bytes.len() as u64, value: bytes.to_vec() };
    assert!(Record::open(&plain, &ring, "gateway").is_err());
    let follower = Follower::new("gateway", Arc::clone(&ring));
    assert!(follower.judge(Some(&plain), None, Instant::now()).is_err());
    let aad = [&plain.version.to_be_bytes()[..], b"gateway"].concat();
    let sealed = Versioned { version: plain.version, value: ring.seal(Purpose::Configuration, &aad, bytes) };
    let decoded = Content::decode(bytes);
    assert_eq!(Record::open(&sealed, &ring, "gateway").map(|record| record.content), decoded);
    if let Ok(content) = decoded {
        assert!(is_clean(&content.publisher) && content.files.iter().all(|file| is_clean(&file.name)));
        assert_eq!(Content::decode(&content.encode()), Ok(content));
    }
    if let Some(said) = Said::decode(bytes) {
        let texts = [&said.name, &said.version, &said.digest, &said.reason.unwrap_or_default()];
        assert!(texts.iter().all(|text| is_clean(text) && text.len() <= 1024));
    }
    for (ring, most) in [(Some(ring), 1), (None, 2)] {
        let mut own = Membership::new("gateway", "own", ring, 1);
        own.say(Said::default());
        let word = Beat { member: "other".to_owned(), value: bytes.to_vec(), age: Duration::ZERO };
        own.heard(&[word], Some(1), Instant::now());
        assert!(own.replicas() <= most && own.members().len() == own.replicas());
    }
}

/// Whether a gateway could have said this, once it is sealed.
pub fn is_accepted(bytes: &[u8]) -> bool {
    Content::decode(bytes).is_ok() || Said::decode(bytes).is_some()
}
