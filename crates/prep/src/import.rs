//! One import scanned and related: who belongs to whom, and whose group cannot be sent.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use crate::archive;
use crate::column::{Budget, Column};
use crate::entry::Draft;
use crate::error::{Error, ErrorKind};
use crate::job::{Import, Limits, Role, Settings};
use crate::plan::Member;
use crate::reader::Scanned;
use crate::reject::RejectCode;
use crate::relate::{Duplicates, KeyHash, KeyHasher, NO_KEY, NO_OWNER, Relative, alike_keys, relate};
use crate::reporter::Reporter;
use crate::scan::{Keyer, Record, scan};
use crate::sizes::{ChildSizes, Load, Sizes};
use crate::source::Source;
use crate::table::Table;
use crate::validate::Rules;

/// What an import may take of the memory.
#[derive(Debug)]
pub(crate) struct Memory {
    /// For what is kept of every record.
    pub(crate) columns: Arc<Budget>,
    /// Bytes for the index of the parents' keys and for counters; given up when all is related.
    pub(crate) index_bytes: u64,
}

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
    pub(crate) alike: Option<(u64, [u32; 2])>,
    pub(crate) duplicates: Duplicates,
}

/// A scanned child.
#[derive(Debug)]
pub(crate) struct ChildState {
    pub(crate) scanned: Scanned,
    /// For every record its parent's index; [`NO_OWNER`] for one that has none.
    pub(crate) owners: Column<u32>,
}

/// What the scan of a parent makes of a key.
#[derive(Debug, Clone, Copy)]
struct ParentKey {
    exact: KeyHash,
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
                let (exact, folded) = hasher.hash_and_fold(field);
                ParentKey { exact, folded }
            }
            _ => ParentKey { exact: NO_KEY, folded: 0 },
        }
    }
}

/// Hashes the parent keys of children.
struct ChildKeyer<'a>(&'a KeyHasher);

impl Keyer for ChildKeyer<'_> {
    type Key = KeyHash;

    #[inline]
    fn read(&self, field: Option<&[u8]>) -> KeyHash {
        field.map_or(NO_KEY, |field| self.0.hash(field))
    }
}

/// The columns of the parents' keys.
struct ParentKeys {
    exact: Column<KeyHash>,
    folded: Column<u64>,
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
        memory: &Memory,
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
        let limits = &settings.limits;
        let (mut parent, keys) = scan_parent(parent, &hasher, has_children, limits, memory, reporter)?;
        // Without all the parents, nothing can be said of the children's relations.
        let relating = parent.summary.fault.is_none();
        let mut children = Vec::new();
        let mut child_keys = Vec::new();
        for source in sources {
            let (child, keys) = scan_child(source, &hasher, relating, limits, memory, reporter)?;
            children.push(child);
            child_keys.push(keys);
        }
        let mut relatives: Vec<Relative<'_>> = children
            .iter_mut()
            .zip(child_keys)
            .map(|(child, keys)| Relative {
                table: &mut child.scanned.table,
                keys,
                owners: &mut child.owners,
            })
            .collect();
        let duplicates = relate(&mut parent.table, &keys.exact, &mut relatives, memory.index_bytes)?;
        drop(relatives);
        let alike = alike_keys(&keys.exact, &keys.folded, memory.index_bytes)?;
        drop(keys);
        let parents = parent.table.records();
        let child_sizes = children.iter().map(|child| {
            let table = &child.scanned.table;
            ChildSizes::count(&child.owners, table, parents, &memory.columns, memory.index_bytes)
        });
        let child_sizes = child_sizes.collect::<Result<_, Error>>()?;
        let mut state = ImportState { members, parent, children, child_sizes, alike, duplicates };
        if !state.has_fault() {
            state.reject_groups(settings, memory)?;
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
    fn reject_groups(&mut self, settings: &Settings, memory: &Memory) -> Result<(), Error> {
        let parents = self.parent.table.records() as u32;
        let mut doubtful = Doubtful::default();
        for first in (0..parents).step_by(PARENTS_AT_ONCE) {
            let batch = first..first.saturating_add(PARENTS_AT_ONCE as u32).min(parents);
            let mut broken = Vec::new();
            let sizes = self.sizes();
            let mut groups = sizes.groups(batch);
            while let Some((parent, group)) = groups.next()? {
                match self.fault_of(&sizes, group, &settings.limits) {
                    GroupFault::Certain(code) => broken.push((parent as usize, code)),
                    GroupFault::Doubtful => {
                        doubtful.parents.insert(parent);
                        doubtful.records += group.iter().map(|load| load.records).sum::<u64>();
                    }
                    GroupFault::None => {}
                }
            }
            let last = first as usize + PARENTS_AT_ONCE >= parents as usize;
            if last || doubtful.bytes() > memory.index_bytes {
                let too_large = self.too_large_alone(&std::mem::take(&mut doubtful).parents, settings)?;
                broken.extend(
                    too_large.into_iter().map(|parent| (parent as usize, RejectCode::ArchiveTooLarge)),
                );
                broken.sort_unstable_by_key(|&(parent, _)| parent);
            }
            self.parent.table.reject_all(&mut broken)?;
        }
        if self.parent.table.rejected() > 0 {
            self.reject_children_of_rejects()?;
        }
        Ok(())
    }

    /// What is wrong with a group as a whole.
    fn fault_of(&self, sizes: &Sizes<'_>, group: &[Load], limits: &Limits) -> GroupFault {
        let max_children = limits.max_children_per_parent.unwrap_or(u32::MAX).min(limits.chunk_records);
        let mut bound = 0;
        let mut code = None;
        for (member, &load) in group.iter().enumerate() {
            bound += self.bound(member, load);
            if member > 0 && load.records > u64::from(max_children) {
                code = code.or(Some(RejectCode::TooManyChildren));
            } else if load.bytes >= u64::from(u32::MAX) || !sizes.fits(member, load, limits) {
                code = code.or(Some(RejectCode::GroupTooLarge));
            }
        }
        match code {
            Some(code) => GroupFault::Certain(code),
            None if bound > limits.max_archive_bytes => GroupFault::Doubtful,
            None => GroupFault::None,
        }
    }

    fn reject_children_of_rejects(&mut self) -> Result<(), Error> {
        let table = &self.parent.table;
        let mut rows = table.rows();
        let packed = (0..table.records()).map(|parent| Ok(rows.get(parent)?.len_out.is_ok()));
        let packed = packed.collect::<Result<Vec<bool>, Error>>()?;
        let mut scratch = Vec::new();
        let mut rejects = Vec::new();
        for child in &mut self.children {
            for page in 0..child.owners.pages() {
                let start = child.owners.page_start(page);
                for (place, &owner) in child.owners.page(page, &mut scratch)?.iter().enumerate() {
                    if owner != NO_OWNER && !packed[owner as usize] {
                        rejects.push((start + place, RejectCode::ParentRejected));
                    }
                }
                child.scanned.table.reject_all(&mut rejects)?;
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
        let mut scratch = Vec::new();
        for (place, child) in self.children.iter().enumerate() {
            for page in 0..child.owners.pages() {
                let start = child.owners.page_start(page);
                for (record, owner) in child.owners.page(page, &mut scratch)?.iter().enumerate() {
                    if let Some(group) = records.get_mut(owner) {
                        group[place].push(start + record);
                    }
                }
            }
        }
        let mut too_large = Vec::new();
        let mut block = Vec::new();
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
                    scanned.reread(record..record + 1, &mut block, &mut |record| {
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

/// What is wrong with a group.
enum GroupFault {
    None,
    Certain(RejectCode),
    /// Its archive may pass the limit; only deflate can tell.
    Doubtful,
}

/// Groups to be deflated for trial.
#[derive(Default)]
struct Doubtful {
    parents: BTreeSet<u32>,
    /// Their records, those of the children included.
    records: u64,
}

impl Doubtful {
    /// Memory that the list of their records takes.
    fn bytes(&self) -> u64 {
        8 * self.records + 128 * self.parents.len() as u64
    }
}

/// Parents whose groups are looked at before rejects are noted down.
const PARENTS_AT_ONCE: usize = 64 << 10;

fn scan_parent(
    source: Source,
    hasher: &KeyHasher,
    has_children: bool,
    limits: &Limits,
    memory: &Memory,
    reporter: &dyn Reporter,
) -> Result<(Scanned, ParentKeys), Error> {
    let mut table = Table::new(source.header.end, &memory.columns);
    let mut exact = Column::new(&memory.columns);
    let mut folded = Column::new(&memory.columns);
    let keyer = ParentKeyer(has_children.then_some(hasher));
    let mut sink = |record: &Record<ParentKey>| {
        table.push(record);
        if has_children {
            exact.push(record.key.exact);
            folded.push(record.key.folded);
        }
    };
    let summary = scan(&source, rules(&source, limits), &keyer, &mut sink, reporter)?;
    table.finish(&source)?;
    exact.finish()?;
    folded.finish()?;
    Ok((Scanned { source, table, summary }, ParentKeys { exact, folded }))
}

/// Scans a child; with the column of the keys that are to be related.
fn scan_child(
    source: Source,
    hasher: &KeyHasher,
    relating: bool,
    limits: &Limits,
    memory: &Memory,
    reporter: &dyn Reporter,
) -> Result<(ChildState, Column<KeyHash>), Error> {
    let mut table = Table::new(source.header.end, &memory.columns);
    let mut keys = Column::new(&memory.columns);
    let mut owners = Column::new(&memory.columns);
    let mut sink = |record: &Record<KeyHash>| {
        let mut record = *record;
        if record.reject.is_some() || !relating {
            record.key = NO_KEY;
        } else if record.key == NO_KEY {
            record.reject = Some(RejectCode::BlankParentKey);
        }
        table.push(&record);
        keys.push(record.key);
        owners.push(NO_OWNER);
    };
    let summary = scan(&source, rules(&source, limits), &ChildKeyer(hasher), &mut sink, reporter)?;
    table.finish(&source)?;
    keys.finish()?;
    owners.finish()?;
    Ok((ChildState { scanned: Scanned { source, table, summary }, owners }, keys))
}
