//! Zoho's words on the wire: `file_id`, error codes with their remedies, and the envelopes answers come in.
//!
//! An envelope is read leniently and keeps what it found as text; nothing is filled in that was not there.

use std::fmt;
use std::time::Duration;

use serde_json::Value;

/// A `file_id`: opaque text, 18 to 19 digits where it was seen. Never empty, never a number that went through a float.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FileId(String);

impl FileId {
    /// The text as the server gave it; `None` where it is blank or holds a control character.
    ///
    /// ```
    /// assert_eq!(upload::FileId::new("111111000001492610").unwrap().as_str(), "111111000001492610");
    /// assert_eq!(upload::FileId::new("  "), None);
    /// ```
    pub fn new(text: &str) -> Option<FileId> {
        let text = text.trim();
        (!text.is_empty() && !text.contains(char::is_control)).then(|| FileId(text.to_owned()))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for FileId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The error codes that decide what happens next.
///
/// ```
/// use upload::Code;
///
/// let code = Code::parse("OAUTH_SCOPE_MISMATCH").unwrap();
/// assert!(code.hint().contains("ZohoFiles.files.ALL"));
/// assert_eq!(Code::parse("SOMETHING_NEW"), None);
/// ```
///
/// The first eight are the table of the upload page (`api/v2/bulk-write/upload-file.html`); the next three stand in
/// Zoho's `OpenAPI` file of the upload; the others are the CRM's own of `status-codes.html` and `token-validity.html`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "each is Zoho's code in camel case; `hint` says what it means")]
pub enum Code {
    InvalidFileFormat,
    FileTooLarge,
    InvalidUrlPattern,
    OauthScopeMismatch,
    NoPermission,
    InternalError,
    InvalidRequestMethod,
    AuthorizationFailed,
    InvalidData,
    NotSupportedFeature,
    MandatoryNotFound,
    FileNotSupported,
    InvalidToken,
    InvalidOauthToken,
    AuthenticationFailure,
    TooManyRequests,
    LimitExceeded,
}

impl Code {
    /// All of them.
    pub const ALL: [Code; 17] = [
        Self::InvalidFileFormat,
        Self::FileTooLarge,
        Self::InvalidUrlPattern,
        Self::OauthScopeMismatch,
        Self::NoPermission,
        Self::InternalError,
        Self::InvalidRequestMethod,
        Self::AuthorizationFailed,
        Self::InvalidData,
        Self::NotSupportedFeature,
        Self::MandatoryNotFound,
        Self::FileNotSupported,
        Self::InvalidToken,
        Self::InvalidOauthToken,
        Self::AuthenticationFailure,
        Self::TooManyRequests,
        Self::LimitExceeded,
    ];

    /// As Zoho spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InvalidFileFormat => "INVALID_FILE_FORMAT",
            Self::FileTooLarge => "FILE_TOO_LARGE",
            Self::InvalidUrlPattern => "INVALID_URL_PATTERN",
            Self::OauthScopeMismatch => "OAUTH_SCOPE_MISMATCH",
            Self::NoPermission => "NO_PERMISSION",
            Self::InternalError => "INTERNAL_ERROR",
            Self::InvalidRequestMethod => "INVALID_REQUEST_METHOD",
            Self::AuthorizationFailed => "AUTHORIZATION_FAILED",
            Self::InvalidData => "INVALID_DATA",
            Self::NotSupportedFeature => "NOT_SUPPORTED_FEATURE",
            Self::MandatoryNotFound => "MANDATORY_NOT_FOUND",
            Self::FileNotSupported => "FILE_NOT_SUPPORTED",
            Self::InvalidToken => "INVALID_TOKEN",
            Self::InvalidOauthToken => "INVALID_OAUTHTOKEN",
            Self::AuthenticationFailure => "AUTHENTICATION_FAILURE",
            Self::TooManyRequests => "TOO_MANY_REQUESTS",
            Self::LimitExceeded => "LIMIT_EXCEEDED",
        }
    }

    /// The code of that spelling.
    pub fn parse(text: &str) -> Option<Code> {
        Self::ALL.into_iter().find(|code| code.as_str() == text)
    }

    /// What to do: the resolution of the upload page where it has one.
    pub fn hint(self) -> &'static str {
        match self {
            Self::InvalidFileFormat | Self::FileNotSupported => "upload the file only in the zip format",
            Self::FileTooLarge => {
                "the maximum file size is 25 MB: lower --max-archive-bytes or --max-csv-bytes and run again"
            }
            Self::InvalidUrlPattern => {
                "the request URL is incorrect: check --dc, --api-version and --upload-url"
            }
            Self::OauthScopeMismatch => {
                "the client lacks the scope ZohoFiles.files.ALL: create credentials with that scope"
            }
            Self::NoPermission => {
                "the user has no permission to upload files: contact the org's system administrator"
            }
            Self::InternalError => "an unhandled fault in Zoho's server: if it lasts, contact Zoho's support",
            Self::InvalidRequestMethod => {
                "the URL does not take a POST: check --upload-url and --api-version"
            }
            Self::AuthorizationFailed => {
                "the user has no sufficient privilege to upload: contact the org's system administrator"
            }
            Self::InvalidData => {
                "check the org: X-CRM-ORG takes the zgid of GET /org, not the org's record id"
            }
            Self::NotSupportedFeature => {
                "this org or this URL has no bulk write: check --upload-url and --org"
            }
            Self::MandatoryNotFound => {
                "the headers feature and X-CRM-ORG did not arrive: check --org, and any proxy on the way"
            }
            Self::InvalidToken | Self::InvalidOauthToken => {
                "the token is expired, revoked or of another data centre: check --dc and the credentials"
            }
            Self::AuthenticationFailure => {
                "the Authorization header did not arrive: check any proxy on the way"
            }
            Self::TooManyRequests => "too many calls at once or in 24 hours: lower --concurrency",
            Self::LimitExceeded => {
                "the org's API credits of 24 hours are used up: run again when some are free"
            }
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a JSON object of Zoho's says, whichever of its shapes it has.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Envelope {
    /// `status`: `success` or `error`.
    pub(crate) status: Option<String>,
    /// `code`, or a textual `ERROR_CODE`.
    pub(crate) code: Option<String>,
    /// `message`, `ERROR_MESSAGE`, or the front end's `x-error`, `x-info` and `info`.
    pub(crate) message: Option<String>,
    /// A numeric `ERROR_CODE`: the status that the answer should have had.
    pub(crate) error_status: Option<u16>,
    /// `http_status`, which some front ends repeat in the body.
    pub(crate) http_status: Option<u16>,
    /// One of the front ends' own words for an error: `ERROR_MESSAGE`, `x-error`, `x-info`.
    pub(crate) front_end_error: bool,
    /// `details.file_id`, a string or an integer.
    pub(crate) file_id: Option<FileId>,
    /// `details.created_time`.
    pub(crate) created_time: Option<String>,
    /// `details.retry_after`, in seconds.
    pub(crate) retry_after: Option<Duration>,
}

impl Envelope {
    /// Reads a body; `None` where it is no JSON object.
    pub(crate) fn read(body: &[u8]) -> Option<Envelope> {
        const BOM: &[u8] = b"\xef\xbb\xbf";
        let body = body.strip_prefix(BOM).unwrap_or(body);
        // What is wrong with the JSON does not matter here: the body is shown as it came.
        let value: Value = serde_json::from_slice(body).ok()?;
        let object = value.as_object()?;
        let details = object.get("details").and_then(Value::as_object);
        let detail = |name: &str| details.and_then(|details| details.get(name));
        let field = |name: &str| object.get(name).and_then(text);
        Some(Envelope {
            status: field("status"),
            code: field("code").or_else(|| field("ERROR_CODE").filter(|code| code.parse::<u16>().is_err())),
            message: ["message", "ERROR_MESSAGE", "x-error", "x-info", "info"].into_iter().find_map(field),
            error_status: object.get("ERROR_CODE").and_then(status).filter(|status| *status >= 400),
            http_status: object.get("http_status").and_then(status),
            front_end_error: ["ERROR_MESSAGE", "x-error", "x-info"]
                .into_iter()
                .any(|name| field(name).is_some()),
            file_id: detail("file_id").and_then(identity),
            created_time: detail("created_time").and_then(text),
            retry_after: detail("retry_after").and_then(seconds),
        })
    }

    /// The code, where it is one that decides.
    pub(crate) fn known_code(&self) -> Option<Code> {
        self.code.as_deref().and_then(Code::parse)
    }

    pub(crate) fn says_success(&self) -> bool {
        self.status.as_deref() == Some("success")
    }
}

fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// An identity must not have gone through a float: a number over 64 bits is refused rather than rounded.
fn identity(value: &Value) -> Option<FileId> {
    match value {
        Value::String(text) => FileId::new(text),
        Value::Number(number) if number.is_u64() => FileId::new(&number.to_string()),
        _ => None,
    }
}

fn status(value: &Value) -> Option<u16> {
    let number = match value {
        Value::Number(number) => number.as_u64(),
        // A textual code is not a malformed number: it is read elsewhere.
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    };
    number.and_then(|number| u16::try_from(number).ok()).filter(|status| (100..600).contains(status))
}

/// Seconds as a number or as text; `None` where they are negative or no number.
fn seconds(value: &Value) -> Option<Duration> {
    let seconds = match value {
        Value::Number(number) => number.as_f64(),
        // Text that is no number says nothing; the default wait applies.
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    }?;
    Duration::try_from_secs_f64(seconds).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file_id(json: &str) -> Option<String> {
        let body = format!(r#"{{"status":"success","details":{{"file_id":{json}}}}}"#);
        Envelope::read(body.as_bytes()).unwrap().file_id.map(|id| id.0)
    }

    #[test]
    fn a_file_id_is_text_or_an_integer_and_never_a_float() {
        assert_eq!(file_id(r#""111111000001492610""#).as_deref(), Some("111111000001492610"));
        assert_eq!(file_id("5725767000002105043").as_deref(), Some("5725767000002105043"));
        assert_eq!(file_id(r#""abc123xyz""#).as_deref(), Some("abc123xyz"));
        for none in
            ["null", r#""""#, r#""  ""#, "1.5", "1e30", "111111111111111111111111", "-1", "[]", r#""a\nb""#]
        {
            assert_eq!(file_id(none), None, "{none}");
        }
    }

    #[test]
    fn every_code_is_parsed_from_its_own_spelling_and_has_a_remedy() {
        for code in Code::ALL {
            assert_eq!(Code::parse(code.as_str()), Some(code));
            assert!(!code.hint().is_empty());
        }
        assert_eq!(Code::parse("FILE_UPLOAD_SUCCESS"), None);
    }

    #[test]
    fn every_shape_of_an_error_is_read() {
        let read = |body: &str| Envelope::read(body.as_bytes()).unwrap();
        let usual =
            read(r#"{"code":"INVALID_TOKEN","details":{},"message":"invalid oauth token","status":"error"}"#);
        assert_eq!(usual.known_code(), Some(Code::InvalidToken));
        assert_eq!(usual.message.as_deref(), Some("invalid oauth token"));
        let numeric = read(r#"{"ERROR_CODE":401,"ERROR_MESSAGE":"Unauthorized"}"#);
        assert_eq!((numeric.code, numeric.error_status), (None, Some(401)));
        let textual = read(r#"{"ERROR_CODE":"NO_PERMISSION"}"#);
        assert_eq!(textual.known_code(), Some(Code::NoPermission));
        let front = read(r#"{"x-error":"check if headers are present","http_status":"400"}"#);
        assert_eq!(front.message.as_deref(), Some("check if headers are present"));
        assert_eq!(front.http_status, Some(400));
        let limit = read(r#"{"code":"TOO_MANY_REQUESTS","details":{"retry_after":60}}"#);
        assert_eq!(limit.retry_after, Some(Duration::from_mins(1)));
        assert_eq!(read(r#"{"details":{"retry_after":-1}}"#).retry_after, None);
        assert_eq!(read(r#"{"details":{"retry_after":"2"}}"#).retry_after, Some(Duration::from_secs(2)));
    }

    #[test]
    fn what_is_no_json_object_is_no_envelope() {
        for body in ["", "<html></html>", "[]", "3", r#"{"status":"succ"#, "{} {}", "\0"] {
            assert_eq!(Envelope::read(body.as_bytes()), None, "{body}");
        }
        assert!(Envelope::read(b"\xef\xbb\xbf{}").is_some());
    }
}
