"""MongoDB into PostgreSQL: documents of 1 KB beside the driver's raw reading, and a backlog of changes beside raw reading of the same change stream."""
import datetime, hashlib, os, random, sys

from measure import child_peak, create_pipe, drain, fresh, into_postgres, note, pause, same, snapshot
from servers import Mongo, Standpipe

CHUNK = 5_000
RAW_READ = """
import sys, pymongo
collection = pymongo.MongoClient(sys.argv[1]).bench.documents
if sum(map(len, collection.find_raw_batches())) < 1000 * int(sys.argv[2]):
    sys.exit("documents are missing")
"""
RAW_CHANGES = """
import sys, bson, pymongo
from bson.raw_bson import RawBSONDocument
options = bson.CodecOptions(document_class=RawBSONDocument)
changes = pymongo.MongoClient(sys.argv[1]).bench.get_collection("changing", codec_options=options)
with changes.watch(full_document="updateLookup", start_at_operation_time=bson.Timestamp(int(sys.argv[3]), int(sys.argv[4]))) as stream:
    for _ in range(int(sys.argv[2])):
        next(stream)
"""
DIGEST = """select concat_ws(' ', count(*), sum(('x' || left(md5(concat_ws('|', "_id", doc->>'n', doc->>'serial', doc->>'name', doc->'address'->>'city',
 ((doc->>'price')::float8 * 4)::bigint, doc->'tags'->>1, doc->>'text')), 8))::bit(32)::bigint)) from public.{}"""


def document(rng, n, key=None):
    """A document of 1 KB as BSON; without a key its `_id` is an ObjectId."""
    d = {} if key is None else {"_id": key}
    d |= {
        "n": n,
        "serial": (1 << 40) + n,
        "name": f"Customer#{n:09}",
        "price": rng.randrange(4_000_000) / 4,
        "active": n % 3 == 0,
        "at": datetime.datetime(2024, 1, 1) + datetime.timedelta(seconds=n),
        "address": {"city": f"city {n % 1000}", "street": f"{n % 977} high street", "zip": f"{n % 100_000:05}"},
        "tags": [f"tag {n % 7}", f"tag {n % 11}"],
        "note": None,
    }
    return d | {"text": rng.randbytes(402).hex()}


def digest(collection):
    """What DIGEST says of its copy."""
    rows, total = 0, 0
    for d in collection.find({}, batch_size=CHUNK):
        fields = [d["_id"], d["n"], d["serial"], d["name"], d["address"]["city"], int(d["price"] * 4), d["tags"][1], d["text"]]
        total += int(hashlib.md5("|".join(map(str, fields)).encode()).hexdigest()[:8], 16)
        rows += 1
    return f"{rows} {total}"


def load(collection, rows, own_keys=False):
    rng = random.Random(rows)
    for at in range(0, rows, CHUNK):
        collection.insert_many([document(rng, n, n if own_keys else None) for n in range(at, min(at + CHUNK, rows))], ordered=False)


def change(collection, rows, changes):
    """Single-document changes in bulk: of ten, six updates, two inserts, a replacement and a delete. Each has an effect."""
    from pymongo import DeleteOne, InsertOne, ReplaceOne, UpdateOne
    rng, keys, batch = random.Random(changes), list(range(rows)), []
    for i in range(changes):
        at, new, kind = rng.randrange(len(keys)), rows + i, i % 10
        if kind < 6:
            batch.append(UpdateOne({"_id": keys[at]}, {"$inc": {"n": 1}, "$set": {"price": rng.randrange(4_000_000) / 4}}))
        elif kind < 8:
            batch.append(InsertOne(document(rng, new, new)))
            keys.append(new)
        elif kind == 8:
            batch.append(ReplaceOne({"_id": keys[at]}, document(rng, new, keys[at])))
        else:
            batch.append(DeleteOne({"_id": keys[at]}))
            keys[at] = keys[-1]
            keys.pop()
        if len(batch) == CHUNK or i == changes - 1:
            collection.bulk_write(batch)
            batch = []


def options(source):
    return f"type = 'mongodb', host = '127.0.0.1', port = {source.port}, database = 'bench', 'direct-connection' = 'true'"


def bench_documents(binary, source, target, root, rows):
    load(source.client.bench.documents, rows)
    want = digest(source.client.bench.documents)
    base, memory = child_peak([sys.executable, "-c", RAW_READ, source.url(), str(rows)])
    note("mongodb", "pymongo find_raw_batches", base, memory, None, rows)
    for streams in (1, 2):
        db = f"documents{streams}"
        fresh(target, db)
        server = Standpipe(binary, os.path.join(root, f"standpipe-mongodb-{streams}"))
        try:
            into_postgres(server, options(source), target, db)
            create_pipe(server, "bench.documents", streams)
            seconds = snapshot(server)
            note("mongodb", f"standpipe pipe, parallelism {streams}", seconds, server.peak(), base, rows)
            same("documents", want, target.sql(db, DIGEST.format("documents")))
            server.sql("src", "drop pipe p")
        finally:
            server.stop()


def bench_backlog(binary, source, target, root, rows, changes):
    collection = source.client.bench.changing
    load(collection, rows, own_keys=True)
    fresh(target, "changing")
    server = Standpipe(binary, os.path.join(root, "standpipe-mongodb-drain"))
    try:
        into_postgres(server, options(source), target, "changing")
        create_pipe(server, "bench.changing")
        snapshot(server)
        pause(server)
        before = source.client.admin.command("hello")["operationTime"]
        change(collection, rows, changes)
        base, memory = child_peak([sys.executable, "-c", RAW_CHANGES, source.url(), str(changes), str(before.time), str(before.inc + 1)])
        note("mongodb", f"pymongo watch, raw, {changes} changes", base, memory, None, changes)
        seconds = drain(server)
        note("mongodb", "standpipe pipe, the same changes", seconds, server.peak(), base, changes)
        same("changing", digest(collection), target.sql("changing", DIGEST.format("changing")))
        server.sql("src", "drop pipe p")
    finally:
        server.stop()


def bench_mongodb(binary, target, root, rows, changes):
    source = Mongo(root, "mongodb")
    try:
        bench_documents(binary, source, target, root, rows)
        bench_backlog(binary, source, target, root, max(rows // 10, 100), changes)
    finally:
        source.stop()
