//! The cells of a row by the names of their columns, read as what they must be.

use crate::date::Date;
use crate::error::Problem;
use crate::imports::problem::{ImportError, Problems};
use crate::imports::rows::{Row, is_empty};
use crate::imports::sheet::Sheet;
use crate::imports::upload::Upload;
use crate::person::PersonNumber;
use crate::text::NUMBER;

/// Characters of a cell that a problem repeats, at most.
const QUOTED: usize = 60;

/// A column that a file may have.
#[derive(Debug)]
pub struct Column {
    name: &'static str,
    required: bool,
}

impl Column {
    /// One that must be there.
    pub const fn required(name: &'static str) -> Self {
        Self { name, required: true }
    }

    /// One that may be there.
    pub const fn optional(name: &'static str) -> Self {
        Self { name, required: false }
    }
}

/// A cell was no good, and a problem tells why.
#[derive(Debug, PartialEq, Eq)]
pub struct Reported;

/// The rows of a file whose columns are known.
#[derive(Debug)]
pub struct Table {
    columns: &'static [Column],
    /// Where each of the columns stands.
    places: Vec<Option<usize>>,
    rows: Vec<Row>,
}

impl Table {
    /// Reads a file that must have these columns.
    pub fn read(file: &Upload, columns: &'static [Column]) -> Result<Self, ImportError> {
        let sheet = Sheet::read(file)?;
        let mut problems = Problems::default();
        let places = places(&sheet.header, columns, &mut problems);
        problems.refuse()?;
        Ok(Self { columns, places, rows: sheet.rows })
    }

    /// Reads each row.
    pub fn each<T>(&self, problems: &mut Problems, read: impl Fn(&mut Fields<'_>) -> Option<T>) -> Vec<T> {
        let mut found = Vec::with_capacity(self.rows.len());
        for row in &self.rows {
            let mut fields = Fields { table: self, row, problems: &mut *problems };
            fields.report_strays();
            found.extend(read(&mut fields));
        }
        found
    }

    fn place(&self, column: &str) -> Option<usize> {
        let index = self.columns.iter().position(|known| known.name == column)?;
        self.places[index]
    }
}

/// Where the first row names each of the columns.
fn places(header: &Row, columns: &[Column], problems: &mut Problems) -> Vec<Option<usize>> {
    let mut places = vec![None; columns.len()];
    for (index, cell) in header.cells.iter().enumerate() {
        let name = match cell {
            Ok(name) => name.to_lowercase(),
            Err(problem) => {
                problems.add(header.number, &letter(index), Problem::clone(problem));
                continue;
            }
        };
        if name.is_empty() {
            continue; // whatever stands below is told as a stray
        }
        match columns.iter().position(|column| column.name == name) {
            None => {
                let known: Vec<&str> = columns.iter().map(|column| column.name).collect();
                let problem = Problem::ColumnUnknown { known: known.join(", ") };
                problems.add(header.number, &clipped(&name), problem);
            }
            Some(known) if places[known].is_some() => {
                problems.add(header.number, &name, Problem::ColumnTwice);
            }
            Some(known) => places[known] = Some(index),
        }
    }
    for (column, place) in columns.iter().zip(&places) {
        if column.required && place.is_none() {
            problems.add(header.number, column.name, Problem::ColumnMissing);
        }
    }
    places
}

/// How a spreadsheet calls a column.
fn letter(index: usize) -> String {
    char::from(b'A'.saturating_add(index as u8)).to_string() // there are at most 20
}

/// One row, read cell by cell.
pub struct Fields<'a> {
    table: &'a Table,
    row: &'a Row,
    problems: &'a mut Problems,
}

impl<'a> Fields<'a> {
    /// The row's number.
    pub fn row(&self) -> u32 {
        self.row.number
    }

    /// Tells a problem.
    pub fn problem(&mut self, column: &str, problem: Problem) -> Reported {
        self.problems.add(self.row.number, column, problem);
        Reported
    }

    /// A text of one line, if there is one.
    pub fn text(&mut self, column: &str, longest: usize) -> Result<Option<String>, Reported> {
        match self.raw(column, longest)? {
            Some(text) if text.contains(char::is_control) => {
                Err(self.problem(column, Problem::CellHasControlCharacter))
            }
            text => Ok(text.map(str::to_owned)),
        }
    }

    /// A text of one line that must be there.
    pub fn required(&mut self, column: &str, longest: usize) -> Result<String, Reported> {
        match self.text(column, longest)? {
            Some(text) => Ok(text),
            None => Err(self.problem(column, Problem::CellEmpty)),
        }
    }

    /// A person's number that must be there.
    pub fn number(&mut self, column: &str) -> Option<PersonNumber> {
        let number = self.required(column, NUMBER).ok()?;
        self.whole(column, number)
    }

    /// A person's number, if there is one.
    pub fn number_if_any(&mut self, column: &str) -> Option<PersonNumber> {
        let number = self.text(column, NUMBER).ok()??;
        self.whole(column, number)
    }

    /// A number of a person is a text; some programs write one as if it could be counted with.
    fn whole(&mut self, column: &str, number: String) -> Option<PersonNumber> {
        let digits = number.strip_suffix(".0").unwrap_or_default();
        if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return Some(number.into());
        }
        self.problem(column, Problem::NumberFractional { number });
        None
    }

    /// A text that may have had several lines.
    pub fn prose(&mut self, column: &str, longest: usize) -> Result<String, Reported> {
        let text = self.raw(column, longest)?.unwrap_or_default();
        Ok(text.replace("\r\n", " ").replace(char::is_control, " "))
    }

    /// A date, if there is one.
    pub fn date(&mut self, column: &str) -> Result<Option<Date>, Reported> {
        let Some(text) = self.raw(column, usize::MAX)? else { return Ok(None) };
        match text.parse() {
            Ok(date) => Ok(Some(date)),
            Err(_) => Err(self.problem(column, Problem::CellNotDate { text: clipped(text) })),
        }
    }

    /// The first and the last date: `from`, and `to`, whose default is made of it.
    pub fn range(&mut self, default: impl Fn(Date) -> Date) -> Result<(Date, Date), Reported> {
        let from = match self.date("from") {
            Ok(None) => Err(self.problem("from", Problem::CellEmpty)),
            Ok(Some(date)) => Ok(date),
            Err(reported) => Err(reported),
        };
        let to = self.date("to");
        let from = from?;
        let to = to?.unwrap_or_else(|| default(from));
        if to < from {
            return Err(self.problem("from", Problem::IntervalReversed { from: from.0, to: to.0 }));
        }
        Ok((from, to))
    }

    /// Yes or no; an empty cell is no.
    pub fn yes(&mut self, column: &str) -> Result<bool, Reported> {
        let Some(text) = self.raw(column, usize::MAX)? else { return Ok(false) };
        match text.to_lowercase().as_str() {
            "yes" | "true" | "1" | "x" => Ok(true),
            "no" | "false" | "0" => Ok(false),
            _ => Err(self.problem(column, Problem::CellNotYesOrNo { text: clipped(text) })),
        }
    }

    /// What stands in a cell, if anything does.
    fn raw(&mut self, column: &str, longest: usize) -> Result<Option<&'a str>, Reported> {
        let row = self.row;
        let cell = self.table.place(column).and_then(|index| row.cells.get(index));
        match cell {
            None => Ok(None),
            Some(Err(problem)) => Err(self.problem(column, Problem::clone(problem))),
            Some(Ok(text)) if text.chars().count() > longest => {
                Err(self.problem(column, Problem::CellTooLong { most: longest }))
            }
            Some(Ok(text)) => Ok((!text.is_empty()).then_some(text.as_str())),
        }
    }

    /// Cells below no name.
    fn report_strays(&mut self) {
        let row = self.row;
        for (index, cell) in row.cells.iter().enumerate() {
            if !is_empty(cell) && !self.table.places.contains(&Some(index)) {
                self.problem(&letter(index), Problem::CellWithoutColumn);
            }
        }
    }
}

/// What somebody wrote, as a problem repeats it: cut, and without what a console would obey.
pub fn clipped(text: &str) -> String {
    text.chars().take(QUOTED).map(|sign| if sign.is_control() { ' ' } else { sign }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLUMNS: &[Column] = &[
        Column::required("number"),
        Column::required("from"),
        Column::optional("to"),
        Column::optional("half"),
        Column::optional("reason"),
    ];

    fn table(text: &'static str) -> Result<Table, ImportError> {
        Table::read(&Upload { name: "a.csv".into(), bytes: text.into() }, COLUMNS)
    }

    /// What a reading of the only row gives, and the problem reported.
    fn one<T>(text: &'static str, read: impl Fn(&mut Fields<'_>) -> T) -> (T, String) {
        let mut problems = Problems::default();
        let mut found = table(text).unwrap().each(&mut problems, |fields| Some(read(fields)));
        (found.remove(0), problems.to_string())
    }

    #[test]
    fn columns_go_by_name_in_any_order() {
        let (found, reported) = one("FROM,Number,\n2026-01-05,1001,\n", |fields| {
            (fields.required("number", 64), fields.date("from"), fields.date("to"), fields.yes("half"))
        });
        let day = jiff::civil::date(2026, 1, 5).into();
        assert_eq!(found, (Ok("1001".into()), Ok(Some(day)), Ok(None), Ok(false)));
        assert_eq!(reported, "");
    }

    #[test]
    fn columns_that_are_unknown_missing_or_twice_are_named() {
        let reported = table("number,wage,number\n").unwrap_err().to_string();
        let expected = "row 1, column wage: no such column is known; there are number, from, to, half, reason\n\
            row 1, column number: appears twice\n\
            row 1, column from: is missing: the first row must name it";
        assert_eq!(reported, expected);
    }

    #[test]
    fn cells_below_no_name_are_told() {
        let ((), reported) = one("number,,from\n1,x,2026-01-05,y\n", |_| ());
        let reason = "holds something, but the first row has no name for this column";
        assert_eq!(reported, format!("row 2, column B: {reason}\nrow 2, column D: {reason}"));
    }

    #[test]
    fn a_date_that_does_not_exist_is_told_with_the_way_to_write_one() {
        for wrong in ["2026-02-30", "5.1.2026", "20260105", "2026-01-05 08:00:00", "45943"] {
            let text: &'static str = String::leak(format!("number,from\n1,{wrong}\n"));
            let (found, reported) = one(text, |fields| fields.date("from"));
            assert_eq!(found, Err(Reported));
            let expected = format!("row 2, column from: {wrong:?} is no date: write YYYY-MM-DD");
            assert!(reported.starts_with(&expected), "{reported}");
        }
    }

    #[test]
    fn a_range_has_an_order() {
        let range = |text: &'static str| one(text, |fields| fields.range(|from| from));
        let (jan5, jan9) = (jiff::civil::date(2026, 1, 5).into(), jiff::civil::date(2026, 1, 9).into());
        assert_eq!(range("number,from,to\n1,2026-01-05,2026-01-09\n").0, Ok((jan5, jan9)));
        assert_eq!(range("number,from,to\n1,2026-01-05,\n").0, Ok((jan5, jan5)));
        let backwards = range("number,from,to\n1,2026-01-09,2026-01-05\n").1;
        assert_eq!(backwards, "row 2, column from: 2026-01-09 is after to, 2026-01-05");
        let both = range("number,from,to\n1,,soon\n").1;
        assert!(
            both.starts_with("row 2, column from: is empty\nrow 2, column to: \"soon\" is no date"),
            "{both}"
        );
    }

    #[test]
    fn yes_is_written_in_some_ways() {
        for (text, expected) in [
            ("number,from,half\n1,,YES", Ok(true)),
            ("number,from,half\n1,,x", Ok(true)),
            ("number,from,half\n1,,1", Ok(true)),
            ("number,from,half\n1,,0", Ok(false)),
            ("number,from,half\n1,,False", Ok(false)),
            ("number,from,half\n1,,", Ok(false)),
            ("number,from,half\n1,,perhaps", Err(Reported)),
        ] {
            assert_eq!(one(text, |fields| fields.yes("half")).0, expected, "{text:?}");
        }
    }

    #[test]
    fn line_breaks_are_for_prose_alone() {
        let text = "number,from,reason\n\"1\n2\",,\"a\nb\"\n";
        assert_eq!(one(text, |fields| fields.prose("reason", 200)).0, Ok("a b".into()));
        assert!(one(text, |fields| fields.text("number", 64)).1.contains("line break"));
        assert!(one(text, |fields| fields.text("number", 2)).1.contains("more than 2 characters"));
    }
}
