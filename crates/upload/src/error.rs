//! What became impossible, with its facts as fields. Display states this layer only; `source()` is the cause below.

use std::error::Error as StdError;
use std::fmt;
use std::time::Duration;

/// What became impossible. The caller picks the exit code by it.
///
/// ```
/// use upload::ErrorKind;
///
/// fn exit_code(kind: &ErrorKind) -> u8 {
///     match kind {
///         ErrorKind::Io | ErrorKind::Witness => 1,
///         ErrorKind::Config => 2,
///         ErrorKind::Auth => 4,
///         ErrorKind::Stopped { .. } => 5,
///         ErrorKind::ChunkRefused | ErrorKind::RunRefused => 6,
///     }
/// }
/// assert_eq!(exit_code(&ErrorKind::Stopped { retry_after: None }), 5);
/// ```
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ErrorKind {
    /// This archive is refused for good; others may go on (exit 6).
    #[error("the archive was refused")]
    ChunkRefused,
    /// The run as a whole is refused: wrong URL, redirect, certificate (exit 6).
    #[error("the server refuses this run")]
    RunRefused,
    /// Authentication or permission (exit 4).
    #[error("not authorised")]
    Auth,
    /// Running again can help: network, limits, credits (exit 5).
    #[error("stopped")]
    Stopped {
        /// How long the server asked to be left alone, where it said so.
        retry_after: Option<Duration>,
    },
    /// The witness refused: the journal cannot be written, or the run was interrupted.
    #[error("stopped by the run's owner")]
    Witness,
    /// A setting is invalid, e.g. a URL with http to a host that is not loopback (exit 2).
    #[error("invalid setting")]
    Config,
    /// Local I/O.
    #[error("i/o")]
    Io,
}

/// An error with all its facts.
///
/// `Display` writes `message` alone; `hint` says what to do next and is for the caller to show. No field holds a
/// secret: excerpts of answers are redacted before they come here.
#[derive(Debug)]
pub struct Error {
    /// What became impossible.
    pub kind: ErrorKind,
    /// What failed, with which value; lower case, no period.
    pub message: String,
    /// What to type or change next.
    pub hint: Option<String>,
    /// The status of the last answer, where there was one.
    pub http_status: Option<u16>,
    /// The `code` of the last answer as Zoho spelled it, where there was one.
    pub code: Option<String>,
    /// Attempts made for this archive within this run.
    pub attempts: u32,
    /// From the call to its end.
    pub elapsed: Duration,
    /// How many attempts may have left a file at the server that nobody refers to.
    pub possible_orphans: u32,
    /// The layer below.
    pub source: Option<Box<dyn StdError + Send + Sync>>,
}

impl Error {
    pub(crate) fn new(kind: ErrorKind, message: impl Into<String>) -> Error {
        Error {
            kind,
            message: message.into(),
            hint: None,
            http_status: None,
            code: None,
            attempts: 0,
            elapsed: Duration::ZERO,
            possible_orphans: 0,
            source: None,
        }
    }

    pub(crate) fn config(message: impl Into<String>) -> Error {
        Error::new(ErrorKind::Config, message)
    }

    #[must_use]
    pub(crate) fn with_hint(mut self, hint: impl Into<String>) -> Error {
        self.hint = Some(hint.into());
        self
    }

    #[must_use]
    pub(crate) fn with_source(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Error {
        self.source = Some(source.into());
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|source| source as &(dyn StdError + 'static))
    }
}
