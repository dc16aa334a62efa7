"""Train the emoji model from scratch: the autoencoder, then the text encoder and the denoiser together on its latents."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

from ...errors import TrainingError
from ...loading import usable_device
from .. import networks
from ..scenes import VARIED, Mixture, sample_scene
from ..sprites import find_font
from .data import Stage, StagedRecipe, encode_scenes, indices_by_count, pictures_of, told_scenes
from .loop import Report, State, check_recipe, normal_noise, optimise, save_tensors


@dataclass(frozen=True)
class Recipe(StagedRecipe):
    """The settings that determine the trained weights. A step is one optimiser step; batch sizes are in images."""

    seed: int = 0
    autoencoder_steps: int = 6000
    autoencoder_batch: int = 16  # crops of half the image's side
    autoencoder_rate: float = 1e-3
    kl_weight: float = 1e-3
    scenes: int = 32_000  # encoded once, then drawn from repeatedly
    mixture: Mixture = field(default_factory=Mixture)  # distribution of the encoded scenes
    # Words are learnt fastest from scenes of one thing. Then the model learns to compose. While the learning rate decays, most
    # scenes have one thing again, so that the model draws single things well and often fails on several.
    stages: tuple[Stage, ...] = (
        Stage(1400, (1.0, 0.0, 0.0)),
        Stage(4800, (0.50, 0.45, 0.05)),
        Stage(6400, (0.75, 0.22, 0.03)),
    )
    batch: int = 32
    rate: float = 6e-4
    warm_up: int = 200  # steps of linear warm-up of the learning rate, for the autoencoder and for the denoiser
    averaging: float = 0.999  # decay of the moving average of the weights
    no_caption: float = 0.1  # share of captions that are dropped, for classifier-free guidance


PRESETS = {
    "release": Recipe(),
    "quick": Recipe(
        autoencoder_steps=1500,
        scenes=12_000,
        stages=(Stage(600, (1.0, 0.0, 0.0)), Stage(1100, (0.50, 0.45, 0.05)), Stage(1600, (0.75, 0.22, 0.03))),
    ),
    "smoke": Recipe(
        autoencoder_steps=4,
        autoencoder_batch=4,
        scenes=64,
        stages=(Stage(2, (1.0, 0.0, 0.0)), Stage(4, (0.5, 0.4, 0.1), 0.5, 0.5)),
        batch=4,
        averaging=0.5,
    ),
}


def train(
    out: Path,
    recipe: Recipe,
    *,
    device: str | torch.device = "cpu",
    font: Path | None = None,
    report: Report = lambda *_: None,
    save_every: int = 200,
) -> Path:
    """Train the model and return its folder `out`: a `StableDiffusionPipeline` that diffusers loads without this package.

    The state of the run is saved in `out/work` every `save_every` steps, and a run found there is resumed. `export` writes the
    model of an unfinished run.

    Raises `TrainingError` if the font is missing, the device cannot be used, or `out/work` belongs to another recipe.
    """
    device, font = usable_device(device), find_font(font)
    work = out / "work"
    work.mkdir(parents=True, exist_ok=True)
    check_recipe(work / "recipe.json", recipe)
    vae = _train_autoencoder(work, recipe, device, font, report, save_every)
    latents = encode_scenes(work, recipe, vae, device, font, report)
    _train_denoiser(work, recipe, latents, device, report, save_every)
    return export(out, recipe)


def export(out: Path, recipe: Recipe) -> Path:
    """Write the current weights of the run in `out/work` to `out`, as a pipeline in float16 safetensors."""
    work = out / "work"
    vae = networks.autoencoder()
    vae.load_state_dict(load_file(work / "autoencoder.safetensors"))
    vocabulary = networks.tokenizer(work / "tokenizer")
    pair = _TextAndDenoiser(vocabulary)
    state = State(work / "denoiser-state.safetensors", pair, recipe.averaging)
    if not state.load():
        raise TrainingError(f"{state.path} is not there: the denoiser has not been trained yet")
    pair.load_state_dict(state.average)
    pipe = networks.assemble(vae.half(), pair.text.half(), vocabulary, pair.unet.half())
    pipe.save_pretrained(out, safe_serialization=True)
    # By default transformers loads in the dtype of the configuration and diffusers in float32. Without this line,
    # from_pretrained would mix the two.
    config = out / "text_encoder/config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"dtype": "float32"}, indent=2) + "\n")
    history = {"recipe": asdict(recipe), "steps_done": state.step, "seconds": round(state.seconds), "loss": state.loss}
    (out / "training.json").write_text(json.dumps(history, indent=2) + "\n")
    return out


# ---------------------------------------------------------------------------------------------- autoencoder


def _train_autoencoder(work: Path, recipe: Recipe, device: torch.device, font: Path, report: Report, save_every: int) -> Any:
    """Return the whitened autoencoder: the finished one in `work`, else a newly trained one."""
    finished = work / "autoencoder.safetensors"
    if finished.exists():
        vae: Any = networks.autoencoder()
        vae.load_state_dict(load_file(finished))
        return networks.prepare_for_training(vae, device).eval().requires_grad_(False)
    torch.manual_seed(recipe.seed)
    vae: Any = networks.prepare_for_training(networks.autoencoder(), device)
    state = State(work / "autoencoder-state.safetensors", vae, recipe.averaging)
    state.load()

    def loss_of(step: int) -> Tensor:
        pictures = _crops(recipe, step, font).to(device).contiguous(memory_format=torch.channels_last)
        with torch.autocast(device.type, torch.bfloat16):
            posterior = vae.encode(pictures).latent_dist
            noise = normal_noise(posterior.mean.shape, recipe.seed, step, device)
            rebuilt = vae.decode(posterior.mean + posterior.std * noise).sample
        return _reconstruction(rebuilt.float(), pictures) + recipe.kl_weight * posterior.kl().mean() / posterior.mean[0].numel()

    optimise(
        "autoencoder",
        vae,
        state,
        loss_of,
        recipe.autoencoder_rate,
        recipe.autoencoder_steps,
        recipe.warm_up,
        report,
        save_every,
    )
    vae.load_state_dict(state.average)
    vae.eval().requires_grad_(False)
    sample = pictures_of([sample_scene(recipe.seed, i, recipe.mixture) for i in range(512)], recipe.seed, 0, font)
    whiten(vae, torch.cat([vae.encode(p.to(device)).latent_dist.mean for p in sample.split(32)]))
    save_tensors(vae.state_dict(), finished)
    return vae


def _reconstruction(rebuilt: Tensor, pictures: Tensor) -> Tensor:
    """Return L1 + L2 + L1 of the image gradients + 3 L1 of the 8x8 means of images (batch, rgb, height, width).

    The term of the means keeps colours right. Captions name things by their colour, and the other terms hardly weigh it.
    """
    edges = sum(((rebuilt.diff(dim=d) - pictures.diff(dim=d)).abs().mean() for d in (-1, -2)), torch.zeros(()).to(rebuilt))
    error = rebuilt - pictures
    return error.abs().mean() + error.square().mean() + edges + 3 * F.avg_pool2d(error, 8).abs().mean()


@torch.no_grad()
def whiten(vae: Any, latents: Tensor) -> None:
    """Give each latent channel mean 0 and standard deviation 1 over `latents` (batch, channel, height, width), in place.

    Shift and scale are folded into the 1x1 convolutions before and after the latents. The model then needs no scaling or shift
    factor, and any pipeline decodes it.
    """
    mean, deviation = latents.mean(dim=(0, 2, 3)), latents.std(dim=(0, 2, 3))
    before, after = vae.quant_conv, vae.post_quant_conv
    count = len(mean)
    after.bias += after.weight[:, :, 0, 0] @ mean
    after.weight *= deviation[None, :, None, None]
    before.weight[:count] /= deviation[:, None, None, None]
    before.bias[:count] = (before.bias[:count] - mean) / deviation
    before.bias[count:] -= 2 * deviation.log()  # the second half of the channels is the log-variance


def _crops(recipe: Recipe, step: int, font: Path) -> Tensor:
    """Return a batch of crops of half the image's side, two from each scene, each centred near a sprite.

    Most pixels of an image are background, which is learnt quickly; crops spend the batch on the sprites.
    """
    rng = np.random.default_rng([recipe.seed, 2, step])
    side = networks.IMAGE_SIDE // 2
    count = recipe.autoencoder_batch // 2
    first = 10_000_000 + step * count  # scenes that are not among the encoded ones
    scenes = [sample_scene(recipe.seed, first + i, VARIED) for i in range(count)]
    crops = []
    for picture, things in zip(pictures_of(scenes, recipe.seed, first, font), scenes, strict=True):
        for _ in range(2):
            left, top, right, bottom = things[rng.integers(len(things))].box
            x = int(np.clip(rng.uniform(left, right) * 2 * side - side / 2, 0, side))
            y = int(np.clip(rng.uniform(top, bottom) * 2 * side - side / 2, 0, side))
            crops.append(picture[:, y : y + side, x : x + side])
    return torch.stack(crops)


# ------------------------------------------------------------------------------------------------- denoiser


class _TextAndDenoiser(nn.Module):
    """Text encoder and denoiser in one module, since they are trained together."""

    def __init__(self, vocabulary: networks.CLIPTokenizer) -> None:
        super().__init__()
        self.text = networks.text_encoder(vocabulary)
        self.unet = networks.denoiser()

    def forward(self, noisy: Tensor, t: Tensor, ids: Tensor) -> Tensor:
        return self.unet(noisy, t, self.text(ids)[0]).sample


def _train_denoiser(work: Path, recipe: Recipe, latents: Tensor, device: torch.device, report: Report, save_every: int) -> None:
    torch.manual_seed(recipe.seed)
    vocabulary = networks.tokenizer(work / "tokenizer")
    pair = _TextAndDenoiser(vocabulary)
    networks.prepare_for_training(pair.text, device)
    networks.prepare_for_training(pair.unet, device)
    state = State(work / "denoiser-state.safetensors", pair, recipe.averaging)
    state.load()
    scheduler: Any = networks.scheduler()
    times = scheduler.config.num_train_timesteps
    scenes = [sample_scene(recipe.seed, i, recipe.mixture) for i in range(recipe.scenes)]
    by_count = indices_by_count(scenes, len(recipe.mixture.shares))

    def loss_of(step: int) -> Tensor:
        rng = np.random.default_rng([recipe.seed, 3, step])
        chosen, texts = told_scenes(rng, recipe.stage_at(step), scenes, by_count, recipe.batch, recipe.no_caption)
        ids = vocabulary(
            texts, padding="max_length", truncation=True, max_length=networks.TOKENS, return_tensors="pt"
        ).input_ids
        clean = latents[torch.from_numpy(chosen)].to(device).float().contiguous(memory_format=torch.channels_last)
        noise = normal_noise(clean.shape, recipe.seed, step, device)
        # stratified timesteps, one from each of `batch` equal intervals: less variance than independent draws
        t = torch.from_numpy((np.arange(recipe.batch) + rng.random(recipe.batch)) * times / recipe.batch).long().to(device)
        noisy, target = scheduler.add_noise(clean, noise, t), scheduler.get_velocity(clean, noise, t)
        with torch.autocast(device.type, torch.bfloat16):
            predicted = pair(noisy, t, ids.to(device))
        return F.mse_loss(predicted.float(), target)

    optimise("denoiser", pair, state, loss_of, recipe.rate, recipe.steps, recipe.warm_up, report, save_every, recipe.flat)
