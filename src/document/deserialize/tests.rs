use std::collections::BTreeMap;

use serde::Deserialize;

use super::*;
use crate::document::{Limits, SourceFile, parse, substitute_environment};

fn node(text: &str) -> Node {
    let file = SourceFile::new("test.yaml", text);
    let parsed = parse(&file, Limits::default());
    assert_eq!(parsed.error, None);
    parsed.documents[0].root.clone()
}

fn read<T: DeserializeOwned>(text: &str) -> Deserialized<T> {
    deserialize(&node(text), "spec")
}

fn shown(problems: &[Problem]) -> Vec<String> {
    let line = |p: &Problem| {
        let severity = if p.is_error() { 'E' } else { 'W' };
        let (line, column) = (p.location.line, p.location.column);
        let help = p.help.iter().map(|help| format!(" | {help}")).collect::<String>();
        format!("{severity} {line}:{column} {} {}{help}", p.field, p.message)
    };
    problems.iter().map(line).collect()
}

#[derive(Debug, Deserialize, PartialEq)]
#[serde(rename_all = "lowercase")]
enum Level {
    Debug,
    Info,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Example {
    max_requests: u32,
    #[serde(default)]
    port: u16,
    #[serde(default)]
    secure: bool,
    level: Option<Level>,
    #[serde(default, alias = "method")]
    methods: OneOrMany<String>,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    address: Option<std::net::IpAddr>,
    #[serde(default)]
    nested: Vec<Nested>,
    #[serde(default)]
    config: RawNode,
}

#[derive(Debug, Deserialize)]
struct Nested {
    path: Spanned<String>,
    weight: u8,
}

#[test]
fn field_names_match_without_regard_to_case_and_scalars_are_converted() {
    let text = "MAXREQUESTS: \"10\"\nport: '8080'\nsecure: yes\nlevel: INFO\nmethod: GET\n\
                labels: {a: yes, b: true, c: 010, d: }\nconfig: {x: [1, 2]}";
    let read = read::<Example>(text);
    assert_eq!(shown(&read.problems), Vec::<String>::new());
    let value = read.value.expect("no problem");
    assert_eq!((value.max_requests, value.port, value.secure), (10, 8080, true));
    assert_eq!(value.level, Some(Level::Info));
    assert_eq!(value.methods.0, ["GET"]);
    assert_eq!(value.labels.values().map(String::as_str).collect::<Vec<_>>(), ["yes", "true", "010", ""]);
    assert_eq!(value.config.get_ignore_case("X").map(|x| x.items().len()), Some(2));
    assert_eq!(value.config.place.column, 9);
    assert_eq!(value.address, None);
}

#[test]
fn all_problems_are_reported_at_once_each_with_its_place() {
    let text = "port: 70000\nsecure: perhaps\nlevel: inof\nmetods: [GET]\naddress: 10.0.0.300\n\
                nested:\n  - {path: [], weight: 3}\n  - {weight: 300}\n  - word\nlabels: [a]";
    let read = read::<Example>(text);
    assert!(read.value.is_none());
    assert_eq!(
        shown(&read.problems),
        [
            "E 1:1 spec.maxRequests the field `maxRequests` is missing",
            "E 1:7 spec.port 70000 is out of range: expected an integer from 0 to 65535",
            "E 2:9 spec.secure expected a boolean (`true` or `false`), found the text `perhaps`",
            "E 3:8 spec.level unknown value `inof` | did you mean `info`? | allowed: `debug`, `info`",
            "W 4:1 spec.metods unknown field `metods`; it is ignored | did you mean `methods`? | allowed: \
             `maxRequests`, `port`, `secure`, `level`, `method`, `methods`, `labels`, `address`, `nested`, \
             `config`",
            "E 5:10 spec.address invalid IP address syntax",
            "E 7:12 spec.nested[0].path expected text, found a list",
            "E 8:5 spec.nested[1].path the field `path` is missing",
            "E 8:14 spec.nested[1].weight 300 is out of range: expected an integer from 0 to 255",
            "E 9:5 spec.nested[2] expected a mapping, found the text `word` | its fields: `path`, `weight`",
            "E 10:9 spec.labels expected a mapping, found a list",
        ]
    );
}

#[test]
fn a_spanned_value_knows_its_place_and_field() {
    let read = read::<Example>("maxRequests: 1\nnested:\n  - path: /a\n    weight: 1");
    let nested = &read.value.expect("no problem").nested[0];
    assert_eq!(nested.weight, 1);
    let path = &nested.path;
    assert_eq!(
        (&*path.value, &*path.field, path.place.line, path.place.column),
        ("/a", "spec.nested[0].path", 3, 11)
    );
}

#[test]
fn a_field_given_in_two_spellings_is_an_error() {
    let read = read::<Example>("maxRequests: 1\nmaxrequests: 2");
    assert_eq!(
        shown(&read.problems),
        [
            "E 2:1 spec.maxRequests the field `maxRequests` is given twice, here as `maxrequests` | field names are \
          matched without regard to case; keep one"
        ]
    );
}

#[test]
fn the_value_of_a_variable_is_converted_and_never_shown() {
    let lookup = |name: &str| match name {
        "LIMIT" => Some("12".to_owned()),
        "SECRET" => Some("hunter2".to_owned()),
        _ => None,
    };
    let text = "maxRequests: $LIMIT\nport: \"${SECRET}\"\nsecure: $UNSET\naddress: $SECRET\nlabels: {a: x$LIMIT, b: \"${jndi\"}";
    let (node, problems) = substitute_environment(&node(text), "spec", &lookup);
    assert_eq!(
        shown(&problems),
        [
            "W 3:9 spec.secure the environment variable `UNSET` is not set | the text `$UNSET` is used as it is; set \
          `UNSET` for the gateway"
        ]
    );
    let read = deserialize::<Example>(&node, "spec");
    let shown = shown(&read.problems);
    assert_eq!(shown.len(), 3, "{shown:?}");
    assert!(shown.iter().all(|line| !line.contains("hunter2")), "{shown:?}");
    assert_eq!(shown[0], "E 2:7 spec.port expected an integer, found the value of $SECRET");
    let dumped = serde_json::to_string(&node).expect("a node serialises");
    assert!(!dumped.contains("hunter2") && dumped.contains("\"x$LIMIT\""), "{dumped}");
}

/// A type that checks its text after reading it.
#[derive(Debug)]
struct Odd;

impl<'de> Deserialize<'de> for Odd {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match u32::deserialize(deserializer)? % 2 {
            1 => Ok(Self),
            _ => Err(de::Error::custom("the number is even")),
        }
    }
}

#[test]
fn what_a_type_finds_wrong_after_reading_is_placed_at_the_value() {
    #[derive(Debug, Deserialize)]
    struct Holder {
        #[expect(dead_code)]
        one: Odd,
        #[expect(dead_code)]
        many: Vec<Odd>,
        #[expect(dead_code)]
        named: BTreeMap<String, Odd>,
    }
    let read = read::<Holder>("one: 2\nmany: [3, 4, 6]\nnamed: {a: 5, b: 8}\n");
    assert_eq!(
        shown(&read.problems),
        [
            "E 1:6 spec.one the number is even",
            "E 2:11 spec.many[1] the number is even",
            "E 2:14 spec.many[2] the number is even",
            "E 3:18 spec.named.b the number is even",
        ]
    );
}
