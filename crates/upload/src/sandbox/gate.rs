//! Zoho's limits on how many calls at once and how soon after a 429; who breaks them gets another 429.
//!
//! Concurrency by edition: Zoho's API limits page (5, 10, 15, 20, 25 simultaneous calls). That coming back early
//! lengthens the wait is seen on a sister service, not documented for CRM.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::sandbox::answers::{self, Answer};

/// How long after a 429 a request may still be one that was sent before its client had read the 429.
const GRACE: Duration = Duration::from_millis(250);
/// The longest wait that coming back early can lead to: the longest one seen.
const LONGEST_WAIT: Duration = Duration::from_mins(5);

/// The one gate of all API requests (uploads and org; tokens are given elsewhere at Zoho).
#[derive(Debug)]
pub(super) struct Gate {
    concurrency: usize,
    retry_after_s: Option<u64>,
    escalate: bool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    in_flight: usize,
    window: Option<Window>,
}

#[derive(Debug, Clone, Copy)]
struct Window {
    opened: Instant,
    wait: Duration,
}

/// What the gate says to a request that has just arrived.
pub(super) struct Arrival {
    /// The request came inside the window of a Retry-After that its client could have read.
    pub(super) early: bool,
    /// The place among the simultaneous calls, or the 429 instead.
    pub(super) verdict: Result<Permit, Answer>,
}

/// A place among the simultaneous calls, given back on drop.
pub(super) struct Permit {
    gate: Arc<Gate>,
}

impl Gate {
    pub(super) fn new(concurrency: usize, retry_after_s: Option<u64>, escalate: bool) -> Gate {
        Gate { concurrency, retry_after_s, escalate, state: Mutex::default() }
    }

    /// Lets a request in or refuses it.
    pub(super) fn arrive(self: &Arc<Gate>, now: Instant) -> Arrival {
        let mut state = self.lock();
        let window = state.window.filter(|window| {
            now >= window.opened + GRACE.min(window.wait) && now < window.opened + window.wait
        });
        let early = window.is_some();
        let verdict = match window {
            Some(window) if self.escalate => {
                let wait = (window.wait * 2).min(LONGEST_WAIT.max(window.wait));
                Err(answers::too_many_requests(Some(wait.as_secs()), None))
            }
            _ if state.in_flight >= self.concurrency => {
                Err(answers::too_many_requests(self.retry_after_s, Some(self.concurrency)))
            }
            _ => {
                state.in_flight += 1;
                Ok(Permit { gate: self.clone() })
            }
        };
        Arrival { early, verdict }
    }

    /// Notes an answer that is about to be sent: a 429 with a wait opens the window.
    pub(super) fn answered(&self, answer: &Answer, now: Instant) {
        if let (429, Some(wait)) = (answer.status.as_u16(), answer.wait) {
            self.lock().window = Some(Window { opened: now, wait });
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.gate.lock().in_flight -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gate(concurrency: usize, retry_after_s: Option<u64>, escalate: bool) -> Arc<Gate> {
        Arc::new(Gate::new(concurrency, retry_after_s, escalate))
    }

    fn wait_of(arrival: Arrival) -> Option<Duration> {
        arrival.verdict.err().and_then(|answer| answer.wait)
    }

    #[test]
    fn one_call_too_many_is_a_429_until_another_ends() {
        let gate = gate(2, Some(7), true);
        let now = Instant::now();
        let first = gate.arrive(now);
        let second = gate.arrive(now);
        assert!(first.verdict.is_ok() && second.verdict.is_ok());
        let third = gate.arrive(now);
        assert!(!third.early);
        assert_eq!(wait_of(third), Some(Duration::from_secs(7)));
        drop(first);
        assert!(gate.arrive(now).verdict.is_ok());
    }

    #[test]
    fn coming_back_early_doubles_the_wait_up_to_five_minutes() {
        let gate = gate(20, None, true);
        let mut now = Instant::now();
        gate.answered(&answers::too_many_requests(Some(60), None), now);
        for expected in [120, 240, 300, 300] {
            now += Duration::from_secs(1);
            let arrival = gate.arrive(now);
            assert!(arrival.early);
            let answer = arrival.verdict.err().unwrap();
            assert_eq!(answer.wait, Some(Duration::from_secs(expected)));
            gate.answered(&answer, now);
        }
        let late = gate.arrive(now + Duration::from_mins(5));
        assert!(!late.early && late.verdict.is_ok());
    }

    #[test]
    fn a_request_already_on_its_way_is_not_early_and_without_escalation_an_early_one_is_served() {
        let gate = gate(20, None, false);
        let now = Instant::now();
        gate.answered(&answers::too_many_requests(Some(60), None), now);
        let crossing = gate.arrive(now + Duration::from_millis(249));
        assert!(!crossing.early && crossing.verdict.is_ok());
        let early = gate.arrive(now + Duration::from_millis(250));
        assert!(early.early && early.verdict.is_ok());
    }

    #[test]
    fn a_429_without_a_wait_opens_no_window() {
        let gate = gate(20, None, true);
        let now = Instant::now();
        gate.answered(&answers::too_many_requests(None, None), now);
        assert!(!gate.arrive(now + Duration::from_secs(1)).early);
    }
}
