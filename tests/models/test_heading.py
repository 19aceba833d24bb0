"""Another head on the same network: its config, its labels, and the weights that stay."""

from typing import Any

import pytest
import torch

from hanlin.errors import FormatError
from hanlin.models.config import HeadKind
from hanlin.models.families import describe
from hanlin.models.heading import labels_on, with_head
from hanlin.models.new import NEW, new_config
from hanlin.models.transfer import take_weights
from hanlin.models.transformer import Transformer
from tiny_models import word_tokenizer

SIZES: dict[str, Any] = {"hidden_size": 32, "num_layers": 1, "num_heads": 2, "max_context": 64}
OWN = ("good", "bad", "neither")


@pytest.mark.parametrize("family", NEW)
def test_a_head_that_writes_comes_back(family: str) -> None:
    """The network that writes is what it was, but for the biases of its head."""
    config = new_config(family, vocab_size=50, **SIZES)
    heads: tuple[HeadKind, ...] = ("none", "classify")
    for head in heads:
        try:
            other = with_head(config, head, labels=OWN if head == "classify" else ())
        except FormatError:  # translators, which have no classifier in transformers
            assert family in ("mbart", "marian", "vaswani")
            continue
        assert other.head == head
        back = with_head(other, config.head)
        biases = {name: getattr(config, name) for name in ("lm_head_bias", "head_transform_bias")}
        assert back.with_changes(**biases) == config
        describe(back)


def test_a_classifier_pools_as_the_model_it_is_made_from_says() -> None:
    """As transformers does; the published ModernBERT, made for masked words, says mean."""
    config = new_config("modernbert", tokenizer=word_tokenizer(), pooling="mean", **SIZES)
    assert with_head(config, "classify", labels=OWN).pooling == "mean"
    assert describe(config)["classifier_pooling"] == "mean"


def classifier(labels: tuple[str, ...], *, seed: int, head: HeadKind = "classify") -> Transformer:
    config = new_config("bert", tokenizer=word_tokenizer(), **SIZES)
    torch.manual_seed(seed)
    return Transformer(with_head(config, head, labels=labels))


@pytest.mark.parametrize("head", ["classify", "tag"])
def test_rows_of_a_head_follow_their_labels(head: HeadKind) -> None:
    reference = classifier(OWN, seed=0, head=head)
    network = classifier(("odd", "neither", "good"), seed=1, head=head)
    drawn = network.head.projection.weight[0].clone()  # type: ignore[union-attr]
    fresh = take_weights(network, reference)
    assert fresh == ["head.projection.weight", "head.projection.bias"]
    ids = torch.tensor([[5, 6, 7, 8]])
    old, new = reference.eval()(ids).logits, network.eval()(ids).logits
    assert torch.equal(new[..., 1], old[..., 2])
    assert torch.equal(new[..., 2], old[..., 0])
    assert torch.equal(network.head.projection.weight[0], drawn)  # type: ignore[union-attr]
    # And where all labels are known, nothing is drawn.
    assert take_weights(classifier(OWN[::-1], seed=2, head=head), reference) == []


def test_labels_of_more_data_stand_behind_those_of_the_model() -> None:
    assert labels_on(OWN, ("bad", "good")) == OWN
    assert labels_on(OWN, ("bad", "odd", "queer")) == (*OWN, "odd", "queer")
    assert labels_on(OWN, ("left", "right")) == ("left", "right")
    assert labels_on((), ("left", "right")) == ("left", "right")
    tags = ("O", "B-PER", "I-PER")
    assert labels_on(tags, ("O", "B-DRUG"), outside="O") == ("O", "B-DRUG")
    assert labels_on(tags, ("O", "B-PER", "B-DRUG"), outside="O") == (*tags, "B-DRUG")
    assert labels_on(tags, ("O",), outside="O") == tags
