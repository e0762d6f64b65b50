//! The fields of one record whose boundaries are known, and the record as the output holds it.

use std::borrow::Cow;
use std::ops::Range;

/// The places of a record's fields in it, quotes included.
pub(crate) struct Fields<'a> {
    content: &'a [u8],
    delimiter: u8,
    /// Where the next field begins; `None` after the last.
    next: Option<usize>,
}

impl<'a> Fields<'a> {
    /// `content` is one record without its line end.
    pub(crate) fn new(content: &'a [u8], delimiter: u8) -> Fields<'a> {
        Fields { content, delimiter, next: Some(0) }
    }
}

impl Iterator for Fields<'_> {
    type Item = Range<usize>;

    fn next(&mut self) -> Option<Range<usize>> {
        let start = self.next?;
        let rest = &self.content[start..];
        let unquoted_from = if rest.first() == Some(&b'"') {
            closing_quote(rest).map_or(rest.len(), |quote| quote + 1)
        } else {
            0
        };
        let end = memchr::memchr(self.delimiter, &rest[unquoted_from..]).map(|i| unquoted_from + i);
        self.next = end.map(|end| start + end + 1);
        Some(start..start + end.unwrap_or(rest.len()))
    }
}

/// The position of the quote that closes the field beginning at `field[0]`.
fn closing_quote(field: &[u8]) -> Option<usize> {
    let mut from = 1;
    loop {
        let quote = from + memchr::memchr(b'"', field.get(from..)?)?;
        if field.get(quote + 1) != Some(&b'"') {
            return Some(quote);
        }
        from = quote + 2;
    }
}

/// What a field means: without its quotes, doubled quotes undone.
///
/// Text after a closing quote is kept, as the `csv` crate keeps it.
pub(crate) fn value(field: &[u8]) -> Cow<'_, [u8]> {
    if field.first() != Some(&b'"') {
        return Cow::Borrowed(field);
    }
    let Some(close) = closing_quote(field) else {
        return Cow::Owned(undouble(&field[1..]));
    };
    let inner = &field[1..close];
    let after = &field[close + 1..];
    if after.is_empty() && memchr::memchr(b'"', inner).is_none() {
        return Cow::Borrowed(inner);
    }
    let mut value = undouble(inner);
    value.extend_from_slice(after);
    Cow::Owned(value)
}

fn undouble(inner: &[u8]) -> Vec<u8> {
    let mut value = Vec::with_capacity(inner.len());
    let mut rest = inner;
    while let Some(quote) = memchr::memchr(b'"', rest) {
        value.extend_from_slice(&rest[..=quote]);
        rest = rest.get(quote + 2..).unwrap_or(&[]);
    }
    value.extend_from_slice(rest);
    value
}

/// Appends the record in the output's form: comma, LF, quotes only where they are needed.
pub(crate) fn write_normalized(content: &[u8], delimiter: u8, out: &mut Vec<u8>) {
    let begin = out.len();
    let mut fields = 0;
    for field in Fields::new(content, delimiter) {
        if fields > 0 {
            out.push(b',');
        }
        write_field(&value(&content[field]), out);
        fields += 1;
    }
    if fields == 1 && out.len() == begin {
        out.extend_from_slice(b"\"\"");
    }
    out.push(b'\n');
}

fn write_field(value: &[u8], out: &mut Vec<u8>) {
    let special = |byte: &u8| matches!(byte, b',' | b'"' | b'\n' | b'\r');
    if !value.iter().any(special) {
        out.extend_from_slice(value);
        return;
    }
    out.push(b'"');
    let mut rest = value;
    while let Some(quote) = memchr::memchr(b'"', rest) {
        out.extend_from_slice(&rest[..=quote]);
        out.push(b'"');
        rest = &rest[quote + 1..];
    }
    out.extend_from_slice(rest);
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn normalized(content: &[u8], delimiter: u8) -> String {
        let mut out = Vec::new();
        write_normalized(content, delimiter, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_field_is_quoted_only_where_it_must_be() {
        assert_eq!(normalized(b"a,\"b\",\"c,d\",\"e\"\"f\"", b','), "a,b,\"c,d\",\"e\"\"f\"\n");
        assert_eq!(normalized(b"a;b,c;\"d;e\"", b';'), "a,\"b,c\",d;e\n");
    }

    #[test]
    fn a_quote_inside_an_unquoted_field_is_a_character_like_any_other() {
        assert_eq!(normalized(b"5\" pipe,x", b','), "\"5\"\" pipe\",x\n");
    }

    #[test]
    fn an_only_field_that_is_empty_is_no_blank_line() {
        assert_eq!(normalized(b"\"\"", b','), "\"\"\n");
        assert_eq!(normalized(b",", b','), ",\n");
    }

    #[test]
    fn a_value_has_its_quotes_undone() {
        assert_eq!(&*value(b"\"a\"\"b\""), b"a\"b");
        assert_eq!(&*value(b"\"\"\"\""), b"\"");
        assert_eq!(&*value(b"\"a\"b"), b"ab");
        assert_eq!(&*value(b"5\" pipe"), b"5\" pipe");
    }

    #[test]
    fn ranges_are_the_places_of_the_fields() {
        let ranges: Vec<_> = Fields::new(b"a,\"b,c\",", b',').collect();
        assert_eq!(ranges, [0..1, 2..7, 8..8]);
    }
}
