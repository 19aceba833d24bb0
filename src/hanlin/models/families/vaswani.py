"""The original Transformer (Vaswani et al. 2017, "Attention Is All You Need"), built from nothing.

Norms after each sublayer, ReLU, sinusoids, embeddings multiplied by sqrt(D), and one matrix for the
source's tokens, the target's tokens and the output. Decoding starts from the padding token, and the
decoder reads the target one place to the right. Directories have Marian's layout (model_type
marian), which transformers reads; `families/marian.py` says how the sinusoids are ordered.
"""

from typing import Literal

from hanlin.models.config import ModelConfig
from hanlin.models.families import Family
from hanlin.models.families.bart import fit_bias, spellings, tied_embeddings, towers_table
from hanlin.models.families.marian import FAMILY as MARIAN
from hanlin.models.families.marian import read_marian, write_marian
from hanlin.models.new import near_identity

Size = Literal["tiny", "base", "big"]

# hidden, layers, heads, feed-forward, dropout: table 3 of the paper; "tiny" is for trials.
_SIZES: dict[Size, tuple[int, int, int, int, float]] = {
    "tiny": (128, 2, 4, 512, 0.1),
    "base": (512, 6, 8, 2048, 0.1),
    "big": (1024, 6, 16, 4096, 0.3),
}


def vaswani(
    size: Size, *, vocab_size: int, pad_id: int, eos_id: int, max_context: int = 512
) -> ModelConfig:
    """The paper's model of a size, for a vocabulary that source and target share.

    max_context: positions that other readers make; ours makes as many as a text needs.
    """
    hidden, layers, heads, width, dropout = _SIZES[size]
    return ModelConfig(
        family="vaswani",
        shape="encoder-decoder",
        head="language-model",
        vocab_size=vocab_size,
        hidden_size=hidden,
        num_layers=layers,
        num_heads=heads,
        intermediate_size=width,
        max_context=max_context,
        position="sinusoidal",
        attention_bias=True,
        attention_out_bias=True,
        norm="layernorm",
        norm_place="after",
        norm_bias=True,
        final_norm=False,
        activation="relu",
        gated=False,
        mlp_bias=True,
        embedding_scale=hidden**0.5,
        dropout=dropout,
        initializer_range=near_identity(hidden),
        pad_id=pad_id,
        eos_ids=(eos_id,),
        decoder_start_id=pad_id,
    )


FAMILY = Family(
    name="vaswani",
    read=read_marian,
    write=write_marian,
    weights=towers_table,
    tied=tied_embeddings,
    ignored=MARIAN.ignored,
    spellings=spellings,
    fit=fit_bias,
    unsaid=("family", "lm_head_bias"),
)
