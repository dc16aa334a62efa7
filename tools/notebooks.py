"""Run the notebooks of the tutorial and keep their outputs, small: `python tools/notebooks.py [NOTEBOOK ...]`.

Text that a cell prints, and the value of its last expression, are stored in the notebook; images as JPEG.
"""

from __future__ import annotations

import ast
import base64
import contextlib
import io
import json
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

from PIL import Image

FOLDER = Path(__file__).resolve().parent.parent / "docs/tutorial"
SIDE = 900  # pixels, of the longer side of a stored image


def run(path: Path) -> dict[str, Any]:
    """Run the code of a notebook, cell after cell in one namespace, and return it with its outputs."""
    notebook = json.loads(path.read_text())
    names: dict[str, Any] = {"__name__": "__main__"}
    number = 0
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            number += 1
            printed = io.StringIO()
            with contextlib.redirect_stdout(printed):
                value = execute("".join(cell["source"]), names, f"{path.name}, cell {number}")
            cell["execution_count"] = number
            cell["outputs"] = outputs(printed.getvalue(), value, number)
    return notebook


def execute(source: str, names: dict[str, Any], place: str) -> Any:
    """Run statements; return the value of the last one if it is an expression."""
    tree = ast.parse(source)
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, place, "exec"), names)
    return eval(compile(ast.Expression(last.value), place, "eval"), names) if isinstance(last, ast.Expr) else None


def outputs(printed: str, value: Any, number: int) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    if printed:
        found.append({"output_type": "stream", "name": "stdout", "text": printed.splitlines(keepends=True)})
    if value is not None:
        if isinstance(value, Image.Image):
            data = {
                "image/jpeg": base64.b64encode(jpeg(value)).decode(),
                "text/plain": [f"<image of {value.width}x{value.height}>"],
            }
        else:
            data = {"text/plain": repr(value).splitlines(keepends=True)}
        found.append({"output_type": "execute_result", "execution_count": number, "data": data, "metadata": {}})
    return found


def jpeg(image: Image.Image) -> bytes:
    small, stream = image.convert("RGB"), io.BytesIO()
    small.thumbnail((SIDE, SIDE))
    small.save(stream, "JPEG", quality=85)
    return stream.getvalue()


def main(paths: list[Path]) -> None:
    warnings.simplefilter("ignore")
    for path in paths:
        with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
            notebook = run(path)
        path.write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + "\n")
        print(path)


if __name__ == "__main__":
    main([Path(argument).resolve() for argument in sys.argv[1:]] or sorted(FOLDER.glob("*.ipynb")))
