"""Published prompt sets: where their files come from, with hash, licence and citation.

The files are not part of this project. They are read from a folder (`unbleed.bench.suites.files`) and must be identical to
those in their repositories at a fixed commit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial

from ..plan.cases import Case
from . import readers

HOST = "https://raw.githubusercontent.com"


@dataclass(frozen=True)
class Published:
    """A prompt set in a file of a repository."""

    name: str
    about: str
    path: str  # inside the folder of suites
    repository: str
    commit: str
    source: str  # path in the repository
    sha256: str | None  # None if the file could not be had when the row was written: commit and number of prompts are checked
    prompts: int
    licence: str  # of the repository, as far as known
    citation: str
    read: Callable[[str], Iterable[Case]]

    @property
    def address(self) -> str:
        return f"{HOST}/{self.repository}/{self.commit}/{self.source}"


_STRUCTURE = "weixi-feng/Structured-Diffusion-Guidance"
_STRUCTURE_PAPER = "Feng et al., Training-Free Structured Diffusion Guidance, ICLR 2023, arXiv 2212.05032"
_STRUCTURE_LICENCE = "MIT text with use restrictions"


def _compositional(kind: str, file: str, sha256: str, about: str) -> Published:
    return Published(
        name=f"t2i-compbench-{kind}",
        about=f"T2I-CompBench, validation: {about}",
        path=f"t2i_compbench/{file}",
        repository="Karine-Huang/T2I-CompBench",
        commit="1b7094991a57f3c22abdd4f6e8ba6c1a15517073",
        source=f"examples/dataset/{file}",
        sha256=sha256,
        prompts=300,
        licence="MIT",
        citation="Huang et al., T2I-CompBench, NeurIPS 2023 Datasets and Benchmarks, arXiv 2307.06350",
        read=readers.prompts,
    )


def _corebench(kind: str, about: str) -> Published:
    return Published(
        name=f"t2i-corebench-{kind.lower()}",
        about=f"T2I-CoReBench, composition: {about}, with a checklist of questions",
        path=f"t2i_corebench/C-{kind}.json",
        repository="KwaiVGI/T2I-CoReBench",
        commit="8d0bc35e51151993529baee8f0f93257b645fbe0",
        source=f"data/C-{kind}.json",
        sha256=None,
        prompts=90,
        licence="Apache-2.0",
        citation="Li et al., Easier Painting Than Thinking (T2I-CoReBench), arXiv 2509.03516",
        read=readers.corebench,
    )


def _rarebench(kind: str, file: str, about: str) -> Published:
    return Published(
        name=f"rarebench-{kind}",
        about=f"RareBench: {about}",
        path=f"rarebench/rarebench_{file}.txt",
        repository="krafton-ai/Rare-to-Frequent",
        commit="db8c540486056b23155ab11aaddd426176b760b6",
        source=f"test/original_prompt/rarebench/rarebench_{file}.txt",
        sha256=None,
        prompts=40,
        licence="none stated",
        citation="Park et al., Rare-to-Frequent, ICLR 2025, arXiv 2410.22376",
        read=readers.prompts,
    )


def _similar(count: int, prompts: int, about: str) -> Published:
    return Published(
        name=f"ssd-{count}",
        about=about,
        path="selfcross_ssd/prompts.txt",
        repository="mengtang-lab/selfcross-guidance",
        commit="9e54e74206ad7cbaeedfecd168355a032a2cc586",
        source="prompts.txt",
        sha256="4d4d5db19ebb606663f55cd5882766e624348967b148241de05a161f3a757409",
        prompts=prompts,
        licence="Apache-2.0",
        citation="Qiu, Wang, Tang, Self-Cross Diffusion Guidance, CVPR 2025, arXiv 2411.18936",
        read=partial(readers.similar_subjects, name=f"SSD-{count}"),
    )


_ROWS = (
    Published(
        name="attend-and-excite-276",
        about="the prompts of Attend-and-Excite: pairs of animals and coloured objects",
        path="attend_and_excite/a.e_prompts.txt",
        repository=_STRUCTURE,
        commit="bd46a35976cd839382e64484cc93f36b00b5fce9",  # of a pull request; the authors' copy is an issue attachment
        source="data/a.e_prompts.txt",
        sha256="ae439de4286c026977b9fc44c2158f77285adbe5ffa05e54fc67eb9b8bc6f86a",
        prompts=276,
        licence="none stated (the authors' repository: MIT)",
        citation="Chefer et al., Attend-and-Excite, SIGGRAPH 2023, arXiv 2301.13826",
        read=readers.attend_and_excite,
    ),
    Published(
        name="abc-6k",
        about="COCO captions with colours, each followed by a copy with two colours swapped",
        path="abc6k/ABC-6K.txt",
        repository=_STRUCTURE,
        commit="773b2ba068c6cc60443d5d747a725413c8c9d46f",
        source="ABC-6K.txt",
        sha256="47fa3ec1a839e6b74bb4f8e3746b454c8a8fb469cef66effddd172473f0f507b",
        prompts=6434,
        licence=_STRUCTURE_LICENCE,
        citation=_STRUCTURE_PAPER,
        read=readers.contrasts,
    ),
    Published(
        name="cc-500",
        about="concept conjunctions: two things with a colour each",
        path="cc500/CC-500.txt",
        repository=_STRUCTURE,
        commit="773b2ba068c6cc60443d5d747a725413c8c9d46f",
        source="CC-500.txt",
        sha256="b36a39e83459508e1676372902f2becdb48f977ed13868600e6e27e26b301777",
        prompts=446,
        licence=_STRUCTURE_LICENCE,
        citation=_STRUCTURE_PAPER,
        read=readers.conjunctions,
    ),
    _compositional(
        "color", "color_val.txt", "1634259756dbc77d13093d907d414480080ec9790a8c97ad09efaea7b2534f2d", "colours of things"
    ),
    _compositional(
        "shape", "shape_val.txt", "37e1a276906c7ea9516cbd7ac8501be896006c0c17ca7344f260562834455bae", "shapes of things"
    ),
    _compositional(
        "texture",
        "texture_val.txt",
        "fbb5363515b4a28009e360afaaaf389d2dd2289e50dbb0c6ef4ea0c7fe4f3d4f",
        "materials of things",
    ),
    _compositional(
        "spatial", "spatial_val.txt", "8707a1d7e42ce3002d95363cf55f74bd043c843ae27108f5125aaaa7840ca988", "spatial relations"
    ),
    _compositional(
        "3d-spatial",
        "3d_spatial_val.txt",
        "c9953597315f36a5fcb41291bb19bdc6ab5f64a0fa760d691b4854a73f5d1fe9",
        "in front of and behind",
    ),
    _compositional(
        "numeracy", "numeracy_val.txt", "dad8df141604b70ba7554bec724e3db0a80023680769b5c514854ea2d2527bbe", "how many"
    ),
    _compositional(
        "non-spatial",
        "non_spatial_val.txt",
        "04c56cc9ac441dc9ea6c5157652058bd1635b5308526dd31bb29a1caab9a758d",
        "who does what with whom",
    ),
    _compositional(
        "complex",
        "complex_val.txt",
        "1b808018b8d9916db3d47d5aa2ef18377a3549a56901a474156f799824cdf3b4",
        "several attributes and relations at once",
    ),
    Published(
        name="geneval",
        about="objects from COCO: one, two, with counts, colours and positions",
        path="geneval/evaluation_metadata.jsonl",
        repository="djghosh13/geneval",
        commit="af4902f24d3ca90ebbb446dd9891a59e0f82725f",
        source="prompts/evaluation_metadata.jsonl",
        sha256="5c48e0813e812e3c373fa5c8ed07a8f0a483be30272b4427b0559c8048e67c13",
        prompts=553,
        licence="MIT",
        citation="Ghosh, Hajishirzi, Schmidt, GenEval, NeurIPS 2023 Datasets and Benchmarks, arXiv 2310.11513",
        read=readers.geneval,
    ),
    Published(
        name="drawbench",
        about="prompts in 11 categories, from colours to misspellings",
        path="drawbench/drawbench.csv",
        repository="Attention-Refocusing/attention-refocusing",  # the authors' own copy is a spreadsheet
        commit="2c265cbcac2e498c5d36d817f290006e7862bf21",
        source="data_evaluate_LLM/drawbench/drawbench.csv",
        sha256="b6d99b3151798b34f2ac3604d3701f66d66927b9e0f55785f3e1d7fdbc1f5fea",
        prompts=200,
        licence="not found (this copy's repository: MIT)",
        citation="Saharia et al., Photorealistic Text-to-Image Diffusion Models, NeurIPS 2022, arXiv 2205.11487",
        read=readers.drawbench,
    ),
    _similar(2, 31, "pairs of similar subjects"),
    _similar(3, 22, "triples of similar subjects"),
    Published(
        name="genai-bench",
        about="compositional prompts of the early version of GenAI-Bench",
        path="genai_bench/genai_image.json",
        repository="linzhiqiu/t2v_metrics",
        commit="60ce07b144b9bff24b8dac5317cb28586b1b2509",
        source="genai_image.json",
        sha256="a5974a5e67f530985a12f2d5cda490f3cb1e47064a56c54817d57102a964e9ff",
        prompts=527,
        licence="Apache-2.0",
        citation="Lin et al., Evaluating Text-to-Visual Generation with Image-to-Text Generation, arXiv 2404.01291",
        read=readers.genai,
    ),
    Published(
        name="dsg-1k",
        about="prompts from ten sets, with 8,182 questions and their dependencies",
        path="dsg1k/dsg-1k-anns.csv",
        repository="j-min/DSG",
        commit="7330119a39f76ff90e619a8bd3ff321e71aa986b",
        source="dsg/data/dsg-1k-anns.csv",
        sha256="b7ce06ea8a0478ccfd8fba105ecd26d7d301eb99d5c412987546c4cc8e08917a",
        prompts=1060,
        licence="Apache-2.0 (the ten sets have their own terms)",
        citation="Cho et al., Davidsonian Scene Graph, ICLR 2024, arXiv 2310.18235",
        read=readers.dsg,
    ),
    Published(
        name="geneval-2",
        about="prompts of 3 to 10 atoms, with a question for each atom",
        path="geneval2/geneval2_data.jsonl",
        repository="facebookresearch/GenEval2",
        commit="a6e82d2289e8d418f27f0adee77908b07060eea3",
        source="geneval2_data.jsonl",
        sha256="09233adbc9f877fba205f1a20efa4a8640e7e62a91dfd55893562bed8a928e43",
        prompts=800,
        licence="CC BY-NC 4.0: not for commercial use",
        citation="Kamath et al., GenEval 2, arXiv 2512.16853",
        read=readers.geneval2,
    ),
    _corebench("MI", "many things"),
    _corebench("MA", "many attributes"),
    _corebench("MR", "many relations"),
    _corebench("TR", "written text"),
    Published(
        name="unigenbench-en",
        about="UniGenBench++, short English prompts, with what each of them tests",
        path="unigenbench/test_prompts_en.csv",
        repository="CodeGoat24/UniGenBench",
        commit="360f3dfb16016642e0ea9c481d00cc65734a368d",
        source="data/test_prompts_en.csv",
        sha256=None,
        prompts=600,
        licence="MIT, as its copy on the hub",
        citation="Wang et al., UniGenBench++, arXiv 2510.18701",
        read=readers.unigenbench,
    ),
    _rarebench("property", "single_1property", "one thing with a rare property"),
    _rarebench("shape", "single_2shape", "one thing of a rare shape"),
    _rarebench("texture", "single_3texture", "one thing of a rare texture"),
    _rarebench("action", "single_4action", "one thing in a rare action"),
    _rarebench("complex", "single_5complex", "one thing, rare in several ways"),
    _rarebench("concat", "multi_1and", "several rare things, joined by and"),
    _rarebench("relation", "multi_2relation", "several rare things in a relation"),
    _rarebench("multi-complex", "multi_3complex", "several things, rare in several ways"),
)
PUBLISHED = {row.name: row for row in _ROWS}
