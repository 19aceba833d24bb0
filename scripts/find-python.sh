#!/bin/sh
# Print a Python that can build hanlin's environment: 3.11 or newer, with venv and pip's installer.
# The environment's own Python comes first, so that a second run never changes interpreters; the
# versions hanlin is tested on come next. PYTHON=... (a name or a path) asks for one in particular.
able='import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))'
own=.venv/bin/python
{ [ ! -e .venv/unfinished ] && "$own" -c 'import pip' >/dev/null 2>&1; } || own=

for name in ${PYTHON:-$own python3.11 python3.12 python3.13 python3.14 python3 python}; do
    if "$name" -c "$able" >/dev/null 2>&1; then
        echo "$name"
        exit 0
    fi
done

if [ -n "$PYTHON" ]; then
    echo "error: PYTHON=$PYTHON is not a Python 3.11 or newer with the venv and ensurepip modules. Name another, or none to have one found." >&2
    echo "错误：PYTHON=$PYTHON 不是带有 venv 和 ensurepip 模块的 Python 3.11 或更新版本。请另选一个，或不指定以自动查找。" >&2
    exit 1
fi
cat >&2 <<'END'
error: no Python 3.11 or newer with the venv and ensurepip modules was found. Install one (Debian and Ubuntu: apt install python3 python3-venv; macOS: brew install python), or name it: make demo PYTHON=/path/to/python3
错误：没有找到带有 venv 和 ensurepip 模块的 Python 3.11 或更新版本。请安装（Debian/Ubuntu：apt install python3 python3-venv；macOS：brew install python），或指定路径：make demo PYTHON=/path/to/python3
END
exit 1
