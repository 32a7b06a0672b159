//! XML to values (reference 7.5): elements by local name, text content as string, repeated
//! elements as array. Attributes, comments and processing instructions are not seen. Document type
//! declarations are skipped unread, so an entity that is not one of XML's own five is an error.

use std::{borrow::Cow, collections::HashMap};

use quick_xml::{Reader, events::Event};

use super::{
    payload::{PAYLOAD_DEPTH_MAX, PAYLOAD_VALUES_MAX},
    value::{Object, Value},
};

/// An open element.
#[derive(Default)]
struct Element {
    name: String,
    text: String,
    /// Children in the order of their first occurrence, each with all its occurrences.
    children: Vec<(String, Vec<Value<'static>>)>,
    places: HashMap<String, usize>,
}

/// The document as an object with one key, the root element.
pub fn read(text: &str) -> Result<Value<'static>, String> {
    let mut reader = Reader::from_str(text.strip_prefix('\u{feff}').unwrap_or(text));
    // The outermost element stands for the document.
    let mut open = vec![Element::default()];
    let mut elements = 0;
    loop {
        let at = reader.buffer_position();
        let fault = |what: &str| format!("XML error at byte {at}: {what}");
        match reader.read_event().map_err(|_| fault("not well-formed"))? {
            Event::Start(start) => {
                if open.len() > PAYLOAD_DEPTH_MAX {
                    return Err(fault("nested too deep"));
                }
                open.push(Element { name: start.local_name().as_ref().to_owned(), ..Element::default() });
            }
            Event::Empty(start) => {
                let element = Element { name: start.local_name().as_ref().to_owned(), ..Element::default() };
                close(&mut open, element, &mut elements).map_err(fault)?;
            }
            Event::End(_) => {
                let element = open.pop().ok_or_else(|| fault("an end tag without a start"))?;
                close(&mut open, element, &mut elements).map_err(fault)?;
            }
            Event::Text(part) => append(&mut open, &part).map_err(fault)?,
            Event::CData(part) => append(&mut open, &part).map_err(fault)?,
            Event::GeneralRef(reference) => {
                let character =
                    reference.resolve_char_ref().map_err(|_| fault("a bad character reference"))?;
                match (character, &*reference) {
                    (Some(character), _) => append(&mut open, character.encode_utf8(&mut [0; 4])),
                    (None, name) => match quick_xml::escape::resolve_predefined_entity(name) {
                        Some(text) => append(&mut open, text),
                        None => Err("an entity that is not predefined"),
                    },
                }
                .map_err(fault)?;
            }
            Event::Comment(_) | Event::Decl(_) | Event::PI(_) | Event::DocType(_) => {}
            Event::Eof => break,
        }
    }
    match (open.pop(), open.is_empty()) {
        (Some(document), true) if !document.children.is_empty() => Ok(document.into_value()),
        _ => Err("XML error: no complete root element".to_owned()),
    }
}

fn append(open: &mut [Element], text: &str) -> Result<(), &'static str> {
    match open {
        [_document] if !text.trim().is_empty() => Err("text outside the root element"),
        [.., element] => {
            element.text.push_str(text);
            Ok(())
        }
        [] => Err("text without an element"),
    }
}

fn close(open: &mut [Element], element: Element, elements: &mut usize) -> Result<(), &'static str> {
    *elements += 1;
    if *elements > PAYLOAD_VALUES_MAX {
        return Err("too many elements");
    }
    let document = open.len() == 1;
    let parent = open.last_mut().ok_or("an end tag without a start")?;
    if document && !parent.children.is_empty() {
        return Err("more than one root element");
    }
    let name = element.name.clone();
    let value = element.into_value();
    match parent.places.get(&name) {
        Some(&at) => parent.children[at].1.push(value),
        None => {
            parent.places.insert(name.clone(), parent.children.len());
            parent.children.push((name, vec![value]));
        }
    }
    Ok(())
}

impl Element {
    fn into_value(self) -> Value<'static> {
        if self.children.is_empty() {
            return self.text.into();
        }
        let members = self
            .children
            .into_iter()
            .map(|(name, mut values)| {
                let value = match (values.len(), values.pop()) {
                    (1, Some(value)) => value,
                    (_, Some(last)) => {
                        values.push(last);
                        values.into()
                    }
                    (_, None) => Value::Null,
                };
                (Cow::Owned(name), value)
            })
            .collect();
        Object::new(members).into()
    }
}
