//! Sentences of the configuration reference about resources, from text to model.

mod catalog;
mod clashes;
mod damage;
pub(crate) mod fixtures;
mod loading;
mod model;
mod shared_storage;
mod store;

use std::{path::PathBuf, sync::Arc};

use super::{Entry, Inputs, ResolvedModel, ResourceSet, load, load::Lookup, resolve};
use catalog::Catalog;

/// The variables that tests may refer to.
fn environment() -> Lookup {
    Arc::new(|name: &str| match name {
        "SHOP_USER" | "ADMIN_USER" => Some("alice".to_owned()),
        "SHOP_PASSWORD" | "ADMIN_PASSWORD" | "REDIS_PASSWORD" | "SENTINEL_PASSWORD" | "PROXY_PASSWORD" => {
            Some("wonderland".to_owned())
        }
        "TEN" => Some("10".to_owned()),
        _ => None,
    })
}

/// Resolves the files or folders at `paths`.
fn resolve_paths(paths: &[PathBuf], previous: Option<&ResolvedModel>) -> ResolvedModel {
    let environment = environment();
    let set = load(paths, environment.clone());
    resolve(&set, Inputs { policies: &Catalog, environment: &*environment, dynamic_port: None, previous })
}

/// Resolves the text of one file.
fn resolve_text(text: &str) -> ResolvedModel {
    resolve_after(text, None)
}

fn resolve_after(text: &str, previous: Option<&ResolvedModel>) -> ResolvedModel {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("test.yaml");
    std::fs::write(&path, text).expect("a writable folder");
    resolve_paths(&[path], previous)
}
