"""Evaluate the guidance on a denoiser: attention maps at given latents, and the gradient of a loss on these maps.

An evaluator knows the denoiser and which layers a method reads. It knows nothing of prompts, steps and schedules.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from ..attention import AttentionProbe, Capture, Family, JointSequence, average_maps, average_self_maps
from ..attention.family import Grid, patch_of
from ..attention.probe import native_processors
from ..errors import ModelError
from ..losses import AttentionMaps, Loss
from ..losses.base import terms_of
from ..losses.groups import TokenGroups
from ..precision import casting_by_replacement, computes_in_float16, gradient_through, without_autocast
from .compiled import uncompiled
from .method import Method
from .update import Evaluation

See = Callable[[Tensor], AttentionMaps]
"""From latents (image, ...) to the attention of the denoiser at them."""


class Evaluator:
    """Runs `denoiser` for the guidance by `method`, as far as the last layer that is read.

    `running` is True during such a run, so that hooks on the denoiser can ignore it.
    """

    def __init__(self, denoiser: nn.Module, method: Method, family: Family) -> None:
        self.denoiser, self.family = denoiser, family
        self.layers = family.layers(denoiser, method.resolution, method.layers)
        reads_self = any(loss.reads_self_attention for loss in method.losses)
        self.self_names = self.layers.self_names if reads_self else ()
        self.probe = AttentionProbe(denoiser, self.layers.names, self.self_names, family.reads)
        self.running = False

    @property
    def channels(self) -> int:
        """The number of channels of the latents; the denoiser's input may have more (inpainting)."""
        config: Any = self.denoiser.config
        out = getattr(config, "out_channels", None)
        return out * (patch_of(config) ** 2 if self.family.packed else 1) if out else config.in_channels

    def grid(self, sample: Tensor, arguments: Mapping[str, Any], texts: int) -> Grid:
        """Return (height, width) of the maps for a call of the denoiser. FLUX has it in a tensor: the device is waited for.

        Raises `ModelError` for a sequence with fewer pixels than that.
        """
        if self.family.grid is None:
            return self.layers.grid(*sample.shape[-2:])
        height, width = self.family.grid(arguments, texts)
        if sample.shape[1] < height * width:
            raise ModelError(
                f"the denoiser was given {sample.shape[1]} pixels for an image of {height}x{width}; pipelines that "
                "denoise several images in one sequence cannot be guided"
            )
        return height, width

    def joint(
        self, grid: Grid, texts: int, wanted: Tensor, axis: int, arguments: Mapping[str, Any] | None = None
    ) -> JointSequence | None:
        """Return the positions of image and text if they are one sequence; None if the text has keys of its own.

        `texts` is the number of text tokens that the denoiser gets, `wanted` the tokens whose maps are read, (token,), `axis`
        the number of maps to return, and `arguments` those of the rows that it runs on.
        """
        if self.layers.joint is None:
            return None
        pixels, starts = grid[0] * grid[1], self.family.starts
        known = None if starts is None else starts(arguments or {}, pixels, texts)
        return JointSequence.of(self.layers.joint, pixels=pixels, texts=texts, wanted=wanted, axis=axis, starts=known)

    @contextmanager
    def prepared(self) -> Iterator[None]:
        """Prepare the denoiser for evaluations: frozen, uncompiled, and with weights that a gradient can pass.

        Only as long as they run: frozen weights would have the pipeline's own forwards compiled again.
        """
        with frozen(self.denoiser), uncompiled(), casting_by_replacement(self.denoiser):
            yield

    def denoise(self, *args: Any, **kwargs: Any) -> Any:
        """Run the denoiser, with `running` set."""
        self.running = True
        try:
            return self.denoiser(*args, **kwargs)
        finally:
            self.running = False

    def read(self, run: Callable[[], Any], grid: Grid, joint: JointSequence | None) -> AttentionMaps:
        """Return the attention of the run of the denoiser that `run` makes, which ends after the last layer that is read."""
        with native_processors(self.probe.modules.values()):
            return self.attention(self.probe(run), grid, joint)

    def attention(self, captures: Mapping[str, Capture], grid: Grid, joint: JointSequence | None) -> AttentionMaps:
        """Return the attention of a run of the denoiser from its captures; raise `CaptureError` if a layer is missing."""
        self.probe.check(captures)
        own = [captures[name] for name in self.self_names]
        with without_autocast(next(iter(captures.values())).query.device):
            maps = average_maps((captures[name] for name in self.layers.names), grid, joint)
            return AttentionMaps(maps, average_self_maps(own, joint) if own else None)

    @contextmanager
    def following(self) -> Iterator[dict[str, Capture]]:
        """Fill a dict with captures while the denoiser runs to its end, by any caller, with a gradient.

        No graph is kept beyond the last layer that is read.
        """
        last = list(self.probe.modules.values())[-1]
        with torch.enable_grad(), self.probe.listen() as captures, ExitStack() as undo:
            undo.callback(last.register_forward_hook(lambda *_: _without_gradient()).remove)
            yield captures

    def heard_maps(self, captures: Mapping[str, Capture], rows: slice, grid: Grid, joint: JointSequence | None) -> Tensor:
        """Return the maps (batch, token, height, width) of some rows of the batch, which `probe.listen` captured.

        Raises `CaptureError` if a layer is missing.
        """
        self.probe.check(captures)
        text = [captures[name].of_rows(rows) for name in self.layers.names]
        with torch.no_grad(), without_autocast(text[0].query.device):
            return average_maps(text, grid, joint)

    def measure(
        self, see: See, latents: Tensor, loss: Loss, groups: TokenGroups, around: AbstractContextManager[Any] | None = None
    ) -> Evaluation:
        """Return a loss and its gradient at `latents` (image, ...), each image's by its own.

        Gradient checkpointing runs parts of the denoiser again in the backward pass, so that pass is inside `around` too.

        Raises `ModelError` if no gradient reaches the latents.
        """
        with torch.enable_grad(), native_processors(self.probe.modules.values()):
            leaf = latents.detach().clone().requires_grad_(True)
            return self.differentiate(see(leaf), leaf, loss, groups, around)

    def differentiate(
        self,
        seen: AttentionMaps,
        leaf: Tensor,
        loss: Loss,
        groups: TokenGroups,
        around: AbstractContextManager[Any] | None = None,
    ) -> Evaluation:
        """Return a loss of attention that was read, and its gradient at `leaf`, the latents (image, ...); see `measure`."""
        with torch.enable_grad():
            if not seen.maps.requires_grad:
                raise ModelError(
                    "no gradient comes through the denoiser, as with weights that were quantised for inference only; load it "
                    "in float16 or bfloat16, or take a method without a gradient (see unbleed methods)"
                )
            half = computes_in_float16(self.denoiser, leaf.device)
            with without_autocast(leaf.device):
                terms = terms_of(loss, seen, groups)
                total = torch.stack(list(terms.values())).sum(dim=0)
            through = [seen.maps] if seen.self_maps is None else [seen.maps, seen.self_maps]
            with around or nullcontext():
                # at the first step a loss on the maps of the step before has no gradient
                gradient = gradient_through(through, total, leaf, half=half) if total.requires_grad else torch.zeros_like(leaf)
        return Evaluation(total.detach(), {name: term.detach() for name, term in terms.items()}, gradient, seen.maps.detach())

    def score(self, see: See, latents: Tensor, loss: Loss, groups: TokenGroups) -> tuple[Tensor, dict[str, Tensor]]:
        """Return a loss, (image,), and its parts at `latents`, without a gradient."""
        with torch.no_grad():
            terms = terms_of(loss, see(latents), groups)
        return torch.stack(list(terms.values())).sum(dim=0), terms


def _without_gradient() -> None:
    torch.set_grad_enabled(False)


@contextmanager
def frozen(denoiser: nn.Module) -> Iterator[None]:
    """Let no weight require a gradient, so that the graph keeps no activations for gradients that are not used."""
    trained = [name for name, weight in denoiser.named_parameters() if weight.requires_grad]
    denoiser.requires_grad_(False)
    try:
        yield
    finally:
        for name in trained:  # by name: offloading and casting replace weights by others
            denoiser.get_parameter(name).requires_grad_(True)
