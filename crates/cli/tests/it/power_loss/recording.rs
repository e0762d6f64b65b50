//! What a real process did to a directory: its system calls as strace saw them, as a list of operations in order.
//!
//! An operation counts from its call's return on. A sync covers what had returned before it was called.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::disk::{Disk, Inode, ROOT};

/// The calls that are recorded: all that change files or names, make them durable, or tell somebody.
const CALLS: &str = "openat,open,creat,close,dup,dup2,dup3,fcntl,write,pwrite64,writev,pwritev,pwritev2,sendto,sendmsg,\
                     sendfile,copy_file_range,fallocate,ftruncate,truncate,fsync,fdatasync,sync_file_range,rename,\
                     renameat,renameat2,link,linkat,symlink,symlinkat,unlink,unlinkat,rmdir,mkdir,mkdirat,lseek";

/// One thing that happened.
#[derive(Debug, Clone)]
pub(super) enum Op {
    /// A new file or directory gets a name.
    Create {
        dir: Inode,
        name: String,
        inode: Inode,
        is_dir: bool,
    },
    Write {
        inode: Inode,
        at: usize,
        bytes: Vec<u8>,
    },
    Truncate {
        inode: Inode,
        length: usize,
    },
    /// Within one directory; what bore the new name bears it no more.
    Rename {
        dir: Inode,
        from: String,
        to: String,
        inode: Inode,
    },
    Unlink {
        dir: Inode,
        name: String,
    },
    /// Everything done to a file or directory by the operations before number `before` is durable.
    Sync {
        inode: Inode,
        before: usize,
    },
    /// The beginning of a request's body with a file of this name went out on a socket.
    Sent {
        archive: String,
    },
}

/// A recorded process.
pub(super) struct Recording {
    /// What was in the directory before. All of it is durable.
    pub(super) base: Disk,
    /// What it did, in order.
    pub(super) ops: Vec<Op>,
}

/// Whether processes can be recorded here.
pub(super) fn is_possible() -> bool {
    let found = Command::new("strace").args(["-qq", "-f", "-o", "/dev/null", "true"]).status();
    let possible = found.is_ok_and(|status| status.success());
    if !possible {
        eprintln!("strace is not installed or may not trace: power losses are not simulated");
    }
    possible
}

/// Runs a command to its end and keeps in `kept` what it does under `root`. Its exit code and standard error.
pub(super) fn record(root: &Path, command: &Command, kept: &Path) -> (Option<i32>, String) {
    fs::create_dir(kept).unwrap();
    fs::create_dir(kept.join("base")).unwrap();
    Disk::of(root).write_to(&kept.join("base"));
    fs::write(kept.join("root"), root.to_str().unwrap()).unwrap();
    let mut strace = Command::new("strace");
    strace
        .args(["-f", "-qq", "-xx", "-s", "100000000", "-e", "signal=none", "-e"])
        .arg(format!("trace={CALLS}"));
    strace.arg("-o").arg(kept.join("trace")).arg(command.get_program()).args(command.get_args());
    strace.env_clear().stdin(Stdio::null()).current_dir(root);
    for (name, value) in command.get_envs() {
        if let Some(value) = value {
            strace.env(name, value);
        }
    }
    let output = strace.output().unwrap();
    fs::create_dir(kept.join("end")).unwrap();
    Disk::of(root).write_to(&kept.join("end"));
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

impl Recording {
    /// What [`record`] has kept.
    pub(super) fn load(kept: &Path) -> Recording {
        let base = Disk::of(&kept.join("base"));
        let root = fs::read_to_string(kept.join("root")).unwrap();
        let mut tracer = Tracer::new(Path::new(&root), base.clone());
        tracer.read(&fs::read_to_string(kept.join("trace")).unwrap());
        let (seen, end) = (tracer.live.files(), Disk::of(&kept.join("end")).files());
        assert!(
            seen.keys().eq(end.keys()),
            "what was seen is not what is there: {:?} {:?}",
            seen.keys(),
            end.keys()
        );
        for (path, bytes) in end {
            assert!(seen[&path] == bytes, "what was seen of {} is not what is there", path.display());
        }
        Recording { base, ops: tracer.ops }
    }
}

/// An open file below the root.
#[derive(Clone, Copy)]
struct Open {
    inode: Inode,
    at: usize,
    append: bool,
}

struct Tracer {
    root: PathBuf,
    /// As the process sees it.
    live: Disk,
    open: HashMap<i64, Open>,
    ops: Vec<Op>,
    /// Calls that have not returned, by thread: their beginning, and how many operations there were.
    unfinished: HashMap<String, (String, usize)>,
}

impl Tracer {
    fn new(root: &Path, live: Disk) -> Tracer {
        Tracer {
            root: root.to_owned(),
            live,
            open: HashMap::new(),
            ops: Vec::new(),
            unfinished: HashMap::new(),
        }
    }

    fn read(&mut self, trace: &str) {
        for line in trace.lines() {
            let (thread, rest) = line.split_once(' ').unwrap();
            let rest = rest.trim_start();
            if rest.starts_with("???") || rest.ends_with("= ?") {
                // A thread that ended with the process, within a call.
                continue;
            }
            if let Some(begun) = rest.strip_suffix(" <unfinished ...>") {
                if begun.starts_with("close(") {
                    // Another thread may be given the same number before this call is seen to return.
                    self.call(&format!("{begun}) = 0"), self.ops.len());
                }
                self.unfinished.insert(thread.to_owned(), (begun.to_owned(), self.ops.len()));
            } else if let Some(resumed) = rest.strip_prefix("<... ") {
                let (begun, before) = self.unfinished.remove(thread).unwrap();
                if begun.starts_with("close(") {
                    continue;
                }
                let end = resumed.split_once(" resumed>").unwrap().1;
                self.call(&format!("{begun}{end}"), before);
            } else {
                self.call(rest, self.ops.len());
            }
        }
    }

    fn call(&mut self, call: &str, before: usize) {
        let Some((name, rest)) = call.split_once('(') else { panic!("no call: {call}") };
        let Some((arguments, result)) = rest.rsplit_once(") ") else { panic!("no end: {call}") };
        let result = result.trim_start().trim_start_matches('=').trim_start();
        let result = result.split(' ').next().unwrap();
        // What failed has done nothing; a thread that was killed in a call has `?`.
        let Ok(result) = i64::from_str_radix(
            result.trim_start_matches("0x"),
            if result.starts_with("0x") { 16 } else { 10 },
        ) else {
            return;
        };
        if result < 0 {
            return;
        }
        let arguments = split(arguments);
        let number = |at: usize| arguments[at].parse::<i64>().unwrap();
        let text = |at: usize| arguments[at].as_str();
        match name {
            "openat" => self.opened(text(1), text(2), result),
            "close" => drop(self.open.remove(&number(0))),
            "fcntl" if text(1).starts_with("F_DUPFD") => self.duplicated(number(0), result),
            "dup" => self.duplicated(number(0), result),
            "dup2" | "dup3" => self.duplicated(number(0), number(1)),
            "fcntl" => {}
            "lseek" => {
                if let Some(open) = self.open.get_mut(&number(0)) {
                    open.at = result as usize;
                }
            }
            "write" => self.written(number(0), &[&arguments[1]], None, result),
            "pwrite64" => self.written(number(0), &[&arguments[1]], Some(number(3) as usize), result),
            "writev" | "sendmsg" | "sendto" => self.written(number(0), &strings(text(1)), None, result),
            "ftruncate" => {
                if let Some(open) = self.open.get(&number(0)) {
                    self.push(Op::Truncate { inode: open.inode, length: number(1) as usize });
                }
            }
            "fsync" | "fdatasync" => {
                if let Some(open) = self.open.get(&number(0)) {
                    self.push(Op::Sync { inode: open.inode, before });
                }
            }
            "rename" => self.renamed(text(0), text(1)),
            "renameat" | "renameat2" => self.renamed(text(1), text(3)),
            "unlink" | "rmdir" => self.unlinked(text(0)),
            "unlinkat" => self.unlinked(text(1)),
            "mkdir" => self.made(text(0)),
            "mkdirat" => self.made(text(1)),
            _ => {
                let ours = arguments.iter().any(|argument| self.place(argument).is_some());
                let open = arguments[0].parse().is_ok_and(|fd: i64| self.open.contains_key(&fd));
                assert!(!ours && !open, "this call is not modelled: {call}");
            }
        }
    }

    fn push(&mut self, op: Op) {
        self.live.apply(&op);
        self.ops.push(op);
    }

    /// Directory and name of an argument that is a path below the root.
    fn place(&self, argument: &str) -> Option<(Inode, String)> {
        let path = String::from_utf8(bytes(argument)?).ok()?;
        // Relative paths are relative to the root, which is the working directory.
        let path = self.root.join(path);
        let path = path.strip_prefix(&self.root).ok()?;
        let dir = self.live.find(path.parent()?)?;
        Some((dir, path.file_name()?.to_str()?.to_owned()))
    }

    fn opened(&mut self, path: &str, flags: &str, fd: i64) {
        self.open.remove(&fd);
        let is_root = bytes(path).is_some_and(|path| {
            matches!(path.as_slice(), b"." | b"") || path == self.root.as_os_str().as_encoded_bytes()
        });
        let parent = bytes(path).and_then(|path| {
            let path = String::from_utf8(path).ok()?;
            let dir = path.strip_suffix("/..")?;
            self.live.find(self.root.join(dir).strip_prefix(&self.root).ok()?.parent()?)
        });
        let inode = if flags.contains("O_TMPFILE") {
            return;
        } else if is_root {
            ROOT
        } else if let Some(parent) = parent {
            parent
        } else {
            let Some((dir, name)) = self.place(path) else { return };
            match self.live.entry(dir, &name) {
                Some(inode) => inode,
                None if flags.contains("O_CREAT") => self.created(dir, name, false),
                None => panic!("{path} was opened and is not there"),
            }
        };
        if flags.contains("O_TRUNC") {
            self.push(Op::Truncate { inode, length: 0 });
        }
        self.open.insert(fd, Open { inode, at: 0, append: flags.contains("O_APPEND") });
    }

    fn created(&mut self, dir: Inode, name: String, is_dir: bool) -> Inode {
        let inode = self.live.new_inode(is_dir);
        self.push(Op::Create { dir, name, inode, is_dir });
        inode
    }

    fn made(&mut self, path: &str) {
        if let Some((dir, name)) = self.place(path) {
            self.created(dir, name, true);
        }
    }

    fn duplicated(&mut self, fd: i64, copy: i64) {
        match self.open.get(&fd).copied() {
            Some(open) => drop(self.open.insert(copy, open)),
            None => drop(self.open.remove(&copy)),
        }
    }

    fn written(&mut self, fd: i64, data: &[&str], at: Option<usize>, length: i64) {
        let mut data: Vec<u8> = data.iter().filter_map(|data| bytes(data)).flatten().collect();
        data.truncate(length as usize);
        let Some(open) = self.open.get_mut(&fd) else {
            const BEGIN: &[u8] = b"filename=\"";
            for begin in 0..data.len().saturating_sub(BEGIN.len()) {
                if data[begin..].starts_with(BEGIN) {
                    let name = data[begin + BEGIN.len()..].split(|&byte| byte == b'"').next().unwrap();
                    self.ops.push(Op::Sent { archive: String::from_utf8(name.to_vec()).unwrap() });
                }
            }
            return;
        };
        assert_eq!(data.len(), length as usize, "strace did not show all that was written");
        let end = self.live.content(open.inode).len();
        let at = if open.append { end } else { at.unwrap_or(open.at) };
        open.at = at + data.len();
        let inode = open.inode;
        self.push(Op::Write { inode, at, bytes: data });
    }

    fn renamed(&mut self, from: &str, to: &str) {
        let (Some((dir, from)), Some((other, to))) = (self.place(from), self.place(to)) else { return };
        assert_eq!(dir, other, "a rename between directories is not modelled");
        let inode = self.live.entry(dir, &from).unwrap();
        self.push(Op::Rename { dir, from, to, inode });
    }

    fn unlinked(&mut self, path: &str) {
        let Some((dir, name)) = self.place(path) else { return };
        // A temporary file that was opened without a name, or one of another process.
        if self.live.entry(dir, &name).is_some() {
            self.push(Op::Unlink { dir, name });
        }
    }
}

/// The arguments of a call, which are apart by commas outside brackets and strings.
fn split(arguments: &str) -> Vec<String> {
    let (mut found, mut depth, mut quoted) = (vec![String::new()], 0, false);
    for c in arguments.chars() {
        match c {
            '"' => quoted = !quoted,
            '[' | '{' if !quoted => depth += 1,
            ']' | '}' if !quoted => depth -= 1,
            _ => {}
        }
        if c == ',' && depth == 0 && !quoted {
            found.push(String::new());
        } else if c != ' ' || quoted || depth > 0 {
            found.last_mut().unwrap().push(c);
        }
    }
    found
}

/// The strings in an argument such as `[{iov_base="\x41", iov_len=1}]`.
fn strings(argument: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut rest = argument;
    while let Some(begin) = rest.find('"') {
        let end = begin + 1 + rest[begin + 1..].find('"').unwrap();
        found.push(&rest[begin..=end]);
        rest = &rest[end + 1..];
    }
    found
}

/// The bytes of a string as `-xx` shows it.
fn bytes(argument: &str) -> Option<Vec<u8>> {
    let hex = argument.strip_prefix('"')?.strip_suffix('"')?;
    hex.split("\\x").skip(1).map(|byte| u8::from_str_radix(byte, 16).ok()).collect()
}
