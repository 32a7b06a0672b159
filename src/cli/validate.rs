//! `portcullis validate`: all findings, no network, no running gateway (decision 17).

use std::{path::PathBuf, sync::Arc, time::Instant};

use clap::Args;

use super::{Format, exit::Exit, print, print_json, refuse_settings};
use crate::{
    base::{Diagnostic, Diagnostics, Severity, plural},
    document::is_unset,
    settings::{Override, Sources},
    snapshot::{Generation, Reconciliation},
    telemetry::metrics::Registry,
};

#[derive(Args)]
pub struct ValidateArgs {
    /// Folders or files of resources
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// How findings are printed
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
    /// Warnings count as errors
    #[arg(long)]
    strict: bool,
    /// Settings file (YAML)
    #[arg(long, value_name = "FILE")]
    settings: Option<PathBuf>,
}

/// What these folders or files describe, and what is odd about the settings. Without a network.
///
/// # Errors
/// The exit code; why has been printed.
pub(super) fn read(paths: &[PathBuf], settings: Option<PathBuf>) -> Result<(Generation, Diagnostics), Exit> {
    let missing: Vec<_> = paths.iter().filter(|path| !path.exists()).collect();
    if !missing.is_empty() {
        for path in missing {
            report!("error: {} does not exist\n  = help: name an existing folder or file", path.display());
        }
        return Err(Exit::Usage);
    }
    let overrides =
        paths.iter().map(|path| Override::new("config.paths", path.to_string_lossy(), "PATH")).collect();
    let mut loaded =
        Sources::of_process(settings, overrides).load().map_err(|error| refuse_settings(&error))?;
    let (keys, odd) = loaded.settings.cluster.key_ring().map_err(|error| refuse_settings(&error))?;
    loaded.warnings.extend(odd);
    let environment = Arc::new(|name: &str| std::env::var(name).ok());
    let registry = Arc::new(Registry::new(1));
    let wanted = Reconciliation::new(Arc::new(loaded.settings), environment, registry, keys.map(Arc::new));
    Ok((wanted.read(Instant::now()), loaded.warnings))
}

/// Exit code 0 when clean or with warnings only, 65 with errors.
pub fn run(args: &ValidateArgs) -> Exit {
    let (generation, mut found) = match read(&args.paths, args.settings.clone()) {
        Ok(read) => read,
        Err(exit) => return exit,
    };
    // What is set where this runs says nothing about the gateway.
    found.extend(generation.diagnostics.into_iter().map(|found| match is_unset(&found.message) {
        true => Diagnostic { severity: Severity::Warning, ..found },
        false => found,
    }));
    let printed = match args.format {
        Format::Text => print(&text(&found)),
        Format::Json => print_json(&found.iter().collect::<Vec<_>>()),
    };
    let bad = found.has_errors() || (args.strict && !found.is_empty());
    if bad { Exit::Resources } else { printed }
}

fn text(found: &Diagnostics) -> String {
    let all: String = found.iter().map(|diagnostic| format!("{diagnostic}\n\n")).collect();
    let (errors, warnings) = (found.count(Severity::Error), found.count(Severity::Warning));
    format!("{all}{}, {}\n", plural(errors, "error"), plural(warnings, "warning"))
}
