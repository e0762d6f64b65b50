//! CSV exports become a plan and archives that Zoho CRM's Bulk Write accepts.
//!
//! [`prepare`] opens, checks, scans, relates and plans every input of a [`Job`]; [`pack`] turns the planned chunks
//! into ZIP archives, in parallel. The crate is synchronous and knows nothing of HTTP.
//!
//! ```
//! use std::ops::ControlFlow;
//!
//! use prep::{Child, ChildKind, Import, Input, Job, Packed, Settings};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let dir = tempfile::tempdir()?;
//! let contacts = dir.path().join("contacts.csv");
//! std::fs::write(&contacts, "Id,Name\n1,Ada\n2,Grace\n")?;
//! let vehicles = dir.path().join("vehicles.csv");
//! std::fs::write(&vehicles, "Contact,Plate\n2,ZB-1\n1,ZB-2\n2,ZB-3\n")?;
//!
//! let input = |module: &str, path, key: &str| Input {
//!     module: module.to_owned(),
//!     path,
//!     key: Some(key.to_owned()),
//!     delimiter: None,
//!     encoding: None,
//! };
//! let vehicles = Child { kind: ChildKind::Subform, input: input("Vehicles", vehicles, "Contact") };
//! let import = Import { parent: input("Contacts", contacts, "Id"), children: vec![vehicles] };
//! let job = Job { imports: vec![import], settings: Settings::default() };
//!
//! let prepared = prep::prepare(&job, &()).map_err(|mut errors| errors.remove(0))?;
//! assert!(!prepared.must_stop());
//! let sink = |packed| {
//!     if let Packed::Archive(archive) = packed {
//!         assert_eq!(archive.name, "Contacts-00001.zip");
//!         assert_eq!(archive.entries[1].records, 3);
//!     }
//!     ControlFlow::Continue(())
//! };
//! prep::pack(&prepared, prepared.plan().chunks(), &sink, &())?;
//! # Ok(())
//! # }
//! ```

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
