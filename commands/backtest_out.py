"""`backtest --out`: events as Parquet and as JSON lines, the report as JSON and as one page."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from commands.backtest_html import page
from replay.memory_log import Stored
from replay.report import Report
from schemas.codec import encode

ROWS = 10_000
SCHEMA = pa.schema(
    [
        ("order", pa.int64()),
        ("topic", pa.string()),
        ("partition", pa.int32()),
        ("offset", pa.int64()),
        ("type", pa.string()),
        ("time", pa.string()),
        ("account", pa.string()),
        ("id", pa.string()),
        ("value", pa.binary()),
    ]
)
"""One row a record, in append order. `value`: its canonical bytes, as they are in events.jsonl."""


def write_out(report: Report, folder: Path) -> dict[str, str]:
    """Write all four files; what was written, by file name. Raises OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    records = report.result.records
    with (folder / "events.jsonl").open("wb") as lines:
        lines.writelines(encode(stored.event) + b"\n" for stored in records)
    with pq.ParquetWriter(folder / "events.parquet", SCHEMA, compression="zstd") as writer:
        for batch in _tables(records):
            writer.write_table(batch)
    (folder / "report.json").write_text(json.dumps(report.figures, indent=1) + "\n")
    (folder / "report.html").write_text(page(report), encoding="utf-8")
    return {
        "events.jsonl": f"{len(records):,} records, one a line, as they would be in the log",
        "events.parquet": "the same with topic, partition and offset as columns",
        "report.json": "every figure and every closed trade",
        "report.html": "the report as a page",
    }


def _tables(records: Sequence[Stored]) -> Iterator[pa.Table]:
    for first in range(0, len(records), ROWS):
        batch = records[first : first + ROWS]
        yield pa.Table.from_pylist([_row(stored) for stored in batch], schema=SCHEMA)


def _row(stored: Stored) -> dict[str, object]:
    topic, _, partition = stored.key.rpartition("/")
    event = stored.event
    return {
        "order": stored.order,
        "topic": topic,
        "partition": int(partition),
        "offset": stored.offset,
        "type": event.type,
        "time": event.time,
        "account": event.partitionkey,
        "id": event.id,
        "value": encode(event),
    }
