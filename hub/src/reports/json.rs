//! Reports as JSON: an object a row.

use anyhow::Result;

use crate::reports::table::{Cell, Column};

/// Rows as objects, separated by commas; without the brackets around them.
pub fn rows(columns: &[Column], rows: &[Vec<Cell>]) -> Result<Vec<u8>> {
    let mut out = Vec::with_capacity(rows.len() * columns.len() * 16);
    for (index, row) in rows.iter().enumerate() {
        if index > 0 {
            out.extend_from_slice(b",\n");
        }
        out.push(b'{');
        for (place, (column, cell)) in columns.iter().zip(row).enumerate() {
            if place > 0 {
                out.push(b',');
            }
            serde_json::to_writer(&mut out, column.name)?;
            out.push(b':');
            value(&mut out, cell)?;
        }
        out.push(b'}');
    }
    Ok(out)
}

fn value(out: &mut Vec<u8>, cell: &Cell) -> Result<()> {
    match cell {
        Cell::Empty => serde_json::to_writer(out, &())?,
        Cell::Text(text) => serde_json::to_writer(out, text)?,
        Cell::Time(at) => serde_json::to_writer(out, at)?,
        Cell::List(words) => serde_json::to_writer(out, words)?,
        Cell::Date(date) => serde_json::to_writer(out, date)?,
        Cell::Count(number) => serde_json::to_writer(out, number)?,
        Cell::Bool(truth) => serde_json::to_writer(out, truth)?,
    }
    Ok(())
}
