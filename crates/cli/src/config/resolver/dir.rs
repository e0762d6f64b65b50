//! DIR, the output directory: which one, and whether it is, or can be, a directory. Nothing is created here.

use std::io;
use std::path::{Path, PathBuf};

use super::{Key, Resolver};
use crate::failure::Problem;

impl Resolver<'_> {
    /// DIR for a command that fills it: it or its parent must be there.
    pub(in crate::config) fn dir_to_fill(&mut self, sandbox: bool) -> Option<PathBuf> {
        let dir = self.dir(sandbox)?;
        let parent = match dir.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let found = match is_dir(&dir) {
            Ok(None) => is_dir(parent).map(|parent| (None, parent)),
            found => found.map(|dir| (dir, None)),
        };
        match found {
            Ok((Some(true), _) | (None, Some(true))) => {}
            Ok((Some(false), _)) => self.problem(
                Problem::message(format!("the output directory {} is a file", dir.display()))
                    .hint("remove the file, or name another directory with --out"),
            ),
            Ok((None, _)) => self.problem(
                Problem::message(format!(
                    "the output directory {} cannot be created: {} is no directory",
                    dir.display(),
                    parent.display()
                ))
                .hint(format!("mkdir -p {}", parent.display())),
            ),
            Err(error) => self.problem(cannot_look_at(&dir, error)),
        }
        Some(dir)
    }

    /// DIR for a command that needs what `filled_by` left there.
    pub(in crate::config) fn dir_to_read(&mut self, sandbox: bool, filled_by: &str) -> Option<PathBuf> {
        let dir = self.dir(sandbox)?;
        match is_dir(&dir) {
            Ok(Some(true)) => return Some(dir),
            Ok(_) => {}
            Err(error) => {
                self.problem(cannot_look_at(&dir, error));
                return None;
            }
        }
        let mut hint = format!("`{filled_by}` makes it; name another one with --out");
        if !sandbox && dir.with_extension("sandbox.zbulk").is_dir() {
            hint.push_str("; a rehearsal is there: add --sandbox");
        }
        self.problem(Problem::message(format!("there is no output directory {}", dir.display())).hint(hint));
        None
    }

    fn dir(&mut self, sandbox: bool) -> Option<PathBuf> {
        if let Some(given) = self.layers.get(Key::Out) {
            return Some(self.environment.expand(&given.text));
        }
        let job = self.job.as_ref()?;
        let rehearsal = if sandbox { ".sandbox" } else { "" };
        Some(job.beside.join(format!("{}{rehearsal}.zbulk", job.name.as_ref()?)))
    }
}

/// Whether there is a directory; `None` if there is nothing.
fn is_dir(path: &Path) -> io::Result<Option<bool>> {
    match std::fs::metadata(path) {
        Ok(metadata) => Ok(Some(metadata.is_dir())),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

fn cannot_look_at(dir: &Path, error: io::Error) -> Problem {
    let context = format!("cannot look at the output directory {}", dir.display());
    Problem::new(anyhow::Error::new(error).context(context))
}
