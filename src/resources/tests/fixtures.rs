//! Every bad file with the exact text of its diagnostics. After a deliberate change, write the
//! expected texts anew with `BLESS=1` and read the difference.

use std::{fmt::Write as _, fs, path::Path};

use super::{ResolvedModel, resolve_paths};

fn folder(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src/resources/fixtures").join(name)
}

/// Diagnostics as a terminal shows them, and the resources that are not ready.
fn rendered(model: &ResolvedModel, folder: &Path) -> String {
    let mut text = String::new();
    for diagnostic in model.diagnostics.iter() {
        writeln!(text, "{diagnostic}\n").expect("a String takes all");
    }
    for instance in &model.instances {
        let state = instance.blocked.as_deref().map_or("open".to_owned(), |why| format!("503: {why}"));
        writeln!(text, "{} {}: {state}", instance.name, instance.address).expect("a String takes all");
    }
    for resource in &model.resources {
        if let Err(reason) = &resource.ready {
            writeln!(text, "not ready: {}: {reason}", resource.subject).expect("a String takes all");
        }
    }
    portable(&text, folder)
}

/// Without the place of the repository on this machine, and without white space at the ends of lines.
pub(crate) fn portable(text: &str, folder: &Path) -> String {
    let text = text.replace(&format!("{}/", folder.display()), "");
    text.lines().map(str::trim_end).collect::<Vec<_>>().join("\n") + "\n"
}

/// Compares what comes of each file of a folder with the text beside it.
pub(crate) fn check_all(folder: &Path, least: usize, rendered: impl Fn(&Path) -> String) {
    let mut paths: Vec<_> = fs::read_dir(folder)
        .expect("the folder of fixtures")
        .map(|entry| entry.expect("a readable folder").path())
        .filter(|path| path.extension().is_some_and(|extension| extension != "expected"))
        .collect();
    paths.sort();
    assert!(paths.len() >= least, "{} fixtures, expected {least} or more", paths.len());
    let mut wrong = String::new();
    for path in paths {
        let actual = rendered(&path);
        let expected_path = path.with_extension("expected");
        if std::env::var_os("BLESS").is_some() {
            fs::write(&expected_path, &actual).expect("a writable folder");
        }
        let expected = fs::read_to_string(&expected_path).unwrap_or_default();
        if actual != expected {
            let name = path.display();
            write!(wrong, "=== {name}\n--- expected\n{expected}--- actual\n{actual}")
                .expect("a String takes all");
        }
    }
    assert!(wrong.is_empty(), "{wrong}(BLESS=1 writes the expected texts anew)");
}

fn run_all(name: &str, least: usize) {
    let folder = folder(name);
    check_all(&folder, least, |path| rendered(&resolve_paths(&[path.to_owned()], None), &folder));
}

#[test]
fn bad_files_end_in_exactly_these_diagnostics() {
    run_all("bad", 60);
}

#[test]
fn the_examples_of_the_reference_validate() {
    run_all("examples", 6);
}
