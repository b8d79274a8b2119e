"""Declared columns of a MongoDB source, crossed with every BSON value: each type a column may have x each value x snapshot, insert, update, replacement x
targets, and through a SELECT. A value that is of the column's type arrives; any other is NULL under `on-mismatch` = null and counted, with the first key. What
is of which type is said here anew, from docs/mongodb.md. Part of crossing.py.
"""
import re, struct
from decimal import Decimal

from crossing import CHANGED, INSERTED, SNAPSHOT, UPDATED, at_mysql, bson_values, canonical, decimal128, document, elements, exact_json, i32, null, of_bson, of_wire, put, raw_documents, Column

# Name, declared type, kind of the canonical text.
COLUMNS = [("b", "bool", "int"), ("i", "int", "int"), ("l", "bigint", "int"), ("d", "float8", "double"), ("n", "numeric", "dec"), ("t", "text", "text"), ("y", "bytea", "bytes"), ("u", "uuid", "uuid"),
           ("z", "timestamptz", "datetime"), ("j", "json", "json"), ("rest", "json", "json"), ("whole", "json", "json")]
DECLARED = ", ".join(f"{name} {sqltype}{'' if name == 'rest' else ' from v'}" for name, sqltype, _ in COLUMNS[:-2]) + ", rest json from *, whole json from $"
NEGATIVE_ZERO = struct.pack(">d", -0.0).hex()
NUMBER = re.compile(r"-?[0-9.]+")


def zero(s):
    """A zero has no sign, but as a double."""
    return s.removeprefix("-") if s and NUMBER.fullmatch(s) and Decimal(s) == 0 else s


def whole_number(tag, b):
    if tag in (0x10, 0x12):
        return int.from_bytes(b, "little", signed=True)
    d = struct.unpack("<d", b)[0] if tag == 0x01 else float("nan")
    return int(d) if d == d and abs(d) < 9.0e15 and d == int(d) else None


def wanted(column, tag, b):
    """Canonical text, None for NULL, and whether that is a value lost."""
    name, sqltype, kind = column
    if tag in (0x0A, 0x06) and name not in ("rest", "whole"):
        return None, False
    number = whole_number(tag, b)
    text = None
    if sqltype == "bool" and tag == 0x08:
        text = str(b[0])
    elif sqltype in ("int", "bigint") and number is not None:
        border = 1 << (31 if sqltype == "int" else 63)
        text = str(number) if -border <= number < border else None
    elif sqltype == "float8" and (tag == 0x01 or (number is not None and abs(number) <= 1 << 53)):
        text = (b if tag == 0x01 else struct.pack("<d", float(number)))[::-1].hex()
    elif sqltype == "numeric" and tag in (0x01, 0x10, 0x12, 0x13):
        said = decimal128(b) if tag == 0x13 else str(number) if tag != 0x01 else repr(struct.unpack("<d", b)[0]).replace("inf", "Infinity").replace("nan", "NaN").removesuffix(".0")
        text = zero(canonical("dec", said))
    elif sqltype == "text" and tag in (0x02, 0x07):
        text = b[4:-1].decode() if tag == 0x02 else b.hex()
    elif sqltype == "bytea" and tag == 0x05:
        # the old subtype says its length once more
        text = b[9 if b[4] == 2 else 5 :].hex()
    elif sqltype == "uuid" and tag == 0x05 and b[4] == 4 and len(b) == 21:
        text = of_bson("uuid", (tag, b))
    elif sqltype == "timestamptz" and tag == 0x09 and abs(struct.unpack("<q", b)[0]) * 1000 < 1 << 63:
        text = of_bson("datetime", (tag, b))
    elif sqltype == "json":
        return "json", False
    return text, text is None


def year(v):
    return int(re.match(r"-?\d+", v).group())


# What of a value a target can't hold: it is NULL there under `on-lossy` = null.
LOST = {
    "pg": lambda kind, v: kind == "text" and "\0" in v,
    "maria": lambda kind, v: kind == "datetime" and not 0 <= year(v) <= 9999 or kind == "double" and v[:3] in ("7ff", "fff"),
    "mongo": lambda kind, v: kind == "dec" and len(v.lstrip("-").replace(".", "").strip("0")) > 34,
    "lake": lambda kind, v: kind == "datetime" and year(v) < 1,
}
LOST["mysql"] = LOST["maria"]


class Declared:
    """A collection whose columns are declared."""

    def __init__(self, bench):
        self.bench, self.pipes, self.name = bench, [], "declared"
        # what the server keeps as it is, and every target's JSON takes
        self.values = [(name, v) for name, vs in bson_values().items() if name not in ("undefined",) for v in vs]
        self.columns = [Column(name, sqltype, [], kind) for name, sqltype, kind in COLUMNS]

    def put(self, operation, *documents):
        put(self.bench.mongo, "typed", "docs", operation, *documents)

    def row(self, block, i, value):
        return document(("_id", i32(block + i)), ("v", value), ("more", i32(i)))

    def snapshot(self):
        b = self.bench
        for i, (_, v) in enumerate(self.values):
            self.put("insert_one", self.row(SNAPSHOT, i, v))
            self.put("insert_one", self.row(CHANGED, i, v))
            self.put("insert_one", self.row(UPDATED, i, null))
        b.source(self.name, f"type = 'mongodb', host = '127.0.0.1', port = {b.mongo.port}, database = 'typed', \"columns.typed.docs\" = '{DECLARED}', \"on-mismatch\" = 'null'")
        b.make(f"sync tables from source {self.name}")
        for target in b.targets():
            b.pipe(f"{self.name}_{target}", self.name, target, "typed_copy", ["typed.docs"], ", 'on-lossy' = 'null'")
            self.pipes.append((f"{self.name}_{target}", target))
        for name, _ in self.pipes:
            b.wait(name)

    def changes(self):
        for i, (_, v) in enumerate(self.values):
            one = lambda block: document(("_id", i32(block + i)))
            self.put("insert_one", self.row(INSERTED, i, v))
            self.put("update_one", one(UPDATED), document(("$set", (0x03, document(("v", v))))))
            self.put("replace_one", one(CHANGED), self.row(CHANGED, i, self.values[(i + 1) % len(self.values)][1]))
        for name, _ in self.pipes:
            self.bench.wait(name, "until caught up")

    def expected(self, target):
        """{label: {column: canonical}}, and the columns that lose values of the source's, and of the target's making."""
        out, lost = {}, set()
        for raw in raw_documents(self.bench.mongo, "typed", "docs"):
            fields = {name: (tag, b) for name, tag, b in elements(raw)}
            label, (tag, b) = struct.unpack("<i", fields["_id"][1])[0], fields["v"]
            row = out[label] = {}
            for column in COLUMNS:
                name, _, kind = column
                text, gone = wanted(column, tag, b)
                if text == "json":
                    text = {"j": (tag, b), "rest": (0x03, document(("more", fields["more"]))), "whole": (0x03, raw)}[name]
                elif text is not None and target in LOST and LOST[target](kind, text):
                    text, gone = None, True
                elif target == "maria" and kind == "double" and text == NEGATIVE_ZERO:
                    # MariaDB shows none, whatever was written
                    text = text.replace("8", "0")
                row[name] = text
                lost |= {name} if gone else set()
        return out, lost

    def shown(self, kind, s):
        return None if s is None else exact_json(s) if kind == "json" else zero(s) if kind == "dec" else s

    def got(self, target):
        import psycopg
        if target in ("maria", "mysql"):
            table = type("T", (), {"name": "docs", "key": False, "columns": self.columns})
            rows = at_mysql(self.bench.mysql(target), "typed_copy", [table], label="_id")["docs"]
            return {i: {c.name: self.shown(c.kind, row[c.name]) for c in self.columns} for i, row in rows.items()} if isinstance(rows, dict) else rows
        if target == "mongo":
            out = {}
            for raw in raw_documents(self.bench.mongo, "typed_copy", "docs"):
                fields = {name: (tag, b) for name, tag, b in elements(raw)}
                row = out[int.from_bytes(fields["_id"][1], "little", signed=True)] = {}
                for name, _, kind in COLUMNS:
                    value = fields.get(name, (0x06, b""))
                    row[name] = (value if value[0] != 0x0A else None) if kind == "json" else zero(of_bson(kind, value)) if kind == "dec" else of_bson(kind, value)
            return out
        place = "typed" if target == "select" else "typed_copy"
        pinned = "-c datestyle=ISO -c timezone=UTC -c bytea_output=hex -c extra_float_digits=1"
        connect = {"pg": lambda: psycopg.connect(self.bench.pg.url("crossing"), options=pinned), "lake": lambda: self.bench.wire("standpipe"), "select": lambda: self.bench.wire(self.name)}[target]
        with connect() as con, con.cursor() as cur:
            try:
                cur.execute(f"select _id, {', '.join(name for name, _, _ in COLUMNS)} from {place}.docs")
            except psycopg.Error as e:
                return str(e)
            cell = cur.pgresult.get_value
            return {int(cell(r, 0)): {name: self.shown(kind, cell(r, c + 1).decode() if kind == "json" and cell(r, c + 1) else of_wire(kind, cell(r, c + 1))) for c, (name, _, kind) in enumerate(COLUMNS)} for r in range(cur.pgresult.ntuples)}

    def compare(self):
        b = self.bench
        for name, target in self.pipes + [("SELECT from declared", "select")]:
            want, lost = self.expected(target)
            if target != "select":
                said = b.sql(f"select column_name || ' ' || lossy_values || ' ' || first_key from standpipe.pipe_lossy where pipe = '{name}'")
                for column, sqltype, _ in COLUMNS:
                    found = re.search(rf"^{column} [1-9]\d* key \(_id\) = \(", said, re.M)
                    b.report.must(f"{name}: values that are not {sqltype} are counted by column, with the first key", bool(found) == (column in lost), f"{column}: {said or 'nothing is counted'}")
            broken = {} if target == "select" else b.broken(name)
            if broken:
                b.report.must(name, False, broken)
                continue
            kinds = {**{block + i: kind for block in (SNAPSHOT, INSERTED, UPDATED) for i, (kind, _) in enumerate(self.values)}, **{CHANGED + i: self.values[(i + 1) % len(self.values)][0] for i in range(len(self.values))}}
            of = lambda rows: {f"{label} ({kinds.get(label)})": row for label, row in rows.items()} if isinstance(rows, dict) else rows
            b.report.same(name, of(want), of(self.got(target)))
