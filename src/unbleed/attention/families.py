"""What differs between kinds of denoisers, one row each.

A row says which modules hold the attention from the picture's places to the text, in the order in which they run, how
large their grid of places is, where the text stands in their sequence, and how the text encoders are given a prompt. Nothing
else in the library knows a model by its name. A new family is a new row.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from diffusers.utils import is_bs4_available, is_ftfy_available
from torch import Tensor, nn

from ..errors import ModelError, PromptError
from ..prompt.tokens import Encoder, as_it_is

Part = Literal["all", "down", "mid", "up"]
"""Of a denoiser: which of its blocks are meant. Transformers have theirs in a row: the first, second and last third."""

Grid = tuple[int, int]
Joint = Literal["text first", "picture first"]
"""Of an attention in which picture and text are one sequence: which stands first."""


@dataclass(frozen=True)
class TextLayers:
    """Modules that attend from the picture's places to the text, all on one grid."""

    names: tuple[str, ...]  # in running order
    factor: int  # side of the latents over side of the grid
    joint: Joint | None = None  # None: the text has keys of its own

    @property
    def self_names(self) -> tuple[str, ...]:
        """The modules in which these places attend to each other: those beside them; of a joint sequence they themselves."""
        return self.names if self.joint else tuple(name.removesuffix("attn2") + "attn1" for name in self.names)

    def grid(self, height: int, width: int) -> Grid:
        """Return (height, width) of the maps for latents of `height` x `width`; each halving rounds up."""
        return -(-height // self.factor), -(-width // self.factor)


@dataclass(frozen=True)
class Family:
    """One kind of denoiser. `layers` looks at the denoiser, since sizes differ within a family.

    Its second argument is the side of the grid at the model's own picture size, None for the family's default; its third
    keeps the layers of one part.
    """

    name: str
    denoiser_class: str
    pipeline_attribute: str  # where the pipeline keeps the denoiser
    layers: Callable[[nn.Module, int | None, Part], TextLayers]
    reason: str  # why these layers by default
    # of the pipeline, for these arguments of encode_prompt, and for so many tokens of text that the denoiser is given
    encoders: Callable[[Any, Mapping[str, Any], int], tuple[Encoder, ...]]
    text_modules: Callable[[nn.Module], tuple[str, ...]]  # all modules in which pixels attend to the text
    on_text: str  # pattern of the names of layers that act on tokens of the text alone
    texts: tuple[str, ...] = ("prompt",)  # arguments of encode_prompt that hold the prompt, the first that is given counts
    beside: tuple[str, ...] = ()  # those that hold texts for further encoders, whose tokens are added to the same positions
    sample: str = "sample"  # what the denoiser calls the latents
    packed: bool = False  # latents are a sequence, (image, place, channel)
    times: float = 1.0  # the scheduler's timesteps over those that the denoiser is told
    step_scale: float = 1.0  # what methods' step sizes are multiplied by
    step_reason: str = "untested on real weights: the papers' step sizes as they are"


def _unet_layers(unet: Any, resolution: int | None = None, part: Part = "all") -> TextLayers:
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
            f"this denoiser has no text attention at {resolution}x{resolution}; at its own picture size it has "
            f"{', '.join(f'{side}x{side}' for side in sides)}"
        )
    level = looking[-1] if resolution is None else sides[resolution]
    parts = of_level(level)
    if part != "all" and part not in parts:
        raise ModelError(
            f'this denoiser has no text attention in its "{part}" part at that resolution; it has some in: {", ".join(parts)}'
        )
    return TextLayers(tuple(name for own in parts if part in ("all", own) for name in parts[own]), 2**level)


def _blocks(*stacks: str, attention: str = "attn", joint: Joint | None = None, share: tuple[float, float] = (0, 1)) -> Any:
    """Return the layers of a transformer: of its blocks in running order, those of a share, by default."""

    def layers(denoiser: Any, resolution: int | None = None, part: Part = "all") -> TextLayers:
        if resolution is not None:
            raise ModelError(
                f"a {type(denoiser).__name__} has text attention on one grid alone, so there is no resolution {resolution} to "
                "choose; leave resolution out"
            )
        names = [f"{stack}.{number}.{attention}" for stack in stacks for number in range(len(getattr(denoiser, stack)))]
        first, last = {"all": share, "down": (0, 1 / 3), "mid": (1 / 3, 2 / 3), "up": (2 / 3, 1)}[part]
        chosen = names[int(first * len(names)) : max(round(last * len(names)), int(first * len(names)) + 1)]
        patch = denoiser.config.patch_size
        return TextLayers(tuple(chosen), patch, joint)

    return layers


def _ending(suffix: str) -> Callable[[nn.Module], tuple[str, ...]]:
    return lambda denoiser: tuple(name for name, _ in denoiser.named_modules() if name.endswith(suffix))


def _of_blocks(*stacks: str) -> Callable[[nn.Module], tuple[str, ...]]:
    return lambda denoiser: tuple(
        f"{stack}.{number}.attn" for stack in stacks for number in range(len(getattr(denoiser, stack)))
    )


def _learning(pipe: Any, tokenizer: Any) -> Callable[[str], str]:
    """Return how a pipeline writes out learnt words of several vectors (textual inversion) for a tokenizer."""
    convert = getattr(pipe, "maybe_convert_prompt", None)
    return (lambda text: convert(text, tokenizer)) if convert else as_it_is


def _cleaning(pipe: Any, given: Mapping[str, Any]) -> Callable[[str], str]:
    """Return what PixArt and Sana make of a prompt: lower case and, where that is asked for and installed, no markup."""
    clean = bool(given.get("clean_caption")) and is_bs4_available() and is_ftfy_available()
    return lambda text: pipe._text_preprocessing(text, clean_caption=clean)[0]


def _clip(pipe: Any, given: Mapping[str, Any], length: int) -> tuple[Encoder, ...]:
    """Of Stable Diffusion XL too: its two encoders have the same words at the same positions."""
    tokenizer = pipe.tokenizer or pipe.tokenizer_2
    encoder = Encoder(tokenizer, written=_learning(pipe, tokenizer))
    chunks, rest = divmod(length, encoder.tokens)
    if rest or not chunks:
        raise PromptError(
            f"the denoiser was given {length} tokens of text, but the tokenizer writes {encoder.tokens}; long prompts can be "
            f"located in chunks of {encoder.tokens}, each with a start and an end token, as compel makes them"
        )
    return (replace(encoder, length=encoder.tokens, chunks=chunks),)


def _clip_and_t5(pipe: Any, given: Mapping[str, Any], length: int) -> tuple[Encoder, ...]:
    clip = Encoder(pipe.tokenizer, pipe.tokenizer_max_length)
    rest = given.get("max_sequence_length") or length - clip.tokens
    if clip.tokens + rest != length:
        raise PromptError(
            f"the denoiser was given {length} tokens of text, but {clip.tokens} of CLIP and {rest} of T5 are expected; call "
            "the pipeline with the max_sequence_length of the embeddings"
        )
    if pipe.text_encoder_3 is None:  # zeros stand for it
        return (clip,)
    return clip, Encoder(pipe.tokenizer_3, rest, argument="prompt_3")


def _second_t5(pipe: Any, given: Mapping[str, Any], length: int) -> tuple[Encoder, ...]:
    return (Encoder(pipe.tokenizer_2, length, written=_learning(pipe, pipe.tokenizer_2)),)


def _t5(pipe: Any, given: Mapping[str, Any], length: int) -> tuple[Encoder, ...]:
    return (Encoder(pipe.tokenizer, length, written=_cleaning(pipe, given)),)


def _gemma(pipe: Any, given: Mapping[str, Any], length: int) -> tuple[Encoder, ...]:
    """After an instruction, of whose sequence the start token and the last ones are kept."""
    instruction, written = "\n".join(given.get("complex_human_instruction") or ()), _cleaning(pipe, given)
    if not instruction:
        return (Encoder(pipe.tokenizer, length, written=written),)
    whole = len(pipe.tokenizer.encode(instruction)) + length - 2
    return (Encoder(pipe.tokenizer, whole, instruction + "{}", (1, whole - length + 1), written=written),)


def _qwen(pipe: Any, given: Mapping[str, Any], length: int) -> tuple[Encoder, ...]:
    """Its sequence ends with the longest prompt of the batch."""
    start = pipe.prompt_template_encode_start_idx
    most = min(pipe.tokenizer_max_length, given.get("max_sequence_length") or length)
    return (Encoder(pipe.tokenizer, most + start, pipe.prompt_template_encode, (0, start)),)


FAMILIES = (
    Family(
        name="sd",
        denoiser_class="UNet2DConditionModel",
        pipeline_attribute="unet",
        layers=_unet_layers,
        reason=(
            "the coarsest level whose down block attends to text: 16x16 for SD 1 and 2 at 512 pixels, 24x24 for SD 2 at "
            "768, as all the papers read; 32x32 for SDXL at 1024, which has no coarser one; 8x8 for the emoji model"
        ),
        encoders=_clip,
        text_modules=_ending(".attn2"),
        on_text=r"attn2\.to_[kv]\b|add_[kv]_proj|encoder_hid_proj",
        beside=("prompt_2",),
        step_reason="the papers' step sizes were found on Stable Diffusion 1; untested on the weights of SDXL",
    ),
    Family(
        name="sd3",
        denoiser_class="SD3Transformer2DModel",
        pipeline_attribute="transformer",
        layers=_blocks("transformer_blocks", joint="picture first", share=(5 / 24, 13 / 24)),
        reason="blocks 5 to 12 of 24, as Self-Cross reads on SD3-medium; the same share of larger ones",
        encoders=_clip_and_t5,
        text_modules=_of_blocks("transformer_blocks"),
        on_text=r"add_[qkv]_proj|to_add_out|ff_context|context_embedder",
        beside=("prompt_2",),
        sample="hidden_states",
        step_reason="untested on real weights: Self-Cross takes those of Stable Diffusion 1 as they are",
    ),
    Family(
        name="flux",
        denoiser_class="FluxTransformer2DModel",
        pipeline_attribute="transformer",
        layers=_blocks("transformer_blocks", joint="text first"),
        reason="all double blocks, which keep text and picture apart; they come first, so the forward ends a third of the way",
        encoders=_second_t5,
        text_modules=_of_blocks("transformer_blocks", "single_transformer_blocks"),
        on_text=r"add_[qkv]_proj|to_add_out|ff_context|context_embedder",
        texts=("prompt_2", "prompt"),
        sample="hidden_states",
        packed=True,
        times=1000.0,
    ),
    Family(
        name="pixart",
        denoiser_class="PixArtTransformer2DModel",
        pipeline_attribute="transformer",
        layers=_blocks("transformer_blocks", attention="attn2", share=(5 / 24, 13 / 24)),
        reason="the second quarter of the blocks, by analogy with SD3; nobody has searched",
        encoders=_t5,
        text_modules=_ending(".attn2"),
        on_text=r"attn2\.to_[kv]\b|caption_projection",
        sample="hidden_states",
    ),
    Family(
        name="sana",
        denoiser_class="SanaTransformer2DModel",
        pipeline_attribute="transformer",
        layers=_blocks("transformer_blocks", attention="attn2", share=(5 / 24, 13 / 24)),
        reason="the second quarter of the blocks, by analogy with SD3; nobody has searched",
        encoders=_gemma,
        text_modules=_ending(".attn2"),
        on_text=r"attn2\.to_[kv]\b|caption_projection",
        sample="hidden_states",
    ),
    Family(
        name="qwen-image",
        denoiser_class="QwenImageTransformer2DModel",
        pipeline_attribute="transformer",
        layers=_blocks("transformer_blocks", joint="text first", share=(5 / 24, 13 / 24)),
        reason="the second quarter of the blocks, by analogy with SD3; nobody has searched",
        encoders=_qwen,
        text_modules=_of_blocks("transformer_blocks"),
        on_text=r"add_[qkv]_proj|to_add_out|txt_in|txt_mlp",
        sample="hidden_states",
        packed=True,
        times=1000.0,
    ),
)


def grid_of(layers: TextLayers, latents: Tensor, kwargs: Mapping[str, Any]) -> Grid:
    """Return (height, width) of the maps for a call on `latents`; of a packed sequence the call says the shape."""
    if latents.ndim == 4:
        return layers.grid(*latents.shape[-2:])
    if (shapes := kwargs.get("img_shapes")) is not None:  # Qwen-Image: [[(frames, height, width), more pictures]] per row
        first = shapes[0][0] if isinstance(shapes[0], list) else shapes[0]
        return int(first[-2]), int(first[-1])
    ids = kwargs["img_ids"]  # FLUX: (picture, row, column) of every place
    ids = ids[0] if ids.ndim == 3 else ids
    row, column = ids[: latents.shape[1], 1:].amax(dim=0).tolist()
    return int(row) + 1, int(column) + 1


def family_of(denoiser: nn.Module) -> Family:
    """Return the row for `denoiser`; raise `ModelError` when there is none or it never looks at text."""
    kinds = {cls.__name__ for cls in type(denoiser).__mro__}
    for family in FAMILIES:
        if family.denoiser_class in kinds:
            if not family.layers(denoiser, None, "all").names:
                raise ModelError(f"this {family.denoiser_class} has no attention to text; a text-conditioned model is needed")
            return family
    known = ", ".join(f.denoiser_class for f in FAMILIES)
    raise ModelError(f"{type(denoiser).__name__} cannot be guided yet; denoisers that can: {known}")


def denoiser_of(pipe: Any) -> nn.Module:
    """Return the denoiser of a diffusers pipeline, itself where `torch.compile` wrapped it.

    Raises `ModelError` when it has none that is known.
    """
    called = called_denoiser_of(pipe)
    return getattr(called, "_orig_mod", called)


def called_denoiser_of(pipe: Any) -> nn.Module:
    """Return what the pipeline calls: its denoiser, or what `torch.compile` made of that."""
    for attribute in dict.fromkeys(f.pipeline_attribute for f in FAMILIES):
        denoiser = getattr(pipe, attribute, None)
        if isinstance(denoiser, nn.Module):
            return denoiser
    raise ModelError(
        f"{type(pipe).__name__} has no denoiser under {', '.join(f.pipeline_attribute for f in FAMILIES)}; "
        "give a diffusers text-to-image pipeline"
    )
