//! Which parent a child belongs to: keys are equal byte for byte or not at all.
//!
//! Keys are held as 128-bit SipHash-1-3 under a key drawn anew for every run. Two different keys of ten million
//! collide with a probability of about 10⁻²⁵; and since nobody who writes the file knows the run's key, no file can
//! be crafted to collide or to slow the table down. The hash decides only equality, so that results are the same on
//! every run.
//!
//! The index of the parents' keys is the one thing here that is not read in order, so it must be in memory. Where
//! it would not fit, the keys are divided by their hashes into parts that do, and each part is indexed and looked up
//! on its own, in one sequential pass over the hashes of parents and children. The result is the same.

use std::hash::{BuildHasher, RandomState};

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;
use rayon::prelude::*;
use siphasher::sip128::SipHasher13;

use crate::column::Column;
use crate::error::Error;
use crate::record::value;
use crate::reject::RejectCode;
use crate::table::Table;

/// The hash of a key. [`NO_KEY`] stands for a blank one, and in a column for any that is not to be related.
pub(crate) type KeyHash = u128;

/// No key.
pub(crate) const NO_KEY: KeyHash = 0;

/// The owner of a child that has none.
pub(crate) const NO_OWNER: u32 = u32::MAX;

/// Memory that the index takes for a parent: an entry of 24 bytes and one of the table's, at the table's lowest load of
/// 7/16.
const BYTES_PER_PARENT: u64 = 56;

/// No part is smaller, however small the budget.
const LEAST_PARENTS_PER_PART: u64 = 16;

/// Pages of children that are looked up in parallel before their owners are written down.
const PAGES_AT_ONCE: usize = 64;

/// Hashes keys, the same way for all inputs of one import.
#[derive(Debug)]
pub(crate) struct KeyHasher(SipHasher13);

impl KeyHasher {
    /// A hasher under a new random key.
    pub(crate) fn new() -> KeyHasher {
        // The standard library's random state is the operating system's randomness; two draws give 128 bits.
        let draw = || RandomState::new().hash_one(0);
        KeyHasher(SipHasher13::new_with_keys(draw(), draw()))
    }

    /// The hash of a key field as it stands in the file; [`NO_KEY`] if it is blank.
    #[inline]
    pub(crate) fn hash(&self, field: &[u8]) -> KeyHash {
        self.hash_value(&value(field))
    }

    /// The same, and the hash of the key after trimming and case folding, 0 if that is blank. The latter has 64 bits:
    /// a warning needs no certainty.
    #[inline]
    pub(crate) fn hash_and_fold(&self, field: &[u8]) -> (KeyHash, u64) {
        let value = value(field);
        let exact = self.hash_value(&value);
        // Most keys are what they fold to, and need no second hash.
        let ends_plain = |end: Option<&u8>| end.is_some_and(|&byte| byte > b' ');
        let folds_to_itself = ends_plain(value.first())
            && ends_plain(value.last())
            && value.iter().all(|&byte| byte.is_ascii() && !byte.is_ascii_uppercase());
        let folded = if folds_to_itself { exact } else { self.hash_folded(&value) };
        (exact, folded as u64)
    }

    #[inline]
    fn hash_value(&self, value: &[u8]) -> KeyHash {
        // A hash that is zero by chance shares its fate with one.
        if value.is_empty() { NO_KEY } else { self.0.hash(value).as_u128().max(1) }
    }

    #[cold]
    fn hash_folded(&self, value: &[u8]) -> KeyHash {
        self.hash_value(String::from_utf8_lossy(value).trim().to_lowercase().as_bytes())
    }
}

/// One of the parts into which hashes are divided.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Part {
    number: u64,
    of: u64,
}

impl Part {
    /// As many parts as it takes for `count` things of `bytes_each` to stay within `bytes`, part by part.
    pub(crate) fn all(count: usize, bytes_each: u64, bytes: u64) -> impl Iterator<Item = Part> {
        let per_part = (bytes / bytes_each).max(LEAST_PARENTS_PER_PART);
        let of = (count as u64).div_ceil(per_part).max(1);
        (0..of).map(move |number| Part { number, of })
    }

    /// Whether a hash is of this part. Every one is of just one.
    #[inline]
    pub(crate) fn holds(self, hash: u64) -> bool {
        self.of == 1 || ((u128::from(hash) * u128::from(self.of)) >> 64) as u64 == self.number
    }
}

/// The higher bits of a key's hash choose its part, the lower ones its place in the table.
fn part_bits(key: KeyHash) -> u64 {
    (key >> 64) as u64
}

/// Keys that several parents bear.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Duplicates {
    /// How many such keys there are.
    pub(crate) keys: u64,
    /// To how many of them no child refers, and the first parent with one of those.
    pub(crate) unreferenced: Option<(u64, u32)>,
}

impl Duplicates {
    fn add(&mut self, more: Duplicates) {
        self.keys += more.keys;
        self.unreferenced = match (self.unreferenced, more.unreferenced) {
            (Some((count, first)), Some((more, other))) => Some((count + more, first.min(other))),
            (before, more) => before.or(more),
        };
    }
}

/// A child that is to be related.
#[derive(Debug)]
pub(crate) struct Relative<'a> {
    pub(crate) table: &'a mut Table,
    /// The hashes of its records' parent keys.
    pub(crate) keys: Column<KeyHash>,
    /// For every record its parent's index; [`NO_OWNER`], as all are at first, for one that has none.
    pub(crate) owners: &'a mut Column<u32>,
}

/// Finds the owners of all children's records, with an index of at most `bytes`. Records without a parent, or with
/// several, become rejects, and so do the several parents.
///
/// # Errors
/// `Spill`.
pub(crate) fn relate(
    parents: &mut Table,
    keys: &Column<KeyHash>,
    children: &mut [Relative<'_>],
    bytes: u64,
) -> Result<Duplicates, Error> {
    let mut duplicates = Duplicates::default();
    for part in Part::all(keys.len(), BYTES_PER_PARENT, bytes) {
        let mut index = ParentIndex::new(keys, part)?;
        for child in children.iter_mut() {
            index.find_owners(child)?;
        }
        duplicates.add(index.finish(parents)?);
    }
    Ok(duplicates)
}

/// Whom a child belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Found {
    /// The parent with this record index.
    One(u32),
    /// Several parents bear the key.
    Several,
    /// No parent bears the key.
    Nobody,
    /// There is no key, or it is of another part.
    NotHere,
}

/// A key of the index. All that a look-up needs stands together: it is one access to memory.
#[derive(Debug)]
struct Bearer {
    key: [u64; 2],
    /// The first parent that bears the key.
    first: u32,
    /// Whether others bear it too.
    shared: bool,
    /// Whether, if it is shared, a child refers to it.
    referenced: bool,
}

impl Bearer {
    fn split(key: KeyHash) -> [u64; 2] {
        [key as u64, part_bits(key)]
    }
}

/// The parents of one part by their keys.
#[derive(Debug)]
struct ParentIndex<'a> {
    part: Part,
    /// The keys of all parts.
    keys: &'a Column<KeyHash>,
    table: HashTable<Bearer>,
}

impl ParentIndex<'_> {
    fn new(keys: &Column<KeyHash>, part: Part) -> Result<ParentIndex<'_>, Error> {
        let mut table: HashTable<Bearer> = HashTable::with_capacity(keys.len() / part.of as usize);
        for_each_key(keys, part, |record, key| {
            let key = Bearer::split(key);
            match table.entry(key[0], |other| other.key == key, |other| other.key[0]) {
                Entry::Occupied(mut bearer) => bearer.get_mut().shared = true,
                Entry::Vacant(free) => {
                    free.insert(Bearer { key, first: record as u32, shared: false, referenced: false });
                }
            }
        })?;
        Ok(ParentIndex { part, keys, table })
    }

    #[inline]
    fn find(&self, key: KeyHash) -> Found {
        if key == NO_KEY || !self.part.holds(part_bits(key)) {
            return Found::NotHere;
        }
        let key = Bearer::split(key);
        match self.table.find(key[0], |bearer| bearer.key == key) {
            None => Found::Nobody,
            Some(bearer) if bearer.shared => Found::Several,
            Some(bearer) => Found::One(bearer.first),
        }
    }

    /// Looks up all of a child's keys that are of this part.
    fn find_owners(&mut self, child: &mut Relative<'_>) -> Result<(), Error> {
        let mut owners = Vec::new();
        let mut scratch = Vec::new();
        let mut rejects = Vec::new();
        let mut refer_to_several = Vec::new();
        for first in (0..child.keys.pages()).step_by(PAGES_AT_ONCE) {
            let pages = first..(first + PAGES_AT_ONCE).min(child.keys.pages());
            // Look-ups wait for memory: in a loop of their own many of them wait at the same time.
            let found = pages
                .clone()
                .into_par_iter()
                .map(|page| {
                    let mut scratch = Vec::new();
                    let keys = child.keys.page(page, &mut scratch)?;
                    Ok(keys.iter().map(|&key| self.find(key)).collect::<Vec<_>>())
                })
                .collect::<Result<Vec<_>, Error>>()?;
            for (page, found) in pages.zip(found) {
                let start = child.keys.page_start(page);
                owners.clear();
                owners.extend_from_slice(child.owners.page(page, &mut scratch)?);
                for (place, found) in found.into_iter().enumerate() {
                    match found {
                        Found::NotHere => {}
                        Found::One(parent) => owners[place] = parent,
                        Found::Nobody => rejects.push((start + place, RejectCode::Orphan)),
                        Found::Several => {
                            refer_to_several.push(start + place);
                            rejects.push((start + place, RejectCode::AmbiguousParent));
                        }
                    }
                }
                child.owners.set_page(page, &owners)?;
                child.table.reject_all(&mut rejects)?;
            }
            let mut keys = child.keys.reader();
            for record in refer_to_several.drain(..) {
                let key = Bearer::split(keys.get(record)?);
                if let Some(bearer) = self.table.find_mut(key[0], |bearer| bearer.key == key) {
                    bearer.referenced = true;
                }
            }
        }
        Ok(())
    }

    /// Rejects the parents that share a key to which children refer.
    fn finish(self, parents: &mut Table) -> Result<Duplicates, Error> {
        let mut rejects = Vec::new();
        if self.table.iter().any(|bearer| bearer.referenced) {
            for_each_key(self.keys, self.part, |record, key| {
                let key = Bearer::split(key);
                let bearer = self.table.find(key[0], |bearer| bearer.key == key);
                if bearer.is_some_and(|bearer| bearer.referenced) {
                    rejects.push((record, RejectCode::DuplicateKey));
                }
            })?;
        }
        parents.reject_all(&mut rejects)?;
        let mut duplicates = Duplicates::default();
        for bearer in self.table.iter().filter(|bearer| bearer.shared) {
            let unreferenced = (!bearer.referenced).then_some((1, bearer.first));
            duplicates.add(Duplicates { keys: 1, unreferenced });
        }
        Ok(duplicates)
    }
}

/// Calls `sink` with the record index of every key that is of a part, in order.
fn for_each_key(
    keys: &Column<KeyHash>,
    part: Part,
    mut sink: impl FnMut(usize, KeyHash),
) -> Result<(), Error> {
    let mut scratch = Vec::new();
    for page in 0..keys.pages() {
        let start = keys.page_start(page);
        for (place, &key) in keys.page(page, &mut scratch)?.iter().enumerate() {
            if key != NO_KEY && part.holds(part_bits(key)) {
                sink(start + place, key);
            }
        }
    }
    Ok(())
}

/// Keys that differ, but not after trimming and case folding: how many parents bear one, and two of them. `folded`
/// has the folded hashes of the same parents; `bytes` is what may be held at a time.
///
/// # Errors
/// `Spill`.
pub(crate) fn alike_keys(
    keys: &Column<KeyHash>,
    folded: &Column<u64>,
    bytes: u64,
) -> Result<Option<(u64, [u32; 2])>, Error> {
    let mut alike = 0;
    let mut pair: Option<[u32; 2]> = None;
    for part in Part::all(folded.len(), BYTES_PER_PARENT, bytes) {
        let mut scratch = Vec::new();
        let mut hashes: Vec<u64> = Vec::new();
        for page in 0..folded.pages() {
            let of_part = |&&hash: &&u64| hash != 0 && part.holds(hash);
            hashes.extend(folded.page(page, &mut scratch)?.iter().filter(of_part));
        }
        hashes.par_sort_unstable();
        let mut shared: Vec<u64> =
            hashes.windows(2).filter(|pair| pair[0] == pair[1]).map(|pair| pair[0]).collect();
        shared.dedup();
        drop(hashes);
        if shared.is_empty() {
            continue;
        }
        // Parents in order of their folded hash, each group in file order.
        let mut groups: Vec<(u64, u32, u64)> = Vec::new();
        let mut key_scratch = Vec::new();
        for page in 0..folded.pages() {
            let start = folded.page_start(page);
            let keys = keys.page(page, &mut key_scratch)?;
            for (place, (&hash, &key)) in folded.page(page, &mut scratch)?.iter().zip(keys).enumerate() {
                if shared.binary_search(&hash).is_ok() {
                    groups.push((hash, (start + place) as u32, key as u64));
                }
            }
        }
        groups.par_sort_unstable();
        for group in groups.chunk_by(|a, b| a.0 == b.0) {
            let others = || group.iter().filter(|other| other.2 != group[0].2);
            alike += others().count() as u64;
            if let Some(other) = others().next()
                && pair.is_none_or(|pair| other.1 < pair[1])
            {
                pair = Some([group[0].1, other.1]);
            }
        }
    }
    Ok(pair.map(|pair| (alike, pair)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_compare_by_value_byte_for_byte() {
        let hasher = KeyHasher::new();
        let hash = |field: &str| hasher.hash(field.as_bytes());
        assert_eq!(hash("\"a\""), hash("a"));
        assert_eq!(hash("\"c\"\"d\""), hash("\"c\"\"d\""));
        assert_ne!(hash("b"), hash("b "));
        assert_ne!(hash("a"), hash("A"));
        assert_ne!(hash("É"), hash("e\u{301}"));
        assert_eq!((hash(""), hash("\"\"")), (NO_KEY, NO_KEY));
        assert_ne!(KeyHasher::new().hash(b"a"), hash("a"), "every run hashes otherwise");
    }

    #[test]
    fn folded_keys_ignore_case_and_space_around() {
        let hasher = KeyHasher::new();
        let folded = |field: &str| hasher.hash_and_fold(field.as_bytes()).1;
        for alike in [["ab", "AB"], ["a b", " a b\u{b}"], [" AbÉ", "aBé "], ["\"a\"", "A"], ["x\u{a0}", "X"]]
        {
            assert_eq!(folded(alike[0]), folded(alike[1]), "{alike:?}");
        }
        assert_ne!(folded("a b"), folded("ab"));
        assert_eq!((folded(""), folded("  ")), (0, 0));
        assert_eq!(hasher.hash_and_fold(b"Key").0, hasher.hash(b"Key"));
    }

    #[test]
    fn every_hash_is_of_one_part() {
        for count in [0_usize, 1, 16, 17, 1000] {
            let parts: Vec<Part> = Part::all(count, 32, 0).collect();
            assert_eq!(parts.len(), count.div_ceil(16).max(1));
            for hash in [0, 1, u64::MAX / 3, u64::MAX / 2, u64::MAX] {
                assert_eq!(parts.iter().filter(|part| part.holds(hash)).count(), 1);
            }
        }
    }
}
