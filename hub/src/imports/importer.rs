//! What a room says of the files that it takes.

use sqlx::PgConnection;

use crate::imports::fields::{Column, Fields};
use crate::imports::outcome::Outcome;
use crate::imports::problem::{ImportError, Problems};
use crate::imports::run::Run;
use crate::person::PersonId;

/// Rows of one kind: how they are read, what they would change, and the change itself.
pub trait Importer: Sized + Send + 'static {
    /// What such files hold, as the audit names it.
    const KIND: &'static str;
    /// The columns that a file may have.
    const COLUMNS: &'static [Column];
    /// What one row says.
    type Row: Send + 'static;
    /// What the database says of all that the rows speak of.
    type Known: Send + 'static;

    /// Reads a row; what is wrong is reported as a problem. `None`: the row is left out.
    fn read(fields: &mut Fields<'_>) -> Option<Self::Row>;

    /// Reads what must be known.
    fn load(
        conn: &mut PgConnection,
        run: &Run<'_>,
        rows: &[Self::Row],
    ) -> impl Future<Output = Result<Self::Known, ImportError>> + Send;

    /// Works out what changes, if nothing is wrong with the rows. `own`: the person who imports, who
    /// changes nothing of their own.
    fn plan(
        rows: &[Self::Row],
        known: &Self::Known,
        own: Option<PersonId>,
        problems: Problems,
    ) -> Result<Self, ImportError>;

    /// Writes it.
    fn write(
        &self,
        conn: &mut PgConnection,
        run: &Run<'_>,
    ) -> impl Future<Output = Result<(), ImportError>> + Send;

    /// What was, or would be, done.
    fn outcome(self) -> Outcome;
}
