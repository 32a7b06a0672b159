//! HTTP/2 (RFC 9113): frames, HPACK, flow control and stream states are the `h2` crate's; what a
//! message means, and what a peer may cost, is decided here (docs/decisions/0005).

pub mod body;
pub mod chunk;
pub mod client;
pub mod grpc;
pub mod io;
pub mod meter;
pub mod sender;
pub mod server;
pub mod shared;
pub mod stream;
pub mod translate;

/// What a client that speaks HTTP/2 by prior knowledge sends first (RFC 9113 section 3.4).
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Window of one stream: what a peer may send before somebody has consumed it, so it bounds the speed of an
/// upload (256 KiB in 20 ms are 13 MB/s) and what a stalled stream holds in memory.
const STREAM_WINDOW_BYTES: u32 = 256 * 1024;

/// Window of one connection: what all streams of a peer together may hold in memory.
const CONNECTION_WINDOW_BYTES: u32 = 1024 * 1024;

/// The smallest frame size that RFC 9113 allows, and the fairest to the streams that share a connection.
const FRAME_BYTES_MAX: u32 = 16 * 1024;

/// What one stream may have waiting for a peer that does not read.
const SEND_BUFFER_BYTES_MAX: usize = 64 * 1024;

/// Whether these bytes are the preface, or as much of it as there is yet.
pub fn begins_preface(bytes: &[u8]) -> bool {
    let known = bytes.len().min(PREFACE.len());
    bytes[..known] == PREFACE[..known]
}
