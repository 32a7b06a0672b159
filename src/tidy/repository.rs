//! The repository as its readers find it: no machine's paths, scripts that explain themselves, links that work.

use std::collections::BTreeSet;

use super::File;

/// Written in two halves, so that this file does not name them either.
const MACHINE_PATHS: [&str; 3] = [concat!("/wo", "rk/"), concat!("/ro", "ot/"), concat!("/tm", "p/")];

/// Lines that name a folder of somebody's machine: they work there and nowhere else.
pub(super) fn machine_paths(files: &[File]) -> Vec<String> {
    let mut findings = Vec::new();
    for file in files {
        for (number, line) in file.text.lines().enumerate() {
            if let Some(path) = MACHINE_PATHS.iter().find(|path| starts_a_path(line, path)) {
                findings.push(format!(
                    "{}:{}: names `{path}`.\n  Use a path relative to the repository, a temporary folder made for \
                     the purpose, or a value that the reader fills in.",
                    file.path,
                    number + 1
                ));
            }
        }
    }
    findings
}

/// Whether `path` begins an absolute path in `line`: the tail of a longer path or of a URL is something else.
fn starts_a_path(line: &str, path: &str) -> bool {
    line.match_indices(path).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        before.is_none_or(|character| {
            !(character.is_alphanumeric() || matches!(character, '_' | '-' | '.' | '~'))
        })
    })
}

/// Scripts that cannot be run, do not begin with how to use them, or go on after a failure. Folders `NAME.d` hold
/// parts of a script, which nobody runs.
pub(super) fn scripts(files: &[File]) -> Vec<String> {
    let mut findings = Vec::new();
    let is_script = |file: &&File| {
        file.path.strip_prefix("scripts/").is_some_and(|name| !name.contains(".d/")) || file.path == ".ci/run"
    };
    for file in files.iter().filter(is_script) {
        let mut find = |what: &str| findings.push(format!("{}: {what}", file.path));
        if !file.text.starts_with("#!") {
            find("no interpreter line.\n  Begin with `#!/usr/bin/env bash` (or python3).");
        }
        if !file.executable {
            find("not executable.\n  chmod +x, and commit the mode.");
        }
        if !file.text.lines().take(3).any(|line| line.contains("Usage: ")) {
            find(
                "does not begin with its usage.\n  Second line: `# Usage: scripts/NAME …`, then what it does.",
            );
        }
        let is_bash = file.text.lines().next().is_some_and(|line| line.contains("bash"));
        if is_bash && !file.text.lines().any(|line| line == "set -euo pipefail") {
            find("goes on after a failure.\n  Put `set -euo pipefail` below the usage.");
        }
    }
    findings
}

/// Relative links in Markdown whose target does not exist.
pub(super) fn broken_links(files: &[File]) -> Vec<String> {
    let mut known: BTreeSet<String> = BTreeSet::new();
    for file in files {
        let folders = file.path.match_indices('/').map(|(at, _)| file.path[..at].to_owned());
        known.extend(folders);
        known.insert(file.path.clone());
    }
    let mut findings = Vec::new();
    for file in files.iter().filter(|file| file.path.ends_with(".md")) {
        for (number, line) in file.text.lines().enumerate() {
            for target in link_targets(line) {
                let resolved = resolve(&file.path, target);
                if !known.contains(&resolved) {
                    findings.push(format!(
                        "{}:{}: links to `{target}`, but there is no {resolved}.",
                        file.path,
                        number + 1
                    ));
                }
            }
        }
    }
    findings
}

/// Targets of `[text](target)` that are files of this repository, without their `#anchor`.
fn link_targets(line: &str) -> impl Iterator<Item = &str> {
    line.match_indices("](").filter_map(move |(at, opening)| {
        let target = line[at + opening.len()..].split(')').next()?;
        let file = target.split('#').next()?;
        (!file.is_empty() && !target.contains("://") && !target.starts_with("mailto:")).then_some(file)
    })
}

fn resolve(page: &str, target: &str) -> String {
    let mut parts: Vec<&str> = page.split('/').collect();
    parts.pop();
    for part in target.trim_end_matches('/').split('/') {
        match part {
            "." | "" => {}
            ".." => drop(parts.pop()),
            name => parts.push(name),
        }
    }
    parts.join("/")
}

/// Tests that the table in `docs/testing.md` names as `module::test` and that do not exist.
pub(super) fn missing_tests(files: &[File]) -> Vec<String> {
    let modules: Vec<(String, &File)> = files
        .iter()
        .filter_map(|file| {
            let path = file.path.strip_suffix(".rs")?.replace('/', "::");
            let module = path.strip_suffix("::tests").or_else(|| path.strip_suffix("::mod")).unwrap_or(&path);
            Some((format!("::{module}"), file))
        })
        .collect();
    let mut findings = Vec::new();
    let Some(page) = files.iter().find(|file| file.path == "docs/testing.md") else { return findings };
    for (number, line) in page.text.lines().enumerate().filter(|(_, line)| line.starts_with('|')) {
        for (module, test) in line.split('`').skip(1).step_by(2).filter_map(|name| name.rsplit_once("::")) {
            let place = format!("::{module}");
            let function = format!("fn {test}(");
            let found =
                modules.iter().any(|(path, file)| path.ends_with(&place) && file.text.contains(&function));
            if !found {
                findings.push(format!(
                    "{}:{}: names the test `{module}::{test}`, which does not exist.\n  Name the test that holds \
                     the row now, or bring it back.",
                    page.path,
                    number + 1
                ));
            }
        }
    }
    findings
}
