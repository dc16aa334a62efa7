"""The pages of the methods, made from their docstrings, their settings, and measured figures.

python tools/method_pages.py measure [NAME...]         # counts operations and makes the figures, of all methods or these
python tools/method_pages.py draw [NAME...]            # makes only the figures
python tools/method_pages.py results ROWS.csv...       # takes the scores from reports of `unbleed bench`
python tools/method_pages.py                           # writes docs/methods/*.md
"""

from __future__ import annotations

import csv
import inspect
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from unbleed import generation, guide, load, sheets
from unbleed.guidance import noise, noise_choice, velocity
from unbleed.losses import Loss
from unbleed.losses.base import SumLoss
from unbleed.methods import METHODS, PaperMethod
from unbleed.model_settings import method_of
from unbleed.recipes import Recipe
from unbleed.sampling import sampling_named
from unbleed.sheets import unguided

DOCS = Path(__file__).parents[1] / "docs"
PAGES = DOCS / "methods"
MEASURED, SCORES = PAGES / "measured.json", PAGES / "scores.json"
FIGURES = DOCS / "images/methods"
PROMPT, SEED = "a frog and a yellow car", 0
METRICS = ("all_correct", "all_present", "all_bound", "leaked", "extra", "blend")


GUIDES = {"regions": "../regions.md"}
MODELS = {"emoji": "the UNet", "emoji-mmdit": "joint attention"}  # the embedded models, and what kind each is


def pages() -> dict[str, str]:
    """Return {file name: text} of all pages, the list of them included."""
    measured, reports = kept(MEASURED, {}), kept(SCORES, [])
    names = [name for name in METHODS if name != "none"]
    return {f"{name}.md": page(name, measured.get(name), reports) for name in names} | {"README.md": contents(names, reports)}


def kept(path: Path, otherwise: Any) -> Any:
    return json.loads(path.read_text()) if path.exists() else otherwise


def report_of(name: str, model: str, reports: list[dict[str, Any]]) -> dict[str, Any] | None:
    """Return the first report on a model that has the method."""
    return next((report for report in reports if report["model"] == model and name in report["rows"]), None)


def contents(names: list[str], reports: list[dict[str, Any]]) -> str:
    lines = [
        "# Methods",
        "",
        "One page each, made by `python tools/method_pages.py`. Points more than `none` in the share of pictures that are",
        "all-correct, with 95 % intervals, on the two [embedded models](../emoji-model.md); each page names its reports.",
        "",
    ]
    lines += [f"| method | what it does | paper | {' | '.join(MODELS.values())} |", "|---|---|---|" + "---|" * len(MODELS)]
    for name in names:
        kind, found = METHODS[name], [report_of(name, model, reports) for model in MODELS]
        points = " | ".join(difference(report["rows"][name]["all_correct"]) if report else "" for report in found)
        lines.append(f"| [{name}]({name}.md) | {summary(kind)} | {kind.paper} | {points} |")
    return "\n".join(lines).rstrip() + "\n"


def page(name: str, measured: dict[str, Any] | None, reports: list[dict[str, Any]]) -> str:
    kind = METHODS[name]
    facts = [kind.paper, f"needs {' and '.join(kind().needs)}", *(["**a reconstruction**"] if kind.reconstruction else [])]
    lines = [f"# {name}", "", f"{summary(kind)} {'; '.join(facts)}.", ""]
    if name in GUIDES:
        lines += [f"[How to use it]({GUIDES[name]}).", ""]
    if measured:
        lines += [f"![{PROMPT}: maps without and with {name}](../images/methods/{name}.webp)", ""]
        lines += [f"*The embedded model, seed {SEED}, not picked: where the words are attended to, unguided and guided.*", ""]
    lines += ["## The method", "", document(sys.modules[kind.__module__].__doc__), ""]
    for title, text in parts(kind):
        lines += [f"## {title}", "", document(text), ""]
    lines += ["## Settings", "", *settings(name), ""]
    if measured:
        lines += ["## Cost", "", cost(name, measured), ""]
    for model, kind_of_model in MODELS.items():
        if report := report_of(name, model, reports):
            lines += [f"## On {model}, {kind_of_model}", "", about(report), "", *table(name, report["rows"]), ""]
    return "\n".join(lines).rstrip() + "\n"


def summary(kind: type[PaperMethod]) -> str:
    return (kind.__doc__ or "").strip().splitlines()[0]


def parts(kind: type[PaperMethod]) -> Iterator[tuple[str, str | None]]:
    """Yield the title and the docstring of every module that computes something for the method."""
    made = kind().parts()
    seen = set()
    for loss in (*single(made.loss), *single(made.refinement), *single(made.noise.loss if made.noise else None)):
        if (module := type(loss).__module__) not in seen:
            seen.add(module)
            yield f"The loss: `{module}`", sys.modules[module].__doc__
    if made.noise:
        module = noise if isinstance(made.noise, noise.NoiseSearch) else noise_choice
        yield f"The first noise: `{module.__name__}`", module.__doc__
    if made.descent.update == "velocity":
        yield f"The update: `{velocity.__name__}`", velocity.__doc__
    for edit in made.edits:
        yield f"Inside the denoiser: `{type(edit).__module__}`", sys.modules[type(edit).__module__].__doc__


def runs_on_emoji(kind: type[PaperMethod]) -> bool:
    return all(edit.families is None or "sd" in edit.families for edit in kind().parts().edits)


def single(loss: Loss | None) -> list[Loss]:
    return [] if loss is None else [one for _, one in loss.weighted] if isinstance(loss, SumLoss) else [loss]


def document(text: str | None) -> str:
    """Return a docstring as Markdown: its title in bold; formulas are indented and so code already."""
    title, _, rest = inspect.cleandoc(text or "").partition("\n")
    return f"**{title}**\n{rest}".rstrip()


def settings(name: str) -> list[str]:
    own = {row.name: row.value for row in method_of(name, "emoji").describe()}
    lines = ["| setting | what it does | paper | embedded model | where the paper's comes from |", "|---|---|---|---|---|"]
    for row in METHODS[name]().describe():
        other = written(own[row.name]) if own[row.name] != row.default else ""
        lines.append(f"| `{row.name}` | {row.help} | {written(row.default)} | {other} | {row.source} |")
    return lines


def written(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key}: {number:g}" for key, number in value.items()) or "none"
    return str(value).lower() if isinstance(value, bool) or value is None else f"{value}"


def cost(name: str, measured: dict[str, Any]) -> str:
    return (
        f"In operations of the denoiser, a run of {measured['steps']} steps on the picture above takes "
        f"{measured['forwards']:.1f} forwards of one picture with the settings for the embedded model, where the unguided run "
        f"takes {measured['unguided_forwards']:.1f} (two a step, for classifier-free guidance)"
        + (f"; {measured['evaluations']} evaluations of the loss." if measured["evaluations"] else ".")
    )


def about(report: dict[str, Any]) -> str:
    return (
        f"Percent of {report['pictures']} pictures per method ({report['suite']}, {report['prompts']} prompts), and points "
        "more than `none`, with 95 % intervals; settings searched on other prompts. From [the report]"
        f"({report['report']})."
    )


def table(name: str, rows: dict[str, Any]) -> list[str]:
    lines = ["| | none | " + name + " | difference |", "|---|---|---|---|"]
    for metric in METRICS:
        row, base = rows[name][metric], rows["none"][metric]
        lines.append(f"| {metric.replace('_', ' ')} | {100 * base['mean']:.1f} | {100 * row['mean']:.1f} | {difference(row)} |")
    return lines


def difference(row: dict[str, Any]) -> str:
    mean, low, high = (100 * row[key] for key in ("difference", "difference_low", "difference_high"))
    return f"{mean:+.1f} ({low:+.1f} to {high:+.1f})".replace("-", "−")


def take_results(path: Path) -> dict[str, Any]:
    """Return what the pages need of a report's `rows.csv`, with the report's `report.md` beside it."""
    rows: dict[str, Any] = {}
    for line in csv.DictReader(path.read_text().splitlines()):
        if line["group"] != "all" or line["metric"] not in METRICS:
            continue
        own = rows.setdefault(line["method"], {})
        numbers = ("mean", "difference", "difference_low", "difference_high")
        own[line["metric"]] = {key: float(line[key]) for key in numbers if line[key]}
        pictures = int(line["pictures"])
    report = path.with_name("report.md").read_text()
    suite = re.search(r"^- suite: (\S+):", report, re.M)
    model = re.search(r"^- model: (\S+),", report, re.M)
    prompts = re.search(r"^- prompts: (\d+)", report, re.M)
    assert suite
    assert model
    assert prompts
    relative = Path("..", *path.with_name("report.md").resolve().relative_to(DOCS.resolve()).parts).as_posix()
    about_run = {"suite": suite[1], "model": model[1], "prompts": int(prompts[1]), "pictures": pictures}
    return {**about_run, "report": relative, "rows": rows}


def recipe_of(name: str) -> Recipe:
    """Return the recipe of a page's guided picture."""
    own, method = sampling_named("emoji"), method_of(name, "emoji")
    return Recipe(PROMPT, SEED, name, method.settings(), steps=own.steps, guidance_scale=own.guidance_scale)


def pipeline() -> Any:
    pipe = load("emoji")
    pipe.set_progress_bar_config(disable=True)
    return pipe


def draw(names: list[str]) -> None:
    """Draw the figures of methods: the unguided picture and the guided one, with maps of the same layers."""
    pipe, plain = pipeline(), {}
    FIGURES.mkdir(parents=True, exist_ok=True)
    for name in names:
        recipe = recipe_of(name)
        alone = unguided(recipe)
        reading = json.dumps(alone.settings)
        if reading not in plain:
            (plain[reading],) = generation.draw(pipe, [alone], record_maps=True)
        (guided,) = generation.draw(pipe, [recipe], record_maps=True)
        path = FIGURES / f"{name}.webp"
        sheets.comparison(plain[reading], guided).save(path, "WEBP", quality=90, method=6)
        print(path.relative_to(DOCS), file=sys.stderr)


def measure(names: list[str]) -> dict[str, Any]:
    """Count the operations of methods' runs on the embedded model."""
    pipe, own = pipeline(), sampling_named("emoji")

    def operations(name: str) -> tuple[int, int]:
        """Return operations of a run, and evaluations of its loss; attention falls apart into products that are counted."""
        sampling = {"num_inference_steps": own.steps, "guidance_scale": own.guidance_scale, "output_type": "latent"}
        with (
            guide(pipe, method_of(name, "emoji")) as run,
            sdpa_kernel(SDPBackend.MATH),
            FlopCounterMode(display=False) as counter,
        ):
            pipe(PROMPT, generator=torch.Generator().manual_seed(SEED), **sampling)
        searched = sum(len(noise.outcome.losses) for noise in run.noises)
        return counter.get_total_flops(), searched + sum(len(step.losses) for step in run.steps)

    latents, text = torch.randn(1, 8, 16, 16), torch.randn(1, pipe.tokenizer.model_max_length, 256)
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        pipe.unet(latents, 500, text)
    forward, (plain, _) = counter.get_total_flops(), operations("none")
    found: dict[str, Any] = {}
    for name in names:
        total, evaluations = operations(name)
        found[name] = {
            "steps": own.steps,
            "forwards": total / forward,
            "unguided_forwards": plain / forward,
            "evaluations": evaluations,
        }
        print(f"{name}: {total / plain:.2f} times the unguided operations", file=sys.stderr)
    return found


def main() -> None:
    PAGES.mkdir(exist_ok=True)
    every = [name for name, kind in METHODS.items() if name != "none" and runs_on_emoji(kind)]
    match sys.argv[1:]:
        case ["draw", *names]:
            draw(names or every)
        case ["measure", *names]:
            found = kept(MEASURED, {}) | measure(names or every)
            draw(names or every)
            MEASURED.write_text(json.dumps({name: found[name] for name in every if name in found}, indent=1) + "\n")
        case ["results", *paths]:
            SCORES.write_text(json.dumps([take_results(Path(path)) for path in paths], indent=1) + "\n")
        case []:
            for name, text in pages().items():
                (PAGES / name).write_text(text)
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main()
