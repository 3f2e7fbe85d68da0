//! The cells of a workbook.

mod bounds;

use std::io::Cursor;

use calamine::{DataRef, ExcelDateTime, Reader, Sheet, SheetType, SheetVisible, Xlsx};

use crate::error::Problem;
use crate::imports::problem::ImportError;
use crate::imports::rows::{COLUMNS, Cell, Rows, cell, is_empty, too_wide};
use crate::imports::workbook::bounds::unreadable;

/// Reads the first worksheet that can be seen.
pub fn read(bytes: &[u8], rows: &mut Rows) -> Result<(), ImportError> {
    bounds::check(bytes)?;
    let mut book = Xlsx::new(Cursor::new(bytes)).map_err(unreadable)?;
    let seen = |sheet: &&Sheet| sheet.typ == SheetType::WorkSheet && sheet.visible == SheetVisible::Visible;
    let Some(name) = book.sheets_metadata().iter().find(seen).map(|sheet| sheet.name.clone()) else {
        return Err(Problem::WorkbookWithoutSheet.into());
    };
    // Cell by cell: a range of the whole sheet would make room for every cell up to the last one,
    // wherever somebody put that.
    let mut reader = book.worksheet_cells_reader(&name).map_err(unreadable)?;
    let mut number = 0;
    let mut cells: Vec<Cell> = Vec::new();
    while let Some(found) = reader.next_cell().map_err(unreadable)? {
        let (row, column) = found.get_position();
        let (row, column) = (row.saturating_add(1), column as usize);
        if row != number {
            rows.add(number, std::mem::take(&mut cells))?;
            number = row;
        }
        let cell = shown(found.get_value());
        if is_empty(&cell) {
            continue;
        }
        if column >= COLUMNS {
            return Err(too_wide(row));
        }
        if cells.len() <= column {
            cells.resize(column + 1, Ok(String::new()));
        }
        cells[column] = cell;
    }
    rows.add(number, cells)
}

/// A cell as text. Of a formula the workbook holds the value that it had last.
fn shown(value: &DataRef<'_>) -> Cell {
    match value {
        DataRef::Int(number) => Ok(number.to_string()),
        DataRef::Float(number) => Ok(number.to_string()),
        DataRef::String(text) | DataRef::DurationIso(text) => cell(text),
        DataRef::SharedString(text) => cell(text),
        DataRef::Bool(yes) => Ok(yes.to_string()),
        DataRef::DateTime(moment) if moment.is_datetime() => Ok(date(moment)),
        DataRef::DateTime(duration) => Ok(duration.as_f64().to_string()),
        DataRef::DateTimeIso(text) => cell(text.strip_suffix("T00:00:00").unwrap_or(text)),
        DataRef::Error(error) => Err(Box::new(Problem::CellHoldsError { error: error.to_string() })),
        DataRef::Empty => Ok(String::new()),
    }
}

/// A date, with the time of day if there is one.
fn date(moment: &ExcelDateTime) -> String {
    let (year, month, day, hour, minute, second, _) = moment.to_ymd_hms_milli();
    let date = format!("{year:04}-{month:02}-{day:02}");
    match (hour, minute, second) {
        (0, 0, 0) => date,
        _ => format!("{date} {hour:02}:{minute:02}:{second:02}"),
    }
}
