//! Signals: the first Ctrl-C or SIGTERM asks the run to drain, the second ends the process at once; SIGHUP does nothing.
//!
//! SIGPIPE is ignored by Rust's runtime: a closed pipe is an error of the write, and [`output`](crate::output) takes it.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::exit_code::ExitCode;
use crate::progress::Progress;

/// How long after the first signal what is in flight may still take.
pub(crate) const DRAIN: Duration = Duration::from_secs(10);

/// What asks the run to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Signal {
    /// SIGINT, which Ctrl-C sends.
    Interrupt,
    /// SIGTERM.
    Terminate,
}

impl Signal {
    /// The exit code of a run that was stopped by it.
    pub(crate) fn exit_code(self) -> ExitCode {
        match self {
            Signal::Interrupt => ExitCode::Interrupted,
            Signal::Terminate => ExitCode::Terminated,
        }
    }
}

/// Whether the run shall stop. Clones hear of the same signal.
#[derive(Debug, Clone)]
pub(crate) struct Interrupt {
    raised: watch::Receiver<Option<(Signal, Instant)>>,
}

/// Raises a signal by hand.
#[derive(Debug)]
pub(crate) struct Trigger(watch::Sender<Option<(Signal, Instant)>>);

impl Trigger {
    /// What the first signal of the system does. Later ones change nothing.
    pub(crate) fn raise(&self, signal: Signal) {
        self.0.send_if_modified(|raised| {
            let first = raised.is_none();
            raised.get_or_insert((signal, Instant::now()));
            first
        });
    }
}

impl Interrupt {
    /// Hears SIGINT, SIGTERM and SIGHUP from now on, for the life of the process. Must be called on the runtime.
    /// `last_words` are spoken when a second signal ends the process at once.
    ///
    /// # Errors
    /// Where the system does not let a signal be heard.
    pub(crate) fn install(
        progress: Arc<Progress>,
        last_words: impl Fn(Signal) + Send + 'static,
    ) -> io::Result<Interrupt> {
        let mut interrupts = signal(SignalKind::interrupt())?;
        let mut terminations = signal(SignalKind::terminate())?;
        // Hearing it is enough to take away its default action, which would end the process with the terminal.
        let mut hangups = signal(SignalKind::hangup())?;
        let (trigger, interrupt) = Interrupt::manual();
        tokio::spawn(async move {
            let mut raised = false;
            loop {
                let signal = tokio::select! {
                    Some(()) = interrupts.recv() => Signal::Interrupt,
                    Some(()) = terminations.recv() => Signal::Terminate,
                    Some(()) = hangups.recv() => continue,
                    else => return,
                };
                if raised {
                    last_words(signal);
                    std::process::exit(signal.exit_code().number().into());
                }
                raised = true;
                trigger.raise(signal);
                progress.note("stopping: what is in flight may take 10 seconds more; press Ctrl-C again to leave at once");
            }
        });
        Ok(interrupt)
    }

    /// One that only hears its trigger.
    pub(crate) fn manual() -> (Trigger, Interrupt) {
        let (sender, raised) = watch::channel(None);
        (Trigger(sender), Interrupt { raised })
    }

    /// The first signal, if there was one.
    pub(crate) fn raised(&self) -> Option<Signal> {
        self.raised.borrow().map(|(signal, _)| signal)
    }

    /// Waits for the first signal.
    pub(crate) async fn wait(&self) -> Signal {
        self.first().await.0
    }

    /// Waits until [`DRAIN`] has passed since the first signal: what is still in flight then is left.
    pub(crate) async fn deadline(&self) {
        let (_, since) = self.first().await;
        tokio::time::sleep_until(since + DRAIN).await;
    }

    async fn first(&self) -> (Signal, Instant) {
        let mut raised = self.raised.clone();
        let first = match raised.wait_for(Option::is_some).await {
            Ok(found) => *found,
            // Nobody is left who could raise it.
            Err(_) => None,
        };
        match first {
            Some(first) => first,
            None => std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_deadline_is_ten_seconds_after_the_first_signal() {
        let (trigger, interrupt) = Interrupt::manual();
        assert_eq!(interrupt.raised(), None);
        let start = Instant::now();
        trigger.raise(Signal::Terminate);
        tokio::time::advance(Duration::from_secs(4)).await;
        trigger.raise(Signal::Interrupt);
        assert_eq!(interrupt.wait().await, Signal::Terminate);
        interrupt.deadline().await;
        assert_eq!(start.elapsed(), DRAIN);
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_signal_there_is_no_end_to_the_waiting() {
        let (trigger, interrupt) = Interrupt::manual();
        drop(trigger);
        let waited = tokio::time::timeout(Duration::from_hours(1), interrupt.wait()).await;
        assert!(waited.is_err());
    }
}
