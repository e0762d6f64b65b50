//! Files that appear whole or not at all: written aside, synced, renamed, and the directory synced.
//!
//! Nothing in DIR is written in any other way, the journal's appended lines and the lock apart. No link is followed:
//! the file aside is created exclusively, and a rename replaces a link and not what it points to.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Writes a file of mode 0600 and gives it its name once its bytes are durable; the name is durable on return. An
/// older file of that name is replaced.
///
/// # Errors
/// Those of the file system. The name then still means what it meant before, unless only the last step failed: the
/// sync of the directory.
pub(crate) fn publish(path: &Path, bytes: &[u8]) -> io::Result<()> {
    publish_with(path, |out| out.write_all(bytes))
}

/// As [`publish`], for what is better written piece by piece.
///
/// # Errors
/// Those of the file system, and those of `write`; after either the name means what it meant before.
pub(crate) fn publish_with(
    path: &Path,
    write: impl FnOnce(&mut BufWriter<&File>) -> io::Result<()>,
) -> io::Result<()> {
    let aside = aside(path)?;
    let written = create_exclusively(&aside).and_then(|file| {
        let mut out = BufWriter::new(&file);
        write(&mut out)?;
        out.flush()?;
        drop(out);
        file.sync_all()?;
        fs::rename(&aside, path)
    });
    if let Err(error) = written {
        // What stands aside is replaced by the next attempt, so that failing to remove it does no harm.
        drop(fs::remove_file(&aside));
        return Err(error);
    }
    sync_dir(parent(path))
}

/// Makes a directory's entries durable.
///
/// # Errors
/// Those of the file system.
pub(crate) fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// Creates a directory of mode 0700; `true` if it was not there before. Its name is durable on return.
///
/// # Errors
/// Those of the file system; `NotADirectory` where the name means something else, be it a link to a directory.
pub(crate) fn create_dir(dir: &Path) -> io::Result<bool> {
    match DirBuilder::new().mode(0o700).create(dir) {
        Ok(()) => {
            sync_dir(parent(dir))?;
            Ok(true)
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            match fs::symlink_metadata(dir)?.file_type() {
                // Whoever created it may have been killed before its name was durable.
                kind if kind.is_dir() => unless_denied(sync_dir(parent(dir))).map(|()| false),
                kind if kind.is_symlink() => Err(io::Error::new(
                    io::ErrorKind::NotADirectory,
                    "it is a symbolic link; name its target instead",
                )),
                _ => Err(io::Error::new(io::ErrorKind::NotADirectory, "it is there and is no directory")),
            }
        }
        Err(error) => Err(error),
    }
}

/// A parent that we may not even read is none that a process of ours has created anything in.
fn unless_denied(outcome: io::Result<()>) -> io::Result<()> {
    match outcome {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        other => other,
    }
}

/// Opens options that fail on a link instead of following it.
pub(crate) fn no_follow(options: &mut OpenOptions) -> &mut OpenOptions {
    options.custom_flags(rustix::fs::OFlags::NOFOLLOW.bits().cast_signed())
}

/// Where a file stands before it has its name. The same for every attempt: one process a directory writes, and what a
/// killed one left is replaced.
fn aside(path: &Path) -> io::Result<PathBuf> {
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    let mut aside = std::ffi::OsString::from(".");
    aside.push(name);
    aside.push(".tmp");
    Ok(path.with_file_name(aside))
}

fn create_exclusively(path: &Path) -> io::Result<File> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

fn parent(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn a_published_file_is_whole_private_and_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        publish(&path, b"one").unwrap();
        publish(&path, b"two").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing stays aside");
    }

    #[test]
    fn until_it_is_whole_the_name_means_what_it_meant_before() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        publish(&path, b"old").unwrap();
        let failed = publish_with(&path, |out| {
            out.write_all(&vec![b'x'; 100_000])?;
            assert_eq!(fs::read(&path)?, b"old");
            Err(io::ErrorKind::StorageFull.into())
        });
        assert_eq!(failed.unwrap_err().kind(), io::ErrorKind::StorageFull);
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing stays aside");
    }

    #[test]
    fn what_a_killed_process_left_aside_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(".f.tmp"), "half").unwrap();
        publish(&dir.path().join("f"), b"whole").unwrap();
        assert_eq!(fs::read(dir.path().join("f")).unwrap(), b"whole");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn links_are_replaced_and_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let precious = dir.path().join("precious");
        fs::write(&precious, "precious").unwrap();
        symlink(&precious, dir.path().join("f")).unwrap();
        symlink(&precious, dir.path().join(".f.tmp")).unwrap();
        publish(&dir.path().join("f"), b"new").unwrap();
        assert_eq!(fs::read(&precious).unwrap(), b"precious");
        assert!(fs::symlink_metadata(dir.path().join("f")).unwrap().is_file());
    }

    #[test]
    fn a_file_that_cannot_be_renamed_leaves_no_trace() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("taken");
        fs::create_dir(&path).unwrap();
        fs::write(path.join("inside"), "x").unwrap();
        assert!(publish(&path, b"new").is_err());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_cannot_be_removed_from_the_place_aside_is_what_is_told() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join(".f.tmp")).unwrap();
        let error = publish(&dir.path().join("f"), b"new").unwrap_err();
        // That of removing a directory as a file, which systems call differently, and not that it is there.
        assert_ne!(error.kind(), io::ErrorKind::AlreadyExists);
        assert!(!dir.path().join("f").exists());
    }

    #[test]
    fn a_directory_is_created_private_and_never_through_a_link() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("out");
        assert!(create_dir(&path).unwrap());
        assert!(!create_dir(&path).unwrap());
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);

        let (link, file) = (dir.path().join("link"), dir.path().join("file"));
        symlink(&path, &link).unwrap();
        fs::write(&file, "").unwrap();
        for (path, why) in [(link, "it is a symbolic link"), (file, "it is there and is no directory")] {
            let error = create_dir(&path).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::NotADirectory);
            assert!(error.to_string().starts_with(why), "{error}");
        }
        let nowhere = dir.path().join("nowhere/out");
        assert_eq!(create_dir(&nowhere).unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn what_is_synced_is_the_directory_that_holds_the_name() {
        assert_eq!(parent(Path::new("f")), Path::new("."));
        assert_eq!(parent(Path::new("a/f")), Path::new("a"));
        assert_eq!(parent(Path::new("/a/f")), Path::new("/a"));
        assert_eq!(parent(Path::new("/")), Path::new("."));
        let dir = tempfile::tempdir().unwrap();
        sync_dir(dir.path()).unwrap();
        assert_eq!(sync_dir(&dir.path().join("nowhere")).unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn of_a_parent_that_cannot_be_synced_only_one_that_may_not_be_read_is_let_be() {
        assert!(unless_denied(Ok(())).is_ok());
        assert!(unless_denied(Err(io::ErrorKind::PermissionDenied.into())).is_ok());
        let failed = unless_denied(Err(io::ErrorKind::StorageFull.into()));
        assert_eq!(failed.unwrap_err().kind(), io::ErrorKind::StorageFull);
    }
}
