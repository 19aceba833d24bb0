"""Weights of one model taken over by another, where both have them."""

import torch

from hanlin.models.families import family_of
from hanlin.models.transformer import Transformer


@torch.no_grad()
def take_weights(network: Transformer, reference: Transformer) -> list[str]:
    """Copy every weight of `reference` that `network` has too; return the names of the others.

    A weight is the same where its name and its shape are. One of a head must also be stored under
    the same name by its family (a masked language model's dense layer is not a classifier's). Of
    the last layer of a head with labels the rows are taken label by label; it is among the names
    returned where `network` has a label that `reference` lacks.
    """
    theirs = dict(reference.named_parameters())
    stored = [
        family_of(model.config.family).weights(model.config) for model in (network, reference)
    ]
    same_head = network.config.head == reference.config.head
    old = {label: row for row, label in enumerate(reference.config.labels)}
    labels = network.config.labels
    shared = [label for label in labels if label in old]
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
        if source is None or source.shape != parameter.shape:
            fresh.append(name)
        else:
            parameter.copy_(source)
    return fresh
