"""What differs between families of denoisers, one row each.

A row names the modules whose attention goes from the pixels to the text, in running order, their grid, the position of the
text in their sequence, how the text encoders get a prompt, and the denoiser's arguments. Nothing else in the library knows a
model by its name: a new family is a new row.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from diffusers.utils import is_bs4_available, is_ftfy_available
from torch import Tensor, nn

from ..errors import ModelError, PromptError
from ..prompt.tokens import Encoder, as_it_is
from . import calls

Part = Literal["all", "down", "mid", "up"]
"""Part of a denoiser whose blocks are read. Of a transformer: the first, second and last third of its blocks."""

Grid = tuple[int, int]
Joint = Literal["text first", "image first"]
"""Order of an attention in which image and text are one sequence."""


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


@dataclass(frozen=True)
class Family:
    """One family of denoisers. `layers` gets the denoiser, since sizes differ within a family.

    Its second argument is the side of the grid at the model's own image size, None for the family's default; its third selects
    the layers of one part.
    """

    name: str
    denoiser_class: str
    pipeline_attribute: str  # where the pipeline keeps the denoiser
    layers: Callable[[nn.Module, int | None, Part], TextLayers]
    example: Callable[[Any, int, int, int], dict[str, Any]]  # arguments for a config, height and width of latents, tokens
    text_length: int  # tokens of text that the pipeline usually passes
    # of a pipeline, for arguments of encode_prompt and the number of text tokens that the denoiser gets
    encoders: Callable[[Any, Mapping[str, Any], int], tuple[Encoder, ...]]
    text_modules: Callable[[nn.Module], tuple[str, ...]]  # all modules in which pixels attend to the text
    on_text: str  # pattern of the names of layers that act only on text tokens
    texts: tuple[str, ...] = ("prompt",)  # arguments of encode_prompt that hold the prompt; the first that is given counts
    beside: tuple[str, ...] = ()  # those with texts for further encoders, whose tokens are added at the same positions
    sample: str = "sample"  # the denoiser's argument for the latents
    packed: bool = False  # latents are a sequence, (batch, pixel, channel)
    times: float = 1.0  # ratio of the scheduler's timesteps to those that the denoiser gets
    shared: tuple[str, ...] = ()  # arguments that are one for all rows, though their length may equal the number of rows
    listed: tuple[str, ...] = ()  # arguments that are a list of equal items, one per row
    # arguments, besides the latents, that blocks of a modular pipeline pass: from their state and a timestep
    from_blocks: Callable[[Mapping[str, Any], Tensor], dict[str, Any]] | None = None


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


def _blocks(*stacks: str, attention: str = "attn", joint: Joint | None = None, fraction: tuple[float, float] = (0, 1)) -> Any:
    """Return the layers of a transformer; by default those of a fraction of its blocks, in running order."""

    def layers(denoiser: Any, resolution: int | None = None, part: Part = "all") -> TextLayers:
        if resolution is not None:
            raise ModelError(
                f"a {type(denoiser).__name__} has text attention on one grid only, so resolution {resolution} cannot be "
                "chosen; leave resolution out"
            )
        names = [f"{stack}.{number}.{attention}" for stack in stacks for number in range(len(getattr(denoiser, stack)))]
        first, last = {"all": fraction, "down": (0, 1 / 3), "mid": (1 / 3, 2 / 3), "up": (2 / 3, 1)}[part]
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
    """Return the function by which a pipeline expands learned words of several vectors (textual inversion)."""
    convert = getattr(pipe, "maybe_convert_prompt", None)
    return (lambda text: convert(text, tokenizer)) if convert else as_it_is


def _cleaning(pipe: Any, given: Mapping[str, Any]) -> Callable[[str], str]:
    """Return how PixArt and Sana change a prompt: to lower case and, on request and where it is installed, without markup."""
    clean = bool(given.get("clean_caption")) and is_bs4_available() and is_ftfy_available()
    return lambda text: pipe._text_preprocessing(text, clean_caption=clean)[0]


def _clip(pipe: Any, given: Mapping[str, Any], length: int) -> tuple[Encoder, ...]:
    """Also for Stable Diffusion XL, whose two encoders have the same words at the same positions."""
    tokenizer = pipe.tokenizer or pipe.tokenizer_2
    encoder = Encoder(tokenizer, written=_learning(pipe, tokenizer))
    chunks, rest = divmod(length, encoder.tokens)
    if rest or not chunks:
        raise PromptError(
            f"the denoiser was given {length} tokens of text, but the tokenizer makes {encoder.tokens}; long prompts can be "
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
    if pipe.text_encoder_3 is None:  # zeros replace it
        return (clip,)
    return clip, Encoder(pipe.tokenizer_3, rest, argument="prompt_3")


def _second_t5(pipe: Any, given: Mapping[str, Any], length: int) -> tuple[Encoder, ...]:
    return (Encoder(pipe.tokenizer_2, length, written=_learning(pipe, pipe.tokenizer_2)),)


def _t5(pipe: Any, given: Mapping[str, Any], length: int) -> tuple[Encoder, ...]:
    return (Encoder(pipe.tokenizer, length, written=_cleaning(pipe, given)),)


def _gemma(pipe: Any, given: Mapping[str, Any], length: int) -> tuple[Encoder, ...]:
    """The prompt follows an instruction; of the whole sequence the start token and the last ones are kept."""
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
        # the coarsest level whose down block attends to text: 16x16 for SD 1 and 2 at 512 pixels, 24x24 for SD 2 at
        # 768, as all the papers read; 32x32 for SDXL at 1024, which has no coarser one; 8x8 for the emoji model
        layers=_unet_layers,
        example=calls.unet_example,
        text_length=77,
        from_blocks=calls.unet_from_blocks,
        encoders=_clip,
        text_modules=_ending(".attn2"),
        on_text=r"attn2\.to_[kv]\b|add_[kv]_proj|encoder_hid_proj",
        beside=("prompt_2",),
    ),
    Family(
        name="sd3",
        denoiser_class="SD3Transformer2DModel",
        pipeline_attribute="transformer",
        # blocks 5 to 12 of 24, as Self-Cross reads on SD3-medium; the same fraction of larger ones
        layers=_blocks("transformer_blocks", joint="image first", fraction=(5 / 24, 13 / 24)),
        example=calls.sd3_example,
        text_length=77 + 256,
        encoders=_clip_and_t5,
        text_modules=_of_blocks("transformer_blocks"),
        on_text=r"add_[qkv]_proj|to_add_out|ff_context|context_embedder",
        beside=("prompt_2",),
        sample="hidden_states",
    ),
    Family(
        name="flux",
        denoiser_class="FluxTransformer2DModel",
        pipeline_attribute="transformer",
        # all double blocks, which keep text and image apart; they come first, so the forward ends a third of the
        # way
        layers=_blocks("transformer_blocks", joint="text first"),
        example=calls.flux_example,
        text_length=512,
        shared=("img_ids", "txt_ids"),
        from_blocks=calls.flux_from_blocks,
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
        # the second quarter of the blocks, by analogy with SD3; nobody has searched
        layers=_blocks("transformer_blocks", attention="attn2", fraction=(5 / 24, 13 / 24)),
        example=calls.pixart_example,
        text_length=300,
        encoders=_t5,
        text_modules=_ending(".attn2"),
        on_text=r"attn2\.to_[kv]\b|caption_projection",
        sample="hidden_states",
    ),
    Family(
        name="sana",
        denoiser_class="SanaTransformer2DModel",
        pipeline_attribute="transformer",
        # the second quarter of the blocks, by analogy with SD3; nobody has searched
        layers=_blocks("transformer_blocks", attention="attn2", fraction=(5 / 24, 13 / 24)),
        example=calls.captioned_example,
        text_length=300,
        encoders=_gemma,
        text_modules=_ending(".attn2"),
        on_text=r"attn2\.to_[kv]\b|caption_projection",
        sample="hidden_states",
    ),
    Family(
        name="qwen-image",
        denoiser_class="QwenImageTransformer2DModel",
        pipeline_attribute="transformer",
        # the second quarter of the blocks, by analogy with SD3; nobody has searched
        layers=_blocks("transformer_blocks", joint="text first", fraction=(5 / 24, 13 / 24)),
        example=calls.qwen_example,
        text_length=64,  # as long as the prompt; a usual one
        listed=("img_shapes",),
        encoders=_qwen,
        text_modules=_of_blocks("transformer_blocks"),
        on_text=r"add_[qkv]_proj|to_add_out|txt_in|txt_mlp",
        sample="hidden_states",
        packed=True,
        times=1000.0,
    ),
)


def grid_of(layers: TextLayers, latents: Tensor, kwargs: Mapping[str, Any]) -> Grid:
    """Return (height, width) of the maps for a call on `latents`; for a packed sequence from the call's arguments."""
    if latents.ndim == 4:
        return layers.grid(*latents.shape[-2:])
    if (shapes := kwargs.get("img_shapes")) is not None:  # Qwen-Image: [[(frames, height, width), more images]] per row
        first = shapes[0][0] if isinstance(shapes[0], list) else shapes[0]
        return int(first[-2]), int(first[-1])
    ids = kwargs["img_ids"]  # FLUX: (image, row, column) of every pixel
    ids = ids[0] if ids.ndim == 3 else ids
    row, column = ids[: latents.shape[1], 1:].amax(dim=0).tolist()
    return int(row) + 1, int(column) + 1


def family_of(denoiser: nn.Module) -> Family:
    """Return the row for `denoiser`; raise `ModelError` when there is none or the denoiser has no text attention."""
    kinds = {cls.__name__ for cls in type(denoiser).__mro__}
    for family in FAMILIES:
        if family.denoiser_class in kinds:
            if not family.layers(denoiser, None, "all").names:
                raise ModelError(f"this {family.denoiser_class} has no attention to text; a text-conditioned model is needed")
            return family
    known = ", ".join(f.denoiser_class for f in FAMILIES)
    raise ModelError(f"{type(denoiser).__name__} cannot be guided yet; denoisers that can: {known}")


def denoiser_of(pipe: Any) -> nn.Module:
    """Return the denoiser of a diffusers pipeline, unwrapped from `torch.compile`.

    Raises `ModelError` when the pipeline has no known one.
    """
    called = called_denoiser_of(pipe)
    return getattr(called, "_orig_mod", called)


def called_denoiser_of(pipe: Any) -> nn.Module:
    """Return what the pipeline calls: its denoiser, or the wrapper that `torch.compile` made of it."""
    for attribute in dict.fromkeys(f.pipeline_attribute for f in FAMILIES):
        denoiser = getattr(pipe, attribute, None)
        if isinstance(denoiser, nn.Module):
            return denoiser
    raise ModelError(
        f"{type(pipe).__name__} has no denoiser under {', '.join(f.pipeline_attribute for f in FAMILIES)}; "
        "give a diffusers text-to-image pipeline"
    )
