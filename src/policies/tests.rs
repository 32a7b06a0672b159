//! What holds for every policy of the catalog.

use std::path::{Path, PathBuf};

use super::{
    catalog::{CATALOG, README_TABLE},
    names::Catalog,
    readme,
};
use crate::{
    base::ResourceName,
    document::{Limits, Node, SourceFile, parse, substitute_environment},
    policy::{Direction, PolicyEntry, PolicyServices},
    resources::{Inputs, resolve},
};

fn folders() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/policies");
    let entries = std::fs::read_dir(root).expect("the folder of the policies");
    entries.map(|entry| entry.expect("an entry").path()).filter(|path| path.is_dir()).collect()
}

/// The README of a policy: the one that has its name in front of a line.
fn readme_of(entry: &PolicyEntry) -> (PathBuf, String) {
    let mark = format!("`{}` ·", entry.name);
    folders()
        .into_iter()
        .map(|folder| folder.join("README.md"))
        .filter_map(|path| std::fs::read_to_string(&path).ok().map(|text| (path, text)))
        .find(|(_, text)| text.lines().any(|line| line.starts_with(&mark)))
        .unwrap_or_else(|| panic!("no README has a line that starts with {mark}"))
}

#[test]
fn the_catalog_is_sorted_and_names_are_unique() {
    assert!(CATALOG.is_sorted_by_key(|entry| entry.name));
    for entry in CATALOG {
        assert_eq!(CATALOG.iter().filter(|other| other.name == entry.name).count(), 1, "{}", entry.name);
        assert_eq!(super::catalog::find(entry.name).map(|found| found.summary), Some(entry.summary));
    }
}

#[test]
fn the_tables_of_parameters_are_what_the_schemas_say() {
    let bless = std::env::var_os("BLESS").is_some();
    for entry in CATALOG {
        let (path, text) = readme_of(entry);
        let Some(fresh) = readme::with_table(&text, &readme::parameters_table(entry)) else {
            panic!("{}: without {README_TABLE:?}", path.display());
        };
        if bless {
            std::fs::write(&path, fresh).expect("a README can be written");
        } else {
            assert_eq!(text, fresh, "{} is stale: run this test with BLESS=1", path.display());
        }
    }
}

#[test]
fn every_parameter_is_explained() {
    for entry in CATALOG {
        let table = readme::parameters_table(entry);
        assert!(!table.contains("|  |\n"), "{}: a parameter without text:\n{table}", entry.name);
    }
}

/// The `config` values that an example gives to a policy, with the kind of what they are bound to.
fn configs(documents: &[Node], policy: &str) -> Vec<Node> {
    let named = |binding: &Node| {
        let name = binding.get_ignore_case("policyRef").and_then(|policy| policy.get_ignore_case("name"));
        name.and_then(Node::as_text).is_some_and(|name| &**name == policy)
    };
    let specs = documents.iter().filter_map(|document| document.get_ignore_case("spec"));
    let bindings = specs.flat_map(|spec| {
        let inline = spec.get_ignore_case("policies").map(Node::items).unwrap_or_default();
        inline.iter().chain([spec])
    });
    bindings
        .filter(|binding| named(binding))
        .map(|binding| match binding.get_ignore_case("config") {
            Some(config) => config.clone(),
            None => Node::mapping(binding.place.clone(), Vec::new()),
        })
        .collect()
}

#[test]
fn every_example_is_complete_and_its_policy_is_built_without_a_finding() {
    for entry in CATALOG {
        let parsed = parse(&SourceFile::new("example.yaml", entry.example), Limits::default());
        assert!(parsed.error.is_none(), "{}: {:?}", entry.name, parsed.error);
        let documents: Vec<Node> = parsed.documents.into_iter().map(|document| document.root).collect();
        let has = |kind: &str| {
            let kinds = documents.iter().filter_map(|document| document.get_ignore_case("kind")?.as_text());
            kinds.into_iter().any(|found| &**found == kind)
        };
        assert!(has("ApiInstance"), "{}: the example has no ApiInstance", entry.name);
        assert!(
            entry.direction != Direction::Outbound || has("Service"),
            "{}: the example has no Service",
            entry.name
        );
        let configs = configs(&documents, entry.name);
        assert!(!configs.is_empty(), "{}: the example does not use it", entry.name);
        for config in configs {
            let (config, problems) =
                substitute_environment(&config, "config", &|_| Some("from-the-environment".to_owned()));
            assert!(problems.is_empty(), "{}: {problems:?}", entry.name);
            let name = |name: &str| ResourceName::new("default", name);
            let mut services = PolicyServices::new(name("binding"), name("api"), "replica".into());
            services.proxies_are_declared = true;
            let made = entry.build(&config, "config", &services);
            assert!(made.built.is_some() && made.problems.is_empty(), "{}: {:?}", entry.name, made.problems);
        }
    }
}

#[test]
fn every_example_resolves_without_a_finding() {
    for folder in folders() {
        let path = folder.join("example.yaml");
        let environment: crate::resources::load::Lookup =
            std::sync::Arc::new(|_: &str| Some("from-the-environment".to_owned()));
        let set = crate::resources::load(std::slice::from_ref(&path), environment.clone());
        let inputs =
            Inputs { policies: &Catalog, environment: &*environment, dynamic_port: None, previous: None };
        let model = resolve(&set, inputs);
        let findings: Vec<String> = model.diagnostics.iter().map(ToString::to_string).collect();
        assert!(findings.is_empty(), "{}:\n{}", path.display(), findings.join("\n"));
        assert!(!model.instances.is_empty(), "{}: nothing is served", path.display());
        for instance in &model.instances {
            assert_eq!(instance.blocked, None, "{}", path.display());
            assert!(!instance.routes.is_empty(), "{}: {} has no route", path.display(), instance.name);
        }
    }
}
