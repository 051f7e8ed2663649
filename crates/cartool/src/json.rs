//! A writer of JSON, item by item.

use std::fmt::Display;
use std::io::{self, Write};

use crate::quote::{is_ascii_printable, is_harmless, write_quoted};

/// How JSON is laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Layout {
    /// Two spaces per level, everything but ASCII escaped: as Python's `json.dumps(indent="  ")`.
    Indented,
    /// No white space, text unchanged except for what a terminal would act on.
    Line,
}

/// How many levels are indented; anything deeper is indented like the last of them.
const MAX_INDENTED: usize = 32;

/// Writes one JSON value. The only state that it keeps is which lists and objects are open.
pub(crate) struct JsonWriter<W> {
    out: W,
    layout: Layout,
    /// For each open list or object, whether it has an item already.
    open: Vec<bool>,
    /// Whether the last thing written was a key.
    after_key: bool,
}

impl<W: Write> JsonWriter<W> {
    pub(crate) fn new(out: W, layout: Layout) -> Self {
        Self {
            out,
            layout,
            open: Vec::new(),
            after_key: false,
        }
    }

    /// Opens a list with `[` or an object with `{`.
    pub(crate) fn open(&mut self, bracket: &str) -> io::Result<()> {
        self.place()?;
        self.open.push(false);
        self.out.write_all(bracket.as_bytes())
    }

    /// Closes the innermost list with `]` or object with `}`.
    pub(crate) fn close(&mut self, bracket: &str) -> io::Result<()> {
        let had_items = self.open.pop() == Some(true);
        if had_items {
            self.indent()?;
        }
        self.out.write_all(bracket.as_bytes())
    }

    /// Writes the key of the value that follows.
    pub(crate) fn key(&mut self, key: &str) -> io::Result<()> {
        self.place()?;
        self.quoted(key)?;
        self.after_key = true;
        self.out.write_all(match self.layout {
            Layout::Indented => b": ",
            Layout::Line => b":",
        })
    }

    /// Writes text.
    pub(crate) fn text(&mut self, text: &str) -> io::Result<()> {
        self.place()?;
        self.quoted(text)
    }

    /// Writes what is already JSON: a number, `true`, `false` or `null`.
    pub(crate) fn literal(&mut self, literal: impl Display) -> io::Result<()> {
        self.place()?;
        write!(self.out, "{literal}")
    }

    /// Writes a field whose value is text.
    pub(crate) fn text_field(&mut self, key: &str, text: impl Display) -> io::Result<()> {
        self.optional_text_field(key, Some(text))
    }

    /// Writes a field whose value is text, or null if there is none.
    pub(crate) fn optional_text_field(
        &mut self,
        key: &str,
        text: Option<impl Display>,
    ) -> io::Result<()> {
        self.optional_field(key, text, |json, text| json.text(&text.to_string()))
    }

    /// Writes a field whose value is a number.
    pub(crate) fn number_field(&mut self, key: &str, number: impl Display) -> io::Result<()> {
        self.optional_number_field(key, Some(number))
    }

    /// Writes a field whose value is a number, or null if there is none.
    pub(crate) fn optional_number_field(
        &mut self,
        key: &str,
        number: Option<impl Display>,
    ) -> io::Result<()> {
        self.optional_field(key, number, Self::literal)
    }

    fn optional_field<T>(
        &mut self,
        key: &str,
        value: Option<T>,
        write: impl FnOnce(&mut Self, T) -> io::Result<()>,
    ) -> io::Result<()> {
        self.key(key)?;
        match value {
            Some(value) => write(self, value),
            None => self.literal("null"),
        }
    }

    /// Writes an object of one field.
    pub(crate) fn object_of(&mut self, key: &str, text: &str) -> io::Result<()> {
        self.open("{")?;
        self.key(key)?;
        self.text(text)?;
        self.close("}")
    }

    /// Moves to where the next item belongs.
    fn place(&mut self) -> io::Result<()> {
        if std::mem::take(&mut self.after_key) {
            return Ok(());
        }
        let Some(has_items) = self.open.last_mut() else {
            return Ok(());
        };
        if std::mem::replace(has_items, true) {
            self.out.write_all(b",")?;
        }
        self.indent()
    }

    fn indent(&mut self) -> io::Result<()> {
        const SPACES: &[u8] = &[b' '; 64];
        if self.layout == Layout::Line {
            return Ok(());
        }
        self.out.write_all(b"\n")?;
        // A few untrusted bytes may be nested deeply, and must not expand to a lot of output.
        let mut left = 2 * self.open.len().min(MAX_INDENTED);
        while let Some(spaces) = SPACES
            .get(..left.min(SPACES.len()))
            .filter(|s| !s.is_empty())
        {
            self.out.write_all(spaces)?;
            left -= spaces.len();
        }
        Ok(())
    }

    fn quoted(&mut self, text: &str) -> io::Result<()> {
        let plain = match self.layout {
            Layout::Indented => is_ascii_printable,
            Layout::Line => is_harmless,
        };
        let mut quoted = String::with_capacity(text.len() + 2);
        let written = write_quoted(&mut quoted, text, plain);
        written.expect("a string takes every write");
        self.out.write_all(quoted.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(layout: Layout) -> String {
        let mut out = Vec::new();
        let mut json = JsonWriter::new(&mut out, layout);
        json.open("{").unwrap();
        json.key("empty").unwrap();
        json.open("[").unwrap();
        json.close("]").unwrap();
        json.key("ü").unwrap();
        json.open("[").unwrap();
        json.literal(-1).unwrap();
        json.object_of("$link", "\u{9b}").unwrap();
        json.close("]").unwrap();
        json.close("}").unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn indented_is_what_python_writes() {
        let python = r#"{
  "empty": [],
  "\u00fc": [
    -1,
    {
      "$link": "\u009b"
    }
  ]
}"#;
        assert_eq!(sample(Layout::Indented), python);
    }

    #[test]
    fn depth_costs_little() {
        let mut out = Vec::new();
        let mut json = JsonWriter::new(&mut out, Layout::Indented);
        for _ in 0..1_000 {
            json.open("[").unwrap();
        }
        for _ in 0..1_000 {
            json.close("]").unwrap();
        }
        assert!(out.len() < 2_000 * (2 + 2 * MAX_INDENTED), "{}", out.len());
    }

    #[test]
    fn a_line_is_readable_and_harmless() {
        assert_eq!(
            sample(Layout::Line),
            r#"{"empty":[],"ü":[-1,{"$link":"\u009b"}]}"#
        );
    }
}
