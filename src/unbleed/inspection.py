"""What a pipeline's denoiser is made of, as far as guidance needs to know: found by calling it, not by its name."""

from __future__ import annotations

import inspect as python
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from .attention.families import row_of
from .attention.family import Family
from .attention.table import FAMILIES
from .errors import ModelError, UnbleedError
from .estimation import Estimate, estimate
from .guidance.call import arguments_of, as_tensor
from .guidance.checks import refuse_guided
from .guidance.patching import replace_attribute
from .guidance.prompts import PromptReader

_PROMPTS = ("a red cat and a blue bench", "a red cat and a blue apple")
_STEPS = 2
_SIDES = ((128, 192), (256, 384), (512, 768))  # pixels, tried in this order; no square, so that rows and columns differ
_TEXTS = ("encoder_hidden_states", "cap_feats", "prompt_embeds", "context", "text_embeds", "txt")
_LATENTS = ("hidden_states", "sample", "x", "latents", "img")


@dataclass(frozen=True)
class AttentionModule:
    """An attention module of a denoiser, and one attention that it computed in a small call.

    >>> from unbleed.inspection import AttentionModule
    >>> AttentionModule("blocks.0.attn", 8, 345, 345, calls=1, masked=False, read=True).heads
    8

    Args:
        name: Its name in the denoiser.
        heads: Number of heads.
        queries: Length of the sequence of queries.
        keys: Length of the sequence of keys.
        calls: How often it calls `scaled_dot_product_attention` in one run; the last call is the one that is described.
        masked: Whether that call has a mask.
        read: Whether the family reads it by default.
    """

    name: str
    heads: int
    queries: int
    keys: int
    calls: int
    masked: bool
    read: bool


@dataclass(frozen=True)
class Span:
    """Positions in a sequence of keys that depend on something: `start`, and `end` after the last one.

    >>> from unbleed.inspection import Span
    >>> Span(96, 128).length
    32

    Args:
        start: The first position.
        end: The position after the last one.
    """

    start: int
    end: int

    @property
    def length(self) -> int:
        return self.end - self.start


@dataclass(frozen=True)
class Inspection:
    """What `unbleed.inspect` found. `str()` of it is what the command prints.

    >>> import unbleed
    >>> found = unbleed.inspect(unbleed.load("emoji"))
    >>> found.denoiser, found.family, found.missing
    ('UNet2DConditionModel', 'sd', ())

    Args:
        pipeline: Class of the pipeline.
        denoiser: Class of its denoiser.
        attribute: Where the pipeline keeps it.
        parameters: Number of its weights.
        family: Name of its row in the table of families; None without one.
        size: (height, width) in pixels of the small call.
        arguments: Shapes of the tensors that the denoiser was given, by argument.
        rows: Rows of a call for one image: 2 if negative prompts are in the same batch.
        calls: Calls of the denoiser in a step: 2 if negative prompts have calls of their own.
        negatives: "first", "last", "apart" or "none": where negative prompts are.
        attention: Its attention modules that ran, in running order.
        joint: Whether image and text are one sequence of keys; None if no attention looks at the text.
        text: The positions of the text among the keys of the first attention with both.
        pixels: The positions of the pixels there; None if the text has keys of its own.
        word: Positions of the prompt's last word in the text, by the difference that another word makes.
        missing: What guidance lacks, each in a sentence; nothing if the model can be guided.
        draft: For a denoiser without a row: the beginning of one.
        cost: Cost of "syngen" at the model's own picture size, on shapes alone; None if it cannot be counted.
    """

    pipeline: str
    denoiser: str
    attribute: str
    parameters: int
    family: str | None
    size: tuple[int, int] | None
    arguments: dict[str, Any]
    rows: int
    calls: int
    negatives: str
    attention: tuple[AttentionModule, ...]
    joint: bool | None
    text: Span | None
    pixels: Span | None
    word: tuple[int, ...]
    missing: tuple[str, ...]
    draft: str | None
    cost: Estimate | None

    def document(self) -> dict[str, Any]:
        """Return everything as plain values, for JSON."""
        return asdict(self)

    def __str__(self) -> str:
        sides = "" if self.size is None else f" at {self.size[0]}x{self.size[1]} pixels"
        lines = [
            f"{self.pipeline}: {self.denoiser} ({self.attribute}), {self.parameters / 1e6:.4g} million parameters",
            f"family: {self.family or 'none'}",
        ]
        lines += [f"  {name}: {shape}" for name, shape in self.arguments.items()]
        lines.append(f"calls{sides}: {self.calls} a step with {self.rows} rows; negative prompts: {self.negatives}")
        kinds: dict[tuple[Any, ...], list[AttentionModule]] = {}
        for module in self.attention:
            kinds.setdefault((module.heads, module.queries, module.keys, module.calls, module.masked), []).append(module)
        for (heads, queries, keys, calls, masked), modules in kinds.items():
            read = sum(module.read for module in modules)
            lines.append(
                f"attention: {len(modules)} modules, {modules[0].name} ... {modules[-1].name}: {heads} heads, "
                f"{queries} queries, {keys} keys{f', {calls} calls' if calls > 1 else ''}{', masked' if masked else ''}; "
                f"{read} read"
            )
        if self.text is not None:
            where = "in keys of their own" if not self.joint else f"in one sequence with the pixels, {_written(self.pixels)}"
            lines.append(f"text: positions {_written(self.text)}, {where}")
        if self.cost is not None:
            lines.append(f"cost of syngen: {self.cost}")
        lines += [f"missing: {one}" for one in self.missing] or ["nothing is missing: this model can be guided"]
        return "\n".join(lines) + (f"\n\n{self.draft}" if self.draft else "")


def _written(span: Span | None) -> str:
    return "none" if span is None else f"{span.start} to {span.end - 1}"


def inspect(pipe: Any) -> Inspection:
    """Return what guidance needs to know about a pipeline's denoiser, also of one that no row of the table of families is for.

    The pipeline runs one step on a small picture, and the denoiser a few times more. Text and pixels are found by changing
    them: the keys that change are theirs.

    >>> import unbleed
    >>> found = unbleed.inspect(unbleed.load("emoji"))
    >>> found.joint, found.text.length, [module.name for module in found.attention if module.read][0]
    (False, 24, 'down_blocks.1.attentions.0.transformer_blocks.0.attn2')

    Args:
        pipe: A diffusers pipeline.

    Raises:
        ModelError: if the pipeline has no denoiser, or is being guided.
    """
    attribute, denoiser = _denoiser_of(pipe)
    refuse_guided(pipe, denoiser)
    family = row_of(denoiser)
    facts: dict[str, Any] = {
        "pipeline": type(pipe).__name__,
        "denoiser": type(denoiser).__name__,
        "attribute": attribute,
        "parameters": sum(weight.numel() for weight in denoiser.parameters()),
        "family": family.name if family else None,
    }
    call, size, problem = _small_call(pipe, denoiser)
    if call is None:
        nothing = {"arguments": {}, "rows": 0, "calls": 0, "negatives": "none", "attention": (), "joint": None}
        nothing |= {"text": None, "pixels": None, "word": (), "draft": None, "cost": None}
        return Inspection(**facts, **nothing, size=None, missing=(f"the pipeline could not be called: {problem}",))
    given = _named(denoiser, call.args, call.kwargs, family)
    names = (family.sample, family.text) if family else (_first(given, _LATENTS), _first(given, _TEXTS))
    seen, text, pixels, joint = _attention(denoiser, call), None, None, None
    if names[0] is not None and names[1] is not None:
        others = (_attention(denoiser, call, {name: _other(given[name])}) for name in (names[1], names[0]))
        text, pixels, joint = _places(seen, *others)
    read = family.layers(denoiser, None, "all").names if family else ()
    modules = tuple(
        AttentionModule(name, last.heads, last.queries, last.lengths.shape[1], len(found), last.masked, name in read)
        for name, found in seen.items()
        for last in found[-1:]
    )
    facts |= {
        "size": size,
        "arguments": {name: _shape(value) for name, value in given.items() if _shape(value) is not None},
        "rows": _rows(given, names[0]),
        "calls": call.calls,
        "negatives": call.negatives(given, names[1]),
        "attention": modules,
        "joint": joint,
        "text": text,
        "pixels": pixels,
        "word": call.word,
    }
    missing = _missing(family, denoiser, facts, names)
    if family and call.given and call.word:
        missing += _misplaced(pipe, family, call, as_tensor(given[family.text]).shape[1])
    cost = None
    if family:
        try:
            cost = estimate(pipe, "syngen", forwards_per_step=max(facts["calls"], facts["rows"]))
        except (UnbleedError, RuntimeError, NotImplementedError):  # shapes that depend on values cannot be counted
            cost = None
    return Inspection(**facts, missing=missing, draft=None if family else _draft(facts, names, given), cost=cost)


def _denoiser_of(pipe: Any) -> tuple[str, nn.Module]:
    """Return where the pipeline keeps its denoiser, and the denoiser: the one of a family, else its largest other part."""
    parts = {name: part for name, part in getattr(pipe, "components", {}).items() if isinstance(part, nn.Module)}
    for name in dict.fromkeys([*(family.pipeline_attribute for family in FAMILIES), "unet", "transformer"]):
        part = parts.get(name, getattr(pipe, name, None))
        if isinstance(part, nn.Module):
            return name, getattr(part, "_orig_mod", part)
    others = {name: part for name, part in parts.items() if not name.startswith(("text_encoder", "image_encoder", "vae"))}
    if not others:
        raise ModelError(f"{type(pipe).__name__} has no part that could be a denoiser; give a diffusers pipeline")
    name = max(others, key=lambda name: sum(weight.numel() for weight in others[name].parameters()))
    return name, others[name]


# ------------------------------------------------------------------------------------------------------ a small call


class _Enough(BaseException):
    """Ends the pipeline at its first step of the scheduler."""


@dataclass
class _Call:
    """The first call of the denoiser in a small run of the pipeline, and what was seen around it."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    calls: int
    encoded: Tensor | None  # text embeddings of the prompt
    word: tuple[int, ...]  # positions that change with the prompt's last word
    given: dict[str, Any]  # arguments of encode_prompt

    def negatives(self, given: Mapping[str, Any], text: str | None) -> str:
        if self.calls > 1:
            return "apart"
        rows = None if text is None else as_tensor(given[text])
        if rows is None or len(rows) < 2 or self.encoded is None:
            return "none"
        own = self.encoded[0].to(rows)
        length = min(len(own), rows.shape[1])
        return "last" if torch.equal(rows[0, :length], own[:length]) else "first"


def _small_call(pipe: Any, denoiser: nn.Module) -> tuple[_Call | None, tuple[int, int] | None, str]:
    """Return the denoiser's first call in a small run of the pipeline, its picture's size, and why there is none."""
    known = python.signature(pipe.__call__).parameters
    problem = ""
    for height, width in _SIDES:
        for picture in (False, True) if "image" in known else (False,):
            options: dict[str, Any] = {"prompt": _PROMPTS[0], "num_inference_steps": _STEPS, "output_type": "latent"}
            options |= {"height": height, "width": width, "use_resolution_binning": False}
            if picture:
                from PIL import Image

                options |= {
                    "image": Image.new("RGB", (width, height), "grey"),
                    "mask_image": Image.new("L", (width, height), 255),
                }
            options = {name: value for name, value in options.items() if name in known}
            try:
                found = _watched(pipe, denoiser, options)
            except (
                UnbleedError,
                ValueError,
                TypeError,
                RuntimeError,
                AttributeError,
                AssertionError,
                IndexError,
                KeyError,
            ) as error:
                problem = f"{type(error).__name__}: {(str(error).strip() or '-').splitlines()[0][:160]}"
                continue
            if found is not None:
                return found, (height, width), ""
            problem = "it stepped its scheduler before its denoiser ran"
    return None, None, problem


def _watched(pipe: Any, denoiser: nn.Module, options: dict[str, Any]) -> _Call | None:
    """Return the denoiser's first call in a run of the pipeline, which ends at its first step of the scheduler."""
    calls: list[tuple[tuple[Any, ...], dict[str, Any]]] = []
    encoded: list[Tensor] = []
    word: tuple[int, ...] = ()
    given: dict[str, Any] = {}
    encode = getattr(pipe, "encode_prompt", None)

    def stop(*_: Any, **__: Any) -> None:
        raise _Enough

    def keep(*args: Any, **kwargs: Any) -> Any:
        nonlocal word, given
        assert encode is not None
        own = [list(value) if isinstance(value, list) else value for value in args]
        named = {name: list(value) if isinstance(value, list) else value for name, value in kwargs.items()}
        found = encode(*args, **kwargs)
        if not encoded:
            encoded.append(as_tensor(found[0]))
            word = _word(encode, own, named, encoded[0])
            bound = python.signature(encode).bind(*own, **named)
            bound.apply_defaults()
            given = {**bound.arguments, "prompt": _PROMPTS[0]}
        return found

    with ExitStack() as undo:
        undo.callback(denoiser.register_forward_pre_hook(lambda _, a, k: calls.append((a, k)), with_kwargs=True).remove)
        replace_attribute(undo, pipe.scheduler, "step", stop)
        if encode is not None:
            replace_attribute(undo, pipe, "encode_prompt", keep)
        with torch.no_grad(), suppress(_Enough):
            pipe(generator=torch.Generator().manual_seed(0), **options)
    if not calls:
        return None
    args, kwargs = calls[0]
    return _Call(args, dict(kwargs), len(calls), encoded[0] if encoded else None, word, given)


def _word(encode: Callable[..., Any], args: list[Any], kwargs: dict[str, Any], own: Tensor) -> tuple[int, ...]:
    """Return the positions of the text that differ most, and first, where the prompt's last word is another."""

    def other(value: Any) -> Any:
        if isinstance(value, list):
            return [other(one) for one in value]
        return _PROMPTS[1] if isinstance(value, str) and value == _PROMPTS[0] else value

    found = as_tensor(encode(*map(other, args), **{name: other(value) for name, value in kwargs.items()})[0])
    if found.shape != own.shape:
        return ()
    apart = (found[0] - own[0]).abs().flatten(1).amax(dim=1)
    return tuple(dict.fromkeys((int((apart > 1e-4 * apart.max()).nonzero()[0]), int(apart.argmax())))) if apart.max() else ()


# -------------------------------------------------------------------------------------------- attention of the denoiser


@dataclass(frozen=True)
class _Seen:
    heads: int
    queries: int
    lengths: Tensor  # (row, key): the length of each key over all heads, which changes with what it depends on
    masked: bool


class _Watch(TorchFunctionMode):
    """Keeps every attention by the module that is running."""

    def __init__(self) -> None:
        super().__init__()
        self.running: list[str] = []
        self.seen: dict[str, list[_Seen]] = {}

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is F.scaled_dot_product_attention and self.running:
            query, key = args[:2] if len(args) >= 2 else (kwargs["query"], kwargs["key"])
            masked = bool(kwargs.get("is_causal")) or (args[3] if len(args) > 3 else kwargs.get("attn_mask")) is not None
            lengths = key.detach().double().square().sum(dim=(1, 3))
            self.seen.setdefault(self.running[-1], []).append(_Seen(query.shape[1], query.shape[2], lengths, masked))
        return func(*args, **kwargs)


def _attention(denoiser: nn.Module, call: _Call, changed: Mapping[str, Any] | None = None) -> dict[str, list[_Seen]]:
    """Return every attention of one run of the denoiser by module, with some arguments changed."""
    order, changes, watch = list(python.signature(denoiser.forward).parameters), changed or {}, _Watch()
    args = [changes.get(name, value) for name, value in zip(order, call.args, strict=False)]
    # without caches, which the run before has filled
    kwargs = {name: changes.get(name, value) for name, value in call.kwargs.items() if not name.startswith("kv_cache")}
    with ExitStack() as undo:
        for name, module in denoiser.named_modules():
            if name:
                undo.callback(module.register_forward_pre_hook(lambda *_, name=name: watch.running.append(name)).remove)
                undo.callback(module.register_forward_hook(lambda *_: watch.running.pop() and None).remove)
        with watch, torch.no_grad():
            denoiser(*args, **kwargs)
    return watch.seen


def _places(
    plain: Mapping[str, list[_Seen]], by_text: Mapping[str, list[_Seen]], by_pixels: Mapping[str, list[_Seen]]
) -> tuple[Span | None, Span | None, bool | None]:
    """Return where text and pixels stand among keys, and whether they are one sequence, from runs on other text or pixels.

    The first attention that has text among its keys decides; one of the text to itself does not count.
    """
    for name, found in plain.items():
        own = found[-1]
        text, pixels = (_changed(own, other[name][-1]) if name in other else None for other in (by_text, by_pixels))
        if text is not None and (pixels is not None or own.queries != own.lengths.shape[1]):
            return text, pixels, pixels is not None
    return None, None, None


def _changed(own: _Seen, other: _Seen) -> Span | None:
    """Return the span of the keys that differ, None if none does."""
    if own.lengths.shape != other.lengths.shape:
        return None
    at = (own.lengths != other.lengths).any(dim=0).nonzero().flatten().tolist()
    return Span(at[0], at[-1] + 1) if at else None


def _other(value: Any) -> Any:
    """Return other values of the same shapes."""
    if isinstance(value, Tensor):
        return value + torch.linspace(0.5, 1.5, value.shape[-1], device=value.device).to(value.dtype)
    return type(value)(_other(one) for one in value)


# ----------------------------------------------------------------------------------------------------- what is missing


def _named(denoiser: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], family: Family | None) -> dict[str, Any]:
    if family is not None:
        return arguments_of(args, kwargs, family)
    return {**dict(zip(python.signature(denoiser.forward).parameters, args, strict=False)), **kwargs}


def _first(given: Mapping[str, Any], names: tuple[str, ...]) -> str | None:
    """Return the first of `names` that is a tensor of a batch among the arguments, or a list of tensors."""
    return next((name for name in names if _shape(given.get(name)) is not None), None)


def _shape(value: Any) -> Any:
    if isinstance(value, Tensor):
        return tuple(value.shape)
    return [_shape(one) for one in value] if isinstance(value, list) and value and isinstance(value[0], Tensor) else None


def _rows(given: Mapping[str, Any], name: str | None) -> int:
    return 0 if name is None else len(given[name])


def _missing(
    family: Family | None, denoiser: nn.Module, facts: dict[str, Any], names: tuple[str | None, str | None]
) -> tuple[str, ...]:
    found = []
    if not facts["attention"]:
        kinds = sorted({type(one.processor).__name__ for one in denoiser.modules() if hasattr(one, "processor")})
        found.append(
            "no call of torch's scaled_dot_product_attention was seen, so nothing can be read "
            f"(processors: {', '.join(kinds) or 'none'})"
        )
    elif None in names:
        found.append(f"no argument of the denoiser is known to be the {'latents' if names[0] is None else 'text'}")
    elif facts["text"] is None:
        found.append("no attention call with text keys was seen: no key of any attention changes with the text embeddings")
    if family is None:
        found.append(f"there is no row for {facts['denoiser']} in unbleed/attention/table.py")
    elif facts["text"] is not None:
        found += _against(family, denoiser, facts)
    return tuple(found)


def _misplaced(pipe: Any, family: Family, call: _Call, length: int) -> tuple[str, ...]:
    """Return what to say if the family's encoders put the prompt's last word elsewhere than where the text changes with it."""
    prompts = PromptReader().read(pipe, family, call.given, length, lambda _: torch.empty(0))
    tokens = prompts.tokens[0]
    noun, own = tokens.kept[-1].noun, tokens.entities[-1][0]
    if set(own) & set(call.word):
        return ()
    return (f'the row of {family.name} finds "{noun}" at {own}, but another word in its place changes the text at {call.word}',)


def _against(family: Family, denoiser: nn.Module, facts: dict[str, Any]) -> list[str]:
    """Return where a family's row differs from what was measured."""
    found = []
    joint = family.layers(denoiser, None, "all").joint
    if (joint is not None) != facts["joint"]:
        found.append(
            f"the row of {family.name} says {joint or 'keys of their own'}, but text and pixels are "
            f"{'one sequence' if facts['joint'] else 'apart'}"
        )
    elif joint is not None and (facts["text"].start < facts["pixels"].start) != (joint == "text first"):
        found.append(
            f'the row of {family.name} says "{joint}", but text begins at {facts["text"].start} and pixels at '
            f"{facts['pixels'].start}"
        )
    if facts["negatives"] not in ("none", family.negatives):
        found.append(f'the row of {family.name} says negatives="{family.negatives}", but they are {facts["negatives"]}')
    return found


def _draft(facts: dict[str, Any], names: tuple[str | None, str | None], given: Mapping[str, Any]) -> str:
    """Return the beginning of a row for a denoiser that has none."""
    stacks = {module.name.partition(".")[0]: module.name.rpartition(".")[2] for module in facts["attention"]}
    joint = None
    if facts["joint"]:
        joint = "text first" if facts["text"].start < facts["pixels"].start else "image first"
    attention = next(iter(stacks.values()), "attn")
    latents = given.get(names[0]) if names[0] else None
    packed = isinstance(latents, Tensor) and latents.ndim == 3
    lines = [
        "# a draft of a row for unbleed/attention/table.py; see docs/families.md",
        "Family(",
        '    name="...",',
        '    models="...",',
        f'    denoiser_class="{facts["denoiser"]}",',
        f"    layers=blocks({', '.join(repr(stack) for stack in stacks)}, attention={attention!r}, joint={joint!r}),",
        "    example=...,  # arguments for counting on shapes",
        f"    text_length={facts['text'].length if facts['text'] else '...'},",
        "    encoders=...,  # how the text encoder gets a prompt",
        f"    text_modules=of_blocks({', '.join(repr(stack) for stack in stacks)}, attention={attention!r}),",
        '    on_text=r"...",  # names of the layers that act on text alone',
        f"    pipeline_attribute={facts['attribute']!r},",
        f"    sample={names[0]!r},",
        f"    text={names[1]!r},",
        *(["    packed=2,", "    grid=...,  # height and width from the arguments"] if packed else []),
        f"    negatives={'first' if facts['negatives'] == 'none' else facts['negatives']!r},",
        ")",
    ]
    return "\n".join(lines)
