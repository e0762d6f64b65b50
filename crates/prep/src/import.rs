//! One import scanned and related: who belongs to whom, and whose group cannot be sent.

use std::collections::{BTreeSet, HashMap};

use crate::archive;
use crate::entry::Draft;
use crate::error::{Error, ErrorKind};
use crate::job::{Import, Limits, Role, Settings};
use crate::plan::{ChildSizes, Load, Member, Sizes};
use crate::reader::Scanned;
use crate::reject::RejectCode;
use crate::relate::{KeyHash, KeyHasher, ParentIndex, ParentRef};
use crate::reporter::Reporter;
use crate::scan::{Keyer, Record, scan};
use crate::source::Source;
use crate::table::{MAX_RECORDS, Table};
use crate::validate::Rules;

/// The owner of a child that has none.
pub(crate) const NO_OWNER: u32 = u32::MAX;

/// A child above this many per parent is warned of: an old Zoho page caps subforms at 200 rows.
pub(crate) const MANY_CHILDREN: u32 = 200;

/// An import whose inputs are scanned.
#[derive(Debug)]
pub(crate) struct ImportState {
    /// The parent, then the children.
    pub(crate) members: Vec<Member>,
    pub(crate) parent: Scanned,
    pub(crate) children: Vec<ChildState>,
    /// In the order of `children`.
    pub(crate) child_sizes: Vec<ChildSizes>,
    /// Keys that are equal only after trimming and case folding: how many, and the records of one such pair.
    pub(crate) alike: Option<(usize, [u32; 2])>,
    /// Keys that several parents bear without a child that refers to them, and the first such parent.
    pub(crate) unreferenced_duplicates: Option<(usize, u32)>,
}

/// A scanned child.
#[derive(Debug)]
pub(crate) struct ChildState {
    pub(crate) scanned: Scanned,
    /// For every record its parent's index; [`NO_OWNER`] for one that has none.
    pub(crate) owners: Vec<u32>,
}

/// What the scan of a parent makes of a key.
#[derive(Debug, Clone, Copy)]
struct ParentKey {
    exact: Option<KeyHash>,
    /// 0 where there is none.
    folded: u64,
}

/// Hashes the keys of parents that have children.
struct ParentKeyer<'a>(Option<&'a KeyHasher>);

impl Keyer for ParentKeyer<'_> {
    type Key = ParentKey;

    #[inline]
    fn read(&self, field: Option<&[u8]>) -> ParentKey {
        match (self.0, field) {
            (Some(hasher), Some(field)) => {
                ParentKey { exact: hasher.hash(field), folded: hasher.hash_folded(field).unwrap_or(0) }
            }
            _ => ParentKey { exact: None, folded: 0 },
        }
    }
}

/// What the scan of a child makes of a parent key.
#[derive(Debug, Clone, Copy)]
struct ChildKey {
    hash: Option<KeyHash>,
    parent: ParentRef,
}

/// Finds the parents of children.
struct ChildKeyer<'a> {
    hasher: &'a KeyHasher,
    index: &'a ParentIndex,
}

impl Keyer for ChildKeyer<'_> {
    type Key = ChildKey;

    #[inline]
    fn read(&self, field: Option<&[u8]>) -> ChildKey {
        ChildKey { hash: field.and_then(|field| self.hasher.hash(field)), parent: ParentRef::Blank }
    }

    fn settle(&self, records: &mut [Record<ChildKey>]) {
        for record in records {
            record.key.parent = self.index.find(record.key.hash);
        }
    }
}

impl ImportState {
    /// Scans and relates an import whose inputs are open, parent first.
    ///
    /// # Errors
    /// Those of reading; `TooManyRecords`.
    pub(crate) fn scan(
        import: &Import,
        sources: Vec<Source>,
        first_input: usize,
        settings: &Settings,
        reporter: &dyn Reporter,
    ) -> Result<ImportState, Error> {
        let roles = std::iter::once((&import.parent, Role::Parent, None))
            .chain(import.children.iter().map(|child| (&child.input, Role::Child, Some(child.kind))));
        let members: Vec<Member> = roles
            .zip(&sources)
            .enumerate()
            .map(|(i, ((input, role, kind), source))| Member {
                input: first_input + i,
                module: input.module.clone(),
                role,
                kind,
                columns: source.columns() as u32,
                key_index: source.shape.key.map(|key| key as u32),
                header_bytes: source.header.normalized.len() as u64,
            })
            .collect();
        let mut sources = sources.into_iter();
        let parent = sources.next().expect("invariant: an import has a parent");
        let hasher = KeyHasher::new();
        let has_children = !import.children.is_empty();
        let (mut parent, keys) = scan_parent(parent, &hasher, has_children, &settings.limits, reporter)?;
        let alike = alike_keys(&keys);
        let index = ParentIndex::new(keys.into_iter().map(|key| key.exact).collect());
        let mut referenced = BTreeSet::new();
        let mut children = Vec::new();
        let mut child_sizes = Vec::new();
        for source in sources {
            let (child, sizes) =
                scan_child(source, &parent, &hasher, &index, &mut referenced, &settings.limits, reporter)?;
            children.push(child);
            child_sizes.push(sizes);
        }
        for &first in &referenced {
            parent.table.reject(first as usize, RejectCode::DuplicateKey);
            for &other in index.duplicates_of(first) {
                parent.table.reject(other as usize, RejectCode::DuplicateKey);
            }
        }
        let unreferenced_duplicates = index.duplicate_keys(&referenced);
        drop(index);
        let mut state =
            ImportState { members, parent, children, child_sizes, alike, unreferenced_duplicates };
        if !state.has_fault() {
            state.reject_groups(settings)?;
        }
        state.parent.table.sort_rejects();
        for child in &mut state.children {
            child.scanned.table.sort_rejects();
        }
        Ok(state)
    }

    /// Whether the records of an input cannot be trusted.
    pub(crate) fn has_fault(&self) -> bool {
        self.scanned().any(|scanned| scanned.summary.fault.is_some())
    }

    /// The parent's scan, then the children's.
    pub(crate) fn scanned(&self) -> impl Iterator<Item = &Scanned> {
        std::iter::once(&self.parent).chain(self.children.iter().map(|child| &child.scanned))
    }

    /// The sizes of its groups.
    pub(crate) fn sizes(&self) -> Sizes<'_> {
        Sizes { members: &self.members, parents: &self.parent.table, children: &self.child_sizes }
    }

    /// Rejects parents that break a limit together with their children, and then all children of rejected parents.
    fn reject_groups(&mut self, settings: &Settings) -> Result<(), Error> {
        let limits = &settings.limits;
        let max_children = limits.max_children_per_parent.unwrap_or(u32::MAX).min(limits.chunk_records);
        let mut broken = Vec::new();
        let mut doubtful = BTreeSet::new();
        let sizes = self.sizes();
        for parent in 0..self.parent.table.records() {
            let Some(group) = sizes.group(parent) else { continue };
            let mut code = None;
            let mut bound = 0;
            for (member, load) in group.enumerate() {
                bound += self.bound(member, load);
                if member > 0 && load.records > u64::from(max_children) {
                    code = code.or(Some(RejectCode::TooManyChildren));
                } else if load.bytes >= u64::from(u32::MAX) || !sizes.fits(member, load, limits) {
                    code = code.or(Some(RejectCode::GroupTooLarge));
                }
            }
            match code {
                Some(code) => broken.push((parent, code)),
                None if bound > limits.max_archive_bytes => {
                    doubtful.insert(parent as u32);
                }
                None => {}
            }
        }
        for parent in self.too_large_alone(&doubtful, settings)? {
            broken.push((parent as usize, RejectCode::ArchiveTooLarge));
        }
        for (parent, code) in broken {
            self.parent.table.reject(parent, code);
        }
        for child in &mut self.children {
            for (record, owner) in child.owners.iter_mut().enumerate() {
                if *owner != NO_OWNER && self.parent.table.len_out(*owner as usize) == 0 {
                    child.scanned.table.reject(record, RejectCode::ParentRejected);
                }
            }
        }
        Ok(())
    }

    /// The most that the load's entry can take in an archive.
    fn bound(&self, member: usize, load: Load) -> u64 {
        let member = &self.members[member];
        if load.records == 0 {
            0
        } else {
            archive::bound(member.module.len() + 4, member.header_bytes + load.bytes)
        }
    }

    /// Deflates the groups of these parents for trial; those whose archive passes the limit even on its own.
    fn too_large_alone(&self, doubtful: &BTreeSet<u32>, settings: &Settings) -> Result<Vec<u32>, Error> {
        if doubtful.is_empty() {
            return Ok(Vec::new());
        }
        // The records of every doubtful group, in one pass over each child's owners.
        let mut records: HashMap<u32, Vec<Vec<usize>>> =
            doubtful.iter().map(|&parent| (parent, vec![Vec::new(); self.children.len()])).collect();
        for (place, child) in self.children.iter().enumerate() {
            for (record, owner) in child.owners.iter().enumerate() {
                if let Some(group) = records.get_mut(owner) {
                    group[place].push(record);
                }
            }
        }
        let mut too_large = Vec::new();
        for &parent in doubtful {
            let mut drafts = vec![(&self.parent, vec![parent as usize])];
            let group = records.remove(&parent).unwrap_or_default();
            drafts.extend(self.children.iter().map(|child| &child.scanned).zip(group));
            let mut entries = Vec::new();
            for (member, (scanned, records)) in self.members.iter().zip(drafts) {
                if records.is_empty() {
                    continue;
                }
                let mut draft = Draft::new(&scanned.source.header.normalized, 0);
                for record in records {
                    scanned.reread(record..record + 1, &mut |record| {
                        draft.push(&record);
                        Ok(())
                    })?;
                }
                entries.push((format!("{}.csv", member.module), draft.csv));
            }
            let archive =
                archive::build(entries.iter().map(|(name, csv)| (name.as_str(), &csv[..])), settings.level)
                    .map_err(|error| Error::new(ErrorKind::Archive(error), self.parent.source.path()))?;
            if archive.len() as u64 > settings.limits.max_archive_bytes {
                too_large.push(parent);
            }
        }
        Ok(too_large)
    }
}

/// What a record of this input may measure.
fn rules(source: &Source, limits: &Limits) -> Rules {
    let header = source.header.normalized.len() as u64;
    let max_record_bytes = limits.max_csv_bytes.map_or(u64::MAX, |max| max.saturating_sub(header));
    Rules { columns: source.columns(), max_record_bytes }
}

fn scan_parent(
    source: Source,
    hasher: &KeyHasher,
    has_children: bool,
    limits: &Limits,
    reporter: &dyn Reporter,
) -> Result<(Scanned, Vec<ParentKey>), Error> {
    let mut table = Table::new(&source);
    let mut keys = Vec::new();
    let keyer = ParentKeyer(has_children.then_some(hasher));
    let mut sink = |record: &Record<ParentKey>| {
        table.push(record, record.reject);
        if has_children {
            keys.push(record.key);
        }
    };
    let summary = scan(&source, rules(&source, limits), &keyer, &mut sink, reporter)?;
    check_number(&source, &table)?;
    Ok((Scanned { source, table, summary }, keys))
}

fn scan_child(
    source: Source,
    parent: &Scanned,
    hasher: &KeyHasher,
    index: &ParentIndex,
    referenced: &mut BTreeSet<u32>,
    limits: &Limits,
    reporter: &dyn Reporter,
) -> Result<(ChildState, ChildSizes), Error> {
    let parents = parent.table.records();
    // Without all the parents, nothing can be said of the children's relations.
    let relating = parent.summary.fault.is_none();
    let mut table = Table::new(&source);
    let mut owners = Vec::new();
    let mut sizes = ChildSizes { records: vec![0; parents], bytes: vec![0; parents] };
    let keyer = ChildKeyer { hasher, index };
    let mut sink = |record: &Record<ChildKey>| {
        let (owner, reject) = match (record.reject, record.key.parent) {
            (Some(code), _) => (NO_OWNER, Some(code)),
            (None, _) if !relating => (NO_OWNER, None),
            (None, ParentRef::Blank) => (NO_OWNER, Some(RejectCode::BlankParentKey)),
            (None, ParentRef::None) => (NO_OWNER, Some(RejectCode::Orphan)),
            (None, ParentRef::Several(first)) => {
                referenced.insert(first);
                (NO_OWNER, Some(RejectCode::AmbiguousParent))
            }
            (None, ParentRef::One(parent)) => (parent, None),
        };
        if owner != NO_OWNER {
            let parent = owner as usize;
            sizes.records[parent] += 1;
            sizes.bytes[parent] = sizes.bytes[parent].saturating_add(record.len_out);
        }
        table.push(record, reject);
        owners.push(owner);
    };
    let summary = scan(&source, rules(&source, limits), &keyer, &mut sink, reporter)?;
    check_number(&source, &table)?;
    Ok((ChildState { scanned: Scanned { source, table, summary }, owners }, sizes))
}

fn check_number(source: &Source, table: &Table) -> Result<(), Error> {
    if table.records() <= MAX_RECORDS {
        return Ok(());
    }
    Err(Error::new(ErrorKind::TooManyRecords { max: MAX_RECORDS as u64 }, source.path()))
}

/// Keys that differ, but not after trimming and case folding: how many parents bear one, and two of them.
fn alike_keys(keys: &[ParentKey]) -> Option<(usize, [u32; 2])> {
    let mut folded: Vec<u64> = keys.iter().map(|key| key.folded).filter(|&folded| folded != 0).collect();
    folded.sort_unstable();
    let shared: std::collections::HashSet<u64> =
        folded.windows(2).filter(|pair| pair[0] == pair[1]).map(|pair| pair[0]).collect();
    if shared.is_empty() {
        return None;
    }
    let mut first_of: HashMap<u64, u32> = HashMap::new();
    let mut alike = 0;
    let mut pair = None;
    for (index, key) in keys.iter().enumerate().filter(|(_, key)| shared.contains(&key.folded)) {
        let first = *first_of.entry(key.folded).or_insert(index as u32);
        if keys[first as usize].exact != key.exact {
            alike += 1;
            pair = pair.or(Some([first, index as u32]));
        }
    }
    pair.map(|pair| (alike, pair))
}
