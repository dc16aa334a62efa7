"""The main functions: `guide` a pipeline, or `attach` guidance to it and `detach` it; `method` makes a method."""

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

    Args:
        pipe: A diffusers text-to-image, image-to-image, inpainting or ControlNet pipeline.
        method: A label, a method, a loss, the class of one of them, or a function `f(maps, groups) -> (image,)` of raw
            attention maps (image, token, height, width). The label `syngen` has the settings kept in the model's folder, else
            the paper's; `syngen@paper` has the paper's, `syngen:step_size=5` changes one.
        entities: The entities to use in place of the parser's: "red cat; blue bench", a list of such phrases, of `Entity`
            objects, or of token positions of nouns (3, or (2, 3) with a modifier's before it), or a list per prompt.
        parser: A spaCy pipeline or its name ("en_core_web_trf"), in place of the embedded parser.
        prompts: The prompts, for pipelines that are called with embeddings or encode without `encode_prompt`. Weights as compel
            and A1111 write them, "(red:1.2)" or "cat++", are removed.
        record_maps: Whether to keep the attention maps of every step in `run.maps`, at the cost of part of a forward per step.
        checkpointing: Whether to trade time for memory in the gradient.
        regions: Where entities go, for methods that take regions: `{"red cat": "left", "blue bench": (0.5, 0.2, 1.0, 1.0)}`, or
            one such mapping per prompt; see `unbleed.Region`.

    Returns:
        A context manager that gives a `Run` with the results. On leaving it, also by an exception, the pipeline is as before.

    Raises:
        MethodError: for a method or setting that cannot be used, here or at the call of the pipeline.
        ModelError: for a pipeline that cannot be guided.
        PromptError: for entities, regions or prompts that do not fit, at the call of the pipeline.
        CaptureError: if no attention can be read, at the call of the pipeline.
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
    """Guide every further call of a diffusers pipeline, until `detach`. For notebooks and servers.

    >>> import unbleed
    >>> pipe = unbleed.load("emoji")
    >>> run = unbleed.attach(pipe, "syngen")
    >>> image = pipe("a red cat and a blue bench", num_inference_steps=2).images[0]
    >>> unbleed.detach(pipe)
    >>> len(run.steps)
    1

    A method that was attached before is detached first, so that a notebook cell can run twice. Unlike in the `with` block of
    `guide`, calls may come from any thread, one at a time.

    Args:
        pipe: A diffusers pipeline.
        method: As in `guide`.
        options: The other arguments of `guide`, by name.

    Returns:
        The results of all calls until `detach`.

    Raises:
        UnbleedError: as `guide` does.
    """
    detach(pipe)
    attachment = Attachment(pipe, method_for(pipe, method), any_thread=True, **options)
    run = attachment.__enter__()
    pipe._unbleed_attached = attachment
    return run


def detach(pipe: Any) -> None:
    """Remove the guidance that `attach` added to a pipeline. A pipeline without guidance stays as it is.

    >>> import unbleed
    >>> pipe = unbleed.load("emoji")
    >>> run = unbleed.attach(pipe, "syngen")
    >>> unbleed.detach(pipe)
    >>> unbleed.detach(pipe)

    Args:
        pipe: A diffusers pipeline.
    """
    attachment: Attachment | None = vars(pipe).pop("_unbleed_attached", None)
    if attachment is not None:
        attachment.__exit__(None, None, None)


def method(label: str, *, model: Any = None, **settings: Any) -> BaseMethod:
    """Return the method of a label, with some settings changed.

    >>> method("syngen", step_size=5.0).settings()["step_size"]
    5.0
    >>> method("syngen", model="emoji").settings()["resolution"]
    16

    Args:
        label: Name of a method, with `@paper` or `:SETTING=VALUE` after it, or a sum such as "syngen + 0.5*overlap-iou".
        model: "emoji", a pipeline's folder or a pipeline, whose own settings for the method are taken, if it has some. None
            takes the paper's.
        settings: Settings by name. Those of a further method of a sum have its name before theirs:
            `**{"overlap-iou.floor": 1e-6}`.

    Raises:
        MethodError: for a name, a variant or a setting that does not exist.
    """
    if not isinstance(label, str):
        raise MethodError(f'{label!r} is not a label; expected a text such as "syngen"')
    source = model if model is None or isinstance(model, str | Path) else folder_of(model)
    return method_of(label, source, settings)
