//! The examples of docs/expressions.md.

use super::*;

const PAGE: &str = include_str!("../../../docs/expressions.md");

#[test]
fn each_example_of_the_page_has_the_value_it_shows() {
    let mut examples = 0;
    for block in PAGE.split("```expressions\n").skip(1) {
        for line in block.split("```").next().unwrap().lines() {
            let (expression, expected) = line.split_once("=>").unwrap_or_else(|| panic!("{line}"));
            let template = Template::compile(expression).unwrap_or_else(|error| panic!("{line}: {error}"));
            assert_eq!(template.warnings(), [], "{line}");
            let request = Request::default();
            let value = template.eval(&request).unwrap_or_else(|error| panic!("{line}: {error}"));
            assert_eq!(value, json(expected), "{line}");
            examples += 1;
        }
    }
    assert_eq!(examples, PAGE.matches("=> ").count());
    assert!(examples > 10);
}

#[test]
fn the_page_names_every_function_attribute_and_limit() {
    for entry in super::super::functions::ENTRIES {
        assert!(PAGE.contains(entry.name), "{}", entry.name);
    }
    for attribute in Attribute::ALL {
        assert!(PAGE.contains(&format!(".{}`", attribute.name())), "{}", attribute.name());
    }
    let row =
        |name: &str, limit: &str| assert!(PAGE.contains(&format!("| {name} | {limit} |")), "{name}: {limit}");
    row("length of an expression", &format!("{} KiB", EXPRESSION_BYTES_MAX >> 10));
    row("nesting of parentheses, brackets, calls, `if`, `not`", &DEPTH_MAX.to_string());
    row(
        "new strings and lists that one evaluation may produce",
        &format!("{} MiB", PRODUCED_BYTES_MAX >> 20),
    );
    assert!(PAGE.contains(&format!("deeper than {PAYLOAD_DEPTH_MAX} levels")));
    assert_eq!(PAYLOAD_VALUES_MAX, 1_048_576);
}
