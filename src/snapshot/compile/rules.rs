//! Rules of the model, compiled; what is wrong with one points at its binding or route.

use super::Run;
use crate::{
    base::{Diagnostic, Location, Subject},
    policy::{RuleSet, RuleSource},
    resources::Rule,
};

pub(super) fn compile_rules(
    rules: &[Rule],
    subject: &Subject,
    location: &Location,
    run: &mut Run<'_>,
) -> Option<RuleSet> {
    let sources: Vec<_> = rules.iter().map(rule_source).collect();
    RuleSet::compile(&sources)
        .map_err(|(index, error)| {
            let mut found = Diagnostic::error(error.message)
                .about(subject)
                .at(location.clone())
                .field(format!("rules[{index}].{}", error.field));
            found.help = vec![error.help];
            run.diagnostics.push(found);
        })
        .ok()
}

/// The form that the kernel compiles.
fn rule_source(rule: &Rule) -> RuleSource<'_> {
    RuleSource {
        path: rule.path.as_ref().map(|text| text.value.as_str()),
        methods: rule.methods.as_ref().map(|text| text.value.as_str()),
        host: rule.host.as_ref().map(|text| text.value.as_str()),
        headers: rule.headers.iter().map(|(name, text)| (name.as_str(), text.value.as_str())).collect(),
    }
}
