//! Configuration files: whatever is in them, what is wrong is reported at a place inside the file, the same
//! each time, and what is not ready has been reported.

use std::sync::Arc;

use portcullis::{
    base::{Diagnostic, secret::shown_line},
    document::{Limits, SourceFile, parse},
    policies::names::Catalog,
    resources::{Entry, Inputs, Origin, ResourceSet, envelope, resolve},
    settings::Settings,
    snapshot::{Compiler, EngineSettings},
    telemetry::metrics::Registry,
};

const FILE: &str = "fuzzed.yaml";

/// # Panics
/// When a property does not hold.
pub fn check(bytes: &[u8]) {
    let shown = String::from_utf8_lossy(bytes);
    let found = read(bytes, &shown);
    assert_eq!(read(bytes, &shown), found, "read twice: {shown}");
}

/// Whether a file is a configuration without errors.
pub fn is_accepted(bytes: &[u8]) -> bool {
    read(bytes, "").iter().all(|diagnostic| !diagnostic.is_error())
}

fn environment(name: &str) -> Option<String> {
    (name == "TEN").then(|| "10".to_owned())
}

/// Everything that loading a file of these bytes reports.
fn read(bytes: &[u8], shown: &str) -> Vec<Diagnostic> {
    let file = match SourceFile::from_bytes(FILE, bytes.to_vec()) {
        Ok(file) => file,
        Err(problem) => {
            let good = bytes.utf8_chunks().next().map_or("", |chunk| chunk.valid());
            return vec![inside((*problem).into(), good)];
        }
    };
    let parsed = parse(&file, Limits::default());
    let mut all: Vec<Diagnostic> = Vec::new();
    if let Some(error) = parsed.error {
        all.push(error.into());
        return all.into_iter().map(|diagnostic| inside(diagnostic, &file.text)).collect();
    }
    let mut set = ResourceSet::default();
    for document in &parsed.documents {
        let read = envelope::read(document, &environment, &mut set.diagnostics);
        if let envelope::Read::Resource(resource) = read {
            let not_ready = resource.error.clone();
            assert_eq!(not_ready.is_some(), resource.spec.is_none(), "{}: {shown}", resource.subject);
            set.entries.push(Entry { resource, not_ready, origin: Origin::Files });
        }
    }
    let model = resolve(
        &set,
        Inputs { policies: &Catalog, environment: &environment, dynamic_port: None, previous: None },
    );
    for resource in &model.resources {
        let Err(reason) = &resource.ready else { continue };
        let reported = model.diagnostics.iter().any(|found| reason.contains(&found.message));
        assert!(reported, "{} is not ready: {reason}, not reported: {shown}", resource.subject);
    }
    let settings = Settings::default();
    let engine = EngineSettings::of(&settings, &model.settings);
    let tls = || Err("no TLS while fuzzing".to_owned());
    let compiled = Compiler::new(Arc::new(Registry::new(1)), "fuzzer", tls).compile(&model, engine);
    all.extend(model.diagnostics.iter().cloned());
    all.extend(compiled.diagnostics.iter().cloned());
    all.into_iter().map(|diagnostic| inside(diagnostic, &file.text)).collect()
}

/// The finding, which points into the file.
fn inside(found: Diagnostic, text: &str) -> Diagnostic {
    let Some(place) = &found.location else { panic!("without a place: {found} in {text:?}") };
    assert_eq!(&*place.file, FILE, "{found} in {text:?}");
    // Lines end as YAML 1.2 section 5.4 says. A place may be the end of the file, and the end of a line.
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    let lines: Vec<&str> = text.split('\n').collect();
    assert!((1..=lines.len()).contains(&place.line), "line {}: {found} in {text:?}", place.line);
    let columns = lines[place.line - 1].chars().count() + 1;
    assert!((1..=columns).contains(&place.column), "column {}: {found} in {text:?}", place.column);
    let excerpt = &*place.line_text;
    let before = place.line.checked_sub(2).map_or("", |above| lines[above]);
    assert!(
        excerpt.is_empty() || excerpt.ends_with('…') || excerpt == shown_line(lines[place.line - 1], before),
        "{found} in {text:?}"
    );
    assert!(!found.message.is_empty(), "{found} in {text:?}");
    found
}
