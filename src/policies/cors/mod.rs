//! Cross-origin resource sharing (policies reference 2.12; the Fetch standard).

mod config;
mod group;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use crate::{
    http::{
        Headers, InvalidField, Method, Request, Response,
        headers::{is_field_value, is_token},
    },
    policy::{
        Built, Category, ConfigProblem, Direction, Handling, Next, Policy, PolicyDefinition, PolicyServices,
        Rejection,
    },
};
pub use config::{AllowedMethod, Config, OriginGroup};
use group::Group;

const CORS_FIELDS: &str = "access-control-";

pub struct Cors {
    /// `None`: a public resource.
    groups: Option<Vec<Group>>,
    credentials: bool,
    public_max_age: String,
}

impl PolicyDefinition for Cors {
    const NAME: &'static str = "cors-flex";
    const CATEGORY: Category = Category::Compliance;
    const DIRECTION: Direction = Direction::Inbound;
    const SUMMARY: &'static str = "Lets scripts of other web sites use the API from browsers.";
    const ALWAYS_FIRST: bool = true;
    const README: &'static str = include_str!("README.md");
    const EXAMPLE: &'static str = include_str!("example.yaml");
    type Config = Config;

    fn build(config: Config, services: &PolicyServices) -> Result<Built, Vec<ConfigProblem>> {
        let problems = problems(&config);
        if !problems.is_empty() {
            return Err(problems);
        }
        for (index, group) in config.origin_groups.iter().enumerate().filter(|_| config.support_credentials) {
            for (list, names) in [("headers", &group.headers), ("exposedHeaders", &group.exposed_headers)] {
                if names.iter().any(|name| name.trim() == "*") {
                    let field = format!("originGroups[{index}].{list}");
                    let problem =
                        ConfigProblem::new(field, "with `supportCredentials`, browsers take `*` for a name");
                    services.warn(
                        problem.help("list the headers (Fetch standard, CORS protocol and credentials)"),
                    );
                }
            }
        }
        let groups = (!config.public_resource)
            .then(|| config.origin_groups.into_iter().map(Group::new).collect::<Vec<_>>());
        let everybody = groups.as_ref().is_none_or(|groups| groups.iter().any(Group::takes_any_origin));
        if config.support_credentials && everybody {
            services.warn(
                ConfigProblem::new(
                    "supportCredentials",
                    "every site may act with the credentials of its visitors",
                )
                .help("list the sites that may: `publicResource: false` and `originGroups`"),
            );
        }
        if groups.as_ref().is_some_and(Vec::is_empty) {
            services.warn(ConfigProblem::new(
                "originGroups",
                "no site is listed: browsers can use the API from none",
            ));
        }
        Ok(Built::Step(Arc::new(Self {
            groups,
            credentials: config.support_credentials,
            public_max_age: config::default_max_age_s().to_string(),
        })))
    }
}

/// What cannot be written into a head.
fn problems(config: &Config) -> Vec<ConfigProblem> {
    let mut problems = Vec::new();
    for (index, group) in config.origin_groups.iter().enumerate() {
        let field = format!("originGroups[{index}]");
        for (n, origin) in group.origins.iter().enumerate() {
            if origin.trim().is_empty() || !is_field_value(origin.trim().as_bytes()) {
                problems.push(ConfigProblem::new(format!("{field}.origins[{n}]"), "is no origin"));
            }
        }
        for (list, names) in [("headers", &group.headers), ("exposedHeaders", &group.exposed_headers)] {
            for (n, name) in names.iter().enumerate() {
                if !is_token(name.trim().as_bytes()) {
                    let problem = format!("`{name}` is not the name of a header field");
                    problems.push(ConfigProblem::new(format!("{field}.{list}[{n}]"), problem));
                }
            }
        }
        for (n, method) in group.allowed_methods.iter().enumerate() {
            if !is_token(method.method_name.trim().as_bytes()) {
                let field = format!("{field}.allowedMethods[{n}].methodName");
                problems.push(ConfigProblem::new(field, format!("`{}` is no method", method.method_name)));
            }
        }
    }
    problems
}

/// What a request may do.
enum Verdict<'p> {
    /// It breaks the policy: answered with nothing that would tell a browser to go on.
    Violation,
    Public,
    Group(&'p Group),
}

impl Policy for Cors {
    fn handle<'a>(&'a self, request: Request, next: Next<'a>) -> Handling<'a> {
        let is_options = request.method == Method::Options;
        let Some(origin) = request.headers.get("origin") else {
            // Every OPTIONS is taken for a preflight; without an origin there is nothing to allow.
            return match is_options {
                true => Handling::answer(Response::empty(200)),
                false if self.tells_origins_apart() => Handling::wait(async move {
                    let mut response = next.run(request).await;
                    write(&mut response.headers, vary_by_origin);
                    Ok(response)
                }),
                false => next.pass(request),
            };
        };
        let origin = std::str::from_utf8(origin).unwrap_or_default();
        let verdict = match request.headers.get_all("origin").nth(1) {
            Some(_) => Verdict::Violation,
            None => self.verdict(origin),
        };
        if is_options {
            return match self.preflight(&verdict, origin, &request.headers) {
                Some(response) => Handling::answer(response),
                None => violation(),
            };
        }
        let allowed = match verdict {
            Verdict::Violation => false,
            Verdict::Public => true,
            Verdict::Group(group) => group.allows_method(request.method.as_str()),
        };
        if !allowed {
            return violation();
        }
        let origin = self.echoed(&verdict, origin).map(str::to_owned);
        Handling::wait(async move {
            let mut response = next.run(request).await;
            self.allow(&mut response.headers, &verdict, origin.as_deref());
            Ok(response)
        })
    }
}

/// 200 without anything that would tell a browser to go on (policies reference 2.12, step 5). A cache must not give
/// it to others.
fn violation<'a>() -> Handling<'a> {
    Handling::refuse(Rejection::empty(200, "cors_violation").header("vary", "Origin"))
}

impl Cors {
    /// Whether the answer depends on the origin, so that a cache in front has to know it (Fetch standard, "CORS
    /// protocol and HTTP caches").
    fn tells_origins_apart(&self) -> bool {
        self.groups.is_some() || self.credentials
    }

    fn verdict(&self, origin: &str) -> Verdict<'_> {
        let Some(groups) = &self.groups else { return Verdict::Public };
        // A group that names the origin wins over one that takes all.
        let group = groups
            .iter()
            .find(|group| group.lists(origin))
            .or_else(|| groups.iter().find(|group| group.takes_any_origin()));
        group.map_or(Verdict::Violation, Verdict::Group)
    }

    /// The origin where the answer names it; `None` where it says `*`.
    fn echoed<'o>(&self, verdict: &Verdict<'_>, origin: &'o str) -> Option<&'o str> {
        let listed = matches!(verdict, Verdict::Group(group) if group.lists(origin));
        (listed || self.credentials).then_some(origin)
    }

    /// The answer to a preflight; `None` when it breaks the policy.
    fn preflight(&self, verdict: &Verdict<'_>, origin: &str, asked: &Headers) -> Option<Response> {
        let answer = self.preflight_fields(verdict, asked)?;
        let mut response = Response::empty(200);
        write(&mut response.headers, |headers| {
            self.set_origin(headers, self.echoed(verdict, origin))?;
            headers.append("access-control-allow-methods", &answer.methods)?;
            if !answer.headers.is_empty() {
                headers.append("access-control-allow-headers", &answer.headers)?;
            }
            headers.append("access-control-max-age", answer.max_age)
        });
        Some(response)
    }

    /// What is allowed of what a preflight asks for; `None` when it breaks the policy.
    fn preflight_fields<'p>(&'p self, verdict: &Verdict<'p>, asked: &Headers) -> Option<PreflightAnswer<'p>> {
        let method = asked.joined("access-control-request-method")?;
        let headers = asked.joined("access-control-request-headers").unwrap_or_default();
        let names = headers.split(',').map(str::trim).filter(|name| !name.is_empty());
        if !is_token(method.as_bytes()) || !names.clone().all(|name| is_token(name.as_bytes())) {
            return None;
        }
        match verdict {
            Verdict::Violation => None,
            Verdict::Public => Some(PreflightAnswer {
                methods: method.into_owned(),
                headers: headers.into_owned(),
                max_age: &self.public_max_age,
            }),
            Verdict::Group(group) => Some(PreflightAnswer {
                methods: group.allows_method(&method).then(|| group.allow_methods.clone())?,
                headers: group.allowed_headers(&headers)?,
                max_age: &group.max_age,
            }),
        }
    }

    /// Puts the fields of an actual request on its response, in place of what the upstream said.
    fn allow(&self, headers: &mut Headers, verdict: &Verdict<'_>, origin: Option<&str>) {
        headers.retain(|name, _| {
            !name.get(..CORS_FIELDS.len()).is_some_and(|start| start.eq_ignore_ascii_case(CORS_FIELDS))
        });
        write(headers, |headers| {
            self.set_origin(headers, origin)?;
            match verdict {
                Verdict::Group(group) if !group.expose_headers.is_empty() => {
                    headers.append("access-control-expose-headers", &group.expose_headers)
                }
                _ => Ok(()),
            }
        });
    }

    fn set_origin(&self, headers: &mut Headers, origin: Option<&str>) -> Result<(), InvalidField> {
        headers.append("access-control-allow-origin", origin.unwrap_or("*"))?;
        if self.tells_origins_apart() {
            vary_by_origin(headers)?;
        }
        if self.credentials {
            headers.append("access-control-allow-credentials", "true")?;
        }
        Ok(())
    }
}

struct PreflightAnswer<'p> {
    methods: String,
    headers: String,
    max_age: &'p str,
}

fn vary_by_origin(headers: &mut Headers) -> Result<(), InvalidField> {
    let said = headers.joined("vary").is_some_and(|vary| {
        vary.split(',').map(str::trim).any(|name| name == "*" || name.eq_ignore_ascii_case("origin"))
    });
    if said { Ok(()) } else { headers.append("vary", "Origin") }
}

/// Texts of the configuration were checked when it was built, those of the request by its parser; a
/// field that is refused all the same is left out, and the browser blocks.
fn write(headers: &mut Headers, fields: impl FnOnce(&mut Headers) -> Result<(), InvalidField>) {
    if fields(headers).is_err() {
        tracing::debug!("a CORS field was not valid and is left out");
    }
}
