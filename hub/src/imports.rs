//! Many people, assignments or days of leave at once, from a CSV file or an Excel workbook.
//!
//! A file is imported as a whole or not at all: every problem is told with its row, its column and
//! its reason, and as long as there is one, nothing is written. What is there already stays as it
//! is, so the same file can be imported again.
//!
//! A room that takes files implements [`Importer`]; nothing here knows which do.

pub mod dates;
pub mod fields;
pub mod http;
mod importer;
mod outcome;
mod problem;
mod rows;
mod run;
mod sheet;
mod slot;
mod upload;
mod workbook;

use serde_json::json;
use sqlx::{PgConnection, PgPool};

use crate::accounts::Actor;
use crate::date::Timestamp;
use crate::db;
use crate::error::Problem;
use crate::imports::dates::Extent;
use crate::imports::fields::Table;

pub use importer::Importer;
pub use outcome::{Change, Difference, Outcome};
pub use problem::{ImportError, Problems, RowProblem};
pub use run::{Run, people_with};
pub use slot::Slot;
pub use upload::{FILE_BYTES, Upload};

/// Imports a file, all of it or nothing; a dry run writes nothing but its audit.
pub async fn import<I: Importer>(
    pool: &PgPool,
    slot: Slot,
    by: &Actor,
    dry: bool,
    file: &Upload,
    now: Timestamp,
) -> Result<Outcome, ImportError> {
    let (table, _turn) = read(file.clone(), I::COLUMNS, slot).await?;
    let mut transaction = pool.begin().await?;
    if !db::imports::alone(&mut transaction).await? {
        return Err(Problem::ImportRunning.into());
    }
    match write::<I>(&mut transaction, by, dry, (file, table), now).await {
        Ok(outcome) => {
            transaction.commit().await?;
            Ok(outcome)
        }
        Err(refusal) => {
            // Dropped, it would end some time after the answer, and be in the next one's way until then.
            transaction.rollback().await?;
            Err(refusal)
        }
    }
}

async fn write<I: Importer>(
    conn: &mut PgConnection,
    by: &Actor,
    dry: bool,
    (file, table): (&Upload, Table),
    now: Timestamp,
) -> Result<Outcome, ImportError> {
    let run = Run { by, dry, extent: Extent::load(conn, now).await? };
    let (rows, problems) = run::blocking(move || {
        let mut problems = Problems::default();
        let rows = table.each(&mut problems, I::read);
        (rows, problems)
    })
    .await?;
    let known = I::load(conn, &run, &rows).await?;
    let own = run.by.person;
    let plan = run::blocking(move || I::plan(&rows, &known, own, problems)).await??;
    if !run.dry {
        plan.write(conn, &run).await?;
    }
    let outcome = plan.outcome();
    let detail = json!({
        "dry_run": run.dry,
        "added": outcome.added,
        "changed": outcome.changed,
        "unchanged": outcome.unchanged,
    });
    db::audit::record(conn, run.by, &format!("import.{}", I::KIND), &file.name, detail).await?;
    Ok(outcome)
}

/// The slot goes along: whoever hangs up while their file is read would else make room for another,
/// and go on with that, until memory is full.
async fn read(
    file: Upload,
    columns: &'static [fields::Column],
    slot: Slot,
) -> Result<(Table, Slot), ImportError> {
    let name = file.name.clone();
    // A workbook that its reader panics on is damaged, or made to do that.
    let read = move || Table::read(&file, columns).map(|table| (table, slot));
    tokio::task::spawn_blocking(read)
        .await
        .unwrap_or_else(|_| Err(Problem::FileDamaged { file: name }.into()))
}
