"""The benchmark: suites, scores, and a store that loses nothing and repeats nothing, whatever happens to its process."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from unbleed.bench.metrics.oracle import SCORES, OracleMetric, score
from unbleed.bench.plan.cases import Case, Expected
from unbleed.bench.plan.variants import variants_from
from unbleed.bench.suites import suite
from unbleed.cli import bench as bench_commands  # noqa: F401  (it adds the commands)
from unbleed.emoji.findings import Finding, Sighting
from unbleed.emoji.scenes import held_out_pairs
from unbleed.errors import BenchError, MethodError
from unbleed.methods import METHODS
from unbleed.model_settings import method_of
from unbleed.prompt import parse

BOX = (0.1, 0.2, 0.3, 0.4)


def thing(noun: str, colour: str | None = None) -> Sighting:
    return Sighting(noun, colour, BOX, 0.9)


# ------------------------------------------------------------------------------------------------------- suites

SIZES = {
    "emoji-single": 288,
    "emoji-pairs": 276,
    "emoji-triples": 96,
    "emoji-bind": 96,
    "emoji-similar": 48,
    "emoji-validation": 96,
    "emoji-validation-orders": 96,
}


def test_suites_have_their_sizes_and_no_prompt_twice() -> None:
    assert {name: len(suite(name).cases) for name in SIZES} == SIZES
    for name in SIZES:
        prompts = [case.prompt for case in suite(name).cases]
        assert len(set(prompts)) == len(prompts)


def test_pairs_hold_every_pair_and_half_were_never_seen_together() -> None:
    cases = suite("emoji-pairs").cases
    assert len({frozenset(e.noun for e in case.entities) for case in cases}) == 276
    held_out = [case for case in cases if "held-out" in case.groups]
    assert len(held_out) == 138
    assert all(frozenset(e.noun for e in case.entities) in held_out_pairs() for case in held_out)


@pytest.mark.parametrize("name", ["emoji-validation", "emoji-validation-orders"])
def test_validation_shares_neither_prompts_nor_seeds_with_the_test_suites(name: str) -> None:
    validation = suite(name)
    for tested in SIZES:
        other = suite(tested)
        if not tested.startswith("emoji-validation"):
            assert not {c.prompt for c in validation.cases} & {c.prompt for c in other.cases}
            assert other.first_seed + 99 * 1000 + 1000 <= validation.first_seed


@pytest.mark.parametrize("name", SIZES)
def test_the_parser_reads_what_a_suite_expects(name: str) -> None:
    for case in suite(name).cases:
        read = [(entity.noun, tuple(entity.modifiers)) for entity in parse(case.prompt).entities]
        assert read == [(e.noun, (e.colour,) if e.colour else ()) for e in case.entities], case.prompt


def test_a_head_is_the_same_every_time_and_grows() -> None:
    short, longer = suite("emoji-pairs").head(5), suite("emoji-pairs").head(9)
    assert short == suite("emoji-pairs").head(5)
    assert set(short.cases) < set(longer.cases)
    assert suite("emoji-pairs").head(1000) == suite("emoji-pairs")
    with pytest.raises(BenchError, match="at least 1"):
        suite("emoji-pairs").head(0)
    with pytest.raises(BenchError, match="known: emoji-single"):
        suite("emoji-couples")


# ------------------------------------------------------------------------------------------------------- scores

CASE = Case("a red car and a blue bench", (Expected("car", ("red",)), Expected("bench", ("blue",))))
RIGHT = (thing("car", "red"), thing("bench", "blue"))
GOOD = {"all_correct": 1, "all_present": 1, "present": 1, "all_bound": 1, "bound": 1, "leaked": 0, "extra": 0, "blend": 0}


@pytest.mark.parametrize(
    ("finding", "changes"),
    [
        (Finding(RIGHT), {}),
        (Finding(RIGHT[:1]), {"all_correct": 0, "all_present": 0, "present": 0.5, "all_bound": 0, "bound": 0.5}),
        (Finding(), {"all_correct": 0, "all_present": 0, "present": 0, "all_bound": 0, "bound": 0}),
        (
            Finding((thing("car", "blue"), thing("bench", "red"))),  # exchanged
            {"all_correct": 0, "all_bound": 0, "bound": 0, "leaked": 1},
        ),
        (Finding((thing("car", "red"), thing("bench", "red"))), {"all_correct": 0, "all_bound": 0, "bound": 0.5, "leaked": 1}),
        (Finding((thing("car", "red"), thing("bench"))), {"all_correct": 0, "all_bound": 0, "bound": 0.5}),
        (Finding((thing("car", "red"), thing("bench", "pink"))), {"all_correct": 0, "all_bound": 0, "bound": 0.5}),
        (Finding((*RIGHT, thing("car", "red"))), {"all_correct": 0, "extra": 1}),  # one twice
        (Finding((*RIGHT, thing("cat"))), {"all_correct": 0, "extra": 1}),
        (Finding((*RIGHT, thing("bench", "red"))), {"all_correct": 0, "extra": 1, "leaked": 1}),
        (Finding(RIGHT, (BOX,)), {"all_correct": 0, "blend": 1}),
    ],
)
def test_scores_of_findings_made_by_hand(finding: Finding, changes: dict[str, float]) -> None:
    assert score(CASE, finding) == GOOD | changes
    assert list(GOOD) == [metric.name for metric in SCORES]


def test_an_animal_that_was_asked_for_plain_must_be_natural() -> None:
    case = Case("a cat and a red car", (Expected("cat"), Expected("car", ("red",))))
    assert score(case, Finding((thing("cat"), thing("car", "red")))) == GOOD
    seen = score(case, Finding((thing("cat", "red"), thing("car", "red"))))
    assert (seen["all_present"], seen["bound"], seen["leaked"]) == (1, 0.5, 1)


# --------------------------------------------------------------------------------------------------- contenders


def test_contenders_mean_what_their_labels_say(tmp_path: Path) -> None:
    (tmp_path / "unbleed.json").write_text(json.dumps({"methods": {"syngen": {"step_size": 3}}}))
    none, own, paper, best = variants_from(["none", "syngen", " syngen@paper", "best-of-3"], str(tmp_path))
    (short,) = variants_from(["syngen:stop=.3"], str(tmp_path))
    assert short.settings["stop"] == 0.3
    assert (own.settings["step_size"], paper.settings["step_size"]) == (3, 20)
    assert own.settings.keys() == paper.settings.keys()  # all of them are recorded
    assert (paper.label, paper.method, paper.draws) == ("syngen@paper", "syngen", 1)
    assert (best.label, best.method, best.settings, best.draws) == ("best-of-3", "none", none.settings, 3)


def test_all_stands_for_every_method_and_sums_for_themselves() -> None:
    everything = variants_from(["all", "best-of-2"], "emoji")
    assert [c.label for c in everything] == [*(name for name in METHODS if name != "amplify"), "best-of-2"]
    (both,) = variants_from(["syngen + 0.5*overlap-iou:step_size=3"], "emoji")
    assert both.method == "syngen + 0.5*overlap-iou"
    assert both.settings["step_size"] == 3
    own = method_of("syngen", "emoji").settings()
    assert all(both.settings[name] == value for name, value in own.items() if name != "step_size")  # the leader's for the model
    assert both.settings["overlap-iou.step_size"] == method_of("overlap-iou", "emoji").settings()["step_size"]


@pytest.mark.parametrize(
    ("labels", "error", "message"),
    [
        ("none,synjen", MethodError, "did you mean syngen"),
        ("none,none", BenchError, "none named twice"),
        ("none,,syngen", BenchError, "empty name"),
        ("", BenchError, "empty name"),
        ("syngen@mine", MethodError, "expected NAME, NAME@paper or NAME:SETTING=VALUE"),
        ("best-of-1", BenchError, "expected 2 to 99"),
        ("best-of-100", BenchError, "expected 2 to 99"),
        ("best-of-4@paper", MethodError, "there is no method"),
        ("syngen:step_size", MethodError, "expected NAME=VALUE"),
        ("syngen:stepsize=3", MethodError, "did you mean step_size?"),
    ],
)
def test_labels_that_mean_nothing_are_refused(labels: str, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        variants_from(labels.split(","), "emoji")


def things(*named: str) -> Finding:
    """Return a finding of things such as "red cat" and "dog"."""
    return Finding(tuple(thing(word.split()[-1], word.split()[0] if " " in word else None) for word in named))


@pytest.mark.parametrize(
    ("prompt", "seen", "wrong"),
    [
        ("a red cat, no dogs", ["red cat"], []),
        ("a red cat, no dogs", ["red cat", "dog"], ["extra dog"]),
        ("two red cats and a bench", ["red cat", "red cat", "bench"], []),
        ("two red cats and a bench", ["red cat", "bench"], ["1 of 2 red cat"]),
        ("two red cats and a bench", ["red cat", "red cat", "red cat", "bench"], ["extra cat"]),
    ],
)
def test_a_prompt_without_named_entities_is_judged_by_what_it_says(prompt: str, seen: list[str], wrong: list[str]) -> None:
    judge, output = OracleMetric(), things(*seen).to_json()
    assert judge.explain(Case(prompt), output) == wrong
    assert judge.score(Case(prompt), output)["all_correct"] == float(not wrong)


def test_a_prompt_of_things_that_the_oracle_does_not_know_has_no_scores() -> None:
    assert OracleMetric().score(Case("a red castle"), things("cat").to_json()) == {}
