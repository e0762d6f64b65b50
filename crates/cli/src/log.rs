//! What the libraries log, on standard error, above the progress bars. Only zbulk's own crates are heard: those below
//! them would log headers, and with them tokens.

use std::io;
use std::sync::Arc;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use crate::config::Output;
use crate::progress::Progress;

/// Starts logging for the life of the process; a second call changes nothing.
pub(crate) fn start(output: &Output, progress: &Arc<Progress>) {
    let level = match (output.quiet, output.verbosity) {
        (true, _) => "error",
        (false, 0) => "warn",
        (false, 1) => "info",
        (false, 2) => "debug",
        (false, _) => "trace",
    };
    let filter = EnvFilter::new(format!("off,zbulk={level},prep={level},upload={level}"));
    let started = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(AboveBars(Arc::clone(progress)))
        .with_ansi(output.color_stderr)
        .with_target(false)
        .without_time()
        .try_init();
    // Only tests call twice; the first subscriber stays.
    drop(started);
}

/// Writes whole lines while the bars are out of the way.
#[derive(Debug)]
struct AboveBars(Arc<Progress>);

impl<'a> MakeWriter<'a> for AboveBars {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Line<'a> {
        Line { progress: &self.0, text: Vec::new() }
    }
}

/// One event; written when it is complete.
struct Line<'a> {
    progress: &'a Progress,
    text: Vec<u8>,
}

impl io::Write for Line<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.text.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Line<'_> {
    fn drop(&mut self) {
        let text = String::from_utf8_lossy(&self.text);
        text.lines().for_each(|line| self.progress.raw_line(line));
    }
}
