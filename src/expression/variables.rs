//! Names to variables: what the text selects from `attributes`, `authentication`, `payload` and
//! `vars` becomes the narrowest question to the scope.

use super::{
    Warning,
    ast::{Key, Kind, Node, PATH_KEYS_MAX, Path, Step, Variable},
    parser::Parser,
    scope::{Attribute, HEADERS},
};
use crate::base::suggest;

/// The variables of the language.
pub const ROOTS: [&str; 4] = ["attributes", "authentication", "payload", "vars"];

pub fn is_root(name: &str) -> bool {
    ROOTS.contains(&name)
}

/// The node of a root variable with its selectors.
pub fn resolve(parser: &mut Parser<'_>, root: &str, offset: usize, steps: Vec<Step>) -> Node {
    let mut steps = steps.into_iter().peekable();
    let variable = match root {
        "payload" => {
            parser.uses.payload = true;
            Variable::Payload
        }
        "authentication" => {
            parser.uses.authentication = true;
            Variable::Authentication(leading_names(&mut steps))
        }
        "vars" => {
            let path = leading_names(&mut steps);
            parser.uses.vars = true;
            let dotted = path.join(".");
            if !parser.vars.contains(&dotted) {
                parser.vars.push(dotted);
            }
            Variable::Var(path)
        }
        _ => attribute(parser, offset, &mut steps),
    };
    let base = Node { offset, kind: Kind::Variable(variable) };
    let steps: Vec<Step> = steps.collect();
    if steps.is_empty() {
        return base;
    }
    Node { offset, kind: Kind::Select { base: Box::new(base), steps } }
}

type Steps = std::iter::Peekable<std::vec::IntoIter<Step>>;

fn next_name(steps: &mut Steps) -> Option<Box<str>> {
    match steps.next_if(|step| matches!(step.key, Key::Name(_)))?.key {
        Key::Name(name) => Some(name),
        Key::By(_) => None,
    }
}

fn leading_names(steps: &mut Steps) -> Path {
    std::iter::from_fn(|| next_name(steps)).take(PATH_KEYS_MAX).collect()
}

fn attribute(parser: &mut Parser<'_>, offset: usize, steps: &mut Steps) -> Variable {
    let uses = &mut parser.uses;
    let Some(name) = next_name(steps) else {
        uses.headers = true;
        uses.all_headers = true;
        uses.status_code = true;
        uses.request_attributes = true;
        return Variable::Attributes;
    };
    if &*name == HEADERS {
        uses.headers = true;
        if let Some(name) = next_name(steps) {
            let name = name.to_ascii_lowercase();
            if !parser.header_names.contains(&name) {
                parser.header_names.push(name.clone());
            }
            return Variable::Header(name.into());
        }
        if let Some(Step { key: Key::By(key), .. }) = steps.next() {
            return Variable::HeaderBy(Box::new(key));
        }
        uses.all_headers = true;
        return Variable::Headers;
    }
    match Attribute::from_name(&name) {
        Some(Attribute::StatusCode) => {
            uses.status_code = true;
            Variable::Attribute(Attribute::StatusCode)
        }
        Some(attribute) => {
            uses.request_attributes = true;
            match attribute {
                Attribute::QueryParams => match next_name(steps) {
                    Some(name) => Variable::QueryParam(name),
                    None => Variable::Attribute(attribute),
                },
                _ => Variable::Attribute(attribute),
            }
        }
        None => {
            let names = Attribute::ALL.iter().map(|attribute| attribute.name()).chain([HEADERS]);
            let help = match suggest::closest(&name, names.clone()) {
                Some(close) => format!("did you mean `attributes.{close}`?"),
                None => format!("known are {}", names.collect::<Vec<_>>().join(", ")),
            };
            let message = format!("`attributes` has no member `{name}`: it is always null");
            parser.warnings.push(Warning::new(offset, message, help));
            Variable::Unknown
        }
    }
}
