"""Reads the files of outputs as others do, with pyarrow and DuckDB, and compares them with the producer's ledger.

Arguments: the ledger, the folder of the working directory, the URL prefix in the bucket.
"""

import gzip
import json
import os
import sys
from decimal import Decimal

import duckdb
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.fs as fs

ledger_file, folder, prefix = sys.argv[1:]
with open(ledger_file) as lines:
    ledger = [json.loads(line) for line in lines]
orders = {e["order_id"]: e for e in ledger if e["kind"] == "orders" and e["event_time"] is not None}


def expected(output):
    kind = "orders" if output == "unpaid_orders" else "payments"
    return [e for e in ledger if e["kind"] == kind and e["output"] == output]


# Parquet below the working directory: pyarrow.
paid = ds.dataset(f"{folder}/out/paid", format="parquet").to_table()
assert paid.schema.names[0] == "_id", paid.schema
assert paid.schema.field("order_created_at").type == pa.timestamp("us", tz="UTC"), paid.schema
assert paid.schema.field("order_amount").type == pa.decimal128(18, 2), paid.schema
assert paid.schema.field("order_date").type == pa.date32(), paid.schema
want = expected("validated_orders")
assert paid.num_rows == len(want) > 0, (paid.num_rows, len(want))
assert sorted(paid["_id"].to_pylist()) == sorted(e["order_id"] for e in want)
for order, time, amount in zip(
    paid["order_id"].to_pylist(),
    paid["order_created_at"].cast(pa.int64()).to_pylist(),
    paid["order_amount"].to_pylist(),
):
    assert time == orders[order]["event_time"] // 1000, order
    assert amount == Decimal(orders[order]["amount_cents"]) / 100, order

# The same by DuckDB, with the lists and structs of another output.
duck = duckdb.connect()
duck.execute("SET TimeZone = 'UTC'")
kind, count, total = duck.execute(
    f"SELECT any_value(typeof(order_created_at)), count(*), sum(order_amount) FROM '{folder}/out/paid/*.parquet'"
).fetchone()
assert kind == "TIMESTAMP WITH TIME ZONE", kind
assert (count, total) == (len(want), sum(Decimal(orders[e["order_id"]]["amount_cents"]) for e in want) / 100)
rules = duck.execute(
    f"SELECT v.rule, count(*) FROM (SELECT unnest(violations) AS v FROM '{folder}/out/rejected/*.parquet') GROUP BY 1"
).fetchall()
assert {"amount_matches", "payment_not_before_order"} <= {rule for rule, _ in rules}, rules
letters = duck.execute(f"SELECT count(*), count(\"value\"), typeof(any_value(headers)) FROM '{folder}/out/letters/*.parquet'")
letters = letters.fetchone()
assert letters[0] == len([e for e in ledger if e["output"] == "dead_letters"]), letters

# In the bucket.
store = fs.S3FileSystem(endpoint_override=os.environ["AWS_ENDPOINT_URL"].removeprefix("http://"), scheme="http")
orphans = ds.dataset(f"{prefix}/orphans", filesystem=store, format="parquet").to_table()
assert sorted(orphans["payment_id"].to_pylist()) == sorted(e["payment_id"] for e in expected("orphan_payments"))
unpaid = []
for info in store.get_file_info(fs.FileSelector(f"{prefix}/unpaid")):
    assert info.path.endswith(".jsonl.gz"), info.path
    with store.open_input_stream(info.path, compression=None) as stream:
        unpaid += [json.loads(line) for line in gzip.decompress(stream.read()).decode().splitlines()]
assert sorted(d["order_id"] for d in unpaid) == sorted(e["order_id"] for e in expected("unpaid_orders"))
print(f"{paid.num_rows} paid, {letters[0]} letters, {orphans.num_rows} orphans, {len(unpaid)} unpaid")
