//! Progress on standard error: bars on a terminal, elsewhere a plain line every few seconds. Nothing here can fail: a
//! standard error that is gone is no reason to stop.

use std::io::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::config::{Output, ProgressMode};
use crate::output::{Paint, bytes, count, counted, duration, escape};

/// How often a plain line is written.
const EVERY: Duration = Duration::from_secs(5);

/// Redraws of the bars per second.
const REDRAWS: u8 = 10;

/// A number of chunks with what is in them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Amount {
    /// Chunks.
    pub chunks: u64,
    /// Records of all their entries.
    pub records: u64,
    /// Bytes of all their entries, uncompressed.
    pub csv_bytes: u64,
}

/// What is being done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Activity {
    /// Reading the inputs.
    Scanning,
    /// Building archives to keep.
    Packing,
    /// Building archives and sending them.
    Uploading,
}

/// Counts, and shows the counts. Shared by all threads.
#[derive(Debug)]
pub(crate) struct Progress {
    how: How,
    paint: Paint,
    quiet: bool,
    state: Mutex<State>,
    scanned_bytes: AtomicU64,
    scanned_records: AtomicU64,
    sent_bytes: AtomicU64,
}

#[derive(Debug)]
enum How {
    Bars(MultiProgress),
    Lines,
    Nothing,
}

#[derive(Debug)]
struct State {
    activity: Option<Activity>,
    since: Instant,
    last_line: Instant,
    total_bytes: u64,
    total: Amount,
    packed: Amount,
    /// Durable, in this run and those before.
    finished: Amount,
    /// Durable before this run.
    before: Amount,
    failed: u64,
    bar: Option<ProgressBar>,
}

impl Progress {
    /// Shows as the output is configured.
    pub(crate) fn new(output: &Output) -> Arc<Progress> {
        let terminal = console::Term::stderr().is_term();
        let how = match (output.quiet, output.progress) {
            (true, _) | (false, ProgressMode::Never) => How::Nothing,
            (false, ProgressMode::Auto) if terminal => {
                How::Bars(MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(REDRAWS)))
            }
            (false, ProgressMode::Auto) => How::Lines,
            (false, ProgressMode::Always) => {
                let term = Box::new(console::Term::stderr());
                How::Bars(MultiProgress::with_draw_target(ProgressDrawTarget::term_like_with_hz(
                    term, REDRAWS,
                )))
            }
        };
        Arc::new(Progress::with(how, Paint(output.color_stderr), output.quiet))
    }

    fn with(how: How, paint: Paint, quiet: bool) -> Progress {
        let now = Instant::now();
        let state = State {
            activity: None,
            since: now,
            last_line: now,
            total_bytes: 0,
            total: Amount::default(),
            packed: Amount::default(),
            finished: Amount::default(),
            before: Amount::default(),
            failed: 0,
            bar: None,
        };
        Progress {
            how,
            paint,
            quiet,
            state: Mutex::new(state),
            scanned_bytes: AtomicU64::new(0),
            scanned_records: AtomicU64::new(0),
            sent_bytes: AtomicU64::new(0),
        }
    }

    /// The inputs are read from now on; `total_bytes` is their length together.
    pub(crate) fn scanning(&self, total_bytes: u64) {
        self.scanned_bytes.store(0, Ordering::Relaxed);
        self.scanned_records.store(0, Ordering::Relaxed);
        self.begin(Activity::Scanning, total_bytes, |state| state.total_bytes = total_bytes);
    }

    /// Archives are made from now on: `total` of all runs, `done` durable before this one.
    pub(crate) fn sending(&self, activity: Activity, total: Amount, done: Amount) {
        self.begin(activity, total.csv_bytes, |state| {
            state.total = total;
            state.finished = done;
            state.before = done;
        });
    }

    /// An archive was built.
    pub(crate) fn packed(&self, amount: Amount) {
        self.change(|state| state.packed.add(amount));
    }

    /// A chunk is durable: its `file_id` is journaled, or its archive written.
    pub(crate) fn finished(&self, amount: Amount) {
        self.change(|state| state.finished.add(amount));
    }

    /// A chunk cannot be sent.
    pub(crate) fn failed_chunk(&self) {
        self.change(|state| state.failed += 1);
    }

    /// A cut made `more` chunks more than were planned.
    pub(crate) fn recut(&self, more: u64) {
        self.change(|state| state.total.chunks += more);
    }

    /// Something that the user should know. Text from inputs and servers is escaped.
    pub(crate) fn warn(&self, message: &str) {
        if !self.quiet {
            self.raw_line(&format!("{} {}", self.paint.warning("warning:"), escape(message)));
        }
    }

    /// Something that the user may want to know. Text from inputs and servers is escaped.
    pub(crate) fn note(&self, message: &str) {
        if !self.quiet {
            self.raw_line(&escape(message));
        }
    }

    /// The bars go away; to be called before results are printed.
    pub(crate) fn finish(&self) {
        let mut state = self.state();
        state.activity = None;
        if let Some(bar) = state.bar.take() {
            bar.finish_and_clear();
        }
    }

    /// A line above the bars, as it is.
    pub(crate) fn raw_line(&self, line: &str) {
        let write = || {
            // Standard error may be gone, with the terminal for instance. There is nobody left to tell.
            drop(writeln!(std::io::stderr(), "{line}"));
        };
        match &self.how {
            How::Bars(bars) => bars.suspend(write),
            How::Lines | How::Nothing => write(),
        }
    }

    fn begin(&self, activity: Activity, length: u64, change: impl FnOnce(&mut State)) {
        self.finish();
        let mut state = self.state();
        change(&mut state);
        state.activity = Some(activity);
        state.since = Instant::now();
        state.last_line = state.since;
        if let How::Bars(bars) = &self.how {
            let bar = bars.add(ProgressBar::new(length).with_style(style()));
            bar.enable_steady_tick(Duration::from_secs(1));
            state.bar = Some(bar);
        }
        self.show(&mut state);
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.state();
        change(&mut state);
        self.show(&mut state);
    }

    /// Brings the bar up to date, or writes a line if it is time for one.
    fn show(&self, state: &mut State) {
        let Some(activity) = state.activity else { return };
        match &self.how {
            How::Nothing => {}
            How::Bars(_) => {
                if let Some(bar) = &state.bar {
                    bar.set_position(self.position(state, activity));
                    bar.set_message(self.line(state, activity));
                }
            }
            How::Lines => {
                if state.last_line.elapsed() >= EVERY {
                    state.last_line = Instant::now();
                    let line = self.line(state, activity);
                    self.raw_line(&line);
                }
            }
        }
    }

    fn position(&self, state: &State, activity: Activity) -> u64 {
        match activity {
            Activity::Scanning => self.scanned_bytes.load(Ordering::Relaxed),
            Activity::Packing | Activity::Uploading => state.finished.csv_bytes,
        }
    }

    /// All that is known, as one line of text.
    fn line(&self, state: &State, activity: Activity) -> String {
        let elapsed = state.since.elapsed();
        match activity {
            Activity::Scanning => {
                let done = self.scanned_bytes.load(Ordering::Relaxed);
                let records = self.scanned_records.load(Ordering::Relaxed);
                let rest = remaining(0, done, state.total_bytes, elapsed);
                format!(
                    "scanning: {} of {}, {} records{}{rest}",
                    bytes(done),
                    bytes(state.total_bytes),
                    count(records),
                    rate(done, elapsed)
                )
            }
            Activity::Packing | Activity::Uploading => {
                let (verb, sent) = match activity {
                    Activity::Uploading => {
                        let sent = self.sent_bytes.load(Ordering::Relaxed);
                        ("uploaded", format!(", {} sent{}", bytes(sent), rate(sent, elapsed)))
                    }
                    _ => ("packed", rate(state.packed.csv_bytes, elapsed)),
                };
                let failed = if state.failed > 0 {
                    format!(", {} failed", counted(state.failed, "chunk"))
                } else {
                    String::new()
                };
                let rest = remaining(
                    state.before.csv_bytes,
                    state.finished.csv_bytes,
                    state.total.csv_bytes,
                    elapsed,
                );
                format!(
                    "{verb}: {} of {} chunks, {} of {} records{sent}{failed}{rest}",
                    count(state.finished.chunks),
                    count(state.total.chunks),
                    count(state.finished.records),
                    count(state.total.records),
                )
            }
        }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        // A panic elsewhere leaves counts that are good enough to show.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Amount {
    /// Adds another amount.
    pub(crate) fn add(&mut self, other: Amount) {
        self.chunks += other.chunks;
        self.records += other.records;
        self.csv_bytes += other.csv_bytes;
    }
}

impl prep::Reporter for Progress {
    fn scanned(&self, bytes: u64, records: u64) {
        self.scanned_bytes.fetch_add(bytes, Ordering::Relaxed);
        self.scanned_records.fetch_add(records, Ordering::Relaxed);
        self.change(|_| {});
    }
}

impl upload::Reporter for Progress {
    fn bytes_sent(&self, _archive: &str, bytes: u64) {
        self.sent_bytes.fetch_add(bytes, Ordering::Relaxed);
        self.change(|_| {});
    }

    fn notice(&self, message: &str) {
        self.note(message);
    }
}

fn style() -> ProgressStyle {
    ProgressStyle::with_template("[{wide_bar:.cyan/blue}] {percent:>3}%\n{msg}")
        .expect("invariant: the template is a constant, and a test draws it")
        .progress_chars("=> ")
}

/// `, 31.2 MB/s`; nothing where it cannot be told yet.
fn rate(done: u64, elapsed: Duration) -> String {
    if done == 0 || elapsed < Duration::from_millis(200) {
        return String::new();
    }
    let per_second = u128::from(done) * 1_000 / elapsed.as_millis();
    format!(", {}/s", bytes(u64::try_from(per_second).unwrap_or(u64::MAX)))
}

/// `, 2m 10s left`; nothing where it cannot be told yet.
fn remaining(before: u64, done: u64, total: u64, elapsed: Duration) -> String {
    let now = done.saturating_sub(before);
    if now == 0 || done >= total || elapsed < Duration::from_secs(1) {
        return String::new();
    }
    let seconds = (u128::from(total - done) * elapsed.as_millis()).div_ceil(u128::from(now) * 1_000);
    format!(", {} left", duration(Duration::from_secs(u64::try_from(seconds).unwrap_or(u64::MAX))))
}

#[cfg(test)]
mod tests {
    use std::io;

    use indicatif::TermLike;
    use prep::Reporter as _;
    use upload::Reporter as _;

    use super::*;

    /// Keeps everything that is written.
    #[derive(Debug, Clone, Default)]
    struct Paper(Arc<Mutex<String>>);

    impl TermLike for Paper {
        fn width(&self) -> u16 {
            110
        }

        fn move_cursor_up(&self, _: usize) -> io::Result<()> {
            Ok(())
        }

        fn move_cursor_down(&self, _: usize) -> io::Result<()> {
            Ok(())
        }

        fn move_cursor_right(&self, _: usize) -> io::Result<()> {
            Ok(())
        }

        fn move_cursor_left(&self, _: usize) -> io::Result<()> {
            Ok(())
        }

        fn write_line(&self, text: &str) -> io::Result<()> {
            self.write_str(text)?;
            self.write_str("\n")
        }

        fn write_str(&self, text: &str) -> io::Result<()> {
            self.0.lock().unwrap().push_str(text);
            Ok(())
        }

        fn clear_line(&self) -> io::Result<()> {
            Ok(())
        }

        fn flush(&self) -> io::Result<()> {
            Ok(())
        }
    }

    fn amount(chunks: u64) -> Amount {
        Amount { chunks, records: chunks * 25_000, csv_bytes: chunks * 10_000_000 }
    }

    #[test]
    fn a_bar_shows_chunks_records_and_bytes() {
        let paper = Paper::default();
        let target = ProgressDrawTarget::term_like(Box::new(paper.clone()));
        let progress =
            Progress::with(How::Bars(MultiProgress::with_draw_target(target)), Paint(false), false);
        progress.sending(Activity::Uploading, amount(40), amount(10));
        progress.packed(amount(1));
        progress.bytes_sent("Contacts-00011.zip", 2_000_000);
        progress.finished(amount(1));
        progress.failed_chunk();
        progress.recut(1);
        let shown = paper.0.lock().unwrap().clone();
        assert!(
            shown.contains(
                "uploaded: 11 of 41 chunks, 275,000 of 1,000,000 records, 2.0 MB sent, 1 chunk failed"
            ),
            "{shown}"
        );
        assert!(shown.contains("28%"), "{shown}");
        progress.finish();
    }

    #[test]
    fn scanning_counts_what_all_threads_report() {
        let progress = Progress::with(How::Nothing, Paint(false), true);
        progress.scanning(8_000_000);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..1_000).for_each(|_| progress.scanned(1_000, 10)));
            }
        });
        let line = progress.line(&progress.state(), Activity::Scanning);
        assert!(line.starts_with("scanning: 4.0 MB of 8.0 MB, 40,000 records"), "{line}");
    }

    #[test]
    fn the_time_left_counts_only_what_this_run_did() {
        let second = Duration::from_secs(1);
        assert_eq!(remaining(500, 600, 1_000, 10 * second), ", 40s left");
        assert_eq!(remaining(500, 500, 1_000, 10 * second), "");
        assert_eq!(remaining(0, 1_000, 1_000, 10 * second), "");
        assert_eq!(rate(62_400_000, 2 * second), ", 31.2 MB/s");
        assert_eq!(rate(0, second), "");
    }
}
