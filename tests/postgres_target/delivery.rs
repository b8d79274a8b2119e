//! Exactly once: epochs, marks, lost replies, owners.

use super::*;
use standpipe::error::Kind;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

fn one(table: &Arc<TargetTable>, id: i32) -> Rows {
    changes(&table.table, &[(Op::Insert, None, id, Some("a"), Some("b"))])
}

#[tokio::test]
async fn a_second_begin_fences_the_first() {
    let server = Postgres::start(&[]).await;
    let pipe = Pipe::new(&server, &[]);
    let table = target(small_table("t"), 1, 1);
    let tables = [table.clone()];
    let mut first = pipe.begin(&tables).await.expect("begins");
    assert_eq!((first.committed.epoch, first.committed.checkpoint.as_deref()), (1, None));
    first.set_up(&tables).await.expect("sets up");
    let mut loader = first.connector.writer(WriterRole::Snapshot(2)).await.expect("a writer");
    let batch = one(&table, 1).after;
    first.load(loader.as_mut(), &table, "c1", batch.clone(), false).await.expect("loaded");
    let mut second = pipe.begin(&tables).await.expect("begins");
    assert_eq!((second.committed.epoch, second.committed.checkpoint.as_deref()), (2, Some("checkpoint 1")));
    assert_eq!(second.committed.shards[&Shard(0)], (1 << 32) | 1);
    assert!(second.committed.set_up.contains(&(TableId(1), 1)));
    assert_eq!(second.committed.chunks[&(TableId(1), 1)].iter().collect::<Vec<_>>(), ["c1"]);
    first.change(&table, one(&table, 7)).await.expect("written");
    assert_eq!(first.flush().await.expect_err("fenced").kind(), Kind::Fenced);
    let e = first.load(loader.as_mut(), &table, "c2", batch, false).await.expect_err("fenced");
    assert_eq!(e.kind(), Kind::Fenced);
    second.change(&table, one(&table, 2)).await.expect("written");
    second.flush().await.expect("flushed");
    assert_eq!(contents(&server, "t").await, "(1,a,b) (2,a,b)");
    // a pipe that was dropped here is fenced too, and leaves nothing
    let left = (CONNECTOR.release)(pipe.request(), pipe.uuid).await;
    assert!(left.len() == 1 && left[0].what.contains("origin"), "a connection still has it: {left:?}");
    second.change(&table, one(&table, 3)).await.expect("written");
    assert_eq!(second.flush().await.expect_err("dropped").kind(), Kind::Fenced);
    let left = "SELECT (SELECT count(*) FROM _standpipe.shard) + (SELECT count(*) FROM _standpipe.chunk) + (SELECT count(*) FROM _standpipe.owner)";
    assert_eq!(server.value(left).await.as_deref(), Some("0"));
    drop((first, second));
    assert_eq!((CONNECTOR.release)(pipe.request(), pipe.uuid).await, vec![]);
    assert_eq!(server.value("SELECT count(*) FROM pg_replication_origin").await.as_deref(), Some("0"));
}

/// Forwards to a server; `Cut` says what happens to the bytes after the next COMMIT.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Cut {
    Nothing,
    /// The COMMIT does not arrive.
    Before,
    /// It does, its answer does not.
    After,
}

async fn proxy(port: u16) -> (u16, watch::Sender<Cut>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let here = listener.local_addr().expect("its number").port();
    let (sender, receiver) = watch::channel(Cut::Nothing);
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let Ok(server) = TcpStream::connect(("127.0.0.1", port)).await else { continue };
            tokio::spawn(forward(client, server, receiver.clone()));
        }
    });
    (here, sender)
}

async fn forward(client: TcpStream, server: TcpStream, cut: watch::Receiver<Cut>) {
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let (stop, mut stopped) = watch::channel(false);
    let back = tokio::spawn(async move {
        let mut buffer = vec![0; 65536];
        loop {
            tokio::select! {
                _ = stopped.changed() => return,
                n = from_server.read(&mut buffer) => match n {
                    Ok(n) if n > 0 && to_client.write_all(&buffer[..n]).await.is_ok() => {}
                    _ => return,
                },
            }
        }
    });
    let mut buffer = vec![0; 65536];
    while let Ok(n) = from_client.read(&mut buffer).await {
        let commit = buffer[..n].windows(7).any(|w| w == b"COMMIT\0");
        if n == 0 {
            break;
        }
        if commit && *cut.borrow() != Cut::Nothing {
            stop.send(true).expect("a listener");
            if *cut.borrow() == Cut::After {
                to_server.write_all(&buffer[..n]).await.expect("sent");
                // the server has time to commit before its client is gone
                tokio::time::sleep(std::time::Duration::from_millis(300)).await;
            }
            break;
        }
        if to_server.write_all(&buffer[..n]).await.is_err() {
            break;
        }
    }
    back.abort();
}

#[tokio::test]
async fn a_lost_reply_is_an_error_and_begin_tells_what_became_of_it() {
    let server = Postgres::start(&[]).await;
    let (port, cut) = proxy(server.port).await;
    for (name, how, there) in [("before", Cut::Before, false), ("after", Cut::After, true)] {
        cut.send(Cut::Nothing).expect("a listener");
        let pipe = Pipe { port, ..Pipe::new(&server, &[]) };
        let table = target(small_table(name), 1, 1);
        let mut run = pipe.begin(std::slice::from_ref(&table)).await.expect("begins");
        run.set_up(std::slice::from_ref(&table)).await.expect("sets up");
        run.change(&table, one(&table, 1)).await.expect("written");
        cut.send(how).expect("a listener");
        let e = run.flush().await.expect_err("the connection is gone");
        assert_eq!(e.kind(), Kind::ConnectionLost, "{e}");
        cut.send(Cut::Nothing).expect("a listener");
        let mut again = pipe.begin(std::slice::from_ref(&table)).await.expect("begins");
        let wanted = if there { "checkpoint 2" } else { "checkpoint 1" };
        assert_eq!(again.committed.checkpoint.as_deref(), Some(wanted));
        if !there {
            again.change(&table, one(&table, 1)).await.expect("written");
            again.flush().await.expect("flushed");
        }
        assert_eq!(contents(&server, name).await, "(1,a,b)");
    }
}

#[tokio::test]
async fn a_chunk_and_its_record_are_one() {
    let server = Postgres::start(&[]).await;
    let pipe = Pipe::new(&server, &[]);
    let table = target(small_table("t"), 1, 1);
    let tables = [table.clone()];
    let mut run = pipe.begin(&tables).await.expect("begins");
    run.set_up(&tables).await.expect("sets up");
    let mut loader = run.connector.writer(WriterRole::Snapshot(1)).await.expect("a writer");
    let rows = |ids: &[i32]| {
        let all: Vec<Change<'_>> = ids.iter().map(|i| (Op::Insert, None, *i, Some("a"), Some("b"))).collect();
        changes(&table.table, &all).after
    };
    run.load(loader.as_mut(), &table, "c1", rows(&[1, 2]), false).await.expect("loaded");
    // the same chunk once more: nothing of it may stay
    run.load(loader.as_mut(), &table, "c1", rows(&[3]), false).await.expect_err("it is there");
    let flushed = run.load(loader.as_mut(), &table, "c2", rows(&[2, 5]), true).await.expect("laid over");
    assert_eq!((flushed.tables[&TableId(1)].inserts, flushed.tables[&TableId(1)].updates), (1, 1));
    assert_eq!(contents(&server, "t").await, "(1,a,b) (2,a,b) (5,a,b)");
    // an empty chunk is done as well
    let kind = MarkKind::Chunk { table: TableId(1), generation: 1, chunk: "c3".into() };
    loader.flush(&Mark { kind, seq: 0, previous: 0, checkpoint: None, position: None }).await.expect("recorded");
    let again = pipe.begin(&tables).await.expect("begins");
    assert_eq!(again.committed.chunks[&(TableId(1), 1)].len(), 3);
}

#[tokio::test]
async fn transactions_say_which_pipe_writes() {
    let server = Postgres::start(&[]).await;
    server.sql("SELECT pg_create_logical_replication_slot('s', 'test_decoding')").await;
    let pipe = Pipe::new(&server, &[]);
    let table = target(small_table("t"), 1, 1);
    let mut run = pipe.begin(std::slice::from_ref(&table)).await.expect("begins");
    run.set_up(std::slice::from_ref(&table)).await.expect("sets up");
    let seen = server.value("SELECT string_agg(data, ' ') FROM pg_logical_slot_peek_changes('s', NULL, NULL) WHERE data LIKE '%prefix: standpipe%'").await;
    assert!(seen.is_some_and(|s| s.contains(&pipe.uuid.to_string())));
    assert_eq!(server.value("SELECT roname FROM pg_replication_origin").await, Some(format!("standpipe_{}", pipe.uuid.simple())));
}
