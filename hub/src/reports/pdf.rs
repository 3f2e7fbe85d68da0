//! Reports as PDF.
//!
//! Typst sets the page from `templates/report.typ`. What a report says reaches the template as
//! values, never as source text, so that no name can be taken for markup. There is no clock, no
//! network and no file in the template's world: the same rows make the same bytes.
//!
//! Letters come from the font in the program (Latin, Greek, Cyrillic and Hebrew), then from those of
//! the system. On Debian, `fonts-noto-core` adds Arabic,
//! Devanagari, Thai and most other scripts, and `fonts-noto-cjk` Chinese, Japanese and Korean.
//! Without them such names show as boxes, and a warning is logged.

use std::borrow::Cow;
use std::process::Stdio;
use std::sync::LazyLock;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use futures_util::future::join;
use serde::{Deserialize, Serialize};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;
use typst::diag::{FileError, FileResult, SourceDiagnostic};
use typst::foundations::{Array, Bytes, Datetime, Duration as Offset, IntoValue, Smart, Str, dict};
use typst::layout::{Frame, FrameItem};
use typst::syntax::{FileId, RootedPath, Source, VirtualPath, VirtualRoot};
use typst::text::{Font, FontBook, TextItem};
use typst::utils::LazyHash;
use typst::{Library, LibraryExt, World};
use typst_kit::fonts::FontStore;
use typst_layout::PagedDocument;
use typst_pdf::PdfOptions;

use crate::date::Date;
use crate::reports::table::{Cell, Column, Kind};

/// Rows of one document, at most. While a page is set, a row of 18 columns takes about 0.2 MB of
/// memory and 1.5 ms: 5000 rows are 1 GB and 7 s.
pub const ROWS: usize = 5000;
/// How long printing may take.
const PATIENCE: Duration = Duration::from_secs(50);
/// The widest that a column gets, in letters: longer texts go on in the next line.
const WIDEST: usize = 20;
/// What the gaps beside a column take, in letters.
const GAPS: usize = 2;

/// The template.
const TEMPLATE: &str = include_str!("../../templates/report.typ");
/// Libertinus Serif, for letters whose fonts the system lacks.
const REGULAR: &[u8] = include_bytes!("../../fonts/LibertinusSerif-Regular.otf");
/// Its bold face, for headings.
const BOLD: &[u8] = include_bytes!("../../fonts/LibertinusSerif-Bold.otf");
/// The fonts in the program, then those of the system.
static FONTS: LazyLock<FontStore> = LazyLock::new(|| {
    let mut fonts = FontStore::new();
    for data in [REGULAR, BOLD] {
        for font in Font::iter(Bytes::new(data)) {
            let info = font.info().clone();
            fonts.push((font, info));
        }
    }
    fonts.extend(typst_kit::fonts::system());
    fonts
});
/// One at a time: a document takes a core for seconds, and much memory.
static ONE: Semaphore = Semaphore::const_new(1);
/// Documents that are printed or wait for it, at most: the last waits about as long as anybody would.
const PLACES: usize = 6;
static QUEUE: Semaphore = Semaphore::const_new(PLACES);

/// A place in the queue before the printer, for as long as it is held. `None`: the queue is full.
pub fn queue() -> Option<SemaphorePermit<'static>> {
    QUEUE.try_acquire().ok()
}

/// A report on its way to paper: words alone, nothing of it is markup.
#[derive(Serialize, Deserialize)]
pub struct Document {
    title: String,
    subtitle: String,
    columns: Vec<Heading>,
    /// Row after row.
    cells: Vec<String>,
}

/// What stands over a column.
#[derive(Serialize, Deserialize)]
struct Heading {
    text: String,
    /// Whether what stands below are numbers.
    number: bool,
    /// Its share of the page, in letters.
    width: usize,
}

impl Heading {
    fn new(column: &Column) -> Self {
        let text = column.heading();
        let longest_word = text.split(' ').map(letters).max().unwrap_or_default();
        let number = matches!(column.kind, Kind::Seconds | Kind::Count);
        Self { text, number, width: longest_word + GAPS }
    }
}

impl Document {
    /// A document with its rows. The subtitle says of which dates it is and when it was made.
    pub fn new(title: &str, subtitle: &str, columns: &[Column], rows: &[Vec<Cell>]) -> Self {
        let mut headings: Vec<Heading> = columns.iter().map(Heading::new).collect();
        let mut cells = Vec::with_capacity(rows.len() * columns.len());
        for row in rows {
            let date =
                row.iter().find_map(|cell| if let Cell::Date(date) = cell { Some(*date) } else { None });
            for ((cell, column), heading) in row.iter().zip(columns).zip(&mut headings) {
                let text = shown(cell, column.kind, date);
                heading.width = heading.width.max(letters(&text).min(WIDEST) + GAPS);
                cells.push(broken(&text).into_owned());
            }
        }
        Self { title: title.to_owned(), subtitle: subtitle.to_owned(), columns: headings, cells }
    }

    /// Has it printed by a process of its own, which gives back the memory that it takes and can be
    /// ended. The file's bytes.
    pub async fn print(self) -> Result<Vec<u8>> {
        let _one = ONE.acquire().await?;
        // This very program, also after its file was replaced by another release.
        let mut child = Command::new("/proc/self/exe")
            .arg("print")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("cannot start the printer")?;
        let mut input = child.stdin.take().context("the printer takes nothing")?;
        let words = serde_json::to_vec(&self)?;
        let given = async move { input.write_all(&words).await }; // and closes it
        let (given, output) = timeout(PATIENCE, join(given, child.wait_with_output()))
            .await
            .context("the printer took too long")?;
        let output = output?;
        ensure!(output.status.success(), "the printer failed: its reason is in the log");
        given.context("the printer took nothing")?;
        Ok(output.stdout)
    }

    /// What the printer does: the file's bytes.
    pub fn set(self) -> Result<Vec<u8>> {
        let document = self.compose()?;
        // Tags for screen readers would make the file 17 times as large: those get the page or the CSV.
        let options = PdfOptions {
            creator: Smart::Custom(Some("Rollcall".into())),
            tagged: false,
            ..PdfOptions::default()
        };
        typst_pdf::pdf(&document, &options).map_err(|errors| told(&errors))
    }

    /// The pages.
    fn compose(self) -> Result<PagedDocument> {
        let columns = self.columns.into_iter().map(|heading| {
            dict! {
                "heading" => heading.text,
                "number" => heading.number,
                "width" => heading.width as f64,
            }
            .into_value()
        });
        let cells = self.cells.into_iter().map(|text| Str::from(text).into_value());
        let inputs = dict! {
            "title" => self.title,
            "subtitle" => self.subtitle,
            "columns" => columns.collect::<Array>(),
            "cells" => cells.collect::<Array>(),
        };
        let path = VirtualPath::new("report.typ").map_err(|_| anyhow!("the template has no path"))?;
        let main = FileId::new(RootedPath::new(VirtualRoot::Project, path));
        let desk = Desk {
            library: LazyHash::new(Library::builder().with_inputs(inputs).build()),
            source: Source::new(main, TEMPLATE.to_owned()),
        };
        let document: PagedDocument = typst::compile(&desk).output.map_err(|errors| told(&errors))?;
        let mut missing = 0_usize;
        for page in document.pages() {
            texts(&page.frame, &mut |text| {
                missing += text.glyphs.iter().filter(|glyph| glyph.id == 0).count();
            });
        }
        if missing > 0 {
            tracing::warn!(missing, "a PDF lacks letters: install fonts-noto-core and fonts-noto-cjk");
        }
        Ok(document)
    }
}

/// All that the template can see.
struct Desk {
    library: LazyHash<Library>,
    source: Source,
}

impl World for Desk {
    fn library(&self) -> &LazyHash<Library> {
        &self.library
    }

    fn book(&self) -> &LazyHash<FontBook> {
        FONTS.book()
    }

    fn main(&self) -> FileId {
        self.source.id()
    }

    fn source(&self, id: FileId) -> FileResult<Source> {
        if id == self.source.id() { Ok(self.source.clone()) } else { Err(FileError::AccessDenied) }
    }

    fn file(&self, _: FileId) -> FileResult<Bytes> {
        Err(FileError::AccessDenied)
    }

    fn font(&self, index: usize) -> Option<Font> {
        FONTS.font(index)
    }

    /// Nobody tells it: what a page says of time stands in the subtitle and the cells.
    fn today(&self, _: Option<Offset>) -> Option<Datetime> {
        None
    }
}

/// A value as people read it. A time on the date of its row needs no date of its own.
fn shown(cell: &Cell, kind: Kind, date: Option<Date>) -> String {
    match (cell, kind) {
        (Cell::Time(at), _) if Some(Date(at.0.date())) == date => at.0.strftime("%H:%M").to_string(),
        (Cell::Time(at), _) => at.0.strftime("%Y-%m-%d %H:%M").to_string(),
        (Cell::Count(seconds), Kind::Seconds) => {
            let minutes = seconds.unsigned_abs() / 60;
            let sign = if *seconds < 0 && minutes > 0 { "-" } else { "" };
            format!("{sign}{}:{:02}", minutes / 60, minutes % 60)
        }
        (Cell::List(words), _) => words.join(", "),
        (cell, _) => cell.plain(),
    }
}

/// The width of a text in letters; one of East Asia is as wide as two.
fn letters(text: &str) -> usize {
    text.chars().map(|letter| if letter >= '\u{2e80}' { 2 } else { 1 }).sum()
}

/// Lets a word that is wider than any column go on in the next line, instead of over its neighbour.
/// Scripts whose letters join, or that know no spaces, are left to Typst.
fn broken(text: &str) -> Cow<'_, str> {
    let long = |word: &str| word.chars().count() > WIDEST;
    if !text.split_whitespace().any(long) {
        return text.into();
    }
    let mut run = 0;
    let mut whole = String::with_capacity(text.len() * 2);
    for letter in text.chars() {
        run = if letter.is_whitespace() { 0 } else { run + 1 };
        if run > WIDEST && matches!(letter, '!'..='\u{2ff}' | '\u{370}'..='\u{52f}') {
            whole.push('\u{200b}');
            run = 1;
        }
        whole.push(letter);
    }
    whole.into()
}

/// Every text of a page.
fn texts(frame: &Frame, each: &mut impl FnMut(&TextItem)) {
    for (_, item) in frame.items() {
        match item {
            FrameItem::Group(group) => texts(&group.frame, each),
            FrameItem::Text(text) => each(text),
            _ => {}
        }
    }
}

/// What Typst complains of.
fn told(errors: &[SourceDiagnostic]) -> anyhow::Error {
    let messages: Vec<&str> = errors.iter().map(|error| error.message.as_str()).collect();
    anyhow!("the PDF can't be made: {}", messages.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLUMNS: &[Column] = &[
        Column { name: "date", kind: Kind::Date },
        Column { name: "name", kind: Kind::Text },
        Column { name: "first_in", kind: Kind::Time },
        Column { name: "worked_s", kind: Kind::Seconds },
        Column { name: "flags", kind: Kind::List },
    ];

    fn document(names: &[&str]) -> Document {
        let rows: Vec<Vec<Cell>> = names.iter().map(|name| row(name)).collect();
        Document::new("Time*sheet*", "#1 = $2026$ \"to\" @now", COLUMNS, &rows)
    }

    fn row(name: &str) -> Vec<Cell> {
        let at = "2026-03-03T08:00:00[Europe/Berlin]".parse().expect("a time");
        vec![
            Cell::Date(jiff::civil::date(2026, 3, 3).into()),
            Cell::Text(name.to_owned()),
            Cell::Time(crate::date::Zoned(at)),
            Cell::Count(30_599),
            Cell::List(vec!["long_span".to_owned(), "missing_in".to_owned()]),
        ]
    }

    /// The texts as they stand on the pages, without the gaps between them.
    fn read(document: Document) -> String {
        let mut all = String::new();
        for page in document.compose().expect("compiles").pages() {
            texts(&page.frame, &mut |text| all.extend(text.text.chars().filter(|c| !c.is_whitespace())));
        }
        all
    }

    #[test]
    fn markup_in_a_cell_stays_text() {
        let hostile = [
            "#import \"x\"",
            "*bold*",
            "_it_",
            "= heading",
            "$x$",
            "@ref",
            "<label>",
            "`raw`",
            "'single' -- ...",
            "\\ back\\slash",
            "// gone",
            "#panic()",
            "]) #(",
            "http://x.example",
        ];
        let text = read(document(&hostile));
        for cell in hostile.into_iter().chain(["Time*sheet*", "#1 = $2026$ \"to\" @now"]) {
            let cell = cell.replace(' ', "");
            assert!(text.contains(&cell), "{cell:?} is not in {text:?}");
        }
        assert!(text.contains("1/1") && text.contains("8:29") && text.contains("08:00"));
        let bytes = document(&hostile).set().expect("is made");
        assert!(bytes.starts_with(b"%PDF"));
    }

    #[test]
    fn the_queue_has_an_end() {
        let places: Vec<_> = (0..PLACES).map_while(|_| queue()).collect();
        assert!(places.len() == PLACES && queue().is_none());
        drop(places);
        assert!(queue().is_some());
    }

    #[test]
    fn odd_cells_do_no_harm() {
        let long = "x".repeat(3000);
        let odd = ["", "two\nlines\r\nand\ttabs", "\u{1}\u{7f}\u{202e}\u{feff}", &long, "👩‍👩‍👧 \u{10ffff}"];
        assert!(document(&odd).set().expect("is made").starts_with(b"%PDF"));
        assert!(document(&[]).set().expect("is made").starts_with(b"%PDF"));
    }

    #[test]
    fn names_in_the_own_fonts_have_all_their_letters() {
        let set =
            document(&["Łukasz Ångström-Çelik Nguyễn", "Ἀλέξανδρος Παπαδόπουλος", "Ђорђе Щукин"]).compose();
        for page in set.expect("compiles").pages() {
            texts(&page.frame, &mut |text| {
                assert!(text.glyphs.iter().all(|glyph| glyph.id != 0), "{:?} has boxes", text.text);
            });
        }
    }

    #[test]
    fn a_long_word_is_broken_and_others_are_not() {
        assert_eq!(broken(&"x".repeat(45)).split('\u{200b}').map(str::len).collect::<Vec<_>>(), [20, 20, 5]);
        for whole in ["Åsa Wolfeschlegelsteinha", "นางสาวเพ็ญพักตร์ศิริกุลวัฒนา"]
        {
            assert_eq!(broken(whole), whole);
        }
    }

    #[test]
    fn the_same_rows_make_the_same_bytes() {
        assert_eq!(document(&["a"]).set().expect("is made"), document(&["a"]).set().expect("is made"));
    }

    #[test]
    fn lengths_of_time_are_hours_and_minutes() {
        let shown = |seconds| shown(&Cell::Count(seconds), Kind::Seconds, None);
        assert_eq!([shown(0), shown(3599), shown(-59), shown(-5400)], ["0:00", "0:59", "0:00", "-1:30"]);
        assert_eq!(shown(360_000), "100:00");
    }
}
