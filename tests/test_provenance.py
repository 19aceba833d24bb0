"""A record says how a result was made, without importing what it names."""

import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy
import torch

from hanlin import provenance


def test_a_record_is_json_with_everything_needed() -> None:
    record = provenance.record(
        command=["hanlin", "train"], config={"seed": 0}, parents={"base": "ab"}, data={"x": "cd"}
    )
    record = json.loads(json.dumps(record))
    assert record["command"] == ["hanlin", "train"]
    assert record["config"] == {"seed": 0}
    assert record["parents"] == {"base": "ab"}
    assert record["data"] == {"x": "cd"}
    date = datetime.fromisoformat(record["date"])
    assert abs(datetime.now(UTC) - date) < timedelta(minutes=1)
    assert record["versions"]["numpy"] == numpy.__version__
    assert record["versions"]["torch"] == torch.__version__
    assert record["versions"]["python"] == sys.version.split()[0]
    assert record["machine"]["cores"] >= 1
    assert record["machine"]["memory_bytes"] > 1 << 28
    assert record["machine"]["cpu"]


def test_the_command_of_this_process_is_the_default() -> None:
    assert provenance.record()["command"] == sys.argv


def test_a_hash_is_that_of_the_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "abc"
    path.write_bytes(b"abc")  # the example of FIPS 180-2
    assert provenance.file_hash(path) == (
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    )


def test_recording_imports_nothing_heavy() -> None:
    code = (
        "import sys; from hanlin.provenance import record; record(); "
        "assert not {'torch', 'numpy', 'tokenizers'} & set(sys.modules)"
    )
    root = Path(provenance.__file__).parents[1]
    subprocess.run([sys.executable, "-c", code], check=True, env={"PYTHONPATH": str(root)})
