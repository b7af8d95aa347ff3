//! The text format of Prometheus, version 0.0.4: families of samples with HELP and TYPE.

use std::fmt::{Display, Write};

/// What the values of a family do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// They grow; after a restart from 0 on.
    Counter,
    /// They go up and down.
    Gauge,
}

/// All families, in the order in which they are begun.
#[derive(Debug, Default)]
pub struct Exposition {
    text: String,
}

impl Exposition {
    /// Begins a family; its samples follow at once.
    pub fn family(&mut self, kind: Kind, name: &'static str, help: &str) -> Family<'_> {
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
        };
        let help = help.replace('\\', "\\\\").replace('\n', "\\n");
        // A text never refuses what is written to it.
        let _ = write!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
        Family { text: &mut self.text, name }
    }

    /// A family with one sample.
    pub fn single(&mut self, kind: Kind, name: &'static str, help: &str, value: impl Display) {
        self.family(kind, name, help).sample(&[], value);
    }

    /// All of it.
    pub fn into_text(self) -> String {
        self.text
    }
}

/// A family under way.
#[derive(Debug)]
pub struct Family<'a> {
    text: &'a mut String,
    name: &'static str,
}

impl Family<'_> {
    /// One more sample.
    pub fn sample(&mut self, labels: &[(&str, &str)], value: impl Display) {
        self.text.push_str(self.name);
        for (place, (label, value)) in labels.iter().enumerate() {
            let before = if place == 0 { '{' } else { ',' };
            let _ = write!(self.text, "{before}{label}=\"");
            escape(self.text, value);
            self.text.push('"');
        }
        let end = if labels.is_empty() { "" } else { "}" };
        let _ = writeln!(self.text, "{end} {value}");
    }
}

fn escape(text: &mut String, value: &str) {
    for letter in value.chars() {
        match letter {
            '\\' => text.push_str("\\\\"),
            '"' => text.push_str("\\\""),
            '\n' => text.push_str("\\n"),
            _ => text.push(letter),
        }
    }
}

/// A truth as a number.
pub fn truth(is_so: bool) -> u8 {
    u8::from(is_so)
}

/// Milliseconds as seconds.
pub fn seconds(ms: u64) -> f64 {
    ms as f64 / 1_000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_and_samples_as_they_are_read() {
        let mut all = Exposition::default();
        let mut family = all.family(Kind::Counter, "a_total", "Back\\slash\nand line.");
        family.sample(&[("one", "x"), ("two", "q\"b\\n\n")], 7u64);
        family.sample(&[], 0.5);
        all.single(Kind::Gauge, "b_seconds", "Time.", seconds(1_500));
        let wanted = "# HELP a_total Back\\\\slash\\nand line.\n# TYPE a_total counter\n\
                      a_total{one=\"x\",two=\"q\\\"b\\\\n\\n\"} 7\na_total 0.5\n\
                      # HELP b_seconds Time.\n# TYPE b_seconds gauge\nb_seconds 1.5\n";
        assert_eq!(all.into_text(), wanted);
    }
}
