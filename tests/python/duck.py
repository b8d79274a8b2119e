"""Answers queries over Delta tables with DuckDB: one JSON request per line on stdin, one JSON answer per line on stdout.

The tests keep one of these running as the eye from outside on a lake: it knows the files and nothing of the program that writes them.
"""
import json, sys

import duckdb
from duckdb_extensions import import_extension


def main():
    import_extension("delta")
    con = duckdb.connect()
    con.load_extension("delta")
    con.execute("set threads = 1")
    for line in sys.stdin:
        try:
            rows = con.execute(json.loads(line)["sql"]).fetchall()
            answer = {"rows": [[None if v is None else str(v) for v in row] for row in rows]}
        except Exception as e:  # the asker decides what an error means
            answer = {"error": f"{type(e).__name__}: {e}"}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
