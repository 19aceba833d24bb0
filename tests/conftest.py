"""Fixtures for every room: shared data where it lies, the named models where they can be had."""

import os
import signal
from pathlib import Path

import pytest

# Whatever starts the tests in the background may have had Ctrl-C ignored, which is inherited.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data sets beside the checkout, or HANLIN_DATA; skips without."""
    here = Path(os.environ.get("HANLIN_DATA", Path(__file__).parents[2] / "shared" / "data"))
    if not here.is_dir():
        pytest.skip("no shared data here (set HANLIN_DATA to a folder of data sets)")
    return here


@pytest.fixture(scope="session")
def smollm2_gguf() -> Path:
    """SmolLM2-135M-Instruct as one GGUF file, pulled once into the user's cache."""
    from hanlin.models.named import pull

    return pull("smollm2-135m")


@pytest.fixture(scope="session")
def minilm_dir() -> Path:
    """all-MiniLM-L6-v2 as a Hugging Face directory, pulled once into the user's cache."""
    from hanlin.models.named import pull

    return pull("minilm")
