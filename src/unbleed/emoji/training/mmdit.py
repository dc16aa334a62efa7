"""Training of the joint-attention emoji model from nothing: latents of the first model's autoencoder, then all else together.

The denoiser learns the velocity of a straight path from picture to noise (rectified flow, arXiv 2209.03003; the times of
arXiv 2403.03206). Beside that, and in training alone, the tokens in its middle are asked which noun and colour covers them:
the truth is known here. (REPA, arXiv 2410.06940, asks for another network's features instead.)
"""

from __future__ import annotations

import json
import math
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from ...errors import TrainingError
from ...loading import usable_device
from .. import mmdit_networks, networks
from ..oracle import LOOKS, Oracle
from ..scenes import Mixture, Thing, held_out_pairs, sample_scene
from ..sprites import COLOURS, NOUNS, find_font
from .data import Stage, StagedRecipe, encode_scenes, indices_by_count, told_scenes
from .loop import Report, State, check_recipe, normal_noise, optimise
from .muon import Muon

_MIDDLE = mmdit_networks.BLOCKS // 2  # the block whose tokens are asked what covers them
_LOSS_EVERY = 50  # steps from line to line of the course
_LONG = 256  # tokens of T5 that the pipeline asks for when it is called without a length


@dataclass(frozen=True)
class JointRecipe(StagedRecipe):
    """Everything that decides what is trained. Steps are optimiser steps, batches count pictures."""

    seed: int = 0
    scenes: int = 60_000  # encoded once, then seen several times
    mixture: Mixture = field(default_factory=Mixture)
    stages: tuple[Stage, ...] = (
        Stage(1200, (1.0, 0.0, 0.0)),
        Stage(3200, (0.50, 0.45, 0.05)),
        Stage(4200, (0.25, 0.65, 0.10)),
        Stage(5700, (0.30, 0.62, 0.08)),
    )
    batch: int = 64
    rate: float = 1e-3  # of AdamW, for whatever is not a matrix inside a block
    matrix_rate: float = 0.02  # of Muon
    warm_up: int = 100
    averaging: float = 0.999  # decay of the running average of the weights
    no_caption: float = 0.1  # share of captions left empty, for classifier-free guidance
    no_encoder: float = 0.25  # share of captions that CLIP does not see; the same of T5
    long_text: int = 16  # every so many steps T5's text is padded to the pipeline's default length
    uniform_times: float = 0.15  # share of the times that are uniform, the others are logit-normal
    covering: float = 0.1  # weight of the question what covers a token


JOINT_PRESETS = {
    "release": JointRecipe(),
    "quick": JointRecipe(
        scenes=20_000,
        stages=(Stage(500, (1.0, 0.0, 0.0)), Stage(1500, (0.50, 0.45, 0.05)), Stage(2000, (0.75, 0.22, 0.03))),
    ),
    "smoke": JointRecipe(
        scenes=64,
        stages=(Stage(2, (1.0, 0.0, 0.0)), Stage(4, (0.5, 0.4, 0.1))),
        batch=4,
        averaging=0.5,
        long_text=4,
    ),
}


def train_joint(
    out: Path,
    recipe: JointRecipe,
    *,
    device: str | torch.device = "cpu",
    font: Path | None = None,
    report: Report = lambda *_: None,
    save_every: int = 50,
    judge_every: int = 500,
) -> Path:
    """Train into the folder `out` and return it: a `StableDiffusion3Pipeline` that diffusers loads by itself.

    `out/work` holds the state of the run; a run found there goes on where it stopped. `out/work/course.jsonl` holds the
    course: the loss, and each `judge_every` steps what the oracle says of pictures of single things and of pairs that are
    never shown, which are kept beside it; after the last step too, unless there were fewer than `judge_every`.

    Raises `TrainingError` when the font is missing, the device cannot be used, or `out/work` belongs to another recipe.
    """
    device, font = usable_device(device), find_font(font)
    work = out / "work"
    work.mkdir(parents=True, exist_ok=True)
    check_recipe(work / "recipe.json", recipe)
    vae: Any = networks.prepare_for_training(mmdit_networks.autoencoder(), device).eval().requires_grad_(False)
    latents = encode_scenes(work, recipe, vae, device, font, report)
    torch.manual_seed(recipe.seed)
    parts = _Parts(networks.tokenizer(work / "tokenizer")).to(device)
    state = State(work / "denoiser-state.safetensors", parts, recipe.averaging)
    state.load()
    course = _Course(work, state, vae, judge_every, recipe.seed)
    scenes = [sample_scene(recipe.seed, i, recipe.mixture) for i in range(recipe.scenes)]
    by_count = indices_by_count(scenes, len(recipe.mixture.shares))
    covers = torch.stack([covering(things, networks.LATENT_SIDE) for things in scenes])

    def loss_of(step: int) -> Tensor:
        rng = np.random.default_rng([recipe.seed, 3, step])
        chosen, texts = told_scenes(rng, recipe.stage_at(step), scenes, by_count, recipe.batch, recipe.no_caption)
        kept = torch.from_numpy(rng.random((recipe.batch, 2)) >= recipe.no_encoder).float().to(device)
        # without padding every other time, so that no word hides in it
        length = _LONG if step % recipe.long_text == recipe.long_text - 1 else (networks.TOKENS if step % 2 else None)
        clean = latents[torch.from_numpy(chosen)].to(device).float()
        noise = normal_noise(clean.shape, recipe.seed, step, device)
        t = _times(rng, recipe.batch, recipe.uniform_times).to(device)
        noisy = torch.lerp(clean, noise, t[:, None, None, None])
        with torch.autocast(device.type, torch.bfloat16):
            velocity, nouns, colours = parts(noisy, t, texts, length, kept)
        truth = covers[torch.from_numpy(chosen)].long().to(device)
        asked = F.cross_entropy(nouns.float().flatten(0, 1), truth[:, 0].flatten())
        asked = asked + F.cross_entropy(colours.float().flatten(0, 1), truth[:, 1].flatten())
        return F.mse_loss(velocity.float(), noise - clean) + recipe.covering * asked

    def tell(stage: str, step: int, steps: int, loss: float | None) -> None:
        course.note(step, last=step == steps > judge_every)
        report(stage, step, steps, loss)

    optimise(
        "denoiser",
        parts,
        state,
        loss_of,
        recipe.rate,
        recipe.steps,
        recipe.warm_up,
        tell,
        save_every,
        recipe.flat,
        lambda named, rate: _optimisers(named, rate, recipe.matrix_rate),
    )
    return export_joint(out, recipe)


def export_joint(out: Path, recipe: JointRecipe) -> Path:
    """Write the pipeline of the run in `out/work`, as far as it has come, in fp16 safetensors to `out`."""
    work = out / "work"
    parts = _Parts(networks.tokenizer(work / "tokenizer"))
    state = State(work / "denoiser-state.safetensors", parts, recipe.averaging)
    if not state.load():
        raise TrainingError(f"{state.path} is not there: the denoiser has not been trained yet")
    parts.load_state_dict(state.average)
    parts.pipeline(mmdit_networks.autoencoder(), half=True).save_pretrained(out, safe_serialization=True)
    # transformers loads in the precision that the configuration names, diffusers in float32: without this, a plain
    # from_pretrained would mix the two
    for name in ("text_encoder", "text_encoder_2", "text_encoder_3"):
        config = out / name / "config.json"
        config.write_text(json.dumps(json.loads(config.read_text()) | {"dtype": "float32"}, indent=2) + "\n")
    history = {"recipe": asdict(recipe), "steps_done": state.step, "seconds": round(state.seconds), "loss": state.loss}
    (out / "training.json").write_text(json.dumps(history, indent=2) + "\n")
    if (work / "course.jsonl").exists():
        shutil.copy(work / "course.jsonl", out / "course.jsonl")
    return out


class _Parts(nn.Module):
    """All that is trained together, and two linear readers of the middle block, which are not exported."""

    def __init__(self, vocabulary: networks.CLIPTokenizer) -> None:
        super().__init__()
        self.vocabulary, self.t5_vocabulary = vocabulary, mmdit_networks.t5_tokenizer()
        self.clips = nn.ModuleList(mmdit_networks.clip_encoder(vocabulary) for _ in range(2))
        self.t5 = mmdit_networks.t5_encoder(self.t5_vocabulary)
        self.transformer = mmdit_networks.denoiser()
        self.read_noun = nn.Linear(mmdit_networks.WIDTH, len(NOUNS) + 1)
        self.read_colour = nn.Linear(mmdit_networks.WIDTH, len(LOOKS) + 1)
        for clip in self.clips:  # the pipeline reads its embeddings alone, and a pooled vector of zeros
            clip.requires_grad_(False)
            text: Any = clip.text_model
            text.embeddings.requires_grad_(True)

    def text(self, texts: Sequence[str], length: int | None, kept: Tensor) -> Tensor:
        """Return what the pipeline makes of `texts`, (image, token, channel), with zeros for the encoders not `kept`.

        T5's text is `length` tokens long, by default as long as the longest. `kept` is 0 or 1, (image, CLIP and T5).
        """
        padded: dict[str, Any] = {"padding": "max_length", "truncation": True, "return_tensors": "pt"}
        ids = self.vocabulary(list(texts), max_length=networks.TOKENS, **padded).input_ids.to(kept.device)
        of_clip = torch.cat([clip(ids, output_hidden_states=True).hidden_states[-2] for clip in self.clips], dim=-1)
        of_clip = F.pad(of_clip, (0, mmdit_networks.WIDTH - of_clip.shape[-1]))
        if length is None:
            padded = {"padding": "longest", "return_tensors": "pt"}
        of_t5 = self.t5(self.t5_vocabulary(list(texts), max_length=length, **padded).input_ids.to(kept.device))[0]
        return torch.cat([of_clip * kept[:, :1, None], of_t5 * kept[:, 1:, None]], dim=1)

    def forward(
        self, noisy: Tensor, t: Tensor, texts: Sequence[str], length: int | None, kept: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return the velocity, and logits of the noun and the colour that cover each token, (image, token, class)."""
        middle: list[Tensor] = []
        hook = self.transformer.transformer_blocks[_MIDDLE].register_forward_hook(lambda *seen: middle.append(seen[-1][1]))
        pooled = torch.zeros(len(noisy), 2 * mmdit_networks.CLIP_WIDTH, device=noisy.device)
        velocity = self.transformer(noisy, self.text(texts, length, kept), pooled, t * 1000, return_dict=False)[0]
        hook.remove()
        return velocity, self.read_noun(middle[0]), self.read_colour(middle[0])

    def pipeline(self, vae: Any, half: bool = False) -> Any:
        parts: tuple[Any, ...] = (vae, self.transformer, *self.clips, self.t5)
        vae, transformer, first, second, t5 = (part.half() if half else part for part in parts)
        return mmdit_networks.assemble(vae, transformer, (first, second), self.vocabulary, t5, self.t5_vocabulary)


def _optimisers(named: Mapping[str, nn.Parameter], rate: float, matrix_rate: float) -> list[torch.optim.Optimizer]:
    """Return Muon for the matrices of attention and feed-forwards inside the blocks, AdamW for all else."""
    trained = {name: parameter for name, parameter in named.items() if parameter.requires_grad}
    inside = ("transformer.transformer_blocks.", "t5.encoder.block.")
    others = ("norm1", "relative_attention_bias")  # modulation is of an image, not of its tokens
    matrices = {
        name: parameter
        for name, parameter in trained.items()
        if parameter.ndim == 2 and name.startswith(inside) and not any(other in name for other in others)
    }
    rest = [parameter for name, parameter in trained.items() if name not in matrices]
    return [
        Muon(matrices.values(), matrix_rate),
        torch.optim.AdamW(rest, lr=rate, betas=(0.9, 0.99), weight_decay=0.01, fused=True),
    ]


def _times(rng: np.random.Generator, count: int, uniform: float) -> Tensor:
    """Return times in (0, 1), 1 being noise, one from each of `count` equal slices: a share uniform, the rest logit-normal.

    The logit-normal density is nearly nothing at the ends, where a drawing begins and ends.
    """
    share = torch.from_numpy((np.arange(count) + rng.random(count)) / count).float().clamp(1e-4, 1 - 1e-4)
    flat = torch.from_numpy(rng.random(count) < uniform)
    return torch.where(flat, share, torch.special.ndtri(share).sigmoid())


def covering(things: Sequence[Thing], side: int) -> Tensor:
    """Return for each token the noun and the colour of the thing whose box holds its middle: uint8 (2, side * side).

    0 is the ground; nouns count from 1; of colours 1 is the natural look.
    """
    found = np.zeros((2, side, side), dtype=np.uint8)
    for thing in things:
        # token i has its middle at (i + 0.5) / side
        left, top, right, bottom = (math.ceil(edge * side - 0.5) for edge in thing.box)
        found[0, top:bottom, left:right] = 1 + NOUNS.index(thing.noun)
        found[1, top:bottom, left:right] = 1 + LOOKS.index(thing.colour)
    return torch.from_numpy(found).flatten(1)


# --------------------------------------------------------------------------------------------------- course


class _Course:
    """What becomes of the model while it is trained, a line of JSON and a sheet of pictures at a time."""

    def __init__(self, work: Path, state: State, vae: Any, every: int, seed: int) -> None:
        self.path, self.state, self.vae, self.every, self.denoising_steps = work / "course.jsonl", state, vae, every, 20
        singles = [((noun, colour),) for i, noun in enumerate(NOUNS) for colour in (None, COLOURS[i % len(COLOURS)])]
        self.asked = [*singles, *_unseen_pairs(len(singles), seed)]
        lines = self.path.read_text().splitlines() if self.path.exists() else []
        kept = [line for line in lines if json.loads(line)["step"] <= state.step]  # a stopped run repeats the last steps
        self.path.write_text("".join(f"{line}\n" for line in kept))

    def note(self, step: int, *, last: bool = False) -> None:
        if step % self.every and step % _LOSS_EVERY and not last:
            return
        line = {"step": step, "seconds": round(self.state.seconds), "loss": round(self.state.loss, 4)}
        if step % self.every == 0 or last:
            line |= self._judged(step)
        with self.path.open("a") as file:
            file.write(json.dumps(line) + "\n")

    def _judged(self, step: int) -> dict[str, float]:
        """Return the shares of pictures all-correct, and keep the pictures."""
        images = self._drawn()
        right = [
            not seen.blends and Counter((t.noun, t.colour) for t in seen.things) == Counter(things)
            for seen, things in zip(Oracle.load().look(images), self.asked, strict=True)
        ]
        half = len(right) // 2
        _sheet(images, columns=12).save(self.path.with_name(f"course-{step:06}.png"))
        return {"singles": sum(right[:half]) / half, "unseen_pairs": sum(right[half:]) / half}

    @torch.no_grad()
    def _drawn(self) -> list[Image.Image]:
        """Return pictures by the running average, guidance scale 3, seeds by place; training goes on as before."""
        parts: Any = self.state.module
        trained = {key: value.clone() for key, value in parts.state_dict().items()}
        parts.load_state_dict(self.state.average)
        pipe = parts.pipeline(self.vae)
        pipe.set_progress_bar_config(disable=True)
        prompts = [" and ".join(f"a {colour} {noun}" if colour else f"a {noun}" for noun, colour in t) for t in self.asked]
        images: list[Image.Image] = []
        for start in range(0, len(prompts), 16):
            batch = prompts[start : start + 16]
            seeds = [torch.Generator().manual_seed(start + i) for i in range(len(batch))]
            with torch.autocast(pipe.device.type, torch.bfloat16):
                images += pipe(
                    batch,
                    num_inference_steps=self.denoising_steps,
                    guidance_scale=3.0,
                    max_sequence_length=networks.TOKENS,
                    generator=seeds,
                ).images
        parts.load_state_dict(trained)
        return images


def _unseen_pairs(count: int, seed: int) -> list[tuple[tuple[str, str | None], ...]]:
    """Return `count` pairs of (noun, colour or None) that are never shown together."""
    rng = np.random.default_rng([seed, 4])
    pairs = [pair for pair in combinations(NOUNS, 2) if frozenset(pair) in held_out_pairs()]
    return [
        tuple((noun, str(rng.choice(COLOURS)) if rng.random() < 0.6 else None) for noun in pairs[i])
        for i in rng.choice(len(pairs), size=count, replace=False)
    ]


def _sheet(images: Sequence[Image.Image], columns: int) -> Image.Image:
    width, height = images[0].size
    sheet = Image.new("RGB", (columns * width, -(-len(images) // columns) * height), "white")
    for i, image in enumerate(images):
        sheet.paste(image, (i % columns * width, i // columns * height))
    return sheet
