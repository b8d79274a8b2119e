"""The whole way: TPC-H lineitem and orders from one PostgreSQL into another and into the lake, while their rows are changed.

The pipes are stopped and started, and the program is killed, during the snapshot and during the changes; a third table joins, and another one
is copied anew, while both run. DuckDB reads the lake meanwhile. At the end counts and digests over all ordered rows must agree at both targets. `--scale 1` is the long form (6 M rows), the tests run a short one.
"""
import argparse, os, random, subprocess, sys, time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from servers import BIN, PASSWORD, Postgres, Standpipe, load_tpch, pg_sources, scratch

# Inserts, updates, deletes and changes of keys in both tables. Keys above `far` are ours.
SCRIPT = """\\set k random(1, :orders)
\\set far random(10000001, 2000000000)
\\set d random(1, 100)
begin;
update orders set o_totalprice = o_totalprice + :d, o_comment = 'changed ' || :d where o_orderkey = :k;
update lineitem set l_quantity = :d, l_comment = 'changed ' || :d where l_orderkey = :k and l_linenumber = 1;
delete from lineitem where l_orderkey = :k + 1 and l_linenumber = 2;
insert into orders values (:far, :k, 'O', :d, '2024-02-29', '1-URGENT', 'Clerk#1', 0, 'inserted') on conflict do nothing;
insert into lineitem values (:far, 1, 1, 1, :d, :d, 0.05, 0.02, 'N', 'O', '2024-02-29', '2024-03-01', '2024-03-02', 'NONE', 'AIR', 'inserted') on conflict do nothing;
commit;
update orders set o_orderkey = o_orderkey + 2000000000 where o_orderkey = :k + 2 and not exists (select from orders o where o.o_orderkey = :k + 2 + 2000000000);
update lineitem set l_orderkey = l_orderkey + 2000000000 where l_orderkey = :k + 3 and l_linenumber = 1 and l_orderkey < 1000000000
   and not exists (select from lineitem l where l.l_orderkey = :k + 3 + 2000000000 and l.l_linenumber = 1);
delete from orders where o_orderkey = :k + 4;
update late set o_totalprice = o_totalprice + :d where o_orderkey = :k;
insert into late values (:far, :k, 'O', :d, '2024-02-29', '1-URGENT', 'Clerk#1', 0, 'inserted') on conflict do nothing;
delete from late where o_orderkey = :k + 4;
"""
TABLES = {"lineitem": "l_orderkey, l_linenumber", "orders": "o_orderkey", "late": "o_orderkey"}


def say(text):
    print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)


def digest_sql(table, prefix=""):
    return f"select count(*) || ' ' || md5(string_agg(md5(t::text), '' order by {TABLES[table]})) from {prefix}{table} t"


def lake_digest(data, table, source):
    """Count and digest of a lake table as DuckDB reads it, in PostgreSQL's own text form: the rows go back into a scratch table."""
    import duckdb
    from duckdb_extensions import import_extension
    import_extension("delta")
    con = duckdb.connect()
    con.load_extension("delta")
    csv = os.path.join(os.path.dirname(data), f"{table}.csv")
    con.execute(f"copy (select * from delta_scan('{data}/lake/lake/{table}')) to '{csv}' (header false)")
    source.sql("tpch", f"drop schema if exists back cascade; create schema back; create table back.{table} (like public.{table})")
    subprocess.run(["psql", "-qX", "-c", f"\\copy back.{table} from '{csv}' csv", source.url("tpch")], check=True)
    os.remove(csv)
    return source.sql("tpch", digest_sql(table, "back."))


def duckdb_count(data, table):
    code = ("import duckdb, sys; from duckdb_extensions import import_extension; import_extension('delta'); c = duckdb.connect(); c.load_extension('delta');"
            f"print(c.execute(\"select count(*), count(distinct ({TABLES[table]})) from delta_scan('{data}/lake/lake/{table}')\").fetchone())")
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip()


def changes(source, seconds, orders, root):
    script = os.path.join(root, "changes.sql")
    with open(script, "w") as f:
        f.write(SCRIPT)
    command = [f"{BIN}/pgbench", "-n", "-c", "2", "-j", "2", "-T", str(seconds), "-D", f"orders={orders}", "-f", script, "-R", "300", source.url("tpch")]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


PIPES = {"to_pg": "'target-name' = 'dst'", "to_lake": "'connector' = 'lake-connector'"}


def both(server, statement):
    for pipe in PIPES:
        server.sql("src", statement.format(pipe))


def phases(server):
    return server.sql("standpipe", "select string_agg(id || ' ' || phase || coalesce(' ' || exception_message, ''), ', ') from standpipe.pipes")


def disturb(server, data, when, pause, rng):
    """STOP and START, then kill -9, at random moments."""
    time.sleep(pause * rng.uniform(0.2, 1))
    both(server, "stop pipe {}")
    say(f"{when}: stopped; {phases(server)}")
    both(server, "wait for pipe {} until paused timeout '120 s'")
    both(server, "start pipe {}")
    time.sleep(pause * rng.uniform(0.2, 1))
    say(f"{when}: killed; {phases(server)}")
    server.kill()
    server.start_again()
    say(f"{when}: {phases(server)}; DuckDB: {duckdb_count(data, 'orders')}")


def lose(server, source):
    """The slots are gone at the source. A RESYNC that comes while START still finds that out is answered all the same."""
    both(server, "stop pipe {}")
    both(server, "wait for pipe {} until paused timeout '120 s'")
    source.sql("tpch", "select pg_drop_replication_slot(slot_name) from pg_replication_slots")
    statements = "".join(f"start pipe {pipe};\nresync pipe {pipe};\n" for pipe in PIPES)
    url = f"postgresql://standpipe@127.0.0.1:{server.port}/src"
    subprocess.run(["psql", "-qAtX", "-v", "ON_ERROR_STOP=1", url], input=statements, text=True, check=True, env=dict(os.environ, PGPASSWORD=PASSWORD))
    both(server, "wait for pipe {} until caught up timeout '900 s'")
    say(f"slots lost, and all copied anew; {phases(server)}")


def run(a, root):
    rng = random.Random(a.seed)
    source, target = Postgres(root, "source"), Postgres(root, "target")
    data, server = os.path.join(root, "standpipe"), None
    try:
        load_tpch(source, a.scale, root, ["lineitem", "orders"])
        orders = int(source.sql("tpch", "select max(o_orderkey) from orders"))
        source.sql("tpch", "create table late (like orders including all); insert into late select * from orders order by o_orderkey limit 50000")
        target.sql("postgres", "create database copy")
        server = Standpipe(a.standpipe, data)
        pg_sources(server, source, target, "copy", "tpch")
        say(server.sql("standpipe", "sync table public.lineitem, public.orders, public.late from source src").replace("\n", "; "))
        unmet = [line for line in server.sql("standpipe", "test source src").splitlines() if "|failed|" in line]
        if unmet:
            raise AssertionError(f"TEST SOURCE of a source that is right: {unmet}")
        load = changes(source, a.seconds, orders, root)
        began = time.monotonic()
        for pipe, connector in PIPES.items():
            server.sql("src", f"create pipe {pipe} with extractor ('source-name' = 'src', 'tables' = 'lineitem, orders') with connector ({connector}) with runtime (start = true)")
        disturb(server, data, "snapshot", a.pause, rng)
        both(server, "wait for pipe {} timeout '900 s'")
        say(f"running after {time.monotonic() - began:.0f} s; {phases(server)}")
        both(server, "alter pipe {} add table public.late")
        disturb(server, data, "changes", a.pause, rng)
        both(server, "resync pipe {} table public.orders")
        both(server, "wait for pipe {} timeout '900 s'")
        say(f"one table joined, one was copied anew; {phases(server)}")
        load.wait()
        both(server, "wait for pipe {} until caught up timeout '900 s'")
        say(f"caught up after {time.monotonic() - began:.0f} s, peak memory {server.peak()} MB")
        lose(server, source)
        bad = 0
        for table in TABLES:
            want = source.sql("tpch", digest_sql(table))
            got = {}
            if "to_pg" in PIPES:
                got["postgres"] = target.sql("copy", digest_sql(table))
            if "to_lake" in PIPES:
                got["lake by duckdb"] = lake_digest(data, table, source)
                count = server.sql("standpipe", f"select count(*) from lake.{table}")
                got["lake by itself"] = want if count == want.split()[0] else count + " rows"
            for where, value in got.items():
                bad += value != want
                say(f"{table:9} {where:15} {'equal' if value == want else 'DIFFERENT: ' + value} ({want})")
        both(server, "drop pipe {}")
        left = source.sql("tpch", "select count(*) from pg_replication_slots")
        say(f"slots left at the source: {left}")
        server.stop()
        return bad or left != "0"
    finally:
        if server:
            server.kill()
        for s in (source, target):
            s.stop()


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--standpipe", required=True)
    parser.add_argument("--scale", type=float, default=0.01)
    parser.add_argument("--seconds", type=int, default=20, help="how long rows are changed")
    parser.add_argument("--pause", type=float, default=2, help="about so long between disturbances")
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 30))
    parser.add_argument("--only", default="to_pg,to_lake", help="which pipes")
    parser.add_argument("--keep", action="store_true")
    a = parser.parse_args()
    for pipe in [p for p in PIPES if p not in a.only.split(",")]:
        del PIPES[pipe]
    say(f"seed {a.seed}")
    with scratch("journey", a.keep) as root:
        bad = run(a, root)
    print("FAILED" if bad else "equal everywhere")
    sys.exit(bool(bad))


if __name__ == "__main__":
    main()
