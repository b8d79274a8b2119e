//! S1, S4, S5: guessing passwords and cancel keys, and finding out names.

use super::*;

/// A guesser that waits for no answer is slowed down all the same; those who are known, and other addresses, are not.
#[tokio::test(flavor = "multi_thread")]
async fn who_guesses_waits_and_nobody_else_does() {
    let (_directory, server) = server(&["auth.failure-delay=2s", "auth.failure-delay-max=30s", "auth.name-delay-max=100ms"]);
    let admin = server.connect("standpipe").await;
    admin.batch_execute("CREATE USER victim PASSWORD 'right'").await.expect("a user");
    for _ in 0..4 {
        let mut guess = Raw::from(2, &server).await;
        guess.prove("victim", "wrong").await;
        // it hangs up instead of waiting
        tokio::time::sleep(Duration::from_millis(150)).await;
    }
    let mut late = Raw::from(2, &server).await;
    late.prove("victim", "right").await;
    let answered = tokio::time::timeout(Duration::from_secs(5), late.hear()).await;
    assert!(answered.is_err(), "answered at once after four guesses: {answered:?}");
    let began = Instant::now();
    server.connect_as("standpipe", PASSWORD, "standpipe").await.expect("another name, another address");
    let mut elsewhere = Raw::from(3, &server).await;
    elsewhere.prove("victim", "right").await;
    assert_eq!(elsewhere.answer().await, "R R Z", "the same name from an address that guesses nothing");
    assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
    assert!(server.log().matches("password authentication failed").count() <= 4);
}

/// Mechanisms, the form of the challenge, its salt on a second try and after a restart, and the words of the refusal.
#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_is_none_looks_like_one_that_is() {
    let (_directory, server) = server(&["auth.failure-delay=1ms", "auth.failure-delay-max=5ms"]);
    let admin = server.connect("standpipe").await;
    admin.batch_execute("CREATE USER somebody PASSWORD 'pw'; CREATE USER mute; CREATE ROLE cannot PASSWORD 'pw'").await.expect("roles");
    let names = ["somebody", "nobody", "mute", "cannot"];
    let mut seen = Vec::new();
    for name in names {
        let mut salts = Vec::new();
        for _ in 0..2 {
            let scram = ScramSha256::new(b"x", ChannelBinding::unsupported());
            let (mechanisms, challenge) = Raw::new(&server).await.ask(name, &scram).await;
            let parts: Vec<String> = challenge.splitn(3, ',').map(str::to_string).collect();
            let [nonce, salt, iterations] = &parts[..] else { panic!("{challenge}") };
            salts.push(salt.clone());
            seen.push((mechanisms, nonce.len() - scram.message().len(), salt.len(), iterations.clone()));
        }
        assert_eq!(salts[0], salts[1], "{name}");
    }
    assert!(seen.windows(2).all(|pair| pair[0] == pair[1]), "{seen:?}");
    let mut refusals = Vec::new();
    for name in names {
        let mut raw = Raw::new(&server).await;
        raw.prove(name, "wrong").await;
        let (kind, body) = raw.hear().await.expect("an answer");
        refusals.push((kind, String::from_utf8_lossy(&body).replace(name, "NAME")));
    }
    assert!(refusals.windows(2).all(|pair| pair[0] == pair[1]), "{refusals:?}");
    let salt = async |server: &Server| {
        let scram = ScramSha256::new(b"x", ChannelBinding::unsupported());
        let (_, challenge) = Raw::new(server).await.ask("nobody", &scram).await;
        challenge.split(',').nth(1).map(str::to_string)
    };
    let before = salt(&server).await;
    let data = server.kill();
    let server = Server::start(&data, &[], &[]);
    assert_eq!(salt(&server).await, before, "after a restart");
}

/// Between names that are and are not no guesser can measure a difference that is greater than the noise.
#[tokio::test(flavor = "multi_thread")]
async fn refusals_take_as_long_for_names_that_are_none() {
    let (_directory, server) = server(&["auth.failure-delay=0", "auth.failure-delay-max=0"]);
    let time = async |name: &str| {
        let mut raw = Raw::new(&server).await;
        raw.prove(name, "wrong").await;
        let began = Instant::now();
        raw.hear().await.expect("an answer");
        began.elapsed()
    };
    let (mut known, mut unknown) = (Vec::new(), Vec::new());
    for _ in 0..15 {
        known.push(time("standpipe").await);
        unknown.push(time("nobody").await);
    }
    known.sort();
    unknown.sort();
    let (a, b) = (known[7], unknown[7]);
    assert!(a.abs_diff(b) < Duration::from_millis(2) + a.min(b), "medians {a:?} and {b:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_exchange_ends_the_connection() {
    let (_directory, server) = server(&["auth.failure-delay=1ms", "auth.failure-delay-max=5ms"]);
    let first = |mechanism: &str, text: &[u8]| message(b'p', &[mechanism.as_bytes(), b"\0", &(text.len() as i32).to_be_bytes(), text].concat());
    for broken in [
        first("SCRAM-SHA-1", b"n,,n=,r=abc"),
        first("SCRAM-SHA-256-PLUS", b"p=tls-server-end-point,,n=,r=abc"),
        first("SCRAM-SHA-256", b"p=tls-server-end-point,,n=,r=abc"),
        first("SCRAM-SHA-256", b""),
        first("SCRAM-SHA-256", b"n,,n=\xff,r=abc"),
        first("SCRAM-SHA-256", b"n,,"),
        first("SCRAM-SHA-256", b",,,,,,,,"),
        message(b'p', b"SCRAM-SHA-256\0\x7f\xff\xff\xffn,,"),
        message(b'p', b"SCRAM-SHA-256"),
        message(b'p', b""),
        message(b'Q', b"SELECT 1\0"),
        message(b'X', b""),
        [&b"p"[..], &70_000i32.to_be_bytes()].concat(),
        [&b"p"[..], &(-1i32).to_be_bytes()].concat(),
        [&b"p"[..], &3i32.to_be_bytes()].concat(),
        [&b"p"[..], &i32::MAX.to_be_bytes()].concat(),
    ] {
        let mut raw = Raw::new(&server).await;
        raw.say(&start_up("standpipe")).await;
        raw.hear().await.expect("mechanisms");
        raw.say(&broken).await;
        let (said, took) = raw.end().await;
        assert!(said.is_empty() || said[0] == b'E' && said.windows(5).any(|w| w == b"FATAL"), "{broken:?}: {said:?}");
        assert!(took < Duration::from_secs(10), "{broken:?} took {took:?}");
    }
    for broken in [&b"c=biws,r=other,p=AAAA"[..], b"c=cD10bHM=,r=x,p=", b"p=AAAA", b"", b"c=biws,r=x", b"e=other-error"] {
        let mut raw = Raw::new(&server).await;
        raw.ask("standpipe", &ScramSha256::new(b"x", ChannelBinding::unsupported())).await;
        raw.say(&message(b'p', broken)).await;
        let (said, _) = raw.end().await;
        assert_eq!((said[0], field(&said[5..], b'C').as_str()), (b'E', "28P01"), "{broken:?}");
    }
    Raw::login(&server).await;
    assert!(!server.log().contains("panicked"), "{}", server.log());
}

/// A wrong key ends nothing; a storm of them slows itself down and nobody else.
#[tokio::test(flavor = "multi_thread")]
async fn a_storm_of_cancels_reaches_nobody() {
    let (_directory, server) = server(&["auth.failure-delay=2s", "auth.failure-delay-max=60s"]);
    let client = server.connect("standpipe").await;
    let pid: i32 = client.query_one("SELECT pg_backend_pid()", &[]).await.expect("its number").get(0);
    let cancel = |key: &[u8]| {
        let body = [&80_877_102i32.to_be_bytes()[..], &pid.to_be_bytes(), key].concat();
        [&(body.len() as i32 + 4).to_be_bytes()[..], &body].concat()
    };
    let token = client.cancel_token();
    let endless = client.batch_execute("SELECT count(*) FROM generate_series(1, 100000000000)");
    let storm = async {
        for i in 0..20u32 {
            let mut raw = Raw::from(2, &server).await;
            raw.say(&cancel(&i.to_be_bytes())).await;
        }
        // keys of other lengths are malformed or do not fit
        for key in [&[][..], &[0; 3], &[0; 32], &[0; 300]] {
            Raw::from(3, &server).await.say(&cancel(key)).await;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
        let mut patient = Raw::from(2, &server).await;
        patient.say(&cancel(&[1, 2, 3, 4])).await;
        let waited = tokio::time::timeout(Duration::from_secs(1), patient.socket.read_u8()).await;
        assert!(waited.is_err(), "the guesser's next one is not looked at yet");
        let began = Instant::now();
        token.cancel_query(tokio_postgres::NoTls).await.expect("sent");
        began
    };
    let (outcome, began) = tokio::join!(endless, storm);
    assert_eq!(outcome.expect_err("cancelled").code().map(|c| c.code()), Some("57014"));
    assert!(began.elapsed() < Duration::from_secs(10), "the session's own key is looked at at once");
}
