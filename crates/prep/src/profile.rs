//! What an input's records hold, for a report: columns that are always empty, and the keys that most orphans have.
//!
//! Nothing here decides what is sent.

use std::collections::HashMap;

use crate::entry::shown;
use crate::error::Error;
use crate::plan::Member;
use crate::reader::{Scanned, content};
use crate::record::{Fields, value};
use crate::reject::RejectCode;

/// Keys of orphans that are counted; those of a file with more are told apart by no report.
const MAX_ORPHAN_KEYS: usize = 100_000;

/// Keys of orphans that are reported.
const ORPHAN_KEYS: usize = 10;

/// Records that are looked at before it is asked whether there is anything left to learn.
const RECORDS_AT_ONCE: usize = 8192;

/// What an input's records hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Profile {
    /// Zero-based indexes of the columns that are empty in every record that is no reject; none where there is no
    /// such record.
    pub columns_never_filled: Vec<usize>,
    /// The keys of orphans, those with the most orphans first and then in file order, at most ten.
    pub orphan_keys: Vec<OrphanKey>,
}

/// A parent key that no parent bears.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrphanKey {
    /// The key, lossy, cut at 256 bytes.
    pub key: String,
    /// How many children refer to it. Beyond 100,000 different keys in a file, new ones are not counted.
    pub records: u64,
    /// One-based line of the first of them.
    pub first_line: u64,
}

/// Looks through an input. Usually a few records fill every column and nothing more is read.
pub(crate) fn profile(member: &Member, scanned: &Scanned) -> Result<Profile, Error> {
    let table = &scanned.table;
    let delimiter = scanned.source.shape.delimiter;
    let mut never_filled: Vec<bool> = vec![true; member.columns as usize];
    let mut unfilled = never_filled.len();
    let mut orphans: HashMap<Vec<u8>, (u64, u64)> = HashMap::new();
    let orphaned = table.reject_counts().any(|(code, _)| code == RejectCode::Orphan);
    let mut buf = Vec::new();
    for first in (0..table.records()).step_by(RECORDS_AT_ONCE) {
        if unfilled == 0 && !orphaned {
            break;
        }
        let records = first..(first + RECORDS_AT_ONCE).min(table.records());
        let wanted = |reject| match reject {
            None => unfilled > 0,
            Some(code) => code == RejectCode::Orphan,
        };
        scanned.walk(records, wanted, &mut buf, &mut |record| {
            let content = content(record.raw);
            let mut fields = Fields::new(content, delimiter);
            if record.len_out.is_ok() {
                for (never_filled, field) in never_filled.iter_mut().zip(fields) {
                    *never_filled &= value(&content[field]).is_empty();
                }
            } else if let Some(key) = member.key_index.and_then(|column| fields.nth(column as usize)) {
                let key = value(&content[key]);
                if let Some((count, _)) = orphans.get_mut(&*key) {
                    *count += 1;
                } else if orphans.len() < MAX_ORPHAN_KEYS {
                    orphans.insert(key.into_owned(), (1, record.first_line));
                }
            }
            Ok(())
        })?;
        unfilled = never_filled.iter().filter(|&&never| never).count();
    }
    let mut orphan_keys: Vec<OrphanKey> = orphans
        .into_iter()
        .map(|(key, (records, first_line))| OrphanKey { key: shown(&key), records, first_line })
        .collect();
    orphan_keys.sort_by_key(|orphan| (std::cmp::Reverse(orphan.records), orphan.first_line));
    orphan_keys.truncate(ORPHAN_KEYS);
    let any = table.records() as u64 > table.rejected();
    let columns_never_filled =
        (0..never_filled.len()).filter(|&column| any && never_filled[column]).collect();
    Ok(Profile { columns_never_filled, orphan_keys })
}
