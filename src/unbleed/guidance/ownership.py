"""Which pipeline call and which thread a guided run belongs to.

A run belongs to the pipeline call in which its prompts were encoded. That is the guided pipeline's own, or another's that
encodes through the guided one; without any it is a loop of the user's own.
"""

from __future__ import annotations

import threading
from types import FrameType
from typing import Any

from torch import nn

from ..attention.families import called_denoiser_of
from ..errors import ModelError, PromptError
from .callers import pipeline_call, pipeline_of, running


class Ownership:
    """Tracks the pipeline call and the thread of the present run, and refuses calls that do not belong to it.

    `guided` is the pipeline that guidance is attached to, `called` its denoiser as it calls it, and `thread` the thread whose
    calls are guided, None for any.
    """

    def __init__(self, guided: Any, called: nn.Module, thread: int | None) -> None:
        self.guided, self.called = guided, called
        self.own_thread, self.thread = thread, thread  # `thread` is that of the run
        self.pipe = guided  # the pipeline of the run
        self.caller: FrameType | None = None  # its call; the frame is kept, with its locals, until the next call or the end
        self.compiled: Any = None  # what `called.compile()` made of its forward

    def close(self) -> None:
        self.caller = None

    def claim_encoding(self) -> bool:
        """Assign the run to the pipeline call that encodes prompts now; return whether that is another call than before."""
        self.thread = threading.get_ident()
        caller = pipeline_call()
        another = caller is not self.caller
        self.caller = caller
        self.pipe = self.guided if caller is None else pipeline_of(caller)
        self.check_denoiser()
        return another

    def claim_unencoded(self) -> bool:
        """Assign the run to the present call of the guided pipeline, if there is one; return whether it was assigned.

        For pipelines that encode without `encode_prompt`.
        """
        call = pipeline_call()
        if not ((call is None or pipeline_of(call) is self.guided) and self.own_thread in (None, threading.get_ident())):
            return False
        self.caller, self.pipe, self.thread = call, self.guided, threading.get_ident()
        return True

    def claim_first_call(self, scheduler: Any) -> None:
        """Assign the run to the pipeline that runs the denoiser first, which may be called by the one that encoded."""
        call = pipeline_call()
        self.caller, self.pipe = call, self.guided if call is None else pipeline_of(call)
        if getattr(self.pipe, "scheduler", None) is not scheduler:
            raise ModelError(
                f"the {type(self.pipe).__name__} has another scheduler than the pipeline whose encode_prompt it called; give "
                "it that one, or guide it in a block of its own"
            )

    def is_own(self, *, begun: bool) -> bool:
        """Return whether the code that runs now belongs to the run; `begun`: its denoiser has run."""
        if threading.get_ident() != self.thread:
            return False
        if not begun:  # the first call of the denoiser may come from a pipeline further in
            return self.caller is None or self.caller in running()
        return pipeline_call() is self.caller

    def check_thread(self, thread: int | None) -> None:
        """Raise `ModelError` if the present thread is not `thread`."""
        if thread not in (None, threading.get_ident()):
            raise ModelError(
                "this pipeline, or another one with the same denoiser, is being guided in another thread, and this call would "
                "be guided too; wait until that is over, or give each thread a pipeline of its own"
            )

    def check_denoiser(self) -> None:
        """Raise `ModelError` if the pipeline's denoiser was replaced or compiled since guidance was attached."""
        if called_denoiser_of(self.pipe) is not self.called:
            raise ModelError(
                f"the {type(self.pipe).__name__} has another denoiser than the one that is guided; if it was replaced, "
                "leave the `with` block, and enter it with the new one"
            )
        if self.called._compiled_call_impl is not self.compiled:
            raise ModelError(
                "the denoiser was compiled inside the `with` block, and the guidance's hooks with it; compile it before "
                "unbleed.guide"
            )

    def check_own(self, *, begun: bool) -> None:
        """Raise an error if the denoiser runs for another pipeline than the one whose prompts were read."""
        self.check_thread(self.thread)
        if self.is_own(begun=begun):
            return
        call = pipeline_call()
        pipe = self.guided if call is None else pipeline_of(call)
        if pipe is self.guided:
            raise PromptError(
                f"the {type(pipe).__name__} ran its denoiser without a call of its encode_prompt, so there are no words to "
                "guide by; use guide(..., prompts=[...]), or call encode_prompt first"
            )
        raise ModelError(
            f"a {type(pipe).__name__} ran the denoiser of the {type(self.guided).__name__} that is being guided, and "
            "its own prompt was not read; call it outside the `with` block, or guide it in a block of its own"
        )
