//! CSV exports become a plan and archives that Zoho CRM's Bulk Write accepts.
//!
//! [`prepare`] opens, checks, scans, relates and plans every input of a [`Job`]; [`pack`] turns the planned chunks
//! into ZIP archives, in parallel. The crate is synchronous and knows nothing of HTTP.

#![forbid(unsafe_code)]

mod archive;
mod column;
mod cut;
mod dialect;
mod entry;
mod error;
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzzing;
mod identify;
mod import;
mod job;
mod pack;
mod plan;
mod prepare;
mod profile;
mod reader;
mod record;
mod reject;
mod relate;
mod reporter;
mod room;
mod route;
mod scan;
mod sizes;
mod source;
mod spool;
mod table;
mod validate;

pub use archive::{Archive, Entry, Packed};
pub use error::{Error, ErrorKind, Position};
pub use identify::{Identity, identify};
pub use job::{Child, ChildKind, Import, Input, Job, Limits, RejectPolicy, Role, Settings};
pub use pack::pack;
pub use plan::{Chunk, ChunkId, ChunkPlan, PlannedEntry};
pub use prepare::{Fingerprint, InputReport, Prepared, Warning, prepare};
pub use profile::{OrphanKey, Profile};
pub use reject::{Fault, FaultCode, Reject, RejectCode};
pub use reporter::Reporter;
