//! `Service` (configuration reference 3.2).

use serde::Deserialize;

use super::typed;
use crate::{
    document::{Node, Problem, Spanned},
    resources::{address::service_address, model::ServiceAddress},
};

/// A valid upstream.
#[derive(Clone, Debug)]
pub struct Service {
    pub address: Spanned<ServiceAddress>,
}

#[derive(Deserialize)]
struct Written {
    address: Spanned<String>,
}

pub(super) fn read(spec: &Node, problems: &mut Vec<Problem>) -> Option<Service> {
    let written: Written = typed(spec, "spec", problems)?;
    let address = service_address(&written.address, problems);
    Some(Service { address: written.address.map(|_| address).transpose()? })
}
