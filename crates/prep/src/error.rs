//! The one error type of this crate: what failed, in which file, and where in it.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// A place in an input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
pub struct Position {
    /// Zero-based offset of a byte in the file (in its UTF-8 text, where the file was transcoded).
    pub byte: u64,
    /// One-based physical line. LF, CRLF and CR each end one.
    pub line: u64,
    /// One-based data record; 0 is the header.
    pub record: u64,
}

/// A failure that ends the preparation, with the file it is about.
///
/// What is wrong with single records is not an error but a [`Reject`](crate::Reject).
#[derive(Debug)]
pub struct Error(Box<Facts>);

/// Boxed, so that a `Result` costs no more than a pointer where all goes well.
#[derive(Debug)]
struct Facts {
    kind: ErrorKind,
    path: PathBuf,
    position: Option<Position>,
}

/// What failed. Exhaustive, so that the caller's choice of exit code is checked by the compiler.
#[derive(Debug, thiserror::Error)]
pub enum ErrorKind {
    /// The path names nothing.
    #[error("no such file")]
    NotFound,
    /// The path names a directory or another thing that is no regular file.
    #[error("not a regular file")]
    NotAFile,
    /// The file may not be read.
    #[error("permission denied")]
    PermissionDenied,
    /// The operating system failed to read.
    #[error("cannot read")]
    Read(#[source] io::Error),
    /// The operating system failed to write a temporary file.
    #[error("cannot write a temporary file")]
    Spill(#[source] io::Error),
    /// The file holds no byte besides a byte order mark and line ends.
    #[error("the file is empty: not even a header")]
    Empty,
    /// The header has a column without a name.
    #[error("column {column} has no name in the header")]
    HeaderBlankName {
        /// One-based.
        column: usize,
    },
    /// Two columns of the header bear the same name.
    #[error("columns {first} and {second} of the header are both named `{name}`")]
    HeaderDuplicateName {
        /// The name.
        name: String,
        /// One-based.
        first: usize,
        /// One-based.
        second: usize,
    },
    /// The header has more columns than Zoho takes.
    #[error("the header has {columns} columns; Zoho takes at most {max}")]
    HeaderTooWide {
        /// How many there are.
        columns: usize,
        /// How many there may be.
        max: usize,
    },
    /// A header name holds a character by which Zoho would mistake the delimiter.
    #[error("column {column} is named `{name}`, which holds `{found}`")]
    HeaderDelimiterInName {
        /// One-based.
        column: usize,
        /// The name.
        name: String,
        /// The character.
        found: char,
    },
    /// The header is no valid UTF-8, holds a NUL, or is broken by its quotes.
    #[error("the header {0}")]
    HeaderBytes(&'static str),
    /// A column that the job names is not in the header.
    #[error("there is no column `{column}`")]
    ColumnMissing {
        /// The name that was asked for.
        column: String,
        /// The header's name closest to it, if any is close.
        nearest: Option<String>,
        /// All names of the header.
        header: Vec<String>,
    },
    /// A module that takes part in a relation, without the column that relates it.
    #[error("no key column is named for module `{module}`")]
    NoKey {
        /// The module.
        module: String,
    },
    /// The header holds several delimiters and none is clearly the one.
    #[error("the delimiter cannot be told from the header: {candidates} are equally likely")]
    DelimiterUnclear {
        /// The candidates as readers know them.
        candidates: String,
    },
    /// The file looks like text of another encoding.
    #[error("the file is not UTF-8; it looks like {guess}")]
    ForeignEncoding {
        /// The encoding's name.
        guess: &'static str,
    },
    /// Bytes that the encoding named for the file does not have.
    #[error("byte {byte} begins what is not {encoding}")]
    Malformed {
        /// The encoding's name.
        encoding: &'static str,
        /// Zero-based offset in the input, decompressed if it is gzip.
        byte: u64,
    },
    /// A gzip file that is damaged or cut short.
    #[error("cannot decompress the gzip file")]
    BadGzip(#[source] io::Error),
    /// The encoding named for the file is not known.
    #[error("the encoding `{0}` is not known")]
    UnknownEncoding(String),
    /// An input that has changed since it was scanned.
    #[error("the file has changed since it was scanned")]
    Changed,
    /// The header alone is over the limit of an entry's bytes.
    #[error("the header alone has {bytes} bytes; an entry may have {max}")]
    HeaderTooLarge {
        /// Bytes of the header line as written.
        bytes: u64,
        /// The limit.
        max: u64,
    },
    /// An input has more records than can be numbered.
    #[error("the file has more than {max} records")]
    TooManyRecords {
        /// The most that there may be.
        max: u64,
    },
    /// The ZIP writer refused.
    #[error("cannot build an archive")]
    Archive(#[source] zip::result::ZipError),
    /// The threads for the work could not be started.
    #[error("cannot start the worker threads")]
    Threads(#[source] rayon::ThreadPoolBuildError),
}

impl Error {
    /// An error about a whole file.
    pub fn new(kind: ErrorKind, path: impl Into<PathBuf>) -> Error {
        Error(Box::new(Facts { kind, path: path.into(), position: None }))
    }

    /// The same at a place in the file.
    #[must_use]
    pub fn at(mut self, position: Position) -> Error {
        self.0.position = Some(position);
        self
    }

    /// What failed.
    pub fn kind(&self) -> &ErrorKind {
        &self.0.kind
    }

    /// The file it is about.
    pub fn path(&self) -> &Path {
        &self.0.path
    }

    /// Where in the file, when it is about a place.
    pub fn position(&self) -> Option<Position> {
        self.0.position
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.path.display())?;
        if let Some(position) = self.0.position {
            write!(f, ":{}", position.line)?;
        }
        write!(f, ": {}", self.0.kind)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        std::error::Error::source(&self.0.kind)
    }
}
