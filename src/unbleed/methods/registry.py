"""Methods by name: the built-in ones, those that `register` adds, and those of other packages.

A package offers methods by entry points of the group `unbleed.methods`, in its pyproject.toml:

    [project.entry-points."unbleed.methods"]
    my-method = "my_package.my_module:MyMethod"

They are loaded when a method is first looked up, and so are known on the command line and in every worker of a benchmark.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Iterator, Mapping
from importlib.metadata import entry_points
from typing import TypeVar

from ..errors import MethodError, UnbleedWarning
from ..guidance.method import PaperMethod

GROUP = "unbleed.methods"
RESERVED = re.compile(r"all|best-of-\d+")  # the benchmark's own

Kind = TypeVar("Kind", bound=type[PaperMethod])


class Registry(Mapping[str, type[PaperMethod]]):
    """Classes of methods by their names."""

    def __init__(self, kinds: Iterable[type[PaperMethod]]) -> None:
        self._kinds = {kind.name: kind for kind in kinds}
        self._searched = False  # for entry points

    def __getitem__(self, name: str) -> type[PaperMethod]:
        return self._all()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._all())

    def __len__(self) -> int:
        return len(self._all())

    def add(self, kind: Kind) -> Kind:
        """See `register`."""
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

    def _all(self) -> dict[str, type[PaperMethod]]:
        if not self._searched:
            self._searched = True  # first: what is loaded may look up methods itself
            for point in entry_points(group=GROUP):
                try:
                    self.add(point.load())
                except Exception as error:  # another package's fault is not to take all methods away
                    package = point.dist.name if point.dist else "an unknown package"
                    reason = (str(error).splitlines() or [type(error).__name__])[0]
                    warnings.warn(
                        f'the method "{point.name}" of {package} cannot be loaded and is left out: {reason}',
                        UnbleedWarning,
                        stacklevel=3,
                    )
        return self._kinds
