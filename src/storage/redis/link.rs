//! One connection to one Redis, and how it is made.

use std::{io, sync::Arc, time::Duration};

use redis::{
    AsyncConnectionConfig, Cmd, ErrorKind, ProtocolVersion, PushInfo, RedisConnectionInfo, RedisError,
    ServerError, ServerErrorKind, Value, aio::MultiplexedConnection, cmd,
};
use rustls::pki_types::ServerName;
use serde::Serialize;
use socket2::{SockRef, TcpKeepalive};
use tokio::{
    net::TcpStream,
    runtime::Handle,
    task::{AbortHandle, JoinHandle},
    time::timeout,
};

use super::{
    plan::{Address, Credentials, Plan},
    reply,
    wire::{Carrier, Pulse, Wire},
};
use crate::{storage::Unavailable, tls::OutboundContext};

/// For a name, a connection, a handshake and the first question: each of them a round trip or two.
const DIAL_TIMEOUT: Duration = Duration::from_secs(2);
/// A peer that vanished while nobody asked it anything.
const KEEPALIVE: Duration = Duration::from_secs(15);
/// Questions that wait to be written; more than are let in at a time.
const UNWRITTEN_MAX: usize = 2048;
/// Decision 32.
const VERSION_MIN: (u32, u32) = (6, 2);

/// Makes connections of one plan.
pub(super) struct Dialer {
    credentials: Credentials,
    /// Of the sentinels.
    sentinel_credentials: Credentials,
    database: u32,
    tls: Option<OutboundContext>,
    /// A restart of a node loses nothing.
    pub durable: bool,
    /// Where the connections live.
    pub runtime: Handle,
}

/// A connection. It ends when this is dropped; who asks holds it until the answer is there.
pub(super) struct Link {
    connection: MultiplexedConnection,
    pulse: Arc<Pulse>,
    driver: AbortHandle,
    pub address: Address,
    pub server: Server,
}

/// What a node says of itself (`HELLO`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Server {
    pub version: String,
    /// `standalone`, `cluster` or `sentinel`.
    pub mode: String,
    /// `master` or `replica`.
    pub role: String,
}

/// What is spoken to.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Peer {
    Data,
    Sentinel,
}

/// Told of messages that a server sends unasked. It must not wait.
pub(super) type Pushes = Arc<dyn Fn(PushInfo) + Send + Sync>;

impl Dialer {
    /// # Errors
    /// The TLS context cannot be made.
    pub fn new(plan: &Plan, runtime: Handle) -> Result<Self, String> {
        let tls = plan.tls.as_ref().map(|tls| tls.context()).transpose();
        let sentinel_credentials = match &plan.topology {
            super::plan::Topology::Sentinel { credentials, .. } => credentials.clone(),
            _ => Credentials::default(),
        };
        Ok(Self {
            credentials: plan.credentials.clone(),
            sentinel_credentials,
            database: plan.database,
            tls: tls.map_err(|error| format!("the TLS context for Redis cannot be made: {error}"))?,
            durable: plan.durable,
            runtime,
        })
    }

    /// A new connection, and the task that ends when it does. Call on the runtime where it is to live.
    ///
    /// # Errors
    /// Why there is none, for logs.
    pub async fn dial(
        &self,
        address: &Address,
        peer: Peer,
        pushes: Option<Pushes>,
    ) -> Result<(Link, JoinHandle<()>), String> {
        match timeout(DIAL_TIMEOUT, self.dial_slowly(address, peer, pushes)).await {
            Ok(dialled) => dialled.map_err(|cause| format!("{address}: {cause}")),
            Err(_) => Err(format!("{address}: no connection within {DIAL_TIMEOUT:?}")),
        }
    }

    async fn dial_slowly(
        &self,
        address: &Address,
        peer: Peer,
        pushes: Option<Pushes>,
    ) -> Result<(Link, JoinHandle<()>), String> {
        let socket = TcpStream::connect((address.host.as_str(), address.port)).await;
        let socket = socket.and_then(prepare).map_err(|error| format!("cannot be reached: {error}"))?;
        let pulse = Arc::new(Pulse::new());
        let wire = Wire::new(self.secure(address, socket).await?, Arc::clone(&pulse));
        let mut config = AsyncConnectionConfig::new()
            .set_response_timeout(None)
            .set_connection_timeout(None)
            .set_pipeline_buffer_size(UNWRITTEN_MAX);
        if let Some(pushes) = pushes {
            config = config.set_push_sender(move |push: PushInfo| {
                pushes(push);
                Ok::<(), ()>(())
            });
        }
        let made = MultiplexedConnection::new_with_config(&self.login(peer), wire, config).await;
        let (connection, driver) = made.map_err(|error| refused(&error))?;
        let task = tokio::spawn(driver);
        let mut link = Link {
            connection,
            pulse,
            driver: task.abort_handle(),
            address: address.clone(),
            server: Server::default(),
        };
        if peer == Peer::Data {
            let mut hello = cmd("HELLO");
            hello.arg(3);
            link.server =
                reply::hello(link.ask(&hello).await?).map_err(|error| format!("it answers {error}"))?;
            link.server.check_version()?;
        }
        Ok((link, task))
    }

    async fn secure(&self, address: &Address, socket: TcpStream) -> Result<Box<dyn Carrier>, String> {
        let Some(tls) = &self.tls else { return Ok(Box::new(socket)) };
        let name = ServerName::try_from(address.host.clone());
        let name = name.map_err(|_| format!("`{}` is no name that a certificate can have", address.host))?;
        let connected = tls.connect(&name, socket).await;
        let connected = connected.map_err(|failure| format!("the TLS handshake failed: {failure}"))?;
        Ok(Box::new(connected.stream))
    }

    fn login(&self, peer: Peer) -> RedisConnectionInfo {
        let credentials = match peer {
            Peer::Data => &self.credentials,
            Peer::Sentinel => &self.sentinel_credentials,
        };
        // Sentinels of 6.2 do not know `HELLO` in all builds; nothing that they are asked needs it.
        let protocol = if peer == Peer::Data { ProtocolVersion::RESP3 } else { ProtocolVersion::RESP2 };
        let database = if peer == Peer::Data { self.database } else { 0 };
        let mut login = RedisConnectionInfo::default()
            .set_protocol(protocol)
            .set_skip_set_lib_name()
            .set_db(i64::from(database));
        if let Some(password) = &credentials.password {
            login = login.set_password(password.expose());
            if let Some(username) = &credentials.username {
                login = login.set_username(username);
            }
        }
        login
    }
}

fn prepare(socket: TcpStream) -> io::Result<TcpStream> {
    socket.set_nodelay(true)?;
    SockRef::from(&socket)
        .set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE))?;
    Ok(socket)
}

impl Link {
    /// Asks, and waits for the answer for as long as the connection lives; errors of the server are answers.
    ///
    /// # Errors
    /// The connection has ended.
    pub async fn ask(&self, command: &Cmd) -> Result<Value, String> {
        self.pulse.asked();
        let answer = self.connection.clone().send_packed_command(command).await;
        answer.map_err(|error| lost(&self.address, &error))
    }

    /// As [`Link::ask`], after a redirection that is for one command only.
    ///
    /// # Errors
    /// The connection has ended.
    pub async fn ask_redirected(&self, command: &Cmd) -> Result<Value, String> {
        self.pulse.asked();
        let mut both = redis::Pipeline::new();
        both.cmd("ASKING").add_command(command.clone());
        let answers = self.connection.clone().send_packed_commands(&both, 0, 2).await;
        let answers = answers.map_err(|error| lost(&self.address, &error))?;
        answers.into_iter().nth(1).ok_or_else(|| format!("{} answers half of what was asked", self.address))
    }

    /// From now on its messages are pushed.
    ///
    /// # Errors
    /// It refuses, or the connection has ended.
    pub async fn subscribe(&self, channel: &str) -> Result<(), String> {
        self.pulse.asked();
        let subscribed = self.connection.clone().subscribe(channel).await;
        subscribed.map_err(|error| format!("{}: {}", self.address, refused(&error)))
    }

    pub fn is_over(&self) -> bool {
        self.driver.is_finished()
    }

    /// How long it has been silent although it was asked.
    pub fn silent(&self) -> Duration {
        self.pulse.silent()
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Server {
    fn check_version(&self) -> Result<(), String> {
        let mut parts = self.version.split('.').map(|part| part.parse::<u32>().ok());
        match (parts.next().flatten(), parts.next().flatten()) {
            (Some(major), Some(minor)) if (major, minor) >= VERSION_MIN => Ok(()),
            _ => {
                let (major, minor) = VERSION_MIN;
                Err(format!("it is version `{}`: {major}.{minor} or later is needed", self.version))
            }
        }
    }
}

fn lost(address: &Address, error: &RedisError) -> String {
    format!("the connection with {address} was lost: {}", refused(error))
}

/// Why a connection is of no use. What was sent is not repeated: old servers do so, and it may be a password.
fn refused(error: &RedisError) -> String {
    let (major, minor) = VERSION_MIN;
    match error.kind() {
        ErrorKind::Parse => "it answers what is no RESP".to_owned(),
        ErrorKind::RESP3NotSupported => {
            format!("it does not know HELLO: version {major}.{minor} or later is needed")
        }
        _ => clean(&error.to_string()),
    }
}

/// An error of a server, for logs.
pub(super) fn said(address: &Address, error: &ServerError) -> Unavailable {
    let details = error.details().map(|details| format!(" {}", clean(details))).unwrap_or_default();
    Unavailable(format!("{address} answers {}{details}", clean(error.code())))
}

/// One short line without the arguments of the command that is complained of.
fn clean(text: &str) -> String {
    const CHARACTERS_MAX: usize = 200;
    let end = text.find(", with args").unwrap_or(text.len());
    text[..end].chars().take(CHARACTERS_MAX).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// Whether it is of a kind that the crate knows.
pub(super) fn is(error: &ServerError, kind: ServerErrorKind) -> bool {
    error.kind() == Some(kind)
}
