//! The floors of the house: each module uses only what is below it, or beside it in one direction.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    File,
    text::{code_only, root_modules_named},
};

/// Lowest first; `docs/architecture.md` tells why. A new module at the root is entered here.
const FLOORS: [&[&str]; 8] = [
    &["base"],
    &["http", "tls", "outbound", "storage", "telemetry", "settings", "document"],
    &["policy", "expression", "quota"],
    &["policies", "resources"],
    &["snapshot"],
    &["data_plane", "cluster"],
    &["actors", "admin"],
    &["cli"],
];

/// At the root of the crate, but on no floor: the map, the entry and this test.
const OUTSIDE: [&str; 3] = ["lib", "main", "tidy"];

fn floor_of(module: &str) -> Option<usize> {
    FLOORS.iter().position(|floor| floor.contains(&module))
}

/// The module at the root of the crate that a file belongs to, and how deep the file's own module lies.
fn place_of(path: &str) -> Option<(&str, usize)> {
    let inside = path.strip_prefix("src/")?.strip_suffix(".rs")?;
    let inside = inside.strip_suffix("/mod").unwrap_or(inside);
    let module = inside.split('/').next()?;
    Some((module, inside.split('/').count()))
}

/// Imports that go up, modules that stand on no floor, and neighbours that import each other.
pub(super) fn violations(files: &[File]) -> Vec<String> {
    let mut findings = Vec::new();
    let mut sideways: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    let mut homeless = BTreeSet::new();
    for file in files.iter().filter(|file| file.is_rust()) {
        let Some((module, depth)) = place_of(&file.path) else { continue };
        if OUTSIDE.contains(&module) {
            continue;
        }
        let Some(own) = floor_of(module) else {
            homeless.insert(module);
            continue;
        };
        for mention in root_modules_named(&code_only(&file.text), depth) {
            match floor_of(&mention.module) {
                Some(other) if other > own => findings.push(format!(
                    "{}:{}: floor {own} (`{module}`) uses floor {other} (`{}`).\n  Imports go down only: move the \
                     type down to where both can see it, or take a trait that floor {other} implements.",
                    file.path, mention.line, mention.module
                )),
                Some(other) if other == own && mention.module != module => {
                    sideways.entry(module).or_default().insert(mention.module);
                }
                _ => {}
            }
        }
    }
    findings.extend(homeless.iter().map(|module| {
        format!("src/{module}: on no floor.\n  Enter it in FLOORS (src/tidy/floors.rs) and in docs/architecture.md.")
    }));
    findings.extend(circles(&sideways));
    findings
}

/// Neighbours that reach themselves again: such modules are one module with two names.
fn circles(sideways: &BTreeMap<&str, BTreeSet<String>>) -> Vec<String> {
    let reaches = |from: &str| {
        let mut seen = BTreeSet::new();
        let mut pending = vec![from.to_owned()];
        while let Some(next) = pending.pop() {
            for neighbour in sideways.get(next.as_str()).into_iter().flatten() {
                if seen.insert(neighbour.clone()) {
                    pending.push(neighbour.clone());
                }
            }
        }
        seen
    };
    let in_circle: Vec<&str> =
        sideways.keys().copied().filter(|module| reaches(module).contains(*module)).collect();
    if in_circle.is_empty() {
        return Vec::new();
    }
    vec![format!(
        "{}: modules of one floor that use each other.\n  A neighbour may be used in one direction only: move what \
         both need one floor down.",
        in_circle.iter().map(|module| format!("`{module}`")).collect::<Vec<_>>().join(", ")
    )]
}

/// Names by which the hot path would reach for a mailbox.
const ACTOR_NAMES: [&str; 6] = ["actix::", "Addr<", "Recipient<", "WeakAddr<", "do_send(", "crate::actors"];

/// Places in `data_plane` that name an actor: a request reads a snapshot and never waits for a mailbox.
pub(super) fn actors_in_the_data_plane(files: &[File]) -> Vec<String> {
    let mut findings = Vec::new();
    for file in files.iter().filter(|file| file.is_rust() && file.path.starts_with("src/data_plane/")) {
        for (number, line) in code_only(&file.text).lines().enumerate() {
            if let Some(name) = ACTOR_NAMES.iter().find(|name| names(line, name)) {
                findings.push(format!(
                    "{}:{}: the hot path names an actor (`{name}`).\n  A request never crosses a mailbox: read it \
                     from the snapshot, count it in a worker's cell, or hand it to a task beside the connection.",
                    file.path,
                    number + 1
                ));
            }
        }
    }
    findings
}

/// Whether `line` holds `name` as a word of its own: `SocketAddr<` is not `Addr<`.
fn names(line: &str, name: &str) -> bool {
    line.match_indices(name).any(|(at, _)| at == 0 || !super::text::is_word(line.as_bytes()[at - 1]))
}
