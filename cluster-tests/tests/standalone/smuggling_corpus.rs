//! The smuggling corpus: what is sent, and what must become of it, one sentence per case.
//!
//! Texts are bytes written as Latin-1 (`\u{80}` is the byte 0x80). `{H}` stands for `Host: gateway.test` and its CRLF.

/// What must become of a request.
pub enum Then {
    /// Answered with one of these and closed; nothing reaches the upstream.
    Refused(&'static [u16]),
    /// The head was good, the body is not: 400 and closed, and the upstream never sees a complete body.
    BodyRefused,
    /// The client ends its side here: no success may be answered and the upstream never sees a complete body.
    Incomplete,
    /// Arrives with this request line, these fields (lower case `name: value`), without these fields, with this body.
    Arrives {
        line: &'static str,
        has: &'static [&'static str],
        lacks: &'static [&'static str],
        body: &'static str,
    },
    /// Either refused as a body, or arrives without these trailers.
    NoSuchTrailers(&'static [&'static str]),
}
use Then::{Arrives, BodyRefused, Incomplete, NoSuchTrailers, Refused};

const BAD: Then = Refused(&[400]);

const fn plain(line: &'static str) -> Then {
    Arrives { line, has: &[], lacks: &[], body: "" }
}

const fn carrying(line: &'static str, body: &'static str) -> Then {
    Arrives { line, has: &[], lacks: &[], body }
}

/// Towards clients: a sentence, the bytes, what must become of them.
#[rustfmt::skip]
pub const REQUESTS: &[(&str, &str, Then)] = &[
    // Two framings, or a length that can be read in two ways.
    ("Content-Length before Transfer-Encoding", "POST /a HTTP/1.1\r\n{H}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", BAD),
    ("Transfer-Encoding before Content-Length", "POST /a HTTP/1.1\r\n{H}Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n", BAD),
    ("two lengths that differ", "POST /a HTTP/1.1\r\n{H}Content-Length: 1\r\nContent-Length: 2\r\n\r\nab", BAD),
    ("two lengths that agree", "POST /a HTTP/1.1\r\n{H}Content-Length: 1\r\nContent-Length: 1\r\n\r\na", BAD),
    ("a length with a plus sign", "POST /a HTTP/1.1\r\n{H}Content-Length: +1\r\n\r\na", BAD),
    ("a negative length", "POST /a HTTP/1.1\r\n{H}Content-Length: -1\r\n\r\na", BAD),
    ("a list of equal lengths", "POST /a HTTP/1.1\r\n{H}Content-Length: 1,1\r\n\r\na", BAD),
    ("a list of different lengths", "POST /a HTTP/1.1\r\n{H}Content-Length: 1, 2\r\n\r\na", BAD),
    ("a hexadecimal length", "POST /a HTTP/1.1\r\n{H}Content-Length: 0x1\r\n\r\na", BAD),
    ("an empty length", "POST /a HTTP/1.1\r\n{H}Content-Length:\r\n\r\n", BAD),
    ("a length of two words", "POST /a HTTP/1.1\r\n{H}Content-Length: 1 1\r\n\r\na", BAD),
    ("a length with a fraction", "POST /a HTTP/1.1\r\n{H}Content-Length: 1.0\r\n\r\na", BAD),
    ("a length beyond 64 bits", "POST /a HTTP/1.1\r\n{H}Content-Length: 18446744073709551617\r\n\r\na", BAD),
    ("a length in digits that are not ASCII", "POST /a HTTP/1.1\r\n{H}Content-Length: \u{b2}\r\n\r\nab", BAD),
    ("a length with white space around it is legal", "POST /a HTTP/1.1\r\n{H}Content-Length: \t 1 \t\r\n\r\na", carrying("POST /a HTTP/1.1", "a")),
    // Codings.
    ("chunked named twice in one field", "POST /a HTTP/1.1\r\n{H}Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n", BAD),
    ("chunked in two fields", "POST /a HTTP/1.1\r\n{H}Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", BAD),
    ("the identity coding", "POST /a HTTP/1.1\r\n{H}Transfer-Encoding: identity\r\n\r\n0\r\n\r\n", BAD),
    ("chunked followed by identity", "POST /a HTTP/1.1\r\n{H}Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n", BAD),
    ("a coding that only ends like chunked", "POST /a HTTP/1.1\r\n{H}Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", BAD),
    ("chunked with a parameter", "POST /a HTTP/1.1\r\n{H}Transfer-Encoding: chunked;q=1\r\n\r\n0\r\n\r\n", BAD),
    ("chunked behind a vertical tab", "POST /a HTTP/1.1\r\n{H}Transfer-Encoding: \u{b}chunked\r\n\r\n0\r\n\r\n", BAD),
    ("chunked in quotes", "POST /a HTTP/1.1\r\n{H}Transfer-Encoding: \"chunked\"\r\n\r\n0\r\n\r\n", BAD),
    ("an empty coding", "POST /a HTTP/1.1\r\n{H}Transfer-Encoding:\r\n\r\n0\r\n\r\n", BAD),
    ("a coding we would have to undo", "POST /a HTTP/1.1\r\n{H}Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", Refused(&[400, 501])),
    ("chunked from an HTTP/1.0 client", "POST /a HTTP/1.0\r\n{H}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", BAD),
    ("chunked in mixed case is chunked", "POST /a HTTP/1.1\r\n{H}Transfer-Encoding: cHuNkEd\r\n\r\n2\r\nab\r\n0\r\n\r\n", carrying("POST /a HTTP/1.1", "ab")),
    // Line ends, folds, colons, controls.
    ("a bare LF after the request line", "GET /a HTTP/1.1\n{H}\r\n", BAD),
    ("a bare LF after a field", "GET /a HTTP/1.1\r\n{H}X-A: b\nX-B: c\r\n\r\n", BAD),
    ("a bare LF as the empty line", "GET /a HTTP/1.1\r\n{H}\n", BAD),
    ("a bare CR within a value", "GET /a HTTP/1.1\r\n{H}X-A: b\rTransfer-Encoding: chunked\r\n\r\n", BAD),
    ("a bare CR within the request line", "GET /a\r HTTP/1.1\r\n{H}\r\n", BAD),
    ("a value folded with a space", "GET /a HTTP/1.1\r\n{H}X-A: b\r\n c\r\n\r\n", BAD),
    ("a value folded with a tab", "GET /a HTTP/1.1\r\n{H}X-A: b\r\n\tc\r\n\r\n", BAD),
    ("white space before the first field", "GET /a HTTP/1.1\r\n X-A: b\r\n{H}\r\n", BAD),
    ("a space before the colon", "POST /a HTTP/1.1\r\n{H}Content-Length : 1\r\n\r\na", BAD),
    ("a tab before the colon", "POST /a HTTP/1.1\r\n{H}Transfer-Encoding\t: chunked\r\n\r\n0\r\n\r\n", BAD),
    ("a NUL in a value", "GET /a HTTP/1.1\r\n{H}X-A: b\u{0}c\r\n\r\n", BAD),
    ("a control character in a value", "GET /a HTTP/1.1\r\n{H}X-A: b\u{1}c\r\n\r\n", BAD),
    ("a DEL in a value", "GET /a HTTP/1.1\r\n{H}X-A: b\u{7f}\r\n\r\n", BAD),
    ("a NUL in a name", "GET /a HTTP/1.1\r\n{H}X-\u{0}A: b\r\n\r\n", BAD),
    ("a space in a name", "GET /a HTTP/1.1\r\n{H}X A: b\r\n\r\n", BAD),
    ("a byte beyond ASCII in a name", "GET /a HTTP/1.1\r\n{H}X-\u{e9}: b\r\n\r\n", BAD),
    ("an empty name", "GET /a HTTP/1.1\r\n{H}: b\r\n\r\n", BAD),
    ("a field without a colon", "GET /a HTTP/1.1\r\n{H}X-A\r\n\r\n", BAD),
    // Request line.
    ("a method that is no token", "GE(T /a HTTP/1.1\r\n{H}\r\n", BAD),
    ("no method", " /a HTTP/1.1\r\n{H}\r\n", BAD),
    ("tabs instead of spaces", "GET\t/a\tHTTP/1.1\r\n{H}\r\n", BAD),
    ("two spaces before the target", "GET  /a HTTP/1.1\r\n{H}\r\n", BAD),
    ("a space within the target", "GET /a b HTTP/1.1\r\n{H}\r\n", Refused(&[400, 505])),
    ("a backslash in the target", "GET /a\\b HTTP/1.1\r\n{H}\r\n", BAD),
    ("a quote in the target has one meaning and arrives as its escape", "GET /a\"b HTTP/1.1\r\n{H}\r\n", plain("GET /a%22b HTTP/1.1")),
    ("a bracket in the target has one meaning and arrives as its escape", "GET /a<b HTTP/1.1\r\n{H}\r\n", plain("GET /a%3Cb HTTP/1.1")),
    ("an escape in lower case arrives in the one spelling", "GET /a%3cb HTTP/1.1\r\n{H}\r\n", plain("GET /a%3Cb HTTP/1.1")),
    ("a fragment in the target", "GET /a#b HTTP/1.1\r\n{H}\r\n", BAD),
    ("a byte beyond ASCII in the target", "GET /a\u{e9} HTTP/1.1\r\n{H}\r\n", BAD),
    ("a NUL in the target", "GET /a\u{0} HTTP/1.1\r\n{H}\r\n", BAD),
    ("a target that is neither path nor URL", "GET a HTTP/1.1\r\n{H}\r\n", BAD),
    ("the asterisk with GET", "GET * HTTP/1.1\r\n{H}\r\n", BAD),
    ("no version", "GET /a\r\n{H}\r\n", BAD),
    ("a version in lower case", "GET /a http/1.1\r\n{H}\r\n", Refused(&[400, 505])),
    ("a version of the future", "GET /a HTTP/2.0\r\n{H}\r\n", Refused(&[400, 505])),
    ("white space after the version", "GET /a HTTP/1.1 \r\n{H}\r\n", BAD),
    ("TRACE is not ours to answer", "TRACE /a HTTP/1.1\r\n{H}\r\n", Refused(&[405])),
    ("CONNECT would open a tunnel", "CONNECT gateway.test:80 HTTP/1.1\r\n{H}\r\n", Refused(&[405])),
    // Host.
    ("two equal hosts", "GET /a HTTP/1.1\r\n{H}{H}\r\n", BAD),
    ("two different hosts", "GET /a HTTP/1.1\r\n{H}Host: other.test\r\n\r\n", BAD),
    ("no host in HTTP/1.1", "GET /a HTTP/1.1\r\nX-A: b\r\n\r\n", BAD),
    ("a host with user information", "GET /a HTTP/1.1\r\nHost: ada@gateway.test\r\n\r\n", BAD),
    ("a host with a path", "GET /a HTTP/1.1\r\nHost: gateway.test/cart\r\n\r\n", BAD),
    ("a host with a space", "GET /a HTTP/1.1\r\nHost: gateway.test evil\r\n\r\n", BAD),
    ("a list of hosts", "GET /a HTTP/1.1\r\nHost: gateway.test, evil.test\r\n\r\n", BAD),
    ("a host whose port is no number", "GET /a HTTP/1.1\r\nHost: gateway.test:8o\r\n\r\n", BAD),
    ("a URL as target that disagrees with Host", "GET http://evil.test/a HTTP/1.1\r\n{H}\r\n", BAD),
    ("a URL as target with user information", "GET http://ada@gateway.test/a HTTP/1.1\r\n{H}\r\n", BAD),
    ("a URL as target that agrees becomes a path", "GET http://gateway.test/a?b HTTP/1.1\r\n{H}\r\n", plain("GET /a?b HTTP/1.1")),
    // Chunks.
    ("a chunk size beyond 64 bits", "POST /a HTTP/1.1\r\n{H}Transfer-Encoding: chunked\r\n\r\n10000000000000001\r\na\r\n0\r\n\r\n", BodyRefused),
    ("a negative chunk size", "POST /a HTTP/1.1\r\n{H}Transfer-Encoding: chunked\r\n\r\n-1\r\na\r\n0\r\n\r\n", BodyRefused),
    ("an empty chunk size", "POST /a HTTP/1.1\r\n{H}Transfer-Encoding: chunked\r\n\r\n\r\na\r\n0\r\n\r\n", BodyRefused),
    ("a chunk size with a prefix", "POST /a HTTP/1.1\r\n{H}Transfer-Encoding: chunked\r\n\r\n0x1\r\na\r\n0\r\n\r\n", BodyRefused),
    ("a chunk size followed by junk", "POST /a HTTP/1.1\r\n{H}Transfer-Encoding: chunked\r\n\r\n1 2\r\na\r\n0\r\n\r\n", BodyRefused),
    ("a chunk size ended by a bare LF", "POST /a HTTP/1.1\r\n{H}Transfer-Encoding: chunked\r\n\r\n1\na\r\n0\r\n\r\n", BodyRefused),
    ("a NUL in a chunk extension", "POST /a HTTP/1.1\r\n{H}Transfer-Encoding: chunked\r\n\r\n1;\u{0}\r\na\r\n0\r\n\r\n", BodyRefused),
    ("a bare LF in a chunk extension", "POST /a HTTP/1.1\r\n{H}Transfer-Encoding: chunked\r\n\r\n1;x\na\r\n0\r\n\r\n", BodyRefused),
    ("a bare CR in a chunk extension", "POST /a HTTP/1.1\r\n{H}Transfer-Encoding: chunked\r\n\r\n1;x\ry\r\na\r\n0\r\n\r\n", BodyRefused),
    ("chunk data longer than its size", "POST /a HTTP/1.1\r\n{H}Transfer-Encoding: chunked\r\n\r\n1\r\nab\r\n0\r\n\r\n", BodyRefused),
    ("chunk data ended by a bare LF", "POST /a HTTP/1.1\r\n{H}Transfer-Encoding: chunked\r\n\r\n1\r\na\n0\r\n\r\n", BodyRefused),
    ("a folded trailer", "POST /a HTTP/1.1\r\n{H}Transfer-Encoding: chunked\r\n\r\n0\r\nX-A: b\r\n c\r\n\r\n", BodyRefused),
    ("a trailer with a space before its colon", "POST /a HTTP/1.1\r\n{H}Transfer-Encoding: chunked\r\n\r\n0\r\nX-A : b\r\n\r\n", BodyRefused),
    ("a last chunk without its empty line", "POST /a HTTP/1.1\r\n{H}Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n", Incomplete),
    ("a body that ends before its length", "POST /a HTTP/1.1\r\n{H}Content-Length: 9\r\n\r\nshort", Incomplete),
    ("a trailer that names a length", "POST /a HTTP/1.1\r\n{H}Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nContent-Length: 50\r\n\r\n", NoSuchTrailers(&["content-length"])),
    ("a trailer that names a coding", "POST /a HTTP/1.1\r\n{H}Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nTransfer-Encoding: chunked\r\n\r\n", NoSuchTrailers(&["transfer-encoding"])),
    ("a trailer that names a host", "POST /a HTTP/1.1\r\n{H}Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nHost: evil.test\r\n\r\n", NoSuchTrailers(&["host"])),
    // Bodies where some servers expect none, nominations, hop-by-hop fields.
    ("a HEAD with a body keeps its framing", "HEAD /a HTTP/1.1\r\n{H}Content-Length: 5\r\n\r\nhello", carrying("HEAD /a HTTP/1.1", "hello")),
    ("a GET with a body keeps its framing", "GET /a HTTP/1.1\r\n{H}Content-Length: 32\r\n\r\nGET /smuggled HTTP/1.1\r\nX-Y: z\r\n", carrying("GET /a HTTP/1.1", "GET /smuggled HTTP/1.1\r\nX-Y: z\r\n")),
    ("a length nominated by Connection still frames the body", "POST /a HTTP/1.1\r\n{H}Connection: content-length\r\nContent-Length: 5\r\n\r\nhello", carrying("POST /a HTTP/1.1", "hello")),
    ("a coding nominated by Connection still frames the body", "POST /a HTTP/1.1\r\n{H}Connection: transfer-encoding\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", carrying("POST /a HTTP/1.1", "hello")),
    ("fields nominated by Connection go no further", "GET /a HTTP/1.1\r\n{H}Connection: x-hop, keep-alive\r\nX-Hop: 1\r\nX-End: 2\r\n\r\n", Arrives { line: "GET /a HTTP/1.1", has: &["x-end: 2"], lacks: &["x-hop", "connection"], body: "" }),
    ("hop-by-hop fields go no further", "GET /a HTTP/1.1\r\n{H}Keep-Alive: timeout=9\r\nProxy-Connection: close\r\nTE: gzip\r\nUpgrade: h2c\r\nConnection: upgrade, te\r\n\r\n", Arrives { line: "GET /a HTTP/1.1", has: &[], lacks: &["keep-alive", "proxy-connection", "te", "upgrade", "connection"], body: "" }),
    ("a chunk extension ends here", "POST /a HTTP/1.1\r\n{H}Transfer-Encoding: chunked\r\n\r\n1;name=value\r\na\r\n0\r\n\r\n", carrying("POST /a HTTP/1.1", "a")),
    ("a trailer of the application arrives", "POST /a HTTP/1.1\r\n{H}Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nX-Sum: 7\r\n\r\n", carrying("POST /a HTTP/1.1", "a")),
];

/// What must become of an answer.
pub enum Becomes {
    /// One of these statuses of the gateway's own.
    Failure(&'static [u16]),
    /// The head went through, then the client sees a message that is cut: never a complete body.
    Cut,
    /// This status with this body, without these fields.
    Passes(u16, &'static str, &'static [&'static str]),
}
use Becomes::{Cut, Failure, Passes};

const WRONG: Becomes = Failure(&[502]);

/// From upstreams: a sentence, the method, the bytes, whether the upstream then closes, what must become of them.
#[rustfmt::skip]
pub const RESPONSES: &[(&str, &str, &str, bool, Becomes)] = &[
    ("length and coding together", "GET", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", false, WRONG),
    ("two lengths that differ", "GET", "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", false, WRONG),
    ("two lengths that agree", "GET", "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\na", false, WRONG),
    ("a length with a plus sign", "GET", "HTTP/1.1 200 OK\r\nContent-Length: +1\r\n\r\na", false, WRONG),
    ("a list of lengths", "GET", "HTTP/1.1 200 OK\r\nContent-Length: 1, 1\r\n\r\na", false, WRONG),
    ("a length beyond 64 bits", "GET", "HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551617\r\n\r\na", false, WRONG),
    ("an unknown coding", "GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\n\r\na", true, WRONG),
    ("chunked named twice", "GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n", false, WRONG),
    ("chunked from an HTTP/1.0 upstream", "GET", "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", true, WRONG),
    ("a folded value", "GET", "HTTP/1.1 200 OK\r\nX-A: b\r\n c\r\nContent-Length: 0\r\n\r\n", false, WRONG),
    ("a bare LF after the status line", "GET", "HTTP/1.1 200 OK\nContent-Length: 0\r\n\r\n", false, WRONG),
    ("a bare LF after a field", "GET", "HTTP/1.1 200 OK\r\nX-A: b\nContent-Length: 0\r\n\r\n", false, WRONG),
    ("a bare CR in a value", "GET", "HTTP/1.1 200 OK\r\nX-A: b\rc\r\nContent-Length: 0\r\n\r\n", false, WRONG),
    ("a space before the colon", "GET", "HTTP/1.1 200 OK\r\nContent-Length : 0\r\n\r\n", false, WRONG),
    ("a NUL in a value", "GET", "HTTP/1.1 200 OK\r\nX-A: \u{0}\r\nContent-Length: 0\r\n\r\n", false, WRONG),
    ("a field without a colon", "GET", "HTTP/1.1 200 OK\r\nX-A\r\nContent-Length: 0\r\n\r\n", false, WRONG),
    ("a status of two digits", "GET", "HTTP/1.1 20 OK\r\nContent-Length: 0\r\n\r\n", false, WRONG),
    ("a status of four digits", "GET", "HTTP/1.1 2000 OK\r\nContent-Length: 0\r\n\r\n", false, WRONG),
    ("a version of the future", "GET", "HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n", false, WRONG),
    ("something that is not HTTP", "GET", "SSH-2.0-OpenSSH_9.2\r\n\r\n", false, WRONG),
    ("a switch of protocols nobody asked for", "GET", "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", false, WRONG),
    ("a close before the head", "GET", "", true, Failure(&[502, 503])),
    ("a close within the head", "GET", "HTTP/1.1 200 OK\r\nContent-Le", true, Failure(&[502, 503])),
    ("a close within the body", "GET", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort", true, Cut),
    ("a close before the last chunk", "GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n", true, Cut),
    ("a chunk size that is no number", "GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\nzz\r\n", false, Cut),
    ("a chunk size beyond 64 bits", "GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n10000000000000002\r\nab\r\n0\r\n\r\n", false, Cut),
    ("chunk data longer than its size", "GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nabc\r\n0\r\n\r\n", false, Cut),
    ("bytes after the body are nobody's", "GET", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nleaks", false, Passes(200, "ok", &[])),
    ("a second answer after chunks is nobody's", "GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nleaks", false, Passes(200, "ok", &[])),
    ("a body after 204 is nobody's", "GET", "HTTP/1.1 204 No Content\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nleaks", false, Passes(204, "", &["content-length", "transfer-encoding"])),
    ("a length with 304 has no body", "GET", "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", false, Passes(304, "", &[])),
    ("a body after HEAD is nobody's", "HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nleaks", false, Passes(200, "", &[])),
    ("a body without length ends with the connection", "GET", "HTTP/1.1 200 OK\r\n\r\nall of it", true, Passes(200, "all of it", &[])),
    ("hints before the answer", "GET", "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", false, Passes(200, "ok", &["link"])),
    ("an unasked 100 before the answer", "GET", "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", false, Passes(200, "ok", &[])),
    ("several interim answers", "GET", "HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", false, Passes(200, "ok", &[])),
    ("fields nominated by Connection", "GET", "HTTP/1.1 200 OK\r\nConnection: x-hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=1\r\nProxy-Connection: close\r\nContent-Length: 2\r\n\r\nok", false, Passes(200, "ok", &["x-hop", "keep-alive", "proxy-connection"])),
    ("a chunk extension ends here", "GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;a=b\r\nok\r\n0\r\n\r\n", false, Passes(200, "ok", &["content-length"])),
    ("a trailer that names a length", "GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nContent-Length: 9\r\n\r\n", false, Passes(200, "ok", &["content-length"])),
];
