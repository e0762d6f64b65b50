//! Text tables: columns as wide as their widest cell, two spaces apart, nothing drawn. Cells never break a line.

use std::io::{self, Write};

use console::measure_text_width;

use super::escape;

/// Rows under headings.
#[derive(Debug, Clone)]
pub(crate) struct Table {
    headings: Vec<String>,
    right: Vec<bool>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table without rows. All columns are aligned to the left.
    pub(crate) fn new<const N: usize>(headings: [&str; N]) -> Table {
        Table { headings: headings.map(str::to_owned).to_vec(), right: vec![false; N], rows: Vec::new() }
    }

    /// Aligns the columns of these zero-based indexes to the right, as numbers are.
    #[must_use]
    pub(crate) fn right<const N: usize>(mut self, columns: [usize; N]) -> Table {
        for column in columns {
            self.right[column] = true;
        }
        self
    }

    /// Adds a row; a missing cell is empty, one too many is dropped. Cells are escaped.
    pub(crate) fn row<I: IntoIterator<Item = S>, S: AsRef<str>>(&mut self, cells: I) {
        let mut row: Vec<String> =
            cells.into_iter().take(self.headings.len()).map(|cell| escape(cell.as_ref())).collect();
        row.resize(self.headings.len(), String::new());
        self.rows.push(row);
    }

    /// Writes headings and rows, a line each, without trailing spaces.
    ///
    /// # Errors
    /// Those of the writer.
    pub(crate) fn write_to(&self, out: &mut dyn Write) -> io::Result<()> {
        let lines = || std::iter::once(&self.headings).chain(&self.rows);
        let widths: Vec<usize> = (0..self.headings.len())
            .map(|column| lines().map(|row| measure_text_width(&row[column])).max().unwrap_or(0))
            .collect();
        for row in lines() {
            let mut line = String::new();
            for (column, cell) in row.iter().enumerate() {
                let padding = " ".repeat(widths[column] - measure_text_width(cell));
                if column > 0 {
                    line.push_str("  ");
                }
                if self.right[column] {
                    line.push_str(&padding);
                    line.push_str(cell);
                } else {
                    line.push_str(cell);
                    line.push_str(&padding);
                }
            }
            writeln!(out, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let mut table = Table::new(["chunk", "records", "name"]).right([1]);
        table.row(["1", "25,000", "日本"]);
        table.row(["2", "7", "a\tb"]);
        table.row(["3"]);
        let mut text = Vec::new();
        table.write_to(&mut text).unwrap();
        insta::assert_snapshot!(String::from_utf8(text).unwrap(), @r"
        chunk  records  name
        1       25,000  日本
        2            7  a\tb
        3
        ");
    }
}
