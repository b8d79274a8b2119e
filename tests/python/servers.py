"""Private servers for tests and benchmarks: PostgreSQL, MariaDB, MongoDB and the program itself, on free ports, ended when the run ends."""
import contextlib, os, pwd, random, shutil, signal, socket, subprocess, sys, tempfile, time

BIN = "/usr/lib/postgresql/15/bin"
PASSWORD = "tests-only"
LINEITEM = """create table lineitem (l_orderkey bigint not null, l_partkey bigint not null, l_suppkey bigint not null, l_linenumber integer not null,
 l_quantity numeric(15,2) not null, l_extendedprice numeric(15,2) not null, l_discount numeric(15,2) not null, l_tax numeric(15,2) not null,
 l_returnflag char(1) not null, l_linestatus char(1) not null, l_shipdate date not null, l_commitdate date not null, l_receiptdate date not null,
 l_shipinstruct char(25) not null, l_shipmode char(10) not null, l_comment varchar(44) not null)"""
KEY = "alter table lineitem add primary key (l_orderkey, l_linenumber)"
ORDERS = """create table orders (o_orderkey bigint not null, o_custkey bigint not null, o_orderstatus char(1) not null, o_totalprice numeric(15,2) not null,
 o_orderdate date not null, o_orderpriority char(15) not null, o_clerk char(15) not null, o_shippriority integer not null, o_comment varchar(79) not null)"""


@contextlib.contextmanager
def scratch(what, keep=False):
    """A directory of a run's own that servers of other users may enter; removed at its end unless it is to be kept."""
    root = tempfile.mkdtemp(prefix=f"standpipe-{what}-")
    os.chmod(root, 0o755)
    try:
        yield root
    finally:
        if not keep:
            shutil.rmtree(root, ignore_errors=True)


def free_port():
    """A port for a server that is started later: below those that the system gives to outgoing connections, one of which could take it until then."""
    while True:
        port = random.randrange(18000, 32000)
        with socket.socket() as s:
            try:
                s.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue


def as_postgres(command):
    return ["runuser", "-u", "postgres", "--"] + command if os.getuid() == 0 else command


def psql(url, text, environment=None):
    """What statements print; CalledProcessError with the server's words."""
    try:
        out = subprocess.run(["psql", "-qAtX", "-v", "ON_ERROR_STOP=1", "-c", text, url], check=True, capture_output=True, text=True, env=environment)
    except subprocess.CalledProcessError as e:
        e.cmd = text[:200]
        e.add_note(e.stderr)
        raise
    return out.stdout.strip()


class Postgres:
    """A private cluster with PostgreSQL's own defaults, but for logical decoding and memory."""

    def __init__(self, root, name):
        self.dir, self.port = os.path.join(root, name), free_port()
        os.makedirs(self.dir)
        if os.getuid() == 0:
            entry = pwd.getpwnam("postgres")
            os.chown(self.dir, entry.pw_uid, entry.pw_gid)
        subprocess.run(as_postgres([f"{BIN}/initdb", "-D", self.dir, "-A", "trust", "-U", "postgres", "-E", "UTF8", "--locale=C"]), check=True, stdout=subprocess.DEVNULL)
        options = (f"-p {self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={self.dir} -c wal_level=logical -c max_wal_senders=60"
                   " -c max_replication_slots=60 -c shared_buffers=1GB -c max_wal_size=8GB -c maintenance_work_mem=512MB -c checkpoint_timeout=30min")
        subprocess.run(as_postgres([f"{BIN}/pg_ctl", "-D", self.dir, "-w", "-l", f"{self.dir}/log", "-o", options, "start"]), check=True, stdout=subprocess.DEVNULL)

    def url(self, db):
        return f"postgresql://postgres@127.0.0.1:{self.port}/{db}"

    def sql(self, db, text):
        return psql(self.url(db), text)

    def stop(self):
        subprocess.run(as_postgres([f"{BIN}/pg_ctl", "-D", self.dir, "-m", "immediate", "stop"]), stdout=subprocess.DEVNULL)


class Mariadb:
    """A private MariaDB with a binary log by rows; user root, password PASSWORD."""

    def __init__(self, root, name):
        self.dir, self.port = os.path.join(root, name), free_port()
        os.makedirs(self.dir)
        self.owner = {}
        if os.getuid() == 0:
            entry = pwd.getpwnam("mysql")
            os.chown(self.dir, entry.pw_uid, entry.pw_gid)
            self.owner = {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
        data, size = f"--datadir={self.dir}/data", "--innodb-log-file-size=1G"
        install = ["mariadb-install-db", "--no-defaults", "--auth-root-authentication-method=normal", "--skip-test-db", data, size]
        subprocess.run(install, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, **self.owner)
        settings = ["--bind-address=127.0.0.1", f"--port={self.port}", f"--socket={self.dir}/socket", f"--pid-file={self.dir}/pid", "--server-id=1",
                    "--log-bin=binlog", "--binlog-format=ROW", "--binlog-row-metadata=FULL", "--skip-name-resolve", "--innodb-buffer-pool-size=1G",
                    "--innodb-flush-log-at-trx-commit=2", "--sync-binlog=0", "--character-set-server=utf8mb4"]
        with open(f"{self.dir}/log", "a") as log:
            self.process = subprocess.Popen(["/usr/sbin/mariadbd", "--no-defaults", data, size] + settings, stdin=subprocess.DEVNULL, stdout=log, stderr=log, **self.owner)
        local = ["mariadb", "--no-defaults", "-uroot", f"--socket={self.dir}/socket", "-e"]
        for _ in range(300):
            if subprocess.run(local + ["select 1"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode == 0:
                break
            time.sleep(0.1)
        login = (f"set sql_log_bin = 0; create or replace user root@'127.0.0.1' identified by '{PASSWORD}'; grant all on *.* to root@'127.0.0.1' with grant option;"
                 f" alter user root@localhost identified by '{PASSWORD}'")
        if subprocess.run(local + [login], stdin=subprocess.DEVNULL).returncode:
            self.stop()
            with open(f"{self.dir}/log") as log:
                sys.exit(f"MariaDB did not get ready; its log ends with:\n{log.read()[-2000:]}")

    def client(self, program="mariadb"):
        """A client's command as far as its login; the password is in environment()."""
        return [program, "--no-defaults", "--protocol=tcp", "-h127.0.0.1", f"-P{self.port}", "-uroot"]

    def environment(self):
        return dict(os.environ, MYSQL_PWD=PASSWORD)

    def sql(self, db, text):
        """What statements print; CalledProcessError with the server's words. Several statements and DELIMITER may stand in it."""
        try:
            out = subprocess.run(self.client() + ["-N", "-B", db], input=text, check=True, capture_output=True, text=True, env=self.environment())
        except subprocess.CalledProcessError as e:
            e.cmd = text[:200]
            e.add_note(e.stderr)
            raise
        return out.stdout.strip()

    def stop(self):
        self.process.kill()
        self.process.wait()


class Mongo:
    """A private replica set of one member, without login."""

    def __init__(self, root, name):
        import pymongo  # only benchmarks have it
        self.dir, self.port = os.path.join(root, name), free_port()
        os.makedirs(self.dir)
        cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
        mongod = os.environ.get("STANDPIPE_TEST_MONGOD") or os.path.join(cache, "standpipe/mongodb/mongod")
        command = [mongod, "--dbpath", self.dir, "--port", str(self.port), "--bind_ip", "127.0.0.1", "--nounixsocket", "--replSet", "rs0", "--oplogSize", "8192",
                   "--wiredTigerCacheSizeGB", "1", "--setParameter", "diagnosticDataCollectionEnabled=false", "--quiet", "--logpath", f"{self.dir}/log"]
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.client = pymongo.MongoClient(self.url(), serverSelectionTimeoutMS=60_000)
        try:
            self.client.admin.command("replSetInitiate", {"_id": "rs0", "members": [{"_id": 0, "host": f"127.0.0.1:{self.port}"}]})
            for _ in range(600):
                if self.client.admin.command("hello").get("isWritablePrimary"):
                    return
                time.sleep(0.1)
            sys.exit("MongoDB did not get ready")
        except BaseException:
            self.stop()
            raise

    def url(self):
        return f"mongodb://127.0.0.1:{self.port}/?directConnection=true"

    def stop(self):
        self.client.close()
        self.process.kill()
        self.process.wait()


class Standpipe:
    def __init__(self, binary, data):
        self.port = free_port()
        self.binary, self.data = binary, data
        self.log = open(data + ".log", "a")
        self.start()

    def start_again(self):
        """After a kill, on the same port and data."""
        self.start()

    def start(self):
        environment = dict(os.environ, STANDPIPE_PASSWORD=PASSWORD)
        self.process = subprocess.Popen([self.binary, "serve", "--data", self.data, "--listen", f"127.0.0.1:{self.port}", "--http", ""], env=environment, stderr=self.log)
        for _ in range(300):
            try:
                self.sql("standpipe", "select 1")
                return
            except subprocess.CalledProcessError:
                time.sleep(0.1)
        sys.exit("standpipe did not get ready")

    def sql(self, db, text):
        return psql(f"postgresql://standpipe@127.0.0.1:{self.port}/{db}", text, dict(os.environ, PGPASSWORD=PASSWORD))

    def peak(self):
        with open(f"/proc/{self.process.pid}/status") as f:
            return int(next(line for line in f if line.startswith("VmHWM")).split()[1]) // 1024

    def kill(self):
        self.process.kill()
        self.process.wait()

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(60)


def pg_sources(server, source, target, target_db, source_db):
    """Names the two clusters `src` and `dst` in a Standpipe server."""
    for name, pg, database in (("src", source, source_db), ("dst", target, target_db)):
        server.sql("standpipe", f"create source {name} with (type = 'postgres', host = '127.0.0.1', port = {pg.port}, database = '{database}', user = 'postgres')")


def tpch_csv(scale, root, table):
    """A TPC-H table by tpchgen-cli as CSV with a header: the file's path."""
    out = os.path.join(root, "tpch")
    generator = os.path.join(os.path.dirname(sys.executable), "tpchgen-cli")
    subprocess.run([generator, "csv", "-s", str(scale), "-T", table, "-o", out], check=True, stdout=subprocess.DEVNULL)
    return os.path.join(out, table + ".csv")


def load_tpch(pg, scale, root, tables):
    """Generates TPC-H tables with tpchgen-cli and loads them into database `tpch`, keys built after."""
    pg.sql("postgres", "create database tpch")
    for table, ddl, key in (("lineitem", LINEITEM, KEY), ("orders", ORDERS, "alter table orders add primary key (o_orderkey)")):
        if table not in tables:
            continue
        csv = tpch_csv(scale, root, table)
        pg.sql("tpch", ddl)
        subprocess.run(["psql", "-qX", "-c", f"\\copy {table} from '{csv}' csv header", pg.url("tpch")], check=True)
        os.remove(csv)
        pg.sql("tpch", key)
        pg.sql("tpch", f"vacuum (freeze, analyze) {table}")
    pg.sql("tpch", "checkpoint")


