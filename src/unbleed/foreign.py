"""Recipes in pictures of other programs: prompts, seed, steps and size, as far as the picture holds them.

AUTOMATIC1111 and its forks (Forge, SD.Next) write lines of text, InvokeAI a JSON object, ComfyUI the graph of its nodes. Their
samplers and random numbers differ from diffusers', so the same seed makes another picture here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import schema
from .errors import OutputError, UnbleedError
from .prompt.syntax import spoken
from .recipes import Recipe, texts_in


@dataclass(frozen=True)
class Foreign:
    """The recipe in another program's picture: fields of a `Recipe` that can be used, and a list of what cannot."""

    program: str
    taken: Mapping[str, Any]
    left: tuple[str, ...]


def read_foreign(path: Path) -> Foreign | None:
    """Return the recipe in a picture of AUTOMATIC1111, InvokeAI or ComfyUI; None if there is none.

    Raises `OutputError` for a file that is not a picture, and for a recipe without a prompt.
    """
    return foreign_in(texts_in(path), str(path))


def foreign_in(texts: Mapping[str, str], name: str) -> Foreign | None:
    """Return the recipe among the texts of an image; `name` is that of the image in messages. Raises as `read_foreign` does."""
    for program, chunk, read in _PROGRAMS:
        if chunk in texts:
            try:
                found = read(texts[chunk])
            except schema.SchemaError as error:
                raise OutputError(f"the recipe of {program} in {name} cannot be understood: {error}") from error
            if found is None:
                continue
            said, left = found
            if not str(said.get("prompt") or "").strip():
                raise OutputError(f"{name} was made by {program} and holds no prompt; write the prompt yourself")
            return _usable(program, said, left)
    return None


def _usable(program: str, said: Mapping[str, Any], left: list[str]) -> Foreign:
    """Return the settings in `said` that a recipe can hold, and the others in `left`, with the reason."""
    taken: dict[str, Any] = {}
    for name in ("prompt", "negative_prompt"):
        if text := said.get(name):
            taken[name] = spoken(text)
            if taken[name] != " ".join(text.split()):
                left = [*left, f"the weights and other signs in the {name.replace('_', ' ')}"]
    if not taken["prompt"]:
        raise OutputError(f"the prompt of this picture of {program} has no words; write the prompt yourself")
    for name in ("seed", "steps", "guidance_scale", "height", "width"):
        value = said.get(name)
        if value is None:
            continue
        try:
            taken[name] = getattr(schema.check({"prompt": "a", name: value}, Recipe), name)
        except (schema.SchemaError, UnbleedError) as error:
            left = [*left, str(error)]
    return Foreign(program, taken, tuple(left))


# --------------------------------------------------------------------------------------------------- AUTOMATIC1111


def _from_lines(text: str) -> tuple[dict[str, Any], list[str]] | None:
    """The prompt; "Negative prompt: ..."; a line "Steps: 20, Sampler: Euler a, CFG scale: 7, Seed: 1, Size: 512x512, ..."."""
    lines = text.strip().splitlines()
    last = next((n for n in reversed(range(len(lines))) if re.match(r"Steps: \d+(,|$)", lines[n])), None)
    if last is None:
        return None
    settings = dict(_settings_in(" ".join(lines[last:])))
    first = next((n for n in range(last) if lines[n].startswith("Negative prompt:")), last)
    negative = "\n".join(lines[first:last]).removeprefix("Negative prompt:")
    width, _, height = settings.pop("Size", "").partition("x")
    said = {
        "prompt": "\n".join(lines[:first]),
        "negative_prompt": negative.strip() or None,
        "seed": _number(settings.pop("Seed", None)),
        "steps": _number(settings.pop("Steps", None)),
        "guidance_scale": _number(settings.pop("CFG scale", None)),
        "width": _number(width),
        "height": _number(height),
    }
    ignored = ("Version", "Model hash", "VAE hash", "Lora hashes", "TI hashes", "Hashes", "RNG", "Module 1", "Module 2")
    adapters = re.findall(r"<(?:lora|lyco|hypernet):([^<>:]*)", text)
    left = [f"LoRA {name}" for name in dict.fromkeys(adapters)]
    return said, left + [f"{name} {value}" for name, value in settings.items() if name not in ignored]


def _settings_in(line: str) -> Iterator[tuple[str, str]]:
    for found in re.finditer(r'([A-Z][\w /-]*): ("(?:\\.|[^"\\])*"|[^,]*)(?:, |,?$)', line):
        yield found[1], found[2].strip().strip('"')


def _number(text: str | None) -> Any:
    """Return a text as a number if it is one, else as it is, to be refused later; None for an empty one."""
    for kind in (int, float):
        try:
            return kind(text or "")
        except ValueError:
            pass
    return text or None


# -------------------------------------------------------------------------------------------------------- InvokeAI


def _from_metadata(text: str) -> tuple[dict[str, Any], list[str]]:
    """Version 3 and later: one object with the names of the settings."""
    values = schema.check(schema.parse(text), Mapping[str, Any])
    model = values.get("model")
    names = [model.get("name") or model.get("model_name")] if isinstance(model, Mapping) else []
    left = [f"model {name}" for name in names if isinstance(name, str)]
    left += [f"scheduler {values['scheduler']}"] if isinstance(values.get("scheduler"), str) else []
    for several in ("loras", "controlnets", "ipAdapters", "t2iAdapters"):
        left += [several] if values.get(several) else []
    left += ["the image that it began with"] if values.get("strength") is not None or values.get("init_image") else []
    return {
        "prompt": _text(values.get("positive_prompt")),
        "negative_prompt": _text(values.get("negative_prompt")),
        "guidance_scale": values.get("cfg_scale"),
        **{name: values.get(name) for name in ("seed", "steps", "width", "height")},
    }, left


def _from_old_metadata(text: str) -> tuple[dict[str, Any], list[str]]:
    """Version 2: an object whose "image" holds the settings; the negative prompt stands in square brackets in the prompt."""
    values = schema.check(schema.parse(text), Mapping[str, Any])
    image = values.get("image")
    image = image if isinstance(image, Mapping) else {}
    prompt = image.get("prompt")
    if isinstance(prompt, list):
        prompt = " ".join(one["prompt"] for one in prompt if isinstance(one, Mapping) and isinstance(one.get("prompt"), str))
    prompt = _text(prompt) or ""
    left = [
        f"{name} {value}"
        for name, value in (("model", values.get("model_weights")), ("sampler", image.get("sampler")))
        if value
    ]
    return {
        "prompt": re.sub(r"\[[^\[\]]*\]", "", prompt),
        "negative_prompt": ", ".join(re.findall(r"\[([^\[\]]*)\]", prompt)) or None,
        "guidance_scale": image.get("cfg_scale"),
        **{name: image.get(name) for name in ("seed", "steps", "width", "height")},
    }, left


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value.strip() else None


# --------------------------------------------------------------------------------------------------------- ComfyUI

_TEXTS = ("t5xxl", "text", "text_g", "text_l", "clip_g", "clip_l", "prompt", "string", "value")
Graph = Mapping[str, Mapping[str, Any]]
"""The inputs of each node, {name: a value, or [node, output] that gives it}, and under "class_type" the node's kind."""


def _from_graph(text: str) -> tuple[dict[str, Any], list[str]] | None:
    """The graph as it was run: {node: {"class_type": kind, "inputs": {name: value or [node, output]}}}."""
    nodes = schema.check(schema.parse(text), Mapping[str, Any])
    graph: Graph = {
        name: {**node["inputs"], "class_type": str(node.get("class_type"))}
        for name, node in nodes.items()
        if isinstance(node, Mapping) and isinstance(node.get("inputs"), Mapping)
    }
    samplers = [node for node in graph if "Sampler" in graph[node]["class_type"] and "latent_image" in graph[node]]
    if not samplers:
        return None
    # if samplers follow each other, as for a larger second pass, the first is the one that begins with noise
    sampler = next((node for node in samplers if _size(graph, node)), samplers[0])
    width, height = _size(graph, sampler) or (None, None)
    positive = _texts(graph, sampler, ("positive", "guider"), skip="negative")
    negative = _texts(graph, sampler, ("negative", "guider"), skip="positive")
    negative = [text for text in negative if text not in positive]  # a guider without a negative text has one text for both
    said = {
        "prompt": next(iter(positive), None),
        "negative_prompt": next(iter(negative), None),
        "seed": _find(graph, sampler, ("seed", "noise_seed"), ("noise",)),
        "steps": _find(graph, sampler, ("steps",), ("sigmas",)),
        "guidance_scale": _find(graph, sampler, ("cfg",), ("guider",)),
        "width": width,
        "height": height,
    }
    left = [f'the text "{_cut(more)}"' for more in (*positive[1:], *negative[1:])]
    left += [f"the sampler of node {node}" for node in samplers if node != sampler]
    left += [] if width else ["the image that it began with"]
    for title, names in (
        ("sampler", ("sampler_name",)),
        ("scheduler", ("scheduler",)),
        ("model", ("ckpt_name", "unet_name")),
        ("LoRA", ("lora_name",)),
    ):
        values = [inputs[name] for inputs in graph.values() for name in names if isinstance(inputs.get(name), str)]
        left += [f"{title} {_cut(value)}" for value in dict.fromkeys(values)]
    return said, left


def _upstream(graph: Graph, node: str, through: Sequence[str], skip: str = "", ends: str = "") -> Iterator[Mapping[str, Any]]:
    """Yield the nodes connected to the inputs `through` of `node`, then the nodes connected to those, nearest first.

    Inputs with the name `skip` are not followed, nor those of a node whose kind contains `ends`.
    """
    seen, rest = {node}, [graph[node].get(name) for name in through]
    while rest:
        link = rest.pop(0)
        name = link[0] if isinstance(link, list) and len(link) == 2 else None
        if not isinstance(name, str) or name in seen or name not in graph:
            continue
        seen.add(name)
        inputs = graph[name]
        if ends and ends in inputs["class_type"]:
            continue
        yield inputs
        rest += [value for key, value in inputs.items() if key != skip]


def _find(graph: Graph, node: str, names: Sequence[str], through: Sequence[str]) -> Any:
    """Return a number under one of `names`: the node's own, or that of the nearest node connected to it."""
    own = [graph[node].get(name) for name in names]
    further = [inputs.get(name) for inputs in _upstream(graph, node, through) for name in names]
    given = [inputs.get(name) for inputs in _upstream(graph, node, names) for name in (*names, "value", "int", "float")]
    return next((value for value in (*own, *given, *further) if isinstance(value, (int, float))), None)


def _texts(graph: Graph, node: str, through: Sequence[str], skip: str) -> list[str]:
    found = (inputs.get(name) for inputs in _upstream(graph, node, through, skip) for name in _TEXTS)
    return list(dict.fromkeys(text for text in found if isinstance(text, str) and text.strip()))


def _size(graph: Graph, node: str) -> tuple[Any, Any] | None:
    """Return (width, height) of the empty latents that a sampler begins with; None if it begins with an image."""
    for inputs in _upstream(graph, node, ("latent_image",), ends="Sampler"):
        if "Empty" in inputs["class_type"] and {"width", "height"} <= inputs.keys():
            return inputs["width"], inputs["height"]
    return None


def _cut(text: str, length: int = 60) -> str:
    return text if len(text) <= length else f"{text[:length]}…"


_PROGRAMS: Sequence[tuple[str, str, Callable[[str], tuple[dict[str, Any], list[str]] | None]]] = (
    ("InvokeAI", "invokeai_metadata", _from_metadata),
    ("InvokeAI", "sd-metadata", _from_old_metadata),
    ("AUTOMATIC1111", "parameters", _from_lines),
    ("AUTOMATIC1111", "UserComment", _from_lines),
    ("ComfyUI", "prompt", _from_graph),
)
