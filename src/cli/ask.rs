//! Commands that ask a running gateway through its admin API.

use std::{
    io::{self, Read, Write},
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, ToSocketAddrs as _},
    path::PathBuf,
    time::Duration,
};

use clap::{Args, ValueEnum};
use serde_json::Value;

use super::{exit::Exit, print, print_json, refuse_settings};
use crate::settings::Sources;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A gateway whose actors hang answers after five seconds.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// Far above any dump; an answer that is larger is not ours.
const ANSWER_BYTES_MAX: u64 = 256 << 20;

#[derive(Args)]
pub struct AdminAddress {
    /// Address of the admin API; without it that of the gateway's settings
    #[arg(long, value_name = "HOST:PORT")]
    admin: Option<String>,
    /// Settings file (YAML) of the gateway
    #[arg(long, value_name = "FILE")]
    settings: Option<PathBuf>,
}

/// The admin API of a gateway, by the name under which it was found.
pub(super) struct AdminApi {
    name: String,
    /// Of the name; not empty.
    addresses: Vec<SocketAddr>,
}

impl AdminAddress {
    /// Where the gateway that has the same settings as this command is to be asked.
    pub(super) fn find(&self) -> Result<AdminApi, Exit> {
        if let Some(name) = &self.admin {
            let addresses: Vec<_> = name.to_socket_addrs().map(Iterator::collect).unwrap_or_default();
            if addresses.is_empty() {
                report!("error: `{name}` is no address: expected HOST:PORT, such as 127.0.0.1:9902");
                return Err(Exit::Usage);
            }
            return Ok(AdminApi { name: name.clone(), addresses });
        }
        let loaded = Sources::of_process(self.settings.clone(), Vec::new()).load();
        let loaded = loaded.map_err(|error| refuse_settings(&error))?;
        let Some(mut address) = loaded.settings.admin.address else {
            report!(
                "error: the admin API is off (`admin.address`)\n  = help: ask another gateway: --admin HOST:PORT"
            );
            return Err(Exit::Unavailable);
        };
        if address.ip().is_unspecified() {
            // To listen on all addresses is to listen on this one too.
            let loopback =
                if address.is_ipv4() { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() };
            address.set_ip(loopback);
        }
        Ok(AdminApi { name: address.to_string(), addresses: vec![address] })
    }
}

#[derive(Args)]
pub struct DumpArgs {
    #[command(flatten)]
    address: AdminAddress,
    /// Write one JSON file per kind into this folder instead of printing
    #[arg(long, value_name = "DIR", conflicts_with = "format")]
    output_directory: Option<PathBuf>,
    /// How the state is printed
    #[arg(long, value_enum, default_value = "yaml")]
    format: DumpFormat,
}

#[derive(Clone, Copy, ValueEnum)]
enum DumpFormat {
    Yaml,
    Json,
}

#[derive(Args)]
pub struct ProbeArgs {
    #[command(flatten)]
    address: AdminAddress,
    /// What to ask
    #[arg(long, value_enum)]
    check: Check,
    /// Ready in spite of errors in APIs
    #[arg(long)]
    allow_api_errors: bool,
    /// Ready in spite of errors in policies
    #[arg(long)]
    allow_policy_errors: bool,
    /// Ready in spite of errors of the engine (addresses that cannot be bound)
    #[arg(long)]
    allow_envoy_errors: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Check {
    Readiness,
    Liveness,
}

/// Prints the effective state.
pub fn dump(args: &DumpArgs) -> Exit {
    let api = match args.address.find() {
        Ok(api) => api,
        Err(exit) => return exit,
    };
    let body = match api.get("/config/dump") {
        Ok((200, body)) => body,
        Ok((status, _)) => return api.unavailable(&format!("it answered {status}")),
        Err(error) => return api.unavailable(&error.to_string()),
    };
    let Ok(state) = serde_json::from_str::<Value>(&body) else {
        return api.unavailable("its answer is no JSON");
    };
    let outcome = match (&args.output_directory, args.format) {
        (Some(folder), _) => write_files(&state, folder)
            .map(|()| Exit::Ok)
            .map_err(|error| format!("the dump cannot be written to {}: {error}", folder.display())),
        (None, DumpFormat::Yaml) => serde_norway::to_string(&state)
            .map(|text| print(&format!("{text}\n")))
            .map_err(|error| error.to_string()),
        (None, DumpFormat::Json) => return print_json(&state),
    };
    outcome.unwrap_or_else(|error| {
        report!("error: {error}");
        Exit::Failure
    })
}

/// The files of the original (configuration reference 14).
fn write_files(state: &Value, folder: &std::path::Path) -> io::Result<()> {
    std::fs::create_dir_all(folder)?;
    let files = [
        ("ApiInstance", "api-instances.json"),
        ("PolicyBinding", "policy-bindings.json"),
        ("Service", "services.json"),
        ("Configuration", "configurations.json"),
        ("Extension", "extensions.json"),
        ("Secret", "secrets.json"),
        ("Contract", "contracts.json"),
    ];
    let resources = state["resources"].as_array().cloned().unwrap_or_default();
    for (kind, file) in files {
        let of_kind: Vec<&Value> = resources.iter().filter(|resource| resource["kind"] == kind).collect();
        let text = serde_json::to_string_pretty(&of_kind).map_err(io::Error::other)?;
        std::fs::write(folder.join(file), text)?;
    }
    let effective = serde_json::to_string_pretty(&state["effective"]).map_err(io::Error::other)?;
    std::fs::write(folder.join("effective.json"), effective)
}

/// Exit code 0 for yes, 1 for no and for no answer.
pub fn probe(args: &ProbeArgs) -> Exit {
    let path = match args.check {
        Check::Liveness => "/probes/liveness".to_owned(),
        Check::Readiness => format!(
            "/probes/readiness?allowAPIErrors={}&allowPolicyErrors={}&allowEnvoyErrors={}",
            args.allow_api_errors, args.allow_policy_errors, args.allow_envoy_errors
        ),
    };
    let api = match args.address.find() {
        Ok(api) => api,
        Err(exit) => return exit,
    };
    match api.get(&path) {
        Ok((200, _)) => Exit::Ok,
        Ok((status, body)) => {
            let shown: String = body.trim().chars().take(1000).collect();
            report!("no: {} answered {status}: {shown}", api.name);
            Exit::Failure
        }
        Err(error) => {
            report!("error: no gateway answers on {}: {error}", api.name);
            Exit::Failure
        }
    }
}

impl AdminApi {
    pub(super) fn unavailable(&self, cause: &str) -> Exit {
        report!(
            "error: no gateway to ask on {}: {cause}\n  = help: name its admin API: --admin HOST:PORT",
            self.name
        );
        Exit::Unavailable
    }

    /// One GET over a connection of its own. HTTP/1.0: the answer ends with the connection.
    pub(super) fn get(&self, path: &str) -> io::Result<(u16, String)> {
        let mut stream = self.connect()?;
        stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
        stream.set_write_timeout(Some(ANSWER_TIMEOUT))?;
        // The admin API answers to no name of a host.
        let address = stream.peer_addr()?;
        let host = SocketAddr::new(address.ip(), address.port());
        // At once: whoever has answered its first piece may be gone before the next.
        stream.write_all(format!("GET {path} HTTP/1.0\r\nHost: {host}\r\n\r\n").as_bytes()).map_err(late)?;
        let mut answer = Vec::new();
        stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer).map_err(late)?;
        let answer = String::from_utf8_lossy(&answer);
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
        let status = status.ok_or_else(|| io::Error::other("this is not HTTP"))?;
        Ok((status, body.to_owned()))
    }

    /// To the first of the addresses that takes a connection: a gateway listens on one of them.
    fn connect(&self) -> io::Result<TcpStream> {
        let mut refused = io::Error::from(io::ErrorKind::AddrNotAvailable);
        for address in &self.addresses {
            match TcpStream::connect_timeout(address, CONNECT_TIMEOUT) {
                Ok(stream) => return Ok(stream),
                Err(error) => refused = error,
            }
        }
        Err(refused)
    }
}

/// The system calls a timeout a resource that is temporarily unavailable.
fn late(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::WouldBlock => {
            let message = format!("it has not answered within {} s", ANSWER_TIMEOUT.as_secs());
            io::Error::new(io::ErrorKind::TimedOut, message)
        }
        _ => error,
    }
}

#[cfg(test)]
mod tests {
    use std::{net::TcpListener, thread};

    use super::*;

    #[test]
    fn a_gateway_that_does_not_answer_is_told_in_these_words() {
        let error = late(io::ErrorKind::WouldBlock.into());
        assert_eq!(error.to_string(), "it has not answered within 10 s");
        assert_eq!(late(io::ErrorKind::BrokenPipe.into()).kind(), io::ErrorKind::BrokenPipe);
    }

    #[test]
    fn every_address_of_a_name_is_tried() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let open = listener.local_addr().expect("it is bound");
        let gateway = thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("a connection");
            let mut request = [0; 64];
            let length = stream.read(&mut request).expect("a request");
            stream.write_all(b"HTTP/1.0 200 OK\r\n\r\nyes").expect("an answer");
            String::from_utf8_lossy(&request[..length]).into_owned()
        });
        // Nothing listens on port 0.
        let closed = SocketAddr::new(open.ip(), 0);
        let api = AdminApi { name: "gateway:9902".to_owned(), addresses: vec![closed, open] };
        assert_eq!(api.get("/status").expect("an answer"), (200, "yes".to_owned()));
        let request = gateway.join().expect("it was asked");
        // By the name it would be refused, as a page in a browser is.
        assert_eq!(request, format!("GET /status HTTP/1.0\r\nHost: {open}\r\n\r\n"));
        let nobody = AdminApi { name: "gateway:9902".to_owned(), addresses: vec![closed] };
        assert!(nobody.get("/status").is_err());
    }
}
