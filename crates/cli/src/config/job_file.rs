//! The job file: which CSVs are which modules. It is data that strangers send: nothing in it can name a URL, a secret
//! or a command, and its names cannot leave their directory.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{ErrorKind, Read as _};
use std::path::{Path, PathBuf};

use prep::{Child, ChildKind, Import, Input};

use super::parse;
use super::setting::{Files, Layer, Place};
use super::toml_file::{Section, Text, TomlFile};
use crate::failure::Problem;

/// The path that means standard input.
pub(super) const STANDARD_INPUT: &str = "-";

/// The largest job file that is read.
const MAX_BYTES: u64 = 1 << 20;

const KINDS: [(&str, ChildKind); 4] = [
    ("subform", ChildKind::Subform),
    ("line-items", ChildKind::LineItems),
    ("linking", ChildKind::Linking),
    ("multi-user", ChildKind::MultiUser),
];

/// What a job file says, its paths resolved.
#[derive(Debug)]
pub(crate) struct JobFile {
    /// Its own `name`, if it has one.
    pub(crate) name: Option<String>,
    pub(crate) imports: Vec<Import>,
    /// Every path with the place that names it.
    pub(crate) paths: Vec<(Place, PathBuf)>,
    pub(crate) settings: Layer,
}

impl JobFile {
    /// Reads and checks the file.
    ///
    /// # Errors
    /// All problems in it.
    pub(crate) fn read(path: &Path) -> Result<JobFile, Vec<Problem>> {
        let text = read_text(path, MAX_BYTES)
            .map_err(|problem| vec![problem.hint("name a job file, as in `zbulk check jobs/crm.toml`")])?;
        JobFile::parse(path, &text)
    }

    /// Checks the text of a file. Relative paths are relative to the file's directory.
    ///
    /// # Errors
    /// All problems in it.
    pub(crate) fn parse(path: &Path, text: &str) -> Result<JobFile, Vec<Problem>> {
        let (mut file, mut top) = TomlFile::parse(path, text, false)?;
        let name = top.optional_text(&mut file, "name");
        let name = checked(&mut file, name, "name", parse::job_name);
        let settings = file.settings(&mut top, Files::Both);
        let dir = path.parent().unwrap_or(Path::new(""));
        let mut paths = Vec::new();
        let mut imports = Vec::new();
        let no_import = !top.has("import");
        for section in top.tables(&mut file, "import") {
            imports.extend(import(&mut file, section, dir, &mut paths));
        }
        top.finish(&mut file);
        if no_import {
            file.problem_with_hint(
                0,
                "there is no [[import]]",
                "add one:\n[[import]]\nmodule = \"Contacts\"\ncsv = \"contacts.csv\"",
            );
        }
        let problems = file.finish();
        if problems.is_empty() { Ok(JobFile { name, imports, paths, settings }) } else { Err(problems) }
    }
}

/// One `[[import]]` with its children; `None` if something is wrong with it.
fn import<'t>(
    file: &mut TomlFile<'t>,
    mut section: Section<'t>,
    dir: &Path,
    paths: &mut Vec<(Place, PathBuf)>,
) -> Option<Import> {
    let at = section.at;
    let mut modules = BTreeMap::new();
    let key = section.optional_text(file, "key");
    let sections = section.tables(file, "child");
    if let (None, false) = (&key, sections.is_empty()) {
        file.problem_with_hint(
            at,
            "[[import]] has children and no `key`",
            "name the column of the parent's CSV that the children refer to: key = \"Legacy_ID\"",
        );
    }
    let parent = input(file, &mut section, key, dir, paths, &mut modules);
    section.finish(file);
    let children: Vec<Option<Child>> = sections
        .into_iter()
        .map(|mut section| {
            let kind = section.required_text(file, "kind", "one of subform, line-items, linking, multi-user");
            let kind = checked(file, kind, "import.child.kind", |text| parse::choice(text, &KINDS));
            let key = section.required_text(
                file,
                "parent_key",
                "name the column of this CSV that holds the parent's key: parent_key = \"Contact_Legacy_ID\"",
            );
            let has_key = key.is_some();
            let input = input(file, &mut section, key, dir, paths, &mut modules);
            section.finish(file);
            Some(Child { kind: kind?, input: input.filter(|_| has_key)? })
        })
        .collect();
    Some(Import { parent: parent?, children: children.into_iter().collect::<Option<_>>()? })
}

/// What parents and children have in common.
fn input<'t>(
    file: &mut TomlFile<'t>,
    section: &mut Section<'t>,
    key: Option<Text>,
    dir: &Path,
    paths: &mut Vec<(Place, PathBuf)>,
    modules: &mut BTreeMap<String, String>,
) -> Option<Input> {
    let module = section.required_text(file, "module", "the module's API name, as in module = \"Contacts\"");
    let csv = section.required_text(file, "csv", "the path of the CSV, as in csv = \"contacts.csv\"");
    let delimiter = section.optional_text(file, "delimiter");
    let delimiter = checked(file, delimiter, "delimiter", parse::delimiter);
    let encoding = section.optional_text(file, "encoding");
    if let Some(module) = &module
        && let Some(other) = modules.insert(module.text.to_ascii_lowercase(), module.text.clone())
    {
        file.problem_with_hint(
            module.at,
            format!("module `{}` stands twice in one import, as `{other}` before", module.text),
            "modules name the CSVs in an archive: put the second one into an [[import]] of its own",
        );
    }
    let module = checked(file, module, "module", parse::module);
    let path = csv.map(|csv| {
        // Standard input is nowhere beside the job file.
        let path = if csv.text == STANDARD_INPUT { PathBuf::from(csv.text) } else { dir.join(csv.text) };
        paths.push((file.place(csv.at), path.clone()));
        path
    });
    Some(Input {
        module: module?,
        path: path?,
        key: key.map(|key| key.text),
        delimiter,
        encoding: encoding.map(|encoding| encoding.text),
    })
}

/// A text through its parser; a problem is told with its place.
fn checked<T>(
    file: &mut TomlFile<'_>,
    text: Option<Text>,
    key: &str,
    parse: impl FnOnce(&str) -> parse::Parsed<T>,
) -> Option<T> {
    let text = text?;
    match parse(&text.text) {
        Ok(value) => Some(value),
        Err(wrong) => {
            file.problem(text.at, format!("`{key} = {:?}` {wrong}", text.text));
            None
        }
    }
}

/// The text of a small file.
pub(super) fn read_text(path: &Path, max_bytes: u64) -> Result<String, Problem> {
    let shown = path.display();
    let fault = |what: &str| Problem::message(format!("{shown}: {what}"));
    let failed = |error: std::io::Error| match error.kind() {
        ErrorKind::NotFound => fault("no such file"),
        _ => Problem::new(anyhow::Error::new(error).context(format!("cannot read {shown}"))),
    };
    // Before it is opened: opening a pipe would wait for its writer.
    if !std::fs::metadata(path).map_err(failed)?.is_file() {
        return Err(fault("not a regular file"));
    }
    let mut bytes = Vec::new();
    File::open(path).and_then(|file| file.take(max_bytes + 1).read_to_end(&mut bytes)).map_err(failed)?;
    if bytes.len() as u64 > max_bytes {
        return Err(fault(&format!("larger than {}: not such a file", crate::output::bytes(max_bytes))));
    }
    String::from_utf8(bytes).map_err(|_| fault("not UTF-8"))
}

#[cfg(test)]
mod tests;
