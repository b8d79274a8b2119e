"""MariaDB into PostgreSQL: TPC-H orders beside pgloader and a raw read, and a backlog of its binary log beside a raw read of the same log."""
import os

from measure import child_peak, create_pipe, drain, fresh, into_postgres, note, pause, same, snapshot
from servers import ORDERS, PASSWORD, Mariadb, Standpipe, tpch_csv

COLUMNS = ["o_orderkey", "o_custkey", "o_orderstatus", "o_totalprice", "o_orderdate", "o_orderpriority", "o_clerk", "o_shippriority", "o_comment"]
# Tables of the backlog, with their columns; the first is the key. Sizes and the transaction are pgbench's.
BANK = {"branches": ["bid", "bbalance"], "tellers": ["tid", "bid", "tbalance"], "accounts": ["aid", "bid", "abalance", "filler"], "history": ["hid", "tid", "bid", "aid", "delta"]}
BRANCHES, TELLERS, ACCOUNTS = 20, 200, 2_000_000
BANK_TABLES = """create database bank;
use bank;
create table branches (bid int primary key, bbalance int not null);
create table tellers (tid int primary key, bid int not null, tbalance int not null);
create table accounts (aid int primary key, bid int not null, abalance int not null, filler char(84) not null);
create table history (hid bigint auto_increment primary key, tid int not null, bid int not null, aid int not null, delta int not null);
insert into branches select seq, 0 from seq_1_to_{branches};
insert into tellers select seq, 1 + seq mod {branches}, 0 from seq_1_to_{tellers};
insert into accounts select seq, 1 + seq mod {branches}, 0, '' from seq_1_to_{accounts};
delimiter //
create procedure work(n int)
begin
  declare a, t, b, d int;
  while n > 0 do
    set a = 1 + floor(rand() * {accounts}), t = 1 + floor(rand() * {tellers}), b = 1 + floor(rand() * {branches}), d = floor(rand() * 10001) - 5000, n = n - 1;
    start transaction;
    update accounts set abalance = abalance + d where aid = a;
    update tellers set tbalance = tbalance + d where tid = t;
    update branches set bbalance = bbalance + d where bid = b;
    insert into history (tid, bid, aid, delta) values (t, b, a, d);
    commit;
  end while;
end//
delimiter ;
"""


def digests(table, columns):
    """Rows of a table and the sum of parts of their digests, in the words of MariaDB and of PostgreSQL."""
    row = ", ".join(columns)
    mine = f"select concat_ws(' ', count(*), sum(cast(conv(left(md5(concat_ws('|', {row})), 8), 16, 10) as unsigned))) from {table}"
    row = ", ".join(f"{c}::text" for c in columns)
    theirs = f"select concat_ws(' ', count(*), sum(('x' || left(md5(concat_ws('|', {row})), 8))::bit(32)::bigint)) from {table}"
    return mine, theirs


def options(source, db):
    return f"type = 'mariadb', host = '127.0.0.1', port = {source.port}, database = '{db}', user = 'root', password = '{PASSWORD}', sslmode = 'disable'"


def pgloader(source, target, db, root, readers):
    """Seconds and memory of pgloader, with the table made and its key built; with one reader it does as it does by itself."""
    several = "" if readers == 1 else f", workers = 4, concurrency = {readers}, multiple readers per thread, rows per range = 50000"
    script = os.path.join(root, "orders.load")
    with open(script, "w") as f:
        f.write(f"""LOAD DATABASE FROM mysql://root:{PASSWORD}@127.0.0.1:{source.port}/tpch INTO {target.url(db)}
WITH create tables, create indexes{several}
ALTER SCHEMA 'tpch' RENAME TO 'public';
""")
    with open(os.path.join(root, "pgloader.log"), "w") as log:
        return child_peak(["pgloader", "--root-dir", os.path.join(root, "pgloader"), script], stdout=log, stderr=log)


def load(source, root, scale):
    csv = tpch_csv(scale, root, "orders")
    os.chmod(csv, 0o644)
    source.sql("", f"create database tpch; use tpch; {ORDERS};")
    source.sql("tpch", f"""set sql_log_bin = 0; alter table orders add primary key (o_orderkey);
load data infile '{csv}' into table orders character set utf8mb4 fields terminated by ',' optionally enclosed by '"' ignore 1 lines;
analyze table orders;""")
    os.remove(csv)


def bench_orders(binary, source, target, root):
    mine, theirs = digests("orders", COLUMNS)
    want = source.sql("tpch", mine)
    rows = int(want.split()[0])
    base = None
    for readers in (1, 2):
        db = f"pgloader{readers}"
        fresh(target, db)
        seconds, memory = pgloader(source, target, db, root, readers)
        note("mariadb", "pgloader, as it is" if readers == 1 else f"pgloader, concurrency {readers}", seconds, memory, base, rows)
        same("orders by pgloader", want, target.sql(db, theirs))
        base = base or seconds
    with open(os.devnull, "w") as nowhere:
        command = source.client() + ["--quick", "-N", "-B", "-e", "select * from orders", "tpch"]
        seconds, memory = child_peak(command, stdout=nowhere, env=source.environment())
    note("mariadb", "mariadb --quick, SELECT to /dev/null", seconds, memory, base, rows)
    for streams in (1, 2):
        db = f"orders{streams}"
        fresh(target, db)
        server = Standpipe(binary, os.path.join(root, f"standpipe-mariadb-{streams}"))
        try:
            into_postgres(server, options(source, "tpch"), target, db)
            create_pipe(server, "tpch.orders", streams)
            seconds = snapshot(server)
            note("mariadb", f"standpipe pipe, parallelism {streams}", seconds, server.peak(), base, rows)
            same("orders", want, target.sql(db, theirs))
            server.sql("src", "drop pipe p")
        finally:
            server.stop()


def bench_backlog(binary, source, target, root, scale, transactions):
    source.sql("", BANK_TABLES.format(branches=BRANCHES, tellers=TELLERS, accounts=max(int(ACCOUNTS * scale), 1000)))
    fresh(target, "bank")
    server = Standpipe(binary, os.path.join(root, "standpipe-mariadb-drain"))
    try:
        into_postgres(server, options(source, "bank"), target, "bank")
        create_pipe(server, ", ".join(f"bank.{t}" for t in BANK))
        snapshot(server)
        pause(server)
        source.sql("", "flush binary logs")
        log = source.sql("", "show master status").split()[0]
        source.sql("bank", f"call work({transactions})")
        rows, out = 4 * transactions, os.path.join(root, "binlog")
        os.makedirs(out)
        command = source.client("mariadb-binlog") + ["--read-from-remote-server", "--raw", "--to-last-log", f"--result-file={out}/", log]
        base, memory = child_peak(command, env=source.environment())
        note("mariadb", f"mariadb-binlog --raw, {transactions} transactions", base, memory, None, rows)
        seconds = drain(server)
        note("mariadb", "standpipe pipe, the same log", seconds, server.peak(), base, rows)
        for table, columns in BANK.items():
            mine, theirs = digests(table, columns)
            same(table, source.sql("bank", mine), target.sql("bank", theirs))
        server.sql("src", "drop pipe p")
    finally:
        server.stop()


def bench_mariadb(binary, target, root, scale, transactions):
    source = Mariadb(root, "mariadb")
    try:
        load(source, root, scale)
        bench_orders(binary, source, target, root)
        bench_backlog(binary, source, target, root, scale, transactions)
    finally:
        source.stop()
