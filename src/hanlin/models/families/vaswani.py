"""The original Transformer (Vaswani et al. 2017, "Attention Is All You Need").

Norms after each sublayer, ReLU, sinusoids, embeddings multiplied by sqrt(D), and one matrix for the
source's tokens, the target's tokens and the output. Decoding starts from the padding token, and the
decoder reads the target one place to the right. Directories have Marian's layout (model_type
marian), which transformers reads; `families/marian.py` says how the sinusoids are ordered.
"""

from hanlin.models.families import Family
from hanlin.models.families.bart import fit_bias, spellings, tied_embeddings, towers_table
from hanlin.models.families.marian import FAMILY as MARIAN
from hanlin.models.families.marian import read_marian, write_marian

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
