"""Real clients against tables of a real source and of the lake: psql's meta-commands, pgjdbc, psycopg 3, asyncpg."""
import argparse, asyncio, datetime, decimal, glob, os, shutil, subprocess, sys, tempfile, uuid

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from servers import PASSWORD, Postgres, Standpipe, pg_sources

TABLE = """create table public.sample (id bigint primary key, amount numeric(12,2) not null, at timestamp, note text, flag boolean, doc jsonb, uid uuid);
comment on table public.sample is 'a table of everything';
insert into sample select i, i + 0.25, timestamp '2024-02-29 12:00:00.5' + i * interval '1 second', 'note ' || i, i % 2 = 0, jsonb_build_object('i', i), md5(i::text)::uuid from generate_series(1, 1000) i"""
FAILED = []


def check(holds, what):
    print(("ok " if holds else "NOT OK ") + what, flush=True)
    if not holds:
        FAILED.append(what)


def psql(server, db, command):
    environment = dict(os.environ, PGPASSWORD=PASSWORD)
    url = f"postgresql://standpipe@127.0.0.1:{server.port}/{db}"
    return subprocess.run(["psql", "-X", "-v", "ON_ERROR_STOP=1", "-c", command, url], capture_output=True, text=True, env=environment)


def meta_commands(server):
    for db, schema in (("src", "public"), ("standpipe", "lake")):
        expected = {"\\l": ["standpipe", "src"], "\\dn": [schema], "\\dt " + schema + ".*": ["sample"], "\\d " + schema + ".sample": ["amount", "numeric", "timestamp"],
                    "\\dt+ " + schema + ".*": ["sample"], "\\du": ["standpipe"], "\\df": [], "\\dv standpipe.*": ["pipes"], "\\d": [],
                    "\\conninfo": [], "\\di": [], "\\dn+": [schema], "\\l+": ["src"]}
        for command, words in expected.items():
            out = psql(server, db, command)
            text = out.stdout + out.stderr
            check(out.returncode == 0 and "ERROR" not in text and all(w in text for w in words), f"psql {db} {command}" + ("" if out.returncode == 0 else ": " + text.strip()[:300]))
    out = psql(server, "standpipe", "\\c src")
    check(out.returncode == 0 and 'database "src"' in out.stdout, "psql \\c src")


ROW = (7, decimal.Decimal("7.25"), datetime.datetime(2024, 2, 29, 12, 0, 7, 500000), "note 7", False, {"i": 7}, uuid.UUID("8f14e45f-ceea-167a-5a36-dedd4bea2543"))


def psycopg3(server, db, table):
    import psycopg
    url = f"postgresql://standpipe:{PASSWORD}@127.0.0.1:{server.port}/{db}"
    for binary in (False, True):
        with psycopg.connect(url) as c:
            cursor = c.cursor(binary=binary)
            for _ in range(7):
                row = cursor.execute(f"select * from {table} where id = %s", (7,)).fetchone()
            want = ROW if db == "src" else ROW[:5]
            check(row[: len(want)] == want, f"psycopg {'binary' if binary else 'text'} {table}: {row}")
            check(cursor.execute(f"select count(*), sum(amount) from {table}").fetchone() == (1000, decimal.Decimal("500750.00")), f"psycopg aggregates {table}")
            with c.cursor(name="rows") as named:
                named.itersize = 100
                check(sum(r[0] for r in named.execute(f"select id from {table}")) == 500500, f"psycopg named cursor {table}")
            with cursor.copy(f"copy (select id, note from {table} order by id limit 2) to stdout") as copy:
                copied = b"".join(bytes(b) for b in copy)
            check(copied == b"1\tnote 1\n2\tnote 2\n", f"psycopg COPY {table}")
    with psycopg.connect(url, autocommit=True) as c:
        try:
            c.execute("select * from no_such_table")
            check(False, "psycopg error")
        except psycopg.errors.UndefinedTable as e:
            check(e.diag.sqlstate == "42P01", f"psycopg error: {e.diag.message_primary}")


async def asyncpg_client(server, db, table):
    import asyncpg
    c = await asyncpg.connect(host="127.0.0.1", port=server.port, user="standpipe", password=PASSWORD, database=db)
    try:
        prepared = await c.prepare(f"select id, amount, at, note, flag from {table} where id = $1")
        for _ in range(7):
            row = await prepared.fetchrow(7)
        check(tuple(row) == ROW[:5], f"asyncpg prepared {table}: {tuple(row)}")
        check(len(await c.fetch(f"select * from {table}")) == 1000, f"asyncpg fetch {table}")
        async with c.transaction():
            n = 0
            async for _ in c.cursor(f"select id from {table} order by id"):
                n += 1
        check(n == 1000, f"asyncpg cursor {table}")
        # open: a parameter under a cast is described as text, so asyncpg wants a string here
        check(await c.fetchval("select $1::int + $2::int", "40", "2") == 42, "asyncpg parameters")
    finally:
        await c.close()


def jdbc(server, db, schema):
    jar = next(iter(glob.glob("/usr/share/java/postgresql.jar") + glob.glob("/usr/share/java/postgresql-*.jar")))
    java = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "java", "Clients.java")
    command = ["java", "-cp", jar, java, f"jdbc:postgresql://127.0.0.1:{server.port}/{db}", schema, "sample", PASSWORD]
    out = subprocess.run(command, capture_output=True, text=True)
    check(out.returncode == 0, f"pgjdbc {db}: {out.stdout.count('ok ')} checks" + ("" if out.returncode == 0 else "\n" + out.stdout[-300:] + out.stderr[-1500:]))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--standpipe", required=True)
    a = parser.parse_args()
    root = tempfile.mkdtemp(prefix="standpipe-clients-")
    os.chmod(root, 0o755)
    source = Postgres(root, "source")
    server = None
    try:
        source.sql("postgres", "create database app")
        source.sql("app", TABLE)
        server = Standpipe(a.standpipe, os.path.join(root, "standpipe"))
        pg_sources(server, source, source, "app", "app")
        server.sql("standpipe", "sync tables from source src")
        server.sql("src", "create pipe p with extractor ('tables' = 'public.sample') with connector ('connector' = 'lake-connector') with runtime (start = true)")
        server.sql("src", "wait for pipe p until caught up timeout '60 s'")
        meta_commands(server)
        for db, schema in (("src", "public"), ("standpipe", "lake")):
            for run in (psycopg3, lambda *x: asyncio.run(asyncpg_client(*x))):
                try:
                    run(server, db, f"{schema}.sample")
                except Exception as e:
                    check(False, f"{db}: {type(e).__name__}: {e}")
            jdbc(server, db, schema)
    finally:
        if server:
            server.stop()
        source.stop()
        shutil.rmtree(root, ignore_errors=True)
    print(f"{len(FAILED)} failed" if FAILED else "all clients are served")
    sys.exit(bool(FAILED))


if __name__ == "__main__":
    main()
