//! Rows of cells as a file gives them, within limits.

use crate::error::Problem;
use crate::imports::problem::ImportError;

/// Rows of a file, at most, without the first.
pub const ROWS: usize = 200_000;
/// Columns of a file, at most.
pub const COLUMNS: usize = 20;
/// Characters of a cell, at most.
pub const CELL: usize = 1000;
/// Bytes of all cells together, at most: a workbook may name one text from many cells.
pub const TEXT: usize = 64 << 20;

/// The text of a cell, empty for none, without blanks at its ends; or why it can't be read. Boxed, for cells are many.
pub type Cell = Result<String, Box<Problem>>;

/// A row.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Row {
    /// As a spreadsheet shows it, the first is 1.
    pub number: u32,
    /// From the left; empty ones at the end are left out.
    pub cells: Vec<Cell>,
}

/// Rows as they come.
#[derive(Default)]
pub struct Rows {
    /// The first row.
    pub header: Option<Row>,
    /// The others.
    pub others: Vec<Row>,
    /// Bytes of their cells.
    text: usize,
}

impl Rows {
    /// Adds one, if there is anything in it.
    pub fn add(&mut self, number: u32, mut cells: Vec<Cell>) -> Result<(), ImportError> {
        while cells.last().is_some_and(is_empty) {
            cells.pop();
        }
        if cells.is_empty() {
            return Ok(());
        }
        self.text += cells.iter().map(|cell| cell.as_ref().map_or(0, String::len)).sum::<usize>();
        if self.text > TEXT {
            return Err(Problem::FileHasTooMuchText { mebibytes: TEXT >> 20 }.into());
        }
        let row = Row { number, cells };
        if self.header.is_none() {
            self.header = Some(row);
            return Ok(());
        }
        if self.others.len() == ROWS {
            return Err(Problem::FileHasTooManyRows { most: ROWS }.into());
        }
        self.others.push(row);
        Ok(())
    }
}

/// Whether there is nothing in a cell.
pub fn is_empty(cell: &Cell) -> bool {
    cell.as_ref().is_ok_and(String::is_empty)
}

/// A row is too wide.
pub fn too_wide(row: u32) -> ImportError {
    Problem::FileHasTooManyColumns { row, most: COLUMNS }.into()
}

/// The text of a cell.
pub fn cell(text: &str) -> Cell {
    let text = text.trim();
    if text.chars().count() > CELL {
        return Err(Box::new(Problem::CellTooLong { most: CELL }));
    }
    Ok(text.to_owned())
}
