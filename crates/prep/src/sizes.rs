//! How large groups are: a parent with all its children, by member of the import. What the plan adds up.

use std::ops::{Add, Range};
use std::sync::Arc;

use crate::column::{Budget, Column, Reader};
use crate::error::Error;
use crate::job::Limits;
use crate::plan::Member;
use crate::relate::NO_OWNER;
use crate::table::{Rows, Table};

/// A child above this many per parent is warned of: an old Zoho page caps subforms at 200 rows.
pub(crate) const MANY_CHILDREN: u32 = 200;

/// Records and bytes of one member in a group or a run of groups, header excluded.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Load {
    pub(crate) records: u64,
    pub(crate) bytes: u64,
}

impl Add for Load {
    type Output = Load;

    fn add(self, more: Load) -> Load {
        Load { records: self.records + more.records, bytes: self.bytes + more.bytes }
    }
}

/// How many children of one module every parent has, and their bytes as written.
#[derive(Debug)]
pub(crate) struct ChildSizes {
    records: Column<u32>,
    /// Saturates.
    bytes: Column<u32>,
    /// The most that one parent has.
    pub(crate) max: u32,
    /// How many parents have more than [`MANY_CHILDREN`].
    pub(crate) parents_above: u64,
}

impl ChildSizes {
    /// Counts the children of every one of `parents` parents, with at most `bytes` of counters at a time: where they
    /// do not suffice, the owners are read several times, each time for another range of parents.
    ///
    /// # Errors
    /// `Spill`.
    pub(crate) fn count(
        owners: &Column<u32>,
        table: &Table,
        parents: usize,
        budget: &Arc<Budget>,
        bytes: u64,
    ) -> Result<ChildSizes, Error> {
        let mut sizes =
            ChildSizes { records: Column::new(budget), bytes: Column::new(budget), max: 0, parents_above: 0 };
        let at_once = ((bytes / 8) as usize).max(LEAST_PARENTS_AT_ONCE);
        let mut counters = Vec::new();
        let mut scratch = Vec::new();
        for first in (0..parents).step_by(at_once) {
            let range = first..(first + at_once).min(parents);
            counters.clear();
            counters.resize(range.len(), (0_u32, 0_u32));
            let mut rows = table.rows();
            for page in 0..owners.pages() {
                let start = owners.page_start(page);
                for (place, &owner) in owners.page(page, &mut scratch)?.iter().enumerate() {
                    if owner != NO_OWNER && range.contains(&(owner as usize)) {
                        let (records, bytes) = &mut counters[owner as usize - first];
                        *records += 1;
                        *bytes = bytes.saturating_add(rows.get(start + place)?.bytes());
                    }
                }
            }
            for &(records, bytes) in &counters {
                sizes.records.push(records);
                sizes.bytes.push(bytes);
                sizes.max = sizes.max.max(records);
                sizes.parents_above += u64::from(records > MANY_CHILDREN);
            }
        }
        sizes.records.finish()?;
        sizes.bytes.finish()?;
        Ok(sizes)
    }
}

#[cfg(test)]
impl ChildSizes {
    /// Sizes as they are given: records and bytes of every parent.
    pub(crate) fn of(groups: impl Iterator<Item = (u32, u32)>) -> ChildSizes {
        let budget = Budget::new(0, &std::env::temp_dir());
        let (records, bytes) = (Column::new(&budget), Column::new(&budget));
        let mut sizes = ChildSizes { records, bytes, max: 0, parents_above: 0 };
        for (records, bytes) in groups {
            sizes.records.push(records);
            sizes.bytes.push(bytes);
        }
        sizes
    }
}

/// No range of parents is smaller, however small the budget.
const LEAST_PARENTS_AT_ONCE: usize = 16;

/// The sizes of every group of an import.
#[derive(Debug)]
pub(crate) struct Sizes<'a> {
    /// The parent, then the children.
    pub(crate) members: &'a [Member],
    pub(crate) parents: &'a Table,
    /// In the order of `members[1..]`.
    pub(crate) children: &'a [ChildSizes],
}

impl<'a> Sizes<'a> {
    /// Reads the groups of a range of parents, in order, those left out that are not packed: each one's parent, and
    /// what it brings to each entry.
    pub(crate) fn groups(&self, parents: Range<u32>) -> Groups<'a> {
        let reader = |sizes: &'a ChildSizes| (sizes.records.reader(), sizes.bytes.reader());
        Groups {
            parents,
            rows: self.parents.rows(),
            children: self.children.iter().map(reader).collect(),
            loads: vec![Load::default(); self.members.len()],
        }
    }

    /// Whether an entry of a member with this load is within the limits.
    pub(crate) fn fits(&self, member: usize, load: Load, limits: &Limits) -> bool {
        load.records <= u64::from(limits.chunk_records)
            && limits.max_csv_bytes.is_none_or(|max| self.members[member].header_bytes + load.bytes <= max)
    }
}

/// Reads groups one after the other.
#[derive(Debug)]
pub(crate) struct Groups<'a> {
    parents: Range<u32>,
    rows: Rows<'a>,
    children: Vec<(Reader<'a, u32>, Reader<'a, u32>)>,
    loads: Vec<Load>,
}

impl Groups<'_> {
    /// The next group.
    ///
    /// # Errors
    /// `Spill`.
    pub(crate) fn next(&mut self) -> Result<Option<(u32, &[Load])>, Error> {
        for parent in self.parents.by_ref() {
            let bytes = self.rows.get(parent as usize)?.bytes();
            if bytes == 0 {
                continue;
            }
            self.loads[0] = Load { records: 1, bytes: bytes.into() };
            for (load, (records, bytes)) in self.loads[1..].iter_mut().zip(&mut self.children) {
                *load = Load {
                    records: records.get(parent as usize)?.into(),
                    bytes: bytes.get(parent as usize)?.into(),
                };
            }
            return Ok(Some((parent, &self.loads)));
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reject::RejectCode;
    use crate::scan::Record;

    #[test]
    fn children_are_counted_for_every_parent_however_few_counters_there_are() {
        let parents = 40;
        // Child i belongs to parent 7 i mod 40, save that every ninth belongs to nobody and every eleventh is a reject,
        // which may keep its owner; and parent 3 has 201 more of a third of the highest size each.
        let mut children: Vec<(u32, u32, bool)> = (0..500)
            .map(|i| (if i % 9 == 0 { NO_OWNER } else { i * 7 % parents }, i + 1, i % 11 == 0))
            .collect();
        children.extend(std::iter::repeat_n((3, 1 << 29, false), 201));
        let mut expected = vec![(0_u32, 0_u32); parents as usize];
        for &(owner, len_out, rejected) in &children {
            if let Some((records, bytes)) = expected.get_mut(owner as usize) {
                *records += 1;
                *bytes = bytes.saturating_add(if rejected { 0 } else { len_out });
            }
        }
        for (budget_bytes, counter_bytes) in
            [(1 << 20, 1 << 20), (0, 0), (0, 8 * 20), (400, 8 * 39), (0, 8 * 40)]
        {
            let budget = Budget::new(budget_bytes, &std::env::temp_dir());
            let mut table = Table::new(0, &budget);
            let mut owners = Column::new(&budget);
            for &(owner, len_out, rejected) in &children {
                let reject = rejected.then_some(RejectCode::Nul);
                let (blank_lines, rewritten, spans_lines) = (0, false, false);
                table.push(&Record {
                    len_raw: 1,
                    len_out,
                    blank_lines,
                    rewritten,
                    reject,
                    spans_lines,
                    key: (),
                });
                owners.push(owner);
            }
            let sizes = ChildSizes::count(&owners, &table, parents as usize, &budget, counter_bytes).unwrap();
            let (mut records, mut bytes) = (sizes.records.reader(), sizes.bytes.reader());
            let counted: Vec<(u32, u32)> = (0..parents as usize)
                .map(|parent| (records.get(parent).unwrap(), bytes.get(parent).unwrap()))
                .collect();
            assert_eq!(counted, expected);
            assert_eq!(sizes.records.len(), parents as usize);
            assert_eq!((sizes.max, sizes.parents_above), (expected[3].0, 1));
        }
    }

    #[test]
    fn two_hundred_children_are_not_too_many() {
        let budget = Budget::new(0, &std::env::temp_dir());
        let mut table = Table::new(0, &budget);
        let mut owners = Column::new(&budget);
        for child in 0..401 {
            let (blank_lines, rewritten, reject, spans_lines) = (0, false, None, false);
            table.push(&Record {
                len_raw: 1,
                len_out: 1,
                blank_lines,
                rewritten,
                reject,
                spans_lines,
                key: (),
            });
            owners.push(u32::from(child >= 200));
        }
        let sizes = ChildSizes::count(&owners, &table, 2, &budget, 0).unwrap();
        assert_eq!((sizes.max, sizes.parents_above), (201, 1));
    }
}
