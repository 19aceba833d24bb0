"""Marian (Junczys-Dowmunt et al. 2018), as OPUS-MT (Tiedemann & Thottingal 2020) publishes it.

The original Transformer with biases throughout: norms after each sublayer, no norm of the
embeddings, fixed sinusoids. tensor2tensor, where the original came from, and Marian put the sines
in the first half of the channels and the cosines in the second; the paper alternates them.
With learned weights around them the order of the channels is a matter of naming, but every writer
and reader of a directory has to keep to one, and this is it.
"""

from typing import Any

from hanlin.models.config import ModelConfig
from hanlin.models.families import Family
from hanlin.models.families.bart import (
    fit_bias,
    read_towers,
    spellings,
    tied_embeddings,
    towers_table,
    write_towers,
)
from hanlin.models.families.decoder import Classes, class_of
from hanlin.models.families.keys import Keys

_CLASSES: Classes = {"language-model": "MarianMTModel", "none": "MarianModel"}


def read_marian(raw: dict[str, Any]) -> ModelConfig:
    """A Marian config.json to ours."""
    keys = Keys(raw)
    fields = read_towers(keys, _CLASSES)
    keys.neutral("share_encoder_decoder_embeddings", True)
    keys.neutral("decoder_vocab_size", fields["vocab_size"])
    keys.neutral("normalize_before", False)
    keys.neutral("normalize_embedding", False)
    keys.neutral("add_final_layer_norm", False)
    keys.neutral("static_position_embeddings", True)
    keys.skip("extra_pos_embeddings")  # of learned positions
    keys.finish()
    return ModelConfig(
        family="marian", position="sinusoidal", norm_place="after", final_norm=False, **fields
    )


def write_marian(config: ModelConfig) -> dict[str, Any]:
    """Ours to a Marian config.json."""
    out = {"architectures": class_of(config, _CLASSES), "model_type": "marian"}
    out |= write_towers(config)
    return out | {
        "decoder_vocab_size": config.vocab_size,
        "share_encoder_decoder_embeddings": True,
    }


FAMILY = Family(
    name="marian",
    read=read_marian,
    write=write_marian,
    weights=towers_table,
    tied=tied_embeddings,
    # Fixed sinusoids, which some writers store all the same.
    ignored=r"(model\.)?(encoder|decoder)\.(version|embed_positions\.weight)$",
    spellings=spellings,
    fit=fit_bias,
    unsaid=("lm_head_bias",),
)
