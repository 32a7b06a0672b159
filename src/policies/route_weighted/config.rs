//! Parameters of `route-weighted`.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::{
    document::OneOrMany,
    policies::route::config::{DestinationRef, default_path},
};

#[derive(Deserialize, JsonSchema)]
pub struct Config {
    /// The upstreams of this route. The share of one is its weight over the sum of weights.
    pub routes: OneOrMany<WeightedRoute>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WeightedRoute {
    /// 1 to 100. Weights need not add up to 100.
    #[schemars(range(min = 1, max = 100))]
    pub weight: u32,
    /// The service that this share is sent to.
    pub destination_ref: DestinationRef,
    /// Put before the path that the rules keep; `/` adds nothing.
    #[serde(default = "default_path")]
    pub destination_path: String,
}
