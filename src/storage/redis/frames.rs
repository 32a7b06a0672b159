//! Limits on what a Redis may send, before anything of it is kept: whoever can write there, or stands in its place,
//! must not fill this process's memory.

use std::fmt;

use crate::storage::VALUE_BYTES_MAX;

/// A status, an error or a length.
const LINE_BYTES_MAX: usize = 16 << 10;
/// A length, with its sign and its carriage return.
const LENGTH_DIGITS_MAX: usize = 24;
/// A value and what is stored with it.
const STRING_BYTES_MAX: u64 = VALUE_BYTES_MAX as u64 + 1024;
/// Items of one list: a cluster has 16384 slots at most.
const ITEMS_MAX: u64 = 1 << 16;
/// Strings and lines of one answer together: that of `beat` is the largest.
const ANSWER_BYTES_MAX: u64 = 8 << 20;
/// Items of all lists of one answer: `CLUSTER SLOTS` has less than half, if each slot is a share with three nodes.
const ANSWER_ITEMS_MAX: u64 = 1 << 20;
/// Lists in lists.
const DEPTH_MAX: usize = 8;

/// Follows the frames of RESP 2 and 3 in a stream, wherever it is cut.
#[derive(Default)]
pub struct Frames {
    state: State,
    /// How many items of each open list are still to come, outermost first.
    open: Vec<u64>,
    /// Of the strings and lines of this answer.
    bytes: u64,
    /// Of its lists.
    items: u64,
    answers: u64,
}

#[derive(Default)]
enum State {
    /// The first byte of a frame.
    #[default]
    Kind,
    Line(Line),
    /// Bytes of a string that are still to come, its end among them.
    String(u64),
}

#[derive(Default)]
struct Line {
    kind: u8,
    bytes: usize,
    /// Of a length only.
    text: Vec<u8>,
    /// The last byte was a carriage return.
    returned: bool,
}

/// What is beyond a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Excess(&'static str);

impl fmt::Display for Excess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Redis answers with {}", self.0)
    }
}

impl std::error::Error for Excess {}

impl Frames {
    /// Takes note of what comes next in the stream.
    ///
    /// # Errors
    /// [`Excess`]; the stream is of no use any more.
    pub fn follow(&mut self, mut bytes: &[u8]) -> Result<(), Excess> {
        while let [first, rest @ ..] = bytes {
            match &mut self.state {
                State::Kind => {
                    self.state = State::Line(Line { kind: *first, ..Line::default() });
                    bytes = rest;
                }
                State::Line(line) => {
                    bytes = rest;
                    if line.ends_with(*first)? {
                        let line = std::mem::take(line);
                        self.state = State::Kind;
                        self.end_line(&line)?;
                    }
                }
                State::String(left) => {
                    let taken = bytes.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                    *left -= taken as u64;
                    bytes = &bytes[taken..];
                    if *left == 0 {
                        self.state = State::Kind;
                        self.end_frame();
                    }
                }
            }
        }
        Ok(())
    }

    /// Answers that have come as a whole.
    pub fn answers(&self) -> u64 {
        self.answers
    }

    /// Whether nothing of another answer has come.
    #[cfg(test)]
    fn is_between_answers(&self) -> bool {
        self.open.is_empty() && matches!(self.state, State::Kind)
    }

    fn end_line(&mut self, line: &Line) -> Result<(), Excess> {
        self.count(line.bytes as u64)?;
        let items = match line.kind {
            b'$' => return self.begin_string(line.length()?),
            b'*' | b'~' | b'>' => line.length()?.unwrap_or(0),
            b'%' => 2 * line.length()?.ok_or(Excess("a length that is none"))?.min(ITEMS_MAX),
            _ => 0,
        };
        if items > ITEMS_MAX {
            return Err(Excess("a list that is too long"));
        }
        self.items += items;
        match items {
            0 => self.end_frame(),
            _ if self.items > ANSWER_ITEMS_MAX => return Err(Excess("more than is asked for")),
            _ if self.open.len() == DEPTH_MAX => return Err(Excess("lists that are nested too deep")),
            _ => self.open.push(items),
        }
        Ok(())
    }

    fn count(&mut self, bytes: u64) -> Result<(), Excess> {
        self.bytes += bytes;
        if self.bytes > ANSWER_BYTES_MAX { Err(Excess("more than is asked for")) } else { Ok(()) }
    }

    fn begin_string(&mut self, length: Option<u64>) -> Result<(), Excess> {
        let Some(length) = length else {
            self.end_frame();
            return Ok(());
        };
        if length > STRING_BYTES_MAX {
            return Err(Excess("a string that is too long"));
        }
        self.count(length)?;
        self.state = State::String(length + 2);
        Ok(())
    }

    fn end_frame(&mut self) {
        while let Some(items) = self.open.last_mut() {
            *items -= 1;
            if *items > 0 {
                return;
            }
            self.open.pop();
        }
        (self.bytes, self.items) = (0, 0);
        self.answers += 1;
    }
}

impl Line {
    /// Takes the next byte; whether it was the last.
    fn ends_with(&mut self, byte: u8) -> Result<bool, Excess> {
        if self.returned && byte == b'\n' {
            return Ok(true);
        }
        self.returned = byte == b'\r';
        self.bytes += 1;
        match self.kind {
            b'$' | b'*' | b'~' | b'>' | b'%' => {
                self.text.push(byte);
                if self.bytes > LENGTH_DIGITS_MAX { Err(Excess("a length that is none")) } else { Ok(false) }
            }
            b'+' | b'-' | b':' | b'_' | b',' | b'#' | b'(' => {
                if self.bytes > LINE_BYTES_MAX {
                    Err(Excess("a line that is too long"))
                } else {
                    Ok(false)
                }
            }
            _ => Err(Excess("what is no RESP, or a kind of it that was not asked for")),
        }
    }

    /// `None`: nothing, which is not the same as empty.
    fn length(&self) -> Result<Option<u64>, Excess> {
        let text = std::str::from_utf8(&self.text).unwrap_or_default().trim();
        let number: i64 = text.parse().map_err(|_| Excess("a length that is none"))?;
        Ok(u64::try_from(number).ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whole, and byte by byte.
    fn follow(bytes: &[u8]) -> Result<bool, Excess> {
        let mut frames = Frames::default();
        frames.follow(bytes)?;
        let mut cut = Frames::default();
        bytes.chunks(1).try_for_each(|byte| cut.follow(byte))?;
        assert_eq!(
            (frames.is_between_answers(), frames.answers()),
            (cut.is_between_answers(), cut.answers())
        );
        Ok(frames.is_between_answers())
    }

    #[test]
    fn answers_within_the_limits_end_where_they_end() {
        for answer in [
            "+OK\r\n",
            "-ERR no 5\r\n",
            ":-12\r\n",
            "$5\r\nhello\r\n",
            "$0\r\n\r\n",
            "$-1\r\n",
            "$-0\r\n\r\n",
            "+a\nb\r\n",
            "*-1\r\n",
            "*0\r\n",
            "*2\r\n$1\r\na\r\n*1\r\n:1\r\n",
            "%1\r\n+a\r\n_\r\n",
            ">3\r\n+message\r\n$1\r\nc\r\n$2\r\n\r\n\r\n",
            "#t\r\n,1.5\r\n(12345678901234567890123\r\n",
        ] {
            assert_eq!(follow(answer.as_bytes()), Ok(true), "{answer:?}");
        }
        assert_eq!(follow(b"*2\r\n$1\r\na\r\n"), Ok(false));
        assert_eq!(follow(b"$3\r\nab"), Ok(false));
    }

    /// Each slot a share of its own, with a master and two replicas.
    #[test]
    fn the_largest_map_of_slots_and_the_largest_list_of_members_are_within_the_limits() {
        let node = format!("*4\r\n$15\r\n255.255.255.255\r\n:65535\r\n$40\r\n{}\r\n*0\r\n", "a".repeat(40));
        let share = format!("*5\r\n:16383\r\n:16383\r\n{}", node.repeat(3));
        let slots = format!("*16384\r\n{}", share.repeat(16384));
        let text = format!("$4096\r\n{}\r\n", "a".repeat(4096));
        let beats = format!("*3000\r\n{}", format!("{text}{text}:60000000\r\n").repeat(1000));
        for answer in [slots, beats] {
            assert_eq!(follow(answer.repeat(2).as_bytes()), Ok(true));
        }
    }

    #[test]
    fn what_is_beyond_a_limit_is_refused_before_it_comes() {
        let long = format!("+{}", "a".repeat(LINE_BYTES_MAX + 1));
        let many = "*2\r\n".repeat(DEPTH_MAX + 1);
        let sum = format!("*9\r\n{}", format!("${}\r\n{}\r\n", 1 << 20, "a".repeat(1 << 20)).repeat(9));
        let lines = format!("*600\r\n{}", format!("+{}\r\n", "a".repeat(LINE_BYTES_MAX - 1)).repeat(600));
        let list = format!("*65536\r\n{}", "_\r\n".repeat(65536));
        let items = format!("*16\r\n{}", list.repeat(16));
        for answer in [
            "$536870912\r\n",
            "$99999999999999999999999999\r\n",
            "*70000\r\n",
            "%-1\r\n",
            "$\r\n",
            "$1a\r\n",
            "%18446744073709551615\r\n",
            "|1\r\n",
            "=4\r\n",
            "HTTP/1.1 400 Bad Request\r\n",
            &long,
            &many,
            &sum,
            &lines,
            &items,
        ] {
            assert!(follow(answer.as_bytes()).is_err(), "{:?}", &answer[..answer.len().min(40)]);
        }
    }
}
