"""How guidance attaches to a diffusers pipeline, and how it lets go.

In every loop of diffusers a step is: [scheduler.scale_model_input], the denoiser once or more, scheduler.step. A pre-hook
on the denoiser sees the exact call; at the first call of a step it runs the guidance and hands on the corrected latents,
and a shim on scheduler.step gives the same latents to the scheduler. Nothing else of the pipeline is touched, and leaving
the `with` block, by whatever way, undoes all of it.
"""

from __future__ import annotations

import functools
import inspect
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ContextDecorator, ExitStack, contextmanager
from types import FrameType
from typing import Any

import torch
from torch import Tensor, nn

from ..attention.families import called_denoiser_of, denoiser_of
from ..errors import ModelError, PromptError
from ..regions.given import Given
from .call import DenoiserCall
from .callers import pipeline_call, pipeline_of, running
from .checks import refuse_guided, refuse_pipelines, warn_of_what_is_slow
from .compiled import hook_calls
from .method import BaseMethod
from .named import Entities
from .patching import replace_attribute
from .prompts import Read, Reader, Reading, encoding
from .run import Run
from .session import Session


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
            f"{type(pipe).__name__} has no encode_prompt, so its prompts cannot be read; say guide(..., prompts=[...]); "
            "modular pipelines take a block, see unbleed.modular.add_guidance"
        )
    refuse_pipelines(pipe)
    with ExitStack() as undo:
        _claim(undo, pipe, denoiser)
        session = Session(pipe, denoiser, method, run, record_maps, regions)
        warn_of_what_is_slow(called, denoiser, session.method, checkpointing)
        reader = Reader(entities, parser, prompts, regions)
        hooks = _Hooks(session, reader, called, None if any_thread else threading.get_ident())
        undo.callback(hooks.close)
        hooks.hold_scheduler(pipe)
        if callable(encode_prompt):
            watched = reader.watched(pipe, hooks.in_own_thread(encode_prompt), session.family, hooks.hear)
            replace_attribute(undo, pipe, "encode_prompt", watched)
        hook_calls(undo, called, hooks.on_denoise, hooks.on_denoised if session.method.edits else None)
        hooks.compiled = called._compiled_call_impl
        if checkpointing and not denoiser.is_gradient_checkpointing:
            denoiser.enable_gradient_checkpointing()
            undo.callback(denoiser.disable_gradient_checkpointing)
        yield run


_CLAIMING = threading.Lock()


def _claim(undo: ExitStack, pipe: Any, denoiser: nn.Module) -> None:
    """Mark pipeline and denoiser as guided; raise `ModelError` where one of them is already, perhaps in another thread."""
    with _CLAIMING:
        refuse_guided(pipe, denoiser)
        for owner in (pipe, denoiser):
            replace_attribute(undo, owner, "_unbleed_guided", True)


class _Hooks:
    """Hooks on encode_prompt, the scheduler and the denoiser.

    A run belongs to the pipeline's call in which the prompts were encoded. That is the guided pipeline's own, or another's that
    encodes through the guided one; without any it is a loop of the user's own.
    """

    def __init__(self, session: Session, reader: Reader, called: nn.Module, thread: int | None) -> None:
        """`thread` is the one whose calls are guided, None for any."""
        self.session, self.reader, self.called = session, reader, called
        self.own_thread, self.thread = thread, thread  # the second is that of the run
        self.pipe = session.pipe  # whose call is running
        self.caller: FrameType | None = None  # that call; it is held, with its locals, until the next one or the end
        self.scheduler: Any = None
        self.scheduler_shims = ExitStack()
        self.around = ExitStack()  # what edits hold open while the denoiser runs
        self.compiled: Any = None  # what runs in place of the denoiser's call, where it was compiled in place
        # how to read prompts, and their embeddings, since the denoiser ran last
        self.heard: list[tuple[Read, Tensor]] = []
        self.encode_prompt = getattr(self.pipe, "encode_prompt", None)  # before it was watched
        self.begun = False  # a run on the user's own prompts begins with the next call of the denoiser
        self._begin()

    def close(self) -> None:
        self.around.close()
        self.release_scheduler()
        self.caller = None

    def _begin(self) -> None:
        self.session.begin()
        self.fresh = True  # the next denoiser call is the first of its step
        self.first: DenoiserCall | None = None  # that of this step
        self.raw: Tensor | None = None  # the latents before the scheduler scaled them
        self.negative = False  # this call of the denoiser is on negative prompts

    def hear(self, read: Read, embeddings: Tensor) -> None:
        """Take note of prompts that the pipeline encodes; FLUX and Qwen-Image encode negative ones in the same way."""
        self.thread = threading.get_ident()
        caller = pipeline_call()
        if caller is not self.caller:
            self.heard = []  # those of a call that failed before it ran the denoiser
        self.caller = caller
        self.pipe = self.session.pipe if caller is None else pipeline_of(caller)
        self._refuse_another_denoiser()
        self.hold_scheduler(self.pipe)
        self._begin()
        self.heard.append((read, embeddings))

    def _reading_of(self, embeddings: Tensor) -> Reading:
        """Return, of the prompts that were encoded, those that the denoiser now gets."""
        (read, _), *more = self.heard
        if more:
            fitting = [one for one, own in self.heard if torch.equal(own.to(embeddings), embeddings[-len(own) :])]
            read = fitting[0] if fitting else read
        self.heard = []
        return read(embeddings.shape[1])

    def _reading_of_prompts(self, embeddings: Tensor, rows: int) -> Reading:
        """Return the user's own prompts, for a pipeline that encodes them without `encode_prompt`."""
        pipe, prompts = self.pipe, self.reader.prompts
        assert prompts is not None
        count = 1 if isinstance(prompts, str) else len(prompts)
        doubled = getattr(pipe, "do_classifier_free_guidance", None)
        if doubled is None or self.session.family.packed:  # a prompt per image, then
            doubled = rows == 2 * count and not self.session.family.packed
        images, rest = divmod(rows, count * (1 + doubled))
        if rest or not images:
            raise PromptError(
                f"the denoiser was called with {rows} rows, but guide with {count} prompts; name a prompt for each image"
            )
        encode = encoding(pipe, self.encode_prompt, {"device": embeddings.device})
        given = {"num_images_per_prompt": images}
        return self.reader.read(pipe, self.session.family, given, embeddings.shape[1], encode)

    # ----------------------------------------------------------------------------------------------- whose call

    def in_own_thread(self, encode_prompt: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(encode_prompt)
        def encode(*args: Any, **kwargs: Any) -> Any:
            self._refuse_another_thread(self.own_thread)
            return encode_prompt(*args, **kwargs)

        return encode

    def _refuse_another_thread(self, thread: int | None) -> None:
        if thread not in (None, threading.get_ident()):
            raise ModelError(
                "this pipeline, or another one with the same denoiser, is being guided in another thread, and this call would "
                "be guided too; wait until that is over, or give each thread a pipeline of its own"
            )

    def _refuse_another_denoiser(self) -> None:
        if called_denoiser_of(self.pipe) is not self.called:
            raise ModelError(
                f"the {type(self.pipe).__name__} has another denoiser than the one that is guided; where it was replaced, "
                "leave the `with` block, and enter it with the new one"
            )
        if self.called._compiled_call_impl is not self.compiled:
            raise ModelError(
                "the denoiser was compiled inside the `with` block, and the guidance's hooks with it; compile it before "
                "unbleed.guide"
            )

    def _is_own(self) -> bool:
        """Whether what runs now belongs to the run whose prompts were read."""
        if threading.get_ident() != self.thread:
            return False
        if self.heard:  # its first call of the denoiser may come from a pipeline further in
            return self.caller is None or self.caller in running()
        return pipeline_call() is self.caller

    def _begin_by_prompts(self) -> None:
        """Take the guided pipeline's call for a run on the user's own `prompts` where it has not called `encode_prompt`."""
        call = pipeline_call()
        if self.reader.prompts is None or self.heard or (call is self.caller and self.session.groups is not None):
            return
        if (call is None or pipeline_of(call) is self.session.pipe) and self.own_thread in (None, threading.get_ident()):
            self.caller, self.pipe, self.thread, self.begun = call, self.session.pipe, threading.get_ident(), True

    def _refuse_strangers(self) -> None:
        """Raise an error where the denoiser runs for another pipeline than the one whose prompts were read."""
        self._begin_by_prompts()
        self._refuse_another_thread(self.thread)
        call = pipeline_call()
        pipe = self.session.pipe if call is None else pipeline_of(call)
        if not self._is_own():
            if pipe is self.session.pipe:
                raise PromptError(
                    f"the {type(pipe).__name__} ran its denoiser without a call of its encode_prompt, so there are no words to "
                    "guide by; say guide(..., prompts=[...]), or call encode_prompt first"
                )
            raise ModelError(
                f"a {type(pipe).__name__} ran the denoiser of the {type(self.session.pipe).__name__} that is being guided, and "
                "its own prompt was not read; call it outside the `with` block, or guide it in a block of its own"
            )
        if self.heard:
            self.caller, self.pipe = call, pipe
            if getattr(pipe, "scheduler", None) is not self.scheduler:
                raise ModelError(
                    f"the {type(pipe).__name__} has another scheduler than the pipeline whose encode_prompt it called; give it "
                    "that one, or guide it in a block of its own"
                )

    # ---------------------------------------------------------------------------------------------- scheduler

    def hold_scheduler(self, pipe: Any) -> None:
        """Put the shims on the scheduler of the pipeline that runs, which may be another than at the last call."""
        if pipe.scheduler is self.scheduler:
            return
        self.release_scheduler()
        self.scheduler = self.session.scheduler = pipe.scheduler
        scale = getattr(self.scheduler, "scale_model_input", lambda sample, _: sample)
        self.session.scale = scale
        shims = {"step": self.watch_step, "scale_model_input": self.watch_scaling, "set_timesteps": self.watch_beginning}
        for name, watch in shims.items():
            if hasattr(self.scheduler, name):
                replace_attribute(self.scheduler_shims, self.scheduler, name, watch(getattr(self.scheduler, name)))

    def release_scheduler(self) -> None:
        self.scheduler_shims.close()
        self.scheduler = None

    def watch_beginning(self, set_timesteps: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(set_timesteps)
        def watched(*args: Any, **kwargs: Any) -> Any:
            self._begin_by_prompts()
            if self._is_own():  # a second loop on the same prompts, as at a larger size, is a run of its own
                self._begin()
            return set_timesteps(*args, **kwargs)

        return watched

    def watch_scaling(self, scale_model_input: Callable[..., Tensor]) -> Callable[..., Tensor]:
        @functools.wraps(scale_model_input)
        def watched(sample: Tensor, *args: Any, **kwargs: Any) -> Tensor:
            if self.raw is None and self._is_own():  # ControlNet's guess mode scales twice a step
                self.raw = sample
            return scale_model_input(sample, *args, **kwargs)

        return watched

    def watch_step(self, step: Callable[..., Any]) -> Callable[..., Any]:
        signature = inspect.signature(step)

        @functools.wraps(step)
        def watched(*args: Any, **kwargs: Any) -> Any:
            if not self._is_own():
                return step(*args, **kwargs)
            self._refuse_another_denoiser()
            session = self.session
            if session.corrected is not None:
                bound = signature.bind(*args, **kwargs)
                sample = bound.arguments["sample"]
                session.refuse_other_latents(sample)
                bound.arguments["sample"] = session.corrected.to(sample.dtype)
                args, kwargs = bound.args, bound.kwargs
            self.fresh, self.raw, session.corrected = True, None, None
            session.done += 1
            return step(*args, **kwargs)

        return watched

    # ------------------------------------------------------------------------------------------------ denoiser

    def on_denoise(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]] | None:
        """The pre-hook: guide at the first denoiser call of a step; give later calls of the step the same latents."""
        session = self.session
        if session.evaluating and threading.get_ident() == self.thread:
            return None
        self._refuse_strangers()
        if getattr(self.pipe, "do_perturbed_attention_guidance", False):
            raise ModelError("perturbed attention splits each batch in three, which guidance cannot follow; set pag_scale=0")
        call = self._call(args, kwargs)
        self.negative = not self.fresh and session.family.packed and call.copies == 1
        if not self.negative:
            call = session.with_own_text(call)
        if self.fresh:
            self.fresh, self.first = False, call
            with torch.inference_mode(False):  # whatever the user wrapped the pipeline in
                session.guide(call, self.raw)
        else:
            self._refuse_other_calls(call)
        self.around.close()
        around = session.negative if self.negative else session.edited
        self.around.enter_context(around(session.rows(call)))
        if session.corrected is None:
            return None if call.args is args and call.kwargs is kwargs else (call.args, call.kwargs)
        return call.with_latents(session.scale(session.corrected, call.timestep))

    def _refuse_other_calls(self, call: DenoiserCall) -> None:
        """Raise `ModelError` where a later call of a step is not on the timestep and the latents of the first."""
        first, session = self.first, self.session
        assert first is not None
        if session.done == 0 and call.time != first.time:  # asked once a run, since the device is waited for
            raise ModelError(
                f"the denoiser was called at timestep {first.time:g} and then at {call.time:g} with no step of the pipeline's "
                f"{type(self.scheduler).__name__} in between, so guidance cannot follow the loop; step that scheduler"
            )
        if (session.corrected is not None or session.opened) and not session.on_same_latents(call, first):
            raise ModelError(
                "the denoiser was called twice in a step, the second time on other latents, as self-attention guidance does; "
                "guidance cannot follow that: set sag_scale=0, or take a pipeline without it"
            )

    def on_denoised(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> Any:
        """The hook after the denoiser, of methods that edit: let the edits change what was predicted."""
        session = self.session
        if session.evaluating or not self._is_own():
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
        text = kwargs["encoder_hidden_states"] if "encoder_hidden_states" in kwargs else args[2]
        if self.heard:
            session.begin_call(self._reading_of(text))
        elif self.begun:
            rows = len(args[0] if args else kwargs[session.family.sample])
            session.begin_call(self._reading_of_prompts(text, rows))
        self.begun = False
        if session.groups is None:
            raise PromptError("the denoiser ran before the pipeline read a prompt, so there is nothing to guide by")
        # later calls of a step may be on the prompts alone, as for skipped layers; a loop of one's own asks no pipeline
        told = self.fresh and not session.family.packed and self.caller is not None
        doubled = getattr(self.pipe, "do_classifier_free_guidance", None) if told else None
        return DenoiserCall(args, kwargs, session.groups.images, doubled, session.family.sample)
