//! A strict reader of JSON, item by item: the mirror image of the writer in `json.rs`.
//!
//! Why not `serde_json`: it reads an integer below -2^63 as a floating-point number, stops at
//! 128 levels, and hands on the fields of an object without their places, so that a key that
//! comes twice could not be pointed at. Here nothing recurses.
//!
//! Source: <https://www.rfc-editor.org/rfc/rfc8259>

use std::fmt;

/// A piece of a JSON text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Token {
    Null,
    Bool(bool),
    /// From -2^63 to 2^63 - 1.
    Integer(i128),
    Text(String),
    List,
    Object,
    /// The key of the value that follows, in an object.
    Key(String),
    /// The end of the innermost list or object.
    EndList,
    EndObject,
}

/// Why a JSON text cannot be read, and where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct InvalidJson {
    /// Both counted from 1, columns in characters.
    pub(crate) line: usize,
    pub(crate) column: usize,
    pub(crate) why: &'static str,
}

impl fmt::Display for InvalidJson {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { line, column, why } = self;
        write!(f, "line {line}, column {column}: {why}")
    }
}

/// Reads a JSON text from front to back.
pub(crate) struct JsonReader<'t> {
    text: &'t str,
    at: usize,
    /// The lists and objects that are not at their end, the innermost last.
    open: Vec<Kind>,
    next: Next,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    List,
    Object,
}

/// What may come next.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Next {
    Value,
    /// A list or an object was just opened: its first item, or its end.
    FirstOrEnd,
    /// An item is complete: a comma, or the end of what it is in.
    CommaOrEnd,
}

impl<'t> JsonReader<'t> {
    pub(crate) fn new(text: &'t str) -> Self {
        Self {
            text,
            at: 0,
            open: Vec::new(),
            next: Next::Value,
        }
    }

    /// Returns the next piece with its place, which [`wrong_at`](Self::wrong_at) takes; or
    /// `None` behind the last.
    pub(crate) fn next(&mut self) -> Result<Option<(usize, Token)>, InvalidJson> {
        self.skip_space();
        let Some(kind) = self.open.last().copied() else {
            return match (self.next, self.peek()) {
                (Next::CommaOrEnd, None) => Ok(None),
                (Next::CommaOrEnd, Some(_)) => Err(self.wrong("something follows the value")),
                _ => self.value().map(Some),
            };
        };
        let (end, end_token) = match kind {
            Kind::List => (b']', Token::EndList),
            Kind::Object => (b'}', Token::EndObject),
        };
        if self.next != Next::Value && self.peek() == Some(end) {
            let start = self.at;
            self.at += 1;
            self.open.pop();
            self.next = Next::CommaOrEnd;
            return Ok(Some((start, end_token)));
        }
        if self.next == Next::CommaOrEnd {
            self.comma(kind)?;
        }
        // Behind a key comes its value, and only then a key again.
        match (kind, self.next) {
            (Kind::Object, Next::FirstOrEnd | Next::CommaOrEnd) => self.key().map(Some),
            _ => self.value().map(Some),
        }
    }

    /// The error for what stands at `place`.
    pub(crate) fn wrong_at(&self, place: usize, why: &'static str) -> InvalidJson {
        let before = self.text.get(..place).unwrap_or(self.text);
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        InvalidJson {
            line: before.matches('\n').count() + 1,
            column: before.get(line_start..).unwrap_or_default().chars().count() + 1,
            why,
        }
    }

    fn comma(&mut self, kind: Kind) -> Result<(), InvalidJson> {
        if self.peek() != Some(b',') {
            return Err(self.wrong(match (self.peek(), kind) {
                (None, _) => ENDS_EARLY,
                (_, Kind::List) => "neither a comma nor the end of the list",
                (_, Kind::Object) => "neither a comma nor the end of the object",
            }));
        }
        self.at += 1;
        self.skip_space();
        Ok(())
    }

    fn key(&mut self) -> Result<(usize, Token), InvalidJson> {
        let start = self.at;
        match self.peek() {
            Some(b'"') => {}
            None => return Err(self.wrong(ENDS_EARLY)),
            Some(_) => return Err(self.wrong("a key must be text in double quotes")),
        }
        let key = self.text()?;
        self.skip_space();
        match self.peek() {
            Some(b':') => self.at += 1,
            None => return Err(self.wrong(ENDS_EARLY)),
            Some(_) => return Err(self.wrong("no colon behind a key")),
        }
        self.next = Next::Value;
        Ok((start, Token::Key(key)))
    }

    fn value(&mut self) -> Result<(usize, Token), InvalidJson> {
        let start = self.at;
        self.next = Next::CommaOrEnd;
        let token = match self.peek() {
            None => return Err(self.wrong(ENDS_EARLY)),
            Some(b'[') => self.enter(Kind::List, Token::List),
            Some(b'{') => self.enter(Kind::Object, Token::Object),
            Some(b'"') => Token::Text(self.text()?),
            Some(b'-' | b'0'..=b'9') => Token::Integer(self.integer()?),
            Some(_) => self.word()?,
        };
        Ok((start, token))
    }

    fn enter(&mut self, kind: Kind, token: Token) -> Token {
        self.at += 1;
        self.open.push(kind);
        self.next = Next::FirstOrEnd;
        token
    }

    fn word(&mut self) -> Result<Token, InvalidJson> {
        let words = [
            ("null", Token::Null),
            ("true", Token::Bool(true)),
            ("false", Token::Bool(false)),
        ];
        for (word, token) in words {
            if self.rest().starts_with(word) {
                self.at += word.len();
                return Ok(token);
            }
        }
        Err(self.wrong("not JSON"))
    }

    fn integer(&mut self) -> Result<i128, InvalidJson> {
        let start = self.at;
        let minus = usize::from(self.peek() == Some(b'-'));
        let digits = self.rest().get(minus..).unwrap_or_default();
        let len = digits.bytes().take_while(u8::is_ascii_digit).count();
        let digits = digits.get(..len).unwrap_or_default();
        self.at += minus + len;
        let why = match digits.as_bytes() {
            [] => "a minus without a number",
            [b'0', _, ..] => "a number that begins with a needless zero",
            _ if matches!(self.peek(), Some(b'.' | b'e' | b'E')) => {
                "a floating-point number, which the data model does not have"
            }
            [b'0'] if minus == 1 => "minus zero, which the data model does not have",
            _ => {
                let number = self.text.get(start..self.at).unwrap_or_default().parse();
                if let Ok(number @ LEAST..=GREATEST) = number {
                    return Ok(number);
                }
                "a number that is not between -2^63 and 2^63 - 1"
            }
        };
        Err(self.wrong_at(start, why))
    }

    fn text(&mut self) -> Result<String, InvalidJson> {
        let start = self.at;
        self.at += 1;
        let mut text = String::new();
        loop {
            let plain = self.rest();
            let len = plain
                .bytes()
                .take_while(|b| !matches!(b, b'"' | b'\\' | 0..0x20));
            let len = len.count();
            // Where it ends is ASCII, so between two characters.
            text.push_str(plain.get(..len).unwrap_or_default());
            self.at += len;
            match self.peek() {
                None => return Err(self.wrong_at(start, "text that does not end")),
                Some(b'"') => {
                    self.at += 1;
                    return Ok(text);
                }
                Some(b'\\') => text.push(self.escaped()?),
                Some(_) => return Err(self.wrong("a control character that is not escaped")),
            }
        }
    }

    fn escaped(&mut self) -> Result<char, InvalidJson> {
        let start = self.at;
        self.at += 1;
        let c = match self.peek() {
            Some(c @ (b'"' | b'\\' | b'/')) => char::from(c),
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => return self.code_point(start),
            _ => return Err(self.wrong_at(start, "an escape that JSON does not have")),
        };
        self.at += 1;
        Ok(c)
    }

    /// Reads `uXXXX`, or the two of a surrogate pair.
    fn code_point(&mut self, start: usize) -> Result<char, InvalidJson> {
        let first = self.code_unit(start)?;
        let mut units = vec![first];
        if matches!(first, 0xd800..0xdc00) && self.rest().starts_with("\\u") {
            self.at += 1;
            units.push(self.code_unit(start)?);
        }
        let mut chars = char::decode_utf16(units);
        match (chars.next(), chars.next()) {
            (Some(Ok(c)), None) => Ok(c),
            _ => Err(self.wrong_at(start, "half of a surrogate pair")),
        }
    }

    fn code_unit(&mut self, start: usize) -> Result<u16, InvalidJson> {
        let digits = self.rest().get(1..5);
        let digits = digits.filter(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()));
        let unit = digits.and_then(|digits| u16::from_str_radix(digits, 16).ok());
        let unit = unit.ok_or_else(|| self.wrong_at(start, "an escape that JSON does not have"))?;
        self.at += 5;
        Ok(unit)
    }

    fn skip_space(&mut self) {
        let space = |b: &u8| matches!(b, b' ' | b'\t' | b'\n' | b'\r');
        self.at += self.rest().bytes().take_while(space).count();
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn rest(&self) -> &'t str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn wrong(&self, why: &'static str) -> InvalidJson {
        self.wrong_at(self.at, why)
    }
}

const ENDS_EARLY: &str = "the text ends too early";
/// The data model has integers of 64 bits with a sign, although DAG-CBOR has others.
const LEAST: i128 = i64::MIN as i128;
const GREATEST: i128 = i64::MAX as i128;

#[cfg(test)]
mod tests {
    use mst_testkit::Rng;
    use serde_json::Value;

    use super::*;

    fn read(text: &str) -> Result<Vec<Token>, InvalidJson> {
        let mut reader = JsonReader::new(text);
        let mut tokens = Vec::new();
        while let Some((_, token)) = reader.next()? {
            tokens.push(token);
        }
        Ok(tokens)
    }

    #[test]
    fn items_come_in_the_order_of_the_text() {
        let text = " { \"b\" : [ 1 , -1 , [ ] ] , \"aa\" : { } , \"\" : null }\r\n";
        let tokens = [
            Token::Object,
            Token::Key("b".to_owned()),
            Token::List,
            Token::Integer(1),
            Token::Integer(-1),
            Token::List,
            Token::EndList,
            Token::EndList,
            Token::Key("aa".to_owned()),
            Token::Object,
            Token::EndObject,
            Token::Key(String::new()),
            Token::Null,
            Token::EndObject,
        ];
        assert_eq!(read(text), Ok(tokens.to_vec()));
    }

    #[test]
    fn escapes_are_what_they_stand_for() {
        let text = r#""\"\\\/\b\f\n\r\t\u00fC\ud83C\udf33ü""#;
        let meant = "\"\\/\u{8}\u{c}\n\r\tü🌳ü";
        assert_eq!(read(text), Ok(vec![Token::Text(meant.to_owned())]));
    }

    #[test]
    fn integers_reach_from_minus_2_to_the_63_to_2_to_the_63_minus_1() {
        for number in [LEAST, -1, 0, 7, GREATEST] {
            assert_eq!(read(&number.to_string()), Ok(vec![Token::Integer(number)]));
        }
        for number in [LEAST - 1, GREATEST + 1, i128::MAX] {
            let why = read(&format!("{number}{}", "9".repeat(60)))
                .unwrap_err()
                .why;
            assert_eq!(why, "a number that is not between -2^63 and 2^63 - 1");
            assert!(read(&number.to_string()).is_err());
        }
    }

    #[test]
    fn each_fault_is_told_with_its_place() {
        let float = "a floating-point number, which the data model does not have";
        let cases = [
            ("", 1, 1, ENDS_EARLY),
            ("[1,\n 2", 2, 3, ENDS_EARLY),
            ("[1,]", 1, 4, "not JSON"),
            ("[1 2]", 1, 4, "neither a comma nor the end of the list"),
            ("{\"ü\" 1}", 1, 6, "no colon behind a key"),
            ("{\"a\":1,}", 1, 8, "a key must be text in double quotes"),
            ("{\"a\":}", 1, 6, "not JSON"),
            (
                "{\"a\":1]",
                1,
                7,
                "neither a comma nor the end of the object",
            ),
            ("[1}", 1, 3, "neither a comma nor the end of the list"),
            ("1 2", 1, 3, "something follows the value"),
            ("nulls", 1, 5, "something follows the value"),
            ("\u{feff}{}", 1, 1, "not JSON"),
            ("NaN", 1, 1, "not JSON"),
            ("[1.0]", 1, 2, float),
            ("[1e3]", 1, 2, float),
            ("[-0.5]", 1, 2, float),
            (
                "[-0]",
                1,
                2,
                "minus zero, which the data model does not have",
            ),
            ("[01]", 1, 2, "a number that begins with a needless zero"),
            ("[-]", 1, 2, "a minus without a number"),
            ("[\"a]", 1, 2, "text that does not end"),
            ("\"a\nb\"", 1, 3, "a control character that is not escaped"),
            (r#""\x""#, 1, 2, "an escape that JSON does not have"),
            (r#""\u12g4""#, 1, 2, "an escape that JSON does not have"),
            (r#""\u+123""#, 1, 2, "an escape that JSON does not have"),
            (r#""a\ud83c""#, 1, 3, "half of a surrogate pair"),
            (r#""\ud83cx""#, 1, 2, "half of a surrogate pair"),
            (r#""\ud83c\u0041""#, 1, 2, "half of a surrogate pair"),
            (r#""\udf33""#, 1, 2, "half of a surrogate pair"),
        ];
        for (text, line, column, why) in cases {
            assert_eq!(
                read(text),
                Err(InvalidJson { line, column, why }),
                "{text:?}"
            );
        }
    }

    #[test]
    fn depth_takes_no_stack() {
        let deep = [vec![b'['; 1_000_000], vec![b']'; 1_000_000]].concat();
        let deep = String::from_utf8(deep).unwrap();
        assert_eq!(read(&deep).unwrap().len(), 2_000_000);
    }

    /// An oracle: what this reader accepts is what `serde_json` accepts, less the numbers that
    /// are no integers, minus zero and keys of objects aside.
    #[test]
    fn what_is_accepted_another_reader_accepts() {
        let pieces = [
            "{",
            "}",
            "[",
            "]",
            ",",
            ":",
            "\"a\"",
            "\"\\u00fc\"",
            "\"\\",
            "\"",
            "1",
            "-",
            "0",
            ".5",
            "e1",
            "null",
            "true",
            "fals",
            " ",
            "\n",
            "ü",
            "\\ud83c",
            "\\udf33",
        ];
        let mut rng = Rng::new(3);
        let (mut accepted, mut refused) = (0, 0);
        for _ in 0..200_000 {
            let len = 1 + rng.below(9);
            let text: String = (0..len).map(|_| pieces[rng.below(pieces.len())]).collect();
            let theirs = serde_json::from_str::<Value>(&text);
            match read(&text) {
                Ok(_) => {
                    assert!(theirs.is_ok(), "{text}");
                    accepted += 1;
                }
                Err(invalid) => {
                    assert!(
                        theirs.is_err() || invalid.why.contains("data model"),
                        "{text}"
                    );
                    refused += 1;
                }
            }
        }
        assert!(accepted > 1_000 && refused > 1_000, "{accepted} {refused}");
    }
}
