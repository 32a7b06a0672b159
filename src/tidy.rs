//! Tidy: what the compiler does not check about this repository, checked as a unit test.
//!
//! Each rule is a pure function from files to findings, and a finding says what to do instead. `tests.rs` holds
//! every rule against text that breaks it, so that a rule which stopped looking is noticed.

mod floors;
mod repository;
mod shape;
mod tests;
mod text;

use std::path::{Path, PathBuf};

/// A file of the repository. `path` is relative to its root, with `/`.
struct File {
    path: String,
    text: String,
    executable: bool,
}

impl File {
    fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    /// Tests may be long: they are read one sentence at a time.
    fn is_test(&self) -> bool {
        self.path.ends_with("/tests.rs") || self.path.contains("/tests/") || self.path.contains("/fixtures/")
    }
}

/// Every text file under the root but what git ignores and git itself.
fn read_repository() -> Vec<File> {
    // Cargo sets it at run time too; so a test binary can be pointed at another checkout.
    let root = std::env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| env!("CARGO_MANIFEST_DIR").into(), PathBuf::from);
    let mut files = Vec::new();
    read_folder(&root, &root, &mut files);
    assert!(
        files.iter().any(|file| file.path == "src/lib.rs"),
        "the repository was not found at {}",
        root.display()
    );
    files.sort_by(|a, b| a.path.cmp(&b.path));
    files
}

fn read_folder(root: &Path, folder: &Path, files: &mut Vec<File>) {
    for entry in std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
        let path = entry.expect("an entry of a folder that was just opened").path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if path.is_symlink() || name == ".git" || name == "target" {
            continue;
        }
        if path.is_dir() {
            read_folder(root, &path, files);
        } else if let Ok(text) = std::fs::read_to_string(&path) {
            let relative =
                path.strip_prefix(root).expect("found below the root").to_string_lossy().replace('\\', "/");
            files.push(File { path: relative, text, executable: is_executable(&path) });
        }
    }
}

fn is_executable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    path.metadata().is_ok_and(|metadata| metadata.permissions().mode() & 0o111 != 0)
}

fn expect_none(findings: Vec<String>) {
    assert!(findings.is_empty(), "\n\n{}\n", findings.join("\n\n"));
}

#[test]
fn imports_go_down_the_floors() {
    expect_none(floors::violations(&read_repository()));
}

#[test]
fn the_data_plane_names_no_actor() {
    expect_none(floors::actors_in_the_data_plane(&read_repository()));
}

#[test]
fn files_are_short_enough_to_be_read_in_one_sitting() {
    expect_none(shape::long_files(&read_repository()));
}

#[test]
fn policy_folders_have_the_same_five_files_and_a_line_in_the_catalog() {
    expect_none(shape::policy_folders(&read_repository()));
}

#[test]
fn no_source_or_test_file_is_forgotten() {
    expect_none(shape::forgotten_files(&read_repository()));
}

#[test]
fn no_file_names_a_place_on_one_machine() {
    expect_none(repository::machine_paths(&read_repository()));
}

#[test]
fn scripts_can_be_run_and_say_how() {
    expect_none(repository::scripts(&read_repository()));
}

#[test]
fn links_between_pages_lead_somewhere() {
    expect_none(repository::broken_links(&read_repository()));
}

#[test]
fn the_tests_that_the_reference_table_names_exist() {
    expect_none(repository::missing_tests(&read_repository()));
}
