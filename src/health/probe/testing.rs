//! Servers on loopback for the tests of probes.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rcgen::{CertificateParams, DnType, KeyPair, date_time_ymd};
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

use super::{TlsConfigs, probe};
use crate::control::{HealthCheckKind, HealthCheckSpec, HttpCheck, StatusSet};

pub fn kind(kind: HealthCheckKind) -> HealthCheckSpec {
    HealthCheckSpec { interval_ms: 20, timeout_ms: 5_000, ..HealthCheckSpec::new(kind) }
}

/// `GET /ready` of example.org, and a status from 200 to 399.
pub fn http() -> HttpCheck {
    HttpCheck {
        method: "GET".to_string(),
        path: "/ready".to_string(),
        host: Some("example.org".to_string()),
        status: StatusSet(vec![200..=399]),
        body: None,
        tls: None,
    }
}

/// What a probe says, in words.
pub async fn told(address: SocketAddr, spec: &HealthCheckSpec) -> Result<(), String> {
    probe(address, spec, &TlsConfigs::default()).await.map_err(|error| error.to_string())
}

/// A loopback address that refuses: bound, so that nobody else gets it, and not listening.
pub fn refusing() -> (TcpSocket, SocketAddr) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    let address = socket.local_addr().unwrap();
    (socket, address)
}

/// Reads up to `end`, answers with `answer`, then holds the connection open for `hold`; gives what it
/// was asked.
pub async fn server(
    answer: Vec<u8>,
    end: &'static [u8],
    hold: Duration,
) -> (SocketAddr, JoinHandle<String>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    (address, tokio::spawn(answer_once(listener, answer, end, hold)))
}

pub async fn answer_once(
    listener: TcpListener,
    answer: Vec<u8>,
    end: &'static [u8],
    hold: Duration,
) -> String {
    let (stream, _) = listener.accept().await.unwrap();
    answer_on(stream, &answer, end, hold).await
}

async fn answer_on<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: S,
    answer: &[u8],
    end: &[u8],
    hold: Duration,
) -> String {
    let mut request = Vec::new();
    while !request.ends_with(end) {
        if stream.read_buf(&mut request).await.unwrap() == 0 {
            break;
        }
    }
    let _ = stream.write_all(answer).await;
    if hold.is_zero() {
        let _ = stream.shutdown().await;
    }
    tokio::time::sleep(hold).await;
    String::from_utf8(request).unwrap()
}

/// A certificate that signs itself, in a file of its own.
pub struct Certificates {
    directory: tempfile::TempDir,
    pub certificate: String,
    pub key: String,
}

impl Certificates {
    pub fn new(names: &[&str]) -> Certificates {
        let names: Vec<String> = names.iter().map(|name| name.to_string()).collect();
        let subject = names[0].clone();
        let mut params = CertificateParams::new(names).unwrap();
        params.distinguished_name.push(DnType::CommonName, subject);
        Certificates::of(params)
    }

    pub fn expired(name: &str) -> Certificates {
        let mut params = CertificateParams::new([name.to_string()]).unwrap();
        (params.not_before, params.not_after) =
            (date_time_ymd(2001, 1, 1), date_time_ymd(2002, 1, 1));
        Certificates::of(params)
    }

    fn of(params: CertificateParams) -> Certificates {
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap().pem();
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("ca.pem"), &certificate).unwrap();
        Certificates { directory, certificate, key: key.serialize_pem() }
    }

    pub fn file(&self) -> PathBuf {
        self.directory.path().join("ca.pem")
    }
}

/// Answers one connection over TLS; gives the name that was asked for by SNI.
pub async fn tls_server(
    shown: &Certificates,
    answer: Vec<u8>,
) -> (SocketAddr, JoinHandle<Option<String>>) {
    use rustls::pki_types::pem::PemObject;
    let certificate = CertificateDer::from_pem_slice(shown.certificate.as_bytes()).unwrap();
    let key = PrivateKeyDer::from_pem_slice(shown.key.as_bytes()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let task = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let stream = TlsAcceptor::from(Arc::new(config)).accept(stream).await.ok()?;
        let name = stream.get_ref().1.server_name().map(str::to_string);
        answer_on(stream, &answer, b"\r\n\r\n", Duration::ZERO).await;
        name
    });
    (address, task)
}
