"""Every PostgreSQL type with its traps: through the snapshot, as inserted, updated and deleted changes, as a key, into PostgreSQL and into the lake,
and through a SELECT of a client. Types x paths x targets are crossed by the program, and none is left out by hand: a value must be equal
everywhere, or its loss must be named (table FAILED with the column), counted (on-lossy = null) or avoided (on-lossy = text).
"""
import argparse, os, subprocess, sys, time, urllib.parse

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from servers import PASSWORD, Postgres, Standpipe, pg_sources, psql, scratch

SETUP = """
create extension hstore; create extension citext;
create type mood as enum ('sad', 'ok', 'so "happy", ''yes''', 'emoji 😀', ''); create type "odd Name" as enum ('x', 'X');
create domain posint as int check (value > 0); create domain tags as text[]; create domain money2 as numeric(12,2);
create type pair as (a int, b text); create type nested as (p pair, ps pair[]);
"""

# type, values as SQL, and the traits: `key` it can be a primary key; `lake` how many of the values (the last ones) the lake's own type can't hold;
# `late` that the last one is a timestamp that queries can't compute with, and so refuse.
TYPES = [
    ("bool", ["true", "false"], "key"),
    ("int2", ["-32768", "32767", "0"], "key"),
    ("int4", ["-2147483648", "2147483647", "0"], "key"),
    ("int8", ["-9223372036854775808", "9223372036854775807", "9007199254740993"], "key"),
    ("float4", ["1.1", "-0.0", "3.4028235e38", "1e-45", "'NaN'", "'Infinity'", "'-Infinity'", "16777217"], "key"),
    ("float8", ["0.1", "-0.0", "1.7976931348623157e308", "5e-324", "'NaN'", "'Infinity'", "'-Infinity'", "9007199254740993"], "key"),
    ("numeric", ["-0.000", "1.10", "123456789012345678901234567890123456789012345678901234567890.123456789", "1e-100", "'NaN'", "'Infinity'", "'-Infinity'"], "key"),
    ("numeric(10,2)", ["12345678.90", "-0.01", "0", "'NaN'"], "key lake=1"),
    ("numeric(38,10)", ["1234567890123456789012345678.0123456789", "-1e-10", "'NaN'"], "key lake=1"),
    ("numeric(60,30)", ["123456789012345678901234567890.123456789012345678901234567890", "1e-30"], "key"),
    ("numeric(5,-2)", ["1234500", "-100"], "key"),
    ("numeric(2,4)", ["0.0099", "-0.0001"], "key"),
    ("money", ["'12.34'", "'-92233720368547758.08'"], "key"),
    ("text", ["''", "'x'", "' trailing '", "E'tab\\tnew\\nline\\\\back'", "'\\N'", "'NULL'", "'é 😀 e\u0301'", "repeat('long ', 5000)", "E'\\x01\\x7f'"], "key"),
    ("varchar(10)", ["''", "'ten  chars'", "'a'"], "key"),
    ("varchar", ["'a'", "'A'"], "key"),
    ("char(5)", ["'a'", "'abcde'", "''"], "key"),
    ('"char"', ["'a'", "''"], "key"),
    ("bpchar", ["'a '", "'a  b '"], ""),
    ("name", ["'name'", "''"], "key"),
    ("citext", ["'Mixed'", "'ÄÖ'"], "key"),
    ("bytea", ["''", "'\\x00ff0a5c27'", "decode(repeat('00ff', 5000), 'hex')"], "key"),
    ("date", ["'1970-01-01'", "'2024-02-29'", "'0001-01-01'", "'9999-12-31'", "'5874897-12-31'", "'4713-01-01 BC'", "'infinity'", "'-infinity'"], "key lake=3"),
    ("time", ["'00:00:00'", "'24:00:00'", "'23:59:59.999999'"], "key"),
    ("time(3)", ["'12:34:56.789'"], "key"),
    ("timetz", ["'24:00:00+15:59'", "'12:34:56.789-03:30'", "'00:00:00+00'"], "key"),
    ("timestamp", ["'1970-01-01'", "'2024-02-29 23:59:59.999999'", "'0001-01-01'", "'9999-12-31 23:59:59.999999'", "'294246-12-31'", "'4713-01-01 BC'", "'infinity'", "'-infinity'", "'294276-12-31'"], "key lake=4 late"),
    ("timestamp(0)", ["'2024-02-29 23:59:59'"], "key"),
    ("timestamptz", ["'1970-01-01+00'", "'2024-03-31 02:30:00+02'", "'1883-11-18 12:03:58-04:56:02'", "'9999-12-31 23:59:59+00'", "'294246-12-31'", "'4713-01-01 BC'", "'infinity'", "'-infinity'", "'294276-12-31'"], "key lake=4 late"),
    ("interval", ["'1 mon -1 day +00:00:01'", "'-178000000 years'", "'0'", "'1 year 2 mons 3 days 04:05:06.789'", "'-0.000001 s'"], "key"),
    ("interval year to month", ["'3 years 2 mons'"], "key"),
    ("uuid", ["'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11'", "'00000000-0000-0000-0000-000000000000'"], "key"),
    ("json", ["'{\"b\": 1, \"a\": 1.0, \"a\": 1e400}'", "'null'", "'\"\\u00e9\"'", "' [1 , 2]'", "'12345678901234567890.123'"], ""),
    ("jsonb", ["'{\"b\": 1, \"a\": 1.0, \"a\": 2}'", "'null'", "'\"\\u00e9\"'", "'[]'", "'1e400'"], "key"),
    ("jsonpath", ["'$.a[*] ? (@ > 1)'"], ""),
    ("xml", ["'<a b=\"c\">d &amp; e</a>'"], ""),
    ("bit(5)", ["B'10101'", "B'00000'"], "key"),
    ("varbit", ["B''", "B'1'", "B'101010101010101010101'"], "key"),
    ("inet", ["'10.0.0.1'", "'10.0.0.0/8'", "'::1'", "'fe80::1/64'"], "key"),
    ("cidr", ["'10.0.0.0/8'", "'2001:db8::/32'"], "key"),
    ("macaddr", ["'08:00:2b:01:02:03'"], "key"),
    ("macaddr8", ["'08:00:2b:01:02:03:04:05'"], "key"),
    ("point", ["'(1.5,-2)'", "'(1e300,NaN)'"], ""),
    ("line", ["'{1,-1,0}'"], ""),
    ("lseg", ["'[(0,0),(1,1)]'"], ""),
    ("box", ["'(1,1),(0,0)'"], ""),
    ("path", ["'[(0,0),(1,1)]'", "'((0,0),(1,1))'"], ""),
    ("polygon", ["'((0,0),(1,1),(1,0))'"], ""),
    ("circle", ["'<(0,0),1.5>'"], ""),
    ("int4range", ["'empty'", "'[1,5)'", "'(,5)'", "'(,)'"], "key"),
    ("int8range", ["'[1,9223372036854775807)'"], "key"),
    ("numrange", ["'[1.10,2.50]'", "'(NaN,)'"], "key"),
    ("daterange", ["'[2024-01-01,infinity)'", "'(,2024-01-01)'"], "key"),
    ("tsrange", ["'[2024-01-01 00:00,2024-01-02 00:00)'"], "key"),
    ("tstzrange", ["'[2024-01-01 00:00+00,)'"], "key"),
    ("int4multirange", ["'{}'", "'{[1,2),[5,9)}'"], "key"),
    ("tsvector", ["'a:1A b:2 ''quo te'''", "''"], "key"),
    ("tsquery", ["'a & !b | (c <-> d)'"], "key"),
    ("pg_lsn", ["'0/0'", "'FFFFFFFF/FFFFFFFF'"], "key"),
    ("txid_snapshot", ["'10:20:10,14,15'"], ""),
    ("oid", ["0", "4294967295"], "key"),
    ("regclass", ["'pg_class'::regclass"], "key"),
    ("xid", ["'4294967295'"], ""),
    ("xid8", ["'18446744073709551615'"], "key"),
    ("tid", ["'(4294967295,65535)'"], "key"),
    ("int4[]", ["'{}'", "'{1,NULL,3}'", "'{{1,2},{3,4}}'", "'[0:1]={1,2}'", "'{2147483647}'"], "key"),
    ("text[]", ["'{}'", "'{\"\",NULL,\"NULL\",\"a,b\",\"q\\\"u\\\\o\",\" \"}'", "'{{a,b},{c,d}}'"], "key"),
    ("numeric[]", ["'{1.10,NaN,1e-30}'"], "key"),
    ("timestamptz[]", ["'{\"2024-01-01 00:00:00+00\",infinity,NULL}'"], "key"),
    ("bytea[]", ["'{\"\\\\\\\\x00ff\",\"\"}'"], "key"),
    ("jsonb[]", ["array['{\"a\": [1, 2]}'::jsonb, 'null', null]"], "key"),
    ("bool[]", ["'{t,f,NULL}'"], "key"),
    ("mood", ["'sad'", "'so \"happy\", ''yes'''", "'emoji 😀'", "''"], "key"),
    ("mood[]", ["'{sad,\"so \\\"happy\\\", ''yes''\",NULL}'"], "key"),
    ('"odd Name"', ["'x'", "'X'"], "key"),
    ("posint", ["1", "2147483647"], "key"),
    ("tags", ["'{a,NULL}'"], "key"),
    ("money2", ["1.10", "-9999999999.99"], "key"),
    ("pair", ["row(1, 'x')::pair", "row(null, 'a,\"b\"(')::pair", "row(null, null)::pair"], "key"),
    ("pair[]", ["array[row(1, 'x')::pair, null]"], "key"),
    ("nested", ["row(row(1, 'y')::pair, array[row(2, 'z')::pair])::nested"], "key"),
    ("hstore", ["'a=>1, b=>NULL, \"q \\\"\"=>\"x\"'", "''"], ""),
]


# What both servers are set to while the pipes run, none of which may change a value (F29), and what this program's own sessions hold against it.
HOSTILE = {
    "datestyle": "'SQL, DMY'", "intervalstyle": "sql_standard", "bytea_output": "escape", "extra_float_digits": "-3", "timezone": "'Asia/Kathmandu'",
    "search_path": "pg_catalog", "standard_conforming_strings": "off", "array_nulls": "off", "transform_null_equals": "on", "statement_timeout": "'20s'",
    "backslash_quote": "on", "xmlbinary": "hex", "quote_all_identifiers": "on", "default_transaction_isolation": "serializable", "row_security": "off",
}
PINNED = "-c datestyle=ISO,MDY -c intervalstyle=postgres -c bytea_output=hex -c extra_float_digits=1 -c timezone=UTC -c search_path=public -c standard_conforming_strings=on -c array_nulls=on -c transform_null_equals=off"


def hostile(pg):
    for name, value in HOSTILE.items():
        pg.sql("postgres", f"alter system set {name} = {value}")
    pg.sql("postgres", "select pg_reload_conf()")


def say(text):
    print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)


class Table:
    def __init__(self, name, sqltype, values, key, special, late=False):
        self.name, self.sqltype, self.values, self.key, self.special, self.late = name, sqltype, values, key, special, late


def tables():
    """The tables that the types make: values that every target holds, those that the lake's type can't, and the type as a key."""
    out = []
    for i, (sqltype, values, traits) in enumerate(TYPES):
        count = lambda trait: next((int(t.split("=")[1]) for t in traits.split() if t.startswith(trait + "=")), 0)
        plain = values[: len(values) - count("lake")]
        out.append(Table(f"v{i}", sqltype, plain, False, ""))
        if count("lake"):
            late = values[-1:] if "late" in traits.split() else []
            out.append(Table(f"s{i}", sqltype, values[len(plain) : len(values) - len(late)], False, "lake"))
            out += [Table(f"l{i}", sqltype, late, False, "lake", True)] if late else []
        if "key" in traits.split():
            out.append(Table(f"k{i}", sqltype, plain, True, ""))
    return out


def before(t):
    """The statements before the snapshot."""
    if t.key:
        half = t.values[: (len(t.values) + 1) // 2]
        return [f"create table {t.name} (v {t.sqltype} primary key, n int)"] + [f"insert into {t.name} values ({v}, {i})" for i, v in enumerate(half)]
    out = [f"create table {t.name} (id int primary key, v {t.sqltype})", f"insert into {t.name} values (0, null)"]
    for i, v in enumerate(t.values):
        out += [f"insert into {t.name} values ({1 + i}, {v})", f"insert into {t.name} values ({2001 + i}, null)", f"insert into {t.name} values ({3001 + i}, {v})", f"insert into {t.name} values ({4001 + i}, {v})"]
    return out


def after(t):
    """The statements that come as changes."""
    if t.key:
        later = t.values[(len(t.values) + 1) // 2 :]
        out = [f"insert into {t.name} values ({v}, {100 + i})" for i, v in enumerate(later)]
        out.append(f"update {t.name} set n = n + 1000")
        if later:
            # A change of key onto the last value, and back; then one goes for good.
            out += [f"delete from {t.name} where n = {1100 + len(later) - 1}", f"update {t.name} set v = {later[-1]} where n = 1000"]
        return out
    out = []
    for i, v in enumerate(t.values):
        other = t.values[(i + 1) % len(t.values)]
        out += [f"insert into {t.name} values ({1001 + i}, {v})", f"update {t.name} set v = {v} where id = {2001 + i}", f"update {t.name} set v = {other} where id = {3001 + i}", f"delete from {t.name} where id = {4001 + i}"]
    return out


def rows(con, relation, t):
    """Rows in COPY's text form, which is exact; ordered by the text, since targets sort differently."""
    import psycopg
    try:
        with con.cursor() as cur, cur.copy(f"copy (select * from {relation}) to stdout") as copy:
            return sorted(b"".join(bytes(piece) for piece in copy).decode().splitlines())
    except psycopg.Error as e:
        return [str(e)]


def plain_rows(con, relation, t):
    """Rows of a simple query, in text."""
    import psycopg
    with con.cursor() as cur:
        try:
            cur.execute(f"select * from {relation} order by {'n' if t.key else 'id'}")
            return [[cur.pgresult.get_value(r, c) for c in range(cur.pgresult.nfields)] for r in range(cur.pgresult.ntuples)]
        except psycopg.Error as e:
            return [str(e)]


def binary_rows(con, relation, t):
    """Rows in binary with their type, through the extended protocol."""
    import psycopg
    order = "n" if t.key else "id"
    with con.cursor(binary=True) as cur:
        try:
            cur.execute(f"select * from {relation} order by {order}")
            raw = [[cur.pgresult.get_value(r, c) for c in range(cur.pgresult.nfields)] for r in range(cur.pgresult.ntuples)]
            return [cur.pgresult.ftype(c) for c in range(cur.pgresult.nfields)], raw
        except psycopg.Error as e:
            return [], str(e)


class Report:
    def __init__(self):
        self.compared, self.bad = 0, []

    def same(self, what, t, want, got):
        self.compared += 1
        if want != got:
            self.bad.append((what, t))
            pairs = [(w, g) for w, g in zip(want, got) if w != g] if isinstance(want, list) and isinstance(got, list) else [(want, got)]
            shown = "; ".join(f"{str(w)[:90]!r} became {str(g)[:160]!r}" for w, g in pairs[:2]) or f"{len(want)} rows became {len(got)}: {str(got[:1])[:200]}"
            say(f"DIFFERENT {what}: {t.sqltype}{' as key' if t.key else ''} ({t.name}): {shown}")

    def must(self, what, t, right, why):
        self.compared += 1
        if not right:
            self.bad.append((what, t))
            say(f"WRONG {what}: {t.sqltype} ({t.name}): {why}")


def run(binary, root):
    source, target = Postgres(root, "source"), Postgres(root, "target")
    report = Report()
    server = None
    try:
        for pg, db in ((source, "types"), (target, "types")):
            pg.sql("postgres", f"create database {db}")
            pg.sql(db, SETUP)
        all_tables = tables()
        source.sql("types", ";\n".join(s for t in all_tables for s in before(t)))
        hostile(source)
        hostile(target)
        server = Standpipe(binary, os.path.join(root, "standpipe"))
        pg_sources(server, source, target, "types", "types")
        server.sql("standpipe", "sync tables from source src")
        exact, special = [t for t in all_tables if not t.special], [t for t in all_tables if t.special == "lake"]
        listed = lambda ts: ", ".join(t.name for t in ts)
        pipes = {
            "to_pg": (listed(exact + special), "'target-name' = 'dst'"),
            "to_lake": (listed(exact), "'connector' = 'lake-connector'"),
            "refuses": (listed(special), "'connector' = 'lake-connector', 'table' = 'as_error.${table}'"),
            "counts": (listed(special), "'connector' = 'lake-connector', 'table' = 'as_null.${table}', 'on-lossy' = 'null'"),
            "as_text": (listed(special), "'connector' = 'lake-connector', 'table' = 'as_text.${table}', 'on-lossy' = 'text'"),
        }
        for name, (list_, connector) in pipes.items():
            server.sql("src", f"create pipe {name} with extractor ('source-name' = 'src', 'tables' = '{list_}') with connector ({connector}) with runtime (start = true)")
        for name in pipes:
            if name != "refuses":
                server.sql("src", f"wait for pipe {name} timeout '120 s'")
        say("snapshots are done")
        psql(f"{source.url('types')}?options={urllib.parse.quote(PINNED)}", ";\n".join(s for t in all_tables for s in after(t)))
        for name in pipes:
            if name != "refuses":
                server.sql("src", f"wait for pipe {name} until caught up timeout '120 s'")
        say("changes are there")
        compare(report, server, source, target, all_tables)
    finally:
        if server:
            server.process.terminate()
            server.process.wait(30)
        for s in (source, target):
            s.stop()
    say(f"{len(TYPES)} types, {report.compared} comparisons, {len(report.bad)} differ")
    return bool(report.bad)


def phase(server, pipe, t):
    return server.sql("standpipe", f"select phase || ' ' || coalesce(exception_message, '') from standpipe.pipe_tables where pipe = '{pipe}' and table_name = 'public.{t.name}'")


def compare(report, server, source, target, all_tables):
    import psycopg
    own = lambda db: psycopg.connect(f"postgresql://standpipe@127.0.0.1:{server.port}/{db}", password=PASSWORD, autocommit=True)
    direct = lambda pg: psycopg.connect(pg.url("types"), autocommit=True, options=PINNED)
    with direct(source) as straight, direct(target) as copied, own("src") as through, own("standpipe") as lake:
        for t in all_tables:
            want = rows(straight, t.name, t)
            report.same("into PostgreSQL", t, want, rows(copied, t.name, t))
            if t.late:
                said = rows(through, f"public.{t.name}", t)
                report.must("a query refuses what it can't compute with", t, len(said) == 1 and '"v"' in said[0] and "HINT" in said[0], said)
            else:
                queries(report, straight, through, t, want)
            if not t.special:
                report.same("into the lake", t, want, rows(lake, f"lake.{t.name}", t))
                continue
            report.same("into the lake as text", t, want, rows(lake, f"as_text.{t.name}", t))
            nulls = sorted(line.split("\t")[0] + "\t\\N" for line in want)
            report.same("into the lake as NULL", t, nulls, rows(lake, f"as_null.{t.name}", t))
            lost = server.sql("standpipe", f"select lossy_values from standpipe.pipe_tables where pipe = 'counts' and table_name = 'public.{t.name}'")
            report.must("values lost are counted", t, lost.isdigit() and int(lost) >= len(t.values) * 3, f"counted {lost}")
            column = server.sql("standpipe", f"select column_name || ' ' || lossy_values || ' ' || first_key from standpipe.pipe_lossy where pipe = 'counts' and table_name = 'public.{t.name}'")
            report.must("values lost are counted by column, with the first key", t, column.startswith(f"v {lost} key (id) = ("), column)
            state = phase(server, "refuses", t)
            report.must("a loss is refused", t, state.startswith("FAILED") and '"v"' in state, state)


def queries(report, straight, through, t, want):
    report.same("COPY through the server", t, want, rows(through, f"public.{t.name}", t))
    report.same("SELECT through the server", t, plain_rows(straight, t.name, t), plain_rows(through, f"public.{t.name}", t))
    (types, sent), (own_types, own_sent) = binary_rows(straight, t.name, t), binary_rows(through, f"public.{t.name}", t)
    # Described as text, its binary form is the text, which the simple query has shown; any other type must be the source's, to the byte.
    at = 0 if t.key else 1
    shown = bool(own_types) and own_types[at] == 25 and types[at] != 25
    report.must("binary SELECT through the server", t, shown or (types, sent) == (own_types, own_sent), f"{types} {str(sent)[:150]} became {own_types} {str(own_sent)[:150]}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--standpipe", required=True)
    parser.add_argument("--keep", action="store_true")
    a = parser.parse_args()
    with scratch("values", a.keep) as root:
        bad = run(a.standpipe, root)
    sys.exit(bool(bad))


if __name__ == "__main__":
    main()
