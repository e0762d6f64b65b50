//! What the sandbox says: Zoho's success, Zoho's errors, each in Zoho's shape and words; every answer that a
//! client can get without a fault plan is made here.
//!
//! Sources, as seen in captures of 2023 to mid-2026: the upload page of Bulk Write (v2 to v8) for the success and
//! the eight documented errors, Zoho's `OpenAPI` file `v8.0/upload/upload.yaml` for the messages about headers,
//! feature and form, the status codes page and Zoho's error posts for the common messages.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::header::{CONTENT_TYPE, LOCATION, RETRY_AFTER};
use http::{HeaderName, HeaderValue, StatusCode};
use jiff::Timestamp;
use jiff::tz::Offset;
use serde_json::{Value, json};

/// A complete answer before it is put on the wire, with the facts that the request log wants from it.
#[derive(Debug, Clone)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
    pub(super) body: Bytes,
    pub(super) code: Option<Box<str>>,
    pub(super) file_id: Option<Box<str>>,
    /// The wait that its Retry-After header asks for.
    pub(super) wait: Option<Duration>,
}

impl Answer {
    /// An answer with that JSON as its body; `code` and `details.file_id` are taken from it.
    pub(super) fn json(status: StatusCode, body: &Value) -> Answer {
        let text = |value: Option<&Value>| value.and_then(Value::as_str).map(Box::from);
        Answer {
            status,
            headers: vec![(CONTENT_TYPE, HeaderValue::from_static("application/json;charset=UTF-8"))],
            body: Bytes::from(body.to_string()),
            code: text(body.get("code").or_else(|| body.get("error"))),
            file_id: text(body.pointer("/details/file_id")),
            wait: None,
        }
    }

    /// An answer with any bytes as its body.
    pub(super) fn text(status: StatusCode, content_type: HeaderValue, body: Bytes) -> Answer {
        Answer {
            status,
            headers: vec![(CONTENT_TYPE, content_type)],
            body,
            code: None,
            file_id: None,
            wait: None,
        }
    }

    /// The success of the upload page: 200, `FILE_UPLOAD_SUCCESS`, `file_id` as a string, a time with an offset.
    pub(super) fn uploaded(file_id: &str, at: Timestamp) -> Answer {
        Answer::json(
            StatusCode::OK,
            &json!({
                "status": "success",
                "code": "FILE_UPLOAD_SUCCESS",
                "message": "file uploaded.",
                "details": { "file_id": file_id, "created_time": zoho_time(at) },
            }),
        )
    }

    /// Zoho's error envelope: `code`, `message`, `details`, `status: "error"`.
    pub(super) fn error(status: StatusCode, code: &str, message: &str, details: &Value) -> Answer {
        Answer::json(
            status,
            &json!({ "status": "error", "code": code, "message": message, "details": details }),
        )
    }

    /// The same answer with a Retry-After header, in seconds.
    pub(super) fn with_retry_after(mut self, seconds: u64) -> Answer {
        self.headers.push((RETRY_AFTER, HeaderValue::from(seconds)));
        self.wait = Some(Duration::from_secs(seconds));
        self
    }

    /// The same answer with a Retry-After header as a date, that many seconds from now (RFC 9110 section 10.2.3).
    pub(super) fn with_retry_after_date(mut self, seconds: u64) -> Answer {
        let wait = Duration::from_secs(seconds);
        let date = httpdate::fmt_http_date(SystemTime::now() + wait);
        let value = HeaderValue::try_from(date).expect("invariant: an HTTP date is visible ASCII");
        self.headers.push((RETRY_AFTER, value));
        self.wait = Some(wait);
        self
    }

    /// A redirect without a body.
    pub(super) fn redirect(status: StatusCode, location: HeaderValue) -> Answer {
        Answer {
            status,
            headers: vec![(LOCATION, location)],
            body: Bytes::new(),
            code: None,
            file_id: None,
            wait: None,
        }
    }
}

/// A time as Zoho writes it: seconds and a numeric offset, e.g. `2018-12-31T12:00:00+00:00`.
pub(super) fn zoho_time(at: Timestamp) -> String {
    let whole = Timestamp::from_second(at.as_second()).unwrap_or(at);
    whole.display_with_offset(Offset::UTC).to_string()
}

/// Status and message of a code that Zoho documents, for answers of which only the code is known.
pub(super) fn known(code: &str) -> Option<(StatusCode, &'static str)> {
    KNOWN
        .iter()
        .find(|(known, ..)| *known == code)
        .and_then(|&(_, status, message)| Some((StatusCode::from_u16(status).ok()?, message)))
}

/// The answer for a code that [`known`] has, with empty details.
pub(super) fn documented(code: &'static str) -> Answer {
    let (status, message) = known(code).expect("invariant: only codes of the table are passed");
    Answer::error(status, code, message, &json!({}))
}

/// A required header is missing; `key` as the `OpenAPI` file spells it.
pub(super) fn mandatory_not_found(key: &str, details: &Value) -> Answer {
    let message = format!("Required key {key} is not available");
    Answer::error(StatusCode::BAD_REQUEST, "MANDATORY_NOT_FOUND", &message, details)
}

/// `X-CRM-ORG` names another organisation.
pub(super) fn wrong_org() -> Answer {
    Answer::error(StatusCode::BAD_REQUEST, "INVALID_DATA", "Invalid data - x-crm-org", &json!({}))
}

/// The archive is over the limit: 400 on v2, 413 on every later version, as their pages say.
pub(super) fn file_too_large(version: &str) -> Answer {
    let status = if version == "v2" { StatusCode::BAD_REQUEST } else { StatusCode::PAYLOAD_TOO_LARGE };
    Answer::error(status, "FILE_TOO_LARGE", "The maximum file size is 25MB", &json!({}))
}

/// A 429 in the shape of Zoho's `response-429-sample`, with the header only where a wait is known.
pub(super) fn too_many_requests(retry_after_s: Option<u64>, limit: Option<usize>) -> Answer {
    let mut details = json!({});
    if let Some(seconds) = retry_after_s {
        details["retry_after"] = json!(seconds);
    }
    if let Some(limit) = limit {
        details["limit"] = json!(limit);
    }
    let (status, message) = known("TOO_MANY_REQUESTS").expect("invariant: the code is in the table");
    let answer = Answer::error(status, "TOO_MANY_REQUESTS", message, &details);
    match retry_after_s {
        Some(seconds) => answer.with_retry_after(seconds),
        None => answer,
    }
}

/// The sandbox refuses what no Zoho page says is checked at upload; `check` names the rule.
///
/// The envelope is Zoho's, the code the nearest that Zoho has, and `details` says who is speaking.
pub(super) fn stricter(code: &str, message: &str, check: &str, reason: &str) -> Answer {
    let details = json!({ "check": check, "reason": reason, "stricter_than_zoho": true });
    Answer::error(StatusCode::BAD_REQUEST, code, message, &details)
}

/// Codes, statuses and messages as Zoho's pages and `OpenAPI` files give them.
const KNOWN: [(&str, u16, &str); 16] = [
    ("INVALID_FILE_FORMAT", 400, "invalid file format. only zip format is supported"),
    ("FILE_TOO_LARGE", 413, "The maximum file size is 25MB"),
    ("INVALID_URL_PATTERN", 404, "Please check if the URL trying to access is a correct one"),
    ("OAUTH_SCOPE_MISMATCH", 401, "invalid oauth scope to access this URL"),
    ("NO_PERMISSION", 403, "permission denied"),
    ("INTERNAL_ERROR", 500, "Internal Server Error"),
    ("INVALID_REQUEST_METHOD", 400, "The http request method type is not a valid one"),
    ("AUTHORIZATION_FAILED", 400, "User does not have sufficient privilege"),
    ("INVALID_TOKEN", 401, "invalid oauth token"),
    ("INVALID_OAUTHTOKEN", 401, "invalid oauth token"),
    ("AUTHENTICATION_FAILURE", 401, "Authentication failed"),
    ("NOT_SUPPORTED_FEATURE", 400, "Feature is not supported"),
    ("MANDATORY_NOT_FOUND", 400, "Required key feature is not available"),
    ("INVALID_DATA", 400, "Import file size should be less than 25 mb."),
    ("TOO_MANY_REQUESTS", 429, "too many requests. please try again after some time"),
    ("LIMIT_EXCEEDED", 429, "API limit exceeded"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_success_has_the_shape_of_the_upload_page() {
        let at: Timestamp = "2026-03-01T10:20:30.987Z".parse().unwrap();
        let answer = Answer::uploaded("111111000001492610", at);
        let body: Value = serde_json::from_slice(&answer.body).unwrap();
        let expected = json!({
            "status": "success", "code": "FILE_UPLOAD_SUCCESS", "message": "file uploaded.",
            "details": { "file_id": "111111000001492610", "created_time": "2026-03-01T10:20:30+00:00" },
        });
        assert_eq!(body, expected);
        assert_eq!(answer.file_id.as_deref(), Some("111111000001492610"));
    }

    #[test]
    fn too_large_is_400_on_v2_and_413_later() {
        assert_eq!(file_too_large("v2").status, 400);
        assert_eq!(file_too_large("v2.1").status, 413);
        assert_eq!(file_too_large("v8").status, 413);
    }

    #[test]
    fn every_code_of_the_table_makes_an_answer() {
        for (code, status, message) in KNOWN {
            let answer = documented(code);
            let body: Value = serde_json::from_slice(&answer.body).unwrap();
            assert_eq!(answer.status, status);
            assert_eq!(body, json!({"code": code, "message": message, "status": "error", "details": {}}));
        }
    }
}
