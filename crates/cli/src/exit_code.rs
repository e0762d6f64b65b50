//! What the process ends with: one number a cause, the same for every command.

use std::process::Termination;

/// How `zbulk` ends. Scripts may rely on the numbers; a new cause gets a new number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub(crate) enum ExitCode {
    /// What was asked is done. With `--rejects set-aside` also if records were left out; the summary counts them.
    Done = 0,
    /// Unexpected: the system failed to read or write, or a bug.
    Unexpected = 1,
    /// Usage or configuration, also a path that is missing or a directory, a column that is not in the header, no
    /// credentials, no organisation. Found before any work.
    Usage = 2,
    /// Something is wrong in an input's bytes. Nothing was sent.
    Input = 3,
    /// Authentication or permission.
    Auth = 4,
    /// Stopped, and running again can help: network, limits, credits.
    Stopped = 5,
    /// Refused for good: some chunks, or the run as a whole (wrong URL, redirect, certificate).
    Refused = 6,
    /// The journal is damaged, or belongs to other inputs, settings or another target.
    Journal = 7,
    /// Another process works in the output directory.
    Locked = 8,
    /// Interrupted by SIGINT (Ctrl-C): 128 + 2.
    Interrupted = 130,
    /// Interrupted by SIGTERM: 128 + 15.
    Terminated = 143,
}

impl ExitCode {
    /// All of them, in ascending order, for documentation and tests.
    pub(crate) const ALL: [ExitCode; 11] = [
        ExitCode::Done,
        ExitCode::Unexpected,
        ExitCode::Usage,
        ExitCode::Input,
        ExitCode::Auth,
        ExitCode::Stopped,
        ExitCode::Refused,
        ExitCode::Journal,
        ExitCode::Locked,
        ExitCode::Interrupted,
        ExitCode::Terminated,
    ];

    /// The number that the parent process sees.
    pub(crate) fn number(self) -> u8 {
        self as u8
    }

    /// One line for the help text.
    pub(crate) fn meaning(self) -> &'static str {
        match self {
            ExitCode::Done => "what was asked is done",
            ExitCode::Unexpected => "unexpected: reading or writing failed, or a bug",
            ExitCode::Usage => "usage or configuration: flags, job file, paths, columns, credentials",
            ExitCode::Input => "something is wrong in an input; nothing was sent",
            ExitCode::Auth => "authentication or permission",
            ExitCode::Stopped => "stopped, and running again can help: network, limits, credits",
            ExitCode::Refused => "refused for good: some chunks, or the run as a whole",
            ExitCode::Journal => "the journal is damaged, or of other inputs, settings or target",
            ExitCode::Locked => "another process works in the output directory",
            ExitCode::Interrupted => "interrupted (Ctrl-C)",
            ExitCode::Terminated => "interrupted (SIGTERM)",
        }
    }
}

impl Termination for ExitCode {
    fn report(self) -> std::process::ExitCode {
        std::process::ExitCode::from(self.number())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_unique_and_ascending() {
        let numbers: Vec<u8> = ExitCode::ALL.into_iter().map(ExitCode::number).collect();
        assert_eq!(numbers, [0, 1, 2, 3, 4, 5, 6, 7, 8, 130, 143]);
    }
}
