//! `--watch`: the same question again each second, until ^C.

use std::fmt::Write;
use std::future::Future;
use std::io::{IsTerminal, stdout};
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{MissedTickBehavior, interval};

use super::ask::{Output, print};

/// How often it is asked.
const EVERY: Duration = Duration::from_secs(1);

// A screen of its own (what stood there before comes back), no cursor, long lines cut.
const ENTER: &str = "\x1b[?1049h\x1b[?25l\x1b[?7l";
const LEAVE: &str = "\x1b[?7h\x1b[?25h\x1b[?1049l";

/// Whether to ask again and again.
#[derive(clap::Args, Debug)]
pub struct WatchArgs {
    /// Show it anew each second, until ^C.
    #[arg(long, short)]
    pub watch: bool,
}

/// Shows it once, or again and again where that is wanted.
///
/// # Errors
/// Why it could not be shown the first time; later ones are shown in its place, and it goes on, for
/// whoever watches wants to see it come back.
pub async fn show<F: Future<Output = anyhow::Result<String>>>(
    args: &WatchArgs,
    output: Output,
    mut make: impl FnMut() -> F,
) -> anyhow::Result<()> {
    let first = make().await?;
    if !args.watch {
        return print(&first);
    }
    let (mut interrupt, mut terminate) =
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let screen = Screen::enter()?;
    let shown = async {
        screen.show(&first, None)?;
        let mut ticks = interval(EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        ticks.tick().await;
        loop {
            ticks.tick().await;
            match make().await {
                Ok(text) => screen.show(&text, Some(output))?,
                Err(error) if screen.is_terminal => screen.show(&format!("{error}\n"), None)?,
                Err(error) => eprintln!("{error}"),
            }
        }
    };
    tokio::select! {
        ended = shown => ended,
        _ = interrupt.recv() => Ok(()),
        _ = terminate.recv() => Ok(()),
    }
}

/// A terminal while something is watched on it; as it was when this goes. Not a terminal: each
/// report after the one before.
struct Screen {
    is_terminal: bool,
}

impl Screen {
    fn enter() -> anyhow::Result<Screen> {
        let screen = Screen { is_terminal: stdout().is_terminal() };
        if screen.is_terminal {
            print(ENTER)?;
        }
        Ok(screen)
    }

    fn show(&self, text: &str, later: Option<Output>) -> anyhow::Result<()> {
        if self.is_terminal {
            let rows = rustix::termios::tcgetwinsize(stdout()).map_or(24, |size| size.ws_row);
            return print(&page(text, rows.into()));
        }
        match later {
            Some(Output::Table) => print(&format!("\n{text}")),
            Some(Output::Yaml) => print(&format!("---\n{text}")),
            _ => print(text),
        }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        if self.is_terminal {
            // Nobody is there to be told when the terminal has gone.
            let _ = print(LEAVE);
        }
    }
}

/// Text in place of what is there, without a flicker: over it, and then the rest is wiped.
fn page(text: &str, rows: usize) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let fits = lines.len() < rows;
    let shown = if fits { lines.len() } else { rows.saturating_sub(2) };
    let mut page = String::from("\x1b[H");
    for line in lines.iter().take(shown) {
        page += line;
        page += "\x1b[K\r\n";
    }
    if !fits {
        // Writing into a String cannot fail.
        let _ = write!(page, "… {} more lines\x1b[K", lines.len() - shown);
    }
    page + "\x1b[J"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_has_no_more_lines_than_the_terminal() {
        let rows = [
            ("", 5, "\x1b[H\x1b[J"),
            ("a\nb\n", 5, "\x1b[Ha\x1b[K\r\nb\x1b[K\r\n\x1b[J"),
            ("a\nb\nc\nd\n", 4, "\x1b[Ha\x1b[K\r\nb\x1b[K\r\n… 2 more lines\x1b[K\x1b[J"),
            ("a\nb\n", 1, "\x1b[H… 2 more lines\x1b[K\x1b[J"),
        ];
        for (text, rows, wanted) in rows {
            assert_eq!(page(text, rows), wanted, "{text:?} {rows}");
        }
    }
}
