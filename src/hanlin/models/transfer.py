"""Weights of one model taken over by another, where both have them."""

import torch

from hanlin.models.families import family_of
from hanlin.models.transformer import Transformer


@torch.no_grad()
def take_weights(network: Transformer, reference: Transformer) -> list[str]:
    """Copy every weight of `reference` that `network` has too; return the names of the others.

    A weight is the same where its name and its shape are. One of a head must also be stored under
    the same name by its family (a masked language model's dense layer is not a classifier's), and
    the last layer of a head must give the same labels.
    """
    theirs = dict(reference.named_parameters())
    stored = [
        family_of(model.config.family).weights(model.config) for model in (network, reference)
    ]
    same_head = network.config.head == reference.config.head
    same_labels = same_head and network.config.labels == reference.config.labels
    fresh = []
    for name, parameter in network.named_parameters():
        source = theirs.get(name)
        fits = source is not None and source.shape == parameter.shape
        if fits and name.startswith("head."):
            fits = stored[0][name].names == stored[1][name].names
            if name.startswith("head.projection."):
                fits = fits and same_labels
        if fits and source is not None:
            parameter.copy_(source)
        else:
            fresh.append(name)
    return fresh
