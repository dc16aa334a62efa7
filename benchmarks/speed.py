"""What guidance costs in time and memory: against diffusers' own Attend-and-Excite, against no guidance, and as it grows.

All weights are random. They tell the truth about speed, memory and arithmetic, which do not depend on what the weights
are, and nothing about pictures. Times are medians of runs in alternating order in one process, memory is of a process of
its own.

rival   whole runs of a UNet of Stable Diffusion 1.5's size unguided, with `StableDiffusionAttendAndExcitePipeline` of
        diffusers, and with `unbleed.guide`: the same prompt, noise, steps and settings, half of the steps guided, no
        refinement. Theirs goes through the denoiser image by image in the guidance, ours takes a batch at once.
run     guided over unguided runs, half of the steps guided; beside it what arithmetic alone asks for (`unbleed.estimate`).
growth  seconds per picture of guided and unguided runs by batch, side and number of entities, and the share of the loss:
        its value and its gradient by the maps, on maps of that size, over the guided run.
offload guided runs with all of the pipeline on the GPU, and with `enable_model_cpu_offload`: seconds, and the GPU's memory.
profile seconds of the parts of one guided step: the plain forward of one picture and of two (classifier-free guidance), the
        guidance's forward to the last layer that is read, its maps and loss, and the way back; in the usual order of
        memory and with channels last. Beside it what the evaluation takes in plain forwards, by the clock and by
        arithmetic, and the operators of torch that take the most time of it.
models  operations and memory of one guidance evaluation, by `unbleed.estimate`, for denoisers of the sizes of Stable
        Diffusion 1.5 and XL, Stable Diffusion 3 medium and FLUX.1, on the meta device: no memory, no GPU.
"""

from __future__ import annotations

import argparse
import gc
import json
import platform
import resource
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import diffusers
import torch
from diffusers import (
    FluxTransformer2DModel,
    SD3Transformer2DModel,
    StableDiffusionAttendAndExcitePipeline,
    StableDiffusionPipeline,
    UNet2DConditionModel,
)
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

import unbleed
from unbleed.attention import AttentionProbe, average_maps, family_of
from unbleed.emoji import networks
from unbleed.losses.groups import group_tokens
from unbleed.prompt import locate, parse

PROMPT = "a red cat and a blue bench"
TOKENS, CHANNELS = 77, 768  # of the text
NOUNS = [3, 7]  # positions of its nouns
METHOD = unbleed.methods.AttendAndExcite(thresholds={})
THINGS = "cat bench dog car apple bird chair clock".split()
PARTS = ("models", "rival", "run", "growth", "profile")


def make_unet(*, small: bool = False) -> UNet2DConditionModel:
    """Return a UNet of Stable Diffusion 1.5's sizes (but for these two, diffusers' defaults) and torch's first weights.

    A `small` one has a tenth of the channels, to try a command with.
    """
    if small:
        return UNet2DConditionModel(sample_size=64, cross_attention_dim=CHANNELS, block_out_channels=(32, 64, 128, 128)).eval()
    unet = UNet2DConditionModel(sample_size=64, cross_attention_dim=CHANNELS).eval()
    assert sum(weight.numel() for weight in unet.parameters()) == 859_520_964  # as published
    return unet


def make_tokenizer() -> CLIPTokenizer:
    with tempfile.TemporaryDirectory() as folder:
        tokenizer = networks.tokenizer(Path(folder))
    tokenizer.model_max_length = TOKENS
    return tokenizer


def make_pipeline(tokenizer: CLIPTokenizer, device: torch.device, *, small: bool = False) -> StableDiffusionPipeline:
    """Return a pipeline with that UNet and a small text encoder; its autoencoder never runs."""
    torch.manual_seed(0)
    sizes = {"hidden_size": CHANNELS, "num_hidden_layers": 2, "max_position_embeddings": TOKENS, "vocab_size": len(tokenizer)}
    marks = {f"{mark}_token_id": getattr(tokenizer, f"{mark}_token_id") for mark in ("bos", "eos", "pad")}
    text = CLIPTextModel(CLIPTextConfig(**sizes, **marks)).eval()
    pipe = networks.assemble(networks.autoencoder().eval(), text, tokenizer, make_unet(small=small))
    pipe.set_progress_bar_config(disable=True)
    return pipe.to(device) if device.type == "cpu" else pipe.to(device, torch.float16)


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def rival_of(pipe: StableDiffusionPipeline) -> StableDiffusionAttendAndExcitePipeline:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # it is deprecated
        components = {name: part for name, part in pipe.components.items() if name != "image_encoder"}  # it has none
        rival = StableDiffusionAttendAndExcitePipeline(**components, requires_safety_checker=False)
    rival.set_progress_bar_config(disable=True)
    return rival


Draw = Callable[..., Any]


def drawers(pipe: StableDiffusionPipeline, side: int) -> dict[str, Draw]:
    """Return the three ways to draw: `draw(steps, batch)` gives the latents."""
    rival, channels = rival_of(pipe), pipe.unet.config.in_channels
    size: dict[str, Any] = {"height": side, "width": side, "guidance_scale": 7.5, "output_type": "latent"}

    def options(steps: int, batch: int) -> dict[str, Any]:
        noise = torch.randn(batch, channels, side // 8, side // 8, generator=torch.Generator().manual_seed(0))
        return {**size, "num_inference_steps": steps, "latents": noise.to(pipe.device, pipe.unet.dtype)}

    def plain(steps: int, batch: int = 1, prompt: str = PROMPT) -> Any:
        return pipe([prompt] * batch, **options(steps, batch)).images

    def ours(steps: int, batch: int = 1, prompt: str = PROMPT) -> Any:
        with unbleed.guide(pipe, METHOD) as run:
            images = plain(steps, batch, prompt)
        if run.skipped:
            raise SystemExit(f"{run.skipped} updates were not finite, so this is no fair measurement")
        return images

    def theirs(steps: int, batch: int = 1, prompt: str = PROMPT) -> Any:
        maps = side // 8 // 4
        return rival(
            [prompt] * batch,
            token_indices=[NOUNS] * batch,
            max_iter_to_alter=(steps + 1) // 2,
            thresholds={},
            attn_res=(maps, maps),
            **options(steps, batch),
        ).images

    return {"none": plain, "unbleed": ours, "diffusers": theirs}


def seconds_of(draw: Callable[[], Tensor]) -> float:
    begun = time.perf_counter()
    draw().sum().item()  # waits for the device
    return time.perf_counter() - begun


def alternating(ways: dict[str, Callable[[], Tensor]], repeats: int) -> dict[str, float]:
    """Return the median seconds of each way to draw, drawn in turns, every second turn in the other order."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(repeats):
        for name in list(ways)[:: -1 if turn % 2 else 1]:
            seconds[name].append(seconds_of(ways[name]))
            say(f"{name}: {seconds[name][-1]:.2f} s")
    return {name: median(values) for name, values in seconds.items()}


def against_diffusers(given: argparse.Namespace, pipe: StableDiffusionPipeline) -> dict[str, Any]:
    ways = drawers(pipe, given.side)
    for name in ways:
        ways[name](2)  # warm up
    found: dict[str, Any] = {}
    for batch in given.batches:
        seconds = alternating({name: partial(ways[name], given.steps, batch) for name in ways}, given.repeats)
        peaks = {name: peak_of(given, pipe, name, batch) for name in ways}
        found[f"batch {batch}"] = {
            **seconds,
            "ratio": seconds["unbleed"] / seconds["diffusers"],
            "over_unguided": seconds["unbleed"] / seconds["none"],
            "peak_bytes_above_the_loaded_pipeline": {**peaks, "ratio": peaks["unbleed"] / peaks["diffusers"]},
        }
    return found


def offload(given: argparse.Namespace, pipe: StableDiffusionPipeline) -> dict[str, Any]:
    if pipe.device.type != "cuda":
        raise SystemExit("offload moves models to a GPU and back; give --device cuda")
    found: dict[str, Any] = {}
    for name in ("all on the GPU", "model offload"):
        if name == "model offload":
            pipe.enable_model_cpu_offload()
        draw = drawers(pipe, given.side)["unbleed"]
        draw(2)  # warm up
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        seconds = median(seconds_of(partial(draw, given.steps)) for _ in range(given.repeats))
        found[name] = {"seconds": seconds, "peak_bytes": torch.cuda.max_memory_allocated()}
    return found


def peak_of(given: argparse.Namespace, pipe: StableDiffusionPipeline, name: str, batch: int) -> int:
    """Return the most memory of a run above that of the loaded pipeline, in bytes; on a CPU, in a process of its own."""
    if pipe.device.type == "cuda":
        peak = peak_above(drawers(pipe, given.side)[name], batch, pipe.device)
    else:
        command = [sys.executable, __file__, "--peak", name, "--device", given.device, "--side", str(given.side)]
        command += ["--batches", str(batch), *(["--small"] if given.small else [])]
        peak = int(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout)
    say(f"{name}, batch {batch}: {peak / 2**20:.0f} MiB")
    return peak


def peak_above(draw: Draw, batch: int, device: torch.device) -> int:
    """Draw two steps, the first of them guided, and return the most memory above that before."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        draw(2, batch)
        return torch.cuda.max_memory_allocated() - before
    # the loading's own peak would hide a smaller one: count from what is in use now
    Path("/proc/self/clear_refs").write_text("5")
    before = _status("VmRSS")
    draw(2, batch)
    return _status("VmHWM") - before


def _status(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith(field)).split()[1])


def against_nothing(given: argparse.Namespace, pipe: StableDiffusionPipeline) -> dict[str, Any]:
    ways = drawers(pipe, given.side)
    seconds = alternating({name: partial(ways[name], given.steps) for name in ("none", "unbleed")}, given.repeats)
    floor = unbleed.estimate(pipe, METHOD, (given.side, given.side), steps=given.steps)
    return {**seconds, "ratio": seconds["unbleed"] / seconds["none"], "arithmetic": floor.ratio, "guided": floor.evaluations}


def growth(given: argparse.Namespace, pipe: StableDiffusionPipeline) -> list[dict[str, Any]]:
    rows = []
    cases = [(given.side, batch, 2) for batch in given.batches]
    cases += [(side, 1, 2) for side in given.sides if side != given.side] + [(given.side, 1, count) for count in (1, 4, 8)]
    for side, batch, count in cases:
        prompt = " and ".join(f"a {thing}" for thing in THINGS[:count])
        ways = drawers(pipe, side)
        one = {name: partial(ways[name], given.steps, batch, prompt) for name in ("none", "unbleed")}
        seconds = alternating(one, given.repeats)
        loss = loss_seconds(pipe, side, batch, prompt) * ((given.steps + 1) // 2)
        rows.append(
            {
                "side": side,
                "batch": batch,
                "entities": count,
                "seconds_per_picture": {name: value / batch for name, value in seconds.items()},
                "ratio": seconds["unbleed"] / seconds["none"],
                "loss_share": loss / seconds["unbleed"],
            }
        )
    return rows


def loss_seconds(pipe: StableDiffusionPipeline, side: int, batch: int, prompt: str, repeats: int = 20) -> float:
    """Return the seconds of the loss and its gradient by the maps, once."""
    parts, grid = METHOD.parts(), side // 8 // 4
    groups = group_tokens([locate(parse(prompt), pipe.tokenizer)] * batch).to(pipe.device)
    maps = torch.rand(batch, TOKENS, grid, grid, device=pipe.device).softmax(dim=1).requires_grad_(True)
    assert parts.loss is not None
    seconds = []
    for _ in range(repeats):
        begun = time.perf_counter()
        (gradient,) = torch.autograd.grad(parts.loss(maps, groups).sum(), maps)
        gradient.sum().item()
        seconds.append(time.perf_counter() - begun)
    return median(seconds)


def profile(given: argparse.Namespace, pipe: StableDiffusionPipeline) -> dict[str, dict[str, float]]:
    found = {"contiguous": step_parts(pipe, given.side // 8)}
    pipe.unet.to(memory_format=torch.channels_last)
    found["channels last"] = step_parts(pipe, given.side // 8)
    pipe.unet.to(memory_format=torch.contiguous_format)
    return found


def step_parts(pipe: StableDiffusionPipeline, side: int, repeats: int = 7) -> dict[str, float]:
    """Return the median seconds of the parts of a guided step, and what arithmetic asks for of the evaluation."""
    unet: Any = pipe.unet
    unet.requires_grad_(False)
    latents = torch.randn(1, unet.config.in_channels, side, side, device=pipe.device, dtype=unet.dtype)
    text = torch.randn(1, TOKENS, CHANNELS, device=pipe.device, dtype=unet.dtype)
    groups = group_tokens([locate(parse(PROMPT), pipe.tokenizer)]).to(pipe.device)
    layers = family_of(unet).layers(unet, None)
    probe, loss = AttentionProbe(unet, layers.names), METHOD.parts().loss
    assert loss is not None

    def plain(rows: int) -> Any:
        with torch.no_grad():
            return unet(latents.repeat(rows, 1, 1, 1), 500, encoder_hidden_states=text.repeat(rows, 1, 1)).sample

    seconds: dict[str, list[float]] = {}

    def timed(name: str, call: Callable[[], Any]) -> Any:
        begun = time.perf_counter()
        found = call()
        if pipe.device.type == "cuda":
            torch.cuda.synchronize()
        seconds.setdefault(name, []).append(time.perf_counter() - begun)
        return found

    for _ in range(repeats + 1):
        timed("plain forward of one", lambda: plain(1))
        timed("plain forward of two", lambda: plain(2))
        leaf = latents.clone().requires_grad_(True)
        captures = timed("guidance forward", lambda leaf=leaf: probe(lambda: unet(leaf, 500, encoder_hidden_states=text)))
        value = timed(
            "maps and loss",
            lambda captures=captures: loss(average_maps(captures.values(), layers.grid(side, side)), groups).sum(),
        )
        timed("way back", lambda value=value, leaf=leaf: torch.autograd.grad(value, leaf))
    found = {name: median(values[1:]) for name, values in seconds.items()}  # without the first, which warms up
    cost = unbleed.estimate(pipe, METHOD, (8 * side, 8 * side))
    evaluation = sum(found[name] for name in ("guidance forward", "maps and loss", "way back"))
    found |= {"evaluation_in_forwards": evaluation / found["plain forward of one"], "arithmetic": cost.evaluation}

    def evaluate() -> None:
        leaf = latents.clone().requires_grad_(True)
        captures = probe(lambda: unet(leaf, 500, encoder_hidden_states=text))
        maps = average_maps(captures.values(), layers.grid(side, side))
        torch.autograd.grad(loss(maps, groups).sum(), leaf)

    return found | {f"share of {name}": share for name, share in operators(evaluate).items()}


def operators(call: Callable[[], Any], most: int = 6) -> dict[str, float]:
    """Return which operators of torch take the largest shares of a call's time."""
    with torch.profiler.profile() as profiler:
        call()
    events = profiler.key_averages()
    field = "self_device_time_total" if torch.cuda.is_available() else "self_cpu_time_total"
    times = sorted(((getattr(event, field), event.key) for event in events), reverse=True)
    total = sum(seconds for seconds, _ in times)
    return {name: seconds / total for seconds, name in times[:most]}


class Around:
    """As much of a pipeline as an estimate looks at."""

    vae_scale_factor = 8

    def __init__(self, attribute: str, denoiser: Any) -> None:
        setattr(self, attribute, denoiser)


def models() -> dict[str, dict[str, float]]:
    """Return what one evaluation costs on denoisers of the sizes of released ones."""
    xl = {
        "sample_size": 128,
        "block_out_channels": (320, 640, 1280),
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        "transformer_layers_per_block": (1, 2, 10),
        "attention_head_dim": (5, 10, 20),
        "cross_attention_dim": 2048,
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": 256,
        "projection_class_embeddings_input_dim": 2816,
        "use_linear_projection": True,
    }
    medium = {
        "sample_size": 128,
        "num_layers": 24,
        "num_attention_heads": 24,
        "attention_head_dim": 64,
        "caption_projection_dim": 1536,
        "pos_embed_max_size": 192,
    }
    cases: list[tuple[str, str, Callable[[], Any], int, int]] = [
        ("Stable Diffusion 1.5", "unet", make_unet, 512, 2),
        ("Stable Diffusion XL", "unet", lambda: UNet2DConditionModel(**xl), 1024, 2),
        ("Stable Diffusion 3 medium", "transformer", lambda: SD3Transformer2DModel(**medium), 1024, 2),
        ("FLUX.1", "transformer", lambda: FluxTransformer2DModel(guidance_embeds=True), 1024, 1),
    ]
    found = {}
    for name, attribute, build, side, forwards in cases:
        with torch.device("meta"):
            denoiser = build().eval()
        for weight in denoiser.parameters():
            weight.data = weight.data.to(torch.bfloat16)
        cost = unbleed.estimate(Around(attribute, denoiser), METHOD, (side, side), forwards_per_step=forwards)
        found[name] = {
            "side": side,
            "evaluation_in_forwards": cost.evaluation,
            "run_ratio": cost.ratio,
            "activations_GiB": cost.activation_bytes / 2**30,
            "activations_checkpointed_GiB": cost.activation_bytes_checkpointed / 2**30,
            "weights_GiB": cost.weight_bytes / 2**30,
        }
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", default=",".join(PARTS), help="with commas (default: %(default)s)")
    parser.add_argument("--device", default="cpu", help="cpu in float32, cuda in float16 (default: %(default)s)")
    parser.add_argument("--side", type=int, default=256, help="of the pictures in pixels (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=10, help="denoising steps of a run (default: %(default)s)")
    parser.add_argument("--repeats", type=int, default=3, help="runs of each kind (default: %(default)s)")
    parser.add_argument("--batches", type=int, nargs="+", default=[1], help="pictures at once (default: %(default)s)")
    parser.add_argument("--sides", type=int, nargs="*", default=[], help="further sides, for growth")
    parser.add_argument("--small", action="store_true", help="a UNet of a tenth of the channels, to try a command with")
    parser.add_argument("--peak", help=argparse.SUPPRESS)
    given = parser.parse_args()
    device, parts = torch.device(given.device), given.parts.split(",")
    if given.peak:
        pipe = make_pipeline(make_tokenizer(), device, small=given.small)
        print(peak_above(drawers(pipe, given.side)[given.peak], given.batches[0], device))
        return
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{torch.get_num_threads()} CPU threads"
    versions = {"python": platform.python_version(), "torch": torch.__version__, "diffusers": diffusers.__version__}
    report: dict[str, Any] = {
        "weights": "random",
        "device": name,
        "versions": versions,
        "steps": given.steps,
        "side": given.side,
    }
    if "models" in parts:
        report["models"] = models()
    measures = {"rival": against_diffusers, "run": against_nothing, "growth": growth, "profile": profile, "offload": offload}
    if set(parts) & set(measures):
        say(f"building a random-weight pipeline on {device}")
        pipe = make_pipeline(make_tokenizer(), device, small=given.small)
        for part, measure in measures.items():
            if part in parts:
                say(part)
                report[part] = measure(given, pipe)
    report["peak_of_this_process_GiB"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
