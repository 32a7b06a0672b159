//! HTTP Basic authentication against one user (policies reference 2.1).

mod config;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use base64::{
    Engine as _,
    alphabet::STANDARD,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use subtle::{Choice, ConstantTimeEq as _};

use crate::{
    base::Secret,
    http::{Headers, Request},
    policy::{
        Built, Category, ConfigProblem, Direction, Handling, Next, Policy, PolicyDefinition, PolicyServices,
        Rejection,
    },
};
pub use config::Config;

const CHALLENGE: &str = r#"Basic realm="mule-realm""#;
/// Observed texts (policies reference 1.5).
const NO_CREDENTIALS: &str = "Registered authentication is set to HTTP basic authentication but there was no \
                              security context on the session.";
const WRONG_CREDENTIALS: &str = "Authentication Attempt Failed";

/// Credentials up to this many bytes are decoded without an allocation.
const DECODED_BYTES_USUAL: usize = 256;

/// Padding may be missing: senders differ and nothing becomes ambiguous.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Lets the one configured user in.
pub struct BasicAuthentication {
    username: String,
    password: Secret<String>,
}

impl PolicyDefinition for BasicAuthentication {
    const NAME: &'static str = "http-basic-authentication-flex";
    const CATEGORY: Category = Category::Security;
    const DIRECTION: Direction = Direction::Inbound;
    const SUMMARY: &'static str = "Asks for a user name and a password, and lets one user in.";
    const README: &'static str = include_str!("README.md");
    const EXAMPLE: &'static str = include_str!("example.yaml");
    type Config = Config;

    fn build(config: Config, services: &PolicyServices) -> Result<Built, Vec<ConfigProblem>> {
        if config.username.contains(':') {
            return Err(vec![
                ConfigProblem::new("username", "a user name cannot contain a colon")
                    .help("in Basic credentials the first colon ends the user name (RFC 7617)"),
            ]);
        }
        if config.password.expose().is_empty() {
            services.warn(ConfigProblem::new("password", "the password is empty"));
        }
        Ok(Built::Step(Arc::new(Self { username: config.username, password: config.password })))
    }
}

impl Policy for BasicAuthentication {
    fn handle<'a>(&'a self, request: Request, next: Next<'a>) -> Handling<'a> {
        match self.admits(&request.headers) {
            None => refuse("no_credentials", NO_CREDENTIALS),
            Some(false) => refuse("wrong_credentials", WRONG_CREDENTIALS),
            Some(true) => {
                next.exchange().authentication_mut().principal = Some(self.username.clone());
                next.pass(request)
            }
        }
    }
}

fn refuse<'a>(reason: &'static str, text: &'static str) -> Handling<'a> {
    Handling::refuse(Rejection::json(401, reason, text).header("www-authenticate", CHALLENGE))
}

impl BasicAuthentication {
    /// Whether the credentials are the user's; `None` when there are no usable ones.
    fn admits(&self, headers: &Headers) -> Option<bool> {
        let encoded = basic_credentials(headers)?;
        let mut usual = [0; DECODED_BYTES_USUAL];
        let mut long;
        let room = encoded.len().div_ceil(4) * 3;
        let decoded: &mut [u8] = if room <= usual.len() {
            &mut usual
        } else {
            long = vec![0; room];
            &mut long
        };
        let length = BASE64.decode_slice(encoded, decoded).ok()?;
        let decoded = decoded.get(..length)?;
        let colon = decoded.iter().position(|&byte| byte == b':')?;
        let user = same(&decoded[..colon], self.username.as_bytes());
        let password = same(&decoded[colon + 1..], self.password.expose().as_bytes());
        Some((user & password).into())
    }
}

/// The encoded part of the one `Authorization` field, if it is of the scheme Basic.
fn basic_credentials(headers: &Headers) -> Option<&[u8]> {
    let mut fields = headers.get_all("authorization");
    let field = fields.next()?;
    if fields.next().is_some() {
        return None;
    }
    let blank = field.iter().position(|&byte| byte == b' ')?;
    let (scheme, rest) = field.split_at(blank);
    scheme.eq_ignore_ascii_case(b"basic").then(|| rest.trim_ascii())
}

/// Compares in a time that depends on what was given only, neither on its content nor on the length
/// or the content of what is expected.
fn same(given: &[u8], expected: &[u8]) -> Choice {
    let mut equal = Choice::from(u8::from(given.len() == expected.len()));
    for (given, expected) in given.iter().zip(expected.iter().cycle()) {
        equal &= given.ct_eq(expected);
    }
    equal
}
