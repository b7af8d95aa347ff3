//! What `guideway top` draws.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Borders, Cell, Paragraph, Row, Sparkline, Table};

use super::rates::{Both, History, Rate, Rates};
use crate::admin::StatusReport;

/// Which table is shown.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Tab {
    #[default]
    Services,
    Backends,
    Workers,
    Verdicts,
}

impl Tab {
    /// In the order of their keys, 1 and up.
    pub const ALL: [Tab; 4] = [Tab::Services, Tab::Backends, Tab::Workers, Tab::Verdicts];

    fn name(self) -> &'static str {
        match self {
            Tab::Services => "services",
            Tab::Backends => "backends",
            Tab::Workers => "workers",
            Tab::Verdicts => "verdicts",
        }
    }

    /// The one behind it.
    pub fn next(self) -> Tab {
        Tab::ALL[(self as usize + 1) % Tab::ALL.len()]
    }
}

/// What there is to draw.
pub struct Scene<'a> {
    pub report: &'a StatusReport,
    pub rates: &'a Rates,
    pub history: &'a History,
    pub tab: Tab,
    /// Rows that are scrolled away.
    pub scroll: usize,
    pub is_paused: bool,
    /// Why there is nothing newer.
    pub trouble: Option<&'a str>,
}

/// Draws it all.
pub fn draw(frame: &mut Frame<'_>, scene: &Scene<'_>) {
    let parts = [
        Constraint::Length(1),
        Constraint::Length(6),
        Constraint::Length(1),
        Constraint::Min(3),
        Constraint::Length(1),
    ];
    let [head, lines, tabs, table, keys] = Layout::vertical(parts).areas(frame.area());
    frame.render_widget(heading(scene), head);
    draw_lines(frame, lines, scene);
    frame.render_widget(tab_line(scene.tab), tabs);
    frame.render_widget(rows(scene), table);
    let text = "q quit   1-4 or Tab choose a table   up, down scroll   p pause";
    frame.render_widget(Paragraph::new(text).style(dim()), keys);
}

fn dim() -> Style {
    Style::new().fg(Color::DarkGray)
}

fn heading(scene: &Scene<'_>) -> Paragraph<'static> {
    let report = scene.report;
    let up_seconds = report.now_unix_ms.saturating_sub(report.started_unix_ms) / 1000;
    let flows: u64 = report.workers.iter().map(|worker| worker.flows).sum();
    let mut spans = vec![
        Span::styled(
            format!("Guideway {}", report.version),
            Style::new().add_modifier(Modifier::BOLD),
        ),
        Span::raw(format!(
            "  pid {}, up {up_seconds} s, generation {}, {flows} flows",
            report.pid, report.generation.acknowledged
        )),
    ];
    if scene.is_paused {
        spans.push(Span::styled("  paused", Style::new().fg(Color::Yellow)));
    }
    if let Some(trouble) = scene.trouble {
        spans.push(Span::styled(format!("  {trouble}"), Style::new().fg(Color::Red)));
    }
    Paragraph::new(Line::from(spans))
}

fn draw_lines(frame: &mut Frame<'_>, area: Rect, scene: &Scene<'_>) {
    let [left, right] =
        Layout::horizontal([Constraint::Percentage(65), Constraint::Percentage(35)]).areas(area);
    let total = &scene.rates.total;
    let title = format!("received: {} packets/s, {}bit/s", si(total.packets), si(total.bits));
    draw_line(frame, left, (title, Color::Green), scene.history.total.iter().copied());
    let title = format!("dropped: {} packets/s", si(scene.rates.dropped_packets));
    draw_line(frame, right, (title, Color::Red), scene.history.dropped.iter().copied());
}

fn draw_line(
    frame: &mut Frame<'_>,
    area: Rect,
    (title, color): (String, Color),
    values: impl DoubleEndedIterator<Item = u64>,
) {
    let block = Block::new().borders(Borders::ALL).border_style(dim()).title(title);
    // The newest at the right edge.
    let width = usize::from(block.inner(area).width);
    let mut shown: Vec<u64> = values.rev().take(width).collect();
    shown.resize(width, 0);
    shown.reverse();
    let line = Sparkline::default().block(block).style(Style::new().fg(color)).data(shown);
    frame.render_widget(line, area);
}

fn tab_line(chosen: Tab) -> Paragraph<'static> {
    let tabs = (1..).zip(Tab::ALL).map(|(key, tab)| {
        let style =
            if tab == chosen { Style::new().add_modifier(Modifier::REVERSED) } else { dim() };
        Span::styled(format!(" {key} {} ", tab.name()), style)
    });
    Paragraph::new(Line::from(tabs.collect::<Vec<_>>()))
}

fn rows(scene: &Scene<'_>) -> Table<'static> {
    let (header, widths, rows): (&[&str], &[u16], Vec<Vec<String>>) = match scene.tab {
        Tab::Services => (
            &[
                "service",
                "VIP",
                "mode",
                "flows",
                "packets in/s",
                "bits in/s",
                "packets back/s",
                "bits back/s",
                "",
            ],
            &[16, 22, 6, 8, 12, 10, 14, 11, 20],
            services(scene),
        ),
        Tab::Backends => (
            &[
                "service",
                "backend",
                "state",
                "flows",
                "packets in/s",
                "bits in/s",
                "packets back/s",
                "bits back/s",
            ],
            &[16, 16, 10, 8, 12, 10, 14, 11],
            backends(scene),
        ),
        Tab::Workers => (
            &["worker", "core", "flows", "of at most", "packets/s", "bits/s", "restarts"],
            &[6, 5, 10, 10, 10, 8, 8],
            workers(scene),
        ),
        Tab::Verdicts => (&["verdict", "packets/s", "so far"], &[40, 10, 16], verdicts(scene)),
    };
    let widths = widths.iter().map(|width| Constraint::Length(*width));
    let body = rows.into_iter().skip(scene.scroll);
    let body = body.map(|cells| Row::new(cells.into_iter().map(Cell::from).collect::<Vec<_>>()));
    let header = Row::new(header.iter().map(|name| Cell::from(*name)).collect::<Vec<_>>());
    Table::new(body, widths).header(header.style(Style::new().add_modifier(Modifier::BOLD)))
}

fn both(both: &Both) -> [String; 4] {
    let Both { towards, back } = both;
    [si(towards.packets), si(towards.bits), si(back.packets), si(back.bits)]
}

fn services(scene: &Scene<'_>) -> Vec<Vec<String>> {
    let all = scene.report.services.iter().zip(&scene.rates.services);
    let row = |(service, (rates, _)): (&crate::admin::ServiceStatus, &(Both, Vec<Both>))| {
        let mut cells = vec![
            service.name.clone(),
            service.vip.to_string(),
            service.mode.clone(),
            service.flows.to_string(),
        ];
        cells.extend(both(rates));
        cells.push(blocks(&scene.history.of_service(&service.name), 20));
        cells
    };
    all.map(row).collect()
}

fn backends(scene: &Scene<'_>) -> Vec<Vec<String>> {
    let mut rows = Vec::new();
    for (service, (_, rates)) in scene.report.services.iter().zip(&scene.rates.services) {
        for (backend, rates) in service.backends.iter().zip(rates) {
            let mut cells = vec![
                service.name.clone(),
                backend.name.clone(),
                format!("{:?}", backend.state).to_lowercase(),
                backend.flows.to_string(),
            ];
            cells.extend(both(rates));
            rows.push(cells);
        }
    }
    rows
}

fn workers(scene: &Scene<'_>) -> Vec<Vec<String>> {
    let all = scene.report.workers.iter().zip(&scene.rates.workers);
    let row = |(worker, rate): (&crate::admin::WorkerStatus, &Rate)| {
        vec![
            worker.worker.to_string(),
            worker.core.map_or_else(|| "-".to_owned(), |core| core.to_string()),
            worker.flows.to_string(),
            worker.flows_limit.to_string(),
            si(rate.packets),
            si(rate.bits),
            worker.restarts.to_string(),
        ]
    };
    all.map(row).collect()
}

fn verdicts(scene: &Scene<'_>) -> Vec<Vec<String>> {
    let all = scene.rates.verdicts.iter();
    all.map(|(name, count, rate)| vec![name.clone(), si(*rate), count.to_string()]).collect()
}

/// With a prefix of the SI, three digits or so: `12.3 M`.
fn si(value: f64) -> String {
    for (limit, prefix) in [(1e9, "G"), (1e6, "M"), (1e3, "k")] {
        if value >= limit {
            return format!("{:.1} {prefix}", value / limit);
        }
    }
    format!("{value:.0} ")
}

/// The last values as blocks of eight heights.
fn blocks(values: &[u64], width: usize) -> String {
    const HEIGHTS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let shown = &values[values.len().saturating_sub(width)..];
    let most = shown.iter().copied().max().unwrap_or(0).max(1);
    let height = |value: &u64| HEIGHTS[(value * 7).div_ceil(most).min(7) as usize];
    shown.iter().map(height).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::sample_report;
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    fn drawn(tab: Tab, trouble: Option<&str>) -> String {
        let before = sample_report();
        let mut now = before.clone();
        now.now_unix_ms += 1000;
        now.counters.received += 1500;
        now.counters.received_bytes += 2_000_000;
        now.counters.forwarded += 1500;
        now.workers[0].received += 1500;
        now.services[0].backends[0].traffic.packets_in += 1500;
        let rates = Rates::between(&before, &now);
        let mut history = History::default();
        history.add(&now, &rates);
        let scene = Scene {
            report: &now,
            rates: &rates,
            history: &history,
            tab,
            scroll: 0,
            is_paused: false,
            trouble,
        };
        let mut terminal = Terminal::new(TestBackend::new(130, 20)).unwrap();
        terminal.draw(|frame| draw(frame, &scene)).unwrap();
        terminal.backend().to_string()
    }

    #[test]
    fn each_table_has_what_it_says() {
        let rows: [(Tab, &[&str]); 4] = [
            (Tab::Services, &["service", "web", "10.1.0.100:80", "nat", "42", "1.5 k", "█"]),
            (Tab::Backends, &["b1", "active", "b2", "unhealthy", "1.5 k"]),
            (Tab::Workers, &["worker", "1048576", "12.0 k"]),
            (Tab::Verdicts, &["forward", "5460", "drop no_service", "34"]),
        ];
        for (tab, wanted) in rows {
            let text = drawn(tab, None);
            let common = ["Guideway 0.1.0", "pid 4242", "42 flows", "16.0 Mbit/s", "q quit"];
            let wanted = wanted.iter().filter(|part| **part != "12.0 k").chain(&common);
            for part in wanted {
                assert!(text.contains(part), "{part} in {tab:?}:\n{text}");
            }
        }
        assert!(drawn(Tab::Services, Some("no answer")).contains("no answer"));
    }

    #[test]
    fn numbers_are_short() {
        let rows =
            [(0.0, "0 "), (999.4, "999 "), (1500.0, "1.5 k"), (2.5e6, "2.5 M"), (3e9, "3.0 G")];
        for (value, wanted) in rows {
            assert_eq!(si(value), wanted);
        }
        assert_eq!(blocks(&[0, 1, 4, 8], 3), "▂▅█");
        assert_eq!(blocks(&[], 3), "");
    }

    #[test]
    fn tabs_go_round() {
        assert_eq!(
            Tab::ALL.map(Tab::next),
            [Tab::Backends, Tab::Workers, Tab::Verdicts, Tab::Services]
        );
    }
}
