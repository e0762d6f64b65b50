//! The throttle's state and how it changes: no waiting here, so that every rule can be read on its own.

use std::time::Duration;

use tokio::time::Instant;

use super::{Admission, Asked, Pacing, Step};
use crate::{Error, ErrorKind};

/// A wait asked for is kept in full, and this much longer.
const GRACE: Duration = Duration::from_secs(1);
/// A 429 that does not say for how long.
const FIRST_WAIT: Duration = Duration::from_mins(1);
/// It doubles up to here.
const LONGEST_WAIT: Duration = Duration::from_mins(5);
/// Successes before one more attempt may run at once.
const SUCCESSES_TO_GROW: u32 = 10;
/// Failures in a row, across workers, that close the gate.
const FAILURES_TO_CLOSE: u32 = 5;
const FIRST_PROBE: Duration = Duration::from_secs(5);
const LONGEST_PROBE: Duration = Duration::from_mins(1);
/// The retry budget: what it holds, what it costs, what it earns.
const BUDGET: u32 = 100;
const RETRY_COST: u32 = 10;
const TIMEOUT_COST: u32 = 20;
const SUCCESS_EARNS: u32 = 2;

/// Why nobody starts any more. Cloned to every worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stop {
    pub(crate) kind: ErrorKind,
    pub(crate) message: String,
    pub(crate) hint: Option<String>,
    pub(crate) http_status: Option<u16>,
    pub(crate) code: Option<String>,
}

impl Stop {
    pub(crate) fn new(kind: ErrorKind, message: impl Into<String>, hint: impl Into<String>) -> Stop {
        Stop { kind, message: message.into(), hint: Some(hint.into()), http_status: None, code: None }
    }
}

impl From<Stop> for Error {
    fn from(stop: Stop) -> Error {
        let mut error = Error::new(stop.kind, stop.message);
        error.hint = stop.hint;
        error.http_status = stop.http_status;
        error.code = stop.code;
        error
    }
}

/// What an attempt has shown of the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Nothing: it was given up, or needs another token.
    Nothing,
    /// It has the archive.
    Success,
    /// It answered in its own voice, though not with a success.
    Answered,
    /// It, or the way to it, failed.
    Failed {
        /// What failed, for whoever must be told in the end.
        why: String,
        /// Whether time ran out.
        timeout: bool,
        /// For how long it asked to be left alone.
        retry_after: Option<Duration>,
    },
    /// Too many requests.
    Throttled {
        /// For how long it asked to be left alone.
        retry_after: Option<Duration>,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Gate {
    Open,
    /// Too many failures: one attempt at a time finds out whether it is over.
    Closed {
        /// The wait before this probe.
        wait: Duration,
        probe_at: Instant,
        probing: bool,
    },
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) limit: usize,
    most: usize,
    pub(super) active: usize,
    successes: u32,
    pub(super) next_start: Option<Instant>,
    /// The end of the longest wait asked for.
    paused_until: Option<Instant>,
    /// Answers that ask to wait and whose bodies are not read yet.
    pub(super) unread: usize,
    /// The last episode of 429s: what started before it is part of it.
    throttled_at: Option<Instant>,
    default_wait: Duration,
    pub(super) gate: Gate,
    failures: u32,
    budget: u32,
    /// Since when nothing has succeeded.
    failing_since: Option<Instant>,
    last_failure: String,
    /// Requests that are out.
    pub(super) flying: usize,
    pub(super) stopped: Option<Stop>,
}

impl State {
    pub(super) fn new(most: usize) -> State {
        State {
            limit: most,
            most,
            active: 0,
            successes: 0,
            next_start: None,
            paused_until: None,
            unread: 0,
            throttled_at: None,
            default_wait: FIRST_WAIT,
            gate: Gate::Open,
            failures: 0,
            budget: BUDGET,
            failing_since: None,
            last_failure: String::new(),
            flying: 0,
            stopped: None,
        }
    }

    /// Whether one may pass the gate now; `probe` is set for the one who passes while it is closed.
    pub(super) fn pass(&mut self, now: Instant, probe: &mut bool) -> Step {
        if self.unread > 0 {
            return Step::Wait(None);
        }
        if let Some(until) = self.paused_until
            && now < until
        {
            return Step::Wait(Some(until));
        }
        match &mut self.gate {
            _ if *probe => Step::Go,
            Gate::Open => Step::Go,
            Gate::Closed { probing: true, .. } => Step::Wait(None),
            Gate::Closed { probe_at, .. } if now < *probe_at => Step::Wait(Some(*probe_at)),
            Gate::Closed { probing, .. } => {
                *probing = true;
                *probe = true;
                Step::Go
            }
        }
    }

    /// When the run has gone on long enough without a success. `None` while there is no failure, or a request is out:
    /// over a slow line a single upload may take longer than that, and ends for itself if nothing moves.
    pub(super) fn last_moment(&self, max_wait: Duration) -> Option<Instant> {
        self.failing_since.filter(|_| self.flying == 0).map(|since| since + max_wait)
    }

    /// Stops the run when nothing has succeeded for `max_wait`.
    pub(super) fn give_up(&mut self, now: Instant, max_wait: Duration) {
        if self.stopped.is_none() && self.last_moment(max_wait).is_some_and(|moment| now >= moment) {
            self.stopped = Some(Stop::new(
                ErrorKind::Stopped { retry_after: None },
                format!(
                    "nothing was accepted for {} s; the last time {}",
                    max_wait.as_secs(),
                    self.last_failure
                ),
                "run again later: what is uploaded stays uploaded",
            ));
        }
    }

    /// Takes in what an attempt has shown, and gives its place back.
    pub(super) fn settle(
        &mut self,
        admission: &Admission,
        asked: Option<Asked>,
        pacing: &Pacing,
        notices: &mut Vec<String>,
    ) {
        let now = Instant::now();
        self.active -= 1;
        if asked.is_some() {
            self.unread -= 1;
        }
        let read_at = asked.map_or(now, |asked| asked.at);
        if admission.started.is_some() {
            self.flying -= 1;
        }
        match admission.outcome {
            Outcome::Nothing => {
                if let Some(asked) = asked {
                    // Given up between the headers and the body: what the body would have said is not known.
                    let wait = asked.retry_after.unwrap_or(self.default_wait);
                    self.pause(read_at, wait, pacing, "the server asked for it", notices);
                }
                if admission.probe {
                    self.next_probe(now, Duration::ZERO);
                }
            }
            Outcome::Success | Outcome::Answered => {
                if let Some(wait) = asked.and_then(|asked| asked.retry_after) {
                    self.pause(read_at, wait, pacing, "the server asked for it", notices);
                }
                if admission.outcome == Outcome::Success {
                    self.success(admission.started);
                } else {
                    self.answered();
                }
            }
            Outcome::Failed { ref why, timeout, retry_after } => {
                self.last_failure.clone_from(why);
                if let Some(wait) = retry_after {
                    self.pause(read_at, wait, pacing, "the server asked for it", notices);
                }
                self.failed(now, timeout, admission.probe, notices);
            }
            Outcome::Throttled { retry_after } => {
                "the server answered 429".clone_into(&mut self.last_failure);
                self.failing_since.get_or_insert(now);
                let anew =
                    self.throttled_at.is_none_or(|at| admission.started.is_none_or(|start| start > at));
                let wait = retry_after.unwrap_or(self.default_wait);
                if anew {
                    self.throttled_at = Some(now);
                    self.limit = (self.limit / 2).max(1);
                    self.successes = 0;
                    if retry_after.is_none() {
                        self.default_wait = (self.default_wait * 2).min(LONGEST_WAIT);
                    }
                }
                self.pause(read_at, wait, pacing, "the server answered 429", notices);
                if admission.probe {
                    self.next_probe(now, Duration::ZERO);
                }
            }
        }
    }

    fn pause(
        &mut self,
        from: Instant,
        wait: Duration,
        pacing: &Pacing,
        why: &str,
        notices: &mut Vec<String>,
    ) {
        if wait > pacing.max_wait {
            if self.stopped.is_none() {
                self.stopped = Some(Stop::new(
                    ErrorKind::Stopped { retry_after: Some(wait) },
                    format!(
                        "the server asks to wait {} s, longer than the {} s allowed",
                        wait.as_secs(),
                        pacing.max_wait.as_secs()
                    ),
                    "run again after that time, or raise --max-wait",
                ));
            }
            return;
        }
        let until = from + wait + GRACE;
        if self.paused_until.is_none_or(|current| until > current) {
            self.paused_until = Some(until);
            notices.push(format!("waiting {} s: {why}", (wait + GRACE).as_secs()));
        }
    }

    fn success(&mut self, started: Option<Instant>) {
        self.answered();
        self.failing_since = None;
        self.budget = (self.budget + SUCCESS_EARNS).min(BUDGET);
        if self.throttled_at.is_none_or(|at| started.is_some_and(|start| start > at)) {
            self.default_wait = FIRST_WAIT;
        }
        if self.limit < self.most {
            self.successes += 1;
            if self.successes >= SUCCESSES_TO_GROW {
                self.successes = 0;
                self.limit += 1;
            }
        }
    }

    fn answered(&mut self) {
        self.failures = 0;
        self.gate = Gate::Open;
    }

    fn failed(&mut self, now: Instant, timeout: bool, probe: bool, notices: &mut Vec<String>) {
        self.failing_since.get_or_insert(now);
        self.failures = self.failures.saturating_add(1);
        let cost = if timeout { TIMEOUT_COST } else { RETRY_COST };
        self.budget = self.budget.saturating_sub(cost);
        match self.gate {
            Gate::Open if self.failures >= FAILURES_TO_CLOSE || self.budget == 0 => {
                self.gate = Gate::Closed { wait: FIRST_PROBE, probe_at: now + FIRST_PROBE, probing: false };
                notices.push(format!(
                    "too many failures: one attempt in {} s will show whether it is over",
                    FIRST_PROBE.as_secs()
                ));
            }
            Gate::Closed { wait, .. } if probe => {
                let wait = (wait * 2).min(LONGEST_PROBE);
                self.next_probe(now, wait);
                notices.push(format!("still failing: the next attempt comes in {} s", wait.as_secs()));
            }
            Gate::Open | Gate::Closed { .. } => {}
        }
    }

    /// The probe came to nothing: another may try after `wait`; zero keeps the last wait for the one after.
    fn next_probe(&mut self, now: Instant, wait: Duration) {
        if let Gate::Closed { wait: last, probe_at, probing } = &mut self.gate {
            *probing = false;
            *probe_at = now + wait;
            if !wait.is_zero() {
                *last = wait;
            }
        }
    }
}
