//! gRPC's health service: `shop.Cart` serves, `shop.Till` does not.

use std::net::SocketAddr;
use std::path::PathBuf;

use tonic::transport::{Identity, Server, ServerTlsConfig};
use tonic_health::ServingStatus;

/// Serves for ever; over TLS with a file of certificate and key, both PEM.
pub async fn serve(
    address: SocketAddr,
    pair: Option<PathBuf>,
) -> Result<(), tonic::transport::Error> {
    let (reporter, health) = tonic_health::server::health_reporter();
    reporter.set_service_status("shop.Cart", ServingStatus::Serving).await;
    reporter.set_service_status("shop.Till", ServingStatus::NotServing).await;
    let mut server = Server::builder();
    if let Some(pair) = pair {
        let pem = std::fs::read(&pair).unwrap_or_default();
        let identity = Identity::from_pem(&pem, &pem);
        server = server.tls_config(ServerTlsConfig::new().identity(identity))?;
    }
    server.add_service(health).serve(address).await
}
