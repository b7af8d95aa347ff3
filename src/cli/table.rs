//! Aligned tables and explanations as the commands print them.

use comfy_table::{Attribute, Cell, CellAlignment, Color, Table, presets};

/// Text as it is.
pub fn plain(value: impl ToString) -> Cell {
    Cell::new(value)
}

/// Text that is fine.
pub fn good(value: impl ToString) -> Cell {
    Cell::new(value).fg(Color::Green)
}

/// Text to look at.
pub fn doubtful(value: impl ToString) -> Cell {
    Cell::new(value).fg(Color::Yellow)
}

/// Text that is not fine.
pub fn bad(value: impl ToString) -> Cell {
    Cell::new(value).fg(Color::Red)
}

/// A table without lines: columns two blanks apart, numbers (`#` in the header) to the right.
pub struct Aligned {
    table: Table,
}

impl Aligned {
    /// Headings, with `|` between them.
    pub fn new(coloured: bool, header: &str) -> Aligned {
        let mut table = Table::new();
        table.load_style(presets::NOTHING);
        if coloured {
            table.enforce_styling();
        } else {
            table.force_no_tty();
        }
        let names: Vec<_> = header.split('|').collect();
        let cell =
            |name: &&str| Cell::new(name.trim_start_matches('#')).add_attribute(Attribute::Bold);
        table.set_header(names.iter().map(cell).collect::<Vec<_>>());
        for (column, name) in table.column_iter_mut().zip(&names) {
            column.set_padding((0, 2));
            if name.starts_with('#') {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        Aligned { table }
    }

    /// One more row.
    pub fn row(&mut self, cells: impl IntoIterator<Item = Cell>) {
        self.table.add_row(cells.into_iter().collect::<Vec<_>>());
    }

    /// Nothing at all when there is no row.
    pub fn text(&self) -> String {
        if self.table.is_empty() {
            return String::new();
        }
        self.table.lines().map(|line| format!("{}\n", line.trim_end())).collect()
    }
}

/// Width of a line of explanation.
#[cfg(feature = "afxdp")]
pub const COLUMNS: usize = 100;

/// A text in lines that end before [`COLUMNS`] with this much in front of each.
#[cfg(feature = "afxdp")]
pub fn wrapped(text: &str, indent: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let last = lines.last().map_or(0, String::len);
        match lines.last_mut() {
            Some(line) if last == 0 => line.push_str(word),
            Some(line) if indent + last + 1 + word.len() <= COLUMNS => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_string()),
        }
    }
    lines
}
