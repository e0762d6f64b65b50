//! From a journal's bytes to its state: every line checked, the last one dropped if it was torn, any other damage
//! refused with its line's number. Pure; changes no file.

use std::path::Path;

use super::event::{FORMAT, Line};
use super::line::{self, Chain, LineError};
use super::state::{State, StateError};
use super::{Damage, JournalError, Result};

/// What is durable of a journal.
pub(super) struct Recovered {
    pub(super) state: State,
    pub(super) chain: Chain,
    /// Bytes up to the end of the last good line.
    pub(super) good: usize,
}

/// Reads a journal's bytes.
pub(super) fn recover(path: &Path, bytes: &[u8]) -> Result<Recovered> {
    let mut lines = Lines { path, bytes, at: 0, number: 0, chain: Chain::default() };
    let Some(header) = lines.next()? else {
        return Err(lines.damaged(1, Damage::Short));
    };
    let mut state = State::begin(header).map_err(|error| lines.contradiction(error))?;
    while let Some(line) = lines.next()? {
        state.apply(line).map_err(|error| lines.contradiction(error))?;
    }
    if lines.number < 2 {
        return Err(lines.damaged(2, Damage::Short));
    }
    Ok(Recovered { state, chain: lines.chain, good: lines.at })
}

/// Goes through a journal's lines. How it goes on depends on the bytes after `at`, and on its other fields alone.
pub(super) struct Lines<'a> {
    pub(super) path: &'a Path,
    pub(super) bytes: &'a [u8],
    /// End of the last good line.
    pub(super) at: usize,
    /// Of the last good line.
    pub(super) number: u64,
    pub(super) chain: Chain,
}

impl Lines<'_> {
    /// The next line; `None` at the end, and at a last line that was torn.
    pub(super) fn next(&mut self) -> Result<Option<Line>> {
        let rest = &self.bytes[self.at..];
        if rest.is_empty() {
            return Ok(None);
        }
        let length = rest.iter().position(|&byte| byte == b'\n');
        let is_last = length.is_none_or(|length| length + 1 == rest.len());
        let found = match length {
            Some(length) => line::decode(&rest[..length], self.chain).map_err(Damage::Line),
            None => Err(Damage::Short),
        };
        match found {
            Ok((line, chain)) => {
                self.at += length.map_or(0, |length| length + 1);
                self.number += 1;
                self.chain = chain;
                Ok(Some(line))
            }
            Err(Damage::Line(LineError::Format(_)))
                if let Some(format) = newer_format(&rest[..length.unwrap_or(rest.len())]) =>
            {
                Err(self.newer(format))
            }
            Err(Damage::Short | Damage::Line(LineError::Checksum))
                // Header and plan appeared by a rename of synced bytes: no crash can have torn them.
                if is_last && self.number >= 2 && !line::swallows_a_line(rest, self.chain) =>
            {
                Ok(None)
            }
            Err(damage) => Err(self.damaged(self.number + 1, damage)),
        }
    }

    fn contradiction(&self, error: StateError) -> JournalError {
        match error {
            StateError::Newer(format) => self.newer(format),
            error => self.damaged(self.number, error.into()),
        }
    }

    fn newer(&self, format: u32) -> JournalError {
        JournalError::Newer { path: self.path.to_owned(), format }
    }

    fn damaged(&self, line: u64, source: Damage) -> JournalError {
        JournalError::Damaged { path: self.path.to_owned(), line, source }
    }
}

/// The format version that a line brings in which cannot be read otherwise, if that is a later one.
fn newer_format(line: &[u8]) -> Option<u32> {
    #[derive(serde::Deserialize)]
    struct Version {
        format: u32,
    }
    // Whatever else is wrong with it is told as damage.
    let Version { format } = serde_json::from_slice(line).ok()?;
    (format > FORMAT).then_some(format)
}
