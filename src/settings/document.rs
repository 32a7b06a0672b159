//! Help and reference, read from the table.

use std::fmt::Write as _;

use super::table::{FILE_VARIABLE, NOT_SUPPORTED_YET, OTHER_VARIABLES, PREFIX, SETTINGS, Setting};

/// The text after the options in `portcullis run --help`.
pub fn help_text() -> String {
    let mut text = String::from(
        "Settings (file < FLEX_* variables < PORTCULLIS_* variables < flags; docs/settings.md says more):\n",
    );
    for setting in SETTINGS {
        // Writing to a String cannot fail.
        let _ =
            writeln!(text, "  {} [{}]\n      {}", setting.variable(), shown(setting.default), setting.text);
    }
    text
}

/// `docs/settings.md`.
pub fn markdown() -> String {
    let mut text = String::from(HEAD);
    for setting in SETTINGS {
        let _ = write!(
            text,
            "\n### `{}`\n\n{}\n\n* Default: {}\n* Value: {}.\n* Variable: `{}`{}\n",
            setting.key,
            setting.text,
            code(setting.default),
            setting.kind.expected(),
            setting.variable(),
            setting
                .vendor
                .map_or_else(String::new, |vendor| format!(", or the vendor's `{vendor}`{}", unit(setting))),
        );
    }
    text.push_str("\n## Vendor variables without effect yet\n\nThey are accepted with a warning.\n\n");
    for (name, why) in NOT_SUPPORTED_YET {
        let _ = writeln!(text, "* `{name}`: {why}.");
    }
    let _ = write!(
        text,
        "\n## Variables that are no settings\n\nEvery other variable that begins with `{PREFIX}` must be one of a setting \
         above, but those that Kubernetes\nmakes for a Service named `portcullis`.\n\n* `{FILE_VARIABLE}`: the settings file, \
         where no flag names one.\n"
    );
    for (name, what) in OTHER_VARIABLES {
        let _ = writeln!(text, "* `{name}`: {what}.");
    }
    text
}

fn unit(setting: &Setting) -> &'static str {
    use super::Kind::{Clamped, Duration};
    if matches!(setting.kind, Duration(..) | Clamped(..)) { " (a bare number is seconds)" } else { "" }
}

fn shown(default: &str) -> &str {
    if default.is_empty() { "empty" } else { default }
}

fn code(default: &str) -> String {
    if default.is_empty() { "empty".to_owned() } else { format!("`{default}`") }
}

const HEAD: &str = "# Process settings

<!-- Generated from src/settings/table.rs; `BLESS=1 cargo test --lib settings` writes it anew. -->

What an operator says to the process, as opposed to the resources that it serves. Where both speak
about the same thing, a policy ranks first, then a `Configuration` resource, then these settings.

Ranks among settings, lowest first: the default, the settings file (`--settings FILE` or
`PORTCULLIS_SETTINGS`), the vendor's `FLEX_*` variables, `PORTCULLIS_*` variables, flags. Unknown keys
and values that do not fit stop the start with exit code 78 and a message that names the place in the file,
the variable or the flag.

The file is YAML; a dot in a name below is one level in it:

```yaml
workers: 4
timeouts:
  connect: 2s
  upstream_response: 30s
dns:
  hosts:
    orders.internal: 10.0.0.7
```

## Settings
";
