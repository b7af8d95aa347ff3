//! `guideway top`: what happens now, on a terminal.

mod rates;
mod view;

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use crate::admin::{self, StatusReport};
use rates::{History, Rates};
use view::{Scene, Tab};

/// Show packets and bits a second by service, backend, worker and verdict, as they change.
#[derive(clap::Args, Debug)]
pub struct TopArgs {
    /// Its admin socket, as `admin.socket` in its configuration says.
    #[arg(long, value_name = "PATH", default_value = admin::DEFAULT_SOCKET)]
    socket: PathBuf,
    /// Seconds between two looks.
    #[arg(long, value_name = "S", default_value_t = 1.0, value_parser = interval)]
    interval: f64,
}

fn interval(text: &str) -> Result<f64, String> {
    let seconds: f64 = text.parse().map_err(|_| "expected seconds, such as 0.5".to_owned())?;
    let is_fine = (0.1..=3600.0).contains(&seconds);
    is_fine.then_some(seconds).ok_or_else(|| "expected 0.1 to 3600 seconds".to_owned())
}

/// Longest wait for an answer.
const LIMIT: Duration = Duration::from_secs(2);

/// Draws until it is told to end. Exit code 1 when nobody answers at the start, 2 without a terminal.
pub fn run(args: &TopArgs) -> ExitCode {
    if !std::io::stdout().is_terminal() {
        eprintln!(
            "guideway top: needs a terminal; `guideway status --output json` is for programs"
        );
        return ExitCode::from(2);
    }
    let asks = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let shown = asks.map_err(anyhow::Error::from).and_then(|asks| {
        let first = asks.block_on(admin::fetch(&args.socket, LIMIT))?;
        let ask = || asks.block_on(admin::fetch(&args.socket, LIMIT)).map_err(|e| e.to_string());
        let mut terminal = ratatui::try_init()?;
        let shown = Top::new(first).show(&mut terminal, args.interval, ask);
        ratatui::restore();
        Ok(shown?)
    });
    match shown {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("guideway top: {error}");
            ExitCode::FAILURE
        }
    }
}

/// What is shown, and how.
struct Top {
    report: StatusReport,
    rates: Rates,
    history: History,
    tab: Tab,
    scroll: usize,
    is_paused: bool,
    trouble: Option<String>,
}

/// What a key does beyond what is shown.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Next {
    GoOn,
    End,
}

impl Top {
    fn new(report: StatusReport) -> Top {
        Top {
            report,
            rates: Rates::default(),
            history: History::default(),
            tab: Tab::default(),
            scroll: 0,
            is_paused: false,
            trouble: None,
        }
    }

    fn show(
        mut self,
        terminal: &mut DefaultTerminal,
        interval_seconds: f64,
        mut ask: impl FnMut() -> Result<StatusReport, String>,
    ) -> std::io::Result<()> {
        let interval = Duration::from_secs_f64(interval_seconds);
        let mut next_look = Instant::now();
        loop {
            if Instant::now() >= next_look {
                next_look = Instant::now() + interval;
                if !self.is_paused {
                    self.look(ask());
                }
            }
            terminal.draw(|frame| view::draw(frame, &self.scene()))?;
            let wait = next_look.saturating_duration_since(Instant::now());
            if event::poll(wait)?
                && let Event::Key(key) = event::read()?
                && self.key(key) == Next::End
            {
                return Ok(());
            }
        }
    }

    /// One more report, or why there is none; then the last one stays.
    fn look(&mut self, answer: Result<StatusReport, String>) {
        match answer {
            Ok(report) => {
                self.rates = Rates::between(&self.report, &report);
                self.history.add(&report, &self.rates);
                self.report = report;
                self.trouble = None;
            }
            Err(error) => {
                self.rates = Rates::between(&self.report, &self.report);
                self.history.add(&self.report, &self.rates);
                self.trouble = Some(error);
            }
        }
    }

    fn key(&mut self, key: KeyEvent) -> Next {
        if key.kind == KeyEventKind::Release {
            return Next::GoOn;
        }
        let is_control = key.modifiers.contains(KeyModifiers::CONTROL);
        match key.code {
            KeyCode::Char('q') | KeyCode::Esc => return Next::End,
            KeyCode::Char('c') if is_control => return Next::End,
            KeyCode::Char('p') => self.is_paused = !self.is_paused,
            KeyCode::Tab => self.choose(self.tab.next()),
            KeyCode::Char(digit @ '1'..='4') => {
                let place = digit as usize - '1' as usize;
                self.choose(Tab::ALL[place]);
            }
            KeyCode::Down => self.scroll = (self.scroll + 1).min(self.rows().saturating_sub(1)),
            KeyCode::Up => self.scroll = self.scroll.saturating_sub(1),
            _ => {}
        }
        Next::GoOn
    }

    fn choose(&mut self, tab: Tab) {
        (self.tab, self.scroll) = (tab, 0);
    }

    /// Rows of the table that is shown.
    fn rows(&self) -> usize {
        match self.tab {
            Tab::Services => self.report.services.len(),
            Tab::Backends => self.report.services.iter().map(|s| s.backends.len()).sum(),
            Tab::Workers => self.report.workers.len(),
            Tab::Verdicts => self.rates.verdicts.len(),
        }
    }

    fn scene(&self) -> Scene<'_> {
        Scene {
            report: &self.report,
            rates: &self.rates,
            history: &self.history,
            tab: self.tab,
            scroll: self.scroll,
            is_paused: self.is_paused,
            trouble: self.trouble.as_deref(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::sample_report;

    #[test]
    fn keys() {
        let mut top = Top::new(sample_report());
        let mut press = |code| {
            let next = top.key(KeyEvent::new(code, KeyModifiers::NONE));
            (next, top.tab, top.scroll, top.is_paused)
        };
        let on = |tab, scroll, is_paused| (Next::GoOn, tab, scroll, is_paused);
        assert_eq!(press(KeyCode::Tab), on(Tab::Backends, 0, false));
        assert_eq!(press(KeyCode::Down), on(Tab::Backends, 1, false));
        assert_eq!(press(KeyCode::Down), on(Tab::Backends, 1, false), "there are two rows");
        assert_eq!(press(KeyCode::Up), on(Tab::Backends, 0, false));
        assert_eq!(press(KeyCode::Char('4')), on(Tab::Verdicts, 0, false));
        assert_eq!(press(KeyCode::Char('p')), on(Tab::Verdicts, 0, true));
        assert_eq!(press(KeyCode::Char('x')), on(Tab::Verdicts, 0, true));
        assert_eq!(press(KeyCode::Char('q')).0, Next::End);
        let control_c = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
        assert_eq!(top.key(control_c), Next::End);
    }

    #[test]
    fn without_an_answer_the_last_one_stays() {
        let mut top = Top::new(sample_report());
        top.look(Err("no answer".into()));
        assert_eq!((top.trouble.as_deref(), top.report.pid), (Some("no answer"), 4242));
        top.look(Ok(sample_report()));
        assert_eq!(top.trouble, None);
    }

    #[test]
    fn intervals() {
        assert_eq!(interval("0.5"), Ok(0.5));
        for wrong in ["0", "-1", "x", "NaN", "1e9"] {
            assert!(interval(wrong).is_err(), "{wrong}");
        }
    }
}
