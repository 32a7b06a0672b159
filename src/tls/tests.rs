//! Both backends against each other, on real sockets.

use std::sync::Arc;

use jiff::Timestamp;
use rustls::{
    HandshakeKind, NamedGroup, ServerConfig, ServerConnection, pki_types::ServerName, sign::SingleCertAndKey,
};
use tokio::net::{TcpListener, TcpStream};

use super::{choice::Choice, hello, identity::Identity, trust::ServerTrust, *};

const BACKENDS: [Backend; 2] = [Backend::Rustls, Backend::OpenSsl];

/// With a suite that decides who serves.
fn negotiable(backend: Backend) -> Negotiable {
    let ciphers: &[String] = match backend {
        Backend::Rustls => &[],
        Backend::OpenSsl => &[
            "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256".to_owned(),
            "TLS_RSA_WITH_AES_128_GCM_SHA256".to_owned(),
        ],
    };
    let mut findings = Findings::default();
    let negotiable = Negotiable::read(None, None, ciphers, &[], &mut findings).expect("a range");
    assert!(findings.errors.is_empty(), "{:?}", findings.errors);
    negotiable
}

fn identity() -> Identity {
    let certificate = Certificate {
        key: Secret::new(include_str!("fixtures/ec-sec1.key").to_owned()),
        crt: include_str!("fixtures/ec.crt").to_owned(),
    };
    Identity::read(&certificate, Timestamp::UNIX_EPOCH, &mut Findings::default()).expect("a fixture")
}

fn accepted(outcome: Result<inbound::Accepted, inbound::Refused>) -> inbound::Accepted {
    outcome.map_err(|refused| refused.failure).expect("a client that is accepted")
}

/// One handshake: what the server says of it and what the client does.
async fn handshake(server: Backend, client: Backend) -> (inbound::Accepted, outbound::Connected) {
    let inbound = Arc::new(Inbound::new(negotiable(server), Choice::new(identity()), None));
    let outbound = Arc::new(Outbound::new(negotiable(client), ServerTrust::Anyone, None));
    assert_eq!((inbound.backend(), outbound.backend()), (server, client));
    let (inbound, outbound) = (inbound.context(None).unwrap(), outbound.context().unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let accept = async {
        let (socket, _) = listener.accept().await.unwrap();
        accepted(inbound.accept(hello::collect(socket).await.unwrap()).await)
    };
    let connect = async {
        let socket = TcpStream::connect(address).await.unwrap();
        let name = ServerName::try_from("any.test").unwrap();
        outbound.connect(&name, socket).await.unwrap()
    };
    futures_util::future::join(accept, connect).await
}

/// What a client that is told this name asks for.
async fn asked_for(client: Backend, name: &'static str) -> Option<String> {
    let outbound = Arc::new(Outbound::new(negotiable(client), ServerTrust::Anyone, None)).context().unwrap();
    let inbound = Arc::new(Inbound::new(negotiable(Backend::Rustls), Choice::new(identity()), None));
    let inbound = inbound.context(None).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let socket = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let accept = async {
        let (socket, _) = listener.accept().await.unwrap();
        accepted(inbound.accept(hello::collect(socket).await.unwrap()).await)
    };
    let name = ServerName::try_from(name).unwrap();
    let (accepted, _) = futures_util::future::join(accept, outbound.connect(&name, socket)).await;
    let Stream::Rustls(session) = &accepted.stream else { panic!("it was made for rustls") };
    inbound::server_name(session.tls()).map(str::to_owned)
}

#[actix_rt::test]
async fn the_final_dot_of_an_absolute_name_is_not_sent() {
    for client in BACKENDS {
        assert_eq!(asked_for(client, "any.test.").await.as_deref(), Some("any.test"), "{client:?}");
    }
}

#[actix_rt::test]
async fn either_backend_speaks_with_either_and_prefers_the_hybrid_key_exchange_and_http_2() {
    for server in BACKENDS {
        for client in BACKENDS {
            let (accepted, connected) = handshake(server, client).await;
            assert_eq!(accepted.protocol, Some(Protocol::H2), "{server:?} {client:?}");
            assert_eq!(connected.protocol, Some(Protocol::H2), "{server:?} {client:?}");
            if let Stream::Rustls(session) = &accepted.stream {
                let group = session.tls().negotiated_key_exchange_group().map(|group| group.name());
                assert_eq!(group, Some(NamedGroup::X25519MLKEM768), "{client:?}");
            }
            if let Stream::Rustls(session) = &connected.stream {
                let group = session.tls().negotiated_key_exchange_group().map(|group| group.name());
                assert_eq!(group, Some(NamedGroup::X25519MLKEM768), "{server:?}");
            }
        }
    }
}

/// Whether a server that knows no hybrid had to ask again (RFC 8446 section 4.1.4).
#[actix_rt::test]
async fn a_server_without_the_hybrid_key_exchange_need_not_ask_again() {
    let kx_groups = vec![aws_lc_rs::kx_group::X25519];
    let old = CryptoProvider { kx_groups, ..provider().as_ref().clone() };
    let certified = SingleCertAndKey::from(identity().certified.as_ref().clone());
    let server =
        ServerConfig::builder_with_provider(Arc::new(old)).with_protocol_versions(&[&TLS13]).unwrap();
    let server = Arc::new(server.with_no_client_auth().with_cert_resolver(Arc::new(certified)));
    for client in BACKENDS {
        let outbound = Arc::new(Outbound::new(negotiable(client), ServerTrust::Anyone, None));
        let outbound = outbound.context().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let socket = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let accept = async {
            let (socket, _) = listener.accept().await.unwrap();
            let tls = ServerConnection::new(Arc::clone(&server)).unwrap();
            let mut session = session::Session::new(tls.into(), socket);
            session.handshake(&[]).await.unwrap();
            session.tls().handshake_kind()
        };
        let name = ServerName::try_from("any.test").unwrap();
        let (kind, _) = futures_util::future::join(accept, outbound.connect(&name, socket)).await;
        assert_eq!(kind, Some(HandshakeKind::Full), "{client:?}");
    }
}

#[test]
fn no_certificate_of_a_text_is_left_out_in_silence() {
    let one = include_str!("fixtures/ec.crt");
    let indented: String = one.lines().flat_map(|line| ["  ", line, "\n"]).collect();
    for text in [format!("\u{feff}{one}{one}"), format!("{indented}{one}")] {
        assert_eq!(super::identity::certificates(&text, "crt").unwrap().len(), 2, "{text}");
    }
    let other = format!("{one}{}", one.replace(" CERTIFICATE", " TRUSTED CERTIFICATE"));
    let refused = super::identity::certificates(&other, "crt").unwrap_err();
    assert!(
        format!("{refused:?}").contains("certificate 2 begins with `-----BEGIN TRUSTED CERTIFICATE-----`"),
        "{refused:?}"
    );
}
