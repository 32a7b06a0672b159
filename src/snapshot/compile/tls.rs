//! TLS contexts: of services (configuration reference 6.3), and one for each port that a `tls` policy reaches (6.2).
//!
//! No port that is to have TLS is opened in plain text: without a context that can be built, now or
//! before, it stays closed (decision 12).

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use rustls::pki_types::ServerName;

use super::{Compiler, KeptBuilt, Run};
use crate::{
    base::{Diagnostic, Digest, ResourceName},
    policies::tls_outbound::TlsOutbound,
    policy::PolicyDefinition,
    resources::{BoundPolicy, ResolvedModel, Service, ServiceAddress, ServiceScheme, TlsBinding},
    snapshot::upstream::UpstreamTls,
    tls::{Inbound, InboundContext, Outbound, Protocol},
};

/// What ports are to have TLS, and what came of it.
#[derive(Default)]
pub(super) struct PortTls {
    pub contexts: HashMap<u16, Arc<InboundContext>>,
    /// What the next run has to know of them.
    pub kept: HashMap<u16, KeptContext>,
    /// Ports that must not be opened, with the reason.
    pub closed: HashMap<u16, String>,
    /// Instances whose own binding is not in force on their port.
    blocked: HashMap<(ResourceName, u16), String>,
}

impl PortTls {
    /// Why an instance answers 503, if its TLS makes it.
    pub fn blocked(&self, instance: &ResourceName, port: u16) -> Option<String> {
        self.blocked.get(&(instance.clone(), port)).cloned()
    }
}

/// The context of a port, and the binding that it came from.
#[derive(Clone)]
pub(super) struct KeptContext {
    binding: ResourceName,
    context: Arc<InboundContext>,
}

/// A binding and what it describes; `None` if that cannot be built.
type Candidate<'m> = (&'m TlsBinding, Option<Arc<Inbound>>);

impl Compiler {
    /// TLS towards a service, and the binding that it comes from: as its policy says, else the default of an
    /// `https://` address; `None` for plain text. Of different contexts one is in force, as on a port.
    pub(super) fn upstream_tls(
        &self,
        service: &Service,
        mut bound: Vec<(&BoundPolicy, Arc<Outbound>)>,
        run: &mut Run<'_>,
    ) -> Result<Option<(UpstreamTls, Option<ResourceName>)>, String> {
        let ServiceAddress { scheme, host, .. } = &service.address;
        if *scheme == ServiceScheme::H2 {
            for (_, described) in &mut bound {
                *described = Arc::new(described.speaking(vec![Protocol::H2]));
            }
        }
        let before = self.upstreams.get(&service.name).and_then(|(_, plan)| {
            Some((plan.tls_binding.as_ref()?, plan.endpoint.tls.as_ref()?.context.described.digest))
        });
        let asked = bound.iter().map(|(policy, described)| (&policy.binding, described.digest));
        let chosen = in_force(asked, before).map(|at| &bound[at]);
        let described = match (scheme, chosen) {
            (ServiceScheme::Http | ServiceScheme::H2, None) => return Ok(None),
            (ServiceScheme::Https, None) => (self.tls_default)()?,
            (_, Some((policy, described))) => {
                for (other, _) in bound.iter().filter(|(_, other)| other.digest != described.digest) {
                    let of = format!("the Service {}", service.name);
                    let help = "a Service has one context: make them equal, or remove one";
                    report_clash(&of, &policy.binding, other, help, run);
                }
                if *scheme == ServiceScheme::Http {
                    run.diagnostics.push(
                        Diagnostic::warning(format!(
                            "the Service {} is called over TLS although its address says `http://`",
                            service.name
                        ))
                        .about(&policy.subject)
                        .at(policy.location.clone())
                        .help("write `https://` as its address, or remove the `tls-outbound` policy"),
                    );
                }
                Arc::clone(described)
            }
        };
        let name = ServerName::try_from(host.clone())
            .map_err(|_| format!("`{host}` cannot be a name in a certificate"))?;
        let mut context = |described: &Arc<Outbound>| {
            let known = run.outbound.get(&described.digest).or_else(|| self.outbound.get(&described.digest));
            let context = match known {
                Some(context) => Arc::clone(context),
                None => Arc::new(described.context().map_err(|error| error.to_string())?),
            };
            run.outbound.insert(described.digest, Arc::clone(&context));
            Ok::<_, String>(context)
        };
        let chooses =
            [Protocol::H2, Protocol::Http11].iter().all(|one| described.negotiable.alpn.contains(one));
        let http1 = chooses.then(|| context(&Arc::new(described.speaking(vec![Protocol::Http11]))));
        let tls = UpstreamTls::new(context(&described)?, http1.transpose()?, name);
        Ok(Some((tls, chosen.map(|(policy, _)| policy.binding.clone()))))
    }

    pub(super) fn port_tls(&self, model: &ResolvedModel, run: &mut Run<'_>) -> PortTls {
        // State of policies is kept by target and binding; of these the port is the target.
        let port_target = ResourceName::new("", "port");
        let mut candidates: Vec<Candidate<'_>> = Vec::new();
        for binding in &model.tls {
            let built =
                self.policy(&binding.policy, &port_target, std::slice::from_ref(&binding.policy), run);
            let inbound = built.and_then(|(built, _)| match built {
                KeptBuilt::Inbound(inbound) => Some(inbound),
                KeptBuilt::Step(_) | KeptBuilt::Upstream(_) | KeptBuilt::Route => None,
            });
            if inbound.is_none() {
                run.not_ready.push((binding.policy.subject.clone(), super::cannot_be_built(&binding.policy)));
            }
            candidates.push((binding, inbound));
        }
        candidates.sort_by(|(a, _), (b, _)| a.policy.binding.cmp(&b.policy.binding));
        let ports: BTreeSet<u16> = model.tls.iter().flat_map(|binding| &binding.ports).copied().collect();
        let mut result = PortTls::default();
        for port in ports {
            let here: Vec<&Candidate<'_>> =
                candidates.iter().filter(|(binding, _)| binding.ports.contains(&port)).collect();
            match settle(port, &here, self.contexts.get(&port), run, &mut result) {
                Some(context) => {
                    result.contexts.insert(port, Arc::clone(&context.context));
                    result.kept.insert(port, context);
                }
                None => {
                    let reason = format!("port {port} is to have TLS, and has no valid `tls` policy");
                    result.closed.insert(port, reason);
                }
            }
        }
        result
    }
}

/// The context of one port.
fn settle(
    port: u16,
    candidates: &[&Candidate<'_>],
    before: Option<&KeptContext>,
    run: &mut Run<'_>,
    result: &mut PortTls,
) -> Option<KeptContext> {
    let ready: Vec<_> =
        candidates.iter().filter_map(|(binding, inbound)| Some((*binding, inbound.as_ref()?))).collect();
    let active = before.map(|kept| (&kept.binding, kept.context.described.digest));
    let asked = ready.iter().map(|(binding, inbound)| (&binding.policy.binding, inbound.digest));
    let chosen = in_force(asked, active).map(|at| ready[at]);
    let Some((binding, inbound)) = chosen else {
        report_closed(port, candidates, before, run);
        return before.cloned();
    };
    for (other, described) in candidates {
        let name = &binding.policy.binding;
        let reason = match described {
            Some(described) if described.digest == inbound.digest => continue,
            Some(_) => {
                let help = "a port has one context: make them equal, or give the API a port of its own";
                report_clash(&format!("port {port}"), name, &other.policy, help, run)
            }
            None => super::cannot_be_built(&other.policy),
        };
        // They may be meant to be better protected than the context in force does.
        for instance in other.instances.iter().filter(|name| !binding.instances.contains(name)) {
            result.blocked.insert((instance.clone(), port), reason.clone());
        }
    }
    if let Some(kept) = before.filter(|kept| kept.context.described.digest == inbound.digest) {
        return Some(KeptContext { binding: binding.policy.binding.clone(), ..kept.clone() });
    }
    match inbound.context(before.map(|kept| &*kept.context)) {
        Ok(context) => {
            Some(KeptContext { binding: binding.policy.binding.clone(), context: Arc::new(context) })
        }
        Err(error) => {
            run.diagnostics.push(
                Diagnostic::error(format!("the TLS context of port {port} cannot be made: {error}"))
                    .about(&binding.policy.subject)
                    .at(binding.policy.location.clone()),
            );
            before.cloned()
        }
    }
}

/// Which of several contexts is in force: the active one, so that a second binding changes nothing, or what its
/// binding asks for now; else the first by name.
fn in_force<'n>(
    asked: impl Iterator<Item = (&'n ResourceName, Digest)> + Clone,
    before: Option<(&ResourceName, Digest)>,
) -> Option<usize> {
    let (binding, digest) = before.unzip();
    let at = |wanted: &dyn Fn(&ResourceName, Digest) -> bool| {
        asked.clone().position(|(name, asked)| wanted(name, asked))
    };
    at(&|_, asked| Some(asked) == digest)
        .or_else(|| at(&|name, _| Some(name) == binding))
        .or_else(|| asked.clone().enumerate().min_by_key(|(_, (name, _))| *name).map(|(index, _)| index))
}

/// Says that a context is not in force; the reason is given back.
fn report_clash(
    of: &str,
    in_force: &ResourceName,
    other: &BoundPolicy,
    help: &str,
    run: &mut Run<'_>,
) -> String {
    let reason = format!("{of} has the TLS context of {in_force}, and this one is different");
    let found = Diagnostic::error(&reason).about(&other.subject).at(other.location.clone()).help(help);
    run.diagnostics.push(found);
    run.not_ready.push((other.subject.clone(), reason.clone()));
    reason
}

/// Whether a service has contexts to choose from: what comes of them is said in each generation.
pub(super) fn may_clash(service: &Service) -> bool {
    service.policies.iter().filter(|bound| bound.policy == TlsOutbound::NAME).count() > 1
}

fn report_closed(port: u16, candidates: &[&Candidate<'_>], before: Option<&KeptContext>, run: &mut Run<'_>) {
    let Some((binding, _)) = candidates.first() else { return };
    let found = match before {
        Some(_) => Diagnostic::warning(format!("the last good TLS context of port {port} stays in force"))
            .help("correct the errors above; the new one is applied as soon as it is valid"),
        None => Diagnostic::error(format!("port {port} stays closed: its `tls` policy cannot be built"))
            .help("it must not answer in plain text"),
    };
    run.diagnostics.push(found.about(&binding.policy.subject).at(binding.policy.location.clone()));
}
