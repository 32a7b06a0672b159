//! Every bad file with the exact text of its findings, those of policies and of the compiler included, as
//! `validate` prints them. After a deliberate change, write the expected texts anew with `BLESS=1` and
//! read the difference.

mod reload;

use std::{fmt::Write as _, path::Path, sync::Arc, time::Instant};

use super::Reconciliation;
use crate::{
    resources::tests::fixtures::{check_all, portable},
    settings::Settings,
    telemetry::metrics::Registry,
};

/// The findings, and what is out of service.
fn rendered(path: &Path, folder: &Path) -> String {
    let mut settings = Settings::default();
    settings.config.paths = vec![path.to_owned()];
    let nothing_set = Arc::new(|_: &str| None);
    let wanted = Reconciliation::new(Arc::new(settings), nothing_set, Arc::new(Registry::new(1)), None);
    let generation = wanted.read(Instant::now());
    let mut text = String::new();
    for found in generation.diagnostics.iter() {
        writeln!(text, "{found}\n").expect("a String takes all");
    }
    let mut plans: Vec<_> = generation.snapshot.instances().collect();
    plans.sort_by(|one, other| one.name.cmp(&other.name));
    for plan in plans {
        let state = plan.blocked.as_deref().map_or("open".to_owned(), |why| format!("503: {why}"));
        writeln!(text, "{}: {state}", plan.name).expect("a String takes all");
    }
    let not_ready = generation.not_ready.iter().map(|(subject, reason)| (subject.to_string(), reason));
    let of_model = generation
        .model
        .resources
        .iter()
        .filter_map(|state| state.ready.as_ref().err().map(|reason| (state.subject.to_string(), reason)));
    for (subject, reason) in of_model.chain(not_ready) {
        writeln!(text, "not ready: {subject}: {reason}").expect("a String takes all");
    }
    portable(&text, folder)
}

#[test]
fn bad_policies_end_in_exactly_these_findings() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/snapshot/fixtures");
    check_all(&folder, 20, |path| {
        let text = rendered(path, &folder);
        assert!(text.contains("error: ") || text.contains("warning: "), "{} is good", path.display());
        text
    });
}
