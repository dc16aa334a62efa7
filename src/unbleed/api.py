"""The calls that most users make: `guide` a pipeline, or `attach` guidance to it and `detach` it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .errors import MethodError
from .guidance.attach import Attachment
from .guidance.method import BaseMethod
from .guidance.named import Entities
from .guidance.run import Run
from .methods import DEFAULT_METHOD, MethodLike
from .model_settings import folder_of, method_for, method_of
from .regions.given import Given


def guide(
    pipe: Any,
    method: MethodLike = DEFAULT_METHOD,
    *,
    entities: Entities = None,
    parser: Any = None,
    prompts: Sequence[str] | None = None,
    record_maps: bool = False,
    checkpointing: bool = False,
    regions: Given = None,
) -> Attachment:
    """Guide every call of a diffusers pipeline inside the `with` block.

    >>> import unbleed
    >>> pipe = unbleed.load("emoji")
    >>> with unbleed.guide(pipe, "syngen") as run:
    ...     image = pipe("a red cat and a blue bench", num_inference_steps=10).images[0]
    >>> [str(entity) for entity in run.entities[0]]
    ['red cat', 'blue bench']

    `method` is a label (`syngen`, with the settings kept in the model's folder, else the paper's; `syngen@paper`;
    `syngen:step_size=5`), a method object with settings of one's own, a loss, the class of one of them, or a function
    `f(maps, groups) -> (batch,)` of raw attention maps (batch, token, height, width).

    `entities` overrules the parser: "red cat; blue bench", a list of such phrases, of `Entity` objects, of positions of the
    nouns' tokens (3, or (2, 3) with a modifier's before it), or a list per prompt. `parser`, a spaCy pipeline or its name
    ("en_core_web_trf"), takes the place of the embedded one. `prompts` gives the words when the pipeline is called with
    embeddings, or encodes its prompts without `encode_prompt`; weights as compel and A1111 write them, "(red:1.2)", "cat++",
    are left out of them.

    `record_maps` keeps the attention of every step in `run.maps`, at the price of one more part of a forward per step.
    `checkpointing` trades time for memory in the gradient. `regions` gives entities their places, for methods that
    have regions: `{"red cat": "left", "blue bench": (0.5, 0.2, 1.0, 1.0)}`, or one such table per prompt, see
    `unbleed.Region`.

    On leaving the block, also by an exception, the pipeline is as it was. Raises `MethodError`, `ModelError`,
    `PromptError` or `CaptureError` when something cannot work.
    """
    return Attachment(
        pipe,
        method_for(pipe, method),
        entities=entities,
        parser=parser,
        prompts=prompts,
        record_maps=record_maps,
        checkpointing=checkpointing,
        regions=regions,
    )


def attach(pipe: Any, method: MethodLike, **options: Any) -> Run:
    """Guide every further call of a diffusers pipeline, until `detach`: for notebooks and servers, without a `with` block.

    >>> import unbleed
    >>> pipe = unbleed.load("emoji")
    >>> run = unbleed.attach(pipe, "syngen")
    >>> image = pipe("a red cat and a blue bench", num_inference_steps=2).images[0]
    >>> unbleed.detach(pipe)
    >>> len(run.steps)
    1

    Arguments and errors are those of `guide`. What was attached to the pipeline before is detached first, so that a cell of a
    notebook can be run twice. Unlike in the `with` block of `guide`, the calls may come from any thread, one at a time.
    """
    detach(pipe)
    attachment = Attachment(pipe, method_for(pipe, method), any_thread=True, **options)
    run = attachment.__enter__()
    pipe._unbleed_attached = attachment
    return run


def detach(pipe: Any) -> None:
    """Make a pipeline as it was before `attach`. Nothing happens to a pipeline that nothing is attached to."""
    attachment: Attachment | None = vars(pipe).pop("_unbleed_attached", None)
    if attachment is not None:
        attachment.__exit__(None, None, None)


def method(label: str, *, model: Any = None, **settings: Any) -> BaseMethod:
    """Return the method that a label means, with some settings changed.

    >>> method("syngen", step_size=5.0).settings()["step_size"]
    5.0
    >>> method("syngen", model="emoji").settings()["resolution"]
    16

    Without `model`, settings are the paper's; with "emoji", a pipeline's folder or a pipeline, those that suit it, where it has
    some. A setting of a further method of a sum has its name before it: `**{"overlap-iou.floor": 1e-6}`.

    Raises `MethodError` for a name, a variant or a setting that does not exist.
    """
    if not isinstance(label, str):
        raise MethodError(f'{label!r} is not a label; expected a text such as "syngen"')
    source = model if model is None or isinstance(model, str | Path) else folder_of(model)
    return method_of(label, source, settings)
