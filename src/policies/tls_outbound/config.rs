//! Parameters: those of every context towards a server.

pub use crate::tls::OutboundParameters as Config;
