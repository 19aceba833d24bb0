"""``hanlin merge``: an adapter and its base become one model directory."""

import json
from pathlib import Path

import click

from hanlin.cli import options
from hanlin.cli.language import say
from hanlin.cli.output import emit
from hanlin.errors import InputError


@click.command(
    help=say(
        "Make the adapter in the directory ADAPTER (a LoRA of hanlin's or PEFT's) a part of its "
        "base model's weights, and write a model that needs neither.",
        "把目录 ADAPTER 中的适配器（hanlin 或 PEFT 的 LoRA）并入其基座模型的权重，"
        "写出一个不再需要二者的模型。",
    )
)
@click.argument("adapter", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(path_type=Path),
    help=say("The directory of the merged model.", "合并后模型的目录。"),
)
@click.option(
    "--dtype",
    type=click.Choice(["float32", "bfloat16", "float16"]),
    default="float32",
    show_default=True,
    help=say("Numbers the weights are written in.", "写出权重所用的数值类型。"),
)
@options.as_json
def command(adapter: Path, output: Path, dtype: str, as_json: bool) -> None:
    """Merge and write."""
    from hanlin.models.directory import read_json, save_directory
    from hanlin.models.exchange import write_text
    from hanlin.models.lora import is_adapter
    from hanlin.models.pooling import Pooling
    from hanlin.tasks import Encoder, LanguageModel, load

    if not is_adapter(adapter):
        raise InputError(
            f"{adapter} is not the directory of an adapter: it needs adapter_config.json and "
            "adapter_model.safetensors. Give one that `hanlin train` wrote with method: lora."
        )
    model = load(adapter, dtype=dtype)
    made = adapter / "hanlin.json"
    save_directory(
        model.network,
        output,
        tokenizer=model.tokenizer,
        generation=model.defaults if isinstance(model, LanguageModel) else None,
        provenance=read_json(made) if made.is_file() else None,
    )
    if isinstance(model, Encoder) and model.pooling != Pooling():
        for name, content in model.pooling.files(model.network.config.hidden_size).items():
            (output / name).parent.mkdir(exist_ok=True)
            write_text(output / name, json.dumps(content, indent=2) + "\n")
    size = sum(file.stat().st_size for file in output.glob("*.safetensors"))
    emit(
        {"path": str(output), "dtype": dtype, "bytes": size},
        as_json=as_json,
        text=say(
            f"{output}: one model of {size / 1e6:.0f} MB",
            f"{output}：合并后的模型，{size / 1e6:.0f} MB",
        ),
    )
