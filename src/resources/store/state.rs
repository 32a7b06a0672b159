//! What is known of one file.

use std::{
    collections::{HashMap, HashSet},
    path::Path,
    sync::Arc,
    time::Instant,
};

use super::{Entry, Origin, findings::held};
use crate::{
    base::{Diagnostic, Digest, Subject},
    resources::{
        envelope::Resource,
        load::{Content, Stamp},
    },
};

pub(super) struct FileState {
    /// `None` while the file is missing or cannot be read.
    pub stamp: Option<Stamp>,
    /// Read again even if the stamp is the same.
    pub doubtful: bool,
    pub bytes: Digest,
    pub content: Content,
    /// The newest version of each resource that was valid, while it may still be meant.
    pub good: HashMap<Subject, Arc<Resource>>,
    /// Empty or missing: its resources go at this time.
    pub gone_at: Option<Instant>,
}

impl FileState {
    /// It is still there, so what it said still counts.
    pub fn cannot_be_read(&mut self) {
        self.stamp = None;
        self.bytes = Digest::of("");
        self.content = Content { broken: Some("the file cannot be read".to_owned()), ..Content::default() };
        self.gone_at = None;
    }

    /// What the file says now. Gives what it does not hold any more.
    pub fn take(&mut self, mut content: Content, gone_at: Instant) -> HashMap<Subject, Arc<Resource>> {
        let mut dropped = HashMap::new();
        if content.empty
            && content.broken.is_none()
            && (!self.good.is_empty() || self.content.broken.is_some())
        {
            self.gone_at.get_or_insert(gone_at);
            content.broken = self.content.broken.take();
            self.content = content;
            return dropped;
        }
        self.gone_at = None;
        let there: HashSet<Subject> =
            content.resources.iter().map(|resource| resource.subject.clone()).collect();
        let is_gone = |subject: &Subject| !there.contains(subject);
        if content.broken.is_none()
            && self.good.keys().any(is_gone)
            && let Some(slip) = content.slip.take()
        {
            content.broken = Some(slip.message.clone());
            content.diagnostics.push(slip);
        }
        if content.broken.is_none() {
            // The file is sound: what it does not mention any more is gone.
            dropped.extend(self.good.extract_if(|subject, _| is_gone(subject)));
        }
        // Of two documents with one identity the first counts.
        for resource in content.resources.iter().rev().filter(|resource| resource.spec.is_some()) {
            self.good.insert(resource.subject.clone(), resource.clone());
        }
        self.content = content;
        dropped
    }

    /// What is to be said while it is empty or gone and was not sound before: it may hold a policy of any API again.
    pub fn held(&self, path: &Path) -> Option<Diagnostic> {
        let cause = self.content.broken.as_ref().filter(|_| self.content.empty)?;
        Some(held(path, cause))
    }

    /// Whether a definition in it is sound, or has been.
    pub fn has(&self, resource: &Resource) -> bool {
        resource.spec.is_some() || self.good.contains_key(&resource.subject)
    }

    /// The resource, or its last good version: of this file, else of another.
    pub fn entry(&self, resource: &Arc<Resource>, elsewhere: Option<&Arc<Resource>>) -> Entry {
        if resource.spec.is_some() {
            return Entry { resource: resource.clone(), not_ready: None, origin: Origin::Files };
        }
        let cause = resource.error.clone().unwrap_or_default();
        match self.good.get(&resource.subject).or(elsewhere) {
            Some(good) => Entry {
                resource: good.clone(),
                not_ready: Some(format!("the last good version is in force: {cause}")),
                origin: Origin::Files,
            },
            None => Entry { resource: resource.clone(), not_ready: Some(cause), origin: Origin::Files },
        }
    }
}
