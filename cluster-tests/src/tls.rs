//! TLS peers that are not ours: a certificate authority and a client by `openssl`, and [`Front`]; [`Shop`]
//! and [`Doors`] are what the gateway has to serve.

mod authority;
mod doors;
mod front;
mod s_client;
mod shop;

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

pub use authority::{Authority, Life, Wanted};
pub use doors::{Curled, Doors, curl};
pub use front::Front;
pub use s_client::{SClient, client_hello, handshake, record};
pub use shop::Shop;

/// Files of a certificate and its key.
pub type Pair = (PathBuf, PathBuf);

/// The content of a file, for a configuration.
///
/// # Panics
/// When there is none.
#[must_use]
pub fn text(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// As policies write a certificate.
#[must_use]
pub fn certificate((crt, key): &Pair) -> Value {
    json!({"crt": text(crt), "key": text(key)})
}

/// One object of the members of two.
///
/// # Panics
/// When they are none.
#[must_use]
pub fn with(base: &Value, more: Value) -> Value {
    let mut all = base.clone();
    all.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
    all
}

/// Parameters that leave a context to each of the two backends, by its name: a weak suite is not for rustls.
#[must_use]
pub fn backends() -> [(&'static str, Value); 2] {
    let weak = json!({"ciphers": [
        "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
        "TLS_RSA_WITH_AES_128_GCM_SHA256",
    ]});
    [("rustls", json!({})), ("openssl", weak)]
}
