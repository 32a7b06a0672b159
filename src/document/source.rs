//! A source file and places in it.

use std::{
    fmt,
    sync::{Arc, OnceLock},
};

use super::Problem;
use crate::base::{Location, secret::shown_line};

/// The longest excerpt that a [`Location`] carries, in characters: a JSON file on one line must not
/// end in a log whole.
const EXCERPT_CHARS_MAX: usize = 240;

/// The text of one file, as read.
pub struct SourceFile {
    /// The path as it shall be shown.
    pub path: Arc<str>,
    /// The text without a leading byte order mark.
    pub text: String,
    /// Byte offset of the start of each line, made when first needed.
    line_starts: OnceLock<Vec<usize>>,
}

impl SourceFile {
    pub fn new(path: impl AsRef<str>, text: impl Into<String>) -> Arc<Self> {
        let mut text: String = text.into();
        if text.starts_with('\u{feff}') {
            text.drain(..'\u{feff}'.len_utf8());
        }
        Arc::new(Self { path: Arc::from(path.as_ref()), text, line_starts: OnceLock::new() })
    }

    /// # Errors
    /// The bytes are not UTF-8; the problem points at the first that is not.
    pub fn from_bytes(path: impl AsRef<str>, bytes: Vec<u8>) -> Result<Arc<Self>, Box<Problem>> {
        match String::from_utf8(bytes) {
            Ok(text) => Ok(Self::new(path, text)),
            Err(error) => {
                let good = error.utf8_error().valid_up_to();
                let bytes = error.into_bytes();
                let text = String::from_utf8_lossy(&bytes[..good]).into_owned();
                let file = Self::new(path, text);
                let line = file.lines();
                let column = file.line(line).chars().count() + 1;
                let place = Place::new(file, line, column);
                let problem = Problem::error(&place, "", "the file is not UTF-8 text");
                Err(Box::new(if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
                    problem.help("it looks like UTF-16; save it as UTF-8")
                } else {
                    problem.help("save it as UTF-8")
                }))
            }
        }
    }

    /// Lines end in LF, CR LF or CR, as the parser counts them (YAML 1.2 section 5.4).
    fn line_starts(&self) -> &[usize] {
        self.line_starts.get_or_init(|| {
            let bytes = self.text.as_bytes();
            let ends = memchr::memchr2_iter(b'\n', b'\r', bytes)
                .filter(|&at| bytes[at] == b'\n' || bytes.get(at + 1) != Some(&b'\n'));
            std::iter::once(0).chain(ends.map(|at| at + 1)).collect()
        })
    }

    /// How many lines there are; behind a line break at the very end there is an empty one.
    pub fn lines(&self) -> usize {
        self.line_starts().len()
    }

    /// The text of a line, counted from 1, without its line break.
    pub fn line(&self, line: usize) -> &str {
        let starts = self.line_starts();
        let Some(&start) = line.checked_sub(1).and_then(|index| starts.get(index)) else { return "" };
        let end = starts.get(line).copied().unwrap_or(self.text.len());
        self.text.get(start..end).unwrap_or("").trim_end_matches(['\r', '\n'])
    }
}

impl fmt::Debug for SourceFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.path)
    }
}

/// A place in a source file. Cheap to clone; [`Place::location`] looks up the line.
#[derive(Clone)]
pub struct Place {
    pub file: Arc<SourceFile>,
    /// From 1.
    pub line: u32,
    /// From 1, in characters.
    pub column: u32,
}

impl Place {
    pub fn new(file: Arc<SourceFile>, line: usize, column: usize) -> Self {
        Self { file, line: line as u32, column: column as u32 }
    }

    /// As [`Self::new`]; a line behind the last one, where a parser notices what is missing, becomes the end of
    /// the file, and a column behind the end of its line that end (the parser counts bytes in directives).
    pub fn within(file: Arc<SourceFile>, line: usize, column: usize) -> Self {
        let lines = file.lines();
        let end = file.line(line.min(lines)).chars().count() + 1;
        let column = if line <= lines { column.min(end) } else { end };
        Self::new(file, line.min(lines), column)
    }

    /// The place of a value that stands in no file.
    pub fn nowhere() -> Self {
        static NOWHERE: OnceLock<Arc<SourceFile>> = OnceLock::new();
        Self::new(NOWHERE.get_or_init(|| SourceFile::new("", "")).clone(), 1, 1)
    }

    /// File, line, column and the text of the line for an excerpt (cut at 240 characters, and without
    /// secrets: findings end in logs).
    pub fn location(&self) -> Location {
        let (line, column) = (self.line as usize, self.column as usize);
        let text = &*shown_line(self.file.line(line), self.file.line(line.saturating_sub(1)));
        let line_text: Arc<str> = if text.len() <= EXCERPT_CHARS_MAX {
            text.into()
        } else if column + 20 <= EXCERPT_CHARS_MAX {
            text.chars().take(EXCERPT_CHARS_MAX).chain(['…']).collect::<String>().into()
        } else {
            "".into()
        };
        Location { file: self.file.path.clone(), line, column, line_text }
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file.path, self.line, self.column)
    }
}
