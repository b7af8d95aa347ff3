//! A record as a line of JSON.

use serde_json::json;

use super::FlowRecord;
use crate::wire::Protocol;

/// One object and a line end. Moments are in milliseconds since 1970; what is not known is null.
pub fn line(record: &FlowRecord) -> String {
    let key = &record.key;
    let named = |name: &str| if name.is_empty() { None } else { Some(name.to_owned()) };
    let object = json!({
        "start_unix_ms": record.start_unix_ms,
        "end_unix_ms": record.end_unix_ms,
        "protocol": Protocol::name_of(key.protocol_number()),
        "client": key.source_socket().to_string(),
        "vip": key.destination_socket().to_string(),
        "snat": record.snat.map(|snat| snat.to_string()),
        "backend_address": record.backend.map(|backend| backend.to_string()),
        "service": named(&record.service),
        "backend": named(&record.backend_name),
        "packets_in": record.traffic.packets_in,
        "bytes_in": record.traffic.bytes_in,
        "packets_out": record.traffic.packets_out,
        "bytes_out": record.traffic.bytes_out,
        "end": record.reason.name(),
        "worker": record.worker,
    });
    object.to_string() + "\n"
}

#[cfg(test)]
mod tests {
    use super::super::record::sample;
    use super::*;

    #[test]
    fn a_line_has_all_of_it() {
        let record = sample("192.0.2.7:40000", "198.51.100.1:80");
        let text = line(&record);
        assert!(text.ends_with("}\n") && text.matches('\n').count() == 1, "{text}");
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        let wanted = json!({
            "start_unix_ms": 1_700_000_000_123u64, "end_unix_ms": 1_700_000_009_456u64,
            "protocol": "tcp", "client": "192.0.2.7:40000", "vip": "198.51.100.1:80",
            "snat": "10.2.0.10:1025", "backend_address": "10.2.0.11:8080",
            "service": "web", "backend": "b1", "packets_in": 7, "bytes_in": 700,
            "packets_out": 9, "bytes_out": 9000, "end": "closed", "worker": 1,
        });
        assert_eq!(value, wanted);
        let gone = FlowRecord { service: String::new(), snat: None, ..record };
        let value: serde_json::Value = serde_json::from_str(&line(&gone)).unwrap();
        assert!(value["service"].is_null() && value["snat"].is_null());
    }
}
