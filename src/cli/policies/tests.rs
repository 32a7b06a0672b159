use super::*;

fn written(write: impl Fn(&mut dyn Write) -> Result<(), PolicyError>) -> String {
    let mut out = Vec::new();
    write(&mut out).expect("it can be written");
    String::from_utf8(out).expect("text")
}

#[test]
fn list_has_one_line_for_each_policy() {
    let text = written(|out| Ok(list(out)?));
    for entry in CATALOG {
        let mut lines = text.lines().filter(|line| line.starts_with(&format!("{} ", entry.name)));
        assert!(lines.next().is_some_and(|line| line.ends_with(entry.summary)), "{}", entry.name);
        assert_eq!(lines.next(), None, "{}", entry.name);
    }
    assert!(text.contains("Not supported yet: "));
}

#[test]
fn show_tells_parameters_answers_and_an_example() {
    for entry in CATALOG {
        let text = written(|out| show(entry.name, out));
        assert!(text.starts_with("# "), "{}", entry.name);
        for part in ["\n## Parameters\n", "\n## Example\n", entry.name, entry.example.trim_end()] {
            assert!(text.contains(part), "{}: {part}", entry.name);
        }
        assert!(!text.contains("<!--"), "{}", entry.name);
    }
}

#[test]
fn a_name_without_its_suffix_is_understood() {
    assert!(written(|out| show("rate-limiting", out)).contains("rate-limiting-flex"));
}

#[test]
fn an_unknown_name_has_a_suggestion() {
    let error = show("rate-limitng-flex", &mut io::sink()).expect_err("no such policy");
    let expected = "unknown policy `rate-limitng-flex`
help: did you mean `rate-limiting-flex`?
help: `portcullis policies list` shows all policies";
    assert_eq!(error.to_string(), expected);
}

#[test]
fn a_policy_that_is_not_there_yet_is_said_to_be_so() {
    let error = schema("native-aws-lambda", &mut io::sink()).expect_err("not yet");
    assert_eq!(error.to_string(), "the policy `native-aws-lambda` is not supported yet");
}

#[test]
fn the_schema_of_a_policy_describes_its_config() {
    let text = written(|out| schema("spike-control-flex", out));
    let schema: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(schema["$id"], "urn:portcullis:policy:spike-control-flex");
    assert_eq!(schema["properties"]["maximumRequests"]["default"], 1);
}

#[test]
fn the_schema_of_all_has_each_policy_as_a_resource_of_its_own() {
    let text = written(|out| schema("all", out));
    let document: Value = serde_json::from_str(&text).expect("JSON");
    for entry in CATALOG {
        assert_eq!(document["$defs"][entry.name]["$id"], format!("urn:portcullis:policy:{}", entry.name));
    }
}
