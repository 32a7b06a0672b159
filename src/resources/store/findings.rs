//! What the store finds wrong with definitions.

use std::path::Path;

use crate::{
    base::{Diagnostic, Location},
    resources::envelope::Resource,
};

/// Why something is in force that stands nowhere.
pub const MOVED: &str =
    "it stands nowhere any more, and is in force as long as something that cannot be read may hold it";

/// A file that could not be read, and is about to be mended or gone for good: until that is known it is as it was.
pub fn held(path: &Path, cause: &str) -> Diagnostic {
    let file = path.display().to_string().into();
    Diagnostic::error(format!("the file is empty or gone; before, it could not be read: {cause}"))
        .at(Location { file, line: 1, column: 1, line_text: "".into() })
        .help("it is waited for a moment, for what it held may come back")
}

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
