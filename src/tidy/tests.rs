//! The rules themselves, against text that breaks them.

use super::{
    File, floors, repository, shape,
    text::{Mention, code_only, declares_module, root_modules_named},
};

fn file(path: &str, text: &str) -> File {
    File { path: path.into(), text: text.into(), executable: false }
}

fn modules(code: &str, depth: usize) -> Vec<String> {
    root_modules_named(&code_only(code), depth).into_iter().map(|mention| mention.module).collect()
}

#[track_caller]
fn assert_one(findings: &[String], parts: &[&str]) {
    assert_eq!(findings.len(), 1, "{findings:#?}");
    for part in parts {
        assert!(findings[0].contains(part), "{part:?} is not in: {}", findings[0]);
    }
}

#[test]
fn comments_and_literals_are_not_code() {
    let source = "a /* crate::x /* nested */ */ b // crate::y\n\"crate::\\\"z\" 'x' '\\'' r#\"cr\"ate::\"# <'a> c '\"' d 'é'";
    let code = code_only(source);
    let words: Vec<&str> = code.split_whitespace().collect();
    assert_eq!(words, ["a", "b", "<'a>", "c", "d"]);
    assert_eq!(code.lines().count(), 2);
}

#[test]
fn every_way_to_name_a_root_module_is_seen() {
    assert_eq!(modules("use crate::policy::Chain;", 2), ["policy"]);
    assert_eq!(modules("use crate::{\n  base::{Digest, ids::Name},\n  http::Head,\n};", 2), ["base", "http"]);
    assert_eq!(modules("fn f() -> crate::snapshot::Snapshot {}", 2), ["snapshot"]);
    assert_eq!(modules("use super::super::cli::Run;", 2), ["cli"]);
    assert_eq!(modules("use super::cli::Run;", 2), Vec::<String>::new());
    assert_eq!(modules("my_crate::a; other::crate::b; use crate::{self, base};", 2), ["base"]);
    let mentions = root_modules_named("\n\nuse crate::base;", 1);
    assert_eq!(mentions, [Mention { module: "base".into(), line: 3 }]);
}

#[test]
fn an_import_that_goes_up_is_found_with_its_line_and_a_way_out() {
    let findings =
        floors::violations(&[file("src/policy/chain.rs", "//! Chains.\nuse crate::actors::Pipeline;\n")]);
    assert_one(
        &findings,
        &["src/policy/chain.rs:2", "floor 2 (`policy`)", "floor 6 (`actors`)", "move the type down"],
    );
}

#[test]
fn imports_that_go_down_or_stay_inside_are_fine() {
    let files = [
        file("src/snapshot/router/mod.rs", "use crate::{policy::Chain, snapshot::Cell, base::Digest};"),
        file("src/policies/route/tests.rs", "use super::super::catalog; // not crate::cli"),
        file("src/lib.rs", "pub mod cli; use crate::cli::main;"),
        file("src/main.rs", "use crate::cli;"),
    ];
    assert_eq!(floors::violations(&files), Vec::<String>::new());
}

#[test]
fn a_module_on_no_floor_is_found() {
    assert_one(&floors::violations(&[file("src/helpers/mod.rs", "")]), &["src/helpers", "on no floor"]);
}

#[test]
fn neighbours_are_used_in_one_direction_only() {
    let one_way = file("src/telemetry/http_output.rs", "use crate::outbound::Client;");
    assert_eq!(floors::violations(std::slice::from_ref(&one_way)), Vec::<String>::new());
    let back = file("src/outbound/client.rs", "use crate::telemetry::Event;");
    assert_one(&floors::violations(&[one_way, back]), &["`outbound`, `telemetry`", "one direction only"]);
}

#[test]
fn an_actor_in_the_data_plane_is_found() {
    let clean = file(
        "src/data_plane/serve.rs",
        "use std::net::SocketAddr;\n// actix::Addr\nfn f(x: Option<SocketAddr>) {}",
    );
    assert_eq!(floors::actors_in_the_data_plane(&[clean]), Vec::<String>::new());
    for line in
        ["use actix::Addr;", "fn f(to: &Addr<Health>) {}", "use crate::actors::Health;", "x.do_send(y)"]
    {
        let findings =
            floors::actors_in_the_data_plane(&[file("src/data_plane/serve.rs", &format!("\n{line}\n"))]);
        assert_one(&findings, &["src/data_plane/serve.rs:2", "never crosses a mailbox"]);
        let elsewhere = file("src/actors/health.rs", line);
        assert_eq!(floors::actors_in_the_data_plane(&[elsewhere]), Vec::<String>::new());
    }
}

#[test]
fn a_long_source_file_is_found_and_a_long_test_is_not() {
    let text = "\n".repeat(451);
    assert_one(&shape::long_files(&[file("src/snapshot/compile.rs", &text)]), &["451 lines", "Split it"]);
    assert_one(&shape::long_files(&[file("scripts/a.d/b.py", &text)]), &["451 lines", "Split it"]);
    let exempt =
        ["src/snapshot/tests.rs", "src/policy/tests/order.rs", "cluster-tests/tests/x.rs", "docs/long.md"];
    for path in exempt {
        assert_eq!(shape::long_files(&[file(path, &text)]), Vec::<String>::new());
    }
    assert_eq!(shape::long_files(&[file("src/a.rs", &"\n".repeat(450))]), Vec::<String>::new());
}

fn policy(name: &str) -> Vec<File> {
    let names = ["mod.rs", "config.rs", "tests.rs", "example.yaml", "README.md"];
    names.iter().map(|leaf| file(&format!("src/policies/{name}/{leaf}"), "")).collect()
}

#[test]
fn a_policy_folder_lacks_no_file_and_stands_in_the_catalog() {
    let catalog = || file("src/policies/catalog.rs", "list![cors::Cors]; // route::Route");
    let mut complete = policy("cors");
    complete.push(catalog());
    assert_eq!(shape::policy_folders(&complete), Vec::<String>::new());

    complete.retain(|file| !file.path.ends_with("README.md"));
    assert_one(&shape::policy_folders(&complete), &["src/policies/cors", "without README.md"]);

    let mut unlisted = policy("route");
    unlisted.push(catalog());
    assert_one(&shape::policy_folders(&unlisted), &["src/policies/route", "not in src/policies/catalog.rs"]);
}

#[test]
fn a_file_that_no_mod_line_names_is_found() {
    let parent = |text: &str| file("src/policy/mod.rs", text);
    let root = || file("src/lib.rs", "pub mod policy;");
    let child = || file("src/policy/tests.rs", "");
    let declared = [root(), parent("#[cfg(test)]\nmod tests;"), child()];
    assert_eq!(shape::forgotten_files(&declared), Vec::<String>::new());
    for text in ["", "// mod tests;", "mod tests2;", "mod tests {}"] {
        let findings = shape::forgotten_files(&[root(), parent(text), child()]);
        assert_one(&findings, &["src/policy/tests.rs", "no `mod tests;`"]);
    }
    let chapter = |main: &str| {
        [file("cluster-tests/tests/reload/main.rs", main), file("cluster-tests/tests/reload/load.rs", "")]
    };
    assert_eq!(shape::forgotten_files(&chapter("mod load;")), Vec::<String>::new());
    assert_one(&shape::forgotten_files(&chapter("")), &["reload/load.rs"]);
    assert_eq!(shape::forgotten_files(&[file("cluster-tests/tests/reload.rs", "")]), Vec::<String>::new());
}

#[test]
fn a_module_is_declared_with_any_visibility() {
    for code in ["mod a;", "pub mod a;", "pub(crate) mod a;", "#[cfg(test)]\nmod a;"] {
        assert!(declares_module(code, "a"), "{code}");
    }
    for code in ["mod ab;", "mod a {", "use a;", ""] {
        assert!(!declares_module(code, "a"), "{code}");
    }
}

#[test]
fn a_path_of_one_machine_is_found() {
    for folder in ["wo_rk", "ro_ot", "tm_p"] {
        let path = format!("/{}/x", folder.replace('_', ""));
        let findings = repository::machine_paths(&[file("docs/a.md", &format!("first\nsee {path}\n"))]);
        assert_one(&findings, &["docs/a.md:2", "relative to the repository"]);
        let inside = format!("$HOME{path} https://example.com{path} ~{path}");
        assert_eq!(repository::machine_paths(&[file("docs/a.md", &inside)]), Vec::<String>::new());
    }
}

#[test]
fn a_script_explains_itself_and_stops_at_the_first_failure() {
    let good = "#!/usr/bin/env bash\n# Usage: scripts/a\nset -euo pipefail\n";
    let script = |text: &str, executable| [File { path: "scripts/a".into(), text: text.into(), executable }];
    assert_eq!(repository::scripts(&script(good, true)), Vec::<String>::new());
    assert_one(&repository::scripts(&script(good, false)), &["not executable"]);
    assert_one(&repository::scripts(&script(&good.replace("Usage", "About"), true)), &["usage"]);
    assert_one(
        &repository::scripts(&script(&good.replace("set -euo", "set -eu"), true)),
        &["after a failure"],
    );
    assert_one(&repository::scripts(&script(&good[2..], true)), &["interpreter"]);
    assert_eq!(repository::scripts(&[file("scripts/a.d/part.py", "import os\n")]), Vec::<String>::new());
    let below =
        [File { path: "scripts/chaos/a".into(), text: good.replace("Usage", "About"), executable: true }];
    assert_one(&repository::scripts(&below), &["scripts/chaos/a", "usage"]);
}

#[test]
fn a_link_to_nowhere_is_found() {
    let page =
        |text: &str| [file("docs/a.md", text), file("docs/decisions/0001-x.md", ""), file("README.md", "")];
    let fine =
        "[a](decisions/0001-x.md#why) [b](../README.md) [c](decisions/) [d](https://example.com) [e](#here)";
    assert_eq!(repository::broken_links(&page(fine)), Vec::<String>::new());
    assert_one(&repository::broken_links(&page("\n[x](b.md)")), &["docs/a.md:2", "docs/b.md"]);
}

#[test]
fn a_named_test_that_does_not_exist_is_found() {
    let code = "#[test]\nfn a_row_holds() {}\n";
    let page = "`a::not_in_a_table`\n| row | `rules::a_row_holds`, `policy::rules::a_row_holds`, `other::a_row_holds` |\n";
    let files = [file("src/policy/rules/tests.rs", code), file("docs/testing.md", page)];
    assert_one(&repository::missing_tests(&files), &["docs/testing.md:2", "`other::a_row_holds`"]);
}
