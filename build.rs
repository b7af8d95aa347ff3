//! Writes the code of the gRPC interfaces, for the `program` feature, and compiles the XDP programs with
//! clang (Rust cannot, on stable), for the `afxdp` feature.

use std::path::{Path, PathBuf};
use std::process::{Command, exit};

/// `bpf/NAME.bpf.c` becomes `NAME.bpf.o`: the data plane's program, the backends', and those of the
/// benchmark over veth.
const PROGRAMS: [&str; 3] = ["steer", "decap", "bench"];
const ADVICE: &str = "On Debian or Ubuntu: apt-get install clang libc6-dev (for the kernel's \
headers). To build without AF_XDP: cargo build --no-default-features";

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=bpf");
    println!("cargo:rerun-if-changed=proto");
    println!("cargo:rerun-if-env-changed=CLANG");
    #[cfg(feature = "program")]
    interfaces();
    if std::env::var_os("CARGO_FEATURE_AFXDP").is_none() {
        return;
    }
    let Some(out_dir) = std::env::var_os("OUT_DIR") else {
        stop("OUT_DIR is not set: build with cargo");
    };
    let out_dir = PathBuf::from(out_dir);
    for name in PROGRAMS {
        compile(&format!("bpf/{name}.bpf.c"), &out_dir.join(format!("{name}.bpf.o")));
    }
}

/// Interfaces in `proto/`. Compiled by a crate, so that no `protoc` is needed.
#[cfg(feature = "program")]
const INTERFACES: [&str; 2] = ["guideway/admin/v1/admin.proto", "guideway/v1/feed.proto"];
/// What a service consists of: it is also made out of the values of a file.
#[cfg(feature = "program")]
const READ: [&str; 5] = ["Service", "Tunnel", "Timeouts", "HealthCheck", "Backend"];

#[cfg(feature = "program")]
fn interfaces() {
    let files = match protox::compile(INTERFACES, ["proto"]) {
        Ok(files) => files,
        Err(error) => stop(&format!("proto/: {error}")),
    };
    let mut config =
        tonic_prost_build::configure().type_attribute(".", "#[derive(serde::Serialize)]");
    for name in READ {
        let read = "#[derive(serde::Deserialize)] #[serde(default, deny_unknown_fields)]";
        config = config.message_attribute(format!(".guideway.v1.{name}"), read);
    }
    if let Err(error) = config.compile_fds(files) {
        stop(&format!("proto/: {error}"));
    }
}

fn compile(source: &str, object: &Path) {
    let clang = std::env::var("CLANG").unwrap_or_else(|_| "clang".to_string());
    let mut command = Command::new(&clang);
    command.args(["-O2", "-g", "-Wall", "-Wextra", "-Werror", "-target", "bpf"]);
    if let Some(include) = asm_include() {
        command.arg("-I").arg(include);
    }
    let output = match command.args(["-c", source, "-o"]).arg(object).output() {
        Ok(output) => output,
        Err(error) => stop(&format!("cannot run `{clang}`: {error}. {ADVICE}")),
    };
    if output.status.success() {
        return;
    }
    let said = String::from_utf8_lossy(&output.stderr);
    if said.contains("file not found") {
        stop(&format!("{clang} lacks a header for {source}. {ADVICE}\n{said}"));
    }
    stop(&format!(
        "{clang} does not compile {source} (it needs the bpf target, clang 11 or newer). {ADVICE}\n\
         {said}"
    ));
}

/// Debian keeps `asm/` by architecture, where a compiler for the bpf target does not look.
fn asm_include() -> Option<PathBuf> {
    let triple = match std::env::var("CARGO_CFG_TARGET_ARCH").ok()?.as_str() {
        "x86_64" => "x86_64-linux-gnu",
        "aarch64" => "aarch64-linux-gnu",
        "riscv64" => "riscv64-linux-gnu",
        "powerpc64" => "powerpc64le-linux-gnu",
        "s390x" => "s390x-linux-gnu",
        _ => return None,
    };
    Some(Path::new("/usr/include").join(triple)).filter(|path| path.join("asm").is_dir())
}

#[allow(
    clippy::disallowed_methods,
    reason = "nothing is attached yet, and cargo shows the message"
)]
fn stop(message: &str) -> ! {
    eprintln!("\nguideway: {message}\n");
    exit(1)
}
