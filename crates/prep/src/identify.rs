//! What the inputs are, without what is in them: their fingerprints and dialects, as a scan would find them. For a run
//! that has nothing left to do this is all that needs to be known.

use std::path::PathBuf;

use rayon::prelude::*;
use xxhash_rust::xxh3::xxh3_128;

use crate::error::Error;
use crate::job::{ChildKind, Job};
use crate::prepare::{Fingerprint, inputs_of, open_all, thread_pool};
use crate::reporter::Reporter;
use crate::scan::BLOCK_BYTES;
use crate::source::Source;

/// What an input is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Module API name.
    pub module: String,
    /// The child's kind; `None` for a parent.
    pub kind: Option<ChildKind>,
    /// The file, as given.
    pub path: PathBuf,
    /// What it is now.
    pub fingerprint: Fingerprint,
    /// The delimiter found or told.
    pub delimiter: u8,
    /// The encoding's name.
    pub encoding: String,
}

/// Opens all inputs of a job and takes their fingerprints: one each, in the order of
/// [`Prepared::inputs`](crate::Prepared::inputs), and equal to those that [`prepare`](crate::prepare) finds.
///
/// Cost: every input is read once, on all threads of the settings; no record is looked at.
///
/// # Errors
/// Every problem that keeps a file from being scanned at all, of all inputs; else the first failure to read, or
/// `Changed` if a file changes its length meanwhile.
pub fn identify(job: &Job, reporter: &dyn Reporter) -> Result<Vec<Identity>, Vec<Error>> {
    let sources = open_all(job)?;
    let pool = thread_pool(&job.settings).map_err(|error| vec![error])?;
    let mut found = Vec::new();
    for ((input, kind), source) in job.imports.iter().flat_map(inputs_of).zip(sources.iter().flatten()) {
        let fingerprint = pool.install(|| fingerprint(source, reporter)).map_err(|error| vec![error])?;
        found.push(Identity {
            module: input.module.clone(),
            kind,
            path: source.path().to_owned(),
            fingerprint,
            delimiter: source.shape.delimiter,
            encoding: source.encoding.to_owned(),
        });
    }
    Ok(found)
}

fn fingerprint(source: &Source, reporter: &dyn Reporter) -> Result<Fingerprint, Error> {
    let blocks = source.len().div_ceil(BLOCK_BYTES as u64);
    let digests: Vec<u128> = (0..blocks)
        .into_par_iter()
        .map_init(Vec::new, |buf, block| {
            let offset = block * BLOCK_BYTES as u64;
            buf.resize((source.len() - offset).min(BLOCK_BYTES as u64) as usize, 0);
            source.read_exact_at(buf, offset)?;
            reporter.scanned(buf.len() as u64, 0);
            Ok(xxh3_128(buf))
        })
        .collect::<Result<_, Error>>()?;
    source.check_len()?;
    Ok(Fingerprint::of(source, &digests))
}

#[cfg(test)]
mod tests {
    use crate::job::{Child, Import, Input, Settings};
    use crate::prepare::prepare;

    use super::*;

    #[test]
    fn it_finds_what_a_scan_finds() {
        let dir = tempfile::tempdir().unwrap();
        let input = |module: &str, text: &[u8]| {
            let path = dir.path().join(module);
            std::fs::write(&path, text).unwrap();
            let key = Some("Id".to_owned());
            Input { module: module.to_owned(), path, key, delimiter: None, encoding: None }
        };
        let mut large = b"\xef\xbb\xbfId;Name\n".to_vec();
        for i in 0..600_000 {
            large.extend_from_slice(format!("{i};some text\n").as_bytes());
        }
        assert!(large.len() > 2 * BLOCK_BYTES);
        let child = Child { kind: ChildKind::Subform, input: input("Parts", b"Id,Name\n1,a\n2,b\n") };
        let empty = Import { parent: input("Empty", b"Id,Name\n"), children: Vec::new() };
        let imports = vec![Import { parent: input("Things", &large), children: vec![child] }, empty];
        let settings = Settings { spill_dir: dir.path().to_owned(), ..Settings::default() };
        let job = Job { imports, settings };
        let scanned: Vec<Identity> = prepare(&job, &())
            .unwrap()
            .inputs()
            .iter()
            .map(|input| Identity {
                module: input.module.clone(),
                kind: input.kind,
                path: input.path.clone(),
                fingerprint: input.fingerprint.clone(),
                delimiter: input.delimiter,
                encoding: input.encoding.clone(),
            })
            .collect();
        assert_eq!(identify(&job, &()).unwrap(), scanned);
        assert_eq!(scanned.len(), 3);
    }

    #[test]
    fn a_missing_file_is_told_as_by_a_scan() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("none.csv");
        let parent = Input { module: "A".to_owned(), path, key: None, delimiter: None, encoding: None };
        let imports = vec![Import { parent, children: Vec::new() }];
        let job =
            Job { imports, settings: Settings { spill_dir: dir.path().to_owned(), ..Settings::default() } };
        let (found, scanned) = (identify(&job, &()).unwrap_err(), prepare(&job, &()).unwrap_err());
        assert_eq!(format!("{found:?}"), format!("{scanned:?}"));
    }
}
