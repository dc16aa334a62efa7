"""What guidance costs: floating-point operations of one guidance evaluation, and seconds of a whole guided run.

(a) Operations of one guidance evaluation (the forward to the last text layer that is read, and the backward to the latents)
over those of one plain forward, for a UNet of the size of Stable Diffusion 1.5. They are counted on the meta device, which
takes seconds and no memory. A multiply-add counts as two operations. Counted are convolutions, linear layers and the products
inside attention; not norms, activations, softmax and other work on single values. On the meta device attention falls apart
into plain matrix products. A fused kernel's backward forms QK' anew, and gradients of text keys and values that nobody asked
for: "fused" is the ratio with that work. All forward counts are checked against the shapes of the layers.

(b) Seconds of a whole run, text to latents, guided over unguided: medians of runs in alternating order, half of the steps
guided, no refinement. Classifier-free guidance makes a plain step two forwards (in one call), and guidance looks at one of
them, so arithmetic alone asks for 1 + guided steps * ratio of (a) / (2 * steps), with (a) at this size of picture.

All weights are random. They tell the truth about speed and arithmetic, which do not depend on what the weights are, and
nothing about pictures.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from statistics import median
from typing import Any

import diffusers
import torch
from diffusers import StableDiffusionPipeline, UNet2DConditionModel
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

import unbleed
from unbleed.attention import AttentionProbe, average_maps, family_of
from unbleed.emoji import networks
from unbleed.losses.groups import group_tokens
from unbleed.prompt import locate, parse

PROMPT = "a red cat and a blue bench"
TOKENS, CHANNELS = 77, 768  # of the text
METHODS = {"none": None, "attend-and-excite": unbleed.AttendAndExcite(thresholds={}), "syngen": unbleed.SynGen()}


def make_unet() -> UNet2DConditionModel:
    """Return a UNet of Stable Diffusion 1.5's sizes (but for these two, diffusers' defaults) and torch's first weights."""
    unet = UNet2DConditionModel(sample_size=64, cross_attention_dim=CHANNELS).eval()
    assert sum(weight.numel() for weight in unet.parameters()) == 859_520_964  # as published
    return unet


def make_tokenizer() -> CLIPTokenizer:
    with tempfile.TemporaryDirectory() as folder:
        tokenizer = networks.tokenizer(Path(folder))
    tokenizer.model_max_length = TOKENS
    return tokenizer


def make_pipeline(tokenizer: CLIPTokenizer, device: torch.device) -> StableDiffusionPipeline:
    """Return a pipeline with that UNet and a small text encoder; its autoencoder never runs."""
    torch.manual_seed(0)
    sizes = {"hidden_size": CHANNELS, "num_hidden_layers": 2, "max_position_embeddings": TOKENS, "vocab_size": len(tokenizer)}
    marks = {f"{mark}_token_id": getattr(tokenizer, f"{mark}_token_id") for mark in ("bos", "eos", "pad")}
    text = CLIPTextModel(CLIPTextConfig(**sizes, **marks)).eval()
    pipe = networks.assemble(networks.autoencoder().eval(), text, tokenizer, make_unet())
    pipe.set_progress_bar_config(disable=True)
    return pipe.to(device) if device.type == "cpu" else pipe.to(device, torch.float16)


def operations_by_shape(unet: nn.Module, call: Callable[[], Any]) -> Counter[str]:
    """Return the operations of the layers that finish during `call`, worked out from their shapes alone."""
    found: Counter[str] = Counter()

    def weights(module: nn.Module, _: Any, output: Tensor) -> None:
        places = output.numel() // output.shape[1 if isinstance(module, nn.Conv2d) else -1]
        found["weights"] += 2 * places * module.weight.numel()

    def attention(module: nn.Module, args: Any, kwargs: Any, _: Any) -> None:
        text = kwargs.get("encoder_hidden_states")
        keys = args[0] if text is None else text
        found["self" if text is None else "cross"] += 4 * args[0].shape[:2].numel() * keys.shape[1] * module.inner_dim

    hooks = [m.register_forward_hook(weights) for m in unet.modules() if isinstance(m, (nn.Conv2d, nn.Linear))]
    attentions = [m for name, m in unet.named_modules() if name.endswith((".attn1", ".attn2"))]
    hooks += [m.register_forward_hook(attention, with_kwargs=True) for m in attentions]
    call()
    for hook in hooks:
        hook.remove()
    return found


def count_operations(tokenizer: CLIPTokenizer, side: int) -> dict[str, float]:
    """Return the operations of a plain forward and of a guidance evaluation of one image of `side` pixels, and the ratios.

    The loss is SynGen's; Attend-and-Excite's differs in the fifth digit.
    """
    with torch.device("meta"):
        unet = make_unet().requires_grad_(False)
        leaf, timestep, text = torch.empty(1, 4, side // 8, side // 8), torch.empty(()), torch.empty(1, TOKENS, CHANNELS)
    groups = group_tokens([locate(parse(PROMPT), tokenizer)]).to(leaf.device)
    layers = family_of(unet).layers(unet, None)
    probe = AttentionProbe(unet, layers.names)
    latents = leaf.requires_grad_(True).clone()  # the counter cannot do with a leaf that enters a module

    def plain() -> Any:
        return unet(latents, timestep, encoder_hidden_states=text)

    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        plain()
    full = counter.get_total_flops()
    with FlopCounterMode(display=False) as counter:
        captures = probe(plain)
        reached = counter.get_total_flops()
        maps = average_maps(captures.values(), layers.grid(*latents.shape[-2:]))
        loss = unbleed.BindingLoss()(maps, groups).sum()
        forward = counter.get_total_flops()
        torch.autograd.grad(loss, leaf)
        backward = counter.get_total_flops() - forward

    shapes, part = operations_by_shape(unet, plain), operations_by_shape(unet, lambda: probe(plain))
    if (full, reached) != (shapes.total(), part.total()):
        raise SystemExit(f"counted {full} and {reached}, but the shapes ask for {shapes.total()} and {part.total()}")
    # in units of attention's forward, its backward is 2 (on text 1: queries alone), fused 2.5
    fused = part["self"] * 0.5 + part["cross"] * 1.5
    parts = {"plain_forward": full, "guidance_forward": forward, "guidance_backward": backward}
    ratios = {"forward_ratio": forward / full, "backward_ratio": backward / full, "ratio": (forward + backward) / full}
    return parts | ratios | {"fused_ratio": (forward + backward + fused) / full}


def time_runs(tokenizer: CLIPTokenizer, device: torch.device, side: int, steps: int, repeats: int) -> dict[str, Any]:
    """Return the seconds of whole runs, unguided and by each method."""
    say(f"building a random-weight pipeline on {device}")
    pipe = make_pipeline(tokenizer, device)
    size = {"height": side, "width": side, "guidance_scale": 7.5, "output_type": "latent"}
    guided: dict[str, int] = {}

    def once(name: str, steps: int) -> float:
        method, noise = METHODS[name], torch.Generator().manual_seed(0)
        with unbleed.guide(pipe, method) if method else nullcontext() as run:
            begun = time.perf_counter()
            latents = pipe(PROMPT, num_inference_steps=steps, generator=noise, **size).images
            latents.sum().item()  # waits for the device
            seconds = time.perf_counter() - begun
        if run is not None:
            guided[name] = len({step.step for step in run.steps})
            if run.skipped:
                raise SystemExit(f"{run.skipped} updates of {name} were not finite, so this is no fair measurement")
        return seconds

    for name in METHODS:  # warm up; a run of one step is guided in it
        once(name, 1)
    seconds: dict[str, list[float]] = {name: [] for name in METHODS}
    for repeat in range(repeats):
        for name in list(METHODS)[:: -1 if repeat % 2 else 1]:
            seconds[name].append(once(name, steps))
            say(f"run {repeat + 1} of {repeats}, {name}: {seconds[name][-1]:.2f} s")
    medians = {name: median(values) for name, values in seconds.items()}
    ratios = {name: medians[name] / medians["none"] for name in guided}
    return {"seconds": seconds, "medians": medians, "ratios": ratios, "guided_steps": guided}


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def as_text(report: dict[str, Any]) -> str:
    lines = ["Random weights, size of Stable Diffusion 1.5"]
    for side, found in report["operations"].items():
        total, full = (found["guidance_forward"] + found["guidance_backward"]) / 1e12, found["plain_forward"] / 1e12
        lines += [
            f"(a) one guidance evaluation over one plain forward, {side}x{side} pixels, {TOKENS} tokens",
            f"    {found['ratio']:.3f} = forward {found['forward_ratio']:.3f} + backward {found['backward_ratio']:.3f}, "
            f"{total:.3f} of {full:.3f} Tflop; {found['fused_ratio']:.3f} with fused attention",
        ]
    if run := report.get("run"):
        lines.append(f"(b) whole runs, {run['side']}x{run['side']} pixels, {run['steps']} steps, on {run['device']}")
        lines.append(f"    {'none':<18} {run['medians']['none']:.2f} s")
        for name, ratio in run["ratios"].items():
            share = f"{run['guided_steps'][name]} steps guided, arithmetic asks for {run['floors'][name]:.3f}"
            lines.append(f"    {name:<18} {run['medians'][name]:.2f} s, {ratio:.3f} times; {share}")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description="Count and time what guidance costs, on random weights.")
    parser.add_argument("--device", default="cpu", help="of part (b): cpu in float32, cuda in float16 (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=10, help="denoising steps of a run (default: %(default)s)")
    parser.add_argument("--side", type=int, default=256, help="side of the runs' pictures in pixels (default: %(default)s)")
    parser.add_argument(
        "--repeats", type=int, default=3, help="runs of each kind (default: %(default)s); 0 leaves out part (b)"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document instead of text")
    options = parser.parse_args()

    tokenizer = make_tokenizer()
    versions = {"python": platform.python_version(), "torch": torch.__version__, "diffusers": diffusers.__version__}
    report: dict[str, Any] = {"weights": "random", "prompt": PROMPT, "versions": versions, "operations": {}}
    for side in dict.fromkeys([512, options.side] if options.repeats else [512]):
        say(f"counting operations at {side}x{side}")
        report["operations"][str(side)] = count_operations(tokenizer, side)
    if options.repeats:
        device = torch.device(options.device)
        name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{torch.get_num_threads()} CPU threads"
        settings = {"device": name, "side": options.side, "steps": options.steps, "repeats": options.repeats}
        run = time_runs(tokenizer, device, options.side, options.steps, options.repeats)
        ratio = report["operations"][str(options.side)]["ratio"]
        floors = {name: 1 + count * ratio / (2 * options.steps) for name, count in run["guided_steps"].items()}
        report["run"] = settings | run | {"floors": floors}
    print(json.dumps(report, indent=2) if options.json else as_text(report))


if __name__ == "__main__":
    main()
