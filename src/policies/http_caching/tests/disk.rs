//! Policies reference 3.4, the storage matrix: `persistCache`.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

use super::*;
use crate::{base::seal::KeyRing, policies::http_caching::disk::Mirror};

const PERSISTED: &str = "{persistCache: true, invalidationHeader: x-purge, maxCacheEntries: 3}";

fn replica(folder: &Path) -> PolicyServices {
    with(services(), |services| services.caching.state_folder = Some(folder.into()))
}

/// A life of the replica: what it stores is on the disk when the test goes on.
fn life(config: &str, services: &PolicyServices, clock: &Clock, body: &'static str) -> Cached {
    let cached = Cached::with(config, services, clock, move |_| upstream(200, &[], body));
    cached.cache.begin();
    mirror(&cached).settle();
    cached
}

fn mirror(cached: &Cached) -> &Mirror {
    cached.cache.place.disk.as_ref().and_then(|disk| disk.mirror.as_ref()).expect("it is persisted")
}

fn files(folder: &Path) -> Vec<std::path::PathBuf> {
    let inside = |folder: std::path::PathBuf| {
        fs::read_dir(folder).into_iter().flatten().map(|entry| entry.expect("readable").path())
    };
    inside(folder.join("http-cache")).flat_map(inside).flat_map(inside).collect()
}

#[test]
fn entries_survive_a_restart_and_age_meanwhile() {
    let folder = tempfile::tempdir().expect("a folder");
    let (services, clock) = (replica(folder.path()), Clock::manual());
    let first = life(PERSISTED, &services, &clock, "old");
    first.get("/a", &[]);
    mirror(&first).settle();
    drop(first);
    clock.advance(Duration::from_secs(60));
    let second = life(PERSISTED, &services, &clock, "new");
    let hit = second.send("GET", "/a", &[]);
    assert_eq!((age(&hit), body_text(hit)), (Some(60), "old".to_owned()));
    assert_eq!(second.get("/b", &[]), "new");
    clock.advance(Duration::from_secs(540));
    assert_eq!(second.get("/a", &[]), "new");
}

#[test]
fn what_was_invalidated_or_made_room_does_not_come_back() {
    let folder = tempfile::tempdir().expect("a folder");
    let (services, clock) = (replica(folder.path()), Clock::manual());
    let first = life(PERSISTED, &services, &clock, "old");
    for path in ["/a", "/b", "/c", "/d"] {
        first.get(path, &[]);
    }
    first.send("POST", "/b", &[("x-purge", "invalidate")]);
    mirror(&first).settle();
    assert_eq!(files(folder.path()).len(), 2);
    let second = life(PERSISTED, &services, &clock, "new");
    for (path, length) in [("/c", Some(3)), ("/d", Some(3)), ("/a", None), ("/b", None)] {
        let head = second.bench.send(Request::for_test("HEAD", path, &[]));
        assert_eq!(head.declared_length, length, "{path}");
    }
    second.send("POST", "/", &[("x-purge", "invalidate-all")]);
    mirror(&second).settle();
    assert_eq!(files(folder.path()).len(), 0);
}

#[test]
fn an_unsafe_request_removes_all_of_its_uri_from_the_disk() {
    let folder = tempfile::tempdir().expect("a folder");
    let (services, clock) = (replica(folder.path()), Clock::manual());
    let config = "{persistCache: true, rfc9111: true}";
    let answer = |_: &Request| upstream(200, &[("cache-control", "max-age=60"), ("vary", "accept")], "x");
    let cached = Cached::with(config, &services, &clock, answer);
    cached.get("/", &[("accept", "a")]);
    cached.get("/", &[("accept", "b")]);
    mirror(&cached).settle();
    assert_eq!(files(folder.path()).len(), 3, "two responses, and how they vary");
    cached.send("PUT", "/", &[]);
    mirror(&cached).settle();
    assert_eq!(files(folder.path()).len(), 0);
}

#[test]
fn files_are_for_the_owner_alone_and_a_configuration_that_changed_starts_empty() {
    let folder = tempfile::tempdir().expect("a folder");
    let (services, clock) = (replica(folder.path()), Clock::manual());
    let first = life(PERSISTED, &services, &clock, "old");
    first.get("/a", &[]);
    mirror(&first).settle();
    let path = &files(folder.path())[0];
    assert_eq!(fs::metadata(path).expect("it is there").permissions().mode() & 0o777, 0o600);
    let other = life("persistCache: true", &services, &clock, "new");
    assert!(!path.exists(), "what nobody finds again is removed");
    assert_eq!(other.get("/a", &[]), "new");
}

#[test]
fn damaged_files_are_ignored_and_removed_and_those_of_others_left_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    let (services, clock) = (replica(folder.path()), Clock::manual());
    let first = life(PERSISTED, &services, &clock, "old");
    first.get("/a", &[]);
    first.get("/b", &[]);
    mirror(&first).settle();
    drop(first);
    let found = files(folder.path());
    let text = fs::read(&found[0]).expect("readable");
    let mut damaged = text.clone();
    *damaged.last_mut().expect("not empty") ^= 1;
    fs::write(&found[0], damaged).expect("writable");
    fs::write(&found[1], "").expect("writable");
    let beside = |name: &str| found[0].with_file_name(name);
    // The good file under another key, and one that was not finished.
    fs::write(beside(&"0".repeat(64)), vec![b'x'; 3 << 20]).expect("writable");
    fs::write(beside(&format!("{}.new", "1".repeat(64))), &text).expect("writable");
    fs::write(beside("notes.txt"), "mine").expect("writable");
    let second = life(PERSISTED, &services, &clock, "new");
    assert_eq!((second.get("/a", &[]), second.get("/b", &[])), ("new".to_owned(), "new".to_owned()));
    mirror(&second).settle();
    let mut names: Vec<_> =
        files(folder.path()).into_iter().map(|path| path.file_name().map(ToOwned::to_owned)).collect();
    names.sort();
    assert_eq!(names.len(), 3, "{names:?}");
    assert_eq!(names[2].as_deref(), Some("notes.txt".as_ref()));
}

#[test]
fn with_keys_files_are_sealed_and_open_under_their_own_name_only() {
    let folder = tempfile::tempdir().expect("a folder");
    let clock = Clock::manual();
    let ring = || KeyRing::parse("keys", &KeyRing::new_line("a")).ok().map(Arc::new);
    let services = with(replica(folder.path()), |services| services.caching.seals = ring());
    let first = life(PERSISTED, &services, &clock, "secret-text");
    first.get("/a", &[]);
    mirror(&first).settle();
    let path = files(folder.path()).remove(0);
    let text = fs::read(&path).expect("readable");
    assert!(!text.windows(6).any(|window| window == b"secret"));
    fs::write(path.with_file_name("0".repeat(64)), &text).expect("writable");
    drop(first);
    let second = life(PERSISTED, &services, &clock, "new");
    assert_eq!(second.get("/a", &[]), "secret-text");
    assert_eq!(files(folder.path()).len(), 1);
    drop(second);
    let other = with(replica(folder.path()), |services| services.caching.seals = ring());
    assert_eq!(life(PERSISTED, &other, &clock, "new").get("/a", &[]), "new");
}

#[test]
fn building_the_policy_touches_no_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let state = folder.path().join("state");
    let cached = Cached::with(PERSISTED, &replica(&state), &Clock::manual(), |_| upstream(200, &[], "x"));
    assert!(!state.exists());
    cached.get("/", &[]);
    mirror(&cached).settle();
    assert_eq!(files(&state).len(), 1);
}
