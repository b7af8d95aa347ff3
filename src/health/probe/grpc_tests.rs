//! The messages by the byte, and a real server of tonic's.

use super::super::testing::{Certificates, kind, server, told};
use super::*;
use crate::control::{HealthCheckKind, HealthCheckSpec, TlsCheck};
use std::time::Duration;
use tokio::net::TcpListener;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Identity, Server, ServerTlsConfig};
use tonic_health::ServingStatus;

#[test]
fn messages_by_the_byte() {
    assert_eq!(question(""), [0, 0, 0, 0, 0]);
    assert_eq!(question("a.B"), [0, 0, 0, 0, 5, 0x0a, 3, b'a', b'.', b'B']);
    let long = "x".repeat(300);
    assert_eq!(question(&long)[..8], [0, 0, 0, 1, 47, 0x0a, 0xac, 2]);
    let rows: [(&str, &[u8], Option<u64>); 10] = [
        ("serving", &[0, 0, 0, 0, 2, 0x08, 1], Some(1)),
        ("not serving", &[0, 0, 0, 0, 2, 0x08, 2], Some(2)),
        ("unknown: nothing is said", &[0, 0, 0, 0, 0], Some(0)),
        ("beside fields of later", &[0, 0, 0, 0, 7, 0x12, 1, 7, 0x08, 1, 0x18, 9], Some(1)),
        ("compressed", &[1, 0, 0, 0, 2, 0x08, 1], None),
        ("cut off", &[0, 0, 0, 0, 2, 0x08], None),
        ("a field cut off", &[0, 0, 0, 0, 1, 0x08], None),
        ("a length that is a lie", &[0, 0, 0, 0, 2, 0x12, 9], None),
        ("a number without end", &[0, 0, 0, 0, 2, 0x08, 0x80], None),
        ("nothing", &[], None),
    ];
    for (description, bytes, wanted) in rows {
        assert_eq!(status_of(bytes), wanted, "{description}");
    }
}

fn spec(service: &str, tls: Option<TlsCheck>) -> HealthCheckSpec {
    kind(HealthCheckKind::Grpc(GrpcCheck { service: service.to_string(), tls }))
}

/// A server that says of `shop.Cart` that it serves, and of `shop.Till` that it does not.
async fn shop(certificates: Option<&Certificates>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (reporter, health) = tonic_health::server::health_reporter();
    reporter.set_service_status("shop.Cart", ServingStatus::Serving).await;
    reporter.set_service_status("shop.Till", ServingStatus::NotServing).await;
    let mut builder = Server::builder();
    if let Some(Certificates { certificate, key, .. }) = certificates {
        let identity = Identity::from_pem(certificate, key);
        builder = builder.tls_config(ServerTlsConfig::new().identity(identity)).unwrap();
    }
    let router = builder.add_service(health);
    tokio::spawn(async move { router.serve_with_incoming(TcpIncoming::from(listener)).await });
    address
}

#[tokio::test]
async fn a_real_server_by_row() {
    let address = shop(None).await;
    let rows = [
        ("", Ok(())),
        ("shop.Cart", Ok(())),
        ("shop.Till", Err("gRPC health NOT_SERVING, wanted SERVING")),
        ("shop.Nobody", Err("gRPC status 5 (not found): service not registered")),
    ];
    for (service, wanted) in rows {
        let got = told(address, &spec(service, None)).await;
        assert_eq!(got, wanted.map_err(str::to_string), "{service:?}");
    }
}

#[tokio::test]
async fn a_real_server_over_tls() {
    let certificates = Certificates::new(&["shop.example.org"]);
    let address = shop(Some(&certificates)).await;
    let of = |name: &str| TlsCheck {
        server_name: Some(name.to_string()),
        verify: true,
        ca_file: Some(certificates.file()),
    };
    let got = told(address, &spec("shop.Cart", Some(of("shop.example.org")))).await;
    assert_eq!(got, Ok(()));
    let got = told(address, &spec("shop.Cart", Some(of("other.example.org")))).await;
    let wanted = "TLS: the certificate is not for other.example.org";
    assert_eq!(got, Err(wanted.to_string()));
    let bare = told(address, &spec("shop.Cart", None)).await.unwrap_err();
    assert!(bare.starts_with("HTTP/2: "), "{bare}");
}

#[tokio::test]
async fn servers_that_are_no_grpc() {
    let answer = b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec();
    let (address, _task) = server(answer, b"\r\n\r\n", Duration::ZERO).await;
    let got = told(address, &spec("", None)).await.unwrap_err();
    assert!(got.starts_with("HTTP/2: "), "{got}");
}

#[test]
fn ends_by_row() {
    let end = |status: &str, message: &str| {
        let mut end = HeaderMap::new();
        if !status.is_empty() {
            end.insert("grpc-status", status.parse().unwrap());
        }
        end.insert("grpc-message", message.parse().unwrap());
        end
    };
    let rows = [
        (end("0", ""), Ok(())),
        (end("", ""), Err("gRPC: no grpc-status, so this is no gRPC")),
        (end("12", ""), Err("gRPC status 12 (unimplemented)")),
        (end("2", "oh%20no: 100%"), Err("gRPC status 2: oh no: 100%")),
    ];
    for (end, wanted) in rows {
        let got = judge(&[0, 0, 0, 0, 2, 0x08, 1], &end).map_err(|error| error.to_string());
        assert_eq!(got, wanted.map_err(str::to_string));
    }
}
