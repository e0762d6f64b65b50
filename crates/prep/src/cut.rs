//! A chunk whose archive is over the limit becomes two: the drafts of its entries are divided between them.

use crate::column::Column;
use crate::entry::Draft;
use crate::error::Error;
use crate::import::ImportState;
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
        let owners = member.checked_sub(1).map(|child| &import.children[child].owners);
        let halves = divide_draft(&import.members[*member], scanned, draft, owners, parts)?;
        for (part, half) in divided.iter_mut().zip(halves) {
            if half.span.records > 0 {
                part.push((*member, half));
            }
        }
    }
    Ok(divided)
}

/// `owners` are those of a child's records; a parent is its own.
fn divide_draft(
    member: &Member,
    scanned: &Scanned,
    draft: &Draft,
    owners: Option<&Column<u32>>,
    parts: &[Chunk; 2],
) -> Result<[Draft; 2], Error> {
    let (header, mut rest) = draft.csv.split_at(member.header_bytes as usize);
    let mut halves = [Draft::new(header, 0), Draft::new(header, 0)];
    let mut rows = scanned.table.rows();
    let mut owners = owners.map(Column::reader);
    let (lowest, highest) = draft.span.record_numbers.unwrap_or((1, 0));
    for record in lowest as usize - 1..highest as usize {
        let owner = match &mut owners {
            None => record as u32,
            Some(owners) => owners.get(record)?,
        };
        let part = parts.iter().position(|part| part.parents.contains(&owner));
        if let (Some(part), len_out @ 1..) = (part, rows.get(record)?.bytes()) {
            let (written, after) = rest.split_at(len_out as usize);
            rest = after;
            halves[part].csv.extend_from_slice(written);
            halves[part].span.add(record, (0, 0), written.len());
        }
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
