"""What is known of a pipeline's denoiser, as data and as text."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from ..estimation import Estimate


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
