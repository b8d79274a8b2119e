//! The front end over real sockets: through a driver (binary, prepared) and byte by byte where drivers behave too well.

use crate::support::server::{PASSWORD, Server, certificate};
use futures::{StreamExt, TryStreamExt};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio_postgres::SimpleQueryMessage;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::Type;

/// As many rows as anybody may want to wait for.
const ENDLESS: &str = "SELECT x FROM generate_series(1, 100000000000) t(x)";

fn server(settings: &[&str]) -> (tempfile::TempDir, Server) {
    let directory = tempfile::tempdir().expect("a directory");
    let server = Server::start(directory.path(), settings, &[]);
    (directory, server)
}

fn state(e: &tokio_postgres::Error) -> &str {
    e.code().map_or("none", SqlState::code)
}

/// A client that says exactly what it is told to: over the Unix socket, where it needs no password.
struct Raw<S> {
    socket: S,
}

fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut out = vec![kind];
    out.extend_from_slice(&(body.len() as i32 + 4).to_be_bytes());
    out.extend_from_slice(body);
    out
}

fn start_up(parameters: &[(&str, &str)]) -> Vec<u8> {
    let mut body = 196_608i32.to_be_bytes().to_vec();
    for text in parameters.iter().flat_map(|(n, v)| [n, v]) {
        body.extend_from_slice(text.as_bytes());
        body.push(0);
    }
    body.push(0);
    let mut out = (body.len() as i32 + 4).to_be_bytes().to_vec();
    out.extend_from_slice(&body);
    out
}

impl Raw<UnixStream> {
    async fn login(server: &Server, parameters: &[(&str, &str)]) -> Raw<UnixStream> {
        let path = server.data.join(format!(".s.PGSQL.{}", server.port));
        let mut raw = Raw { socket: UnixStream::connect(path).await.expect("the socket") };
        let all: Vec<_> = [("user", "standpipe")].iter().chain(parameters).copied().collect();
        raw.say(&start_up(&all)).await;
        raw
    }
}

impl<S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin> Raw<S> {
    async fn say(&mut self, bytes: &[u8]) {
        self.socket.write_all(bytes).await.expect("sent");
    }
    async fn hear(&mut self) -> Option<(u8, Vec<u8>)> {
        let kind = self.socket.read_u8().await.ok()?;
        let length = self.socket.read_i32().await.ok()?;
        let mut body = vec![0; length as usize - 4];
        self.socket.read_exact(&mut body).await.ok()?;
        Some((kind, body))
    }
    /// Messages up to ReadyForQuery or the end: their types, errors with SQLSTATE, tags and statuses in words.
    async fn answer(&mut self) -> String {
        let mut words = Vec::new();
        while let Ok(Some((kind, body))) = tokio::time::timeout(Duration::from_secs(20), self.hear()).await {
            match kind {
                b'S' | b'K' | b'R' => {}
                b'E' | b'N' => words.push(format!("{}:{}", kind as char, field(&body, b'C'))),
                b'C' => words.push(format!("C:{}", String::from_utf8_lossy(&body[..body.len() - 1]))),
                b'Z' => {
                    words.push(format!("Z:{}", body[0] as char));
                    return words.join(" ");
                }
                other => words.push((other as char).to_string()),
            }
        }
        words.push("end".into());
        words.join(" ")
    }
    async fn query(&mut self, sql: &str) -> String {
        self.say(&message(b'Q', format!("{sql}\0").as_bytes())).await;
        self.answer().await
    }
}

fn field(body: &[u8], wanted: u8) -> String {
    let parts = body.split(|b| *b == 0);
    parts.filter_map(|p| p.split_first()).find(|(kind, _)| **kind == wanted).map(|(_, text)| String::from_utf8_lossy(text).into_owned()).unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_simple_protocol_answers_statement_by_statement() {
    let (_directory, server) = server(&[]);
    let mut raw = Raw::login(&server, &[("application_name", "wire")]).await;
    assert_eq!(raw.answer().await, "Z:I");
    for (sql, answer) in [
        ("", "I Z:I"),
        ("; ;", "I Z:I"),
        ("SELECT 1; SELECT 2", "T D C:SELECT 1 T D C:SELECT 1 Z:I"),
        ("CLOSE ALL; DISCARD ALL", "C:CLOSE CURSOR ALL E:25001 Z:I"),
        ("CLOSE ALL", "C:CLOSE CURSOR ALL Z:I"),
        ("DISCARD ALL", "C:DISCARD ALL Z:I"),
        ("SELECT 1; SELECT 1/0; SELECT 3", "T D C:SELECT 1 T E:22012 Z:I"),
        ("SELECT 1; SELEC", "E:42601 Z:I"),
        ("BEGIN", "C:BEGIN Z:T"),
        ("BEGIN", "N:25001 C:BEGIN Z:T"),
        ("SELECT nothing", "E:42703 Z:E"),
        ("SELECT 1", "E:25P02 Z:E"),
        ("COMMIT", "C:ROLLBACK Z:I"),
        ("ROLLBACK", "N:25P01 C:ROLLBACK Z:I"),
        ("SET bytea_output = 'escape'", "C:SET Z:I"),
        ("ROLLBACK", "N:25P01 C:ROLLBACK Z:I"),
        ("SELECT 1 / (current_setting('bytea_output') = 'escape')::int", "T D C:SELECT 1 Z:I"),
        ("BEGIN; SAVEPOINT a; SELECT nothing", "C:BEGIN C:SAVEPOINT E:42703 Z:E"),
        ("ROLLBACK TO a", "C:ROLLBACK Z:T"),
        ("ROLLBACK TO b", "E:3B001 Z:E"),
        ("ROLLBACK", "C:ROLLBACK Z:I"),
        ("CREATE SOURCE one WITH (type = 'generator'); SELECT 1/0", "C:CREATE SOURCE T E:22012 Z:I"),
        ("SELECT count(*) FROM standpipe.sources HAVING count(*) = 0", "T D C:SELECT 1 Z:I"),
        ("FETCH 1 FROM nothing", "E:34000 Z:I"),
        ("EXECUTE nothing", "E:26000 Z:I"),
        ("SHOW nothing", "E:42704 Z:I"),
        ("COPY (SELECT 1 AS a, 'x' AS b) TO STDOUT", "H d c C:COPY 1 Z:I"),
        ("COPY (SELECT 1/0) TO STDOUT", "E:22012 Z:I"),
    ] {
        assert_eq!(raw.query(sql).await, answer, "{sql}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn after_an_error_everything_up_to_sync_is_passed_over() {
    let (_directory, server) = server(&[]);
    let mut raw = Raw::login(&server, &[]).await;
    raw.answer().await;
    let parse = |name: &str, sql: &str| message(b'P', format!("{name}\0{sql}\0\0\0").as_bytes());
    let bind = |portal: &str, name: &str| message(b'B', format!("{portal}\0{name}\0\0\0\0\0\0\0").as_bytes());
    let execute = |portal: &str, most: u8| message(b'E', &[portal.as_bytes(), &[0, 0, 0, 0, most]].concat());
    let sync = message(b'S', b"");
    let describe = message(b'D', b"P\0");

    raw.say(&[parse("", "SELEC"), bind("", ""), describe.clone(), execute("", 0), sync.clone()].concat()).await;
    assert_eq!(raw.answer().await, "E:42601 Z:I");
    raw.say(&[parse("s", "SELECT x FROM generate_series(1, 3) t(x)"), bind("", "s"), describe.clone(), execute("", 2), execute("", 2), execute("", 2), sync.clone()].concat()).await;
    assert_eq!(raw.answer().await, "1 2 T D D s D C:SELECT 1 C:SELECT 0 Z:I");
    raw.say(&[parse("s", "SELECT 1"), sync.clone()].concat()).await;
    assert_eq!(raw.answer().await, "E:42P05 Z:I");
    raw.say(&[bind("", "nothing"), sync.clone()].concat()).await;
    assert_eq!(raw.answer().await, "E:26000 Z:I");
    raw.say(&[execute("nothing", 0), sync.clone()].concat()).await;
    assert_eq!(raw.answer().await, "E:34000 Z:I");
    raw.say(&[message(b'C', b"Snothing\0"), message(b'C', b"Pnothing\0"), sync.clone()].concat()).await;
    assert_eq!(raw.answer().await, "3 3 Z:I");
    raw.say(&[parse("", ""), bind("", ""), describe.clone(), execute("", 0), sync.clone()].concat()).await;
    assert_eq!(raw.answer().await, "1 2 n I Z:I");
    raw.say(&[parse("", "SHOW TimeZone"), bind("", ""), describe.clone(), execute("", 0), sync.clone()].concat()).await;
    assert_eq!(raw.answer().await, "1 2 T D C:SHOW Z:I");
    // several statements before one Sync are one transaction
    let create = |name: &str| [parse("", &format!("CREATE SOURCE {name} WITH (type = 'generator')")), bind("", ""), execute("", 0)].concat();
    raw.say(&[create("one"), create("one"), sync.clone()].concat()).await;
    assert_eq!(raw.answer().await, "1 2 C:CREATE SOURCE 1 2 E:42710 Z:I");
    assert_eq!(raw.query("SELECT 1 FROM standpipe.sources").await, "T C:SELECT 0 Z:I");
    raw.say(&[create("one"), create("two"), sync.clone()].concat()).await;
    assert_eq!(raw.answer().await, "1 2 C:CREATE SOURCE 1 2 C:CREATE SOURCE Z:I");
    assert_eq!(raw.query("SELECT 1 FROM standpipe.sources").await, "T D D C:SELECT 2 Z:I");
    // a body that lies about its counts is an error of that message; framing that lies ends the session
    raw.say(&[message(b'P', b"x\0SELECT 1\0\xff\xff"), sync.clone()].concat()).await;
    assert_eq!(raw.answer().await, "E:08P01 Z:I");
    raw.say(&[b'Q', 0, 0, 0, 3]).await;
    assert_eq!(raw.answer().await, "E:08P01 end");
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_are_turned_away() {
    let (_directory, server) = server(&["max_connections=2", "auth.failure-delay=10ms", "max_message_size=1MB"]);
    let refused = async |user: &str, password: &str, database: &str| match server.connect_as(user, password, database).await {
        Ok(_) => "let in".to_string(),
        Err(e) => state(&e).to_string(),
    };
    assert_eq!(refused("standpipe", "wrong", "standpipe").await, "28P01");
    assert_eq!(refused("nobody", PASSWORD, "standpipe").await, "28P01", "as if the name were there");
    assert_eq!(refused("standpipe", PASSWORD, "nothing").await, "3D000");
    let (one, _two) = (server.connect("standpipe").await, server.connect("standpipe").await);
    assert_eq!(refused("standpipe", PASSWORD, "standpipe").await, "53300");
    drop(one);
    tokio::time::sleep(Duration::from_millis(200)).await;
    drop(server.connect("standpipe").await);
    for packet in [&b"GET / HTTP/1.1\r\n\r\n"[..], b"\0\0\0\x04", b"\0\x10\0\0\0\x03\0\0", b"\xff\xff\xff\xff\0\x03\0\0"] {
        let mut raw = Raw { socket: TcpStream::connect(("127.0.0.1", server.port)).await.expect("a connection") };
        raw.say(packet).await;
        assert_eq!(raw.answer().await, "end", "{packet:?}");
    }
    let mut raw = Raw::login(&server, &[("timezone", "Mars/Olympus")]).await;
    assert_eq!(raw.answer().await, "E:22023 end");
    let mut raw = Raw::login(&server, &[("options", "-c statement_timeout=7s")]).await;
    assert_eq!(raw.answer().await, "Z:I");
    raw.say(&message(b'!', b"")).await;
    assert_eq!(raw.answer().await, "E:08P01 end");
    let mut raw = Raw::login(&server, &[]).await;
    raw.answer().await;
    raw.say(&[&b"Q"[..], &(2i32 << 20).to_be_bytes()].concat()).await;
    assert_eq!(raw.answer().await, "E:08P01 end");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_reaches_planning_rows_and_copy_and_nobody_else() {
    let (_directory, server) = server(&[]);
    let client = server.connect("standpipe").await;
    let token = client.cancel_token();
    let cancel = |after: u64| {
        let token = token.clone();
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(after)).await;
            token.cancel_query(tokio_postgres::NoTls).await.expect("asked");
        })
    };
    let began = Instant::now();
    cancel(300);
    let e = client.query("SELECT count(*) FROM generate_series(1, 100000000000) t(x) WHERE x % 7 = 8", &[]).await.expect_err("cancelled");
    assert_eq!(state(&e), "57014");
    cancel(300);
    let rows = client.query_raw(ENDLESS, std::iter::empty::<i32>()).await.expect("rows");
    let mut rows = Box::pin(rows);
    let e = loop {
        match rows.next().await.expect("an error before the end") {
            Ok(_) => {}
            Err(e) => break e,
        }
    };
    assert_eq!(state(&e), "57014");
    cancel(300);
    let copy = client.copy_out(format!("COPY ({ENDLESS}) TO STDOUT").as_str()).await.expect("data");
    let e = copy.try_for_each(|_| async { Ok(()) }).await.expect_err("cancelled");
    assert_eq!(state(&e), "57014");
    assert!(began.elapsed() < Duration::from_secs(15));
    // nothing runs: nothing happens
    cancel(0).await.expect("asked");
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(client.query_one("SELECT 1::int8", &[]).await.expect("usable").get::<_, i64>(0), 1);
    client.batch_execute("SET statement_timeout = '200ms'").await.expect("set");
    let rows = client.query_raw(ENDLESS, std::iter::empty::<i32>()).await.expect("rows");
    let e = rows.try_for_each(|_| async { Ok(()) }).await.expect_err("late");
    assert_eq!(state(&e), "57014");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_frees_its_query_and_an_admin_ends_a_session() {
    let (_directory, server) = server(&[]);
    let watcher = server.connect("standpipe").await;
    let busy = async || {
        let row = watcher.query_one("SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND pid <> pg_backend_pid()", &[]).await.expect("a count");
        row.get::<_, i64>(0)
    };
    let mut raw = Raw::login(&server, &[]).await;
    raw.answer().await;
    raw.say(&message(b'Q', format!("SELECT count(*) FROM ({ENDLESS}) q\0").as_bytes())).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(busy().await, 1);
    drop(raw);
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(busy().await, 0, "the query went with its client");
    let mut raw = Raw::login(&server, &[("options", "-c idle_session_timeout=100ms")]).await;
    assert_eq!(raw.answer().await, "Z:I");
    assert_eq!(raw.answer().await, "E:57P05 end");
    let mut raw = Raw::login(&server, &[]).await;
    assert_eq!(raw.answer().await, "Z:I");
    let began = Instant::now();
    assert_eq!(server.stop(), Some(0));
    assert_eq!(raw.answer().await, "E:57P01 end");
    assert!(began.elapsed() < Duration::from_secs(20));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prepared_statement_takes_the_clients_types_again_and_again() {
    let (_directory, server) = server(&[]);
    let client = server.connect("standpipe").await;
    let types = [Type::INT4, Type::TEXT, Type::FLOAT8, Type::BOOL, Type::INT4];
    let sql = "SELECT $1 + 1 AS n, $2 AS t, $3 AS f, $4 AS b, x FROM (SELECT v::bigint AS x FROM generate_series(1, 9) s(v)) g WHERE x = $5";
    let statement = client.prepare_typed(sql, &types).await.expect("prepared");
    assert_eq!(statement.params(), types, "what the client declares wins, over the bigint column too");
    for i in 1..8i32 {
        let row = client.query_one(&statement, &[&i, &"ä", &1.5f64, &true, &i]).await.expect("a row");
        assert_eq!((row.get::<_, i32>("n"), row.get::<_, &str>("t"), row.get::<_, f64>("f"), row.get::<_, bool>("b")), (i + 1, "ä", 1.5, true));
        assert_eq!(row.get::<_, i64>("x"), i64::from(i));
    }
    let inferred = client.prepare("SELECT x FROM (SELECT v::bigint AS x FROM generate_series(1, 9) s(v)) g WHERE x > $1 AND $2").await.expect("prepared");
    assert_eq!(inferred.params(), [Type::INT8, Type::BOOL]);
}

#[tokio::test(flavor = "multi_thread")]
async fn cursors_settings_and_notices_are_the_sessions_own() {
    let (_directory, server) = server(&[]);
    let client = server.connect("standpipe").await;
    let rows = async |sql: &str| -> Vec<String> {
        let messages = client.simple_query(sql).await.unwrap_or_else(|e| panic!("{sql}: {e:?}"));
        messages.iter().filter_map(|m| if let SimpleQueryMessage::Row(r) = m { Some(r.get(0).unwrap_or("NULL").to_string()) } else { None }).collect()
    };
    client.batch_execute("BEGIN; DECLARE c SCROLL CURSOR FOR SELECT x FROM generate_series(1, 9) t(x); SET LOCAL TimeZone = 'Asia/Kolkata'").await.expect("a cursor");
    assert_eq!(rows("FETCH 2 FROM c").await, ["1", "2"]);
    assert_eq!(rows("FETCH LAST FROM c").await, ["9"]);
    assert_eq!(rows("FETCH PRIOR FROM c").await, ["8"]);
    assert_eq!(rows("SELECT timestamptz '2024-02-29 00:00:00+00'").await, ["2024-02-29 05:30:00+05:30"]);
    let described = client.prepare("FETCH 3 FROM c").await.expect("described");
    assert_eq!(described.columns()[0].name(), "x");
    client.batch_execute("COMMIT").await.expect("done");
    assert_eq!(rows("SHOW timezone").await, ["UTC"]);
    assert_eq!(state(&client.batch_execute("FETCH 1 FROM c").await.expect_err("gone")), "34000");
    let other = server.connect("standpipe").await;
    client.batch_execute("SET bytea_output = 'escape'").await.expect("set");
    let messages = other.simple_query("SHOW bytea_output").await.expect("shown");
    assert!(messages.iter().any(|m| matches!(m, SimpleQueryMessage::Row(r) if r.get(0) == Some("hex"))), "other sessions are not touched");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_points_at_the_character() {
    let (_directory, server) = server(&[]);
    let client = server.connect("standpipe").await;
    let e = client.batch_execute("SELECT 'äöü',\n  1 +* 2").await.expect_err("no syntax");
    let e = e.as_db_error().expect("of the server");
    assert_eq!(e.code(), &SqlState::SYNTAX_ERROR);
    assert_eq!(e.position(), Some(&tokio_postgres::error::ErrorPosition::Original(20)));
}

/// What comes before the handshake is nobody's: a man in the middle could have put it there (CVE-2021-23222 of PostgreSQL).
#[tokio::test(flavor = "multi_thread")]
async fn bytes_before_the_tls_handshake_are_refused() {
    let directory = tempfile::tempdir().expect("a directory");
    let settings = certificate(directory.path());
    let settings: Vec<&str> = settings.iter().map(String::as_str).collect();
    let server = Server::start(&directory.path().join("data"), &settings, &[]);
    const SSL: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 47];
    const GSS: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 48];
    let login = start_up(&[("user", "standpipe")]);
    for (before, answers) in [(SSL.to_vec(), "S"), ([GSS.as_slice(), &SSL].concat(), "NS")] {
        let mut socket = TcpStream::connect(("127.0.0.1", server.port)).await.expect("a connection");
        socket.write_all(&[before.as_slice(), &login, &message(b'Q', b"SELECT 1\0")].concat()).await.expect("sent");
        let mut heard = Vec::new();
        tokio::time::timeout(Duration::from_secs(20), socket.read_to_end(&mut heard)).await.expect("the server closes").ok();
        let rest = heard.strip_prefix(answers.as_bytes()).unwrap_or_else(|| panic!("{heard:?}"));
        // at most the alert of a handshake that failed: no message of the protocol
        assert!(rest.is_empty() || rest[0] == 21, "{heard:?}");
    }
    let url = format!("postgresql://standpipe@127.0.0.1:{}/standpipe?sslmode=require", server.port);
    let out = std::process::Command::new("psql").args(["-qAtX", "-c", "SELECT 1", &url]).env("PGPASSWORD", PASSWORD).output().expect("psql runs");
    assert_eq!(String::from_utf8_lossy(&out.stdout), "1\n", "{}", String::from_utf8_lossy(&out.stderr));
}
