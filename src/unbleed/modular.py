"""Guidance as a block of diffusers' modular pipelines: FLUX, FLUX.2, Z-Image, Qwen-Image, Stable Diffusion XL and 3.

    blocks = FluxAutoBlocks()
    guidance = unbleed.modular.add_guidance(blocks, "syngen")
    pipe = blocks.init_pipeline("black-forest-labs/FLUX.1-dev")
    ...
    image = pipe(prompt="a red cat and a blue bench", output="images")[0]
    guidance.run.steps

The block stands first in the denoising loop and moves the latents that the following blocks get. It leaves no hook.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from diffusers.modular_pipelines import InputParam, LoopSequentialPipelineBlocks, ModularPipelineBlocks
from torch import Tensor

from .attention.families import denoiser_of, family_of
from .errors import ModelError
from .guidance.call import DenoiserCall, as_tensor
from .guidance.checks import refuse_guided
from .guidance.method import BaseMethod
from .guidance.named import Entities
from .guidance.prompts import PromptReader
from .guidance.run import Run
from .guidance.session import Session
from .methods import MethodLike, method_from
from .model_settings import method_for, method_of

_INPUTS = (
    "prompt prompt_2 num_images_per_prompt prompt_embeds prompt_embeds_mask pooled_prompt_embeds txt_ids img_ids img_shapes "
    "latent_ids image_latents image_latent_ids guidance joint_attention_kwargs attention_kwargs timestep_cond "
    "cross_attention_kwargs"
).split()


class GuidanceBlock(ModularPipelineBlocks):
    """The first block of a denoising loop, which moves its latents. `run` holds the results of the last call.

    Args:
        method: As in `unbleed.guide`, like the other arguments.

    Raises:
        ModelError: for methods with edits inside the denoiser, which a block cannot make.
    """

    def __init__(
        self,
        method: MethodLike = "syngen",
        *,
        entities: Entities = None,
        parser: Any = None,
        prompts: Sequence[str] | None = None,
    ) -> None:
        super().__init__()
        self.given = method
        self.method = method_of(method, None) if isinstance(method, str) else method_from(method)
        if self.method.parts().edits:
            raise ModelError(f"{self.method.name} makes edits inside the denoiser, which a block cannot; use unbleed.guide")
        _refuse_velocity(self.method)
        self.reader = PromptReader(entities, parser, prompts)
        self.run = Run(method=self.method.name)
        self.session: Session | None = None

    def __deepcopy__(self, memo: Any) -> GuidanceBlock:
        """Return itself: pipelines copy their blocks, and the user's own is to hold the results."""
        del memo
        return self

    @property
    def description(self) -> str:
        return "Moves the latents so that every entity of the prompt is attended to; first in a denoising loop."

    @property
    def inputs(self) -> list[InputParam]:
        return [
            InputParam("latents", required=True),
            InputParam("max_sequence_length", default=512),
            *(InputParam(name) for name in _INPUTS),
            InputParam(kwargs_type="denoiser_input_fields"),
        ]

    def __call__(self, components: Any, block_state: Any, i: int, t: Tensor) -> tuple[Any, Any]:
        if i == 0:
            self._begin(components, block_state)
        session = self.session
        if session is None:
            raise ModelError("the guidance block was called in the middle of a loop; call the loop from its first step")
        session.begin_step(i)
        call = self._call(session, block_state, t)
        with torch.inference_mode(False):
            session.guide(call, block_state.latents)
        block_state.latents = session.corrected_for(block_state.latents)
        return components, block_state

    def _begin(self, components: Any, block_state: Any) -> None:
        denoiser = denoiser_of(components)
        if family_of(denoiser).from_blocks is None:
            raise ModelError(f"there is no block for {type(denoiser).__name__} yet; use unbleed.guide on its usual pipeline")
        self.method = method_for(components, self.given)  # a label has the settings that suit the model
        _refuse_velocity(self.method)
        self.run = Run(method=self.method.name)
        refuse_guided(components, denoiser)
        self.session = session = Session(components, denoiser, self.method, self.run, record_maps=False)
        session.follow(components.scheduler)
        given = {name: getattr(block_state, name, None) for name in ("prompt", "prompt_2", "max_sequence_length")}
        given["num_images_per_prompt"] = getattr(block_state, "num_images_per_prompt", None) or 1
        family, length = family_of(denoiser), as_tensor(block_state.prompt_embeds).shape[1]
        if given["prompt"] is not None:
            given["prompt"] = _as_given(given["prompt"], family.encoders(components, given, length)[0].template)
        session.begin_call(self.reader.read(components, family, given, length, _not_encoded))

    def _call(self, session: Session, block_state: Any, t: Tensor) -> DenoiserCall:
        """Return the call of the denoiser that the loop will make, without unconditional rows."""
        given = {name: getattr(block_state, name, None) for name in (*_INPUTS, "latents", "add_time_ids", "ip_adapter_embeds")}
        family = session.family
        assert family.from_blocks is not None
        kwargs = {family.sample: block_state.latents, **family.from_blocks(given, t)}
        return session.read_call((), kwargs, None)


def add_guidance(
    blocks: Any,
    method: MethodLike = "syngen",
    *,
    entities: Entities = None,
    parser: Any = None,
    prompts: Sequence[str] | None = None,
) -> GuidanceBlock:
    """Put a `GuidanceBlock` first into every denoising loop of `blocks`, and return it.

    >>> from diffusers.modular_pipelines import FluxAutoBlocks
    >>> add_guidance(FluxAutoBlocks(), "syngen").run
    <Run of syngen: 0 prompts, 0 images guided in 0 steps (0 skipped), maps of 0 steps>

    Args:
        blocks: Blocks of a modular pipeline.
        method: As in `unbleed.guide`, like the other arguments.

    Raises:
        ModelError: if the blocks have no denoising loop or are guided already, or the method edits the inside of the denoiser.
    """
    guidance = GuidanceBlock(method, entities=entities, parser=parser, prompts=prompts)
    loops = _loops_of(blocks)
    if not loops:
        raise ModelError(f"{type(blocks).__name__} has no denoising loop to put guidance into; give the blocks of a pipeline")
    if any("guidance" in loop.sub_blocks for loop in loops):
        raise ModelError(f"these {type(blocks).__name__} have guidance already; make new ones, or add the two losses into one")
    blocks.sub_blocks = copy.deepcopy(blocks.sub_blocks)  # some classes of diffusers share theirs among all of their objects
    for loop in _loops_of(blocks):
        loop.sub_blocks.insert("guidance", guidance, 0)
    return guidance


def _as_given(prompt: str | list[str], template: str) -> str | list[str]:
    """Return prompts without the template that Z-Image's blocks write into the list of them."""
    if isinstance(prompt, list):
        return [str(_as_given(one, template)) for one in prompt]
    before, after = template.split("{}", 1)
    written = before and prompt.startswith(before) and prompt.endswith(after)
    return prompt[len(before) : len(prompt) - len(after)] if written else prompt


def _loops_of(blocks: Any) -> list[LoopSequentialPipelineBlocks]:
    return [block for block in _below(blocks) if isinstance(block, LoopSequentialPipelineBlocks)]


def _below(blocks: Any) -> list[Any]:
    inner = list(getattr(blocks, "sub_blocks", None) or {})
    return [blocks, *(block for name in inner for block in _below(blocks.sub_blocks[name]))]


def _refuse_velocity(method: BaseMethod) -> None:
    if method.parts().descent.update == "velocity":
        raise ModelError(f"{method.name} corrects the velocity after the denoiser ran, which a block cannot; use unbleed.guide")


def _not_encoded(texts: Sequence[str]) -> Tensor:
    raise ModelError("a block cannot encode other texts than the pipeline's own; use unbleed.guide on its usual pipeline")
