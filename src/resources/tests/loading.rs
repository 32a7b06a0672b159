use std::{fs, os::unix::ffi::OsStrExt as _, path::Path};

use super::*;

fn service(name: &str) -> String {
    format!(
        "apiVersion: gateway.mulesoft.com/v1alpha1\nkind: Service\nmetadata: {{name: {name}}}\n\
         spec: {{address: http://{name}.internal}}\n"
    )
}

fn write(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().expect("a folder")).expect("a writable folder");
    fs::write(path, text).expect("a writable folder");
}

fn names(paths: &[PathBuf]) -> Vec<String> {
    let set = load(paths, environment());
    assert_eq!(set.diagnostics, []);
    set.entries.iter().map(|entry| entry.resource.subject.name.name.to_string()).collect()
}

#[test]
fn folders_are_read_with_their_sub_folders_in_the_order_of_paths() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let root = folder.path();
    write(&root.join("two/b.yaml"), &service("b"));
    write(&root.join("one/custom/z.yml"), &service("z"));
    write(&root.join("one/a.YAML"), &(service("a1") + "---\n" + &service("a2")));
    write(
        &root.join("one/j.json"),
        r#"{"apiVersion": "gateway.mulesoft.com/v1beta1", "kind": "Service", "metadata": {"name": "j"}, "spec": {"address": "http://j"}}"#,
    );
    write(&root.join("one/notes.txt"), "not: [yaml");
    write(&root.join("one/.hidden.yaml"), "not: [yaml");
    write(&root.join("one/.git/x.yaml"), "not: [yaml");
    assert_eq!(
        names(&[root.join("two"), root.join("one"), root.join("one/a.YAML")]),
        ["a1", "a2", "z", "j", "b"]
    );
}

#[test]
fn a_kubernetes_mount_loads_each_file_once() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let root = folder.path();
    write(&root.join("..2026_01_01/a.yaml"), &service("a"));
    std::os::unix::fs::symlink("..2026_01_01", root.join("..data")).expect("a link");
    std::os::unix::fs::symlink("..data/a.yaml", root.join("a.yaml")).expect("a link");
    assert_eq!(names(&[root.to_owned()]), ["a"]);
    assert_eq!(names(&[root.join("..data")]), ["a"]);
}

#[test]
fn links_in_a_circle_end() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let root = folder.path();
    write(&root.join("sub/a.yaml"), &service("a"));
    std::os::unix::fs::symlink(root, root.join("sub/up")).expect("a link");
    assert_eq!(names(&[root.to_owned()]), ["a"]);
}

#[test]
fn a_folder_too_deep_to_be_read_is_an_error_that_may_be_about_any_resource() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let deepest = folder.path().join("d/".repeat(32));
    write(&deepest.join("a.yaml"), &service("a"));
    assert_eq!(names(&[folder.path().to_owned()]), ["a"]);
    write(&deepest.join("e/b.yaml"), &service("b"));
    let set = load(&[folder.path().to_owned()], environment());
    let found: Vec<_> = set.broken().map(|found| found.message.clone()).collect();
    let expected = format!("`{}` is not read: it is more than 32 folders deep", deepest.join("e").display());
    assert_eq!((set.entries.len(), found), (1, vec![expected]));
}

#[test]
fn of_two_definitions_the_first_counts_and_the_other_names_both_places() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let root = folder.path();
    write(&root.join("a.yaml"), &service("same"));
    write(&root.join("b.yaml"), &service("same").replace("same.internal", "other.internal"));
    let model = resolve_paths(&[root.to_owned()], None);
    assert_eq!(model.services[0].address.host, "same.internal");
    let shown: Vec<String> = model.diagnostics.iter().map(ToString::to_string).collect();
    let shown = shown.join("\n").replace(&format!("{}/", root.display()), "");
    assert!(
        shown.contains("--> b.yaml:3:18") && shown.contains("the one that counts is at a.yaml:3:18"),
        "{shown}"
    );
}

#[test]
fn a_file_is_read_whatever_its_name_is_encoded_in() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let name = std::ffi::OsStr::from_bytes(b"sch\xfctz.yaml");
    write(&folder.path().join(name), &service("a"));
    assert_eq!(names(&[folder.path().to_owned()]), ["a"]);
}

#[test]
fn what_cannot_be_read_is_an_error() {
    let set = load(&[PathBuf::from("/nowhere/at/all")], environment());
    assert_eq!(set.diagnostics[0].message, "cannot read `/nowhere/at/all`: there is no such file or folder");
}

#[test]
fn a_folder_without_resources_is_warned_about_and_one_that_is_named_twice_is_not() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (full, empty) = (folder.path().join("full"), folder.path().join("empty"));
    write(&full.join("a.yaml"), &service("a"));
    write(&empty.join("notes.txt"), "no resource");
    assert_eq!(names(&[full.clone(), full.clone()]), ["a"]);
    assert_eq!(names(&[full.join("a.yaml"), full.clone()]), ["a"]);
    let set = load(&[full, empty.clone()], environment());
    let shown: Vec<String> = set.diagnostics.iter().map(ToString::to_string).collect();
    let expected = format!(
        "warning: no resources in `{}`\n = help: what is read of a folder are its files that end in .yaml, .yml or .json",
        empty.display()
    );
    assert_eq!(shown, [expected]);
}
