//! The effective state: every resource with its `Ready` condition (configuration reference 14),
//! secrets redacted.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::{
    actors::reconciler::Described,
    base::{
        secret::{REDACTED, is_key, names_secret, shown_name, without_userinfo},
        suggest::closest,
    },
    document::{Node, NodeValue},
    policies::catalog,
    resources::{
        BoundPolicy, Instance, Kind, ResolvedModel, ResourceState, Service,
        kinds::policy_binding::lenient_policy, spellings,
    },
};

/// `{"generation": …, "digest": …, "resources": [{apiVersion, kind, metadata, spec, origin, status}],
/// "effective": {"apiInstances": [{name, address, blocked?, policies, routes}], "services": [{name, address,
/// blocked?, policies}]}}`: what was written, and what came of it under the names that it has in logs and
/// metrics, policies in the order in which requests meet them.
pub fn dump(described: &Described) -> Value {
    let resources = described.model.iter().flat_map(|model| &model.resources);
    let resources: Vec<Value> = resources.map(|state| resource(state, &described.not_ready)).collect();
    json!({
        "generation": described.last.generation,
        "digest": described.last.digest,
        "resources": resources,
        "effective": described.model.as_deref().map(effective),
    })
}

fn effective(model: &ResolvedModel) -> Value {
    let instance = |instance: &Instance| {
        let routes = instance.routes.iter().map(|route| {
            let to = route
                .destinations
                .iter()
                .map(|to| json!({"service": to.service.to_string(), "path": to.path, "weight": to.weight}));
            json!({"name": route.name.to_string(), "destinations": to.collect::<Vec<_>>()})
        });
        json!({
            "name": instance.name.to_string(),
            "address": instance.address.to_string(),
            "blocked": instance.blocked,
            "policies": policies(&instance.policies),
            "routes": routes.collect::<Vec<_>>(),
        })
    };
    let service = |service: &Service| {
        json!({
            "name": service.name.to_string(),
            "address": service.address.to_string(),
            "blocked": service.blocked,
            "policies": policies(&service.policies),
        })
    };
    json!({
        "apiInstances": model.instances.iter().map(instance).collect::<Vec<_>>(),
        "services": model.services.iter().map(service).collect::<Vec<_>>(),
    })
}

fn policies(chain: &[BoundPolicy]) -> Value {
    let policy = |policy: &BoundPolicy| json!({"name": policy.binding.to_string(), "policy": policy.policy, "order": policy.order});
    chain.iter().map(policy).collect()
}

fn resource(state: &ResourceState, not_ready: &BTreeMap<String, String>) -> Value {
    let condition = match not_ready.get(&state.subject.to_string()) {
        None => json!({"type": "Ready", "status": "True"}),
        Some(reason) => json!({"type": "Ready", "status": "False", "message": reason}),
    };
    json!({
        "apiVersion": *state.api_version,
        "kind": *state.subject.kind,
        "metadata": {
            "name": *state.subject.name.name,
            "namespace": *state.subject.name.namespace,
            "labels": state.labels,
        },
        // The kind that is there for secrets has nothing else in it.
        "spec": value(&state.spec, *state.subject.kind == *Kind::Secret.as_str()),
        "origin": format!("{}:{}", state.origin.file, state.origin.line),
        "status": {"conditions": [condition]},
    })
}

/// Parameters of log outputs that say where lines go and what they look like. Nobody knows which of all others are
/// secrets: outputs that this gateway does not have are written as their vendors document them.
const SHOWN_PARAMETERS: [&str; 11] = [
    "file",
    "format",
    "host",
    "json_date_format",
    "json_date_key",
    "match",
    "path",
    "port",
    "template",
    "tls",
    "tls.verify",
];

fn parameters(node: &Node) -> Value {
    let NodeValue::Mapping(entries) = &node.value else { return value(node, true) };
    let shown = entries.iter().map(|(key, child)| {
        let name = key.text.to_ascii_lowercase();
        let shown = match child.as_text() {
            // It need not begin with a slash to be a path.
            Some(text) if name == "uri" => {
                shown_location(&format!("/{}", text.trim_start_matches('/'))).into()
            }
            _ => value(child, !SHOWN_PARAMETERS.contains(&&*name)),
        };
        (shown_name(&key.text).into_owned(), shown)
    });
    Value::Object(shown.collect())
}

/// What a private key stands beside, in whatever form it is written.
const BESIDE_PRIVATE_KEYS: [&str; 3] = ["crt", "crtFile", "keyPassphrase"];

fn value(node: &Node, secret: bool) -> Value {
    match &node.value {
        NodeValue::Mapping(entries) => {
            let header = entries.iter().find_map(|(key, value)| {
                key.text.eq_ignore_ascii_case("key").then(|| value.as_text().map(|text| text.to_string()))
            });
            // Nobody knows which parameters of a policy that this gateway does not have are secrets.
            let is_unknown = lenient_policy(node)
                .is_some_and(|policy| spellings(policy).all(|name| catalog::find(&name).is_none()));
            let secret_header = header.flatten().is_some_and(|name| names_secret(&name));
            let has_private_key = entries.iter().any(|(key, _)| {
                BESIDE_PRIVATE_KEYS.iter().any(|beside| key.text.eq_ignore_ascii_case(beside))
            });
            let mut map = Map::new();
            for (key, child) in entries.iter() {
                let token = child.as_text().is_some_and(|text| looks_like_token(text));
                let hidden = secret
                    || names_secret(&key.text)
                    || has_private_key && key.text.eq_ignore_ascii_case("key")
                    || is_unknown && key.text.eq_ignore_ascii_case("config")
                    || ((secret_header || token) && key.text.eq_ignore_ascii_case("value"))
                    || (key.text.eq_ignore_ascii_case("header")
                        // A list of a name and a value, or both in one text.
                        && child.as_text().is_none_or(|text| names_secret(text)));
                let shown = match closest(&key.text, ["parameters"]) {
                    Some(_) if !hidden => parameters(child),
                    _ => value(child, hidden),
                };
                map.insert(shown_name(&key.text).into_owned(), shown);
            }
            Value::Object(map)
        }
        NodeValue::Sequence(items) => items.iter().map(|item| value(item, secret)).collect(),
        NodeValue::Null => Value::Null,
        NodeValue::Scalar { .. } if secret => REDACTED.into(),
        NodeValue::Scalar { text, .. } if holds_key(text) => REDACTED.into(),
        NodeValue::Scalar { text, .. } if is_location(text) => shown_location(text).into(),
        NodeValue::Scalar { text, .. } => match without_userinfo(text) {
            Some(shown) => shown.into(),
            None => serde_json::to_value(node).unwrap_or(Value::Null),
        },
    }
}

/// A private key as PEM, or base64 that says of no line what it is.
fn holds_key(text: &str) -> bool {
    text.contains("PRIVATE KEY") || !text.contains("-----BEGIN ") && text.split_ascii_whitespace().any(is_key)
}

/// Long, of letters and digits, and no words: what a service gives out to be sent back to it. Bearers
/// and the like say what they are.
fn looks_like_token(text: &str) -> bool {
    let text = text.strip_prefix("Bearer ").or(text.strip_prefix("Basic ")).unwrap_or(text);
    let of_token = |byte: u8| byte.is_ascii_alphanumeric() || b"+/=_-.~".contains(&byte);
    let digits = text.bytes().filter(u8::is_ascii_digit).count();
    text.len() >= 20 && digits >= 3 && !text.contains("://") && text.bytes().all(of_token)
}

/// A path or an address, in which collectors take their tokens.
fn is_location(text: &str) -> bool {
    text.starts_with('/') || text.contains("://")
}

fn shown_location(text: &str) -> String {
    location(without_userinfo(text).as_deref().unwrap_or(text))
}

/// Without user and password, without the values of the query, and without segments that look like tokens.
fn location(text: &str) -> String {
    let (address, query) =
        text.split_once('?').map_or((text, None), |(address, query)| (address, Some(query)));
    let (scheme, rest) = address
        .split_once("://")
        .map_or(("", address), |(_, rest)| (&address[..address.len() - rest.len()], rest));
    let mut segments: Vec<&str> = rest.split('/').collect();
    let userinfo = segments[0].rfind('@').filter(|_| !scheme.is_empty());
    let host = userinfo.map(|at| format!("{REDACTED}{}", &segments[0][at..]));
    if let Some(host) = &host {
        segments[0] = host;
    }
    for segment in segments.iter_mut().skip(1).filter(|segment| looks_like_token(segment)) {
        *segment = REDACTED;
    }
    let mut shown = format!("{scheme}{}", segments.join("/"));
    for (index, pair) in query.iter().flat_map(|query| query.split('&')).enumerate() {
        let name = pair.split_once('=').map(|(name, _)| name);
        shown.push(if index == 0 { '?' } else { '&' });
        shown.push_str(&name.map_or(pair.to_owned(), |name| format!("{name}={REDACTED}")));
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::{Limits, SourceFile, parse};

    fn shown(yaml: &str) -> String {
        let file = SourceFile::new("a.yaml", yaml);
        let parsed = parse(&file, Limits::default());
        value(&parsed.documents[0].root, false).to_string()
    }

    #[test]
    fn of_a_log_output_only_what_is_known_to_be_no_secret_is_shown() {
        let dumped = shown(
            "logging:\n  outputs:\n    - {name: es, type: es, parameters: {cloud_auth: 'elastic:hunter2', Shared_Key: hunter2, \
             Host: es.test, tls.verify: off}}\n    - {name: a, type: http, parameters: {header: X-License-Key hunter2, \
             URI: 'ingest?key=hunter2', port: '443'}}\n    - {name: b, type: http, Parametres: {license: hunter2}}\n    \
             - {name: c, type: http, parameters: [hunter2]}\n  runtimeLogs: {outputs: [es]}\n",
        );
        assert!(!dumped.contains("hunter2"), "{dumped}");
        for kept in ["es.test", "/ingest?key=", "\"443\"", "\"tls.verify\":\"off\"", "\"outputs\":[\"es\"]"] {
            assert!(dumped.contains(kept), "{kept}: {dumped}");
        }
    }

    #[test]
    fn a_private_key_is_redacted_whatever_form_it_is_written_in() {
        let line = "MC4CAQAwBQYDK2VwBCIEIhunter2hunter2hunter2huntER2hunter2hunter2hunter2";
        let dumped = shown(&format!(
            "certificate:\n  crt: seen\n  key: |\n    hunter2\n    hunter2\n\
             redis:\n  certificate: {{keyPassphrase: x, Key: hunter2 hunter2}}\n\
             other: {{crtFile: seen.pem, key: [hunter2]}}\n\
             misspelt:\n  cert: seen\n  key: |\n    {line}\n    {line}\n    hunter2\n\
             inbound: {{key: x-a, value: seen}}\n\
             trustedCA: |\n  -----BEGIN CERTIFICATE-----\n  {public}\n  -----END CERTIFICATE-----\n",
            public = line.replace("hunter2", "Public7"),
        ));
        assert!(!dumped.contains("hunter2"), "{dumped}");
        for kept in ["seen.pem", "x-a", "Public7"] {
            assert!(dumped.contains(kept), "{kept}: {dumped}");
        }
    }

    #[test]
    fn secrets_are_redacted_wherever_they_stand() {
        let dumped = shown(
            "config: {username: u, password: hunter2}\n\
             redis: {Password: hunter2, sentinel: {password: hunter2}}\n\
             certificate: {key: \"-----BEGIN PRIVATE KEY-----hunter2\"}\n\
             inboundHeaders: [{key: Authorization, value: hunter2}, {key: x-a, value: seen}, {key: X-Api-Key, value: hunter2}, \
             {key: Cookie, value: hunter2}]\n\
             output: {header: Authorization Bearer hunter2}\n\
             clientSecret: {nested: [hunter2]}\n",
        );
        assert!(!dumped.contains("hunter2"), "{dumped}");
        let tokens = shown(
            "inboundHeaders: [{key: x-backend, value: abcdef0123456789abcdef}, {key: x-b, value: Bearer abc0123456789.abcdef-gh}]\n\
             URI: /v1/input/abcdef0123456789abcdef?dd-api-key=hunter2&plain\n\
             address: https://user:hunter2@collector.test/a\n\
             other: https://user:hunter2/x@collector.test/a\n\
             seen: [/items/2024-11-28, 'https://a.test:8443/v2?x', /products(/.*)]\n",
        );
        for secret in ["abcdef", "hunter2"] {
            assert!(!tokens.contains(secret), "{tokens}");
        }
        for kept in [
            "/v1/input/",
            "dd-api-key=",
            "plain",
            "@collector.test/a",
            "/items/2024-11-28",
            "a.test:8443/v2",
            "/products(/.*)",
        ] {
            assert!(tokens.contains(kept), "{kept}: {tokens}");
        }
        assert!(dumped.contains("\"username\":\"u\"") && dumped.contains("seen"), "{dumped}");
    }
}
