//! A client by `openssl s_client`.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener},
    process::{Child, ChildStdin, ChildStdout, Command, Output, Stdio},
};

/// What `openssl` says first to a server, and nothing after it: one record with a ClientHello.
///
/// # Panics
/// When there is no `openssl`.
#[must_use]
pub fn client_hello(arguments: &[&str]) -> Vec<u8> {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port of loopback");
    let address = listener.local_addr().expect("a bound socket has an address");
    let client = SClient::connect(address, arguments);
    let (mut socket, _) = listener.accept().expect("openssl connects");
    let hello = record(&mut socket);
    drop(client);
    hello
}

/// The next record of a connection, with its head.
///
/// # Panics
/// When it ends first.
pub fn record(socket: &mut impl Read) -> Vec<u8> {
    let mut record = vec![0; 5];
    socket.read_exact(&mut record).expect("a record");
    let length = usize::from(u16::from_be_bytes([record[3], record[4]]));
    record.resize(5 + length, 0);
    socket.read_exact(&mut record[5..]).expect("a record");
    record
}

/// An open connection of `openssl s_client`.
pub struct SClient {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl SClient {
    /// # Panics
    /// When there is no `openssl`.
    #[must_use]
    pub fn connect(address: SocketAddr, arguments: &[&str]) -> Self {
        let mut child = Command::new("openssl")
            .args(["s_client", "-quiet", "-servername", "gateway.test", "-connect", &address.to_string()])
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("openssl is installed");
        let input = child.stdin.take().expect("piped above");
        let output = BufReader::new(child.stdout.take().expect("piped above"));
        Self { child, input, output }
    }

    /// The status and the body of a GET on this connection; status 0 when none comes.
    pub fn get(&mut self, path: &str) -> (u16, String) {
        let request = format!("GET {path} HTTP/1.1\r\nHost: gateway.test\r\n\r\n");
        // Where the handshake failed nobody reads; the answer below says so.
        let _ = self.input.write_all(request.as_bytes()).and_then(|()| self.input.flush());
        let (mut status, mut length) = (0, 0);
        loop {
            let mut line = String::new();
            if self.output.read_line(&mut line).unwrap_or(0) == 0 {
                return (0, String::new());
            }
            let line = line.trim_end().to_ascii_lowercase();
            if let Some(rest) = line.strip_prefix("http/1.1 ") {
                status = rest[..3].parse().unwrap_or(0);
            } else if let Some(value) = line.strip_prefix("content-length: ") {
                length = value.parse().unwrap_or(0);
            } else if line.is_empty() {
                break;
            }
        }
        let mut body = vec![0; length];
        let _ = self.output.read_exact(&mut body);
        (status, String::from_utf8_lossy(&body).into_owned())
    }
}

impl Drop for SClient {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A handshake of `openssl s_client` without any request; what it says of it is in the output.
///
/// # Panics
/// When there is no `openssl`.
#[must_use]
pub fn handshake(address: SocketAddr, arguments: &[&str]) -> Output {
    Command::new("openssl")
        .args(["s_client", "-servername", "gateway.test", "-connect", &address.to_string()])
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .expect("openssl is installed")
}
