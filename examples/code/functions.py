"""The functions of Python files, one a line of JSON: what a model learns to fill gaps from."""

import ast
import json
import sys
import textwrap
import warnings
from pathlib import Path

LONGEST = 2000  # characters

warnings.simplefilter("ignore")  # of the files that are read
for name in sys.argv[1:]:
    source = Path(name).read_text(encoding="utf-8", errors="replace")
    lines = source.splitlines(keepends=True)
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            text = textwrap.dedent("".join(lines[node.lineno - 1 : node.end_lineno]))
            if text.count("\n") >= 3 and len(text) <= LONGEST:
                print(json.dumps({"source": name, "text": text}))
