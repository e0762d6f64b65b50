//! Which parent a child belongs to: an index of the parents' keys, equal byte for byte or not at all.
//!
//! Keys are held as 128-bit SipHash-1-3 under a key drawn anew for every run. Two different keys of ten million
//! collide with a probability of about 10⁻²⁵; and since nobody who writes the file knows the run's key, no file can
//! be crafted to collide or to slow the table down. The hash decides only equality, so that results are the same on
//! every run.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap};
use std::hash::{BuildHasher, RandomState};
use std::num::NonZeroU128;

use hashbrown::HashTable;
use siphasher::sip128::SipHasher13;

use crate::record::value;

/// The hash of a key; blank keys have none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct KeyHash(NonZeroU128);

impl KeyHash {
    fn new(hash: u128) -> KeyHash {
        // Zero stands for no key, so that an optional hash takes 16 bytes; it shares its fate with the highest.
        KeyHash(NonZeroU128::new(hash).unwrap_or(NonZeroU128::MAX))
    }

    /// Bits for the table's buckets.
    fn bits(self) -> u64 {
        self.0.get() as u64
    }
}

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

    /// The hash of a key field as it stands in the file; `None` if it is blank.
    #[inline]
    pub(crate) fn hash(&self, field: &[u8]) -> Option<KeyHash> {
        let value = value(field);
        (!value.is_empty()).then(|| KeyHash::new(self.0.hash(&value).as_u128()))
    }

    /// The hash of a key after trimming and case folding: 64 bits, for a warning needs no certainty.
    pub(crate) fn hash_folded(&self, field: &[u8]) -> Option<u64> {
        let value = value(field);
        let text = String::from_utf8_lossy(&value);
        let folded = match text.trim() {
            plain if plain.bytes().all(|b| b.is_ascii() && !b.is_ascii_uppercase()) => Cow::Borrowed(plain),
            other => Cow::Owned(other.to_lowercase()),
        };
        (!folded.is_empty()).then(|| self.0.hash(folded.as_bytes()).as_u64().0.max(1))
    }
}

/// Whom a child belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ParentRef {
    /// The parent with this record index.
    One(u32),
    /// Several parents bear the key; this is the first of them.
    Several(u32),
    /// No parent bears the key.
    None,
    /// The child's parent key is blank, or its record has no such field.
    Blank,
}

/// The parents of an import by their keys.
#[derive(Debug)]
pub(crate) struct ParentIndex {
    keys: Vec<Option<KeyHash>>,
    table: HashTable<u32>,
    /// Parents with a key that an earlier one bears, by that earlier one.
    duplicates: HashMap<u32, Vec<u32>>,
}

impl ParentIndex {
    /// Indexes the parents' keys, by record index.
    pub(crate) fn new(keys: Vec<Option<KeyHash>>) -> ParentIndex {
        let mut table = HashTable::with_capacity(keys.len());
        let mut duplicates: HashMap<u32, Vec<u32>> = HashMap::new();
        for (index, key) in keys.iter().enumerate() {
            let Some(key) = key else { continue };
            let entry = table.entry(
                key.bits(),
                |&other: &u32| keys[other as usize] == Some(*key),
                |&other| keys[other as usize].map_or(0, KeyHash::bits),
            );
            match entry {
                hashbrown::hash_table::Entry::Occupied(first) => {
                    duplicates.entry(*first.get()).or_default().push(index as u32);
                }
                hashbrown::hash_table::Entry::Vacant(place) => {
                    place.insert(index as u32);
                }
            }
        }
        ParentIndex { keys, table, duplicates }
    }

    /// The parent that bears a key.
    #[inline]
    pub(crate) fn find(&self, key: Option<KeyHash>) -> ParentRef {
        let Some(key) = key else { return ParentRef::Blank };
        let found = self.table.find(key.bits(), |&index| self.keys[index as usize] == Some(key));
        match found {
            None => ParentRef::None,
            Some(&index) if self.duplicates.is_empty() => ParentRef::One(index),
            Some(&index) if self.duplicates.contains_key(&index) => ParentRef::Several(index),
            Some(&index) => ParentRef::One(index),
        }
    }

    /// The later parents that bear the same key as this first one.
    pub(crate) fn duplicates_of(&self, first: u32) -> &[u32] {
        self.duplicates.get(&first).map_or(&[], Vec::as_slice)
    }

    /// How many keys several parents bear without being `referenced`, and the first parent of such a key.
    pub(crate) fn duplicate_keys(&self, referenced: &BTreeSet<u32>) -> Option<(usize, u32)> {
        let unreferenced = || self.duplicates.keys().filter(|first| !referenced.contains(first));
        unreferenced().min().map(|&first| (unreferenced().count(), first))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index(keys: &[&str]) -> (KeyHasher, ParentIndex) {
        let hasher = KeyHasher::new();
        let index = ParentIndex::new(keys.iter().map(|key| hasher.hash(key.as_bytes())).collect());
        (hasher, index)
    }

    #[test]
    fn keys_compare_by_value_byte_for_byte() {
        let (hasher, index) = index(&["a", "b ", "\"c\"\"d\"", "", "É"]);
        let find = |field: &str| index.find(hasher.hash(field.as_bytes()));
        assert_eq!(find("\"a\""), ParentRef::One(0));
        assert_eq!(find("b"), ParentRef::None);
        assert_eq!(find("b "), ParentRef::One(1));
        assert_eq!(find("A"), ParentRef::None);
        assert_eq!(find("\"c\"\"d\""), ParentRef::One(2));
        assert_eq!(find(""), ParentRef::Blank);
        assert_eq!(find("\"\""), ParentRef::Blank);
        assert_eq!(find("e\u{301}"), ParentRef::None);
    }

    #[test]
    fn a_key_of_several_parents_belongs_to_none_of_them() {
        let (hasher, index) = index(&["a", "b", "a", "a"]);
        assert_eq!(index.find(hasher.hash(b"a")), ParentRef::Several(0));
        assert_eq!(index.find(hasher.hash(b"b")), ParentRef::One(1));
        assert_eq!(index.duplicates_of(0), [2, 3]);
        assert_eq!(index.duplicate_keys(&BTreeSet::new()), Some((1, 0)));
        assert_eq!(index.duplicate_keys(&BTreeSet::from([0])), None);
    }

    #[test]
    fn folded_keys_ignore_case_and_space_around() {
        let hasher = KeyHasher::new();
        assert_eq!(hasher.hash_folded(b" Ab\xC3\x89"), hasher.hash_folded("aBé ".as_bytes()));
        assert_ne!(hasher.hash_folded(b"a b"), hasher.hash_folded(b"ab"));
    }
}
