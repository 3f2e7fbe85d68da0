//! Comma-separated values, safe to open in a spreadsheet: every text stands in quotes, and none can become a
//! formula, also where a spreadsheet splits the lines at something else than commas.

use crate::reports::table::{Cell, Column};
use crate::reports::timesheet::Row;

const HEADER: &str = "date,number,name,first_in,last_out,worked_s,status,flags\n";

/// The timesheet as CSV, UTF-8, with a header.
pub fn timesheet(rows: &[Row]) -> String {
    let line = |row: &Row| {
        let worked_s = row.worked_s.map(|s| s.to_string()).unwrap_or_default();
        let first_in = row.first_in.clone().unwrap_or_default();
        let last_out = row.last_out.clone().unwrap_or_default();
        let flags = if row.flags.is_empty() { String::new() } else { quoted(&row.flags.join(";")) };
        let (number, name, status) = (quoted(&row.number), quoted(&row.name), quoted(&row.status));
        format!("{},{number},{name},{first_in},{last_out},{worked_s},{status},{flags}\n", row.date)
    };
    rows.iter().map(line).fold(HEADER.to_owned(), |text, line| text + &line)
}

/// The header of any report.
pub fn header(columns: &[Column]) -> String {
    columns.iter().map(|column| column.name).collect::<Vec<_>>().join(",") + "\n"
}

/// Rows of any report.
pub fn rows(rows: &[Vec<Cell>]) -> String {
    let cell = |cell: &Cell| match cell {
        Cell::Text(_) | Cell::List(_) => quoted(&cell.plain()),
        other => other.plain(),
    };
    let line = |row: &Vec<Cell>| row.iter().map(cell).collect::<Vec<_>>().join(",") + "\n";
    rows.iter().map(line).collect()
}

/// A text in quotes. A spreadsheet takes a cell that begins with certain signs for a formula: an apostrophe
/// before them makes it a text. Where lines are split at semicolons or tabs, a cell begins behind each of
/// these, for quotes amid a cell protect nothing.
fn quoted(text: &str) -> String {
    let mut whole = String::with_capacity(text.len() + 2);
    whole.push('"');
    let mut begins = true;
    for letter in text.chars() {
        let formula = matches!(letter, '=' | '+' | '-' | '@' | '＝' | '＋' | '－' | '＠' | '\t' | '\r');
        if begins && formula {
            whole.push('\'');
        }
        if letter == '"' {
            whole.push('"');
        }
        whole.push(letter);
        begins = matches!(letter, ';' | '\t' | '\r' | '\n') || begins && matches!(letter, ' ' | '"');
    }
    whole.push('"');
    whole
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
        let text = timesheet(&[row]);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "date,number,name,first_in,last_out,worked_s,status,flags");
        let expected = r#"2026-03-03,"7","'=cmd(""x""), Åsa",,,60,"unscheduled","long_span;missing_in""#;
        assert_eq!(lines[1], expected);
    }

    #[test]
    fn no_cell_begins_with_a_formula_wherever_lines_are_split() {
        for sign in ["=", "+", "-", "@", "＝", "＋", "－", "＠"] {
            for before in ["", "x;", "x; ", "x;\"", "x\t", "x\n"] {
                let text = quoted(&format!("{before}{sign}1+1"));
                assert!(text.contains(&format!("'{sign}1+1")), "{text}");
            }
        }
        assert_eq!(quoted("Anne-Marie; Jr. a=b"), "\"Anne-Marie; Jr. a=b\"");
        let seconds = rows(&[vec![Cell::Count(-60), Cell::Text("-60".into()), Cell::Empty]]);
        assert_eq!(seconds, "-60,\"'-60\",\n");
    }
}
