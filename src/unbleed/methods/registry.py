"""Methods by name: the built-in ones, those that `register` adds, and those of other packages.

A package offers methods by entry points of the group `unbleed.methods`, in its pyproject.toml:

    [project.entry-points."unbleed.methods"]
    my-method = "my_package.my_module:MyMethod"

They are loaded when a method is first looked up, so they are known on the command line and in every worker of a benchmark.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Mapping
from importlib.metadata import entry_points
from typing import Any, TypeVar

from ..errors import MethodError, UnbleedWarning
from .base import PaperMethod

GROUP = "unbleed.methods"
RESERVED = re.compile(r"all|best-of-\d+")  # the benchmark's own

Kind = TypeVar("Kind", bound=type[PaperMethod])


class Registry(Mapping[str, type[PaperMethod]]):
    """Classes of methods by their names."""

    def __init__(self) -> None:
        self._kinds: dict[str, type[PaperMethod]] = {}
        self._searched = False  # for entry points

    def __getitem__(self, name: str) -> type[PaperMethod]:
        return self._all()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._all())

    def __len__(self) -> int:
        return len(self._all())

    def add(self, kind: Kind) -> Kind:
        """Add one class, see `register`."""
        if not (isinstance(kind, type) and issubclass(kind, PaperMethod)):
            raise MethodError(f"{kind!r} cannot be registered; expected a class that inherits from unbleed.PaperMethod")
        title = kind.__qualname__
        if "__dataclass_params__" not in vars(kind):
            raise MethodError(f"{title} is not a dataclass; write @dataclass(frozen=True, kw_only=True) below @register")
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", kind.name) or RESERVED.fullmatch(kind.name):
            raise MethodError(
                f'name of {title} is "{kind.name}"; expected letters, digits, - and _, as in name: ClassVar[str] = "my-method"'
            )
        known = self._kinds.get(kind.name, kind)
        if (known.__module__, known.__qualname__) != (kind.__module__, kind.__qualname__):
            raise MethodError(f'there is a method "{kind.name}" already, {known.__qualname__} of {known.__module__}')
        try:
            kind()
        except TypeError as error:
            raise MethodError(f"{title} cannot be made without settings ({error}); give each a default") from None
        self._kinds[kind.name] = kind
        return kind

    def remove(self, name: str) -> None:
        """Forget a method; raise `KeyError` for a name that is not known."""
        del self._kinds[name]

    def add_all(self, names: Mapping[str, Any]) -> None:
        """Add every class of a method with a name among the values of `names`, in that order."""
        for kind in list(names.values()):
            if isinstance(kind, type) and issubclass(kind, PaperMethod) and kind.name:
                self._kinds[kind.name] = kind

    def _all(self) -> dict[str, type[PaperMethod]]:
        if not self._searched:
            self._searched = True  # first, since what is loaded may look up methods itself
            for point in entry_points(group=GROUP):
                try:
                    self.add(point.load())
                except Exception as error:  # a fault of another package must not take all methods away
                    package = point.dist.name if point.dist else "an unknown package"
                    reason = (str(error).splitlines() or [type(error).__name__])[0]
                    warnings.warn(
                        f'the method "{point.name}" of {package} cannot be loaded and is left out: {reason}',
                        UnbleedWarning,
                        stacklevel=3,
                    )
        return self._kinds


METHODS = Registry()
"""Every method by its name: a mapping from names to classes, in the order of `unbleed methods`."""


def register(kind: Kind) -> Kind:
    """Make a method known by its name, and return its class. It is used as a decorator:

    >>> from dataclasses import dataclass
    >>> from typing import ClassVar
    >>> import unbleed
    >>> @unbleed.register
    ... @dataclass(frozen=True, kw_only=True)
    ... class Spread(unbleed.PaperMethod):
    ...     '''Spread the attention of every token.'''
    ...     name: ClassVar[str] = "spread"
    ...     step_size: float = unbleed.setting(20.0, "ours", help="step size of the update of the latents")
    ...     def _parts(self) -> unbleed.Method:
    ...         return unbleed.Method(lambda maps, groups: maps.amax(dim=(2, 3)).sum(dim=1), self.make(unbleed.Schedule))
    >>> unbleed.method("spread + 0.5*syngen", step_size=5.0).name
    'spread + 0.5*syngen'
    >>> unbleed.METHODS.remove("spread")

    Wherever a label is taken, so is the name. The same class may be registered again, as when a cell of a notebook is run
    twice. Methods of packages are found without a call, see `unbleed.methods.registry`.

    Args:
        kind: A frozen dataclass that inherits from `PaperMethod`, with a `name` and a default for every setting.

    Raises:
        MethodError: For anything else, and for a name that cannot be a label or belongs to another method.
    """
    return METHODS.add(kind)
