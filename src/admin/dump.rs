//! The effective state: every resource with its `Ready` condition (configuration reference 14),
//! secrets redacted.

use serde_json::{Map, Value, json};

use crate::{
    actors::reconciler::Described,
    base::secret::{REDACTED, names_secret},
    document::{Node, NodeValue},
    resources::ResourceState,
};

/// `{"generation": …, "digest": …, "resources": [{apiVersion, kind, metadata, spec, origin, status}]}`
pub fn dump(described: &Described) -> Value {
    let resources = described.model.iter().flat_map(|model| &model.resources);
    let resources: Vec<Value> = resources.map(|state| resource(state, &described.not_ready)).collect();
    json!({
        "generation": described.last.generation,
        "digest": described.last.digest,
        "resources": resources,
    })
}

fn resource(state: &ResourceState, not_ready: &[(String, String)]) -> Value {
    let subject = state.subject.to_string();
    let at_compile = not_ready.iter().find(|(name, _)| *name == subject).map(|(_, reason)| reason);
    let condition = match state.ready.as_ref().err().or(at_compile) {
        None => json!({"type": "Ready", "status": "True"}),
        Some(message) => json!({"type": "Ready", "status": "False", "message": message}),
    };
    json!({
        "apiVersion": *state.api_version,
        "kind": *state.subject.kind,
        "metadata": {
            "name": *state.subject.name.name,
            "namespace": *state.subject.name.namespace,
            "labels": state.labels,
        },
        "spec": value(&state.spec, false),
        "origin": format!("{}:{}", state.origin.file, state.origin.line),
        "status": {"conditions": [condition]},
    })
}

fn value(node: &Node, secret: bool) -> Value {
    match &node.value {
        NodeValue::Mapping(entries) => {
            let header = entries.iter().find_map(|(key, value)| {
                key.text.eq_ignore_ascii_case("key").then(|| value.as_text().map(|text| text.to_string()))
            });
            let secret_header = header.flatten().is_some_and(|name| names_secret(&name));
            let mut map = Map::new();
            for (key, child) in entries.iter() {
                let hidden = secret
                    || names_secret(&key.text)
                    || (secret_header && key.text.eq_ignore_ascii_case("value"))
                    || (key.text.eq_ignore_ascii_case("header")
                        // A list of a name and a value, or both in one text.
                        && child.as_text().is_none_or(|text| names_secret(text)));
                map.insert(key.text.to_string(), value(child, hidden));
            }
            Value::Object(map)
        }
        NodeValue::Sequence(items) => items.iter().map(|item| value(item, secret)).collect(),
        NodeValue::Null => Value::Null,
        NodeValue::Scalar { .. } if secret => REDACTED.into(),
        NodeValue::Scalar { text, .. } if text.contains("PRIVATE KEY") => REDACTED.into(),
        NodeValue::Scalar { .. } => serde_json::to_value(node).unwrap_or(Value::Null),
    }
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
        assert!(dumped.contains("\"username\":\"u\"") && dumped.contains("seen"), "{dumped}");
    }
}
