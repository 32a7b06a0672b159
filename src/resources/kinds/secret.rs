//! `Secret` (configuration reference 3.5, observed only): a certificate and its key.

use serde::Deserialize;

use super::typed;
use crate::{
    base,
    document::{Node, Problem, Spanned},
};

#[derive(Deserialize)]
struct Written {
    tls: Spanned<KeyPair>,
}

#[derive(Deserialize)]
struct KeyPair {
    /// Base64 of PEM.
    crt: Spanned<String>,
    /// Base64 of PEM.
    key: Spanned<base::Secret>,
}

pub(super) fn read(spec: &Node, problems: &mut Vec<Problem>) -> Option<()> {
    use base64::Engine as _;
    let written: Written = typed(spec, "spec", problems)?;
    let base64 = |text: &str| {
        let packed: String = text.split_ascii_whitespace().collect();
        base64::engine::general_purpose::STANDARD.decode(packed).is_ok()
    };
    let KeyPair { crt, key } = &written.tls.value;
    for (what, place, valid) in
        [("crt", crt.map_ref(), base64(crt)), ("key", key.map_ref(), base64(key.expose()))]
    {
        if !valid {
            problems
                .push(place.error(format!("`{what}` is not base64")).help("encode the PEM text in base64"));
        }
    }
    problems.push(
        written
            .tls
            .warning("Secret resources are not supported yet; nothing refers to this one")
            .help("write certificates into the policy that uses them"),
    );
    Some(())
}
