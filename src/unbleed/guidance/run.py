"""What a guided run leaves behind: the entities that were read, the losses of every step, the maps when asked for."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor

from ..prompt import Entity, PromptTokens
from .noise import NoiseOutcome


@dataclass(frozen=True)
class Step:
    """Guidance of one image at one denoising step."""

    call: int  # of the pipeline, inside the `with` block, from 0
    image: int  # in that call's batch
    step: int  # index of the denoising step in the run
    timestep: float
    loss: float  # at the latents from which the last update was made
    terms: dict[str, float]  # its parts
    losses: list[float]  # at every evaluation of this step: more than one where it was refined
    gradient_norm: float
    refinements: int
    skipped: bool  # a loss or gradient was not finite, and the image was left alone
    seconds: float  # for the whole batch


@dataclass(frozen=True)
class StepMaps:
    """Attention of one denoising step, after the update."""

    call: int
    step: int
    timestep: float
    maps: Tensor  # (batch, token, height, width), float32 on the CPU


@dataclass(frozen=True)
class FirstNoise:
    """The search for better first noise of one image."""

    call: int
    image: int
    own: Tensor  # the noise that the pipeline drew, of unit variance, float32 on the CPU
    used: Tensor  # the noise that the run began with
    outcome: NoiseOutcome


@dataclass
class Run:
    """Filled while the pipeline runs inside `guide`; the lists over prompts are aligned with each other.

    An image is `num_images_per_prompt` to a prompt, in the pipeline's order.
    """

    method: str
    prompts: list[str] = field(default_factory=list)
    entities: list[list[Entity]] = field(default_factory=list)
    tokens: list[PromptTokens] = field(default_factory=list)  # where the words stand in the text encoder's sequence
    steps: list[Step] = field(default_factory=list)
    maps: list[StepMaps] = field(default_factory=list)
    noises: list[FirstNoise] = field(default_factory=list)

    @property
    def skipped(self) -> int:
        """How many updates of single images were left out because something was not finite."""
        return sum(step.skipped for step in self.steps)
