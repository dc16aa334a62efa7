"""What a study decides before the first rater comes, and what it keeps of answers."""

from __future__ import annotations

import io
import json
import os
import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from helpers.rating import Client, served, write_a_study
from unbleed.cli import main
from unbleed.errors import OutputError, RatingError
from unbleed.rating.answers import Answer, AnswerLog, journal_of, open_log, read_raters
from unbleed.rating.study import check_images, image_path, question_of, read_png, read_study
from unbleed.rating.trials import REPEAT_AFTER, Trial, trials_of

# ---------------------------------------------------------------------------------------------------- trials


def test_a_rater_sees_each_pair_once_its_repetition_with_sides_exchanged_and_every_catch(tmp_path: Path) -> None:
    study = write_a_study(tmp_path, prompts=60, catches=6, repeats=6)
    for rater in range(20):
        trials = trials_of(study, rater)
        pairs = [trial for trial in trials if trial.kind == "pair"]
        assert sorted(trial.index for trial in pairs) == list(range(60))
        assert Counter(trial.left for trial in pairs) == {0: 30, 1: 30}
        again = [(place, trial) for place, trial in enumerate(trials) if trial.kind == "repeat"]
        assert len({trial.index for _, trial in again}) == 6
        for place, trial in again:
            before = next(number for number, one in enumerate(trials) if one.kind == "pair" and one.index == trial.index)
            assert trial.left == 1 - trials[before].left
            assert place - before >= REPEAT_AFTER
        assert sorted(trial.index for trial in trials if trial.kind == "catch") == list(range(6))
        assert trials == trials_of(study, rater)
    assert len({trials_of(study, rater) for rater in range(20)}) == 20
    assert 20 < sum(trial.left for rater in range(20) for trial in trials_of(study, rater) if trial.kind == "catch") < 100


def test_raters_share_out_the_pairs_evenly_and_each_has_both_methods_left_equally_often(tmp_path: Path) -> None:
    study = write_a_study(tmp_path, prompts=14, methods=3, pairs_per_rater=12, repeats=0, catches=0)
    seen = Counter(trial.index for rater in range(7) for trial in trials_of(study, rater))
    assert [*seen.values()] == [2] * 42  # 7 raters x 12 of 42 pairs
    shared = [{trial.index for trial in trials_of(study, rater)} for rater in range(3)]
    assert [len(shared[0] & shared[1]), len(shared[1] & shared[2]), len(shared[0] & shared[2])] == [6, 6, 0]
    for rater in range(7):
        for methods in ((0, 1), (0, 2), (1, 2)):
            left = [trial.left for trial in trials_of(study, rater) if study.pairs[trial.index].methods == methods]
            assert abs(left.count(0) - left.count(1)) <= 1


def test_the_smallest_study_has_trials_too(tmp_path: Path) -> None:
    study = write_a_study(tmp_path, prompts=1, catches=1, repeats=1)
    assert sorted(trial.kind for trial in trials_of(study, 0)) == ["catch", "pair", "repeat"]


# ---------------------------------------------------------------------------------------------------- study.json


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda s: s["pairs"][0].update(images=["../../etc/passwd", "a" * 32]), "pairs[0].images is not a name of 32"),
        (lambda s: s["catches"][0].update(images=["a" * 32, "/etc/passwd"]), "catches[0].images is not a name of 32"),
        (lambda s: s["pairs"][1].update(methods=[0, 7]), "pairs[1].methods is [0, 7]; expected two of 2 methods"),
        (lambda s: s["pairs"][1].update(prompt="x" * 20_001), "pairs[1].prompt has 20001 characters; expected at most 20000"),
        (lambda s: s.update(pairs=[]), "the number of pairs"),
        (lambda s: s.update(repeats=1.5), "repeats is 1.5; expected a whole number"),
        (lambda s: s.update(pairs_per_rater=10**9), "pairs_per_rater is 1000000000; expected 1 to 20"),
        (lambda s: s.update(question="x" * 201), "the length of question"),
        (lambda s: s.update(command="rm"), "command is unknown"),
        (lambda s: s.pop("seed"), "seed is missing"),
    ],
)
def test_a_study_file_that_no_study_wrote_is_refused_in_one_line(
    tmp_path: Path, change: Callable[[dict], object], said: str
) -> None:
    write_a_study(tmp_path)
    path = tmp_path / "study.json"
    values = json.loads(path.read_text())
    change(values)
    path.write_text(json.dumps(values))
    with pytest.raises(RatingError) as error:
        read_study(tmp_path)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_a_folder_without_a_study_says_how_one_begins(tmp_path: Path) -> None:
    with pytest.raises(RatingError, match=r"has no study\.json; expected the folder of a study: begin one with"):
        read_study(tmp_path)


@pytest.mark.parametrize("name", ["study.json", "../study.json"])
def test_a_picture_is_read_by_the_hash_of_its_file_alone(tmp_path: Path, name: str) -> None:
    study = write_a_study(tmp_path)
    assert read_png(tmp_path, study.pairs[0].images[0])[:4] == b"\x89PNG"
    with pytest.raises(RatingError, match=r"is gone|was changed"):
        read_png(tmp_path, name)


def test_pictures_that_are_gone_are_found_before_anybody_comes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    study = write_a_study(tmp_path)
    check_images(tmp_path, study)
    image_path(tmp_path, study.pairs[3].images[1]).unlink()
    assert main(["rate", "serve", str(tmp_path), "--study", str(tmp_path), "--port", "0"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("unbleed: 1 of 42 pictures of ")
    assert said.count("\n") == 1


def test_a_question_is_a_name_or_a_line_of_text() -> None:
    assert question_of("looks") == "Which picture looks better?"
    assert question_of("Which is  redder?") == "Which is redder?"
    for text in ("", "x" * 201, "a\x1b[31m"):
        with pytest.raises(RatingError, match="expected 1 to 200, in one line"):
            question_of(text)


# ---------------------------------------------------------------------------------------------------- answers


def test_an_answer_is_on_disk_before_it_is_acknowledged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study = write_a_study(tmp_path)
    synced: list[bytes] = []
    monkeypatch.setattr(os, "fsync", lambda number: synced.append(journal_of(tmp_path).read_bytes()))
    with open_log(tmp_path, study) as log:
        rater = log.join(trials_of)
        assert synced[-1].endswith(b"\n")
        assert rater.token.encode() in synced[-1]
        log.answer(rater, Answer(3, 1, "tie", 2.0))
        assert b'"trial": 3, "version": 1, "answer": "tie"' in synced[-1]


def test_a_disk_that_does_not_take_an_answer_keeps_nothing_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study = write_a_study(tmp_path)
    with open_log(tmp_path, study) as log:
        rater = log.join(trials_of)
        before = journal_of(tmp_path).read_bytes()

        def full(number: int) -> None:
            raise OSError(28, "No space left on device")

        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", full)
            with pytest.raises(OutputError, match="cannot be written: No space left on device; make room"):
                log.answer(rater, Answer(0, 1, "left", 1.0))
        assert journal_of(tmp_path).read_bytes() == before
        assert rater.answers == {}
        log.answer(rater, Answer(0, 1, "right", 1.0))
    assert read_raters(tmp_path, study)[0].answers[0].answer == "right"


def test_a_full_disk_is_told_to_the_page_and_the_answer_can_be_sent_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = write_a_study(tmp_path)
    with served(tmp_path, study) as server:
        client = Client(server.server_port)
        client.join()
        with monkeypatch.context() as patch:
            patch.setattr(AnswerLog, "_append", lambda *_: (_ for _ in ()).throw(OutputError("no room")))
            assert client.answer(0, "left")[0] == 500
        assert client.answer(0, "left")[0] == 200
        client.close()


@pytest.mark.parametrize("cut", [1, 10, 60])
def test_a_last_line_that_was_torn_is_cut_off_and_the_rest_is_kept(tmp_path: Path, cut: int) -> None:
    study = write_a_study(tmp_path)
    with open_log(tmp_path, study) as log:
        rater = log.join(trials_of)
        for trial in range(3):
            log.answer(rater, Answer(trial, 1, "left", 1.0))
    whole = journal_of(tmp_path).read_bytes()
    journal_of(tmp_path).write_bytes(whole[:-cut])
    assert [*read_raters(tmp_path, study)[0].answers] == [0, 1]  # a report of a study that is served
    with open_log(tmp_path, study) as log:
        again = log.rater(rater.token)
        assert again is not None
        assert again.trials == rater.trials
        log.answer(again, Answer(2, 1, "right", 1.0))
    assert [answer.answer for answer in read_raters(tmp_path, study)[0].answers.values()] == ["left", "left", "right"]


JOINED = {"event": "joined", "rater": 0, "token": "a" * 32, "trials": [["pair", 0, 1]], "at": "2026"}
ANSWERED = {"event": "answered", "rater": 0, "trial": 0, "version": 1, "answer": "left", "seconds": 1.0, "at": "2026"}


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ([JOINED, ANSWERED, ANSWERED], "line 3: version is 1; expected 2"),
        ([ANSWERED], "line 1: rater is 0"),
        ([JOINED, ANSWERED | {"trial": 1}], "line 2: trial is 1; expected 0"),
        ([JOINED | {"rater": 3}], "line 1: rater is 3; expected 0"),
        ([JOINED | {"token": "../x"}], "line 1: token is not 32 hexadecimal digits"),
        ([JOINED | {"trials": [["pair", 99, 1]]}], "line 1: trials is 99; expected 0 to 19"),
        ([JOINED | {"trials": [["pair", 0, 2]]}], "line 1: trials[0][2] is 2; expected 0 or 1"),
        ([JOINED, ANSWERED | {"answer": "both"}], 'line 2: answer is "both"; expected "left" or "right"'),
        ([["joined"]], "line 1: it is a list of 1; expected an object"),
    ],
)
def test_a_journal_that_no_server_wrote_is_refused_by_line(tmp_path: Path, lines: list[object], said: str) -> None:
    study = write_a_study(tmp_path)
    journal_of(tmp_path).write_text("".join(json.dumps(line) + "\n" for line in lines))
    with pytest.raises(RatingError) as error:
        read_raters(tmp_path, study)
    assert said in str(error.value)
    assert str(error.value).endswith("; remove that line and begin again")


def test_one_server_at_a_time_writes_and_never_through_a_link(tmp_path: Path) -> None:
    study = write_a_study(tmp_path)
    with open_log(tmp_path, study), pytest.raises(RatingError, match="another process serves"), open_log(tmp_path, study):
        pass
    outside = tmp_path / "outside"
    journal_of(tmp_path).unlink()
    journal_of(tmp_path).symlink_to(outside)
    with pytest.raises(RatingError, match="is a link, which is not written through"), open_log(tmp_path, study):
        pass
    assert not outside.exists()


def test_what_a_rater_saw_is_kept_with_the_answers(tmp_path: Path) -> None:
    """So that another version of this program, with another order, reads old answers as they were meant."""
    study = write_a_study(tmp_path, prompts=2, catches=0, repeats=0)
    with open_log(tmp_path, study) as log:
        shown = (Trial("pair", 1, 1), Trial("pair", 0, 0))
        rater = log.join(lambda study, number: shown)
        log.answer(rater, Answer(0, 1, "left", 1.0))
    assert read_raters(tmp_path, study)[0].trials == shown


# ---------------------------------------------------------------------------------------------------- from a run


def noise(seed: int, size: int = 36) -> Image.Image:
    return Image.frombytes("RGB", (size, size), random.Random(seed).randbytes(3 * size * size))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of six prompts, two seeds, three methods; of one prompt and seed, two methods have the same picture."""
    from PIL.PngImagePlugin import PngInfo

    from helpers.fake_runs import plan_of, write_run

    folder = tmp_path_factory.mktemp("run")
    plan = plan_of("none,syngen,attend-and-excite")
    store = write_run(folder, plan)
    for case in plan.suite.cases:
        for label in ("none", "syngen", "attend-and-excite"):
            contender = next(one for one in plan.contenders if one.label == label)
            for jobs in plan.jobs_of(case, contender):
                info = PngInfo()
                info.add_itxt("unbleed", f'{{"method": "{label}"}}')
                same = case is plan.suite.cases[0] and jobs[0].seed == plan.suite.first_seed and label != "none"
                seed = 7 if same else int(jobs[0].key[:8], 16)
                noise(seed).save(store.image(jobs[0].key), pnginfo=info)
    return folder


def test_a_study_has_every_pair_of_the_run_without_a_word_of_the_method(run: Path, tmp_path: Path) -> None:
    from unbleed.rating.create import create

    told: list[tuple[int, int]] = []
    folder = tmp_path / "study"
    study = create(run, folder, ["none", "syngen"], repeats=1, catches=2, report=lambda done, total: told.append((done, total)))
    assert read_study(folder) == study
    assert (study.methods, len(study.pairs), study.identical) == (("none", "syngen"), 12, 0)
    assert told == [(number, 12) for number in range(1, 13)]
    for path in (folder / "images").iterdir():
        with Image.open(path) as image:
            assert (image.mode, image.info) == ("RGB", {})
        assert b"syngen" not in path.read_bytes()
    for catch in study.catches:
        whole, mixed = (np.asarray(Image.open(io.BytesIO(read_png(folder, name)))) for name in catch.images)
        assert (whole != mixed).any()
        assert sorted(map(tuple, whole.reshape(-1, 3))) == sorted(map(tuple, mixed.reshape(-1, 3)))  # the same pixels elsewhere
    with pytest.raises(RatingError, match="holds a study already; leave out --methods"):
        create(run, folder, ["none", "syngen"])


def test_identical_pictures_are_not_shown_and_three_methods_are_three_pairs(run: Path, tmp_path: Path) -> None:
    from unbleed.rating.create import create

    study = create(run, tmp_path / "study", ["none", "syngen", "attend-and-excite"])
    assert (len(study.pairs), study.identical, study.pairs_per_rater, study.repeats) == (35, 1, 35, 4)
    assert Counter(pair.methods for pair in study.pairs) == {(0, 1): 12, (0, 2): 12, (1, 2): 11}


@pytest.mark.parametrize(
    ("methods", "settings", "said"),
    [
        (["none"], {}, "--methods names none; expected two or more of none, syngen, attend-and-excite"),
        (["none", "none"], {}, "--methods names none, none; expected two or more"),
        (["none", "<b>"], {}, '"<b>" is not a method of this run; expected two or more of none'),
        (["none", "syngen"], {"pairs": 13}, "13 pairs per rater; expected 1 to 12"),
        (["none", "syngen"], {"repeats": 99}, "99 repeats; expected 0 to 12"),
        (["none", "syngen"], {"question": ""}, "a question of 0 characters"),
        (["none", "syngen"], {"raters": 10**6}, "max_raters is 1000000; expected 1 to 1000"),
    ],
)
def test_what_cannot_be_a_study_is_refused_in_one_line(
    run: Path, tmp_path: Path, methods: list[str], settings: dict, said: str
) -> None:
    from unbleed.rating.create import create

    with pytest.raises(RatingError) as error:
        create(run, tmp_path / "study", methods, **settings)
    assert said in str(error.value)
    assert not (tmp_path / "study" / "study.json").exists()


def test_a_run_without_a_finished_prompt_has_nothing_to_rate(tmp_path: Path) -> None:
    from helpers.fake_runs import plan_of, write_run
    from unbleed.rating.create import create

    write_run(tmp_path / "run", plan_of("none,syngen"), skip=lambda prompt, seed: seed == 0)
    with pytest.raises(RatingError, match="has no prompt with all pictures of none, syngen; finish the run first"):
        create(tmp_path / "run", tmp_path / "study", ["none", "syngen"], partial=True)


def test_pictures_without_tiles_cannot_be_catches(tmp_path: Path) -> None:
    from helpers.fake_runs import plan_of, write_run
    from unbleed.rating.create import create

    write_run(tmp_path / "run", plan_of("none,syngen"))  # pictures of one colour
    with pytest.raises(RatingError, match="0 pictures change when their tiles are shuffled; expected 1; take fewer --catches"):
        create(tmp_path / "run", tmp_path / "study", ["none", "syngen"])
