"""What a pass offers to training: hidden states, documents side by side, checkpointed blocks."""

import itertools
import random
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from hanlin.errors import InputError
from hanlin.kernels.cross_entropy import cross_entropy_sum
from hanlin.models.config import ModelConfig
from hanlin.models.heads import VocabularyHead
from hanlin.models.positions import positions_within
from hanlin.models.transformer import Transformer

V = 50
POSITIONS = ["none", "learned", "sinusoidal", "rotary", "relative"]


def _model(seed: int = 0, **changes: Any) -> Transformer:
    fields: dict[str, Any] = {
        "family": "llama",
        "shape": "decoder",
        "head": "language-model",
        "vocab_size": V,
        "hidden_size": 24,
        "num_layers": 2,
        "num_heads": 3,
        "intermediate_size": 40,
        "initializer_range": 0.3,
        "max_context": 64,
        "decoder_start_id": 1,
    }
    torch.manual_seed(seed)
    return Transformer(ModelConfig(**(fields | changes))).double()


def _ids(seed: int, length: int, rows: int = 1) -> Tensor:
    print("seed", seed)
    return torch.randint(0, V, (rows, length), generator=torch.Generator().manual_seed(seed))


def _draw(seed: int) -> dict[str, Any]:
    draw = random.Random(seed)
    changes: dict[str, Any] = {
        "position": POSITIONS[seed % len(POSITIONS)],
        "norm": draw.choice(["layernorm", "rmsnorm"]),
        "norm_place": draw.choice(["before", "after", "both"]),
        "attention_softcap": draw.choice([None, 5.0]),
        "qk_norm": draw.random() < 0.3,
        "gated": draw.random() < 0.5,
        "activation": draw.choice(["gelu", "relu", "silu", "gelu_tanh"]),
        "num_kv_heads": draw.choice([1, 3]),
        "head_dim": draw.choice([4, 6]),
    }
    if draw.random() < 0.5:
        changes |= {"sliding_window": 4, "layer_kinds": ("sliding", "full")}
    if draw.random() < 0.5:
        changes |= {"shape": "encoder", "head": "masked-lm", "head_transform": True}
    print(seed, changes)
    return changes


# Hidden states and the head


@pytest.mark.parametrize("seed", range(5))
@torch.no_grad()
def test_the_head_on_the_hidden_states_gives_the_logits(seed: int) -> None:
    model = _model(seed, **_draw(seed), logit_scale=0.5, logit_softcap=20.0)
    ids = _ids(seed, 9, rows=2)
    head = model.head
    assert isinstance(head, VocabularyHead)
    hidden = model.hidden(ids)
    logits = head.projection(head.states(hidden))
    expected = model(ids)
    torch.testing.assert_close(hidden, expected.hidden, rtol=0, atol=0)
    torch.testing.assert_close(torch.tanh(logits / 20) * 20, expected.logits)


@pytest.mark.parametrize("shape", ["decoder", "encoder", "encoder-decoder"])
def test_the_chunked_loss_gives_the_gradients_of_the_whole_logits(shape: str) -> None:
    changes: dict[str, Any] = {"shape": shape}
    if shape == "encoder":
        changes |= {"head": "masked-lm", "head_transform": True, "lm_head_bias": True}
    if shape == "encoder-decoder":
        changes |= {"position": "relative", "logit_scale": 24**-0.5}
    model = _model(3, **changes)
    ids, targets = _ids(4, 12, rows=3), _ids(5, 12, rows=3)
    targets[torch.rand(3, 12, generator=torch.Generator().manual_seed(6)) < 0.5] = -100
    decoder_ids = model.shift(ids) if shape == "encoder-decoder" else None
    head = model.head
    assert isinstance(head, VocabularyHead)

    def gradients(loss: Tensor) -> list[Tensor]:
        return list(torch.autograd.grad(loss, list(model.parameters())))

    logits = model(ids, None, decoder_ids).logits
    whole = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="sum")
    states = head.states(model.hidden(ids, None, decoder_ids)).flatten(0, 1)
    projection = head.projection
    chunked = cross_entropy_sum(
        states, projection.weight, targets.flatten(), bias=projection.bias, chunk=4
    )
    torch.testing.assert_close(chunked, whole, rtol=1e-12, atol=0)
    for a, b in zip(gradients(chunked), gradients(whole), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-11)


# Documents side by side


@pytest.mark.parametrize("seed", range(15))
@torch.no_grad()
def test_documents_side_by_side_read_as_each_alone(seed: int) -> None:
    model = _model(seed, **_draw(seed)).eval()
    ids = _ids(seed, 20, rows=2)
    cuts = [[0, 7, 8, 20], [0, 13, 20]]
    segments = torch.zeros(2, 20, dtype=torch.int32)
    for row, ends in enumerate(cuts):
        for number, (start, stop) in enumerate(itertools.pairwise(ends)):
            segments[row, start:stop] = number
    together = model.hidden(ids, segments=segments)
    for row, ends in enumerate(cuts):
        for start, stop in itertools.pairwise(ends):
            alone = model.hidden(ids[row : row + 1, start:stop])
            # Softmax is float32 where scores are capped.
            torch.testing.assert_close(
                together[row : row + 1, start:stop], alone, rtol=1e-5, atol=1e-6
            )


@pytest.mark.parametrize("position", POSITIONS)
@pytest.mark.parametrize("shape", ["decoder", "encoder"])
@torch.no_grad()
def test_documents_and_padding_together(position: str, shape: str) -> None:
    head = "masked-lm" if shape == "encoder" else "language-model"
    model = _model(2, position=position, shape=shape, head=head).eval()
    ids = _ids(2, 12, rows=2)
    segments = torch.tensor([[0] * 5 + [1] * 7, [3] * 9 + [4] * 3])
    mask = torch.ones(2, 12, dtype=torch.bool)
    mask[0, :2] = False
    mask[1, 10:] = False
    together = model.hidden(ids, mask, segments=segments)
    for row, start, stop in ((0, 2, 5), (0, 5, 12), (1, 0, 9), (1, 9, 10)):
        alone = model.hidden(ids[row : row + 1, start:stop])
        torch.testing.assert_close(together[row : row + 1, start:stop], alone)
    assert together.isfinite().all()


@torch.no_grad()
def test_one_document_is_the_whole_row() -> None:
    model = _model(1)
    ids = _ids(1, 9, rows=2)
    one = model.hidden(ids, segments=torch.full((2, 9), 7))
    torch.testing.assert_close(one, model.hidden(ids))


def test_positions_start_anew_in_each_document() -> None:
    segments = torch.tensor([[0, 0, 0, 5, 5, 2], [1, 1, 1, 1, 3, 3]])
    assert positions_within(segments).tolist() == [[0, 1, 2, 0, 1, 0], [0, 1, 2, 3, 0, 1]]
    real = torch.tensor([[0, 1, 1, 1, 1, 1], [1, 1, 0, 0, 1, 0]]).bool()
    assert positions_within(segments, real).tolist() == [[0, 0, 1, 0, 1, 0], [0, 1, 1, 1, 0, 0]]


def test_an_encoder_decoder_takes_no_segments() -> None:
    model = _model(0, shape="encoder-decoder")
    with pytest.raises(InputError, match="document a row"):
        model.hidden(_ids(0, 4), None, _ids(0, 4), segments=torch.zeros(1, 4))


# Checkpointed blocks


@pytest.mark.parametrize("seed", range(10))
def test_checkpointing_changes_no_gradient(seed: int) -> None:
    changes = _draw(seed) | {"dropout": 0.3, "attention_dropout": 0.0}
    if seed % 3 == 0:
        changes |= {"shape": "encoder-decoder", "head": "language-model", "layer_kinds": None}
    model = _model(seed, **changes).train()
    ids = _ids(seed, 10, rows=2)
    mask = torch.ones(2, 10, dtype=torch.bool)
    mask[0, 6:] = False
    decoder_ids = model.shift(ids) if model.encoder and model.decoder else None

    def gradients(checkpointing: bool) -> list[Tensor]:
        model.checkpointing = checkpointing
        assert model.checkpointing == checkpointing
        torch.manual_seed(seed)
        model.zero_grad()
        (model.hidden(ids, mask, decoder_ids) ** 2).sum().backward()  # type: ignore[no-untyped-call]
        return [torch.zeros(0) if p.grad is None else p.grad.clone() for p in model.parameters()]

    for a, b in zip(gradients(True), gradients(False), strict=True):
        assert torch.equal(a, b)


def test_checkpointing_keeps_less() -> None:
    model = _model(0, num_layers=4, hidden_size=48).train()
    ids = _ids(0, 32, rows=2)

    def kept(checkpointing: bool) -> int:
        model.checkpointing = checkpointing
        sizes: dict[int, int] = {}

        def pack(tensor: Tensor) -> Tensor:
            sizes[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            model.hidden(ids)
        return sum(sizes.values())

    assert kept(True) < kept(False) / 2
