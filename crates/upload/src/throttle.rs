//! When an attempt may start: one gate over all workers, an adaptive number of them, and a space between starts.
//!
//! The invariant: no request starts inside a wait that the server asked for, from the moment an answer's headers are
//! read, whichever worker read them. All time is tokio's, so that tests can pause it.
//!
//! Advice for maintainers: every change of [`State`] that could let somebody pass must end in `changed.notify_waiters`;
//! a waiter takes its ticket (`notified`) before it looks, or it would sleep through the change.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use crate::reporter::Reporter;

mod state;

use state::State;
pub(crate) use state::{Outcome, Stop};

/// The settings of a throttle.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pacing {
    /// The most attempts at once.
    pub(crate) concurrency: usize,
    /// Between two starts.
    pub(crate) spacing: Duration,
    /// How long to go on without any success.
    pub(crate) max_wait: Duration,
}

/// Lets attempts start. Shared by all workers.
pub(crate) struct Throttle {
    pacing: Pacing,
    reporter: Arc<dyn Reporter>,
    state: Mutex<State>,
    changed: Notify,
    /// Held by the one who is next: first come, first served.
    turn: tokio::sync::Mutex<()>,
}

/// An answer's headers have asked everybody to wait.
#[derive(Debug, Clone, Copy)]
struct Asked {
    at: Instant,
    /// Where the headers said it; the body may say it too.
    retry_after: Option<Duration>,
}

/// What keeps a waiter.
enum Step {
    Go,
    /// Until somebody changes the state, or that moment.
    Wait(Option<Instant>),
}

impl Throttle {
    pub(crate) fn new(pacing: Pacing, reporter: Arc<dyn Reporter>) -> Arc<Throttle> {
        Arc::new(Throttle {
            state: Mutex::new(State::new(pacing.concurrency.max(1))),
            pacing,
            reporter,
            changed: Notify::new(),
            turn: tokio::sync::Mutex::new(()),
        })
    }

    /// Waits for a place among the attempts in flight, and for the gate.
    pub(crate) async fn admit(self: &Arc<Self>) -> Result<Admission, Stop> {
        let _turn = self.turn.lock().await;
        let mut probe = false;
        self.wait(|state, now| {
            if state.active >= state.limit {
                return Step::Wait(None);
            }
            let step = state.pass(now, &mut probe);
            if matches!(step, Step::Go) {
                state.active += 1;
            }
            step
        })
        .await?;
        Ok(Admission {
            throttle: Arc::clone(self),
            probe,
            started: None,
            asked: Arc::new(Mutex::new(None)),
            outcome: Outcome::Nothing,
        })
    }

    /// Nobody starts any more; the first cause stands.
    pub(crate) fn stop(&self, stop: Stop) {
        let mut state = self.lock();
        if state.stopped.is_none() {
            state.stopped = Some(stop);
        }
        drop(state);
        self.changed.notify_waiters();
    }

    /// Rests, but not beyond a stop.
    pub(crate) async fn rest(&self, rest: Duration) -> Result<(), Stop> {
        let until = Instant::now() + rest;
        self.wait(|_state, now| if now >= until { Step::Go } else { Step::Wait(Some(until)) }).await
    }

    async fn wait(&self, mut step: impl FnMut(&mut State, Instant) -> Step) -> Result<(), Stop> {
        loop {
            let changed = self.changed.notified();
            let until = {
                let mut state = self.lock();
                let now = Instant::now();
                state.give_up(now, self.pacing.max_wait);
                if let Some(stop) = &state.stopped {
                    return Err(stop.clone());
                }
                match step(&mut state, now) {
                    Step::Go => return Ok(()),
                    Step::Wait(until) => {
                        let last = state.last_moment(self.pacing.max_wait);
                        [until, last].into_iter().flatten().min()
                    }
                }
            };
            match until {
                Some(until) => tokio::select! {
                    biased;
                    () = changed => {}
                    () = sleep_until(until) => {}
                },
                None => changed.await,
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn settle(&self, admission: &Admission) {
        let mut notices = Vec::new();
        let limit = {
            // Taken before the state's lock, as `ring` does.
            let asked = admission.asked.lock().unwrap_or_else(PoisonError::into_inner).take();
            let mut state = self.lock();
            let before = state.limit;
            state.settle(admission, asked, &self.pacing, &mut notices);
            (state.limit != before).then_some(state.limit)
        };
        self.changed.notify_waiters();
        for notice in notices {
            self.reporter.notice(&notice);
        }
        if let Some(limit) = limit {
            self.reporter.concurrency(limit);
        }
    }
}

/// A place among the attempts in flight. Dropping it gives the place back and tells the throttle what was seen.
pub(crate) struct Admission {
    throttle: Arc<Throttle>,
    probe: bool,
    started: Option<Instant>,
    asked: Arc<Mutex<Option<Asked>>>,
    outcome: Outcome,
}

impl Admission {
    /// Waits until a request may start; it must be sent at once.
    ///
    /// `ready` is asked when the moment has come, since the wait may be long: if it is not, this ends with `false` and
    /// the moment is left to somebody else.
    pub(crate) async fn start(&mut self, ready: impl Fn() -> bool) -> Result<bool, Stop> {
        let throttle = Arc::clone(&self.throttle);
        let spacing = throttle.pacing.spacing;
        let mut starts = false;
        throttle
            .wait(|state, now| {
                if state.next_start.is_some_and(|at| now < at) {
                    return Step::Wait(state.next_start);
                }
                let step = state.pass(now, &mut self.probe);
                if matches!(step, Step::Go) && ready() {
                    starts = true;
                    state.next_start = Some(now + spacing);
                    state.flying += 1;
                    self.started = Some(now);
                }
                step
            })
            .await?;
        Ok(starts)
    }

    /// What tells the throttle, from the carrier's task, that the headers ask to wait.
    pub(crate) fn bell(&self) -> Bell {
        Bell { throttle: Arc::clone(&self.throttle), asked: Arc::clone(&self.asked) }
    }

    /// Gives the place back with what was seen.
    pub(crate) fn finish(mut self, outcome: Outcome) {
        self.outcome = outcome;
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        Arc::clone(&self.throttle).settle(self);
    }
}

/// Closes the gate the moment that headers ask for it, before the body says for how long.
pub(crate) struct Bell {
    throttle: Arc<Throttle>,
    asked: Arc<Mutex<Option<Asked>>>,
}

impl Bell {
    /// `retry_after` is the header's, where it has one.
    pub(crate) fn ring(&self, retry_after: Option<Duration>) {
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        if asked.is_none() {
            *asked = Some(Asked { at: Instant::now(), retry_after });
            self.throttle.lock().unread += 1;
        }
    }
}

#[cfg(test)]
mod tests;
