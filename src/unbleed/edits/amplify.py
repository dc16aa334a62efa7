"""Text that counts for more: the text's hidden states are multiplied where they enter early joint blocks.

After "Unraveling MMDiT Blocks", arXiv 2601.02211: text states times 2 at selected early blocks of Stable Diffusion 3.5, FLUX
and Qwen-Image. Its code is not public and its choice of blocks is not known here, so which blocks is ours. Every model whose
joint blocks keep the text's states apart is edited in the same way. Z-Image, Krea 2, Lumina 2 and Qwen-Image 2.1 have one
sequence and are refused.

A joint block normalises the text states before its attention, so a factor does not change what that block reads. It changes the
weight of the states against what this block and later ones add to them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from ..errors import MethodError
from ..guidance.edit import ActiveEdit, BatchRows, CallContext, Edit
from ..settings import AtLeastOne, NotNegative, WholeNumber, setting

_TEXT = 1  # index of the text's states among a joint block's positional arguments


def amplified(states: Tensor, rows: slice, factor: float) -> Tensor:
    """Return hidden states of text (row, token, channel) with some rows multiplied.

    >>> import torch
    >>> amplified(torch.ones(2, 1, 1), slice(1, 2), 2.0).flatten()
    tensor([1., 2.])
    """
    changed = states.clone()
    changed[rows] = factor * states[rows]
    return changed


@dataclass(frozen=True)
class AmplifyEdit(Edit):
    """Multiply the text's hidden states where they enter some of the joint blocks.

    After arXiv 2601.02211.

    >>> from unbleed.edits import AmplifyEdit
    >>> AmplifyEdit().factor
    2.0
    """

    factor: NotNegative = setting(2.0, help="factor of the text's hidden states, at each of the blocks")
    first_block: WholeNumber = setting(0, help="the first joint block at which they are multiplied, counted from 0")
    blocks: AtLeastOne = setting(2, help="number of blocks at which they are multiplied")
    families = ("sd3", "flux", "flux2", "chroma", "qwen-image", "hunyuan-image")  # blocks that keep the text's states apart
    needs = "a prompt"

    def open(self, context: CallContext) -> ActiveEdit:
        stack: Any = context.denoiser.transformer_blocks
        last = self.first_block + self.blocks
        if last > len(stack):
            raise MethodError(
                f"amplify is to act on blocks {self.first_block} to {last - 1}, but this model has {len(stack)} joint blocks, "
                "counted from 0; choose others with first_block and blocks"
            )
        return _Amplified(list(stack[self.first_block : last]), self.factor)


class _Amplified(ActiveEdit):
    def __init__(self, modules: list[nn.Module], factor: float) -> None:
        self.modules, self.factor = modules, factor

    @contextmanager
    def around(self, rows: BatchRows) -> Iterator[None]:
        with ExitStack() as stack:
            for module in self.modules:
                stack.callback(module.register_forward_pre_hook(self._hook(rows.slice), with_kwargs=True).remove)
            yield

    def _hook(self, rows: slice) -> Callable[..., tuple[tuple[Any, ...], dict[str, Any]]]:
        def hook(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
            if "encoder_hidden_states" in kwargs:
                states = amplified(kwargs["encoder_hidden_states"], rows, self.factor)
                return args, {**kwargs, "encoder_hidden_states": states}
            return (*args[:_TEXT], amplified(args[_TEXT], rows, self.factor), *args[_TEXT + 1 :]), kwargs

        return hook
