//! What an import did, or would do.

use serde::Serialize;
use utoipa::ToSchema;

use crate::person::PersonNumber;

/// Changes that are shown one by one, at most.
const SHOWN: usize = 100;

/// What an import did, or would do.
#[derive(Debug, Default, Serialize, ToSchema)]
#[schema(as = ImportOutcome)]
pub struct Outcome {
    /// Rows that say something new.
    pub added: usize,
    /// Rows that change something.
    pub changed: usize,
    /// Rows that say what is known already.
    pub unchanged: usize,
    /// The first 100 rows that add or change something.
    pub changes: Vec<Change>,
}

impl Outcome {
    pub fn note(&mut self, change: Change) {
        if change.added {
            self.added += 1;
        } else {
            self.changed += 1;
        }
        if self.changes.len() < SHOWN {
            self.changes.push(change);
        }
    }
}

/// What one row adds or changes.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ImportChange)]
pub struct Change {
    /// As the spreadsheet numbers its rows.
    pub row: u32,
    /// The person's number.
    #[schema(value_type = String)]
    pub number: PersonNumber,
    /// Whether it is new.
    pub added: bool,
    /// What differs.
    pub columns: Vec<Difference>,
}

/// What differs in one column.
#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = ImportDifference)]
pub struct Difference {
    /// Which column.
    #[schema(value_type = String)]
    pub column: &'static str,
    /// What stands there; null for nothing.
    pub old: Option<String>,
    /// What will stand there.
    pub new: Option<String>,
}
