//! Every bad file with the exact text of its findings, those of policies and of the compiler included, as
//! `validate` prints them. After a deliberate change, write the expected texts anew with `BLESS=1` and
//! read the difference.

mod reload;

use std::{fmt::Write as _, path::Path, sync::Arc, time::Instant};

use super::{Generation, Reconciliation, tls::expiries};
use crate::{
    resources::tests::fixtures::{check_all, portable},
    settings::Settings,
    telemetry::metrics::{CertificateUse, Registry},
};

fn read(path: &Path) -> Generation {
    let mut settings = Settings::default();
    settings.config.paths = vec![path.to_owned()];
    let nothing_set = Arc::new(|_: &str| None);
    let wanted = Reconciliation::new(Arc::new(settings), nothing_set, Arc::new(Registry::new(1)), None);
    wanted.read(Instant::now())
}

/// The findings, and what is out of service.
fn rendered(path: &Path, folder: &Path) -> String {
    let generation = read(path);
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

#[test]
fn a_client_certificate_for_redis_is_presented_too_and_valid_from_its_first_second() {
    let folder = tempfile::tempdir().unwrap();
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/tls/fixtures");
    let pem =
        |file: &str| std::fs::read_to_string(fixtures.join(file)).unwrap().replace('\n', "\n          ");
    let (crt, key) = (pem("endless.crt"), pem("ec-sec1.key"));
    let written = format!(
        "apiVersion: gateway.mulesoft.com/v1alpha1\nkind: Configuration\nmetadata: {{name: all}}\nspec:\n  sharedStorage:\n    \
         redis:\n      address: redis.test:6379\n      tls:\n        trustedCA: |\n          {crt}\n        certificate:\n         \
         crt: |\n          {crt}\n         key: |\n          {key}\n"
    );
    let path = folder.path().join("all.yaml");
    std::fs::write(&path, written).unwrap();
    let generation = read(&path);
    assert!(!generation.diagnostics.has_errors(), "{:?}", generation.diagnostics);
    // The first of January 2020, and the last moment that there is.
    let valid = 1_577_836_800..=jiff::Timestamp::MAX.as_second();
    assert_eq!(expiries(&generation.snapshot), [(CertificateUse::Storage, valid)]);
}
