//! The record, and what publishers and followers do about it.

use std::time::{Duration, Instant};

use super::*;
use crate::{
    cluster::{
        Follower, Publisher, follower,
        last_known_good::LastKnownGood,
        publisher::{Oddity, Step},
        record::NotARecord,
    },
    storage::VALUE_BYTES_MAX,
};

const NOW_MS: u64 = 1_800_000_000_000;

fn one_ring() -> Arc<KeyRing> {
    ring(&[&KeyRing::new_line("a")])
}

fn publisher(ring: &Arc<KeyRing>, text: &str) -> Publisher {
    let mut publisher = Publisher::new(GATEWAY, "p", Arc::clone(ring));
    publisher.accepted(files(text));
    publisher
}

/// What a publisher writes where `stored` is stored.
fn written(publisher: &mut Publisher, stored: Option<&Versioned>) -> Versioned {
    match publisher.judge(stored, None, NOW_MS).unwrap().0 {
        Step::Write(record) => {
            publisher.wrote(record.clone());
            record
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_record_opens_for_its_gateway_and_version_and_only_for_who_has_the_key() {
    let ring = one_ring();
    let stored = sealed(&ring, 7, "text");
    let opened = Record::open(&stored, &ring, GATEWAY).unwrap();
    assert_eq!(opened, Record { version: 7, content: content("text") });
    assert_eq!(Record::open(&stored, &ring, "another"), Err(NotARecord::Seal));
    assert_eq!(Record::open(&stored, &one_ring(), GATEWAY), Err(NotARecord::Seal));
    for version in [6, 8, u64::MAX] {
        let moved = Versioned { version, ..stored.clone() };
        assert_eq!(Record::open(&moved, &ring, GATEWAY), Err(NotARecord::Seal), "{version}");
    }
}

#[test]
fn a_truncated_or_changed_record_is_refused_wherever_it_was_touched() {
    let ring = one_ring();
    let stored = sealed(&ring, 7, "text");
    for at in 0..stored.value.len() {
        let cut = Versioned { version: 7, value: stored.value[..at].to_vec() };
        assert_eq!(Record::open(&cut, &ring, GATEWAY), Err(NotARecord::Seal), "{at}");
        let mut changed = stored.clone();
        changed.value[at] ^= 0x20;
        assert_eq!(Record::open(&changed, &ring, GATEWAY), Err(NotARecord::Seal), "{at}");
    }
}

#[test]
fn what_is_sealed_must_be_a_configuration() {
    let plain = content("text").encode();
    assert_eq!(Content::decode(&plain), Ok(content("text")));
    let decode = |json: &str| Content::decode(&[&[1], json.as_bytes()].concat());
    let named = |name: &str| {
        decode(&format!(r#"{{"publisher":"p","published_ms":1,"files":[{{"name":"{name}","text":""}}]}}"#))
    };
    assert!(named("a.yaml").is_ok());
    for name in ["", "a\\nb", &"x".repeat(5000)] {
        assert_eq!(named(name), Err(NotARecord::Malformed), "{name}");
    }
    for json in ["", "{}", "[]", r#"{"publisher":"p","published_ms":1,"files":[],"more":1}"#] {
        assert_eq!(decode(json), Err(NotARecord::Malformed), "{json}");
    }
    let many = vec![r#"{"name":"a","text":""}"#; 10_001].join(",");
    let many = decode(&format!(r#"{{"publisher":"p","published_ms":1,"files":[{many}]}}"#));
    assert_eq!(many, Err(NotARecord::Malformed));
    assert_eq!(Content::decode(b"\x02{}"), Err(NotARecord::Format(2)));
    assert_eq!(Content::decode(b""), Err(NotARecord::Malformed));
}

#[test]
fn a_configuration_that_does_not_fit_is_not_shared_and_says_what_to_do() {
    let ring = one_ring();
    let mut publisher = publisher(&ring, &"x".repeat(VALUE_BYTES_MAX));
    let refused = publisher.judge(None, None, NOW_MS).unwrap_err().to_string();
    assert!(refused.contains("at most 2097152 can be shared; make the files smaller"), "{refused}");
    publisher.accepted(files("small"));
    assert!(matches!(publisher.judge(None, None, NOW_MS), Ok((Step::Write(_), None))));
}

#[test]
fn a_publisher_writes_when_its_files_changed_and_not_otherwise() {
    let ring = one_ring();
    let mut one = publisher(&ring, "one");
    let first = written(&mut one, None);
    assert_eq!(first.version, NOW_MS);
    assert_eq!(one.judge(Some(&first), None, NOW_MS), Ok((Step::Nothing, None)));
    one.accepted(files("one"));
    assert_eq!(one.judge(Some(&first), None, NOW_MS), Ok((Step::Nothing, None)));
    one.accepted(files("two"));
    let second = written(&mut one, Some(&first));
    assert_eq!(second.version, NOW_MS + 1);
    assert_eq!(Record::open(&second, &ring, GATEWAY).unwrap().content.files, files("two"));
}

#[test]
fn a_publisher_that_starts_with_the_files_that_are_stored_writes_nothing() {
    let ring = one_ring();
    let first = written(&mut publisher(&ring, "one"), None);
    let mut again = publisher(&ring, "one");
    assert_eq!(again.judge(Some(&first), None, NOW_MS), Ok((Step::Nothing, None)));
    assert_eq!(again.version(), Some(NOW_MS));
}

#[test]
fn a_publisher_that_starts_with_other_files_is_not_stuck_behind_a_newer_version() {
    let ring = one_ring();
    let ahead = sealed(&ring, NOW_MS + 99_000, "newer");
    assert_eq!(written(&mut publisher(&ring, "older"), Some(&ahead)).version, NOW_MS + 99_001);
    // Nor where the storage is empty and only the replicas know that there was one.
    let step = publisher(&ring, "older").judge(None, Some(NOW_MS + 5), NOW_MS).unwrap().0;
    assert!(matches!(step, Step::Write(record) if record.version == NOW_MS + 6));
}

#[test]
fn a_record_that_went_or_was_set_back_is_restored() {
    let ring = one_ring();
    let mut publisher = publisher(&ring, "one");
    let older = written(&mut publisher, None);
    publisher.accepted(files("two"));
    let newer = written(&mut publisher, Some(&older));
    assert_eq!(publisher.judge(None, None, NOW_MS), Ok((Step::Write(newer.clone()), None)));
    let back = publisher.judge(Some(&older), None, NOW_MS).unwrap();
    assert_eq!(back, (Step::Write(newer), Some(Oddity::Older { version: older.version })));
}

#[test]
fn a_forged_record_is_written_over_with_a_version_above_it() {
    let ring = one_ring();
    let mut publisher = publisher(&ring, "one");
    written(&mut publisher, None);
    let forged = Versioned { version: NOW_MS + 1000, value: b"forged".to_vec() };
    let (step, oddity) = publisher.judge(Some(&forged), None, NOW_MS).unwrap();
    assert!(matches!(step, Step::Write(record) if record.version == NOW_MS + 1001));
    assert!(matches!(oddity, Some(Oddity::Unreadable { version, .. }) if version == NOW_MS + 1000));
}

#[test]
fn a_forged_record_under_a_version_that_none_could_be_above_is_removed_first() {
    let ring = one_ring();
    let mut publisher = publisher(&ring, "one");
    let own = written(&mut publisher, None);
    let forged = Versioned { version: u64::MAX, value: b"forged".to_vec() };
    let step = publisher.judge(Some(&forged), None, NOW_MS).unwrap().0;
    assert!(matches!(step, Step::Replace(record) if record.version == own.version + 1));
}

#[test]
fn of_two_publishers_the_one_that_changed_last_has_the_word_and_neither_flaps() {
    let ring = one_ring();
    let (mut one, mut two) = (publisher(&ring, "one"), publisher(&ring, "two"));
    let first = written(&mut one, None);
    let second = written(&mut two, Some(&first));
    let (step, oddity) = one.judge(Some(&second), None, NOW_MS).unwrap();
    assert_eq!(step, Step::Nothing);
    assert!(matches!(oddity, Some(Oddity::OtherPublisher { version, .. }) if version == second.version));
    assert_eq!(two.judge(Some(&second), None, NOW_MS), Ok((Step::Nothing, None)));
    one.accepted(files("one, changed"));
    let third = written(&mut one, Some(&second));
    assert!(matches!(two.judge(Some(&third), None, NOW_MS), Ok((Step::Nothing, Some(_)))));
}

#[test]
fn a_publisher_that_changes_what_it_has_written_says_nothing_of_another() {
    let ring = one_ring();
    let mut one = publisher(&ring, "one");
    let first = written(&mut one, None);
    one.accepted(files("one, changed"));
    assert!(matches!(one.judge(Some(&first), None, NOW_MS), Ok((Step::Write(_), None))));
    let mut restarted = publisher(&ring, "one");
    restarted.accepted(files("one, changed"));
    assert!(matches!(restarted.judge(Some(&first), None, NOW_MS), Ok((Step::Write(_), None))));
}

#[test]
fn a_record_under_an_old_key_is_sealed_anew_at_the_publishers_start() {
    let (old, new) = (KeyRing::new_line("old"), KeyRing::new_line("new"));
    let before = ring(&[&old, &new]);
    let first = written(&mut publisher(&before, "one"), None);
    let turned = ring(&[&new, &old]);
    let mut again = publisher(&turned, "one");
    let second = written(&mut again, Some(&first));
    assert!(second.version > first.version && turned.is_current(&second.value));
    assert_eq!(again.judge(Some(&second), None, NOW_MS), Ok((Step::Nothing, None)));
}

/// As in the middle of a change of keys, in whatever order replicas are restarted.
#[test]
fn two_publishers_of_the_same_files_whose_first_keys_differ_do_not_write_in_turns() {
    let (old, new) = (KeyRing::new_line("old"), KeyRing::new_line("new"));
    for (others, written_over) in [(ring(&[&old, &new]), 0), (ring(&[&old]), 1)] {
        let mut other = publisher(&others, "one");
        let first = written(&mut other, None);
        let mut restarted = publisher(&ring(&[&new, &old]), "one");
        let mut stored = written(&mut restarted, Some(&first));
        let mut writes = 0;
        for _ in 0..10 {
            for publisher in [&mut other, &mut restarted] {
                if let Step::Write(record) = publisher.judge(Some(&stored), None, NOW_MS).unwrap().0 {
                    publisher.wrote(record.clone());
                    stored = record;
                    writes += 1;
                }
            }
        }
        // One that lacks the new key cannot know what stands there.
        assert_eq!(writes, written_over);
        assert_eq!((other.version(), restarted.version()), (Some(stored.version), Some(stored.version)));
        // What is lost then is restored as it was, whoever is quicker.
        assert_eq!(restarted.judge(None, None, NOW_MS), Ok((Step::Write(stored), None)));
    }
}

#[test]
fn a_follower_takes_what_is_newer_and_once() {
    let ring = one_ring();
    let now = Instant::now();
    let mut follower = Follower::new(GATEWAY, Arc::clone(&ring));
    assert_eq!(follower.judge(None, None, now), Ok(follower::Step::Nothing));
    let first = sealed(&ring, 5, "one");
    let offered = follower.judge(Some(&first), None, now).unwrap();
    assert!(matches!(&offered, follower::Step::Offer(record, _) if record.content == content("one")));
    assert_eq!(follower.version(), None);
    follower.applied(first.clone());
    assert_eq!(follower.version(), Some(5));
    assert_eq!(follower.judge(Some(&first), None, now), Ok(follower::Step::Nothing));
    let second = sealed(&ring, 6, "two");
    assert!(matches!(follower.judge(Some(&second), None, now), Ok(follower::Step::Offer(..))));
}

#[test]
fn a_replayed_older_record_is_refused_and_the_newer_one_written_back() {
    let ring = one_ring();
    let now = Instant::now();
    let mut follower = Follower::new(GATEWAY, Arc::clone(&ring));
    let (older, newer) = (sealed(&ring, 5, "one"), sealed(&ring, 6, "two"));
    follower.applied(newer.clone());
    let (refused, step) = *follower.judge(Some(&older), None, now).unwrap_err();
    assert!(refused.older && refused.reason.contains("older than version 6"), "{refused:?}");
    assert_eq!(step, follower::Step::WriteBack(newer.clone()));
    assert_eq!(follower.judge(None, None, now), Ok(follower::Step::WriteBack(newer)));
}

#[test]
fn a_forged_record_is_refused_and_left_to_the_publisher() {
    let ring = one_ring();
    let now = Instant::now();
    let mut follower = Follower::new(GATEWAY, Arc::clone(&ring));
    follower.applied(sealed(&ring, 6, "two"));
    let forged = Versioned { version: 9, value: vec![0; VALUE_BYTES_MAX + 1] };
    let (refused, step) = *follower.judge(Some(&forged), None, now).unwrap_err();
    assert!(!refused.older && refused.reason.contains("not sealed for this gateway"), "{refused:?}");
    assert_eq!((step, follower.version()), (follower::Step::Nothing, Some(6)));
}

#[test]
fn a_new_follower_refuses_what_is_older_than_what_the_others_have() {
    let ring = one_ring();
    let follower = Follower::new(GATEWAY, Arc::clone(&ring));
    let stored = sealed(&ring, 5, "one");
    assert!(follower.judge(Some(&stored), Some(6), Instant::now()).is_err());
    assert!(follower.judge(Some(&stored), Some(5), Instant::now()).is_ok());
}

#[test]
fn a_record_that_was_refused_here_is_tried_again_after_a_while_or_a_change() {
    let ring = one_ring();
    let now = Instant::now();
    let mut follower = Follower::new(GATEWAY, Arc::clone(&ring));
    let stored = sealed(&ring, 5, "one");
    follower.refused(5, now);
    assert_eq!(follower.judge(Some(&stored), None, now), Ok(follower::Step::Nothing));
    let later = now + Duration::from_secs(30);
    assert!(matches!(follower.judge(Some(&stored), None, later), Ok(follower::Step::Offer(..))));
    follower.forget_refusal();
    assert!(matches!(follower.judge(Some(&stored), None, now), Ok(follower::Step::Offer(..))));
}

#[test]
fn the_last_known_good_configuration_serves_until_there_is_a_newer_one() {
    let ring = one_ring();
    let now = Instant::now();
    let folder = tempfile::tempdir().unwrap();
    let disk = LastKnownGood::of(&folder.path().join("made"), GATEWAY);
    assert_eq!(disk.read().unwrap(), None);
    let kept = sealed(&ring, 5, "one");
    disk.write(&kept).unwrap();
    let mut follower = Follower::new(GATEWAY, Arc::clone(&ring));
    follower.found(disk.read().unwrap().unwrap()).unwrap();
    assert_eq!(follower.version(), None);
    assert!(matches!(follower.fallback(), Some((record, _)) if record.content == content("one")));
    assert!(follower.judge(Some(&sealed(&ring, 4, "old")), None, now).is_err());
    assert!(matches!(
        follower.judge(Some(&sealed(&ring, 6, "two")), None, now),
        Ok(follower::Step::Offer(..))
    ));
    assert!(matches!(follower.judge(Some(&kept), None, now), Ok(follower::Step::Offer(..))));
    follower.applied(kept);
    assert_eq!(follower.fallback(), None);
}

#[test]
fn a_damaged_or_foreign_file_is_no_last_known_good_configuration() {
    let ring = one_ring();
    let folder = tempfile::tempdir().unwrap();
    let disk = LastKnownGood::of(folder.path(), GATEWAY);
    let kept = sealed(&ring, 5, "one");
    disk.write(&kept).unwrap();
    let bytes = std::fs::read(disk.path()).unwrap();
    for length in 0..bytes.len() {
        std::fs::write(disk.path(), &bytes[..length]).unwrap();
        let mut follower = Follower::new(GATEWAY, Arc::clone(&ring));
        let found = disk.read().map(|kept| kept.map(|kept| follower.found(kept)));
        assert!(matches!(found, Err(_) | Ok(Some(Err(_)))), "{length}: {found:?}");
        assert_eq!(follower.fallback(), None);
    }
    disk.write(&kept).unwrap();
    assert!(Follower::new(GATEWAY, one_ring()).found(disk.read().unwrap().unwrap()).is_err());
    assert_ne!(disk.path(), LastKnownGood::of(folder.path(), "another").path());
    let mode = std::os::unix::fs::MetadataExt::mode(&std::fs::metadata(disk.path()).unwrap());
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}
