//! S5 to S8: what a logged-in client may send, in what order, and how much of it.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn unknown_types_and_absurd_lengths_end_the_session_alone() {
    let (_directory, server) = server(&["max_message_size=1MB"]);
    let framed = |kind: u8, length: i32| [&[kind][..], &length.to_be_bytes()].concat();
    let mut broken: Vec<Vec<u8>> = [0u8, 1, b'!', b'R', b'T', b'Z', b'p', b'a', 0x7f, 0x80, 0xff].iter().map(|k| message(*k, b"")).collect();
    for kind in [b'Q', b'P', b'B', b'd'] {
        broken.extend([i32::MIN, -1, 0, 3, (1 << 20) + 5, i32::MAX].map(|length| framed(kind, length)));
    }
    for kind in [b'S', b'E', b'D', b'C', b'H', b'X', b'c', b'f'] {
        broken.extend([-1, 3, 10_005, i32::MAX].map(|length| framed(kind, length)));
    }
    for bytes in broken {
        let mut raw = Raw::login(&server).await;
        raw.say(&bytes).await;
        let (said, took) = raw.end().await;
        assert_eq!((said.first(), field(said.get(5..).unwrap_or_default(), b'C').as_str()), (Some(&b'E'), "08P01"), "{bytes:?}");
        assert!(took < Duration::from_secs(10), "{bytes:?}: {took:?}");
    }
    assert_eq!(Raw::login(&server).await.query("SELECT 1").await, "T D C Z");
}

#[tokio::test(flavor = "multi_thread")]
async fn after_an_error_nothing_is_looked_at_before_sync() {
    let (_directory, server) = server(&[]);
    let mut raw = Raw::login(&server).await;
    let parse = |sql: &str| message(b'P', &[b"\0", sql.as_bytes(), b"\0\0\0"].concat());
    let garbage = [
        parse("SELECT nonsense from nowhere"),
        message(b'B', b"\xff\xff"),
        message(b'P', b"no end"),
        message(b'E', b"\0"),
        message(b'D', b"?"),
        message(b'Q', b"SELECT 1\0"),
        parse("CREATE USER sneaked PASSWORD 'x'"),
        message(b'B', b"\0\0\0\0\0\0\0\0"),
        message(b'E', b"\0\0\0\0\0"),
        message(b'S', b""),
    ];
    raw.say(&garbage.concat()).await;
    assert_eq!(raw.answer().await, "E:42P01 Z");
    // data of a COPY that nobody began, and function calls
    raw.say(&[message(b'd', b"1\t2\n"), message(b'c', b""), message(b'f', b"no\0")].concat()).await;
    assert_eq!(raw.query("SELECT rolname FROM pg_roles WHERE rolname = 'sneaked'").await, "T C Z");
    raw.say(&message(b'F', &[0; 10])).await;
    assert_eq!(raw.answer().await, "E:0A000 Z");
    // a thousand groups at once are answered one by one
    raw.say(&[parse("SELECT 1"), message(b'B', b"\0\0\0\0\0\0\0\0"), message(b'E', b"\0\0\0\0\0"), message(b'S', b"")].concat().repeat(200)).await;
    for _ in 0..200 {
        assert_eq!(raw.answer().await, "1 2 D C Z");
    }
}

/// What would need a stack or a memory without end is refused, in time, and others go on.
#[tokio::test(flavor = "multi_thread")]
async fn deep_long_and_many_are_bounded() {
    let (_directory, server) = server(&["max_prepared_statements=50", "max_message_size=16MB"]);
    let mut raw = Raw::login(&server).await;
    let nested = |open: &str, close: &str, n: usize| format!("SELECT {}1{}", open.repeat(n), close.repeat(n));
    let with = (0..3000).fold("SELECT 1".to_string(), |q, i| if i % 10 == 0 { format!("WITH a{i} AS ({q}) SELECT * FROM a{i}") } else { q });
    let deep = [
        nested("(", ")", 100_000),
        nested("NOT ", "", 100_000),
        nested("- ", "", 100_000),
        nested("CASE WHEN true THEN ", " END", 20_000),
        nested("ARRAY[", "]", 20_000),
        nested("(SELECT ", ")", 20_000),
        nested("abs(", ")", 20_000),
        format!("SELECT {}", vec!["1"; 20_000].join("+")),
        format!("SELECT 1 WHERE {}", vec!["1=1"; 5_000].join(" AND ")),
        format!("SELECT * FROM {}t{}", "(SELECT * FROM ".repeat(5_000), ") x".repeat(5_000)),
        with,
        vec!["SELECT 1"; 3].join(" UNION ALL ").repeat(1),
        "/*".repeat(100_000),
        format!("EXPLAIN {}", "EXPLAIN ".repeat(50_000)),
        format!("SHOW PIPES WHERE {}", "(".repeat(100_000)),
        format!("CREATE SOURCE s WITH ({})", "(".repeat(100_000)),
    ];
    for sql in deep {
        let began = Instant::now();
        let answer = raw.query(&sql).await;
        let head: String = sql.chars().take(30).collect();
        assert!(answer.ends_with(" Z"), "{head}: {answer}");
        assert!(began.elapsed() < PATIENCE, "{head}: {:?}", began.elapsed());
    }
    // names and texts of a megabyte
    let long = "x".repeat(1 << 20);
    assert_eq!(raw.query(&format!("SELECT {long}")).await, "E:42703 Z");
    assert_eq!(raw.query(&format!("SELECT * FROM \"{long}\"")).await, "E:42P01 Z");
    assert_eq!(raw.query(&format!("SELECT length('{long}')")).await, "T D C Z");
    assert_eq!(raw.query(&format!("DROP PIPE \"{long}\"")).await, "E:42704 Z");
    // numbers of millions of digits, as text and as a parameter of either form
    let digits = "7".repeat(4 << 20);
    for sql in [format!("SELECT {digits}"), format!("SELECT 0.{digits}"), format!("SELECT '{digits}'::numeric"), format!("SELECT '{digits}'::int8"), format!("SELECT '{digits}'::float8"), format!("SELECT '{digits}'::interval")] {
        let answer = raw.query(&sql).await;
        assert!(answer.ends_with(" Z"), "{}: {answer}", &sql[..12]);
    }
    let weight = [[0, 1], 32_767i16.to_be_bytes(), [0, 0], [0, 0], [0, 1]].concat();
    for (format, value) in [([0, 0], digits.as_bytes()), ([0, 1], weight.as_slice())] {
        let bind = [&b"\0\0\0\x01"[..], &format, b"\0\x01", &(value.len() as i32).to_be_bytes(), value, b"\0\0"].concat();
        let group = [message(b'P', b"\0SELECT $1::numeric\0\0\x01\0\0\x06\xa4"), message(b'B', &bind), message(b'E', b"\0\0\0\0\0"), message(b'S', b"")];
        raw.say(&group.concat()).await;
        let answer = raw.answer().await;
        assert!(answer.starts_with("1 ") && answer.ends_with(" Z"), "{answer}");
    }
    // parameters: numbers that are none, more values than a statement has, all that the protocol can count
    for sql in ["SELECT $0", "SELECT $65536", "SELECT $2000000000", "SELECT $99999999999999999999"] {
        raw.say(&[message(b'P', &[b"\0", sql.as_bytes(), b"\0\0\0"].concat()), message(b'S', b"")].concat()).await;
        let answer = raw.answer().await;
        assert!(answer.starts_with("E:") && answer.ends_with(" Z"), "{sql}: {answer}");
    }
    let values = [&b"\0one\0\0\0\xff\xff"[..], &(-1i32).to_be_bytes().repeat(65_535), b"\0\0"].concat();
    raw.say(&[message(b'P', b"one\0SELECT $1::int4\0\0\0"), message(b'B', &values), message(b'S', b"")].concat()).await;
    assert_eq!(raw.answer().await, "1 E:08P01 Z");
    let types = [&b"\0SELECT 1\0\xff\xff"[..], &23u32.to_be_bytes().repeat(65_535)].concat();
    raw.say(&[message(b'P', &types), message(b'S', b"")].concat()).await;
    assert!(raw.answer().await.ends_with(" Z"));
    for i in 0..60 {
        raw.say(&[message(b'P', format!("s{i}\0SELECT 1\0\0\0").as_bytes()), message(b'S', b"")].concat()).await;
        assert_eq!(raw.answer().await, if i < 48 { "1 Z" } else { "E:54000 Z" }, "{i}");
    }
    assert!(!server.log().contains("panicked") && !server.log().contains("internal error"), "{}", server.log());
}

/// A client that takes no rows is not waited for, and costs no more than its buffer.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_takes_nothing_is_let_go() {
    let (_directory, server) = server(&["send_timeout=1s"]);
    let watch = server.connect("standpipe").await;
    let mut raw = Raw::login(&server).await;
    let before = resident(&server);
    raw.say(&message(b'Q', b"SELECT repeat('x', 1000) FROM generate_series(1, 100000000)\0")).await;
    let sessions = async || watch.query_one("SELECT count(*) FROM pg_stat_activity", &[]).await.expect("a count").get::<_, i64>(0);
    let (began, mut most) = (Instant::now(), 0);
    while sessions().await > 1 {
        most = most.max(resident(&server));
        assert!(began.elapsed() < PATIENCE, "it is still there");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(most < before + (200 << 20), "{} MB more", (most.saturating_sub(before)) >> 20);
}
