//! Connections of both ends: plain TCP, or TLS with certificates that are read for each connection.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};
use tonic::transport::server::Connected;

use crate::control::FeedSpec;
use crate::source::yaml::values::host_of;

/// A connection of either kind.
pub(super) enum Io {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// Who is at the other end of a connection to our server.
#[derive(Clone, Debug)]
pub(super) struct PeerInfo {
    pub address: Option<SocketAddr>,
    pub certificate: Option<CertificateDer<'static>>,
}

impl Connected for Io {
    type ConnectInfo = PeerInfo;

    fn connect_info(&self) -> PeerInfo {
        match self {
            Io::Plain(tcp) => PeerInfo { address: tcp.peer_addr().ok(), certificate: None },
            Io::Tls(tls) => {
                let (tcp, _) = tls.get_ref();
                let chain = match tls.as_ref() {
                    TlsStream::Client(_) => None,
                    TlsStream::Server(server) => server.get_ref().1.peer_certificates(),
                };
                let first = chain.and_then(<[_]>::first);
                let certificate = first.map(|certificate| certificate.clone().into_owned());
                PeerInfo { address: tcp.peer_addr().ok(), certificate }
            }
        }
    }
}

impl AsyncRead for Io {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Io::Plain(tcp) => Pin::new(tcp).poll_read(context, buffer),
            Io::Tls(tls) => Pin::new(tls).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Io {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Io::Plain(tcp) => Pin::new(tcp).poll_write(context, bytes),
            Io::Tls(tls) => Pin::new(tls).poll_write(context, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Io::Plain(tcp) => Pin::new(tcp).poll_flush(context),
            Io::Tls(tls) => Pin::new(tls).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Io::Plain(tcp) => Pin::new(tcp).poll_shutdown(context),
            Io::Tls(tls) => Pin::new(tls).poll_shutdown(context),
        }
    }
}

/// Connects to a feed.
pub(super) async fn connect(feed: &FeedSpec) -> io::Result<Io> {
    let (host, port) = host_of(&feed.url).ok_or_else(|| other("no address of a feed"))?;
    let tcp = TcpStream::connect((host, port)).await?;
    tcp.set_nodelay(true)?;
    if feed.url.starts_with("http://") {
        return Ok(Io::Plain(tcp));
    }
    let name = ServerName::try_from(host.to_string()).map_err(io::Error::other)?;
    let connector = TlsConnector::from(Arc::new(client_config(feed)?));
    let tls = connector.connect(name, tcp).await?;
    Ok(Io::Tls(Box::new(TlsStream::Client(tls))))
}

fn client_config(feed: &FeedSpec) -> io::Result<ClientConfig> {
    let provider = Arc::new(ring::default_provider());
    let roots = match &feed.ca_file {
        Some(file) => authorities(file)?,
        None => {
            let mut roots = RootCertStore::empty();
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            roots
        }
    };
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_root_certificates(roots);
    let mut config = match &feed.cert_files {
        None => builder.with_no_client_auth(),
        Some((cert, key)) => {
            let (chain, key) = (certificates(cert)?, private_key(key)?);
            builder.with_client_auth_cert(chain, key).map_err(|error| named(cert, &error))?
        }
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(config)
}

/// What a server shows, and whom it lets in.
#[derive(Clone, Debug, Default)]
pub struct ServerFiles {
    /// Certificate chain and key, in PEM; none: plain text.
    pub cert_and_key: Option<(PathBuf, PathBuf)>,
    /// Authorities of the clients' certificates; none: no certificate is asked for.
    pub client_ca: Option<PathBuf>,
}

impl ServerFiles {
    /// The files as they are now.
    ///
    /// # Errors
    /// Which file is not what it should be.
    pub fn check(&self) -> io::Result<()> {
        self.config().map(|_| ())
    }

    fn config(&self) -> io::Result<Option<ServerConfig>> {
        let Some((cert, key)) = &self.cert_and_key else { return Ok(None) };
        let provider = Arc::new(ring::default_provider());
        let builder = ServerConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?;
        let builder = match &self.client_ca {
            None => builder.with_no_client_auth(),
            Some(file) => {
                let roots = Arc::new(authorities(file)?);
                let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider);
                let verifier = verifier.build().map_err(|error| named(file, &error))?;
                builder.with_client_cert_verifier(verifier)
            }
        };
        let (chain, key) = (certificates(cert)?, private_key(key)?);
        let config = builder.with_single_cert(chain, key);
        let mut config = config.map_err(|error| named(cert, &error))?;
        config.alpn_protocols = vec![b"h2".to_vec()];
        Ok(Some(config))
    }

    /// Takes a connection as the files are now: certificates may be replaced while we run.
    pub(super) async fn accept(&self, tcp: TcpStream) -> io::Result<Io> {
        tcp.set_nodelay(true)?;
        let Some(config) = self.config()? else { return Ok(Io::Plain(tcp)) };
        let tls = TlsAcceptor::from(Arc::new(config)).accept(tcp).await?;
        Ok(Io::Tls(Box::new(TlsStream::Server(tls))))
    }
}

/// Is the certificate one for this name?
pub(super) fn is_for(certificate: &CertificateDer<'_>, name: &str) -> bool {
    let Ok(parsed) = rustls::server::ParsedCertificate::try_from(certificate) else { return false };
    let Ok(name) = ServerName::try_from(name.to_string()) else { return false };
    rustls::client::verify_server_name(&parsed, &name).is_ok()
}

/// May a server listen there without TLS?
pub fn plain_is_allowed(listen: SocketAddr, plaintext: bool) -> bool {
    plaintext || listen.ip().is_loopback()
}

fn authorities(file: &Path) -> io::Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    let (good, _) = roots.add_parsable_certificates(certificates(file)?);
    if good == 0 { Err(named(file, &"no authority in it")) } else { Ok(roots) }
}

fn certificates(file: &Path) -> io::Result<Vec<CertificateDer<'static>>> {
    let text = std::fs::read(file).map_err(|error| named(file, &error))?;
    let found: Vec<_> = CertificateDer::pem_slice_iter(&text).flatten().collect();
    if found.is_empty() { Err(named(file, &"no certificate in it")) } else { Ok(found) }
}

fn private_key(file: &Path) -> io::Result<PrivateKeyDer<'static>> {
    let text = std::fs::read(file).map_err(|error| named(file, &error))?;
    PrivateKeyDer::from_pem_slice(&text).map_err(|_| named(file, &"no private key in it"))
}

fn named(file: &Path, what: &dyn std::fmt::Display) -> io::Error {
    other(&format!("{}: {what}", file.display()))
}

fn other(what: &str) -> io::Error {
    io::Error::other(what.to_string())
}
