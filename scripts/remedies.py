"""What to do when pip fails: the cause is read from its output, the answer is in two languages."""

from typing import NamedTuple


class Remedy(NamedTuple):
    """A cause, the words in pip's output that betray it, and what the user can do about it."""

    cause: str
    signs: tuple[str, ...]
    english: str
    chinese: str


# The first whose sign is found counts: after a network error pip also says it found no version.
REMEDIES = (
    Remedy(
        "disk",
        ("No space left on device", "[Errno 28]", "Disk quota exceeded"),
        "The disk is full: hanlin needs about 1.5 GB, its tests 0.5 GB more. Free some space"
        " (pip's cache, for one: python3 -m pip cache purge) and run the same command again.",
        "磁盘已满：hanlin 约需 1.5 GB，测试另需 0.5 GB。请腾出空间（例如清理 pip 缓存："
        "python3 -m pip cache purge），然后重新运行同一命令。",
    ),
    Remedy(
        "network",
        (
            "NewConnectionError",
            "Failed to establish a new connection",
            "NameResolutionError",
            "name resolution",
            "Network is unreachable",
            "ConnectTimeoutError",
            "ReadTimeoutError",
            "Read timed out",
            "Connection refused",
            "ProxyError",
            "SSLError",
        ),
        "The network did not answer. Check the connection, and pip's proxy and certificate settings"
        " (python3 -m pip config list); then run the same command again, it goes on from here.",
        "网络没有响应。请检查网络连接以及 pip 的代理和证书设置（python3 -m pip config list），"
        "然后重新运行同一命令，它会接着做下去。",
    ),
    Remedy(
        "permission",
        ("Permission denied", "[Errno 13]", "Read-only file system"),
        "A file could not be written. Make this folder and pip's cache writable for you, then run"
        " the same command again.",
        "有文件无法写入。请确认您对本目录和 pip 缓存有写权限，然后重新运行同一命令。",
    ),
    Remedy(
        "compiler",
        ("error: command 'gcc'", "error: command 'cc'", "error: command 'c++'", "Visual C++ 14"),
        "A package has no ready-made wheel for this Python, and there is no compiler to build it."
        " Use a Python that has wheels (make test PYTHON=python3.12), or install a C++ compiler.",
        "某个软件包没有适合当前 Python 的预编译版本，本机又没有编译器。请改用有预编译版本的 Python"
        "（make test PYTHON=python3.12），或安装 C++ 编译器。",
    ),
    Remedy(
        "no version",
        ("No matching distribution found", "ResolutionImpossible"),
        "pip found no fitting version. Check that it reaches a package index (python3 -m pip config"
        " list) and that PyTorch has wheels for this Python and system (3.11 to 3.13 are safe).",
        "pip 没有找到合适的版本。请检查 pip 能否访问软件源（python3 -m pip config list），"
        "以及 PyTorch 是否支持当前的 Python 和系统（3.11 至 3.13 都是稳妥的选择）。",
    ),
)
UNKNOWN = Remedy(
    "unknown",
    (),
    "pip's whole output is in .venv/setup.log. Run the same command again, or start afresh with:"
    " make clean",
    "pip 的完整输出见 .venv/setup.log。可重新运行同一命令，或先执行 make clean 从头开始。",
)


def remedy_for(output: str) -> Remedy:
    """Return what to do about the first known cause of failure that pip's `output` shows."""
    for remedy in REMEDIES:
        if any(sign in output for sign in remedy.signs):
            return remedy
    return UNKNOWN
