//! Damaged files end in diagnostics, never in a panic.

use std::{fs, path::Path};

use super::*;
use crate::{
    document::{Document, Limits, SourceFile, parse},
    resources::{Origin, envelope},
};

const MUTATIONS: usize = 4_000;

fn fixtures() -> Vec<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/resources/fixtures");
    let mut texts = Vec::new();
    for folder in ["bad", "examples"] {
        for entry in fs::read_dir(root.join(folder)).expect("the folder of fixtures") {
            let path = entry.expect("a readable folder").path();
            if path.extension().is_some_and(|extension| extension != "expected") {
                texts.push(fs::read_to_string(path).expect("a readable file"));
            }
        }
    }
    texts.sort();
    texts
}

/// Cuts, doubles, moves or replaces a piece.
fn damage(text: &str, random: &mut fastrand::Rng) -> String {
    const PIECES: &[&str] = &[
        "{", "}", "[", "]", ":", ": ", "- ", "\n", "\t", "&a", "*a", "<<: ", "!t ", "\"", "'", "|\n",
        "---\n", "\u{200b}", "$TEN", "~", "é",
    ];
    let mut chars: Vec<char> = text.chars().collect();
    for _ in 0..random.usize(1..4) {
        let start = random.usize(..=chars.len());
        let end = (start + random.usize(..20)).min(chars.len());
        let piece: Vec<char> = match random.u8(..4) {
            0 => Vec::new(),
            1 => chars[start..end].repeat(2),
            2 => {
                let from = random.usize(..=chars.len());
                chars[from..(from + 10).min(chars.len())].to_vec()
            }
            _ => PIECES[random.usize(..PIECES.len())].chars().collect(),
        };
        chars.splice(start..end, piece);
    }
    chars.into_iter().collect()
}

#[test]
fn damaged_files_never_panic_and_everything_invalid_is_reported() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let texts = fixtures();
    let environment = environment();
    for _ in 0..MUTATIONS {
        let text = damage(&texts[random.usize(..texts.len())], &mut random);
        let file = SourceFile::new("damaged.yaml", text.as_str());
        let parsed = parse(&file, Limits::default());
        let mut set = ResourceSet::default();
        for document in &parsed.documents {
            read(document, &environment, &mut set);
        }
        let inputs =
            Inputs { policies: &Catalog, environment: &*environment, dynamic_port: None, previous: None };
        let model = resolve(&set, inputs);
        for resource in &model.resources {
            let Err(reason) = &resource.ready else { continue };
            let reported = model.diagnostics.iter().any(|found| reason.contains(&found.message));
            assert!(
                reported,
                "seed {seed}: {} is not ready: {reason}, not reported:\n{text}",
                resource.subject
            );
        }
        for found in model.diagnostics.iter() {
            let place = found.location.as_ref().expect("everything in a file has a place");
            assert_eq!(&*place.file, "damaged.yaml", "seed {seed}: {found}\n{text}");
        }
    }
}

fn read(document: &Document, environment: &Lookup, set: &mut ResourceSet) {
    let found = envelope::read(document, &**environment, &mut set.diagnostics);
    if let envelope::Read::Resource(resource) = found {
        let not_ready = resource.error.clone();
        assert_eq!(not_ready.is_some(), resource.spec.is_none());
        set.entries.push(Entry { resource, not_ready, origin: Origin::Files });
    }
}
