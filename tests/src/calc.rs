//! Opens reports with LibreOffice Calc and lets it compute sums.

use std::io::{Cursor, Read, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use calamine::{Data, Ods, Range, Reader, open_workbook};
use zip::write::SimpleFileOptions;
use zip::{ZipArchive, ZipWriter};

const SHEET: &str = "xl/worksheets/sheet1.xml";

/// Appends a row with the formula `SUM` of each column, without cached values, so that LibreOffice has to compute them.
/// `rows` does not count the header.
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

/// Import filter for CSV with semicolons (59), quotes (34), UTF-8 (76).
pub const SEMICOLONS: &str = "Text - txt - csv (StarCalc):59,34,76,1";

/// Converts files to ODS in one run, which computes all formulas.
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

/// The number of formulas in an ODS file.
pub fn formulas(file: &Path) -> Result<usize> {
    let mut book: Ods<_> = open_workbook(file).with_context(|| format!("{}", file.display()))?;
    let name = book.sheet_names().first().context("a sheet")?.clone();
    Ok(book.worksheet_formula(&name)?.used_cells().count())
}

/// The only sheet of an ODS file.
pub fn sheet(file: &Path) -> Result<Range<Data>> {
    let mut book: Ods<_> = open_workbook(file).with_context(|| format!("{}", file.display()))?;
    Ok(book.worksheet_range_at(0).context("a sheet")??)
}
