"""LoRA adapters limited to regions, through peft's own layers, on tiny random pipelines of every family."""

from __future__ import annotations

import copy
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import peft
import pytest
import torch
from diffusers import StableDiffusionPipeline
from torch import Tensor, nn

import unbleed
from helpers import tiny
from helpers.families import MODERN, PROMPTS, draw, layout
from helpers.joint_cases import NEGATIVE, tokens_of
from unbleed.attention.families import denoiser_of

every_older_family = pytest.mark.parametrize("name", list(tiny.FAMILIES))
METHOD = unbleed.methods.Regions(step_size=0, candidates=1, apart=0)
LEFT, RIGHT = (0, 0, 0.5, 1), (0.75, 0, 1, 1)
WIDE = {"height": 128, "width": 256}
GIVEN = {"red cat": unbleed.Region(LEFT, adapter="knight"), "blue bench": RIGHT}


def adapted(pipe: Any, *names: str, **config: Any) -> Any:
    """Return a copy of the pipeline with random adapters on all linear and convolution layers of its denoiser."""
    pipe = copy.deepcopy(pipe)
    denoiser: Any = denoiser_of(pipe)
    layers = [name for name, module in denoiser.named_modules() if isinstance(module, nn.Linear | nn.Conv2d)]
    layers = [name for name in layers if not name.endswith("conv_depth")]  # of groups, which peft does not take
    wanted = config.pop("target_modules", "|".join(map(re.escape, layers)))
    torch.manual_seed(7)
    for name in names:
        made = peft.LoraConfig(r=2, init_lora_weights=False, target_modules=wanted, **config)
        with warnings.catch_warnings():  # of peft, about a second adapter
            warnings.simplefilter("ignore")
            peft.inject_adapter_in_model(made, denoiser, adapter_name=name)
    activate(pipe, *names)
    return pipe


def activate(pipe: Any, *names: str) -> None:
    for module in denoiser_of(pipe).modules():
        if isinstance(module, peft.tuners.tuners_utils.BaseTunerLayer):
            module.set_adapter(list(names))


@pytest.fixture(scope="module")
def knights(pipes: Callable[[str], Any]) -> Callable[[str], Any]:
    """The pipeline of a family with the adapter "knight", made once."""
    made: dict[str, Any] = {}

    def get(name: str) -> Any:
        if name not in made:
            made[name] = adapted(pipes(name), "knight")
        return made[name]

    return get


@pytest.fixture(scope="module")
def tiny_knight(make_tiny_sd: Callable[..., StableDiffusionPipeline]) -> Any:
    wanted = ["to_q", "to_v", "proj_in", "conv1", "time_emb_proj"]
    return adapted(make_tiny_sd(), "knight", "robot", target_modules=wanted)


@dataclass
class Part:
    """What an adapter added in one run of a layer, (row, ...), in the call number `call` of the denoiser."""

    layer: str
    call: int
    added: Tensor


@contextmanager
def all_but(layer: Any, adapter: str) -> Iterator[None]:
    own, layer.scaling[adapter] = layer.scaling[adapter], 0.0
    try:
        yield
    finally:
        layer.scaling[adapter] = own


@contextmanager
def watching(pipe: Any, adapter: str) -> Iterator[list[Part]]:
    """Note what `adapter` adds: B A x of a layer, as it comes out of the layer."""
    denoiser, parts, calls, handles = denoiser_of(pipe), [], [-1], []
    handles.append(denoiser.register_forward_pre_hook(lambda *_: calls.__setitem__(0, calls[0] + 1)))

    def entering(name: str) -> Any:
        def hook(layer: Any, args: Any, output: Tensor) -> None:
            with torch.no_grad(), all_but(layer, adapter):
                others = layer.forward(args[0])  # without hooks of the layer's own
            parts.append(Part(name, calls[0], (output - others).detach()))

        return hook

    for name, layer in denoiser.named_modules():
        if adapter in getattr(layer, "lora_B", {}):
            handles.append(layer.register_forward_hook(entering(name)))
    try:
        yield parts
    finally:
        for handle in handles:
            handle.remove()


TEXT = {
    "sd": r"attn2\.to_[kv]$",
    "sdxl": r"attn2\.to_[kv]$",
    "sd3": r"add_|ff_context|context_embedder",
    "flux": r"add_|ff_context|context_embedder",
    "pixart": r"attn2\.to_[kv]$|caption_projection",
    "sana": r"attn2\.to_[kv]$|caption_projection",
    "qwen": r"add_|txt_",
}


def allowed(name: str, part: Part, words: list[int], box: Any, rows: int, images: int) -> Tensor | None:
    """Return where something may be added, bool, by the layer's name and the shape of what it puts out."""
    added = part.added
    if added.ndim == 2:
        return torch.zeros(rows, 1, dtype=torch.bool)
    negative = part.call % 2 == 1 if name in ("flux", "qwen") else False

    def inside(height: int, width: int) -> Tensor:
        mask = torch.zeros(height, width, dtype=torch.bool)
        mask[:, round(box[0] * width) : round(box[2] * width)] = True
        return mask

    def text(length: int) -> Tensor:
        mask = torch.zeros(rows, length, dtype=torch.bool)
        if not negative:
            mask[rows - images :, words] = True
        return mask

    if added.ndim == 4:
        return inside(*added.shape[2:])[None, None].expand(rows, 1, -1, -1)
    if re.search(TEXT[name], part.layer):
        return text(added.shape[1])[..., None]
    if "single_transformer_blocks" in part.layer:
        pixels = inside(8, 16).flatten().expand(rows, -1)
        return torch.cat([text(added.shape[1] - 128), pixels], dim=1)[..., None]
    ratio = 3 / 2 if name == "sana" else 2
    height = round((added.shape[1] / ratio) ** 0.5)
    return inside(height, added.shape[1] // height).flatten().expand(rows, -1)[..., None]


def check(name: str, parts: list[Part], words: list[int], box: Any, images: int = 1) -> set[str]:
    """Check every layer that was run, and return the kinds of layers."""
    kinds = set()
    for part in parts:
        may = allowed(name, part, words, box, len(part.added), images)
        outside = part.added.masked_select(~may.expand_as(part.added))
        assert outside.numel() == 0 or outside.abs().max() == 0, part.layer
        if may.any():
            there = part.added.abs().amax(dim=1 if part.added.ndim == 4 else -1, keepdim=True)
            assert (there[may] > 0).float().mean() > 0.9, part.layer
            kinds.add(f"{part.added.ndim} {bool(re.search(TEXT[name], part.layer))}")
    return kinds


@every_older_family
def test_what_an_adapter_adds_is_nothing_outside_its_region(name: str, knights: Callable[[str], Any]) -> None:
    """In every layer of every call, negative prompts' too; in layers of the text at the entity's own tokens alone."""
    pipe = knights(name)
    sizes = {} if name == "sana" else WIDE
    more = {"negative_prompt": "a bird", **NEGATIVE.get(name, {})}
    with unbleed.guide(pipe, METHOD, regions=GIVEN) as run, watching(pipe, "knight") as parts:
        draw(pipe, name, PROMPTS[0], (0,), num_inference_steps=1, **sizes, **more)
    assert {part.call for part in parts} == ({0, 1} if name in ("flux", "qwen") else {0})
    layers = [n for n, layer in denoiser_of(pipe).named_modules() if "knight" in getattr(layer, "lora_B", {})]
    assert {part.layer for part in parts} == set(layers)
    kinds = check(name, parts, tokens_of(run)["red cat"], LEFT)
    assert {"3 False", "3 True"} <= kinds
    assert ("4 False" in kinds) == (name in ("sdxl", "sd3", "pixart", "sana"))


def test_two_adapters_in_two_regions_also_where_guidance_looks(tiny_knight: Any) -> None:
    """The runs of the denoiser that the pull makes are limited too, also with gradient checkpointing."""
    pipe = tiny_knight
    activate(pipe, "knight", "robot")
    regions = {"red cat": unbleed.Region(LEFT, adapter="knight"), "blue bench": unbleed.Region(RIGHT, adapter="robot")}
    method = unbleed.methods.Regions(step_size=2.0, pull_stop=1.0, candidates=1)
    for adapter, box, entity in (("knight", LEFT, "red cat"), ("robot", RIGHT, "blue bench")):
        with unbleed.guide(pipe, method, regions=regions) as run, watching(pipe, adapter) as parts:
            guided = draw(pipe, "sd", PROMPTS[0], (0,), num_inference_steps=2, **WIDE)
        assert len(run.steps) == 1
        assert {part.call for part in parts} == {0, 1, 2}
        assert {len(part.added) for part in parts} == {1, 2}
        check("sd", parts, tokens_of(run)[entity], box)
    with unbleed.guide(pipe, method, regions=regions, checkpointing=True):
        saving = draw(pipe, "sd", PROMPTS[0], (0,), num_inference_steps=2, **WIDE)
    torch.testing.assert_close(saving, guided, atol=1e-4, rtol=1e-3)


def test_an_adapter_adds_nothing_before_its_region_is_found(tiny_knight: Any) -> None:
    pipe = tiny_knight
    activate(pipe, "knight")
    regions = {"red cat": unbleed.Region("found", adapter="knight")}
    with unbleed.guide(pipe, METHOD, regions=regions) as run, watching(pipe, "knight") as parts:
        draw(pipe, "sd", PROMPTS[0], (0,), num_inference_steps=2)
    (first, *_), planned = run.regions, run.regions[0].masks[0]
    assert first.step == 0
    assert all(part.added.abs().max() == 0 for part in parts if part.call == 0)
    read = [part for part in parts if part.call == 1 and part.added.ndim == 3 and part.added.shape[1] == planned.numel()]
    assert read
    settled = run.regions[-1].masks[0].flatten()
    for part in read:
        assert part.added[:, ~settled].abs().max() == 0
        assert part.added[:, settled].abs().max() > 0


@every_older_family
def test_a_batch_equals_its_singles_and_detached_is_bit_identical(name: str, knights: Callable[[str], Any]) -> None:
    """One prompt with an adapter, the other without: there the adapter adds nothing."""
    pipe, regions = knights(name), [GIVEN, {}]
    plain = draw(pipe, name, PROMPTS, num_inference_steps=2)
    with unbleed.guide(pipe, METHOD, regions=regions):
        both = draw(pipe, name, PROMPTS, num_inference_steps=2)
    with unbleed.guide(pipe, METHOD, regions=GIVEN):
        first = draw(pipe, name, PROMPTS[0], (0,), num_inference_steps=2)
    assert (both[:1] - first).abs().max() < 1e-3 * first.abs().max()
    assert torch.equal(draw(pipe, name, PROMPTS, num_inference_steps=2), plain)
    activate(pipe)
    with unbleed.guide(pipe, METHOD):
        second = draw(pipe, name, PROMPTS[1], (1,), num_inference_steps=2)
    activate(pipe, "knight")
    assert (both[1:] - second).abs().max() < 1e-3 * second.abs().max()


def fuse(pipe: Any) -> None:
    for module in pipe.unet.modules():
        if isinstance(module, peft.tuners.tuners_utils.BaseTunerLayer):
            module.merge(adapter_names=["knight"])


def enable(model: nn.Module, on: bool) -> None:
    for module in model.modules():
        if isinstance(module, peft.tuners.tuners_utils.BaseTunerLayer):
            module.enable_adapters(on)


REFUSED = [
    (
        {"names": ["knight"], "asked": "nite"},
        None,
        'a region names the adapter "nite", but the denoiser has "knight"; load it with pipe.load_lora_weights(..., '
        'adapter_name="nite")',
    ),
    (
        {"names": [], "asked": "knight"},
        None,
        'a region names the adapter "knight", but the denoiser has no adapter; load it with pipe.load_lora_weights(..., '
        'adapter_name="knight")',
    ),
    (
        {"names": ["knight", "robot"], "asked": "knight"},
        lambda pipe: activate(pipe, "robot"),
        'the adapter "knight" is not active (active: robot); call pipe.set_adapters([...]) with it',
    ),
    (
        {"names": ["knight"], "asked": "knight"},
        lambda pipe: enable(pipe.unet, False),
        'a region names the adapter "knight", but adapters are disabled; call pipe.enable_lora()',
    ),
    (
        {"names": ["knight"], "asked": "knight"},
        fuse,
        'the adapter "knight" is fused into the weights and acts everywhere; call pipe.unfuse_lora()',
    ),
    (
        {"names": ["knight"], "asked": "knight", "use_dora": True},
        None,
        'the adapter "knight" is a DoRA, which scales the weights; a region needs a plain LoRA',
    ),
]


@pytest.mark.parametrize(("made", "change", "line"), REFUSED, ids=["other", "none", "inactive", "disabled", "fused", "dora"])
def test_an_adapter_that_cannot_be_limited_costs_one_line(
    made: dict[str, Any], change: Any, line: str, make_tiny_sd: Callable[..., StableDiffusionPipeline]
) -> None:
    options = {key: value for key, value in made.items() if key not in ("names", "asked")}
    pipe = adapted(make_tiny_sd(), *made["names"], target_modules=["to_q"], **options)
    if change:
        change(pipe)
    regions = {"red cat": unbleed.Region(LEFT, adapter=made["asked"])}
    with pytest.raises(unbleed.ModelError, match=f"^{re.escape(line)}$"), unbleed.guide(pipe, METHOD, regions=regions):
        draw(pipe, "sd", PROMPTS[0], (0,), num_inference_steps=1)


def test_an_adapter_of_another_kind_says_which(make_tiny_sd: Callable[..., StableDiffusionPipeline]) -> None:
    pipe = make_tiny_sd()
    pipe.unet.add_adapter(peft.LoHaConfig(r=2, target_modules=["to_q"]), adapter_name="knight")
    line = 'the adapter "knight" has no LoRA layers in the denoiser (it is a LOHA); a region needs a plain LoRA'
    regions = {"red cat": unbleed.Region(LEFT, adapter="knight")}
    with pytest.raises(unbleed.ModelError, match=re.escape(line)), unbleed.guide(pipe, METHOD, regions=regions):
        draw(pipe, "sd", PROMPTS[0], (0,), num_inference_steps=1)


def test_an_adapter_of_the_text_encoder_is_spoken_of(make_tiny_sd: Callable[..., StableDiffusionPipeline]) -> None:
    pipe: Any = adapted(make_tiny_sd(), "knight", target_modules=["to_q"])
    config = peft.LoraConfig(r=2, init_lora_weights=False, target_modules=["q_proj"])
    peft.inject_adapter_in_model(config, pipe.text_encoder, adapter_name="knight")
    line = (
        'the adapter "knight" has layers in the text_encoder too, which change all words of the prompt, not its region\'s '
        "alone; pipe.text_encoder.disable_adapters() leaves them out"
    )
    with pytest.warns(unbleed.UnbleedWarning, match=re.escape(line)), unbleed.guide(pipe, METHOD, regions=GIVEN):
        draw(pipe, "sd", PROMPTS[0], (0,), num_inference_steps=1)
    enable(pipe.text_encoder, False)
    with unbleed.guide(pipe, METHOD, regions=GIVEN):
        draw(pipe, "sd", PROMPTS[0], (0,), num_inference_steps=1)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in MODERN if name != "kolors"])
def test_an_adapter_on_a_whole_sequence_is_limited_by_where_its_parts_stand(name: str, pipes: Callable[[str], Any]) -> None:
    """Pixels of the region, the entity's own words, and nothing else: not the padding, not what pads both parts apart."""
    wanted = r"(single_transformer_blocks|layers|transformer_blocks)\.\d+\.(attn|attention)\.(to_q|to_qkv_mlp_proj)"
    pipe = adapted(pipes(name), "knight", target_modules=wanted)
    with unbleed.guide(pipe, METHOD, regions=GIVEN) as run, watching(pipe, "knight") as parts:
        draw(pipe, name, PROMPTS[0], (0,), num_inference_steps=1, **WIDE)
    height, width = (16, 32) if name == "hunyuan" else (8, 16)
    places, words = height * width, tokens_of(run)["red cat"]
    whole = [part for part in parts if part.call == 0 and part.added.shape[1] > places]
    assert whole
    for part in whole:
        length = part.added.shape[1]
        own = part.added[0 if name == "z-image" else -1].abs().amax(dim=-1)
        _, pixels, text = layout(name, pipe, length, length, PROMPTS[0], places)
        there = own[pixels].unflatten(0, (height, width))
        assert there[:, : width // 2].min() > 0
        assert there[:, width // 2 :].max() == 0
        rest = own.clone()
        rest[pixels] = 0
        assert rest.nonzero().flatten().tolist() == sorted(text + p for p in words)
