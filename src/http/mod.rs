//! Floor 1: the exchange as policies see it, whatever the wire protocol was.
//!
//! Framing (`content-length`, `transfer-encoding`), the connection's own fields and `host` never
//! enter [`Headers`]: parsers turn them into types, encoders write them anew. That removes a class
//! of request smuggling by construction.

pub mod body;
pub mod certificate;
mod characters;
pub mod date;
pub mod headers;
pub mod method;
pub mod path;
pub mod preamble;
pub mod request;
pub mod response;

pub use body::{Body, BodyError, BodySource, Collected, Length, Step};
pub use certificate::ClientCertificate;
pub use headers::{Headers, InvalidField, Span};
pub use method::Method;
pub use preamble::{PreambleError, read_preamble};
pub use request::{Peer, Request, Scheme, Version};
pub use response::{Origin, Response};
