//! `guideway check FILE`: is a configuration fine, without running it?

use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use comfy_table::{CellAlignment, Table, presets};

use crate::control::{ServiceSpec, Shared, Warning, warnings};
use crate::source::yaml::{ConfigError, LoadedConfig, load};

/// Arguments of `guideway check`.
#[derive(clap::Args, Debug)]
pub struct CheckArgs {
    /// The configuration file
    pub file: PathBuf,
    /// How the answer is written
    #[arg(long, value_enum, default_value_t = CheckOutput::Table)]
    pub output: CheckOutput,
}

/// How the answer is written.
#[derive(clap::ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub enum CheckOutput {
    /// For people
    Table,
    /// For programs
    Json,
}

/// Checks a file: 0 and a summary on standard output, or 2 and all problems (on standard error, or
/// as JSON on standard output).
pub fn run(args: CheckArgs) -> ExitCode {
    let loaded = load(&args.file);
    let code = ExitCode::from(if loaded.is_ok() { 0 } else { 2 });
    let (out, err) = match args.output {
        CheckOutput::Table => table(&loaded),
        CheckOutput::Json => (json(&loaded), String::new()),
    };
    // Nobody is there to be told when the reader has gone.
    let _ = std::io::stdout().write_all(out.as_bytes());
    let _ = std::io::stderr().write_all(err.as_bytes());
    code
}

/// What goes to standard output and to standard error.
fn table(loaded: &Result<LoadedConfig, ConfigError>) -> (String, String) {
    let config = match loaded {
        Ok(config) => config,
        Err(error) => return (String::new(), format!("{error}\n")),
    };
    let services = &config.desired.services;
    let mut out = format!(
        "{} is fine: {}, {}, {}, {}\n",
        config.file,
        count(services.len(), "service"),
        count(services.iter().map(|service| service.backends.len()).sum(), "backend"),
        count(config.node.interfaces.len(), "interface"),
        count(config.desired.snat.len(), "SNAT address"),
    );
    if !services.is_empty() {
        out.push_str(&services_table(services));
    }
    let err = warnings(&config.desired).iter().map(|w| warning_line(config, w)).collect();
    (out, err)
}

fn count(number: usize, noun: &str) -> String {
    let plural = match (number, noun.ends_with("ss")) {
        (1, _) => "",
        (_, true) => "es",
        (_, false) => "s",
    };
    format!("{number} {noun}{plural}")
}

fn services_table(services: &[Shared<ServiceSpec>]) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(["SERVICE", "ADDRESS", "PROTOCOL", "MODE", "BACKENDS", "DRAINING", "CHECK"]);
    for column in [4, 5] {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    for service in services {
        let draining = service.backends.iter().filter(|b| b.drain || b.weight == 0).count();
        table.add_row([
            service.name.clone(),
            SocketAddr::new(service.address, service.port).to_string(),
            service.protocol.to_string(),
            word(&service.mode),
            service.backends.len().to_string(),
            draining.to_string(),
            check(service).to_string(),
        ]);
    }
    let lines = table.lines().map(|line| format!("{}\n", line.trim_end()));
    lines.collect()
}

fn check(service: &ServiceSpec) -> &'static str {
    service.health_check.as_ref().map_or("none", |check| check.kind.name())
}

/// The word the file has for a choice.
fn word(choice: &impl serde::Serialize) -> String {
    let word = serde_json::to_value(choice).ok();
    word.as_ref().and_then(|word| word.as_str()).unwrap_or("?").to_string()
}

fn warning_line(config: &LoadedConfig, warning: &Warning) -> String {
    let (line, column) = config.place_of(&warning.path);
    format!("{}:{line}:{column}: warning: {warning}\n", config.file)
}

fn json(loaded: &Result<LoadedConfig, ConfigError>) -> String {
    let value = match loaded {
        Ok(config) => {
            let services = config.desired.services.iter().map(|service| service_json(service));
            let found = warnings(&config.desired);
            let warnings = found.iter().map(|warning| {
                let (line, column) = config.place_of(&warning.path);
                let Warning { path, text } = warning;
                serde_json::json!({ "path": path, "line": line, "column": column, "text": text })
            });
            let interfaces = config.node.interfaces.iter().map(|interface| &interface.name);
            serde_json::json!({
                "file": config.file,
                "fine": true,
                "interfaces": interfaces.collect::<Vec<_>>(),
                "snat_addresses": config.desired.snat.len(),
                "services": services.collect::<Vec<_>>(),
                "warnings": warnings.collect::<Vec<_>>(),
            })
        }
        Err(error) => serde_json::json!({
            "file": error.file,
            "fine": false,
            "problems": error.problems,
        }),
    };
    format!("{value:#}\n")
}

fn service_json(service: &ServiceSpec) -> serde_json::Value {
    serde_json::json!({
        "name": service.name,
        "address": service.address,
        "port": service.port,
        "protocol": service.protocol,
        "mode": service.mode,
        "backends": service.backends.len(),
        "health_check": service.health_check.as_ref().map(|_| check(service)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::yaml::parse;

    const FINE: &str = "\
version: 1
interfaces: [{ name: eth1 }]
snat: [{ address: 10.1.0.10 }]
services:
  - name: web
    address: 10.1.0.100
    port: 80
    health_check: { type: tcp }
    backends: [{ name: b1, address: 10.2.0.11 }, { name: b2, address: 10.2.0.12, weight: 0 }]
  - { name: a-longer-name, address: 10.1.0.101, port: 53, protocol: udp, mode: l2dsr, backends: [] }
";

    #[test]
    fn a_fine_file_is_summed_up() {
        let (out, err) = table(&parse("f", FINE));
        assert_eq!(
            out,
            "f is fine: 2 services, 2 backends, 1 interface, 1 SNAT address
 SERVICE        ADDRESS        PROTOCOL  MODE   BACKENDS  DRAINING  CHECK
 web            10.1.0.100:80  tcp       nat           2         1  tcp
 a-longer-name  10.1.0.101:53  udp       l2dsr         0         0  none
"
        );
        assert_eq!(
            err,
            "f:10:87: warning: services[1].backends: service a-longer-name has no backend that \
             takes new flows\n"
        );
    }

    #[test]
    fn a_refused_file_tells_on_standard_error() {
        let text = FINE.replace("80\n", "x\n");
        let (out, err) = table(&parse("f", &text));
        assert_eq!(out, "");
        assert!(err.starts_with("f:7:11: services[0].port: `x` is not a number"), "{err}");
    }

    #[test]
    fn json_has_the_same() {
        let of = |text: &str| -> serde_json::Value {
            serde_json::from_str(&json(&parse("f", text))).unwrap()
        };
        let fine = of(FINE);
        assert_eq!(fine["fine"], true);
        assert_eq!(fine["services"][1]["mode"], "l2dsr");
        assert_eq!(fine["services"][1]["health_check"], serde_json::Value::Null);
        assert_eq!(fine["warnings"][0]["line"], 10);
        let refused = of("version: 2");
        assert_eq!((&refused["fine"], &refused["problems"][0]["line"]), (&false.into(), &1.into()));
    }
}
