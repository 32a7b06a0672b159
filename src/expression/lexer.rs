//! Text to tokens. Knows every sign of DataWeave, also those outside the subset, so that the parser
//! can refuse them by name.

use std::str::Chars;

use super::ExpressionError;

#[derive(Clone, Debug, PartialEq)]
pub enum Token<'t> {
    Number(f64),
    Text(String),
    Name(&'t str),
    /// One of [`SYMBOLS`].
    Symbol(&'static str),
    End,
}

/// A token and where it starts, in bytes of the text given to [`tokens`] plus `base`.
#[derive(Clone, Debug)]
pub struct Spanned<'t> {
    pub token: Token<'t>,
    pub start: usize,
}

/// Longest first where one begins another.
const SYMBOLS: &[&str] = &[
    "++", "--", "==", "!=", ">=", "<=", "~=", "->", "..", "::", "&&", "||", ".", ",", "(", ")", "[", "]",
    "<", ">", "!", "-", "+", "*", "/", "?", "{", "}", ":", "@", "|", "$", "#", "%", "=", "&", "~", "^", ";",
];

/// The tokens of `text`, the last one `End`. `base` is added to all offsets.
pub fn tokens<'t>(
    text: &'t str,
    base: usize,
    warnings: &mut Vec<super::Warning>,
) -> Result<Vec<Spanned<'t>>, ExpressionError> {
    let mut tokens = Vec::new();
    let mut at = 0;
    loop {
        let rest = &text[at..];
        let blanks = rest.len() - rest.trim_start().len();
        at += blanks;
        let rest = &text[at..];
        let Some(first) = rest.chars().next() else { break };
        let (token, length) = if first.is_ascii_digit() {
            number(rest, base + at)?
        } else if first == '"' || first == '\'' {
            string(rest, base + at, warnings)?
        } else if first.is_ascii_alphabetic() || first == '_' {
            let length = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
            (Token::Name(&rest[..length]), length)
        } else {
            symbol(rest, first, base + at)?
        };
        tokens.push(Spanned { token, start: base + at });
        at += length;
    }
    tokens.push(Spanned { token: Token::End, start: base + text.trim_end().len() });
    Ok(tokens)
}

fn symbol(rest: &str, first: char, offset: usize) -> Result<(Token<'static>, usize), ExpressionError> {
    if rest.starts_with("//") || rest.starts_with("/*") {
        return Err(ExpressionError::at(offset, "comments are not supported in expressions")
            .help("write the comment in the YAML file, after `#`"));
    }
    if let Some(symbol) = SYMBOLS.iter().find(|symbol| rest.starts_with(**symbol)) {
        return Ok((Token::Symbol(symbol), symbol.len()));
    }
    let error = ExpressionError::at(offset, format!("unexpected character {first:?}"));
    Err(match first {
        '\u{2018}' | '\u{2019}' | '\u{201c}' | '\u{201d}' => {
            error.help("this is a typographic quote; strings are written with ' or \"")
        }
        '`' => error.help("strings are written with ' or \""),
        _ => error,
    })
}

/// `12`, `1.5`, `2e3`. The sign is not part of it.
fn number(rest: &str, offset: usize) -> Result<(Token<'static>, usize), ExpressionError> {
    let bytes = rest.as_bytes();
    let digits = |from: usize| bytes[from..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    let mut length = digits(0);
    if bytes.get(length) == Some(&b'.') && bytes.get(length + 1).is_some_and(u8::is_ascii_digit) {
        length += 1 + digits(length + 1);
    }
    if matches!(bytes.get(length), Some(b'e' | b'E')) {
        let sign = usize::from(matches!(bytes.get(length + 1), Some(b'+' | b'-')));
        let exponent = digits((length + 1 + sign).min(bytes.len()));
        if exponent > 0 {
            length += 1 + sign + exponent;
        }
    }
    match rest[..length].parse::<f64>() {
        Ok(number) if number.is_finite() => Ok((Token::Number(number), length)),
        _ => Err(ExpressionError::at(offset, "the number is out of range")
            .help("numbers are 64-bit floats: at most about 1.8e308")),
    }
}

/// A quoted string with its escapes resolved. `rest` starts with the quote.
fn string(
    rest: &str,
    offset: usize,
    warnings: &mut Vec<super::Warning>,
) -> Result<(Token<'static>, usize), ExpressionError> {
    let mut chars = rest.chars();
    let quote = chars.next().unwrap_or('\'');
    let mut text = String::new();
    loop {
        let here = offset + rest.len() - chars.as_str().len();
        match chars.next() {
            None => {
                return Err(ExpressionError::at(offset, "the string is not closed")
                    .help(format!("end it with {quote}; a {quote} inside is written \\{quote}")));
            }
            Some(c) if c == quote => break,
            Some('\\') => text.push(escape(&mut chars, here)?),
            Some('$') if chars.as_str().starts_with('(') => {
                warnings.push(super::Warning::new(
                    here,
                    "`$(` in a string is plain text: interpolation is not supported",
                    "write 'text ' ++ value; `\\$(` says that the characters are meant",
                ));
                text.push('$');
            }
            Some(c) => text.push(c),
        }
    }
    Ok((Token::Text(text), rest.len() - chars.as_str().len()))
}

fn escape(chars: &mut Chars<'_>, offset: usize) -> Result<char, ExpressionError> {
    match chars.next() {
        Some('n') => Ok('\n'),
        Some('r') => Ok('\r'),
        Some('t') => Ok('\t'),
        Some('b') => Ok('\u{8}'),
        Some('f') => Ok('\u{c}'),
        Some(c @ ('\\' | '\'' | '"' | '/' | '$')) => Ok(c),
        Some('u') => unicode(chars).ok_or_else(|| {
            ExpressionError::at(offset, "`\\u` needs four hexadecimal digits of a character")
                .help("for example \\u00e9; a character above \\uffff is a pair, as in JSON")
        }),
        _ => Err(ExpressionError::at(offset, "unknown escape in a string").help(
            "a backslash is written `\\\\`; known are \\n \\r \\t \\b \\f \\' \\\" \\\\ \\/ \\$ \\uXXXX",
        )),
    }
}

fn unicode(chars: &mut Chars<'_>) -> Option<char> {
    let first = four_digits(chars)?;
    if !(0xd800..0xdc00).contains(&first) {
        return char::from_u32(first);
    }
    if chars.next() != Some('\\') || chars.next() != Some('u') {
        return None;
    }
    let second = four_digits(chars)?;
    if !(0xdc00..0xe000).contains(&second) {
        return None;
    }
    char::from_u32(0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00))
}

fn four_digits(chars: &mut Chars<'_>) -> Option<u32> {
    (0..4).try_fold(0, |value, _| Some(value * 16 + chars.next()?.to_digit(16)?))
}
