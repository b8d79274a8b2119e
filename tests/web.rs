//! The dashboard over real sockets: what it shows, to whom, under which names, and that its metrics can be read by what reads metrics.

use crate::support::server::{PASSWORD, Server, binary};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// A name with whatever may go wrong in HTML, JSON, a URL, a label or a script.
const ODD: &str = "a \"b\" \\ <script>alert(1)</script> ☃ %2F/?&#'=x";

/// An answer.
struct Answer {
    status: u16,
    headers: BTreeMap<String, String>,
    body: String,
}

fn server(settings: &[&str]) -> (tempfile::TempDir, Server) {
    let directory = tempfile::tempdir().expect("a directory");
    let all: Vec<&str> = ["http=127.0.0.1:0", "http.sample-interval=100ms", "catalog.fsync=off", "lake.fsync=off"].iter().chain(settings).copied().collect();
    let server = Server::start(directory.path(), &all, &[]);
    assert_ne!(server.http, 0, "{}", server.log());
    (directory, server)
}

/// Sends these lines as a request and reads the answer to its end.
fn exchange(port: u16, lines: &[&str]) -> Answer {
    let mut socket = TcpStream::connect(("127.0.0.1", port)).expect("a connection");
    socket.set_read_timeout(Some(PATIENCE)).expect("a time-out");
    socket.write_all(format!("{}\r\nConnection: close\r\n\r\n", lines.join("\r\n")).as_bytes()).expect("sent");
    let mut all = Vec::new();
    socket.read_to_end(&mut all).expect("an answer");
    let all = String::from_utf8(all).expect("text");
    let (head, body) = all.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {all}"));
    let mut head = head.lines();
    let status = head.next().and_then(|l| l.split(' ').nth(1)).and_then(|s| s.parse().ok()).expect("a status");
    let headers = head.filter_map(|l| l.split_once(": ")).map(|(n, v)| (n.to_ascii_lowercase(), v.to_string())).collect();
    Answer { status, headers, body: body.to_string() }
}

fn get(port: u16, path: &str) -> Answer {
    exchange(port, &[&format!("GET {path} HTTP/1.1"), "Host: localhost"])
}

fn get_as(port: u16, path: &str, user: &str, password: &str) -> u16 {
    let login = format!("Authorization: Basic {}", BASE64.encode(format!("{user}:{password}")));
    exchange(port, &[&format!("GET {path} HTTP/1.1"), "Host: localhost", &login]).status
}

fn json(port: u16, path: &str) -> Value {
    let answer = get(port, path);
    assert_eq!((answer.status, answer.headers["content-type"].as_str()), (200, "application/json"), "{}", answer.body);
    serde_json::from_str(&answer.body).expect("JSON")
}

fn encoded(text: &str) -> String {
    text.bytes().map(|b| format!("%{b:02X}")).collect()
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Asks again and again until it is so.
async fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(began.elapsed() < PATIENCE, "waited in vain: {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// A pipe of an odd name from a generator into the lake, running.
async fn running_pipe(server: &Server) -> tokio_postgres::Client {
    let client = server.connect("standpipe").await;
    let set_up = "CREATE SOURCE shop WITH (type = 'generator', rows = 500, rate = 300); SYNC TABLES FROM SOURCE shop";
    client.batch_execute(set_up).await.expect("a source");
    let pipe = quoted(ODD);
    let create = format!("CREATE PIPE {pipe} WITH EXTRACTOR ('source-name' = 'shop') WITH CONNECTOR ('connector' = 'lake-connector') WITH RUNTIME (start = true)");
    client.batch_execute(&create).await.expect("a pipe");
    client.batch_execute(&format!("WAIT FOR PIPE {pipe} UNTIL RUNNING TIMEOUT '60 s'")).await.expect("it runs");
    client
}

/// A value with its name and labels.
type Series = (String, BTreeMap<String, String>, f64);

/// Reads the exposition format by its grammar; whatever does not fit it is an error.
fn parse(text: &str) -> Vec<Series> {
    let is_name = |n: &str| !n.is_empty() && !n.starts_with(|c: char| c.is_ascii_digit()) && n.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == ':');
    let (mut kinds, mut out): (BTreeMap<String, String>, Vec<Series>) = (BTreeMap::new(), Vec::new());
    let mut closed = BTreeSet::new();
    let mut current = String::new();
    assert!(text.ends_with('\n'));
    for line in text.lines().filter(|l| !l.is_empty()) {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').expect("name and type");
            assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
            assert!(kinds.insert(name.into(), kind.into()).is_none(), "described twice: {line}");
            assert!(closed.insert(std::mem::replace(&mut current, name.to_string())));
            continue;
        }
        if line.starts_with("# HELP ") {
            continue;
        }
        let end = line.find(['{', ' ']).expect("a value");
        let (name, mut rest) = line.split_at(end);
        assert!(is_name(name), "{line}");
        let mut labels = BTreeMap::new();
        if let Some(inside) = rest.strip_prefix('{') {
            rest = inside;
            loop {
                let (label, after) = rest.split_once("=\"").unwrap_or_else(|| panic!("no label: {line}"));
                assert!(is_name(label) && !label.contains(':'), "{line}");
                let mut value = String::new();
                let mut characters = after.char_indices();
                let close = loop {
                    match characters.next().unwrap_or_else(|| panic!("no end: {line}")) {
                        (i, '"') => break i,
                        (_, '\\') => value.push(match characters.next() {
                            Some((_, 'n')) => '\n',
                            Some((_, c @ ('\\' | '"'))) => c,
                            other => panic!("no escape: {other:?} in {line}"),
                        }),
                        (_, c) => value.push(c),
                    }
                };
                assert!(labels.insert(label.to_string(), value).is_none(), "{line}");
                rest = &after[close + 1..];
                match rest.strip_prefix(',') {
                    Some(more) => rest = more,
                    None => break,
                }
            }
            rest = rest.strip_prefix('}').unwrap_or_else(|| panic!("no brace: {line}"));
        }
        let value = rest.strip_prefix(' ').unwrap_or_else(|| panic!("no blank: {line}"));
        let value = value.parse::<f64>().unwrap_or_else(|_| panic!("no number: {line}"));
        let family = ["_bucket", "_sum", "_count"].iter().find_map(|s| name.strip_suffix(s)).filter(|f| kinds.get(*f).is_some_and(|k| k == "histogram")).unwrap_or(name);
        assert_eq!(family, current, "not under its description: {line}");
        assert!(!out.iter().any(|(n, l, _)| n == name && *l == labels), "twice: {line}");
        out.push((name.to_string(), labels, value));
    }
    out
}

/// Buckets grow and end with the count.
fn check_histograms(series: &[Series]) {
    for (name, labels, count) in series.iter().filter(|(n, ..)| n.ends_with("_seconds_count")) {
        let bucket = name.replace("_count", "_bucket");
        let of = |l: &BTreeMap<String, String>| l.iter().filter(|(n, _)| *n != "le").map(|(n, v)| (n.clone(), v.clone())).collect::<BTreeMap<_, _>>();
        let buckets: Vec<(&str, f64)> = series.iter().filter(|(n, l, _)| *n == bucket && of(l) == *labels).map(|(_, l, v)| (l["le"].as_str(), *v)).collect();
        assert!(buckets.len() > 5 && buckets.windows(2).all(|w| w[0].1 <= w[1].1), "{name}: {buckets:?}");
        assert_eq!(buckets.last(), Some(&("+Inf", *count)));
    }
}

#[test]
fn every_answer_forbids_what_a_page_could_be_made_to_do() {
    let (_directory, server) = server(&[]);
    let port = server.http;
    for (path, kind) in [("/", "text/html; charset=utf-8"), ("/style.css", "text/css; charset=utf-8"), ("/script.js", "text/javascript; charset=utf-8"), ("/icon.svg", "image/svg+xml"), ("/metrics", "text/plain; version=0.0.4; charset=utf-8")] {
        let answer = get(port, path);
        assert_eq!((answer.status, answer.headers["content-type"].as_str()), (200, kind), "{path}");
        assert!(answer.headers["content-security-policy"].starts_with("default-src 'none'; script-src 'self';"), "{path}");
        assert_eq!((answer.headers["x-content-type-options"].as_str(), answer.headers["cache-control"].as_str()), ("nosniff", "no-store"));
        assert!(!answer.headers.contains_key("access-control-allow-origin"));
        let outside = answer.body.replace("http://www.w3.org/2000/svg", "");
        assert!(!outside.contains("://"), "{path} names another place");
        let head = exchange(port, &[&format!("HEAD {path} HTTP/1.1"), "Host: localhost"]);
        assert_eq!((head.status, head.body.as_str()), (200, ""), "{path}");
    }
    let page = get(port, "/").body;
    assert!(!page.contains("style=") && !page.contains("onclick") && !page.contains("<script>") && !page.contains("<style"), "the policy forbids what stands in the page");
    let script = get(port, "/script.js").body;
    assert!(!script.contains("innerHTML") && !script.contains("insertAdjacentHTML") && !script.contains("eval("), "text is text");
    assert_eq!((get(port, "/healthz").status, get(port, "/healthz").body.as_str()), (200, "ready\n"));
    assert_eq!([get(port, "/nothing").status, get(port, "/api/pipe").status, get(port, "/api/pipe?name=none").status, get(port, "/../etc/passwd").status], [404, 400, 404, 404]);
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "TRACE"] {
        for path in ["/", "/api/state", "/metrics", "/healthz"] {
            let answer = exchange(port, &[&format!("{method} {path} HTTP/1.1"), "Host: localhost", "Origin: http://evil.example"]);
            assert_eq!(answer.status, 405, "{method} {path}");
        }
    }
}

#[test]
fn other_names_than_its_own_are_turned_away() {
    let (_directory, server) = server(&["http.hosts=pipes.example"]);
    let with = |path: &str, host: &str| exchange(server.http, &[&format!("GET {path} HTTP/1.1"), &format!("Host: {host}")]).status;
    for path in ["/", "/script.js", "/metrics", "/api/state", "/nothing"] {
        assert_eq!(with(path, "evil.example"), 421, "{path}");
    }
    assert_eq!([with("/", "PIPES.example:80"), with("/", "[::1]:1"), with("/", &format!("127.0.0.1:{}", server.http))], [200; 3]);
    assert_eq!(with("/healthz", "10.1.2.3"), 200, "who asks for readiness comes by any name");
    assert_eq!(exchange(server.http, &["GET / HTTP/1.1"]).status, 400);
    assert_eq!(exchange(server.http, &["GET / HTTP/1.1", "Host: localhost", "Host: evil.example"]).status, 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_and_pages_say_what_a_pipe_does_and_forget_it_when_it_is_dropped() {
    let (_directory, server) = server(&[]);
    let client = running_pipe(&server).await;
    let port = server.http;
    let own = |series: &[Series], name: &str, second: Option<(&str, &str)>| {
        let fits = |l: &BTreeMap<String, String>| l.get("pipe").is_some_and(|p| p == ODD) && second.is_none_or(|(n, v)| l.get(n).is_some_and(|x| x == v));
        series.iter().filter(|(n, l, _)| n == name && fits(l)).map(|(.., v)| *v).reduce(|a, b| a + b)
    };
    let series = until("changes", || {
        let series = parse(&get(port, "/metrics").body);
        (own(&series, "standpipe_pipe_rows_total", Some(("kind", "insert"))) > Some(0.0)).then_some(series)
    })
    .await;
    check_histograms(&series);
    assert_eq!((own(&series, "standpipe_pipe_phase", Some(("phase", "RUNNING"))), own(&series, "standpipe_pipe_phase", None)), (Some(1.0), Some(1.0)));
    assert!(own(&series, "standpipe_pipe_rows_total", Some(("kind", "snapshot"))) >= Some(500.0));
    assert!(own(&series, "standpipe_pipe_bytes_total", None) > Some(0.0) && own(&series, "standpipe_pipe_flush_seconds_count", None) > Some(0.0));
    assert!(own(&series, "standpipe_pipe_lag_seconds", None).is_some_and(|l| (0.0..60.0).contains(&l)));
    assert_eq!(own(&series, "standpipe_pipe_snapshot_ratio", None), Some(1.0));
    let of_all = |name: &str| series.iter().filter(|(n, ..)| n == name).map(|(.., v)| *v).sum::<f64>();
    assert!(of_all("process_resident_memory_bytes") > 1e6 && of_all("standpipe_lake_commits_total") > 0.0 && of_all("standpipe_statement_seconds_count") >= 4.0);
    assert_eq!((of_all("standpipe_sessions"), of_all("standpipe_sessions_total")), (1.0, 1.0));
    assert!(client.batch_execute("SELECT * FROM nowhere").await.is_err());
    assert!(get(port, "/metrics").body.contains("standpipe_statement_errors_total{sqlstate=\"42P01\"} 1\n"));

    let name = encoded(ODD);
    let page = until("points of the charts", || Some(json(port, &format!("/api/pipe?name={name}"))).filter(|p| p["pipe"]["history"]["rows"].as_array().is_some_and(|r| r.len() > 2))).await;
    assert_eq!((page["pipe"]["id"].as_str(), page["pipe"]["phase"].as_str()), (Some(ODD), Some("RUNNING")));
    assert!(page["tables"].as_array().is_some_and(|t| t.len() > 1 && t.iter().all(|t| t["pipe"] == ODD && t["phase"] == "JOINED")), "{page}");
    assert!(page["checkpoints"].as_array().is_some_and(|c| !c.is_empty()) && page["events"].as_array().is_some_and(|e| !e.is_empty()), "{page}");
    let state = json(port, "/api/state");
    assert_eq!((state["pipes"][0]["id"].as_str(), state["sources"][0]["name"].as_str()), (Some(ODD), Some("shop")));
    assert!(state["tables"].as_array().is_some_and(|t| t.iter().any(|t| t["source_name"] == "shop" && t["columns"].as_i64() > Some(1))), "{state}");
    let by_sql = client.query("SELECT value FROM standpipe.metrics WHERE name = 'standpipe_pipe_phase' AND labels LIKE '%RUNNING%'", &[]).await.expect("the view");
    assert_eq!(by_sql.iter().map(|r| r.get::<_, f64>(0)).collect::<Vec<_>>(), [1.0]);

    client.batch_execute(&format!("DROP PIPE {}", quoted(ODD))).await.expect("dropped");
    let after = parse(&get(port, "/metrics").body);
    assert!(!after.iter().any(|(_, l, _)| l.contains_key("pipe")), "{after:?}");
    assert_eq!(get(port, &format!("/api/pipe?name={name}")).status, 404);
    assert_eq!(json(port, "/api/state")["pipes"], Value::Array(vec![]));
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_is_in_anything_it_says() {
    let canary = "c4nary+/= pass";
    let (_directory, server) = server(&[]);
    let client = server.connect("standpipe").await;
    let set_up = format!(
        "CREATE SOURCE s WITH (type = 'postgres', host = '127.0.0.1', port = 1, database = 'd', user = 'u', password = '{canary}');
         CREATE USER someone PASSWORD '{canary}'; COMMENT ON SOURCE s IS 'described'"
    );
    client.batch_execute(&set_up).await.expect("a source");
    assert!(client.batch_execute("SELECT * FROM s.public.t").await.is_err());
    assert!(client.batch_execute("TEST SOURCE s").await.is_ok());
    let forms = [canary.to_string(), encoded(canary), canary.replace('+', "%2B").replace(' ', "%20"), BASE64.encode(canary), PASSWORD.to_string()];
    for path in ["/", "/api/state", "/metrics", "/api/pipe?name=s"] {
        let body = get(server.http, path).body;
        assert!(forms.iter().all(|f| !body.contains(f.as_str())), "{path}: {body}");
    }
    assert!(get(server.http, "/api/state").body.contains("******"));
}

#[tokio::test(flavor = "multi_thread")]
async fn where_it_asks_a_role_with_the_right_to_read_gets_in() {
    let (_directory, server) = server(&["http.auth=always", "auth.failure-delay=50ms"]);
    let client = server.connect("standpipe").await;
    client.batch_execute("CREATE USER reader PASSWORD 'r:1 é'; GRANT standpipe_read TO reader; CREATE USER nobody PASSWORD 'n'; CREATE ROLE group_only PASSWORD 'g'; GRANT standpipe_read TO group_only").await.expect("roles");
    let port = server.http;
    let asked = get(port, "/api/state");
    assert_eq!((asked.status, asked.headers["www-authenticate"].as_str()), (401, "Basic realm=\"standpipe\", charset=\"UTF-8\""));
    for path in ["/", "/api/state", "/metrics", "/script.js"] {
        assert_eq!(get(port, path).status, 401, "{path}");
        assert_eq!(get_as(port, path, "reader", "r:1 é"), 200, "{path}");
    }
    assert_eq!([get_as(port, "/", "standpipe", PASSWORD), get_as(port, "/", "nobody", "n")], [200, 403]);
    for (user, password) in [("reader", "wrong"), ("reader", ""), ("none", "none"), ("", ""), ("group_only", "g"), ("standpipe_read", "")] {
        assert_eq!(get_as(port, "/metrics", user, password), 401, "{user}");
    }
    assert_eq!(get(port, "/healthz").status, 200);
    let evil = exchange(port, &["GET / HTTP/1.1", "Host: evil.example", &format!("Authorization: Basic {}", BASE64.encode("reader:r:1 é"))]);
    assert_eq!(evil.status, 421);
    // a new password and a right that is gone hold at once
    client.batch_execute("ALTER USER reader PASSWORD 'r2'").await.expect("altered");
    assert_eq!([get_as(port, "/", "reader", "r:1 é"), get_as(port, "/", "reader", "r2")], [401, 200]);
    client.batch_execute("REVOKE standpipe_read FROM reader").await.expect("revoked");
    assert_eq!(get_as(port, "/", "reader", "r2"), 403);
}

/// Starts a server that is to refuse; gives its exit code and what it says.
fn refused(settings: &[&str], password: Option<&str>) -> (Option<i32>, String) {
    let directory = tempfile::tempdir().expect("a directory");
    let mut command = Command::new(binary());
    command.args(["serve", "--listen", "127.0.0.1:0"]).arg("--data").arg(directory.path()).stdin(Stdio::null());
    for setting in settings {
        command.args(["--set", setting]);
    }
    match password {
        Some(password) => command.env("STANDPIPE_PASSWORD", password),
        None => command.env_remove("STANDPIPE_PASSWORD"),
    };
    let output = command.output().expect("it ends");
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn an_address_that_is_taken_or_not_allowed_is_said_at_the_start() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("its address");
    let keep = std::net::TcpListener::bind(taken).expect("the same again");
    let (code, said) = refused(&[&format!("http={taken}")], Some("p"));
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains(&format!("could not listen on {taken}")) && said.contains("--http"), "{said}");
    drop(keep);
    let (code, said) = refused(&["http=0.0.0.0:0"], None);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("while the password is the generated one"), "{said}");
    let (code, said) = refused(&["http=0.0.0.0:0"], Some("p"));
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("without TLS is refused") && said.contains("http.plain-text"), "{said}");
    let (code, said) = refused(&["http=nonsense"], Some("p"));
    assert_eq!(code, Some(2), "{said}");
}

#[test]
fn on_other_addresses_it_asks() {
    let directory = tempfile::tempdir().expect("a directory");
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("its address").port();
    let _server = Server::start(directory.path(), &[&format!("http=0.0.0.0:{free}"), "http.plain-text=on"], &[]);
    assert_eq!(get(free, "/api/state").status, 401);
    assert_eq!(get_as(free, "/api/state", "standpipe", PASSWORD), 200);
}

#[test]
fn slow_large_and_many_requests_are_bounded() {
    let (_directory, server) = server(&["http.request-timeout=300ms", "http.connection-lifetime=700ms", "http.max-connections=2"]);
    let connect = || {
        let socket = TcpStream::connect(("127.0.0.1", server.http)).expect("a connection");
        socket.set_read_timeout(Some(PATIENCE)).expect("a time-out");
        socket
    };
    let ends = |mut socket: TcpStream| {
        let began = Instant::now();
        let _ = socket.read_to_end(&mut Vec::new());
        began.elapsed()
    };
    let mut slow = connect();
    slow.write_all(b"GET / HTTP/1.1\r\nHost: local").expect("sent");
    assert!(ends(slow) < Duration::from_secs(5));
    assert!(ends(connect()) < Duration::from_secs(5), "a connection that says nothing ends");
    let mut idle = connect();
    idle.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").expect("sent");
    assert!(ends(idle) < Duration::from_secs(5), "one that sits idle ends");
    let large = format!("X: {}", "x".repeat(100_000));
    assert_eq!(exchange(server.http, &["GET / HTTP/1.1", "Host: localhost", &large]).status, 431);
    let many: Vec<TcpStream> = (0..8).map(|_| connect()).collect();
    assert_eq!(get(server.http, "/healthz").status, 200, "who comes later waits, and is served");
    drop(many);
}
