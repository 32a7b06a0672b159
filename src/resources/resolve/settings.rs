//! Merges the `Configuration` resources key by key (configuration reference 3.4).

use std::collections::{BTreeMap, HashMap};

use super::Resolver;
use crate::{
    base::{Digest, Subject},
    document::{Place, Spanned},
    resources::{
        envelope::Resource,
        kinds::{GatewaySettings, Spec},
        store::Origin,
    },
};

impl Resolver<'_> {
    /// The settings in force. If two resources set one key, the first by (namespace, name) counts; what this replica's
    /// own files set ranks above what replicas share.
    pub(super) fn settings(&mut self) -> GatewaySettings {
        let set = self.set;
        let mut resources: Vec<(Origin, &Resource)> = set
            .entries
            .iter()
            .map(|entry| (entry.origin, &*entry.resource))
            .filter(|(_, r)| matches!(r.spec, Some(Spec::Configuration(_))))
            .collect();
        resources.sort_by(|(a_origin, a), (b_origin, b)| {
            (a_origin, &a.subject.name).cmp(&(b_origin, &b.subject.name))
        });
        let mut merged = GatewaySettings::default();
        let mut owners: HashMap<&'static str, (Origin, &Subject, &Place)> = HashMap::new();
        // By key: the same settings in other resources are the same settings.
        let mut digests = BTreeMap::new();
        for (origin, resource) in resources {
            let Some(Spec::Configuration(configuration)) = &resource.spec else { continue };
            for key in &configuration.keys {
                if let Some((owner_origin, owner, place)) = owners.get(key.value) {
                    if *owner_origin != origin {
                        continue;
                    }
                    let message = format!("`{}` is already set by {owner}; this is ignored", key.value);
                    let problem = key.warning(message).help(format!("the first is at {}", place.location()));
                    self.report.add(&resource.subject, problem);
                    continue;
                }
                owners.insert(key.value, (origin, &resource.subject, &key.place));
                take(&mut merged, &configuration.settings, key.value);
                // Replicas may reach one storage by different ways.
                if key.value != "sharedStorage" {
                    let written = resource.written.get_ignore_case(key.value);
                    digests.insert(key.value, written.map(|node| node.canonical_digest().to_string()));
                }
            }
        }
        let digest = digests.iter().fold(Digest::builder(), |digest, (key, written)| {
            digest.part(key).part(written.as_deref().unwrap_or_default())
        });
        merged.digest = Some(digest.finish());
        merged
    }

    /// The `Configuration` in which the port of the probe is written.
    pub(super) fn probe_subject(&self, port: &Spanned<u16>) -> Option<Subject> {
        let written_here = |resource: &&Resource| {
            matches!(&resource.spec, Some(Spec::Configuration(configuration))
            if configuration.settings.probe.as_ref().and_then(|probe| probe.port.as_ref()).is_some_and(|other| {
                other.place.file.path == port.place.file.path
                    && (other.place.line, other.place.column) == (port.place.line, port.place.column)
            }))
        };
        let mut resources = self.set.entries.iter().map(|entry| &*entry.resource);
        resources.find(written_here).map(|resource| resource.subject.clone())
    }
}

fn take(merged: &mut GatewaySettings, from: &GatewaySettings, key: &str) {
    match key {
        "logging" => merged.logging.clone_from(&from.logging),
        "probe" => merged.probe.clone_from(&from.probe),
        "timeouts" => merged.timeouts.clone_from(&from.timeouts),
        "circuitBreaker" => merged.circuit_breaker.clone_from(&from.circuit_breaker),
        "connectionBufferLimits" => merged.buffer_limit_bytes = from.buffer_limit_bytes,
        "routing" => merged.rewrite_host_header = from.rewrite_host_header,
        "forwardProxy" => merged.forward_proxy.clone_from(&from.forward_proxy),
        "proxyProtocol" => merged.proxy_protocol.clone_from(&from.proxy_protocol),
        "sharedStorage" => merged.shared_storage.clone_from(&from.shared_storage),
        "defaultTLS" => merged.default_tls.clone_from(&from.default_tls),
        // Not supported yet: reported where it is written.
        _ => {}
    }
}
