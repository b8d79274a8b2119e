//! S10: files. Names become no paths, SQL reaches no file of the server, and a lake lies where the operator said it may.

use super::*;
use standpipe::plugin::lake::location::{Location, decode, encode};
use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::PermissionsExt;

#[test]
fn names_never_leave_the_lakes_directory() {
    let directory = tempfile::tempdir().expect("a directory");
    let root = directory.path().canonicalize().expect("a path").join("la ke");
    let lake = Location::open(&root.to_string_lossy(), &BTreeMap::new(), false).expect("a lake");
    let hostile = [
        "..", ".", "...", "../..", "/etc/passwd", "a/../../b", "..\\..", "%2e%2e", "%2e%2e%2f", "!2E!2E", "~", "~root", "C:\\x", "con", "a\0b", "a\rb", "\u{202e}x", "😀", "-rf", "_delta_log", "?x=1", "#x", "file:///etc", "//host/x", "a b", " ", "\t", "*", "{a,b}", "$HOME", "`id`",
    ];
    let mut places = BTreeSet::new();
    for name in hostile {
        assert_eq!(decode(&encode(name)).as_deref(), Some(name));
        for (schema, table) in [(name, "t"), ("s", name)] {
            let place = lake.table(schema, table).expect("a place");
            let path = place.url.to_file_path().expect("a path");
            assert!(path.starts_with(&root) && path.components().count() == root.components().count() + 2, "{name:?}: {}", path.display());
            assert!(places.insert(path), "{name:?} is another one's place");
        }
    }
    for none in ["", "a\nb", &"x".repeat(256), &"😀".repeat(22)] {
        assert!(lake.table(none, "t").is_err() && lake.table("s", none).is_err(), "{none:?}");
    }
    // the longest name that PostgreSQL has
    assert!(lake.table(&"😀".repeat(15), &"x".repeat(255)).is_ok());
    for at in ["relative/x", "file://host/x", "file:relative", "ftp://x/y", "", "http://x y", "s3://", "memory:"] {
        let _ = Location::open(at, &BTreeMap::new(), false);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sql_reaches_no_file() {
    let (directory, server) = server(&[]);
    let client = server.connect("standpipe").await;
    let out = directory.path().join("out");
    let out = out.display();
    let statements = [
        format!("COPY (SELECT 1) TO '{out}'"), format!("COPY (SELECT 1) TO '{out}' STORED AS PARQUET"), format!("COPY (SELECT 1) TO PROGRAM 'touch {out}'"), "COPY t FROM '/etc/passwd'".into(), "COPY t FROM PROGRAM 'id'".into(),
        "CREATE EXTERNAL TABLE x STORED AS CSV LOCATION '/etc/passwd'".into(), format!("CREATE TABLE x AS SELECT 1; COPY x TO '{out}'"), "SELECT * FROM '/etc/passwd'".into(), "SELECT * FROM \"/etc/passwd\"".into(), "SELECT * FROM lake.\"../../secret.key\"".into(),
        "SELECT * FROM lake.\"/etc\"".into(), "SELECT pg_read_file('/etc/passwd')".into(), "SELECT pg_ls_dir('/')".into(), "SELECT lo_import('/etc/passwd')".into(), "SELECT * FROM read_csv('/etc/passwd')".into(), "SELECT * FROM read_parquet('/x')".into(), "LOAD '/tmp/x.so'".into(),
        "SET datafusion.catalog.location = '/etc'".into(), "SELECT * FROM parquet_metadata('/etc/passwd')".into(), "CREATE FUNCTION f() RETURNS int LANGUAGE c AS '/tmp/x'".into(), "CREATE EXTENSION x".into(),
    ];
    for sql in statements {
        let outcome = client.simple_query(&sql).await;
        let e = outcome.err().unwrap_or_else(|| panic!("{sql} did something"));
        let said = format!("{e:?}");
        assert!(!said.contains("root:") && !said.contains("XX000") && !said.contains("No such file"), "{sql}: {said}");
    }
    assert!(!directory.path().join("out").exists());
    // a file named by an option is read, and what is in it is not told
    let create = "CREATE SOURCE s WITH (type = 'postgres', host = '127.0.0.1', port = 1, database = 'd', user = 'u', sslmode = 'verify-full', sslrootcert = '/etc/passwd')";
    client.batch_execute(create).await.expect("a source");
    let tested = format!("{:?} {:?}", client.simple_query("TEST SOURCE s").await, client.simple_query("SYNC TABLES FROM SOURCE s").await);
    assert!(!tested.contains("root:"), "{tested}");
}

/// A lake that a statement names lies below the data directory, or where `lake.roots` says; a symbolic link does not lead out of there.
#[tokio::test(flavor = "multi_thread")]
async fn a_lake_lies_where_the_operator_said() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = |name: &str| directory.path().join(name).display().to_string();
    for name in ["allowed", "other"] {
        std::fs::create_dir(path(name)).expect("a directory");
    }
    std::os::unix::fs::symlink(path("other"), path("allowed") + "/link").expect("a link");
    let server = Server::start(&directory.path().join("data"), &[&format!("lake.roots={}", path("allowed"))], &[]);
    let client = server.connect("standpipe").await;
    let refused = ["other", "allowed/../other", "allowed/link", "allowed/link/deeper", "allowedness", "data/../other"].map(path);
    let urls = [format!("file://{}", path("other")), format!("file://{}/allowed/%2e%2e/other", directory.path().display()), "/".to_string(), "/etc".to_string()];
    for (i, at) in refused.iter().chain(&urls).enumerate() {
        let create = client.batch_execute(&format!("CREATE SOURCE no{i} WITH (type = 'lake', path = '{at}')")).await;
        let outcome = match create {
            Ok(()) => client.simple_query(&format!("SYNC TABLES FROM SOURCE no{i}")).await.map(|_| ()),
            Err(e) => Err(e),
        };
        let e = outcome.expect_err(at);
        let said = format!("{e:?}");
        assert!(said.contains("lake.roots") || said.contains("the lake's location is not valid"), "{at}: {said}");
    }
    for (i, at) in [path("allowed"), path("allowed/new/lake"), path("data/lake"), format!("file://{}", path("allowed"))].iter().enumerate() {
        client.batch_execute(&format!("CREATE SOURCE yes{i} WITH (type = 'lake', path = '{at}')")).await.expect("a lake");
        client.simple_query(&format!("SYNC TABLES FROM SOURCE yes{i}")).await.unwrap_or_else(|e| panic!("{at}: {e:?}"));
    }
}

#[tokio::test]
async fn nobody_else_looks_into_the_data_directory() {
    let (directory, server) = server(&[]);
    let mode = |path: &std::path::Path| std::fs::metadata(path).expect("it is there").permissions().mode() & 0o777;
    let data = directory.path().join("data");
    assert_eq!(mode(&data), 0o700);
    assert!(!server.log().contains("may look into"), "{}", server.log());
    server.kill();
    // its owner may want it otherwise, and is told what that means
    std::fs::set_permissions(&data, std::fs::Permissions::from_mode(0o755)).expect("changed");
    let server = Server::start(&data, &[], &[]);
    assert!(server.log().contains("may look into"), "{}", server.log());
    assert_eq!(mode(&data), 0o755);
}
