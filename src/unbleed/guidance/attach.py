"""Attach guidance to a diffusers pipeline, and detach it: hooks on encode_prompt, the scheduler and the denoiser.

In every loop of diffusers a step is: [scheduler.scale_model_input], the denoiser once or more, scheduler.step. A pre-hook
on the denoiser sees the exact call; at the first call of a step it runs the guidance and passes on the corrected latents,
and a wrapper of scheduler.step gives the same latents to the scheduler. Nothing else of the pipeline is touched, and leaving
the `with` block undoes all of it, also after an exception.
"""

from __future__ import annotations

import functools
import inspect
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ContextDecorator, ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ..attention.families import called_denoiser_of, denoiser_of
from ..errors import ModelError, PromptError
from ..regions.given import Given
from .call import DenoiserCall, arguments_of, as_latents, as_tensor
from .callers import pipeline_call
from .checks import refuse_guided, refuse_pipelines, warn_of_what_is_slow
from .compiled import hook_calls
from .edit import BatchRows
from .method import BaseMethod
from .named import Entities
from .ownership import Ownership
from .patching import replace_attribute
from .prompts import CallPrompts, PromptReader, ReadPrompts
from .run import Run
from .session import Session
from .velocity import VelocityStep


class Attachment(ContextDecorator):
    """A `with` block that guides every call of `pipe` by `method`, see `unbleed.guide`; it may be entered again once left.

    With `any_thread` the calls may come from any thread, one at a time; without it from the one that entered the block.
    """

    def __init__(self, pipe: Any, method: BaseMethod, **options: Any) -> None:
        self._attached: Callable[[], AbstractContextManager[Run]] = functools.partial(_attached, pipe, method, **options)

    def __enter__(self) -> Run:
        block = self._attached()
        run = block.__enter__()  # refuses a pipeline that is guided already, so there is one block at a time
        self._block = block
        return run

    def __exit__(self, *error: Any) -> bool | None:
        return self._block.__exit__(*error)


@contextmanager
def _attached(
    pipe: Any,
    method: BaseMethod,
    *,
    entities: Entities = None,
    parser: Any = None,
    prompts: Sequence[str] | None = None,
    record_maps: bool = False,
    checkpointing: bool = False,
    regions: Given = None,
    any_thread: bool = False,
) -> Iterator[Run]:
    called: Any = called_denoiser_of(pipe)
    denoiser: Any = denoiser_of(pipe)
    run = Run(method=method.name)
    encode_prompt = getattr(pipe, "encode_prompt", None)
    if not callable(encode_prompt) and prompts is None:
        raise ModelError(
            f"{type(pipe).__name__} has no encode_prompt, so its prompts cannot be read; use guide(..., prompts=[...]); "
            "modular pipelines take a block, see unbleed.modular.add_guidance"
        )
    refuse_pipelines(pipe)
    with ExitStack() as undo:
        _claim(undo, pipe, denoiser)
        session = Session(pipe, denoiser, method, run, record_maps, regions)
        warn_of_what_is_slow(called, denoiser, session.method, checkpointing)
        reader = PromptReader(entities, parser, prompts, regions)
        owner = Ownership(pipe, called, None if any_thread else threading.get_ident())
        hooks = _Hooks(session, reader, owner)
        undo.callback(hooks.close)
        hooks.hold_scheduler(pipe)
        if callable(encode_prompt):
            watched = reader.watched(pipe, hooks.in_own_thread(encode_prompt), session.family, hooks.hear)
            replace_attribute(undo, pipe, "encode_prompt", watched)
        after = session.method.edits or session.method.descent.update == "velocity"
        hook_calls(undo, called, hooks.on_denoise, hooks.on_denoised if after else None)
        owner.compiled = called._compiled_call_impl
        if checkpointing and not denoiser.is_gradient_checkpointing:
            denoiser.enable_gradient_checkpointing(_checkpointed)
            undo.callback(denoiser.disable_gradient_checkpointing)
        yield run


def _checkpointed(module: Any, *args: Any, **kwargs: Any) -> Any:
    """Run a block with checkpointing; diffusers' own function takes no arguments by name, which HunyuanImage gives."""
    return checkpoint(module.__call__, *args, use_reentrant=False, **kwargs)


_CLAIMING = threading.Lock()


def _claim(undo: ExitStack, pipe: Any, denoiser: nn.Module) -> None:
    """Mark pipeline and denoiser as guided; raise `ModelError` if one of them is guided already, perhaps in another thread."""
    with _CLAIMING:
        refuse_guided(pipe, denoiser)
        for owner in (pipe, denoiser):
            replace_attribute(undo, owner, "_unbleed_guided", True)


class _Hooks:
    """Hooks on encode_prompt, the scheduler and the denoiser, of the run that `owner` knows the call of."""

    def __init__(self, session: Session, reader: PromptReader, owner: Ownership) -> None:
        self.session, self.reader, self.owner = session, reader, owner
        self.scheduler: Any = None
        self.scheduler_hooks = ExitStack()
        self.around = ExitStack()  # contexts of edits, open while the denoiser runs
        # how to read prompts, and their embeddings, since the denoiser ran last
        self.heard: list[tuple[ReadPrompts, Tensor]] = []
        self.encode_prompt = getattr(session.pipe, "encode_prompt", None)  # before it was hooked
        self.unencoded = False  # a run on the user's own prompts begins with the next call of the denoiser
        self._begin()

    def close(self) -> None:
        self.around.close()
        self.release_scheduler()
        self.owner.close()

    def _begin(self) -> None:
        self.session.begin()
        self.fresh = True  # the next denoiser call is the first of its step
        self.first: DenoiserCall | None = None  # that of this step
        self.raw: Tensor | None = None  # the latents before the scheduler scaled them
        self.negative = False  # this call of the denoiser is on negative prompts
        self.without: tuple[tuple[Any, ...], dict[str, Any]] | None = None  # arguments without the rows of an edit
        self.under_way: VelocityStep | None = None  # the correction whose forward is this call of the denoiser

    def _is_own(self) -> bool:
        """Return whether the code that runs now belongs to the run whose prompts were read."""
        return self.owner.is_own(begun=not self.heard)

    # ------------------------------------------------------------------------------------------------- prompts

    def in_own_thread(self, encode_prompt: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(encode_prompt)
        def encode(*args: Any, **kwargs: Any) -> Any:
            self.owner.check_thread(self.owner.own_thread)
            return encode_prompt(*args, **kwargs)

        return encode

    def hear(self, read: ReadPrompts, embeddings: Tensor | Sequence[Tensor]) -> None:
        """Keep prompts that the pipeline encodes; FLUX and Qwen-Image encode negative ones in the same way."""
        if self.owner.claim_encoding():
            self.heard = []  # those of a call that failed before it ran the denoiser
        self.hold_scheduler(self.owner.pipe)
        self._begin()
        self.heard.append((read, as_tensor(embeddings)))

    def _prompts_of(self, embeddings: Tensor, rows: int) -> CallPrompts:
        """Return, of the prompts that were encoded, those that the denoiser now gets in a call of so many rows."""
        (read, _), *more = self.heard
        if more:
            fitting = [one for one, own in self.heard if torch.equal(own.to(embeddings), embeddings[-len(own) :])]
            read = fitting[0] if fitting else read
        self.heard = []
        apart = self.session.family.negatives == "apart"
        doubled = not apart and bool(getattr(self.owner.pipe, "do_classifier_free_guidance", False))
        return read(embeddings.shape[1], rows // (1 + doubled))

    def _begin_unencoded(self) -> None:
        """Begin a run on the user's own `prompts` if the guided pipeline's call has not called `encode_prompt`."""
        begun = pipeline_call() is self.owner.caller and self.session.groups is not None
        if self.reader.prompts is not None and not self.heard and not begun:
            self.unencoded = self.owner.claim_unencoded() or self.unencoded

    # ---------------------------------------------------------------------------------------------- scheduler

    def hold_scheduler(self, pipe: Any) -> None:
        """Hook the scheduler of the pipeline that runs, which may be another than at the last call."""
        if pipe.scheduler is self.scheduler:
            return
        self.release_scheduler()
        self.scheduler = pipe.scheduler
        self.session.follow(self.scheduler)
        hooks = {"step": self.on_step, "scale_model_input": self.on_scaling, "set_timesteps": self.on_set_timesteps}
        for name, hooked in hooks.items():
            if hasattr(self.scheduler, name):
                replace_attribute(self.scheduler_hooks, self.scheduler, name, hooked(getattr(self.scheduler, name)))

    def release_scheduler(self) -> None:
        self.scheduler_hooks.close()
        self.scheduler = None

    def on_set_timesteps(self, set_timesteps: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(set_timesteps)
        def hooked(*args: Any, **kwargs: Any) -> Any:
            self._begin_unencoded()
            if self._is_own():  # a second loop on the same prompts, as at a larger size, is a run of its own
                self._begin()
            return set_timesteps(*args, **kwargs)

        return hooked

    def on_scaling(self, scale_model_input: Callable[..., Tensor]) -> Callable[..., Tensor]:
        @functools.wraps(scale_model_input)
        def hooked(sample: Tensor, *args: Any, **kwargs: Any) -> Tensor:
            if self.raw is None and self._is_own():  # ControlNet's guess mode scales twice a step
                self.raw = sample
            return scale_model_input(sample, *args, **kwargs)

        return hooked

    def on_step(self, step: Callable[..., Any]) -> Callable[..., Any]:
        signature = inspect.signature(step)

        @functools.wraps(step)
        def hooked(*args: Any, **kwargs: Any) -> Any:
            if not self._is_own():
                return step(*args, **kwargs)
            self.owner.check_denoiser()
            if self.session.corrected is not None:
                bound = signature.bind(*args, **kwargs)
                bound.arguments["sample"] = self.session.corrected_for(bound.arguments["sample"])
                args, kwargs = bound.args, bound.kwargs
            if self.session.velocity is not None:
                bound = signature.bind(*args, **kwargs)
                bound.arguments["model_output"] = self.session.velocity.corrected(bound.arguments["model_output"])
                args, kwargs = bound.args, bound.kwargs
            self.fresh, self.raw = True, None
            self.session.step_done()
            return step(*args, **kwargs)

        return hooked

    # ------------------------------------------------------------------------------------------------ denoiser

    def on_denoise(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]] | None:
        """The pre-hook: guide at the first denoiser call of a step; give later calls of the step the same latents."""
        session = self.session
        if session.evaluator.running and threading.get_ident() == self.owner.thread:
            return None
        self._begin_unencoded()
        self.owner.check_own(begun=not self.heard)
        if self.heard:
            self.owner.claim_first_call(self.scheduler)
        if getattr(self.owner.pipe, "do_perturbed_attention_guidance", False):
            raise ModelError("perturbed attention splits each batch in three, which guidance cannot follow; set pag_scale=0")
        call = self._call(args, kwargs)
        self.negative = not self.fresh and session.family.negatives == "apart" and call.copies == 1
        if not self.negative:
            call = session.edits.with_text(call, session.rows(call))
        if self.fresh:
            self.fresh, self.first = False, call
            with torch.inference_mode(False):  # whatever the user wrapped the pipeline in
                session.guide(call, self.raw)
        else:
            self._check_later_call(call)
        self.around.close()
        self.under_way = session.velocity if call is self.first else None
        if self.under_way is not None:
            return self._beside(self.under_way.enter(self.around), self.under_way.rows)
        around = session.edits.around_negative if self.negative else session.edits.around
        rows = session.rows(call)
        self.around.enter_context(around(rows))
        whole = session.with_corrected(call)
        return whole if self.negative else self._beside(whole, rows)

    def _beside(self, whole: tuple[tuple[Any, ...], dict[str, Any]], rows: BatchRows) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return the arguments of a call of the denoiser with the rows that an edit adds, which `on_denoised` leaves out."""
        more = self.session.edits.beside(self.session.read_call(*whole, None), rows) if self.session.edits else None
        self.without = None if more is None else whole
        return whole if more is None else more

    def _check_later_call(self, call: DenoiserCall) -> None:
        """Raise `ModelError` if a later call of a step has another timestep or other latents than the first."""
        first, session = self.first, self.session
        assert first is not None
        if session.done == 0 and call.time != first.time:  # checked once a run, since the device is waited for
            raise ModelError(
                f"the denoiser was called at timestep {first.time:g} and then at {call.time:g} with no step of the pipeline's "
                f"{type(self.scheduler).__name__} in between, so guidance cannot follow the loop; step that scheduler"
            )
        if (session.corrected is not None or session.edits) and not session.same_latents(call, first):
            raise ModelError(
                "the denoiser was called twice in a step, the second time on other latents, as self-attention guidance does; "
                "guidance cannot follow that: set sag_scale=0, or take a pipeline without it"
            )

    def on_denoised(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> Any:
        """The hook after the denoiser, of methods that change the prediction: by edits, or its velocity."""
        session = self.session
        if session.evaluator.running or not self._is_own():
            return None
        under_way, self.under_way = self.under_way, None
        without, self.without = self.without, None
        if without is not None and output is not None:
            args, kwargs = without
            output = _first_rows(output, len(arguments_of(args, kwargs, session.family)[session.family.sample]))
        if output is None or session.groups is None or self.negative:  # the denoiser failed, or ran on negative prompts
            self.around.close()
            return None
        if under_way is not None:
            call, prediction = under_way.call, under_way.leave(as_latents(output[0]))
            self.around.close()
            session.edits.show(under_way.rows)
        else:
            self.around.close()
            call, prediction = self._call(args, kwargs), as_latents(output[0])
            session.edits.show(session.rows(call))
        rows = session.rows(call)

        def denoise(embeddings: Tensor, images: Sequence[int]) -> Tensor:
            args, kwargs = call.with_embeddings(embeddings, images)
            return as_latents(session.evaluator.denoise(*args, **{**kwargs, "return_dict": False})[0])

        prediction = session.edits.after(prediction, rows, denoise)
        if not isinstance(output[0], Tensor):
            prediction = list(prediction.unsqueeze(2).unbind(0))
        if isinstance(output, tuple):
            return (prediction, *output[1:])
        output.sample = prediction
        return output

    def _call(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> DenoiserCall:
        session = self.session
        given = arguments_of(args, kwargs, session.family)
        rows, text = len(given[session.family.sample]), given[session.family.text]
        if self.heard:
            session.begin_call(self._prompts_of(as_tensor(text), rows))
        elif self.unencoded:
            text = as_tensor(text)
            session.begin_call(self.reader.read_rows(self.owner.pipe, session.family, rows, text, self.encode_prompt))
        self.unencoded = False
        if session.groups is None:
            raise PromptError("the denoiser ran before the pipeline read a prompt, so there is nothing to guide by")
        # later calls of a step may lack the unconditional rows, as for skipped layers; a loop of the user's own has no pipeline
        asks = self.fresh and session.family.negatives == "first" and self.owner.caller is not None
        doubled = getattr(self.owner.pipe, "do_classifier_free_guidance", None) if asks else None
        return session.read_call(args, kwargs, doubled)


def _first_rows(output: Any, rows: int) -> Any:
    """Return a denoiser's output without the predictions of the last rows."""
    if isinstance(output, tuple):
        return (output[0][:rows], *output[1:])
    output.sample = output.sample[:rows]
    return output
