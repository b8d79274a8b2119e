"""The same SQL to a real PostgreSQL and to the program with that PostgreSQL as a source; both must say the same.

`tests/differential/*.sql` has one statement per line. Compared: column names, types, rows as text, or the SQLSTATE and where it points. What the
program does not do stands with the SQLSTATE it says so with in front (`!0A000 select ...`), what it takes and PostgreSQL does not with `+`, and a
type or number of decimals that is known to differ with `~`: neither a wrong answer nor a new ability goes unseen."""
import argparse, glob, os, shutil, sys, tempfile

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from psycopg import pq
from servers import PASSWORD, Postgres, Standpipe

CASES = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "differential")
# what a statement that names no time zone or style is read and shown with
SESSION = "set timezone = 'UTC'"


def connect(url):
    c = pq.PGconn.connect(url.encode())
    assert c.status == pq.ConnStatus.OK, c.error_message
    c.exec_(SESSION.encode())
    return c


def answer(c, sql):
    """(columns, types, rows) or (SQLSTATE, position, words)."""
    r = c.exec_(sql.encode())
    if r.status in (pq.ExecStatus.TUPLES_OK, pq.ExecStatus.SINGLE_TUPLE):
        columns = range(r.nfields)
        rows = [tuple(None if (v := r.get_value(i, j)) is None else v.decode() for j in columns) for i in range(r.ntuples)]
        return [r.fname(j).decode() for j in columns], [r.ftype(j) for j in columns], rows
    field = lambda f: (r.error_field(f) or b"").decode()
    if r.status == pq.ExecStatus.FATAL_ERROR:
        return field(pq.DiagnosticField.SQLSTATE), field(pq.DiagnosticField.STATEMENT_POSITION), f"{field(pq.DiagnosticField.MESSAGE_PRIMARY)} | {field(pq.DiagnosticField.MESSAGE_DETAIL)}"
    return [], [], [(r.command_status.decode(),)]


def ordered(sql, rows):
    return rows if "order by" in sql.lower() else sorted(rows, key=repr)


def alike(a, b):
    """The same numbers, whatever their decimals."""
    try:
        return a == b or abs(float(a) - float(b)) <= 1e-9 * abs(float(b))
    except (TypeError, ValueError):
        return False


def difference(sql, want, got, mark):
    """None: as it should be."""
    failed, refused = isinstance(got[0], str), mark if mark not in ("+", "~", None) else None
    if mark == "+":
        return None if isinstance(want[0], str) and not failed else f"is no more than PostgreSQL does: {got[2]}"
    if mark == "~" and not failed and not isinstance(want[0], str):
        pairs = [(a, b) for x, y in zip(ordered(sql, want[2]), ordered(sql, got[2])) for a, b in zip(x, y)]
        same = len(want[2]) == len(got[2]) and all(alike(a, b) for a, b in pairs)
        return ("is as PostgreSQL's by now" if (want[1], want[2]) == (got[1], got[2]) else None) if same else f"gives {got[2][:4]}, not {want[2][:4]}"
    if refused:
        if failed and got[0] == refused:
            return None
        return f"should be refused with {refused}, " + (f"says {got[0]} {got[2]}" if failed else f"gives {got[2]}")
    if isinstance(want[0], str):
        if not failed:
            return f"should fail with {want[0]} {want[2]}, gives {got[2]}"
        if got[0] != want[0]:
            return f"should fail with {want[0]} {want[2]}, says {got[0]} {got[2]}"
        return None if got[1] in (want[1], "") else f"points to {got[1]}, not {want[1]}"
    if failed:
        return f"says {got[0]} {got[2]}"
    if want[0] != got[0]:
        return f"columns {got[0]}, not {want[0]}"
    if ordered(sql, want[2]) != ordered(sql, got[2]):
        return "rows\n    have " + "\n         ".join(map(str, got[2][:8])) + "\n    want " + "\n         ".join(map(str, want[2][:8]))
    if want[1] != got[1]:
        return f"types {got[1]}, not {want[1]}"
    return None


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--standpipe", required=True)
    parser.add_argument("--only", help="part of the files' names")
    a = parser.parse_args()
    root = tempfile.mkdtemp(prefix="standpipe-differential-")
    os.chmod(root, 0o755)
    source, server, failed, count = Postgres(root, "source"), None, 0, 0
    try:
        source.sql("postgres", "create database app")
        with open(os.path.join(CASES, "tables.sql")) as f:
            source.sql("app", f.read())
        server = Standpipe(a.standpipe, os.path.join(root, "standpipe"))
        server.sql("standpipe", f"create source src with (type = 'postgres', host = '127.0.0.1', port = {source.port}, database = 'app', user = 'postgres')")
        server.sql("standpipe", "sync tables from source src")
        theirs, ours = connect(source.url("app")), connect(f"postgresql://standpipe:{PASSWORD}@127.0.0.1:{server.port}/src")
        ours.exec_(b"set statement_timeout = '20s'")
        for path in sorted(glob.glob(os.path.join(CASES, "*.sql"))):
            name = os.path.basename(path)
            if name == "tables.sql" or (a.only and a.only not in name):
                continue
            with open(path) as f:
                lines = [(n, line.rstrip("\n")) for n, line in enumerate(f, 1)]
            # what depends on the zone is asked in two
            zones = ("UTC", "America/New_York") if name == "datetime.sql" else ("UTC",)
            for zone, (n, line) in ((z, each) for z in zones for each in lines):
                if not line.strip() or line.startswith("--"):
                    continue
                if n == lines[0][0]:
                    for c in (theirs, ours):
                        c.exec_(f"set timezone = '{zone}'".encode())
                mark, sql = (line[1:6], line[7:]) if line.startswith("!") else (line[0], line[2:]) if line[0] in "+~" else (None, line)
                count += 1
                wrong = difference(sql, answer(theirs, sql), answer(ours, sql), mark)
                if ours.status != pq.ConnStatus.OK:
                    sys.exit(f"{name}:{n}: {sql}: the connection is gone")
                if wrong:
                    failed += 1
                    print(f"{name}:{n}: {sql}\n  {wrong}" + ("" if zone == "UTC" else f" ({zone})"), flush=True)
    finally:
        if server:
            server.stop()
        source.stop()
        shutil.rmtree(root, ignore_errors=True)
    print(f"{failed} of {count} differ" if failed else f"{count} statements, no difference")
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
