//! The rows as bars, an SVG without any library.

use std::fmt::Write;
use std::path::Path;

use anyhow::Result;

use super::results::{Row, Sample, Unit, rate, rows};

const WIDTH: f64 = 860.0;
/// Where bars begin, and how long the longest of a group is.
const LEFT: f64 = 190.0;
const LONGEST: f64 = 520.0;
const BAR: f64 = 18.0;
const GAP: f64 = 30.0;

/// Draws a group of bars for each load, scaled by itself.
pub fn write_svg(samples: &[Sample], title: &str, path: &Path) -> Result<()> {
    let rows = rows(samples);
    let mut groups: Vec<Vec<&Row>> = Vec::new();
    for row in rows.iter().filter(|row| row.first().unit != Unit::Nanoseconds) {
        match groups.iter_mut().find(|group| group[0].first().load == row.first().load) {
            Some(group) => group.push(row),
            None => groups.push(vec![row]),
        }
    }
    let mut drawn = String::new();
    let mut y = 50.0;
    for group in &groups {
        y = draw_group(&mut drawn, group, y) + GAP;
    }
    let text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{y}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
         <text x=\"20\" y=\"24\" font-size=\"15\">{}</text>\n{drawn}</svg>\n",
        escape(title)
    );
    Ok(std::fs::write(path, text)?)
}

/// Gives where it ended.
fn draw_group(drawn: &mut String, group: &[&Row], top: f64) -> f64 {
    let first = group[0].first();
    let _ = writeln!(
        drawn,
        "<text x=\"20\" y=\"{top}\" font-weight=\"bold\">{}, {}</text>",
        escape(&first.load),
        first.unit.name()
    );
    let value = |row: &Row| row.median(|sample| sample.value);
    let most = group.iter().map(|row| value(row)).fold(1.0, f64::max);
    let mut y = top + 8.0;
    for row in group {
        let name = &row.first().contender;
        let length = LONGEST * value(row) / most;
        let colour = if name.starts_with("guideway") { "#2a6fb0" } else { "#b9bec4" };
        let _ = writeln!(
            drawn,
            "<text x=\"{:.0}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>\
             <rect x=\"{LEFT}\" y=\"{y:.1}\" width=\"{length:.1}\" height=\"{:.1}\" \
             fill=\"{colour}\"/><text x=\"{:.1}\" y=\"{:.1}\">{}</text>",
            LEFT - 8.0,
            y + 12.5,
            escape(name),
            BAR - 3.0,
            LEFT + length + 6.0,
            y + 12.5,
            rate(row.first().unit, value(row)),
        );
        y += BAR;
    }
    y
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
