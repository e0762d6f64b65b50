//! A journal's line and its bytes: JSON, a checksum as its last field, one LF.
//!
//! `{"n":1,…,"sum":"0123456789abcdef"}`: `sum` is the XXH3-64 of all bytes of the line before `,"sum"`, as sixteen
//! hexadecimal digits, seeded with the `sum` of the line before (0 for the first line). So a line fits in its place
//! of its journal only: one that is lost, doubled, moved or of another journal is noticed.

use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::event::Line;

/// Bytes of `,"sum":"0123456789abcdef"}`.
const SUFFIX_BYTES: usize = 26;
const SUFFIX_BEGIN: &[u8] = b",\"sum\":\"";

/// The checksum of the line before, on which the next one builds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Chain(u64);

/// What is wrong with a line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum LineError {
    /// Its bytes are not those that were written here.
    #[error("its checksum does not fit")]
    Checksum,
    /// The checksum fits, but this version cannot read it.
    #[error("it is not of this version's format: {0}")]
    Format(String),
}

/// The line's bytes, LF included, and the chain with it.
pub(super) fn encode(line: &Line, chain: Chain) -> serde_json::Result<(Vec<u8>, Chain)> {
    let mut bytes = serde_json::to_vec(line)?;
    // The object's closing brace comes after the checksum.
    bytes.pop();
    let sum = xxh3_64_with_seed(&bytes, chain.0);
    bytes.extend_from_slice(&suffix(sum));
    bytes.push(b'\n');
    Ok((bytes, Chain(sum)))
}

/// The line of these bytes, which have no LF, and the chain with it.
pub(super) fn decode(bytes: &[u8], chain: Chain) -> Result<(Line, Chain), LineError> {
    let chain = check(bytes, chain).ok_or(LineError::Checksum)?;
    let line = serde_json::from_slice(bytes).map_err(|error| LineError::Format(error.to_string()))?;
    Ok((line, chain))
}

/// Whether these bytes, which are no line, hold more than the remains of one: a whole line whose LF is damaged, and
/// something after that. A write that was torn cannot leave this behind.
pub(super) fn swallows_a_line(bytes: &[u8], chain: Chain) -> bool {
    bytes.windows(SUFFIX_BEGIN.len()).enumerate().filter(|(_, window)| *window == SUFFIX_BEGIN).any(
        |(at, _)| bytes.len() > at + SUFFIX_BYTES + 1 && check(&bytes[..at + SUFFIX_BYTES], chain).is_some(),
    )
}

fn check(bytes: &[u8], chain: Chain) -> Option<Chain> {
    let (body, end) = bytes.split_at(bytes.len().checked_sub(SUFFIX_BYTES)?);
    let sum = xxh3_64_with_seed(body, chain.0);
    (end == suffix(sum)).then_some(Chain(sum))
}

fn suffix(sum: u64) -> Vec<u8> {
    [SUFFIX_BEGIN, format!("{sum:016x}\"}}").as_bytes()].concat()
}
