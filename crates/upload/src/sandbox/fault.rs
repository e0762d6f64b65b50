//! The faults of a plan: each one's keys, and whether they make sense together.
//!
//! What each does is said once, in the table of [`crate::sandbox::FaultPlan`]; `exchange` carries them out.

use std::collections::BTreeMap;
use std::time::Duration;

use http::{HeaderName, HeaderValue, StatusCode, Uri};
use serde::de::{Error as _, Unexpected};
use serde::{Deserialize, Deserializer};

use crate::sandbox::answers;
use crate::sandbox::plan::Endpoint;

/// What goes wrong.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum Fault {
    Answer(Box<AnswerFault>),
    Html {
        status: Option<u16>,
    },
    Redirect {
        status: Option<u16>,
        location: Option<String>,
    },
    Reset {
        at_byte: u64,
    },
    Stall {
        #[serde(default)]
        at_byte: u64,
        #[serde(deserialize_with = "seconds")]
        seconds: Duration,
    },
    SlowRead {
        bytes_per_second: u64,
    },
    SlowAnswer {
        #[serde(deserialize_with = "seconds")]
        seconds: Duration,
    },
    LoseAnswer,
    CutAnswer {
        bytes: Option<usize>,
        #[serde(default)]
        break_off: bool,
    },
    ExpireTokens,
    RepeatFileId,
    NoFileId,
    NumericFileId,
    NoExpiresIn,
    ExpiresInMs,
}

/// An answer that the plan gives in place of the endpoint's.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct AnswerFault {
    pub(super) status: Option<u16>,
    pub(super) code: Option<String>,
    pub(super) message: Option<String>,
    pub(super) body: Option<String>,
    pub(super) content_type: Option<String>,
    pub(super) headers: BTreeMap<String, String>,
    pub(super) retry_after: Option<u64>,
    pub(super) retry_after_date: Option<u64>,
    pub(super) at_byte: Option<u64>,
    pub(super) then: Option<Then>,
}

/// What follows an answer that came before the body was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Then {
    Drain,
    Close,
}

impl Fault {
    /// Its name in the plan.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Fault::Answer(_) => "answer",
            Fault::Html { .. } => "html",
            Fault::Redirect { .. } => "redirect",
            Fault::Reset { .. } => "reset",
            Fault::Stall { .. } => "stall",
            Fault::SlowRead { .. } => "slow_read",
            Fault::SlowAnswer { .. } => "slow_answer",
            Fault::LoseAnswer => "lose_answer",
            Fault::CutAnswer { .. } => "cut_answer",
            Fault::ExpireTokens => "expire_tokens",
            Fault::RepeatFileId => "repeat_file_id",
            Fault::NoFileId => "no_file_id",
            Fault::NumericFileId => "numeric_file_id",
            Fault::NoExpiresIn => "no_expires_in",
            Fault::ExpiresInMs => "expires_in_ms",
        }
    }

    /// Whether it can be carried out on requests to that endpoint; the error is the sentence that says why not.
    pub(super) fn check(&self, on: Endpoint) -> Result<(), String> {
        let only = match self {
            Fault::RepeatFileId | Fault::NoFileId | Fault::NumericFileId => Some(Endpoint::Upload),
            Fault::NoExpiresIn | Fault::ExpiresInMs => Some(Endpoint::Token),
            _ => None,
        };
        if only.is_some_and(|only| only != on) {
            let only = if only == Some(Endpoint::Token) { "token" } else { "upload" };
            return Err(format!("`{}` is a fault of `{only}` requests only", self.name()));
        }
        match self {
            Fault::Answer(answer) => answer.check(),
            Fault::Html { status } => status.map_or(Ok(()), check_status),
            Fault::Redirect { status, location } => {
                if let Some(location) = location.as_ref().filter(|text| text.parse::<Uri>().is_err()) {
                    return Err(format!("`location` is no URL: `{}`", location.escape_debug()));
                }
                match status {
                    Some(status) if !(300..400).contains(status) => {
                        Err(format!("`status` is {status}, no redirect"))
                    }
                    _ => Ok(()),
                }
            }
            Fault::SlowRead { bytes_per_second: 0 } => {
                Err("`bytes_per_second` is 0, for silence there is `stall`".into())
            }
            _ => Ok(()),
        }
    }
}

impl AnswerFault {
    /// The status: as told, else as the code's documented one, else 200.
    pub(super) fn status(&self) -> StatusCode {
        let told = self.status.and_then(|status| StatusCode::from_u16(status).ok());
        let known = self.code.as_deref().and_then(answers::known).map(|(status, _)| status);
        told.or(known).unwrap_or(StatusCode::OK)
    }

    fn check(&self) -> Result<(), String> {
        if self.code.is_some() && self.body.is_some() {
            return Err("`code` and `body` exclude each other".into());
        }
        if self.retry_after.is_some() && self.retry_after_date.is_some() {
            return Err("`retry_after` and `retry_after_date` exclude each other".into());
        }
        if self.then.is_some() && self.at_byte.is_none() {
            return Err("`then` says what follows an answer at `at_byte`, which is absent".into());
        }
        if self.message.is_some() && self.code.is_none() {
            return Err("`message` goes with `code`, which is absent".into());
        }
        if self.content_type.is_some() && self.body.is_none() {
            return Err("`content_type` goes with `body`, which is absent".into());
        }
        if let Some(code) = self.code.as_ref().filter(|code| answers::known(code).is_none()) {
            if self.status.is_none() || self.message.is_none() {
                return Err(format!("`{code}` is no documented code: it needs `status` and `message`"));
            }
        } else if self.code.is_none() && self.status.is_none() {
            return Err("an answer needs `status` or `code`".into());
        }
        for (name, value) in &self.headers {
            if HeaderName::try_from(name).is_err() || HeaderValue::try_from(value).is_err() {
                return Err(format!("`{}: {}` is no header", name.escape_debug(), value.escape_debug()));
            }
        }
        if let Some(content_type) =
            self.content_type.as_ref().filter(|text| HeaderValue::try_from(*text).is_err())
        {
            return Err(format!("`content_type` is no header value: `{}`", content_type.escape_debug()));
        }
        self.status.map_or(Ok(()), check_status)
    }
}

/// An answer's status: 1xx is no answer yet.
fn check_status(status: u16) -> Result<(), String> {
    if (200..1000).contains(&status) {
        Ok(())
    } else {
        Err(format!("`status` is {status}, not within 200 to 999"))
    }
}

/// Seconds as a number, whole or not.
pub(super) fn seconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let seconds = f64::deserialize(deserializer)?;
    Duration::try_from_secs_f64(seconds).map_err(|_| {
        D::Error::invalid_value(Unexpected::Float(seconds), &"a number of seconds, not negative")
    })
}
