"""The command without its extra, and the start-up of the command line."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import PackageNotFoundError

import pytest

from unbleed import cli
from unbleed.errors import StudioError
from unbleed.studio import extra
from unbleed.studio.form import House
from unbleed.studio.serve import serving


@pytest.mark.parametrize(
    ("found", "says"), [(None, "the studio needs Gradio; install it"), ("5.50.0", "Gradio 5.50.0 is installed")]
)
def test_without_gradio_the_extra_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], found: str | None, says: str
) -> None:
    def version(name: str) -> str:
        if found is None:
            raise PackageNotFoundError(name)
        return found

    monkeypatch.setattr(extra, "version", version)
    assert cli.main(["studio"]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"unbleed: {says}")
    assert "unbleed[studio]" in said


def test_a_gradio_that_is_damaged_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "unbleed.studio.page", raising=False)
    monkeypatch.setitem(sys.modules, "gradio", None)  # its import fails
    with pytest.raises(StudioError, match=r'^Gradio cannot be imported .*"unbleed\[studio\]"$'), serving(House(), []):
        pass


def test_the_command_line_does_not_import_gradio() -> None:
    run = "import sys; from unbleed import cli; cli.main(['studio', '--help']); "
    code = run + "sys.exit('gradio' in sys.modules or 'torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode == 0
