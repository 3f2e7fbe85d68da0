//! `import`: people, schedules or leave from a spreadsheet.

use std::path::PathBuf;

use anyhow::Result;
use clap::{Args, ValueEnum};
use sqlx::PgPool;

use crate::accounts::CLI;
use crate::clock;
use crate::imports::{self, Change, Importer, Outcome, Slot, Upload};
use crate::{people, schedules};

/// What a file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// People. Columns: number, name; if wanted email, department, site, manager (a number),
    /// language, `employed_from`, `employed_to`. Known numbers are changed, new ones added.
    People,
    /// Who follows which schedule. Columns: number, schedule, from; if wanted to.
    Schedules,
    /// Leave. Columns: number, from; if wanted to (else it is one day), half, reason.
    Leave,
}

/// Import people, schedules or leave from a CSV file or an Excel workbook: all of it, or nothing. Every
/// bad row is named with its column and the reason.
///
/// The first row names the columns, in any order. Dates are written YYYY-MM-DD or are a workbook's
/// own. Numbers of people keep their leading zeros in CSV and in cells that are formatted as text
/// only. Known people are changed, where an empty cell leaves things as they are, so the same file can be
/// imported again. Try it with --dry-run first.
#[derive(Args)]
pub struct Import {
    /// What the file holds.
    #[arg(value_enum)]
    kind: Kind,
    /// .csv (UTF-8, with commas or semicolons) or .xlsx, of which the first sheet that is not hidden
    /// counts; at most 16 MiB and 200,000 rows.
    file: PathBuf,
    /// Only say what would change.
    #[arg(long)]
    dry_run: bool,
}

impl Import {
    /// Runs the command.
    pub async fn run(self, pool: &PgPool) -> Result<()> {
        let Self { kind, file, dry_run } = self;
        let file = Upload::read(&file)?;
        let outcome = match kind {
            Kind::People => import::<people::import::Plan>(pool, &file, dry_run).await?,
            Kind::Schedules => import::<schedules::import::Plan>(pool, &file, dry_run).await?,
            Kind::Leave => import::<schedules::import::leave::Plan>(pool, &file, dry_run).await?,
        };
        for change in &outcome.changes {
            println!("{}", line(change));
        }
        let more = (outcome.added + outcome.changed).saturating_sub(outcome.changes.len());
        if more > 0 {
            println!("and {more} more rows");
        }
        let counts =
            format!("added {}, changed {}, unchanged {}", outcome.added, outcome.changed, outcome.unchanged);
        if dry_run {
            println!("would be {counts}: nothing was written");
        } else {
            println!("{counts}");
        }
        Ok(())
    }
}

async fn import<I: Importer>(pool: &PgPool, file: &Upload, dry_run: bool) -> Result<Outcome> {
    Ok(imports::import::<I>(pool, Slot::take()?, &CLI, dry_run, file, clock::now()).await?)
}

/// A change as one line: `row 7, 1001 changed: email "a@b.org" -> "c@b.org"`.
fn line(change: &Change) -> String {
    let text = |value: &Option<String>| value.as_ref().map_or_else(|| "nothing".into(), |v| format!("{v:?}"));
    let columns = change.columns.iter().map(|column| match &column.old {
        Some(old) => format!("{} {old:?} -> {}", column.column, text(&column.new)),
        None => format!("{} {}", column.column, text(&column.new)),
    });
    let columns: Vec<String> = columns.collect();
    let what = if change.added { "added" } else { "changed" };
    format!("row {}, {} {what}: {}", change.row, change.number, columns.join(", "))
}
