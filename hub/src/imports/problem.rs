//! Why nothing was imported: a file that can't be read, or what is wrong with its rows.

use std::fmt;

use crate::error::Problem;

/// Problems that are listed, at most; the others are counted.
const MOST_LISTED: usize = 1000;

/// Why nothing was imported, as the one who asked should read it.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The file as a whole can't be imported now, or never.
    #[error("{0}")]
    Problem(Problem),
    /// Rows have problems: one line for each.
    #[error("{0}")]
    Rows(Problems),
    /// Anything else.
    #[error(transparent)]
    Other(#[from] anyhow::Error),
}

impl From<Problem> for ImportError {
    fn from(problem: Problem) -> Self {
        Self::Problem(problem)
    }
}

impl From<sqlx::Error> for ImportError {
    fn from(error: sqlx::Error) -> Self {
        match error.as_database_error() {
            Some(refusal) if refusal.is_unique_violation() => Problem::ChangedMeanwhile.into(),
            _ => Self::Other(error.into()),
        }
    }
}

/// What is wrong with a cell.
#[derive(Clone, Debug, PartialEq)]
pub struct RowProblem {
    /// As the spreadsheet numbers its rows.
    pub row: u32,
    /// As the first row names it.
    pub column: String,
    pub problem: Problem,
}

impl fmt::Display for RowProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "row {}, column {}: {}", self.row, self.column, self.problem)
    }
}

/// All that is wrong with a file.
#[derive(Debug, Default)]
pub struct Problems {
    /// The first of them.
    pub listed: Vec<RowProblem>,
    /// How many more there are.
    pub more: usize,
}

impl Problems {
    /// Notes a problem.
    pub fn add(&mut self, row: u32, column: &str, problem: Problem) {
        if self.listed.len() == MOST_LISTED {
            self.more += 1;
            return;
        }
        self.listed.push(RowProblem { row, column: column.to_owned(), problem });
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.listed.len() + self.more
    }

    /// Refuses the file if there are any.
    pub fn refuse(mut self) -> Result<(), ImportError> {
        if self.listed.is_empty() {
            return Ok(());
        }
        self.listed.sort_by_key(|problem| problem.row);
        Err(ImportError::Rows(self))
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, problem) in self.listed.iter().enumerate() {
            let end = if i == 0 { "" } else { "\n" };
            write!(f, "{end}{problem}")?;
        }
        if self.more > 0 {
            write!(f, "\nand {} more", self.more)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_is_one_line_and_they_come_by_row() {
        let mut problems = Problems::default();
        problems.add(17, "from", Problem::CellNotDate { text: "2026-02-30".into() });
        problems.add(3, "number", Problem::CellEmpty);
        let reported = problems.refuse().expect_err("problems").to_string();
        assert_eq!(
            reported,
            "row 3, column number: is empty\nrow 17, column from: \"2026-02-30\" is no date: write YYYY-MM-DD, from 1900 to 2199"
        );
    }

    #[test]
    fn the_thousand_and_first_is_counted() {
        let mut problems = Problems::default();
        for row in 1..=1002 {
            problems.add(row, "number", Problem::CellEmpty);
        }
        assert_eq!((problems.listed.len(), problems.more, problems.count()), (1000, 2, 1002));
        assert!(problems.to_string().ends_with("row 1000, column number: is empty\nand 2 more"));
    }

    #[test]
    fn no_problems_refuse_nothing() {
        assert!(Problems::default().refuse().is_ok());
    }
}
