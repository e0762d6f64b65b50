//! A chunk whose archive is over the limit becomes two: the drafts of its entries are divided between them.

use crate::entry::Draft;
use crate::error::Error;
use crate::import::{ChildState, ImportState};
use crate::plan::{Chunk, Member};
use crate::reader::{Scanned, content};
use crate::scan::line_ends;

/// The drafts of a chunk, by member.
pub(crate) type Drafts = Vec<(usize, Draft)>;

/// Divides a chunk's drafts between its two parts.
///
/// # Errors
/// Those of reading: the lines at which the parts begin and end are looked up.
pub(crate) fn divide(
    import: &ImportState,
    drafts: &Drafts,
    parts: &[Chunk; 2],
) -> Result<[Drafts; 2], Error> {
    let mut divided = [Drafts::new(), Drafts::new()];
    for (member, draft) in drafts {
        let scanned = import.scanned().nth(*member).expect("invariant: a draft is of a member of its import");
        // The part of every record of the draft, in order.
        let halves = match member.checked_sub(1) {
            None => divide_draft(&import.members[*member], scanned, draft, parent_records(import, parts)),
            Some(child) => {
                let records = child_records(&import.children[child], parts);
                divide_draft(&import.members[*member], scanned, draft, records)
            }
        }?;
        for (part, half) in divided.iter_mut().zip(halves) {
            if half.span.records > 0 {
                part.push((*member, half));
            }
        }
    }
    Ok(divided)
}

fn parent_records(import: &ImportState, parts: &[Chunk; 2]) -> impl Iterator<Item = (usize, usize)> {
    let table = &import.parent.table;
    let [first, second] =
        [0, 1].map(|part| parts[part].parents.clone().map(move |record| (record as usize, part)));
    first.chain(second).filter(|&(record, _)| table.len_out(record) > 0)
}

fn child_records(child: &ChildState, parts: &[Chunk; 2]) -> impl Iterator<Item = (usize, usize)> {
    let ranges = [parts[0].parents.clone(), parts[1].parents.clone()];
    let part_of = move |owner| ranges.iter().position(|parents| parents.contains(&owner));
    let table = &child.scanned.table;
    child
        .owners
        .iter()
        .enumerate()
        .filter_map(move |(record, &owner)| part_of(owner).map(|part| (record, part)))
        .filter(|&(record, _)| table.len_out(record) > 0)
}

fn divide_draft(
    member: &Member,
    scanned: &Scanned,
    draft: &Draft,
    records: impl Iterator<Item = (usize, usize)>,
) -> Result<[Draft; 2], Error> {
    let (header, mut rest) = draft.csv.split_at(member.header_bytes as usize);
    let mut halves = [Draft::new(header, 0), Draft::new(header, 0)];
    for (record, part) in records {
        let (written, after) = rest.split_at(scanned.table.len_out(record) as usize);
        rest = after;
        halves[part].csv.extend_from_slice(written);
        halves[part].span.add(record, (0, 0), written.len());
    }
    for half in &mut halves {
        if let Some((first, last)) = half.span.record_numbers {
            half.span.first_line = lines(scanned, first)?.0;
            half.span.last_line = lines(scanned, last)?.1;
        }
    }
    Ok(halves)
}

/// First and last line of a record, by its one-based number.
fn lines(scanned: &Scanned, number: u64) -> Result<(u64, u64), Error> {
    let (position, raw) = scanned.table.read(&scanned.source, &scanned.summary, number as usize - 1)?;
    Ok((position.line, position.line + line_ends(content(&raw))))
}
