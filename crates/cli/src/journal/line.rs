//! A journal's line and its bytes: JSON, a checksum as its last field, one LF.
//!
//! `{"n":1,…,"sum":"0123456789abcdef"}`: `sum` is the XXH3-64 of all bytes of the line before `,"sum"`, as sixteen
//! hexadecimal digits.

use xxhash_rust::xxh3::xxh3_64;

use super::event::Line;

/// Bytes of `,"sum":"0123456789abcdef"}`.
const SUFFIX_BYTES: usize = 26;

/// The line's bytes, LF included.
///
/// # Errors
/// Those of the JSON serialiser.
pub(crate) fn encode(line: &Line) -> serde_json::Result<Vec<u8>> {
    let mut bytes = serde_json::to_vec(line)?;
    // The object's closing brace comes after the checksum.
    bytes.pop();
    let sum = xxh3_64(&bytes);
    bytes.extend_from_slice(format!(",\"sum\":\"{sum:016x}\"}}\n").as_bytes());
    Ok(bytes)
}

/// What is wrong with a line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum LineError {
    /// Its bytes are not those that were written.
    #[error("its checksum does not fit its bytes")]
    Checksum,
    /// The checksum fits, but this version cannot read it.
    #[error("it is not of this version's format: {0}")]
    Format(String),
}

/// The line of these bytes, which have no LF.
///
/// # Errors
/// `Checksum`, `Format`.
pub(crate) fn decode(bytes: &[u8]) -> Result<Line, LineError> {
    let split = bytes.len().checked_sub(SUFFIX_BYTES).ok_or(LineError::Checksum)?;
    let (body, suffix) = bytes.split_at(split);
    if suffix != format!(",\"sum\":\"{:016x}\"}}", xxh3_64(body)).as_bytes() {
        return Err(LineError::Checksum);
    }
    serde_json::from_slice(bytes).map_err(|error| LineError::Format(error.to_string()))
}
