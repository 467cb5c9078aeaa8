//! A message byte by byte: what `decode --explain` prints.

use crate::protocol::{Problem, show_text};
use std::borrow::Cow;

/// A field of a message. The rows of a message cover each of its bytes once, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Row {
    /// In bytes from the start of the message.
    pub(crate) offset: usize,
    pub(crate) len: usize,
    pub(crate) field: Cow<'static, str>,
    pub(crate) value: String,
    pub(crate) meaning: String,
    /// Of the protocol's document.
    pub(crate) section: &'static str,
    /// What is wrong begins here.
    pub(crate) is_wrong: bool,
}

impl Row {
    fn end(&self) -> usize {
        self.offset + self.len
    }
}

/// Goes through a message from field to field, and notes a row for each. All methods return `None` where the message ends too early.
#[derive(Debug)]
pub(crate) struct Explainer<'a> {
    bytes: &'a [u8],
    rows: Vec<Row>,
    at: usize,
    /// Where the message ends, which a length may say.
    end: usize,
    section: &'static str,
    is_little_endian: bool,
}

impl<'a> Explainer<'a> {
    /// At the start of `bytes`. Numbers are big-endian.
    pub(crate) const fn new(bytes: &'a [u8], section: &'static str) -> Self {
        Self { bytes, rows: Vec::new(), at: 0, end: bytes.len(), section, is_little_endian: false }
    }

    pub(crate) fn little_endian(self, is_little_endian: bool) -> Self {
        Self { is_little_endian, ..self }
    }

    pub(crate) const fn section(&mut self, section: &'static str) {
        self.section = section;
    }

    /// The message ends at `end`, if there are that many bytes.
    pub(crate) fn end_at(&mut self, end: u64) {
        if let Some(end) = usize::try_from(end).ok().filter(|end| (self.at..=self.bytes.len()).contains(end))
        {
            self.end = end;
        }
    }

    /// What has not been explained yet.
    pub(crate) fn rest(&self) -> &'a [u8] {
        self.bytes.get(self.at..self.end).unwrap_or(&[])
    }

    pub(crate) fn left(&self) -> usize {
        self.rest().len()
    }

    /// The next `len` bytes.
    pub(crate) fn row(
        &mut self,
        field: impl Into<Cow<'static, str>>,
        len: usize,
        show: impl FnOnce(&'a [u8]) -> (String, String),
    ) -> Option<&'a [u8]> {
        let bytes = self.rest().get(..len)?;
        let (value, meaning) = show(bytes);
        let (field, section) = (field.into(), self.section);
        self.rows.push(Row { offset: self.at, len, field, value, meaning, section, is_wrong: false });
        self.at += len;
        Some(bytes)
    }

    /// An unsigned number of up to 8 bytes.
    pub(crate) fn number(
        &mut self,
        field: impl Into<Cow<'static, str>>,
        len: usize,
        meaning: impl FnOnce(u64) -> String,
    ) -> Option<u64> {
        let mut number = 0;
        let is_little_endian = self.is_little_endian;
        self.row(field, len, |bytes| {
            let push = |number: u64, byte: &u8| (number << 8) | u64::from(*byte);
            number = match is_little_endian {
                true => bytes.iter().rev().fold(0, push),
                false => bytes.iter().fold(0, push),
            };
            (number.to_string(), meaning(number))
        })?;
        Some(number)
    }

    /// Text of `len` bytes.
    pub(crate) fn text(
        &mut self,
        field: impl Into<Cow<'static, str>>,
        len: u64,
        meaning: &str,
    ) -> Option<&'a [u8]> {
        let len = usize::try_from(len).ok()?;
        self.row(field, len, |text| (clipped(show_text(text).to_string()), meaning.into()))
    }

    /// Bytes that are not looked into.
    pub(crate) fn data(
        &mut self,
        field: impl Into<Cow<'static, str>>,
        len: u64,
        meaning: &str,
    ) -> Option<&'a [u8]> {
        let len = usize::try_from(len).ok()?;
        self.row(field, len, |bytes| (bytes_of(bytes.len()), meaning.into()))
    }

    /// All rows, and one for what is behind them. `problem` is what the decoder says.
    pub(crate) fn finish(self, problem: Option<&Problem>) -> Vec<Row> {
        let total = self.bytes.len();
        let Some((field, wrong_at)) = problem.and_then(|problem| problem.at) else {
            let (mut rows, behind) = (self.rows, if problem.is_some() { NOT_READ } else { BEHIND });
            fill(&mut rows, total, behind);
            return rows;
        };
        let wrong_at = wrong_at.min(total);
        let mut rows = Vec::new();
        let mut wrong = None;
        for row in self.rows {
            if row.offset < wrong_at && row.end() <= wrong_at {
                rows.push(row);
            } else if row.offset < wrong_at {
                // Inside of a row: of a list, for instance.
                let (before, behind) = (wrong_at - row.offset, row.end() - wrong_at);
                let part = |offset, len| Row { offset, len, value: bytes_of(len), ..row.clone() };
                wrong = Some(Row { is_wrong: true, ..part(wrong_at, behind) });
                rows.push(part(row.offset, before));
                break;
            } else {
                wrong = (row.offset == wrong_at).then_some(Row { is_wrong: true, ..row });
                break;
            }
        }
        fill(&mut rows, wrong_at, NOT_READ);
        let wrong = wrong.unwrap_or_else(|| Row {
            offset: wrong_at,
            len: total - wrong_at,
            field: field.into(),
            value: bytes_of(total - wrong_at),
            meaning: String::new(),
            section: self.section,
            is_wrong: true,
        });
        rows.push(Row { field: field.into(), ..wrong });
        fill(&mut rows, total, NOT_READ);
        rows
    }
}

const BEHIND: &str = "behind the message: ignored";
const NOT_READ: &str = "not read";

/// A row for the bytes up to `end`, if there are any that no row covers.
fn fill(rows: &mut Vec<Row>, end: usize, meaning: &str) {
    let offset = rows.last().map_or(0, Row::end);
    if offset < end {
        let (len, value) = (end - offset, bytes_of(end - offset));
        let (field, meaning) = ("-".into(), meaning.into());
        rows.push(Row { offset, len, field, value, meaning, section: "-", is_wrong: false });
    }
}

pub(crate) fn bytes_of(len: usize) -> String {
    format!("{len} byte{}", if len == 1 { "" } else { "s" })
}

/// Text for a table.
pub(crate) fn clipped(text: String) -> String {
    match text.char_indices().nth(48) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

/// The meaning of a field that needs none.
pub(crate) fn plain(_: u64) -> String {
    String::new()
}

/// The lines of a table, and whether each is about what is wrong. `base` is added to the offsets.
pub(crate) fn table(rows: &[Row], bytes: &[u8], base: usize) -> Vec<(String, bool)> {
    const SHOWN: usize = 12;
    let mut table = comfy_table::Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    table.set_header(["offset", "length", "bytes", "field", "value", "meaning", "section"]);
    for row in rows {
        let of_row = bytes.get(row.offset..row.end()).unwrap_or(&[]);
        let mut shown: Vec<String> = of_row.iter().take(SHOWN).map(|byte| format!("{byte:02x}")).collect();
        if of_row.len() > SHOWN {
            shown.push("…".into());
        }
        let mark = if row.is_wrong { ">" } else { "" };
        let cell = |text: &str| if text.is_empty() { "-".to_owned() } else { text.to_owned() };
        table.add_row([
            format!("{mark}{}", base + row.offset),
            row.len.to_string(),
            cell(&shown.join(" ")),
            cell(&row.field),
            cell(&row.value),
            cell(&row.meaning),
            cell(row.section),
        ]);
    }
    let wrong = core::iter::once(false).chain(rows.iter().map(|row| row.is_wrong));
    table.lines().map(|line| line.trim_end().to_owned()).zip(wrong).collect()
}
