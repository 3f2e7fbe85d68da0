//! A file as rows of cells, whether it is CSV or a workbook. What the cells mean is not known here.

use crate::error::Problem;
use crate::imports::problem::ImportError;
use crate::imports::rows::{COLUMNS, Row, Rows, cell, too_wide};
use crate::imports::upload::{FILE_BYTES, Upload};
use crate::imports::workbook;

/// How a text in UTF-8 may begin.
const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";
/// How a workbook begins (a zip).
const WORKBOOK: &[u8] = b"PK\x03\x04";
/// How a workbook of before 2007 begins, and one with a password.
const COMPOUND: &[u8] = b"\xD0\xCF\x11\xE0";

/// What a file holds. Rows without any text are left out.
#[derive(Debug)]
pub struct Sheet {
    /// The first row.
    pub header: Row,
    /// The others.
    pub rows: Vec<Row>,
}

impl Sheet {
    /// Reads a file; of a workbook its first worksheet.
    pub fn read(file: &Upload) -> Result<Self, ImportError> {
        let name = || file.name.clone();
        if file.bytes.len() > FILE_BYTES {
            return Err(Problem::FileTooLarge { file: name(), mebibytes: FILE_BYTES >> 20 }.into());
        }
        let mut rows = Rows::default();
        if file.bytes.starts_with(WORKBOOK) {
            workbook::read(&file.bytes, &mut rows)?;
        } else if file.bytes.starts_with(COMPOUND) {
            return Err(Problem::FileOldFormat { file: name() }.into());
        } else {
            read_csv(&file.bytes, &mut rows)?;
        }
        match rows.header {
            Some(header) => Ok(Self { header, rows: rows.others }),
            None => Err(Problem::FileEmpty { file: name() }.into()),
        }
    }
}

fn read_csv(bytes: &[u8], rows: &mut Rows) -> Result<(), ImportError> {
    let bytes = bytes.strip_prefix(BYTE_ORDER_MARK).unwrap_or(bytes);
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let line = String::from_utf8_lossy(&bytes[..error.valid_up_to()]).matches('\n').count() + 1;
        Problem::FileNotUtf8 { line }
    })?;
    let separator = separator(text);
    let unclosed = unclosed(text.as_bytes(), separator);
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .delimiter(separator)
        .from_reader(text.as_bytes());
    let mut record = csv::StringRecord::new();
    let mut number = 0;
    loop {
        let begin = reader.position().byte() as usize;
        if !reader.read_record(&mut record).map_err(anyhow::Error::from)? {
            return Ok(());
        }
        number += 1 + blank_lines(text.as_bytes(), begin);
        if unclosed.is_some_and(|mark| (mark as u64) < reader.position().byte()) {
            return Err(Problem::FileQuotationOpen { row: number }.into());
        }
        if record.iter().skip(COLUMNS).any(|text| !text.trim().is_empty()) {
            return Err(too_wide(number));
        }
        rows.add(number, record.iter().take(COLUMNS).map(cell).collect())?;
    }
}

/// What separates the cells: a semicolon, where a spreadsheet takes the comma for something else.
fn separator(text: &str) -> u8 {
    let header = text.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
    let count = |sign: char| header.matches(sign).count();
    if count(';') > count(',') { b';' } else { b',' }
}

/// Where a cell within quotation marks begins that has no end, or more behind it: the reader would
/// take the rows below for a part of it.
fn unclosed(text: &[u8], separator: u8) -> Option<usize> {
    /// Within a cell.
    enum At {
        Begin,
        Plain,
        /// Its mark stands here.
        Quoted(usize),
        /// After what may be its end, or the first half of two marks that stand for one.
        Mark(usize),
        /// After blanks behind its end.
        End(usize),
    }
    let mut at = At::Begin;
    for (place, byte) in text.iter().copied().enumerate() {
        let ends = byte == separator || matches!(byte, b'\r' | b'\n');
        at = match at {
            At::Quoted(mark) if byte == b'"' => At::Mark(mark),
            At::Mark(mark) if byte == b'"' => At::Quoted(mark),
            At::Quoted(mark) => At::Quoted(mark),
            _ if ends => At::Begin,
            At::Mark(mark) | At::End(mark) if matches!(byte, b' ' | b'\t') => At::End(mark),
            At::Mark(mark) | At::End(mark) => return Some(mark),
            At::Begin if byte == b'"' => At::Quoted(place),
            At::Begin | At::Plain => At::Plain,
        };
    }
    match at {
        At::Quoted(mark) => Some(mark),
        _ => None,
    }
}

/// How many empty lines stand from here on: a spreadsheet shows them as rows, the reader steps over
/// them.
fn blank_lines(text: &[u8], from: usize) -> u32 {
    let mut before = from.checked_sub(1).and_then(|index| text.get(index)).copied();
    let mut count = 0;
    for byte in text.iter().skip(from).copied() {
        match (before, byte) {
            (Some(b'\r'), b'\n') => {} // the second half of one line's end
            (_, b'\r' | b'\n') => count += 1,
            _ => break,
        }
        before = Some(byte);
    }
    count
}

#[cfg(test)]
mod tests {
    use rust_xlsxwriter::{ExcelDateTime, Format, Formula, Workbook, Worksheet};

    use super::*;
    use crate::imports::rows::{CELL, ROWS, TEXT};

    fn read(bytes: impl Into<bytes::Bytes>) -> Result<Sheet, ImportError> {
        Sheet::read(&Upload { name: "a file".into(), bytes: bytes.into() })
    }

    fn row(number: u32, texts: &[&str]) -> Row {
        Row { number, cells: texts.iter().map(|text| Ok((*text).to_owned())).collect() }
    }

    fn all(sheet: Sheet) -> Vec<Row> {
        std::iter::once(sheet.header).chain(sheet.rows).collect()
    }

    fn refusal(bytes: impl Into<bytes::Bytes>) -> String {
        read(bytes).expect_err("a refusal").to_string()
    }

    fn workbook(fill: impl FnOnce(&mut Worksheet)) -> Vec<u8> {
        let mut book = Workbook::new();
        fill(book.add_worksheet());
        book.save_to_buffer().unwrap()
    }

    #[test]
    fn a_text_has_a_mark_semicolons_and_line_breaks_in_quotation_marks() {
        let text = "\u{feff}number;reason\r\n1001;\"first\r\nsecond; \"\"third\"\"\"\r\n1002; plain \r\n";
        let sheet = read(text).unwrap();
        let expected = vec![
            row(1, &["number", "reason"]),
            row(2, &["1001", "first\r\nsecond; \"third\""]),
            row(3, &["1002", "plain"]),
        ];
        assert_eq!(all(sheet), expected);
    }

    #[test]
    fn rows_are_numbered_as_a_spreadsheet_shows_them() {
        for end in ["\n", "\r\n"] {
            let lines = ["", "number,name", "", "", "1,\"a", "b\"", ",,", "2,c", "", "3,d"];
            let sheet = read(lines.join(end)).unwrap();
            let numbers: Vec<u32> = all(sheet).iter().map(|row| row.number).collect();
            assert_eq!(numbers, [2, 5, 7, 9], "{end:?}");
        }
    }

    #[test]
    fn rows_may_be_ragged_and_end_without_a_line_break() {
        let sheet = read("a,b\n1\n1,2,3").unwrap();
        assert_eq!(all(sheet), [row(1, &["a", "b"]), row(2, &["1"]), row(3, &["1", "2", "3"])]);
    }

    #[test]
    fn a_workbook_has_numbers_dates_formulas_and_gaps() {
        let bytes = workbook(|sheet| {
            let date = Format::new().set_num_format("dd.mm.yyyy");
            sheet.write_string(1, 0, "number").unwrap();
            sheet.write_string(1, 1, "from").unwrap();
            sheet.write_number(2, 0, 1001).unwrap();
            let day = ExcelDateTime::from_ymd(2026, 1, 5).unwrap();
            sheet.write_datetime_with_format(2, 1, &day, &date).unwrap();
            sheet.write_formula(4, 0, Formula::new("=1000+2").set_result("1002")).unwrap();
            sheet.write_number(4, 1, 0.5).unwrap();
            sheet.write_boolean(4, 3, true).unwrap();
        });
        let expected = vec![
            row(2, &["number", "from"]),
            row(3, &["1001", "2026-01-05"]),
            row(5, &["1002", "0.5", "", "true"]),
        ];
        assert_eq!(all(read(bytes).unwrap()), expected);
    }

    #[test]
    fn hidden_worksheets_do_not_count() {
        let mut book = Workbook::new();
        let hidden = book.add_worksheet();
        hidden.write_string(0, 0, "lists").expect("a cell");
        hidden.set_hidden(true);
        let seen = book.add_worksheet();
        seen.write_string(0, 0, "number").expect("a cell");
        seen.set_active(true);
        assert_eq!(all(read(book.save_to_buffer().unwrap()).unwrap()), [row(1, &["number"])]);
    }

    #[test]
    fn a_text_that_many_cells_share_counts_for_each() {
        let text = "a".repeat(CELL);
        let cells = TEXT / CELL + COLUMNS;
        let bytes = workbook(|sheet| {
            for cell in 0..cells {
                let column = (cell % COLUMNS) as u16;
                sheet.write_string((cell / COLUMNS) as u32, column, &text).expect("a cell");
            }
        });
        assert!(bytes.len() < 1 << 20);
        assert_eq!(refusal(bytes), "the file has more than 64 MiB of text: divide it");
    }

    #[test]
    fn only_the_first_worksheet_counts() {
        let mut book = Workbook::new();
        book.add_worksheet().write_string(0, 0, "number").unwrap();
        book.add_worksheet().write_string(0, 0, "elsewhere").unwrap();
        assert_eq!(all(read(book.save_to_buffer().unwrap()).unwrap()), [row(1, &["number"])]);
    }

    #[test]
    fn a_far_cell_takes_no_memory() {
        let far = |column| {
            workbook(|sheet| {
                sheet.write_string(0, 0, "number").unwrap();
                sheet.write_string(1_048_575, column, "far").unwrap();
            })
        };
        assert_eq!(all(read(far(1)).unwrap()).last(), Some(&row(1_048_576, &["", "far"])));
        assert_eq!(refusal(far(16_383)), "row 1048576 has more than 20 columns");
    }

    #[test]
    fn what_is_no_file_of_ours_is_refused_with_the_way_out() {
        assert!(refusal("").contains("is empty"));
        assert!(refusal(" ;;\n\n").contains("is empty"));
        assert!(refusal(b"number\nJ\xF6rg".to_vec()).contains("(line 2): save it as CSV UTF-8"));
        assert!(refusal(b"\xD0\xCF\x11\xE0rest".to_vec()).contains("save it as .xlsx"));
        assert!(refusal(b"PK\x03\x04rest".to_vec()).contains("can't be read"));
        assert!(refusal(vec![b'a'; FILE_BYTES + 1]).contains("larger than 16 MiB"));
        assert!(refusal(",".repeat(25) + "a").contains("more than 20 columns"));
        assert!(refusal("a\n".repeat(ROWS + 2)).contains("more than 200000 rows"));
    }

    #[test]
    fn a_long_cell_is_a_problem_of_its_own() {
        let sheet = read(format!("a\n{}\n\"{}\"", "ü".repeat(1000), "x\n".repeat(600))).unwrap();
        assert!(sheet.rows[0].cells[0].is_ok());
        assert!(
            sheet.rows[1].cells[0].as_ref().is_err_and(|why| **why == Problem::CellTooLong { most: CELL })
        );
        assert_eq!(sheet.rows.len(), 2);
    }

    #[test]
    fn a_quotation_mark_swallows_no_rows() {
        for wrong in [
            "a,b\n\n1,\"never closed\n2,x\n3,y\n",
            "a,b\n\n1,\"never closed",
            "a,b\r\n\r\n1,\"",
            "a,b\n\n1,\"closed below\n2,\"x\"\n3,y\n",
            "a,b\n\n1,\"closed below\n2,\" x\"\n3,y\n",
            "a,b\n\n1,\"say \"yes\" or no\"\n",
        ] {
            let reported = refusal(wrong);
            assert!(
                reported.starts_with("row 3 has a quotation mark that is not closed"),
                "{wrong:?}: {reported}"
            );
        }
        let good =
            "a;b\n1;\"two\n\"\"lines\"\"\" \n2;5\" pipe\n3;a \"quoted\" word\n\"\";\"\"\"\"\n4;\"end\"";
        let expected = [
            row(1, &["a", "b"]),
            row(2, &["1", "two\n\"lines\""]),
            row(3, &["2", "5\" pipe"]),
            row(4, &["3", "a \"quoted\" word"]),
            row(5, &["", "\""]),
            row(6, &["4", "end"]),
        ];
        assert_eq!(all(read(good).unwrap()), expected);
    }
}
