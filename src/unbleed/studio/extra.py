"""The extra `studio`: Gradio, which is imported only when the studio is served."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

from ..errors import StudioError


def require_gradio() -> None:
    """Raise `StudioError` where Gradio 6 is not installed."""
    try:
        found = version("gradio")
    except PackageNotFoundError:
        raise StudioError('the studio needs Gradio; install it: pip install "unbleed[studio]"') from None
    if int(found.partition(".")[0]) < 6:
        raise StudioError(f'Gradio {found} is installed; the studio needs 6: pip install --upgrade "unbleed[studio]"')
