"""Goal: no bytes make the codec fail, hang or take what it would write otherwise.

Method: atheris changes golden samples towards code that was not reached yet; hypothesis does the
same by structure (tests/streams/test_fuzzed_records.py). `--full`: 50,000 records.
"""

import subprocess
import sys
from pathlib import Path

import pytest

from runtime.settings import ROOT
from tests.streams.fuzzing import SAMPLES

pytest.importorskip("atheris", reason="atheris is built for Linux on x86-64 only")


@pytest.mark.timeout(3_600)
def test_the_codec_takes_or_refuses_whatever_atheris_finds(tmp_path: Path, full: bool) -> None:
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    for number, sample in enumerate(SAMPLES):
        (corpus / str(number)).write_bytes(sample)
    runs = 50_000 if full else 2_000
    done = subprocess.run(
        [sys.executable, "-m", "tests.schemas.codec_fuzzing", str(corpus), f"-runs={runs}",
         "-seed=1", "-timeout=10", f"-artifact_prefix={tmp_path}/"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3_000:]
    assert f"Done {runs} runs" in done.stderr
