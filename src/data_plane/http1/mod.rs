//! HTTP/1.1, both sides (RFC 9110, RFC 9112).

pub mod awaited;
pub mod chunked;
pub mod client;
pub mod encode;
pub mod fault;
pub mod fields;
pub mod head;
pub mod sender;
pub mod server;
pub mod target;
pub mod tunnel;
pub mod upgrade;
pub mod wire;

#[cfg(test)]
pub mod tests;
