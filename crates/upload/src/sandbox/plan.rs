//! The fault plan: how a sandbox is told to misbehave, as a TOML text and as types that hold only what makes sense.
//!
//! Invariant: a [`FaultPlan`] that exists can be carried out; everything that could be wrong with one is an error
//! of [`FaultPlan::parse`].

use std::time::Duration;

use serde::Deserialize;

use crate::sandbox::fault::{Fault, seconds};
use crate::sandbox::tokens;

/// What a sandbox does wrong, and which limits it keeps. The empty plan does nothing wrong.
///
/// # Format
///
/// ```toml
/// [limits]                      # all optional
/// edition = "enterprise"        # free 5, standard 10, professional 15, enterprise 20 (default), ultimate 25 calls at once
/// concurrency = 20              # instead of an edition
/// retry_after = 60              # seconds, in the 429 of one call too many; absent: the 429 has none
/// escalate = true               # a request inside a Retry-After gets a 429 with twice the wait (at most 300 s)
/// read_bytes_per_second = 1_250_000   # all connections together; absent: no limit
///
/// [tokens]
/// lifetime_seconds = 3600
/// per_ten_minutes = 10
/// scope = "ZohoFiles.files.ALL,ZohoCRM.org.READ,ZohoCRM.bulk.ALL"
///
/// [checks]
/// content = true                # false: entries are not unpacked (no CRC, no CSV checks)
///
/// [[rule]]                      # the first rule that fits a request is the one that is applied
/// on = "upload"                 # upload (default), token, org
/// request = 3                   # or requests = [3, 5], or every = 10, or probability = 0.05; none of them: each one
/// from = 1                      # with every, probability or none: first and last request it may fit
/// to = 100
/// times = 2                     # at most so often
/// fault = { answer = { status = 503 } }
/// ```
///
/// Requests are counted from 1 for each endpoint, in the order in which their heads arrive, refused ones included.
/// Whether a `probability` meets request *n* depends on the sandbox's seed, the rule's place and *n* alone.
///
/// Faults, with their keys; seconds may be fractions:
///
/// | fault | what happens |
/// |---|---|
/// | `{ answer = { status, code, message, body, content_type, headers, retry_after, retry_after_date, at_byte, then } }` | this instead of the endpoint's answer; nothing is kept. With `code` Zoho's error envelope (`status` and `message` as Zoho has them, where it is a known code), with `body` that text, with neither no body. `retry_after` in seconds, `retry_after_date` as a date so many seconds ahead. With `at_byte` the answer goes out as soon as so many bytes of the body are read; then the rest is read (`then = "drain"`, default) or the connection closed (`"close"`) |
/// | `{ html = { status } }` | a gateway's page, status 200 unless told; nothing is kept |
/// | `{ redirect = { status, location } }` | 307 unless told, to another path of the sandbox unless told; nothing is kept |
/// | `{ reset = { at_byte } }` | a TCP reset once so many bytes of the body are read (or all of them, if fewer); nothing is kept |
/// | `{ stall = { at_byte, seconds } }` | no byte is read for so long, at that byte of the body (default 0); then all goes on |
/// | `{ slow_read = { bytes_per_second } }` | the body is read at this pace |
/// | `{ slow_answer = { seconds } }` | the archive is kept, then silence, then the answer |
/// | `"lose_answer"` | the archive is kept, the connection closed without an answer |
/// | `{ cut_answer = { bytes, break_off } }` | the archive is kept, the answer has only its first bytes (default: half): with a matching Content-Length, or with `break_off = true` under the length of the whole, the connection closing in the middle |
/// | `"expire_tokens"` | every access token ends as the request arrives |
/// | `"repeat_file_id"` | the archive is kept under its own id, the answer names the id before it |
/// | `"no_file_id"` | the archive is kept, the success has empty details |
/// | `"numeric_file_id"` | `file_id` as a JSON integer |
/// | `"no_expires_in"` | a token without its life |
/// | `"expires_in_ms"` | a token's life as older servers say it: `expires_in` in milliseconds beside `expires_in_sec` |
///
/// # Example
///
/// ```
/// use upload::sandbox::FaultPlan;
///
/// FaultPlan::parse(r#"
///     [[rule]]
///     request = 2
///     fault = { answer = { code = "TOO_MANY_REQUESTS", retry_after = 1 } }
///
///     [[rule]]
///     probability = 0.05
///     fault = "lose_answer"
/// "#)?;
///
/// let error = FaultPlan::parse("[[rule]]\nrequest = 0\nfault = \"lose_answer\"").unwrap_err();
/// assert_eq!(error.to_string(), "rule 1 of the fault plan: `request` is 0, requests are counted from 1");
/// # Ok::<(), upload::sandbox::FaultPlanError>(())
/// ```
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FaultPlan {
    pub(super) limits: Limits,
    pub(super) tokens: TokenRules,
    pub(super) checks: Checks,
    #[serde(rename = "rule")]
    pub(super) rules: Vec<Rule>,
}

impl FaultPlan {
    /// Reads a plan.
    ///
    /// # Errors
    ///
    /// [`FaultPlanError`]: the text is no TOML, has an unknown key or a value of the wrong kind (with line and
    /// column), or a rule cannot be carried out (with its number, from 1).
    pub fn parse(toml: &str) -> Result<FaultPlan, FaultPlanError> {
        let plan: FaultPlan = toml::from_str(toml).map_err(|error| FaultPlanError::syntax(toml, &error))?;
        if plan.limits.concurrency == Some(0) {
            return Err(FaultPlanError::Limits {
                problem: "`concurrency` is 0, nothing could be sent".into(),
            });
        }
        if plan.limits.edition.is_some() && plan.limits.concurrency.is_some() {
            return Err(FaultPlanError::Limits {
                problem: "`edition` and `concurrency` exclude each other".into(),
            });
        }
        for (index, rule) in plan.rules.iter().enumerate() {
            rule.check().map_err(|problem| FaultPlanError::Rule { number: index + 1, problem })?;
        }
        Ok(plan)
    }

    /// Whether the plan makes the sandbox read otherwise than as fast as it can.
    pub(super) fn shapes_reading(&self) -> bool {
        let shapes = |rule: &Rule| {
            matches!(rule.fault, Fault::Reset { .. } | Fault::Stall { .. } | Fault::SlowRead { .. })
                || matches!(&rule.fault, Fault::Answer(answer) if answer.at_byte.is_some())
        };
        self.limits.read_bytes_per_second.is_some() || self.rules.iter().any(shapes)
    }
}

/// Why a text is no fault plan.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FaultPlanError {
    /// No TOML, an unknown key, or a value of the wrong kind.
    #[error("line {line}, column {column} of the fault plan: {problem}")]
    Syntax {
        /// Line, from 1.
        line: usize,
        /// Column in characters, from 1.
        column: usize,
        /// What the TOML parser says.
        problem: String,
    },
    /// A limit that makes no sense.
    #[error("limits of the fault plan: {problem}")]
    Limits {
        /// What is wrong with it.
        problem: String,
    },
    /// A rule that cannot be carried out.
    #[error("rule {number} of the fault plan: {problem}")]
    Rule {
        /// Its place among the rules, from 1.
        number: usize,
        /// What is wrong with it.
        problem: String,
    },
}

impl FaultPlanError {
    /// The parser's own Display spreads the text over several lines; an error here is one line.
    fn syntax(toml: &str, error: &toml::de::Error) -> FaultPlanError {
        let at = error.span().map_or(0, |span| span.start);
        let before = toml.get(..at).unwrap_or(toml);
        FaultPlanError::Syntax {
            line: before.matches('\n').count() + 1,
            column: before.rsplit('\n').next().map_or(0, |line| line.chars().count()) + 1,
            problem: error.message().to_owned(),
        }
    }
}

/// What a request's path names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Endpoint {
    /// `/crm/{version}/upload`
    #[default]
    Upload,
    /// `/oauth/v2/token`
    Token,
    /// `/crm/{version}/org`
    Org,
    /// Any other path, which is answered with `INVALID_URL_PATTERN`; no rule can be on it.
    #[serde(skip)]
    Other,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Limits {
    edition: Option<Edition>,
    concurrency: Option<usize>,
    pub(super) retry_after: Option<u64>,
    pub(super) escalate: bool,
    pub(super) read_bytes_per_second: Option<u64>,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            edition: None,
            concurrency: None,
            retry_after: None,
            escalate: true,
            read_bytes_per_second: None,
        }
    }
}

impl Limits {
    pub(super) fn edition(&self) -> Edition {
        self.edition.unwrap_or(Edition::Enterprise)
    }

    /// Simultaneous calls, as Zoho's API limits page has them by edition.
    pub(super) fn concurrency(&self) -> usize {
        self.concurrency.unwrap_or(match self.edition() {
            Edition::Free => 5,
            Edition::Standard => 10,
            Edition::Professional => 15,
            Edition::Enterprise => 20,
            Edition::Ultimate => 25,
        })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Edition {
    Free,
    Standard,
    Professional,
    Enterprise,
    Ultimate,
}

impl Edition {
    /// As `license_details.paid_type` has it.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Edition::Free => "free",
            Edition::Standard => "standard",
            Edition::Professional => "professional",
            Edition::Enterprise => "enterprise",
            Edition::Ultimate => "ultimate",
        }
    }
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct TokenRules {
    #[serde(rename = "lifetime_seconds", deserialize_with = "seconds")]
    pub(super) lifetime: Duration,
    pub(super) per_ten_minutes: usize,
    pub(super) scope: String,
}

impl Default for TokenRules {
    fn default() -> TokenRules {
        TokenRules {
            lifetime: tokens::LIFETIME,
            per_ten_minutes: tokens::TOKENS_PER_WINDOW,
            scope: "ZohoFiles.files.ALL,ZohoCRM.org.READ,ZohoCRM.bulk.ALL".into(),
        }
    }
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Checks {
    pub(super) content: bool,
}

impl Default for Checks {
    fn default() -> Checks {
        Checks { content: true }
    }
}

/// One fault and the requests that it meets.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Rule {
    #[serde(default)]
    pub(super) on: Endpoint,
    request: Option<u64>,
    requests: Option<Vec<u64>>,
    every: Option<u64>,
    probability: Option<f64>,
    from: Option<u64>,
    to: Option<u64>,
    pub(super) times: Option<u64>,
    pub(super) fault: Fault,
}

impl Rule {
    /// Whether request `number` is one of its own; `chance` in 0..1 decides where it is a matter of probability.
    pub(super) fn fits(&self, number: u64, chance: f64) -> bool {
        if !(self.from.unwrap_or(1)..=self.to.unwrap_or(u64::MAX)).contains(&number) {
            return false;
        }
        if let Some(request) = self.request {
            number == request
        } else if let Some(requests) = &self.requests {
            requests.contains(&number)
        } else if let Some(every) = self.every {
            number.is_multiple_of(every)
        } else {
            self.probability.is_none_or(|probability| chance < probability)
        }
    }

    fn check(&self) -> Result<(), String> {
        let selectors = [
            ("request", self.request.is_some()),
            ("requests", self.requests.is_some()),
            ("every", self.every.is_some()),
            ("probability", self.probability.is_some()),
        ];
        let given: Vec<&str> = selectors.iter().filter(|(_, given)| *given).map(|(name, _)| *name).collect();
        if let [first, second, ..] = given[..] {
            return Err(format!("`{first}` and `{second}` exclude each other"));
        }
        if (self.request.is_some() || self.requests.is_some()) && (self.from.is_some() || self.to.is_some()) {
            return Err(format!("`from` and `to` do not go with `{}`", given[0]));
        }
        if self.request == Some(0) {
            return Err("`request` is 0, requests are counted from 1".into());
        }
        if self.requests.as_ref().is_some_and(|numbers| numbers.contains(&0)) {
            return Err("`requests` has a 0, requests are counted from 1".into());
        }
        if self.requests.as_ref().is_some_and(Vec::is_empty) {
            return Err("`requests` is empty".into());
        }
        if self.every == Some(0) {
            return Err("`every` is 0, 1 is every request".into());
        }
        if let Some(probability) = self.probability.filter(|value| !(0.0..=1.0).contains(value)) {
            return Err(format!("`probability` is {probability}, not within 0 to 1"));
        }
        if let (Some(from), Some(to)) = (self.from, self.to)
            && from > to
        {
            return Err(format!("`from` is {from}, after `to`, which is {to}"));
        }
        self.fault.check(self.on)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_edition_decides_how_many_calls_at_once() {
        for (edition, calls) in
            [("free", 5), ("standard", 10), ("professional", 15), ("enterprise", 20), ("ultimate", 25)]
        {
            let plan = FaultPlan::parse(&format!("[limits]\nedition = \"{edition}\"")).unwrap();
            assert_eq!((plan.limits.concurrency(), plan.limits.edition().as_str()), (calls, edition));
        }
        assert_eq!(FaultPlan::default().limits.concurrency(), 20);
        assert_eq!(FaultPlan::parse("[limits]\nconcurrency = 3").unwrap().limits.concurrency(), 3);
    }

    #[test]
    fn an_empty_text_is_the_plan_that_does_nothing_wrong() {
        let plan = FaultPlan::parse("").unwrap();
        assert!(
            plan.rules.is_empty() && plan.checks.content && plan.limits.escalate && !plan.shapes_reading()
        );
        assert_eq!((plan.tokens.lifetime, plan.tokens.per_ten_minutes), (Duration::from_hours(1), 10));
        assert_eq!((plan.limits.retry_after, plan.limits.read_bytes_per_second), (None, None));
    }

    #[test]
    fn rules_fit_the_requests_that_they_name() {
        let fitting = |selector: &str| {
            let text = format!("[[rule]]\nfault = \"lose_answer\"\n{selector}");
            let rule = FaultPlan::parse(&text).unwrap().rules.remove(0);
            (1..=9).filter(|&number| rule.fits(number, 0.3)).collect::<Vec<u64>>()
        };
        assert_eq!(fitting("request = 3"), [3]);
        assert_eq!(fitting("requests = [2, 9]"), [2, 9]);
        assert_eq!(fitting("every = 4"), [4, 8]);
        assert_eq!(fitting("every = 2\nfrom = 3\nto = 6"), [4, 6]);
        assert_eq!(fitting("from = 8"), [8, 9]);
        assert_eq!(fitting("to = 2"), [1, 2]);
        assert_eq!(fitting("probability = 0.31").len(), 9);
        assert_eq!(fitting("probability = 0.3").len(), 0);
        assert_eq!(fitting("probability = 1.0\nfrom = 9"), [9]);
        assert_eq!(fitting("").len(), 9);
    }
}
