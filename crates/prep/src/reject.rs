//! Records that will not be sent, each with its reason; and the faults after which no record can be trusted.

use std::fmt;

use serde::Serialize;

use crate::error::Position;

/// Why a record is not sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum RejectCode {
    /// More or fewer fields than the header.
    WrongFieldCount,
    /// Bytes that are no UTF-8.
    InvalidUtf8,
    /// A NUL byte.
    Nul,
    /// Text between a closing quote and the next delimiter.
    TextAfterQuote,
    /// The record alone passes the limit of an entry's bytes.
    RecordTooLarge,
    /// A child whose parent key no parent bears.
    Orphan,
    /// A child with an empty parent key.
    BlankParentKey,
    /// A parent whose key another parent bears too, where children refer to it.
    DuplicateKey,
    /// A child that refers to a key which several parents bear.
    AmbiguousParent,
    /// A parent that has more children of one module than a chunk, or the setting, allows.
    TooManyChildren,
    /// A parent that passes the limit of an entry's bytes together with its children.
    GroupTooLarge,
    /// A parent whose archive passes the archive limit even on its own.
    ArchiveTooLarge,
    /// A child of a rejected parent.
    ParentRejected,
}

impl RejectCode {
    /// All codes, in the order in which reports list them, which is that of their discriminants.
    pub const ALL: [RejectCode; 13] = [
        RejectCode::WrongFieldCount,
        RejectCode::InvalidUtf8,
        RejectCode::Nul,
        RejectCode::TextAfterQuote,
        RejectCode::RecordTooLarge,
        RejectCode::Orphan,
        RejectCode::BlankParentKey,
        RejectCode::DuplicateKey,
        RejectCode::AmbiguousParent,
        RejectCode::TooManyChildren,
        RejectCode::GroupTooLarge,
        RejectCode::ArchiveTooLarge,
        RejectCode::ParentRejected,
    ];

    /// The code as it stands in reports and files.
    pub fn as_str(self) -> &'static str {
        match self {
            RejectCode::WrongFieldCount => "wrong-field-count",
            RejectCode::InvalidUtf8 => "invalid-utf8",
            RejectCode::Nul => "nul",
            RejectCode::TextAfterQuote => "text-after-quote",
            RejectCode::RecordTooLarge => "record-too-large",
            RejectCode::Orphan => "orphan",
            RejectCode::BlankParentKey => "blank-parent-key",
            RejectCode::DuplicateKey => "duplicate-key",
            RejectCode::AmbiguousParent => "ambiguous-parent",
            RejectCode::TooManyChildren => "too-many-children",
            RejectCode::GroupTooLarge => "group-too-large",
            RejectCode::ArchiveTooLarge => "archive-too-large",
            RejectCode::ParentRejected => "parent-rejected",
        }
    }

    /// What to do about it.
    pub fn hint(self) -> &'static str {
        match self {
            RejectCode::WrongFieldCount => {
                "give the record as many fields as the header; a field that holds the delimiter or a line break must be quoted"
            }
            RejectCode::InvalidUtf8 => {
                "export the file as UTF-8, or name its encoding in the job file, such as encoding = \"windows-1252\""
            }
            RejectCode::Nul => "remove the NUL bytes; they often mean UTF-16 or a damaged export",
            RejectCode::TextAfterQuote => "double every quote inside a quoted field",
            RejectCode::RecordTooLarge => "shorten the record: Zoho takes no CSV above the limit",
            RejectCode::Orphan => "add the parent to the parent's file, or remove the child",
            RejectCode::BlankParentKey => "fill in the parent key, or remove the child",
            RejectCode::DuplicateKey | RejectCode::AmbiguousParent => {
                "make the key unique in the parent's file: nobody could tell to which parent the children belong"
            }
            RejectCode::TooManyChildren => {
                "keep only as many children beside the parent as fit, and import the rest later as a child-only job"
            }
            RejectCode::GroupTooLarge | RejectCode::ArchiveTooLarge => {
                "shorten the parent's or its children's fields, or import some of its children later as a child-only job"
            }
            RejectCode::ParentRejected => "mend the parent",
        }
    }
}

impl fmt::Display for RejectCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One record that is not sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reject {
    /// Index of the input in [`Prepared::inputs`](crate::Prepared::inputs).
    pub input: usize,
    /// Where the record begins.
    pub position: Position,
    /// Bytes of the record in the file, its line end included.
    pub len_bytes: u64,
    /// The record's key (parent) or parent key (child), as far as it can be read; lossy UTF-8, cut at 256 bytes.
    pub key: Option<String>,
    /// Why.
    pub code: RejectCode,
    /// The code's particulars, such as `5 fields, the header has 7`.
    pub message: String,
}

/// A fault after which the ends of records cannot be trusted; it stops a run under either policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Index of the input.
    pub input: usize,
    /// Where the record with the fault begins.
    pub position: Position,
    /// What is wrong.
    pub code: FaultCode,
    /// The line on which the fault was noticed.
    pub noticed_line: u64,
}

/// Which fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum FaultCode {
    /// A quoted field that never ends.
    UnclosedQuote,
    /// Text after a closing quote, in a record that spans lines.
    TextAfterQuote,
    /// A record that passes the limit of an entry's bytes while a quote is open, or that spans lines.
    RecordTooLarge,
}

impl FaultCode {
    /// The code as it stands in reports.
    pub fn as_str(self) -> &'static str {
        match self {
            FaultCode::UnclosedQuote => "unclosed-quote",
            FaultCode::TextAfterQuote => "text-after-quote-across-lines",
            FaultCode::RecordTooLarge => "quote-swallows-records",
        }
    }
}

impl fmt::Display for FaultCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            FaultCode::UnclosedQuote => "a quote opens in this record and never closes",
            FaultCode::TextAfterQuote => {
                "text after a closing quote in a record that spans lines: where it ends cannot be trusted"
            }
            FaultCode::RecordTooLarge => {
                "this record spans lines inside quotes and is larger than an entry may be: a quote too many swallows what follows"
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_stands_at_its_discriminant_among_all_codes() {
        for (place, code) in RejectCode::ALL.into_iter().enumerate() {
            assert_eq!(code as usize, place);
        }
    }
}
