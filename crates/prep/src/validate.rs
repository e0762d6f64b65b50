//! What makes a single record a reject, before anything is known of its relations.

use crate::reject::RejectCode;
use crate::scan::kernel::Parsed;

/// What every record of an input is held against.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rules {
    /// Fields of the header.
    pub(crate) columns: usize,
    /// Bytes that a record may have as written, its LF included: an entry's limit less the header.
    pub(crate) max_record_bytes: u64,
}

impl Rules {
    /// The first thing wrong with a record, or `None`. `len_out` is its length as written.
    ///
    /// Where several things are wrong, the one that makes the others doubtful comes first.
    pub(crate) fn check(
        &self,
        parsed: &Parsed,
        content: &[u8],
        len_out: u64,
        text_checked: bool,
    ) -> Option<RejectCode> {
        if parsed.text_after_quote {
            return Some(RejectCode::TextAfterQuote);
        }
        if parsed.fields != self.columns {
            return Some(RejectCode::WrongFieldCount);
        }
        if !text_checked {
            if str::from_utf8(content).is_err() {
                return Some(RejectCode::InvalidUtf8);
            }
            if memchr::memchr(0, content).is_some() {
                return Some(RejectCode::Nul);
            }
        }
        (len_out > self.max_record_bytes).then_some(RejectCode::RecordTooLarge)
    }
}
