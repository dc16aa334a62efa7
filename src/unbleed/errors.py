"""The errors and the warning of unbleed.

A message says what was seen, what was expected, and what to do, in that order.
"""

from __future__ import annotations

import unicodedata


class UnbleedError(Exception):
    """Base class of all errors that a user can cause and fix.

    >>> import unbleed
    >>> try:
    ...     unbleed.method("syngem")
    ... except unbleed.UnbleedError as error:
    ...     type(error).__name__
    'MethodError'
    """


class PromptError(UnbleedError):
    """A prompt, its entities or its regions cannot be used, or an option of sampling is out of range.

    >>> import unbleed
    >>> unbleed.parse("a red cat", ["dog"])
    Traceback (most recent call last):
        ...
    unbleed.errors.PromptError: "dog" is not a word of the prompt "a red cat"; name only words of the prompt
    """


class MethodError(UnbleedError):
    """A method, its name or one of its settings cannot be used.

    >>> import unbleed
    >>> unbleed.methods.SynGen(step_size="large")
    Traceback (most recent call last):
        ...
    unbleed.errors.MethodError: step_size of syngen is "large"; expected a number
    """


class ModelError(UnbleedError):
    """A model cannot be loaded, or cannot be guided.

    >>> import unbleed
    >>> unbleed.load("/no/such/folder")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
        ...
    unbleed.errors.ModelError: "/no/such/folder" cannot be loaded (...
    """


class CaptureError(UnbleedError):
    """No attention could be read from the denoiser, as with an attention processor of its own that computes the softmax itself.

    >>> import unbleed
    >>> issubclass(unbleed.CaptureError, unbleed.UnbleedError)
    True
    """


class OutputError(UnbleedError):
    """A file cannot be written or read, or a result was not recorded.

    >>> import unbleed
    >>> unbleed.Run(method="none").heat_map("cat")
    Traceback (most recent call last):
        ...
    unbleed.errors.OutputError: call -1; the pipeline was called 0 times inside the block
    """


class TrainingError(UnbleedError):
    """The embedded model, its oracle or the parser cannot be trained with the given files or settings.

    >>> import unbleed
    >>> issubclass(unbleed.TrainingError, unbleed.UnbleedError)
    True
    """


class BenchError(UnbleedError):
    """A benchmark cannot be run, scored or reported as asked.

    >>> from unbleed.bench.suites import suite
    >>> suite("no-such-suite")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
        ...
    unbleed.errors.BenchError: there is no suite "no-such-suite"; known: emoji-single, ...
    """


class RatingError(UnbleedError):
    """A rating study cannot be begun, served or reported as asked."""


class StudioError(UnbleedError):
    """A request to the studio is out of bounds, or the studio cannot be served as asked."""


class PrecisionError(UnbleedError):
    """A sampled image contains NaN or infinity, as can happen in float16.

    >>> import unbleed
    >>> issubclass(unbleed.PrecisionError, unbleed.UnbleedError)
    True
    """


class UnbleedWarning(UserWarning):
    """Something that does not stop a run but that the user should know, such as a prompt that runs unguided.

    >>> import unbleed
    >>> issubclass(unbleed.UnbleedWarning, UserWarning)
    True
    """


def printable(text: str) -> str:
    r"""Return a text on one line, with control characters and marks of writing direction escaped.

    >>> printable("a\x1b[31mred\ncat")
    'a\\x1b[31mred cat'
    """
    return "".join(
        ascii(letter)[1:-1] if unicodedata.category(letter) in ("Cc", "Cs") or letter in _DIRECTIONS else letter
        for letter in " ".join(text.split())
    )


_DIRECTIONS = "\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
