use std::{
    fs,
    time::{Duration, Instant},
};

use super::*;
use crate::resources::{Rescan, ResourceStore, store::HOLD};

fn service(name: &str, address: &str) -> String {
    format!(
        "---\napiVersion: gateway.mulesoft.com/v1alpha1\nkind: Service\nmetadata: {{name: {name}}}\n\
         spec: {{address: \"{address}\"}}\n"
    )
}

struct Bench {
    folder: tempfile::TempDir,
    store: ResourceStore,
    now: Instant,
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        Self { folder, store: ResourceStore::new(environment()), now: Instant::now() }
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.folder.path().join(name), text).expect("a writable folder");
    }

    fn scan(&mut self) -> Rescan {
        self.store.rescan(&[self.folder.path().to_owned()], self.now)
    }

    fn later(&mut self, time: Duration) -> Rescan {
        self.now += time;
        self.scan()
    }
}

/// `name=address` of what is in force, with `!` when it is not ready.
fn shown(rescan: &Rescan) -> Vec<String> {
    let entry = |entry: &crate::resources::Entry| {
        let address =
            entry.resource.written.get_ignore_case("address").and_then(|node| node.as_text().cloned());
        let mark = if entry.not_ready.is_some() { "!" } else { "" };
        let state = if entry.resource.spec.is_some() { "" } else { " off" };
        format!("{}={}{mark}{state}", entry.resource.subject.name.name, address.unwrap_or_default())
    };
    rescan.set.entries.iter().map(entry).collect()
}

#[test]
fn an_unparsable_file_keeps_its_last_good_resources() {
    let mut bench = Bench::new();
    bench.write("a.yaml", &(service("x", "http://x") + &service("y", "http://y")));
    assert_eq!(shown(&bench.scan()), ["x=http://x", "y=http://y"]);
    bench.write("a.yaml", "spec: {unclosed");
    let rescan = bench.later(HOLD * 10);
    assert!(rescan.changed);
    assert_eq!(shown(&rescan), ["x=http://x!", "y=http://y!"]);
    assert_eq!(rescan.set.diagnostics.len(), 1);
    bench.write("a.yaml", &service("y", "http://y2"));
    assert_eq!(shown(&bench.scan()), ["y=http://y2"]);
}

#[test]
fn an_invalid_update_keeps_the_old_version_and_an_invalid_new_resource_is_left_out() {
    let mut bench = Bench::new();
    bench.write("a.yaml", &service("x", "http://x"));
    bench.scan();
    bench.write("a.yaml", &(service("x", "nonsense") + &service("new", "nonsense")));
    let rescan = bench.scan();
    assert_eq!(shown(&rescan), ["x=http://x!", "new=nonsense! off"]);
    assert_eq!(
        rescan.set.entries[0].not_ready.as_deref(),
        Some("the last good version is in force: `nonsense` is no address")
    );
    bench.write("a.yaml", &service("x", "nonsense again"));
    assert_eq!(shown(&bench.scan()), ["x=http://x!"]);
}

#[test]
fn a_document_without_identity_keeps_what_the_file_held() {
    let mut bench = Bench::new();
    bench.write("a.yaml", &service("x", "http://x"));
    bench.scan();
    bench.write("a.yaml", &service("x", "http://x").replace("name: x", "nam: x"));
    assert_eq!(shown(&bench.scan()), ["x=http://x!"]);
}

#[test]
fn a_file_that_becomes_empty_or_vanishes_is_held_for_a_second() {
    let mut bench = Bench::new();
    bench.write("a.yaml", &service("x", "http://x"));
    bench.write("b.yaml", &service("y", "http://y"));
    assert_eq!(bench.scan().hold_until, None);
    bench.write("a.yaml", "");
    let rescan = bench.scan();
    assert_eq!(rescan.hold_until, Some(bench.now + HOLD));
    assert_eq!(shown(&rescan), ["y=http://y", "x=http://x"]);
    fs::remove_file(bench.folder.path().join("b.yaml")).expect("removed");
    assert_eq!(shown(&bench.later(HOLD / 2)).len(), 2);
    let rescan = bench.later(HOLD / 2);
    assert!(rescan.changed);
    assert_eq!(shown(&rescan), ["y=http://y"]);
    assert_eq!(rescan.hold_until, Some(bench.now + HOLD / 2));
    let rescan = bench.later(HOLD / 2);
    assert!(rescan.changed && rescan.set.entries.is_empty() && rescan.hold_until.is_none());
    assert!(!bench.later(HOLD).changed);
}

#[test]
fn a_folder_that_is_named_and_gone_keeps_what_it_held() {
    let mut bench = Bench::new();
    bench.write("a.yaml", &service("x", "http://x"));
    bench.scan();
    let (root, elsewhere) = (bench.folder.path().to_owned(), tempfile::tempdir().expect("a folder"));
    fs::rename(&root, elsewhere.path().join("away")).expect("renamed");
    bench.scan();
    let rescan = bench.later(HOLD * 2);
    assert_eq!(shown(&rescan), ["x=http://x!"]);
    assert!(rescan.set.diagnostics.iter().any(|found| found.is_error()), "{:?}", rescan.set.diagnostics);
    fs::rename(elsewhere.path().join("away"), &root).expect("renamed");
    assert_eq!(shown(&bench.scan()), ["x=http://x"]);
}

#[test]
fn a_file_that_is_truncated_and_written_again_never_loses_its_resources() {
    let mut bench = Bench::new();
    bench.write("a.yaml", &service("x", "http://x"));
    bench.scan();
    bench.write("a.yaml", "");
    bench.scan();
    bench.write("a.yaml", &service("x", "http://x2"));
    let rescan = bench.later(HOLD / 2);
    assert_eq!(shown(&rescan), ["x=http://x2"]);
    assert_eq!(rescan.hold_until, None);
    assert_eq!(shown(&bench.later(HOLD * 2)), ["x=http://x2"]);
}

#[test]
fn a_resource_that_moves_to_another_file_is_no_duplicate() {
    let mut bench = Bench::new();
    bench.write("a.yaml", &service("x", "http://x"));
    bench.scan();
    fs::rename(bench.folder.path().join("a.yaml"), bench.folder.path().join("z.yaml")).expect("renamed");
    let rescan = bench.scan();
    assert_eq!(rescan.set.diagnostics, []);
    assert_eq!(shown(&rescan), ["x=http://x"]);
}

#[test]
fn a_rescan_reads_only_what_changed() {
    let mut bench = Bench::new();
    for number in 0..1000 {
        bench.write(&format!("{number:04}.yaml"), &service(&format!("s{number}"), "http://x"));
    }
    assert!(bench.scan().changed);
    assert!(!bench.scan().changed);
    bench.write("0500.yaml", &service("s500", "http://changed"));
    let rescan = bench.scan();
    assert!(rescan.changed);
    assert_eq!(rescan.set.entries.len(), 1000);
    assert_eq!(shown(&rescan)[500], "s500=http://changed");
    // A comment changes the text and nothing else.
    bench.write("0500.yaml", &("# comment\n".to_owned() + &service("s500", "http://changed")));
    assert_eq!(shown(&bench.scan())[500], "s500=http://changed");
}

#[test]
fn a_kubernetes_swap_is_one_change() {
    let mut bench = Bench::new();
    let root = bench.folder.path().to_owned();
    let publish = |version: &str, address: &str| {
        fs::create_dir(root.join(version)).expect("a writable folder");
        for name in ["x", "y"] {
            fs::write(root.join(version).join(format!("{name}.yaml")), service(name, address))
                .expect("written");
        }
        std::os::unix::fs::symlink(version, root.join("..data_tmp")).expect("a link");
        fs::rename(root.join("..data_tmp"), root.join("..data")).expect("renamed");
    };
    publish("..1", "http://one");
    for name in ["x.yaml", "y.yaml"] {
        std::os::unix::fs::symlink(format!("..data/{name}"), root.join(name)).expect("a link");
    }
    assert_eq!(shown(&bench.scan()), ["x=http://one", "y=http://one"]);
    publish("..2", "http://two");
    fs::remove_dir_all(root.join("..1")).expect("removed");
    let rescan = bench.scan();
    assert!(rescan.changed && rescan.hold_until.is_none());
    assert_eq!(shown(&rescan), ["x=http://two", "y=http://two"]);
}

#[test]
fn a_folder_that_cannot_be_read_now_keeps_its_resources() {
    let mut bench = Bench::new();
    let inner = bench.folder.path().join("inner");
    fs::create_dir(&inner).expect("a folder");
    bench.write("inner/x.yaml", &service("x", "http://x"));
    assert_eq!(shown(&bench.scan()), ["x=http://x"]);
    // A link to itself fails with another error than "not found", for root too.
    fs::rename(&inner, bench.folder.path().join(".away")).expect("renamed");
    std::os::unix::fs::symlink("inner", &inner).expect("a link");
    let rescan = bench.scan();
    assert_eq!(rescan.hold_until, None);
    assert!(!rescan.set.diagnostics.is_empty(), "and it is said");
    assert_eq!(shown(&bench.later(HOLD * 2)), ["x=http://x!"], "not ready, and in force all the same");
    fs::remove_file(&inner).expect("removed");
    bench.scan();
    assert!(shown(&bench.later(HOLD * 2)).is_empty(), "what is gone for good goes");
}

#[test]
fn a_file_that_is_being_written_is_not_read_before_it_is_closed() {
    let mut bench = Bench::new();
    let whole = service("x", "http://x") + &service("y", "http://y");
    bench.write("a.yaml", &whole);
    bench.scan();
    let (writing, file) = (bench.store.writing(), [bench.folder.path().join("a.yaml")]);
    writing.changed(&file, bench.now);
    for beginning in [&service("x", "http://new"), "", &service("x", "http://newer")] {
        bench.write("a.yaml", beginning);
        assert_eq!(shown(&bench.later(HOLD)), ["x=http://x", "y=http://y"], "{beginning}");
    }
    assert!(writing.ended(&file));
    assert_eq!(shown(&bench.scan()), ["x=http://newer"]);
    // Truncated, seen, and then written: the hold does not end before that.
    bench.write("a.yaml", "");
    bench.scan();
    writing.changed(&file, bench.now);
    assert_eq!(shown(&bench.later(HOLD * 2)), ["x=http://newer!"]);
    // A new one may hold policies of others.
    let other = [bench.folder.path().join("b.yaml")];
    writing.changed(&other, bench.now);
    bench.write("b.yaml", &service("z", "http://z"));
    let rescan = bench.scan();
    assert_eq!(shown(&rescan), ["x=http://newer!"]);
    assert!(rescan.set.broken().any(|found| found.message.ends_with("b.yaml` is being written")));
    // And what is gone from elsewhere.
    fs::remove_file(&file[0]).expect("removed");
    bench.scan();
    writing.changed(&other, bench.now);
    assert_eq!(shown(&bench.later(HOLD * 2)), ["x=http://newer!"]);
    assert!(writing.ended(&other));
    assert!(shown(&bench.scan()).contains(&"z=http://z".to_owned()));
    assert_eq!(shown(&bench.later(HOLD * 2)), ["z=http://z"]);
}

#[test]
fn a_broken_definition_does_not_take_a_sound_one_of_another_file_out() {
    let mut bench = Bench::new();
    bench.write("b.yaml", &service("x", "http://x"));
    bench.scan();
    bench.write("a.yaml", &service("x", "nonsense"));
    let rescan = bench.scan();
    assert_eq!(shown(&rescan), ["x=http://x"]);
    let errors = rescan.set.diagnostics.iter().filter(|found| found.is_error());
    let errors: Vec<&str> = errors.map(|found| &*found.message).collect();
    assert_eq!(
        errors,
        ["`nonsense` is no address", "Service default/x is defined twice; this definition is left out"]
    );
    // Both are broken: the last good version of either.
    bench.write("b.yaml", &service("x", "nonsense"));
    assert_eq!(shown(&bench.scan()), ["x=http://x!"]);
}

#[test]
fn what_is_moved_to_another_file_and_broken_on_the_way_keeps_its_last_good_version() {
    let mut bench = Bench::new();
    bench.write("a.yaml", &service("x", "http://x"));
    bench.write("c.yaml", &service("y", "http://y"));
    bench.scan();
    let moved = |bench: &Bench, from: &str, to: &str, text: &str| {
        fs::remove_file(bench.folder.path().join(from)).expect("removed");
        bench.write(to, text);
    };
    moved(&bench, "a.yaml", "b.yaml", &service("x", "nonsense"));
    bench.scan();
    assert_eq!(shown(&bench.later(HOLD * 2)), ["x=http://x!", "y=http://y"]);
    // Nobody can tell what is in it, all of it or in part.
    for text in [
        "spec: {unclosed".to_owned(),
        service("z", "http://z") + &service("y", "http://y").replace("name: y", "nam: y"),
    ] {
        bench.write("c.yaml", &service("y", "http://y"));
        bench.scan();
        moved(&bench, "c.yaml", "d.yaml", &text);
        bench.scan();
        let rescan = bench.later(HOLD * 2);
        assert!(shown(&rescan).contains(&"y=http://y!".to_owned()), "{:?}", shown(&rescan));
        assert!(rescan.hold_until.is_some_and(|at| at >= bench.now + HOLD));
        assert!(!bench.later(HOLD * 2).changed, "it is said once");
    }
    bench.write("d.yaml", "");
    bench.scan();
    assert_eq!(shown(&bench.later(HOLD * 2)), ["x=http://x!"]);
}

#[test]
fn what_one_file_loses_and_another_breaks_keeps_its_last_good_version() {
    let mut bench = Bench::new();
    let (x, y) = (service("x", "http://x"), service("y", "http://y"));
    // One that is no YAML, one that is invalid, one whose kind has a slip in it.
    for broken in
        ["spec: {unclosed".to_owned(), service("y", "nonsense"), y.replace("kind: Service", "kind: Servic")]
    {
        bench.write("a.yaml", &(x.clone() + &y));
        bench.write("b.yaml", "");
        bench.scan();
        bench.write("a.yaml", &x);
        bench.write("b.yaml", &broken);
        bench.scan();
        assert_eq!(shown(&bench.later(HOLD * 2)), ["x=http://x", "y=http://y!"], "{broken}");
        bench.write("b.yaml", &y);
        assert_eq!(shown(&bench.scan()), ["x=http://x", "y=http://y"]);
    }
    // Nothing is in doubt: it is gone at once.
    bench.write(
        "b.yaml",
        "# nothing\nnothing: {}\n".replace("nothing: {}", &x.replace("name: x", "name: z")).as_str(),
    );
    assert_eq!(shown(&bench.scan()), ["x=http://x", "z=http://x"]);
}

#[test]
fn a_second_definition_does_not_take_over_from_one_that_has_a_good_version() {
    let mut bench = Bench::new();
    bench.write("b.yaml", &service("x", "http://x"));
    bench.write("c.yaml", &service("x", "http://other"));
    assert_eq!(shown(&bench.scan()), ["x=http://x"]);
    bench.write("b.yaml", &service("x", "nonsense"));
    assert_eq!(shown(&bench.scan()), ["x=http://x!"]);
}

#[test]
fn what_is_left_of_a_resource_that_was_cut_does_not_take_it_out() {
    let mut bench = Bench::new();
    let (first, second) = (service("x", "http://x"), service("y", "http://y"));
    bench.write("a.yaml", &(first.clone() + &second));
    bench.scan();
    for cut in 5..second.len() {
        bench.write("a.yaml", &(first.clone() + &second[..cut]));
        let rescan = bench.later(HOLD * 2);
        let y = shown(&rescan).into_iter().find(|one| one.starts_with("y="));
        assert!(y.is_some() || second[..cut].ends_with("---\n"), "{}: {:?}", &second[..cut], shown(&rescan));
        bench.write("a.yaml", &(first.clone() + &second));
        bench.scan();
    }
    bench.write("a.yaml", &(first.clone() + &second.replace("v1alpha1", "v1alpha2")));
    assert_eq!(shown(&bench.scan()), ["x=http://x", "y=http://y!"]);
    // What is none of ours is no trace of it.
    bench.write("a.yaml", &(first + "---\napiVersion: v1\nkind: Namespace\nmetadata: {name: y}\n"));
    assert_eq!(shown(&bench.scan()), ["x=http://x"]);
}

#[test]
fn of_a_file_that_is_gone_what_nothing_can_hold_goes() {
    let mut bench = Bench::new();
    let (x, y) = (service("x", "http://x"), service("y", "http://y"));
    let remove = |bench: &Bench, name| fs::remove_file(bench.folder.path().join(name)).expect("removed");
    bench.write("a.yaml", &(x.clone() + &y));
    bench.scan();
    remove(&bench, "a.yaml");
    bench.write("b.yaml", &x.replace("kind: Service", "kind: Servic"));
    bench.scan();
    assert_eq!(shown(&bench.later(HOLD * 2)), ["x=http://x!"]);
    remove(&bench, "b.yaml");
    bench.scan();
    assert!(shown(&bench.later(HOLD * 2)).is_empty());
}

#[test]
fn what_is_broken_may_be_truncated_before_it_is_mended() {
    let mut bench = Bench::new();
    let (x, y) = (service("x", "http://x"), service("y", "http://y"));
    bench.write("a.yaml", &(x.clone() + &y));
    bench.scan();
    bench.write("a.yaml", &x);
    bench.write("b.yaml", "spec: {unclosed");
    bench.scan();
    bench.write("b.yaml", "");
    bench.scan();
    assert_eq!(shown(&bench.later(HOLD / 2)), ["x=http://x", "y=http://y!"]);
    assert_eq!(shown(&bench.later(HOLD)), ["x=http://x"]);
}

#[test]
fn what_a_broken_file_may_hold_is_in_doubt_until_the_hold_of_the_file_ends() {
    let mut bench = Bench::new();
    let is_broken = |rescan: &Rescan| rescan.set.broken().next().is_some();
    bench.write("a.yaml", &service("x", "http://x"));
    for end in ["", "gone"] {
        bench.write("b.yaml", "spec: {unclosed");
        assert!(is_broken(&bench.scan()));
        match end {
            "" => bench.write("b.yaml", end),
            _ => fs::remove_file(bench.folder.path().join("b.yaml")).expect("removed"),
        }
        let rescan = bench.scan();
        let found = rescan.set.broken().next().expect("still in doubt");
        let file = found.location.as_ref().map(|at| at.file.ends_with("b.yaml"));
        assert_eq!((file, rescan.hold_until), (Some(true), Some(bench.now + HOLD)), "{end}");
        assert!(is_broken(&bench.later(HOLD / 2)), "{end}");
        let rescan = bench.later(HOLD / 2);
        assert!(rescan.changed && !is_broken(&rescan), "{end}: the end is a change");
        assert_eq!(rescan.set.diagnostics, []);
    }
}
