"""Tables of every odd name and shape, through snapshot, changes and SELECT, into PostgreSQL and the lake: names with every character, keys of every
kind, generated, identity and dropped columns, partitions, large values that an update leaves out, types that change while the pipe runs, targets with
columns of their own, sources in other encodings. Rows must be equal at the end, or the refusal must be the one that is written here.
"""
import argparse, os, shutil, subprocess, sys, tempfile, time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from servers import PASSWORD, Postgres, Standpipe, pg_sources

LONG = "n" * 62
NAMES = ["UPPER", "mixed Case", 'quo"te', "dot.ted", "..", "dollar$", "$1", "quest?ion", "da-sh", "emoji 😀", "select", "user", "order", "table", "1digit", " lead", "trail ",
         "ünï", "e\u0301", "\u00e9", LONG + "a", LONG + "b", "a,b", "star*", "sla/sh", "back\\slash", "per%cent", "%2F", "!21", "single'quote", "tab\tname", "new\nline", "{brace}",
         "${table}", "semi;colon", "--comment", "/*c*/", "(paren)", "#hash", "a=b", "_delta_log", "nul", "[1]", "@at", "&amp;", "<b>", "a+b", "100", "null", "$$", "standpipe", "t", "c0", "present", "s", "😀" * 15]
SCHEMAS = ["public", "odd", "Odd Schema.x", "standpipe", "lake", "sq'u\"ote", "select"]
ident = lambda name: '"' + name.replace('"', '""') + '"'
listed = lambda schema, table: f"{ident(schema)}.{ident(table)}"
literal = lambda text: "'" + text.replace("'", "''") + "'"


def say(text):
    print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)


class Report:
    def __init__(self):
        self.compared, self.bad = 0, []

    def same(self, what, want, got):
        self.compared += 1
        if want != got:
            self.bad.append(what)
            pairs = [(w, g) for w, g in zip(want, got) if w != g] if isinstance(want, list) and isinstance(got, list) else [(want, got)]
            say(f"DIFFERENT {what}: " + ("; ".join(f"{str(w)[:160]!r} became {str(g)[:300]!r}" for w, g in pairs[:2]) or f"{str(want)[:200]!r} became {str(got)[:300]!r}"))

    def must(self, what, right, why=""):
        self.compared += 1
        if not right:
            self.bad.append(what)
            say(f"WRONG {what}: {str(why)[:600]}")


def rows(con, query):
    """Rows in COPY's text form, sorted; an error as its text."""
    import psycopg
    try:
        with con.cursor() as cur, cur.copy(f"copy ({query}) to stdout") as copy:
            return sorted(b"".join(bytes(piece) for piece in copy).decode().splitlines())
    except psycopg.Error as e:
        return [f"{type(e).__name__}: {e}"]


class Bench:
    """Two clusters, a server, and connections to all of it."""

    def __init__(self, binary, root):
        self.root = root
        self.source, self.target = Postgres(root, "source"), Postgres(root, "target")
        self.server, self.binary = None, binary
        for pg in (self.source, self.target):
            pg.sql("postgres", "create database shapes")
        self.report = Report()
        self.cons = []

    def serve(self):
        import psycopg
        self.server = Standpipe(self.binary, os.path.join(self.root, "standpipe"))
        pg_sources(self.server, self.source, self.target, "shapes", "shapes")
        direct = lambda pg: psycopg.connect(pg.url("shapes"), autocommit=True, options="-c timezone=UTC")
        own = lambda db: psycopg.connect(f"postgresql://standpipe@127.0.0.1:{self.server.port}/{db}", password=PASSWORD, autocommit=True)
        self.straight, self.copied, self.through, self.lake = self.cons = [direct(self.source), direct(self.target), own("src"), own("standpipe")]

    def sp(self, text):
        return self.server.sql("src", text)

    def refused(self, text, db="src"):
        """The error that a statement gets, in one line; empty if it gets none."""
        try:
            self.server.sql(db, text)
            return ""
        except subprocess.CalledProcessError as e:
            return " ".join(e.stderr.split())

    def pipe(self, name, tables, connector, extractor="", wait=True):
        more = f", {extractor}" if extractor else ""
        self.sp(f"create pipe {name} with extractor ('source-name' = 'src', 'tables' = {literal(tables)}{more}) with connector ({connector}) with runtime (start = true)")
        if wait:
            self.sp(f"wait for pipe {name} timeout '60 s'")

    def caught_up(self, *pipes):
        for name in pipes:
            self.sp(f"wait for pipe {name} until caught up timeout '60 s'")

    def table(self, pipe, table):
        return self.sp(f"select phase || ' ' || coalesce(exception_message, '') from standpipe.pipe_tables where pipe = '{pipe}' and table_name = {literal(table)}")

    def drop_pipes(self):
        for name in self.sp("select id from standpipe.pipes").splitlines():
            self.sp(f"drop pipe {name}")

    def equal(self, what, relation, in_lake=None, through=True, lake=True, target=None, columns="*"):
        want = rows(self.straight, f"select {columns} from {relation}")
        self.report.same(f"{what}: into PostgreSQL", want, rows(self.copied, f"select {columns} from {target or relation}"))
        if through:
            self.report.same(f"{what}: SELECT", want, rows(self.through, f"select {columns} from {relation}"))
        if lake:
            self.report.same(f"{what}: into the lake", want, rows(self.lake, f"select {columns} from {in_lake or relation}"))

    def end(self):
        for con in self.cons:
            con.close()
        if self.server:
            self.server.process.terminate()
            self.server.process.wait(30)
        for pg in (self.source, self.target):
            pg.stop()


def names(b):
    """T45. A table of each name, with a column of that name; one table with a column of each; schemas of odd names; 1,600 columns."""
    setup = []
    for name in NAMES:
        setup += [f"create table names.{ident(name)} (id int primary key, {ident(name)} text)", f"insert into names.{ident(name)} values (1, 'one'), (2, {literal(name)})"]
    one_line = [n for n in NAMES if "\n" not in n]
    columns = ", ".join(f"{ident(n)} text" for n in one_line)
    setup += [f"create table names.columns ({columns}, primary key ({ident(NAMES[2])}, {ident(NAMES[1])}))", "insert into names.columns values (" + ", ".join(literal(n) for n in one_line) + ")"]
    for schema in SCHEMAS:
        setup += [f"create schema if not exists {ident(schema)}", f"create table {listed(schema, 'in schema')} (id int primary key, v text)", f"insert into {listed(schema, 'in schema')} values (1, {literal(schema)})"]
    b.source.sql("shapes", "create schema names")
    b.straight.execute(";\n".join(setup))
    wide = ", ".join(f"c{i} int2" for i in range(1599))
    b.straight.execute(f"create table names.wide (id int primary key, {wide}); insert into names.wide select {', '.join(['g'] * 1600)} from generate_series(1, 20) g")
    b.sp("sync tables from source src")
    every = [listed("names", n) for n in NAMES + ["columns", "wide"]] + [listed(s, "in schema") for s in SCHEMAS]
    b.pipe("names_pg", ", ".join(every), "'target-name' = 'dst'")
    lake = "'connector' = 'lake-connector', 'table' = 'in_lake_${schema}.${table}'"
    broken = b.refused(f"create pipe broken with extractor ('source-name' = 'src', 'tables' = {literal(', '.join(every))}) with connector ({lake})")
    b.report.must("a line break in a column's name is refused by the lake", "line break" in broken and "project-processor" in broken, broken)
    b.pipe("names_lake", ", ".join(t for t in every if "\n" not in t), lake)
    for name in NAMES:
        q, c = listed("names", name), ident(name)
        b.straight.execute(f"insert into {q} values (3, 'new'), (4, 'gone'); update {q} set {c} = 'changed ' || {c} where id = 2; update {q} set id = 10 where id = 1; delete from {q} where id = 4")
    b.straight.execute(f"update names.columns set {ident(NAMES[1])} = 'new key', {ident(NAMES[5])} = 'changed'; update names.wide set c1598 = -1 where id < 5; delete from names.wide where id = 20")
    b.straight.execute(";".join(f"insert into {listed(s, 'in schema')} values (2, 'two')" for s in SCHEMAS))
    b.caught_up("names_pg", "names_lake")
    for name in NAMES + ["columns", "wide"]:
        b.equal(f"table named {name!r}", listed("names", name), in_lake=listed("in_lake_names", name), lake="\n" not in name)
    for schema in SCHEMAS:
        b.equal(f"schema named {schema!r}", listed(schema, "in schema"), in_lake=listed("in_lake_" + schema, "in schema"))

def columns(b):
    """T46. Generated, identity, defaulted and dropped columns; targets whose tables have another order, columns of their own, or lack some; T52."""
    b.straight.execute("""
    create table public.made (id int generated always as identity primary key, n int, double int generated always as (n * 2) stored, note text default 'none', s serial);
    insert into made (n) select g from generate_series(1, 50) g;
    create table public.by_default (id bigint generated by default as identity primary key, v text);
    insert into by_default (v) values ('a'), ('b');
    create table public.dropped (a int, gone1 text, id int primary key, gone2 numeric, v text, gone3 bytea);
    insert into dropped select g, 'x', g, 1.5, 'v' || g, 'z' from generate_series(1, 20) g;
    alter table dropped drop column gone1; alter table dropped drop column gone2; alter table dropped drop column gone3; alter table dropped add column late int default 7;
    insert into dropped values (21, 21, 'v21', 8);
    create table public.reordered (id int primary key, a text, b int, c date);
    insert into reordered values (1, 'a', 1, '2024-01-01'), (2, null, null, null);
    create table public.extra (id int primary key, v text);
    insert into extra values (1, 'one'), (2, 'two');
    create table public.computed (id int primary key, n int, v text);
    insert into computed values (1, 1, 'one');
    create table public.lacks (id int primary key, v text, w text);
    insert into lacks values (1, 'one', 'w');
    create table public.always (id int primary key, n int, v text);
    insert into always values (1, 1, 'one'), (2, 2, 'two');
    create table public.widened (id int primary key, i int2, j int4, f float4, v varchar(5), c char(3), d date);
    insert into widened values (1, 1, 2, 1.5, 'abc', 'x', '2024-01-01'), (2, -32768, 2147483647, 3.4e38, 'abcde', 'xyz', '0001-01-01 BC');
    """)
    b.copied.execute("""
    create table public.reordered (c date, own int, b int, id int primary key, a text);
    create table public.extra (filled_at timestamptz not null default '2000-01-01', id int primary key, serial serial, v text, free int);
    create table public.computed (id int primary key, n int generated by default as identity, v text, up text generated always as (upper(v)) stored);
    create table public.lacks (id int primary key, v text);
    create table public.always (id int generated always as identity primary key, n int generated by default as identity, v text);
    create table public.widened (id bigint primary key, i int8, j numeric, f float8, v text, c varchar, d timestamp);
    """)
    names = ["made", "by_default", "dropped", "reordered", "extra", "computed", "lacks", "always", "widened"]
    b.sp("sync tables from source src")
    public = lambda names: ", ".join("public." + n for n in names)
    b.pipe("columns_pg", public(n for n in names if n != "lacks"), "'target-name' = 'dst'")
    b.pipe("columns_lake", public(names), "'connector' = 'lake-connector'")
    lacking = b.refused("create pipe lacking with extractor ('source-name' = 'src', 'tables' = 'public.lacks') with connector ('target-name' = 'dst')")
    b.report.must("a column that the target lacks is refused at CREATE", '"w"' in lacking and "on-ddl" in lacking, lacking)
    b.copied.execute("create table public.stern (id int primary key, n int generated always as identity, v text)")
    stern = b.refused("create pipe stern with extractor ('source-name' = 'src', 'tables' = 'public.always') with connector ('target-name' = 'dst', 'tables' = 'public.always=public.stern')")
    b.report.must("an identity that takes no values is refused at CREATE", '"n"' in stern and "SET GENERATED BY DEFAULT" in stern, stern)
    b.pipe("ignoring", "public.lacks", "'target-name' = 'dst', 'on-ddl' = 'ignore'")
    b.straight.execute("""
    insert into made (n, note) values (100, null); update made set n = n + 1 where id % 3 = 0; update made set note = 'x' where id = 1; delete from made where id = 2;
    insert into made (id, n) overriding system value values (1000, 1);
    insert into by_default values (10, 'c'); insert into by_default (v) values ('d');
    update dropped set v = 'w' where id < 5; delete from dropped where id = 20; insert into dropped values (30, 30, 'v30');
    update reordered set a = 'b', c = '1999-12-31' where id = 1; update reordered set id = 20 where id = 2; insert into reordered values (3, 'd', 3, null);
    update extra set v = 'zwei' where id = 2; update extra set id = 11 where id = 1; insert into extra values (3, 'three');
    update computed set v = 'eins', n = 5; insert into computed values (2, 77, 'two');
    update lacks set v = 'zwei', w = 'ww'; insert into lacks values (2, 'two', 'w2');
    update always set n = 7, v = 'eins' where id = 1; insert into always values (3, 3, 'three'); update always set id = 20 where id = 2; delete from always where id = 3;
    update widened set j = -1, v = 'zz' where id = 1; insert into widened values (3, 32767, -5, 'NaN', '', '', null);
    """)
    b.caught_up("columns_pg", "columns_lake", "ignoring")
    b.sp("refresh tables from source src")
    for name, shown in (("made", "*"), ("by_default", "*"), ("dropped", "*"), ("reordered", "id, a, b, c"), ("extra", "id, v"), ("computed", "id, n, v"), ("always", "*")):
        b.equal(name, f"public.{name}", in_lake=f"lake.{name}", columns=shown, lake=name != "made")
    b.equal("lacks", "public.lacks", columns="id, v", lake=False)
    b.report.same("lacks: into the lake", rows(b.straight, "select * from public.lacks"), rows(b.lake, "select * from lake.lacks"))
    b.report.same("made: into the lake", rows(b.straight, "select id, n, note, s from public.made"), rows(b.lake, "select * from lake.made"))
    b.report.same("extra: defaults of the target", [("1", "2000-01-01")] * 3, [(str(int(r[0] is not None)), r[1]) for r in b.copied.execute("select serial, filled_at::date::text from extra").fetchall()])
    b.report.same("computed: the target computes", [("EINS",), ("TWO",)], b.copied.execute("select up from computed order by id").fetchall())
    wide = "id, i, j::numeric, v, rtrim(c), d::timestamp"
    b.report.same("widened: into PostgreSQL", rows(b.straight, f"select {wide}, f::float8 from widened"), rows(b.copied, "select id, i, j, v, rtrim(c), d, f from widened"))
    made = b.copied.execute("select attname, attidentity, attgenerated, atthasdef from pg_attribute where attrelid = 'made'::regclass and attnum > 0 order by attnum").fetchall()
    # A table that a pipe made computes what the source computes, and draws no numbers of its own: sequences and defaults stay behind (T52).
    plain = [("id", b"", b"", False), ("n", b"", b"", False), ("double", b"", b"s", True), ("note", b"", b"", False), ("s", b"", b"", False)]
    b.report.same("a table that was made: identity, generated, default", plain, [(n, i.encode() if isinstance(i, str) else i, g.encode() if isinstance(g, str) else g, d) for n, i, g, d in made])


def keys(b):
    """T47, T48. Keys and replica identities of every kind; large values that an update leaves out; changes of key."""
    big = "(select string_agg(md5((g + {0})::text), '') from generate_series(1, 400) g)"
    b.straight.execute(f"""
    create table public.full_identity (a int, v text); alter table full_identity replica identity full; insert into full_identity values (1, 'x'), (2, null), (null, 'y');
    create table public.by_index (id int primary key, code text not null, v text); create unique index code_of on by_index (code); alter table by_index replica identity using index code_of;
    insert into by_index values (1, 'a', 'x'), (2, 'b', 'y');
    create table public.unique_only (id int not null unique, v text); insert into unique_only values (1, 'x'), (2, 'y');
    create table public.unique_nullable (id int unique, v text); insert into unique_nullable values (1, 'x'), (null, 'y');
    create table public.no_key (id int, v text); insert into no_key values (1, 'x'), (1, 'x');
    create table public.nothing (id int primary key, v text); alter table nothing replica identity nothing; insert into nothing values (1, 'x');
    create table public.toast (id int primary key, n int, big text, doc jsonb, raw bytea);
    alter table toast alter big set storage external, alter raw set storage external;
    insert into toast select i, i, {big.format('i')}, jsonb_build_object('v', {big.format('i')}), {big.format('i')}::bytea from generate_series(1, 30) i;
    create table public.toast_key (a text, b int, big text, primary key (a, b)); alter table toast_key alter big set storage external;
    insert into toast_key select 'k' || i, i, {big.format('i')} from generate_series(1, 10) i;
    create table public.all_key (a int, b text, primary key (b, a)); insert into all_key values (1, 'x'), (2, 'y');
    """)
    b.sp("sync tables from source src")
    good = ["by_index", "toast", "toast_key", "all_key"]
    public = lambda names: ", ".join("public." + n for n in names)
    b.pipe("keys_pg", public(good), "'target-name' = 'dst'")
    b.pipe("keys_lake", public(good), "'connector' = 'lake-connector'")
    for name, hint in (("unique_only", "REPLICA IDENTITY"), ("unique_nullable", "ADD PRIMARY KEY"), ("no_key", "ADD PRIMARY KEY"), ("nothing", "REPLICA IDENTITY DEFAULT"), ("full_identity", "ADD PRIMARY KEY")):
        for target in ("'target-name' = 'dst'", "'connector' = 'lake-connector'"):
            said = b.refused(f"create pipe {name}_pipe with extractor ('source-name' = 'src', 'tables' = 'public.{name}') with connector ({target})")
            b.report.must(f"{name} is refused with what mends it", f"public.{name}" in said and f"ALTER TABLE public.{name} {hint}" in said, said)
            # Rows that are only ever added need no key.
            b.pipe(f"{name}_{target[1:3]}", f"public.{name}", target + ", 'table' = 'grows.${table}'", extractor="'inclusion' = 'data.insert'")
    b.straight.execute(f"""
    update by_index set v = 'z' where id = 1; update by_index set code = 'c' where id = 2; insert into by_index values (3, 'd', null); delete from by_index where code = 'a';
    update toast set n = n + 100; update toast set id = id + 1000 where id <= 10; update toast set id = id + 1000, n = 0 where id = 11; update toast set big = 'small' where id = 12; update toast set doc = null, id = 5000 where id = 13;
    update toast set id = 7000 where id = 14; update toast set n = 1 where id = 7000; update toast set id = 14 where id = 7000; delete from toast where id = 15; update toast set id = 15 where id = 16;
    insert into toast select 9000, 1, {big.format(9)}, null, null; update toast set n = 2 where id = 9000; update toast set id = 9001 where id = 9000;
    begin; update toast set id = -id where id between 20 and 25; update toast set n = 55 where id between -25 and -20; commit;
    update toast_key set b = b + 1; update toast_key set a = 'moved ' || a where b > 5; delete from toast_key where b = 3;
    begin; update all_key set a = 10 where a = 1; update all_key set b = 'x', a = 1 where a = 2; insert into all_key values (2, 'y'); commit;
    """)
    b.caught_up("keys_pg", "keys_lake")
    for name in good:
        b.equal(name, f"public.{name}", in_lake=f"lake.{name}")
    b.straight.execute("insert into unique_only values (3, 'z'); insert into unique_nullable values (null, 'y'), (null, null); insert into no_key values (1, 'x'), (null, null); insert into nothing values (2, 'y'); insert into full_identity values (1, 'x')")
    for name in ("unique_only", "unique_nullable", "no_key", "nothing", "full_identity"):
        b.caught_up(f"{name}_ta", f"{name}_co")
        b.equal(f"{name}, inserts alone", f"public.{name}", in_lake=f"grows.{name}", target=f"grows.{name}")


def families(b):
    """T49, T53. A partitioned table is one table, rows that move between partitions included; parents and children; views."""
    b.straight.execute("""
    create table public.parted (id int, day date, v text, primary key (id, day)) partition by range (day);
    create table parted_1 partition of parted for values from ('2024-01-01') to ('2024-02-01');
    create table parted_2 (v text, day date not null, id int not null); alter table parted attach partition parted_2 for values from ('2024-02-01') to ('2024-03-01');
    create table parted_3 partition of parted for values from ('2024-03-01') to ('2025-01-01') partition by hash (id);
    create table parted_3a partition of parted_3 for values with (modulus 2, remainder 0); create table parted_3b partition of parted_3 for values with (modulus 2, remainder 1);
    create table parted_rest partition of parted default;
    insert into parted select g, date '2024-01-01' + g, 'v' || g from generate_series(1, 200) g;
    create table public.parent (id int primary key, v text); create table public.child (w int) inherits (parent); alter table child add primary key (id);
    insert into parent values (1, 'p'), (2, 'p2'); insert into child values (3, 'c', 3), (4, 'c4', 4);
    create view public.seen as select id, v from parent; create materialized view public.stored as select id, v from parent;
    """)
    b.sp("sync tables from source src")
    public = lambda names: ", ".join("public." + n for n in names)
    good = ["parted", "parent", "child"]
    b.pipe("families_pg", public(good), "'target-name' = 'dst'")
    b.pipe("families_lake", public(good), "'connector' = 'lake-connector'")
    for name in ("seen", "stored"):
        said = b.refused(f"create pipe {name}_pipe with extractor ('source-name' = 'src', 'tables' = 'public.{name}') with connector ('target-name' = 'dst')")
        b.report.must(f"changes of {name} are refused", f"public.{name} is a view" in said and "realtime.enable" in said, said)
        b.pipe(f"{name}_once", f"public.{name}", "'target-name' = 'dst'", extractor="'realtime.enable' = 'false'", wait=False)
        b.sp(f"wait for pipe {name}_once until completed timeout '60 s'")
        b.equal(name, f"public.{name}", lake=False)
    b.straight.execute("""
    update parted set day = '2024-02-15' where id = 5; update parted set day = '2024-06-15', v = 'moved' where id = 40; delete from parted where id = 100; insert into parted values (900, '2030-01-01', 'rest');
    create table parted_new partition of parted for values from ('2025-01-01') to ('2026-01-01'); insert into parted values (901, '2025-05-05', 'new');
    insert into parted_1 values (902, '2024-01-05', 'directly');
    update parent set v = v || '!'; insert into parent values (5, 'p5'); insert into child values (6, 'c6', 6); delete from only parent where id = 1; delete from parent where id = 4;
    """)
    b.caught_up("families_pg", "families_lake")
    for name in ("parted", "child"):
        b.equal(name, f"public.{name}", in_lake=f"lake.{name}")
    want = rows(b.straight, "select * from only public.parent")
    # A table with children is itself alone; each child is a table of its own.
    for where, got in (("PostgreSQL", rows(b.copied, "select * from public.parent")), ("the lake", rows(b.lake, "select * from lake.parent")), ("SELECT", rows(b.through, "select * from public.parent"))):
        b.report.same(f"a parent without its children: {where}", want, got)


def types_change(b):
    """T35. Labels of an enum are added and renamed, a domain and a composite change, while the pipe runs."""
    setup = "create type mood as enum ('sad', 'ok'); create domain posint as int check (value > 0); create type pair as (a int, b text);"
    for con in (b.straight, b.copied):
        con.execute(setup)
    b.straight.execute("create table public.changing (id int primary key, m mood, p posint, c pair); insert into changing values (1, 'sad', 1, row(1, 'x')), (2, 'ok', 2, null)")
    b.sp("sync tables from source src")
    b.pipe("changing_pg", "public.changing", "'target-name' = 'dst'")
    b.pipe("changing_lake", "public.changing", "'connector' = 'lake-connector'")
    b.straight.execute("alter domain posint drop constraint posint_check; alter domain posint add check (value > -10)")
    b.copied.execute("alter domain posint drop constraint posint_check")
    b.straight.execute("insert into changing values (3, 'ok', -1, row(3, 'z'))")
    b.caught_up("changing_pg", "changing_lake")
    b.equal("a domain's check changed", "public.changing", in_lake="lake.changing")
    b.copied.execute("alter type mood add value 'glad'")
    b.straight.execute("alter type mood add value 'glad'")
    b.straight.execute("insert into changing values (4, 'glad', 4, null)")
    b.caught_up("changing_pg", "changing_lake")
    b.equal("an enum has a new label at both ends", "public.changing", in_lake="lake.changing")
    b.straight.execute("alter type pair add attribute d int"), b.copied.execute("alter type pair add attribute d int")
    b.straight.execute("insert into changing values (5, 'ok', 5, row(5, 'five', 55))")
    b.caught_up("changing_pg", "changing_lake")
    b.equal("a composite has a new attribute at both ends", "public.changing", in_lake="lake.changing", columns="id, m, p, c", lake=False)
    b.report.same("a composite's later rows: into the lake", rows(b.straight, "select * from changing where id = 5"), rows(b.lake, "select * from lake.changing where id = 5"))
    b.straight.execute("alter type mood rename value 'sad' to 'blue'")
    b.straight.execute("insert into changing values (6, 'blue', 6, null)")
    time.sleep(3)
    said = b.table("changing_pg", "public.changing")
    b.report.must("a label that the target's enum lacks", said.startswith("FAILED") and "blue" in said and "RESYNC" in said, said)
    b.copied.execute("alter type mood rename value 'sad' to 'blue'")
    b.sp("resync pipe changing_pg table public.changing")
    b.caught_up("changing_pg")
    b.equal("after RESYNC TABLE", "public.changing", lake=False)


def encodings(b):
    """T23. Sources in LATIN1 and SQL_ASCII: text arrives as UTF-8, or the table is refused with the column named."""
    for pg, name, encoding in ((b.source, "latin", "LATIN1"), (b.source, "ascii", "SQL_ASCII"), (b.target, "latin_target", "LATIN1")):
        pg.sql("postgres", f"create database {name} template template0 encoding '{encoding}' lc_collate 'C' lc_ctype 'C'")
    for name, pg in (("latin", b.source), ("ascii", b.source), ("latin_target", b.target)):
        b.sp(f"create source {name} with (type = 'postgres', host = '127.0.0.1', port = {pg.port}, database = '{name}', user = 'postgres')")
    import psycopg
    latin = psycopg.connect(b.source.url("latin"), autocommit=True, client_encoding="UTF8")
    latin.execute("create table \"täble\" (id int primary key, \"spälte\" text); insert into \"täble\" values (1, 'ÄÖÜ ß é'), (2, 'ÿ')")
    b.sp("sync tables from source latin")
    b.sp("""create pipe latin_pg with extractor ('source-name' = 'latin', 'tables' = 'public."täble"') with connector ('target-name' = 'dst', 'table' = 'latin.${table}') with runtime (start = true)""")
    b.sp("""create pipe latin_lake with extractor ('source-name' = 'latin', 'tables' = 'public."täble"') with connector ('connector' = 'lake-connector', 'table' = 'latin.${table}') with runtime (start = true)""")
    b.caught_up("latin_pg", "latin_lake")
    latin.execute("insert into \"täble\" values (3, 'þ'); update \"täble\" set \"spälte\" = 'ø' where id = 2")
    latin.close()
    b.caught_up("latin_pg", "latin_lake")
    want = ["1\tÄÖÜ ß é", "2\tø", "3\tþ"]
    b.report.same("LATIN1: into PostgreSQL", want, rows(b.copied, 'select * from latin."täble"'))
    b.report.same("LATIN1: into the lake", want, rows(b.lake, 'select * from latin."täble"'))
    b.report.same("LATIN1: SELECT", want, b.server.sql("latin", 'select * from public."täble" order by 1').replace("|", "\t").splitlines())
    b.source.sql("ascii", "create table good (id int primary key, v text); insert into good values (1, 'plain'), (2, convert_from('\\xc3a9', 'SQL_ASCII')); create table bad (id int primary key, v text); insert into bad values (1, 'a'), (2, convert_from('\\xe9', 'SQL_ASCII'))")
    b.source.sql("ascii", "create table later (id int primary key, v text)")
    b.sp("sync tables from source ascii")
    for pipe, connector in (("ascii_pg", "'target-name' = 'dst'"), ("ascii_lake", "'connector' = 'lake-connector'")):
        b.sp(f"create pipe {pipe} with extractor ('source-name' = 'ascii', 'tables' = 'public.good, public.bad, public.later') with connector ({connector}, 'table' = 'ascii.${{table}}') with runtime (start = true)")
    time.sleep(3)
    b.source.sql("ascii", "insert into later values (1, 'fine'), (2, convert_from('\\xff41', 'SQL_ASCII')); insert into good values (3, 'x')")
    time.sleep(4)
    for pipe in ("ascii_pg", "ascii_lake"):
        for name in ("bad", "later"):
            said = b.table(pipe, f"public.{name}")
            b.report.must(f"{pipe}: bytes that are no UTF-8 in {name}", said.startswith("FAILED") and ('"v"' in said or "column v" in said), said)
        b.report.must(f"{pipe}: the others go on", not b.table(pipe, "public.good").startswith("FAILED"), b.table(pipe, "public.good"))
    want = ["1\tplain", "2\té", "3\tx"]
    b.report.same("SQL_ASCII: into PostgreSQL", want, rows(b.copied, "select * from ascii.good"))
    b.report.same("SQL_ASCII: into the lake", want, rows(b.lake, "select * from ascii.good"))
    said = b.refused("select * from public.bad", db="ascii")
    b.report.must("SELECT of bytes that are no UTF-8", '"v"' in said and "UTF-8" in said, said)
    b.straight.execute("create table public.emoji (id int primary key, v text); insert into emoji values (1, 'plain'), (2, '😀')")
    b.sp("sync tables from source src")
    b.pipe("emoji", "public.emoji", "'target-name' = 'latin_target'", wait=False)
    time.sleep(3)
    said = b.table("emoji", "public.emoji")
    b.report.must("a character that the target's encoding lacks", said.startswith("FAILED"), said)


def narrower(b):
    """T55. A target column that is narrower: an error with row and column, never another value."""
    pairs = [("int4", "int2", "40000"), ("int8", "int4", "5000000000"), ("numeric(10,2)", "numeric(4,2)", "12345.67"), ("float8", "float4", "1e300"), ("varchar(20)", "varchar(5)", "'123456'"),
             ("text", "varchar(3)", "'abcdef'"), ("text", "varchar(3)", "'ab   '"), ("int8", "int2", "40000"), ("char(8)", "char(4)", "'abcdefgh'"), ("timestamptz", "date", "'2024-01-01 12:00+00'"), ("numeric", "int4", "1.5"), ("text", "int4", "'x'"), ("timestamp", "timestamptz", "'2024-01-01'"),
             ("bytea", "text", "'\\x00'"), ("numeric", "numeric(5,1)", "1.25"), ("timestamp", "timestamp(0)", "'2024-01-01 00:00:00.5'"), ("bit(8)", "bit(4)", "B'10101010'"), ("int4", "text", "7"), ("float8", "numeric", "0.1"), ("float8", "int4", "1.5"), ("time", "time(0)", "'00:00:00.5'"), ("jsonb", "text", "'{\"a\": 1}'"), ("uuid", "text", "gen_random_uuid()"), ("bool", "int4", "true"), ("date", "timestamptz", "'2024-01-01'"), ("interval", "text", "'1 day'")]
    good = {"int4": "1", "int8": "1", "numeric(10,2)": "1", "float8": "1", "numeric": "1", "bit(8)": "B'00000000'", "bool": "false"}
    for i, (wide, narrow, value) in enumerate(pairs):
        first = good.get(wide, "null")
        b.straight.execute(f"create table public.wide{i} (id int primary key, v {wide}); insert into wide{i} values (1, {first}), (2, {value}); create table public.later{i} (id int primary key, v {wide}); insert into later{i} values (1, {first})")
        b.copied.execute(f"create table public.wide{i} (id int primary key, v {narrow}); create table public.later{i} (id int primary key, v {narrow})")
    b.sp("sync tables from source src")
    taken = []
    for i, (wide, narrow, value) in enumerate(pairs):
        said = b.refused(f"create pipe narrow{i} with extractor ('source-name' = 'src', 'tables' = 'public.wide{i}, public.later{i}') with connector ('target-name' = 'dst') with runtime (start = true)")
        if said:
            b.report.must(f"{wide} into {narrow} is refused at CREATE with the column", '"v"' in said and ("lost" in said or "rounded" in said or "takes no" in said), said)
        else:
            taken.append(i)
    settled = lambda i, name: b.table(f"narrow{i}", f"public.{name}").split(" ")[0] in ("JOINED", "FAILED")
    wait_for = lambda done: next((True for _ in range(60) if all(done(i) for i in taken) or time.sleep(0.5)), False)
    wait_for(lambda i: settled(i, f"wide{i}") and settled(i, f"later{i}"))
    for i in taken:
        b.straight.execute(f"insert into later{i} values (2, {pairs[i][2]})")
    wait_for(lambda i: b.table(f"narrow{i}", f"public.later{i}").startswith("FAILED") or len(rows(b.copied, f"select * from later{i}")) == 2)
    for i in taken:
        wide, narrow, value = pairs[i]
        for name in (f"wide{i}", f"later{i}"):
            said, want, got = b.table(f"narrow{i}", f"public.{name}"), rows(b.straight, f"select id, v::{narrow} from {name}" if narrow != "varchar(5)" else f"select * from {name}"), rows(b.copied, f"select * from {name}")
            if said.startswith("FAILED"):
                b.report.must(f"{wide} {value} into {narrow} ({name}) names row and column", "(id) = (2)" in said and ('"v"' in said or "column v" in said) and "RESYNC" in said, said)
                b.report.must(f"{wide} {value} into {narrow} ({name}) writes nothing of it", not any(line.startswith("2\t") for line in got), got)
            else:
                b.report.same(f"{wide} {value} into {narrow} ({name})", want, got)
    failed = sum(b.table(f"narrow{i}", f"public.later{i}").startswith("FAILED") for i in taken)
    b.report.must("narrower columns fail", failed >= 7, failed)


CASES = [names, columns, keys, families, types_change, encodings, narrower]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--standpipe", required=True)
    parser.add_argument("--keep", action="store_true")
    parser.add_argument("cases", nargs="*")
    a = parser.parse_args()
    root = tempfile.mkdtemp(prefix="standpipe-tables-")
    os.chmod(root, 0o755)
    b = Bench(a.standpipe, root)
    try:
        b.serve()
        for case in CASES:
            if not a.cases or case.__name__ in a.cases:
                case(b)
                b.drop_pipes()
                say(f"{case.__name__}: {b.report.compared} comparisons so far, {len(b.report.bad)} differ")
    finally:
        b.end()
        if a.keep:
            say(root)
        else:
            shutil.rmtree(root, ignore_errors=True)
    sys.exit(bool(b.report.bad))


if __name__ == "__main__":
    main()
