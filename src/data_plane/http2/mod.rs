//! HTTP/2 (RFC 9113). Towards clients all of it is our own, frames and header compression included; towards upstreams
//! frames, HPACK, flow control and stream states are the `h2` crate's (docs/decisions/0005 and 0011).

pub mod body;
pub mod chunk;
pub mod client;
mod drive;
pub mod frame;
pub mod grpc;
pub mod head;
pub mod hpack;
pub mod io;
pub mod meter;
pub mod sender;
pub mod server;
pub mod shared;
pub mod slots;
pub mod stream;
pub mod translate;

/// What a client that speaks HTTP/2 by prior knowledge sends first (RFC 9113 section 3.4).
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Window of one stream: what a peer may send before somebody has consumed it, so it bounds the speed of an
/// upload (256 KiB in 20 ms are 13 MB/s) and what a stalled stream holds in memory.
const STREAM_WINDOW_BYTES: u32 = 256 * 1024;

/// Window of a client's connection: what all its streams together may hold in memory. Streams of one client
/// may have to wait for each other.
const CONNECTION_WINDOW_BYTES: u32 = 1024 * 1024;

/// Windows towards an upstream, whose connections are shared by clients that have nothing to do with each
/// other: each stream has its own part of the connection's window, so that clients who do not read stop
/// nobody else. A stream may hold 128 KiB (in 5 ms that is 26 MB/s).
const UPSTREAM_STREAM_WINDOW_BYTES: u32 = 128 * 1024;
/// Streams that one connection carries at the most, whatever the upstream would allow.
const UPSTREAM_STREAMS_MAX: u32 = 256;
const UPSTREAM_CONNECTION_WINDOW_BYTES: u32 = UPSTREAM_STREAM_WINDOW_BYTES * UPSTREAM_STREAMS_MAX;

/// What DATA frames of an upstream that lie in `h2` may cost beyond their payload before it ends the connection; it reckons 256
/// bytes for a small frame, so these are 64,000. Bodies are taken out of it as they arrive (`body`), but what comes for a stream that
/// was reset stays reckoned for ever: see [`UPSTREAM_FRAMES_UNTAKEN_MAX`].
const UPSTREAM_FRAME_OVERHEAD_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Frames of streams that `h2` has forgotten, each answered with a reset, in the life of a connection; then it ends. They are memory
/// while an upstream does not read. Clients must not come near it by giving up: the frames that were on their way are such.
const UPSTREAM_LATE_FRAMES_MAX: usize = 128 * 1024;

/// With so many frames of messages that came and nobody took, a new connection takes the place of one: that is a quarter of the limit on
/// small frames at the most, and the streams that are left do not use up the rest.
const UPSTREAM_FRAMES_UNTAKEN_MAX: usize = 16 * 1024;

/// Empty DATA frames for which `h2` ends a connection, in all its life, are a hundred; each counts so much that half of them wear a
/// connection out.
const EMPTY_FRAME_WORTH: usize = UPSTREAM_FRAMES_UNTAKEN_MAX / 50;

/// The smallest frame size that RFC 9113 allows, and the fairest to the streams that share a connection.
const FRAME_BYTES_MAX: u32 = 16 * 1024;

/// What one stream may have waiting for a peer that does not read.
const SEND_BUFFER_BYTES_MAX: usize = 64 * 1024;

/// Whether these bytes are the preface, or as much of it as there is yet.
pub fn begins_preface(bytes: &[u8]) -> bool {
    let known = bytes.len().min(PREFACE.len());
    bytes[..known] == PREFACE[..known]
}
