//! Comma-separated values, safe to open in a spreadsheet: every text stands in quotes, and none can become a
//! formula, also where a spreadsheet splits the lines at something else than commas.

use crate::reports::table::{Cell, Column};

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
        let flags = vec!["long_span".into(), "missing_in".into()];
        let row =
            vec![Cell::Text("=cmd(\"x\"), Åsa".into()), Cell::Empty, Cell::Count(60), Cell::List(flags)];
        assert_eq!(rows(&[row]), "\"'=cmd(\"\"x\"\"), Åsa\",,60,\"long_span;missing_in\"\n");
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
