"""Running the command inside this process, and tiny models to run it on."""

import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from hanlin.cli import run
from tiny_models import save_decoder, save_encoder


@dataclass
class Outcome:
    """What one command line gave."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Standard output as JSON."""
        return json.loads(self.out)


Command = Callable[..., Outcome]


@pytest.fixture
def hanlin(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Command:
    """`hanlin("generate", model, "text", stdin=b"...")` runs the command line in this process."""
    monkeypatch.setenv("LC_ALL", "C.UTF-8")

    def call(*arguments: object, stdin: bytes = b"") -> Outcome:
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(stdin), encoding="utf-8"))
        capsys.readouterr()
        status = run([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return Outcome(status, captured.out, captured.err)

    return call


@pytest.fixture(scope="session")
def tiny_llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A decoder with a chat template."""
    return save_decoder(tmp_path_factory.mktemp("models") / "llama")


@pytest.fixture(scope="session")
def tiny_bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An encoder without a head."""
    return save_encoder(tmp_path_factory.mktemp("models") / "bert")


@pytest.fixture(scope="session")
def tiny_masked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A masked language model."""
    return save_encoder(tmp_path_factory.mktemp("models") / "masked", head="masked-lm")


@pytest.fixture(scope="session")
def tiny_classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A classifier of three labels."""
    return save_encoder(tmp_path_factory.mktemp("models") / "reviews", head="classify")
