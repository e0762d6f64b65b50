//! Long columns of small numbers, one a record, that live in memory as far as a common budget goes and in unlinked
//! temporary files beyond it. Where a value lives makes no difference to what is read.
//!
//! A column is appended to, read from front to back, and now and then changed in place. It is held in pages; a page
//! that the budget has no room for is written to the column's file at the page's own place.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytemuck::Pod;

use crate::error::{Error, ErrorKind};

/// Values of a page, as a power of two: large enough that a page is worth a system call, and, for a small budget, small enough that a
/// few of them fit.
const PAGE_SHIFT: std::ops::RangeInclusive<u32> = 4..=13;

/// The memory that all columns of a run may take together.
#[derive(Debug)]
pub(crate) struct Budget {
    left: AtomicU64,
    /// A page has `1 << page_shift` values.
    page_shift: u32,
    spill_dir: PathBuf,
}

impl Budget {
    /// A budget of so many bytes; what is beyond it goes to files in `spill_dir`.
    pub(crate) fn new(bytes: u64, spill_dir: &Path) -> Arc<Budget> {
        // A run has about a dozen columns of up to 16 bytes a value, each with one page that is not yet full.
        let page_shift = (bytes / 4096).max(1).ilog2().clamp(*PAGE_SHIFT.start(), *PAGE_SHIFT.end());
        Arc::new(Budget { left: AtomicU64::new(bytes), page_shift, spill_dir: spill_dir.to_owned() })
    }

    fn page_values(&self) -> usize {
        1 << self.page_shift
    }

    /// The page of a value, and its place there.
    #[inline]
    fn place(&self, index: usize) -> (usize, usize) {
        (index >> self.page_shift, index & (self.page_values() - 1))
    }

    fn take(&self, bytes: u64) -> bool {
        self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(bytes)).is_ok()
    }

    fn give_back(&self, bytes: u64) {
        self.left.fetch_add(bytes, Ordering::Relaxed);
    }

    fn error(&self, error: io::Error) -> Error {
        Error::new(ErrorKind::Spill(error), &self.spill_dir)
    }
}

/// A column of numbers, by zero-based index.
#[derive(Debug)]
pub(crate) struct Column<T> {
    budget: Arc<Budget>,
    /// The full pages; those that are not here are in the file.
    pages: Vec<Option<Box<[T]>>>,
    /// What comes after the full pages.
    tail: Vec<T>,
    file: Option<File>,
    /// Why a page could not be written; nothing is appended from then on.
    failure: Option<io::Error>,
}

impl<T: Pod> Column<T> {
    /// An empty column.
    pub(crate) fn new(budget: &Arc<Budget>) -> Column<T> {
        Column { budget: Arc::clone(budget), pages: Vec::new(), tail: Vec::new(), file: None, failure: None }
    }

    /// Appends a value. A failure to make room for it is told by [`Column::finish`].
    #[inline]
    pub(crate) fn push(&mut self, value: T) {
        self.tail.push(value);
        if self.tail.len() == self.budget.page_values() {
            self.close_page();
        }
    }

    #[cold]
    fn close_page(&mut self) {
        if self.failure.is_some() {
            return self.tail.clear();
        }
        let written = if self.budget.take(self.page_bytes()) {
            let page = std::mem::replace(&mut self.tail, Vec::with_capacity(self.budget.page_values()));
            self.pages.push(Some(page.into_boxed_slice()));
            Ok(())
        } else {
            let written = self.open_file().and_then(|()| self.write_page(self.pages.len(), &self.tail));
            self.pages.push(None);
            self.tail.clear();
            written
        };
        self.failure = written.err();
    }

    /// To be called after the last value.
    ///
    /// # Errors
    /// `Spill` if values could not be written to the column's file.
    pub(crate) fn finish(&mut self) -> Result<(), Error> {
        self.tail.shrink_to_fit();
        self.failure.take().map_or(Ok(()), |error| Err(self.budget.error(error)))
    }

    /// How many values there are.
    pub(crate) fn len(&self) -> usize {
        self.pages.len() * self.budget.page_values() + self.tail.len()
    }

    /// How many pages [`Column::page`] has, the last one not full or empty. Columns of one budget have pages of one
    /// size.
    pub(crate) fn pages(&self) -> usize {
        self.pages.len() + 1
    }

    /// The page of a value.
    pub(crate) fn page_of(&self, index: usize) -> usize {
        self.budget.place(index).0
    }

    /// Index of the first value of a page.
    pub(crate) fn page_start(&self, page: usize) -> usize {
        page << self.budget.page_shift
    }

    /// The values of a page, in memory or read into `scratch`.
    ///
    /// # Errors
    /// `Spill` if they cannot be read.
    pub(crate) fn page<'a>(&'a self, page: usize, scratch: &'a mut Vec<T>) -> Result<&'a [T], Error> {
        match self.pages.get(page) {
            None => Ok(&self.tail),
            Some(Some(values)) => Ok(values),
            Some(None) => {
                scratch.resize(self.budget.page_values(), T::zeroed());
                let bytes = bytemuck::cast_slice_mut(scratch);
                let offset = page as u64 * self.page_bytes();
                self.file().read_exact_at(bytes, offset).map_err(|error| self.budget.error(error))?;
                Ok(scratch)
            }
        }
    }

    /// Replaces the values of a page.
    ///
    /// # Errors
    /// `Spill` if they cannot be written.
    pub(crate) fn set_page(&mut self, page: usize, values: &[T]) -> Result<(), Error> {
        match self.pages.get_mut(page) {
            None => self.tail.copy_from_slice(values),
            Some(Some(old)) => old.copy_from_slice(values),
            Some(None) => self.write_page(page, values).map_err(|error| self.budget.error(error))?,
        }
        Ok(())
    }

    /// Reads single values, best in order.
    pub(crate) fn reader(&self) -> Reader<'_, T> {
        Reader { column: self, held: None, scratch: Vec::new() }
    }

    fn page_bytes(&self) -> u64 {
        (self.budget.page_values() * size_of::<T>()) as u64
    }

    fn open_file(&mut self) -> io::Result<()> {
        if self.file.is_none() {
            self.file = Some(tempfile::tempfile_in(&self.budget.spill_dir)?);
        }
        Ok(())
    }

    fn file(&self) -> &File {
        self.file.as_ref().expect("invariant: a page that is not in memory is in the file")
    }

    fn write_page(&self, page: usize, values: &[T]) -> io::Result<()> {
        let offset = page as u64 * self.page_bytes();
        self.file().write_all_at(bytemuck::cast_slice(values), offset)
    }
}

impl<T> Drop for Column<T> {
    fn drop(&mut self) {
        let held = self.pages.iter().flatten().count() * self.budget.page_values() * size_of::<T>();
        self.budget.give_back(held as u64);
    }
}

/// Reads a column's values one by one; holds the one page it read last.
#[derive(Debug)]
pub(crate) struct Reader<'a, T> {
    column: &'a Column<T>,
    /// The page that `scratch` holds.
    held: Option<usize>,
    scratch: Vec<T>,
}

impl<T: Pod> Reader<'_, T> {
    /// The value at an index.
    ///
    /// # Errors
    /// `Spill` if it cannot be read.
    ///
    /// # Panics
    /// If there is no such value.
    #[inline]
    pub(crate) fn get(&mut self, index: usize) -> Result<T, Error> {
        let (page, place) = self.column.budget.place(index);
        match self.column.pages.get(page) {
            None => Ok(self.column.tail[place]),
            Some(Some(values)) => Ok(values[place]),
            Some(None) => self.get_spilled(page, place),
        }
    }

    #[cold]
    fn get_spilled(&mut self, page: usize, place: usize) -> Result<T, Error> {
        if self.held != Some(page) {
            self.held = None;
            self.column.page(page, &mut self.scratch)?;
            self.held = Some(page);
        }
        Ok(self.scratch[place])
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_column_reads_as_it_was_written_wherever_it_lives(
            values in proptest::collection::vec(any::<u32>(), 0..200),
            budget in 0..400_u64,
        ) {
            let budget = Budget::new(budget, &std::env::temp_dir());
            let room = budget.left.load(Ordering::Relaxed);
            let mut column = Column::new(&budget);
            for &value in &values {
                column.push(value);
            }
            column.finish().unwrap();
            let expected = values;
            prop_assert_eq!(column.len(), expected.len());
            let mut reader = column.reader();
            let read: Vec<u32> = (0..expected.len()).map(|index| reader.get(index).unwrap()).collect();
            prop_assert_eq!(&read, &expected);
            let mut scratch = Vec::new();
            let mut paged = Vec::new();
            for page in 0..column.pages() {
                prop_assert_eq!(column.page_start(page), paged.len());
                prop_assert_eq!(column.page_of(paged.len()), page);
                paged.extend_from_slice(column.page(page, &mut scratch).unwrap());
            }
            prop_assert_eq!(&paged, &expected);
            for page in 0..column.pages() {
                let changed: Vec<u32> =
                    column.page(page, &mut scratch).unwrap().iter().map(|value| value ^ 1).collect();
                column.set_page(page, &changed).unwrap();
            }
            let mut reader = column.reader();
            for (index, value) in expected.iter().enumerate().rev() {
                prop_assert_eq!(reader.get(index).unwrap(), value ^ 1);
            }
            drop(column);
            prop_assert_eq!(budget.left.load(Ordering::Relaxed), room, "what was taken is given back");
        }
    }

    #[test]
    fn a_page_that_finds_no_room_on_disk_is_an_error_at_the_end() {
        let budget = Budget::new(0, Path::new("/nonexistent"));
        let mut column = Column::new(&budget);
        for value in 0..100_u32 {
            column.push(value);
        }
        assert!(matches!(column.finish().unwrap_err().kind(), ErrorKind::Spill(_)));
    }
}
