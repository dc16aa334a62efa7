"""A row of the table of families, and the functions that rows are made of."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor, nn

from ..errors import ModelError
from ..prompt.tokens import Encoder

Part = Literal["all", "down", "mid", "up"]
"""Part of a denoiser whose blocks are read. Of a transformer: the first, second and last third of its blocks."""

Grid = tuple[int, int]
Joint = Literal["text first", "image first"]
"""Order of an attention in which image and text are one sequence."""

Arguments = Mapping[str, Any]
"""Arguments of a denoiser by name."""

Starts = int | tuple[int, ...]
"""A position in a sequence: the same in all rows of a batch, or one per row."""


@dataclass(frozen=True)
class TextLayers:
    """Modules whose pixels attend to the text, all on one grid."""

    names: tuple[str, ...]  # in running order
    factor: int  # side of the latents over side of the grid
    joint: Joint | None = None  # None: the text has keys of its own

    @property
    def self_names(self) -> tuple[str, ...]:
        """The self-attention modules of the same blocks; with a joint sequence they are the same modules."""
        return self.names if self.joint else tuple(name.removesuffix("attn2") + "attn1" for name in self.names)

    def grid(self, height: int, width: int) -> Grid:
        """Return (height, width) of the maps for latents of `height` x `width`; each halving rounds up."""
        return -(-height // self.factor), -(-width // self.factor)


def _same(timestep: float) -> float:
    return timestep


def _any(config: Any) -> bool:
    del config
    return True


def _nothing(arguments: Arguments) -> str | None:
    del arguments
    return None


@dataclass(frozen=True)
class Family:
    """One family of denoisers. `layers` gets the denoiser, since sizes differ within a family.

    Its second argument is the side of the grid at the model's own image size, None for the family's default; its third selects
    the layers of one part.
    """

    name: str
    models: str  # whose denoisers these are
    denoiser_class: str
    layers: Callable[[nn.Module, int | None, Part], TextLayers]
    example: Callable[[Any, int, int, int], dict[str, Any]]  # arguments for a config, height and width of latents, tokens
    text_length: int  # tokens of text that the pipeline usually passes
    # of a pipeline, for arguments of encode_prompt and the number of text tokens that the denoiser gets
    encoders: Callable[[Any, Arguments, int], tuple[Encoder, ...]]
    text_modules: Callable[[nn.Module], tuple[str, ...]]  # all modules in which pixels attend to the text
    on_text: str  # pattern of the names of layers that act only on text tokens
    pipeline_attribute: str = "transformer"  # where the pipeline keeps the denoiser
    fits: Callable[[Any], bool] = _any  # whether a config of this class is of this family; the first row that fits counts
    side: int = 1024  # of the model's own pictures in pixels, if the pipeline does not say
    texts: tuple[str, ...] = ("prompt",)  # arguments of encode_prompt that hold the prompt; the first that is given counts
    beside: tuple[str, ...] = ()  # those with texts for further encoders, whose tokens are added at the same positions
    # names of the denoiser's first three arguments: latents, timestep, text embeddings. A list has an item per row.
    sample: str = "hidden_states"
    time: str = "timestep"
    text: str = "encoder_hidden_states"
    packed: int = (
        0  # latents are a sequence, (batch, pixel, channel), of squares of this side; 0: (batch, channel, height, width)
    )
    # rows of negative prompts: before the others in the batch, after them, or in calls of their own
    negatives: Literal["first", "last", "apart"] = "first"
    # the prediction to which guidance scale x (prompt - negative prompt) is added
    scaled_from: Literal["negative", "prompt"] = "negative"
    timestep: Callable[[float], float] = _same  # from the denoiser's timesteps to the scheduler's
    shared: tuple[str, ...] = ()  # arguments that are one for all rows, though their length may equal the number of rows
    listed: tuple[str, ...] = ()  # arguments that are a list of equal items, one per row
    dropped: tuple[str, ...] = ()  # arguments that an evaluation leaves out, such as caches of what does not change
    grid: Callable[[Arguments, int], Grid] | None = None  # of a packed sequence, from a call with so many text tokens
    # where pixels and text begin in a joint sequence, from the arguments of some rows and the numbers of pixels and tokens;
    # without it the one follows the other
    starts: Callable[[Arguments, int, int], tuple[Starts, Starts]] | None = None
    reads: Literal["first", "last"] = "first"  # which attention call of a module has the pixels' queries and the text's keys
    refuses: Callable[[Arguments], str | None] = _nothing  # what of a call cannot be guided, and what to do
    # arguments, besides the latents, that blocks of a modular pipeline pass: from their state and a timestep
    from_blocks: Callable[[Mapping[str, Any], Tensor], dict[str, Any]] | None = None

    @property
    def arguments(self) -> tuple[str, str, str]:
        """The names of the denoiser's first three positional arguments."""
        return self.sample, self.time, self.text


def unet_layers(unet: Any, resolution: int | None = None, part: Part = "all") -> TextLayers:
    """Return the text layers of one level in running order: down, middle (when it is of the level), up."""
    kinds = unet.config.down_block_types
    last = len(kinds) - 1
    names = [name for name, _ in unet.named_modules() if name.endswith(".attn2")]

    def of_level(level: int) -> dict[str, list[str]]:
        blocks = {
            "down": f"down_blocks.{level}.",
            **({"mid": "mid_block."} if level == last else {}),
            "up": f"up_blocks.{last - level}.",
        }
        found = {own: [name for name in names if name.startswith(block)] for own, block in blocks.items()}
        return {own: layers for own, layers in found.items() if layers}

    looking = [level for level, kind in enumerate(kinds) if kind.startswith("CrossAttn")]
    sides = {-(-unet.config.sample_size // 2**level): level for level in range(last + 1) if of_level(level)}
    if not looking:
        return TextLayers((), 1)
    if resolution is not None and resolution not in sides:
        raise ModelError(
            f"this denoiser has no text attention at {resolution}x{resolution}; at its own image size it has "
            f"{', '.join(f'{side}x{side}' for side in sides)}"
        )
    level = looking[-1] if resolution is None else sides[resolution]
    parts = of_level(level)
    if part != "all" and part not in parts:
        raise ModelError(
            f'this denoiser has no text attention in its "{part}" part at that resolution; it has some in: {", ".join(parts)}'
        )
    return TextLayers(tuple(name for own in parts if part in ("all", own) for name in parts[own]), 2**level)


def patch_of(config: Any) -> int:
    """Return the side of the square of latent pixels that is one pixel of a transformer; 1 if its config does not say."""
    patch = getattr(config, "patch_size", None) or getattr(config, "all_patch_size", None) or 1
    return int(patch if isinstance(patch, int) else patch[-1])


def blocks(
    *stacks: str,
    attention: str = "attn",
    joint: Joint | None = None,
    fraction: tuple[float, float] = (0, 1),
    one: tuple[str, int] | None = None,
) -> Any:
    """Return the layers of a transformer with these stacks of blocks, in running order.

    By default those of a `fraction` of its blocks are read, or `one` (stack, number), the stack's last if it has fewer.
    """

    def layers(denoiser: Any, resolution: int | None = None, part: Part = "all") -> TextLayers:
        if resolution is not None:
            raise ModelError(
                f"a {type(denoiser).__name__} has text attention on one grid only, so resolution {resolution} cannot be "
                "chosen; leave resolution out"
            )
        names = [f"{stack}.{number}.{attention}" for stack in stacks for number in range(len(getattr(denoiser, stack)))]
        first, last = {"all": fraction, "down": (0, 1 / 3), "mid": (1 / 3, 2 / 3), "up": (2 / 3, 1)}[part]
        chosen = names[int(first * len(names)) : max(round(last * len(names)), int(first * len(names)) + 1)]
        if one and part == "all":
            stack, number = one
            chosen = [f"{stack}.{min(number, len(getattr(denoiser, stack)) - 1)}.{attention}"]
        return TextLayers(tuple(chosen), patch_of(denoiser.config), joint)

    return layers


def ending(suffix: str) -> Callable[[nn.Module], tuple[str, ...]]:
    """Return the modules whose name ends with `suffix`."""
    return lambda denoiser: tuple(name for name, _ in denoiser.named_modules() if name.endswith(suffix))


def of_blocks(*stacks: str, attention: str = "attn") -> Callable[[nn.Module], tuple[str, ...]]:
    """Return the attention modules of all blocks of some stacks."""
    return lambda denoiser: tuple(
        f"{stack}.{number}.{attention}" for stack in stacks for number in range(len(getattr(denoiser, stack)))
    )
