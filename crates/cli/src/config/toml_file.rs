//! A TOML file read key by key, so that every problem in it is told with its place: `file:line:column`, both one-based,
//! columns in characters. serde stops at the first one.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::setting::{Files, Given, Layer, Origin, Place, SETTINGS, Setting};
use crate::failure::Problem;

/// The text of a file, and what is wrong with it.
#[derive(Debug)]
pub(crate) struct TomlFile<'t> {
    path: PathBuf,
    text: &'t str,
    /// Whether nothing of the text may be quoted.
    secret: bool,
    problems: Vec<(usize, Problem)>,
}

/// A table of the file, from which what is known is taken; the rest is unknown.
#[derive(Debug)]
pub(crate) struct Section<'t> {
    /// As in `target` or `import.child`; empty at the top.
    name: String,
    /// Whether it is one of several, written with two brackets.
    is_element: bool,
    /// Where it begins.
    pub(crate) at: usize,
    entries: Vec<(Spanned<String>, Spanned<DeValue<'t>>)>,
    known: Vec<&'static str>,
}

/// A text with its place.
#[derive(Debug, Clone)]
pub(crate) struct Text {
    pub(crate) text: String,
    pub(crate) at: usize,
}

impl<'t> TomlFile<'t> {
    /// Parses the text; `secret` keeps it out of all messages.
    pub(crate) fn parse(
        path: &Path,
        text: &'t str,
        secret: bool,
    ) -> Result<(TomlFile<'t>, Section<'t>), Vec<Problem>> {
        let mut file = TomlFile { path: path.to_owned(), text, secret, problems: Vec::new() };
        match DeTable::parse(text) {
            Ok(table) => {
                let section = Section::new(String::new(), false, 0, table.into_inner());
                Ok((file, section))
            }
            Err(error) => {
                let at = error.span().map_or(0, |span| span.start);
                let what = if secret { "is not valid TOML" } else { error.message() };
                file.problem(at, what.replace('\n', ", "));
                Err(file.finish())
            }
        }
    }

    /// The place of a byte.
    pub(crate) fn place(&self, at: usize) -> Place {
        let before = self.text.get(..at).unwrap_or(self.text);
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        Place { path: self.path.clone(), line, column }
    }

    /// Notes a problem at a byte.
    pub(crate) fn problem(&mut self, at: usize, what: impl fmt::Display) {
        let problem = Problem::message(format!("{}: {what}", self.place(at)));
        self.problems.push((at, problem));
    }

    /// Notes a problem at a byte, and what to do about it.
    pub(crate) fn problem_with_hint(&mut self, at: usize, what: impl fmt::Display, hint: impl Into<String>) {
        let problem = Problem::message(format!("{}: {what}", self.place(at))).hint(hint);
        self.problems.push((at, problem));
    }

    /// The problems, in the order of the file.
    pub(crate) fn finish(mut self) -> Vec<Problem> {
        self.problems.sort_by_key(|&(at, _)| at);
        self.problems.into_iter().map(|(_, problem)| problem).collect()
    }

    /// Takes all settings that stand in the file. With `Files::Both` it is a job file, to which some are forbidden.
    pub(crate) fn settings(&mut self, top: &mut Section<'t>, files: Files) -> Layer {
        let mut layer = Layer::new();
        let mut tables: Vec<&'static str> = SETTINGS
            .iter()
            .filter(|setting| setting.files != Files::Neither)
            .map(|setting| setting.table)
            .collect();
        tables.sort_unstable();
        tables.dedup();
        for table in tables {
            let rows = SETTINGS.iter().filter(|row| row.table == table && row.files != Files::Neither);
            if table.is_empty() {
                rows.for_each(|row| self.setting(top, row, files, &mut layer));
            } else if rows.clone().all(|row| !is_allowed(row, files)) {
                if let Some(found) = top.take_forbidden(table) {
                    self.forbidden(found.span(), &format!("[{table}]"), "in the user file");
                }
            } else if let Some(mut section) = top.table(self, table) {
                rows.for_each(|row| self.setting(&mut section, row, files, &mut layer));
                section.finish(self);
            }
        }
        layer
    }

    fn setting(&mut self, section: &mut Section<'t>, row: &Setting, files: Files, layer: &mut Layer) {
        if is_allowed(row, files) {
            if let Some(given) = section.scalar(self, row.entry) {
                layer.insert(row.key, given);
            }
        } else if let Some(found) = section.take_forbidden(row.entry) {
            let ways = format!("with {}, as {}, or in the user file", row.flag(), row.variable());
            self.forbidden(found.span(), &format!("`{}`", section.path_of(row.entry)), &ways);
        }
    }

    fn forbidden(&mut self, span: Range<usize>, what: &str, ways: &str) {
        let what = format!("{what} may not stand in a job file: job files come from others");
        self.problem_with_hint(span.start, what, format!("give it {ways}"));
    }
}

fn is_allowed(row: &Setting, files: Files) -> bool {
    row.files == Files::Both || row.files == files
}

impl<'t> Section<'t> {
    fn new(name: String, is_element: bool, at: usize, table: DeTable<'t>) -> Section<'t> {
        let entries = table
            .into_iter()
            .map(|(key, value)| (Spanned::new(key.span(), key.into_inner().into_owned()), value))
            .collect();
        Section { name, is_element, at, entries, known: Vec::new() }
    }

    /// `table.key`, as it is called in messages.
    pub(crate) fn path_of(&self, key: &str) -> String {
        if self.name.is_empty() { key.to_owned() } else { format!("{}.{key}", self.name) }
    }

    /// A text, in quotes.
    pub(crate) fn text(&mut self, file: &mut TomlFile<'t>, key: &'static str) -> Option<Text> {
        let value = self.take(key)?;
        let at = value.span().start;
        if let DeValue::String(text) = value.get_ref() {
            return Some(Text { text: text.clone().into_owned(), at });
        }
        file.problem(at, format!("`{}` must be a text in quotes", self.path_of(key)));
        None
    }

    /// A text that must be there and hold something.
    pub(crate) fn required_text(
        &mut self,
        file: &mut TomlFile<'t>,
        key: &'static str,
        hint: &str,
    ) -> Option<Text> {
        if !self.has(key) {
            self.known.push(key);
            file.problem_with_hint(self.at, format!("[[{}]] has no `{key}`", self.name), hint);
            return None;
        }
        let text = self.text(file, key)?;
        self.non_empty(file, key, text)
    }

    /// A text that, where it is there, holds something.
    pub(crate) fn optional_text(&mut self, file: &mut TomlFile<'t>, key: &'static str) -> Option<Text> {
        let text = self.text(file, key)?;
        self.non_empty(file, key, text)
    }

    fn non_empty(&self, file: &mut TomlFile<'t>, key: &str, text: Text) -> Option<Text> {
        if text.text.is_empty() {
            file.problem(text.at, format!("`{}` is empty", self.path_of(key)));
            return None;
        }
        Some(text)
    }

    /// A value of any simple kind, as text.
    fn scalar(&mut self, file: &mut TomlFile<'t>, key: &'static str) -> Option<Given> {
        let value = self.take(key)?;
        let at = value.span().start;
        let text = match value.get_ref() {
            DeValue::String(text) => text.clone().into_owned(),
            DeValue::Integer(integer) => match i128::from_str_radix(integer.as_str(), integer.radix()) {
                Ok(number) => number.to_string(),
                // Too large for any bound there is; the bound's own message says so.
                Err(_) => integer.to_string(),
            },
            DeValue::Float(float) => float.to_string(),
            DeValue::Boolean(boolean) => boolean.to_string(),
            DeValue::Datetime(_) | DeValue::Array(_) | DeValue::Table(_) => {
                file.problem(at, format!("`{}` must be a text, a number or a boolean", self.path_of(key)));
                return None;
            }
        };
        let origin = Origin::File { place: file.place(at), key: self.path_of(key) };
        Some(Given { text, origin })
    }

    /// A table of this name, if there is one.
    pub(crate) fn table(&mut self, file: &mut TomlFile<'t>, key: &'static str) -> Option<Section<'t>> {
        let value = self.take(key)?;
        let at = value.span().start;
        if let DeValue::Table(table) = value.into_inner() {
            Some(Section::new(self.path_of(key), false, at, table))
        } else {
            file.problem(at, format!("`{}` must be a table, written `[{0}]`", self.path_of(key)));
            None
        }
    }

    /// All tables of an array of tables.
    pub(crate) fn tables(&mut self, file: &mut TomlFile<'t>, key: &'static str) -> Vec<Section<'t>> {
        let Some(value) = self.take(key) else { return Vec::new() };
        let name = self.path_of(key);
        let mut sections = Vec::new();
        let wrong = |file: &mut TomlFile<'t>, at| {
            file.problem(at, format!("`{name}` must be a list of tables, each written `[[{name}]]`"));
        };
        let at = value.span().start;
        match value.into_inner() {
            DeValue::Array(array) => {
                for element in array {
                    let at = element.span().start;
                    match element.into_inner() {
                        DeValue::Table(table) => sections.push(Section::new(name.clone(), true, at, table)),
                        _ => wrong(file, at),
                    }
                }
            }
            _ => wrong(file, at),
        }
        sections
    }

    /// Whether the key is there and not yet taken.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.entries.iter().any(|(name, _)| name.get_ref() == key)
    }

    /// All that was not taken is unknown.
    pub(crate) fn finish(self, file: &mut TomlFile<'t>) {
        let place = match (self.name.as_str(), self.is_element) {
            ("", _) => String::new(),
            (name, false) => format!(" in [{name}]"),
            (name, true) => format!(" in [[{name}]]"),
        };
        let mut known = self.known.clone();
        known.sort_unstable();
        known.dedup();
        let all = known.iter().map(|key| format!("`{key}`")).collect::<Vec<_>>().join(", ");
        for (key, _) in &self.entries {
            let at = key.span().start;
            let hint = match nearest(key.get_ref(), known.iter().copied()) {
                Some(near) if !file.secret => format!("did you mean `{near}`?"),
                _ => format!("known here: {all}"),
            };
            if file.secret {
                file.problem_with_hint(at, format!("unknown key{place}"), hint);
            } else {
                file.problem_with_hint(at, format!("unknown key `{}`{place}", key.get_ref()), hint);
            }
        }
    }

    fn take(&mut self, key: &'static str) -> Option<Spanned<DeValue<'t>>> {
        self.known.push(key);
        self.take_forbidden(key)
    }

    /// Takes a key without making it a known one.
    fn take_forbidden(&mut self, key: &str) -> Option<Spanned<DeValue<'t>>> {
        let place = self.entries.iter().position(|(name, _)| name.get_ref() == key)?;
        Some(self.entries.swap_remove(place).1)
    }
}

/// The candidate that is closest to a word, if it is close: at most a third of its letters differ, or one.
pub(crate) fn nearest<'c>(word: &str, candidates: impl Iterator<Item = &'c str>) -> Option<&'c str> {
    let allowed = (word.chars().count() / 3).max(1);
    candidates
        .map(|candidate| {
            (strsim::damerau_levenshtein(&word.to_lowercase(), &candidate.to_lowercase()), candidate)
        })
        .filter(|&(distance, _)| distance <= allowed)
        .min()
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_count_lines_and_characters_from_one() {
        let text = "a = 1\r\nä = \"\u{1f600}\", b\n";
        let file = TomlFile { path: "x.toml".into(), text, secret: false, problems: Vec::new() };
        assert_eq!(file.place(0).to_string(), "x.toml:1:1");
        assert_eq!(file.place(text.find("\", b").unwrap()).to_string(), "x.toml:2:7");
        assert_eq!(file.place(text.len()).to_string(), "x.toml:3:1");
        assert_eq!(file.place(usize::MAX).to_string(), "x.toml:3:1");
    }

    #[test]
    fn the_nearest_key_is_near() {
        let near = |word| nearest(word, ["parent_key", "csv", "kind"].into_iter());
        assert_eq!(near("parentkey"), Some("parent_key"));
        assert_eq!(near("cvs"), Some("csv"));
        assert_eq!(near("CSV"), Some("csv"));
        assert_eq!(near("zzz"), None);
    }
}
