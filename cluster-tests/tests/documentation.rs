//! What the repository shows is accepted and serves: the demo, the examples in pages, the examples of policies.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use cluster_tests::config::configuration;
use cluster_tests::gateway::Plan;
use cluster_tests::redis::Redis;
use cluster_tests::upstream::Upstream;
use cluster_tests::{binary, client, ports};
use serde_json::json;

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("this crate lies inside the workspace")
}

/// Any authority: nobody is asked.
const AUTHORITY: &str = include_str!("../../src/tls/fixtures/rsa.crt");

/// Files below `folder`, sorted.
fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
        let path = entry.expect("an entry of a folder that was just opened").path();
        if path.is_dir() {
            found.extend(files_below(&path));
        } else {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn validate(arguments: &[&str], path: &Path) -> Output {
    Command::new(binary::portcullis())
        .arg("validate")
        .args(arguments)
        .arg(path)
        // What `config/cluster` takes from the environment, as docker-compose.yml and the credentials give it.
        .envs([("REDIS_ADDRESS", "redis:6379"), ("REDIS_PASSWORD", "secret"), ("REDIS_CA", AUTHORITY)])
        .output()
        .expect("the binary starts")
}

#[track_caller]
fn assert_accepted(output: &Output, what: &str) {
    let said = [output.stdout.as_slice(), output.stderr.as_slice()].concat();
    assert!(output.status.success(), "{what}: {}\n{}", output.status, String::from_utf8_lossy(&said));
}

/// The `yaml` blocks of a page that hold whole resources, not fragments.
fn resource_blocks(page: &str) -> Vec<String> {
    page.split("```yaml\n")
        .skip(1)
        .filter_map(|rest| rest.split("\n```").next())
        .filter(|block| block.contains("apiVersion:") && block.contains("kind:"))
        .map(str::to_owned)
        .collect()
}

#[test]
fn configuration_that_we_ship_is_accepted_without_a_warning() {
    let mut files = files_below(&repository().join("config"));
    files.retain(|path| path.extension().is_some_and(|extension| extension == "yaml"));
    assert!(files.len() >= 6, "{files:?}");
    // Those of a folder belong together.
    let folders: BTreeSet<_> = files.iter().filter_map(|file| file.parent()).collect();
    for folder in folders {
        assert_accepted(&validate(&["--strict"], folder), &folder.display().to_string());
    }
}

#[test]
fn resources_shown_in_pages_are_accepted() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut pages = vec![repository().join("README.md")];
    pages.extend(files_below(&repository().join("docs")));
    pages.extend(files_below(&repository().join("src/policies")));
    pages.retain(|path| path.extension().is_some_and(|extension| extension == "md"));
    let mut shown = 0;
    for page in pages {
        let text = std::fs::read_to_string(&page).expect("a page is text");
        for block in resource_blocks(&text) {
            let file = folder.path().join("shown.yaml");
            std::fs::write(&file, &block).expect("the temporary folder is writable");
            assert_accepted(&validate(&[], &file), &format!("{}:\n{block}", page.display()));
            shown += 1;
        }
    }
    assert!(shown > 0, "the README shows a configuration");
}

#[test]
fn the_operations_page_lists_every_metric_and_no_other() {
    let redis = Redis::standalone();
    let storage = json!({"sharedStorage": {"redis": {"address": redis.address().to_string()}}});
    let gateway = Plan::new().with("a.yaml", &[configuration("shared", storage)]).start_unready();
    let page = gateway.admin("GET", "/metrics").text();
    let family = |line: &str| Some(line.strip_prefix("# TYPE ")?.split(' ').next()?.to_owned());
    let written: BTreeSet<String> = page.lines().filter_map(family).collect();
    let page = std::fs::read_to_string(repository().join("docs/operations.md")).expect("it is there");
    let row = |line: &str| Some(line.strip_prefix("| `")?.split('`').next()?.to_owned());
    let rows = page.lines().filter_map(row).filter(|name| name.starts_with("portcullis_"));
    assert_eq!(written, rows.collect());
}

#[test]
fn every_script_explains_itself_when_asked() {
    let mut scripts = files_below(&repository().join("scripts"));
    // Folders `NAME.d` hold parts of scripts.
    scripts.retain(|path| !path.components().any(|part| part.as_os_str().to_string_lossy().ends_with(".d")));
    assert!(scripts.len() >= 10, "{scripts:?}");
    for script in scripts {
        let output = Command::new(&script).arg("--help").output().expect("a script starts");
        assert_accepted(&output, &script.display().to_string());
        let said = String::from_utf8_lossy(&output.stdout).to_lowercase();
        let name = script.strip_prefix(repository()).expect("below the repository").display().to_string();
        assert!(said.contains(&format!("usage: {name}")), "{name}: {said}");
    }
}

#[test]
fn the_demo_answers_as_its_comments_say() {
    let upstream = Upstream::echo("demo");
    let port = ports::free();
    let mut plan = Plan::new();
    for file in files_below(&repository().join("config/demo")) {
        let text = std::fs::read_to_string(&file).expect("a demo file is text");
        let text = text
            .replace("127.0.0.1:8080", &format!("127.0.0.1:{port}"))
            .replace("http://127.0.0.1:9080", &upstream.url());
        plan = plan.with_text(&file.file_name().expect("a file has a name").to_string_lossy(), &text);
    }
    let gateway = plan.start();
    let at: SocketAddr = ([127, 0, 0, 1], port).into();
    let seen =
        || upstream.received().last().map(|request| request.head.first_line.clone()).unwrap_or_default();

    assert_eq!(client::get(at, "/shop/items/7").status, 200);
    assert!(seen().starts_with("GET /v2/7 "), "{}", seen());
    assert_eq!(client::call(at, "POST", "/shop/cart", "", "x=1").status, 200);
    assert!(seen().starts_with("POST /cart "), "{}", seen());
    assert_eq!(client::call(at, "PUT", "/shop/items/7", "", "").status, 404);

    assert_eq!(client::get(at, "/private/notes").status, 401);
    let with_demo = "Authorization: Basic ZGVtbzpkZW1v\r\n";
    assert_eq!(client::call(at, "GET", "/private/notes", with_demo, "").status, 200);

    let answers: Vec<_> = (0..6).map(|_| client::get(at, "/limited/")).collect();
    let statuses: Vec<u16> = answers.iter().map(|answer| answer.status).collect();
    assert_eq!(statuses, [200, 200, 200, 200, 200, 429]);
    for answer in &answers {
        assert_eq!(answer.head.get("x-ratelimit-limit"), Some("5"));
        assert!(
            answer.head.get("x-ratelimit-remaining").is_some()
                && answer.head.get("x-ratelimit-reset").is_some()
        );
    }
    assert!(upstream.problems().is_empty(), "{:?}", upstream.problems());
    drop(gateway);
}
