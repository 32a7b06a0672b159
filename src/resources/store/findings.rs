//! What the store finds wrong with definitions.

use crate::{base::Diagnostic, resources::envelope::Resource};

/// Why something is in force that stands nowhere.
pub const MOVED: &str =
    "it stands nowhere any more, and is in force as long as something that cannot be read may hold it";

pub fn moved(resource: &Resource) -> Diagnostic {
    Diagnostic::error(MOVED)
        .about(&resource.subject)
        .at(resource.place.location())
        .help("mend what cannot be read, or remove it")
}

pub fn not_here(resource: &Resource) -> Diagnostic {
    let message =
        format!("{} is ignored: this replica takes it from the shared configuration", resource.subject);
    Diagnostic::error(message)
        .about(&resource.subject)
        .at(resource.place.location())
        .help("where `cluster.share_config` is `follow`, own files may hold `Configuration` resources only")
}

pub fn duplicate(resource: &Resource, first: &Resource) -> Diagnostic {
    let location = first.place.location();
    Diagnostic::error(format!("{} is defined twice; this definition is left out", resource.subject))
        .about(&resource.subject)
        .at(resource.place.location())
        .field("metadata.name")
        .help(format!("the one that counts is at {location}; remove or rename one"))
}
