//! `guideway completions` and `guideway man`: made from the command line's own description.

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::CommandFactory;
use clap_complete::Shell;

use super::Cli;
use super::ask::{is_closed_pipe, print};

/// Print what a shell completes Guideway's commands by.
#[derive(clap::Args, Debug)]
pub struct CompletionsArgs {
    /// For which shell.
    #[arg(value_enum)]
    shell: Shell,
}

/// Write man pages: one for `guideway`, and one for each command.
#[derive(clap::Args, Debug)]
pub struct ManArgs {
    /// Where to; it is made.
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
}

/// Prints them.
pub fn completions(args: &CompletionsArgs) -> ExitCode {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "guideway", &mut script);
    match print(&String::from_utf8_lossy(&script)) {
        Err(error) if !is_closed_pipe(&error) => {
            eprintln!("guideway completions: {error}");
            ExitCode::FAILURE
        }
        _ => ExitCode::SUCCESS,
    }
}

/// Writes them.
pub fn man(args: &ManArgs) -> ExitCode {
    match write_pages(&args.dir) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("guideway man: {}: {error}", args.dir.display());
            ExitCode::FAILURE
        }
    }
}

fn write_pages(dir: &Path) -> io::Result<()> {
    std::fs::create_dir_all(dir)?;
    clap_mangen::generate_to(Cli::command(), dir)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_for_each_command() {
        let directory = tempfile::tempdir().unwrap();
        let at = directory.path().join("man/man1");
        write_pages(&at).unwrap();
        let main = std::fs::read_to_string(at.join("guideway.1")).unwrap();
        let mut commands = 0;
        for command in Cli::command().get_subcommands() {
            let name = format!("guideway-{}", command.get_name());
            let page = std::fs::read_to_string(at.join(format!("{name}.1"))).unwrap();
            assert!(page.contains(".SH NAME") && page.contains(".SH SYNOPSIS"), "{name}");
            let mut about = command.get_about().into_iter();
            assert!(about.any(|about| !about.to_string().is_empty()), "{name} says what it does");
            let escaped = name.replace('-', "\\-");
            assert!(main.contains(&escaped), "{name} is not in guideway.1");
            commands += 1;
        }
        assert!(commands > 10, "{commands}");
        assert!(at.join("guideway-drain-backend.1").exists(), "commands of commands, too");
    }

    #[test]
    fn completions_know_each_command() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "guideway", &mut script);
            let script = String::from_utf8(script).unwrap();
            for command in Cli::command().get_subcommands() {
                assert!(script.contains(command.get_name()), "{shell}: {}", command.get_name());
            }
        }
    }

    /// What clap finds wrong with the description: options that are there twice, and the like.
    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }
}
