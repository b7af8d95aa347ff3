//! Active probes (tokio) -> health events. Must never know packets.
