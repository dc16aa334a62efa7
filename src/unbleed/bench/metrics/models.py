"""Pretrained models used by metrics: loaded on first use, identified by fingerprint.

Only safetensors are read. A checkpoint that leaves weights unset is refused, because its output would be noise.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import torch
from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from ...errors import BenchError
from ..extras import install_command
from ..plan import fingerprints


class Published(NamedTuple):
    """Facts about a model of the hub."""

    licence: str
    revision: str = "main"
    """A commit with safetensors, or main. Only for main does transformers use the hub's own conversion of pickles. The commit
    that main stood for is in the fingerprint."""


PUBLISHED = {
    "openai/clip-vit-base-patch16": Published("MIT"),  # 57c21647 has only pickles
    "openai/clip-vit-base-patch32": Published("MIT"),  # 3d74acf9 has only pickles
    "openai/clip-vit-large-patch14": Published("MIT", "32bd64288804d66eefd0ccbe215aa642df71cc41"),
    "openai/clip-vit-large-patch14-336": Published("MIT"),
    "laion/CLIP-ViT-H-14-laion2B-s32B-b79K": Published("MIT"),
    "Salesforce/blip-image-captioning-base": Published("BSD-3-Clause"),
    "Salesforce/blip-vqa-base": Published("BSD-3-Clause"),
    "Salesforce/blip-vqa-capfilt-large": Published("BSD-3-Clause"),
    "dandelin/vilt-b32-finetuned-vqa": Published("Apache-2.0"),
    "Qwen/Qwen2.5-VL-7B-Instruct": Published("Apache-2.0"),
    "Qwen/Qwen3-VL-8B-Instruct": Published("Apache-2.0"),
    "facebook/mask2former-swin-small-coco-instance": Published('"other" on the hub; its code is MIT'),
    "google-bert/bert-base-uncased": Published("Apache-2.0"),
    "yuvalkirstain/PickScore_v1": Published("MIT, as its code"),
}

_READ = (".safetensors", ".json", ".txt", ".jinja", ".model")
"""Suffixes of the files that a folder's model depends on: weights, configs, vocabularies, chat templates."""


@dataclass(frozen=True)
class Pretrained:
    """A network of transformers with its tokenizer and image processor, from a hub id or a folder in the same layout."""

    model: str
    kind: str  # class name in transformers
    revision: str | None = None  # of a hub id; None means that of PUBLISHED, else main
    device: str = "cpu"
    dtype: str = "float32"
    reader: str | None = None  # hub id or folder of its tokenizer and image processor, if not `model`

    @property
    def _where(self) -> dict[str, Any]:
        if os.path.isdir(self.model):
            return {}
        known = PUBLISHED.get(self.model)
        return {"revision": self.revision or (known.revision if known else "main")}

    def _load(self, kind: str, **how: Any) -> Any:
        """Return `from_pretrained` of a class of transformers; raise a one-line `BenchError` if it fails."""
        import transformers
        from huggingface_hub.errors import HfHubHTTPError

        try:
            return getattr(transformers, kind).from_pretrained(self.model, **self._where, **how)
        except ImportError as error:
            raise BenchError(
                f'"{self.model}" needs a package that is not installed ({_first_line(error)}): {install_command("metrics")}'
            ) from error
        except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError, HfHubHTTPError) as error:
            raise BenchError(self._missing(error)) from error

    def _missing(self, error: Exception) -> str:
        reason = f'"{self.model}" cannot be loaded ({_first_line(error)}); '
        if os.path.isdir(self.model):
            return reason + f"expected a folder written by {self.kind}.save_pretrained, with model.safetensors"
        return reason + (
            f"run `hf download {self.model}` with a network connection, or name a folder with its safetensors"
            f" ({self.kind}.from_pretrained(...).save_pretrained(FOLDER) writes one)"
        )

    @cached_property
    def network(self) -> Any:
        """The network in evaluation mode; raises `BenchError` if it cannot be loaded or lacks weights."""
        network, found = self._load(
            self.kind, dtype=dtype_of(self.dtype), use_safetensors=True, trust_remote_code=False, output_loading_info=True
        )
        if missing := sorted(found["missing_keys"]):
            raise BenchError(
                f'"{self.model}" has no weights for {len(missing)} tensors of {self.kind}, such as {missing[0]}; '
                "name a model of that class"
            )
        return to_device(network.eval().requires_grad_(False), self.device)

    @cached_property
    def config(self) -> Any:
        return self._load("AutoConfig")

    @cached_property
    def tokenizer(self) -> Any:
        return self._of_reader.tokenizer if self._of_reader else self._load("AutoTokenizer")

    @cached_property
    def image_processor(self) -> Any:
        # always with pillow, which the official codes use for resizing; torchvision gives other pixels
        return self._of_reader.image_processor if self._of_reader else self._load("AutoImageProcessor", backend="pil")

    @cached_property
    def _of_reader(self) -> Pretrained | None:
        return Pretrained(self.reader, "AutoProcessor") if self.reader else None

    @cached_property
    def processor(self) -> Any:
        """The processor for chats about images."""
        return self._load("AutoProcessor")

    @cached_property
    def fingerprint(self) -> str:
        """The commit of the hub's snapshot or the sha256 of the folder's files; with that of the reader, if there is one."""
        return f"{self._own_fingerprint} {self._of_reader.fingerprint}" if self._of_reader else self._own_fingerprint

    @property
    def _own_fingerprint(self) -> str:
        folder = Path(self.model)
        if os.path.isdir(folder):
            return fingerprints.of_files(folder, [f for f in folder.rglob("*") if f.suffix in _READ])
        revision = self._where["revision"]
        return revision if re.fullmatch("[0-9a-f]{40}", revision) else self._commit(revision)

    def _commit(self, revision: str) -> str:
        from huggingface_hub import hf_hub_download
        from huggingface_hub.errors import HfHubHTTPError

        try:
            # uses the cache if the hub cannot be reached
            return Path(hf_hub_download(self.model, "config.json", revision=revision)).parent.name
        except (OSError, ValueError, HfHubHTTPError) as error:
            raise BenchError(self._missing(error)) from error

    def pixels(self, images: Sequence[Image.Image], **how: Any) -> dict[str, Tensor]:
        """Return the network's image inputs on its device: `pixel_values` (image, rgb, height, width) and masks."""
        made = self.image_processor(images=[image.convert("RGB") for image in images], return_tensors="pt", **how)
        return {
            name: value.to(self.device, dtype_of(self.dtype) if value.is_floating_point() else None)
            for name, value in made.items()
            if isinstance(value, Tensor)
        }

    def tokens(self, texts: Sequence[str], max_length: int) -> dict[str, Tensor]:
        """Return `input_ids` and `attention_mask` (text, token) on the network's device."""
        made = self.tokenizer(list(texts), padding=True, truncation=True, max_length=max_length, return_tensors="pt")
        return {name: made[name].to(self.device) for name in ("input_ids", "attention_mask")}


def weights_file(path: str, published: str) -> Path:
    """Return the path of a safetensors file; raise `BenchError` with the command that converts the `published` checkpoint."""
    file = Path(path)
    if file.suffix != ".safetensors" or not os.path.isfile(file):
        raise BenchError(
            f'"{path}" is not a safetensors file; {published} is published as a pickle, which is not read; convert it with '
            "python -c \"import sys, torch; from safetensors.torch import save_file; s = torch.load(sys.argv[1], 'cpu'); "
            "save_file({k: v.clone() for k, v in s.get('state_dict', s).items()}, sys.argv[2])\" IN.pt OUT.safetensors"
        )
    return file


def read_weights(file: Path) -> Mapping[str, Tensor]:
    try:
        return load_file(file)
    except SafetensorError as error:
        raise BenchError(f"{file} cannot be read ({_first_line(error)}); convert the checkpoint again") from error


def fill(network: nn.Module, tensors: Mapping[str, Tensor], source: str, *, without: tuple[str, ...] = ()) -> None:
    """Copy tensors into a network by name; raise `BenchError` unless names and shapes match exactly.

    Names that begin with one of `without` are ignored on both sides.
    """
    own = network.state_dict()
    kept = {name: tensor for name, tensor in tensors.items() if not name.startswith(without)} if without else dict(tensors)
    wrong = sorted(name for name in kept.keys() & own.keys() if kept[name].shape != own[name].shape)
    lacking = sorted(name for name in own.keys() - kept.keys() if not (without and name.startswith(without)))
    if unfit := sorted(kept.keys() - own.keys()) + lacking + wrong:
        raise BenchError(
            f"{source} does not fit {type(network).__name__}: {len(unfit)} tensors are unknown, missing or of another shape, "
            f"such as {unfit[0]}; expected the published checkpoint"
        )
    network.load_state_dict(kept, strict=False)


def dtype_of(name: str) -> torch.dtype:
    if name not in ("float32", "float16", "bfloat16"):
        raise BenchError(f'"{name}" is not a precision for a metric; known: float32, float16, bfloat16')
    return getattr(torch, name)


def to_device(network: nn.Module, device: str, dtype: torch.dtype | None = None) -> Any:
    try:
        return network.to(device, dtype)
    except (RuntimeError, AssertionError) as error:
        raise BenchError(f'device "{device}" cannot be used ({_first_line(error)}); "cpu" always works') from error


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
