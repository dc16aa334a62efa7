"""First noises arranged for given regions: the pieces, and what becomes of them in a run."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import CLIPTokenizer

import unbleed
from helpers import tiny
from helpers.families import PROMPTS
from helpers.families import draw as draw_family
from helpers.region_cases import PROMPT, draw
from unbleed.guidance.noise import fresh_noise
from unbleed.regions.arrange import arrange, choose_pieces, depths
from unbleed.regions.given import Region


def spots(*places: tuple[int, int, int], entities: int = 2) -> Tensor:
    """Maps (entity, height, width) that are 1 at the places (entity, row, column)."""
    maps = torch.zeros(entities, 16, 16)
    for place in places:
        maps[place] = 1.0
    return maps


def given(*words: str, grid: tuple[int, int] = (16, 16)) -> Tensor:
    return torch.stack([Region(word).mask(grid) for word in words])


# ------------------------------------------------------------------------------------------------------------ pieces


def test_depths_are_distances_from_the_nearest_edge() -> None:
    mask = torch.zeros(7, 9, dtype=torch.bool)
    mask[1:6, 2:9] = True
    slow = torch.zeros(7, 9)
    for row, column in mask.nonzero().tolist():
        outside = [(r, c) for r in range(-1, 8) for c in range(-1, 10) if not (0 <= r < 7 and 0 <= c < 9 and mask[r, c])]
        slow[row, column] = min(((row - r) ** 2 + (column - c) ** 2) ** 0.5 for r, c in outside) - 0.5
    torch.testing.assert_close(depths(mask), slow)


def test_an_entity_comes_from_the_pixel_that_has_most_of_it_and_moves_no_farther_than_it_must() -> None:
    maps = spots((0, 5, 12), (1, 9, 13))
    maps[0, 5, 3] = 0.9
    one, two = choose_pieces(maps, given("left", "right"), margin=0.125, spacing=0.45)
    assert (one.shift, one.center) == ((0, -7), (5.5, 5.5))  # 2 pixels from the edge of the left half
    assert (two.shift, two.center) == ((0, 0), (9.5, 13.5))


def test_a_source_at_the_edge_of_the_picture_is_not_taken() -> None:
    maps = spots((0, 0, 0), entities=1)
    maps[0, 8, 8] = 0.5
    [piece] = choose_pieces(maps, given("center"), margin=0.16, spacing=0.45)
    assert piece.shift == (0, 0)


def test_entities_of_one_region_keep_apart_and_regions_without_room_are_filled() -> None:
    maps = spots((0, 8, 4), (1, 8, 4))
    one, two = choose_pieces(maps, given("left", "left"), margin=0.16, spacing=0.45)
    assert torch.dist(torch.tensor(one.center), torch.tensor(two.center)) > 5  # as far as the first leaves
    tiny = torch.zeros(2, 16, 16, dtype=torch.bool)
    tiny[:, 3, 4] = True
    assert [piece.center for piece in choose_pieces(maps, tiny, margin=0.16, spacing=0.45)] == [(3.5, 4.5)] * 2


@pytest.mark.parametrize("factor", [1, 2])
def test_the_noise_of_a_region_is_its_piece_and_elsewhere_stays(factor: int) -> None:
    own = torch.randn(3, 16 * factor, 16 * factor, generator=torch.Generator().manual_seed(0))
    maps, regions = spots((0, 8, 12), (1, 8, 12)), given("left", "right", grid=(64, 64))
    noise, narrowed = arrange(own, maps, regions)
    assert not (narrowed & ~regions).any()
    rows, columns = torch.meshgrid(torch.arange(64), torch.arange(64), indexing="ij")
    for mask, region, center in zip(narrowed, regions, ((8.5, 4.5), (8.5, 12.5)), strict=True):
        away = ((((rows + 0.5) / 4 - center[0]) ** 2 + ((columns + 0.5) / 4 - center[1]) ** 2) ** 0.5) / 16
        assert torch.equal(mask, region & (away <= 0.36))
    inside = [Region(mask).mask((16 * factor, 16 * factor)) for mask in narrowed]
    assert torch.equal(noise[:, inside[0]], own.roll(-8 * factor, dims=-1)[:, inside[0]])
    assert torch.equal(noise[:, ~inside[0]], own[:, ~inside[0]])


# -------------------------------------------------------------------------------------------------------------- runs


@pytest.fixture(scope="module")
def pipe() -> Any:
    pipe = unbleed.load("emoji")
    pipe.set_progress_bar_config(disable=True)
    return pipe


SIDES = {"red car": "left", "dog": "right"}


def test_an_entity_has_what_is_around_its_piece_and_then_all_of_its_region(pipe: Any) -> None:
    with unbleed.guide(pipe, "regions:pull_stop=0.1", regions=SIDES) as run:
        draw(pipe)
    assert [record.step for record in run.regions] == [0, 0, 2]
    whole, narrow, last = (record.masks for record in run.regions)
    assert torch.equal(whole, given("left", "right", grid=(64, 64))[[0, 1]])
    assert torch.equal(last, whole)
    assert not (narrow & ~whole).any()
    assert 0.4 < (narrow.sum() / whole.sum()).item() < 0.8  # discs that the halves cut
    assert [step.step for step in run.steps] == [0]  # the first step is pulled
    [first] = run.noises
    losses = first.outcome.losses
    assert len(losses) == 3  # two of the four candidates' parts of a forward for each
    assert first.outcome.terms == {"layout": min(losses)}
    taken = losses.index(min(losses))
    known = first.own if taken == 0 else fresh_noise(first.own, taken)
    apart = torch.cdist(first.used.flatten(1).T, known.flatten(1).T).amin(dim=1)
    assert apart.max() < 0.05  # every pixel is one of that candidate's
    assert not torch.equal(known, first.used)


def test_a_batch_with_some_regions_equals_its_singles(pipe: Any) -> None:
    prompts, regions = [PROMPT, "a cat and a clock", "a bear"], [SIDES, {}, {"bear": "top"}]
    with unbleed.guide(pipe, "regions:candidates=2", regions=regions) as run:
        together = draw(pipe, prompts, steps=2)
    assert sorted(noise.image for noise in run.noises) == [0, 1, 2]
    for number, prompt in enumerate(prompts):
        with unbleed.guide(pipe, "regions:candidates=2", regions=regions[number]):
            single = draw(pipe, prompt, steps=2, seed=3 + number)
        torch.testing.assert_close(single[0], together[number], atol=2e-3, rtol=0)


def test_given_and_found_regions_are_pulled_in_the_same_steps(pipe: Any) -> None:
    steps = []
    for regions in (SIDES, {}, [SIDES, {}], {"red car": "left"}):
        prompts = [PROMPT, PROMPT] if isinstance(regions, list) else PROMPT
        with unbleed.guide(pipe, "regions:candidates=1:pull_stop=0.2", regions=regions) as run:
            draw(pipe, prompts, steps=10)
        steps.append(sorted({step.step for step in run.steps}))
    assert steps == [[1]] * 4  # a first step of a tenth of the run is short


def test_without_candidates_the_noise_and_the_regions_stay(pipe: Any) -> None:
    with unbleed.guide(pipe, "regions:candidates=1", regions=SIDES) as run:
        draw(pipe)
    assert not run.noises
    assert len(run.regions) == 1


def test_the_noise_of_a_sequence_is_composed(tokenizer: CLIPTokenizer) -> None:
    pipe = tiny.make("flux", tokenizer)
    method = unbleed.methods.Regions(step_size=0, candidates=8, apart=0)
    with unbleed.guide(pipe, method, regions={"red cat": (0, 0, 0.4, 1), "blue bench": None}) as run:
        assert draw_family(pipe, "flux", PROMPTS[0], (0,)).isfinite().all()
    [first] = run.noises
    taken = first.outcome.losses.index(first.outcome.terms["layout"])
    known = first.own if taken == 0 else fresh_noise(first.own, taken)
    changed = (known != first.used).any(dim=-1).view(8, 10)
    assert changed[:, :4].any()
    assert not changed[:, 4:].any()
