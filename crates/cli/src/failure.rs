//! Failures as users read them: `error:`, one line a layer, then `hint:`. A failure carries all problems found, and the
//! one exit code that they lead to.

use std::fmt;
use std::io::{self, Write};

use crate::exit_code::ExitCode;
use crate::output::{Paint, escape};

mod libraries;

/// What a command returns.
pub(crate) type Result<T = ExitCode> = std::result::Result<T, Failure>;

/// Why a command could not do what was asked: at least one problem, and the exit code.
#[derive(Debug)]
pub(crate) struct Failure {
    exit: ExitCode,
    problems: Vec<Problem>,
}

/// One thing that is wrong, and what to type next.
#[derive(Debug)]
pub(crate) struct Problem {
    error: anyhow::Error,
    details: Vec<String>,
    hint: Option<String>,
}

impl Problem {
    /// A problem without a hint. Give [`anyhow::Error`] its layers by `context`: each becomes a line.
    pub(crate) fn new(error: impl Into<anyhow::Error>) -> Problem {
        Problem { error: error.into(), details: Vec::new(), hint: None }
    }

    /// The same with a message only.
    pub(crate) fn message(message: impl fmt::Display) -> Problem {
        Problem::new(anyhow::Error::msg(message.to_string()))
    }

    /// Lines between the error and its hint, such as the places where it was found.
    #[must_use]
    pub(crate) fn details(mut self, details: Vec<String>) -> Problem {
        self.details = details;
        self
    }

    /// What to do or type next; may hold several lines.
    #[must_use]
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Problem {
        self.hint = Some(hint.into());
        self
    }

    /// Whether the system failed to read what the user has rightly named.
    pub(crate) fn is_of_the_system(&self) -> bool {
        use io::ErrorKind as Kind;
        self.error.chain().filter_map(|layer| layer.downcast_ref::<io::Error>()).any(|error| {
            !matches!(
                error.kind(),
                Kind::NotFound
                    | Kind::PermissionDenied
                    | Kind::IsADirectory
                    | Kind::NotADirectory
                    | Kind::InvalidInput
                    | Kind::InvalidFilename
            )
        })
    }

    /// The layers, outermost first.
    pub(crate) fn layers(&self) -> impl Iterator<Item = String> {
        self.error.chain().map(ToString::to_string)
    }
}

impl Failure {
    /// One problem.
    pub(crate) fn new(exit: ExitCode, error: impl Into<anyhow::Error>) -> Failure {
        Failure { exit, problems: vec![Problem::new(error)] }
    }

    /// One problem told by a message alone.
    pub(crate) fn message(exit: ExitCode, message: impl fmt::Display) -> Failure {
        Failure { exit, problems: vec![Problem::message(message)] }
    }

    /// Several problems, of which there is at least one, that lead to one exit code.
    pub(crate) fn many(exit: ExitCode, problems: Vec<Problem>) -> Failure {
        Failure { exit, problems }
    }

    /// What to do or type next; belongs to the last problem.
    #[must_use]
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Failure {
        if let Some(problem) = self.problems.last_mut() {
            problem.hint = Some(hint.into());
        }
        self
    }

    /// One more line of the last problem's hint.
    #[must_use]
    pub(crate) fn hint_more(mut self, line: &str) -> Failure {
        if let Some(problem) = self.problems.last_mut() {
            problem.hint = Some(match problem.hint.take() {
                Some(hint) => format!("{hint}\n{line}"),
                None => line.to_owned(),
            });
        }
        self
    }

    /// The exit code.
    pub(crate) fn exit(&self) -> ExitCode {
        self.exit
    }

    /// Tells all problems on standard error, and gives the exit code.
    pub(crate) fn report(&self, paint: Paint) -> ExitCode {
        let mut text = Vec::new();
        let told = self.write_to(&mut text, paint).and_then(|()| io::stderr().write_all(&text));
        // Standard error may be gone, with the terminal for instance; the exit code is what is left to say it.
        drop(told);
        self.exit
    }

    /// Writes all problems in the order in which they were found. Text from inputs is escaped.
    ///
    /// # Errors
    /// Those of the writer.
    pub(crate) fn write_to(&self, out: &mut dyn Write, paint: Paint) -> io::Result<()> {
        for (i, problem) in self.problems.iter().enumerate() {
            if i > 0 {
                writeln!(out)?;
            }
            for (depth, layer) in problem.layers().enumerate() {
                let layer = escape(&layer);
                if depth == 0 {
                    writeln!(out, "{} {layer}", paint.error("error:"))?;
                } else {
                    writeln!(out, "  caused by: {layer}")?;
                }
            }
            for detail in &problem.details {
                writeln!(out, "  {}", escape(detail))?;
            }
            if let Some(hint) = &problem.hint {
                let mut lines = hint.lines();
                writeln!(out, "{} {}", paint.hint("hint:"), escape(lines.next().unwrap_or_default()))?;
                for line in lines {
                    writeln!(out, "      {}", escape(line))?;
                }
            }
        }
        Ok(())
    }
}

/// Attaches an exit code and what was being done to an error.
pub(crate) trait OrFail<T> {
    /// The error becomes the cause of `context`, and ends the command with `exit`.
    fn or_fail<C: fmt::Display + Send + Sync + 'static>(
        self,
        exit: ExitCode,
        context: impl FnOnce() -> C,
    ) -> Result<T>;
}

impl<T, E: Into<anyhow::Error>> OrFail<T> for std::result::Result<T, E> {
    fn or_fail<C: fmt::Display + Send + Sync + 'static>(
        self,
        exit: ExitCode,
        context: impl FnOnce() -> C,
    ) -> Result<T> {
        self.map_err(|error| Failure::new(exit, error.into().context(context())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(failure: &Failure) -> String {
        let mut text = Vec::new();
        failure.write_to(&mut text, Paint(false)).unwrap();
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn a_failure_reads_from_the_outside_in_with_its_hint_last() {
        let cause = io::Error::new(io::ErrorKind::PermissionDenied, "permission denied");
        let error = anyhow::Error::new(cause)
            .context("cannot create x.zbulk/journal.jsonl")
            .context("cannot start the run");
        let failure = Failure::new(ExitCode::Unexpected, error).hint("chmod u+w x.zbulk\nthen run it again");
        insta::assert_snapshot!(told(&failure), @r"
        error: cannot start the run
          caused by: cannot create x.zbulk/journal.jsonl
          caused by: permission denied
        hint: chmod u+w x.zbulk
              then run it again
        ");
    }

    #[test]
    fn what_the_system_fails_to_read_is_no_mistake_of_the_user() {
        let problem = |kind: io::ErrorKind| {
            Problem::new(anyhow::Error::new(io::Error::from(kind)).context("cannot read x"))
        };
        assert!(!problem(io::ErrorKind::NotFound).is_of_the_system());
        assert!(!problem(io::ErrorKind::PermissionDenied).is_of_the_system());
        assert!(problem(io::ErrorKind::StorageFull).is_of_the_system());
        assert!(Problem::new(anyhow::Error::new(io::Error::from_raw_os_error(5))).is_of_the_system(), "EIO");
        assert!(!Problem::message("x is no number").is_of_the_system());
    }

    #[test]
    fn several_problems_are_told_at_once_with_their_details() {
        let problems = vec![
            Problem::message("there are no credentials").hint("set ZOHO_ACCESS_TOKEN"),
            Problem::message("2 records cannot be sent")
                .details(vec!["a.csv:3: orphan".to_owned(), "a.csv:7: orphan".to_owned()]),
        ];
        insta::assert_snapshot!(told(&Failure::many(ExitCode::Usage, problems)), @r"
        error: there are no credentials
        hint: set ZOHO_ACCESS_TOKEN

        error: 2 records cannot be sent
          a.csv:3: orphan
          a.csv:7: orphan
        ");
    }

    #[test]
    fn text_from_inputs_cannot_forge_a_line_of_its_own() {
        let failure =
            Failure::message(ExitCode::Input, "key `a\nerror: \u{1b}[2J` is bad").hint("see `b\rc`");
        insta::assert_snapshot!(told(&failure), @r"
        error: key `a\nerror: \u{1b}[2J` is bad
        hint: see `b\rc`
        ");
    }
}
