//! The configuration as an operator meets it: layers, exact error texts, and the sample file that documents every key.

#![allow(clippy::unwrap_used, reason = "helpers of tests: a panic there is the report")]

use service::config::{Audio, Config, LogFormat, Metadata, Record, Stream, load, parse};
use service::secret::Secret;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use toml::{Table, Value};

const GROUP: &str = "arn:aws:elasticloadbalancing:eu-west-1:123456789012:targetgroup/edges/0123456789abcdef";

/// Parses with the file under the name `x.toml`.
fn config(file: &str, env: &[(&str, &str)], sets: &[&str]) -> Result<Config, String> {
    let env = env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let sets: Vec<String> = sets.iter().map(|set| (*set).to_owned()).collect();
    parse(Some((Path::new("x.toml"), file)), env, &sets).map_err(|error| error.to_string())
}

fn check_error(file: &str, env: &[(&str, &str)], sets: &[&str], expected: &str) {
    assert_eq!(config(file, env, sets).unwrap_err(), expected);
}

fn check_set_error(set: &str, expected: &str) {
    check_error("", &[], &[set], expected);
}

#[test]
fn nothing_given_is_the_defaults() {
    assert_eq!(config("", &[], &[]), Ok(Config::default()));
    assert_eq!(parse(None, std::iter::empty(), &[]), Ok(Config::default()));
}

#[test]
fn later_layers_win() {
    let file = "[hls]\npart_ms = 200\nsegment_ms = 3000\nwindow_s = 60";
    let env = [("LIVE360_HLS__PART_MS", "300"), ("live360_hls__Segment_ms", "4000"), ("HOME", "/root"), ("é", "")];
    let config = config(file, &env, &["hls.part_ms=400", "hls.part_ms=401"]).unwrap();
    assert_eq!((config.hls.part_ms, config.hls.segment_ms, config.hls.window_s), (401, 4000, 60));
}

#[test]
fn values_outside_a_file_are_toml_or_else_text() {
    let sets = [
        "data_dir=/tmp/x y",
        "origin.rtmp=127.0.0.1:0",
        r#"origin.http="[::1]:80""#,
        r#"ladder=["source", "480w 500k"]"#,
        r#"edge={origins = ["http://a:1"], cache_bytes = 2_000_000}"#,
        "admin.token=12345",
        "streams.Foo.listed=false",
        "streams.Foo.audio=off",
        "streams.Foo.key=true",
        "machine.metadata=http://127.0.0.1:1338",
        "log.format=json",
        "log.level=info,origin::rtmp=trace",
    ];
    let config = config("", &[], &sets).unwrap();
    assert_eq!(config.data_dir, Path::new("/tmp/x y"));
    assert_eq!(config.origin.rtmp.to_string(), "127.0.0.1:0");
    assert_eq!(config.origin.http.to_string(), "[::1]:80");
    assert_eq!(config.ladder.lines(), ["source", "480w 500k"]);
    assert_eq!(config.edge_origins(), ["http://a:1"]);
    assert_eq!(config.edge.cache_bytes, 2_000_000);
    assert_eq!(config.admin.token, Some(Secret::new("12345")));
    assert_eq!(config.machine.metadata, Metadata::At("http://127.0.0.1:1338".to_owned()));
    assert_eq!(config.log.format, LogFormat::Json);
    let foo = config.stream(&"Foo".parse().unwrap());
    assert_eq!((foo.listed, foo.audio, foo.record), (Some(false), Audio::Off, Some(Record::All)));
    assert_eq!(foo.key, Some(Secret::new("true")));
}

#[test]
fn secrets_of_links_are_one_or_a_list() {
    let (one, two) = ("0123456789abcdef", "fedcba9876543210");
    for (set, expected) in [
        (format!("watch.secrets={one}"), vec![one]),
        ("watch.secrets=1234567890123456".to_owned(), vec!["1234567890123456"]),
        (format!("watch.secrets=\"{two}\""), vec![two]),
        (format!("watch.secrets=[\"{two}\", \"{one}\"]"), vec![two, one]),
        ("watch.secrets=[]".to_owned(), vec![]),
    ] {
        let config = config("", &[], &[&set]).unwrap();
        assert_eq!(config.watch.secrets.expose().collect::<Vec<_>>(), expected, "{set}");
    }
    let config = config("", &[("LIVE360_WATCH__SECRETS", one), ("LIVE360_CLUSTER__SECRET", two)], &[]).unwrap();
    assert_eq!(config.watch.secrets.expose().collect::<Vec<_>>(), [one]);
    assert_eq!(config.cluster.secret, Some(Secret::new(two)));
}

#[test]
fn streams_come_from_every_layer() {
    let file = "[streams.foo]\nrecord = \"off\"\n[streams.bar]\nprojection = \"flat\"\nstereo = \"lr\"";
    let config = config(file, &[("LIVE360_STREAMS__FOO__KEY", "s")], &["streams.foo.listed=false"]).unwrap();
    let foo = config.stream(&"foo".parse().unwrap());
    assert_eq!((foo.record, foo.key, foo.listed), (Some(Record::Off), Some(Secret::new("s")), Some(false)));
    assert!(config.stream(&"bar".parse().unwrap()).projection.is_some());
}

#[test]
fn wrong_values_are_named_with_what_is_allowed() {
    for (set, expected) in [
        ("hls.part_ms=99", "hls.part_ms = 99 (--set): allowed is a whole number from 100 to 2000 (milliseconds)"),
        (
            "hls.part_ms=fast",
            "hls.part_ms = \"fast\" (--set): allowed is a whole number from 100 to 2000 (milliseconds)",
        ),
        (
            "hls.segment_ms=2.5",
            "hls.segment_ms = 2.5 (--set): allowed is a whole number from 500 to 10000 (milliseconds)",
        ),
        ("hls.dvr_s=43201", "hls.dvr_s = 43201 (--set): allowed is a whole number from 0 to 43200 (seconds)"),
        ("hls.window_s=5", "hls.window_s = 5 (--set): allowed is a whole number from 10 to 3600 (seconds)"),
        (
            "origin.reconnect_s=-1",
            "origin.reconnect_s = -1 (--set): allowed is a whole number from 0 to 86400 (seconds)",
        ),
        (
            "edge.cache_bytes=1",
            "edge.cache_bytes = 1 (--set): allowed is a whole number from 1048576 to 1099511627776 (bytes)",
        ),
        (
            "origin.rtmp=localhost:1935",
            "origin.rtmp = \"localhost:1935\" (--set): allowed is an IP address and a port, as \"127.0.0.1:8080\", \
             \"[::1]:8080\" or \"0.0.0.0:0\"",
        ),
        (
            "edge.origins=http://a:1",
            "edge.origins = \"http://a:1\" (--set): allowed is a list of servers, as [\"http://10.0.0.1:8080\", \
             \"http://10.0.0.2:8080\"]",
        ),
        ("record=none", "record = \"none\" (--set): allowed is one of \"all\", \"source\", \"off\""),
        ("tls=on", "tls = \"on\" (--set): allowed is one of \"off\", \"files\", \"self-signed\", \"acme\""),
        (
            "acme.domains=[\"*.example.org\"]",
            "acme.domains = [\"*.example.org\"] (--set): allowed is a list of DNS names in lower case, as \
             [\"live.example.org\"]",
        ),
        (
            "acme.directory=http://a/b",
            "acme.directory = \"http://a/b\" (--set): allowed is an address that begins with \"https://\"",
        ),
        (
            "ladder=[\"960w\"]",
            "ladder = [\"960w\"] (--set): allowed is a list of rungs, as [\"source\", \"960w 2300k\"]; \"960w\" is not a \
             rung: write \"source\" or e.g. \"960w 2300k\" (64w to 8192w, 50k to 200000k)",
        ),
        (
            "log.level=loud",
            "log.level = \"loud\" (--set): allowed is one of \"error\", \"warn\", \"info\", \"debug\", \"trace\", also \
             per module, as \"info,origin=debug\"",
        ),
        (
            "machine.metadata=on",
            "machine.metadata = \"on\" (--set): allowed is \"auto\", \"off\" or a server, as \
             \"http://127.0.0.1:1338\"",
        ),
        (
            "storage.egress=s3://My_Bucket/x",
            "storage.egress = \"s3://My_Bucket/x\" (--set): allowed is \"file:PATH\" or \"s3://BUCKET/PREFIX\" (the prefix \
             may be left out)",
        ),
        ("edge.leave_s=61", "edge.leave_s = 61 (--set): allowed is a whole number from 0 to 60 (seconds)"),
        ("publish.open=all", "publish.open = \"all\" (--set): allowed is one of \"this-machine\", \"anyone\""),
        (
            "publish.callback=https://u:p@a/b",
            "publish.callback = \"https://u:p@a/b\" (--set): allowed is a URL, as \"https://example.org/path\", without a \
             user or password in it",
        ),
        (
            "publish.key=sha256:abc",
            "publish.key = (hidden) (--set): allowed is \"sha256:\" and 64 hexadecimal digits, as `live360 key` prints it",
        ),
        (
            "streams.foo.key=$2b$12$x",
            "streams.foo.key = (hidden) (--set): allowed is \"$argon2id$v=19$m=…,t=…,p=…$SALT$HASH\", as `live360 key \
             --own` prints it, with m of at most 65536, t of at most 10 and p of at most 4; a key that is no hash begins with \
             neither \"$\" nor \"sha256:\"",
        ),
        (
            "publish.jwt_secret=short",
            "publish.jwt_secret = (hidden) (--set): allowed is a text of at least 32 bytes: whoever guesses it can publish \
             everything",
        ),
        (
            "hooks.url=[\"ftp://a\"]",
            "hooks.url = [\"ftp://a\"] (--set): allowed is a URL, as \"https://example.org/path\", or a list of at most 8, \
             without users or passwords in them",
        ),
        (
            "hooks.events=[\"end\"]",
            "hooks.events = [\"end\"] (--set): allowed is a list of some of \"publish\", \"unpublish\", \
             \"recording_ready\", \"vod_ready\", \"alarm\"",
        ),
        ("data_dir=", "data_dir = \"\" (--set): allowed is the path of a folder"),
        ("streams.foo.listed=yes", "streams.foo.listed = \"yes\" (--set): allowed is true or false"),
        ("streams.foo.audio=aac", "streams.foo.audio = \"aac\" (--set): allowed is one of \"auto\", \"off\""),
        (
            "streams.foo.projection=globe",
            "streams.foo.projection = \"globe\" (--set): allowed is one of \"equirect\", \"hequ\", \"dfisheye\", \
             \"cubemap\", \"flat\"",
        ),
        (
            "admin.token=",
            "admin.token = (hidden) (--set): allowed is a text that is not empty, or where it is, as \"file:PATH\" or \
             \"credential:NAME\"",
        ),
        ("watch.mode=closed", "watch.mode = \"closed\" (--set): allowed is one of \"open\", \"unlisted\", \"signed\""),
        (
            "watch.secrets=[\"hunter2\"]",
            "watch.secrets = (hidden) (--set): allowed is a text of 16 to 256 letters, digits and signs (ASCII; blanks not at \
             its ends), or where it is, as \"file:PATH\" or \"credential:NAME\", or a list of at most 8 such",
        ),
        (
            "cluster.secret=hunter2",
            "cluster.secret = (hidden) (--set): allowed is a text of 16 to 256 letters, digits and signs (ASCII; blanks not \
             at its ends), or where it is, as \"file:PATH\" or \"credential:NAME\"",
        ),
        (
            "protect.secret=",
            "protect.secret = (hidden) (--set): allowed is a text that is not empty, or where it is, as \"file:PATH\" or \"credential:NAME\"",
        ),
        (
            "protect.old_secrets=hunter2",
            "protect.old_secrets = (hidden) (--set): allowed is a list of texts that are not empty, or where it is, as \"file:PATH\" or \"credential:NAME\"",
        ),
        ("protect.method=aes", "protect.method = \"aes\" (--set): allowed is one of \"off\", \"aes-128\""),
        ("streams.foo.protect=on", "streams.foo.protect = \"on\" (--set): allowed is one of \"off\", \"aes-128\""),
        (
            "protect.secrt=hunter2",
            "protect.secrt = (hidden) (--set): there is no such key; did you mean protect.secret?",
        ),
    ] {
        check_set_error(set, expected);
    }
}

#[test]
fn what_comes_later_says_so() {
    check_set_error(
        "origin.peer=http://10.0.0.2:8080",
        "origin.peer = \"http://10.0.0.2:8080\" (--set): not available in this version yet; allowed is to leave it out",
    );
}

#[test]
fn values_must_fit_each_other() {
    let both = ["hls.segment_ms=1000", "hls.part_ms=1001"];
    check_error("", &[], &both, "hls.part_ms = 1001 (--set): allowed is at most hls.segment_ms, which is 1000");
    check_error(
        "[hls]\nsegment_ms = 10000\nwindow_s = 29",
        &[],
        &[],
        "hls.window_s = 29 (x.toml): allowed is at least 30, three times hls.segment_ms, which is 10000",
    );
    assert_eq!(config("", &[], &["hls.dvr_s=43200", "hls.segment_ms=1000"]).unwrap().hls.dvr_s, 43_200);
    let both = ["hls.dvr_s=21601", "hls.segment_ms=500"];
    let words = "hls.dvr_s = 21601 (--set): allowed is at most 21600, 43200 times hls.segment_ms, which is 500: every \
                 playlist lists them all";
    check_error("", &[], &both, words);
    for (sets, expected) in [
        (
            &["tls=files"][..],
            "edge.tls_cert = nothing (default): allowed is the path of a PEM file, since tls is \"files\"",
        ),
        (
            &["tls=files", "edge.tls_cert=a.pem"],
            "edge.tls_key = nothing (default): allowed is the path of a PEM file, since tls is \"files\"",
        ),
        (
            &["tls=acme"],
            "acme.domains = nothing (default): allowed is at least one name, as [\"live.example.org\"], since tls is \
             \"acme\"",
        ),
        (
            &["protect.method=aes-128"],
            "protect.secret = nothing (default): allowed is a secret, since protect.method is \"aes-128\": make one with \
             `openssl rand -hex 32`, and give the same to all origins and transcoders, best as LIVE360_PROTECT__SECRET",
        ),
        (
            &["streams.foo.protect=aes-128", "streams.bar.protect=off"],
            "protect.secret = nothing (default): allowed is a secret, since streams.foo.protect is \"aes-128\": make one \
             with `openssl rand -hex 32`, and give the same to all origins and transcoders, best as \
             LIVE360_PROTECT__SECRET",
        ),
        (
            &["protect.secret=0123456789012345678901234567890"],
            "protect.secret = (hidden) (--set): allowed is 32 characters or more, as `openssl rand -hex 32` prints them",
        ),
        (
            &["protect.old_secrets=[\"hunter2\"]"],
            "protect.old_secrets = (hidden) (--set): allowed is 32 characters or more, as `openssl rand -hex 32` prints \
             them",
        ),
        (
            &["origin.rtmps=0.0.0.0:1936"],
            "origin.rtmps = \"0.0.0.0:1936\" (--set): allowed is an address where tls says which certificate to show there, \
             and it is \"off\"",
        ),
        (
            &["admin.https=0.0.0.0:9443", "admin.token=t"],
            "admin.https = \"0.0.0.0:9443\" (--set): allowed is an address where tls says which certificate to show there, \
             and it is \"off\"",
        ),
        (
            &["admin.https=0.0.0.0:9443", "tls=self-signed"],
            "admin.https = \"0.0.0.0:9443\" (--set): allowed is an address where admin.token is set, since nobody else is \
             answered there",
        ),
    ] {
        check_error("", &[], sets, expected);
    }
    check_error(
        "[streams.foo]\nwatch = \"unlisted\"\nlisted = true",
        &[],
        &[],
        "streams.foo.listed = true (x.toml): allowed is false, or to leave it out, since streams.foo.watch is \"unlisted\"",
    );
    let group = format!("edge.target_group={GROUP}");
    let words = format!(
        "edge.target_group = \"{GROUP}\" (--set): allowed is a target group if edge.target_id or machine.metadata \
         (which is off) says what it knows this edge by"
    );
    check_error("", &[], &[&group, "machine.metadata=off"], &words);
    assert!(config("", &[], &[&group, "machine.metadata=off", "edge.target_id=10.0.0.1"]).is_ok());
}

#[test]
fn unknown_keys_are_named_with_what_there_is() {
    for (set, expected) in [
        ("hls.prat_ms=5", "hls.prat_ms = 5 (--set): there is no such key; did you mean hls.part_ms?"),
        (
            "hls.speed=5",
            "hls.speed = 5 (--set): there is no such key; below hls there are segment_ms, part_ms, window_s, dvr_s",
        ),
        (
            "port=1",
            "port = 1 (--set): there is no such key; there are data_dir, ladder, record, record_lost_s, tls, log, origin, \
             publish, hooks, edge, acme, admin, machine, hls, protect, storage, retention, queue, vod, transcoder, watch, \
             cluster, streams",
        ),
        ("hls.part_ms.x=1", "hls.part_ms.x = 1 (--set): there is no such key; did you mean hls.part_ms?"),
        ("hls=1", "hls = 1 (--set): there is no such key; it is a table that holds other keys"),
        (
            "streams.a b.key=hunter2",
            "streams.a b.key = (hidden) (--set): there is no such key; stream name \"a b\" is not allowed: use 1 to 64 of \
             a-z A-Z 0-9 _ -",
        ),
        (
            "cluster.sekret=hunter2",
            "cluster.sekret = (hidden) (--set): there is no such key; did you mean cluster.secret?",
        ),
        (
            "streams.foo.kye=hunter2",
            "streams.foo.kye = (hidden) (--set): there is no such key; did you mean streams.foo.key?",
        ),
    ] {
        check_set_error(set, expected);
    }
}

#[test]
fn a_streams_own_key_goes_before_everybodys_and_the_hooks_secret_signs_callbacks_too() {
    let config =
        config("", &[], &["publish.key=all", "streams.foo.key=own", "hooks.secret=h", "hooks.url=http://a/b"]).unwrap();
    let key = |name: &str| config.publish_key(&name.parse().unwrap()).map(Secret::expose);
    assert_eq!((key("foo"), key("bar")), (Some("own"), Some("all")));
    assert_eq!(config.callback_secret(), Some(&Secret::new("h")));
    assert_eq!(config.hooks.url, ["http://a/b"]);
}

#[test]
fn errors_say_where_the_value_was_given() {
    let file = "[origin]\nhttp = 80";
    let address = "allowed is an IP address and a port, as \"127.0.0.1:8080\", \"[::1]:8080\" or \"0.0.0.0:0\"";
    check_error(file, &[], &[], &format!("origin.http = 80 (x.toml): {address}"));
    let env = [("LIVE360_origin__HTTP", "80")];
    check_error("", &env, &[], &format!("origin.http = 80 (environment LIVE360_origin__HTTP): {address}"));
    let env = [("LIVE360_HLS_PART_MS", "80")];
    let top = "data_dir, ladder, record, record_lost_s, tls, log, origin, publish, hooks, edge, acme, admin, machine, \
               hls, protect, storage, retention, queue, vod, transcoder, watch, cluster, streams";
    let expected = format!("hls_part_ms = 80 (environment LIVE360_HLS_PART_MS): there is no such key; there are {top}");
    check_error("", &env, &[], &expected);
}

#[test]
fn a_broken_file_or_option_is_named_without_showing_secrets() {
    check_error(
        "[admin]\ntoken = hunter2",
        &[],
        &[],
        "x.toml, line 2: this is not TOML: string values must be quoted, expected literal string",
    );
    for set in ["admin.token", ".x=hunter2", "=hunter2"] {
        let error = config("", &[], &[set]).unwrap_err();
        assert!(error.ends_with("write --set KEY=VALUE, for example --set edge.http=127.0.0.1:8088"), "{error}");
        assert!(!error.contains("hunter2"), "{error}");
    }
    let missing = load(Some(Path::new("/nonexistent/x.toml")), std::iter::empty(), &[]).unwrap_err().to_string();
    assert!(missing.starts_with("can't read the config file /nonexistent/x.toml: "), "{missing}");
}

#[test]
fn a_config_never_prints_its_secrets() {
    let all = [
        "admin.token",
        "streams.foo.key",
        "publish.key",
        "publish.callback_secret",
        "hooks.secret",
        "publish.jwt_secret",
        "watch.secrets",
        "cluster.secret",
        "protect.secret",
    ];
    let mut sets: Vec<String> = all.iter().map(|key| format!("{key}=hunter2hunter2hunter2hunter2hunter2")).collect();
    sets.push("protect.old_secrets=[\"hunter2hunter2hunter2hunter2hunter2\"]".to_owned());
    let sets: Vec<&str> = sets.iter().map(String::as_str).collect();
    let config = config("", &[], &sets).unwrap();
    assert!(!format!("{config:?}").contains("hunter2"));
    assert!(!toml::to_string(&config).unwrap().contains("hunter2"));
}

#[test]
fn every_secret_may_be_in_a_file_and_only_those_that_count_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("token");
    std::fs::write(&path, "hunter2\n").unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    let file = format!("[admin]\ntoken = \"file:{}\"\n[streams.foo]\nkey = \"credential:token\"", path.display());
    let env = [("CREDENTIALS_DIRECTORY", folder.path().to_str().unwrap())];
    let read = config(&file, &env, &[]).unwrap();
    assert_eq!(read.admin.token, Some(Secret::new("hunter2")));
    assert_eq!(read.stream(&"foo".parse().unwrap()).key, Some(Secret::new("hunter2")));
    let words =
        format!("{0} holds a secret and is open to everybody on this machine (mode 644): chmod o= it", path.display());
    assert_eq!(read.warnings, [format!("admin.token: {words}"), format!("streams.foo.key: {words}")]);
    let gone = "[admin]\ntoken = \"file:/nonexistent/x\"";
    let words = "admin.token (x.toml): can't read /nonexistent/x: No such file or directory (os error 2)";
    check_error(gone, &[], &[], words);
    let (key, name) = ("LIVE360_STREAMS__FOO__KEY", "credential:a/b");
    let words = "streams.foo.key (environment LIVE360_STREAMS__FOO__KEY): write file:PATH, or credential:NAME with a name of \
                 a-z A-Z 0-9 _ - .";
    check_error("", &[(key, name)], &[], words);
    assert_eq!(config(gone, &[], &["admin.token=t"]).unwrap().admin.token, Some(Secret::new("t")));
}

fn sample() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/live360.toml");
    std::fs::read_to_string(path).unwrap()
}

/// The sample with its commented-out keys and tables in force: lines such as `# peer = "…"` and `# [streams.NAME]`.
fn uncommented() -> String {
    let is_toml = |line: &str| {
        let name = line.split(['=', ' ']).next().unwrap_or_default();
        let key = line.contains(" = ") && name.chars().all(|c| c.is_ascii_lowercase() || c == '_');
        key || line.starts_with('[')
    };
    let mend = |line: &str| line.strip_prefix("# ").filter(|rest| is_toml(rest)).unwrap_or(line).to_owned();
    sample().lines().map(mend).collect::<Vec<_>>().join("\n")
}

#[test]
fn the_sample_file_equals_the_defaults() {
    assert_eq!(config(&sample(), &[], &[]), Ok(Config::default()));
    let given: Table = sample().parse().unwrap();
    let defaults = Table::try_from(Config::default()).unwrap();
    assert_eq!(keys("", &given), keys("", &defaults));
}

#[test]
fn the_sample_file_documents_every_key_with_a_form_that_is_accepted() {
    // What can't be set in this version is shown as a comment all the same; take it out of the way.
    let peer = "peer = \"http://10.0.0.2:8080\"\n";
    assert!(uncommented().contains(peer));
    // What is served over TLS needs a certificate.
    let shown = uncommented().replace(peer, "").replace("tls = \"off\"", "tls = \"files\"");
    let mut config = config(&shown, &[], &[]).unwrap();
    config.origin.peer = Some(String::new());
    assert_eq!(config.edge_origins().len(), 2);
    let all = Table::try_from(&config).unwrap();
    let shown: Table = uncommented().parse().unwrap();
    assert_eq!(keys("", &shown), keys("", &all));
    // Every optional key is named here, so that a new one can't be left out of the sample.
    let Stream { key, record, ladder, projection, stereo, watch, listed, audio: _, protect } =
        config.streams.values().next().unwrap().clone();
    assert!(watch.is_some() && listed.is_some() && config.cluster.secret.is_some());
    assert!(protect.is_some() && config.protect.secret.is_some());
    assert!(key.is_some() && record.is_some() && ladder.is_some() && projection.is_some() && stereo.is_some());
    let (admin, origin, storage) = (&config.admin, &config.origin, &config.storage);
    assert!(admin.http.is_some() && admin.https.is_some() && admin.token.is_some());
    assert!(origin.peer.is_some() && origin.rtmps.is_some());
    assert!(storage.ingest.is_some() && storage.egress.is_some());
    let edge = &config.edge;
    assert!(edge.tls_cert.is_some() && edge.tls_key.is_some());
    let (publish, hooks) = (&config.publish, &config.hooks);
    assert!(publish.key.is_some() && publish.callback.is_some() && publish.callback_secret.is_some());
    assert!(publish.jwt_secret.is_some() && publish.jwt_key.is_some() && publish.jwt_audience.is_some());
    assert!(hooks.secret.is_some() && hooks.ca.is_some());
    assert!(config.acme.contact.is_some() && config.acme.ca.is_some());
    assert!(edge.target_group.is_some() && edge.target_id.is_some() && edge.leave_s.is_some());
}

/// Every key that holds a value, whole, in order.
fn keys(prefix: &str, table: &Table) -> Vec<String> {
    let mut out = Vec::new();
    for (name, value) in table {
        match value {
            Value::Table(inner) => out.extend(keys(&format!("{prefix}{name}."), inner)),
            _ => out.push(format!("{prefix}{name}")),
        }
    }
    out.sort();
    out
}
