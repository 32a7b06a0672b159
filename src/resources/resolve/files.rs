//! Certificates and keys that lie in files of their own (`crtFile` for `crt`, and so on; ours): what they hold stands
//! in the configuration as if it had been written there, and so a changed file is a changed configuration.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::{
    base::Digest,
    document::{Key, Node, NodeValue, Problem, read_text},
    resources::SharedFiles,
};

/// Parameters that may be given as a file: `<name>File`.
const NAMES: [&str; 4] = ["crt", "key", "trustedCA", "crl"];
const SUFFIX: &str = "File";

/// A bundle of authorities has some 200 KiB.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// A file that the configuration names, and what it held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedFile {
    pub path: PathBuf,
    /// `None`: it could not be read.
    digest: Option<Digest>,
}

impl NamedFile {
    pub fn has_changed(&self) -> bool {
        read(&self.path).ok().map(Digest::of) != self.digest
    }
}

/// Puts in what files hold; `path` is the field of `node`. Relative paths begin at the folder of the resource.
pub(super) fn substitute_files(
    node: &Node,
    path: &str,
    files: &mut Vec<NamedFile>,
    problems: &mut Vec<Problem>,
) -> Node {
    let value = match &node.value {
        NodeValue::Sequence(items) => {
            let items = items.iter().enumerate();
            let made = items
                .map(|(index, item)| substitute_files(item, &format!("{path}[{index}]"), files, problems));
            NodeValue::Sequence(made.collect())
        }
        NodeValue::Mapping(entries) => {
            let mut made = Vec::with_capacity(entries.len());
            for (key, value) in entries.iter() {
                let field = format!("{path}.{}", key.text);
                let Some(name) = named_by(key) else {
                    made.push((key.clone(), substitute_files(value, &field, files, problems)));
                    continue;
                };
                if node.get_ignore_case(name).is_some() {
                    let message = format!("`{name}` is given twice: as text, and as a file");
                    problems.push(Problem::error(&value.place, field, message).help("remove one of them"));
                    continue;
                }
                let text = content(value, &field, files, problems);
                made.push((Key { text: Arc::from(name), place: key.place.clone() }, text));
            }
            NodeValue::Mapping(made.into())
        }
        NodeValue::Scalar { .. } | NodeValue::Null => return node.clone(),
    };
    Node { value, place: node.place.clone() }
}

/// The parameter that a key gives as a file.
fn named_by(key: &Key) -> Option<&'static str> {
    NAMES.into_iter().find(|name| {
        let parts = key.text.split_at_checked(name.len());
        parts.is_some_and(|(before, after)| {
            before.eq_ignore_ascii_case(name) && after.eq_ignore_ascii_case(SUFFIX)
        })
    })
}

/// What a file holds. A parameter whose file cannot be read, or is not named, is empty, never missing: what it was to
/// restrict must not be built without it.
fn content(node: &Node, field: &str, files: &mut Vec<NamedFile>, problems: &mut Vec<Problem>) -> Node {
    let Some(written) = node.as_text().filter(|text| !text.is_empty() && !text.contains('\n')) else {
        let found = match node.as_text() {
            // It may be the key itself.
            Some(text) if !text.is_empty() => "several lines".to_owned(),
            _ => node.describe(),
        };
        let message = format!("expected the path of a file, found {found}");
        problems.push(Problem::error(&node.place, field, message));
        return Node::text(node.place.clone(), "");
    };
    // Of a resource that another replica read, the files lie here where they lie there.
    let resource = &*node.place.file.path;
    let resource = Path::new(resource.strip_prefix(SharedFiles::PREFIX).unwrap_or(resource));
    let folder = resource.parent().unwrap_or(Path::new(""));
    let path = folder.join(&**written);
    let found = read(&path);
    files.push(NamedFile { path: path.clone(), digest: found.as_ref().ok().map(Digest::of) });
    let text = found.unwrap_or_else(|error| {
        let message = format!("cannot read `{}`: {error}", path.display());
        problems.push(Problem::error(&node.place, field, message));
        String::new()
    });
    // As what comes from a variable, it is never shown.
    let value = NodeValue::Scalar { text: text.into(), quoted: true, variable: Some(Arc::clone(written)) };
    Node { value, place: node.place.clone() }
}

fn read(path: &Path) -> io::Result<String> {
    read_text(path, FILE_BYTES_MAX)
}
