"""A hook of MkDocs: pages that live outside `docs/`, notebooks, the navigation of the methods, the public names.

The documentation is read in the repository and on the site, from the same files. The hook bridges the differences:

- `CONTRIBUTING.md` and others beside `docs/` become pages.
- A notebook becomes a page: its text, its code, and the outputs that are stored in it.
- A link to a file of the repository that has no page becomes plain text, or a link to the repository if `repo_url` is set.
  A link to a file that does not exist is an error.
- A line `{{ names: MODULE ... }}` of a page becomes the documentation of the public names that come from these modules, but for
  those that the page has already. A public name that no page has, or that has no docstring, is an error.
"""

from __future__ import annotations

import ast
import base64
import json
import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
OUTSIDE = ["CONTRIBUTING.md", "CHANGELOG.md", "benchmarks/README.md"]
HOME = {"README.md": "index.md"}  # of the repository, of the site

LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^()\s]+)\)")
NAMES = re.compile(r"^\{\{ names: ([\w. ]+) \}\}$", re.MULTILINE)
FENCED = re.compile(r"(^```.*?^```$)", re.MULTILINE | re.DOTALL)


# ---------------------------------------------------------------------------------------------------- navigation


def on_config(config: Any) -> Any:
    for section in config.nav:
        if section == {"Methods": "methods/"}:
            section["Methods"] = ["methods/README.md", *method_pages()]
    return config


def method_pages() -> list[dict[str, str]]:
    """The methods in the order of their table."""
    names = re.findall(r"^\| \[([^\]]+)\]\(", (DOCS / "methods/README.md").read_text(), re.MULTILINE)
    return [{name: f"methods/{name}.md"} for name in names]


# --------------------------------------------------------------------------------------------------------- files


def on_files(files: Files, config: Any) -> Files:
    for path in OUTSIDE:
        files.append(File.generated(config, path, content=(ROOT / path).read_text()))
    for file in [file for file in files if file.src_uri.endswith(".ipynb")]:
        page = File.generated(config, file.src_uri, content=notebook_page(DOCS / file.src_uri))
        page.is_documentation_page = lambda: True
        page.dest_uri = file.src_uri.removesuffix(".ipynb") + "/index.html"
        page.url = file.src_uri.removesuffix(".ipynb") + "/"
        files.remove(file)
        files.append(page)
    return files


def notebook_page(path: Path) -> str:
    """Return a notebook as Markdown."""
    parts = []
    for cell in json.loads(path.read_text())["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(source)
        elif source.strip():
            parts.append(f"```python\n{source}\n```")
            parts += [text for output in cell.get("outputs", ()) if (text := output_text(output))]
    return "\n\n".join(parts) + "\n"


def output_text(output: dict[str, Any]) -> str:
    data = output.get("data", {})
    for kind in ("image/png", "image/jpeg", "image/webp"):
        if kind in data:
            picture = base64.b64encode(base64.b64decode("".join(data[kind]))).decode()
            return f'<img alt="output" src="data:{kind};base64,{picture}">'
    text = "".join(data.get("text/plain", output.get("text", ""))).rstrip()
    return f'```text title="output"\n{text}\n```' if text else ""


# --------------------------------------------------------------------------------------------------------- links


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    source = page.file.src_uri
    folder = Path(posixpath.dirname(source)) if source in OUTSIDE else Path("docs", posixpath.dirname(source))
    pieces = FENCED.split(markdown)
    pieces[::2] = [LINK.sub(lambda found: link(found, folder, source, config, files), text) for text in pieces[::2]]
    text = "".join(pieces)
    return NAMES.sub(lambda found: documented(found[1].split(), text), text)


def link(found: re.Match[str], folder: Path, page: str, config: Any, files: Files) -> str:
    """Return a link of the repository as the site has it."""
    mark, text, target = found.groups()
    if re.match(r"[a-z]+:|#", target):
        return found[0]
    path, _, anchor = target.partition("#")
    place = posixpath.normpath(posixpath.join(folder.as_posix(), path))  # from the root of the repository
    if not (ROOT / place).exists():
        raise PluginError(f"{page}: the link to {target} leads to {place}, which does not exist")
    if place in HOME:
        here = HOME[place]
    elif place in OUTSIDE:
        here = place
    elif place.startswith("docs/") and files.get_file_from_path(place.removeprefix("docs/")):
        here = place.removeprefix("docs/")
    elif config.repo_url:
        return f"{mark}[{text}]({config.repo_url.rstrip('/')}/blob/main/{place}{'#' * bool(anchor)}{anchor})"
    else:
        return text
    relative = posixpath.relpath(here, posixpath.dirname(page) or ".")
    return f"{mark}[{text}]({relative}{'#' * bool(anchor)}{anchor})"


# -------------------------------------------------------------------------------------------------- public names


def public_names() -> dict[str, str]:
    """Return {public name of the package: module that it comes from}, as the stub says."""
    names = {}
    for node in ast.parse((ROOT / "src/unbleed/__init__.pyi").read_text()).body:
        if isinstance(node, ast.ImportFrom) and node.module:  # without one, what is imported is a module
            names |= {alias.asname or alias.name: f"unbleed.{node.module}" for alias in node.names}
    return names


def listed(module: str) -> list[str]:
    """Return the names that a module offers: those of its `__all__`, or else those that it imports `as` themselves."""
    path = ROOT / "src" / Path(*module.split("."))
    tree = ast.parse((path / "__init__.py" if path.is_dir() else path.with_suffix(".py")).read_text())
    for node in tree.body:
        if isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == "__all__" for t in node.targets):
            return [name for name in ast.literal_eval(node.value) if not name.startswith("__")]
    imports = [node for node in tree.body if isinstance(node, ast.ImportFrom)]
    return [alias.name for node in imports for alias in node.names if alias.asname == alias.name]


def documented(modules: list[str], page: str) -> str:
    """Return the directives for the public names of some modules that the page does not have yet."""
    home = public_names()
    paths = []
    for module in modules:
        names = [name for name, place in home.items() if place == module or place.startswith(f"{module}.")]
        paths += [f"unbleed.{name}" for name in names]
        paths += [f"{module}.{name}" for name in listed(module) if name not in home]
    if not paths:
        raise PluginError(f"{' '.join(modules)}: no public names")
    return "\n\n".join(f"::: {path}" for path in paths if f"::: {path}\n" not in page)


def on_pre_build(config: Any) -> None:
    """Every public name is on a page, and has a docstring."""
    import griffe

    pages = "\n".join(path.read_text() for path in sorted((DOCS / "api").glob("*.md")))
    modules = [module for found in NAMES.finditer(pages) for module in found[1].split()]
    missing = [
        name
        for name, home in public_names().items()
        if not any(home == module or home.startswith(f"{module}.") for module in modules)
        and f"::: unbleed.{name}\n" not in pages
    ]
    if missing:
        raise PluginError(f"no page in docs/api has {', '.join(missing)}")
    package = griffe.load("unbleed", search_paths=[str(ROOT / "src")], resolve_aliases=True)
    bare = [name for name in public_names() if not package[name].docstring]
    if bare:
        raise PluginError(f"public names without a docstring: {', '.join(bare)}")
