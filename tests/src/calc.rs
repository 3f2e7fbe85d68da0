//! LibreOffice Calc, which opens workbooks as people do and adds their columns up.

use std::io::{Cursor, Read, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use calamine::{Data, Ods, Range, Reader, open_workbook};
use zip::write::SimpleFileOptions;
use zip::{ZipArchive, ZipWriter};

/// Where the only sheet of a workbook stands in it.
const SHEET: &str = "xl/worksheets/sheet1.xml";

/// The same workbook with a row below its rows (a header and so many more) that asks for the sum of every
/// column. What the sums are is not said: whoever opens it has to add up.
pub fn with_sums(workbook: &[u8], columns: usize, rows: usize) -> Result<Vec<u8>> {
    let (last, below) = (rows + 1, rows + 2);
    let sum = |place: usize| {
        let letter = char::from(b'A' + place as u8);
        format!("<c r=\"{letter}{below}\"><f>SUM({letter}2:{letter}{last})</f></c>")
    };
    let sums: String = (0..columns).map(sum).collect();
    let mut book = ZipArchive::new(Cursor::new(workbook))?;
    let mut copy = ZipWriter::new(Cursor::new(Vec::new()));
    for index in 0..book.len() {
        let mut part = book.by_index(index)?;
        if part.name()? != SHEET {
            copy.raw_copy_file(part)?;
            continue;
        }
        let mut text = String::new();
        part.read_to_string(&mut text)?;
        ensure!(text.contains("</sheetData>"), "no rows in {text}");
        let text = text.replace("</sheetData>", &format!("<row r=\"{below}\">{sums}</row></sheetData>"));
        copy.start_file(SHEET, SimpleFileOptions::default())?;
        copy.write_all(text.as_bytes())?;
    }
    Ok(copy.finish()?.into_inner())
}

/// How LibreOffice reads CSV where people let it split lines at semicolons: these (59), quotes (34), UTF-8 (76).
pub const SEMICOLONS: &str = "Text - txt - csv (StarCalc):59,34,76,1";

/// Lets LibreOffice open files, compute them and write them in its own format, all in one go.
pub fn computed(files: &[PathBuf], folder: &Path, read_as: Option<&str>) -> Result<()> {
    let profile = format!("-env:UserInstallation=file://{}", folder.join("profile").display());
    let output = Command::new("soffice")
        .args([&profile, "--headless", "--convert-to", "ods", "--outdir"])
        .arg(folder)
        .args(read_as.map(|filter| format!("--infilter={filter}")))
        .args(files)
        .env("HOME", folder)
        .output()
        .context("cannot run soffice: run tests/setup.sh")?;
    ensure!(output.status.success(), "soffice: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

/// How many formulas stand in what LibreOffice wrote.
pub fn formulas(file: &Path) -> Result<usize> {
    let mut book: Ods<_> = open_workbook(file).with_context(|| format!("{}", file.display()))?;
    let name = book.sheet_names().first().context("a sheet")?.clone();
    Ok(book.worksheet_formula(&name)?.used_cells().count())
}

/// The only sheet of what LibreOffice wrote.
pub fn sheet(file: &Path) -> Result<Range<Data>> {
    let mut book: Ods<_> = open_workbook(file).with_context(|| format!("{}", file.display()))?;
    Ok(book.worksheet_range_at(0).context("a sheet")??)
}
