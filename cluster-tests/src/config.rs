//! Resources as values. JSON is YAML, so a test shapes a `serde_json::Value` and [`documents`] writes the file.

use serde_json::{Value, json};

/// An `ApiInstance` with one inline service and one default route.
#[must_use]
pub fn api(name: &str, address: &str, upstream: &str) -> Value {
    json!({
        "apiVersion": "gateway.mulesoft.com/v1alpha1",
        "kind": "ApiInstance",
        "metadata": {"name": name},
        "spec": {"address": address, "services": {"up": {"address": upstream}}},
    })
}

/// As [`api`], with inline policies.
#[must_use]
pub fn api_with(name: &str, address: &str, upstream: &str, policies: Value) -> Value {
    let mut value = api(name, address, upstream);
    value["spec"]["policies"] = policies;
    value
}

/// A `Service`.
#[must_use]
pub fn service(name: &str, address: &str) -> Value {
    json!({
        "apiVersion": "gateway.mulesoft.com/v1alpha1",
        "kind": "Service",
        "metadata": {"name": name},
        "spec": {"address": address},
    })
}

/// A `PolicyBinding` to an `ApiInstance` or `Service`; further members of `spec` in `more`.
#[must_use]
pub fn binding(name: &str, kind: &str, target: &str, policy: &str, more: Value) -> Value {
    let mut spec = json!({"targetRef": {"kind": kind, "name": target}, "policyRef": {"name": policy}});
    if let (Some(spec), Some(more)) = (spec.as_object_mut(), more.as_object()) {
        spec.extend(more.clone());
    }
    json!({
        "apiVersion": "gateway.mulesoft.com/v1alpha1",
        "kind": "PolicyBinding",
        "metadata": {"name": name},
        "spec": spec,
    })
}

/// A `Configuration`.
#[must_use]
pub fn configuration(name: &str, spec: Value) -> Value {
    json!({
        "apiVersion": "gateway.mulesoft.com/v1beta1",
        "kind": "Configuration",
        "metadata": {"name": name},
        "spec": spec,
    })
}

/// Basic authentication for `ada` / `secret`, as an inline policy, on these rules.
#[must_use]
pub fn login(rules: Value) -> Value {
    json!({
        "policyRef": {"name": "http-basic-authentication-flex"},
        "config": {"username": "ada", "password": "secret"},
        "rules": rules,
    })
}

/// The field line that [`login`] accepts.
pub const LOGIN: &str = "Authorization: Basic YWRhOnNlY3JldA==\r\n";

/// A file of these documents.
#[must_use]
pub fn documents(resources: &[Value]) -> String {
    let texts: Vec<String> =
        resources.iter().map(|value| serde_json::to_string_pretty(value).unwrap_or_default()).collect();
    texts.join("\n---\n") + "\n"
}
