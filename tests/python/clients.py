"""Real clients against tables of a real source and of the lake: psql's meta-commands, pgjdbc, psycopg 3, asyncpg; what they see of the lake's older
versions, of settings, and what is left at the source when they cancel or go."""
import argparse, asyncio, datetime, decimal, glob, os, shutil, subprocess, sys, tempfile, time, uuid

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
    return subprocess.run(["psql", "-X", "-v", "ON_ERROR_STOP=1", "-v", "VERBOSITY=verbose", "-c", command, url], capture_output=True, text=True, env=environment)


def meta_commands(server):
    for db, schema in (("src", "public"), ("standpipe", "lake")):
        expected = {"\\l": ["standpipe", "src"], "\\dn": [schema], "\\dt " + schema + ".*": ["sample"], "\\d " + schema + ".sample": ["amount", "numeric", "timestamp"],
                    "\\dt+ " + schema + ".*": ["sample"], "\\du": ["standpipe"], "\\df": [], "\\dv standpipe.*": ["pipes"], "\\d": [],
                    "\\conninfo": [], "\\di": [], "\\dn+": [schema], "\\l+": ["src"], "\\d+ " + schema + ".sample": ["amount", "numeric", "id"],
                    "\\d standpipe.pipes": ["state", "phase"], "\\d+ standpipe.pipes": ["state", "phase"], "\\du+": ["standpipe"], "\\dt+": [], "\\df+": [], "\\dT": [],
                    "\\db": [], "\\dx": [], "\\dp": [], "\\ds": [], "\\dm": [], "\\dE": [], "\\dg": ["standpipe"]}
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
        check(await c.fetchval("select $1::int + $2::int", 40, 2) == 42, "asyncpg parameters")
        # a parameter under a cast is of the cast's type, as its driver sends it
        now = datetime.datetime(2024, 2, 29, 12, 0, 7, 500000)
        for sql, value in (("$1::int8", 2**40), ("$1::text", "a"), ("$1::timestamp", now), ("$1::uuid", ROW[6]), ("$1::bool", True), ("$1::date", now.date()), ("$1::time", now.time()),
                           ("$1::float8", 0.1), ("$1::numeric", decimal.Decimal("1.25")), ("$1::bytea", b"\\x00"), ("$1::interval", datetime.timedelta(days=1, seconds=2)),
                           ("$1::int[]", [1, 2]), ("$1::text[]", ["a", None]), ("$1::jsonb", '{"a": 1}')):
            got = await c.fetchval(f"select {sql}", value)
            check(got == value, f"asyncpg {sql}: {got!r}")
        if db == "src":
            check(await c.fetchval("select id from sample where uid = $1", ROW[6]) == 7, "asyncpg uuid")
            check(await c.fetchval("select note from sample where at = $1", ROW[2]) == "note 7", "asyncpg timestamp")
        check(await c.fetchval("select count(*) from {table} where amount = any($1::numeric[])".format(table=table), [decimal.Decimal("7.25")]) == 1, "asyncpg array of numeric")
        check(await c.fetchval("select $1::regclass::text", f"{table}") is not None, "asyncpg regclass")
    finally:
        await c.close()


def jdbc(server, db, schema):
    jar = next(iter(glob.glob("/usr/share/java/postgresql.jar") + glob.glob("/usr/share/java/postgresql-*.jar")))
    java = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "java", "Clients.java")
    command = ["java", "-cp", jar, java, f"jdbc:postgresql://127.0.0.1:{server.port}/{db}", schema, "sample", PASSWORD]
    out = subprocess.run(command, capture_output=True, text=True)
    check(out.returncode == 0, f"pgjdbc {db}: {out.stdout.count('ok ')} checks" + ("" if out.returncode == 0 else "\n" + out.stdout[-300:] + out.stderr[-1500:]))


def lake_versions(server):
    """Older versions of a lake table that a generator keeps filling."""
    server.sql("standpipe", "create source shop with (type = 'generator', tables = 'orders', rows = 200, rate = 20)")
    server.sql("standpipe", "sync tables from source shop")
    server.sql("shop", "create pipe g with extractor () with connector ('connector' = 'lake-connector', 'batch.min-interval-seconds' = '0') with runtime (start = true)")
    wait_for(lambda: int(server.sql("shop", "select coalesce(max(inserts + updates + deletes), 0) from standpipe.pipe_tables where pipe = 'g'")) > 20, "changes in the lake")
    since = server.sql("standpipe", "select now()")
    before = server.sql("standpipe", "select count(*), sum(id) from lake_at('orders', 1)")
    wait_for(lambda: server.sql("standpipe", "select count(*), sum(id) from lake.orders") != before, "a newer version")
    check(server.sql("standpipe", "select count(*), sum(id) from lake_at('orders', 1)") == before, f"lake_at a version: {before}")
    check(server.sql("standpipe", f"select count(*) > 0 from lake_at('orders', timestamptz '{since}')") == "t", "lake_at a time")
    check(server.sql("standpipe", "select count(*) from lake_at('lake.orders', 1) a join orders b using (id)").isdigit(), "lake_at joined with the newest")
    for at in ("1000000", "timestamptz '2001-01-01'"):
        out = psql(server, "standpipe", f"select * from lake_at('orders', {at})")
        check("55000" in out.stderr and "oldest version" in out.stderr, f"lake_at {at}: {out.stderr.strip()[:200]}")
    out = psql(server, "standpipe", "select * from lake_at('nothing', 1)")
    check("42P01" in out.stderr, f"lake_at a table that is not there: {out.stderr.strip()[:120]}")


def wait_for(holds, what, seconds=30):
    for _ in range(seconds * 10):
        if holds():
            return
        time.sleep(0.1)
    check(False, f"waited in vain for {what}")


def endings(server, source):
    """A cancel, a time-out and a client that goes: each ends the source's own query."""
    import psycopg
    source.sql("app", "create table big as select i as id, repeat('x', 200) as pad from generate_series(1, 2000000) i")
    source.sql("app", "alter table big add primary key (id)")
    server.sql("standpipe", "sync table public.big from source src")
    busy = "select count(*) from pg_stat_activity where datname = 'app' and state <> 'idle' and query ilike '%big%' and pid <> pg_backend_pid()"
    url = f"postgresql://standpipe:{PASSWORD}@127.0.0.1:{server.port}/src"
    slow = "select count(*) from big a where length(pad) + (select count(*) from big b where b.pad < a.pad) > 0"

    def reading(c):
        c.pgconn.send_query(slow.encode())
        wait_for(lambda: source.sql("app", busy) != "0", "the source's query")

    def freed(what):
        wait_for(lambda: source.sql("app", busy) == "0", f"the source to be free after {what}")
        check(source.sql("app", busy) == "0", f"{what} ends the source's query")

    c = psycopg.connect(url, autocommit=True)
    reading(c)
    began = time.time()
    c.pgconn.get_cancel().cancel()
    state = c.pgconn.get_result().error_field(psycopg.pq.DiagnosticField.SQLSTATE)
    check(state == b"57014" and time.time() - began < 5, f"PQcancel: {state} after {time.time() - began:.1f} s")
    freed("PQcancel")
    c.close()
    c = psycopg.connect(url, autocommit=True)
    reading(c)
    c.close()
    freed("a client that goes")
    c = psycopg.connect(url, autocommit=True)
    c.execute("set statement_timeout = '500ms'")
    try:
        c.execute(slow)
        check(False, "statement_timeout")
    except psycopg.errors.QueryCanceled as e:
        check("statement timeout" in str(e), "statement_timeout")
    freed("statement_timeout")
    c.execute("set statement_timeout = 0")
    with c.transaction(), c.cursor(name="rows") as cursor:
        cursor.execute("select id, pad from big")
        check(len(cursor.fetchmany(10)) == 10, "the first rows of a long scan")
    freed("a cursor that is closed")
    c.close()
    began = time.time()
    c = psycopg.connect(url, autocommit=True)
    c.pgconn.send_query(b"select pg_sleep(60)")
    time.sleep(0.3)
    c.pgconn.get_cancel().cancel()
    check(c.pgconn.get_result().error_field(psycopg.pq.DiagnosticField.SQLSTATE) == b"57014" and time.time() - began < 5, "pg_sleep is cancelled")
    c.close()


STYLES = [
    ("timezone", "Asia/Kolkata", "select timestamptz '2024-01-01 00:00+00', '2024-01-01 00:00'::timestamptz at time zone 'UTC', timestamp '2024-01-01 12:00' at time zone 'Europe/Berlin'"),
    ("timezone", "America/St_Johns", "select timestamptz '2024-07-01 00:00+00', timestamptz '1900-01-01 00:00+00'"),
    ("timezone", "UTC", "select date '0044-03-15 BC', timestamp 'infinity', timestamptz '10000-01-01 00:00+00', time '24:00', interval '-1 year 2 days -03:04:05.5'"),
    ("datestyle", "ISO, DMY", "select date '2024-02-29', date '1/2/2024'"),
    ("intervalstyle", "postgres", "select interval '1 year 2 days 03:04:05'"),
    ("extra_float_digits", "0", "select 0.1::float8, 1e100::float8, 1.0::float8 / 3, 0.1::float4, (1.0::float4 / 3)::float4"),
    ("extra_float_digits", "-3", "select 1.0::float8 / 3, 123456789.123::float8"),
    ("extra_float_digits", "3", "select 0.1::float8, 1.0::float8 / 3, 'NaN'::float8, '-Infinity'::float4, -0.0::float8"),
    ("bytea_output", "escape", "select '\\x00416263ff5c'::bytea"),
    ("bytea_output", "hex", "select '\\x00416263ff5c'::bytea, ''::bytea"),
    ("intervalstyle", "iso_8601", None),
    ("intervalstyle", "sql_standard", None),
    ("datestyle", "German", None),
    ("datestyle", "SQL, MDY", None),
]


def styles(server, source):
    """Text forms under each setting as PostgreSQL's; a value that has no forms here is refused, not passed over."""
    for name, value, sql in STYLES:
        text = f"set {name} = '{value}'; " + (sql or "select 1")
        ours = psql(server, "src", text)
        if sql is None:
            check("invalid value for parameter" in ours.stderr, f"{name} = {value} is refused")
            continue
        theirs = subprocess.run(["psql", "-X", "-c", text, source.url("app")], capture_output=True, text=True)
        check(ours.stdout == theirs.stdout and theirs.returncode == 0, f"{name} = {value}: {sql}" + ("" if ours.stdout == theirs.stdout else f"\n{ours.stdout}{ours.stderr}\n{theirs.stdout}{theirs.stderr}"))


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
        lake_versions(server)
        styles(server, source)
        endings(server, source)
    finally:
        if server:
            server.stop()
        source.stop()
        shutil.rmtree(root, ignore_errors=True)
    print(f"{len(FAILED)} failed" if FAILED else "all clients are served")
    sys.exit(bool(FAILED))


if __name__ == "__main__":
    main()
