//! Configuration reference 13 and 7.1, the issue's \"Process settings\", decisions 16, 19 and 22.

use std::{
    collections::HashSet, fs, io::Write as _, os::unix::fs::PermissionsExt as _, path::Path, time::Duration,
};

use crate::base::seal::KeyRing;

use super::{
    ClientCertDetails, DynamicPort, Loaded, LogFormat, LogLevel, Machine, Override, SETTINGS, Settings,
    SettingsError, ShareConfig, Sources, help_text, markdown, table::OTHER_VARIABLES,
};

fn sources() -> Sources {
    Sources::none(Machine { cpus: 3, generated_name: "portcullis-test".into() })
}

fn with_env(variables: &[(&str, &str)]) -> Result<Loaded, SettingsError> {
    let mut sources = sources();
    sources.environment = variables.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    sources.load()
}

fn env(variables: &[(&str, &str)]) -> Settings {
    let loaded = with_env(variables).expect("the variables are good");
    assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
    loaded.settings
}

fn with_file(text: &str, variables: &[(&str, &str)]) -> (Result<Loaded, SettingsError>, String) {
    let mut file = tempfile::NamedTempFile::new().expect("a temporary file");
    file.write_all(text.as_bytes()).expect("it can be written");
    let mut sources = sources();
    sources.file = Some(file.path().to_owned());
    sources.environment = variables.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    (sources.load(), file.path().display().to_string())
}

fn file(text: &str) -> Settings {
    with_file(text, &[]).0.expect("the file is good").settings
}

#[test]
fn every_setting_has_a_default_that_fits() {
    let settings = env(&[]);
    assert_eq!(settings.gateway.id, "default");
    assert_eq!(settings.gateway.name, "portcullis-test");
    assert_eq!(settings.gateway.replica, "portcullis-test");
    assert_eq!(settings.workers, 3);
    assert_eq!(settings.admin.address, "127.0.0.1:9902".parse().ok());
    assert_eq!(settings.sync.debounce, Duration::from_millis(50));
    assert_eq!(settings.sync.debounce_max, Duration::from_millis(250));
    assert_eq!(settings.timeouts.connect, Duration::from_secs(5));
    assert_eq!(settings.timeouts.head, Duration::from_secs(10));
    assert_eq!(settings.limits.head_bytes, 61_440);
    assert_eq!(settings.limits.head_fields, 128);
    assert_eq!(settings.limits.request_body, None);
    assert_eq!(settings.limits.cache, 256 << 20);
    assert_eq!(settings.state.folder, None);
    assert_eq!(settings.headers.server, "portcullis");
    assert!(settings.paths.merge_slashes);
    assert!(!settings.access_log);
    assert_eq!((settings.log.level, settings.log.format), (LogLevel::Info, LogFormat::Text));
    assert_eq!(settings.dynamic_port, None);
}

/// Each row: vendor variable, value, and the setting that must follow.
#[test]
fn each_vendor_variable_of_section_13_sets_its_setting() {
    let seconds = Duration::from_secs;
    assert_eq!(env(&[("FLEX_NAME", "edge-1")]).gateway.name, "edge-1");
    assert_eq!(env(&[("FLEX_INSTANCE_ID", "r7")]).gateway.replica, "r7");
    assert_eq!(env(&[("FLEX_CONNECTION_IDLE_TIMEOUT_SECONDS", "61")]).timeouts.client_idle, seconds(61));
    assert_eq!(env(&[("FLEX_STREAM_IDLE_TIMEOUT_SECONDS", "120")]).timeouts.stream_idle, seconds(120));
    assert_eq!(
        env(&[("FLEX_UPSTREAM_CONNECTION_IDLE_TIMEOUT_SECONDS", "9")]).timeouts.upstream_idle,
        seconds(9)
    );
    assert_eq!(
        env(&[("FLEX_UPSTREAM_RESPONSE_TIMEOUT_SECONDS", "30")]).timeouts.upstream_response,
        seconds(30)
    );
    assert!(env(&[("FLEX_ENVOY_HEADERS_ENABLED", "true")]).headers.envoy);
    assert!(!env(&[("FLEX_REWRITE_HOST_HEADER", "false")]).headers.rewrite_host);
    assert!(env(&[("FLEX_REMOVE_SERVER_HEADER", "true")]).headers.remove_server);
    let buffer = env(&[("FLEX_DOWNSTREAM_CONNECTION_BUFFER_LIMIT_BYTES", "2097152")]);
    assert_eq!(buffer.limits.buffered_body, 2 << 20);
    assert_eq!(env(&[("FLEX_SERVICE_ENVOY_DRAIN_TIME", "40")]).shutdown.drain, seconds(40));
    assert_eq!(env(&[("FLEX_SERVICE_ENVOY_CONCURRENCY", "4")]).workers, 4);
    assert_eq!(env(&[("FLEX_SYNC_DEBOUNCE_TIME", "5s")]).sync.debounce, seconds(5));
    assert_eq!(env(&[("FLEX_DNS_REFRESH_RATE", "10s")]).dns.refresh, seconds(10));
    assert!(env(&[("FLEX_BASE_PATH_CANONICALIZER_ENABLED", "true")]).paths.base_path_canonicalizer);
}

#[test]
fn the_defaults_are_those_of_section_13() {
    let settings = env(&[]);
    assert_eq!(settings.timeouts.client_idle, Duration::from_secs(60));
    assert_eq!(settings.timeouts.stream_idle, Duration::from_secs(300));
    assert_eq!(settings.timeouts.upstream_idle, Duration::from_secs(60));
    assert_eq!(settings.timeouts.upstream_response, Duration::from_secs(15));
    assert!(!settings.headers.envoy);
    assert!(settings.headers.rewrite_host);
    assert!(!settings.headers.remove_server);
    assert_eq!(settings.headers.forward_client_cert_details, ClientCertDetails::Sanitize);
    assert_eq!(settings.limits.buffered_body, 1_048_576);
    assert_eq!(settings.shutdown.drain, Duration::from_secs(25));
    assert_eq!(settings.dns.refresh, Duration::from_secs(5));
    assert!(!settings.paths.base_path_canonicalizer);
}

#[test]
fn the_dns_refresh_rate_is_clamped_to_5s_to_60s() {
    assert_eq!(env(&[("FLEX_DNS_REFRESH_RATE", "1s")]).dns.refresh, Duration::from_secs(5));
    assert_eq!(env(&[("FLEX_DNS_REFRESH_RATE", "10m")]).dns.refresh, Duration::from_secs(60));
}

#[test]
fn a_longer_debounce_raises_its_upper_bound() {
    let sync = env(&[("FLEX_SYNC_DEBOUNCE_TIME", "5s")]).sync;
    assert_eq!(sync.debounce_max, Duration::from_secs(5));
}

#[test]
fn a_dynamic_port_is_taken_from_the_variable_that_is_named() {
    let on = [
        ("FLEX_DYNAMIC_PORT_ENABLE", "true"),
        ("FLEX_DYNAMIC_PORT_ENVAR", "PORT"),
        ("FLEX_DYNAMIC_PORT_VALUE", "8081"),
    ];
    let mut variables = on.to_vec();
    variables.push(("PORT", "5005"));
    assert_eq!(env(&variables).dynamic_port, Some(DynamicPort { written: 8081, bound: 5005 }));
    let text = "dynamic_port: {enabled: true, variable: PORT, value: 80}";
    let ours = with_file(text, &[("PORT", "5005")]).0.expect("the file is good").settings;
    assert_eq!(ours.dynamic_port, Some(DynamicPort { written: 80, bound: 5005 }));
    for bad in ["", "0", "9998", "65536", "http"] {
        *variables.last_mut().expect("PORT") = ("PORT", bad);
        let error = with_env(&variables).expect_err(bad).to_string();
        assert!(error.contains("the variable PORT, named for the dynamic port, holds no port"), "{error}");
    }
    let error = with_env(&on).expect_err("PORT is not set").to_string();
    assert!(error.contains("the variable PORT, named for the dynamic port, is not set"), "{error}");
    let error = with_env(&on[..1]).expect_err("no variable is named").to_string();
    assert!(error.contains("FLEX_DYNAMIC_PORT_ENVAR"), "{error}");
}

#[test]
fn variables_for_features_that_do_not_exist_yet_are_reported() {
    for name in ["FLEX_CONFIG", "FLEX_HEADER_RAW_VALUE_ENABLE", "FLEX_METRIC_ADDR"] {
        let loaded = with_env(&[(name, "s3cret")]).expect("a warning only");
        let shown = format!("{:?}", loaded.warnings);
        assert!(shown.contains(&format!("{name} is not supported yet")), "{shown}");
        assert!(!shown.contains("s3cret"), "values are not shown: {shown}");
    }
    let loaded = with_env(&[("FLEX_FORWARD_CLIENT_CERT_DETAILS", "APPEND_FORWARD")]).expect("a warning only");
    assert_eq!(loaded.settings.headers.forward_client_cert_details, ClientCertDetails::AppendForward);
    assert!(loaded.warnings.is_empty());
}

#[test]
fn an_unknown_flex_variable_is_left_to_substitution_unless_it_looks_like_a_slip() {
    assert!(with_env(&[("FLEX_MY_TEAM_TOKEN", "x")]).expect("fine").warnings.is_empty());
    let warnings = with_env(&[("FLEX_REWRITE_HOST_HEADERS", "false")]).expect("fine").warnings;
    assert!(format!("{warnings:?}").contains("did you mean `FLEX_REWRITE_HOST_HEADER`?"));
}

#[test]
fn defaults_rank_below_file_below_vendor_variable_below_ours_below_flags() {
    let text = "shutdown:\n  drain: 2s\n";
    let drain = |variables: &[(&str, &str)]| {
        with_file(text, variables).0.expect("good").settings.shutdown.drain.as_secs()
    };
    assert_eq!(drain(&[]), 2);
    assert_eq!(drain(&[("FLEX_SERVICE_ENVOY_DRAIN_TIME", "3")]), 3);
    let both = [("FLEX_SERVICE_ENVOY_DRAIN_TIME", "3"), ("PORTCULLIS_SHUTDOWN__DRAIN", "4s")];
    assert_eq!(drain(&both), 4);
    let mut sources = sources();
    sources.environment = both.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    sources.overrides = vec![Override::new("shutdown.drain", "5s", "--drain")];
    assert_eq!(sources.load().expect("good").settings.shutdown.drain.as_secs(), 5);
}

#[test]
fn the_folder_for_state_is_a_path_or_none() {
    assert_eq!(file("state: {folder: /var/lib/gw}").state.folder.as_deref(), Some(Path::new("/var/lib/gw")));
    assert_eq!(env(&[("PORTCULLIS_STATE__FOLDER", "none")]).state.folder, None);
}

#[test]
fn the_settings_file_can_be_named_by_a_variable() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("p.yaml");
    fs::write(&path, "workers: 7").expect("written");
    let path = path.to_str().expect("ASCII");
    assert_eq!(env(&[("PORTCULLIS_SETTINGS", path)]).workers, 7);
    let error = with_env(&[("PORTCULLIS_SETTINGS", "/nowhere/p.yaml")]).expect_err("missing").to_string();
    assert!(error.contains("settings file `/nowhere/p.yaml` cannot be read"), "{error}");
    assert!(error.contains("named by PORTCULLIS_SETTINGS"), "{error}");
}

#[test]
fn a_file_may_hold_lists_maps_and_empty_groups() {
    let settings = file(
        "limits:\ntrusted_proxies: [10.0.0.0/8, 127.0.0.1]\nconfig: {paths: [a, b]}\nadmin: {address: off}\n\
         dns: {hosts: {Shop.Example.com: 127.0.0.9, b: [10.0.0.1, 10.0.0.2]}}\naccess_log: true\n",
    );
    assert_eq!(settings.limits.head_fields, 128);
    assert_eq!(settings.trusted_proxies.len(), 2);
    assert_eq!(settings.config.paths, [Path::new("a"), Path::new("b")]);
    assert_eq!(settings.admin.address, None);
    assert_eq!(
        settings.dns.hosts["shop.example.com"],
        ["127.0.0.9".parse::<std::net::IpAddr>().expect("ip")]
    );
    assert_eq!(settings.dns.hosts["b"].len(), 2);
    assert!(settings.access_log);
}

#[test]
fn lists_and_maps_fit_into_variables_and_repeated_flags() {
    let settings = env(&[
        ("PORTCULLIS_TRUSTED_PROXIES", "10.0.0.0/8, ::1"),
        ("PORTCULLIS_DNS__HOSTS", "a.example=127.0.0.1,b.example=::1"),
    ]);
    assert_eq!(settings.trusted_proxies.len(), 2);
    assert_eq!(settings.dns.hosts.len(), 2);
    let mut sources = sources();
    sources.overrides = ["x", "y", "z"].map(|path| Override::new("config.paths", path, "--config")).to_vec();
    assert_eq!(sources.load().expect("good").settings.config.paths.len(), 3);
}

#[test]
fn durations_have_a_unit_except_in_the_vendors_variables() {
    let millis = |text| env(&[("PORTCULLIS_TIMEOUTS__CONNECT", text)]).timeouts.connect.as_millis();
    assert_eq!(millis("50ms"), 50);
    assert_eq!(millis("5s"), 5000);
    assert_eq!(millis("1m"), 60_000);
    assert_eq!(millis("1m30s"), 90_000);
    for bad in ["5", "", "s", "5 parsecs", "-1s", "1.5s", "99h", "99999999999999999999s", "5s5"] {
        let error = with_env(&[("PORTCULLIS_TIMEOUTS__CONNECT", bad)]).expect_err(bad).to_string();
        assert!(error.contains("expected a duration from 10ms to 1h"), "{bad}: {error}");
    }
}

#[test]
fn sizes_have_binary_and_decimal_units() {
    let bytes = |text| env(&[("PORTCULLIS_LIMITS__REQUEST_BODY", text)]).limits.request_body;
    assert_eq!(bytes("none"), None);
    assert_eq!(bytes("17"), Some(17));
    assert_eq!(bytes("2KiB"), Some(2048));
    assert_eq!(bytes("2kb"), Some(2000));
    assert_eq!(bytes("1 GiB"), Some(1 << 30));
    assert!(with_env(&[("PORTCULLIS_LIMITS__REQUEST_BODY", "99999999999GiB")]).is_err());
}

#[test]
fn an_error_names_key_source_value_and_what_is_expected() {
    let (result, path) = with_file(
        "workers: many\ntimeout: {connect: 2s}\nlog: {levle: info}\n",
        &[("PORTCULLIS_ADMIN__ADDRESS", "localhost")],
    );
    let error = result.expect_err("four problems").to_string();
    for line in [
        format!("error: setting `workers` cannot be `many` ({path}:1:10)"),
        " = help: expected `auto` or a whole number from 1 to 1024".to_owned(),
        format!("error: unknown setting `timeout` ({path}:2:1)"),
        format!("error: unknown setting `log.levle` ({path}:3:7)"),
        " = help: did you mean `log.level`?".to_owned(),
        "error: setting `admin.address` cannot be `localhost` (PORTCULLIS_ADMIN__ADDRESS)".to_owned(),
    ] {
        assert!(error.contains(&line), "missing: {line}\nin:\n{error}");
    }
}

#[test]
fn an_unknown_variable_or_flag_is_an_error_with_a_suggestion_and_without_its_value() {
    let error = with_env(&[("PORTCULLIS_LOG__LEVLE", "hunter2")]).expect_err("unknown").to_string();
    assert!(error.contains("no setting has the variable PORTCULLIS_LOG__LEVLE"), "{error}");
    assert!(error.contains("did you mean `PORTCULLIS_LOG__LEVEL`?"), "{error}");
    assert!(!error.contains("hunter2"), "{error}");
    let mut sources = sources();
    sources.overrides = vec![Override::new("wrokers", "hunter2", "--set")];
    let error = sources.load().expect_err("unknown").to_string();
    assert!(error.contains("unknown setting `wrokers` (--set)") && !error.contains("hunter2"), "{error}");
}

#[test]
fn variables_of_kubernetes_for_a_service_of_our_name_and_of_the_test_suite_are_no_mistake() {
    env(&[
        ("PORTCULLIS_SERVICE_HOST", "10.0.0.1"),
        ("PORTCULLIS_SERVICE_PORT", "80"),
        ("PORTCULLIS_SERVICE_PORT_HTTP", "80"),
        ("PORTCULLIS_PORT", "tcp://10.0.0.1:80"),
        ("PORTCULLIS_PORT_80_TCP", "tcp://10.0.0.1:80"),
        ("PORTCULLIS_PORT_80_TCP_ADDR", "10.0.0.1"),
        ("PORTCULLIS_ADMIN_SERVICE_HOST", "10.0.0.2"),
        ("PORTCULLIS_TEST_SEED", "7"),
    ]);
}

#[test]
fn a_file_that_is_no_map_is_refused_and_the_place_is_named() {
    for (text, place, what) in [
        ("- a\n", "1:1", "a settings file is a mapping, not a list"),
        ("just text", "1:1", "a settings file is a mapping, not the text `just text`"),
        ("workers: 1\n---\nworkers: 2\n", "3:1", "a settings file is one document; this is another"),
        ("workers: 1\nadmin: [", "2:9", "YAML syntax: "),
        ("workers: 1\nworkers: 2\n", "2:1", "the key `workers` is given twice"),
        ("admin:\n\taddress: off\n", "2:1", "a tab is used for indentation"),
    ] {
        let (refused, path) = with_file(text, &[]);
        let error = refused.expect_err(text).to_string();
        assert!(error.contains(what) && error.contains(&format!("{path}:{place}")), "{text}: {error}");
    }
    let (refused, path) = with_file("workers: 1\nlog: info", &[]);
    let error = refused.expect_err("a group").to_string();
    assert!(error.contains(&format!("`log` is a group of settings, not a value ({path}:2:1)")), "{error}");
    assert!(error.contains("such as `log.level`"), "{error}");
}

#[test]
fn what_a_file_says_is_read_as_it_is_written() {
    for text in ["", "# nothing\n", "---\n", "{}"] {
        assert_eq!(file(text), env(&[]), "{text}");
    }
    assert_eq!(file("gateway: {id: 010}").gateway.id, "010");
    let settings = file("gateway: {id: &id edge, name: *id}\nworkers: \"2\"\nlog:\n");
    assert_eq!((settings.gateway.name.as_str(), settings.workers), ("edge", 2));
    let (loaded, path) = with_file("access_log: !yes true\n", &[]);
    let loaded = loaded.expect("a warning only");
    assert!(loaded.settings.access_log);
    let warning = loaded.warnings.iter().map(ToString::to_string).collect::<String>();
    assert!(
        warning.contains("the tag `!…` is ignored") && warning.contains(&format!("{path}:1:")),
        "{warning}"
    );
}

#[test]
fn a_flag_given_twice_is_named_and_lists_grow() {
    let flags = |given: &[(&str, &str, &str)]| {
        let mut sources = sources();
        sources.overrides =
            given.iter().map(|(key, value, flag)| Override::new(*key, *value, *flag)).collect();
        sources.load()
    };
    let twice =
        flags(&[("workers", "1", "--workers"), ("workers", "2", "--set")]).expect_err("twice").to_string();
    assert!(twice.contains("setting `workers` is given twice (--workers and --set)"), "{twice}");
    assert!(!twice.contains("cannot be"), "{twice}");
    let group = flags(&[("admin", "1", "--set"), ("admin.address", "off", "--set")])
        .expect_err("a group")
        .to_string();
    assert!(group.contains("`admin` is a group of settings, not a value (--set)"), "{group}");
    let lists = [
        ("trusted_proxies", "10.0.0.0/8, ::1", "--set"),
        ("trusted_proxies", "127.0.0.1", "--set"),
        ("dns.hosts", "a=127.0.0.1,b=127.0.0.2", "--set"),
        ("dns.hosts", "c=127.0.0.3", "--set"),
    ];
    let settings = flags(&lists).expect("good").settings;
    assert_eq!((settings.trusted_proxies.len(), settings.dns.hosts.len()), (3, 3));
}

#[test]
fn keys_and_variables_are_unique() {
    let mut seen = HashSet::new();
    for setting in SETTINGS {
        assert!(seen.insert(setting.key.to_owned()), "{}", setting.key);
        assert!(seen.insert(setting.variable()), "{}", setting.key);
        assert!(setting.vendor.is_none_or(|vendor| seen.insert(vendor.to_owned())), "{}", setting.key);
        assert!(setting.text.ends_with('.'), "{}", setting.key);
    }
}

#[test]
fn every_setting_in_the_table_refuses_nonsense_so_none_is_ignored() {
    for setting in SETTINGS {
        // A newline fits no scalar kind; lists of paths take any text, and are read in another test.
        if setting.key == "config.paths" {
            continue;
        }
        let error = with_env(&[(&setting.variable(), "a\nb")]).expect_err(setting.key).to_string();
        assert!(error.contains(setting.key), "{error}");
    }
}

#[test]
fn configuration_is_shared_with_keys_only() {
    assert_eq!(file("cluster: {share_config: off}").cluster.share_config, ShareConfig::Off);
    let settings = file("cluster: {share_config: follow, key_file: /run/keys, expected_replicas: 3}");
    assert_eq!(settings.cluster.share_config, ShareConfig::Follow);
    assert_eq!(settings.cluster.key_file.as_deref(), Some(Path::new("/run/keys")));
    assert_eq!(settings.cluster.expected_replicas, 3);
    let refused = with_env(&[("PORTCULLIS_CLUSTER__SHARE_CONFIG", "publish")]).map(|_| ());
    let refused = refused.expect_err("there are no keys").to_string();
    assert!(refused.contains("cluster.key_file") && refused.contains("portcullis cluster-key"), "{refused}");
}

#[test]
fn the_file_of_keys_is_read_and_its_permissions_are_looked_at() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("keys");
    let mut settings = env(&[]);
    assert!(settings.cluster.key_ring().is_ok_and(|(keys, warnings)| keys.is_none() && warnings.is_empty()));
    settings.cluster.key_file = Some(path.clone());
    let missing = settings.cluster.key_ring().map(|_| ()).expect_err("there is no file");
    assert!(missing.to_string().contains(&path.display().to_string()), "{missing}");
    fs::write(&path, format!("{}\n", KeyRing::new_line("a"))).expect("it can be written");
    for (mode, warns) in [(0o600, false), (0o440, false), (0o644, true), (0o660, true)] {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("they can be set");
        let (keys, warnings) = settings.cluster.key_ring().expect("the file is good");
        assert_eq!(keys.map(|keys| keys.ids().count()), Some(1));
        assert_eq!(!warnings.is_empty(), warns, "{mode:o}");
    }
    fs::write(&path, "a: hunter2").expect("it can be written");
    let refused = settings.cluster.key_ring().map(|_| ()).expect_err("it is no key");
    let shown = refused.to_string();
    assert!(shown.contains("keys:1: ") && !shown.contains("hunter2"), "{shown}");
}

#[test]
fn keys_are_read_from_a_file_and_never_from_a_device_or_a_pipe_that_might_have_no_end() {
    let mut settings = env(&[]);
    settings.cluster.key_file = Some("/dev/zero".into());
    let refused = settings.cluster.key_ring().map(|_| ()).expect_err("it has no end").to_string();
    assert!(refused.contains("the keys in `/dev/zero` cannot be read: it is not a file"), "{refused}");
}

#[test]
fn help_and_reference_list_every_setting_and_the_reference_is_current() {
    let (help, page) = (help_text(), markdown());
    for setting in SETTINGS {
        assert!(help.contains(&setting.variable()) && page.contains(&format!("### `{}`", setting.key)));
    }
    for (name, _) in OTHER_VARIABLES {
        assert!(page.contains(&format!("* `{name}`: ")), "{name}");
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/settings.md");
    if std::env::var_os("BLESS").is_some() {
        fs::write(&path, &page).expect("docs/settings.md can be written");
    }
    let current = fs::read_to_string(&path).unwrap_or_default();
    assert!(current == page, "docs/settings.md is stale: run `BLESS=1 cargo test --lib settings`");
}
