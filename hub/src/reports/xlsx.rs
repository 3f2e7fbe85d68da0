//! Reports as a workbook.

use anyhow::{Context, Result};
use rust_xlsxwriter::{Format, Workbook};

use crate::reports::table::{Cell, Column, Kind};

/// Rows of one sheet, at most: more is nothing that anybody reads in a spreadsheet.
pub const ROWS: usize = 500_000;
/// Seconds of a day: a spreadsheet counts dates and times in days.
const DAY_S: f64 = 86_400.0;
/// Seconds of an hour. Lengths of time are plain numbers of hours: those add up in every spreadsheet, also
/// below zero, where Excel shows `####` for a time.
const HOUR_S: f64 = 3600.0;

/// A workbook that is being written, row by row; on disk, not in memory.
pub struct Sheet {
    workbook: Workbook,
    columns: &'static [Column],
    formats: Formats,
    row: u32,
}

struct Formats {
    date: Format,
    time: Format,
    hours: Format,
}

impl Sheet {
    /// A sheet with its headings.
    pub fn new(title: &str, columns: &'static [Column]) -> Result<Self> {
        let mut workbook = Workbook::new();
        let sheet = workbook.add_worksheet_with_constant_memory()?;
        sheet.set_name(title)?.set_freeze_panes(1, 0)?;
        let bold = Format::new().set_bold();
        for (place, column) in columns.iter().enumerate() {
            let place = u16::try_from(place)?;
            let width = if column.kind == Kind::Time { 20.0 } else { 14.0 };
            sheet.set_column_width(place, width)?;
            let unit = if column.kind == Kind::Seconds { " (h)" } else { "" };
            sheet.write_string_with_format(0, place, column.heading() + unit, &bold)?;
        }
        let formats = Formats {
            date: Format::new().set_num_format("yyyy-mm-dd"),
            time: Format::new().set_num_format("yyyy-mm-dd hh:mm:ss"),
            hours: Format::new().set_num_format("0.00"),
        };
        Ok(Self { workbook, columns, formats, row: 0 })
    }

    /// Adds rows.
    pub fn add(&mut self, rows: &[Vec<Cell>]) -> Result<()> {
        let sheet = self.workbook.worksheet_from_index(0)?;
        for row in rows {
            self.row += 1;
            anyhow::ensure!((self.row as usize) <= ROWS, "more than {ROWS} rows: choose fewer days");
            for (place, (column, cell)) in self.columns.iter().zip(row).enumerate() {
                let place = u16::try_from(place)?;
                match (cell, column.kind) {
                    (Cell::Empty, _) => continue,
                    (Cell::Date(date), _) => {
                        let date = date.to_datetime(jiff::civil::Time::midnight());
                        sheet.write_number_with_format(self.row, place, serial(date), &self.formats.date)?
                    }
                    (Cell::Time(at), _) => {
                        let local = serial(at.0.datetime());
                        sheet.write_number_with_format(self.row, place, local, &self.formats.time)?
                    }
                    (Cell::Count(seconds), Kind::Seconds) => {
                        let hours = *seconds as f64 / HOUR_S;
                        sheet.write_number_with_format(self.row, place, hours, &self.formats.hours)?
                    }
                    (Cell::Count(number), _) => sheet.write_number(self.row, place, *number as f64)?,
                    (Cell::Bool(truth), _) => sheet.write_boolean(self.row, place, *truth)?,
                    // A string cell is never a formula, whatever it begins with.
                    (cell, _) => sheet.write_string(self.row, place, cell.plain())?,
                };
            }
        }
        Ok(())
    }

    /// The file's bytes.
    pub fn finish(mut self) -> Result<Vec<u8>> {
        self.workbook.save_to_buffer().context("the workbook can't be written")
    }
}

/// A local time as spreadsheets count it: days since 1899-12-30. To the second, as the other formats have it.
fn serial(local: jiff::civil::DateTime) -> f64 {
    let epoch = jiff::civil::date(1899, 12, 30).at(0, 0, 0, 0);
    local.duration_since(epoch).as_secs() as f64 / DAY_S
}
