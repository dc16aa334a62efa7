"""How guidance attaches to a diffusers pipeline, and how it lets go.

In every loop of diffusers a step is: [scheduler.scale_model_input], the denoiser once or more, scheduler.step. A pre-hook
on the denoiser sees the exact call; at the first call of a step it runs the guidance and hands on the corrected latents,
and a shim on scheduler.step gives the same latents to the scheduler. Nothing else of the pipeline is touched, and leaving
the `with` block, by whatever way, undoes all of it.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from ..attention.families import called_denoiser_of, denoiser_of
from ..errors import ModelError, PromptError
from ..prompt import Parsed
from ..regions.given import Given, assign_all
from .call import DenoiserCall
from .instance import replace_attribute
from .method import BaseMethod
from .reading import Entities, Reading, parse_for, watched
from .refusals import warn_of_what_is_slow
from .run import Run
from .session import Session, frozen


@contextmanager
def attach(
    pipe: Any,
    method: BaseMethod,
    *,
    entities: Entities = None,
    parser: Any = None,
    prompts: Sequence[str] | None = None,
    record_maps: bool = False,
    checkpointing: bool = False,
    regions: Given = None,
) -> Iterator[Run]:
    """Guide every call of `pipe` inside the `with` block by `method`; see `unbleed.guide`."""
    called: Any = called_denoiser_of(pipe)
    denoiser: Any = denoiser_of(pipe)
    run = Run(method=method.name)
    if not callable(getattr(pipe, "encode_prompt", None)):
        raise ModelError(
            f"{type(pipe).__name__} has no encode_prompt, so its prompts cannot be read; modular pipelines take a block, see "
            "unbleed.modular.add_guidance"
        )
    session = Session(pipe, denoiser, method, run, record_maps, regions)
    warn_of_what_is_slow(denoiser, session.method, checkpointing)
    hooks = _Hooks(session)
    with ExitStack() as undo:
        undo.callback(hooks.release_scheduler)
        hooks.hold_scheduler()
        for owner in (pipe, denoiser):
            replace_attribute(undo, owner, "_unbleed_session", session)

        def read(prompts: Sequence[str]) -> list[Parsed]:
            parsed = parse_for(prompts, entities=entities, parser=parser)
            return [one for one, _ in assign_all(parsed, regions)]

        encode_prompt = watched(pipe, pipe.encode_prompt, session.family, read, prompts, hooks.hear)
        replace_attribute(undo, pipe, "encode_prompt", encode_prompt)
        undo.callback(called.register_forward_pre_hook(hooks.on_denoise, with_kwargs=True).remove)
        if session.method.edits:
            hook = called.register_forward_hook(hooks.on_denoised, with_kwargs=True, always_call=True)
            undo.callback(hook.remove)
        undo.callback(hooks.around.close)
        undo.enter_context(frozen(denoiser))
        if checkpointing and not denoiser.is_gradient_checkpointing:
            denoiser.enable_gradient_checkpointing()
            undo.callback(denoiser.disable_gradient_checkpointing)
        yield run


class _Hooks:
    """What stands in the pipeline's way: it hears prompts, sees latents before they are scaled, and has each step guided."""

    def __init__(self, session: Session) -> None:
        self.session, self.pipe = session, session.pipe
        self.scheduler: Any = None
        self.scheduler_shims = ExitStack()
        self.around = ExitStack()  # what edits hold open while the denoiser runs
        self.heard: list[tuple[Reading, Tensor]] = []  # prompts and their embeddings, since the denoiser ran last
        self._begin()

    def _begin(self) -> None:
        self.session.begin()
        self.fresh = True  # the next denoiser call is the first of its step
        self.raw: Tensor | None = None  # the latents before the scheduler scaled them
        self.negative = False  # this call of the denoiser is on negative prompts

    def hear(self, reading: Reading, embeddings: Tensor) -> None:
        """Take note of prompts that the pipeline encodes; FLUX and Qwen-Image encode negative ones in the same way."""
        self.hold_scheduler()
        self._begin()
        self.heard.append((reading, embeddings))

    def _reading_of(self, embeddings: Tensor) -> Reading:
        """Return, of the prompts that were encoded, those that the denoiser now gets."""
        (reading, _), *more = self.heard
        if more:
            fitting = [one for one, own in self.heard if torch.equal(own.to(embeddings), embeddings[-len(own) :])]
            reading = fitting[0] if fitting else reading
        self.heard = []
        return reading

    # ---------------------------------------------------------------------------------------------- scheduler

    def hold_scheduler(self) -> None:
        """Put the shims on the pipeline's scheduler, which the user may have replaced since the last call."""
        if self.pipe.scheduler is self.scheduler:
            return
        self.release_scheduler()
        self.scheduler = self.pipe.scheduler
        scale = getattr(self.scheduler, "scale_model_input", lambda sample, _: sample)
        self.session.scale = scale
        replace_attribute(self.scheduler_shims, self.scheduler, "step", self.watch_step(self.scheduler.step))
        if hasattr(self.scheduler, "scale_model_input"):
            replace_attribute(self.scheduler_shims, self.scheduler, "scale_model_input", self.watch_scaling(scale))

    def release_scheduler(self) -> None:
        self.scheduler_shims.close()
        self.scheduler = None

    def watch_scaling(self, scale_model_input: Callable[..., Tensor]) -> Callable[..., Tensor]:
        @functools.wraps(scale_model_input)
        def watched(sample: Tensor, *args: Any, **kwargs: Any) -> Tensor:
            self.raw = sample if self.raw is None else self.raw  # ControlNet's guess mode scales twice a step
            return scale_model_input(sample, *args, **kwargs)

        return watched

    def watch_step(self, step: Callable[..., Any]) -> Callable[..., Any]:
        signature = inspect.signature(step)

        @functools.wraps(step)
        def watched(*args: Any, **kwargs: Any) -> Any:
            session = self.session
            if session.corrected is not None:
                bound = signature.bind(*args, **kwargs)
                bound.arguments["sample"] = session.corrected.to(bound.arguments["sample"].dtype)
                args, kwargs = bound.args, bound.kwargs
            self.fresh, self.raw, session.corrected = True, None, None
            session.done += 1
            return step(*args, **kwargs)

        return watched

    # ------------------------------------------------------------------------------------------------ denoiser

    def on_denoise(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]] | None:
        """The pre-hook: guide at the first denoiser call of a step; give later calls of the step the same latents."""
        session = self.session
        if session.evaluating:
            return None
        if getattr(self.pipe, "do_perturbed_attention_guidance", False):
            raise ModelError("perturbed attention splits each batch in three, which guidance cannot follow; set pag_scale=0")
        call = self._call(args, kwargs)
        self.negative = not self.fresh and session.family.packed and call.copies == 1
        if not self.negative:
            call = session.with_own_text(call)
        if self.fresh:
            self.fresh = False
            with torch.inference_mode(False):  # whatever the user wrapped the pipeline in
                session.guide(call, self.raw)
        self.around.close()
        if not self.negative:
            self.around.enter_context(session.edited(session.rows(call)))
        if session.corrected is None:
            return None if call.args is args and call.kwargs is kwargs else (call.args, call.kwargs)
        return call.with_latents(session.scale(session.corrected, call.timestep))

    def on_denoised(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> Any:
        """The hook behind the denoiser, of methods that edit: let the edits change what was predicted."""
        session = self.session
        if session.evaluating:
            return None
        self.around.close()
        if output is None or session.groups is None or self.negative:  # the denoiser failed, or it is not the prompts' turn
            return None
        call = self._call(args, kwargs)
        session.show(call)
        prediction = output[0]

        def denoise(embeddings: Tensor, images: Sequence[int]) -> Tensor:
            other = call.with_embeddings(embeddings, images)
            session.evaluating = True
            try:
                return session.denoiser(*other[0], **{**other[1], "return_dict": False})[0]
            finally:
                session.evaluating = False

        for opened in session.opened:
            prediction = opened.after(prediction, session.rows(call), denoise)
        if isinstance(output, tuple):
            return (prediction, *output[1:])
        output.sample = prediction
        return output

    def _call(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> DenoiserCall:
        session = self.session
        if self.heard:
            text = kwargs["encoder_hidden_states"] if "encoder_hidden_states" in kwargs else args[2]
            session.take_up(self._reading_of(text))
        if session.groups is None:
            raise PromptError("the denoiser ran before the pipeline read a prompt, so there is nothing to guide by")
        # later calls of a step may be on the prompts alone, as for skipped layers
        doubled = getattr(self.pipe, "do_classifier_free_guidance", None) if self.fresh and not session.family.packed else None
        return DenoiserCall(args, kwargs, session.groups.images, doubled, session.family.sample)
