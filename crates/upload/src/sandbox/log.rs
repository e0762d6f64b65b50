//! The list of requests that a sandbox has seen, for tests and for looking at other clients; without any secret.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http::header::{AUTHORIZATION, COOKIE, PROXY_AUTHORIZATION};
use http::request::Parts;
use jiff::Timestamp;

use crate::sandbox::answers::Answer;
use crate::sandbox::multipart::Part;
use crate::sandbox::plan::Endpoint;

/// One request and what became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RecordedRequest {
    /// When its head had arrived.
    pub at: Timestamp,
    /// What its path names.
    pub endpoint: Endpoint,
    /// Its number among the requests to that endpoint, from 1: what a fault plan counts by.
    pub number: u64,
    /// The method as sent.
    pub method: String,
    /// The path without the query.
    pub path: String,
    /// Names of the query's parameters; the values may be secrets.
    pub query_names: Vec<String>,
    /// Names in lower case and values in the order of arrival; of credentials only the first word.
    pub headers: Vec<(String, String)>,
    /// What the form's part said of itself, where there was exactly one part.
    pub part: Option<RecordedPart>,
    /// Bytes of the body that were read.
    pub body_bytes: u64,
    /// Status of the answer; `None` while there is none, and where there never was one.
    pub status: Option<u16>,
    /// `code` (or `error`) of the answer.
    pub code: Option<String>,
    /// The `file_id` in the answer.
    pub file_id: Option<String>,
    /// The id under which the archive is kept, whether or not an answer says so.
    pub kept_as: Option<String>,
    /// The fault that was applied, by its name in the plan.
    pub fault: Option<&'static str>,
    /// It came inside the window of a Retry-After that its client could have read.
    pub early: bool,
}

impl RecordedRequest {
    /// The value of a header, by its lower-case name; the first where there are several.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// What a part of a form said of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RecordedPart {
    /// `name` of its Content-Disposition.
    pub name: String,
    /// `filename` of its Content-Disposition.
    pub file_name: Option<String>,
    /// Its Content-Type.
    pub content_type: Option<String>,
    /// Length of its content.
    pub bytes: u64,
}

/// All requests, in the order of arrival. Grows for as long as the sandbox runs, by about a kilobyte each.
#[derive(Debug, Default)]
pub(super) struct Log {
    entries: Mutex<Vec<Live>>,
}

#[derive(Debug)]
struct Live {
    record: RecordedRequest,
    /// Apart from the record, since an exchange that its client abandons can no longer report.
    body_bytes: Arc<AtomicU64>,
}

impl Log {
    /// Notes the arrival of a request.
    pub(super) fn begin(
        self: &Arc<Log>,
        head: &Parts,
        endpoint: Endpoint,
        number: u64,
        early: bool,
    ) -> Entry {
        let query = head.uri.query().unwrap_or_default();
        let record = RecordedRequest {
            at: Timestamp::now(),
            endpoint,
            number,
            method: head.method.to_string(),
            path: head.uri.path().to_owned(),
            query_names: url::form_urlencoded::parse(query.as_bytes())
                .map(|(name, _)| name.into_owned())
                .collect(),
            headers: head.headers.iter().map(|(name, value)| redacted(name, value)).collect(),
            part: None,
            body_bytes: 0,
            status: None,
            code: None,
            file_id: None,
            kept_as: None,
            fault: None,
            early,
        };
        let body_bytes = Arc::<AtomicU64>::default();
        let mut entries = self.lock();
        entries.push(Live { record, body_bytes: body_bytes.clone() });
        Entry { log: self.clone(), index: entries.len() - 1, body_bytes }
    }

    /// A copy of everything so far.
    pub(super) fn snapshot(&self) -> Vec<RecordedRequest> {
        let copy = |live: &Live| RecordedRequest {
            body_bytes: live.body_bytes.load(Ordering::Relaxed),
            ..live.record.clone()
        };
        self.lock().iter().map(copy).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Live>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One request's place in the log.
#[derive(Debug)]
pub(super) struct Entry {
    log: Arc<Log>,
    index: usize,
    body_bytes: Arc<AtomicU64>,
}

impl Entry {
    pub(super) fn read(&self, bytes: u64) {
        self.body_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn fault(&self, name: &'static str) {
        self.change(|record| record.fault = Some(name));
    }

    pub(super) fn part(&self, part: &Part) {
        let part = RecordedPart {
            name: part.name.clone(),
            file_name: part.file_name.clone(),
            content_type: part.content_type.clone(),
            bytes: part.content.len() as u64,
        };
        self.change(|record| record.part = Some(part));
    }

    pub(super) fn kept(&self, id: &str) {
        self.change(|record| record.kept_as = Some(id.to_owned()));
    }

    pub(super) fn answered(&self, answer: &Answer) {
        self.change(|record| {
            record.status = Some(answer.status.as_u16());
            record.code = answer.code.as_deref().map(str::to_owned);
            record.file_id = answer.file_id.as_deref().map(str::to_owned);
        });
    }

    fn change(&self, change: impl FnOnce(&mut RecordedRequest)) {
        change(&mut self.log.lock()[self.index].record);
    }
}

fn redacted(name: &http::HeaderName, value: &http::HeaderValue) -> (String, String) {
    let text = String::from_utf8_lossy(value.as_bytes());
    let text = if [AUTHORIZATION, PROXY_AUTHORIZATION, COOKIE].contains(name) {
        // Only a known word is shown: in a malformed header the first word may be the secret.
        match text.split_once(' ') {
            Some((scheme @ ("Zoho-oauthtoken" | "Bearer" | "Basic"), _)) => format!("{scheme} [redacted]"),
            _ => "[redacted]".to_owned(),
        }
    } else {
        text.into_owned()
    };
    (name.as_str().to_owned(), text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(authorization: &str) -> Parts {
        let request = http::Request::post("http://x/oauth/v2/token?client_secret=canary&grant_type=canary")
            .header("Authorization", authorization)
            .header("Cookie", "a canary")
            .header("X-CRM-ORG", "6")
            .body(())
            .unwrap();
        request.into_parts().0
    }

    #[test]
    fn no_secret_of_a_request_is_recorded() {
        let log = Arc::new(Log::default());
        for authorization in ["Zoho-oauthtoken canary", "canary", "canary x"] {
            let entry = log.begin(&head(authorization), Endpoint::Token, 1, false);
            entry.read(5);
        }
        let records = log.snapshot();
        assert!(!format!("{records:?}").contains("canary"), "{records:?}");
        assert_eq!(records[0].header("authorization"), Some("Zoho-oauthtoken [redacted]"));
        assert_eq!(records[0].header("x-crm-org"), Some("6"));
        assert_eq!(records[0].query_names, ["client_secret", "grant_type"]);
        assert_eq!((records[0].body_bytes, records[0].status), (5, None));
    }
}
