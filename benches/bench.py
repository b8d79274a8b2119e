"""Standpipe beside its peers: the same data, the same servers, one after the other in one run.

    copy    lineitem from one PostgreSQL into another, building the primary key counted for everyone
    drain   a backlog of one-row pgbench transactions, against native logical replication
    lake    lineitem into the lake, against connectorx to Parquet
    mariadb orders from MariaDB into PostgreSQL, against pgloader and a raw read; then a backlog of its binary log
    mongodb documents of 1 KB from MongoDB into PostgreSQL, against a raw read; then a backlog of a change stream

Seconds are wall clock; memory is the process's high-water mark of resident memory (servers not counted).
"""
import argparse, os, shutil, subprocess, sys, tempfile, time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "tests", "python"))
from mariadb import bench_mariadb
from measure import child_peak, fresh, note, timed
from mongo import bench_mongodb
from servers import BIN, KEY, LINEITEM, Postgres, Standpipe, load_tpch, pg_sources


def psql_streams(source, target, db, ranges):
    target.sql(db, LINEITEM)
    pipes = []
    for r in ranges:
        out = subprocess.Popen(["psql", "-qX", "-c", f"copy (select * from lineitem {r}) to stdout (format binary)", source.url("tpch")], stdout=subprocess.PIPE)
        pipes.append((out, subprocess.Popen(["psql", "-qX", "-c", "copy lineitem from stdin (format binary)", target.url(db)], stdin=out.stdout)))
        out.stdout.close()
    for a, b in pipes:
        if a.wait() or b.wait():
            sys.exit("psql failed")
    target.sql(db, KEY)


def bench_copy(binary, source, target, root, rows):
    half = int(source.sql("tpch", "select relpages / 2 from pg_class where relname = 'lineitem'"))
    fresh(target, "one")
    one = timed(lambda: psql_streams(source, target, "one", [""]))
    note("copy", "psql COPY binary | psql COPY binary, 1 stream", one, None, None)
    fresh(target, "two")
    two = timed(lambda: psql_streams(source, target, "two", [f"where ctid < '({half},0)'", f"where ctid >= '({half},0)'"]))
    note("copy", "psql COPY binary | psql COPY binary, 2 streams", two, None, one)
    fresh(target, "copydb")
    work = os.path.join(root, "pgcopydb")
    command = ["pgcopydb", "clone", "--source", source.url("tpch"), "--target", target.url("copydb"), "--dir", work, "--table-jobs", "2", "--index-jobs", "2", "--skip-vacuum"]
    with open(os.path.join(root, "pgcopydb.log"), "w") as log:
        seconds, memory = child_peak(command, stdout=log, stderr=log)
    note("copy", "pgcopydb clone, 2 jobs", seconds, memory, one)
    for streams in (1, 2):
        db = f"pipe{streams}"
        fresh(target, db)
        server = Standpipe(binary, os.path.join(root, f"standpipe-copy-{streams}"))
        try:
            pg_sources(server, source, target, db, "tpch")
            server.sql("src", "sync table public.lineitem from source src")
            server.sql("src", f"create pipe p with extractor ('source-name' = 'src', 'tables' = 'public.lineitem', 'parallelism' = '{streams}') with connector ('target-name' = 'dst')")
            seconds = timed(lambda: (server.sql("src", "start pipe p"), server.sql("src", "wait for pipe p until running timeout '600 s'")))
            note("copy", f"standpipe pipe, parallelism {streams}", seconds, server.peak(), one)
            if int(target.sql(db, "select count(*) from lineitem")) != rows:
                sys.exit("rows are missing")
            server.sql("src", "drop pipe p")
        finally:
            server.stop()


def bench_drain(binary, source, target, root, transactions):
    source.sql("postgres", "create database bench")
    subprocess.run([f"{BIN}/pgbench", "-q", "-i", "-s", "20", source.url("bench")], check=True, stderr=subprocess.DEVNULL)
    source.sql("bench", "alter table pgbench_history add column hid bigserial primary key")
    tables = "pgbench_accounts, pgbench_branches, pgbench_tellers, pgbench_history"
    schema = subprocess.run(["pg_dump", "--schema-only", source.url("bench")], check=True, capture_output=True).stdout
    for db in ("native", "piped"):
        fresh(target, db)
    subprocess.run(["psql", "-qX", target.url("native")], input=schema, check=True, stdout=subprocess.DEVNULL)
    source.sql("bench", f"create publication bench for table {tables}")
    target.sql("native", f"create subscription bench connection 'host=127.0.0.1 port={source.port} dbname=bench user=postgres' publication bench")
    while target.sql("native", "select count(*) from pg_subscription_rel where srsubstate <> 'r'") != "0":
        time.sleep(0.2)
    server = Standpipe(binary, os.path.join(root, "standpipe-drain"))
    try:
        pg_sources(server, source, target, "piped", "bench")
        server.sql("src", "sync tables like 'public.pgbench%' from source src")
        server.sql("src", "create pipe p with extractor ('source-name' = 'src') with connector ('target-name' = 'dst') with runtime (start = true)")
        server.sql("src", "wait for pipe p until caught up timeout '300 s'")
        server.sql("src", "stop pipe p")
        server.sql("src", "wait for pipe p until paused timeout '60 s'")
        target.sql("native", "alter subscription bench disable")
        subprocess.run([f"{BIN}/pgbench", "-n", "-c", "4", "-j", "2", "-t", str(transactions // 4), source.url("bench")], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        end = source.sql("bench", "select pg_current_wal_flush_lsn()")

        def native():
            target.sql("native", "alter subscription bench enable")
            while source.sql("bench", f"select coalesce(bool_and(confirmed_flush_lsn >= '{end}'), false) from pg_replication_slots where slot_name = 'bench'") != "t":
                time.sleep(0.05)
        base = timed(native)
        note("drain", f"CREATE SUBSCRIPTION, {transactions} transactions", base, None, None)
        seconds = timed(lambda: (server.sql("src", "start pipe p"), server.sql("src", "wait for pipe p until caught up timeout '600 s'")))
        note("drain", "standpipe pipe", seconds, server.peak(), base)
        for table, key in (("pgbench_accounts", "aid"), ("pgbench_history", "hid"), ("pgbench_tellers", "tid")):
            digest = f"select count(*), md5(string_agg(t::text, '|' order by {key})) from {table} t"
            if source.sql("bench", digest) != target.sql("piped", digest):
                sys.exit(f"{table} differs")
        server.sql("src", "drop pipe p")
    finally:
        server.stop()
        target.sql("native", "drop subscription bench")


CONNECTORX = """
import sys, connectorx, pyarrow.parquet
table = connectorx.read_sql(sys.argv[1], "select * from lineitem", return_type="arrow", partition_on="l_orderkey", partition_num=2)
pyarrow.parquet.write_table(table, sys.argv[2])
"""


def bench_lake(binary, source, root, rows):
    seconds, memory = child_peak([sys.executable, "-c", CONNECTORX, source.url("tpch"), os.path.join(root, "lineitem.parquet")])
    note("lake", "connectorx to Parquet, 2 partitions", seconds, memory, None)
    base = seconds
    server = Standpipe(binary, os.path.join(root, "standpipe-lake"))
    try:
        pg_sources(server, source, source, "tpch", "tpch")
        server.sql("src", "sync table public.lineitem from source src")
        server.sql("src", "create pipe p with extractor ('source-name' = 'src', 'tables' = 'public.lineitem') with connector ('connector' = 'lake-connector')")
        seconds = timed(lambda: (server.sql("src", "start pipe p"), server.sql("src", "wait for pipe p until running timeout '600 s'")))
        note("lake", "standpipe pipe into the lake", seconds, server.peak(), base)
        if int(server.sql("standpipe", "select count(*) from lake.lineitem")) != rows:
            sys.exit("rows are missing in the lake")
        server.sql("src", "drop pipe p")
    finally:
        server.stop()


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--standpipe", required=True, help="the release binary")
    parser.add_argument("--scale", type=float, default=1, help="TPC-H scale factor: 1 is 6 M rows of lineitem, 1.5 M of orders; and millions of documents")
    parser.add_argument("--transactions", type=int, default=140_000, help="transactions of a backlog; at MongoDB its changes")
    parser.add_argument("--only", default="copy,drain,lake,mariadb,mongodb", help="comma list of what to run")
    a = parser.parse_args()
    root = tempfile.mkdtemp(prefix="standpipe-bench-")
    os.chmod(root, 0o755)
    servers, only = [], a.only.split(",")
    try:
        target = Postgres(root, "target")
        servers.append(target)
        if {"copy", "lake", "drain"} & set(only):
            source = Postgres(root, "source")
            servers.append(source)
        rows = 0
        if {"copy", "lake"} & set(only):
            load_tpch(source, a.scale, root, ["lineitem"])
            rows = int(source.sql("tpch", "select count(*) from lineitem"))
        if "copy" in only:
            bench_copy(a.standpipe, source, target, root, rows)
        if "lake" in only:
            bench_lake(a.standpipe, source, root, rows)
        if "drain" in only:
            bench_drain(a.standpipe, source, target, root, a.transactions)
        if "mariadb" in only:
            bench_mariadb(a.standpipe, target, root, a.scale, a.transactions)
        if "mongodb" in only:
            bench_mongodb(a.standpipe, target, root, int(a.scale * 1_000_000), a.transactions)
    finally:
        for server in servers:
            server.stop()
        shutil.rmtree(root, ignore_errors=True)


if __name__ == "__main__":
    main()
