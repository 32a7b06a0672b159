//! Which instances may listen: dynamic ports, TLS, clashes of base paths (configuration
//! reference 4.1, 4.2).

use std::collections::{BTreeSet, HashMap, HashSet};

use super::{InstanceDraft, Resolver};
use crate::{
    base::ResourceName,
    resources::{
        kinds::GatewaySettings,
        model::{Instance, ListenAddress, ListenScheme, TlsBinding},
    },
    settings::RESERVED_PORT,
};

const NOT_IN_PLAIN_TEXT: &str = "the port is not opened: it must not answer in plain text";

/// Who holds which base paths of a port, in terms of segments.
#[derive(Default)]
struct Claims {
    /// Each prefix of an accepted path, itself included, with one instance that needs it.
    prefixes: HashMap<(u16, String), ResourceName>,
    /// Accepted paths.
    whole: HashMap<(u16, String), ResourceName>,
}

impl Claims {
    /// Takes the base path, or names the instance in its way.
    fn claim(&mut self, name: &ResourceName, address: &ListenAddress) -> Result<(), ResourceName> {
        let port = address.port;
        let prefixes = prefixes(&address.base_path);
        let own = prefixes.last().cloned().unwrap_or_default();
        let above = prefixes.iter().find_map(|prefix| self.whole.get(&(port, prefix.clone())));
        if let Some(owner) = above.or_else(|| self.prefixes.get(&(port, own.clone()))) {
            return Err(owner.clone());
        }
        for prefix in prefixes {
            self.prefixes.entry((port, prefix)).or_insert_with(|| name.clone());
        }
        self.whole.insert((port, own), name.clone());
        Ok(())
    }
}

/// `/a/b` and `/a/b/` give ``, `/a`, `/a/b`.
fn prefixes(base_path: &str) -> Vec<String> {
    let mut prefix = String::new();
    let mut all = vec![prefix.clone()];
    for segment in base_path.split('/').filter(|segment| !segment.is_empty()) {
        prefix.push('/');
        prefix.push_str(segment);
        all.push(prefix.clone());
    }
    all
}

impl Resolver<'_> {
    /// The instances that are opened, by name.
    pub(super) fn open_instances(&mut self, settings: &GatewaySettings) -> Vec<Instance> {
        self.replace_dynamic_port();
        // Before TLS, which belongs to the ports that instances have in the end.
        let without = self.settle_claims();
        self.settle_tls();
        self.advise_on_inline_routes();
        let mut drafts = std::mem::take(&mut self.instances);
        drafts.retain(|name, _| !without.contains(name) && !self.instance_outages.closed.contains_key(name));
        let instances: Vec<_> = drafts.into_values().map(|draft| self.finish_instance(draft)).collect();
        self.check_probe_port(settings, &instances);
        instances
    }

    /// Gives each base path to one instance; the names of those without. What is served keeps its base path. An update
    /// that clashes goes back to the address that is served, and is in force in all else (configuration reference 15,
    /// Do 2).
    fn settle_claims(&mut self) -> HashSet<ResourceName> {
        loop {
            let clashes = self.clashes();
            // Who goes back may be in the way of others, who were served elsewhere too.
            let mut is_settled = true;
            for (name, owner) in &clashes {
                is_settled &= !self.goes_back(name, owner);
            }
            if is_settled {
                clashes.iter().for_each(|(name, owner)| self.report_clash(name, owner, None));
                return clashes.into_iter().map(|(name, _)| name).collect();
            }
        }
    }

    /// Instances with another one in their way.
    fn clashes(&self) -> Vec<(ResourceName, ResourceName)> {
        let mut drafts: Vec<&InstanceDraft> = self.instances.values().collect();
        let is_closed = |draft: &InstanceDraft| self.instance_outages.closed.contains_key(&draft.name);
        // The active ones first, then by name; the sort is stable.
        drafts.sort_by_key(|draft| (!self.is_active(draft), is_closed(draft)));
        let mut claims = Claims::default();
        let clash = |draft: &InstanceDraft| {
            let owner = claims.claim(&draft.name, &draft.address).err()?;
            Some((draft.name.clone(), owner))
        };
        drafts.into_iter().filter_map(clash).collect()
    }

    fn is_active(&self, draft: &InstanceDraft) -> bool {
        let previous = self.inputs.previous.and_then(|model| model.instance(&draft.name));
        previous.is_some_and(|active| {
            active.address.port == draft.address.port
                && prefixes(&active.address.base_path) == prefixes(&draft.address.base_path)
        })
    }

    /// Whether there is another address to go back to.
    fn goes_back(&mut self, name: &ResourceName, owner: &ResourceName) -> bool {
        let is_elsewhere = self.instances.get(name).is_some_and(|draft| !self.is_active(draft));
        let active = self.inputs.previous.and_then(|model| model.instance(name));
        let Some(active) = active.filter(|_| is_elsewhere) else { return false };
        self.report_clash(name, owner, Some(&active.address));
        if let Some(draft) = self.instances.get_mut(name) {
            draft.address.value = active.address.clone();
        }
        true
    }

    fn report_clash(&mut self, name: &ResourceName, owner: &ResourceName, stays: Option<&ListenAddress>) {
        let Some(draft) = self.instances.get(name) else { return };
        let path = |base: &str| if base.is_empty() { "/".to_owned() } else { base.to_owned() };
        let message = format!(
            "the base path `{}` on port {} clashes with the ApiInstance {owner}",
            path(&draft.address.base_path),
            draft.address.port
        );
        let outcome = match stays {
            Some(address) => format!("{name} stays at `{address}`"),
            None => format!("{name} is not served; {owner} is"),
        };
        let problem =
            draft.address.error(message).help(outcome).help(
                "on one port no base path may start with another's segments; choose another path or port",
            );
        self.report.add(&draft.subject, problem);
    }

    /// The port that a platform hands out takes the place of the one that is written.
    fn replace_dynamic_port(&mut self) {
        let Some(port) = self.inputs.dynamic_port else { return };
        for draft in self.instances.values_mut().filter(|draft| draft.address.port == port.written) {
            draft.address.value.port = port.bound;
        }
    }

    /// TLS belongs to the port. A binding that is not valid closes its port for all; `https://` without
    /// a binding stays closed too, alone; where the last binding went, `http://` becomes plain text
    /// (decision 12).
    fn settle_tls(&mut self) {
        for tls in &mut self.tls {
            let drafts = tls.instances.iter().filter_map(|name| self.instances.get(name));
            tls.ports = drafts.map(|draft| draft.address.port).collect();
        }
        if self.tls_astray || self.set.broken().next().is_some() {
            self.keep_tls_of_ports();
        }
        let with_tls: BTreeSet<u16> = self.tls.iter().flat_map(|tls| &tls.ports).copied().collect();
        let previous = self.inputs.previous.iter().flat_map(|model| &model.tls);
        let had_tls: BTreeSet<u16> = previous.flat_map(|tls| &tls.ports).copied().collect();
        let mut invalid: HashMap<u16, ResourceName> = HashMap::new();
        for draft in self.instances.values() {
            if self.instance_outages.closed.contains_key(&draft.name) {
                invalid.entry(draft.address.port).or_insert_with(|| draft.name.clone());
            }
        }
        let mut closing: Vec<(ResourceName, String)> = Vec::new();
        for draft in self.instances.values() {
            let (address, port) = (&draft.address, draft.address.port);
            if self.instance_outages.closed.contains_key(&draft.name) || with_tls.contains(&port) {
                continue;
            }
            if let Some(bound) = invalid.get(&port) {
                let reason = format!("the TLS of port {port}, through a binding of {bound}, is not valid");
                let problem = address.error(&reason).help(NOT_IN_PLAIN_TEXT);
                self.report.add(&draft.subject, problem);
                closing.push((draft.name.clone(), reason));
            } else if address.scheme == ListenScheme::Https {
                let reason = format!("`https://` needs a `tls` policy on port {port}");
                let problem = address
                    .error(&reason)
                    .help("the API is not opened: it must not answer in plain text")
                    .help("bind a `tls` policy to it, or write `http://`");
                self.report.add(&draft.subject, problem);
                closing.push((draft.name.clone(), reason));
            } else if had_tls.contains(&port) {
                let message = format!("port {port} answers in plain text from now on");
                let problem = address
                    .warning(message)
                    .help("its last `tls` binding was removed; write `https://` to close the port instead");
                self.report.add(&draft.subject, problem);
            }
        }
        for (name, reason) in closing {
            self.close_instance(&name, &reason);
        }
    }

    /// While a `tls` binding is written that leads nowhere, or may be, nobody knows for which port: what has TLS
    /// keeps it, and what is served with it goes on.
    fn keep_tls_of_ports(&mut self) {
        let Some(previous) = self.inputs.previous else { return };
        let settled: BTreeSet<u16> = self.tls.iter().flat_map(|tls| &tls.ports).copied().collect();
        for before in &previous.tls {
            let mut kept = BTreeSet::new();
            for draft in self.instances.values().filter(|draft| before.ports.contains(&draft.address.port)) {
                let port = draft.address.port;
                if previous.instance(&draft.name).is_some_and(|served| served.address.port == port) {
                    self.instance_outages.closed.remove(&draft.name);
                }
                if !settled.contains(&port) {
                    let problem = draft.address.warning(format!("port {port} keeps the TLS that it has"));
                    let help = "a `tls` binding is not valid or applies to nothing, or may stand in a file that is \
                         not read: correct it; for plain text remove it";
                    self.report.add(&draft.subject, problem.help(help));
                    kept.insert(port);
                }
            }
            if !kept.is_empty() {
                self.tls.push(TlsBinding { ports: kept, ..before.clone() });
            }
        }
    }

    fn advise_on_inline_routes(&mut self) {
        let mut advice = Vec::new();
        for draft in self.instances.values() {
            for route in
                draft.routes.iter().filter(|route| route.index != crate::resources::normalise::NOT_INLINE)
            {
                advice.push((
                    draft.subject.clone(),
                    route.route.rules.clone(),
                    draft.address.base_path.clone(),
                ));
            }
        }
        for (subject, rules, base) in advice {
            self.advise_on_rules(&subject, &rules, &base);
        }
    }

    fn check_probe_port(&mut self, settings: &GatewaySettings, instances: &[Instance]) {
        let Some(probe) = settings.probe.as_ref().filter(|probe| probe.enabled) else { return };
        let Some(port) = &probe.port else { return };
        let instance = instances.iter().find(|instance| instance.address.port == port.value);
        let message = match instance {
            _ if port.value == RESERVED_PORT => {
                Some(format!("port {RESERVED_PORT} is reserved for internal use"))
            }
            Some(instance) => {
                Some(format!("port {} of the probe is used by the ApiInstance {}", port.value, instance.name))
            }
            None => None,
        };
        if let Some(message) = message {
            let problem = port.error(message).help("choose another port for the probe");
            let configuration = self.probe_subject(port);
            match configuration {
                Some(subject) => self.report.add(&subject, problem),
                None => self.report.diagnostics.push(problem.into()),
            }
        }
    }
}
