# Every target does its own set-up in .venv, once; see scripts/setup.py.
# PYTHON=python3.12       which Python to build .venv with (3.11 or newer; found if not named)
# TORCH_INDEX=<address>   a further channel to look for PyTorch in (pytorch.org, Get Started)

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help demo test check clean setup-core setup-dev
unexport PYTHONPATH PYTHONHOME
export PYTHON TORCH_INDEX

PY := .venv/bin/python
SETUP = python=$$(sh scripts/find-python.sh) && "$$python" scripts/setup.py
# The arguments of pytest, to run a part: make test T="tests/text -k sentences"
T :=

help:
	@echo 'make demo    install hanlin and see it work     安装 hanlin 并观看演示'
	@echo 'make test    install and run the tests          安装并运行测试'
	@echo 'make check   lint, types, import order          代码风格、类型与导入顺序检查'
	@echo 'make clean   remove the environment and caches  删除环境与缓存'

demo: setup-core
	@$(PY) scripts/demo.py

# Two processes of one thread each are faster on two cores than one process of two threads.
test: setup-dev
	@.venv/bin/hanlin pull smollm2-135m >/dev/null
	@.venv/bin/hanlin pull minilm >/dev/null
	@OMP_NUM_THREADS=1 $(PY) -m pytest -n 2 --dist worksteal $(T)

check: setup-dev
	@$(PY) -m ruff check
	@$(PY) -m ruff format --check
	@$(PY) -m mypy
	@.venv/bin/lint-imports --no-logo

setup-core:
	@$(SETUP) core

setup-dev:
	@$(SETUP) dev

clean:
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
