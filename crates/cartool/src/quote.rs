//! Makes untrusted text safe for a terminal, and numbers readable.

use std::fmt::{self, Write};

/// A key as a JSON string, with everything but ASCII escaped; invalid UTF-8 is replaced.
pub(crate) struct Quoted<'k>(pub(crate) &'k [u8]);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_quoted(f, &String::from_utf8_lossy(self.0), is_ascii_printable)
    }
}

/// A message in which nothing moves the cursor, changes colours or the direction of the text.
pub(crate) struct Harmless<'m>(pub(crate) &'m str);

impl fmt::Display for Harmless<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            if is_harmless(c) {
                f.write_char(c)?;
            } else {
                write!(f, "{}", c.escape_unicode())?;
            }
        }
        Ok(())
    }
}

/// A number of things: `1 node`, `2 nodes`.
pub(crate) struct Counted(pub(crate) u64, pub(crate) &'static str);

impl fmt::Display for Counted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = if self.0 == 1 { "" } else { "s" };
        write!(f, "{} {}{plural}", self.0, self.1)
    }
}

/// Writes `text` as a JSON string, escaping characters that are not `plain`.
pub(crate) fn write_quoted(
    out: &mut impl Write,
    text: &str,
    plain: fn(char) -> bool,
) -> fmt::Result {
    out.write_char('"')?;
    for c in text.chars() {
        match c {
            '"' => out.write_str("\\\"")?,
            '\\' => out.write_str("\\\\")?,
            '\n' => out.write_str("\\n")?,
            '\r' => out.write_str("\\r")?,
            '\t' => out.write_str("\\t")?,
            '\u{8}' => out.write_str("\\b")?,
            '\u{c}' => out.write_str("\\f")?,
            c if plain(c) => out.write_char(c)?,
            c => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    write!(out, "\\u{unit:04x}")?;
                }
            }
        }
    }
    out.write_char('"')
}

/// The characters that Python's `json.dumps` does not escape.
pub(crate) fn is_ascii_printable(c: char) -> bool {
    matches!(c, ' '..='~')
}

/// Whether a terminal just shows `c`: no control character, no line separator, nothing that changes
/// the direction of the text around it.
pub(crate) fn is_harmless(c: char) -> bool {
    let separates = matches!(c, '\u{2028}' | '\u{2029}');
    let turns = matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    !c.is_control() && !separates && !turns
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_obeys_is_shown_as_its_number() {
        let obeyed = "\u{9b}\u{7f}\n\u{2028}\u{2029}\u{61c}\u{200e}\u{202e}\u{2066}";
        let shown = Harmless(obeyed).to_string();
        assert_eq!(
            shown.matches("\\u{").count() + shown.matches("\\n").count(),
            9,
            "{shown}"
        );
        assert!(shown.chars().all(is_harmless), "{shown}");
        assert_eq!(Harmless("did:web:ü 🌳").to_string(), "did:web:ü 🌳");
    }

    #[test]
    fn quotes_as_python_does() {
        // python3 -c 'import json; print(json.dumps("\"\\\n\x1b\x7fü🌳"))'
        assert_eq!(
            Quoted("\"\\\n\u{1b}\u{7f}ü🌳".as_bytes()).to_string(),
            r#""\"\\\n\u001b\u007f\u00fc\ud83c\udf33""#
        );
    }

    #[test]
    fn a_key_that_is_not_utf_8_is_shown_with_replacements() {
        assert_eq!(Quoted(b"a\xff").to_string(), r#""a\ufffd""#);
    }

    #[test]
    fn a_message_keeps_its_letters_and_loses_its_controls() {
        let message = "\u{1b}[31mñ\u{9b}1m\u{202e}";
        assert_eq!(
            Harmless(message).to_string(),
            r"\u{1b}[31mñ\u{9b}1m\u{202e}"
        );
    }
}
