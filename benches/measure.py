"""What all groups share: clocks, memory, the line that is printed, an empty database, a pipe that is stopped and goes on."""
import os, subprocess, sys, time


def timed(f):
    began = time.monotonic()
    f()
    return time.monotonic() - began


def child_peak(command, **more):
    """Seconds and peak memory (MB) of a command and its children."""
    began = time.monotonic()
    process = subprocess.Popen(command, **more)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"{command[0]} failed")
    return time.monotonic() - began, usage.ru_maxrss // 1024


def note(group, who, seconds, memory, base, rows=None):
    """Prints a line: rows is how many were moved, base the seconds that this line is compared to."""
    ratio = "" if base is None else f"  {seconds / base:5.2f} x"
    rate = "" if rows is None else f"  {rows / seconds:9,.0f} rows/s"
    print(f"{group:7} {who:44} {seconds:8.2f} s {'' if memory is None else f'{memory:6} MB':>10}{ratio:9}{rate}".rstrip(), flush=True)


def fresh(target, db):
    target.sql("postgres", f"drop database if exists {db} with (force)")
    target.sql("postgres", f"create database {db}")
    target.sql("postgres", "checkpoint")


def same(what, want, got):
    if want != got:
        sys.exit(f"{what}: {got} instead of {want}")


def into_postgres(server, source_options, target, db):
    """Names a source `src` and a database of a private PostgreSQL `dst`."""
    server.sql("standpipe", f"create source src with ({source_options})")
    server.sql("standpipe", f"create source dst with (type = 'postgres', host = '127.0.0.1', port = {target.port}, database = '{db}', user = 'postgres')")


def create_pipe(server, tables, streams=1):
    """Pipe `p` of some tables, `schema.table, ...`, into schema public."""
    server.sql("src", f"sync table {tables} from source src")
    server.sql("src", f"create pipe p with extractor ('source-name' = 'src', 'tables' = '{tables}', 'parallelism' = '{streams}')"
                      " with connector ('target-name' = 'dst', 'table' = 'public.${table}')")


def snapshot(server):
    """Seconds until every row is there."""
    return timed(lambda: (server.sql("src", "start pipe p"), server.sql("src", "wait for pipe p until running timeout '900 s'")))


def pause(server):
    """Lets a running pipe come to its source's present, and stops it there."""
    server.sql("src", "wait for pipe p until caught up timeout '300 s'")
    server.sql("src", "stop pipe p")
    server.sql("src", "wait for pipe p until paused timeout '60 s'")


def drain(server):
    """Seconds until a pipe that stood still has caught up."""
    return timed(lambda: (server.sql("src", "start pipe p"), server.sql("src", "wait for pipe p until caught up timeout '900 s'")))
