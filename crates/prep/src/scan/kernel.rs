//! One record at a time: where it ends, how many fields it has, where its key is, what is odd about it.
//!
//! # Advice for maintainers
//! The automaton is that of the `csv` crate, which `oracle` runs beside it in every test: a quote means something
//! only as the first byte of a field; inside a quoted field two quotes are one; text after a closing quote goes on
//! as an unquoted field; LF, CR and CRLF each end a record; empty lines are no records. [`Step::Incomplete`] must
//! be the answer wherever a byte that is not in the buffer could change the outcome, or a record that straddles
//! two blocks would come out differently from one that does not.

use std::ops::Range;

use super::structurals::Structurals;

/// What the kernel must know of an input.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shape {
    /// One ASCII byte; never a quote, LF, CR.
    pub(crate) delimiter: u8,
    /// Zero-based column of the key.
    pub(crate) key: Option<usize>,
}

/// A record as the kernel saw it. Positions are relative to the buffer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Parsed {
    /// First byte after the blank lines that precede the record, up to (not including) its line end.
    pub(crate) content: Range<usize>,
    /// First byte after the line end.
    pub(crate) end: usize,
    /// How many.
    pub(crate) fields: usize,
    /// Blank lines before the record.
    pub(crate) blank_lines: u64,
    /// The content is, byte for byte, what the output would hold if the delimiter is a comma.
    pub(crate) canonical: bool,
    /// A line end stands inside a quoted field.
    pub(crate) spans_lines: bool,
    /// Something other than a delimiter or a line end follows a closing quote.
    pub(crate) text_after_quote: bool,
    /// The key field as it stands, quotes included; `None` where the record has too few fields.
    pub(crate) key: Option<Range<usize>>,
}

/// The outcome of looking for one record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    /// A record.
    Record(Parsed),
    /// The buffer ends before the record does.
    Incomplete {
        /// Whether it ends inside a quoted field.
        in_quotes: bool,
    },
    /// The input ends inside a quoted field.
    UnclosedQuote {
        /// Where the record begins.
        start: usize,
    },
    /// Nothing but blank lines up to the end of the input.
    End {
        /// How many.
        blank_lines: u64,
    },
}

/// Finds records one after the other in a buffer that begins at a record's start.
pub(crate) struct Kernel<'a> {
    buf: &'a [u8],
    shape: Shape,
    structurals: Structurals<'a>,
    position: usize,
    /// No byte follows the buffer.
    at_end: bool,
}

/// How a field ended.
enum FieldEnd {
    Delimiter(usize),
    LineEnd(usize),
    InputEnd,
    /// The buffer's end; the automaton cannot go on.
    Unknown {
        in_quotes: bool,
    },
    Unclosed,
}

impl<'a> Kernel<'a> {
    /// `at_end` says that the input ends with the buffer.
    pub(crate) fn new(buf: &'a [u8], from: usize, shape: Shape, at_end: bool) -> Kernel<'a> {
        let structurals = Structurals::new(buf, from, shape.delimiter);
        Kernel { buf, shape, structurals, position: from, at_end }
    }

    /// The next record. After anything but [`Step::Record`] the kernel must not be asked again.
    #[inline]
    pub(crate) fn next(&mut self) -> Step {
        let Ok(blank_lines) = self.skip_blank_lines() else {
            return Step::Incomplete { in_quotes: false };
        };
        let start = self.position;
        if start == self.buf.len() {
            return if self.at_end {
                Step::End { blank_lines }
            } else {
                Step::Incomplete { in_quotes: false }
            };
        }
        let mut parsed = Parsed {
            content: start..start,
            end: start,
            fields: 0,
            blank_lines,
            canonical: true,
            spans_lines: false,
            text_after_quote: false,
            key: None,
        };
        let mut field_start = start;
        loop {
            let field_end = if self.buf.get(field_start) == Some(&b'"') {
                self.quoted(field_start, &mut parsed)
            } else {
                self.unquoted(&mut parsed)
            };
            let (content_end, end) = match field_end {
                FieldEnd::Delimiter(position) => {
                    self.field(&mut parsed, field_start..position);
                    field_start = position + 1;
                    continue;
                }
                FieldEnd::LineEnd(position) => match self.line_end(position) {
                    Some(end) => (position, end),
                    None => return Step::Incomplete { in_quotes: false },
                },
                FieldEnd::InputEnd => (self.buf.len(), self.buf.len()),
                FieldEnd::Unknown { in_quotes } => return Step::Incomplete { in_quotes },
                FieldEnd::Unclosed => return Step::UnclosedQuote { start },
            };
            self.field(&mut parsed, field_start..content_end);
            parsed.content.end = content_end;
            parsed.end = end;
            self.position = end;
            // An only field that is empty is written as two quotes, or it would be a blank line.
            if parsed.fields == 1 && &self.buf[parsed.content.clone()] == b"\"\"" {
                parsed.canonical = true;
            }
            return Step::Record(parsed);
        }
    }

    #[inline]
    fn field(&self, parsed: &mut Parsed, field: Range<usize>) {
        if self.shape.key == Some(parsed.fields) {
            parsed.key = Some(field);
        }
        parsed.fields += 1;
    }

    #[inline]
    fn unquoted(&mut self, parsed: &mut Parsed) -> FieldEnd {
        loop {
            let position = self.structurals.next();
            match self.buf.get(position) {
                // A character like any other; but written, the field must be quoted.
                Some(b'"') => parsed.canonical = false,
                Some(b'\n' | b'\r') => return FieldEnd::LineEnd(position),
                Some(_) => return FieldEnd::Delimiter(position),
                None if self.at_end => return FieldEnd::InputEnd,
                None => return FieldEnd::Unknown { in_quotes: false },
            }
        }
    }

    #[inline]
    fn quoted(&mut self, open: usize, parsed: &mut Parsed) -> FieldEnd {
        let opened = self.structurals.next();
        debug_assert_eq!(opened, open, "the opening quote is the next structural byte");
        let mut needs_quotes = false;
        loop {
            let position = self.structurals.next();
            match self.buf.get(position) {
                Some(b'"') => match self.buf.get(position + 1) {
                    Some(b'"') => {
                        self.structurals.next();
                        needs_quotes = true;
                    }
                    following => {
                        parsed.canonical &= needs_quotes;
                        return match following {
                            Some(&byte) if byte == self.shape.delimiter => {
                                FieldEnd::Delimiter(self.structurals.next())
                            }
                            Some(b'\n' | b'\r') => FieldEnd::LineEnd(self.structurals.next()),
                            Some(_) => {
                                parsed.text_after_quote = true;
                                parsed.canonical = false;
                                self.unquoted(parsed)
                            }
                            None if self.at_end => FieldEnd::InputEnd,
                            None => FieldEnd::Unknown { in_quotes: false },
                        };
                    }
                },
                Some(b'\n' | b'\r') => {
                    needs_quotes = true;
                    parsed.spans_lines = true;
                }
                Some(_) => needs_quotes = true,
                None if self.at_end => return FieldEnd::Unclosed,
                None => return FieldEnd::Unknown { in_quotes: true },
            }
        }
    }

    /// The byte after the line end at `position`, or `None` if the buffer ends in what may be half a CRLF.
    #[inline]
    fn line_end(&mut self, position: usize) -> Option<usize> {
        if self.buf[position] == b'\n' {
            return Some(position + 1);
        }
        match self.buf.get(position + 1) {
            Some(b'\n') => {
                self.structurals.next();
                Some(position + 2)
            }
            None if !self.at_end => None,
            _ => Some(position + 1),
        }
    }

    #[inline]
    fn skip_blank_lines(&mut self) -> Result<u64, ()> {
        let mut blank_lines = 0;
        while let Some(b'\n' | b'\r') = self.buf.get(self.position) {
            let position = self.structurals.next();
            self.position = self.line_end(position).ok_or(())?;
            blank_lines += 1;
        }
        Ok(blank_lines)
    }
}
