//! Results on standard output: tables and JSON. A closed pipe (`zbulk status | head`) ends the output and not the run.

use std::fmt::Display;
use std::io::{self, ErrorKind, Write};
use std::time::Duration;

use serde::Serialize;

mod table;

pub(crate) use table::Table;

/// Standard output, buffered. Nothing may be printed by other means.
pub(crate) fn stdout() -> Results<io::StdoutLock<'static>> {
    Results::new(io::stdout().lock())
}

/// A place for results that may go away: once the reader has closed the pipe, everything further is dropped.
#[derive(Debug)]
pub(crate) struct Results<W: Write> {
    out: io::BufWriter<W>,
    closed: bool,
}

impl<W: Write> Results<W> {
    /// Writes to `out` through a buffer.
    pub(crate) fn new(out: W) -> Results<W> {
        Results { out: io::BufWriter::new(out), closed: false }
    }

    /// A line of our own text. Names and keys from inputs in it must have gone through [`escape`].
    ///
    /// # Errors
    /// Those of the writer, save that of a closed pipe.
    pub(crate) fn line(&mut self, line: &str) -> io::Result<()> {
        self.attempt(|out| writeln!(out, "{line}"))
    }

    /// One JSON document, indented, with a line end.
    ///
    /// # Errors
    /// Those of the writer, save that of a closed pipe.
    pub(crate) fn json(&mut self, document: &impl Serialize) -> io::Result<()> {
        self.attempt(|out| {
            serde_json::to_writer_pretty(&mut *out, document)?;
            writeln!(out)
        })
    }

    /// A table with aligned columns.
    ///
    /// # Errors
    /// Those of the writer, save that of a closed pipe.
    pub(crate) fn table(&mut self, table: &Table) -> io::Result<()> {
        self.attempt(|out| table.write_to(out))
    }

    /// Bytes as they are, such as a completion script.
    ///
    /// # Errors
    /// Those of the writer, save that of a closed pipe.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.attempt(|out| out.write_all(bytes))
    }

    /// Brings what is buffered to the reader now.
    ///
    /// # Errors
    /// Those of the writer, save that of a closed pipe.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        self.attempt(Write::flush)
    }

    /// Brings everything to the reader.
    ///
    /// # Errors
    /// Those of the writer, save that of a closed pipe.
    pub(crate) fn finish(mut self) -> io::Result<()> {
        self.flush()
    }

    fn attempt(&mut self, write: impl FnOnce(&mut io::BufWriter<W>) -> io::Result<()>) -> io::Result<()> {
        if self.closed {
            return Ok(());
        }
        match write(&mut self.out) {
            Err(error) if error.kind() == ErrorKind::BrokenPipe => {
                self.closed = true;
                Ok(())
            }
            other => other,
        }
    }
}

/// Text with every character escaped that could end a line, move the cursor, or turn the direction of writing: names,
/// keys and messages from inputs and servers cannot forge output.
pub(crate) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        if is_unprintable(c) { escaped.extend(c.escape_default()) } else { escaped.push(c) }
    }
    escaped
}

/// Control characters, and Unicode's invisible ones for direction, line ends and byte order.
fn is_unprintable(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

/// A number with its thousands apart: `25,000`.
pub(crate) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A number of things: `1 chunk`, `25,000 records`. The name is given for one.
pub(crate) fn counted(number: u64, name: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{} {name}{plural}", count(number))
}

/// A number of bytes in decimal units with three significant digits or so: `25.0 MB`.
pub(crate) fn bytes(number: u64) -> String {
    const UNITS: [&str; 6] = ["kB", "MB", "GB", "TB", "PB", "EB"];
    if number < 1_000 {
        return format!("{number} B");
    }
    let mut value = number as f64 / 1_000.0;
    let mut unit = 0;
    while value >= 999.95 && unit + 1 < UNITS.len() {
        value /= 1_000.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

/// A time span in its two largest units: `2d 3h`, `1h 5m`, `2m 10s`, `12s`, `250ms`.
pub(crate) fn duration(span: Duration) -> String {
    let seconds = span.as_secs();
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
    match (days, hours, minutes, seconds % 60) {
        (0, 0, 0, 0) => format!("{}ms", span.subsec_millis()),
        (0, 0, 0, s) => format!("{s}s"),
        (0, 0, m, 0) => format!("{m}m"),
        (0, 0, m, s) => format!("{m}m {s}s"),
        (0, h, 0, _) => format!("{h}h"),
        (0, h, m, _) => format!("{h}h {m}m"),
        (d, 0, ..) => format!("{d}d"),
        (d, h, ..) => format!("{d}d {h}h"),
    }
}

/// Colours, or none.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Paint(pub bool);

impl Paint {
    /// The word before an error.
    pub(crate) fn error(self, text: impl Display) -> String {
        self.wrap("1;31", text)
    }

    /// The word before a warning.
    pub(crate) fn warning(self, text: impl Display) -> String {
        self.wrap("1;33", text)
    }

    /// The word before a hint.
    pub(crate) fn hint(self, text: impl Display) -> String {
        self.wrap("1;36", text)
    }

    fn wrap(self, code: &str, text: impl Display) -> String {
        if self.0 { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_string() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes `room` bytes and then says that nobody reads any more.
    struct Pipe {
        room: usize,
    }

    impl Write for Pipe {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if self.room == 0 {
                return Err(ErrorKind::BrokenPipe.into());
            }
            let taken = bytes.len().min(self.room);
            self.room -= taken;
            Ok(taken)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// Takes nothing, as a full disk would.
    struct Full;

    impl Write for Full {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(ErrorKind::StorageFull.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_closed_pipe_is_no_failure() {
        for room in [0, 1, 100, 50_000] {
            let mut results = Results::new(Pipe { room });
            for _ in 0..1_000 {
                results.line(&"x".repeat(100)).unwrap();
            }
            results.json(&[1, 2, 3]).unwrap();
            results.finish().unwrap();
        }
    }

    #[test]
    fn any_other_failure_to_write_is_told() {
        let mut results = Results::new(Full);
        results.line("x").unwrap();
        assert_eq!(results.finish().unwrap_err().kind(), ErrorKind::StorageFull);
    }

    #[test]
    fn escaping_leaves_no_character_that_could_forge_output() {
        assert_eq!(escape("Zürich 日本"), "Zürich 日本");
        assert_eq!(escape("a\nerror: \x1b[2J\u{202e}b\u{85}"), "a\\nerror: \\u{1b}[2J\\u{202e}b\\u{85}");
    }

    #[test]
    fn numbers_read_well() {
        assert_eq!(
            [0, 7, 999, 1_000, 25_000, 1_234_567].map(count).join(" "),
            "0 7 999 1,000 25,000 1,234,567"
        );
        assert_eq!(
            [0, 1, 1_000].map(|number| counted(number, "chunk")).join(" "),
            "0 chunks 1 chunk 1,000 chunks"
        );
        assert_eq!(
            [0, 999, 1_000, 25_000_000, 999_949, 999_950, 5_000_000_000].map(bytes).join(" | "),
            "0 B | 999 B | 1.0 kB | 25.0 MB | 999.9 kB | 1.0 MB | 5.0 GB"
        );
        let spans = [0, 250, 12_000, 60_000, 130_000, 3_600_000, 3_900_000, 172_800_000, 183_600_000];
        assert_eq!(
            spans.map(Duration::from_millis).map(duration).join(" | "),
            "0ms | 250ms | 12s | 1m | 2m 10s | 1h | 1h 5m | 2d | 2d 3h"
        );
        assert!(bytes(u64::MAX).ends_with("EB"));
    }
}
