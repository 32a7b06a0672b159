//! From a document to a resource: `apiVersion`, `kind`, `metadata` (configuration reference 2.3).

use std::{collections::BTreeMap, sync::Arc};

use serde::Deserialize;

use super::{
    kinds::{self, Kind, Spec, policy_binding::lenient_policy},
    normalise::bare,
    variables::Variables,
};
use crate::{
    base::{Diagnostic, Digest, ResourceName, Severity, Subject, ids::DEFAULT_NAMESPACE, suggest::closest},
    document::{Document, Node, Place, Problem, RawNode, Spanned, deserialize},
};

/// Both are accepted for every kind.
const API_VERSIONS: [&str; 2] = ["gateway.mulesoft.com/v1alpha1", "gateway.mulesoft.com/v1beta1"];

/// What Kubernetes adds to the metadata of an exported resource: ignored without a word.
const KUBERNETES_FIELDS: [&str; 8] = [
    "metadata.annotations",
    "metadata.creationTimestamp",
    "metadata.finalizers",
    "metadata.generation",
    "metadata.managedFields",
    "metadata.ownerReferences",
    "metadata.resourceVersion",
    "metadata.uid",
];

/// A document that says which resource it is.
#[derive(Clone, Debug)]
pub struct Resource {
    pub subject: Subject,
    pub kind: Kind,
    pub api_version: Arc<str>,
    pub labels: BTreeMap<String, String>,
    /// Where the document starts.
    pub origin: Place,
    /// Where `metadata.name` stands.
    pub place: Place,
    /// Position of the document in its file, from 0.
    pub document: usize,
    /// `spec` as written.
    pub written: Node,
    /// Absent exactly when something about the resource is an error.
    pub spec: Option<Spec>,
    /// The first error, for the `Ready` condition.
    pub error: Option<String>,
    /// Of the whole document, without positions.
    pub digest: Digest,
}

/// What a document turned out to be.
#[derive(Debug)]
pub enum Read {
    Resource(Arc<Resource>),
    /// Another `apiVersion` or an unknown kind.
    Ignored,
    /// As [`Read::Ignored`], but so close to one of ours that it may be what is left of one. What is to be said where that would
    /// take something out of force.
    Slip(Box<Diagnostic>, Option<ResourceName>),
    /// Meant to be a resource, but it does not say which.
    Unidentified,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Envelope {
    #[serde(rename = "apiVersion")]
    _api_version: RawNode,
    #[serde(rename = "kind")]
    _kind: RawNode,
    metadata: Metadata,
    #[serde(rename = "spec")]
    _spec: RawNode,
    /// Written by Kubernetes and by dumps.
    #[serde(rename = "status", default)]
    _status: RawNode,
}

#[derive(Deserialize)]
struct Metadata {
    name: Spanned<String>,
    #[serde(rename = "namespace")]
    _namespace: Option<String>,
    #[serde(default)]
    labels: BTreeMap<String, String>,
}

/// Reads one document; findings go to `diagnostics`.
pub fn read(
    document: &Document,
    lookup: &dyn Fn(&str) -> Option<String>,
    diagnostics: &mut Vec<Diagnostic>,
) -> Read {
    let root = &document.root;
    if !matches!(root.value, crate::document::NodeValue::Mapping(_)) {
        let message = format!("expected a resource, found {}", root.describe());
        diagnostics.push(
            Problem::error(&root.place, "", message)
                .help("a resource is a mapping with `apiVersion`, `kind`, `metadata` and `spec`")
                .into(),
        );
        return Read::Unidentified;
    }
    let api_version = match api_version(root) {
        Ok(api_version) => api_version,
        Err(problem) => return foreign(root, *problem, "apiVersion", &API_VERSIONS, diagnostics),
    };
    let kind = match kind(root, diagnostics) {
        Ok(kind) => kind,
        Err(problem) => return foreign(root, *problem, "kind", &Kind::ALL.map(Kind::as_str), diagnostics),
    };
    let mut problems: Vec<Problem> = document.problems.clone();
    let subject = metadata_name(root).map(|name| Subject::new(kind.as_str(), name));
    let envelope = deserialize::<Envelope>(root, "");
    let ignored =
        |problem: &Problem| !problem.is_error() && KUBERNETES_FIELDS.contains(&problem.field.as_str());
    problems.extend(envelope.problems.into_iter().filter(|problem| !ignored(problem)));
    let written = root.get_ignore_case("spec").cloned();
    let mut spec = None;
    if let Some(written) = written.as_ref().filter(|written| !written.is_null()) {
        let (read, mut found) = kinds::read(kind, written, lookup);
        if !found.is_empty() {
            let mut variables = Variables::default();
            variables.add(written, lookup);
            found.iter_mut().for_each(|problem| variables.hide_in_problem(problem));
        }
        problems.extend(found);
        spec = read;
    }
    let error = problems.iter().find(|problem| problem.is_error()).map(|problem| problem.message.clone());
    let Some(subject) = subject else {
        diagnostics.extend(problems.into_iter().map(Diagnostic::from));
        return Read::Unidentified;
    };
    diagnostics.extend(problems.into_iter().map(|problem| problem.about(&subject)));
    let (labels, place) = envelope
        .value
        .map(|envelope| (envelope.metadata.labels, envelope.metadata.name.place))
        .unwrap_or_else(|| (BTreeMap::new(), root.place.clone()));
    Read::Resource(Arc::new(Resource {
        subject,
        kind,
        api_version,
        labels,
        origin: root.place.clone(),
        place,
        document: document.index,
        written: written.unwrap_or_else(|| Node::null(root.place.clone())),
        spec: spec.filter(|_| error.is_none()),
        error,
        digest: root.canonical_digest(),
    }))
}

/// What is none of our resources is left alone. Not what binds `tls`: a slip in its head must not turn a port to plain
/// text.
fn foreign(
    root: &Node,
    mut problem: Problem,
    field: &str,
    known: &[&str],
    diagnostics: &mut Vec<Diagnostic>,
) -> Read {
    let policy = root.get_ignore_case("spec").and_then(lenient_policy);
    if policy.is_some_and(|policy| bare(policy) == "tls") {
        problem.severity = Severity::Error;
        problem.help.push("it binds `tls`: correct it, or remove the document".to_owned());
    }
    let is_slip = root.get_ignore_case(field).is_some_and(|value| {
        let text = value.as_text().map_or("", |text| &**text);
        // As a file is that was cut.
        known.iter().any(|known| known.starts_with(text)) || closest(text, known.iter().copied()).is_some()
    });
    let read = match () {
        () if problem.is_error() => Read::Unidentified,
        () if is_slip => {
            let message = "what was in this file is gone, and this document may be what is left of it";
            let slip = Problem::error(&root.place, field, message);
            let slip = slip.help(format!("correct its `{field}`, or remove the document"));
            Read::Slip(Box::new(slip.into()), metadata_name(root))
        }
        () => Read::Ignored,
    };
    diagnostics.push(problem.into());
    read
}

/// The version, if the document is one of ours.
fn api_version(root: &Node) -> Result<Arc<str>, Box<Problem>> {
    let entry = root.entry_ignore_case("apiVersion");
    let text = entry.and_then(|(_, value)| value.as_text());
    if let Some(text) = text.filter(|text| API_VERSIONS.contains(&&***text)) {
        return Ok(text.clone());
    }
    let problem = match (entry, text) {
        (Some((_, value)), Some(text)) => {
            let message = format!("`apiVersion: {text}` is not known; the resource is ignored");
            let problem = Problem::warning(&value.place, "apiVersion", message);
            match closest(text, API_VERSIONS) {
                Some(close) => problem.help(format!("did you mean `{close}`?")),
                None => problem,
            }
        }
        _ => Problem::warning(&root.place, "apiVersion", "`apiVersion` is missing; the document is ignored"),
    };
    Err(Box::new(problem.help(format!("allowed: `{}`, `{}`", API_VERSIONS[0], API_VERSIONS[1]))))
}

fn kind(root: &Node, diagnostics: &mut Vec<Diagnostic>) -> Result<Kind, Box<Problem>> {
    let names = Kind::ALL.map(Kind::as_str);
    let allowed = names.map(|name| format!("`{name}`")).join(", ");
    let entry = root.entry_ignore_case("kind");
    let Some((value, text)) = entry.and_then(|(_, value)| Some((value, value.as_text()?))) else {
        let place = entry.map_or(&root.place, |(key, _)| &key.place);
        let problem = Problem::error(place, "kind", "`kind` is missing");
        return Err(Box::new(problem.help(format!("allowed: {allowed}"))));
    };
    if let Some(kind) = Kind::ALL.into_iter().find(|kind| *kind.as_str() == **text) {
        return Ok(kind);
    }
    if let Some(kind) = Kind::ALL.into_iter().find(|kind| kind.as_str().eq_ignore_ascii_case(text)) {
        let message = format!("`kind: {text}` is read as `{}`", kind.as_str());
        let problem = Problem::warning(&value.place, "kind", message);
        diagnostics.push(problem.help(format!("write `kind: {}`", kind.as_str())).into());
        return Ok(kind);
    }
    let message = format!("the kind `{text}` is not known; the resource is ignored");
    let mut problem = Problem::warning(&value.place, "kind", message);
    if let Some(close) = closest(text, names) {
        problem = problem.help(format!("did you mean `{close}`?"));
    }
    Err(Box::new(problem.help(format!("allowed: {allowed}"))))
}

/// The identity, read leniently, so that everything else can be reported about it.
fn metadata_name(root: &Node) -> Option<ResourceName> {
    let metadata = root.get_ignore_case("metadata")?;
    let name = metadata.get_ignore_case("name")?.as_text().filter(|name| !name.is_empty())?;
    let namespace = metadata.get_ignore_case("namespace").and_then(Node::as_text);
    let namespace = namespace.map(|text| &**text).filter(|text| !text.is_empty());
    Some(ResourceName::new(namespace.unwrap_or(DEFAULT_NAMESPACE), &**name))
}
