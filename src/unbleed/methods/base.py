"""Base classes of the methods: a frozen dataclass holds the settings and makes a `Method` from them."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar, TypeVar

from ..attention.family import Part
from ..guidance.method import BaseMethod, Method, Parameter, Parity, parameter, plain
from ..guidance.update import Descent, Direction, Target
from ..losses.base import RenormalisingLoss
from ..losses.maps import Kept
from ..settings import AtLeastOne, Documented, NotNegative, Positive, check_settings, setting

Made = TypeVar("Made")


@dataclass(frozen=True, kw_only=True)
class PaperMethod(Documented, BaseMethod):
    """Base of every method with a name: a frozen dataclass whose fields are the settings of a paper.

    A subclass sets `name`, declares its settings, and makes its parts from them in `_parts`:

    >>> from dataclasses import dataclass
    >>> from typing import ClassVar
    >>> from unbleed import Method, PaperMethod, Schedule, setting
    >>> from unbleed.losses import BindingLoss
    >>> @dataclass(frozen=True, kw_only=True)
    ... class Bind(PaperMethod):
    ...     '''Bind modifiers to their nouns.'''
    ...     name: ClassVar[str] = "bind"
    ...     step_size: float = setting(10.0, "ours", help="step size of the update of the latents")
    ...     stop: float = setting(0.3, "ours", help="fraction of the run that is guided")
    ...     def _parts(self) -> Method:
    ...         return Method(self.make(BindingLoss), self.make(Schedule))
    >>> Bind(step_size=5.0).parts().schedule
    Schedule(start=0.0, stop=0.3, step_size=5.0, final_scale=1.0, refine={})

    Class variables: `name` (letters, digits, - and _), `paper` (authors, venue, year, arXiv number), `year`, and
    `reconstruction`, which is True where the paper gives no formula.

    Raises `MethodError` where a setting does not fit its annotation.
    """

    name: ClassVar[str] = ""  # pyright: ignore[reportIncompatibleVariableOverride]
    paper: ClassVar[str] = ""
    year: ClassVar[int] = 0
    reconstruction: ClassVar[bool] = False

    parity: Parity = setting(
        "ours",
        "the deviations are listed on the method's page",
        help='"paper" repeats the authors\' code where ours departs from it: calls of the denoiser are counted, not noise '
        "levels, and latents are not scaled for the guidance",
    )
    resolution: AtLeastOne | None = setting(
        None,
        "the layers that the papers read on this kind of model",
        help="attention layers to read, by the side of their grid at the model's own image size; none for the family's default",
    )
    layers: Part = setting(
        "all", "all layers of that resolution, as in the papers", help="part of the denoiser to read: all, down, mid or up"
    )
    direction: Direction = setting(
        "plain", "the plain gradient, as in the papers", help='"unit" divides the gradient of an image by its root mean square'
    )
    limit: Positive | None = setting(
        None,
        "no limit, as in the papers",
        help="largest root mean square of one update, in units of the latents as the denoiser gets them, or of the velocity",
    )
    enough: float | None = setting(
        None,
        "guided to the end whatever the loss, as in the papers",
        help="loss at which an image is left alone for the rest of the run",
    )

    update: Target = setting(
        "latents",
        "the latents, as in all papers but FOCUS",
        help='"velocity" corrects the velocity of a flow model from the pipeline\'s own forward, as FOCUS does; a step size '
        "is then a factor of its weight, which is 1 halfway and 2,000 at the first step",
    )

    def __post_init__(self) -> None:
        """Check every setting when it is given, not in the middle of a run."""
        check_settings(self, self.name)
        _ = self.parts()  # the parts check their own values

    @abstractmethod
    def _parts(self) -> Method:
        """Return the parts that follow from the method's own settings; `parts` adds those that all methods share."""

    def make(self, kind: type[Made], /, **changes: Any) -> Made:
        """Return an object of the dataclass `kind` with this method's settings of the same names, then `changes`."""
        own = {f.name for f in fields(self)}
        shared = {f.name: getattr(self, f.name) for f in fields(kind) if f.name in own}  # type: ignore[arg-type]
        return kind(**{**shared, **changes})

    def parts(self) -> Method:
        return replace(
            self._parts(),
            descent=Descent(self.direction, self.limit, self.enough, self.update),
            parity=self.parity,
            resolution=self.resolution,
            layers=self.layers,
            name=self.name,
        )

    def settings(self) -> dict[str, Any]:
        return {f.name: plain(getattr(self, f.name)) for f in fields(self)}

    def describe(self) -> list[Parameter]:
        return [parameter(self, f) for f in fields(self)]


@dataclass(frozen=True, kw_only=True)
class RenormalisingMethod(PaperMethod):
    """Base of the methods that read the maps as Attend-and-Excite does: a softmax over tokens, then smoothing."""

    sigma: NotNegative = setting(
        RenormalisingLoss.sigma,
        "code of Attend-and-Excite: a nominal width, the true deviation is sqrt(2) times it",
        help="width of the 3x3 smoothing of the maps, in pixels; 0 for none",
    )
    temperature: Positive = setting(
        RenormalisingLoss.temperature,
        "code of Attend-and-Excite",
        help="factor of the maps in the softmax over tokens; take less where one token has much attention everywhere",
    )
    kept: Kept = setting(
        RenormalisingLoss.kept,
        "code of Attend-and-Excite, as SD 1 and SD 2 pad",
        help='tokens in the softmax: "padding" all but first and last, "words" the prompt\'s own, "auto" by the tokenizer',
    )
