//! The engine on real sockets.

mod bench;
mod bodies;
mod limits;
mod messages;
mod retries;
