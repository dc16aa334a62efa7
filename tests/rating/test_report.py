"""The report of a study: what it counts, and what its files say."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from pathlib import Path

import pytest

from helpers.rating import write_a_study
from helpers.rating_people import NAMES, People, made_up_study, rated
from unbleed.errors import RatingError
from unbleed.rating.answers import Answer, Choice, Rater, open_log
from unbleed.rating.summary import build
from unbleed.rating.trials import Trial, trials_of


def rater(number: int, said: list[tuple[Trial, Choice]]) -> Rater:
    one = Rater(number, f"{number:032x}", tuple(trial for trial, _ in said))
    one.answers.update({place: Answer(place, 1, answer, float(place + 1)) for place, (_, answer) in enumerate(said)})
    one.moments.update({place: f"2026-01-0{place + 1}" for place in range(len(said))})
    return one


def test_what_is_counted() -> None:
    """By hand: a pair's first answer counts, whichever side; repeats and catches do not; ties and both bad are a half."""
    study = made_up_study(4)
    anna = rater(
        0,
        [
            (Trial("pair", 0, 1), "left"),  # the second method, on the left
            (Trial("pair", 1, 0), "left"),  # the first
            (Trial("pair", 2, 0), "tie"),
            (Trial("catch", 0, 0), "left"),  # right
            (Trial("catch", 1, 0), "right"),  # wrong
            (Trial("repeat", 0, 0), "right"),  # the second again
            (Trial("repeat", 1, 1), "left"),  # the second: another answer
        ],
    )
    ben = rater(1, [(Trial("pair", 0, 0), "right"), (Trial("pair", 1, 0), "bad"), (Trial("pair", 3, 1), "left")])
    found = build(study, [anna, ben])
    (one,) = found.comparisons
    assert (one.method, one.against) == ("syngen", "none")
    assert (one.answers, one.wins, one.losses, one.ties, one.both_bad) == (6, 3, 1, 1, 1)
    assert one.win_rate == pytest.approx((1 + 0 + 0.5 + 1 + 0.5 + 1) / 6)
    assert (one.prompts, one.prompts_won, one.prompts_lost, one.p) == (4, 2, 1, 1.0)  # prompt 1: 0 and 1/2
    assert (one.low, one.high) == (None, None)
    assert (found.repeats, found.repeats_same, found.catches, found.catches_right) == (2, 1, 2, 1)
    assert (found.left, found.decided) == (4, 6)
    assert found.alpha_pairs == 2
    assert [(row.rater, row.answers, row.median_seconds) for row in found.raters] == [(1, 7, 4.0), (2, 3, 2.0)]
    assert found.cautions[0] == "Below 10 prompts no interval is given; this study has answers to 4."


def test_raters_who_missed_catches_can_be_left_out() -> None:
    study = made_up_study(20)
    careful, careless = rated(study, People(), 3, 0), rated(study, People(careless=1.0), 4, 1)[3:]
    everyone = [*careful, *careless]
    found = build(study, everyone, max_missed=0)
    assert [row.counted for row in found.raters] == [True, True, True, False]
    assert found.comparisons[0].raters == 3
    assert "Left out for missed catch pairs: rater 4." in found.cautions
    assert build(study, everyone).comparisons[0].raters == 4
    with pytest.raises(RatingError, match="nobody has answered yet; 1 are left out for missed catches"):
        build(study, careless, max_missed=0)


def test_nobody_has_answered() -> None:
    study = made_up_study(3)
    with pytest.raises(RatingError, match="nobody has answered yet; open the page of unbleed rate RUN"):
        build(study, [Rater(0, "0" * 32, trials_of(study, 0))])


def test_people_who_prefer_the_left_picture_are_told_and_do_no_harm() -> None:
    study = made_up_study(40)
    found = build(study, rated(study, People(better=(0.0,), left_bias=0.8), 6, 0))
    assert found.left > 0.6 * found.decided
    assert found.side_p < 0.001
    assert any(line.startswith("The left picture won ") for line in found.cautions)
    (one,) = found.comparisons
    assert one.low is not None
    assert one.high is not None
    assert one.low < 0.5 < one.high


def test_three_methods_have_strengths_in_the_order_of_their_quality() -> None:
    people = People(better=(0.5, 1.2))
    study = made_up_study(40, methods=3)
    found = build(study, rated(study, people, 8, 0))
    assert [(one.method, one.against) for one in found.comparisons] == [
        ("syngen", "none"),
        ("a-star", "none"),
        ("a-star", "syngen"),
    ]
    none, syngen, a_star = found.strengths
    assert [one.method for one in found.strengths] == list(NAMES[:3])
    assert (none.high or 9) < (syngen.low or -9) < (syngen.high or 9) < (a_star.low or -9)
    for one in found.comparisons:
        first, second = NAMES.index(one.against), NAMES.index(one.method)
        assert one.win_rate == pytest.approx(people.win_rate(first, second), abs=0.1)
        assert one.p <= one.p_holm


@pytest.fixture(scope="module")
def study_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study of three methods, with pictures, that five people answered; its prompts are hostile."""
    folder = tmp_path_factory.mktemp("study")
    study = write_a_study(folder, prompts=12, methods=3)
    hostile = "=1+1|<script>alert(1)</script> `x` {{ 7 * 7 }}"
    study = replace(study, pairs=tuple(replace(pair, prompt=f"{hostile} {pair.case}") for pair in study.pairs))
    from unbleed.rating.study import write_study

    write_study(folder, study)
    with open_log(folder, study) as log:
        for one in rated(study, People(better=(0.5, 1.2)), 5, 0):
            joined = log.join(trials_of)
            for answer in one.answers.values():
                log.answer(joined, answer)
    return folder


def test_the_command_writes_files_that_say_the_same(study_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from unbleed import cli

    assert cli.main(["rate", "report", str(study_folder), "--study", str(study_folder), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert [*said["files"]] == ["report.html", "report.md", "win_rates.csv", "strengths.csv", "raters.csv", "answers.csv"]
    html, markdown = (Path(said["files"][name]).read_text() for name in ("report.html", "report.md"))
    rows = list(csv.DictReader(io.StringIO(Path(said["files"]["win_rates.csv"]).read_text())))
    assert len(rows) == 3
    for one, row in zip(said["comparisons"], rows, strict=True):
        assert float(row["win_rate"]) == one["win_rate"]
        words = f"{100 * one['win_rate']:.1f} ({100 * one['low']:.1f} to {100 * one['high']:.1f})"
        assert words in markdown
        assert f"<b>{100 * one['win_rate']:.1f} %</b>" in html
    assert "a-star is preferred to none: it won" in html
    answers = list(csv.DictReader(io.StringIO(Path(said["files"]["answers.csv"]).read_text())))
    assert len(answers) == 5 * 36
    first = said["comparisons"][0]
    of = [float(row["value"]) for row in answers if (row["method"], row["against"]) == (first["method"], first["against"])]
    assert sum(of) / len(of) == pytest.approx(first["win_rate"])
    assert "<script>" not in html
    assert "<script>" not in markdown.replace("\\<script>", "")
    assert all(row["prompt"].startswith("'=1+1") for row in answers)  # no formula in a spreadsheet
    assert html.count("data:image/webp") >= 4
    assert "http" not in html


def test_a_report_elsewhere_replaces_no_file_of_others(
    study_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from unbleed import cli

    command = ["rate", "report", str(study_folder), "--study", str(study_folder), "--out", str(tmp_path)]
    (tmp_path / "report.md").write_text("mine")
    assert cli.main(command) == 2
    assert "report.md was not written by this command" in capsys.readouterr().err
    assert (tmp_path / "report.md").read_text() == "mine"
    (tmp_path / "report.md").unlink()
    assert cli.main(command) == 0
    assert cli.main(command) == 0  # its own are replaced


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--seed", "3"], "--seed can be chosen only when a study begins; add --methods, or leave it out to go on"),
        ([], "has no study.json; expected the folder of a study"),
        (["--methods", "a,b"], "has no run.json; expected a folder written by unbleed bench run"),
        (["--methods", "a,b", "--question", "x" * 300], "a question of 300 characters; expected 1 to 200"),
        (["--port", "99999"], "--port"),
    ],
)
def test_what_cannot_be_served_is_one_line(
    tmp_path: Path, arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    from unbleed import cli

    assert cli.main(["rate", str(tmp_path), *arguments]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


def test_the_commands_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    from unbleed import cli

    assert cli.main(["rate", "--help"]) == 0
    out = capsys.readouterr().out
    assert "report" in out
    assert "unbleed rate RUN" in " ".join(out.split())
