"""Weights of one model taken over by another, where both have them."""

import torch

from hanlin.models.families import family_of
from hanlin.models.transformer import Transformer

_TABLES = ("embedding.weight", "head.projection.weight", "head.projection.bias")
"""What has a row for each token of the vocabulary."""
_NEAR = 0.1
"""How far new rows are drawn from the mean, in standard deviations of each column."""


@torch.no_grad()
def take_weights(network: Transformer, reference: Transformer) -> list[str]:
    """Copy every weight of `reference` that `network` has too; return the names of the others.

    A weight is the same where its name and its shape are. One of a head must also be stored under
    the same name by its family (a masked language model's dense layer is not a classifier's). Of
    the last layer of a head with labels the rows are taken label by label; it is among the names
    returned where `network` has a label that `reference` lacks. Of a table of the vocabulary that
    is longer in `network`, the further rows are drawn near the mean of the others, so that a new
    token is about as likely as a middling one (Hewitt 2021, "Initializing new word embeddings").
    """
    theirs = dict(reference.named_parameters())
    stored = [
        family_of(model.config.family).weights(model.config) for model in (network, reference)
    ]
    same_head = network.config.head == reference.config.head
    old = {label: row for row, label in enumerate(reference.config.labels)}
    labels = network.config.labels
    shared = [label for label in labels if label in old]
    more = network.config.vocab_size > reference.config.vocab_size
    longer = _TABLES if more else ()
    fresh = []
    for name, parameter in network.named_parameters():
        source = theirs.get(name)
        if name.startswith("head.") and source is not None:
            last = name.startswith("head.projection.")
            if stored[0][name].names != stored[1][name].names or (last and not same_head):
                source = None
            elif last and labels and source.shape[1:] == parameter.shape[1:]:
                parameter[[labels.index(label) for label in shared]] = source[
                    [old[label] for label in shared]
                ]
                if len(shared) < len(labels):
                    fresh.append(name)
                continue
        if source is not None and name in longer and source.shape[1:] == parameter.shape[1:]:
            rows = len(source)
            parameter[:rows] = source
            near = torch.randn_like(parameter[rows:]) * _NEAR * source.std(0)
            parameter[rows:] = source.mean(0) + near
        elif source is None or source.shape != parameter.shape:
            fresh.append(name)
        else:
            parameter.copy_(source)
    return fresh
