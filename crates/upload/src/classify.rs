//! What the outcome of one attempt means: one pure function, so that the whole of the conduct can be read in a table.
//!
//! A known `code` decides whatever the status, since Zoho sends errors under 200 and one code under several statuses;
//! then the status. Nothing but the four-part test makes a success: 2xx, JSON, `status` = `success`, a `file_id`.
//!
//! Advice for maintainers: [`Acceptance`] is what the count of possible orphans rests on. Say `Impossible` only where
//! the server cannot have kept the body. The snapshot of all decisions must be read when it changes.

use std::fmt;
use std::time::{Duration, SystemTime};

use http::HeaderMap;
use http::header::{DATE, RETRY_AFTER};

use crate::api::{Code, Envelope, FileId};
use crate::transport::FailureKind;

/// One attempt as it ended.
#[derive(Debug, Clone, Copy)]
pub struct Observed<'a> {
    /// Status, headers and body of the answer; or what went wrong before there was a status.
    pub outcome: Result<(u16, &'a HeaderMap, &'a [u8]), FailureKind>,
    /// Bytes of the request's body that were handed to the socket.
    pub bytes_sent: u64,
    /// Length of the request's body.
    pub body_bytes: u64,
    /// The time of day, for a `Retry-After` that is a date and came without a `Date` beside it.
    pub now: SystemTime,
}

/// What to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Disposition {
    /// The server has the archive.
    Done(Receipt),
    /// The token is not good any more: renew it and send again.
    Refresh,
    /// Too many requests: all workers wait that long, or a default where the server did not say.
    Throttled {
        /// From the header, else from `details.retry_after`.
        retry_after: Option<Duration>,
    },
    /// The org's API credits of 24 hours are gone: minutes of waiting cannot help.
    CreditsGone {
        /// As above.
        retry_after: Option<Duration>,
    },
    /// Send the same body again.
    Retry {
        /// Why.
        cause: Cause,
        /// Whether the server may have kept this body.
        acceptance: Acceptance,
        /// For how long the server asked to be left alone.
        retry_after: Option<Duration>,
    },
    /// This archive is refused for good.
    FailChunk {
        /// What to do next, where it is known.
        hint: Option<&'static str>,
    },
    /// Authentication or permission: no archive of this run would do better.
    FailAuth {
        /// What to do next.
        hint: &'static str,
    },
    /// URL, method, headers or certificate: no archive of this run would do better.
    FailRun {
        /// What to do next.
        hint: &'static str,
    },
}

/// The facts of a success.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    /// The status of the answer.
    pub http_status: u16,
    /// `details.file_id`.
    pub file_id: FileId,
    /// `details.created_time`, where it was given.
    pub created_time: Option<String>,
    /// `code`, where it was given: `FILE_UPLOAD_SUCCESS` on the upload page.
    pub code: Option<String>,
}

/// Whether a body that was sent may have become a file at the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Acceptance {
    /// It cannot: the body did not go out whole, or the server said that it did not take it. Limited by time alone.
    Impossible,
    /// A gateway answered for a server behind it, or an error came with the look of a success. Counted as a possible
    /// orphan, limited by time alone.
    Unlikely,
    /// Nobody can tell. Counted as a possible orphan, and sent again at most eight times.
    Unknown,
}

/// Why an attempt is made again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// The connection, before there was an answer.
    Connection(FailureKind),
    /// The status.
    Status(u16),
    /// The code.
    Code(Code),
    /// A 2xx whose body is no JSON object, or is cut short.
    NotJson(u16),
    /// A 2xx in JSON that tells neither success nor an error.
    NoFileId(u16),
    /// A success before the whole body had been sent.
    Early(u16),
}

impl Cause {
    /// Whether time ran out: such a retry costs the budget double.
    pub(crate) fn is_timeout(self) -> bool {
        matches!(self, Cause::Connection(kind) if kind.is_timeout())
            || matches!(self, Cause::Status(408 | 504))
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Cause::Connection(kind) => kind.fmt(f),
            Cause::Status(status) => write!(f, "the server answered {status}"),
            Cause::Code(code) => write!(f, "the server answered `{code}`"),
            Cause::NotJson(status) => {
                write!(f, "the server answered {status} with a body that is no whole JSON")
            }
            Cause::NoFileId(status) => write!(f, "the server answered {status} without a file_id"),
            Cause::Early(status) => write!(f, "the server answered {status} before it had the whole body"),
        }
    }
}

/// Decides what the outcome of one attempt means. Pure: the same facts give the same decision.
///
/// ```
/// use http::HeaderMap;
/// use upload::{Disposition, Observed, classify};
///
/// // Zoho sends this under 200 too: the code decides.
/// let body = br#"{"code":"INVALID_FILE_FORMAT","details":{},"message":"invalid file format","status":"error"}"#;
/// let decision = classify(&Observed {
///     outcome: Ok((200, &HeaderMap::new(), body)),
///     bytes_sent: 1000,
///     body_bytes: 1000,
///     now: std::time::SystemTime::now(),
/// });
/// assert!(matches!(decision, Disposition::FailChunk { hint: Some(_) }));
/// ```
pub fn classify(observed: &Observed<'_>) -> Disposition {
    match observed.outcome {
        Ok((status, headers, body)) => {
            let envelope = Envelope::read(body);
            let wait = retry_after(headers, observed.now)
                .or_else(|| envelope.as_ref().and_then(|envelope| envelope.retry_after));
            Answer { observed, status, headers, wait, envelope }.decide()
        }
        Err(kind) => failed(kind, observed),
    }
}

/// The header `Retry-After`, in seconds or as a date (RFC 9110, 10.2.3); `None` where it is absent or neither.
///
/// A date counts from the answer's own `Date`, so that a wrong clock on this side does not matter.
pub(crate) fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    // What cannot be read says nothing: the caller's default applies.
    let value = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        // Too many digits for 64 bits are still a very long wait.
        return Some(Duration::from_secs(value.parse().unwrap_or(u64::MAX)));
    }
    let until = httpdate::parse_http_date(value).ok()?;
    let from = headers
        .get(DATE)
        .and_then(|date| date.to_str().ok())
        .and_then(|date| httpdate::parse_http_date(date).ok())
        .unwrap_or(now);
    // A moment that has passed asks for no wait.
    Some(until.duration_since(from).unwrap_or_default())
}

/// Whether these headers ask everybody to wait, before the body is read.
pub(crate) fn asks_to_wait(status: u16, headers: &HeaderMap) -> bool {
    status == 429 || (status >= 500 && headers.contains_key(RETRY_AFTER))
}

fn failed(kind: FailureKind, observed: &Observed<'_>) -> Disposition {
    let acceptance = if observed.bytes_sent >= observed.body_bytes && observed.bytes_sent > 0 {
        Acceptance::Unknown
    } else {
        // The length announced in Content-Length was not reached, so there was no whole request.
        Acceptance::Impossible
    };
    match kind {
        FailureKind::Certificate => Disposition::FailRun {
            hint: "the server's certificate is not trusted: check the URL, the clock, and the certificate authorities",
        },
        FailureKind::Proxy => Disposition::FailRun { hint: "check the proxy of the environment" },
        _ => Disposition::Retry { cause: Cause::Connection(kind), acceptance, retry_after: None },
    }
}

struct Answer<'a> {
    observed: &'a Observed<'a>,
    status: u16,
    headers: &'a HeaderMap,
    wait: Option<Duration>,
    envelope: Option<Envelope>,
}

impl Answer<'_> {
    fn decide(self) -> Disposition {
        if let Some(code) = self.envelope.as_ref().and_then(Envelope::known_code)
            && let Some(disposition) = self.by_code(code)
        {
            return disposition;
        }
        match self.envelope.as_ref().and_then(|envelope| envelope.error_status).unwrap_or(self.status) {
            200..=299 => self.by_body(),
            status => self.by_status(status),
        }
    }

    /// `None` where the code means nothing by itself.
    fn by_code(&self, code: Code) -> Option<Disposition> {
        Some(match code {
            Code::InvalidFileFormat | Code::FileNotSupported | Code::FileTooLarge => {
                Disposition::FailChunk { hint: Some(code.hint()) }
            }
            Code::InvalidData => {
                let message = self.envelope.as_ref().and_then(|envelope| envelope.message.as_deref());
                let message = message.unwrap_or_default().to_ascii_lowercase();
                if message.contains("x-crm-org") {
                    Disposition::FailRun { hint: code.hint() }
                } else if message.contains("25 mb") || message.contains("file size") {
                    Disposition::FailChunk { hint: Some(Code::FileTooLarge.hint()) }
                } else {
                    return None;
                }
            }
            Code::InvalidUrlPattern
            | Code::InvalidRequestMethod
            | Code::NotSupportedFeature
            | Code::MandatoryNotFound => Disposition::FailRun { hint: code.hint() },
            Code::OauthScopeMismatch
            | Code::NoPermission
            | Code::AuthorizationFailed
            | Code::AuthenticationFailure => Disposition::FailAuth { hint: code.hint() },
            Code::InvalidToken | Code::InvalidOauthToken => Disposition::Refresh,
            Code::InternalError => Disposition::Retry {
                cause: Cause::Code(code),
                acceptance: self.refused(),
                retry_after: self.wait,
            },
            Code::TooManyRequests => self.throttled(),
            Code::LimitExceeded => Disposition::CreditsGone { retry_after: self.wait },
        })
    }

    /// A 2xx without a known error code.
    fn by_body(self) -> Disposition {
        let status = self.status;
        let unknown =
            |cause| Disposition::Retry { cause, acceptance: Acceptance::Unknown, retry_after: self.wait };
        let Some(envelope) = self.envelope.as_ref() else { return unknown(Cause::NotJson(status)) };
        if envelope.says_success() {
            return match &envelope.file_id {
                // A server cannot have what was not sent, whatever it says.
                Some(_) if self.observed.bytes_sent < self.observed.body_bytes => {
                    unknown(Cause::Early(status))
                }
                Some(file_id) => Disposition::Done(Receipt {
                    http_status: status,
                    file_id: file_id.clone(),
                    created_time: envelope.created_time.clone(),
                    code: envelope.code.clone(),
                }),
                None => unknown(Cause::NoFileId(status)),
            };
        }
        match envelope.http_status {
            Some(inner @ (100..=199 | 300..)) => self.by_status(inner),
            // An error in Zoho's own words, though in one that is not known here: the same body would meet it again.
            _ if envelope.status.is_some() || envelope.code.is_some() || envelope.front_end_error => {
                self.refused_archive()
            }
            _ => unknown(Cause::NoFileId(status)),
        }
    }

    fn by_status(&self, status: u16) -> Disposition {
        match status {
            401 => Disposition::Refresh,
            403 => Disposition::FailAuth { hint: Code::NoPermission.hint() },
            404 | 410 | 501 | 505 => Disposition::FailRun { hint: Code::InvalidUrlPattern.hint() },
            405 => Disposition::FailRun { hint: Code::InvalidRequestMethod.hint() },
            407 => Disposition::FailRun { hint: "the proxy asks for credentials: check the proxy's URL" },
            413 => Disposition::FailChunk { hint: Some(Code::FileTooLarge.hint()) },
            429 => self.throttled(),
            408 | 425 => self.retry(status, Acceptance::Impossible),
            502 | 504 => {
                let whole = self.observed.bytes_sent >= self.observed.body_bytes;
                self.retry(status, if whole { Acceptance::Unlikely } else { Acceptance::Impossible })
            }
            500..=599 => self.retry(status, self.refused()),
            400..=499 => self.refused_archive(),
            _ => Disposition::FailRun {
                hint: "the server answers with a redirect, which is never followed: check --upload-url and --dc",
            },
        }
    }

    /// An error without a code that is known here. The front end's own complaint about the headers would meet every
    /// archive.
    fn refused_archive(&self) -> Disposition {
        let message = self.envelope.as_ref().and_then(|envelope| envelope.message.as_deref());
        if message.is_some_and(|message| message.to_ascii_lowercase().contains("x-crm-org")) {
            return Disposition::FailRun { hint: Code::MandatoryNotFound.hint() };
        }
        Disposition::FailChunk { hint: None }
    }

    fn retry(&self, status: u16, acceptance: Acceptance) -> Disposition {
        Disposition::Retry { cause: Cause::Status(status), acceptance, retry_after: self.wait }
    }

    /// An error is taken at its word, unless it shows a `file_id`.
    fn refused(&self) -> Acceptance {
        let shows_file = self.envelope.as_ref().is_some_and(|envelope| envelope.file_id.is_some());
        if shows_file { Acceptance::Unlikely } else { Acceptance::Impossible }
    }

    fn throttled(&self) -> Disposition {
        // Zoho's api-limits page: the header appears once half of the day's credits is used.
        let credits = self.headers.get("x-api-credits-remaining").and_then(|value| value.to_str().ok());
        let gone = credits.is_some_and(|credits| credits.trim() == "0");
        let retry_after = self.wait;
        if gone { Disposition::CreditsGone { retry_after } } else { Disposition::Throttled { retry_after } }
    }
}

#[cfg(test)]
mod tests;
