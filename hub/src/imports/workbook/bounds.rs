//! How much a workbook may ask for. Its reader believes what the file says of itself and keeps copies
//! of what it finds, so a few kilobytes could take all memory: all of it is measured here first, by
//! reading the same XML in the same way.

use std::io::{self, BufRead, BufReader, Cursor, Read};

use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};
use zip::ZipArchive;

use crate::error::Problem;
use crate::imports::problem::ImportError;

/// Bytes of all that is packed in a workbook, at most.
const UNPACKED: u64 = 256 << 20;
/// Files that are packed in it, at most.
const ENTRIES: usize = 10_000;
/// How each of them is announced.
const ENTRY: &[u8] = b"PK\x01\x02";
/// Texts that cells share, at most: as many as a file may have cells.
const TEXTS: usize = 4_000_000;
/// Formats, links, sheets and names, at most.
const DEFINITIONS: usize = 200_000;
/// Bytes of the texts that all formats repeat, at most.
const COPIES: usize = 256 << 20;

/// Refuses a workbook that would take too much memory.
pub fn check(bytes: &[u8]) -> Result<(), ImportError> {
    check_within(bytes, UNPACKED)
}

fn check_within(bytes: &[u8], most: u64) -> Result<(), ImportError> {
    // Before anything makes room for them.
    if bytes.windows(ENTRY.len()).filter(|window| *window == ENTRY).count() > ENTRIES {
        return Err(Problem::WorkbookTooManyParts { most: ENTRIES }.into());
    }
    let mut book = ZipArchive::new(Cursor::new(bytes)).map_err(unreadable)?;
    let mut left = most;
    for index in 0..book.len() {
        let entry = book.by_index(index).map_err(unreadable)?;
        // What an entry says of its own size means nothing.
        let mut entry = BufReader::new(entry.take(left + 1));
        measure(&mut entry)?;
        io::copy(&mut entry, &mut io::sink()).map_err(unreadable)?;
        left = entry
            .get_ref()
            .limit()
            .checked_sub(1)
            .ok_or(Problem::WorkbookTooLarge { mebibytes: most >> 20 })?;
    }
    Ok(())
}

/// A workbook is not what its reader takes.
pub fn unreadable(error: impl std::fmt::Display) -> ImportError {
    Problem::WorkbookUnreadable { reason: error.to_string() }.into()
}

/// Measures an entry as far as it is XML; its reader gets no further.
fn measure(entry: &mut impl BufRead) -> Result<(), ImportError> {
    let mut reader = Reader::from_reader(entry);
    let config = reader.config_mut();
    config.check_end_names = false;
    config.check_comments = false;
    config.expand_empty_elements = true;
    let mut found = Found::default();
    let mut buffer = Vec::new();
    loop {
        buffer.clear();
        match reader.read_event_into(&mut buffer) {
            Ok(Event::Start(element)) => found.note(&element)?,
            Ok(Event::Eof) | Err(_) => return Ok(()),
            Ok(_) => {}
        }
    }
}

/// What an entry holds.
#[derive(Default)]
struct Found {
    texts: usize,
    definitions: usize,
    formats: usize,
    /// Bytes of the longest element, without what is in it.
    longest: usize,
}

impl Found {
    fn note(&mut self, element: &BytesStart<'_>) -> Result<(), ImportError> {
        self.longest = self.longest.max(element.len());
        match element.local_name().as_ref() {
            "sst" if announced(element.attributes_raw()) > TEXTS => self.texts = usize::MAX,
            "si" => self.texts = self.texts.saturating_add(1),
            "xf" => {
                self.formats += 1;
                self.definitions += 1;
            }
            "font" | "fill" | "border" | "numFmt" | "definedName" | "sheet" | "Relationship" => {
                self.definitions += 1;
            }
            _ => {}
        }
        if self.texts > TEXTS {
            return Err(Problem::WorkbookTooManyTexts { most: TEXTS }.into());
        }
        // Each format has its own copy of the name of its font and of how it shows numbers.
        if self.definitions > DEFINITIONS || self.formats.saturating_mul(self.longest) > COPIES {
            return Err(Problem::WorkbookTooComplex.into());
        }
        Ok(())
    }
}

/// How many texts are announced, for which the workbook's reader makes room before it sees any.
fn announced(attributes: &str) -> usize {
    let said = attributes.split("uniqueCount").skip(1).map(|rest| {
        let rest = rest.trim_start_matches(|sign: char| !sign.is_ascii_digit());
        let end = rest.find(|sign: char| !sign.is_ascii_digit()).unwrap_or(rest.len());
        if end == 0 { 0 } else { rest[..end].parse().unwrap_or(usize::MAX) }
    });
    said.max().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use rust_xlsxwriter::Workbook;
    use zip::ZipWriter;
    use zip::write::SimpleFileOptions;

    use super::*;

    const SHARED: &str = "xl/sharedStrings.xml";

    /// A small workbook, some of whose parts are others.
    fn workbook(parts: &[(&str, &str)]) -> Vec<u8> {
        let mut book = Workbook::new();
        book.add_worksheet().write_string(0, 0, "number").expect("a cell");
        let bytes = book.save_to_buffer().expect("a workbook");
        let mut from = ZipArchive::new(Cursor::new(bytes)).expect("a zip");
        let mut to = ZipWriter::new(Cursor::new(Vec::new()));
        for index in 0..from.len() {
            let entry = from.by_index_raw(index).expect("an entry");
            if parts.iter().all(|(name, _)| entry.name().ok().as_deref() != Some(*name)) {
                to.raw_copy_file(entry).expect("a copy");
            }
        }
        for (name, text) in parts {
            to.start_file(*name, SimpleFileOptions::default()).expect("an entry");
            to.write_all(text.as_bytes()).expect("its text");
        }
        to.finish().expect("a zip").into_inner()
    }

    fn refusal(bytes: &[u8]) -> String {
        check(bytes).expect_err("a refusal").to_string()
    }

    #[test]
    fn an_ordinary_workbook_is_good() {
        assert!(check(&workbook(&[])).is_ok());
        assert!(check(&workbook(&[(SHARED, "<sst uniqueCount=\"1\"><si><t>number</t></si></sst>")])).is_ok());
    }

    #[test]
    fn announced_texts_take_no_room() {
        for head in [
            "<sst uniqueCount=\"400000000000\">".to_owned(),
            "<x:sst count='1' uniqueCount = '4000001'>".to_owned(),
            "<sst uniqueCount=\"99999999999999999999999999\">".to_owned(),
            format!("<!--{}--><sst uniqueCount=\"0400000000000\">", " ".repeat(1 << 20)),
        ] {
            let bytes = workbook(&[(SHARED, &format!("{head}<si><t>number</t></si></sst>"))]);
            assert!(bytes.len() < 10_000);
            assert!(refusal(&bytes).contains("more than 4000000 texts"), "{}", refusal(&bytes));
        }
    }

    #[test]
    fn a_bomb_is_not_unpacked_whatever_it_is_called() {
        let text = format!("<a>{}</a>", " ".repeat(1 << 20));
        let bytes = workbook(&[("docProps/thumbnail.jpeg", &text)]);
        assert!(check_within(&bytes, 2 << 20).is_ok());
        let told = check_within(&bytes, 1 << 20).expect_err("a refusal").to_string();
        assert!(told.contains("more than 1 MiB when it is unpacked"), "{told}");
        // As if it were small.
        let size = (text.len() as u32).to_le_bytes();
        let mut lying = bytes.clone();
        for place in 0..lying.len() - 4 {
            if lying[place..place + 4] == size {
                lying[place..place + 4].copy_from_slice(&10u32.to_le_bytes());
            }
        }
        assert!(lying != bytes && check_within(&lying, 1 << 20).is_err());
    }

    #[test]
    fn formats_and_parts_are_counted() {
        let many = format!("<styleSheet><cellXfs>{}", "<xf/>".repeat(DEFINITIONS + 1));
        assert!(refusal(&workbook(&[("xl/styles.xml", &many)])).contains("too many formats"));
        let name = "a".repeat(1 << 20);
        let long = format!("<font><name val=\"{name}\"/></font>{}", "<xf fontId=\"0\"/>".repeat(300));
        assert!(refusal(&workbook(&[("xl/styles.xml", &long)])).contains("too many formats"));
        assert!(refusal(&ENTRY.repeat(ENTRIES + 1)).contains("more than 10000 parts"));
    }
}
