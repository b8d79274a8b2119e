//! S2, S3, S5, S6: start-up, TLS, how many may stand in the doorway and for how long.

use super::*;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use std::process::{Command, Stdio};
use std::sync::Arc;

const SSL: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 47];
const GSS: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 48];

#[tokio::test(flavor = "multi_thread")]
async fn absurd_start_up_packets_are_not_answered() {
    let (_directory, server) = server(&[]);
    for length in [i32::MIN, -1, 0, 3, 4, 7, 10_005, 1 << 20, i32::MAX] {
        let mut raw = Raw::new(&server).await;
        raw.say(&[&length.to_be_bytes()[..], &196_608i32.to_be_bytes()].concat()).await;
        let (said, took) = raw.end().await;
        assert!(said.is_empty() && took < Duration::from_secs(10), "{length}: {said:?} after {took:?}");
    }
    let parameters = |text: &[u8]| [&(text.len() as i32 + 8).to_be_bytes()[..], &196_608i32.to_be_bytes(), text].concat();
    for text in [&b"user\0standpipe"[..], b"user\0", b"\0trailing", b"user\0standpipe\0\0more", b"user\0\xff\xfe\0\0"] {
        let mut raw = Raw::new(&server).await;
        raw.say(&parameters(text)).await;
        let (said, _) = raw.end().await;
        assert!(said.first() == Some(&b'E'), "{text:?}: {said:?}");
    }
    // all of what a packet may have, and as many requests for encryption as anybody sends
    let mut raw = Raw::new(&server).await;
    raw.say(&parameters(&[&b"user\0standpipe\0application_name\0"[..], &[b'x'; 9_900], b"\0\0"].concat())).await;
    assert_eq!(raw.hear().await.expect("mechanisms").0, b'R');
    let mut raw = Raw::new(&server).await;
    raw.say(&GSS).await;
    assert_eq!(raw.socket.read_u8().await.expect("an answer"), b'N');
    raw.say(&SSL).await;
    assert_eq!(raw.socket.read_u8().await.expect("an answer"), b'N');
    raw.say(&start_up("standpipe")).await;
    assert_eq!(raw.hear().await.expect("mechanisms").0, b'R');
}

/// The time to log in is one for all of it: a byte now and then does not buy more.
#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_slow_is_not_waited_for() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut settings = certificate(directory.path());
    settings.push("authentication_timeout=1500ms".into());
    let settings: Vec<&str> = settings.iter().map(String::as_str).collect();
    let server = Server::start(&directory.path().join("data"), &settings, &[]);
    let drip = async |packet: Vec<u8>, before: &[&[u8]]| {
        let mut raw = Raw::new(&server).await;
        let began = Instant::now();
        for part in before {
            raw.say(part).await;
            let mut some = [0; 1];
            let _ = raw.socket.read(&mut some).await;
        }
        for byte in packet {
            if raw.socket.write_all(&[byte]).await.is_err() {
                break;
            }
            if tokio::time::timeout(Duration::from_millis(100), raw.socket.read_u8()).await.is_ok_and(|r| r.is_err()) {
                break;
            }
        }
        raw.end().await;
        began.elapsed()
    };
    // the head of a handshake that never comes to its end
    let hello = [&[22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3][..], &[0; 200]].concat();
    let (start, proof) = (start_up("standpipe"), message(b'p', &[b'x'; 60]));
    let (ssl, started): ([&[u8]; 1], [&[u8]; 1]) = ([&SSL], [&start]);
    let took = tokio::join!(drip(start.clone(), &[]), drip(hello.clone(), &ssl), drip(hello.clone(), &[]), drip(proof, &started), drip(vec![], &[]));
    for took in [took.0, took.1, took.2, took.3, took.4] {
        assert!((Duration::from_secs(1)..Duration::from_secs(8)).contains(&took), "{took:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_address_leaves_room_in_the_doorway() {
    let (_directory, server) = server(&["max_startup_connections=12", "max_startup_connections_per_address=8"]);
    let mut held = Vec::new();
    for _ in 0..60 {
        held.push(Raw::from(2, &server).await);
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    let mut dropped = 0;
    for raw in &mut held {
        let heard = tokio::time::timeout(Duration::from_millis(5), raw.socket.read_u8()).await;
        dropped += usize::from(heard.is_ok_and(|r| r.is_err()));
    }
    // a few of them are told, once they have asked
    assert!((44..=52).contains(&dropped), "{dropped} of sixty");
    server.connect_as("standpipe", PASSWORD, "standpipe").await.expect("others get in");
    let words = server.log().lines().filter(|l| l.contains("connections were not taken")).count();
    assert_eq!(words, 1, "a flood is no flood of the log");
    drop(held);
    // floods of messages before the login end at the first of them
    let mut raw = Raw::new(&server).await;
    raw.say(&start_up("standpipe")).await;
    raw.say(&message(b'Q', b"SELECT 1\0").repeat(10_000)).await;
    let (said, _) = raw.end().await;
    assert!(said.len() < 1000 && said.windows(5).any(|w| w == b"FATAL") || said.is_empty(), "{} bytes", said.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_without_asking_names_the_protocol() {
    let directory = tempfile::tempdir().expect("a directory");
    let settings = certificate(directory.path());
    let settings: Vec<&str> = settings.iter().map(String::as_str).collect();
    let server = Server::start(&directory.path().join("data"), &settings, &[]);
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(directory.path().join("server.crt")).expect("a certificate")).expect("a root");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    for (names, spoken) in [(&[&b"postgresql"[..]][..], true), (&[], false), (&[b"http/1.1"], false)] {
        let config = rustls::ClientConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions().expect("versions");
        let mut config = config.with_root_certificates(roots.clone()).with_no_client_auth();
        config.alpn_protocols = names.iter().map(|n| n.to_vec()).collect();
        let tcp = Raw::new(&server).await.socket;
        let name = ServerName::try_from("localhost").expect("a name");
        let heard = match tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, tcp).await {
            Ok(mut tls) => {
                let _ = tls.write_all(&start_up("standpipe")).await;
                tokio::time::timeout(PATIENCE, tls.read_u8()).await.expect("an answer or the end").ok()
            }
            Err(_) => None,
        };
        assert_eq!(heard, spoken.then_some(b'R'), "{names:?}");
    }
    // an SSLRequest inside TLS is answered as one that can't be granted twice
    let mut raw = Raw::new(&server).await;
    raw.say(&SSL).await;
    assert_eq!(raw.socket.read_u8().await.expect("an answer"), b'S');
    raw.say(&start_up("standpipe")).await;
    let (said, _) = raw.end().await;
    assert!(said.is_empty() || said[0] == 21, "plain text where TLS was agreed on: {said:?}");
}

/// What the program says when it does not start.
fn refused(listen: &str, settings: &[&str], password: Option<&str>) -> (Option<i32>, String) {
    let directory = tempfile::tempdir().expect("a directory");
    let mut command = Command::new(crate::support::server::binary());
    command.args(["serve", "--http", "", "--listen", listen, "--data"]).arg(directory.path().join("data"));
    for setting in settings {
        command.args(["--set", setting]);
    }
    match password {
        Some(p) => command.env("STANDPIPE_PASSWORD", p),
        None => command.env_remove("STANDPIPE_PASSWORD"),
    };
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("it starts");
    let until = Instant::now() + PATIENCE;
    let code = loop {
        match child.try_wait().expect("its status") {
            Some(status) => break status.code(),
            None if Instant::now() > until => {
                child.kill().expect("it is there");
                break None;
            }
            None => std::thread::sleep(Duration::from_millis(20)),
        }
    };
    let said = child.wait_with_output().expect("its words").stderr;
    (code, String::from_utf8_lossy(&said).into_owned())
}

#[test]
fn other_addresses_than_loopback_need_a_password_and_tls() {
    let (code, said) = refused("0.0.0.0:0", &["listen.plain-text=on"], None);
    assert!(code == Some(2) && said.contains("while the password is the generated one"), "{code:?} {said}");
    let (code, said) = refused("0.0.0.0:0", &[], Some("p"));
    assert!(code == Some(2) && said.contains("is refused without TLS") && said.contains("listen.plain-text"), "{code:?} {said}");
    let (code, said) = refused("[::]:0", &[], Some("p"));
    assert!(code == Some(2) && said.contains("is refused without TLS"), "{code:?} {said}");
    let (code, said) = refused("127.0.0.1:0", &["tls.required=on"], Some("p"));
    assert!(code == Some(2) && said.contains("tls.required needs"), "{code:?} {said}");
}
