"""``hanlin doctor``: what this machine can do, what is missing, and how to get it."""

import platform
import shutil
import sys
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from typing import Any

import click

from hanlin.cli import options
from hanlin.cli.language import say
from hanlin.cli.output import coloured, emit


@dataclass(frozen=True)
class Check:
    """One thing looked at."""

    name: str
    found: str
    remedy: str | None = None
    """What to do, where something could be better."""

    @property
    def status(self) -> str:
        """ok, or warning where there is something to do."""
        return "ok" if self.remedy is None else "warning"


@click.command(
    help=say("Show what this machine can do and what is missing.", "查看本机能做什么、还缺什么。")
)
@options.as_json
def command(as_json: bool) -> None:
    """Check and print."""
    limits = _limits()
    checks = [_python(), *_torch(), _speed(limits), _memory(), _disk(), *_models(), *_packages()]
    data = {"checks": [{"status": check.status, **asdict(check)} for check in checks], **limits}
    emit(data, as_json=as_json, text="\n".join(_line(check) for check in checks))


def _line(check: Check) -> str:
    mark, colour = ("✓", "32") if check.remedy is None else ("!", "33")
    line = f"{coloured(mark, colour)} {check.name}: {check.found}"
    return line if check.remedy is None else f"{line}\n    {check.remedy}"


def _python() -> Check:
    return Check("Python", f"{platform.python_version()} ({sys.prefix})")


def _torch() -> list[Check]:
    import torch

    from hanlin.provenance import machine, usable_cores

    capability = torch.backends.cpu.get_cpu_capability()
    flags = {
        flag
        for flag in ("avx512_bf16", "avx512_vnni", "amx_bf16", "amx_int8", "avx2", "asimddp")
        if flag in _cpu_flags()
    }
    threads, cores = torch.get_num_threads(), usable_cores()
    remedy = None
    if threads < cores:
        remedy = say(
            f"{cores} cores are free to use: unset OMP_NUM_THREADS, or set it to {cores}.",
            f"有 {cores} 个核心可用：取消 OMP_NUM_THREADS，或设为 {cores}。",
        )
    return [
        Check(
            say("Processor", "处理器"),
            f"{machine()['cpu']}; {capability}; {', '.join(sorted(flags)) or '-'}",
        ),
        Check("PyTorch", f"{torch.__version__}, {threads} threads", remedy),
    ]


def _cpu_flags() -> set[str]:
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as listing:
            for line in listing:
                if line.lower().startswith(("flags", "features")):
                    return set(line.partition(":")[2].split())
    except OSError:
        pass  # not Linux: torch's own word on the processor has to do
    return set()


def _limits() -> dict[str, float]:
    import torch

    from hanlin.cli.machine import matmul_peak, read_bandwidth

    return {
        "read_bytes_per_second": read_bandwidth(),
        "float32_flops": matmul_peak(torch.float32),
        "bfloat16_flops": matmul_peak(torch.bfloat16),
    }


def _speed(limits: dict[str, float]) -> Check:
    return Check(
        say("Measured", "实测"),
        say(
            f"reads {limits['read_bytes_per_second'] / 1e9:.1f} GB/s; multiplies "
            f"{limits['float32_flops'] / 1e9:.0f} GFLOP/s in float32, "
            f"{limits['bfloat16_flops'] / 1e9:.0f} in bfloat16",
            f"读内存 {limits['read_bytes_per_second'] / 1e9:.1f} GB/s；矩阵乘 float32 "
            f"{limits['float32_flops'] / 1e9:.0f} GFLOP/s，bfloat16 "
            f"{limits['bfloat16_flops'] / 1e9:.0f} GFLOP/s",
        ),
    )


def _memory() -> Check:
    from hanlin.provenance import machine

    name = say("Memory", "内存")
    total = machine()["memory_bytes"]
    if total is None:
        return Check(name, say("unknown", "未知"))
    remedy = None
    if total < 2 * 2**30:
        remedy = say("smollm2-135m needs about 1 GB free.", "smollm2-135m 约需 1 GB 空闲内存。")
    return Check(name, f"{total / 2**30:.1f} GiB", remedy)


def _disk() -> Check:
    from hanlin.models.named import cache_directory

    cache = cache_directory()
    place = next(folder for folder in (cache, *cache.parents) if folder.exists())
    free = shutil.disk_usage(place).free
    remedy = None
    if free < 2**30:
        remedy = say(
            "Free some space, or set HANLIN_CACHE to a folder on another disk.",
            "请清理空间，或将 HANLIN_CACHE 设为其他磁盘上的文件夹。",
        )
    free_text = say(f"{free / 2**30:.1f} GiB free", f"剩余 {free / 2**30:.1f} GiB")
    return Check(say("Model cache", "模型缓存"), f"{cache}: {free_text}", remedy)


def _models() -> list[Check]:
    from hanlin.models.named import NAMED, cache_directory

    checks = []
    for model in NAMED.values():
        here = (cache_directory() / "models" / f"{model.name}-{model.version}").is_dir()
        found = say("here", "已下载") if here else say("not here", "未下载")
        remedy = None if here else f"hanlin pull {model.name}"
        checks.append(Check(model.name, found, remedy))
    return checks


_EXTRAS = {
    "huggingface_hub": ("hub ids as MODEL", "以 hub 编号指定模型"),
    "transformers": ("comparing hanlin with transformers", "与 transformers 对比"),
    "sentence_transformers": ("comparing embeddings", "对比句向量"),
    "readline": ("history in hanlin chat", "hanlin chat 的输入历史"),
}


def _packages() -> list[Check]:
    checks = []
    for name, purpose in _EXTRAS.items():
        if find_spec(name) is not None:
            checks.append(Check(name, say("installed", "已安装")))
        else:
            missing: dict[str, Any] = {"found": say("not installed", "未安装")}
            needed = say(f"Only needed for {purpose[0]}.", f"仅用于：{purpose[1]}。")
            checks.append(Check(name, **missing, remedy=needed))
    return checks
