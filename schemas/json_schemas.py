"""JSON Schemas of every type, generated into `schemas/json/` and committed (LOG-3).

``python -m schemas.json_schemas`` writes them; a test compares them with the code. They say the
form of fields; what a schema cannot say (key order, ranges of decimals) the codec checks.
"""

import json
from pathlib import Path

from schemas.events import TYPES

FOLDER = Path(__file__).parent / "json"


def json_schema(name: str) -> str:
    """JSON Schema (draft 2020-12) of a type, as the text of its file."""
    schema = TYPES[name].model_json_schema()
    body = {"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": name, **schema}
    return json.dumps(body, indent=2, ensure_ascii=False) + "\n"


def write(folder: Path = FOLDER) -> list[Path]:
    """Write all of them; files of types that are no more are removed."""
    folder.mkdir(exist_ok=True)
    written = [folder / f"{name}.json" for name in sorted(TYPES)]
    for path in set(folder.glob("*.json")) - set(written):
        path.unlink()
    for path in written:
        path.write_text(json_schema(path.stem), encoding="utf-8")
    return written


if __name__ == "__main__":
    print(f"{len(write())} schemas written to {FOLDER}")
