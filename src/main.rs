//! The `guideway` binary: see `guideway --help`.

fn main() -> std::process::ExitCode {
    guideway::cli::main()
}
