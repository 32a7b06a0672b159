//! The engine on real sockets.

mod addresses;
mod bench;
mod bodies;
mod bodies_http2;
mod http2_drain;
mod http2_in;
mod http2_out;
mod http2_shared;
mod limits;
mod messages;
mod panics;
mod retries;
mod silence;
mod upgrades;
