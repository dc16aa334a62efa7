"""Suites: rules that always make the same prompts, published files that are known by their hash, files of one's own.

The published files themselves are read where `UNBLEED_SUITES` names their folder; all else works on lines made up here.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from unbleed import cli
from unbleed.bench.plan.cases import Case, Expected, Suite
from unbleed.bench.plan.plan import Plan
from unbleed.bench.plan.variants import Variant
from unbleed.bench.suites import download, published, readers, suite, suite_folder, suite_names
from unbleed.bench.suites.dvmp import KINDS, dvmp
from unbleed.bench.suites.entity_missing import TEST_WORDS, WORDS
from unbleed.bench.suites.own import entities_from
from unbleed.bench.suites.published import PUBLISHED, Published
from unbleed.cli import bench as bench_commands  # noqa: F401  (it adds the commands)
from unbleed.emoji.sprites import ANIMALS, OBJECTS
from unbleed.errors import BenchError, OutputError
from unbleed.prompt import parse_all

FOLDER = os.environ.get("UNBLEED_SUITES")
CAT, HAT = Expected("cat"), Expected("hat", ("red",))


def prompts_of(name: str, folder: Path | None = None) -> list[str]:
    return [case.prompt for case in suite(name, folder).cases]


def groups_of(name: str) -> Counter[str]:
    return Counter(group for case in suite(name).cases for group in case.groups)


# ------------------------------------------------------------------------------------------------ made by a rule

MADE = {  # prompts, the first and the last, and the beginning of the sha256 of all, a line each
    "emoji-single": (288, "a cat", "a white apple", "b25797536d44"),
    "emoji-pairs": (276, "a cat and a dog", "a gray clock and a black apple", "0532ff21adbd"),
    "emoji-triples": (
        96,
        "a monkey, a purple bow and a brown balloon",
        "a bear, a orange crown and a gray chair",
        "60d94589e406",
    ),
    "emoji-bind": (96, "a gray horse and a blue bench", "a green suitcase and a brown chair", "f5fd33c93ce6"),
    "emoji-similar": (48, "a bear and a monkey", "a pink cat and a yellow dog", "e53c54675a48"),
    "emoji-validation": (96, "a frog and a dog", "a brown car and a green bow", "753e6b205d2d"),
    "emoji-validation-orders": (96, "a red chair and a elephant", "a horse and a green bow", "4b8b62a6c213"),
    "attend-and-excite": (276, "a cat and a dog", "a purple clock and a brown apple", "203e5ff1da5f"),
    "dvmp": (
        200,
        "a metal car and a sleepy spotted horse",
        "a spotted bear and a curved bench and a gray frog",
        "b4167535a0e4",
    ),
    "entity-missing": (1275, "an airplane and an apple", "a vase and a zebra", "29454bebafef"),
    "entity-missing-3": (1000, "an airplane and a bus and an orange", "a dog and a giraffe and a shoe", "f6fb65a25d00"),
    "entity-missing-4": (
        500,
        "a cup and a giraffe and a keyboard and a microwave",
        "a bird and a carrot and a giraffe and a tv",
        "bdebc56b395b",
    ),
}


@pytest.mark.parametrize("name", MADE)
def test_a_rule_makes_the_same_prompts_each_once(name: str) -> None:
    count, first, last, digest = MADE[name]
    prompts = prompts_of(name)
    assert (len(prompts), prompts[0], prompts[-1]) == (count, first, last)
    assert hashlib.sha256("\n".join(prompts).encode()).hexdigest()[:12] == digest
    assert len(set(prompts)) == count
    assert suite(name) == suite(name)
    assert suite_names()[: len(MADE)] == list(MADE)


@pytest.mark.parametrize("name", [name for name in MADE if not name.startswith("emoji-")])
def test_the_parser_reads_what_a_rule_expects(name: str) -> None:
    cases = suite(name).cases
    for case, parsed in zip(cases, parse_all([case.prompt for case in cases]), strict=True):
        read = [(entity.noun, tuple(entity.modifiers)) for entity in parsed.entities]
        assert read == [(entity.noun, entity.modifiers) for entity in case.entities], case.prompt


def test_attend_and_excite_has_every_pair_in_the_patterns_of_its_group() -> None:
    patterns = {
        "animals": r"a \w+ and a \w+",
        "animal and object": r"a \w+ and a \w+ \w+|a \w+ with a (crown|bow|glasses)",
        "objects": r"a \w+ \w+ and a \w+ \w+",
    }
    cases = suite("attend-and-excite").cases
    assert groups_of("attend-and-excite") == {"animals": 66, "animal and object": 144, "objects": 66}
    assert len({frozenset(entity.noun for entity in case.entities) for case in cases}) == 276
    assert all(re.fullmatch(patterns[case.groups[0]], case.prompt) for case in cases)
    assert sum(" with a " in case.prompt for case in cases) == 36
    for case in cases:
        assert all(entity.colour is None for entity in case.entities if entity.noun in ANIMALS)
        colours = [entity.colour for entity in case.entities if entity.noun in OBJECTS and " with a " not in case.prompt]
        assert None not in colours
        assert len(set(colours)) == len(colours)


def test_dvmp_keeps_to_its_rule_and_grows_at_the_end() -> None:
    cases = dvmp(600)
    assert tuple(cases[:200]) == suite("dvmp").cases
    assert Counter(len(case.entities) for case in cases).keys() == {1, 2, 3}
    kinds = {noun: kind for kind in KINDS for noun in kind.nouns}
    entities = [entity for case in cases for entity in case.entities]
    for entity in entities:
        kind = kinds[entity.noun]
        own = [modifier for modifier in entity.modifiers if modifier in kind.modifiers]
        assert entity.modifiers
        assert len(set(own)) == len(own) <= kind.most
        assert len(own) == len(entity.modifiers) or list(entity.modifiers[1:]) == own  # a colour stands first
    assert {len(entity.modifiers) for entity in entities} == {1, 2, 3}
    assert all(len(set(case.entities)) == len(case.entities) for case in cases)
    assert not any(re.search(r"\ban [^aeiou]|\ba [aeiou]", case.prompt) for case in cases)


def test_entity_missing_draws_from_51_of_71_words() -> None:
    assert (len(set(WORDS)), len(set(TEST_WORDS))) == (71, 51)
    for name, size in (("entity-missing", 2), ("entity-missing-3", 3), ("entity-missing-4", 4)):
        for case in suite(name).cases:
            nouns = [entity.noun for entity in case.entities]
            assert len(nouns) == size
            assert all(one < other for one, other in pairwise(nouns))
            assert {*nouns} <= {*TEST_WORDS}
            assert not re.search(r"\ban [^aeiou]|\ba [aeiou]", case.prompt)


# --------------------------------------------------------------------------------------------- forms of published files

DSG = """item_id,text,proposition_id,dependency,category_broad,question_natural_language
set_b_2,"A mug, blue",1,0,entity,Is there a mug?
set_b_2,"A mug, blue",2,"1,1",attribute,Is the mug blue?
set_b_2,"A mug, blue",3,"2, 1, air",relation,Is it up?
set_a_9,A mug,2,1,global,Is it one?
set_a_9,A mug,4,"4,2",global,Is it a photo?
"""


RED_HAT = {"class": "hat", "count": 1, "color": "red"}
ONE_CAT, TWO_CATS = {"class": "cat", "count": 1}, {"class": "cat", "count": 2}


@pytest.mark.parametrize(
    ("read", "text", "cases"),
    [
        (readers.prompts, "a fox\r\n\r\n  an owl \r\n", [Case("a fox"), Case("an owl")]),
        (
            readers.attend_and_excite,
            json.dumps({"animals_objects": ["a cat with a red hat", "a cat, red"], "objects": ["a red hat and a cat"]}),
            [
                Case("a cat with a red hat", (CAT, HAT), ("animal and object",)),
                Case("a cat, red", (), ("animal and object",)),
                Case("a red hat and a cat", (HAT, CAT), ("objects",)),
            ],
        ),
        (
            readers.conjunctions,
            "A red hat and a cat\na tin cat and hats\n" + "an owl\n" * 500,
            [Case("A red hat and a cat", (HAT, CAT)), Case("a tin cat and hats"), *[Case("an owl")] * 444],
        ),
        (
            readers.contrasts,
            "a red b and a blue c\na blue b and a red c\n",
            [Case("a red b and a blue c", (), ("caption",)), Case("a blue b and a red c", (), ("colours exchanged",))],
        ),
        (
            readers.geneval,
            "\n".join(
                json.dumps({"tag": "t", "include": include, **others, "prompt": "p"})
                for include, others in (([RED_HAT, TWO_CATS], {}), ([ONE_CAT], {"exclude": [TWO_CATS]}))
            ),
            [
                Case("p", (HAT, CAT, CAT), ("t",), {"include": [RED_HAT, TWO_CATS], "exclude": []}),
                Case("p", (CAT,), ("t",), {"include": [ONE_CAT], "exclude": [TWO_CATS]}),
            ],
        ),
        (readers.drawbench, 'Prompts,Category\n"a fox, red",Odd \n', [Case("a fox, red", (), ("Odd",))]),
        (lambda text: readers.similar_subjects(text, "SSD-3"), '{"SSD-2": ["x"], "SSD-3": ["a fox"]}', [Case("a fox")]),
        (readers.genai, '{"1": {"prompt": "a fox", "models": {}}}', [Case("a fox")]),
        (
            readers.dsg,
            DSG,
            [
                Case(
                    "A mug, blue",
                    (),
                    ("set_b",),
                    {
                        "questions": [
                            {"id": 1, "text": "Is there a mug?", "kind": "entity", "parents": []},
                            {"id": 2, "text": "Is the mug blue?", "kind": "attribute", "parents": [1]},
                            {"id": 3, "text": "Is it up?", "kind": "relation", "parents": [1, 2]},
                        ]
                    },
                ),
                Case(
                    "A mug",
                    (),
                    ("set_a",),
                    {
                        "questions": [
                            {"id": 2, "text": "Is it one?", "kind": "global", "parents": []},
                            {"id": 4, "text": "Is it a photo?", "kind": "global", "parents": [2]},
                        ]
                    },
                ),
            ],
        ),
        (
            readers.geneval2,
            json.dumps(
                {
                    "prompt": "two tin foxes",
                    "atom_count": 3,
                    "vqa_list": [["How many foxes are in the image?", "two"], ["Are the foxes tin?", "Yes"]],
                    "skills": ["count", "attribute"],
                }
            ),
            [
                Case(
                    "two tin foxes",
                    (),
                    ("3 atoms",),
                    {
                        "atoms": [
                            {"question": "How many foxes are in the image?", "answer": "two", "skill": "count"},
                            {"question": "Are the foxes tin?", "answer": "Yes", "skill": "attribute"},
                        ]
                    },
                )
            ],
        ),
        (
            readers.corebench,
            json.dumps(
                {
                    "C-MI-001": {
                        "Main Class": "Composition",
                        "Sub Class": "Multi-Instance",
                        "Prompt": "a fox and an owl ",
                        "Checklist": [{"question": "Is there a fox?", "tags": ["a", "b"]}, {"question": "Is there an owl?"}],
                    }
                }
            ),
            [
                Case(
                    "a fox and an owl",
                    (),
                    ("Multi-Instance",),
                    {
                        "questions": [
                            {"id": 1, "text": "Is there a fox?", "kind": "a, b", "parents": []},
                            {"id": 2, "text": "Is there an owl?", "kind": "", "parents": []},
                        ]
                    },
                )
            ],
        ),
        *(
            (
                readers.unigenbench,
                f"index,prompt{end},sub_dims{end}\n"
                '0,"a tin fox, sad","{""Subjects"": ""Animal"", ""Testpoints"": [""Style"", ""Style""], '
                '""Testpoint Description"": [""tin"", ""sad""]}"\n',
                [
                    Case(
                        "a tin fox, sad",
                        (),
                        ("Style",),
                        {"testpoints": [{"kind": "Style", "about": "tin"}, {"kind": "Style", "about": "sad"}]},
                    )
                ],
            )
            for end in ("", "_en")
        ),
    ],
)
def test_each_form_of_file_is_read(read: Callable[[str], Any], text: str, cases: list[Case]) -> None:
    assert list(read(text)) == cases


def test_annotations_survive_a_plan() -> None:
    cases = tuple(readers.dsg(DSG)) + suite("dvmp").cases[:2]
    plan = Plan(
        suite=Suite("mixed", "", cases),
        seeds=1,
        contenders=(Variant("none", "none"),),
        model="emoji",
        model_fingerprint="",
        steps=1,
        guidance_scale=1.0,
        dtype="float32",
        batch_size=1,
        versions={},
        machine={"device": "cpu"},
    )
    assert Plan.from_json(json.loads(json.dumps(plan.to_json()))) == plan


# ------------------------------------------------------------------------------------------------- published files

TEXT = b"a fox and an owl\na red fox\n"


@pytest.fixture
def row(monkeypatch: pytest.MonkeyPatch) -> Published:
    """A published set of two prompts made up here, in the registry for the time of a test."""
    row = Published(
        name="tiny",
        about="two prompts",
        path="tiny/p.txt",
        repository="owner/repo",
        commit="0" * 40,
        source="data/p.txt",
        sha256=hashlib.sha256(TEXT).hexdigest(),
        prompts=2,
        licence="MIT",
        citation="nobody",
        read=readers.prompts,
    )
    monkeypatch.setitem(PUBLISHED, "tiny", row)
    return row


def put(folder: Path, data: bytes = TEXT) -> Path:
    path = folder / "tiny/p.txt"
    path.parent.mkdir(parents=True)
    path.write_bytes(data)
    return path


def test_rows_are_whole() -> None:
    rows = PUBLISHED.values()
    for row in rows:
        assert row.sha256 is None or re.fullmatch("[0-9a-f]{64}", row.sha256)
        assert re.fullmatch("[0-9a-f]{40}", row.commit)
        assert re.fullmatch(r"https://raw\.githubusercontent\.com/[\w.-]+/[\w.-]+/[0-9a-f]{40}/[\w./-]+", row.address)
        assert re.search(r"arXiv \d{4}\.\d{5}$", row.citation)
        assert row.licence
        assert not Path(row.path).is_absolute()
    assert len({(row.path, row.sha256, row.address) for row in rows}) == len({row.path for row in rows}) == 30


def test_a_published_suite_is_read_from_its_folder(row: Published, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path)
    read = suite("tiny", tmp_path)
    assert (read.name, read.about, read.cases) == ("tiny", "two prompts", (Case("a fox and an owl"), Case("a red fox")))
    monkeypatch.setenv("UNBLEED_SUITES", str(tmp_path))
    assert suite("tiny") == read


def test_the_folder_is_the_argument_or_the_variable_or_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.setenv("UNBLEED_SUITES", "~/mine")
    assert suite_folder(Path("here")) == Path("here")
    assert suite_folder() == tmp_path / "mine"
    monkeypatch.setenv("UNBLEED_SUITES", "")
    assert suite_folder() == tmp_path / "xdg/unbleed/suites"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert suite_folder() == tmp_path / ".cache/unbleed/suites"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert suite_folder() == tmp_path / ".cache/unbleed/suites"


def test_a_missing_file_says_where_it_comes_from_and_how(
    row: Published, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UNBLEED_SUITES", str(tmp_path))
    with pytest.raises(BenchError) as error:
        suite("tiny")
    assert str(error.value) == (
        f"tiny is not in {tmp_path}: tiny/p.txt is missing; it comes from {row.address}: run "
        "unbleed bench download tiny, or name the folder that has it with --suite-dir or UNBLEED_SUITES"
    )
    other = tmp_path / "other folder"
    with pytest.raises(BenchError, match=re.escape(f"run unbleed bench download tiny --suite-dir '{other}', or")):
        suite("tiny", other)


@pytest.mark.parametrize("data", [TEXT[:-1], TEXT.replace(b"\n", b"\r\n"), b"", TEXT.replace(b"owl", b"elk")])
def test_another_or_a_truncated_file_is_refused_and_never_replaced(row: Published, tmp_path: Path, data: bytes) -> None:
    path = put(tmp_path, data)
    seen = hashlib.sha256(data).hexdigest()
    message = f"{path} is not the file of tiny: {len(data)} bytes with sha256 {seen}, expected {row.sha256}; remove it and run"
    for act in (suite, download):
        with pytest.raises(BenchError, match=re.escape(message)):
            act("tiny", tmp_path)
    assert path.read_bytes() == data


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (TEXT + b"an elk\n", "{path} is not the file of tiny: it has 3 prompts, expected 2; remove it and run"),
        (b"\xff\xfe", "{path} is not of the form of tiny (UnicodeDecodeError: "),
    ],
)
def test_a_file_of_unknown_hash_is_known_by_its_form_and_length(
    row: Published, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data: bytes, message: str
) -> None:
    monkeypatch.setitem(PUBLISHED, "tiny", replace(row, sha256=None))
    path = put(tmp_path, data)
    with pytest.raises(BenchError, match=re.escape(message.format(path=path))):
        suite("tiny", tmp_path)
    path.write_bytes(TEXT)
    assert len(suite("tiny", tmp_path).cases) == 2


def test_what_is_no_file_is_refused(row: Published, tmp_path: Path) -> None:
    (tmp_path / "tiny/p.txt").mkdir(parents=True)
    for act in (suite, download):
        with pytest.raises(BenchError, match=r"p\.txt cannot be read \(Is a directory\)"):
            act("tiny", tmp_path)


# ----------------------------------------------------------------------------------------------------- downloads


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """A server on this machine in place of the published sets' host: what it answers, and what it was asked."""
    said: dict[str, Any] = {"status": 200, "data": TEXT, "length": None, "asked": []}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            said["asked"].append(self.path)
            self.send_response(said["status"])
            self.send_header("Content-Length", str(said["length"] or len(said["data"])))
            self.end_headers()
            self.wfile.write(said["data"])

        def log_message(self, format: str, *args: Any) -> None:
            pass

    monkeypatch.setenv("no_proxy", "*")
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        monkeypatch.setattr(published, "HOST", f"http://127.0.0.1:{http.server_port}")
        yield said
        http.shutdown()
        thread.join()


def test_a_download_fetches_once_and_leaves_nothing_else(row: Published, tmp_path: Path, server: dict[str, Any]) -> None:
    for _ in range(2):
        assert download("tiny", tmp_path) == tmp_path / "tiny/p.txt"
    assert server["asked"] == [f"/owner/repo/{'0' * 40}/data/p.txt"]
    assert [path.name for path in (tmp_path / "tiny").iterdir()] == ["p.txt"]
    assert prompts_of("tiny", tmp_path) == ["a fox and an owl", "a red fox"]


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ({"data": TEXT[:10]}, f"10 bytes with sha256 {hashlib.sha256(TEXT[:10]).hexdigest()}, expected "),
        ({"data": TEXT[:10], "length": len(TEXT)}, "10 bytes"),  # the connection ends too early
        ({"data": b"<html>"}, "is not the file of tiny: 6 bytes"),
        ({"status": 404}, "answered 404 Not Found; try again later, or put the file at {tmp}/tiny/p.txt"),
        ({"status": 503}, "answered 503"),
    ],
)
def test_a_bad_answer_leaves_nothing(
    row: Published, tmp_path: Path, server: dict[str, Any], answer: dict[str, Any], message: str
) -> None:
    server.update(answer)
    with pytest.raises(BenchError, match=re.escape(message.format(tmp=tmp_path))) as error:
        download("tiny", tmp_path)
    assert row.address in str(error.value)
    assert not any(tmp_path.iterdir())


def test_an_address_that_nobody_answers_is_one_line(
    row: Published, tmp_path: Path, server: dict[str, Any], command: Any
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(published, "HOST", "http://127.0.0.1:1")
        code, out, err = command("download", "tiny", "--suite-dir", tmp_path)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "cannot be fetched ([Errno 111] Connection refused)" in err.replace("[Errno 61]", "[Errno 111]")
    assert not server["asked"]


def test_a_folder_that_cannot_be_written_is_named(
    row: Published, tmp_path: Path, server: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(BenchError, match=r"file/tiny/p\.txt cannot be read \(Not a directory\)"):
        download("tiny", tmp_path / "file")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OutputError, match=r"p\.txt cannot be written: No space left on device; choose another --suite-dir"):
        download("tiny", tmp_path)
    assert not any((tmp_path / "tiny").iterdir())


def test_only_published_suites_are_fetched() -> None:
    with pytest.raises(BenchError, match=r'"dvmp" is not a published prompt set.*abc-6k'):
        download("dvmp")


# ------------------------------------------------------------------------------------------------------ own files


def own(folder: Path, name: str, text: str | bytes) -> str:
    (folder / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    return str(folder / name)


RED_CAT = Case("a red cat", (Expected("cat", ("red",)),))


@pytest.mark.parametrize(
    ("name", "text", "cases"),
    [
        ("my.txt", "# mine\n\n a red cat \r\n\ta fox\n  # no more\na fox", [Case("a red cat"), Case("a fox")]),
        ("my.TXT", "\ufeffa füchs\n", [Case("a füchs")]),
        ("my.txt", 'a, b; "c"\u2028d\n', [Case('a, b; "c"\u2028d')]),
        ("my.csv", "prompt\na fox\n", [Case("a fox")]),
        (
            "my.csv",
            '\ufeffgroup, prompt ,entities\r\nx,"a cat, and\r\nlook: a red hat",cat; red  hat\r\n'
            "\r\n,two cats,cat;cat\r\n,two cats,cat;cat",
            [Case("a cat, and\r\nlook: a red hat", (CAT, HAT), ("x",)), Case("two cats", (CAT, CAT))],
        ),
        (
            "my.jsonl",
            '{"prompt": "a red cat", "entities": ["red cat"]}\n\n{"prompt": "a fox", "entities": "", "groups": ["x", "y"]}\n'
            '{"entities": "red cat", "prompt": " a red cat"}\n{"prompt": "a füchs", "annotations": {"a": [1, null]}}',
            [RED_CAT, Case("a fox", (), ("x", "y")), Case("a füchs", annotations={"a": [1, None]})],
        ),
    ],
)
def test_own_files_are_suites(tmp_path: Path, name: str, text: str, cases: list[Case]) -> None:
    read = suite(own(tmp_path, name, text))
    assert list(read.cases) == cases
    assert (read.name, read.about, read.first_seed) == ("my", f"prompts of {name}", 0)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.txt", "", "has no prompt; expected at least one"),
        ("a.txt", "\n# a fox\n", "has no prompt"),
        ("a.txt", b"a fox\na f\xfcchs\n", ", line 2: byte 0xfc is not UTF-8; save it as UTF-8"),
        ("a.csv", "", ", line 1: columns none; expected prompt, optionally entities and group"),
        ("a.csv", "prompt\n", "has no prompt"),
        ("a.csv", "prompt;entities\na;b\n", ", line 1: columns prompt;entities; expected prompt"),
        ("a.csv", "prompt,entity\na,b\n", ", line 1: columns prompt, entity; expected prompt"),
        ("a.csv", "prompt,prompt\na,b\n", ", line 1: columns prompt, prompt; expected prompt"),
        (
            "a.csv",
            'prompt,group\n"a\nb",x\na fox, red,x\n',
            ", line 4: 3 fields; expected 2, with quotes around fields that contain commas",
        ),
        ("a.csv", "prompt,group\na fox\n", ", line 2: 1 fields; expected 2"),
        ("a.csv", "prompt,group\n  ,x\n", ', line 2: prompt "  "; expected a string that is not empty'),
        ("a.csv", 'prompt\na fox\n"an owl\n', ", line 3: not a row of a table (unexpected end of data); close every quote"),
        (
            "a.csv",
            "prompt,entities\na fox,fox;;owl\n",
            ', line 2: entities "fox;;owl"; expected phrases separated by single semicolons',
        ),
        (
            "a.csv",
            'prompt,entities\na fox,"fox, owl"\n',
            ', line 2: entities "fox, owl"; expected phrases separated by single semicolons',
        ),
        (
            "a.csv",
            "prompt,entities\na,fox\nb,fox\na,owl\n",
            ', line 4: "a" is also in line 2 with different entities',
        ),
        ("a.jsonl", '\n{"prompt": "a fox"\n', ", line 2: it is not JSON ("),
        ("a.jsonl", '"a fox"\n', ', line 1: "a fox"; expected an object with "prompt"'),
        ("a.jsonl", '{"text": "a fox"}\n', 'expected an object with "prompt"'),
        ("a.jsonl", '{"prompt": 3}\n', ", line 1: prompt 3; expected a string that is not empty"),
        ("a.jsonl", '{"prompt": "a", "group": "x"}\n', ', line 1: "group"; expected prompt, optionally entities, groups'),
        ("a.jsonl", '{"prompt": "a", "groups": "x"}\n', ', line 1: groups "x"; expected a list of strings'),
        (
            "a.jsonl",
            '{"prompt": "a", "entities": ["cat", 3]}\n',
            ', line 1: entities ["cat", 3]; expected a list of strings, or',
        ),
        ("a.jsonl", '{"prompt": "a", "entities": [""]}\n', ', line 1: entities [""]; expected a list of strings, or'),
        ("a.jsonl", '{"prompt": "a", "annotations": []}\n', ", line 1: annotations []; expected an object"),
        ("a.jsonl", '{"prompt": "a", "annotations": {"x": NaN}}\n', ", line 1: it holds NaN, which JSON does not have"),
        ("a.jsonl", '{"prompt": ' + "[" * 100_000 + "\n", ", line 1: "),
        ("a.jsonl", '{"prompt": "a"}\n{"prompt": "a", "groups": ["x"]}\n', ', line 2: "a" is also in line 1'),
    ],
)
def test_bad_rows_are_named(tmp_path: Path, name: str, text: str | bytes, message: str) -> None:
    path = own(tmp_path, name, text)
    with pytest.raises(BenchError, match="^" + re.escape(path) + ".*" + re.escape(message)) as error:
        suite(path)
    assert "\n" not in str(error.value)


def test_what_is_no_suite_and_no_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(
        BenchError, match=r'no suite "prompts\.json"; known: emoji-single,.*dsg-1k,.*; or .* \(\.txt, \.csv, \.jsonl\)'
    ):
        suite("prompts.json")
    with pytest.raises(BenchError, match=r"none\.txt cannot be read \(No such file or directory\)"):
        suite(str(tmp_path / "none.txt"))


def test_entities_are_phrases_with_the_noun_last() -> None:
    assert entities_from(" very red cat;bench ") == (Expected("cat", ("very", "red")), Expected("bench"))
    assert entities_from("  ") == ()


# --------------------------------------------------------------------------------------------------- command line


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Run `unbleed bench`; return exit code, stdout and stderr."""

    def call(*arguments: object) -> tuple[int, str, str]:
        code = cli._run(["bench", *(str(a) for a in arguments)])
        seen = capsys.readouterr()
        return code, seen.out, seen.err

    return call


def test_all_suites_are_listed_with_what_is_there(row: Published, tmp_path: Path, command: Any) -> None:
    put(tmp_path, b"another file")  # a list does not look inside
    code, out, err = command("suites", "--suite-dir", tmp_path, "--json")
    document = json.loads(out)
    listed = {one["name"]: one for one in document["suites"]}
    assert (code, err, document["folder"]) == (0, "", str(tmp_path))
    assert list(listed) == suite_names()
    assert {name: listed[name]["prompts"] for name in MADE} == {name: count for name, (count, *_) in MADE.items()}
    assert Counter(one["state"] for one in listed.values()) == {
        "made here": len(MADE),
        "present": 1,
        "absent": len(PUBLISHED) - 1,
    }
    assert listed["tiny"] == {
        "name": "tiny",
        "about": "two prompts",
        "prompts": 2,
        "state": "present",
        "licence": "MIT",
        "citation": "nobody",
        "address": row.address,
    }
    code, out, err = command("suites", "--suite-dir", tmp_path)
    assert (code, err) == (0, "")
    lines = [line.split() for line in out.splitlines()]
    assert ["tiny", "2", "present", "MIT"] in [line[:4] for line in lines]
    assert ["dvmp", "200", "made", "here"] in [line[:4] for line in lines]
    assert {line[0] for line in lines} >= set(suite_names())  # in full, however narrow the screen is


def test_the_command_line_fetches(row: Published, tmp_path: Path, server: dict[str, Any], command: Any) -> None:
    path = tmp_path / "tiny/p.txt"
    assert command("download", "tiny", "tiny", "--suite-dir", tmp_path) == (0, f"{path}\n{path}\n", "")
    code, out, err = command("download", "tiny", "--suite-dir", tmp_path, "--json")
    assert (code, json.loads(out), err) == (0, {"files": {"tiny": str(path)}}, "")
    assert len(server["asked"]) == 1


def test_a_run_looks_in_the_folder_that_it_is_given(row: Published, tmp_path: Path, command: Any) -> None:
    code, out, err = command("run", "tiny", "--suite-dir", tmp_path / "none", "--out", tmp_path / "out")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert f"unbleed bench download tiny --suite-dir {tmp_path / 'none'}" in err
    put(tmp_path)
    code, out, err = command("run", "tiny", "--suite-dir", tmp_path, "--out", tmp_path / "out", "--limit", 0)
    assert (code, out, err) == (2, "", "unbleed: a limit of 0 prompts; expected at least 1\n")


# ------------------------------------------------------------------------------------- the published files themselves


@pytest.mark.skipif(not FOLDER, reason="needs UNBLEED_SUITES, the folder of the published prompt sets")
@pytest.mark.parametrize("name", PUBLISHED)
def test_a_published_suite_is_whole_and_can_be_read(name: str) -> None:
    cases = suite(name).cases
    assert len(cases) == PUBLISHED[name].prompts
    assert json.loads(json.dumps([case.annotations for case in cases])) == [case.annotations for case in cases]
    for case, parsed in zip(cases, parse_all([case.prompt for case in cases]), strict=True):
        assert case.prompt.strip() == case.prompt != ""
        for entity in parsed.entities:
            for span in (entity.noun_span, *entity.modifier_spans):
                assert case.prompt[span.start : span.end] == span.text != ""
    if name in ("attend-and-excite-276", "cc-500"):
        known = [case for case in cases if case.entities]
        assert len(known) == {"attend-and-excite-276": 276, "cc-500": 442}[name]
        for case, parsed in zip(known, parse_all([case.prompt for case in known]), strict=True):
            read = [(entity.noun, tuple(entity.modifiers)) for entity in parsed.entities]
            assert read == [(entity.noun, entity.modifiers) for entity in case.entities], case.prompt
    if name == "dsg-1k":
        questions = [case.annotations["questions"] for case in cases]
        assert sum(map(len, questions)) == 8182
        for asked in questions:
            assert all({*question["parents"]} <= {one["id"] for one in asked} - {question["id"]} for question in asked)
    if name == "geneval":
        assert all(case.entities for case in cases)
