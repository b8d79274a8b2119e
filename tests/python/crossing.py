"""Every type of MariaDB, MySQL and MongoDB with its traps: through the snapshot, as inserted, updated, deleted and written again, and as a key, into
PostgreSQL, MariaDB, MongoDB and the lake, and through a SELECT. Types x values x paths x targets are crossed by the program. A value must be equal
everywhere, by a canonical text that is made from the source's own words; or CREATE PIPE, or the table, refuses it and names the column; or an option
took the loss and it is counted. What is not crossed is printed with its reason.
"""
import argparse, concurrent.futures, json, os, pwd, re, shutil, struct, subprocess, sys, threading, time
from decimal import Decimal

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from servers import PASSWORD, Mariadb, Mongo, Postgres, Standpipe, free_port, scratch

TARGETS = ("pg", "maria", "mysql", "mongo", "lake")
# Rows of a block: where its ids begin, and what becomes of them.
SNAPSHOT, INSERTED, UPDATED, CHANGED, DELETED, AGAIN = 1, 1001, 2001, 3001, 4001, 5001


def text(s):
    """A text as SQL that no setting of the session changes."""
    return f"convert(x'{s.encode().hex()}' using utf8mb4)"


def bits(n):
    return [f"b'{'1' * n}'", f"b'{'0' * n}'", f"b'1{'0' * (n - 1)}'", f"b'{'0' * (n - 1)}1'", f"b'{('10' * n)[:n]}'"]


def wkb(*shapes):
    return [f"st_geomfromtext('{s}')" for s in shapes] + [f"st_geomfromtext('{shapes[0]}', 4326)"]


WHOLE = [("tinyint", 8), ("smallint", 16), ("mediumint", 24), ("int", 32), ("bigint", 64)]
# Type, values as SQL, kind of its canonical text, traits: `key` (it is made a primary key too), `maria` (MySQL 5.6 has it not), `<target>:create` (CREATE
# PIPE refuses it), `<target>:fail` (the table FAILS), with `all` for every target, `zero` (a date that is zero, in whole or in part), `alone` (a table of its
# own), `only` (as a key alone), `notnull`, `nolossy` (no option takes it), `old` (made in MariaDB's old form of dates and times).
TYPES = [(f"{t}", [str(-(1 << b - 1)), str((1 << b - 1) - 1), "0", "-1"], "int", "key") for t, b in WHOLE]
TYPES += [(f"{t} unsigned", [str((1 << b) - 1), "0", str(1 << b - 1)], "int", "key") for t, b in WHOLE]
TYPES += [(f"{t}(4) zerofill", [str((1 << b) - 1), "0", "7"], "int", "key") for t, b in WHOLE]
TYPES += [("tinyint(1)", ["-1", "2", "127", "0", "1"], "int", "key"), ("boolean", ["true", "false", "5"], "int", ""), ("serial", ["18446744073709551614", "1"], "int", "key only")]
TYPES += [(f"bit({n})", bits(n), f"bits:{n}", "key") for n in (1, 2, 5, 8, 9, 31, 32, 33, 63, 64)]
TYPES += [
    ("decimal(10,2)", ["12345678.90", "-0.01", "0", "-0.00", "-99999999.99", "1.1"], "dec", "key"),
    ("decimal(10,2) unsigned zerofill", ["12.3", "0"], "dec", ""),
    ("decimal(5,0)", ["99999", "-99999", "0"], "dec", "key"),
    ("decimal(9,9)", ["0.000000001", "-0.999999999"], "dec", "key"),
    ("decimal(34,17)", ["99999999999999999.99999999999999999", "-0.00000000000000001", "1.10"], "dec", "key"),
    ("decimal(38,10)", ["1234567890123456789012345678.0123456789", "-9999999999999999999999999999.9999999999", "-1e-10"], "dec", "key mongo:create"),
    ("decimal(38,30)", ["12345678.012345678901234567890123456789", "1e-30"], "dec", "key mongo:create"),
    ("decimal(39,0)", ["1234567890", "-1"], "dec", "key"),
    ("decimal(65,30)", ["1.5", "0"], "dec", "key"),
    ("decimal(65,30)", ["99999999999999999999999999999999999.999999999999999999999999999999", "-12345678901234567890123456789012345.012345678901234567890123456789"], "dec", "key mongo:fail"),
    ("decimal(65,0)", ["9" * 65, "-" + "9" * 65], "dec", "key mongo:fail"),
    ("float", ["1.1", "-0.0", "3.4028234e38", "-3.4028234e38", "1.17549435e-38", "1e-45", "16777217", "0.1", "123456.789"], "float", "key"),
    ("float unsigned", ["0", "3.4e38"], "float", ""),
    ("float(7,3)", ["1234.567", "-0.001"], "float", ""),
    ("float(30)", ["0.1", "1e300"], "double", ""),
    ("double", ["0.1", "-0.0", "1.7976931348623157e308", "-1.7976931348623157e308", "2.2250738585072014e-308", "5e-324", "9007199254740993", "1e22", "1e-7", "123456789.12345679"], "double", "key"),
    ("double(20,5)", ["12345678901234.12345", "-0.00001"], "double", ""),
    ("date", ["'1970-01-01'", "'2024-02-29'", "'0001-01-01'", "'9999-12-31'", "'1582-10-10'", "'1000-01-01'", "'1900-02-28'"], "date", "key"),
    ("date", ["'0000-01-01'", "'0000-12-31'"], "date", "lake:fail alone"),
    ("date", ["'0000-00-00'", "'2024-00-10'", "'2024-10-00'", "'0000-00-01'"], "date", "zero alone"),
    ("date", ["'2023-02-31'"], "date", "zero alone"),
]
TYPES += [(f"time({n})", ["'838:59:59'", "'-838:59:59'", "'00:00:00'", "'-00:00:00.1'", "'23:59:59.999999'", "'-01:00:00.000001'", "'12:34:56.789123'", "'24:00:00'"], "time", "key") for n in range(7)]
STAMPS = ["'1970-01-01 00:00:01'", "'2024-02-29 23:59:59.999'", "'2038-01-19 03:14:07'", "'2024-03-31 02:30:00'"]
FINE = ["'2024-02-29 12:34:56.123456'", "'1999-12-31 23:59:59.4'"]
for n in range(7):
    TYPES += [(f"datetime({n})", STAMPS + FINE + ["'1000-01-01 00:00:00'", "'0001-01-01 00:00:00'", "'9999-12-31 23:59:59'", "'1969-12-31 23:59:59.5'"], "datetime", "key" + " mongo:create" * (n > 3))]
    TYPES += [(f"timestamp({n}) null", STAMPS + FINE, "datetime", "key" + " mongo:create" * (n > 3))]
TYPES += [
    ("datetime(6)", ["'0000-01-01 00:00:00'"], "datetime", "lake:fail mongo:create alone"),
    ("datetime(6)", ["'0000-00-00 00:00:00'", "'2024-00-10 01:02:03.5'", "'2024-01-00 00:00:00'"], "datetime", "zero alone mongo:create"),
    ("timestamp(3) null", ["'0000-00-00 00:00:00'"], "datetime", "zero alone"),
    ("datetime not null", ["'0000-00-00 00:00:00'"], "datetime", "zero alone notnull"),
    ("year", ["0", "1901", "2155", "'00'", "70"], "int", "key"),
    ("year(4)", ["1970"], "int", ""),
]
WORDS = [text(w) for w in ("", "x", " lead", "trail  ", "tab\tnew\nline\r\\back", "\\N", "NULL", "\\.", "'\"`", "é e\u0301 ß ﬁ", "\x01\x1a\x7f", "%_")]
EMOJI = [text(w) for w in ("😀", "a😀b👨‍👩‍👧", "𝔘")]
TYPES += [
    ("char(5)", [text(w) for w in ("a", "abcde", "", "  a", "é😀")], "text", "key"),
    ("char(5)", [text("ab   ")], "text", ""),
    ("char(0)", ["''"], "text", ""),
    ("varchar(40)", WORDS + EMOJI, "text", ""),
    ("varchar(40) collate utf8mb4_bin", [text(w) for w in ("x", "X", " lead", "é", "e\u0301", "😀", "\\N", "a\tb")], "text", "key"),
    ("varchar(40) collate utf8mb4_general_ci", [text(w) for w in ("x", "Y", "Ä", "😀", "zz  ")], "text", "key"),
    ("varchar(40) collate utf8mb4_nopad_bin", [text(w) for w in ("x", "x ", "x  ", "", " ")], "text", "key maria"),
    ("varchar(40) character set binary", ["x'6100'", "x'ff'"], "bytes", ""),
    ("national char(9)", [text("aé")], "text", ""),
    ("text", WORDS + EMOJI + ["repeat('long ', 13000)"], "text", ""),
    ("tinytext", WORDS, "text", ""), ("mediumtext", EMOJI + ["repeat('xyz', 100000)"], "text", ""), ("longtext", WORDS, "text", ""), ("long varchar", WORDS[:2], "text", ""),
    ("text", [text("nul\0in"), text("\0")], "text", "pg:fail alone"),
    ("varchar(9)", [text("\0")], "text", "pg:fail alone"),
    ("binary(4)", ["x'01'", "x'00000000'", "x'01020304'", "x'00ff0000'", "x'20202020'"], "bytes", "key"),
    ("varbinary(9)", ["x'0100'", "x'00'", "x'ff00ff'", "x'5c27220a'", "''"], "bytes", "key"),
    ("blob", ["x'00ff275c0a'", "''", "repeat(x'00ff', 20000)", "x'6100'"], "bytes", ""),
    ("tinyblob", ["x'00'", "x'ff'"], "bytes", ""), ("mediumblob", ["repeat(x'ff00', 60000)"], "bytes", ""), ("longblob", ["x'00'"], "bytes", ""),
    ("enum('a','it''s','','A b',',')", ["'a'", "'it''s'", "3", "'A b'", "','"], "text", "key"),
    ("enum('x','y')", ["0", "'y'", "1"], "text", "maria:fail mysql:fail alone nolossy"),
    ("enum('a\\\\b','c\\nd','é')", ["1", "2", "3"], "text", "key alone"),
    ("enum('1','2','0')", ["'1'", "'0'", "'2'"], "text", "key"),
    ("set('x','y','z')", ["'z,x'", "''", "'x,y,z'", "'y'"], "text", "key"),
    ("set('a\\\\b','it''s','c d')", ["7", "1", "'it''s'"], "text", "alone"),
    (f"set({','.join(repr('m%d' % i) for i in range(64))})", ["18446744073709551615", "9223372036854775808", "0"], "text", ""),
    (f"enum({','.join(repr('e%d' % i) for i in range(300))})", ["300", "255", "256", "1"], "text", ""),
    ("geometry", wkb("POINT(1 2)", "LINESTRING(0 0,1 1)"), "bytes", ""),
    ("point", wkb("POINT(1.5 -2)"), "bytes", ""), ("linestring", wkb("LINESTRING(0 0,1 1,2 0)"), "bytes", ""), ("polygon", wkb("POLYGON((0 0,1 0,1 1,0 0))"), "bytes", ""),
    ("multipoint", wkb("MULTIPOINT(0 0,1 1)"), "bytes", ""), ("multilinestring", wkb("MULTILINESTRING((0 0,1 1),(2 2,3 3))"), "bytes", ""),
    ("multipolygon", wkb("MULTIPOLYGON(((0 0,1 0,1 1,0 0)))"), "bytes", ""), ("geometrycollection", wkb("GEOMETRYCOLLECTION(POINT(1 1))"), "bytes", ""),
    ("json", ["'{\"b\": 1,  \"a\": [1.0, null, true]}'", "'null'", "'\"\\\\u00e9\"'", "' [1 , 2]'", "'[]'", "'{}'", "'12345678901234567890.123'", "'-0.0'", "'1e300'", "'9223372036854775808'", text('{"é😀": "\\t"}')], "json", "maria"),
    ("json", ["'{\"a\": 1, \"a\": 2}'"], "json", "maria"),
    ("json", ["'{\"$oid\": \"000102030405060708090a0b\"}'", "'{\"$numberLong\": \"5\"}'", "'[{\"$literal\": {}}]'"], "json", "maria alone"),
    ("json", ["'[{\"$date\": 5}]'", "'{\"$oid\": 1}'"], "json", "maria alone"),
    ("json", ["'1e7000'", "'1234567890123456789012345678901234567890'"], "json", "maria mongo:fail alone"),
    ("uuid", ["'123e4567-e89b-12d3-a456-426655440000'", "'550e8400-e29b-41d4-a716-446655440000'", "'00000000-0000-0000-0000-000000000000'", "'ffffffff-ffff-ffff-ffff-ffffffffffff'", "'017f22e2-79b0-7cc3-98c4-dc0c0c07398f'"], "uuid", "key maria"),
    ("inet4", ["'192.0.2.1'", "'0.0.0.0'", "'255.255.255.255'"], "text", "key maria"),
    ("inet6", ["'2001:db8::ff00:42:8329'", "'::'", "'::1'", "'::ffff:1.2.3.4'", "'::1.2.3.4'", "'ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff'", "'1:0:0:2::3'", "'::1:0'", "'1:0:2:0:3:0:4:0'", "'1:2:3:4:5:6:7:0'", "'::ffff:0:102:304'"], "text", "key maria"),
]
TYPES += [(f"varchar(20) character set {c}", [text(w) for w in ws], "text", "key") for c, ws in (
    ("latin1", ("é€", "ÿ", "a")), ("latin2", ("ł", "ő")), ("latin5", ("ğ",)), ("latin7", ("ž",)), ("cp1250", ("ř",)), ("cp1251", ("жя", "Ё")), ("cp1256", ("ش",)), ("cp1257", ("ž",)), ("koi8r", ("жя",)),
    ("koi8u", ("ї",)), ("greek", ("λ",)), ("hebrew", ("ש",)), ("tis620", ("ก",)), ("armscii8", ("Ա",)), ("cp850", ("é",)), ("cp852", ("ř",)), ("cp866", ("ж",)), ("dec8", ("é",)), ("hp8", ("é",)),
    ("macroman", ("é",)), ("macce", ("ř",)), ("keybcs2", ("ř",)), ("geostd8", ("ა",)), ("swe7", ("å",)), ("ascii", ("plain", "")), ("utf8", ("aé", "中")), ("utf8mb4", ("😀", "é")),
    ("ucs2", ("aé", "中")), ("utf16", ("a😀",)), ("utf16le", ("a😀",)), ("utf32", ("a😀",)))]
TYPES += [(f"varchar(20) character set {c}", [text("a")], "text", "all:create alone") for c in ("gbk", "gb2312", "big5", "sjis", "cp932", "ujis", "eucjpms", "euckr")]
TYPES += [(f"{t} compressed", [f"'{v}'"], k, "maria all:create alone") for t, v, k in (("varchar(99)", "aaaaaaaa", "text"), ("text", "b", "text"), ("blob", "c", "bytes"), ("varbinary(99)", "d", "bytes"))]
# MariaDB's old form of dates and times: its fractions are refused
TYPES += [(t, v, k, f"maria old alone {r}") for t, v, k, r in (
    ("datetime", STAMPS, "datetime", ""), ("timestamp null", STAMPS, "datetime", ""), ("time", ["'-838:59:59'", "'12:34:56'"], "time", ""),
    ("datetime(6)", FINE, "datetime", "all:create"), ("timestamp(2) null", FINE, "datetime", "all:create"), ("time(3)", ["'-01:02:03.456'"], "time", "all:create"))]

NOT_CROSSED = [
    "MySQL's own JSON, vector, and anything newer than MySQL 5.6.24: there is no such server here (its binary forms are read from made streams by the unit tests)",
    "bit(3..62) beyond those listed: the width alone differs, at every border of a byte and of a word one is there",
    "NaN of BSON with a sign or a payload, and decimal128 whose coefficient has too many digits (zero by IEEE 754): NaN is one value, and zero another",
    "MariaDB's row-start/row-end columns of system versioned tables: they are timestamps",
    "arrays of BSON whose elements are not named 0, 1, 2 ...: no driver writes any, and JSON has no place for the names",
]


def say(line):
    print(f"{time.strftime('%H:%M:%S')} {line}", flush=True)


# ---- canonical texts -------------------------------------------------------------------------------------------------------------------------------------

def clock(s):
    """A time or a timestamp with six digits of the second."""
    whole, _, fraction = s.partition(".")
    return f"{whole}.{fraction.ljust(6, '0')}"


def canonical(kind, s):
    """Of a value's text; None is NULL."""
    if s is None:
        return None
    if kind == "int":
        return {"t": "1", "f": "0"}.get(s) or str(int(Decimal(s)))
    if kind.startswith("bits"):
        return {"t": "1", "f": "0"}.get(s, s)
    if kind == "dec":
        return f"{Decimal(s):f}"
    if kind == "float":
        return struct.pack(">d", struct.unpack(">f", struct.pack(">f", float(s)))[0]).hex()
    if kind == "double":
        return struct.pack(">d", float(s)).hex()
    if kind in ("date", "datetime"):
        s = s.replace("T", " ").removesuffix("Z").removesuffix("+00")
        if s.endswith(" BC"):
            # before year 1 comes year 0
            year, rest = s.removesuffix(" BC").removesuffix("+00").split("-", 1)
            s = f"{1 - int(year):04}-{rest}"
        return clock(s) if kind == "datetime" else s
    if kind == "time":
        return clock(s)
    return s


def of_wire(kind, raw):
    """Of a text of PostgreSQL's protocol."""
    if raw is None:
        return None
    s = raw.decode()
    return s.removeprefix("\\x") if kind == "bytes" else canonical(kind, s)


def json_pairs(s):
    """JSON as nested pairs: order and repeated names are kept, numbers are their exact values."""
    number = lambda n: ("n", str(Decimal(n).normalize()) if Decimal(n) else "-0" if n.startswith("-") and not re.fullmatch(r"-\d+", n) else "0")
    value = json.loads(s, object_pairs_hook=lambda p: ("o", p), parse_float=number, parse_int=number, parse_constant=number)
    return value


def civil(days):
    """Year, month and day of a count of days since 1970."""
    days += 719468
    era, of_era = divmod(days, 146097)
    year = (of_era - of_era // 1460 + of_era // 36524 - of_era // 146096) // 365
    of_year = of_era - (365 * year + year // 4 - year // 100)
    month = (5 * of_year + 2) // 153
    day, month = of_year - (153 * month + 2) // 5 + 1, month + 3 if month < 10 else month - 9
    return year + era * 400 + (month <= 2), month, day


def of_bson(kind, value):
    """Of a BSON value, (type, bytes)."""
    tag, b = value
    if tag == 0x0A:
        return None
    if kind == "json":
        return json_of_bson(tag, b)
    if tag == 0x02:
        return canonical(kind, b[4:-1].decode())
    if tag == 0x05:
        n, subtype = struct.unpack("<iB", b[:5])
        return b[5:].hex() if (kind, subtype) == ("bytes", 0) else f"{b[5:9].hex()}-{b[9:11].hex()}-{b[11:13].hex()}-{b[13:15].hex()}-{b[15:].hex()}" if (kind, subtype) == ("uuid", 4) else f"binary {subtype}"
    if tag == 0x09:
        millis = struct.unpack("<q", b)[0]
        days, of_day = divmod(millis, 86_400_000)
        y, m, d = civil(days)
        day = f"{y:04}-{m:02}-{d:02}"
        return day if kind == "date" else f"{day} {of_day // 3600000:02}:{of_day // 60000 % 60:02}:{of_day // 1000 % 60:02}.{of_day % 1000:03}000"
    if tag == 0x08:
        return str(b[0])
    if tag in (0x10, 0x12):
        return str(int.from_bytes(b, "little", signed=True))
    if tag == 0x01:
        return b[::-1].hex()
    if tag == 0x13:
        return canonical(kind, decimal128(b))
    return f"type {tag:#x}"


def decimal128(b):
    from bson.decimal128 import Decimal128
    return str(Decimal128.from_bid(b))


def json_of_bson(tag, b):
    """A BSON value as json_pairs has it; what JSON has not is told by its type."""
    if tag == 0x03:
        return ("o", [(name, json_of_bson(t, v)) for name, t, v in elements(b)])
    if tag == 0x04:
        return [json_of_bson(t, v) for _, t, v in elements(b)]
    number = {0x10: lambda: str(struct.unpack("<i", b)[0]), 0x12: lambda: str(struct.unpack("<q", b)[0]), 0x01: lambda: repr(struct.unpack("<d", b)[0]), 0x13: lambda: decimal128(b)}.get(tag)
    if number:
        return json_pairs(number())
    return {0x0A: lambda: None, 0x08: lambda: bool(b[0]), 0x02: lambda: b[4:-1].decode()}.get(tag, lambda: f"type {tag:#x}")()


# ---- BSON, by hand: drivers can't write all of it ---------------------------------------------------------------------------------------------------------

def elements(document):
    """Names, types and bytes of a document's values."""
    at, out = 4, []
    while document[at]:
        tag, end = document[at], document.index(0, at + 1)
        name, at = document[at + 1 : end].decode("utf-8", "replace"), end + 1
        length = lambda: struct.unpack_from("<i", document, at)[0]
        if tag in (0x01, 0x09, 0x11, 0x12):
            n = 8
        elif tag in (0x02, 0x0D, 0x0E):
            n = 4 + length()
        elif tag in (0x03, 0x04, 0x0F):
            n = length()
        elif tag == 0x05:
            n = 5 + length()
        elif tag == 0x0B:
            n = document.index(0, document.index(0, at) + 1) + 1 - at
        elif tag == 0x0C:
            n = 4 + length() + 12
        else:
            n = {0x07: 12, 0x08: 1, 0x10: 4, 0x13: 16}.get(tag, 0)
        out.append((name, tag, bytes(document[at : at + n])))
        at += n
    return out


def document(*members):
    """A document of (name, (type, bytes))."""
    body = b"".join(bytes([tag]) + name.encode() + b"\0" + data for name, (tag, data) in members)
    return struct.pack("<i", len(body) + 5) + body + b"\0"


def string(s):
    b = s if isinstance(s, bytes) else s.encode()
    return struct.pack("<i", len(b) + 1) + b + b"\0"


# ---- servers ----------------------------------------------------------------------------------------------------------------------------------------------

class Mysql56(Mariadb):
    """A private MySQL 5.6 with GTIDs, where tests/install puts it; user root, password PASSWORD."""

    def __init__(self, root, name):
        self.dir, self.port = os.path.join(root, name), free_port()
        cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
        kept = os.path.join(cache, "standpipe/mysql56/package/server")
        if not os.path.exists(os.path.join(kept, "mysqld")):
            sys.exit(f"{kept}/mysqld is missing: run tests/install")
        os.makedirs(f"{self.dir}/data/mysql")
        # a server that starts removes what looks like its own from there, of others too
        os.makedirs(f"{self.dir}/tmp")
        server = f"{self.dir}/server"
        shutil.copytree(kept, server, ignore=shutil.ignore_patterns("data", "binlog"))
        subprocess.run(["chmod", "-R", "a+rX", server], check=True)
        self.owner = {}
        if os.getuid() == 0:
            entry = pwd.getpwnam("mysql")
            for path in (self.dir, f"{self.dir}/tmp", f"{self.dir}/data", f"{self.dir}/data/mysql"):
                os.chown(path, entry.pw_uid, entry.pw_gid)
            self.owner = {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
        share = f"{server}/share"
        command = [f"{server}/mysqld", "--no-defaults", f"--basedir={server}", f"--lc-messages-dir={share}", f"--character-sets-dir={share}/charsets", f"--datadir={self.dir}/data", f"--tmpdir={self.dir}/tmp",
                   "--innodb-log-file-size=8M", "--innodb-use-native-aio=0"]
        script = "use mysql;\n" + "\n".join(open(f"{share}/{n}.sql", encoding="latin1").read() for n in ("mysql_system_tables", "mysql_system_tables_data"))
        subprocess.run(command + ["--bootstrap"], input=script, text=True, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **self.owner)
        settings = ["--bind-address=127.0.0.1", f"--port={self.port}", f"--socket={self.dir}/socket", f"--pid-file={self.dir}/pid", "--server-id=1", "--log-bin=binlog", "--binlog-format=ROW",
                    "--gtid-mode=ON", "--enforce-gtid-consistency", "--log-slave-updates", "--skip-name-resolve", "--innodb-flush-log-at-trx-commit=2", "--sync-binlog=0",
                    "--innodb-buffer-pool-size=64M", "--character-set-server=utf8mb4", "--max-allowed-packet=64M", "--sql-mode="]
        with open(f"{self.dir}/log", "a") as log:
            self.process = subprocess.Popen(command + settings, stdin=subprocess.DEVNULL, stdout=log, stderr=log, **self.owner)
        local = ["mariadb", "--no-defaults", "-uroot", f"--socket={self.dir}/socket", "-e"]
        login = f"set sql_log_bin = 0; update mysql.user set password = password('{PASSWORD}') where user = 'root'; delete from mysql.user where user = ''; flush privileges"
        for _ in range(600):
            if subprocess.run(local + [login], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode == 0:
                return
            time.sleep(0.1)
        self.stop()
        with open(f"{self.dir}/log") as log:
            sys.exit(f"MySQL did not get ready; its log ends with:\n{log.read()[-2000:]}")


class Report:
    def __init__(self):
        self.compared, self.bad, self.refused = 0, [], {}

    def fault(self, what):
        self.bad.append(what)
        say(f"DIFFERENT {what}")

    def same(self, what, want, got):
        """Rows, {id: values by column}; each value is a comparison."""
        if isinstance(got, str):
            self.compared += 1
            return self.fault(f"{what}: {got[:400]}")
        wrong = {}
        for row in sorted(set(want) | set(got), key=str):
            w, g = want.get(row), got.get(row)
            if w is None or g is None:
                self.compared += 1
                wrong.setdefault("rows", []).append(f"row {row!r} is {'missing' if g is None else 'there'}")
                continue
            for column in w:
                self.compared += 1
                if w[column] != g.get(column, "missing"):
                    of = re.search(r"\((.*)\)$", row) if isinstance(row, str) else None
                    wrong.setdefault(f"{column}, {of.group(1)}" if of else column, []).append(f"row {row!r}: {str(w[column])[:160]!r} became {str(g.get(column, 'missing'))[:160]!r}")
        for column, all_of in wrong.items():
            self.fault(f"{what}, {column}, {len(all_of)} times: {'; '.join(all_of[:4])}")

    def must(self, what, right, why):
        self.compared += 1
        if not right:
            self.fault(f"{what}: {str(why)[:500]}")


def words(e):
    return "\n".join(getattr(e, "__notes__", [])) or str(e)


# ---- MySQL and MariaDB ------------------------------------------------------------------------------------------------------------------------------------

class Column:
    def __init__(self, name, sqltype, values, kind):
        self.name, self.sqltype, self.values, self.kind = name, sqltype, values, kind

    def words(self):
        """The source's own words, as SQL; hexadecimal, so that no client changes them."""
        if self.kind == "bytes":
            return f"hex(hex({self.name}))"
        if self.kind.startswith("bits"):
            return f"hex(lpad(bin({self.name}), {self.kind[5:]}, '0'))"
        # a float's own text has six digits; the product has all, and the sign of zero
        of = f"{self.name} * 1e0" if self.kind in ("float", "double") else self.name
        return f"hex(convert(concat({of}) using utf8mb4))"

    def read(self, shown):
        if shown == "NULL":
            return None
        s = bytes.fromhex(shown).decode()
        return s.lower() if self.kind == "bytes" else canonical(self.kind, s)


class Table:
    """`key`: the one column is the primary key, and `n` tells rows apart. `more`: columns that no statement names, of which `shown` are read at the source."""

    def __init__(self, name, columns, traits, key=False, more="", shown=()):
        self.name, self.columns, self.key, self.traits, self.more, self.shown = name, columns, key, traits, more, shown
        self.count = max(len(c.values) for c in columns)

    def refusal(self, target):
        """`create`, `fail` or nothing."""
        found = [t.split(":")[1] for t in self.traits if t.split(":")[0] in (target, "all") and ":" in t]
        return "fail" if "zero" in self.traits and not found else found[0] if found else ""

    def value(self, c, i):
        return c.values[i % len(c.values)]


def tables_of(maria):
    """Columns that every target takes share tables; the others, and keys, have their own."""
    out, packs = [], {}
    for i, (sqltype, values, kind, traits) in enumerate(TYPES):
        traits = traits.split()
        if "maria" in traits and not maria:
            continue
        column = Column(f"c{i}", sqltype, values, kind)
        if "only" in traits:
            pass
        elif "alone" in traits or any(t.endswith(":fail") for t in traits):
            out.append(Table(f"a{i}", [column], traits))
        else:
            packs.setdefault((kind in ("date", "datetime"), *(t for t in traits if ":" in t)), []).append(column)
        if "key" in traits and len(values) > 1:
            out.append(Table(f"k{i}", [Column("v", sqltype, values, kind)], traits, key=True))
    for traits, columns in packs.items():
        out += [Table(f"p{len(out) + i}", columns[i : i + 10], list(traits[1:])) for i in range(0, len(columns), 10)]
    if maria:
        computed = ", g int as (id * 2) virtual, s varchar(99) as (concat('s', id)) stored, i int invisible default 7"
        out.append(Table("computed", [Column("v", "varchar(9)", WORDS[:3], "text")], [], more=computed, shown=[Column("g", "int", [], "int"), Column("s", "text", [], "text"), Column("i", "int", [], "int")]))
    return out


def before(t):
    if t.key:
        c = t.columns[0]
        half = c.values[: (len(c.values) + 1) // 2]
        return [f"create table {t.name} (v {c.sqltype}, n int, primary key (v))"] + [f"insert ignore into {t.name} values ({v}, {i})" for i, v in enumerate(half)]
    listed = ", ".join(f"{c.name} {c.sqltype}" for c in t.columns)
    out = [f"create table {t.name} (id int primary key, {listed}{t.more}) row_format=dynamic"]
    if "old" in t.traits:
        out = ["set global mysql56_temporal_format = off"] + out + ["set global mysql56_temporal_format = on"]
    into = f"{t.name} (id, {', '.join(c.name for c in t.columns)})"
    if "notnull" not in t.traits:
        out.append(f"insert into {t.name} (id) values (0)")
    row = lambda i: ", ".join(t.value(c, i) for c in t.columns)
    for i in range(t.count):
        out += [f"insert into {into} values ({block + i}, {row(i)})" for block in (SNAPSHOT, CHANGED, DELETED, AGAIN)]
        if "notnull" not in t.traits:
            out.append(f"insert into {t.name} (id) values ({UPDATED + i})")
    return out


def after(t):
    if t.key:
        c = t.columns[0]
        later = c.values[(len(c.values) + 1) // 2 :]
        out = [f"insert ignore into {t.name} values ({v}, {100 + i})" for i, v in enumerate(later)] + [f"update {t.name} set n = n + 1000"]
        # the last goes, and the first takes its key
        return out + ([f"delete from {t.name} where n = {1100 + len(later) - 1}", f"update ignore {t.name} set v = {later[-1]} where n = 1000"] if later else [])
    out, row, into = [], lambda i: ", ".join(t.value(c, i) for c in t.columns), f"{t.name} (id, {', '.join(c.name for c in t.columns)})"
    sets = lambda i: ", ".join(f"{c.name} = {t.value(c, i)}" for c in t.columns)
    for i in range(t.count):
        out += [f"insert into {into} values ({INSERTED + i}, {row(i)})", f"update {t.name} set {sets(i + 1)} where id = {CHANGED + i}", f"delete from {t.name} where id = {DELETED + i}"]
        if "notnull" not in t.traits:
            out.append(f"update {t.name} set {sets(i)} where id = {UPDATED + i}")
        out.append(f"begin; delete from {t.name} where id = {AGAIN + i}; insert into {into} values ({AGAIN + i}, {row(i + 2)}); commit")
    return out


SESSION = "set names utf8mb4; set sql_mode = ''; set time_zone = '+00:00';\n"


def at_mysql(server, database, tables, label=None):
    """Rows of tables as a MySQL or MariaDB says them: {table: {id: {column: canonical}}}."""
    out = {t.name: {} for t in tables}
    for t in tables:
        of = label or ("n" if t.key else "id")
        try:
            shown = server.sql(database, f"{SESSION}select {', '.join([of] + [c.words() for c in t.columns])}, '.' from {t.name}")
        except subprocess.CalledProcessError as e:
            out[t.name] = words(e)
            continue
        for line in shown.splitlines():
            cells = line.split("\t")
            out[t.name][int(cells[0])] = {c.name: c.read(x) for c, x in zip(t.columns, cells[1:-1])}
    return out


def at_wire(connection, place, tables):
    """Rows of tables through PostgreSQL's protocol, in text."""
    import psycopg
    out = {}
    for t in tables:
        label = "n" if t.key else "id"
        with connection.cursor() as cur:
            try:
                cur.execute(f"select {', '.join([label] + [c.name for c in t.columns])} from {place}.{t.name}")
                cell = cur.pgresult.get_value
                out[t.name] = {int(cell(r, 0)): {c.name: of_wire(c.kind, cell(r, i + 1)) for i, c in enumerate(t.columns)} for r in range(cur.pgresult.ntuples)}
            except psycopg.Error as e:
                out[t.name] = str(e)
    return out


def raw_documents(mongo, database, collection):
    from bson.codec_options import CodecOptions
    from bson.raw_bson import RawBSONDocument
    return [bytes(d.raw) for d in mongo.client[database].get_collection(collection, CodecOptions(document_class=RawBSONDocument)).find()]


def put(mongo, database, collection, operation, *documents):
    """Documents as bytes, through the driver."""
    from bson.codec_options import CodecOptions, DatetimeConversion
    from bson.raw_bson import RawBSONDocument
    # the driver looks into some: it must not stumble over dates that Python has not
    options = CodecOptions(document_class=RawBSONDocument, datetime_conversion=DatetimeConversion.DATETIME_MS)
    getattr(mongo.client[database][collection], operation)(*(RawBSONDocument(d, options) for d in documents))


def at_mongo(mongo, place, tables):
    """Rows of tables as documents: the key is `_id`, and every column is a field."""
    out = {}
    for t in tables:
        rows = out[t.name] = {}
        for raw in raw_documents(mongo, place, t.name):
            fields = {name: (tag, b) for name, tag, b in elements(raw)}
            label = int(of_bson("int", fields["n" if t.key else "_id"]))
            rows[label] = {c.name: of_bson(c.kind, fields.get("_id" if t.key else c.name, (0x06, b""))) for c in t.columns}
    return out


class Bench:
    """The servers, and what the pipes between them are called."""

    def __init__(self, binary, root, report):
        self.report, self.binary, self.root = report, binary, root
        self.servers, self.standpipe = {}, None
        # of two statements at once that make something, one is to be run again
        self.making = threading.Lock()

    def start(self, wanted):
        """All servers at once. The targets are servers of their own system's sources too."""
        made = {"pg": Postgres, "maria": Mariadb, "mongo": Mongo, "mysql56": Mysql56}
        with concurrent.futures.ThreadPoolExecutor(len(made)) as pool:
            begun = {name: pool.submit(made[name], self.root, name) for name in ["pg", "maria", "mongo"] + [w for w in wanted if w == "mysql56"]}
        # those that got ready are stopped, whatever became of the others
        self.servers = {name: b.result() for name, b in begun.items() if not b.exception()}
        for b in begun.values():
            b.result()
        self.pg, self.maria, self.mongo = (self.servers[n] for n in ("pg", "maria", "mongo"))
        self.standpipe = Standpipe(self.binary, os.path.join(self.root, "standpipe"))
        self.pg.sql("postgres", "create database crossing")
        self.maria.sql("", "create database crossing character set utf8mb4; create database target character set utf8mb4")
        self.source("to_pg", f"type = 'postgres', host = '127.0.0.1', port = {self.pg.port}, database = 'crossing', user = 'postgres'")
        self.source("to_maria", f"type = 'mysql', host = '127.0.0.1', port = {self.maria.port}, database = 'target', user = 'root', password = '{PASSWORD}', sslmode = 'disable'")
        if "mysql56" in self.servers:
            self.servers["mysql56"].sql("", "create database target character set utf8mb4")
            self.source("to_mysql", f"type = 'mysql', host = '127.0.0.1', port = {self.servers['mysql56'].port}, database = 'target', user = 'root', password = '{PASSWORD}', sslmode = 'disable'")
        self.source("to_mongo", f"type = 'mongodb', host = '127.0.0.1', port = {self.mongo.port}, database = 'target'")

    def mysql(self, target):
        """The server of such a target."""
        return self.servers["mysql56" if target == "mysql" else target]

    def targets(self):
        """Those that there are servers of."""
        return [t for t in TARGETS if t != "mysql" or "mysql56" in self.servers]

    def stop(self):
        if self.standpipe:
            self.standpipe.kill()
        for s in self.servers.values():
            s.stop()

    def sql(self, statement):
        return self.standpipe.sql("standpipe", statement)

    def make(self, statement):
        with self.making:
            self.sql(statement)

    def source(self, name, options):
        self.make(f"create source {name} with ({options})")

    def pipe(self, name, source, target, place, tables, options=""):
        connector = "'connector' = 'lake-connector'" if target == "lake" else f"'target-name' = 'to_{target}'"
        if target == "pg":
            self.pg.sql("crossing", f"create schema if not exists {place}")
        self.make(f"create pipe {name} with extractor ('source-name' = '{source}', 'tables' = '{', '.join(tables)}') with connector ({connector}, 'table' = '{place}.${{table}}'{options}) with runtime (start = true)")

    def broken(self, pipe):
        """Tables that FAILED, with why."""
        with self.wire("standpipe") as con:
            said = con.execute(f"select table_name, exception_message from standpipe.pipe_tables where pipe = '{pipe}' and phase = 'FAILED'").fetchall()
        return {name.split(".")[1]: why for name, why in said}

    def wait(self, pipe, how=""):
        try:
            self.sql(f"wait for pipe {pipe} {how} timeout '120 s'")
        except subprocess.CalledProcessError as e:
            said = self.broken(pipe)
            with self.wire("standpipe") as con:
                why = con.execute(f"select exception_message from standpipe.pipes where name = '{pipe}'").fetchone()
            self.report.fault(f"pipe {pipe}: {words(e)} {why} {str(said)[:1500]}")

    def wire(self, database):
        import psycopg
        return psycopg.connect(f"postgresql://standpipe@127.0.0.1:{self.standpipe.port}/{database}", password=PASSWORD, autocommit=True)

    def at(self, target, place, tables):
        """What a target has: of PostgreSQL by itself, of the lake by Standpipe's own SQL."""
        if target in ("maria", "mysql"):
            return at_mysql(self.mysql(target), place, tables)
        if target == "mongo":
            return at_mongo(self.mongo, place, tables)
        if target == "lake":
            with self.wire("standpipe") as con:
                return at_wire(con, place, tables)
        import psycopg
        pinned = "-c datestyle=ISO -c timezone=UTC -c bytea_output=hex -c extra_float_digits=1"
        with psycopg.connect(self.pg.url("crossing"), autocommit=True, options=pinned) as con:
            return at_wire(con, place, tables)


# What of a value a target can't hold, by its canonical text; it is NULL there under `on-lossy` = null, and counted.
LOST = {
    "mongo": lambda kind, v: (kind == "datetime" and not v.endswith("000")) or (kind == "dec" and len(v.lstrip("-").replace(".", "").lstrip("0")) > 34) or kind == "json",
    "lake": lambda kind, v: kind in ("date", "datetime") and v.startswith("0000"),
    "pg": lambda kind, v: kind == "text" and "\0" in v,
}


class Crossing:
    """One MySQL or MariaDB through all of it."""

    def __init__(self, bench, name, server):
        self.bench, self.name, self.server = bench, name, server
        self.tables = tables_of(name == "maria")
        self.dates = [t for t in self.tables if all(c.kind in ("date", "datetime") for c in t.columns) and not {"all:create", "all:fail"} & set(t.traits)]
        self.waited, self.checks = [], []

    def made(self, variant, target, tables, options="", source=""):
        """A pipe to a place of its own, and what is compared at the end."""
        if tables:
            pipe, place = f"{self.name}_{target}_{variant}", f"{self.name}_{variant}"
            self.bench.pipe(pipe, source or self.name, target, place, [f"crossing.{t.name}" for t in tables], options)
            return pipe, place, target, tables
        return None

    def snapshot(self):
        b = self.bench
        self.server.sql("", "create database if not exists crossing character set utf8mb4")
        self.server.sql("crossing", SESSION + ";\n".join(s for t in self.tables for s in before(t)))
        options = f"type = 'mysql', host = '127.0.0.1', port = {self.server.port}, database = 'crossing', user = 'root', password = '{PASSWORD}', sslmode = 'disable'"
        b.source(self.name, options)
        b.source(f"{self.name}_zero", options + ", \"zero-dates\" = 'text'")
        for source in (self.name, f"{self.name}_zero"):
            b.make(f"sync tables from source {source}")
        for target in self.bench.targets():
            of = {r: [t for t in self.tables if t.refusal(target) == r] for r in ("", "create", "fail")}
            self.checks.append((self.made("exact", target, of[""]), ""))
            # what the source has not is said before what the target has not
            for first in (True, False):
                self.refused(target, [t for t in of["create"] if ("all:create" in t.traits) == first])
            self.failing = getattr(self, "failing", []) + [(self.made("fails", target, of["fail"]), target)]
            taken = [t for t in of["create"] + of["fail"] if "zero" not in t.traits and not {"all:create", "all:fail", "nolossy"} & set(t.traits)]
            if target != "pg":
                self.checks.append((self.made("text", target, taken, ", 'on-lossy' = 'text'"), ""))
            nulled = [t for t in taken if not t.key and (target == "mongo" or not any(c.kind == "json" for c in t.columns))]
            self.checks.append((self.made("null", target, nulled, ", 'on-lossy' = 'null'"), "null"))
            self.checks.append((self.made("zero", target, self.dates, source=f"{self.name}_zero"), ""))
        self.checks = [c for c in self.checks if c[0]]
        for (pipe, *_), _ in self.checks:
            b.wait(pipe)

    def refused(self, target, tables):
        """CREATE PIPE says no, and names the column."""
        if not tables:
            return
        try:
            self.made("refused", target, tables)
            said = "it was taken"
        except subprocess.CalledProcessError as e:
            said = words(e)
        for t, column in ((t, c) for t in tables for c in t.columns):
            self.bench.report.refused.setdefault(f"CREATE PIPE to {target}", set()).add(column.sqltype)
            named = re.search(rf'\b{column.name}"? of (table )?\S*\b{t.name}\b', said)
            self.bench.report.must(f"{self.name}: {column.sqltype}{' as key' if t.key else ''} to {target} is refused at CREATE PIPE by the column's name", named, f"{t.name}: {said}")

    def changes(self):
        self.server.sql("crossing", SESSION + ";\n".join(s for t in self.tables for s in after(t)))
        for (pipe, *_), _ in self.checks:
            self.bench.wait(pipe, "until caught up")

    def compare(self):
        b, r = self.bench, self.bench.report
        want = at_mysql(self.server, "crossing", self.tables)
        for (pipe, place, target, tables), how in self.checks:
            got, broken = b.at(target, place, tables), b.broken(pipe)
            for t in tables:
                if t.name in broken:
                    r.must(f"{pipe} {t.name}", False, broken[t.name])
                    continue
                expected = want[t.name]
                if how == "null":
                    expected = {i: {c.name: None if row[c.name] is not None and LOST[target](c.kind, row[c.name]) else row[c.name] for c in t.columns} for i, row in expected.items()}
                    self.counted(pipe, t, {c.name for c in t.columns if any(row[c.name] != expected[i][c.name] for i, row in want[t.name].items())})
                # what fits no type of MongoDB's is its text there
                if target == "mongo" and "mongo:fail" not in t.traits:
                    expected = {i: {c.name: json_pairs(row[c.name]) if c.kind == "json" and row[c.name] is not None else row[c.name] for c in t.columns} for i, row in expected.items()}
                kinds = ", ".join(c.sqltype for c in t.columns)[:90]
                r.same(f"{pipe} {t.name} ({kinds}{', as key' if t.key else ''})", expected, got[t.name])
        for made, target in self.failing:
            for t in made[3] if made else []:
                self.failed(made[0], target, t)
        for t in self.tables:
            t.columns = t.columns + list(t.shown)
        want = at_mysql(self.server, "crossing", self.tables)
        plain = [t for t in self.tables if "zero" not in t.traits and not {"all:create", "all:fail"} & set(t.traits)]
        with b.wire(self.name) as con:
            got = at_wire(con, "crossing", plain)
        for t in plain:
            r.same(f"SELECT from {self.name} {t.name} ({', '.join(c.sqltype for c in t.columns)[:90]})", want[t.name], got[t.name])

    def counted(self, pipe, t, lost):
        said = self.bench.sql(f"select column_name || ' ' || lossy_values || ' ' || first_key from standpipe.pipe_lossy where pipe = '{pipe}' and table_name = 'crossing.{t.name}'")
        for c in t.columns:
            found = re.search(rf"^{c.name} [1-9]\d* key \(id\) = \(", said, re.M)
            self.bench.report.must(f"{pipe}: values of {c.sqltype} that are lost are counted by column, with the first key", bool(found) == (c.name in lost), said or "nothing is counted")

    def failed(self, pipe, target, t):
        state = lambda: self.bench.sql(f"select phase || ' ' || coalesce(exception_message, '') from standpipe.pipe_tables where pipe = '{pipe}' and table_name = 'crossing.{t.name}'")
        said = state()
        for _ in range(100):
            if said.startswith("FAILED"):
                break
            time.sleep(0.1)
            said = state()
        column = t.columns[0]
        self.bench.report.refused.setdefault(f"FAILED to {target}", set()).add(column.sqltype)
        self.bench.report.must(f"{pipe}: {column.sqltype}{' as key' if t.key else ''} makes its table fail by the column's name", said.startswith("FAILED") and re.search(rf"\b{column.name}\b", said), said)


# ---- MongoDB ----------------------------------------------------------------------------------------------------------------------------------------------

i32, i64, f64 = (lambda n: (0x10, struct.pack("<i", n))), (lambda n: (0x12, struct.pack("<q", n))), (lambda n: (0x01, struct.pack("<d", n)))
f64_bits, words_of, date = (lambda n: (0x01, struct.pack("<Q", n))), (lambda s: (0x02, string(s))), (lambda n: (0x09, struct.pack("<q", n)))
doc, array = (lambda *m: (0x03, document(*m))), (lambda *v: (0x04, document(*((str(i), x) for i, x in enumerate(v)))))
oid, null, true = (lambda b: (0x07, bytes.fromhex(b))), (0x0A, b""), (0x08, b"\1")
binary = lambda subtype, b: (0x05, struct.pack("<iB", len(b), subtype) + b)
regex = lambda p, o: (0x0B, p.encode() + b"\0" + o.encode() + b"\0")
stamp = lambda t, i: (0x11, struct.pack("<II", i, t))


def decimal(s):
    from bson.decimal128 import Decimal128
    return (0x13, Decimal128(s).bid)


def scoped(code, scope):
    body = string(code) + scope
    return (0x0F, struct.pack("<i", len(body) + 4) + body)


def nested(depth):
    inner = doc(("a", i32(1)))
    for i in range(depth):
        inner = array(inner) if i % 2 else doc(("d", inner))
    return inner


def bson_values():
    """Every type of BSON, by name; what stands in `NO_KEY` the server takes for no `_id`."""
    raw = lambda high, low: (0x13, struct.pack("<QQ", low, high))
    out = {"double": [f64(x) for x in (0.0, 1.0, -1.5, 0.1, 1.7976931348623157e308, 5e-324, 2.2250738585072014e-308, 9007199254740993.0, 1e22, 1e-7, float("inf"), float("-inf"))], "double -0.0": [f64(-0.0)],
           "double NaN": [f64_bits(0x7FF8000000000000)]}
    out["string"] = [words_of(s) for s in ("", "x", " a ", "5", "-1", "true", "null", "{}", '"q"', "[1]", "a" * 24, "0" * 24, "tab\tnew\nline\\", "\\N", "é😀e\u0301", "\u2028", "\x01\x7f", "/", "x" * 700)]
    out["string with NUL"] = [words_of("a\0b"), words_of("\0")]
    out["object"] = [doc(), doc(("b", i32(1)), ("a", i32(2))), doc(("", i32(1))), doc(("a.b", i32(1))), doc(("é\"\\", null)), nested(27)]
    out["object, repeated names"] = [doc(("a", i32(1)), ("a", i32(2)))]
    out["object like Extended JSON"] = [doc((n, v)) for n, v in (("$oid", words_of("00" * 12)), ("$numberLong", words_of("5")), ("$date", words_of("x")), ("$literal", doc(("$oid", i32(1)))), ("$undefined", true), ("$minKey", i32(1)),
                                        ("$numberInt", words_of("1")), ("$code", words_of("f")), ("$symbol", words_of("s")), ("$uuid", words_of("u")), ("$binary", doc()), ("$timestamp", doc()), ("$regularExpression", doc()), ("$type", i32(1)))]
    out["DBRef"] = [doc(("$ref", words_of("c")), ("$id", i32(1)), ("$db", words_of("d")))]
    out["array"] = [array(), array(i32(1), null, words_of("x")), array(array(), doc(), array(f64(1.0)))]
    out["binary"] = [binary(0, b) for b in (b"", b"\0", b"\xff\0\x27")]
    for subtype in (1, 2, 3, 4, 5, 6, 7, 8, 9, 0x80, 0xFF):
        inner = bytes(range(16))
        out[f"binary {subtype}"] = [binary(subtype, struct.pack("<i", 16) + inner if subtype == 2 else inner)]
    out["binary 4 of another length"], out["binary 3 of another length"] = [binary(4, b"x"), binary(4, b"")], [binary(3, b"x")]
    out["undefined"] = [(0x06, b"")]
    out["ObjectId"] = [oid("00" * 12), oid("ff" * 12), oid("0123456789abcdef01234567")]
    out["bool"] = [true, (0x08, b"\0")]
    out["date"] = [date(n) for n in (0, 1, -1, 1_700_000_000_123, 951_782_400_000, -62_135_596_800_000, -62_167_219_200_000, -62_167_219_200_001, 253_402_300_799_999, 253_402_300_800_000, 8_640_000_000_000_001, (1 << 63) - 1, -(1 << 63))]
    out["null"] = [null]
    out["regex"] = [regex("a.b", "i"), regex("", ""), regex('"\\/é', "imsx"), regex("x", "xi")]
    out["dbPointer"] = [(0x0C, string("db.c") + bytes(range(12)))]
    out["javascript"] = [(0x0D, string("function() { return '\"' }")), (0x0D, string(""))]
    out["symbol"] = [(0x0E, string("s\"é")), (0x0E, string(""))]
    out["javascript with scope"] = [scoped("f()", document(("a", i32(1)))), scoped("", document(("$oid", i64(5)), ("x", nested(3))))]
    out["int32"] = [i32(n) for n in (0, 1, -1, (1 << 31) - 1, -(1 << 31))]
    out["timestamp"] = [stamp(1, 1), stamp(0xFFFFFFFF, 0xFFFFFFFF), stamp(1_700_000_000, 0)]
    out["int64"] = [i64(n) for n in (0, 1, 1 << 31, -(1 << 31) - 1, 9007199254740993, (1 << 63) - 1, -(1 << 63))]
    out["decimal128"] = [decimal(s) for s in ("0", "1.10", "1E+3", "-0", "0E+3", "-0.00", "9.999999999999999999999999999999999E+6144", "1E-6176", "0E-6176", "0E+6111", "1234567890123456789012345678901234", "0.1", "-1E-7", "Infinity", "-Infinity")]
    out["decimal128 NaN"] = [decimal("NaN")]
    out["minKey"], out["maxKey"] = [(0xFF, b"")], [(0x7F, b"")]
    return out


def exact_json(s):
    """What an Extended JSON (version 2, relaxed) says, as (type, bytes) of BSON; a reader of its own, by MongoDB's specification."""
    class Number(str):
        pass
    return of_json(json.loads(s, object_pairs_hook=lambda p: ("o", p), parse_float=Number, parse_int=Number))


def of_json(v):
    from base64 import b64decode
    if v is None or isinstance(v, bool):
        return null if v is None else (0x08, bytes([v]))
    if isinstance(v, list):
        return array(*(of_json(x) for x in v))
    if isinstance(v, tuple):
        return of_form(v[1], b64decode)
    if type(v) is str:
        return words_of(v)
    if re.fullmatch(r"-?\d+", v):
        return i32(int(v)) if -(1 << 31) <= int(v) < 1 << 31 else i64(int(v))
    return f64(float(v))


def of_form(members, b64decode):
    plain = lambda m: doc(*((n, of_json(x)) for n, x in m))
    names, first = [n for n, _ in members], members[0][1] if members else None
    inner = dict(first[1]) if isinstance(first, tuple) else {}
    special = {"NaN": 0x7FF8000000000000, "Infinity": 0x7FF0000000000000, "-Infinity": 0xFFF0000000000000}
    forms = {
        "$literal": lambda: plain(first[1]), "$oid": lambda: oid(first), "$numberInt": lambda: i32(int(first)), "$numberLong": lambda: i64(int(first)), "$numberDecimal": lambda: decimal(first),
        "$numberDouble": lambda: f64_bits(special[first]) if first in special else f64(float(first)), "$undefined": lambda: (0x06, b""), "$minKey": lambda: (0xFF, b""), "$maxKey": lambda: (0x7F, b""),
        "$symbol": lambda: (0x0E, string(first)), "$uuid": lambda: binary(4, bytes.fromhex(first.replace("-", ""))), "$binary": lambda: binary(int(inner["subType"], 16), b64decode(inner["base64"])),
        "$timestamp": lambda: stamp(int(inner["t"]), int(inner["i"])), "$regularExpression": lambda: regex(inner["pattern"], inner["options"]), "$date": lambda: date(int(inner["$numberLong"]) if inner else iso(first)),
        "$dbPointer": lambda: (0x0C, string(inner["$ref"]) + bytes.fromhex(dict(inner["$id"][1])["$oid"])),
    }
    if names == ["$code"]:
        return (0x0D, string(first))
    if names == ["$code", "$scope"]:
        return scoped(first, of_json(members[1][1])[1])
    return forms[names[0]]() if len(names) == 1 and names[0] in forms else plain(members)


def iso(s):
    """Milliseconds since 1970 of `2024-02-29T12:34:56.789Z`."""
    import calendar
    whole, _, fraction = s.removesuffix("Z").partition(".")
    return calendar.timegm(time.strptime(whole, "%Y-%m-%dT%H:%M:%S")) * 1000 + int(fraction.ljust(3, "0") or 0)


# Types that the server takes for no `_id`.
NO_KEY = ("array", "regex", "undefined", "object like Extended JSON", "object, repeated names", "DBRef")


class Documents:
    """MongoDB through all of it: each value inside a document, and as `_id`."""

    def __init__(self, bench):
        self.bench, self.pipes = bench, []
        self.values = [(name, v) for name, vs in bson_values().items() for v in vs]
        self.names = {}
        for i, (name, _) in enumerate(self.values):
            for block in (SNAPSHOT, INSERTED, UPDATED, CHANGED, AGAIN):
                self.names[block + i] = name

    def put(self, collection, operation, *documents):
        put(self.bench.mongo, "bson", collection, operation, *documents)

    def row(self, block, i, value):
        return document(("_id", i32(block + i)), ("v", value), ("a", array(value, doc(("n", value)))))

    def key(self, value, n):
        return document(("_id", value), ("n", i32(n)))

    def snapshot(self):
        import pymongo.errors
        b, client = self.bench, self.bench.mongo.client
        for i, (name, v) in enumerate(self.values):
            for block in (SNAPSHOT, CHANGED, DELETED, AGAIN):
                self.put("docs", "insert_one", self.row(block, i, v))
            self.put("docs", "insert_one", self.row(UPDATED, i, null))
        self.keys = []
        for i, (name, v) in enumerate(self.values):
            try:
                self.put("ids", "insert_one", self.key(v, i))
                self.keys.append((i, name, v))
            except pymongo.errors.DuplicateKeyError:
                # one number is one key, whatever its type is
                b.report.refused.setdefault("by MongoDB as a second _id of its value", set()).add(name)
            except (pymongo.errors.WriteError, pymongo.errors.OperationFailure) as e:
                b.report.refused.setdefault("by MongoDB as _id", set()).add(name)
                b.report.must(f"{name} as _id", name in NO_KEY, e)
        # each is there by the snapshot or by a change, and there are keys that go and come again
        for i, name, v in self.keys[1::2]:
            client["bson"]["ids"].delete_one({"n": i})
        self.put("deep", "insert_one", document(("_id", i32(SNAPSHOT)), ("v", i32(1))))
        b.source("documents", f"type = 'mongodb', host = '127.0.0.1', port = {b.mongo.port}, database = 'bson'")
        b.make("sync tables from source documents")
        for target in b.targets():
            name = f"documents_{target}"
            b.pipe(name, "documents", target, "bson_copy", ["bson.docs", "bson.ids", "bson.deep"])
            self.pipes.append((name, target))
        for name, _ in self.pipes:
            b.wait(name)

    def changes(self):
        client = self.bench.mongo.client["bson"]
        self.put("deep", "insert_one", document(("_id", i32(INSERTED)), ("v", nested(85))))
        for i, (name, v) in enumerate(self.values):
            one = lambda block: document(("_id", i32(block + i)))
            self.put("docs", "insert_one", self.row(INSERTED, i, v))
            self.put("docs", "update_one", one(UPDATED), document(("$set", doc(("v", v), ("a", array(v, doc(("n", v))))))))
            self.put("docs", "replace_one", one(CHANGED), self.row(CHANGED, i, self.values[(i + 1) % len(self.values)][1]))
            self.put("docs", "delete_one", one(DELETED))
            self.put("docs", "delete_one", one(AGAIN))
            self.put("docs", "insert_one", self.row(AGAIN, i, v))
        for i, name, v in self.keys[1::2]:
            self.put("ids", "insert_one", self.key(v, i))
        for place, (i, name, v) in enumerate(self.keys):
            client["ids"].update_one({"n": i}, {"$set": {"n": i + 1000}})
            if place % 3 == 0:
                client["ids"].delete_one({"n": i + 1000})
            if place % 6 == 0:
                self.put("ids", "insert_one", self.key(v, i + 2000))
        for name, _ in self.pipes:
            self.bench.wait(name, "until caught up")

    def rows(self, documents, collection):
        """By the number of each row: its fields as (type, bytes)."""
        out = {}
        for raw in documents:
            fields = {name: (tag, v) for name, tag, v in elements(raw)}
            label = struct.unpack("<i", fields["n" if collection == "ids" else "_id"][1])[0]
            kind = self.values[label % 1000][0] if collection == "ids" else self.names[label]
            out[f"{label} ({kind})"] = {name: f"{tag:#04x} {v.hex()}" for name, (tag, v) in fields.items()}
        return out

    def compare(self):
        b = self.bench
        for name, target in self.pipes + [("SELECT", "select")]:
            broken = {} if target == "select" else b.broken(name)
            for collection in ("docs", "ids", "deep"):
                want = self.rows(raw_documents(b.mongo, "bson", collection), collection)
                what = f"{name} {collection}"
                if (target, collection) == ("maria", "deep"):
                    # MariaDB's JSON has 31 levels
                    b.report.refused.setdefault("FAILED to maria", set()).add("documents of more than 31 levels")
                    b.report.must(f"{what} makes its table fail by the column's name", re.search(r"\bdoc\b", broken.get(collection, "")), broken)
                elif collection in broken:
                    b.report.must(what, False, broken[collection])
                elif target == "mongo":
                    b.report.same(what, want, self.rows(raw_documents(b.mongo, "bson_copy", collection), collection))
                else:
                    shown = self.shown(target, collection)
                    keys = [k for k, _ in shown]
                    b.report.must(f"{what}: different keys have different texts", len(set(keys)) == len(keys), keys)
                    b.report.same(what, want, self.rows([exact_json(d)[1] for _, d in shown], collection))

    def shown(self, target, collection):
        """`_id` and `doc` as texts."""
        import psycopg
        if target in ("maria", "mysql"):
            lines = self.bench.mysql(target).sql("bson_copy", f"{SESSION}select hex(_id), hex(doc) from {collection}")
            return [tuple(bytes.fromhex(x).decode() for x in line.split("\t")) for line in lines.splitlines()]
        place = {"pg": "bson_copy", "lake": "bson_copy", "select": "bson"}[target]
        connect = {"pg": lambda: psycopg.connect(self.bench.pg.url("crossing")), "lake": lambda: self.bench.wire("standpipe"), "select": lambda: self.bench.wire("documents")}[target]
        with connect() as con, con.cursor() as cur:
            cur.execute(f"select _id, doc from {place}.{collection}")
            return [(cur.pgresult.get_value(r, 0).decode(), cur.pgresult.get_value(r, 1).decode()) for r in range(cur.pgresult.ntuples)]


def run(binary, root, only):
    report = Report()
    bench = Bench(binary, root, report)
    try:
        bench.start(only)
        say("servers are ready")
        crossings = [Crossing(bench, name, bench.servers[name]) for name in ("maria", "mysql56") if name in only]
        if "mongo" in only:
            from declared import Declared
            crossings += [Documents(bench), Declared(bench)]
        for phase, done in (("snapshot", "snapshots are done"), ("changes", "changes are there"), ("compare", "all is compared")):
            with concurrent.futures.ThreadPoolExecutor(len(crossings)) as pool:
                list(pool.map(lambda c: getattr(c, phase)(), crossings))
            say(done)
    finally:
        bench.stop()
        say("servers are stopped")
    for where, types in sorted(report.refused.items()):
        say(f"refused, {where}: {', '.join(sorted(types))}")
    for line in NOT_CROSSED:
        say(f"not crossed: {line}")
    say(f"{report.compared} comparisons, {len(report.bad)} differ")
    return bool(report.bad)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--standpipe", required=True)
    parser.add_argument("--keep", action="store_true")
    parser.add_argument("--only", default="maria,mysql56,mongo", help="comma list of sources")
    a = parser.parse_args()
    with scratch("crossing", a.keep) as root:
        # a MySQL that starts removes temporary tables from there, whoever's they are
        os.environ["TMPDIR"] = os.path.join(root, "tmp")
        os.mkdir(os.environ["TMPDIR"])
        os.chmod(os.environ["TMPDIR"], 0o1777)
        bad = run(a.standpipe, root, a.only.split(","))
    sys.exit(bool(bad))


if __name__ == "__main__":
    main()
