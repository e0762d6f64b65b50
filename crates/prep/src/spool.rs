//! Inputs that cannot be read by position become a file that can: gzip, other encodings, standard input.
//!
//! The text is written once, as UTF-8, to an unlinked temporary file; nothing of it stays behind. Positions in such
//! an input are those of that text.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

use encoding_rs::{DecoderResult, Encoding, UTF_8};
use flate2::read::MultiGzDecoder;

use crate::error::ErrorKind;

/// The path that means standard input.
pub(crate) const STDIN: &str = "-";

/// The first bytes of every gzip file (RFC 1952, 2.3.1).
pub(crate) const GZIP_MAGIC: [u8; 2] = [0x1F, 0x8B];

const BUFFER_BYTES: usize = 256 << 10;

/// How an input must be read before its bytes are its text.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wrapping {
    pub(crate) gzip: bool,
    /// `None` for UTF-8.
    pub(crate) encoding: Option<&'static Encoding>,
}

/// The encoding that a WHATWG label names; `None` for UTF-8 in any of its spellings.
///
/// # Errors
/// `UnknownEncoding`.
pub(crate) fn encoding_named(label: &str) -> Result<Option<&'static Encoding>, ErrorKind> {
    let encoding = Encoding::for_label_no_replacement(label.as_bytes());
    let encoding = encoding.ok_or_else(|| ErrorKind::UnknownEncoding(label.to_owned()))?;
    Ok((encoding != UTF_8).then_some(encoding))
}

/// Writes the text of an input to an unlinked file in `dir`, and gives that file and its length.
///
/// # Errors
/// `Read`, `BadGzip`, `Malformed` with the offset in the decompressed input, `Spill`.
pub(crate) fn spool(reader: impl Read, wrapping: Wrapping, dir: &Path) -> Result<(File, u64), ErrorKind> {
    let mut file = tempfile::tempfile_in(dir).map_err(ErrorKind::Spill)?;
    let len = if wrapping.gzip {
        let reader = MultiGzDecoder::new(io::BufReader::with_capacity(BUFFER_BYTES, reader));
        copy(reader, wrapping.encoding, &mut file, ErrorKind::BadGzip)?
    } else {
        copy(reader, wrapping.encoding, &mut file, ErrorKind::Read)?
    };
    Ok((file, len))
}

fn copy(
    mut reader: impl Read,
    encoding: Option<&'static Encoding>,
    file: &mut File,
    read_error: fn(io::Error) -> ErrorKind,
) -> Result<u64, ErrorKind> {
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut text = vec![0; 3 * BUFFER_BYTES + 16];
    let mut decoder = encoding.map(Encoding::new_decoder_with_bom_removal);
    let mut offset = 0;
    let mut len = 0;
    loop {
        let got = match reader.read(&mut buffer) {
            Ok(got) => got,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(read_error(error)),
        };
        let written = match &mut decoder {
            None => &buffer[..got],
            Some(decoder) => {
                let (result, read, written) =
                    decoder.decode_to_utf8_without_replacement(&buffer[..got], &mut text, got == 0);
                match result {
                    DecoderResult::InputEmpty => &text[..written],
                    DecoderResult::OutputFull => {
                        unreachable!(
                            "invariant: a byte becomes at most three, and the buffer has room for them"
                        )
                    }
                    DecoderResult::Malformed(length, after) => {
                        let byte =
                            (offset + read as u64).saturating_sub(u64::from(length) + u64::from(after));
                        let encoding = encoding.map_or("UTF-8", |encoding| encoding.name());
                        return Err(ErrorKind::Malformed { encoding, byte });
                    }
                }
            }
        };
        file.write_all(written).map_err(ErrorKind::Spill)?;
        len += written.len() as u64;
        offset += got as u64;
        if got == 0 {
            return Ok(len);
        }
    }
}
