"""The benchmark's folder: damaged and hostile files, kills, and several processes at once."""

from __future__ import annotations

import io
import json
import os
import random
import shutil
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypedDict

import pytest
from PIL import Image

from helpers.fake_runs import FakeOracle, output_of, plan_of, write_run
from unbleed import cli, schema
from unbleed.bench.exchange.dataset import export
from unbleed.bench.metrics import dsg, geneval
from unbleed.bench.metrics.oracle import OracleMetric
from unbleed.bench.plan.cases import Case
from unbleed.bench.plan.jobs import Job, JobResult
from unbleed.bench.plan.plan import Plan
from unbleed.bench.sampling.runner import run
from unbleed.bench.scoring import kept_metrics
from unbleed.bench.scoring.run_folder import open_folder
from unbleed.bench.storage.store import PICTURES, Store, case_digest, row_key
from unbleed.bench.storage.table import Table
from unbleed.bench.suites.own import own_suite
from unbleed.cli import bench, bench_export, bench_report  # noqa: F401  (they add the commands)
from unbleed.errors import BenchError, OutputError, UnbleedWarning
from unbleed.files import atomic_file, atomic_write, check_writable, clear_unfinished, read_json

# ------------------------------------------------------------------------------------- types of JSON documents


@dataclass(frozen=True)
class Point:
    x: float
    names: tuple[str, ...] = ()
    kind: Literal["a", "b"] | None = None
    rest: Mapping[str, Any] = field(default_factory=dict)


class Loose(TypedDict, total=False):
    points: list[Point]
    box: tuple[int, float]
    either: str | Sequence[int] | None


def test_B14_documents_are_read_as_their_types() -> None:
    assert schema.check({"x": 1, "names": ["é"], "rest": {"a": [None, True, 2.5]}}, Point) == Point(
        1, ("é",), None, {"a": [None, True, 2.5]}
    )
    found = schema.check({"points": [{"x": 2.5, "kind": "b"}], "box": [1, 2], "either": [3], "other": "kept"}, Loose)
    assert found == {"points": [Point(2.5, kind="b")], "box": (1, 2), "either": [3], "other": "kept"}


@pytest.mark.parametrize(
    ("text", "kind", "message"),
    [
        ("[]", Point, "it is a list of 0; expected an object"),
        ("{}", Point, "x is missing"),
        ('{"x": true}', Point, "x is true; expected a number"),
        ('{"x": 1e999}', Point, "x is Infinity; expected a finite number"),
        ('{"x": NaN}', Point, "it holds NaN, which JSON does not have; expected a finite number, or null"),
        ('{"x": "1"}', Point, 'x is "1"; expected a number'),
        ('{"x": 1, "names": ["a", 5]}', Point, "names[1] is 5; expected a text"),
        ('{"x": 1, "names": ["\\ud800"]}', Point, "names[0] holds half a character ('\\ud800' alone); expected whole ones"),
        ('{"x": 1, "names": "ab"}', Point, 'names is "ab"; expected a list'),
        ('{"x": 1, "kind": "c"}', Point, 'kind is "c"; expected "a" or "b"'),
        ('{"x": 1, "y": 2}', Point, "y is unknown; known: x, names, kind, rest"),
        ('{"x": 1, "rest": {"a b": [1e999]}}', Point, 'rest."a b"[0] is Infinity; expected a finite number'),
        ('{"box": [1]}', Loose, "box is a list of 1; expected a list of 2"),
        ('{"box": [1.5, 2]}', Loose, "box[0] is 1.5; expected a whole number"),
        (f'{{"box": [{2**63}, 2]}}', Loose, f"box[0] is {2**63}; expected a whole number of at most 64 bits"),
        ('{"either": {}}', Loose, "either is an object; expected a text or a list or null"),
        ('{"points": [{"x": 1},\n {"x": }]}', Loose, "it is not JSON (Expecting value at line 2, character 8)"),
        ("9" * 5000, Any, "it holds a number of thousands of digits; expected one of at most 64 bits"),
        ("[" * 100_000, Any, "it is nested more than 64 levels deep"),
        ('{"a":' * 70 + "1" + "}" * 70, Any, "is nested more than 64 levels deep"),
    ],
)
def test_B14_a_wrong_type_names_its_field(text: str, kind: Any, message: str) -> None:
    with pytest.raises(schema.SchemaError) as error:
        schema.check(schema.parse(text), kind)
    assert str(error.value).endswith(message)
    assert len(str(error.value)) < 300


def test_B14_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    with pytest.raises(FileNotFoundError):
        read_json(path, Point, error=BenchError, remedy="remove it")
    path.write_text('{"x": "b"}')
    with pytest.raises(BenchError) as error:
        read_json(path, Point, error=BenchError, remedy="remove it")
    assert str(error.value) == f'{path} cannot be understood: x is "b"; expected a number; remove it'
    path.unlink()
    os.mkfifo(path)  # it would be waited for without end
    with pytest.raises(BenchError, match=r"a\.json is not a file; remove it"):
        read_json(path, Point, error=BenchError, remedy="remove it")


# ------------------------------------------------------------------------------------- files that appear whole


def test_B7_temporary_files_are_new_and_links_are_not_followed(tmp_path: Path) -> None:
    precious, path = tmp_path / "precious", tmp_path / "out" / "a.txt"
    precious.write_text("mine")
    path.parent.mkdir()
    path.symlink_to(precious)
    (path.parent / ".a.txt.tmp").symlink_to(precious)
    atomic_write(path, "new\r\n")
    assert path.read_bytes() == b"new\r\n"
    assert not path.is_symlink()
    assert precious.read_text() == "mine"
    assert sorted(p.name for p in path.parent.iterdir()) == [".a.txt.tmp", "a.txt"]


def test_B4_a_file_is_whole_or_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    atomic_write(path, "old")

    def interrupted() -> None:
        with atomic_file(path) as file:
            file.write(b"half")
            file.flush()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(OutputError, match=r"a\.txt/b cannot be written: .*; choose another --out"):
        atomic_write(path / "b", "text")
    (tmp_path / ".unbleed-0a.tmp").touch()
    clear_unfinished(tmp_path, older_than_s=60)
    assert len(list(tmp_path.iterdir())) == 2
    clear_unfinished(tmp_path)
    assert list(tmp_path.iterdir()) == [path]


def test_B12_checking_a_folder_makes_and_removes_no_folder(tmp_path: Path) -> None:
    check_writable(tmp_path / "a" / "b" / "c")
    assert list(tmp_path.iterdir()) == []
    for bad, reason in (("file/x", "Not a directory"), ("x" * 300, "File name too long"), ("link", "No such file")):
        (tmp_path / "file").touch()
        if not (tmp_path / "link").is_symlink():
            (tmp_path / "link").symlink_to(tmp_path / "nowhere")
        with pytest.raises(OutputError, match=f"cannot be written to: {reason}.*; choose another --out"):
            check_writable(tmp_path / bad)


def test_B12_runs_that_begin_at_once_in_one_parent(tmp_path: Path) -> None:
    refused: list[BaseException] = []
    begin = threading.Barrier(4)

    def start(number: int) -> None:
        try:
            for at in range(40):
                begin.wait()
                check_writable(tmp_path / f"runs-{at}" / f"run-{number}")
                (tmp_path / f"runs-{at}" / f"run-{number}").mkdir(parents=True)
        except BaseException as error:
            refused.append(error)
            begin.abort()

    threads = [threading.Thread(target=start, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not refused


# --------------------------------------------------------------------------------------------- a run's pictures

LABELS, METRIC = "none,syngen", FakeOracle()


@dataclass
class Grey:
    """Draws plain pictures of 8x8 pixels, all of the same number of bytes."""

    drawn: int = 0

    def run(self, jobs: Sequence[Job]) -> list[JobResult]:
        self.drawn += len(jobs)
        return [JobResult(job, png((job.seed, 9, 9)), 1.0, len(jobs), "float32") for job in jobs]


def png(colour: tuple[int, int, int]) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (8, 8), colour).save(stream, "PNG", compress_level=0)
    return stream.getvalue()


@pytest.fixture
def report_of(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str]]:
    """Call a command of the benchmark: its exit code, and what it complained of."""
    monkeypatch.setattr(kept_metrics, "metric", lambda name, **settings: METRIC)

    def call(*arguments: object) -> tuple[int, str]:
        code = cli._run(["bench", *(str(a) for a in arguments)])
        return code, capsys.readouterr().err

    return call


def drawn_anew(out: Path, plan: Plan) -> int:
    worker = Grey()
    run(out, plan, make=lambda: worker)
    return worker.drawn


def judged(store: Store, plan: Plan) -> None:
    """Keep what the oracle might have seen."""
    cases = {case.prompt: case for case in plan.suite.cases}
    store.outputs(METRIC.name, METRIC.fingerprint).append(
        {
            "key": row_key(job, case_digest(cases[job.prompt])),
            "case": case_digest(cases[job.prompt]),
            "seen": json.dumps(output_of(METRIC, cases[job.prompt], 0.8, random.Random(job.key))),
        }
        for job in plan.jobs()
    )


@pytest.mark.parametrize("change", ["emptied", "cut short", "replaced", "gone", "a folder's link"])
def test_B1_a_picture_that_is_not_what_its_row_says_is_drawn_again(
    report_of: Callable[..., tuple[int, str]], out: Path, change: str
) -> None:
    plan = plan_of(LABELS, limit=2)
    assert drawn_anew(out, plan) == 8
    store = Store(out)
    judged(store, plan)
    keys = [job.key for job in plan.jobs()]
    path, whole = store.image(keys[3]), store.image(keys[3]).read_bytes()
    other = png((200, 0, 0))
    assert len(other) == len(whole)
    path.unlink()
    changes: dict[str, Callable[[], object]] = {
        "emptied": path.touch,
        "cut short": lambda: path.write_bytes(whole[:-5]),
        "replaced": lambda: path.write_bytes(other),
        "gone": lambda: None,
        "a folder's link": lambda: path.symlink_to("nowhere"),
    }
    changes[change]()
    code, complaint = report_of("report", out)
    assert code == 2
    assert complaint.count("\n") == 1
    if change == "gone":
        assert f"1 images of {out} are not sampled and scored yet" in complaint
    else:
        assert f"{path} is " in complaint
        assert "run the benchmark (or the import) again to make it anew" in complaint
    with pytest.warns(UnbleedWarning, match=r"^1 images of .* are (missing|damaged or replaced); .* sampled again"):
        assert drawn_anew(out, plan) == 1
    assert path.read_bytes() == whole
    assert not path.is_symlink()
    assert drawn_anew(out, plan) == 0
    assert report_of("report", out) == (0, "")


def test_B1_rows_without_a_hash_are_read_and_their_cut_pictures_found(out: Path) -> None:
    plan = plan_of(LABELS, limit=2)
    drawn_anew(out, plan)
    store = Store(out)
    old = {name: kind for name, kind in PICTURES.items() if name != "sha256"}
    rows = [dict(zip(old, (key, *row), strict=True)) for key, row in store.pictures.read(*list(old)[1:]).items()]
    for name in ("pictures/000001.parquet", "pictures/journal.jsonl"):
        (out / name).unlink()
    Table(out / "pictures", old).append(rows[:4])
    Table(out / "pictures", old).compact()
    Table(out / "pictures", old).append(rows[4:])
    assert set(store.hashes().values()) == {None}
    assert drawn_anew(out, plan) == 0
    for row in (rows[0], rows[5]):
        store.image(row["key"]).write_bytes(b"\x89PNG\r\n\x1a\n")
    with pytest.warns(UnbleedWarning, match="2 images of .* are damaged"):
        assert drawn_anew(out, plan) == 2
    assert sum(value is not None for value in store.hashes().values()) == 2


# -------------------------------------------------------------------------------------------- rows and folders


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"key": ["a"]}', "key is a list of 1; expected a text"),
        ('{"key": "a", "seconds": "long"}', 'seconds is "long"; expected a number'),
        ('{"key": "a", "error": 5}', "error is 5; expected a text"),
        ('{"key": "a", "seed": 1e999}', "seed is Infinity; expected a whole number"),
        (
            '{"key": "a", "seed": 99999999999999999999}',
            "seed is 99999999999999999999; expected a whole number of at most 64 bits",
        ),
        ('{"key": "\\ud800"}', "key holds half a character ('\\ud800' alone); expected whole ones"),
        ('["a"]', "it is a list of 1; expected an object"),
        ("{", "it is not JSON"),
        ("[" * 100_000, "it is nested more than 64 levels deep"),
        ('{"prompt": "a"}', "key is missing"),
    ],
)
def test_B2_a_row_of_the_journal_with_wrong_types_is_named(out: Path, line: str, message: str) -> None:
    plan = plan_of(LABELS, limit=1)
    drawn_anew(out, plan)
    journal = out / "pictures" / "journal.jsonl"
    journal.write_text(f'{{"key": "b"}}\n{line}\n')
    for read in (lambda: drawn_anew(out, plan), lambda: open_folder(out)):
        with pytest.raises(BenchError) as error:
            read()
        assert str(error.value).startswith(f"{journal}, line 2: {message}")
        assert str(error.value).endswith("; remove that line and run again")


def test_B3_a_shard_that_cannot_be_read_is_one_line(out: Path) -> None:
    plan = plan_of(LABELS, limit=1)
    drawn_anew(out, plan)
    shard = out / "pictures" / "000002.parquet"
    shard.symlink_to(out / "nowhere")  # it was looked for without end
    with pytest.raises(BenchError, match=r"000002\.parquet cannot be read .*; remove it and run again; its rows are made anew"):
        open_folder(out)
    with pytest.raises(BenchError, match=r"000002\.parquet cannot be read"):
        drawn_anew(out, plan)
    shard.unlink()
    shard.mkdir()
    with pytest.raises(BenchError, match=r"000002\.parquet cannot be read \(not a file\)"):
        open_folder(out)
    shard.rmdir()
    import pyarrow
    from pyarrow import parquet

    parquet.write_table(pyarrow.table({"key": [5], "error": ["a"]}), shard)
    with pytest.raises(BenchError, match=r"000002\.parquet cannot be read \(column key is int64; expected string\)"):
        open_folder(out)
    parquet.write_table(pyarrow.table({"key": ["a"]}), shard)
    with pytest.raises(BenchError, match=r"000002\.parquet cannot be read \(column error is missing; expected string\)"):
        open_folder(out)


def test_B14_a_copy_beside_the_shards_is_left_alone(out: Path) -> None:
    plan = plan_of(LABELS, limit=1)
    drawn_anew(out, plan)
    backup = out / "pictures" / "backup.parquet"
    shutil.copy(out / "pictures" / "000001.parquet", backup)
    before = backup.read_bytes()
    assert drawn_anew(out, plan_of(LABELS, limit=2)) == 4
    assert backup.read_bytes() == before
    assert open_folder(out, [], allow_partial=True).results.images


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("images", r"out/images cannot be read \(Not a directory\); expected a folder of images"),
        ("pictures", r"out/pictures cannot be written: File exists"),
        ("metrics", r"are not drawn and judged yet"),
        ("setups.json", r"setups\.json is not a file; remove it and run again"),
        ("pictures/journal.jsonl", r"journal\.jsonl is not a file; remove it"),
        ("run.json", r"run\.json is not a file; remove it and run again, or name another folder"),
        (".lock", r"out cannot be written: Is a directory|another process is writing"),
    ],
)
def test_B3_a_file_in_the_place_of_a_folder_and_the_other_way_round(out: Path, place: str, message: str) -> None:
    plan, path = plan_of(LABELS, limit=1), out / place
    drawn_anew(out, plan)
    judged(Store(out), plan)
    folder = path.is_dir()
    (shutil.rmtree if folder else os.unlink)(path)
    path.touch() if folder else path.mkdir()
    read = open_folder if place in ("metrics", "run.json") else lambda path: drawn_anew(path, plan)
    if place == "metrics":  # nothing looked
        assert read(out).metrics == ()
        return
    with pytest.raises((BenchError, OutputError), match=message) as error:
        read(out)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["pictures/journal.jsonl", ".lock"])
def test_B7_links_are_not_written_through(out: Path, tmp_path: Path, name: str) -> None:
    plan, precious = plan_of(LABELS, limit=1), tmp_path / "precious"
    drawn_anew(out, plan)
    precious.write_text("mine\n")
    (out / name).unlink()
    (out / name).symlink_to(precious)
    with pytest.raises(BenchError, match=r"is a symbolic link, which is not followed; remove it and run again"):
        drawn_anew(out, plan)
    assert precious.read_text() == "mine\n"


# ---------------------------------------------------------------------------------------- reports and data sets


def test_B7_B4_a_report_follows_no_link_and_appears_whole(
    report_of: Callable[..., tuple[int, str]], out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_run(out, plan_of(LABELS, limit=2))
    precious = tmp_path / "precious"
    precious.write_text("mine")
    for name in ("report.html", "rows.csv", ".run.json.tmp", ".rows.csv.tmp"):
        (out / name).symlink_to(precious)
    assert report_of("report", out) == (0, "")
    assert precious.read_text() == "mine"
    before = {path: path.read_bytes() for path in out.glob("[a-z]*.*")}
    assert len(before) == 8  # with run.json and setups.json
    whole, begun = Path.replace, []

    def killed(path: Path, target: Path) -> Path:
        begun.append(target)
        if len(begun) == 4:
            raise KeyboardInterrupt
        return whole(path, target)

    monkeypatch.setattr(Path, "replace", killed)
    assert report_of("report", out)[0] == 130
    monkeypatch.undo()
    assert {path: path.read_bytes() for path in before} == before


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("README.md", "export"),
        ("data/train-00000-of-00001.parquet", "export"),
        pytest.param("data/train-00003-of-00007.parquet", "export", marks=pytest.mark.slow),
        ("index.html", "gallery"),
        ("pictures.js", "gallery"),
        ("report.md", "compare"),
        pytest.param("rows.csv", "compare", marks=pytest.mark.slow),
    ],
)
def test_B7_files_of_others_are_not_replaced(
    report_of: Callable[..., tuple[int, str]], out: Path, tmp_path: Path, name: str, kind: str
) -> None:
    run, there = tmp_path / "run", out / name
    write_run(run, plan_of(LABELS, limit=2))
    runs: list[object] = [run]
    if kind == "compare":
        shutil.copytree(run, tmp_path / "other")
        runs.append(tmp_path / "other")

    def refused() -> None:
        code, complaint = report_of(kind, *runs, "--out", out)
        assert (code, complaint) == (
            2,
            f"unbleed: {there} was not written by this command, or was changed since; move it away, or choose another --out\n",
        )

    there.parent.mkdir(parents=True)
    there.write_text("mine")
    refused()
    assert there.read_text() == "mine"
    assert [path for path in out.rglob("*") if path.is_file() and path.parent.parent.name != "thumbs"] == [there]
    there.unlink()
    for _ in range(2):  # what it wrote itself is replaced
        assert report_of(kind, *runs, "--out", out) == (0, "")
    if there.exists():
        there.write_text(there.read_text(errors="replace") + "\nmy own words")
        refused()
        there.unlink()
        assert report_of(kind, *runs, "--out", out) == (0, "")
    there.unlink(missing_ok=True)
    there.symlink_to(run / "run.json")
    refused()


def test_B7_an_export_that_was_killed_is_made_anew(tmp_path: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_run(tmp_path / "run", plan_of(LABELS, limit=3))
    monkeypatch.setattr(kept_metrics, "metric", lambda name, **settings: METRIC)
    run = open_folder(tmp_path / "run")
    files = export(run, out, shard_bytes=300)
    assert len(files) > 3
    whole = Path.replace
    for moment in range(1, 9):  # between any two of its renames
        renamed: list[Path] = []

        def killed(path: Path, target: Path, renamed: list[Path] = renamed, moment: int = moment) -> Path:
            renamed.append(target)
            if len(renamed) == moment:
                raise KeyboardInterrupt
            return whole(path, target)

        monkeypatch.setattr(Path, "replace", killed)
        with pytest.raises(KeyboardInterrupt):
            export(run, out, shard_bytes=300)
        monkeypatch.setattr(Path, "replace", whole)
        assert not (out / "README.md").exists()
        assert export(run, out, shard_bytes=300) == files
    assert len(export(run, out)) == 2
    assert sorted(path.name for path in out.rglob("*") if path.is_file()) == [
        ".unbleed-files",
        "README.md",
        "train-00000-of-00001.parquet",
    ]


# ----------------------------------------------------------------------------------------- documents of a run


def put(document: Any, path: Sequence[Any], value: Any) -> None:
    for step in path[:-1]:
        document = document[step]
    if value is REMOVED:
        del document[path[-1]]
    else:
        document[path[-1]] = value


REMOVED = object()


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (["seeds"], "2", 'seeds is "2"; expected a whole number'),
        (["seeds"], 0, "seeds is 0; expected 1 to 1000"),
        (["batch_size"], 0, "batch_size is 0; expected at least 1"),
        (["suite"], [], "suite is a list of 0; expected an object"),
        (["suite", "cases", 1, "prompt"], 5, "suite.cases[1].prompt is 5; expected a text"),
        (
            ["suite", "cases", 0, "entities", 1, "modifiers"],
            "red",
            'suite.cases[0].entities[1].modifiers is "red"; expected a list',
        ),
        (["suite", "cases", 0, "annotations"], None, "suite.cases[0].annotations is null; expected an object"),
        (["suite", "cases"], [], "the number of suite.cases is 0; expected at least 1"),
        (["contenders", 1, "label"], "none", 'contenders[1].label is a second "none"'),
        (["contenders", 0, "draws"], 100, "contenders[0].draws is 100; expected 1 to 99"),
        (["contenders", 0, "settings"], [1], "contenders[0].settings is a list of 1; expected an object"),
        (["machine"], {}, "machine.device is missing"),
        (["machine", "device"], 3, "machine.device is 3; expected a text"),
        (["versions", "torch"], 2.5, "versions.torch is 2.5; expected a text"),
        (["guidance_scale"], float("inf"), "it holds Infinity, which JSON does not have; expected a finite number, or null"),
        (["model"], REMOVED, "model is missing"),
        (["colour"], "red", "colour is unknown; known: suite, seeds, contenders"),
        (["imported"], {"none": {}}, 'imported has the seeds "" for "a'),
    ],
)
def test_B14_a_wrong_field_of_a_plan_is_named(
    report_of: Callable[..., tuple[int, str]], out: Path, path: list[Any], value: Any, message: str
) -> None:
    write_run(out, plan_of(LABELS, limit=2))
    plan = json.loads((out / "run.json").read_text())
    put(plan, path, value)
    (out / "run.json").write_text(json.dumps(plan))
    code, complaint = report_of("report", out)
    assert code == 2
    assert complaint.startswith(f"unbleed: {out / 'run.json'} cannot be understood: {message}")
    assert complaint.endswith("; remove it and run again, or name another folder\n")


@pytest.mark.parametrize(
    ("seen", "message"),
    [
        ('{"things": 5, "blends": []}', "things is 5; expected a list"),
        ('{"things": [{"noun": "cat", "colour": null, "box": [0, 0, 1], "confidence": 1}]}', "things[0].box is a list of 3"),
        ("{", "it is not JSON"),
        (None, "it is empty"),
        ("[]", "it is a list of 0; expected an object"),
    ],
)
def test_B14_what_a_metric_saw_is_checked(monkeypatch: pytest.MonkeyPatch, out: Path, seen: str | None, message: str) -> None:
    plan, metric = plan_of(LABELS, limit=2), OracleMetric()
    monkeypatch.setattr(kept_metrics, "metric", lambda name, **settings: metric)
    store = write_run(out, plan)
    table = store.outputs(METRIC.name, METRIC.fingerprint)
    key = next(iter(table.read()))
    table.append([{"key": key, "case": "", "seen": seen}])
    with pytest.raises(BenchError) as error:
        open_folder(out)
    assert str(error.value).startswith(f"{table.folder}, row {key}, seen cannot be understood: {message}")
    assert str(error.value).endswith("remove that folder and run the metric again: unbleed bench score")


def test_B14_setups_that_are_no_object_are_named(out: Path) -> None:
    plan = plan_of(LABELS, limit=1)
    drawn_anew(out, plan)
    (out / "setups.json").write_text("[]")
    with pytest.raises(
        BenchError, match=r"setups\.json cannot be understood: it is a list of 0; expected an object; remove it"
    ):
        drawn_anew(out, plan)
    (out / "setups.json").write_text("[" * 100_000)
    with pytest.raises(BenchError, match=r"setups\.json cannot be understood: it is nested more than 64 levels deep"):
        drawn_anew(out, plan)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (r'{"prompt": "a \ud800 cat"}', r"prompt holds half a character ('\ud800' alone); expected whole ones"),
        ('{"prompt": "a cat", "annotations": {"a": [1e999]}}', "annotations.a[0] is Infinity; expected a finite number"),
        (r'{"prompt": "a cat", "groups": ["\udfff"]}', r"groups[0] holds half a character ('\udfff' alone)"),
        ('{"prompt": "a cat", "annotations": ' + '{"a":' * 80 + "1" + "}" * 81, "is nested more than 64 levels deep"),
        ('{"prompt": "a cat", "annotations": {"a": ' + "9" * 5000 + "}}", "it holds a number of thousands of digits"),
    ],
)
def test_B14_a_suite_that_no_run_could_use_is_refused_by_line(tmp_path: Path, line: str, message: str) -> None:
    path = tmp_path / "own.jsonl"
    path.write_text('{"prompt": "a dog"}\n' + line + "\n")
    with pytest.raises(BenchError) as error:
        own_suite(path)
    assert str(error.value).startswith(f"{path}, line 2: ")
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("annotations", "message"),
    [
        ({"questions": 5}, "questions is 5; expected a list"),
        ({"questions": [{"id": 1, "text": 2, "parents": []}]}, "questions[0].text is 2; expected a text"),
        ({"questions": [{"id": 1, "text": "a?", "parents": 0}]}, "questions[0].parents is 0; expected a list"),
        (
            {"questions": [{"id": [1], "text": "a?", "parents": []}]},
            "questions[0].id is a list of 1; expected a whole",
        ),
    ],
)
def test_B14_questions_are_checked(annotations: Mapping[str, Any], message: str) -> None:
    with pytest.raises(BenchError) as error:
        dsg.questions_of(Case("a cat", annotations=annotations))
    assert str(error.value).startswith(f'annotations of "a cat" cannot be understood: {message}')
    assert str(error.value).endswith("; correct the suite's file")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tag": 3}, "tag is 3; expected a text"),
        ({"include": [{"class": "cat"}]}, "include[0].count is missing"),
        ({"include": [{"class": "cat", "count": "1"}]}, 'include[0].count is "1"; expected a whole number'),
        (
            {"include": [{"class": "cat", "count": 1, "position": ["left of", 0]}]},
            "include[0].position[1] is 0; expected the index of an earlier entry, from 0",
        ),
        ({"exclude": {}}, "exclude is an object; expected a list"),
    ],
)
def test_B14_what_geneval_asks_for_is_checked(changes: Mapping[str, Any], message: str) -> None:
    with pytest.raises(BenchError) as error:
        geneval.annotations_of(Case("a cat", annotations={"tag": "single_object", "include": [], **changes}))
    assert str(error.value) == f'annotations of "a cat" cannot be understood: {message}; correct the suite\'s file'
