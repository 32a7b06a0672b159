use super::*;

fn rules(source: RuleSource<'_>) -> RuleSet {
    RuleSet::compile(&[source]).expect("a valid rule")
}

fn path_rule(path: &str) -> RuleSet {
    rules(RuleSource { path: Some(path), ..RuleSource::default() })
}

fn kept(rule: &str, path: &str) -> Option<String> {
    let request = Request::for_test("GET", "/", &[]);
    path_rule(rule).kept_path(path, &request).map(Cow::into_owned)
}

#[test]
fn an_expression_matches_the_whole_path() {
    for (rule, path, holds) in [
        ("/a", "/a", true),
        ("/a", "/a/b", false),
        ("/a", "/x/a", false),
        ("/a.*", "/abc", true),
        ("/a/.*", "/a", false),
        ("/a/.*", "/a/", true),
        ("/a(/.*)?", "/a", true),
        ("/a|/b", "/b", true),
        ("/a|/b", "/bc", false),
        (".*", "", true),
        ("(?:/v1|/v2)/x", "/v2/x", true),
        ("/[0-9]+", "/17", true),
        ("/[0-9]+", "/17a", false),
    ] {
        let request = Request::for_test("GET", "/", &[]);
        assert_eq!(path_rule(rule).holds(path, &request), holds, "{rule} on {path}");
    }
}

#[test]
fn capture_groups_select_what_is_kept() {
    for (rule, path, expected) in [
        ("/api/.*", "/api/foo/bar", "/api/foo/bar"),
        ("/api(/.*)", "/api/foo/bar", "/foo/bar"),
        ("/foo(/.*)/bar(/.*)", "/foo/abc/bar/def", "/abc/def"),
        ("/foo(/[^/]+)/bar(/.*)", "/foo/abc/bar/def", "/abc/def"),
        ("(.*)", "/9", "/9"),
        ("/api/orders(/.*)?", "/api/orders", ""),
        ("/v(1|2)/items(/.*)", "/v2/items/5", "2/5"),
        ("/v(?:1|2)/items(/.*)", "/v2/items/5", "/5"),
        ("/api(/users/.*)", "/api/users/7", "/users/7"),
        ("/api(.*)", "/apix", "x"),
    ] {
        assert_eq!(kept(rule, path).as_deref(), Some(expected), "{rule} on {path}");
    }
}

#[test]
fn the_fast_forms_agree_with_the_regex_engine() {
    let forms = ["/a", "/a.*", "/a(/.*)", "/a(.*)", ".*", "(.*)", "/a|/b", "/a(/b.*)"];
    let paths = ["", "/", "/a", "/a/", "/a/b", "/ab", "/b", "/b/a", "/a/bc", "x/a"];
    for form in forms {
        assert!(
            !matches!(Pattern::compile(form, false), Ok(Pattern::Expression(_))),
            "{form} has a fast form"
        );
        let slow = Pattern::Expression(Regex::new(&format!(r"\A(?:{form})\z")).expect("valid"));
        let fast = Pattern::compile(form, false).expect("valid");
        for path in paths {
            assert_eq!(fast.matches(path), slow.matches(path), "{form} on {path}");
            if fast.matches(path) {
                assert_eq!(fast.kept(path), slow.kept(path), "{form} on {path}");
            }
        }
    }
}

#[test]
fn a_list_of_rules_is_or_and_the_fields_of_a_rule_are_and() {
    let both = RuleSet::compile(&[
        RuleSource { path: Some("/a"), methods: Some("GET|HEAD"), ..RuleSource::default() },
        RuleSource { path: Some("/b"), ..RuleSource::default() },
    ])
    .expect("valid");
    let get = Request::for_test("GET", "/a", &[]);
    let post = Request::for_test("POST", "/a", &[]);
    assert!(both.holds("/a", &get));
    assert!(!both.holds("/a", &post));
    assert!(both.holds("/b", &post));
    assert!(!both.holds("/c", &get));
}

#[test]
fn an_empty_list_and_a_rule_without_fields_match_every_request() {
    let request = Request::for_test("BREW", "/pot", &[]);
    assert!(RuleSet::default().holds("/pot", &request));
    assert!(rules(RuleSource::default()).holds("/pot", &request));
    assert_eq!(RuleSet::default().kept_path("/pot", &request).as_deref(), Some("/pot"));
}

#[test]
fn methods_are_case_sensitive() {
    let set = rules(RuleSource { methods: Some("get"), ..RuleSource::default() });
    assert!(!set.holds("/", &Request::for_test("GET", "/", &[])));
}

#[test]
fn the_host_is_compared_without_and_with_port() {
    let request = Request::for_test("GET", "/", &[("host", "api.example.com:8080")]);
    for (host, holds) in [
        ("api\\.example\\.com", true),
        ("api\\.example\\.com:8080", true),
        ("api\\.example\\.com:81", false),
        ("example\\.com", false),
        ("(api|www)\\.example\\.com", true),
    ] {
        let set = rules(RuleSource { host: Some(host), ..RuleSource::default() });
        assert_eq!(set.holds("/", &request), holds, "{host}");
    }
}

#[test]
fn every_listed_header_must_be_present_and_match() {
    let set = rules(RuleSource {
        headers: vec![("X-Channel", "web|mobile"), ("x-beta", "true")],
        ..RuleSource::default()
    });
    let with = |headers: &[(&str, &str)]| set.holds("/", &Request::for_test("GET", "/", headers));
    assert!(with(&[("x-channel", "web"), ("X-Beta", "true"), ("other", "x")]));
    assert!(!with(&[("x-channel", "web")]));
    assert!(!with(&[("x-channel", "webx"), ("x-beta", "true")]));
}

#[test]
fn several_values_of_one_header_match_as_their_comma_joined_value() {
    let set = rules(RuleSource { headers: vec![("x-tag", "a, b")], ..RuleSource::default() });
    assert!(set.holds("/", &Request::for_test("GET", "/", &[("x-tag", "a"), ("x-tag", "b")])));
    assert!(!set.holds("/", &Request::for_test("GET", "/", &[("x-tag", "a")])));
}

#[test]
fn a_leading_negative_look_ahead_is_a_negated_condition() {
    let request = Request::for_test("GET", "/", &[]);
    let set = path_rule("(?!/admin)(/.*)");
    assert!(set.holds("/shop/1", &request));
    assert!(!set.holds("/admin/1", &request));
    assert_eq!(set.kept_path("/shop/1", &request).as_deref(), Some("/shop/1"));
}

#[test]
fn what_re2_does_not_have_is_refused_with_a_remedy() {
    for (source, cause) in [
        ("/a(?=b)", "look-around"),
        ("/a(?!b)", "look-around"),
        (r"(a)\1", "back-reference"),
        ("(", "unclosed group"),
        ("[", "unclosed character class"),
    ] {
        let source = RuleSource { path: Some(source), ..RuleSource::default() };
        let (index, error) = RuleSet::compile(std::slice::from_ref(&source)).expect_err("refused");
        assert_eq!((index, error.field.as_str()), (0, "path"));
        assert!(error.message.contains(cause), "{}", error.message);
        assert!(!error.help.is_empty());
    }
}

#[test]
fn hosts_compare_without_regard_to_case_and_to_a_final_dot() {
    let set = rules(RuleSource { host: Some("admin[.]test|shop[.]test"), ..RuleSource::default() });
    for host in ["admin.test", "ADMIN.test", "admin.test.", "Shop.Test:8080"] {
        assert!(set.holds("/", &Request::for_test("GET", "/", &[("host", host)])), "{host}");
    }
    for host in ["admin.tests", "admin.test..", "xadmin.test"] {
        assert!(!set.holds("/", &Request::for_test("GET", "/", &[("host", host)])), "{host}");
    }
}

#[test]
fn a_header_rule_sees_what_the_client_sent_and_hosts_in_any_case() {
    let holds = |name: &str, pattern: &str, request: &Request| {
        rules(RuleSource { headers: vec![(name, pattern)], ..RuleSource::default() }).holds("/", request)
    };
    let mut request = Request::for_test("POST", "/", &[("host", "API.test"), ("x-a", "b")]);
    assert!(holds("Host", "api.test", &request) && holds("host", "Api[.]Test", &request));
    assert!(!holds("content-length", ".*", &request) && !holds("upgrade", ".*", &request));
    request.body = crate::http::Body::Whole("seven b".into());
    let protocols = request.headers.push_text(b"websocket");
    request.upgrade = Some(protocols);
    assert!(holds("Content-Length", "[0-9]", &request) && holds("Upgrade", "websocket", &request));
    assert!(holds("x-a", "b", &request) && !holds("x-a", "B", &request));
}

#[test]
fn a_host_pattern_is_folded_whatever_form_it_has() {
    for source in ["Api.Test", "API[.]TEST|www", "API.*", "(?:A)pi[.]t(.*)"] {
        let set = rules(RuleSource { host: Some(source), ..RuleSource::default() });
        for host in ["api.test", "API.TEST"] {
            assert!(set.holds("/", &Request::for_test("GET", "/", &[("host", host)])), "{source} on {host}");
        }
        assert!(!set.holds("/", &Request::for_test("GET", "/", &[("host", "b.test")])), "{source}");
    }
}

#[test]
fn escapes_in_a_path_rule_are_those_of_the_one_spelling() {
    let request = Request::for_test("GET", "/", &[]);
    for (rule, path) in [
        ("/a%2fb.*", "/a%2Fbc"),
        ("/%7Eadmin/.*", "/~admin/x"),
        (r"/\%7eadmin", "/~admin"),
        ("/v1%2E0%5fa%41%2d[%2d%2E]", "/v1.0_aA-."),
        ("(?!/%61)/.*", "/b"),
    ] {
        assert!(path_rule(rule).holds(path, &request), "{rule}");
    }
    assert!(!path_rule("/v1%2E0").holds("/v1x0", &request));
    assert!(!path_rule("(?!/%61)/.*").holds("/a", &request));
}

#[test]
fn a_host_that_a_negated_rule_refuses_is_refused_in_every_spelling() {
    let set = rules(RuleSource { host: Some("(?!public[.]test$).*"), ..RuleSource::default() });
    for (host, holds) in [
        ("public.test", false),
        ("public.test.", false),
        ("public.test:8080", false),
        ("private.test:8080", true),
        ("public.test.evil", true),
    ] {
        assert_eq!(set.holds("/", &Request::for_test("GET", "/", &[("host", host)])), holds, "{host}");
    }
}

/// The upstream gets `/` for it (configuration reference 4.5).
#[test]
fn a_policy_for_every_path_is_for_the_base_path_without_a_slash_too() {
    let request = Request::for_test("GET", "/", &[]);
    for (rule, concerned) in [
        ("/.*", true),
        ("/", true),
        ("(?!/public)(/.*)", true),
        ("", true),
        ("/items", false),
        ("/..*", false),
    ] {
        assert_eq!(path_rule(rule).concerns("", &request), concerned, "{rule}");
    }
    assert!(!path_rule("/.*").holds("", &request), "routes have the table of 4.5");
}
