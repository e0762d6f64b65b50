//! Jobs over files in a temporary directory, and archives read back by the `zip` and `csv` crates.

use std::collections::BTreeMap;
use std::io::{Cursor, Read as _};
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Mutex;

use prep::{Archive, Child, ChildKind, Import, Input, Job, Packed, Prepared, Settings};

/// An input named after its module, `<module>.csv`, in `dir`.
pub(crate) fn input(dir: &Path, module: &str, key: Option<&str>) -> Input {
    Input {
        module: module.to_owned(),
        path: dir.join(format!("{module}.csv")),
        key: key.map(str::to_owned),
        delimiter: None,
        encoding: None,
    }
}

/// A job of one parent `P` with key `id` and children with parent key `of`.
pub(crate) fn job(dir: &Path, children: &[&str], settings: Settings) -> Job {
    let key = (!children.is_empty()).then_some("id");
    let children = children
        .iter()
        .map(|module| Child { kind: ChildKind::Subform, input: input(dir, module, Some("of")) })
        .collect();
    Job { imports: vec![Import { parent: input(dir, "P", key), children }], settings }
}

/// Everything that packing hands over: the archives by name, and the names that were cut.
pub(crate) struct Output {
    pub(crate) archives: BTreeMap<String, Archive>,
    pub(crate) cuts: Vec<String>,
}

/// Packs the whole plan.
pub(crate) fn pack_all(prepared: &Prepared) -> Output {
    let output = Mutex::new(Output { archives: BTreeMap::new(), cuts: Vec::new() });
    let sink = |packed| {
        let mut output = output.lock().unwrap();
        match packed {
            Packed::Archive(archive) => {
                assert!(output.archives.insert(archive.name.clone(), archive).is_none(), "each archive once");
            }
            Packed::Cut { chunk, parts } => {
                for part in parts.iter() {
                    assert!(!output.archives.contains_key(&part.name), "the cut comes first");
                }
                output.cuts.push(chunk.name);
            }
        }
        ControlFlow::Continue(())
    };
    prep::pack(prepared, prepared.plan().chunks(), &sink, &()).unwrap();
    output.into_inner().unwrap()
}

/// The entries of an archive, in order: name, CSV.
pub(crate) fn entries(archive: &[u8]) -> Vec<(String, Vec<u8>)> {
    let mut zip = zip::ZipArchive::new(Cursor::new(archive)).unwrap();
    (0..zip.len())
        .map(|i| {
            let mut file = zip.by_index(i).unwrap();
            let mut csv = Vec::new();
            file.read_to_end(&mut csv).unwrap();
            (file.name().unwrap().into_owned(), csv)
        })
        .collect()
}

/// Header and records of a CSV, by the csv crate.
pub(crate) fn rows(csv: &[u8]) -> Vec<Vec<String>> {
    let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(csv);
    reader.records().map(|record| record.unwrap().iter().map(str::to_owned).collect()).collect()
}
