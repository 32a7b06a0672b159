//! Limits on what a Redis may send, before anything of it is kept: whoever can write there, or stands in its place,
//! must not fill this process's memory.

use std::fmt;

use crate::storage::VALUE_BYTES_MAX;

/// A status, an error or a length.
const LINE_BYTES_MAX: usize = 16 << 10;
/// A value and what is stored with it.
const STRING_BYTES_MAX: u64 = VALUE_BYTES_MAX as u64 + 1024;
/// Items of one list: a cluster has 16384 slots at most.
const ITEMS_MAX: u64 = 1 << 16;
/// Strings of one answer together: that of `beat` is the largest.
const ANSWER_BYTES_MAX: u64 = 8 << 20;
/// Lists in lists.
const DEPTH_MAX: usize = 8;

/// Follows the frames of RESP 2 and 3 in a stream, wherever it is cut.
#[derive(Default)]
pub struct Frames {
    state: State,
    /// How many items of each open list are still to come, outermost first.
    open: Vec<u64>,
    /// Of the strings of this answer.
    bytes: u64,
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

struct Line {
    kind: u8,
    bytes: usize,
    number: Option<u64>,
    negative: bool,
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
                    let line = Line { kind: *first, bytes: 0, number: None, negative: false };
                    self.state = State::Line(line);
                    bytes = rest;
                }
                State::Line(line) => {
                    bytes = rest;
                    if *first == b'\n' {
                        let line = std::mem::replace(
                            line,
                            Line { kind: 0, bytes: 0, number: None, negative: false },
                        );
                        self.state = State::Kind;
                        self.end_line(&line)?;
                    } else {
                        line.take(*first)?;
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

    fn end_line(&mut self, line: &Line) -> Result<(), Excess> {
        let items_of_each = match line.kind {
            b'$' => {
                let Some(length) = line.length() else {
                    self.end_frame();
                    return Ok(());
                };
                if length > STRING_BYTES_MAX {
                    return Err(Excess("a string that is too long"));
                }
                self.bytes += length;
                if self.bytes > ANSWER_BYTES_MAX {
                    return Err(Excess("more than is asked for"));
                }
                self.state = State::String(length + 2);
                return Ok(());
            }
            b'*' | b'~' | b'>' => 1,
            b'%' => 2,
            b'+' | b'-' | b':' | b'_' | b',' | b'#' | b'(' => {
                self.end_frame();
                return Ok(());
            }
            _ => return Err(Excess("what is no RESP, or a kind of it that was not asked for")),
        };
        let items = line.length().unwrap_or(0);
        if items > ITEMS_MAX {
            return Err(Excess("a list that is too long"));
        }
        match items * items_of_each {
            0 => self.end_frame(),
            _ if self.open.len() == DEPTH_MAX => return Err(Excess("lists that are nested too deep")),
            items => self.open.push(items),
        }
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
        self.bytes = 0;
    }
}

impl Line {
    fn take(&mut self, byte: u8) -> Result<(), Excess> {
        self.bytes += 1;
        if self.bytes > LINE_BYTES_MAX {
            return Err(Excess("a line that is too long"));
        }
        match byte {
            b'0'..=b'9' => {
                let number = self.number.unwrap_or(0);
                self.number = Some(number.saturating_mul(10).saturating_add(u64::from(byte - b'0')));
            }
            b'-' => self.negative = true,
            _ => {}
        }
        Ok(())
    }

    /// `None`: nothing, which is not the same as empty.
    fn length(&self) -> Option<u64> {
        self.number.filter(|_| !self.negative)
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
        let between = |frames: &Frames| frames.open.is_empty() && matches!(frames.state, State::Kind);
        assert_eq!(between(&frames), between(&cut));
        Ok(between(&frames))
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

    #[test]
    fn what_is_beyond_a_limit_is_refused_before_it_comes() {
        let long = format!("+{}", "a".repeat(LINE_BYTES_MAX + 1));
        let many = "*2\r\n".repeat(DEPTH_MAX + 1);
        let sum = format!("*9\r\n{}", format!("${}\r\n{}\r\n", 1 << 20, "a".repeat(1 << 20)).repeat(9));
        for answer in [
            "$536870912\r\n",
            "$99999999999999999999999999\r\n",
            "*70000\r\n",
            "%18446744073709551615\r\n",
            "|1\r\n",
            "=4\r\n",
            "HTTP/1.1 400 Bad Request\r\n",
            &long,
            &many,
            &sum,
        ] {
            assert!(follow(answer.as_bytes()).is_err(), "{:?}", &answer[..answer.len().min(40)]);
        }
    }
}
