//! `vars.…` of message logging (policies reference 4.3).

use std::{borrow::Cow, time::SystemTime};

use jiff::Timestamp;

use crate::{
    expression::{Attribute, Object, Template, Value},
    policy::{Exchange, Variables, scope::RequestHead},
};

/// The names below `vars` that have a value, in the order in which `vars` as a whole shows them.
const NAMES: [&str; 10] = [
    "apiName",
    "apiInstanceName",
    "receivedTs",
    "repliedTs",
    "runtimeVersion",
    "hostId",
    "reqId",
    "requestDisposition",
    "request",
    "violation",
];
const REQUEST: [&str; 4] = ["remoteAddress", "method", "requestPath", "headers"];

const RUNTIME_VERSION: &str = concat!("v", env!("CARGO_PKG_VERSION"));

/// What the variables are read from.
pub struct LogVariables<'a> {
    pub api: &'a str,
    pub replica: &'a str,
    pub exchange: &'a Exchange,
    pub request: Option<RequestHead<'a>>,
    /// When the response came; `None` in the request half.
    pub replied: Option<SystemTime>,
}

/// What of a request has to be kept for the response half.
#[derive(Clone, Copy, Default)]
pub struct Needs {
    pub request: bool,
    pub request_headers: bool,
}

impl Needs {
    pub fn add(&mut self, template: &Template) {
        for path in template.vars() {
            let mut keys = path.split('.');
            match (keys.next().unwrap_or_default(), keys.next()) {
                ("" | "request", None | Some("headers")) => {
                    self.request = true;
                    self.request_headers = true;
                }
                ("request", _) => self.request = true,
                (name, _) => self.request |= REQUEST.contains(&name),
            }
        }
    }
}

impl Variables for LogVariables<'_> {
    fn var(&self, path: &[&str]) -> Value<'_> {
        match path {
            [] => self.object(&NAMES, |name| self.var(&[name])),
            ["request"] => self.object(&REQUEST, |name| self.request_part(name)),
            ["request", "headers", name, rest @ ..] => {
                let value = self.request.as_ref().map(|head| head.header(&name.to_ascii_lowercase()));
                below(value.unwrap_or_default(), rest)
            }
            ["request", name, rest @ ..] => below(self.request_part(name), rest),
            ["violation", rest @ ..] => below(self.violation(), rest),
            // Older pages write these without `request.`.
            [name @ ("remoteAddress" | "method" | "requestPath"), rest @ ..] => {
                below(self.request_part(name), rest)
            }
            [name, rest @ ..] => below(self.scalar(name), rest),
        }
    }
}

fn below<'v>(value: Value<'v>, rest: &[&str]) -> Value<'v> {
    match rest {
        [] => value,
        rest => value.at(rest).into_owned(),
    }
}

impl LogVariables<'_> {
    fn object<'v>(&'v self, names: &[&'static str], value: impl Fn(&str) -> Value<'v>) -> Value<'v> {
        let members = names.iter().map(|name| (Cow::Borrowed(*name), value(name)));
        Object::new(members.filter(|(_, value)| !value.is_null()).collect()).into()
    }

    fn scalar(&self, name: &str) -> Value<'_> {
        match name {
            "apiName" | "apiInstanceName" => self.api.into(),
            "receivedTs" => timestamp(self.exchange.received()),
            "repliedTs" => self.replied.map_or(Value::Null, timestamp),
            "runtimeVersion" => RUNTIME_VERSION.into(),
            "hostId" => self.replica.into(),
            "reqId" => self.exchange.request_id().into(),
            "requestDisposition" => match self.exchange.violation() {
                Some(_) => "VIOLATION".into(),
                None => "PROCESSED".into(),
            },
            _ => Value::Null,
        }
    }

    fn request_part(&self, name: &str) -> Value<'_> {
        let Some(head) = &self.request else { return Value::Null };
        match name {
            "remoteAddress" => head.attribute(Attribute::RemoteAddress),
            "method" => head.attribute(Attribute::Method),
            "requestPath" => head.attribute(Attribute::RequestPath),
            "headers" => head.headers(),
            _ => Value::Null,
        }
    }

    fn violation(&self) -> Value<'static> {
        let Some(violation) = self.exchange.violation() else { return Value::Null };
        Object::new(vec![
            ("policyName".into(), violation.policy_name.clone().into()),
            ("violationType".into(), violation.kind.as_str().into()),
            ("clientId".into(), violation.client_id.clone().into()),
            ("clientName".into(), violation.client_name.clone().into()),
        ])
        .into()
    }
}

/// RFC 3339, milliseconds. Null for times that no calendar has.
fn timestamp(time: SystemTime) -> Value<'static> {
    Timestamp::try_from(time).map_or(Value::Null, |time| format!("{time:.3}").into())
}
