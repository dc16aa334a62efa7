"""Faults of methods and losses, each named after its row."""

from __future__ import annotations

import importlib
import json
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor

import unbleed
from unbleed.edits import ComposeEdit, PhraseEdit, RegulateEdit
from unbleed.emoji import WEIGHTS
from unbleed.errors import MethodError, ModelError, UnbleedWarning
from unbleed.guidance import Descent, Method, NoiseSearch, Refinement, Schedule
from unbleed.losses import AttentionMaps, BindingLoss, DivisionLoss, ExciteLoss, Loss, OverlapLoss, TokenGroups
from unbleed.losses.base import FunctionLoss
from unbleed.losses.binding import binding, distances
from unbleed.losses.division import attribute_binding
from unbleed.losses.entropy import entropy_terms
from unbleed.methods import (
    EBAMA,
    AttendAndExcite,
    Conform,
    OverlapIoU,
    PaperMethod,
    Suppress,
    SynGen,
    SynGenEntropy,
    method_from,
)
from unbleed.methods.registry import Registry
from unbleed.settings import NotNegative


@pytest.fixture(scope="module")
def pipe() -> Any:
    pipe = unbleed.load("emoji")
    pipe.set_progress_bar_config(disable=True)
    return pipe


def draw(pipe: Any) -> Tensor:
    """The latents of two steps, of which the first is guided, from one seed."""
    generator = torch.Generator().manual_seed(0)
    return pipe("a red cat and a blue bench", num_inference_steps=2, generator=generator, output_type="latent").images


def two_bumps(lower: float) -> Tensor:
    """Maps (1, 77, 16, 16) of noun 3 and modifier 2: the same bump, the modifier `lower` everywhere. Token 0 has the rest."""
    y, x = torch.meshgrid(torch.arange(16.0), torch.arange(16.0), indexing="ij")
    bump = 0.06 * torch.exp(-((y - 5) ** 2 + (x - 8) ** 2) / 8)
    maps = torch.full((1, 77, 16, 16), 1e-3)
    maps[0, 3], maps[0, 2] = bump, bump - lower
    maps[0, 0] = 1 - maps[0, 1:].sum(dim=0)
    return maps


def words(*positions: int) -> Tensor:
    row = torch.zeros(1, 77, dtype=torch.bool)
    row[0, list(positions)] = True
    return row


def one_entity() -> TokenGroups:
    first = torch.zeros(1, dtype=torch.long)
    return TokenGroups(1, words(3), first, words(2), first, words(1, 2, 3), torch.ones(1, dtype=torch.bool))


@pytest.mark.parametrize("lower", [0.0, 0.01])
def test_F1_equal_maps_of_divide_and_bind_have_no_divergence(lower: float) -> None:
    assert attribute_binding(two_bumps(lower), one_entity()).item() == pytest.approx(0, abs=1e-7)


def test_F1_a_narrower_modifier_has_a_divergence() -> None:
    maps = two_bumps(0.0)
    maps[0, 2] *= 0.5
    assert attribute_binding(maps, one_entity()).item() > 1e-4


# ------------------------------------------------------------------------------------------- I1: losses of one's own


def spread(maps: Tensor, groups: TokenGroups) -> Tensor:
    return maps[:, 1:].var(dim=(2, 3)).sum(dim=1)


def test_I1_a_function_guides_as_the_loss_that_it_is(pipe: Any) -> None:
    class Spread(Loss):
        def terms(self, seen: AttentionMaps, groups: TokenGroups) -> dict[str, Tensor]:
            return {"spread": spread(seen.maps, groups)}

    latents = []
    for method in (spread, Method(spread), Spread(), Method(Spread())):
        with unbleed.guide(pipe, method) as run:
            latents.append(draw(pipe))
        assert [set(step.terms) for step in run.steps] == [{"spread"}]
    assert all(torch.equal(own, latents[0]) for own in latents)
    assert not torch.equal(latents[0], draw(pipe))


def test_I1_functions_and_losses_add_up() -> None:
    maps, groups = two_bumps(0.0), one_entity()
    both = (2 * ExciteLoss() + spread)(maps, groups)
    assert torch.allclose(both, 2 * ExciteLoss()(maps, groups) + spread(maps, groups))
    assert (spread + ExciteLoss()).applies_to(groups).tolist() == [True]
    assert (SynGen() + spread + scalar).name == "syngen + spread + scalar"


def scalar(maps: Tensor, groups: TokenGroups) -> Tensor:
    return maps.sum()


def wide(maps: Tensor, groups: TokenGroups) -> Tensor:
    return maps.sum(dim=(2, 3))


def number(maps: Tensor, groups: TokenGroups) -> Any:
    return 3.0


def detached(maps: Tensor, groups: TokenGroups) -> Tensor:
    return maps.detach().sum(dim=(1, 2, 3))


class Empty(Loss):
    def terms(self, seen: AttentionMaps, groups: TokenGroups) -> dict[str, Tensor]:
        return {}


class Bare(Loss):
    def terms(self, seen: AttentionMaps, groups: TokenGroups) -> Any:
        return seen.maps.sum(dim=(1, 2, 3))


class Half(Loss):
    def terms(self, seen: AttentionMaps, groups: TokenGroups) -> dict[str, Tensor]:
        whole = seen.maps.sum(dim=(1, 2, 3))
        return {"good": whole, "bad": whole > 0}


class Certain(Loss):
    def terms(self, seen: AttentionMaps, groups: TokenGroups) -> dict[str, Tensor]:
        return {"all": seen.maps.sum(dim=(1, 2, 3))}

    def applies_to(self, groups: TokenGroups) -> Any:
        return True


ONE = "one value per image, a float tensor of shape (1,)"
FLAT = (
    "detached returned values without a gradient; expected them to be computed from the maps by torch alone, without "
    "detach(), item(), numpy or no_grad()"
)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (scalar, f"scalar returned a torch.float32 tensor of shape (); expected {ONE}"),
        (wide, f"wide returned a torch.float32 tensor of shape (1, 24); expected {ONE}"),
        (number, f"number returned 3.0; expected {ONE}"),
        (detached, FLAT),
        (ExciteLoss() + detached, FLAT),
        (Empty(), f"terms of Empty returned {{}}; expected names with {ONE}"),
        (Bare(), f"terms of Bare returned a torch.float32 tensor of shape (1,); expected names with {ONE}"),
        (Half(), f'Half returned a torch.bool tensor of shape (1,) for "bad"; expected {ONE}'),
        (
            Certain(),
            "applies_to of Certain returned True; expected a bool tensor of shape (1,), True for the images that the loss "
            "applies to",
        ),
    ],
    ids=lambda given: getattr(given, "__name__", type(given).__name__),
)
def test_I1_what_a_loss_returns_is_told_in_one_line(pipe: Any, given: Any, message: str) -> None:
    with unbleed.guide(pipe, given), pytest.raises(MethodError) as raised:
        draw(pipe)
    assert str(raised.value) == message


def test_I1_a_loss_of_nothing_may_be_without_a_gradient(pipe: Any) -> None:
    with unbleed.guide(pipe, lambda maps, groups: maps.new_zeros(groups.images)):
        guided = draw(pipe)
    assert torch.equal(guided, draw(pipe))


# ------------------------------------------------------------------------------------------------ I2: wrong settings


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SynGen(step_size=-5), "step_size is -5; expected a number from 0 on"),
        (lambda: Schedule(step_size=-5), "step_size is -5; expected a number from 0 on"),
        (lambda: Schedule(start=0.6, stop=0.2), "start is 0.6 and stop is 0.2; expected a stop after the start"),
        (lambda: Schedule(start="0"), "start is 0; expected a fraction of the run, from 0 to 1"),  # type: ignore[arg-type]
        (
            lambda: Schedule(refine={0.1: 0.5}),
            "refine is {0.1: 0.5}; expected refinements by fractions, as in {0.2: Refinement(0.5)}",
        ),  # type: ignore[dict-item]
        (lambda: Method(loss=5), "loss is 5; expected a loss such as ExciteLoss(), or a function f(maps, groups) -> (batch,)"),  # type: ignore[arg-type]
        (lambda: Method(schedule=5), "schedule of a method is 5; expected a Schedule"),  # type: ignore[arg-type]
        (lambda: Method(noise=5), "noise of a method is 5; expected a NoiseSearch, or a NoiseChoice, or none"),  # type: ignore[arg-type]
        (lambda: Method(edits=(5,)), "edits of a method has 5; expected a tuple of edits, as in (PhraseEdit(),)"),  # type: ignore[arg-type]
        (lambda: Method(resolution=-3), "resolution of a method is -3; expected a whole number from 1 on, or none"),
        (lambda: SynGen(resolution=-3), "resolution of syngen is -3; expected a whole number from 1 on, or none"),
        (lambda: Method(parity="theirs"), 'parity of a method is "theirs"; expected one of ours, paper'),  # type: ignore[arg-type]
        (lambda: ExciteLoss(sigma=-1), "sigma of ExciteLoss is -1; expected a number from 0 on"),
        (lambda: ExciteLoss(temperature=0), "temperature of ExciteLoss is 0; expected a number above 0"),
        (lambda: ExciteLoss(places=0), "places of ExciteLoss is 0; expected a whole number from 1 on"),
        (lambda: OverlapLoss(kind="xyz"), 'kind of OverlapLoss is "xyz"; expected one of iou, com, kl, cc'),  # type: ignore[arg-type]
        (
            lambda: DivisionLoss(coefficients={"a": 1}),
            "coefficients of DivisionLoss is {'a': 1}; expected numbers by fractions of the run, as in {0.2: 0.5}",
        ),  # type: ignore[dict-item]
        (lambda: 2 * ExciteLoss() * float("nan"), "the weight of SumLoss is nan; expected a finite number"),
        (lambda: AttendAndExcite(temperature=0), "temperature of attend-and-excite is 0; expected a number above 0"),
        (lambda: PhraseEdit("queries"), 'mode of PhraseEdit is "queries"; expected one of values, keys'),  # type: ignore[arg-type]
        (lambda: RegulateEdit(iterations=-1), "iterations of RegulateEdit is -1; expected a whole number from 0 on"),
        (lambda: ComposeEdit(float("nan")), "weight of ComposeEdit is nan; expected a number"),
        (
            lambda: Refinement(target="x"),
            "target of a refinement is 'x'; expected a loss, or losses by part, as in {\"excite\": 0.2}",
        ),  # type: ignore[arg-type]
        (lambda: Refinement(most=-1), "most of a refinement is -1; expected a whole number from 0 on"),
        (lambda: Refinement(most=2.5), "most of a refinement is 2.5; expected a whole number from 0 on"),  # type: ignore[arg-type]
        (lambda: Descent("up"), 'direction is "up"; expected one of plain, unit'),  # type: ignore[arg-type]
        (lambda: NoiseSearch(ExciteLoss(), rate="fast"), 'rate of a noise search is "fast"; expected a number'),  # type: ignore[arg-type]
    ],
)
def test_I2_a_wrong_setting_is_refused_when_it_is_given(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(MethodError) as raised:
        make()
    assert str(raised.value) == message


def test_I2_a_field_of_unknown_kind_is_taken_as_it_is() -> None:
    @dataclass(frozen=True)
    class Own(Loss):
        size: LocalName  # type: ignore[name-defined]  # noqa: F821
        sigma: NotNegative = 0.5

        def terms(self, seen: AttentionMaps, groups: TokenGroups) -> dict[str, Tensor]:
            return {"own": seen.maps.sum(dim=(1, 2, 3))}

    assert Own(3).size == 3
    with pytest.raises(MethodError, match="sigma of Own is -1; expected a number from 0 on"):
        Own(3, sigma=-1)


# ------------------------------------------------------------------------------------------------- I4: arithmetic


def test_I4_losses_are_subtracted_and_summed() -> None:
    maps, groups = two_bumps(0.0), one_entity()
    excite, bind = ExciteLoss()(maps, groups), BindingLoss()(maps, groups)
    assert torch.allclose((ExciteLoss() - BindingLoss())(maps, groups), excite - bind)
    assert torch.allclose((-ExciteLoss())(maps, groups), -excite)
    assert torch.allclose((ExciteLoss() - ExciteLoss())(maps, groups), torch.zeros(1))
    assert torch.allclose(sum([ExciteLoss(), BindingLoss()])(maps, groups), excite + bind)  # type: ignore[operator]
    assert torch.allclose((spread - ExciteLoss())(maps, groups), spread(maps, groups) - excite)


def test_I4_methods_are_subtracted_and_summed() -> None:
    assert (SynGen() - 0.5 * OverlapIoU()) == SynGen() + -0.5 * OverlapIoU()
    assert sum([SynGen(), OverlapIoU()]) == SynGen() + OverlapIoU()
    assert (-SynGen()).name == "-1*syngen"
    assert (SynGen() - spread).parts().loss == BindingLoss() - spread
    assert (-Conform()).parts().schedule.refine == Conform().parts().schedule.refine  # "whatever the loss" has no sign


@pytest.mark.parametrize("name", unbleed.METHODS)
def test_I4_settings_can_be_put_back_through_json(name: str) -> None:
    kind = unbleed.METHODS[name]
    assert kind(**json.loads(json.dumps(kind().settings()))) == kind()


# -------------------------------------------------------------------------------------------- I5: methods by name


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> Registry:
    """The registry, put back afterwards."""
    monkeypatch.setattr(unbleed.METHODS, "_kinds", dict(unbleed.METHODS))
    return unbleed.METHODS


def make_even() -> type[PaperMethod]:
    @dataclass(frozen=True, kw_only=True)
    class Even(PaperMethod):
        """Spread every word."""

        name: ClassVar[str] = "even"
        step_size: float = 20.0

        def _parts(self) -> Method:
            return Method(spread, Schedule(step_size=self.step_size))

    return Even


def test_I5_a_registered_method_has_a_name(registry: Registry, pipe: Any) -> None:
    even = unbleed.register(make_even())
    assert unbleed.METHODS["even"] is even
    assert unbleed.method("even + syngen", step_size=3.0).name == "even + syngen"
    with unbleed.guide(pipe, "even:step_size=3") as run:
        draw(pipe)
    assert run.method == "even"
    assert len(run.steps) == 1
    again = unbleed.register(make_even())  # a cell of a notebook, run again
    assert unbleed.METHODS["even"] is again
    with pytest.raises(MethodError, match=re.escape('even has no setting "step"; did you mean')):
        unbleed.method("even", step=1)


def without_dataclass() -> Any:
    return type("Bare", (PaperMethod,), {"name": "bare", "_parts": lambda self: Method()})


def named(name: str) -> Any:
    return dataclass(frozen=True, kw_only=True)(type("Own", (PaperMethod,), {"name": name, "_parts": lambda self: Method()}))


def with_a_gap() -> Any:
    space = {"name": "gap", "_parts": lambda self: Method(), "__annotations__": {"size": "float"}}
    return dataclass(frozen=True, kw_only=True)(type("Gap", (PaperMethod,), space))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: 5, "5 cannot be registered; expected a class that inherits from unbleed.PaperMethod"),
        (without_dataclass, "Bare is not a dataclass; write @dataclass(frozen=True, kw_only=True) below @register"),
        (
            lambda: named("a+b"),
            'name of Own is "a+b"; expected letters, digits, - and _, as in name: ClassVar[str] = "my-method"',
        ),
        (
            lambda: named("best-of-3"),
            'name of Own is "best-of-3"; expected letters, digits, - and _, as in name: ClassVar[str] = "my-method"',
        ),
        (lambda: named("syngen"), 'there is a method "syngen" already, SynGen of unbleed.methods.syngen'),
        (with_a_gap, "Gap cannot be made without settings ("),
    ],
)
def test_I5_what_cannot_be_registered_is_refused(registry: Registry, make: Callable[[], Any], message: str) -> None:
    with pytest.raises(MethodError) as raised:
        unbleed.register(make())
    assert str(raised.value).startswith(message)


def test_I5_packages_offer_methods_by_entry_points(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "offered.py").write_text(
        "from dataclasses import dataclass\n"
        "from typing import ClassVar\n"
        "import unbleed\n"
        "@unbleed.register\n"
        "@dataclass(frozen=True, kw_only=True)\n"
        "class Offered(unbleed.PaperMethod):\n"
        "    name: ClassVar[str] = 'offered'\n"
        "    def _parts(self):\n"
        "        return unbleed.Method()\n"
    )
    facts = tmp_path / "offered-1.0.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: offered\nVersion: 1.0\n")
    (facts / "entry_points.txt").write_text("[unbleed.methods]\noffered = offered:Offered\nbroken = offered:Missing\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(unbleed.METHODS, "_kinds", dict(unbleed.METHODS))
    monkeypatch.setattr(unbleed.METHODS, "_searched", False)
    with pytest.warns(UnbleedWarning, match='^the method "broken" of offered cannot be loaded and is left out: .*Missing'):
        assert "offered" in unbleed.METHODS
    assert method_from("offered").name == "offered"


# ------------------------------------------------------------------------------- I10, I14: methods and how they attach


def test_I10_a_class_is_taken_with_its_defaults(pipe: Any) -> None:
    assert method_from(SynGen) == SynGen()
    assert method_from(ExciteLoss) == Method(ExciteLoss())
    with unbleed.guide(pipe, SynGen) as run:
        draw(pipe)
    assert run.method == "syngen"


@pytest.mark.parametrize("given", [None, 5, object])
def test_I10_what_is_no_method_is_named(pipe: Any, given: Any) -> None:
    with pytest.raises(MethodError) as raised, unbleed.guide(pipe, given):
        pass
    assert str(raised.value) == (
        f'{given!r} is not a method; expected a label such as "syngen", a method, a loss, or a function '
        "f(maps, groups) -> (batch,)"
    )


def test_I10_a_class_that_needs_settings_is_named() -> None:
    with pytest.raises(MethodError, match=r"^FunctionLoss cannot be made without settings \(.*\); give an object of it$"):
        method_from(FunctionLoss)


@pytest.mark.parametrize("name", unbleed.METHODS)
def test_I10_methods_can_be_hashed(name: str) -> None:
    kind = unbleed.METHODS[name]
    assert len({kind(), kind()}) == 1
    assert len({kind().parts(), kind().parts()}) == 1
    assert {kind() + spread: 1}


def test_I14_a_method_is_attached_until_it_is_detached(pipe: Any) -> None:
    plain = draw(pipe)
    run = unbleed.attach(pipe, "syngen")
    guided = draw(pipe)
    draw(pipe)
    assert [step.call for step in run.steps] == [0, 1]
    other = unbleed.attach(pipe, spread, record_maps=True)  # in place of the first
    draw(pipe)
    assert len(run.steps) == 2
    assert len(other.steps) == 1
    assert len(other.maps) == 2
    with pytest.raises(ModelError, match=re.escape("or call unbleed.detach(pipe)")), unbleed.guide(pipe, "syngen"):
        pass
    unbleed.detach(pipe)
    unbleed.detach(pipe)
    assert torch.equal(draw(pipe), plain)
    assert not torch.equal(guided, plain)
    with unbleed.guide(pipe, "syngen"):
        assert torch.equal(draw(pipe), guided)


def test_I14_a_label_and_settings_make_a_method() -> None:
    assert unbleed.method("syngen", step_size=5.0) == SynGen(step_size=5.0)
    assert unbleed.method("syngen + overlap-iou", **{"overlap-iou.floor": 1e-6}) == SynGen() + OverlapIoU(floor=1e-6)
    assert unbleed.method("syngen", model="emoji", floor=0.0) == unbleed.method("syngen:floor=0", model="emoji")
    assert unbleed.method("syngen", model=SimpleNamespace(name_or_path=str(WEIGHTS))) == unbleed.method("syngen", model="emoji")
    with pytest.raises(MethodError, match=re.escape('syngen has no setting "step"; did you mean')):
        unbleed.method("syngen", step=5)
    with pytest.raises(MethodError, match=re.escape('is not a label; expected a text such as "syngen"')):
        unbleed.method(SynGen())  # type: ignore[arg-type]


# ------------------------------------------------------------------------------- F2 to F4: nearer to their authors


@pytest.mark.parametrize("kind", [SynGen, EBAMA, SynGenEntropy])
def test_F2_no_floor_under_paper_parity(kind: Any) -> None:
    maps = two_bumps(0.0)
    maps[0, 2, 5, 8] = 0.0  # at the peak: the divergence is infinite, or as large as the floor lets it be
    settings = {"distance": "kl"} if kind is EBAMA else {}

    def value(**more: Any) -> float:
        loss = kind(**settings, **more).parts().loss
        return loss.terms(AttentionMaps(maps), one_entity())["positive"].item()

    assert not math.isfinite(value(parity="paper"))
    assert 0 < value(floor=1e-3) < value(floor=1e-8) < math.inf
    assert value() == value(floor=1e-8)


def test_F2_the_entropy_of_a_map_with_zeros_needs_no_floor() -> None:
    maps = torch.full((1, 77, 2, 2), 0.25)
    maps[0, 3], maps[0, 2] = torch.tensor([[0.5, 0.5], [0.0, 0.0]]), torch.tensor([[1.0, 0.0], [0.0, 0.0]])
    pair, outside = entropy_terms(maps, one_entity(), weight_pair=1.0, weight_outside=1.0, floor=0.0)
    assert pair.item() == pytest.approx(math.log(2))
    assert outside.item() == pytest.approx(-math.log(4) / 2)


def test_F3_each_noun_is_paired_with_the_modifier_that_it_shares() -> None:
    """ "The apple and pear are green": (green, apple) and (green, pear), neither noun outside the other."""
    apple, pear, green, other = 1, 2, 3, 4
    image = torch.zeros(2, dtype=torch.long)
    groups = TokenGroups(
        images=1,
        noun=torch.cat([words(apple), words(pear)]),
        entity_image=image,
        modifier=torch.cat([words(green), words(green)]),
        modifier_entity=torch.tensor([0, 1]),
        prompt=words(apple, pear, green, other),
        padded_with_end=torch.ones(1, dtype=torch.bool),
    )
    maps = torch.rand(1, 77, 4, 4, generator=torch.Generator().manual_seed(0))
    apart = distances(maps)[0]
    positive, negative = binding(maps, groups)
    assert positive.item() == pytest.approx((apart[green, apple] + apart[green, pear]).item(), rel=1e-5)
    away = (apart[green, other] + apart[apple, other]) / 2 + (apart[green, other] + apart[pear, other]) / 2
    assert negative.item() == pytest.approx(-away.item(), rel=1e-5)


def test_F4_the_weight_of_intensity_is_a_setting_of_suppress() -> None:
    maps, groups = two_bumps(0.0), one_entity()
    one, three = (Suppress(weight_intensity=weight).parts().loss for weight in (1.0, 3.0))
    assert one is not None
    assert three is not None
    first, second = (loss.terms(AttentionMaps(maps), groups) for loss in (one, three))
    assert first["intensity"].item() > 0
    assert second["intensity"].item() == pytest.approx(3 * first["intensity"].item())
    assert all(torch.equal(first[name], second[name]) for name in ("outside", "evenness", "exclusivity"))


@pytest.mark.parametrize(
    ("module", "said"),
    [
        ("losses.binding", "its pairs are (apple, pear) and (green, pear)"),
        ("losses.self_attention", "cut to multiples of 1/255"),
        ("losses.self_attention", "They add 1e-4 to the sums"),
        ("losses.predicates", "The code adds 1e-4 to 1 - a_i in existence"),
        ("losses.localization", "a modifier has no region and no term"),
        ("methods.structure_diffusion", "the phrases are laid over the embedding in place before it is used"),
        ("methods.suppress", "all settings but the step size"),
    ],
)
def test_F3_F4_the_page_of_a_method_says_where_it_departs(module: str, said: str) -> None:
    assert said in " ".join((importlib.import_module(f"unbleed.{module}").__doc__ or "").split())


def test_I1_I5_I14_the_page_of_own_methods_runs(registry: Registry, capsys: pytest.CaptureFixture[str]) -> None:
    page = (Path(__file__).parents[2] / "docs/own-methods.md").read_text()
    names: dict[str, Any] = {"__name__": __name__}
    for block in re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL):
        exec(block, names)
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("{'apart': 0.")
    assert second == "syngen + 0.5*apart"
    assert [step.step for step in names["run"].steps] == [0, 1]
