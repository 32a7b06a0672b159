//! Text to tree, over the parser's events, so that every node keeps its place.

use std::{borrow::Cow, collections::HashMap, mem, sync::Arc};

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, Span, StrInput, Tag};

use super::{Key, Node, NodeValue, Place, Problem, SourceFile};

/// Bounds on what one file may ask of us.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub file_bytes_max: usize,
    pub depth_max: usize,
    /// Counted after aliases are expanded.
    pub nodes_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { file_bytes_max: 8 << 20, depth_max: 64, nodes_max: 1_000_000 }
    }
}

/// One document of a file that is not empty.
#[derive(Clone, Debug)]
pub struct Document {
    /// Position in the file, from 0, empty documents counted.
    pub index: usize,
    pub root: Node,
    /// Duplicate keys and the like: errors void the document, not the file.
    pub problems: Vec<Problem>,
}

/// The documents of a file.
#[derive(Clone, Debug, Default)]
pub struct Parsed {
    /// Those before the syntax error, if there is one.
    pub documents: Vec<Document>,
    /// A syntax error; it voids the file (configuration reference 15, Do 1).
    pub error: Option<Problem>,
}

/// Parses all documents of a file. Empty documents, and lines of nothing but white space and
/// zero-width characters, are skipped (configuration reference 2.2).
pub fn parse(file: &Arc<SourceFile>, limits: Limits) -> Parsed {
    if file.text.len() > limits.file_bytes_max {
        let message = format!("the file is too large: at most {} bytes are read", limits.file_bytes_max);
        // What was read of it may end in its first line.
        let problem = Problem::error(&Place::new(file.clone(), 1, 1), "", message).without_excerpt();
        return Parsed { documents: Vec::new(), error: Some(problem) };
    }
    let text = readable(file);
    let mut builder = Builder::new(file, limits);
    let mut parser = Parser::new(StrInput::new(&text));
    while let Some(event) = parser.next_event() {
        let step = match event {
            Ok((event, span)) => builder.step(event, span),
            Err(error) => Err(Box::new(syntax_problem(file, &error, builder.innermost()))),
        };
        if let Err(error) = step {
            return Parsed { documents: builder.documents, error: Some(*error) };
        }
    }
    Parsed { documents: builder.documents, error: None }
}

fn is_json(file: &SourceFile) -> bool {
    file.path.to_ascii_lowercase().ends_with(".json")
}

fn zero_width(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200d}' | '\u{2060}' | '\u{feff}')
}

/// The text as the parser shall see it: same lines and columns, without what published samples
/// contain by accident, and with JSON's own liberties (tabs, surrogate pairs) made YAML.
fn readable(file: &SourceFile) -> Cow<'_, str> {
    let text = &file.text;
    if is_json(file) && (text.contains('\t') || text.contains("\\u")) {
        return Cow::Owned(join_surrogates(&text.replace('\t', " ")));
    }
    if !text.contains(zero_width) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    for line in text.split_inclusive(['\n', '\r']) {
        let content = line.trim_end_matches(['\n', '\r']);
        let seen = content.trim_matches(|c: char| c.is_whitespace() || zero_width(c));
        out.push_str(if matches!(seen, "" | "---") { seen } else { content });
        out.push_str(&line[content.len()..]);
    }
    Cow::Owned(out)
}

/// `\ud83d\ude00` is one character in JSON and an error in YAML.
fn join_surrogates(text: &str) -> String {
    let unit = |at: usize| {
        let escape = text.get(at..at + 6)?.strip_prefix("\\u")?;
        u16::from_str_radix(escape, 16).ok()
    };
    let mut out = String::with_capacity(text.len());
    let mut rest = 0;
    for (at, _) in text.match_indices("\\u") {
        if at < rest {
            continue;
        }
        if let (Some(high), Some(low)) = (unit(at), unit(at + 6))
            && let Some(Ok(joined)) = char::decode_utf16([high, low]).next()
            && u32::from(joined) > 0xffff
        {
            out.push_str(&text[rest..at]);
            out.push(joined);
            rest = at + 12;
        }
    }
    out.push_str(&text[rest..]);
    out
}

/// A syntax error in words that say what to change.
fn syntax_problem(file: &Arc<SourceFile>, error: &ScanError, open: Option<&Place>) -> Problem {
    let mark = error.marker();
    let json = is_json(file);
    let place = Place::within(file.clone(), mark.line(), mark.col() + 1);
    // The parser may notice on the next line that the indentation of one is a tab.
    let with_tab = (!json).then_some(()).and_then(|()| {
        (mark.line().saturating_sub(1)..=mark.line().min(file.lines())).rev().find_map(|line| {
            let text = file.line(line);
            let indent = text.len() - text.trim_start_matches([' ', '\t']).len();
            text[..indent].find('\t').map(|column| Place::new(file.clone(), line, column + 1))
        })
    });
    if let Some(place) = with_tab {
        return Problem::error(&place, "", "a tab is used for indentation")
            .help("YAML allows only spaces there; replace the tab by spaces");
    }
    let info = error.info();
    let known: &[(&str, &str, &str)] = &[
        (
            "mapping values are not allowed",
            "a `key: value` pair is not possible here",
            "check the indentation of this line, and the `: ` of the line above; a value that contains `: ` must be quoted",
        ),
        (
            "simple key expect",
            "this line is not a `key: value` pair",
            "check that the key is followed by `: `, and that the indentation fits the lines above",
        ),
        (
            "did not find expected ',' or '}'",
            "`,` or `}` is missing",
            "a value that contains `{`, `}`, `[`, `]`, `,` or `: ` must be quoted",
        ),
        (
            "expected ',' or ']'",
            "`,` or `]` is missing",
            "a value that contains `{`, `}`, `[`, `]`, `,` or `: ` must be quoted",
        ),
        (
            "did not find expected '-' indicator",
            "a list item that starts with `- ` is missing here",
            "check the indentation: all items of a list start in the same column",
        ),
        (
            "did not find expected key",
            "a key is missing here",
            "check the indentation: all keys of a mapping start in the same column",
        ),
        ("unknown anchor", "this alias refers to no anchor", "define the anchor with `&name` above"),
        ("unexpected end of stream", "the quoted text that starts here does not end", "close the quote"),
        (
            "unknown escape character",
            "unknown escape sequence in a double-quoted text",
            "write `\\\\` for a backslash, or use single quotes, which know no escapes",
        ),
        (
            "expected <document start>",
            "there is text after the end of the document",
            "check the indentation, or separate documents by a line `---`",
        ),
        ("unexpected character", "a value cannot start with this character", "put the value in quotes"),
    ];
    let syntax = if json { "JSON" } else { "YAML" };
    let Some((part, message, help)) = known.iter().find(|(part, ..)| info.contains(part)) else {
        return Problem::error(&place, "", format!("{syntax} syntax: {info}"));
    };
    let mut problem = Problem::error(&place, "", format!("{syntax} syntax: {message}"));
    if let Some(open) = open.filter(|_| part.contains(" or '")) {
        problem = problem.help(format!("it would close what was opened at {}:{}", open.line, open.column));
    }
    if json {
        problem.help("a comma between two items, or a quote, may be missing above")
    } else {
        problem.help(*help)
    }
}

type Step = Result<(), Box<Problem>>;

/// A collection whose end has not come yet.
struct Open {
    anchor: usize,
    place: Place,
    nodes: usize,
    height: usize,
    content: Content,
}

enum Content {
    Sequence(Vec<Node>),
    Mapping {
        entries: Vec<(Key, Node)>,
        seen: HashMap<Arc<str>, Place>,
        /// The key whose value is expected; the flag says that it is a plain `<<`.
        key: Option<(Key, bool)>,
        merges: Vec<Node>,
    },
}

/// A node that an alias may repeat, and what repeating it costs.
struct Anchored {
    node: Node,
    nodes: usize,
    height: usize,
}

struct Builder<'a> {
    file: &'a Arc<SourceFile>,
    limits: Limits,
    documents: Vec<Document>,
    index: usize,
    root: Option<Node>,
    problems: Vec<Problem>,
    open: Vec<Open>,
    anchors: HashMap<usize, Anchored>,
    nodes: usize,
}

impl<'a> Builder<'a> {
    fn new(file: &'a Arc<SourceFile>, limits: Limits) -> Self {
        Self {
            file,
            limits,
            documents: Vec::new(),
            index: 0,
            root: None,
            problems: Vec::new(),
            open: Vec::new(),
            anchors: HashMap::new(),
            nodes: 0,
        }
    }

    /// Where the collection that is being read starts.
    fn innermost(&self) -> Option<&Place> {
        self.open.last().map(|open| &open.place)
    }

    fn step(&mut self, event: Event<'_>, span: Span) -> Step {
        let place = Place::new(self.file.clone(), span.start.line(), span.start.col() + 1);
        match event {
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentStart(_) => Ok(()),
            Event::DocumentEnd => {
                self.end_document();
                Ok(())
            }
            Event::Alias(id) => self.alias(id, place),
            Event::Scalar(text, style, anchor, tag) => {
                let quoted = style != ScalarStyle::Plain || self.tagged_text(tag.as_deref(), &place);
                let null = !quoted && matches!(&*text, "" | "~" | "null" | "Null" | "NULL");
                let place = if text.is_empty() && !quoted { self.empty_place(place) } else { place };
                let value = if null && !self.expects_key() {
                    NodeValue::Null
                } else {
                    NodeValue::Scalar { text: text.as_ref().into(), quoted, variable: None }
                };
                self.count(&place, 1, 1)?;
                self.finish(Node { value, place }, anchor, 1, 0)
            }
            Event::SequenceStart(anchor, tag) => {
                self.tagged_text(tag.as_deref(), &place);
                self.start(anchor, place, Content::Sequence(Vec::new()))
            }
            Event::MappingStart(anchor, tag) => {
                self.tagged_text(tag.as_deref(), &place);
                let content = Content::Mapping {
                    entries: Vec::new(),
                    seen: HashMap::new(),
                    key: None,
                    merges: Vec::new(),
                };
                self.start(anchor, place, content)
            }
            Event::SequenceEnd | Event::MappingEnd => self.end_collection(),
        }
    }

    fn end_document(&mut self) {
        let root = self.root.take();
        let problems = mem::take(&mut self.problems);
        self.anchors.clear();
        if let Some(root) = root.filter(|root| !root.is_null()) {
            self.documents.push(Document { index: self.index, root, problems });
        }
        self.index += 1;
    }

    /// Whether a tag makes a plain scalar text; other tags have no meaning here.
    fn tagged_text(&mut self, tag: Option<&Tag>, place: &Place) -> bool {
        let Some(tag) = tag else { return false };
        if tag.is_yaml_core_schema() {
            return tag.suffix == "str";
        }
        self.problems.push(
            // What follows the `!` may be a password without quotes.
            Problem::warning(place, "", "the tag `!…` is ignored")
                .help("resources use plain YAML; put text that starts with `!` in quotes"),
        );
        false
    }

    fn expects_key(&self) -> bool {
        matches!(self.open.last(), Some(Open { content: Content::Mapping { key: None, .. }, .. }))
    }

    /// An empty value is reported by the parser at whatever comes next; its key says more.
    fn empty_place(&self, place: Place) -> Place {
        match self.open.last().map(|open| &open.content) {
            Some(Content::Mapping { key: Some((key, _)), .. }) => key.place.clone(),
            _ => place,
        }
    }

    fn count(&mut self, place: &Place, nodes: usize, height: usize) -> Step {
        self.nodes += nodes;
        if self.nodes > self.limits.nodes_max {
            let message = format!("the file holds more than {} values", self.limits.nodes_max);
            return Err(Box::new(
                Problem::error(place, "", message).help("aliases count as often as they are used"),
            ));
        }
        if self.open.len() + height > self.limits.depth_max {
            let message = format!("values are nested more than {} levels deep", self.limits.depth_max);
            return Err(Box::new(Problem::error(place, "", message)));
        }
        Ok(())
    }

    fn start(&mut self, anchor: usize, place: Place, content: Content) -> Step {
        self.count(&place, 1, 1)?;
        self.open.push(Open { anchor, place, nodes: 1, height: 0, content });
        Ok(())
    }

    fn alias(&mut self, id: usize, place: Place) -> Step {
        let Some(Anchored { node, nodes, height }) = self.anchors.get(&id) else {
            let problem = Problem::error(&place, "", "this alias refers to the value that contains it");
            return Err(Box::new(problem));
        };
        let (node, nodes, height) = (node.clone(), *nodes, *height);
        self.count(&place, nodes, height + 1)?;
        self.finish(node, 0, nodes, height)
    }

    fn end_collection(&mut self) -> Step {
        let Some(open) = self.open.pop() else { return Ok(()) };
        let node = match open.content {
            Content::Sequence(items) => Node::sequence(open.place, items),
            Content::Mapping { mut entries, mut seen, merges, .. } => {
                for merge in merges {
                    self.merge(merge, &mut entries, &mut seen);
                }
                Node::mapping(open.place, entries)
            }
        };
        self.finish(node, open.anchor, open.nodes, open.height + 1)
    }

    /// YAML 1.1 merge keys: what the mapping says itself wins, then the earlier source.
    fn merge(&mut self, source: Node, entries: &mut Vec<(Key, Node)>, seen: &mut HashMap<Arc<str>, Place>) {
        match source.value {
            NodeValue::Mapping(merged) => {
                for (key, value) in merged.iter() {
                    if !seen.contains_key(&key.text) {
                        seen.insert(key.text.clone(), key.place.clone());
                        entries.push((key.clone(), value.clone()));
                    }
                }
            }
            NodeValue::Sequence(items) if items.iter().all(|i| matches!(i.value, NodeValue::Mapping(_))) => {
                for item in items.iter() {
                    self.merge(item.clone(), entries, seen);
                }
            }
            _ => self.problems.push(
                Problem::error(&source.place, "", "the merge key `<<` needs a mapping or a list of mappings")
                    .help("write `\"<<\"` in quotes if a key of that name is meant"),
            ),
        }
    }

    /// Puts a finished node where it belongs.
    fn finish(&mut self, node: Node, anchor: usize, nodes: usize, height: usize) -> Step {
        if anchor != 0 {
            self.anchors.insert(anchor, Anchored { node: node.clone(), nodes, height });
        }
        let Some(open) = self.open.last_mut() else {
            self.root = Some(node);
            return Ok(());
        };
        open.nodes += nodes;
        open.height = open.height.max(height);
        match &mut open.content {
            Content::Sequence(items) => items.push(node),
            Content::Mapping { entries, seen, key, merges } => match key.take() {
                None => match node.value {
                    NodeValue::Scalar { text, quoted, .. } => {
                        let merge = !quoted && &*text == "<<";
                        *key = Some((Key { text, place: node.place }, merge));
                    }
                    _ => {
                        let problem = Problem::error(&node.place, "", "a key must be plain text");
                        return Err(Box::new(
                            problem.help("put a key that starts with `{` or `[` in quotes"),
                        ));
                    }
                },
                Some((_, true)) => merges.push(node),
                Some((key, false)) => {
                    if let Some(first) = seen.get(&key.text) {
                        let message = format!("the key `{}` is given twice", key.text);
                        self.problems.push(
                            Problem::error(&key.place, "", message)
                                .help(format!("the first is at {}:{}", first.line, first.column)),
                        );
                    } else {
                        seen.insert(key.text.clone(), key.place.clone());
                        entries.push((key, node));
                    }
                }
            },
        }
        Ok(())
    }
}
