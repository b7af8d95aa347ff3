//! TLS over a connection: whose certificates are good, and for which name.

use std::collections::HashMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::{ProbeError, io_text};
use crate::control::TlsCheck;

/// What is spoken inside.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) enum Inside {
    Http1,
    Http2,
}

/// Who is trusted, and with which file of authorities.
type Trust = (bool, Option<PathBuf>, Inside);
/// When the file was written, and what was made of it.
type Made = (Option<SystemTime>, Arc<ClientConfig>);

/// How connections are made, by whom is trusted. Made once, and again when a file has changed.
#[derive(Debug, Default)]
pub struct TlsConfigs(Mutex<HashMap<Trust, Made>>);

impl TlsConfigs {
    fn get(&self, check: &TlsCheck, inside: Inside) -> Result<Arc<ClientConfig>, ProbeError> {
        let trust = (check.verify, check.ca_file.clone(), inside);
        let written = match &check.ca_file {
            Some(file) => Some(written(file).map_err(|error| unreadable(file, &error))?),
            None => None,
        };
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((then, config)) = known.get(&trust)
            && *then == written
        {
            return Ok(config.clone());
        }
        let config = Arc::new(make(check, inside)?);
        known.insert(trust, (written, config.clone()));
        Ok(config)
    }
}

fn written(file: &Path) -> std::io::Result<SystemTime> {
    std::fs::metadata(file)?.modified()
}

/// Our own fault: says nothing about the backend.
fn unreadable(file: &Path, error: &std::io::Error) -> ProbeError {
    ProbeError::NotTried(format!("ca_file {}: {}", file.display(), io_text(error)))
}

fn make(check: &TlsCheck, inside: Inside) -> Result<ClientConfig, ProbeError> {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|error| ProbeError::NotTried(format!("TLS: {error}")))?;
    let mut config = if check.verify {
        builder.with_root_certificates(authorities(check.ca_file.as_deref())?).with_no_client_auth()
    } else {
        let anybody = Arc::new(Anybody(provider));
        builder.dangerous().with_custom_certificate_verifier(anybody).with_no_client_auth()
    };
    let protocol: &[u8] = match inside {
        Inside::Http1 => b"http/1.1",
        Inside::Http2 => b"h2",
    };
    config.alpn_protocols = vec![protocol.to_vec()];
    // Each probe looks at the certificate anew.
    config.resumption = Resumption::disabled();
    Ok(config)
}

fn authorities(file: Option<&Path>) -> Result<RootCertStore, ProbeError> {
    let mut store = RootCertStore::empty();
    let Some(file) = file else {
        let found = rustls_native_certs::load_native_certs();
        let (good, _) = store.add_parsable_certificates(found.certs);
        if good == 0 {
            let what = "this machine trusts no authority: install ca-certificates, or `ca_file`";
            return Err(ProbeError::NotTried(what.to_string()));
        }
        return Ok(store);
    };
    let text = std::fs::read(file).map_err(|error| unreadable(file, &error))?;
    let mut good = 0;
    for certificate in CertificateDer::pem_slice_iter(&text).flatten() {
        good += usize::from(store.add(certificate).is_ok());
    }
    if good == 0 {
        let problem = std::io::Error::other("no certificate in it");
        return Err(unreadable(file, &problem));
    }
    Ok(store)
}

/// Goes over to TLS. `host` is the name that the request is for.
pub(super) async fn secure(
    stream: TcpStream,
    check: &TlsCheck,
    (host, address): (Option<&str>, IpAddr),
    (configs, inside): (&TlsConfigs, Inside),
) -> Result<TlsStream<TcpStream>, ProbeError> {
    let config = configs.get(check, inside)?;
    let name = check.server_name.as_deref().or_else(|| host.map(without_port));
    let name = name.map_or_else(|| address.to_string(), str::to_string);
    let server = ServerName::try_from(name.clone())
        .map_err(|_| ProbeError::failed(format!("TLS: {name:?} is not a host name")))?;
    let connected = TlsConnector::from(config).connect(server, stream).await;
    connected.map_err(|error| ProbeError::failed(format!("TLS: {}", tls_text(&error, &name))))
}

/// `example.org` of `example.org:8443`, `::1` of `[::1]:8443`.
fn without_port(host: &str) -> &str {
    if let Some((address, _)) = host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        return address;
    }
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    }
}

fn tls_text(error: &std::io::Error, name: &str) -> String {
    let Some(error) = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) else {
        return io_text(error);
    };
    let Error::InvalidCertificate(why) = error else { return error.to_string() };
    match why {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "the certificate has run out".to_string()
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "the certificate is not good yet".to_string()
        }
        CertificateError::UnknownIssuer => {
            "the certificate is of an authority that is not trusted".to_string()
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            format!("the certificate is not for {name}")
        }
        other => format!("the certificate is not good: {other}"),
    }
}

/// Trusts anybody who has the key of the certificate that is shown.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let known = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, known)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let known = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, known)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_without_ports() {
        let rows = [
            ("example.org", "example.org"),
            ("example.org:8443", "example.org"),
            ("[2001:db8::1]:8443", "2001:db8::1"),
            ("10.2.0.11:443", "10.2.0.11"),
        ];
        for (host, wanted) in rows {
            assert_eq!(without_port(host), wanted);
        }
    }
}
