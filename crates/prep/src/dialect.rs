//! Which delimiter a file uses: found from its header line, as Zoho finds it.
//!
//! Zoho accepts `,` `;` `:` `|` and "detects the delimiter from the header row" (v8 bulk-write limitations page);
//! tabs are read too, since the output is written with commas anyway.

/// The delimiters that are looked for, in the order in which they are named.
pub(crate) const CANDIDATES: [u8; 5] = *b",;|:\t";

/// What the header line says of the delimiter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Detected {
    /// The one that occurs most often outside quotes; the comma where none occurs.
    One(u8),
    /// These occur equally often, and more often than any other.
    Unclear(Vec<u8>),
}

/// Finds the delimiter in a file's first bytes, byte order mark removed.
///
/// Only the first record is looked at. Quotes are taken to open where a field could begin under any candidate.
pub(crate) fn detect(head: &[u8]) -> Detected {
    let mut counts = [0_u32; CANDIDATES.len()];
    let mut in_quotes = false;
    let mut field_start = true;
    let begin = head.iter().position(|byte| !matches!(byte, b'\n' | b'\r')).unwrap_or(head.len());
    for &byte in &head[begin..] {
        if in_quotes {
            in_quotes = byte != b'"';
            continue;
        }
        let candidate = CANDIDATES.iter().position(|&c| c == byte);
        match byte {
            b'"' if field_start => in_quotes = true,
            b'\n' | b'\r' => break,
            _ => {}
        }
        if let Some(candidate) = candidate {
            counts[candidate] += 1;
        }
        // The second of two doubled quotes opens again what the first one closed.
        field_start = candidate.is_some() || byte == b'"';
    }
    let most = counts.iter().copied().max().unwrap_or(0);
    if most == 0 {
        return Detected::One(b',');
    }
    let best: Vec<u8> =
        CANDIDATES.iter().zip(counts).filter(|&(_, count)| count == most).map(|(&c, _)| c).collect();
    match best[..] {
        [one] => Detected::One(one),
        _ => Detected::Unclear(best),
    }
}

/// A delimiter as it stands in messages.
pub(crate) fn shown(delimiter: u8) -> String {
    match delimiter {
        b'\t' => "tab".to_owned(),
        other => format!("`{}`", char::from(other)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_commonest_candidate_outside_quotes_is_the_delimiter() {
        assert_eq!(detect(b"a;b;c\n1,2,3,4,5\n"), Detected::One(b';'));
        assert_eq!(detect(b"\"a,b,c\"|d\n"), Detected::One(b'|'));
        assert_eq!(detect(b"\"a\"\"b,,,\"\td\n"), Detected::One(b'\t'));
        assert_eq!(detect(b"\r\n\na:b\n"), Detected::One(b':'));
    }

    #[test]
    fn a_single_column_is_read_with_commas() {
        assert_eq!(detect(b"Name\nx;y\n"), Detected::One(b','));
        assert_eq!(detect(b""), Detected::One(b','));
    }

    #[test]
    fn equal_counts_are_not_guessed_between() {
        assert_eq!(detect(b"a;b,c\n"), Detected::Unclear(b",;".to_vec()));
    }
}
