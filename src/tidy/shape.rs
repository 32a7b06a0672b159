//! The shape of files and folders: length, the five files of a policy, nothing left out of the build.

use std::collections::BTreeSet;

use super::{
    File,
    text::{code_only, declares_module},
};

/// Longer files hold more than one idea. Tests and fixtures are exempt.
const LINES_MAX: usize = 450;

pub(super) fn long_files(files: &[File]) -> Vec<String> {
    let is_source = |file: &&File| {
        let is_program =
            file.is_rust() && (file.path.starts_with("src/") || file.path.starts_with("cluster-tests/"));
        !file.is_test() && (is_program || file.path.starts_with("scripts/"))
    };
    let mut findings = Vec::new();
    for file in files.iter().filter(is_source) {
        let lines = file.text.lines().count();
        if lines > LINES_MAX {
            findings.push(format!(
                "{}: {lines} lines, {LINES_MAX} are allowed.\n  Split it by idea, each part with its own module doc; \
                 tests longer than a screen go to a sibling tests.rs.",
                file.path
            ));
        }
    }
    findings
}

const POLICY_FILES: [&str; 5] = ["mod.rs", "config.rs", "tests.rs", "example.yaml", "README.md"];
const CATALOG: &str = "src/policies/catalog.rs";

/// Policy folders that lack one of their five files or their line in the catalog.
pub(super) fn policy_folders(files: &[File]) -> Vec<String> {
    let paths: BTreeSet<&str> = files.iter().map(|file| file.path.as_str()).collect();
    let folders: BTreeSet<&str> = paths
        .iter()
        .filter_map(|path| path.strip_prefix("src/policies/")?.split_once('/'))
        .map(|(folder, _)| folder)
        .collect();
    let catalog =
        files.iter().find(|file| file.path == CATALOG).map(|file| code_only(&file.text)).unwrap_or_default();
    let mut findings = Vec::new();
    for folder in folders {
        let has = |name: &str| paths.contains(format!("src/policies/{folder}/{name}").as_str());
        let missing: Vec<&str> = POLICY_FILES
            .into_iter()
            // Many chapters of tests may be a folder.
            .filter(|name| !(has(name) || *name == "tests.rs" && has("tests/mod.rs")))
            .collect();
        if !missing.is_empty() {
            findings.push(format!(
                "src/policies/{folder}: without {}.\n  Every policy has the same five files \
                 (docs/writing-a-policy.md); code that several policies share belongs in `policy`, one floor down.",
                missing.join(", ")
            ));
        }
        if !catalog.contains(&format!("{folder}::")) {
            findings.push(format!(
                "src/policies/{folder}: not in {CATALOG}.\n  That list is the only way a policy is found: add its line."
            ));
        }
    }
    findings
}

/// Rust files that no `mod` line names: they are never compiled, and their tests never run.
pub(super) fn forgotten_files(files: &[File]) -> Vec<String> {
    let mut findings = Vec::new();
    for file in files.iter().filter(|file| file.is_rust()) {
        let Some((name, parents)) = module_and_parents(&file.path) else { continue };
        let declared = files
            .iter()
            .filter(|candidate| parents.contains(&candidate.path))
            .any(|parent| declares_module(&code_only(&parent.text), name));
        if !declared {
            findings.push(format!(
                "{}: no `mod {name};` in {}.\n  Without it the file is not compiled; declare it, or remove it.",
                file.path,
                parents.join(" or ")
            ));
        }
    }
    findings
}

/// The name of a file's module and the files that may declare it; `None` for a target's own root.
fn module_and_parents(path: &str) -> Option<(&str, Vec<String>)> {
    let inside = path.strip_suffix(".rs")?;
    let inside = inside.strip_suffix("/mod").unwrap_or(inside);
    let (folder, name) = inside.rsplit_once('/')?;
    let folder_name = folder.rsplit('/').next().unwrap_or(folder);
    // Cargo finds these itself: roots of crates, and files directly below tests, benches, examples or bin.
    let is_root = matches!(name, "lib" | "main" | "build")
        || matches!(folder_name, "benches" | "examples" | "bin" | "fuzz_targets")
        || (folder_name == "tests" && !folder.contains("src/"));
    if is_root {
        return None;
    }
    let names = ["lib.rs", "main.rs", "mod.rs"].map(|root| format!("{folder}/{root}"));
    Some((name, names.into_iter().chain([format!("{folder}.rs")]).collect()))
}
