"""``hanlin pull``: bring a named model here, or list the named models."""

from typing import Any

import click

from hanlin.cli import options
from hanlin.cli.language import chinese, say
from hanlin.cli.output import emit


@click.command(
    help=say(
        "Bring the model NAME here, checked against its pinned hash; without a NAME, list them.",
        "下载名为 NAME 的模型并核对哈希；不给 NAME 则列出所有具名模型。",
    )
)
@click.argument("name", required=False)
@options.as_json
def command(name: str | None, as_json: bool) -> None:
    """Pull or list."""
    from hanlin.models.named import NAMED, pull

    if name is not None:
        path = pull(name)
        emit({"name": name, "path": str(path)}, as_json=as_json, text=str(path))
        return
    rows: list[dict[str, Any]] = [
        {
            "name": model.name,
            "bytes": model.unpacked_bytes,
            "licence": model.licence,
            "about": model.about_zh if chinese() else model.about,
        }
        for model in NAMED.values()
    ]
    width = max(len(name) for name in NAMED)
    lines = [
        f"{row['name']:<{width}}  {row['bytes'] / 1e6:4.0f} MB  {row['licence']}  {row['about']}"
        for row in rows
    ]
    emit({"models": rows}, as_json=as_json, text="\n".join(lines))
