//! Archives become `file_id`s: the conduct of an upload to Zoho CRM's Bulk Write.
//!
//! A [`Client`] sends one archive per call and may be called from many tasks at once; all of them share one throttle
//! and one token. The crate is asynchronous and knows nothing of CSV or ZIP (the stand-in server in `sandbox` does,
//! behind the feature of that name). It does not print, does not exit and reads no environment.
//!
//! The way of one attempt: a permit of the throttle, a token, the witness's word that the attempt is recorded, the
//! POST, and [`classify()`] decides what its outcome means.
//!
//! ```
//! use upload::{DataCentre, Target};
//!
//! let target = Target::of(DataCentre::Eu, "v2", "808232144")?;
//! assert_eq!(target.upload_url.as_str(), "https://content.zohoapis.eu/crm/v2/upload");
//! # Ok::<(), upload::Error>(())
//! ```

#![forbid(unsafe_code)]

mod api;
mod auth;
mod backoff;
mod classify;
mod client;
mod error;
mod excerpt;
mod multipart;
mod pace;
mod refresh_log;
mod reporter;
mod target;
mod throttle;
mod token_answer;
mod transport;

#[cfg(feature = "sandbox")]
pub mod sandbox;
#[cfg(test)]
mod simulation;

pub use crate::{
    api::{Code, FileId},
    auth::{Credentials, RefreshCredentials},
    classify::{Cause, Disposition, Observed, Receipt, classify},
    client::{AuthReport, Client, ClientConfig, Uploaded},
    error::{Error, ErrorKind},
    reporter::{BoxFuture, Refused, Reporter, Witness},
    target::{DataCentre, Target},
    transport::{FailureKind, Timeouts},
};
