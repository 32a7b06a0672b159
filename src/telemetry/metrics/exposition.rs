//! Prometheus text exposition, version 0.0.4.

use std::fmt::{Display, Write as _};

use super::cells::{BOUNDS_US, Distribution};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Counter,
    Gauge,
    Histogram,
}

/// A page being written, family by family.
#[derive(Debug, Default)]
pub struct Exposition {
    text: String,
    family: String,
}

impl Exposition {
    /// Content type of the page.
    pub const CONTENT_TYPE: &'static str = "text/plain; version=0.0.4; charset=utf-8";

    /// Begins a family. `name` is in base units and, for a counter, ends in `_total`.
    pub fn family(&mut self, name: &str, kind: Kind, help: &str) {
        name.clone_into(&mut self.family);
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        let help = help.replace('\\', "\\\\").replace('\n', "\\n");
        let _ = write!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
    }

    /// A sample of the family begun last, its name extended by `suffix`.
    pub fn sample(&mut self, suffix: &str, labels: &[(&str, &str)], value: u64) {
        self.line(suffix, labels, None, &value);
    }

    /// A family of one sample without labels.
    pub fn single(&mut self, name: &str, kind: Kind, help: &str, value: u64) {
        self.family(name, kind, help);
        self.sample("", &[], value);
    }

    /// As [`Self::sample`], with a fraction.
    pub fn decimal(&mut self, suffix: &str, labels: &[(&str, &str)], value: f64) {
        self.line(suffix, labels, None, &value);
    }

    pub(super) fn histogram(&mut self, labels: &[(&str, &str)], distribution: &Distribution) {
        let mut below = 0;
        for (index, count) in distribution.buckets.iter().enumerate() {
            below += count;
            let bound = BOUNDS_US.get(index).map_or_else(|| "+Inf".to_owned(), |us| seconds(*us).to_string());
            self.line("_bucket", labels, Some(&bound), &below);
        }
        self.line("_sum", labels, None, &seconds(distribution.sum_us));
        self.line("_count", labels, None, &below);
    }

    fn line(&mut self, suffix: &str, labels: &[(&str, &str)], bound: Option<&str>, value: &dyn Display) {
        let _ = write!(self.text, "{}{suffix}", self.family);
        let mut separator = '{';
        for (name, label) in labels.iter().copied().chain(bound.map(|bound| ("le", bound))) {
            let _ = write!(self.text, "{separator}{name}=\"");
            for c in label.chars() {
                match c {
                    '\\' => self.text.push_str("\\\\"),
                    '"' => self.text.push_str("\\\""),
                    '\n' => self.text.push_str("\\n"),
                    c => self.text.push(c),
                }
            }
            self.text.push('"');
            separator = ',';
        }
        if separator == ',' {
            self.text.push('}');
        }
        let _ = writeln!(self.text, " {value}");
    }

    pub fn finish(self) -> String {
        self.text
    }
}

fn seconds(micros: u64) -> f64 {
    micros as f64 / 1e6
}
