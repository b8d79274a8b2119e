"""Every failure that a user can meet around types, columns and tables: its message names the cause in the other system's words, what is affected, and
the next statement to run; SHOW PIPES and SHOW TABLES have it; the server's log has one line for it, also while it goes on failing.
"""
import argparse, os, re, shutil, sys, tempfile, time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from tables import Bench, literal, say

# name, at the target beforehand, what breaks it at the target, what breaks it at the source, what the message must have, for the lake too
CASES = [
    ("target_column_dropped", "", "alter table {t} drop column v", "insert into {t} values (2, 'new', 2)", ['"v"', "{t}", "RESYNC PIPE"]),
    ("target_table_dropped", "", "drop table {t}", "insert into {t} values (2, 'new', 2)", ["{t}", "does not exist", "RESYNC PIPE"]),
    ("target_not_null", "", "alter table {t} alter v set not null", "insert into {t} values (2, null, 2)", ["23502", '"v"', "(id) = (2)", "RESYNC PIPE"]),
    ("target_new_not_null", "", "alter table {t} add w int; update {t} set w = 1; alter table {t} alter w set not null", "insert into {t} values (2, 'x', 2)", ["23502", '"w"', "(id) = (2)", "RESYNC PIPE"]),
    ("target_check", "", "alter table {t} add constraint small check (n < 10)", "insert into {t} values (2, 'x', 20)", ["23514", "small", "(id) = (2)", "RESYNC PIPE"]),
    ("target_unique", "", "create unique index {t}_of_v on {t} (v)", "insert into {t} values (2, 'one', 2)", ["23505", "{t}_of_v", "(id) = (2)", "RESYNC PIPE"]),
    ("target_index_row", "", "create index {t}_long on {t} (v)", "insert into {t} select 2, string_agg(md5(g::text), ''), 2 from generate_series(1, 1000) g", ["54000", "index row", "(id) = (2)", "RESYNC PIPE"]),
    ("target_narrower", "", "alter table {t} alter n type int2", "insert into {t} values (2, 'x', 70000)", ['"n"', "(id) = (2)", "smallint", "RESYNC"]),
    ("target_shorter", "", "alter table {t} alter v type varchar(5)", "insert into {t} values (2, 'too long', 2)", ['"v"', "(id) = (2)", "RESYNC"]),
    ("target_right", "", "revoke all on {t} from writer; alter table {t} owner to postgres", "insert into {t} values (2, 'x', 2)", ["42501", "{t}", "permission denied"]),
    ("target_trigger", "", "create function {t}_no() returns trigger language plpgsql as $$begin raise 'not on my watch'; end$$; create trigger no before insert on {t} for each row execute function {t}_no(); alter table {t} enable always trigger no", "insert into {t} values (2, 'x', 2)", ["not on my watch", "{t}", "RESYNC PIPE"]),
    ("source_column_dropped", "", "", "alter table {t} drop column v; insert into {t} values (2, 2)", ['"v"', "on-ddl", "RESYNC PIPE"]),
    ("source_column_renamed", "", "", "alter table {t} rename v to vv; insert into {t} values (2, 'x', 2)", ['"v', "on-ddl", "RESYNC PIPE"]),
    ("source_type_changed", "", "", "alter table {t} alter n type numeric(3,1); insert into {t} values (2, 'x', 1.5)", ['"n"', "RESYNC PIPE"]),
    ("source_table_dropped", "", "", "drop table {t}", ["gone at the source", "DROP TABLE", "RESYNC PIPE"]),
    # This is no failure: a table is known by its number.
    ("source_table_renamed", "", "", "alter table {t} rename to {t}_new; insert into {t}_new values (2, 'x', 2)", []),
    ("source_key_dropped", "", "", "alter table {t} drop constraint {t}_pkey; alter table {t} replica identity full; insert into {t} values (2, 'x', 2)", ["key", "{t}"]),
]
LAKE = ["source_column_dropped", "source_column_renamed", "source_type_changed", "source_table_dropped", "source_key_dropped"]


def log_lines(b, word):
    with open(os.path.join(b.root, "standpipe.log")) as f:
        return [re.sub("\x1b\\[[0-9;]*m", "", line.strip()) for line in f if word in line and (" WARN " in line or " ERROR " in line or "WARN" in line)]


def walk(b):
    for con in (b.copied,):
        con.execute("create role writer login replication; grant all on schema public to writer; grant all on database shapes to writer")
    b.sp("create source limited with (type = 'postgres', host = '127.0.0.1', port = %d, database = 'shapes', user = 'writer')" % b.target.port)
    pipes = []
    for name, at_target, _, _, _ in CASES:
        b.straight.execute(f"create table {name} (id int primary key, v text, n int); insert into {name} values (1, 'one', 1)")
        if name in LAKE:
            b.straight.execute(f"create table lake_{name} (id int primary key, v text, n int); insert into lake_{name} values (1, 'one', 1)")
    b.sp("sync tables from source src")
    # All tables in one pipe: each failure takes its own table alone.
    listed = lambda names: ", ".join("public." + n for n in names)
    b.pipe("walk", listed(c[0] for c in CASES), "'target-name' = 'limited'", wait=False)
    b.pipe("lake_walk", listed("lake_" + n for n in LAKE), "'connector' = 'lake-connector'", wait=False)
    for pipe in ("walk", "lake_walk"):
        b.sp(f"wait for pipe {pipe} timeout '60 s'")
    said = {}
    for name, _, at_target, at_source, words in CASES:
        if at_target:
            b.copied.execute(at_target.format(t=name))
        b.straight.execute(at_source.format(t=name))
        if name in LAKE:
            b.straight.execute(at_source.format(t="lake_" + name))
    deadline = time.time() + 30
    while time.time() < deadline:
        for pipe, name in [("walk", c[0]) for c in CASES] + [("lake_walk", "lake_" + n) for n in LAKE]:
            said[name] = b.table(pipe, f"public.{name}")
        if sum(s.startswith("FAILED") for s in said.values()) == len(said) - 1:
            break
        time.sleep(0.5)
    for name, _, _, _, words in CASES:
        for one in [name] + (["lake_" + name] if name in LAKE else []):
            if not words:
                b.report.must(f"{one} goes on", said[one].startswith("JOINED") and not log_lines(b, f"public.{one}"), said[one])
                continue
            lacking = [w for w in (w.format(t=name) for w in words) if w not in said[one]]
            b.report.must(f"{one} lacks {lacking}", said[one].startswith("FAILED") and not lacking, said[one])
            lines = log_lines(b, f"public.{one}")
            b.report.must(f"{one}: lines of the log", len(lines) == 1 and ("walk" in lines[0]), f"{len(lines)}: {lines[:3]}")
            say(f"{one}: {said[one]}")
    for pipe in ("walk", "lake_walk"):
        shown = b.sp(f"select phase || ': ' || coalesce(exception_message, '') from standpipe.pipes where id = '{pipe}'")
        say(f"{pipe}: {shown}")


def joining(b):
    """A table whose changes can't be taken is not asked for: PostgreSQL would refuse its updates from then on."""
    b.straight.execute("create table keyless (id int, v text); insert into keyless values (1, 'one')")
    b.sp("sync tables from source src")
    add = "alter pipe {} add table public.keyless"
    said = b.refused(add.format("walk"))
    b.report.must("what is missing is said at once", "public.keyless has no key" in said and "ADD PRIMARY KEY" in said, said)
    b.sp("create pipe lax with extractor ('source-name' = 'src', 'tables' = 'public.target_check') with connector ('connector' = 'do-nothing-connector') "
         "with runtime (start = true, validate = false)")
    b.sp("wait for pipe lax timeout '60 s'")
    b.sp(add.format("lax"))
    said, deadline = "", time.time() + 30
    while not said and time.time() < deadline:
        time.sleep(0.2)
        said = b.sp("select detail from standpipe.pipe_exceptions where pipe = 'lax'")
    b.report.must("what is missing is found all the same", "public.keyless has no key" in said, said)
    b.straight.execute("update keyless set v = 'two'")
    left = b.sp("select count(*) from standpipe.pipe_tables where pipe = 'lax' and table_name = 'public.keyless'")
    b.report.must("the request is gone", left == "0", left)


def flood(b, seconds):
    """An end that is gone: the log says so once, not once per attempt."""
    b.straight.execute("create table going (id int primary key, v text); insert into going values (1, 'one')")
    b.sp("sync tables from source src")
    b.sp("create pipe going with extractor ('source-name' = 'src', 'tables' = 'public.going') with connector ('target-name' = 'dst') with runtime (start = true, 'restart-strategy.type' = 'fixed-delay', 'restart-strategy.fixed-delay.delay' = '500 ms')")
    b.sp("wait for pipe going timeout '60 s'")
    import subprocess
    from servers import BIN, as_postgres
    ctl = lambda *what: subprocess.run(as_postgres([f"{BIN}/pg_ctl", "-D", b.target.dir, "-w", "-m", "fast", *what]), check=True, stdout=subprocess.DEVNULL)
    ctl("stop")
    b.straight.execute("insert into going values (2, 'two')")
    time.sleep(seconds)
    shown = b.sp("select phase || ': ' || coalesce(exception_message, '') from standpipe.pipes where id = 'going'")
    attempts = int(b.sp("select count(*) from standpipe.pipe_exceptions where pipe = 'going'"))
    lines = log_lines(b, "going")
    b.report.must("an unreachable target is named", shown.startswith("RETRYING") and str(b.target.port) in shown, shown)
    b.report.must("many attempts, few lines", attempts >= seconds and len(lines) <= 3, f"{attempts} attempts, {len(lines)} lines: {lines[:4]}")
    say(f"{attempts} attempts, {len(lines)} lines of the log; {shown}")
    subprocess.run(as_postgres([f"{BIN}/pg_ctl", "-D", b.target.dir, "-w", "-l", f"{b.target.dir}/log", "-o", f"-p {b.target.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={b.target.dir}", "start"]), check=True, stdout=subprocess.DEVNULL)
    b.sp("wait for pipe going until caught up timeout '60 s'")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--standpipe", required=True)
    parser.add_argument("--seconds", type=int, default=6, help="how long the target is gone")
    parser.add_argument("--keep", action="store_true")
    a = parser.parse_args()
    root = tempfile.mkdtemp(prefix="standpipe-messages-")
    os.chmod(root, 0o755)
    # Looked for often, so that the walk is short.
    os.environ["STANDPIPE_SOURCE_TABLES_INTERVAL"] = "1s"
    b = Bench(a.standpipe, root)
    try:
        b.serve()
        walk(b)
        joining(b)
        flood(b, a.seconds)
    finally:
        b.end()
        if a.keep:
            say(root)
        else:
            shutil.rmtree(root, ignore_errors=True)
    say(f"{b.report.compared} messages looked at, {len(b.report.bad)} are not as they should be")
    sys.exit(bool(b.report.bad))


if __name__ == "__main__":
    main()
