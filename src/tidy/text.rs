//! Reading Rust just well enough: code without comments and literals, and the paths it names.

/// The code with comments, strings and character literals blanked out, line breaks kept.
pub(super) fn code_only(source: &str) -> String {
    let bytes = source.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let skipped = comment(&bytes[at..]).or_else(|| literal(bytes, at));
        match skipped {
            Some(length) => {
                let end = (at + length).min(bytes.len());
                out.extend(bytes[at..end].iter().map(|&byte| if byte == b'\n' { b'\n' } else { b' ' }));
                at = end;
            }
            None => {
                out.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// Length of the comment that `rest` starts with.
fn comment(rest: &[u8]) -> Option<usize> {
    if rest.starts_with(b"//") {
        return Some(rest.iter().position(|&byte| byte == b'\n').unwrap_or(rest.len()));
    }
    if !rest.starts_with(b"/*") {
        return None;
    }
    let (mut depth, mut at) = (0usize, 0);
    while at < rest.len() {
        match &rest[at..] {
            [b'/', b'*', ..] => (depth, at) = (depth + 1, at + 2),
            [b'*', b'/', ..] if depth == 1 => return Some(at + 2),
            [b'*', b'/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
    }
    Some(rest.len())
}

/// Length of the string or character literal that starts at `at`.
fn literal(bytes: &[u8], at: usize) -> Option<usize> {
    let rest = &bytes[at..];
    let after_word = at > 0 && is_word(bytes[at - 1]);
    match rest[0] {
        b'"' => Some(1 + end_of_quoted(&rest[1..], b'"')),
        b'r' if !after_word || bytes[at - 1] == b'b' => raw_string(rest),
        // `'a'` and `'\n'` are characters, `'a` is a lifetime.
        b'\'' if rest.get(1) == Some(&b'\\') => Some(1 + end_of_quoted(&rest[1..], b'\'')),
        b'\'' => {
            let character = std::str::from_utf8(&rest[1..rest.len().min(6)])
                .map_or_else(|error| error.valid_up_to(), |text| text.len());
            let length = std::str::from_utf8(&rest[1..=character]).ok()?.chars().next()?.len_utf8();
            (rest.get(1 + length) == Some(&b'\'')).then_some(length + 2)
        }
        _ => None,
    }
}

fn raw_string(rest: &[u8]) -> Option<usize> {
    let hashes = rest[1..].iter().take_while(|&&byte| byte == b'#').count();
    if rest.get(1 + hashes) != Some(&b'"') {
        return None;
    }
    let closing = [b"\"".as_slice(), &vec![b'#'; hashes]].concat();
    let body = 2 + hashes;
    let length = rest[body..].windows(closing.len()).position(|window| window == closing);
    Some(length.map_or(rest.len(), |length| body + length + closing.len()))
}

fn end_of_quoted(rest: &[u8], quote: u8) -> usize {
    let mut at = 0;
    while at < rest.len() {
        match rest[at] {
            b'\\' => at += 2,
            byte if byte == quote => return at + 1,
            _ => at += 1,
        }
    }
    rest.len()
}

/// A place where code names a module at the root of the crate.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Mention {
    pub module: String,
    pub line: usize,
}

/// Modules at the root of the crate that `code` (see [`code_only`]) names: by `crate::a`, by `crate::{a, b}`, and by
/// enough `super::` to leave a module `depth` levels deep.
pub(super) fn root_modules_named(code: &str, depth: usize) -> Vec<Mention> {
    let mut mentions = Vec::new();
    let line_at = |at: usize| code[..at].bytes().filter(|&byte| byte == b'\n').count() + 1;
    let starts_word = |at: usize| at == 0 || !is_word(code.as_bytes()[at - 1]) && !code[..at].ends_with("::");
    for (at, _) in code.match_indices("crate::").filter(|&(at, _)| starts_word(at)) {
        let names = names_of_use_tree(&code[at + "crate::".len()..]);
        mentions.extend(names.into_iter().map(|module| Mention { module, line: line_at(at) }));
    }
    for (at, _) in code.match_indices("super::").filter(|&(at, _)| starts_word(at)) {
        let mut rest = &code[at..];
        let mut up = 0;
        while let Some(after) = rest.strip_prefix("super::") {
            (rest, up) = (after, up + 1);
        }
        if up >= depth {
            let names = names_of_use_tree(rest);
            mentions.extend(names.into_iter().map(|module| Mention { module, line: line_at(at) }));
        }
    }
    mentions
}

/// First segments of `a::b`, or of each branch of `{a::b, c::{d, e}}`.
fn names_of_use_tree(rest: &str) -> Vec<String> {
    let Some(group) = rest.trim_start().strip_prefix('{') else {
        return Vec::from_iter(first_word(rest));
    };
    let (mut names, mut depth, mut branch_starts) = (Vec::new(), 0usize, true);
    for (at, character) in group.char_indices() {
        match character {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => branch_starts = true,
            _ if branch_starts && !character.is_whitespace() => {
                names.extend(first_word(&group[at..]));
                branch_starts = false;
            }
            _ => {}
        }
    }
    names
}

fn first_word(text: &str) -> Option<String> {
    let word: String = text.trim_start().bytes().take_while(|&byte| is_word(byte)).map(char::from).collect();
    (!word.is_empty() && word != "self").then_some(word)
}

pub(super) fn is_word(byte: u8) -> bool {
    byte == b'_' || byte.is_ascii_alphanumeric()
}

/// Whether `code` declares `mod name;`, with any visibility.
pub(super) fn declares_module(code: &str, name: &str) -> bool {
    let mut words = code.split(|character: char| character.is_whitespace());
    let wanted = format!("{name};");
    while let Some(word) = words.next() {
        if word == "mod" && words.clone().find(|word| !word.is_empty()) == Some(wanted.as_str()) {
            return true;
        }
    }
    false
}
