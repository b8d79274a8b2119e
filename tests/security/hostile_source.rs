//! S2, S9 and the CVE table's clients: a server that speaks PostgreSQL with ill intent. Whatever it says, TEST SOURCE and the reader behind
//! pipes end with an error, soon, and without taking more memory than they are allowed.

use super::*;
use standpipe::config::{Config, Origin};
use standpipe::error::{Error, Kind};
use standpipe::plugin::Options;
use standpipe::plugin::postgres::client::{Access, Session, Target};
use standpipe::plugin::postgres::wire::Wire;
use tokio::net::TcpListener;

/// What the server does with a connection once the start-up packet is read.
#[derive(Clone)]
struct Script {
    /// Said at once.
    greeting: Vec<u8>,
    /// Said after each message of ours.
    then: Vec<u8>,
    /// Said without end after the rest.
    endless: Vec<u8>,
    /// Answer to SSLRequest.
    ssl: Vec<u8>,
}

impl Script {
    fn says(greeting: Vec<u8>) -> Script {
        Script { greeting, then: vec![], endless: vec![], ssl: b"N".to_vec() }
    }
    /// Lets us in, and then says this to every message of ours.
    fn answers(then: Vec<u8>) -> Script {
        Script { then, ..Script::says(welcome()) }
    }
    fn endless(mut self, what: Vec<u8>) -> Script {
        self.endless = what;
        self
    }
}

fn auth(code: u32, rest: &[u8]) -> Vec<u8> {
    message(b'R', &[&code.to_be_bytes()[..], rest].concat())
}

fn ready() -> Vec<u8> {
    message(b'Z', b"I")
}

fn welcome() -> Vec<u8> {
    [auth(0, b""), message(b'S', b"server_version\x0015.4\0"), message(b'K', &[0; 8]), ready()].concat()
}

fn done() -> Vec<u8> {
    [message(b'C', b"SET\0"), ready()].concat()
}

/// Serves it to everybody who comes; gives the port and what was heard.
async fn serve(script: Script) -> (u16, std::sync::Arc<std::sync::Mutex<Vec<u8>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("its number").port();
    let heard = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let kept = heard.clone();
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            tokio::spawn(converse(socket, script.clone(), kept.clone()));
        }
    });
    (port, heard)
}

async fn converse(mut socket: TcpStream, script: Script, heard: std::sync::Arc<std::sync::Mutex<Vec<u8>>>) -> std::io::Result<()> {
    let mut buffer = vec![0; 64 << 10];
    loop {
        let length = socket.read_i32().await? as usize;
        let body = &mut buffer[..length - 4];
        socket.read_exact(body).await?;
        if body == [4, 210, 22, 47] {
            socket.write_all(&script.ssl).await?;
        } else {
            break;
        }
    }
    socket.write_all(&script.greeting).await?;
    if !script.endless.is_empty() && script.then.is_empty() {
        loop {
            socket.write_all(&script.endless).await?;
        }
    }
    loop {
        let n = socket.read(&mut buffer).await?;
        if n == 0 {
            return Ok(());
        }
        heard.lock().expect("heard").extend_from_slice(&buffer[..n]);
        socket.write_all(&script.then).await?;
        while !script.endless.is_empty() {
            socket.write_all(&script.endless).await?;
        }
    }
}

fn target(port: u16, options: &[(&str, &str)]) -> Target {
    let port = port.to_string();
    let base = [("host", "127.0.0.1"), ("port", port.as_str()), ("database", "d"), ("user", "u"), ("password", "canary")];
    let mut config = Config::default();
    config.set("connect_timeout", "1500ms", Origin::CommandLine).expect("valid");
    config.set("source.max-message-size", "4MB", Origin::CommandLine).expect("valid");
    Target::new(&Options::from_pairs(base.into_iter().chain(options.iter().copied())), &config, None).expect("complete")
}

async fn in_time<T>(what: &str, work: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, work).await.unwrap_or_else(|_| panic!("{what} does not end"))
}

/// Both clients meet the same server; neither gets in.
async fn refused(what: &str, script: Script, options: &[(&str, &str)]) -> Vec<Error> {
    let (port, heard) = serve(script).await;
    let target = target(port, options);
    let session = in_time(what, Session::connect(&target, Access::Read)).await.map(|_| ()).expect_err(what);
    let wire = in_time(what, Wire::connect(&target, false, Access::Read)).await.map(|_| ()).expect_err(what);
    for e in [&session, &wire] {
        let said = format!("{e} {:?} {:?}", e.detail(), e.hint());
        assert!(e.kind() != Kind::Internal && !said.contains("canary"), "{what}: {said}");
    }
    let heard = String::from_utf8_lossy(&heard.lock().expect("heard")).into_owned();
    assert!(!heard.contains("canary") && !heard.contains("md5"), "{what}: the password was told: {heard}");
    vec![session, wire]
}

/// A challenge after the server has heard our nonce, which it need not repeat.
fn challenges(with: &str) -> Script {
    Script { then: auth(11, with.as_bytes()), ..Script::says(auth(10, b"SCRAM-SHA-256\0\0")) }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_login_tells_a_hostile_server_the_password() {
    let downgrades = [("clear text", auth(3, b"")), ("MD5", auth(5, b"salt")), ("GSS", auth(7, b"")), ("SSPI", auth(9, b"")), ("another", auth(99, b"")), ("SCRAM-SHA-1", auth(10, b"SCRAM-SHA-1\0\0"))];
    for (what, asks) in downgrades {
        for mode in ["prefer", "disable", "allow"] {
            refused(what, Script::says(asks.clone()), &[("sslmode", mode)]).await;
        }
    }
    for (what, asks) in [("nothing", auth(0, b"")), ("clear text", auth(3, b""))] {
        refused(what, Script::says([asks, welcome()].concat()), &[("require-auth", "scram-sha-256")]).await;
    }
    for challenge in ["r=other,s=c2FsdA==,i=4096", "r=,s=c2FsdA==,i=4096", "r=x,s=!!!,i=4096", "r=x,s=c2FsdA==,i=1", "r=x,s=c2FsdA==,i=4294967295", "r=x,s=c2FsdA==,i=-1", "r=x,s=c2FsdA==,i=99999999999999999999", "e=other-error", "", "i=,r=,s=", "\u{1F600}"] {
        let began = Instant::now();
        refused(challenge, challenges(challenge), &[]).await;
        assert!(began.elapsed() < Duration::from_secs(8), "{challenge}: {:?}", began.elapsed());
    }
    // let in before it has shown that it knows the password
    refused("no proof", Script { then: welcome(), ..Script::says(auth(10, b"SCRAM-SHA-256\0\0")) }, &[]).await;
    refused("out of turn", Script::says(auth(11, b"r=x,s=c2FsdA==,i=4096")), &[]).await;
    refused("out of turn", Script::says(auth(12, b"v=x")), &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_has_bounds() {
    let error = |fields: &[u8]| message(b'E', fields);
    let cases = [
        ("negative length", b"R\xff\xff\xff\xff".to_vec()),
        ("length 3", b"R\0\0\0\x03".to_vec()),
        ("two gigabytes", b"S\x7f\xff\xff\xff".to_vec()),
        ("HTTP", b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec()),
        ("error without SQLSTATE", error(b"SFATAL\0Mno\0\0")),
        ("error without anything", error(b"\0")),
        ("error without end", error(b"SFATAL")),
        ("error of nonsense", error(&[0xff; 300])),
        ("code cut off", message(b'R', b"\0")),
        ("key cut off", [auth(0, b""), message(b'K', b"\0")].concat()),
        ("parameter without end", [auth(0, b""), message(b'S', b"a")].concat()),
        ("rows before the login", [auth(0, b""), message(b'D', b"\0\0")].concat()),
    ];
    for (what, greeting) in cases {
        refused(what, Script::says(greeting), &[]).await;
    }
    for what in [message(b'N', &[b'x'; 1000]), message(b'S', b"a\0b\0"), message(b'S', &[b'x'; 60_000])] {
        refused("endless words", Script::says(vec![]).endless(what), &[]).await;
    }
    // silence
    let began = Instant::now();
    refused("silence", Script::says(vec![]), &[]).await;
    assert!(began.elapsed() < Duration::from_secs(12));
}

/// Bytes behind the one that agrees to TLS are a man in the middle's: they make no login (CVE-2021-23214, CVE-2021-23222).
#[tokio::test(flavor = "multi_thread")]
async fn words_before_the_tls_handshake_are_not_believed() {
    for mode in ["require", "verify-full"] {
        let mut script = Script::says(vec![]);
        script.ssl = [b"S".to_vec(), welcome()].concat();
        refused("plain text after S", script, &[("sslmode", mode)]).await;
        let mut script = Script::says(welcome());
        script.ssl = b"N".to_vec();
        let errors = refused("no TLS", script, &[("sslmode", mode)]).await;
        assert!(errors[0].to_string().contains("does not offer TLS"), "{}", errors[0]);
        let mut script = Script::says(welcome());
        script.ssl = message(b'E', b"SERROR\0Mno\0\0");
        refused("an error for SSLRequest", script, &[("sslmode", mode)]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_have_bounds() {
    let row = |count: i16, rest: &[u8]| message(b'D', &[&count.to_be_bytes()[..], rest].concat());
    let cases = [
        ("two gigabytes", b"D\x7f\xff\xff\xff".to_vec()),
        ("negative length", b"D\x80\0\0\0".to_vec()),
        ("row cut off", [row(3, b""), done()].concat()),
        ("value longer than its row", [row(1, &i32::MAX.to_be_bytes()), done()].concat()),
        ("value of length -2", [row(1, &(-2i32).to_be_bytes()), done()].concat()),
        ("COPY where none was asked for", message(b'H', b"\0\0\0")),
        ("copy in where none was asked for", message(b'G', b"\0\0\0")),
        ("both ways where none was asked for", message(b'W', b"\0\0\0")),
        ("a login after the login", auth(3, b"")),
        ("unknown message", message(b'?', b"")),
        ("error without SQLSTATE", [message(b'E', b"SERROR\0Mno\0\0"), ready()].concat()),
        ("error without anything", [message(b'E', b"\0"), ready()].concat()),
    ];
    for (what, then) in cases {
        refused_later(what, Script::answers(then)).await;
    }
    for endless in [message(b'N', &[b'x'; 1000]), row(1, &[&1000i32.to_be_bytes()[..], &[b'x'; 1000]].concat()), message(b'S', b"a\0b\0")] {
        refused_later("endless words", Script::answers(message(b'C', b"SET\0")).endless(endless)).await;
    }
}

/// The settings are pinned right after the login: that is the first question.
async fn refused_later(what: &str, script: Script) {
    let (port, _) = serve(script).await;
    // the answer itself is what ends it, not the time to connect, which is short on a busy machine
    let patient = Target { connect_timeout: PATIENCE, ..target(port, &[]) };
    let wire = in_time(what, Wire::connect(&patient, false, Access::Read)).await.map(|_| ()).expect_err(what);
    assert!(matches!(wire.kind(), Kind::Protocol | Kind::Refused | Kind::ConnectionLost), "{what}: {wire}");
}

/// The same through the whole program: each ends in an error that names the source's place, and memory stays where it was.
#[tokio::test(flavor = "multi_thread")]
async fn the_program_outlives_a_hostile_source() {
    let (_directory, server) = server(&["connect_timeout=1500ms", "source.max-message-size=8MB"]);
    let client = server.connect("standpipe").await;
    let before = resident(&server);
    let scripts = [
        ("endless notices", Script::says(vec![]).endless(message(b'N', &[b'x'; 1000]))),
        ("endless rows", Script::answers(message(b'C', b"SET\0")).endless(message(b'D', &[0; 1000]))),
        ("absurd length", Script::answers(b"D\x7f\xff\xff\xff".to_vec()).endless(vec![b'x'; 65_536])),
        ("iterations", challenges("r=x,s=c2FsdA==,i=4294967295")),
        ("wrong types", Script::answers([message(b'1', b""), message(b't', b"\x7f\xff"), message(b'T', b"\x7f\xff"), ready()].concat())),
    ];
    for (i, (what, script)) in scripts.into_iter().enumerate() {
        let (port, _) = serve(script).await;
        let create = format!("CREATE SOURCE h{i} WITH (type = 'postgres', host = '127.0.0.1', port = {port}, database = 'd', user = 'u', password = 'canary-7f')");
        client.batch_execute(&create).await.unwrap_or_else(|e| panic!("{what}: {e:?}"));
        for statement in [format!("TEST SOURCE h{i}"), format!("SYNC TABLES FROM SOURCE h{i}")] {
            let outcome = in_time(what, client.simple_query(&statement)).await;
            let said = format!("{outcome:?}");
            assert!(!said.contains("canary-7f") && !said.contains("XX000"), "{what}: {said}");
            assert!(outcome.is_err() || said.contains("127.0.0.1") || said.contains("error") || said.contains("failed"), "{what}: {said}");
        }
    }
    let after = resident(&server);
    assert!(after < before + (150 << 20), "{} MB more", (after - before) >> 20);
    let log = server.log();
    assert!(!log.contains("panicked") && !log.contains("internal error") && !log.contains("canary-7f"), "{log}");
}
