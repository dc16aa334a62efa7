"""The embedded models: complete latent diffusion models of scenes made of emoji, small enough for a laptop's CPU."""

from pathlib import Path

from ..errors import ModelError

WEIGHTS = Path(__file__).parent / "weights"
"""The folder of the shipped UNet pipeline; any program that knows diffusers loads it."""
MMDIT_WEIGHTS = Path(__file__).parent / "mmdit_weights"
"""The folder of the joint-attention pipeline."""
EMBEDDED = {"emoji": WEIGHTS, "emoji-mmdit": MMDIT_WEIGHTS}
"""The embedded models by name."""


def folder_named(model: str | Path) -> Path:
    """Return the folder of an embedded model, else `model` itself as a path.

    >>> folder_named("emoji").name
    'weights'
    >>> folder_named("my/model")
    PosixPath('my/model')

    Raises `ModelError` for an embedded model whose weights this package does not hold.
    """
    folder = EMBEDDED.get(str(model))
    if folder is None:
        return Path(model)
    if not folder.is_dir():
        kind = str(model).removeprefix("emoji-")
        raise ModelError(
            f'this package holds no weights of "{model}"; train them with '
            f"`unbleed emoji train --model {kind} --out FOLDER` and name FOLDER"
        )
    return folder
