"""A run as it stands before its first step, for those who watch it."""

from hanlin.config import to_plain
from hanlin.data.examples import Examples
from hanlin.data.loader import Loader
from hanlin.models.transformer import Transformer
from hanlin.provenance import versions
from hanlin.training.config import TrainConfig
from hanlin.training.corpus import Corpus, size_of
from hanlin.training.cost import count, flops_per_token
from hanlin.training.distributed import World
from hanlin.training.events import Plan


def plan_of(
    settings: TrainConfig,
    corpus: Corpus,
    network: Transformer,
    loader: Loader,
    held: Examples | None,
    world: World,
    *,
    peak: float | None,
) -> Plan:
    """What `settings` come to with this corpus and network.

    held: of the validation part; peak: see `Plan.peak_flops`.
    """
    duration, length = settings.duration, settings.batch.length
    train = size_of(corpus.train, loader.examples)
    validation = size_of(corpus.validation, held)
    per_step = settings.batch.tokens or settings.batch.sequences * length
    if corpus.records and train[0]:
        per_step = round(train[0] / loader.steps_per_epoch)
        length = min(length, -(-train[0] // len(loader.examples)))
    return Plan(
        output=settings.output,
        config=to_plain(settings),
        objective=settings.objective.name,
        shape=network.config.shape,
        parameters=count(network).total,
        flops_per_token=flops_per_token(network, objective=settings.objective.name, length=length),
        train_tokens=train[0],
        train_documents=train[1],
        validation_tokens=validation[0],
        validation_documents=validation[1],
        tokens_per_step=per_step,
        steps_per_epoch=loader.steps_per_epoch,
        duration=str(duration),
        total_steps=duration.steps,
        device=str(world.device),
        precision=settings.precision,
        peak_flops=peak,
        world=world.size,
        versions=versions(),
        seed=settings.seed,
    )
