//! A directory on a disk that may lose power: what may be left of it.
//!
//! Durable is what a sync covers that had returned. Of everything else each write persists whole, torn between blocks of
//! 512 bytes, or not at all, in no order, and where a later byte of the file persists, zeros stand for what does not;
//! each creation, rename and removal of a name persists or not, in no order either, but each of them whole. That is
//! more than ext4, XFS, btrfs or APFS let happen, but for one thing: what a file shows that was never written is zeros
//! and not what the blocks held before.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};

use super::recording::{Op, Recording};

pub(super) type Inode = usize;
/// The directory itself.
pub(super) const ROOT: Inode = 0;

const BLOCK_BYTES: usize = 512;

/// Files and directories by number.
#[derive(Debug, Clone, Default)]
pub(super) struct Disk {
    nodes: Vec<Node>,
}

#[derive(Debug, Clone)]
enum Node {
    File(Vec<u8>),
    Dir(BTreeMap<String, Inode>),
}

impl Disk {
    /// What is in a directory now.
    pub(super) fn of(root: &Path) -> Disk {
        fn add(disk: &mut Disk, path: &Path) -> Inode {
            let is_dir = path.is_dir();
            let inode = disk.new_inode(is_dir);
            if is_dir {
                for entry in fs::read_dir(path).unwrap() {
                    let entry = entry.unwrap();
                    let child = add(disk, &entry.path());
                    disk.dir(inode).insert(entry.file_name().into_string().unwrap(), child);
                }
            } else {
                disk.nodes[inode] = Node::File(fs::read(path).unwrap());
            }
            inode
        }
        let mut disk = Disk::default();
        add(&mut disk, root);
        disk
    }

    /// Writes everything that can be reached into an empty directory.
    pub(super) fn write_to(&self, root: &Path) {
        self.write(ROOT, root);
    }

    fn write(&self, inode: Inode, path: &Path) {
        let Node::Dir(entries) = &self.nodes[inode] else { panic!("no directory") };
        for (name, &inode) in entries {
            let path = path.join(name);
            match &self.nodes[inode] {
                Node::File(bytes) => fs::write(path, bytes).unwrap(),
                Node::Dir(_) => {
                    fs::create_dir(&path).unwrap();
                    self.write(inode, &path);
                }
            }
        }
    }

    /// Everything that can be reached, by its path; a directory has no bytes.
    pub(super) fn files(&self) -> BTreeMap<PathBuf, Option<Vec<u8>>> {
        fn add(disk: &Disk, inode: Inode, path: &Path, files: &mut BTreeMap<PathBuf, Option<Vec<u8>>>) {
            match &disk.nodes[inode] {
                Node::File(bytes) => drop(files.insert(path.to_owned(), Some(bytes.clone()))),
                Node::Dir(entries) => {
                    files.insert(path.to_owned(), None);
                    for (name, &inode) in entries {
                        add(disk, inode, &path.join(name), files);
                    }
                }
            }
        }
        let mut files = BTreeMap::new();
        add(self, ROOT, Path::new(""), &mut files);
        files
    }

    pub(super) fn new_inode(&mut self, is_dir: bool) -> Inode {
        self.nodes.push(if is_dir { Node::Dir(BTreeMap::new()) } else { Node::File(Vec::new()) });
        self.nodes.len() - 1
    }

    pub(super) fn entry(&self, dir: Inode, name: &str) -> Option<Inode> {
        match &self.nodes[dir] {
            Node::Dir(entries) => entries.get(name).copied(),
            Node::File(_) => None,
        }
    }

    pub(super) fn find(&self, path: &Path) -> Option<Inode> {
        path.iter().try_fold(ROOT, |dir, name| self.entry(dir, name.to_str()?))
    }

    pub(super) fn content(&self, inode: Inode) -> &[u8] {
        match &self.nodes[inode] {
            Node::File(bytes) => bytes,
            Node::Dir(_) => panic!("a directory has no content"),
        }
    }

    fn dir(&mut self, inode: Inode) -> &mut BTreeMap<String, Inode> {
        match &mut self.nodes[inode] {
            Node::Dir(entries) => entries,
            Node::File(_) => panic!("no directory"),
        }
    }

    fn file(&mut self, inode: Inode) -> &mut Vec<u8> {
        match &mut self.nodes[inode] {
            Node::File(bytes) => bytes,
            Node::Dir(_) => panic!("a directory has no content"),
        }
    }

    /// Does it, as the system that has not lost power sees it.
    pub(super) fn apply(&mut self, op: &Op) {
        match op {
            Op::Create { dir, name, inode, .. } => {
                self.dir(*dir).insert(name.clone(), *inode);
            }
            Op::Write { inode, at, bytes } => self.put(*inode, *at, bytes),
            Op::Truncate { inode, length } => self.file(*inode).resize(*length, 0),
            Op::Rename { dir, from, to, inode } => {
                self.dir(*dir).remove(from);
                self.dir(*dir).insert(to.clone(), *inode);
            }
            Op::Unlink { dir, name } => {
                self.dir(*dir).remove(name);
            }
            Op::Sync { .. } | Op::Sent { .. } => {}
        }
    }

    fn put(&mut self, inode: Inode, at: usize, bytes: &[u8]) {
        let file = self.file(inode);
        file.resize(file.len().max(at + bytes.len()), 0);
        file[at..at + bytes.len()].copy_from_slice(bytes);
    }

    /// Writes some of the blocks of a write. The file is then as long as if all had been written, or as far as the
    /// last of them that was.
    fn tear(&mut self, inode: Inode, at: usize, bytes: &[u8], chance: &mut Chance) {
        let mut begin = at;
        while begin < at + bytes.len() {
            let end = (begin / BLOCK_BYTES + 1) * BLOCK_BYTES;
            let end = end.min(at + bytes.len());
            if chance.of(2) == 0 {
                self.put(inode, begin, &bytes[begin - at..end - at]);
            }
            begin = end;
        }
        if chance.of(2) == 0 {
            let file = self.file(inode);
            file.resize(file.len().max(at + bytes.len()), 0);
        }
    }
}

impl Recording {
    /// Everything as the system sees it after so many operations.
    pub(super) fn live(&self, ops: usize) -> Disk {
        self.after(ops, |disk, _, op| disk.apply(op))
    }

    /// What is durable for certain after so many operations, and nothing else.
    pub(super) fn durable(&self, ops: usize) -> Disk {
        let durable = self.is_durable(ops);
        self.after(ops, |disk, index, op| {
            if durable(index, op) {
                disk.apply(op);
            }
        })
    }

    /// What may be left when power is lost after so many operations.
    pub(super) fn crashed(&self, ops: usize, chance: &mut Chance) -> Disk {
        let durable = self.is_durable(ops);
        self.after(ops, |disk, index, op| match (durable(index, op), op) {
            (true, _) => disk.apply(op),
            (false, Op::Write { inode, at, bytes }) => match chance.of(4) {
                0 => disk.apply(op),
                1 => {}
                _ => disk.tear(*inode, *at, bytes, chance),
            },
            (false, _) if chance.of(2) == 0 => disk.apply(op),
            (false, _) => {}
        })
    }

    fn after(&self, ops: usize, mut step: impl FnMut(&mut Disk, usize, &Op)) -> Disk {
        let mut disk = self.base.clone();
        for (index, op) in self.ops[..ops].iter().enumerate() {
            // The file itself; whether it has a name is another question.
            if let Op::Create { inode, is_dir, .. } = op {
                assert_eq!(disk.new_inode(*is_dir), *inode);
            }
            step(&mut disk, index, op);
        }
        disk
    }

    /// Whether a sync that had returned covers an operation.
    fn is_durable(&self, ops: usize) -> impl Fn(usize, &Op) -> bool + use<> {
        let mut covered: HashMap<Inode, usize> = HashMap::new();
        for op in &self.ops[..ops] {
            if let Op::Sync { inode, before } = op {
                let covered = covered.entry(*inode).or_default();
                *covered = (*covered).max(*before);
            }
        }
        move |index, op| {
            let of = match op {
                Op::Create { dir, .. } | Op::Rename { dir, .. } | Op::Unlink { dir, .. } => dir,
                Op::Write { inode, .. } | Op::Truncate { inode, .. } => inode,
                Op::Sync { .. } | Op::Sent { .. } => return true,
            };
            covered.get(of).is_some_and(|&before| index < before)
        }
    }
}

/// Chances from a seed, by `SplitMix64`.
pub(super) struct Chance(pub(super) u64);

impl Chance {
    /// A number below `limit`.
    pub(super) fn of(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % limit as u64) as usize
    }
}
