"""`hanlin bench train`: a rate beside the limit, for every shape; what it cannot do it says."""

import pytest

from hanlin.cli.training_speed import step_operations
from hanlin.models.config import ModelConfig
from hanlin.models.transformer import Transformer
from tiny_models import save_decoder, save_encoder


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("shape", ["decoder", "encoder"])
def test_train_stands_beside_the_limit(hanlin, tmp_path, shape, dtype):
    if shape == "decoder":
        save_decoder(tmp_path / "model")
    else:
        save_encoder(tmp_path / "model", head="masked-lm")
    asked = ("--tokens", 16, "--repeats", 2, "--dtype", dtype, "--json")
    data = hanlin("bench", "train", tmp_path / "model", *asked).json
    assert data["low"] <= data["tokens_per_second"] <= data["high"]
    assert data["fraction"] == pytest.approx(data["tokens_per_second"] / data["limit"])


def test_what_cannot_be_trained_is_refused(hanlin, tmp_path):
    save_encoder(tmp_path / "bert")
    refused = hanlin("bench", "train", tmp_path / "bert")
    assert refused.status == 2
    assert "vocabulary" in refused.err
    refused = hanlin("bench", "train", "--dtype", "float16")
    assert refused.status == 2
    assert "bfloat16" in refused.err


def test_operations_are_those_of_the_products():
    """Counted one by one: three products for each of the forward pass's, two to an addition."""
    sizes = {"vocab_size": 70, "hidden_size": 32, "num_layers": 2, "num_heads": 4}
    for shape in ("decoder", "encoder-decoder"):
        config = ModelConfig(
            family="llama",
            shape=shape,
            head="language-model",
            intermediate_size=48,
            max_context=64,
            decoder_start_id=1,
            **sizes,
        )
        network = Transformer(config)
        length, matrix = 10, 32 * 32
        block = 4 * matrix + 3 * 32 * 48
        own, half = 2 * length * 32, length * 32
        forward = 2 * 2 * block + 2 * half * 2 + 2 * 70 * 32
        if shape == "encoder-decoder":
            forward += 2 * (2 * block + 2 * own) + 2 * (2 * 4 * matrix + 2 * own)
        assert step_operations(network, length) == pytest.approx(3 * forward)
