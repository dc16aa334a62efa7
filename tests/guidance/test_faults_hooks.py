"""Whose call is guided: second pipelines, threads, swapped parts, what cannot be followed; every scheduler of diffusers."""

from __future__ import annotations

import copy
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import diffusers as d
import pytest
import torch
from diffusers.modular_pipelines import StableDiffusionXLAutoBlocks
from torch import Tensor
from transformers import CLIPTokenizer

import unbleed
from helpers import every_scheduler, tiny
from unbleed.guidance import attach as attaching
from unbleed.guidance.levels import Levels
from unbleed.model_settings import method_for
from unbleed.modular import add_guidance

PROMPT = "a red cat and a blue bench"
METHOD = unbleed.methods.SynGen(step_size=5.0, stop=1.0)
PICTURE = torch.zeros(1, 3, 128, 128)
STRANGER = (
    r"^a StableDiffusionImg2ImgPipeline ran the denoiser of the StableDiffusionPipeline that is being guided, and its own"
)
ELSEWHERE = r"^this pipeline, or another one with the same denoiser, is being guided in another thread, and this call would be"
TWICE = r"^this pipeline, or another one with the same denoiser, is being guided already; leave that `with` block, or call"


def draw(pipe: Any, **changes: Any) -> Tensor:
    options = {"num_inference_steps": 2, "output_type": "latent", "height": 128, "width": 128} | changes
    return pipe(PROMPT, generator=torch.Generator().manual_seed(0), **options).images


def redraw(pipe: Any, **changes: Any) -> Tensor:
    """Return what an image-to-image pipeline makes of a picture in three steps."""
    options = {"num_inference_steps": 4, "strength": 0.75, "output_type": "latent", "image": PICTURE} | changes
    words = () if "prompt_embeds" in changes else (PROMPT,)
    return pipe(*words, generator=torch.Generator().manual_seed(1), **options).images


def made(kind: Any, pipe: Any, **changes: Any) -> Any:
    other = kind(**{**pipe.components, **changes}, requires_safety_checker=False)
    other.set_progress_bar_config(disable=True)
    return other


@pytest.fixture(scope="module")
def pipe(make_tiny_sd: Callable[..., Any]) -> Any:
    return make_tiny_sd()


@pytest.fixture(scope="module")
def second(pipe: Any) -> Any:
    """Another pipeline of the same parts."""
    return made(d.StableDiffusionImg2ImgPipeline, pipe)


@pytest.fixture
def untouched(pipe: Any) -> Iterator[None]:
    """Pipeline, scheduler and denoiser have after a test what they had before."""

    def state() -> Any:
        held = [sorted(key for key in vars(owner) if callable(vars(owner)[key])) for owner in (pipe, pipe.scheduler)]
        marks = [key for owner in (pipe, pipe.scheduler, pipe.unet) for key in vars(owner) if "unbleed" in key]
        return held, marks, len(pipe.unet._forward_pre_hooks), len(pipe.unet._forward_hooks)

    before = state()
    yield
    assert state() == before
    assert state()[1] == []


# ------------------------------------------------------------------------------------- E5: pipelines of the same parts


@pytest.mark.usefixtures("untouched")
@pytest.mark.parametrize("method", [METHOD, unbleed.methods.Composable()], ids=["loss", "edit"])
@pytest.mark.parametrize("when", ["first", "after", "within", "after a failure", "with a scheduler of its own"])
def test_E5_a_second_pipeline_on_the_same_denoiser_is_refused(pipe: Any, second: Any, method: Any, when: str) -> None:
    if when == "with a scheduler of its own":
        second = made(type(second), pipe, scheduler=d.DDIMScheduler.from_config(pipe.scheduler.config))
    before = redraw(second)

    def fail(*_: Any) -> dict[str, Any]:
        raise RuntimeError("on purpose")

    def redraw_within(*_: Any) -> dict[str, Any]:
        redraw(second)
        return {}

    with unbleed.guide(pipe, method):
        if when == "within":
            with pytest.raises(unbleed.ModelError, match=STRANGER):
                draw(pipe, callback_on_step_end=redraw_within)
        elif when == "after a failure":
            with pytest.raises(RuntimeError, match="on purpose"):
                draw(pipe, callback_on_step_end=fail)
        elif when != "first":
            draw(pipe)
        with pytest.raises(unbleed.ModelError, match=STRANGER):
            redraw(second)
    assert torch.equal(redraw(second), before)


@pytest.mark.usefixtures("untouched")
def test_E5_the_guided_pipeline_goes_on_after_the_refusal(pipe: Any, second: Any) -> None:
    with unbleed.guide(pipe, METHOD):
        expected = draw(pipe)
    with unbleed.guide(pipe, METHOD) as run:
        with pytest.raises(unbleed.ModelError, match=STRANGER):
            redraw(second)
        assert torch.equal(draw(pipe), expected)
    assert [step.step for step in run.steps] == [0, 1]


class Through(d.StableDiffusionImg2ImgPipeline):
    """Encodes through another pipeline, as detailers around a pipeline do."""

    around: Any = None

    def encode_prompt(self, *args: Any, **kwargs: Any) -> Any:
        return self.around.encode_prompt(*args, **kwargs)


@pytest.mark.usefixtures("untouched")
@pytest.mark.parametrize("own_scheduler", [False, True])
def test_E5_a_pipeline_that_encodes_through_the_guided_one_is_guided(pipe: Any, second: Any, own_scheduler: bool) -> None:
    with unbleed.guide(second, METHOD) as run:
        expected = redraw(second)
    through = made(Through, pipe)
    if own_scheduler:
        through.scheduler = d.DDIMScheduler.from_config(pipe.scheduler.config)
    through.around = pipe
    with unbleed.guide(pipe, METHOD) as own:
        draw(pipe)
        assert torch.equal(redraw(through), expected)
        draw(pipe)
    assert [step.timestep for step in own.steps if step.call == 1] == [step.timestep for step in run.steps]
    assert {step.call for step in own.steps} == {0, 1, 2}


@pytest.mark.usefixtures("untouched")
def test_E5_embeddings_of_the_guided_pipeline_may_go_to_a_second_one(pipe: Any, second: Any) -> None:
    with unbleed.guide(second, METHOD):
        expected = redraw(second)
    with unbleed.guide(pipe, METHOD) as run:
        words, empty = pipe.encode_prompt(PROMPT, "cpu", 1, True)
        found = redraw(second, prompt_embeds=words, negative_prompt_embeds=empty)
        assert torch.equal(found, expected)
        assert len(run.steps) == 3
        with pytest.raises(unbleed.ModelError, match=STRANGER):  # once
            redraw(second, prompt_embeds=words, negative_prompt_embeds=empty)
    other = made(type(second), pipe, scheduler=d.DDIMScheduler.from_config(pipe.scheduler.config))
    message = r"^the StableDiffusionImg2ImgPipeline has another scheduler than the pipeline whose encode_prompt it called; give"
    with unbleed.guide(pipe, METHOD):
        words, empty = pipe.encode_prompt(PROMPT, "cpu", 1, True)
        with pytest.raises(unbleed.ModelError, match=message):
            redraw(other, prompt_embeds=words, negative_prompt_embeds=empty)


class TwoSizes(d.StableDiffusionPipeline):
    """Encodes once and denoises at two sizes, as pipelines for large pictures do."""

    def __call__(self, prompt: str, steps: int) -> list[Tensor]:  # type: ignore[override]
        text = self.encode_prompt(prompt, "cpu", 1, False)[0]
        done = []
        for side in (16, 24):
            self.scheduler.set_timesteps(steps)
            latents = torch.randn(1, 4, side, side, generator=torch.Generator().manual_seed(side))
            for t in self.scheduler.timesteps:
                with torch.no_grad():
                    predicted = self.unet(latents, t, encoder_hidden_states=text).sample
                latents = self.scheduler.step(predicted, t, latents).prev_sample
            done.append(latents)
        return done


def test_E5_a_second_loop_on_the_same_prompt_is_guided_from_its_beginning(pipe: Any) -> None:
    two = made(TwoSizes, pipe)
    plain = two(PROMPT, 2)
    with unbleed.guide(two, METHOD, record_maps=True) as run:
        guided = two(PROMPT, 2)
    assert [step.step for step in run.steps] == [0, 1, 0, 1]
    assert [tuple(maps.maps.shape[-2:]) for maps in run.maps] == [(4, 4)] * 2 + [(6, 6)] * 2
    assert all((a - b).abs().max() > 1e-3 for a, b in zip(guided, plain, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(two(PROMPT, 2), plain, strict=True))


def own_loop(pipe: Any, scheduler: Any) -> Tensor:
    text = pipe.encode_prompt(PROMPT, "cpu", 1, False)[0]
    scheduler.set_timesteps(2)
    latents = torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(0))
    for t in scheduler.timesteps:
        with torch.no_grad():
            predicted = pipe.unet(latents, t, encoder_hidden_states=text).sample
        latents = scheduler.step(predicted, t, latents).prev_sample
    return latents


def test_E5_a_loop_of_ones_own_is_guided_and_told_when_it_steps_another_scheduler(pipe: Any) -> None:
    with unbleed.guide(pipe, METHOD) as run:
        own_loop(pipe, pipe.scheduler)
    assert [step.step for step in run.steps] == [0, 1]
    message = (
        r"^the denoiser was called at timestep \d+ and then at \d+ with no step of the pipeline's DDIMScheduler in between"
    )
    with pytest.raises(unbleed.ModelError, match=message), unbleed.guide(pipe, METHOD):
        own_loop(pipe, d.DDIMScheduler.from_config(pipe.scheduler.config))


# ------------------------------------------------------------------------------------------------- B9, E13: threads


def in_thread(work: Callable[[], Any]) -> Any:
    """Return what `work` returns or raises in a thread of its own."""
    found: list[Any] = []

    def caught() -> None:
        try:
            found.append(work())
        except Exception as error:
            found.append(error)

    thread = threading.Thread(target=caught)
    thread.start()
    thread.join(timeout=60)
    return found[0]


@pytest.mark.usefixtures("untouched")
def test_B9_calls_of_another_thread_are_refused_and_change_nothing(pipe: Any, second: Any) -> None:
    with unbleed.guide(pipe, METHOD):
        expected = draw(pipe)
    refused = []

    def meanwhile(*_: Any) -> dict[str, Any]:
        refused.extend(in_thread(lambda one=one: one[0](one[1])) for one in ((draw, pipe), (redraw, own)))
        return {}

    own = made(type(second), pipe, scheduler=d.DDIMScheduler.from_config(pipe.scheduler.config))
    with unbleed.guide(pipe, METHOD) as run:
        assert torch.equal(draw(pipe, callback_on_step_end=meanwhile), expected)
    assert len(run.steps) == 2
    assert len(refused) == 4
    for error in refused:
        with pytest.raises(unbleed.ModelError, match=ELSEWHERE):
            raise error
    assert in_thread(lambda: torch.equal(draw(pipe), draw(pipe)))


@pytest.mark.usefixtures("untouched")
def test_B9_what_is_attached_serves_every_thread_one_at_a_time(pipe: Any) -> None:
    with unbleed.guide(pipe, METHOD):
        expected = draw(pipe)
    unbleed.attach(pipe, METHOD)
    try:
        assert torch.equal(in_thread(lambda: draw(pipe)), expected)
        assert torch.equal(draw(pipe), expected)

        def meanwhile(*_: Any) -> dict[str, Any]:
            in_thread(lambda: pipe.encode_prompt(PROMPT, "cpu", 1, True))
            return {}

        with pytest.raises(unbleed.ModelError, match=ELSEWHERE):
            draw(pipe, callback_on_step_end=meanwhile)
    finally:
        unbleed.detach(pipe)


@pytest.mark.usefixtures("untouched")
def test_E13_of_two_threads_that_guide_at_once_one_is_refused(pipe: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    own = attaching.refuse_guided

    def slowly(*owners: Any) -> None:
        own(*owners)
        time.sleep(0.05)  # between the check and the mark

    monkeypatch.setattr(attaching, "refuse_guided", slowly)
    start, leave = threading.Barrier(2), threading.Barrier(2)
    found: list[Any] = []

    def enter() -> None:
        start.wait(timeout=60)
        try:
            with unbleed.guide(pipe, METHOD):
                leave.wait(timeout=60)
            found.append(None)
        except unbleed.ModelError as error:
            found.append(error)
            leave.wait(timeout=60)

    threads = [threading.Thread(target=enter) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    (error,) = [one for one in found if one is not None]
    with pytest.raises(unbleed.ModelError, match=TWICE):
        raise error
    with unbleed.guide(pipe, METHOD):
        pass


@pytest.mark.usefixtures("untouched")
@pytest.mark.parametrize("method", [unbleed.methods.SynGen(resolution=7), unbleed.methods.SynGen()], ids=["method", "hook"])
def test_E13_a_pipeline_that_could_not_be_guided_is_free(pipe: Any, method: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise unbleed.ModelError("no text attention")

    monkeypatch.setattr(pipe.unet, "register_forward_pre_hook", fail)
    with pytest.raises(unbleed.ModelError, match="no text attention"), unbleed.guide(pipe, method):
        pass
    monkeypatch.undo()


# -------------------------------------------------------------------------------- E11: entered twice, parts replaced


@pytest.mark.usefixtures("untouched")
def test_E11_a_block_can_be_entered_again_but_not_inside_itself(pipe: Any) -> None:
    block = unbleed.guide(pipe, METHOD)
    with block as first:
        expected = draw(pipe)
    with block as again:
        assert torch.equal(draw(pipe), expected)
        with pytest.raises(unbleed.ModelError, match=TWICE), block:
            pass
        assert torch.equal(draw(pipe), expected)
    assert (len(first.steps), len(again.steps)) == (2, 4)


def test_E11_a_pipeline_that_encodes_no_prompt_is_told_so(pipe: Any) -> None:
    class Silent(d.StableDiffusionPipeline):
        def __call__(self) -> None:  # type: ignore[override]
            self.unet(torch.zeros(1, 4, 16, 16), torch.tensor(1), encoder_hidden_states=torch.zeros(1, 32, 16))

    silent = made(Silent, pipe)
    message = r"^the Silent ran its denoiser without a call of its encode_prompt, so there are no words to guide by"
    with pytest.raises(unbleed.PromptError, match=message), unbleed.guide(silent, METHOD):
        silent()


@pytest.mark.parametrize("when", ["before a call", "within a call"])
def test_E11_a_denoiser_that_is_swapped_is_refused(make_tiny_sd: Callable[..., Any], when: str) -> None:
    own = make_tiny_sd()
    first, other = own.unet, copy.deepcopy(own.unet)

    def swap(*_: Any) -> dict[str, Any]:
        own.unet = other
        return {}

    message = r"^the StableDiffusionPipeline has another denoiser than the one that is guided; if it was replaced, leave the"
    with unbleed.guide(own, METHOD):
        if when == "before a call":
            swap()
        with pytest.raises(unbleed.ModelError, match=message):
            draw(own, callback_on_step_end=swap)
    own.unet = first
    with unbleed.guide(own, METHOD) as run:
        draw(own)
    assert len(run.steps) == 2


# -------------------------------------------------------------------------- E7, E8: what cannot be followed is refused


@pytest.mark.filterwarnings("ignore:.*:FutureWarning", "ignore:.*deprecated:UserWarning")
@pytest.mark.parametrize(
    ("kind", "why"),
    [
        (
            "StableDiffusionSAGPipeline",
            r"runs the denoiser again on blurred latents \(self-attention guidance\), which guidance",
        ),
        ("StableDiffusionPanoramaPipeline", "denoises overlapping parts of one image, and each would be guided as if"),
    ],
)
def test_E7_E8_loops_that_denoise_other_latents_are_refused(pipe: Any, kind: str, why: str) -> None:
    other = made(getattr(d, kind), pipe)
    with pytest.raises(unbleed.ModelError, match=f"^{kind} {why}"), unbleed.guide(other, METHOD):
        pass


class Blurred(d.StableDiffusionPipeline):
    """Its own kind of self-attention guidance: a second call of the denoiser in each step, on other latents."""

    blur = 0.0
    given = 1.0  # of the latents, to the scheduler
    repeated = 1

    def __call__(self, prompt: str) -> Tensor:  # type: ignore[override]
        text = self.encode_prompt(prompt, "cpu", 1, False)[0]
        self.scheduler.set_timesteps(4)
        latents = torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(0))
        for t in self.scheduler.timesteps.repeat_interleave(self.repeated):
            with torch.no_grad():
                predicted = self.unet(latents, t, encoder_hidden_states=text).sample
                self.unet(latents + self.blur, t, encoder_hidden_states=text)
            latents = self.scheduler.step(predicted, t, latents * self.given).prev_sample
        return latents


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"blur": 0.1}, r"^the denoiser was called twice in a step, the second time on other latents, as self-attention"),
        ({"given": 0.5}, r"^the scheduler is given other latents \(1, 4, 16, 16\) than the denoiser \(1, 4, 16, 16\), as Sana"),
        (
            {"repeated": 2},
            r"^step 1 of the run should be at timestep 501, but the denoiser was called at 751: the pipeline does",
        ),
    ],
)
def test_E7_E8_a_loop_that_guidance_cannot_follow_is_told_so(pipe: Any, changes: dict[str, float], message: str) -> None:
    other = made(Blurred, pipe)
    with unbleed.guide(other, METHOD) as run:
        other(PROMPT)
    assert len(run.steps) == 4
    for name, value in changes.items():
        setattr(other, name, value)
    with pytest.raises(unbleed.ModelError, match=message), unbleed.guide(other, METHOD):
        other(PROMPT)


@pytest.mark.parametrize("package", ["DeepCache", "cache_dit", "para_attn"])
def test_E8_packages_that_skip_layers_are_refused(pipe: Any, package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    made_there: dict[str, Any] = {"__name__": f"{package}.extension"}
    exec("def forward(*args, **kwargs): ...", made_there)
    monkeypatch.setitem(vars(pipe.unet.mid_block), "forward", made_there["forward"])
    message = rf"^the denoiser's forward was replaced by {package}, which skips layers, so its maps would be stale; "
    with pytest.raises(unbleed.ModelError, match=message), unbleed.guide(pipe, METHOD):
        pass


def test_E8_the_message_about_rows_agrees_with_itself(pipe: Any) -> None:
    class Tripled(Blurred):
        def __call__(self, prompt: str) -> None:  # type: ignore[override]
            text = self.encode_prompt(prompt, "cpu", 1, False)[0]
            self.unet(torch.zeros(3, 4, 16, 16), torch.tensor(1), encoder_hidden_states=torch.cat([text] * 3))

        do_classifier_free_guidance = True

    tripled = made(Tripled, pipe)
    message = r"^the denoiser was called with 3 rows, but 1 image and do_classifier_free_guidance=True make 2; pipelines"
    with pytest.raises(unbleed.ModelError, match=message), unbleed.guide(tripled, METHOD):
        tripled(PROMPT)


# ----------------------------------------------------------------------------------------------------- B17: two kinds


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_B17_guides_on_one_scheduler_may_end_in_any_order(make_tiny_sd: Callable[..., Any], order: tuple[int, int]) -> None:
    pipes = [make_tiny_sd(), make_tiny_sd()]
    pipes[1].scheduler = pipes[0].scheduler
    plain = draw(pipes[0])
    with unbleed.guide(pipes[0], METHOD):
        guided = draw(pipes[0])
    blocks = [unbleed.guide(one, METHOD) for one in pipes]
    for block in blocks:
        block.__enter__()
    assert all(torch.equal(draw(one), guided) for one in pipes)
    blocks[order[0]].__exit__(None, None, None)
    assert torch.equal(draw(pipes[order[0]]), plain)
    assert torch.equal(draw(pipes[order[1]]), guided)
    blocks[order[1]].__exit__(None, None, None)
    assert not [key for key in vars(pipes[0].scheduler) if callable(vars(pipes[0].scheduler)[key]) or "unbleed" in key]
    assert torch.equal(draw(pipes[1]), plain)


def test_B17_a_label_has_the_settings_of_the_folder_of_the_denoiser() -> None:
    pipe = unbleed.load("emoji")
    suited = method_for(pipe, "syngen").settings()
    assert suited != unbleed.methods.SynGen().settings()
    assert method_for(made(d.StableDiffusionImg2ImgPipeline, pipe), "syngen").settings() == suited
    alone = d.UNet2DConditionModel.from_pretrained(Path(pipe.name_or_path) / "unet")
    assert method_for(made(d.StableDiffusionPipeline, pipe, unet=alone), "syngen").settings() == suited
    assert (
        method_for(made(d.StableDiffusionImg2ImgPipeline, pipe), "syngen@paper").settings()
        == unbleed.methods.SynGen().settings()
    )


def test_B17_a_label_of_a_block_has_the_settings_of_the_folder_too(tokenizer: CLIPTokenizer, tmp_path: Path) -> None:
    base = tiny.make("sdxl", tokenizer)
    base.save_pretrained(tmp_path)
    (tmp_path / "unbleed.json").write_text('{"methods": {"syngen": {"step_size": 3.5, "stop": 0.75}}}')
    unet = d.UNet2DConditionModel.from_pretrained(tmp_path, subfolder="unet")
    blocks = StableDiffusionXLAutoBlocks()
    guidance = add_guidance(blocks, "syngen")
    pipe = blocks.init_pipeline()
    components = {key: value for key, value in base.components.items() if value is not None}
    pipe.update_components(**{**components, "unet": unet})
    pipe.set_progress_bar_config(disable=True)
    pipe(prompt=PROMPT, output="latents", height=128, width=128, num_inference_steps=4)
    assert guidance.method.settings()["step_size"] == 3.5
    assert [step.step for step in guidance.run.steps] == [0, 1, 2]


# ------------------------------------------------------------------------------------------------- E1: every scheduler


@pytest.fixture(scope="module")
def pipelines(tokenizer: CLIPTokenizer) -> list[Any]:
    return every_scheduler.pipelines(tokenizer)


RUNNING = [(kind, {}) for kind in every_scheduler.kinds() if kind.__name__ not in every_scheduler.CANNOT]
RUNNING.append((d.PNDMScheduler, {"skip_prk_steps": True}))


@pytest.mark.parametrize(("kind", "config"), RUNNING, ids=[kind.__name__ + "".join(config) for kind, config in RUNNING])
@pytest.mark.filterwarnings("ignore")  # of schedulers that were made for other pipelines
def test_E1_half_of_the_levels_is_guided_under_every_scheduler(kind: Any, config: dict[str, Any], pipelines: list[Any]) -> None:
    try:
        row = every_scheduler.row_of(kind, pipelines, **config)
    except ImportError as error:
        pytest.skip(str(error).strip().splitlines()[0])
    assert len(row.guided) == len(set(row.guided)) == every_scheduler.STEPS / 2
    assert row.moved
    assert row.same


@pytest.mark.parametrize("kind", [k for k in every_scheduler.kinds() if k.__name__ in every_scheduler.CANNOT])
@pytest.mark.filterwarnings("ignore")
def test_E1_a_scheduler_that_is_left_out_runs_in_no_pipeline(kind: Any, pipelines: list[Any]) -> None:
    for pipe in pipelines:
        with pytest.raises((AttributeError, KeyError, RuntimeError, TypeError, ValueError)):
            every_scheduler.row(kind, pipe)


def test_E1_no_scheduler_is_forgotten() -> None:
    names = {kind.__name__ for kind in every_scheduler.kinds()}
    assert set(every_scheduler.CANNOT) < names
    assert {kind.name for kind in d.schedulers.KarrasDiffusionSchedulers} <= names


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of numpy, by the schedulers
@pytest.mark.parametrize("kind", [d.HeunDiscreteScheduler, d.KDPM2DiscreteScheduler, d.KDPM2AncestralDiscreteScheduler])
def test_E1_levels_are_those_at_which_steps_begin(kind: Any) -> None:
    scheduler = kind(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")
    scheduler.set_timesteps(20)
    calls = len(scheduler.timesteps)
    levels = Levels(scheduler, float(scheduler.timesteps[0]), paper=False)
    places = [place for place in map(levels.turn, range(calls)) if place]
    expected = torch.linspace(999, 0, 20).tolist()
    assert [place.timestep for place in places] == pytest.approx(expected, abs=0.01)
    assert [place.index for place in places] == list(range(20))
    assert {(place.steps, place.asked) for place in places} == {(20, 20)}


def test_E1_pndm_is_guided_at_the_visit_whose_latents_it_keeps() -> None:
    """It visits its second level twice, and goes on from the second visit; with Runge-Kutta steps, three inner calls each."""
    for skip, kept in ((True, [0, 2, 3, 4, 5]), (False, [0, 4, 8, 12, 13])):
        scheduler = d.PNDMScheduler(skip_prk_steps=skip)
        scheduler.set_timesteps(5)
        calls = len(scheduler.timesteps)
        levels = Levels(scheduler, float(scheduler.timesteps[0]), paper=False)
        assert [call for call in range(calls) if levels.turn(call)] == kept
        kept_samples = []
        for call in range(calls):
            sample = torch.full((1,), 1.0)
            other = copy.deepcopy(scheduler)
            a = scheduler.step(torch.zeros(1), scheduler.timesteps[call], sample).prev_sample
            b = other.step(torch.zeros(1), other.timesteps[call], sample + 1).prev_sample
            if not torch.equal(a, b):
                kept_samples.append(call)
        assert kept_samples == kept
