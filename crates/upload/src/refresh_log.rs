//! When tokens were asked for, so that Zoho's limit of 10 in 10 minutes is never met, across runs too.
//!
//! The file, where there is one, holds one RFC 3339 time a line and nothing else: no token, no client. It is replaced
//! as a whole before the request goes out.

use std::collections::VecDeque;
use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use jiff::Timestamp;

/// Zoho allows 10 (`token-validity.html`); two are left for whoever else uses the refresh token.
pub(crate) const MOST: usize = 8;
/// In so much time.
pub(crate) const WINDOW: Duration = Duration::from_mins(10);
/// Zoho's window begins when the request arrives there.
const GRACE: Duration = Duration::from_secs(1);

/// A log that cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} the log of token refreshes `{}`", path.display())]
pub(crate) struct LogError {
    action: &'static str,
    path: PathBuf,
    pub(crate) source: io::Error,
}

#[derive(Debug)]
pub(crate) struct RefreshLog {
    path: Option<PathBuf>,
    /// In ascending order.
    times: VecDeque<SystemTime>,
}

impl RefreshLog {
    /// Reads what earlier runs have left; no file is an empty log.
    ///
    /// # Errors
    /// Those of the file system.
    pub(crate) fn open(path: Option<PathBuf>, now: SystemTime) -> Result<RefreshLog, LogError> {
        let bytes = match path.as_deref().map(fs::read) {
            Some(Ok(bytes)) => bytes,
            Some(Err(source)) if source.kind() != io::ErrorKind::NotFound => {
                return Err(LogError { action: "read", path: path.unwrap_or_default(), source });
            }
            Some(Err(_)) | None => Vec::new(),
        };
        let text = String::from_utf8_lossy(&bytes);
        let mut times = Vec::new();
        for line in text.lines().filter(|line| !line.trim().is_empty()) {
            let time = match line.trim().parse::<Timestamp>() {
                Ok(time) => time,
                // The file is not synced, so a power cut may leave anything in it: no reason not to go on, since two
                // of Zoho's ten are in reserve.
                Err(error) => {
                    tracing::warn!(%error, "a line of the log of token refreshes cannot be read");
                    continue;
                }
            };
            // A clock set back since would make a time of the future hold up every refresh until then.
            // What `SystemTime` cannot hold is as good as never: it is long ago or far ahead.
            times.push(SystemTime::try_from(time).unwrap_or(now).min(now));
        }
        times.sort_unstable();
        Ok(RefreshLog { path, times: times.into() })
    }

    /// How long to wait before the next request; zero: now.
    pub(crate) fn wait(&mut self, now: SystemTime) -> Duration {
        let age = |time: &SystemTime| now.duration_since(*time).unwrap_or_default();
        while self.times.front().is_some_and(|time| age(time) > WINDOW + GRACE) {
            self.times.pop_front();
        }
        if self.times.len() < MOST {
            return Duration::ZERO;
        }
        // More than eight may stand here, if an older zbulk allowed more.
        let oldest = &self.times[self.times.len() - MOST];
        (WINDOW + GRACE).saturating_sub(age(oldest)) + Duration::from_millis(1)
    }

    /// A request goes out now.
    ///
    /// # Errors
    /// Those of the file system.
    pub(crate) fn record(&mut self, now: SystemTime) -> Result<(), LogError> {
        self.times.push_back(now);
        self.save()
    }

    /// The request that was recorded last never went out.
    ///
    /// # Errors
    /// Those of the file system.
    pub(crate) fn forget_last(&mut self) -> Result<(), LogError> {
        self.times.pop_back();
        self.save()
    }

    fn save(&self) -> Result<(), LogError> {
        let Some(path) = &self.path else { return Ok(()) };
        self.replace(path).map_err(|source| LogError { action: "write", path: path.clone(), source })
    }

    fn replace(&self, path: &Path) -> io::Result<()> {
        let mut text = String::new();
        for time in &self.times {
            let time = Timestamp::try_from(*time).map_err(io::Error::other)?;
            text.push_str(&time.to_string());
            text.push('\n');
        }
        let mut draft = path.to_owned().into_os_string();
        draft.push(".new");
        // What a killed process has left, and a link that somebody has put there, is replaced and not written to.
        match fs::remove_file(&draft) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
        file.write_all(text.as_bytes())?;
        fs::rename(&draft, path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: SystemTime = SystemTime::UNIX_EPOCH;

    fn at(seconds: u64) -> SystemTime {
        START + Duration::from_secs(1_700_000_000 + seconds)
    }

    #[test]
    fn the_ninth_request_waits_until_the_first_is_ten_minutes_old() {
        let mut log = RefreshLog::open(None, at(0)).unwrap();
        for second in 0..8 {
            assert_eq!(log.wait(at(second)), Duration::ZERO);
            log.record(at(second)).unwrap();
        }
        let wait = log.wait(at(100));
        assert_eq!(wait.as_secs(), 501);
        assert_eq!(log.wait(at(100) + wait), Duration::ZERO);
    }

    #[test]
    fn a_request_counts_until_it_is_older_than_the_window_and_a_second() {
        let mut log = RefreshLog::open(None, at(0)).unwrap();
        for _ in 0..8 {
            log.record(at(0)).unwrap();
        }
        assert_eq!(log.wait(at(600)), Duration::from_millis(1001));
        assert_eq!(log.wait(at(601)), Duration::from_millis(1));
        assert_eq!(log.wait(at(602)), Duration::ZERO);
    }

    #[test]
    fn it_is_remembered_across_runs_without_a_secret() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("refreshes");
        let mut log = RefreshLog::open(Some(path.clone()), at(0)).unwrap();
        for second in 0..9 {
            log.record(at(second)).unwrap();
        }
        log.forget_last().unwrap();
        let mut log = RefreshLog::open(Some(path.clone()), at(60)).unwrap();
        assert_eq!(log.wait(at(60)).as_secs(), 541);
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.starts_with("2023-11-14T22:13:20Z\n"), "{text}");
        assert_eq!(text.lines().count(), 8);
    }

    #[test]
    fn a_line_that_a_power_cut_has_spoiled_is_passed_over() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("refreshes");
        fs::write(&path, [&b"\0\xff\0\n"[..], &b"2023-11-14T22:13:20Z\n".repeat(8)].concat()).unwrap();
        assert_eq!(RefreshLog::open(Some(path), at(0)).unwrap().wait(at(0)).as_secs(), 601);
    }

    #[test]
    fn a_link_in_the_place_of_the_draft_is_not_followed() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let (path, precious) = (dir.path().join("refreshes"), dir.path().join("precious"));
        fs::write(&precious, "precious").unwrap();
        std::os::unix::fs::symlink(&precious, dir.path().join("refreshes.new")).unwrap();
        let mut log = RefreshLog::open(Some(path.clone()), at(0)).unwrap();
        log.record(at(0)).unwrap();
        assert_eq!(fs::read(&precious).unwrap(), b"precious");
        let found = fs::symlink_metadata(&path).unwrap();
        assert!(found.is_file());
        assert_eq!(found.permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn what_cannot_be_removed_from_the_place_of_the_draft_is_what_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("refreshes");
        fs::create_dir(dir.path().join("refreshes.new")).unwrap();
        let error = RefreshLog::open(Some(path), at(0)).unwrap().record(at(0)).unwrap_err();
        // The system's word for a directory, and not that there is something.
        assert_ne!(error.source.kind(), io::ErrorKind::AlreadyExists);
    }

    #[test]
    fn a_file_that_cannot_be_read_is_an_error_with_its_path_and_not_an_empty_log() {
        let dir = tempfile::tempdir().unwrap();
        let error = RefreshLog::open(Some(dir.path().to_owned()), at(0)).unwrap_err();
        assert!(error.to_string().contains(dir.path().to_str().unwrap()), "{error}");
        assert_eq!(error.source.kind(), io::ErrorKind::IsADirectory);
    }

    #[test]
    fn times_of_the_future_count_as_now() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("refreshes");
        fs::write(&path, "2099-01-01T00:00:00Z\n".repeat(8)).unwrap();
        let mut log = RefreshLog::open(Some(path), at(0)).unwrap();
        assert_eq!(log.wait(at(0)).as_secs(), 601);
        assert_eq!(log.wait(at(602)), Duration::ZERO);
    }
}
