//! Comma-separated values, safe to open in a spreadsheet.

use anyhow::Result;

use crate::reports::table::{Cell, Column};
use crate::reports::timesheet::Row;

const HEADER: [&str; 8] = ["date", "number", "name", "first_in", "last_out", "worked_s", "status", "flags"];

/// The timesheet as CSV, UTF-8, with a header.
pub fn timesheet(rows: &[Row]) -> Result<String> {
    let mut writer =
        csv::WriterBuilder::new().terminator(csv::Terminator::Any(b'\n')).from_writer(Vec::new());
    writer.write_record(HEADER)?;
    for row in rows {
        writer.write_record([
            row.date.as_str(),
            &harmless(&row.number),
            &harmless(&row.name),
            row.first_in.as_deref().unwrap_or_default(),
            row.last_out.as_deref().unwrap_or_default(),
            &row.worked_s.map(|s| s.to_string()).unwrap_or_default(),
            &row.status,
            &row.flags.join(";"),
        ])?;
    }
    Ok(String::from_utf8(writer.into_inner()?)?)
}

/// The header of any report.
pub fn header(columns: &[Column]) -> Result<Vec<u8>> {
    write([columns.iter().map(|column| column.name.to_owned()).collect()].into_iter())
}

/// Rows of any report.
pub fn rows(rows: &[Vec<Cell>]) -> Result<Vec<u8>> {
    let cell = |cell: &Cell| match cell {
        Cell::Text(text) => harmless(text),
        other => other.plain(),
    };
    write(rows.iter().map(|row| row.iter().map(cell).collect()))
}

fn write(lines: impl Iterator<Item = Vec<String>>) -> Result<Vec<u8>> {
    let mut writer =
        csv::WriterBuilder::new().terminator(csv::Terminator::Any(b'\n')).from_writer(Vec::new());
    for line in lines {
        writer.write_record(line)?;
    }
    Ok(writer.into_inner()?)
}

/// A spreadsheet takes a cell that begins with one of these for a formula.
fn harmless(cell: &str) -> String {
    let formula = cell.starts_with(['=', '+', '-', '@', '\t', '\r']);
    if formula { format!("'{cell}") } else { cell.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_quoted_and_formulas_harmless() {
        let row = Row {
            date: "2026-03-03".into(),
            number: "7".into(),
            name: "=cmd(\"x\"), Åsa".into(),
            first_in: None,
            last_out: None,
            worked_s: Some(60),
            status: "unscheduled".into(),
            flags: vec!["long_span".into(), "missing_in".into()],
        };
        let text = timesheet(&[row]).expect("writes");
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "date,number,name,first_in,last_out,worked_s,status,flags");
        assert_eq!(lines[1], "2026-03-03,7,\"'=cmd(\"\"x\"\"), Åsa\",,,60,unscheduled,long_span;missing_in");
    }
}
