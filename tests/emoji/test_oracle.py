"""The oracle: decoding, the pictures that it learns from, its training, and what its evaluation counts."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from unbleed import load
from unbleed.cli import main
from unbleed.emoji import networks
from unbleed.emoji.findings import Finding, Sighting
from unbleed.emoji.oracle import (
    BLEND,
    GRID,
    LOOKS,
    ORACLE_FILE,
    ORACLE_FOLDER,
    SIDE,
    Answer,
    Oracle,
    OracleNetwork,
    Thresholds,
    decode,
    from_pixels,
)
from unbleed.emoji.scenes import Thing, draw_scene, sample_scene
from unbleed.emoji.sprites import COLOURS, NOUNS, find_font
from unbleed.emoji.training.oracle import ORACLE_PRESETS, Tally, Truth, degrade, loss_parts, train_oracle
from unbleed.emoji.training.oracle_evaluate import blend_recall, evaluate, matches, summary
from unbleed.emoji.training.oracle_redraw import from_latents, outlasted, redraw, round_trip
from unbleed.emoji.training.oracle_scenes import (
    EVERY_PAIR,
    WAYS,
    Blend,
    blend_pixels,
    blend_scene,
    draw,
    draw_all,
    learning_scene,
    melt,
)
from unbleed.errors import ModelError, TrainingError

LOW = Thresholds(0.5, 0.5)


@pytest.fixture(scope="session")
def font() -> Path:
    try:
        return find_font()
    except TrainingError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def pipe(tmp_path_factory: pytest.TempPathFactory) -> networks.StableDiffusionPipeline:
    """An emoji model that has learnt nothing."""
    torch.manual_seed(0)
    vocabulary = networks.tokenizer(tmp_path_factory.mktemp("vocabulary"))
    pipe = networks.assemble(
        networks.autoencoder().eval(), networks.text_encoder(vocabulary).eval(), vocabulary, networks.denoiser().eval()
    )
    for part in (pipe.vae, pipe.text_encoder, pipe.unet):
        part.requires_grad_(False)
    return pipe


@pytest.fixture
def empty() -> Answer:
    """The answer for one picture that shows nothing."""
    sizes = (BLEND + 1, len(LOOKS), 4)
    answer = Answer(*(torch.zeros(1, size, GRID, GRID) for size in sizes))
    answer.heat.fill_(-9)
    return answer


def put(answer: Answer, kind: int, row: int, column: int, sure: float, side: float, look: int = 0) -> None:
    """Write a thing into an answer, a quarter of a place right of the middle of its own, `side` places wide and high."""
    answer.heat[0, kind, row, column] = math.log(sure / (1 - sure))
    answer.box[0, :, row, column] = torch.tensor([0.25, 0.0, side, side])
    answer.colour[0, look, row, column] = 5


# ------------------------------------------------------------------------------------------------------ decoding


def test_peaks_become_things_with_their_colour_and_box(empty: Answer) -> None:
    put(empty, NOUNS.index("cat"), 4, 3, 0.9, 4, LOOKS.index("red"))
    put(empty, NOUNS.index("bench"), 10, 11, 0.8, 6)
    put(empty, BLEND, 3, 12, 0.7, 4)
    put(empty, NOUNS.index("dog"), 14, 2, 0.4, 4)  # below the threshold
    (finding,) = decode(empty, LOW)
    cat, bench = finding.things
    assert (cat.noun, cat.colour, bench.noun, bench.colour) == ("cat", "red", "bench", None)
    assert cat.box == pytest.approx((1.75 / 16, 2.5 / 16, 5.75 / 16, 6.5 / 16))
    assert cat.confidence == pytest.approx(0.9, abs=1e-5)
    assert finding.blends == (pytest.approx((10.75 / 16, 1.5 / 16, 14.75 / 16, 5.5 / 16)),)
    assert Finding.from_json(json.loads(json.dumps(finding.to_json()))) == finding
    assert decode(empty, Thresholds(0.85, 0.75)) == [Finding((cat,))]


def test_one_thing_has_one_name(empty: Answer) -> None:
    put(empty, NOUNS.index("cat"), 4, 4, 0.8, 5)
    put(empty, NOUNS.index("dog"), 4, 4, 0.7, 5)  # another noun at the same place
    put(empty, NOUNS.index("cat"), 4, 5, 0.75, 5)  # beside the peak
    put(empty, NOUNS.index("cat"), 6, 4, 0.6, 6)  # a second peak on the same thing
    put(empty, BLEND, 5, 5, 0.55, 5)
    put(empty, NOUNS.index("cat"), 12, 12, 0.9, 5)  # a second cat
    (finding,) = decode(empty, LOW)
    assert [(t.noun, round(t.confidence, 2)) for t in finding.things] == [("cat", 0.9), ("cat", 0.8)]
    assert not finding.blends
    put(empty, BLEND, 5, 5, 0.95, 5)
    (finding,) = decode(empty, LOW)
    assert len(finding.things) == 1  # the surest has the place, be it a blend
    assert len(finding.blends) == 1


def test_what_the_network_is_to_answer_decodes_to_the_scene(font: Path) -> None:
    scenes = [learning_scene(3, i) for i in range(200)]
    truth = Truth(scenes, torch.device("cpu"))
    answer = Answer(*(torch.zeros(len(scenes), size, GRID, GRID) for size in (BLEND + 1, len(LOOKS), 4)))
    picture, row, column = truth.places.unbind(dim=1)
    answer.heat.copy_(truth.heat.clamp(1e-4, 1 - 1e-4).logit())
    answer.box[picture, :, row, column] = truth.boxes
    coloured = truth.looks >= 0
    answer.colour[picture[coloured], truth.looks[coloured], row[coloured], column[coloured]] = 1
    for scene, finding in zip(scenes, decode(answer, Thresholds(0.99, 0.99)), strict=True):
        things = [item for item in scene if isinstance(item, Thing)]
        pairs = matches(things, finding)
        assert len(pairs) == len(things)
        assert all(thing.colour == sighting.colour for thing, sighting in pairs)
        for thing, sighting in pairs:
            assert sighting.box == pytest.approx(thing.box, abs=1e-5)
        assert len(finding.blends) == sum(isinstance(item, Blend) and not item.is_one_noun for item in scene)
    parts = loss_parts(answer, truth)
    assert parts["focal"] < 0.05
    assert parts["box"] < 1e-6


# ------------------------------------------------------------------------------------------------------ pictures


def test_learning_scenes_hold_all_that_the_oracle_is_to_tell_apart() -> None:
    assert learning_scene(1, 5) == learning_scene(1, 5)
    scenes = [learning_scene(1, i) for i in range(3000)]
    assert {len(scene) for scene in scenes} == {0, 1, 2, 3, 4}
    blends = [item for scene in scenes for item in scene if isinstance(item, Blend)]
    assert {blend.way for blend in blends} == set(WAYS)
    blended = sum(any(isinstance(item, Blend) and not item.is_one_noun for item in scene) for scene in scenes)
    assert 0.28 < blended / len(scenes) < 0.38
    assert any(blend.is_one_noun for blend in blends)
    nouns = [[item.noun for item in scene if isinstance(item, Thing)] for scene in scenes]
    assert any(len(set(names)) < len(names) for names in nouns)  # a noun twice


@pytest.mark.parametrize("way", WAYS)
def test_a_blend_is_neither_of_its_nouns(way: str, font: Path) -> None:
    rng = np.random.default_rng(0)
    for _ in range(40):
        first, second = (str(noun) for noun in rng.choice(NOUNS, size=2, replace=False))
        look = (None, "red")[rng.integers(2)]
        blend = Blend(Thing(first, look, (0.2, 0.2, 0.8, 0.8)), Thing(second, look, (0.2, 0.2, 0.8, 0.8)), way, 7)
        mixed = blend_pixels(blend, font)
        one, other = (blend_pixels(replace(blend, first=thing, second=thing), font) for thing in (blend.first, blend.second))
        apart = np.abs(one - other).sum()
        assert mixed.min() > -1e-5
        for noun in (one, other):
            assert np.abs(mixed - noun).sum() > 0.25 * apart


def test_scenes_without_blends_are_drawn_as_ever_and_blends_beside_them(font: Path) -> None:
    things = sample_scene(4, 3, EVERY_PAIR)
    picture = draw(things, np.random.default_rng(1), font)
    assert np.array_equal(picture, draw_scene(things, SIDE, np.random.default_rng(1), font))
    assert np.array_equal(*(draw_all([blend_scene(4, 9)], 4, 9, font) for _ in range(2)))
    blend, *others = blend_scene(4, next(i for i in range(99) if len(blend_scene(4, i)) == 2))
    assert isinstance(blend, Blend)
    alone = draw((blend,), np.random.default_rng(1), font)
    ground = draw((), np.random.default_rng(1), font)
    left, top, right, bottom = (round(edge * SIDE) for edge in blend.box)
    changed = (alone != ground).any(axis=-1)
    assert changed[top:bottom, left:right].mean() > 0.1
    changed[top : bottom + 1, left : right + 1] = False
    assert not changed.any()
    assert others


def test_degraded_pictures_depend_on_seed_and_step_alone(font: Path, pipe: networks.StableDiffusionPipeline) -> None:
    vae = pipe.vae
    pictures = from_pixels(draw_all([learning_scene(0, i) for i in range(6)], 0, 0, font))
    before = pictures.clone()
    first, second, other = (degrade(pictures, vae, 0.5, 0, step) for step in (4, 4, 5))
    torch.testing.assert_close(first, second, atol=0, rtol=0)
    assert not torch.equal(first, other)
    assert torch.equal(pictures, before)
    assert first.shape == pictures.shape
    assert first.abs().max() <= 1
    assert round_trip(vae, pictures).shape == pictures.shape


def test_redrawn_pictures_depend_on_seed_and_index_alone(font: Path, pipe: networks.StableDiffusionPipeline) -> None:
    scenes = [*(learning_scene(0, i) for i in range(3)), ()]
    pictures = from_pixels(draw_all(scenes, 0, 0, font))
    before = pictures.clone()
    one, again, seeded, moved = (redraw(pipe, pictures, scenes, *n) for n in ((7, 0), (7, 0), (8, 0), (7, 32)))
    torch.testing.assert_close(one, again, atol=0, rtol=0)
    assert not torch.equal(one, seeded)
    assert not torch.equal(one, moved)
    assert torch.equal(pictures, before)
    assert one.dtype == torch.float16
    assert one.shape == (4, networks.LATENT_CHANNELS, networks.LATENT_SIDE, networks.LATENT_SIDE)
    # neighbours share the strength alone
    torch.testing.assert_close(redraw(pipe, pictures[:2], scenes[:2], 7, 0), one[:2], atol=0.05, rtol=0.05)
    assert redraw(pipe, pictures[:0], [], 7, 0).shape == (0, *one.shape[1:])
    picture = from_latents(pipe.vae, one)
    assert picture.shape == pictures.shape
    assert picture.dtype == torch.float32
    assert picture.abs().max() <= 1


def test_redrawing_asks_for_all_that_is_there_in_few_steps(
    font: Path, pipe: networks.StableDiffusionPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[list[str]] = []
    steps: list[float] = []
    tokenize, step = pipe.tokenizer.__class__.__call__, pipe.scheduler.__class__.step

    def hear(self: object, text: list[str], *rest: object, **more: object) -> object:
        asked.append(text)
        return tokenize(self, text, *rest, **more)

    def count(self: object, output: torch.Tensor, t: torch.Tensor, *rest: object, **more: object) -> object:
        steps.append(float(t))
        return step(self, output, t, *rest, **more)

    monkeypatch.setattr(pipe.tokenizer.__class__, "__call__", hear)
    monkeypatch.setattr(pipe.scheduler.__class__, "step", count)
    cat, dog = Thing("cat", "red", LEFT), Thing("dog", None, RIGHT)
    scenes = [(cat, dog), (Blend(cat, replace(dog, box=LEFT), "seam", 3), dog), (), (dog,) * 9]
    for first in range(5):
        steps.clear()
        redraw(pipe, torch.zeros(4, 3, SIDE, SIDE), scenes, 0, first)
        assert len(steps) in (2, 3)
        assert max(steps) < 400
    assert asked[0] == ["a red cat and a dog", "a red cat and a dog and a dog", "", " and ".join(["a dog"] * 5)]


def test_a_blend_outlasts_until_it_is_one_of_its_things(font: Path) -> None:
    scenes = [blend_scene(4, i) for i in range(4)]
    pictures = from_pixels(draw_all(scenes, 4, 0, font))
    grain = 0.05 * torch.randn(pictures.shape, generator=torch.Generator().manual_seed(0))
    assert outlasted(pictures + grain, scenes, 4, 0, font) == [True] * 4
    for become in ("first", "second"):
        changed = [(getattr(scene[0], become), *scene[1:]) for scene in scenes]
        assert outlasted(from_pixels(draw_all(changed, 4, 0, font)) + grain, scenes, 4, 0, font) == [False] * 4
    things = [sample_scene(4, 0, EVERY_PAIR), (melt(scenes[0][0].first, np.random.default_rng(0), same_noun=True),)]  # type: ignore[union-attr]
    assert outlasted(pictures[:2], things, 4, 0, font) == [True, True]  # nothing to lose


def test_the_model_redraws_what_was_there(font: Path) -> None:
    model = load("emoji", device="cpu")
    scenes = [(Thing("cat", "red", (0.2, 0.2, 0.8, 0.8)),), (Thing("bowl", None, (0.25, 0.3, 0.75, 0.8)),)]
    pictures = from_pixels(draw_all(scenes, 0, 0, font))
    redrawn = from_latents(model.vae, redraw(model, pictures, scenes, 0, 0))
    off = ((redrawn - pictures).abs() / 2).mean(dim=(1, 2, 3))
    assert off.max() < 0.1
    assert off.min() > 0.005  # it has changed


# ------------------------------------------------------------------------------------------------------ training

SMOKE = ORACLE_PRESETS["smoke"]


@pytest.mark.slow
def test_a_stopped_training_goes_on_and_saves_an_oracle(
    tmp_path: Path, font: Path, pipe: networks.StableDiffusionPipeline
) -> None:
    told: list[tuple[str, int, int]] = []

    def hear(stage: str, step: int, steps: int, _: float | None) -> None:
        told.append((stage, step, steps))

    def stop(stage: str, step: int, *rest: object) -> None:
        hear(stage, step, *rest)  # type: ignore[arg-type]
        if step == 3:
            raise KeyboardInterrupt

    train_oracle(tmp_path / "straight", SMOKE, pipe=pipe, font=font, save_every=1)
    with pytest.raises(KeyboardInterrupt):
        train_oracle(tmp_path / "stopped", SMOKE, pipe=pipe, font=font, save_every=1, report=stop)
    path = train_oracle(tmp_path / "stopped", SMOKE, pipe=pipe, font=font, save_every=1, report=hear)
    # redrawn once, then read; a step is saved before it is reported, so none is done twice
    assert told == [("redrawn", 8, 8), *(("oracle", step, 4) for step in (1, 2, 3, 4))]
    pool = load_file(tmp_path / "stopped/work/redrawn.safetensors")
    assert 0 < len(pool["numbers"]) == len(pool["latents"]) <= SMOKE.redrawn
    straight, stopped = (load_file(tmp_path / name / "work/oracle-state.safetensors") for name in ("straight", "stopped"))
    for key, value in straight.items():
        torch.testing.assert_close(stopped[key], value, atol=1e-5, rtol=1e-3, msg=lambda text, key=key: f"{key}: {text}")
    assert path.stat().st_size < 5e6
    oracle = Oracle.load(tmp_path / "stopped")
    assert len(oracle.fingerprint) == 16
    images = [Image.new("RGB", (64, 80), "red"), Image.new("RGBA", (SIDE, SIDE)), Image.new("L", (300, 200), 255)]
    assert oracle.look(images, batch_size=2) == oracle.look(images, batch_size=2)
    assert oracle.look([]) == []
    with pytest.raises(TrainingError, match="another rate"):
        train_oracle(tmp_path / "stopped", replace(SMOKE, rate=1.0), pipe=pipe, font=font)


@pytest.mark.slow
def test_it_learns_which_noun_is_where(font: Path) -> None:
    """The loss of a small batch, seen again and again, falls to a fraction."""
    torch.manual_seed(0)
    network = OracleNetwork()
    scenes = [sample_scene(0, i, EVERY_PAIR) for i in range(8)]
    pictures, truth = from_pixels(draw_all(scenes, 0, 0, font)), Truth(scenes, torch.device("cpu"))
    optimiser = torch.optim.AdamW(network.parameters(), lr=3e-3)
    losses = []
    for _ in range(25):
        loss = sum(loss_parts(network(pictures), truth).values(), torch.zeros(()))
        loss.backward()
        optimiser.step()
        optimiser.zero_grad()
        losses.append(loss.item())
    assert losses[-1] < 0.3 * losses[0]
    assert sum(p.numel() for p in network.parameters()) < 2.3e6


def test_what_cannot_be_loaded_is_said(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="train-oracle"):
        Oracle.load(tmp_path)
    (tmp_path / ORACLE_FILE).write_bytes(b"no tensors")
    with pytest.raises(ModelError, match="cannot be used"):
        Oracle.load(tmp_path)
    save_file(OracleNetwork().state_dict(), tmp_path / ORACLE_FILE)
    with pytest.raises(ModelError, match="noun_threshold"):
        Oracle.load(tmp_path)
    facts = {"noun_threshold": "0.4", "blend_threshold": "0.6"}
    save_file({"weight": torch.zeros(1)}, tmp_path / ORACLE_FILE, facts)
    with pytest.raises(ModelError, match="cannot be used"):
        Oracle.load(tmp_path)
    save_file(OracleNetwork().state_dict(), tmp_path / ORACLE_FILE, facts)
    assert Oracle.load(tmp_path).thresholds == Thresholds(0.4, 0.6)


# ---------------------------------------------------------------------------------------------------- evaluation

LEFT, RIGHT = (0.05, 0.3, 0.45, 0.7), (0.55, 0.3, 0.95, 0.7)


SCENE_RATES = ("presence", "colour", "count", "centre_error_pixels")


def seen(noun: str, colour: str | None = None, box: tuple[float, float, float, float] = LEFT) -> Sighting:
    return Sighting(noun, colour, box, 0.9)


def test_an_entity_is_right_when_its_noun_is_seen_as_often_as_it_is_there() -> None:
    cat, dog = Thing("cat", "red", LEFT), Thing("dog", None, RIGHT)
    cases = [
        ([cat, dog], [seen("cat"), seen("dog")], Tally(2, 2, 0)),
        ([cat, dog], [seen("dog")], Tally(1, 2, 0)),
        ([cat], [seen("cat"), seen("bow")], Tally(1, 1, 1)),  # a false alarm
        ([cat], [seen("cat"), seen("cat")], Tally(0, 1, 1)),  # one of them too many
        ([cat, cat], [seen("cat")], Tally(0, 2, 0)),
        ([cat, cat], [seen("cat"), seen("cat")], Tally(2, 2, 0)),
        ([], [seen("cat")], Tally(0, 0, 1)),
    ]
    for things, sightings, expected in cases:
        assert Tally.of(things, Finding(tuple(sightings))) == expected
    assert Tally(3, 4, 1).presence == pytest.approx(3 / 5)
    assert math.isnan(Tally().presence)


def test_sightings_belong_to_the_nearest_thing_of_their_noun() -> None:
    one, other = Thing("cat", "red", LEFT), Thing("cat", "blue", RIGHT)
    near = tuple(edge + 0.02 for edge in RIGHT)
    finding = Finding((seen("cat", "blue", near), seen("dog", None, LEFT), seen("cat", "red")))  # type: ignore[arg-type]
    assert [(t.colour, s.colour) for t, s in matches([one, other], finding)] == [("red", "red"), ("blue", "blue")]
    assert matches([one, other], Finding((seen("cat", "pink", near),)))[0][0] == other  # type: ignore[arg-type]


def test_the_rates_are_those_of_hand_made_findings() -> None:
    moved = (LEFT[0] + 0.03, LEFT[1] + 0.04, LEFT[2] + 0.03, LEFT[3] + 0.04)  # by 0.05 of the side
    cat, dog = Thing("cat", "red", LEFT), Thing("dog", None, RIGHT)
    clean = [
        ([cat, dog], Finding((seen("cat", "red", moved), seen("dog", None, RIGHT)))),
        ([cat], Finding((seen("cat", "orange"),))),
        ([dog], Finding((seen("dog", None, RIGHT), seen("bow")))),
    ]
    decoded = [([cat, dog], Finding((seen("cat", "red"),)))]
    redrawn = [([dog], Finding((seen("dog", "blue", RIGHT),)))]
    rates = summary(clean, decoded, redrawn)
    assert rates["presence"] == pytest.approx(4 / 5)
    assert rates["colour"] == pytest.approx(3 / 4)
    assert rates["count"] == pytest.approx(2 / 3)
    assert rates["centre_error_pixels"] == pytest.approx(0.05 * SIDE / 4)
    assert (rates["presence_round_trip"], rates["colour_round_trip"], rates["count_round_trip"]) == (0.5, 1.0, 0.0)
    assert (rates["presence_redrawn"], rates["colour_redrawn"], rates["count_redrawn"]) == (1.0, 0.0, 1.0)
    assert rates["centre_error_pixels_redrawn"] == pytest.approx(0)
    assert rates["per_noun"]["cat"] == {
        "error": 0.0,
        "error_round_trip": 0.0,
        "error_redrawn": pytest.approx(math.nan, nan_ok=True),
    }
    assert rates["per_noun"]["dog"] == {"error": 0.0, "error_round_trip": 1.0, "error_redrawn": 0.0}
    assert rates["per_colour"]["natural"]["error_redrawn"] == 1.0
    assert rates["per_noun"]["bow"]["error"] == 1.0
    assert math.isnan(rates["per_noun"]["lion"]["error"])
    assert rates["per_colour"]["red"]["error"] == pytest.approx(1 / 2)
    assert rates["per_colour"]["natural"]["error"] == 0.0
    assert set(rates["per_colour"]) == {"natural", *COLOURS}


def test_a_blend_is_found_where_it_is() -> None:
    blend = melt(Thing("cat", None, LEFT), np.random.default_rng(0))
    findings = [Finding(blends=(LEFT,)), Finding(blends=(RIGHT,)), Finding((seen("cat"),)), Finding(blends=(RIGHT, LEFT))]
    assert blend_recall([(blend, Thing("dog", None, RIGHT))] * 4, findings) == 0.5


def test_an_evaluation_is_one_document_for_json(font: Path, pipe: networks.StableDiffusionPipeline) -> None:
    found = evaluate(Oracle(OracleNetwork(), LOW), pipe, font, scenes=3, seed=1)
    assert (found["scenes"], found["seed"]) == (3, 1)
    assert json.loads(json.dumps(found))["oracle"]["presence"] == 0.0  # it has learnt nothing
    scenes = {f"{key}{v}" for key in SCENE_RATES for v in ("", "_round_trip", "_redrawn")}
    blends = {f"{key}{v}" for key in ("blend_recall", "blend_false_alarm") for v in ("", "_redrawn")}
    assert found["oracle"].keys() == scenes | blends | {"per_noun", "per_colour"}


# -------------------------------------------------------------------------------------------------- command line


@pytest.mark.slow
def test_the_commands_train_and_measure_an_oracle(
    tmp_path: Path, font: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def call(*arguments: str) -> tuple[int, str, str]:
        return (main(["emoji", *arguments]), *capsys.readouterr())

    monkeypatch.setenv("COLUMNS", "80")
    code, printed, _ = call("train-oracle", "--out", str(tmp_path), "--preset", "smoke", "--json")
    assert code == 0
    assert json.loads(printed)["path"] == str(tmp_path / ORACLE_FILE)
    code, printed, _ = call("evaluate", "--oracle", str(tmp_path), "--scenes", "2", "--json")
    assert code == 0
    assert json.loads(printed)["fingerprint"] == Oracle.load(tmp_path).fingerprint
    code, printed, _ = call("evaluate", "--oracle", str(tmp_path), "--scenes", "2")
    assert code == 0
    assert all(word in printed for word in ("elephant", "natural", "seen where there is none", "redrawn"))
    assert "…" not in printed
    assert max(len(line) for line in printed.splitlines()) <= 80
    for arguments, message in (
        (["evaluate", "--oracle", str(tmp_path / "none")], "no oracle at"),
        (["evaluate", "--oracle", str(tmp_path), "--scenes", "0"], "scenes"),
        (["evaluate", "--oracle", str(tmp_path), "--font", str(tmp_path / "none.ttf")], "fonts-noto-color-emoji"),
        (["train-oracle", "--out", str(tmp_path), "--preset", "huge"], "known: release, smoke"),
        (["train-oracle", "--out", str(tmp_path / "o.png")], "names a picture"),
        (["train-oracle", "--out", str(tmp_path), "--device", "warp"], 'device "warp" cannot be used'),
    ):
        code, printed, complaint = call(*arguments)
        assert (code, printed) == (2, "")
        assert message in complaint
        assert complaint.count("\n") == 1


@pytest.mark.parametrize(
    ("channels", "message"),
    [
        (4, "dit has an autoencoder of 4 latent channels; expected an emoji model, which has 8"),
        (8, "dit has no text_encoder and no tokenizer; expected an emoji model"),
    ],
)
def test_a_model_that_is_no_emoji_model_is_refused(
    channels: int,
    message: str,
    tmp_path: Path,
    font: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    vae = SimpleNamespace(config=SimpleNamespace(latent_channels=channels))
    other = SimpleNamespace(vae=vae, transformer=object(), scheduler=object())
    monkeypatch.setattr("unbleed.cli.emoji.load_pipeline", lambda *_: other)
    code = main(["emoji", "train-oracle", "--model", "dit", "--out", str(tmp_path / "out")])
    printed, complaint = capsys.readouterr()
    assert (code, printed) == (2, "")
    assert message in complaint
    assert complaint.count("\n") == 1


# -------------------------------------------------------------------------------------------- the shipped weights


@pytest.mark.slow
def test_the_shipped_oracle_sees_what_is_there(font: Path) -> None:
    assert {file.suffix for file in ORACLE_FOLDER.iterdir()} <= {".json", ".safetensors", ".md"}
    assert (ORACLE_FOLDER / ORACLE_FILE).stat().st_size < 5e6
    rates = evaluate(Oracle.load(), load("emoji", device="cpu"), font, scenes=96, seed=77)["oracle"]
    assert min(rates["presence"], rates["colour"]) > 0.96
    assert min(rates["presence_round_trip"], rates["colour_round_trip"]) > 0.93
    assert rates["blend_recall"] > 0.8
    assert rates["blend_false_alarm"] < 0.06
