//! An input opened: a file read by position, its dialect found and its header checked, before any record is read.

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use encoding_rs::Encoding;

use crate::dialect::{self, Detected};
use crate::error::{Error, ErrorKind, Position};
use crate::job::Input;
use crate::record::{Fields, value, write_normalized};
use crate::scan::kernel::{Kernel, Shape, Step};
use crate::spool::{GZIP_MAGIC, STDIN, Wrapping, encoding_named, spool};

/// Columns that a CSV may have (v8 bulk-write limitations page, "200 column headers").
const MAX_COLUMNS: usize = 200;

/// A header that does not end within this many bytes is taken for damage.
const MAX_HEADER_BYTES: usize = 1 << 20;

/// An input whose header stands.
#[derive(Debug)]
pub(crate) struct Source {
    path: PathBuf,
    file: File,
    len: u64,
    /// The encoding that the file was read as.
    pub(crate) encoding: &'static str,
    pub(crate) header: Header,
    pub(crate) shape: Shape,
}

/// The first record of an input.
#[derive(Debug)]
pub(crate) struct Header {
    /// The columns' names, quotes undone.
    pub(crate) names: Vec<String>,
    /// As it stands in the file, line end included, byte order mark and blank lines before it not.
    pub(crate) raw: Vec<u8>,
    /// As every entry begins.
    pub(crate) normalized: Vec<u8>,
    /// Offset of the first byte after it.
    pub(crate) end: u64,
    /// Blank lines before it.
    pub(crate) blank_lines: u64,
    /// Whether the file begins with a byte order mark.
    pub(crate) bom: bool,
}

impl Source {
    /// Opens a file, finds its dialect and checks its header. What cannot be read by position (gzip, another
    /// encoding, standard input) is first written to an unlinked file in `spill_dir`.
    ///
    /// # Errors
    /// Every fault that can be told from the header alone, all of them at once.
    pub(crate) fn open(input: &Input, spill_dir: &Path) -> Result<Source, Vec<Error>> {
        let path = &input.path;
        let located = |(kind, position): (ErrorKind, Option<Position>)| {
            let error = Error::new(kind, path);
            if let Some(position) = position { error.at(position) } else { error }
        };
        let encoding = input.encoding.as_deref().map_or(Ok(None), encoding_named);
        let encoding = encoding.map_err(|kind| vec![Error::new(kind, path)])?;
        let (file, len) =
            open_text(path, encoding, spill_dir).map_err(|kind| vec![Error::new(kind, path)])?;
        let (header, shape) = read_header(&file, len, input)
            .map_err(|faults| faults.into_iter().map(located).collect::<Vec<_>>())?;
        let encoding = encoding.map_or("UTF-8", |encoding| encoding.name());
        Ok(Source { path: path.clone(), file, len, encoding, header, shape })
    }

    /// The file, as given.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Its length when it was opened.
    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// How many fields every record must have.
    pub(crate) fn columns(&self) -> usize {
        self.header.names.len()
    }

    /// Fills the buffer from an offset.
    ///
    /// # Errors
    /// `Changed` if the file has become shorter, `Read` for all else.
    pub(crate) fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> Result<(), Error> {
        self.file.read_exact_at(buf, offset).map_err(|error| {
            let kind = match error.kind() {
                io::ErrorKind::UnexpectedEof => ErrorKind::Changed,
                _ => ErrorKind::Read(error),
            };
            Error::new(kind, &self.path)
        })
    }

    /// Checks that the file has the length that it had when it was opened.
    pub(crate) fn check_len(&self) -> Result<(), Error> {
        let now = self.file.metadata().map_err(|error| Error::new(ErrorKind::Read(error), &self.path))?;
        if now.len() == self.len { Ok(()) } else { Err(Error::new(ErrorKind::Changed, &self.path)) }
    }
}

/// The text of an input as a file to be read by position, and its length.
fn open_text(
    path: &Path,
    encoding: Option<&'static Encoding>,
    spill_dir: &Path,
) -> Result<(File, u64), ErrorKind> {
    if path.as_os_str() == STDIN {
        return spool(io::stdin().lock(), Wrapping { gzip: false, encoding }, spill_dir);
    }
    let (file, metadata) = open_regular(path)?;
    let mut magic = [0; GZIP_MAGIC.len()];
    let gzip = metadata.len() > 2 && {
        file.read_exact_at(&mut magic, 0).map_err(ErrorKind::Read)?;
        magic == GZIP_MAGIC
    };
    if gzip || encoding.is_some() {
        return spool(file, Wrapping { gzip, encoding }, spill_dir);
    }
    Ok((file, metadata.len()))
}

/// A file that is there, may be read, and can be read by position.
fn open_regular(path: &Path) -> Result<(File, Metadata), ErrorKind> {
    // Asked before opening: to open a FIFO would wait for its writer.
    let metadata = std::fs::metadata(path).map_err(open_error)?;
    if !metadata.is_file() {
        return Err(ErrorKind::NotAFile);
    }
    let file = File::open(path).map_err(open_error)?;
    let metadata = file.metadata().map_err(ErrorKind::Read)?;
    Ok((file, metadata))
}

fn open_error(error: io::Error) -> ErrorKind {
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => ErrorKind::NotFound,
        io::ErrorKind::PermissionDenied => ErrorKind::PermissionDenied,
        _ => ErrorKind::Read(error),
    }
}

type Faults = Vec<(ErrorKind, Option<Position>)>;

fn read_header(file: &File, len: u64, input: &Input) -> Result<(Header, Shape), Faults> {
    let mut head = vec![0; len.min(MAX_HEADER_BYTES as u64) as usize];
    file.read_exact_at(&mut head, 0).map_err(|error| vec![(ErrorKind::Read(error), None)])?;
    if let Some(guess) = foreign_encoding(&head) {
        return Err(vec![(ErrorKind::ForeignEncoding { guess }, None)]);
    }
    let bom = head.starts_with(b"\xEF\xBB\xBF");
    let begin = if bom { 3 } else { 0 };
    let delimiter = match (input.delimiter, dialect::detect(&head[begin..])) {
        (Some(told), _) => told,
        (None, Detected::One(found)) => found,
        (None, Detected::Unclear(candidates)) => {
            let candidates = candidates.into_iter().map(dialect::shown).collect::<Vec<_>>().join(" and ");
            return Err(vec![(ErrorKind::DelimiterUnclear { candidates }, None)]);
        }
    };
    let mut shape = Shape { delimiter, key: None };
    let at_end = head.len() as u64 == len;
    let parsed = match Kernel::new(&head, begin, shape, at_end).next() {
        Step::Record(parsed) => parsed,
        Step::End { .. } => return Err(vec![(ErrorKind::Empty, None)]),
        Step::UnclosedQuote { .. } => {
            return Err(vec![(ErrorKind::HeaderBytes("opens a quote that never closes"), None)]);
        }
        Step::Incomplete { .. } => {
            return Err(vec![(ErrorKind::HeaderBytes("does not end within its first 1 MiB"), None)]);
        }
    };
    let line = parsed.blank_lines + 1;
    let position = Some(Position { byte: parsed.content.start as u64, line, record: 0 });
    let content = &head[parsed.content.clone()];
    if memchr::memchr(0, content).is_some() {
        return Err(vec![(ErrorKind::HeaderBytes("holds a NUL byte"), position)]);
    }
    if parsed.text_after_quote {
        return Err(vec![(ErrorKind::HeaderBytes("has text after a closing quote"), position)]);
    }
    let Ok(content) = str::from_utf8(content) else {
        return Err(vec![(ErrorKind::HeaderBytes("is not valid UTF-8"), position)]);
    };
    let names: Vec<String> = Fields::new(content.as_bytes(), delimiter)
        .map(|field| String::from_utf8_lossy(&value(&content.as_bytes()[field])).into_owned())
        .collect();
    let mut faults = check_names(&names);
    if let Some(column) = &input.key {
        shape.key = names.iter().position(|name| name == column);
        if shape.key.is_none() {
            faults.push(ErrorKind::ColumnMissing {
                column: column.clone(),
                nearest: nearest(column, &names),
                header: names.clone(),
            });
        }
    }
    if !faults.is_empty() {
        return Err(faults.into_iter().map(|kind| (kind, position)).collect());
    }
    let mut normalized = Vec::new();
    write_normalized(content.as_bytes(), delimiter, &mut normalized);
    let header = Header {
        names,
        raw: head[parsed.content.start..parsed.end].to_vec(),
        normalized,
        end: parsed.end as u64,
        blank_lines: parsed.blank_lines,
        bom,
    };
    Ok((header, shape))
}

/// What the first bytes say of an encoding that is not UTF-8, or of a file that is no text.
fn foreign_encoding(head: &[u8]) -> Option<&'static str> {
    match head {
        [0xFF, 0xFE, 0, 0, ..] => Some("UTF-32LE"),
        [0, 0, 0xFE, 0xFF, ..] => Some("UTF-32BE"),
        [0xFF, 0xFE, ..] => Some("UTF-16LE"),
        [0xFE, 0xFF, ..] => Some("UTF-16BE"),
        [b'P', b'K', 3, 4, ..] => Some("a ZIP file, such as an Excel workbook"),
        [first, 0, _, 0, ..] if *first != 0 => Some("UTF-16LE"),
        [0, second, 0, _, ..] if *second != 0 => Some("UTF-16BE"),
        _ => None,
    }
}

fn check_names(names: &[String]) -> Vec<ErrorKind> {
    let mut faults = Vec::new();
    if names.len() > MAX_COLUMNS {
        faults.push(ErrorKind::HeaderTooWide { columns: names.len(), max: MAX_COLUMNS });
    }
    let mut seen = std::collections::HashMap::new();
    for (i, name) in names.iter().enumerate() {
        let column = i + 1;
        if name.is_empty() {
            faults.push(ErrorKind::HeaderBlankName { column });
            continue;
        }
        if let Some(&first) = seen.get(name) {
            faults.push(ErrorKind::HeaderDuplicateName { name: name.clone(), first, second: column });
        }
        seen.entry(name).or_insert(column);
        // Zoho detects the delimiter from the header row, so a name with one of these could mislead it.
        if let Some(found) = name.chars().find(|c| matches!(c, ',' | ';' | ':' | '|')) {
            faults.push(ErrorKind::HeaderDelimiterInName { column, name: name.clone(), found });
        }
    }
    faults
}

/// The name that the user may have meant.
fn nearest(wanted: &str, names: &[String]) -> Option<String> {
    names
        .iter()
        .map(|name| (strsim::jaro_winkler(&wanted.to_lowercase(), &name.to_lowercase()), name))
        .filter(|(similarity, _)| *similarity > 0.8)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, name)| name.clone())
}
