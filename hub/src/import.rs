//! Many people, assignments or days of leave at once, from a CSV file or an Excel workbook.
//!
//! A file is imported as a whole or not at all: every problem is told with its row, its column and
//! its reason, and as long as there is one, nothing is written. What is there already stays as it
//! is, so the same file can be imported again.

mod dates;
mod fields;
mod leave;
mod people;
mod problem;
mod schedules;
mod sheet;
mod workbook;

use std::collections::HashMap;
use std::path::Path;

use anyhow::{Context, ensure};
use bytes::Bytes;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::json;
use sqlx::{PgConnection, PgPool};
use tokio::sync::{Semaphore, SemaphorePermit};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::import::dates::Extent;
use crate::import::fields::{Column, Table};
use crate::store;

pub use problem::{Problem, Problems};

/// Bytes of a file, at most.
pub const FILE_BYTES: usize = 16 << 20;
/// Characters of a person's number, at most.
const NUMBER: usize = 64;
/// Changes that are shown one by one, at most.
const SHOWN: usize = 100;
/// Why somebody's own rows are refused.
const OWN: &str = "nobody changes their own days: ask somebody else";
/// A file takes much memory while it is read, and an import a connection: one at a time.
static TURNS: Semaphore = Semaphore::const_new(1);

/// What a file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Kind {
    /// People. Columns: number, name; if wanted email, department, site, manager (a number),
    /// language, `employed_from`, `employed_to`. Known numbers are changed, new ones added.
    People,
    /// Who follows which schedule. Columns: number, schedule, from; if wanted to.
    Schedules,
    /// Leave. Columns: number, from; if wanted to (else it is one day), half, reason.
    Leave,
}

impl Kind {
    /// The kind of a name.
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "people" => Some(Self::People),
            "schedules" => Some(Self::Schedules),
            "leave" => Some(Self::Leave),
            _ => None,
        }
    }

    fn columns(self) -> &'static [Column] {
        match self {
            Self::People => people::COLUMNS,
            Self::Schedules => schedules::COLUMNS,
            Self::Leave => leave::COLUMNS,
        }
    }

    fn action(self) -> &'static str {
        match self {
            Self::People => "import.people",
            Self::Schedules => "import.schedules",
            Self::Leave => "import.leave",
        }
    }
}

/// A file that somebody chose.
#[derive(Clone)]
pub struct Upload {
    /// What they call it.
    pub name: String,
    /// What it holds.
    pub bytes: Bytes,
}

impl Upload {
    /// Reads a file.
    pub fn read(file: &Path) -> anyhow::Result<Self> {
        let shown = file.display();
        let size = std::fs::metadata(file).with_context(|| format!("cannot read {shown}"))?.len();
        ensure!(size <= FILE_BYTES as u64, "{shown} is larger than {} MiB: divide it", FILE_BYTES >> 20);
        let bytes = std::fs::read(file).with_context(|| format!("cannot read {shown}"))?;
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        Ok(Self { name: name.chars().take(100).collect(), bytes: bytes.into() })
    }
}

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
    fn note(&mut self, change: Change) {
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
    pub number: String,
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

/// Why nothing was imported, as the one who asked should read it.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The file can't be read at all.
    #[error("{0}")]
    File(String),
    /// Rows have problems: one line for each.
    #[error("{0}")]
    Rows(Problems),
    /// It is not our turn.
    #[error("another import is running: try again in a moment")]
    Busy,
    /// Somebody else was faster.
    #[error("somebody else changed the same things meanwhile: nothing was imported, try again")]
    Meanwhile,
    /// Anything else.
    #[error(transparent)]
    Other(#[from] anyhow::Error),
}

impl From<sqlx::Error> for ImportError {
    fn from(error: sqlx::Error) -> Self {
        match error.as_database_error() {
            Some(refusal) if refusal.is_unique_violation() => Self::Meanwhile,
            _ => Self::Other(error.into()),
        }
    }
}

/// The only import of this process, until it is dropped.
pub struct Turn(#[expect(dead_code, reason = "is held, not read")] SemaphorePermit<'static>);

impl Turn {
    /// Takes it, or says that another import is running. To be asked before a file is taken in.
    pub fn take() -> Result<Self, ImportError> {
        TURNS.try_acquire().map(Self).map_err(|_| ImportError::Busy)
    }
}

/// Who imports.
#[derive(Clone, Copy, Debug)]
pub struct By<'a> {
    /// As the audit names them.
    pub name: &'a str,
    /// Who they are, if known: they don't change their own days.
    pub person: Option<Uuid>,
}

/// How to import.
#[derive(Clone, Copy, Debug)]
pub struct Order {
    /// What the file holds.
    pub kind: Kind,
    /// Nothing is written but the audit, and the outcome says what would change.
    pub dry_run: bool,
}

/// What the parts of an import must know.
struct Run<'a> {
    by: By<'a>,
    /// Nothing is written.
    dry: bool,
    extent: Extent,
}

impl Run<'_> {
    /// Holds people until the import ends, so that what is read of them from now on stays true. A dry
    /// run holds nobody up.
    async fn hold(&self, conn: &mut PgConnection, people: &[Uuid]) -> sqlx::Result<()> {
        if self.dry { Ok(()) } else { store::jobs::hold(conn, people).await }
    }
}

/// Imports a file, all of it or nothing.
pub async fn import(
    pool: &PgPool,
    turn: Turn,
    by: By<'_>,
    order: Order,
    file: &Upload,
    now: Timestamp,
) -> Result<Outcome, ImportError> {
    let (table, _turn) = read(file.clone(), order.kind, turn).await?;
    let mut transaction = pool.begin().await?;
    if !store::imports::alone(&mut transaction).await? {
        return Err(ImportError::Busy);
    }
    match write(&mut transaction, by, order, (file, table), now).await {
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

async fn write(
    conn: &mut PgConnection,
    by: By<'_>,
    Order { kind, dry_run }: Order,
    (file, table): (&Upload, Table),
    now: Timestamp,
) -> Result<Outcome, ImportError> {
    let extent = Extent::load(conn, now).await?;
    let run = Run { by, dry: dry_run, extent };
    let outcome = match kind {
        Kind::People => people::import(conn, &run, table).await?,
        Kind::Schedules => schedules::import(conn, &run, table).await?,
        Kind::Leave => leave::import(conn, &run, table).await?,
    };
    let detail = json!({
        "dry_run": dry_run,
        "added": outcome.added,
        "changed": outcome.changed,
        "unchanged": outcome.unchanged,
    });
    store::audit::record(conn, by.name, kind.action(), &file.name, detail).await?;
    Ok(outcome)
}

/// The turn goes along: whoever hangs up while their file is read would else make room for another,
/// and go on with that, until memory is full.
async fn read(file: Upload, kind: Kind, turn: Turn) -> Result<(Table, Turn), ImportError> {
    let name = file.name.clone();
    // A workbook that its reader panics on is damaged, or made to do that.
    let read = move || Table::read(&file, kind.columns()).map(|table| (table, turn));
    tokio::task::spawn_blocking(read).await.unwrap_or_else(|_| {
        Err(ImportError::File(format!("{name} is damaged: open it in a spreadsheet and save it again")))
    })
}

/// Does work that would hold up others.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, ImportError> {
    Ok(tokio::task::spawn_blocking(work).await.map_err(anyhow::Error::from)?)
}

/// Who has which of the numbers. They are held from here on.
async fn people_with(
    conn: &mut PgConnection,
    run: &Run<'_>,
    mut numbers: Vec<String>,
) -> Result<HashMap<String, Uuid>, ImportError> {
    numbers.sort_unstable();
    numbers.dedup();
    let people: HashMap<String, Uuid> = store::imports::people(conn, &numbers).await?.into_iter().collect();
    let ids: Vec<Uuid> = people.values().copied().collect();
    run.hold(conn, &ids).await?;
    Ok(people)
}
