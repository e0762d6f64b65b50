//! Steps 1 to 3 in one go: every input opened, scanned, related and planned, all problems of all inputs found.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;

use rayon::ThreadPool;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::Xxh3Default;

use crate::column::Budget;
use crate::entry::key_of;
use crate::error::{Error, ErrorKind, Position};
use crate::import::{ImportState, Memory};
use crate::job::{ChildKind, Import, Input, Job, RejectPolicy, Role, Settings};
use crate::plan::{Chunk, ChunkPlan, Member};
use crate::profile::{Profile, profile};
use crate::reader::{Scanned, content};
use crate::record::Fields;
use crate::reject::{Fault, Reject, RejectCode};
use crate::reporter::Reporter;
use crate::sizes::MANY_CHILDREN;
use crate::source::Source;
use crate::table::line_at;

/// What an input was when it was scanned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fingerprint {
    /// Length of the file.
    pub bytes: u64,
    /// XXH3-128 of the XXH3-128 digests (16 bytes each, big-endian) of every 4 MiB block, 32 hexadecimal digits.
    pub xxh3_128: String,
}

impl Fingerprint {
    /// From the digests of a file's blocks.
    pub(crate) fn of(source: &Source, block_digests: &[u128]) -> Fingerprint {
        let mut digests = Xxh3Default::new();
        for digest in block_digests {
            digests.update(&digest.to_be_bytes());
        }
        Fingerprint { bytes: source.len(), xxh3_128: format!("{:032x}", digests.digest128()) }
    }
}

/// What the scan found in one input.
#[derive(Debug, Clone)]
pub struct InputReport {
    /// Index of its import in the job.
    pub import: usize,
    /// Parent or child.
    pub role: Role,
    /// The child's kind; `None` for a parent.
    pub kind: Option<ChildKind>,
    /// Module API name.
    pub module: String,
    /// The file, as given.
    pub path: PathBuf,
    /// What it was.
    pub fingerprint: Fingerprint,
    /// The delimiter found or told.
    pub delimiter: u8,
    /// Whether the file began with a byte order mark.
    pub bom: bool,
    /// The encoding's name.
    pub encoding: String,
    /// The header's names.
    pub header: Vec<String>,
    /// Zero-based index of the key column (parent) or parent-key column (child).
    pub key_index: Option<u32>,
    /// Data records in the file; up to the fault, where there is one.
    pub records: u64,
    /// Those that can be sent; `records = packed + rejected`.
    pub packed: u64,
    /// Those that are rejects.
    pub rejected: u64,
    /// Blank lines, which are skipped and are not records.
    pub blank_lines: u64,
    /// Bytes of the longest record as written, its LF included.
    pub widest_record_bytes: u64,
    /// Keys that several records bear; `None` where nothing refers to the keys.
    pub duplicate_keys: Option<u64>,
    /// Most children of this module that one parent has (children only).
    pub max_children: u64,
    /// How many parents have more than 200 children of this module (children only).
    pub parents_above_200: u64,
}

/// Something that does not stop the run but that the user should know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    /// Index of the input.
    pub input: usize,
    /// One sentence, lower case, without a period.
    pub message: String,
}

/// The result of [`prepare`]: what was found, and the plan.
#[derive(Debug)]
pub struct Prepared {
    pub(crate) settings: Settings,
    pub(crate) imports: Vec<ImportState>,
    pub(crate) pool: ThreadPool,
    plan: ChunkPlan,
    inputs: Vec<InputReport>,
    faults: Vec<Fault>,
    warnings: Vec<Warning>,
}

impl Prepared {
    /// One report an input: each import's parent, then its children, in the job's order.
    pub fn inputs(&self) -> &[InputReport] {
        &self.inputs
    }

    /// Faults after which records cannot be trusted; at most one an input.
    pub fn faults(&self) -> &[Fault] {
        &self.faults
    }

    /// How many rejects there are of each kind in each input, only non-zero counts, ordered by input and code.
    pub fn reject_counts(&self) -> Vec<(usize, RejectCode, u64)> {
        let mut counts = BTreeMap::new();
        for (input, (_, scanned)) in self.scanned().enumerate() {
            counts.extend(scanned.table.reject_counts().map(|(code, count)| ((input, code), count)));
        }
        counts.into_iter().map(|((input, code), count)| (input, code, count)).collect()
    }

    /// The first `limit` rejects of one kind in one input, in file order.
    ///
    /// # Errors
    /// Those of reading: the records are read again.
    pub fn first_rejects(&self, input: usize, code: RejectCode, limit: usize) -> Result<Vec<Reject>, Error> {
        let (member, scanned) = self.input(input);
        let mut rows = scanned.table.rows();
        let mut first = Vec::new();
        for record in 0..scanned.table.records() {
            if first.len() == limit {
                break;
            }
            if rows.get(record)?.len_out == Err(code) {
                let (position, raw) = scanned.table.read(&scanned.source, &scanned.summary, record)?;
                first.push(self.reject(member, scanned, position, &raw, code));
            }
        }
        Ok(first)
    }

    /// Calls `sink` with every reject of an input and the record's original bytes, in file order. One sequential pass
    /// over the input.
    ///
    /// # Errors
    /// Outside those of reading, inside the sink's.
    pub fn for_each_reject(
        &self,
        input: usize,
        sink: &mut dyn FnMut(&Reject, &[u8]) -> io::Result<()>,
    ) -> Result<io::Result<()>, Error> {
        let (member, scanned) = self.input(input);
        let mut written = Ok(());
        scanned.walk(
            0..scanned.table.records(),
            |reject| reject.is_some(),
            &mut Vec::new(),
            &mut |record| {
                if let (Ok(()), Err(code)) = (&written, record.len_out) {
                    let position = Position {
                        byte: record.byte,
                        line: record.first_line,
                        record: record.index as u64 + 1,
                    };
                    written = sink(&self.reject(member, scanned, position, record.raw, code), record.raw);
                }
                Ok(())
            },
        )?;
        Ok(written)
    }

    /// Looks through an input's records for a report: columns never filled, orphans by key.
    ///
    /// Cost: reads on until every column was filled once; the whole input again where one never is, or where there
    /// are orphans.
    ///
    /// # Errors
    /// Those of reading.
    pub fn profile(&self, input: usize) -> Result<Profile, Error> {
        let (member, scanned) = self.input(input);
        profile(member, scanned)
    }

    /// The original bytes of an input's header line, its line end included, without a byte order mark.
    pub fn header_bytes(&self, input: usize) -> &[u8] {
        &self.input(input).1.source.header.raw
    }

    /// What does not stop the run but should be known.
    pub fn warnings(&self) -> &[Warning] {
        &self.warnings
    }

    /// Whether nothing may be sent: there are faults, or rejects under the policy `Stop`.
    pub fn must_stop(&self) -> bool {
        let rejected = self.inputs.iter().any(|input| input.rejected > 0);
        !self.faults.is_empty() || (rejected && self.settings.rejects == RejectPolicy::Stop)
    }

    /// Where every chunk begins and ends, rejects left out. Empty if there are faults; to be sent only unless
    /// [`must_stop`](Prepared::must_stop).
    pub fn plan(&self) -> &ChunkPlan {
        &self.plan
    }

    /// The two parts of a chunk, cut after the parent where half of its uncompressed bytes is first reached, at
    /// least one parent on each side; `None` if it has but one parent. The same on every run.
    ///
    /// # Errors
    /// `Spill` if what was spilled cannot be read back.
    pub fn cut(&self, chunk: &Chunk) -> Result<Option<[Chunk; 2]>, Error> {
        self.imports.get(chunk.import).map_or(Ok(None), |import| import.sizes().cut(chunk))
    }

    fn scanned(&self) -> impl Iterator<Item = (&Member, &Scanned)> {
        self.imports.iter().flat_map(|import| import.members.iter().zip(import.scanned()))
    }

    fn input(&self, input: usize) -> (&Member, &Scanned) {
        self.scanned().nth(input).expect("invariant: inputs are numbered as they are reported")
    }

    /// A reject, from the record's original bytes.
    fn reject(
        &self,
        member: &Member,
        scanned: &Scanned,
        position: Position,
        raw: &[u8],
        code: RejectCode,
    ) -> Reject {
        let delimiter = scanned.source.shape.delimiter;
        let key = member.key_index.and_then(|column| key_of(content(raw), delimiter, column));
        let message = self.message(member, scanned, raw, code);
        Reject { input: member.input, position, len_bytes: raw.len() as u64, key, code, message }
    }

    /// The particulars of a reject.
    fn message(&self, member: &Member, scanned: &Scanned, raw: &[u8], code: RejectCode) -> String {
        let limits = &self.settings.limits;
        match code {
            RejectCode::WrongFieldCount => {
                let fields = Fields::new(content(raw), scanned.source.shape.delimiter).count();
                format!("{fields} fields, the header has {}", member.columns)
            }
            RejectCode::InvalidUtf8 => {
                let valid = str::from_utf8(raw).map_or_else(|error| error.valid_up_to(), str::len);
                let byte = raw.get(valid).copied().unwrap_or_default();
                format!("byte 0x{byte:02X} at offset {valid} of the record is not valid UTF-8")
            }
            RejectCode::Nul => {
                let offset = memchr::memchr(0, raw).unwrap_or_default();
                format!("a NUL byte at offset {offset} of the record")
            }
            RejectCode::TextAfterQuote => "text between a closing quote and the next delimiter".to_owned(),
            RejectCode::RecordTooLarge => {
                let max = limits.max_csv_bytes.unwrap_or(u64::MAX);
                format!("{} bytes, more than an entry of {max} bytes can hold", raw.len())
            }
            RejectCode::Orphan => "no parent has this key".to_owned(),
            RejectCode::BlankParentKey => "the parent key is blank".to_owned(),
            RejectCode::DuplicateKey => {
                "another parent has the same key, and children refer to it".to_owned()
            }
            RejectCode::AmbiguousParent => "several parents have this key".to_owned(),
            RejectCode::TooManyChildren => {
                let max = limits.max_children_per_parent.unwrap_or(u32::MAX).min(limits.chunk_records);
                format!("more than {max} children of one module")
            }
            RejectCode::GroupTooLarge => "with its children larger than an entry may be".to_owned(),
            RejectCode::ArchiveTooLarge => {
                format!("with its children more than {} bytes, deflated", limits.max_archive_bytes)
            }
            RejectCode::ParentRejected => "its parent is rejected".to_owned(),
        }
    }
}

/// Opens, checks, scans, relates and plans all inputs of a job.
///
/// Cost: one pass over every input, on all threads of the settings. Some 32 bytes a parent, 28 a child and 8 a parent
/// and child module are kept, in memory as far as the settings' budget goes, else in temporary files.
///
/// # Errors
/// Every problem that keeps a file from being scanned at all (missing, unreadable, header faults), of all inputs;
/// else the first failure to read.
pub fn prepare(job: &Job, reporter: &dyn Reporter) -> Result<Prepared, Vec<Error>> {
    let opened = open_all(job)?;
    let settings = &job.settings;
    let pool = thread_pool(settings).map_err(|error| vec![error])?;
    // Of the memory a sixth is for what is kept of the records, a third for the index while inputs are related and
    // for routed children afterwards, a sixth for archives being built; the rest is the caller's, for archives that
    // wait to be sent.
    let memory = Memory {
        columns: Budget::new(settings.memory_bytes / 6, &settings.spill_dir),
        index_bytes: settings.memory_bytes / 3,
    };
    let mut imports = Vec::new();
    let mut inputs = 0;
    for (import, sources) in job.imports.iter().zip(opened) {
        let count = sources.len();
        let state = pool.install(|| ImportState::scan(import, sources, inputs, settings, &memory, reporter));
        imports.push(state.map_err(|error| vec![error])?);
        inputs += count;
    }
    let mut prepared = Prepared {
        settings: settings.clone(),
        imports,
        pool,
        plan: ChunkPlan::default(),
        inputs: Vec::new(),
        faults: Vec::new(),
        warnings: Vec::new(),
    };
    prepared.report().map_err(|error| vec![error])?;
    if prepared.faults.is_empty() {
        let sizes: Vec<_> = prepared.imports.iter().map(ImportState::sizes).collect();
        prepared.plan = ChunkPlan::new(&sizes, &settings.limits).map_err(|error| vec![error])?;
    }
    Ok(prepared)
}

/// The threads that the settings ask for.
pub(crate) fn thread_pool(settings: &Settings) -> Result<ThreadPool, Error> {
    rayon::ThreadPoolBuilder::new()
        .num_threads(settings.threads)
        .thread_name(|i| format!("prep-{i}"))
        .build()
        .map_err(|error| Error::new(ErrorKind::Threads(error), ""))
}

/// The inputs of an import, its parent first, with the kinds of the children.
pub(crate) fn inputs_of(import: &Import) -> impl Iterator<Item = (&Input, Option<ChildKind>)> {
    let children = import.children.iter().map(|child| (&child.input, Some(child.kind)));
    std::iter::once((&import.parent, None)).chain(children)
}

/// Opens every input, or says all that is wrong with any.
pub(crate) fn open_all(job: &Job) -> Result<Vec<Vec<Source>>, Vec<Error>> {
    let mut errors = Vec::new();
    let mut opened = Vec::new();
    for import in &job.imports {
        let needs_key = !import.children.is_empty();
        let mut sources = Vec::new();
        for (input, _) in inputs_of(import) {
            if needs_key && input.key.is_none() {
                errors.push(Error::new(ErrorKind::NoKey { module: input.module.clone() }, &input.path));
            }
            match Source::open(input, &job.settings.spill_dir) {
                Ok(source) => {
                    let bytes = source.header.normalized.len() as u64;
                    match job.settings.limits.max_csv_bytes {
                        Some(max) if bytes >= max => {
                            errors.push(Error::new(ErrorKind::HeaderTooLarge { bytes, max }, &input.path));
                        }
                        _ => sources.push(source),
                    }
                }
                Err(faults) => errors.extend(faults),
            }
        }
        opened.push(sources);
    }
    if errors.is_empty() { Ok(opened) } else { Err(errors) }
}

impl Prepared {
    /// Fills in reports, faults and warnings from the scans.
    fn report(&mut self) -> Result<(), Error> {
        let mut reports = Vec::new();
        let mut faults = Vec::new();
        let mut warnings = Vec::new();
        for (import_index, import) in self.imports.iter().enumerate() {
            for (place, (member, scanned)) in import.members.iter().zip(import.scanned()).enumerate() {
                let report = report_input(import_index, import, place, member, scanned);
                let mut warn = |message| warnings.push(Warning { input: member.input, message });
                if report.records == 0 && scanned.summary.fault.is_none() {
                    warn("the file holds a header and no record".to_owned());
                }
                if report.parents_above_200 > 0 {
                    warn(format!(
                        "{} parents have more than {MANY_CHILDREN} children in this file, at most {}; an old Zoho page caps subforms at {MANY_CHILDREN} rows",
                        report.parents_above_200, report.max_children
                    ));
                }
                if place == 0 {
                    warn_of_keys(import, &mut warn)?;
                }
                if let Some(raw) = scanned.summary.fault {
                    let (mut first, mut begin) = ([0; 1], raw.offset);
                    // The record begins after the blank lines before it.
                    while begin < scanned.source.len() {
                        scanned.source.read_exact_at(&mut first, begin)?;
                        if !matches!(first[0], b'\n' | b'\r') {
                            break;
                        }
                        begin += 1;
                    }
                    let line = line_at(&scanned.source, &scanned.summary, begin)?;
                    faults.push(Fault {
                        input: member.input,
                        position: Position { byte: begin, line, record: raw.records_before + 1 },
                        code: raw.code,
                        noticed_line: line_at(&scanned.source, &scanned.summary, raw.noticed)?,
                    });
                }
                reports.push(report);
            }
        }
        self.inputs = reports;
        self.faults = faults;
        self.warnings = warnings;
        Ok(())
    }
}

fn report_input(
    import_index: usize,
    import: &ImportState,
    place: usize,
    member: &Member,
    scanned: &Scanned,
) -> InputReport {
    let Scanned { source, table, summary } = scanned;
    let records = table.records() as u64;
    let rejected = table.rejected();
    let sizes = place.checked_sub(1).map(|child| &import.child_sizes[child]);
    InputReport {
        import: import_index,
        role: member.role,
        kind: member.kind,
        module: member.module.clone(),
        path: source.path().to_owned(),
        fingerprint: Fingerprint::of(source, &summary.block_digests),
        delimiter: source.shape.delimiter,
        bom: source.header.bom,
        encoding: source.encoding.to_owned(),
        header: source.header.names.clone(),
        key_index: member.key_index,
        records,
        packed: records - rejected,
        rejected,
        blank_lines: source.header.blank_lines + summary.blank_lines,
        widest_record_bytes: u64::from(table.widest),
        duplicate_keys: (place == 0 && !import.children.is_empty()).then_some(import.duplicates.keys),
        max_children: sizes.map_or(0, |sizes| sizes.max.into()),
        parents_above_200: sizes.map_or(0, |sizes| sizes.parents_above),
    }
}

/// Warns of parents' keys that are not as distinct as they should be.
fn warn_of_keys(import: &ImportState, warn: &mut dyn FnMut(String)) -> Result<(), Error> {
    let Scanned { source, table, summary } = &import.parent;
    let place = |record: u32| -> Result<(u64, String), Error> {
        let (position, raw) = table.read(source, summary, record as usize)?;
        let column = import.members[0].key_index.unwrap_or_default();
        let key = key_of(content(&raw), source.shape.delimiter, column).unwrap_or_default();
        Ok((position.line, key))
    };
    if let Some((count, [first, second])) = import.alike {
        let ((line, key), (other_line, other)) = (place(first)?, place(second)?);
        let keys = if count == 1 { "key equals" } else { "keys equal" };
        warn(format!(
            "{count} {keys} another but for case or spaces around them, such as {key:?} in line {line} and {other:?} in line {other_line}; Zoho may join their children"
        ));
    }
    if let Some((count, first)) = import.duplicates.unreferenced {
        let (line, key) = place(first)?;
        let (keys, them) = if count == 1 { ("key is", "it") } else { ("keys are", "them") };
        warn(format!(
            "{count} {keys} borne by several records, such as {key:?} in line {line}; no child refers to {them}"
        ));
    }
    Ok(())
}
