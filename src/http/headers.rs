//! Header fields as spans in one text.
//!
//! A parser copies a head into the text once and notes where each field lies; fields that policies
//! add are appended to the same text. Both vectors go back to a per-thread shelf when a head is
//! dropped, so a request in steady state allocates nothing for its fields.

#[cfg(test)]
mod tests;

use std::{borrow::Cow, cell::RefCell, fmt, time::SystemTime};

use super::date;

pub use super::characters::{is_field_value, is_text_of_lines, is_token, token_len, trim};

/// Fields that are for one connection alone: no policy and no rule ever sees them (RFC 9110 section 7.6.1).
pub const HOP_BY_HOP: [&str; 6] =
    ["connection", "http2-settings", "keep-alive", "proxy-connection", "te", "transfer-encoding"];

/// A piece of the text of a [`Headers`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    start: u32,
    len: u32,
}

impl Span {
    pub fn is_empty(self) -> bool {
        self.len == 0
    }

    pub fn len(self) -> usize {
        self.len as usize
    }

    fn end(self) -> usize {
        (self.start + self.len) as usize
    }
}

#[derive(Clone, Copy, Debug)]
struct Field {
    name: Span,
    value: Span,
}

/// The fields of a head, in order, names in their original case.
#[derive(Default)]
pub struct Headers {
    text: Vec<u8>,
    fields: Vec<Field>,
}

/// A field that must not be written: its name is no token or its value has CR, LF, NUL or another
/// control character (RFC 9110 section 5.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidField;

impl fmt::Display for InvalidField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a valid header field")
    }
}

impl std::error::Error for InvalidField {}

/// Heads kept for reuse by each thread, and the size above which one is not worth keeping.
const SHELF_HEADS_MAX: usize = 256;
const SHELF_TEXT_BYTES_MAX: usize = 16 * 1024;

thread_local! {
    static SHELF: RefCell<Vec<Headers>> = const { RefCell::new(Vec::new()) };
}

impl Headers {
    /// Empty fields, with the capacity of an earlier head where this thread has one.
    pub fn new() -> Self {
        SHELF.try_with(|shelf| shelf.borrow_mut().pop()).ok().flatten().unwrap_or_default()
    }

    /// Appends bytes to the text, without making them a field.
    pub fn push_text(&mut self, bytes: &[u8]) -> Span {
        let start = self.text.len() as u32;
        self.text.extend_from_slice(bytes);
        Span { start, len: bytes.len() as u32 }
    }

    /// Appends `before` and a copy of a piece of the text, without making them a field.
    pub fn push_joined(&mut self, before: [&str; 2], piece: Span) -> Span {
        let start = self.text.len();
        before.iter().for_each(|part| self.text.extend_from_slice(part.as_bytes()));
        self.text.extend_from_within(piece.start as usize..piece.end());
        Span { start: start as u32, len: (self.text.len() - start) as u32 }
    }

    /// The bytes of a span of this text.
    pub fn bytes(&self, span: Span) -> &[u8] {
        self.text.get(span.start as usize..span.end()).unwrap_or_default()
    }

    /// A span as text; empty if it is not UTF-8.
    pub fn str(&self, span: Span) -> &str {
        std::str::from_utf8(self.bytes(span)).unwrap_or_default()
    }

    /// The part of `whole` from `offset` on, `len` bytes long.
    pub fn sub_span(whole: Span, offset: usize, len: usize) -> Span {
        debug_assert!(offset + len <= whole.len());
        Span { start: whole.start + offset as u32, len: len as u32 }
    }

    /// A piece of the text by its place, which may be still to come.
    pub fn span_at(start: usize, len: usize) -> Span {
        Span { start: start as u32, len: len as u32 }
    }

    /// Makes a field of two spans of the text. For parsers, which have checked both.
    pub fn push_spans(&mut self, name: Span, value: Span) {
        self.fields.push(Field { name, value });
    }

    /// Adds a field at the end.
    ///
    /// # Errors
    /// [`InvalidField`], so that nothing a policy computes can split a head.
    pub fn append(&mut self, name: &str, value: impl AsRef<[u8]>) -> Result<(), InvalidField> {
        let value = checked(name, value.as_ref())?;
        self.push_field(name, value);
        Ok(())
    }

    /// Adds a field at the end. For who has checked both: parsers, and the gateway for fields of its own.
    pub fn push_field(&mut self, name: &str, value: &[u8]) {
        debug_assert!(is_token(name.as_bytes()) && is_field_value(value), "{name}");
        let name = self.push_text(name.as_bytes());
        self.text.extend_from_slice(b": ");
        let value = self.push_text(value);
        self.text.extend_from_slice(b"\r\n");
        self.push_spans(name, value);
    }

    /// As [`Self::push_field`], for a value that is a piece of this text already.
    pub fn push_field_of(&mut self, name: &str, value: Span) {
        let name = self.push_text(name.as_bytes());
        let value = self.push_joined([": ", ""], value);
        self.text.extend_from_slice(b"\r\n");
        self.push_spans(name, Self::sub_span(value, 2, value.len() - 2));
    }

    /// As [`Self::append`], for a value that `write` puts behind the text it is given: nothing is
    /// formatted into a string of its own first.
    ///
    /// # Errors
    /// As [`Self::append`]; then nothing has changed.
    pub fn append_with(&mut self, name: &str, write: impl FnOnce(&mut Vec<u8>)) -> Result<(), InvalidField> {
        let before = self.text.len();
        if !is_token(name.as_bytes()) {
            return Err(InvalidField);
        }
        let name = self.push_text(name.as_bytes());
        self.text.extend_from_slice(b": ");
        let start = self.text.len();
        write(&mut self.text);
        if !is_field_value(&self.text[start..]) {
            self.text.truncate(before);
            return Err(InvalidField);
        }
        let value = Span { start: start as u32, len: (self.text.len() - start) as u32 };
        self.text.extend_from_slice(b"\r\n");
        self.push_spans(name, value);
        Ok(())
    }

    /// Replaces all fields of this name by one.
    ///
    /// # Errors
    /// As [`Self::append`]; then nothing has changed.
    pub fn set(&mut self, name: &str, value: impl AsRef<[u8]>) -> Result<(), InvalidField> {
        let value = checked(name, value.as_ref())?;
        self.replace_field(name, value);
        Ok(())
    }

    /// As [`Self::set`], for who has checked both.
    pub fn replace_field(&mut self, name: &str, value: &[u8]) {
        let text = &self.text;
        self.fields.retain(|field| !field_is(text, field, name));
        self.push_field(name, value);
    }

    /// Adds `date` where there is none.
    pub fn push_date(&mut self, at: impl FnOnce() -> SystemTime) {
        if !self.contains("date") {
            date::with(at(), |date| self.push_field("date", date.as_bytes()));
        }
    }

    /// The first value of this name, names compared without regard to case.
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        self.fields.iter().find(|f| field_is(&self.text, f, name)).map(|f| self.bytes(f.value))
    }

    /// All values of this name, in order.
    pub fn get_all<'a, 'n>(&'a self, name: &'n str) -> impl Iterator<Item = &'a [u8]> + use<'a, 'n> {
        self.fields.iter().filter(move |f| field_is(&self.text, f, name)).map(|f| self.bytes(f.value))
    }

    /// All values of this name joined with `, ` (RFC 9110 section 5.3), as text: bytes that are no UTF-8 are all the same
    /// there.
    pub fn joined(&self, name: &str) -> Option<Cow<'_, str>> {
        self.joined_bytes(name).map(into_text)
    }

    /// As [`Self::joined`], as the bytes that they are.
    pub fn joined_bytes(&self, name: &str) -> Option<Cow<'_, [u8]>> {
        let mut values = self.get_all(name);
        let first = values.next()?;
        let Some(second) = values.next() else { return Some(Cow::Borrowed(first)) };
        let mut all = first.to_vec();
        for value in std::iter::once(second).chain(values) {
            all.extend_from_slice(b", ");
            all.extend_from_slice(value);
        }
        Some(Cow::Owned(all))
    }

    pub fn contains(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// Removes all fields of this name; whether there was one.
    pub fn remove(&mut self, name: &str) -> bool {
        let before = self.fields.len();
        let text = &self.text;
        self.fields.retain(|field| !field_is(text, field, name));
        self.fields.len() != before
    }

    /// Removes all fields whose names begin so, compared without regard to case.
    pub fn remove_prefixed(&mut self, prefix: &str) {
        let text = &self.text;
        self.fields.retain(|field| {
            let start = slice(text, field.name).get(..prefix.len());
            !start.is_some_and(|start| start.eq_ignore_ascii_case(prefix.as_bytes()))
        });
    }

    /// Keeps the fields for which `keep(name, value)` holds.
    pub fn retain(&mut self, mut keep: impl FnMut(&str, &[u8]) -> bool) {
        let text = &self.text;
        self.fields.retain(|field| {
            let name = std::str::from_utf8(slice(text, field.name)).unwrap_or_default();
            keep(name, slice(text, field.value))
        });
    }

    /// The fields whose names are wanted, in no more memory than they need, for those who keep them: what was removed or
    /// replaced still lies in the text, and a recycled head has room for a large one.
    #[must_use]
    pub fn compact(&self, is_wanted: impl Fn(&str) -> bool) -> Self {
        let wanted = || self.iter().filter(|(name, _)| is_wanted(name));
        let mut compact = Self::default();
        compact.text.reserve_exact(wanted().map(|(name, value)| name.len() + value.len() + 4).sum());
        compact.fields.reserve_exact(wanted().count());
        wanted().for_each(|(name, value)| compact.push_field(name, value));
        compact
    }

    /// What is allocated, bytes.
    #[cfg(test)]
    pub fn capacity(&self) -> usize {
        self.text.capacity() + self.fields.capacity() * size_of::<Field>()
    }

    /// Names in order.
    pub fn names(&self) -> impl Iterator<Item = &[u8]> {
        self.fields.iter().map(|field| self.bytes(field.name))
    }

    /// Names, as the bytes that they are, and values in order.
    pub fn iter_bytes(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.fields.iter().map(|field| (self.bytes(field.name), self.bytes(field.value)))
    }

    /// Names and values in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.fields.iter().map(|field| (self.str(field.name), self.bytes(field.value)))
    }

    pub fn len(&self) -> usize {
        self.fields.len()
    }

    pub fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    /// Writes `name: value CRLF` for each field. Runs of fields that still lie side by side in the
    /// text as they came are copied at once.
    pub fn write_to(&self, out: &mut Vec<u8>) {
        let mut fields = self.fields.iter().peekable();
        while let Some(first) = fields.next() {
            let mut last = first;
            if !self.is_plain(first) {
                out.extend_from_slice(self.bytes(first.name));
                out.extend_from_slice(b": ");
                out.extend_from_slice(self.bytes(first.value));
                out.extend_from_slice(b"\r\n");
                continue;
            }
            while let Some(next) =
                fields.next_if(|next| next.name.start as usize == last.value.end() + 2 && self.is_plain(next))
            {
                last = next;
            }
            out.extend_from_slice(&self.text[first.name.start as usize..last.value.end() + 2]);
        }
    }

    /// Whether the text around the field is exactly `name: value CRLF`.
    fn is_plain(&self, field: &Field) -> bool {
        field.value.start as usize == field.name.end() + 2
            && self.text[field.name.end()..].starts_with(b": ")
            && self.text[field.value.end()..].starts_with(b"\r\n")
    }
}

/// As text, what is no UTF-8 replaced.
pub fn into_text(bytes: Cow<'_, [u8]>) -> Cow<'_, str> {
    match bytes {
        Cow::Borrowed(bytes) => String::from_utf8_lossy(bytes),
        Cow::Owned(bytes) => Cow::Owned(
            String::from_utf8(bytes)
                .unwrap_or_else(|invalid| String::from_utf8_lossy(invalid.as_bytes()).into_owned()),
        ),
    }
}

/// The value without the white space around it, if both may be written.
fn checked<'v>(name: &str, value: &'v [u8]) -> Result<&'v [u8], InvalidField> {
    let value = trim(value);
    if is_token(name.as_bytes()) && is_field_value(value) { Ok(value) } else { Err(InvalidField) }
}

impl Clone for Headers {
    fn clone(&self) -> Self {
        let mut copy = Self::new();
        copy.text.extend_from_slice(&self.text);
        copy.fields.extend_from_slice(&self.fields);
        copy
    }
}

impl Drop for Headers {
    fn drop(&mut self) {
        if self.text.capacity() == 0 || self.text.capacity() > SHELF_TEXT_BYTES_MAX {
            return;
        }
        let mut text = std::mem::take(&mut self.text);
        let mut fields = std::mem::take(&mut self.fields);
        text.clear();
        fields.clear();
        // A thread that is ending has no shelf any more: then the vectors are just freed. What does
        // not go on the shelf has lost its vectors, so dropping it ends at the test above.
        let _ = SHELF.try_with(|shelf| {
            if let Ok(mut shelf) = shelf.try_borrow_mut()
                && shelf.len() < SHELF_HEADS_MAX
            {
                shelf.push(Self { text, fields });
            }
        });
    }
}

/// Names and values may be personal or secret: only the names are shown.
impl fmt::Debug for Headers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter().map(|(name, _)| name)).finish()
    }
}

fn slice(text: &[u8], span: Span) -> &[u8] {
    text.get(span.start as usize..span.end()).unwrap_or_default()
}

fn field_is(text: &[u8], field: &Field, name: &str) -> bool {
    field.name.len() == name.len() && slice(text, field.name).eq_ignore_ascii_case(name.as_bytes())
}
