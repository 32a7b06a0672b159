//! Environment variables in messages: they are called by their names, what they hold is nobody's business.

use super::{envelope::Resource, load::Lookup};
use crate::{
    base::Diagnostic,
    document::{Node, Problem, variable_name},
};

/// What variables hold that a configuration names.
#[derive(Default)]
pub struct Variables(Vec<Variable>);

struct Variable {
    value: String,
    /// As it is written.
    name: String,
}

/// Nobody writes so much by chance.
const LONG: usize = 8;

impl Variables {
    /// Of all resources, those that hold so much that it stands nowhere by chance.
    pub fn of<'r>(resources: impl Iterator<Item = &'r Resource>, lookup: &Lookup) -> Self {
        let mut variables = Self::default();
        resources.for_each(|resource| variables.add(&resource.written, &**lookup));
        variables.0.retain(|variable| variable.value.len() >= LONG);
        variables
    }

    /// Of one resource.
    pub fn add(&mut self, written: &Node, lookup: &dyn Fn(&str) -> Option<String>) {
        written.each_text(&mut |text| {
            let value = variable_name(text).and_then(lookup).filter(|value| !value.is_empty());
            self.0.extend(value.map(|value| Variable { value, name: text.to_owned() }));
        });
    }

    pub fn hide_in(&self, text: &mut String) {
        for Variable { value, name } in &self.0 {
            let quoted = format!("`{value}`");
            if text.contains(&quoted) {
                *text = text.replace(&quoted, &format!("`{name}`"));
            }
            if value.len() >= LONG && text.contains(value) {
                *text = text.replace(value, name);
            }
        }
    }

    pub fn hide_in_problem(&self, problem: &mut Problem) {
        self.hide_in(&mut problem.message);
        problem.help.iter_mut().for_each(|help| self.hide_in(help));
    }

    pub fn hide_in_finding(&self, found: &mut Diagnostic) {
        self.hide_in(&mut found.message);
        found.help.iter_mut().for_each(|help| self.hide_in(help));
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
