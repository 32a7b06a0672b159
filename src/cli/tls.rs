//! `portcullis tls explain`: what each TLS context negotiates, who serves it and why.

use std::{
    fmt::{self, Write},
    path::PathBuf,
};

use clap::Args;
use jiff::Timestamp;
use serde::Serialize;

use super::{Format, exit::Exit, print, print_json, validate};
use crate::{
    base::{Diagnostic, Diagnostics, Severity},
    policies::tls_outbound::TlsOutbound,
    policy::PolicyDefinition,
    resources::{BoundPolicy, ResolvedModel, kinds::shared_storage::SharedStorage},
    snapshot::Generation,
    tls::{
        Backend, Inbound, Negotiable, Outbound, ciphers,
        identity::Identity,
        trust::{Authorities, ServerTrust},
        x509::Validity,
    },
};

const REDIS_TLS: &str = "sharedStorage.redis.tls";
const DEFAULT_TLS: &str = "defaultTLS.outboundPolicyCalls";

#[derive(Args)]
pub struct ExplainArgs {
    /// Folders or files of resources
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// How contexts are printed
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
    /// Settings file (YAML)
    #[arg(long, value_name = "FILE")]
    settings: Option<PathBuf>,
}

/// One context.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Explained {
    /// The port, or the service.
    context: String,
    /// The policies that ask for it.
    bindings: Vec<String>,
    backend: &'static str,
    why: String,
    min_version: &'static str,
    max_version: &'static str,
    /// Most preferred first.
    suites: Vec<Suite>,
    alpn: Vec<&'static str>,
    /// What the gateway presents.
    certificates: Vec<Presented>,
    /// Whose certificates it accepts.
    trust: String,
    /// Those of `trustedCA`.
    authorities: Vec<Authority>,
    findings: Vec<String>,
}

#[derive(Serialize)]
struct Suite {
    name: &'static str,
    versions: String,
    weak: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Presented {
    subject: String,
    names: Vec<String>,
    #[serde(flatten)]
    end: End,
}

#[derive(Serialize)]
struct Authority {
    subject: String,
    #[serde(flatten)]
    end: End,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct End {
    not_after: String,
    /// Below zero: it has expired. Absent: it never does.
    #[serde(skip_serializing_if = "Option::is_none")]
    days_left: Option<i64>,
}

/// Exit code 0; 65 when the configuration has errors, whose contexts may be missing.
pub fn explain(args: &ExplainArgs) -> Exit {
    let generation = match validate::read(&args.paths, args.settings.clone()) {
        Ok((generation, _)) => generation,
        Err(exit) => return exit,
    };
    let explained = contexts(&generation);
    let printed = match args.format {
        Format::Text => print(&text(&explained)),
        Format::Json => print_json(&explained),
    };
    if !generation.diagnostics.has_errors() {
        return printed;
    }
    for error in generation.diagnostics.iter().filter(|found| found.severity == Severity::Error) {
        report!("{error}\n");
    }
    Exit::Resources
}

fn contexts(generation: &Generation) -> Vec<Explained> {
    let Generation { model, snapshot, diagnostics, .. } = generation;
    let mut explained = Vec::new();
    let mut ports: Vec<_> = snapshot.tls.iter().collect();
    ports.sort_by_key(|(port, _)| **port);
    for (port, context) in ports {
        let bound = model.tls.iter().filter(|binding| binding.ports.contains(port));
        let policies: Vec<&BoundPolicy> = bound.map(|binding| &binding.policy).collect();
        explained.push(inbound(format!("port {port}"), &context.described, &policies, diagnostics));
    }
    for upstream in &snapshot.upstreams {
        let Some(tls) = &upstream.endpoint.tls else { continue };
        let policies = outbound_policies(model, upstream);
        let name = format!("Service {} ({})", upstream.name, upstream.address);
        explained.push(outbound(name, &tls.context.described, &policies, diagnostics));
    }
    if let Some(SharedStorage::Redis(plan)) = &model.settings.shared_storage
        && let Some(tls) = &plan.tls
    {
        explained.push(of_configuration("shared storage in Redis", REDIS_TLS, tls, diagnostics));
    }
    if let Some(tls) = &model.settings.default_tls {
        let name = "calls of policies (without effect: no policy makes any)";
        explained.push(of_configuration(name, DEFAULT_TLS, tls, diagnostics));
    }
    explained
}

/// A context whose parameters stand in this field of a `Configuration`.
fn of_configuration(name: &str, field: &str, described: &Outbound, diagnostics: &Diagnostics) -> Explained {
    let about = |found: &&Diagnostic| {
        let of_spec = found.field.as_deref().and_then(|found| found.strip_prefix("spec."));
        of_spec.is_some_and(|found| found.starts_with(field))
    };
    Explained {
        bindings: vec![format!("`{field}`")],
        findings: findings(diagnostics, about),
        ..outbound(name.to_owned(), described, &[], diagnostics)
    }
}

fn outbound_policies<'m>(
    model: &'m ResolvedModel,
    upstream: &crate::snapshot::UpstreamPlan,
) -> Vec<&'m BoundPolicy> {
    let service = model.service(&upstream.name);
    let policies = service.map_or(&[][..], |service| &service.policies);
    policies.iter().filter(|bound| bound.policy == TlsOutbound::NAME).collect()
}

fn inbound(
    context: String,
    described: &Inbound,
    policies: &[&BoundPolicy],
    diagnostics: &Diagnostics,
) -> Explained {
    let trust = match &described.clients {
        None => "no client certificate is asked for",
        Some(clients) if clients.required => "a client certificate of `trustedCA` is required",
        Some(_) => "a client certificate is asked for; if there is one, it must be of `trustedCA`",
    };
    Explained {
        certificates: described.certificates.identities().iter().map(presented).collect(),
        trust: trust.to_owned(),
        authorities: authorities(described.clients.as_ref().map(|clients| &clients.authorities)),
        ..negotiable(context, &described.negotiable, policies, diagnostics)
    }
}

fn outbound(
    context: String,
    described: &Outbound,
    policies: &[&BoundPolicy],
    diagnostics: &Diagnostics,
) -> Explained {
    let (trust, named) = match &described.trust {
        ServerTrust::Authorities(named) => ("the upstream's certificate must be of `trustedCA`", Some(named)),
        ServerTrust::System(_) => ("the upstream's certificate must be of an authority of the system", None),
        ServerTrust::Anyone => ("any certificate of the upstream is accepted (`skipValidation`)", None),
    };
    Explained {
        certificates: described.identity.iter().map(presented).collect(),
        trust: trust.to_owned(),
        authorities: authorities(named),
        ..negotiable(context, &described.negotiable, policies, diagnostics)
    }
}

fn negotiable(
    context: String,
    negotiable: &Negotiable,
    policies: &[&BoundPolicy],
    diagnostics: &Diagnostics,
) -> Explained {
    let backend = negotiable.suites.backend();
    let legacy = negotiable.suites.iter().find(|cipher| matches!(cipher.served, ciphers::Served::Legacy));
    let why = match (backend, legacy) {
        (Backend::OpenSsl, Some(cipher)) => format!("{} is not in rustls", cipher.name),
        _ => "it has all of these suites".to_owned(),
    };
    let suites = negotiable.suites.iter().map(|cipher| {
        let (min, max) =
            (negotiable.versions.min.max(cipher.lowest), negotiable.versions.max.min(cipher.highest));
        let versions =
            if min == max { min.as_str().to_owned() } else { format!("{}-{}", min.as_str(), max.as_str()) };
        Suite { name: cipher.name, versions, weak: cipher.is_weak() }
    });
    let bindings = match policies {
        [] => vec!["none: the default context".to_owned()],
        policies => policies.iter().map(|policy| policy.subject.to_string()).collect(),
    };
    let about =
        |found: &&Diagnostic| policies.iter().any(|policy| found.subject.as_ref() == Some(&policy.subject));
    Explained {
        context,
        bindings,
        backend: backend.as_str(),
        why,
        min_version: negotiable.versions.min.as_str(),
        max_version: negotiable.versions.max.as_str(),
        suites: suites.collect(),
        alpn: negotiable.alpn.iter().map(|protocol| protocol.as_str()).collect(),
        certificates: Vec::new(),
        trust: String::new(),
        authorities: Vec::new(),
        findings: findings(diagnostics, about),
    }
}

fn findings(diagnostics: &Diagnostics, about: impl Fn(&&Diagnostic) -> bool) -> Vec<String> {
    let about = diagnostics.iter().filter(about);
    about.map(|found| format!("{}: {}", found.severity.as_str(), found.message)).collect()
}

fn presented(identity: &Identity) -> Presented {
    let facts = &identity.facts;
    let addresses = facts.addresses.iter().map(ToString::to_string);
    Presented {
        subject: facts.subject.clone(),
        names: facts.dns_names.iter().cloned().chain(addresses).collect(),
        end: End::of(facts.validity),
    }
}

fn authorities(named: Option<&Authorities>) -> Vec<Authority> {
    let each = named.into_iter().flat_map(|named| named.anchors.iter());
    each.map(|(subject, validity)| Authority { subject: subject.to_owned(), end: End::of(validity) })
        .collect()
}

impl End {
    fn of(validity: Validity) -> Self {
        const DAY_SECONDS: i64 = 24 * 60 * 60;
        if validity.is_endless() {
            // RFC 5280 section 4.1.2.5.
            return Self { not_after: "9999-12-31T23:59:59Z".to_owned(), days_left: None };
        }
        let left = validity.not_after.as_second() - Timestamp::now().as_second();
        Self { not_after: validity.not_after.to_string(), days_left: Some(left.div_euclid(DAY_SECONDS)) }
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.days_left {
            None => return f.write_str("without expiry"),
            Some(days @ 0..) => write!(f, "{days} days left")?,
            Some(_) => f.write_str("expired")?,
        }
        write!(f, " (until {})", self.not_after)
    }
}

fn text(explained: &[Explained]) -> String {
    if explained.is_empty() {
        return "no port and no upstream has TLS\n".to_owned();
    }
    let mut out = String::new();
    for context in explained {
        let suites = context.suites.iter().map(|suite| {
            format!("{} ({}){}", suite.name, suite.versions, if suite.weak { ", weak" } else { "" })
        });
        let lines = [
            ("bound by", context.bindings.clone()),
            ("backend", vec![format!("{}: {}", context.backend, context.why)]),
            ("versions", vec![format!("{} to {}", context.min_version, context.max_version)]),
            ("suites", suites.collect()),
            ("ALPN", vec![context.alpn.join(", ")]),
            ("certificate", context.certificates.iter().map(Presented::line).collect()),
            ("trust", vec![context.trust.clone()]),
            ("authorities", context.authorities.iter().map(Authority::line).collect()),
            ("findings", context.findings.clone()),
        ];
        // Writing to a string cannot fail.
        let _ = writeln!(out, "{}", context.context);
        for (name, values) in &lines {
            for (index, value) in values.iter().enumerate() {
                let name = if index == 0 { *name } else { "" };
                let _ = writeln!(out, "  {name:<13}{value}");
            }
        }
        out.push('\n');
    }
    out
}

impl Presented {
    fn line(&self) -> String {
        let names = if self.names.is_empty() { "no names".to_owned() } else { self.names.join(", ") };
        format!("{} for {names}; {}", self.subject, self.end)
    }
}

impl Authority {
    fn line(&self) -> String {
        format!("{}; {}", self.subject, self.end)
    }
}
