//! Our parsers against independent, slow, obviously right ones (decision 25), on inputs grown from the grammar
//! and then damaged, whole and cut at every byte. The properties are those that the fuzzers hold, so each
//! finding of theirs, kept among the seeds in `fuzz/corpus`, is held here too.

#[path = "framing/grammar.rs"]
mod grammar;
#[path = "../fuzz/src/lib.rs"]
mod properties;

use std::{fs, path::Path};

/// A generator whose seed is printed when a test fails.
fn random() -> fastrand::Rng {
    let seed = std::env::var("PORTCULLIS_TEST_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| fastrand::u64(..));
    println!("PORTCULLIS_TEST_SEED={seed}");
    fastrand::Rng::with_seed(seed)
}

/// Checks inputs of the grammar, every second one damaged. Some of the damaged ones must be accepted and some
/// refused, or the damage shows nothing.
fn check_all(
    rounds: usize,
    grow: fn(&mut fastrand::Rng) -> Vec<u8>,
    check: fn(&[u8]),
    is_accepted: fn(&[u8]) -> bool,
) {
    let mut random = random();
    let (mut accepted, mut refused) = (0, 0);
    for _ in 0..rounds {
        let grown = grow(&mut random);
        check(&grown);
        assert!(is_accepted(&grown), "of the grammar, and refused: {:?}", String::from_utf8_lossy(&grown));
        let damaged = grammar::damage(&mut random, &grown);
        check(&damaged);
        if is_accepted(&damaged) { accepted += 1 } else { refused += 1 }
    }
    assert!(accepted > rounds / 50 && refused > rounds / 50, "{accepted} accepted, {refused} refused");
}

#[test]
fn a_request_head_means_to_us_what_it_means_to_a_parser_that_reads_the_grammar() {
    use properties::request_head::{check, is_accepted};
    check_all(4_000, grammar::request, check, is_accepted);
}

#[test]
fn a_response_head_means_to_us_what_it_means_to_a_parser_that_reads_the_grammar() {
    use properties::response_head::{check, is_accepted};
    check_all(4_000, grammar::response, check, is_accepted);
}

#[test]
fn a_chunked_body_is_to_us_what_it_is_to_a_parser_that_reads_the_grammar() {
    use properties::chunked::{check, is_accepted};
    check_all(4_000, grammar::chunked, check, is_accepted);
}

/// The seeds of a fuzz target, and each of them damaged a few times.
fn check_seeds(folders: &[&str], check: fn(&[u8]), is_accepted: fn(&[u8]) -> bool) {
    let mut random = random();
    let (mut seeds, mut accepted) = (0, 0);
    for folder in folders {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
        for entry in fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
            let path = entry.expect("a readable folder").path();
            if path.extension().is_some_and(|extension| extension == "expected") {
                continue;
            }
            println!("{}", path.display());
            let seed = fs::read(&path).expect("a readable file");
            check(&seed);
            (seeds, accepted) = (seeds + 1, accepted + usize::from(is_accepted(&seed)));
            for _ in 0..8 {
                check(&grammar::damage(&mut random, &seed));
            }
        }
    }
    assert!(
        accepted > 0 && accepted < seeds,
        "{accepted} of {seeds} seeds are accepted: good and bad are wanted"
    );
}

#[test]
fn the_seeds_of_request_head_hold() {
    use properties::request_head::{check, is_accepted};
    check_seeds(&["fuzz/corpus/request_head"], check, is_accepted);
}

#[test]
fn the_seeds_of_response_head_hold() {
    use properties::response_head::{check, is_accepted};
    check_seeds(&["fuzz/corpus/response_head"], check, is_accepted);
}

#[test]
fn the_seeds_of_chunked_hold() {
    use properties::chunked::{check, is_accepted};
    check_seeds(&["fuzz/corpus/chunked"], check, is_accepted);
}

#[test]
fn the_seeds_of_yaml_resources_hold() {
    use properties::yaml_resources::{check, is_accepted};
    let folders =
        ["fuzz/corpus/yaml_resources", "src/resources/fixtures/bad", "src/resources/fixtures/examples"];
    check_seeds(&folders, check, is_accepted);
}

#[test]
fn the_seeds_of_expressions_hold() {
    use properties::expressions::{check, is_accepted};
    check_seeds(&["fuzz/corpus/expressions"], check, is_accepted);
}

#[test]
fn the_seeds_of_records_hold() {
    use properties::records::{check, is_accepted};
    check_seeds(&["fuzz/corpus/records"], check, is_accepted);
}

#[test]
fn the_seeds_of_translation_hold() {
    use properties::translation::{check, is_accepted};
    check_seeds(&["fuzz/corpus/translation", "fuzz/corpus/request_head"], check, is_accepted);
}

#[test]
fn the_seeds_of_proxy_header_hold() {
    use properties::proxy_header::{check, is_accepted};
    check_seeds(&["fuzz/corpus/proxy_header"], check, is_accepted);
}

#[test]
fn the_seeds_of_client_hello_hold() {
    use properties::client_hello::{check, is_accepted};
    check_seeds(&["fuzz/corpus/client_hello"], check, is_accepted);
}

#[test]
fn the_seeds_of_http2_frames_hold() {
    use properties::http2_frames::{check, is_accepted};
    check_seeds(&["fuzz/corpus/http2_frames"], check, is_accepted);
}

#[test]
fn the_seeds_of_pem_hold() {
    use properties::pem::{check, is_accepted};
    check_seeds(&["fuzz/corpus/pem"], check, is_accepted);
}

#[test]
fn the_seeds_of_server_name_hold() {
    use properties::server_name::{check, is_accepted};
    check_seeds(&["fuzz/corpus/server_name"], check, is_accepted);
}

#[test]
fn the_seeds_of_config_record_hold() {
    use properties::config_record::{check, is_accepted};
    check_seeds(&["fuzz/corpus/config_record"], check, is_accepted);
}

#[test]
fn the_seeds_of_cache_entry_hold() {
    use properties::cache_entry::{check, is_accepted};
    check_seeds(&["fuzz/corpus/cache_entry"], check, is_accepted);
}
