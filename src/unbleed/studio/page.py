"""The page in Gradio: its components, and which event calls which handler. Handlers get raw values, and check them."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from html import escape
from typing import Any

import gradio as gr

from ..errors import UnbleedError
from ..sizes import own_side
from . import handlers
from .form import FIELDS, labels, start
from .handlers import Values
from .jobs import Job
from .markup import failed, said, status
from .run_table import Wanted
from .studio import Pair, Studio
from .widgets import widget

_log = logging.getLogger(__name__)
_POLL_S = 0.15
_WATCH_S = 5.0  # how often a page that is drawing asks whether it still is
_LOST = (
    "This page lost its connection while it was drawing, and the drawing was stopped. "
    "Copy what you typed, reload the page, and draw again."
)
_FAILED = "The pictures could not be shown; draw them again."
_INPUTS = tuple("chips" if name == "entities" else name for name in FIELDS)


def theme() -> Any:
    """Return Gradio's plain theme with system fonts, so that no font is loaded from elsewhere."""
    return gr.themes.Base(primary_hue="teal", neutral_hue="slate", font=["system-ui", "sans-serif"], font_mono=["monospace"])


def page(studio: Studio) -> gr.Blocks:
    """Return the page of a studio."""
    with gr.Blocks(title="unbleed studio", analytics_enabled=False, delete_cache=(600, 21_600)) as blocks:
        parts = _layout(studio)
        cancel = _events(studio, parts)
        blocks.unload(cancel)
    return blocks


def _layout(studio: Studio) -> dict[str, Any]:
    """Make the components and return them by name."""
    parts: dict[str, Any] = {}
    house, first = studio.house, handlers.form_values(studio, start(studio.samplers[0].sampling))
    told = f"<h1>unbleed studio</h1><p>{escape(house.model)}, {house.dtype}</p>"
    gr.HTML(told, elem_id="title", js_on_load=None)
    with gr.Row():
        with gr.Column(scale=5, min_width=340, elem_id="recipe") as recipe:
            _recipe(studio, parts, first)
        with gr.Column(scale=8, min_width=340, elem_id="results"), gr.Tabs(selected="draw") as parts["tabs"]:
            with gr.Tab("Draw", id="draw") as parts["draw_tab"]:
                _results(parts, first)
            with gr.Tab("Compare methods", id="compare") as parts["compare_tab"]:
                _comparison(parts)
            with gr.Tab("Benchmark", id="bench", visible=bool(studio.run_tables)) as parts["bench_tab"]:
                run = handlers.run_table_value(studio, 0, studio.run_tables[0].view(Wanted())) if studio.run_tables else {}
                parts["run_table"] = widget("run_table", "run-table-of", run)
    parts["recipe"] = recipe
    parts["watch"] = gr.Timer(_WATCH_S, active=False)
    parts["doubts"] = gr.State(0)
    return parts


def _recipe(studio: Studio, parts: dict[str, Any], first: Values) -> None:
    limits = studio.limits
    own = own_side(studio.samplers[0].pipe)
    parts["prompt"] = gr.Textbox(
        first["prompt"], label="Prompt", lines=2, max_lines=8, max_length=limits.prompt, elem_id="prompt"
    )
    parts["chips"] = widget("chips", "words-of", first["chips"])
    with gr.Row():
        parts["draw"] = gr.Button("Draw", variant="primary", elem_id="draw", scale=2)
        parts["cancel"] = gr.Button("Cancel", elem_id="cancel", interactive=False, scale=1)
    parts["status"] = gr.HTML(said(""), elem_id="status", js_on_load=None)
    parts["method"] = gr.Dropdown(
        labels(), value=first["method"], label="Method", info="A name, or a sum such as syngen + 0.5*overlap-iou",
        allow_custom_value=True,
        elem_id="method",
    )  # fmt: skip
    parts["settings"] = widget("settings", "settings-of", first["settings"])
    with gr.Row():
        parts["seed"] = gr.Number(first["seed"], label="Seed", precision=0, minimum=0, min_width=110, elem_id="seed")
        parts["seeds"] = gr.Radio([1, 2, limits.seeds], value=1, label="Seeds at a time", min_width=210, elem_id="seeds")
    with gr.Accordion("More: steps, size, negative prompt", open=False):
        parts["steps"] = gr.Slider(1, limits.steps, first["steps"], step=1, label="Denoising steps", elem_id="steps")
        parts["guidance_scale"] = gr.Slider(0, 20, first["guidance_scale"], step=0.5, label="Guidance scale of the model")
        with gr.Row():
            hint = f"pixels; 0 for the model's own, {own}" if own else "pixels; 0 for the model's own"
            for name in ("width", "height"):
                parts[name] = gr.Number(0, label=name.capitalize(), info=hint, precision=0, step=8, min_width=110)
        parts["negative_prompt"] = gr.Textbox("", label="Negative prompt", max_length=limits.prompt)
        parts["attention"] = gr.Checkbox(True, label="Attention maps", info="Cost about a forward per step")
    parts["drop"] = widget("drop", "drop-of", {})


def _results(parts: dict[str, Any], first: Values) -> None:
    parts["pairs"] = gr.State([])
    parts["gallery"] = gr.Gallery(
        [], label="Guided pictures", columns=4, height="auto", allow_preview=False, object_fit="contain", interactive=False,
        visible=False, elem_id="gallery", buttons=[],
    )  # fmt: skip
    with gr.Tabs():
        with gr.Tab("Picture"):
            parts["slider"] = gr.ImageSlider(
                None, show_label=False, interactive=False, elem_id="slider", max_height=600, slider_position=50,
                buttons=["fullscreen"],
                container=False,
            )  # fmt: skip
            parts["sides"] = gr.HTML(
                '<div id="sides"><span>← unguided</span><span>guided →</span></div>',
                elem_id="sides-of",
                js_on_load=None,
                visible=False,
            )
            parts["facts"] = gr.HTML(
                '<p class="quiet">Press Draw: the picture with guidance and the one without, from the same noise.</p>',
                elem_id="facts",
                js_on_load=None,
            )
            parts["save"] = gr.DownloadButton("Save PNG with its recipe", visible=False, size="sm", elem_id="save")
        with gr.Tab("Regions"):
            parts["regions"] = widget("regions", "regions-of", first["regions"] | {"aspect": [1, 1]})
        with gr.Tab("Attention"):
            parts["maps"] = widget("attention", "maps-of", {"pictures": []})
        with gr.Tab("Loss"):
            parts["loss"] = gr.HTML('<p class="quiet">The loss of every guided step.</p>', elem_id="loss", js_on_load=None)
        with gr.Tab("Code"):
            parts["python"] = gr.Code("", language="python", label="Copy as Python", interactive=False, elem_id="python")
            parts["command"] = gr.Code(
                "", language="shell", label="Copy as command line", interactive=False, elem_id="command", wrap_lines=True
            )


def _comparison(parts: dict[str, Any]) -> None:
    parts["methods"] = gr.Dropdown(
        labels(), value=["none", "syngen", "regions"], multiselect=True, max_choices=6, 
        label="Methods, each with its own settings",
        elem_id="methods",
    )  # fmt: skip
    parts["compare"] = gr.Button("Draw all", variant="primary", elem_id="compare")
    parts["compared"] = gr.State([])
    gr.HTML('<p class="quiet">Prompt, entities, regions, seeds and size are those of the form.</p>', js_on_load=None)
    parts["matrix"] = gr.Gallery(
        [], show_label=False, columns=3, height="auto", allow_preview=False, object_fit="contain", interactive=False,
        elem_id="matrix", buttons=[],
    )  # fmt: skip


def _events(studio: Studio, parts: dict[str, Any]) -> Callable[[gr.Request], None]:
    """Connect events with handlers, and return what cancels the drawing of a page."""
    inputs = [parts[name] for name in _INPUTS]
    quick: dict[str, Any] = {"queue": False, "show_progress": "hidden", "preprocess": False, "api_visibility": "private"}
    slow: dict[str, Any] = {
        "show_progress": "hidden", "preprocess": False, "concurrency_limit": None, "trigger_mode": "once",
    }  # fmt: skip

    def answer(values: Values, regions: Any) -> dict[Any, Any]:
        """Return the new values; those of the board for regions complete, since a tab that nobody has opened keeps nothing."""
        if "regions" in values:
            before = regions if isinstance(regions, dict) else {}
            values = values | {"regions": {**before, **values["regions"], "news": list(values["regions"])}}
        return {parts[name]: _update(name, value) for name, value in values.items()}

    def on(event: Any, handler: Callable[..., Values], given: Sequence[str], outputs: Sequence[str], **options: Any) -> None:
        async def call(*raw: Any) -> dict[Any, Any]:
            return answer(await asyncio.to_thread(handler, studio, *raw[:-1]), raw[-1])

        event(call, [parts[name] for name in (*given, "regions")], [parts[name] for name in outputs], **{**quick, **options})

    reading = ("chips", "regions", "status")
    on(parts["prompt"].input, handlers.on_prompt, ("prompt", "chips"), reading, trigger_mode="always_last")
    on(parts["chips"].edit, handlers.on_edit, ("prompt", "chips"), reading, trigger_mode="always_last")
    on(parts["method"].input, handlers.on_method, ("method",), ("settings", "status"), trigger_mode="always_last")
    for name in ("width", "height"):
        on(parts[name].input, handlers.on_size, ("width", "height"), ("regions", "status"), trigger_mode="always_last")
    on(parts["run_table"].ask, handlers.on_run_table, ("run_table",), ("run_table", "status"), trigger_mode="always_last")
    filled = [*_INPUTS, "status", "tabs"]
    on(parts["run_table"].open, handlers.on_open, ("run_table",), filled)

    detail = ["slider", "sides", "facts", "save", "regions", "maps", "loss", "python", "command", "status"]
    busy = ["status", "draw", "cancel", "compare", "watch"]
    drawn = list(dict.fromkeys([*detail, *busy, "pairs", "gallery"]))
    followed: Counter[str] = Counter()  # pages that are told how their drawing goes on

    async def follow(job: Job, told: Callable[[Job, bool], Values]) -> AsyncIterator[Values]:
        """Yield the page's values while a job runs: its status when that changes, its pictures as they come."""
        followed[job.owner] += 1
        try:
            yield _busy(True)
            before, count = "", 0
            while True:
                over, state = job.over, studio.status(job)
                line = status(state)
                values: Values = {"status": line} if line != before else {}
                if len(job.results) > count or over:
                    count = len(job.results)
                    values |= await asyncio.to_thread(told, job, over)
                if values:
                    yield values | (_busy(False) if over else {})
                if over:
                    return
                before = line
                await asyncio.sleep(_POLL_S)
        except Exception as error:  # a fault of this program must not leave the page waiting
            _log.exception("a drawing could not be shown")
            yield {"status": failed(f"{type(error).__name__}: {error}; draw it again")} | _busy(False)
        finally:
            studio.jobs.drop(job)
            followed[job.owner] -= 1
            if not followed[job.owner]:
                del followed[job.owner]

    def told_of(job: Job, over: bool) -> Values:
        pairs: list[Pair] = list(job.results)
        values: Values = {"pairs": pairs, "gallery": handlers.captioned(studio, pairs, methods=False) if len(pairs) > 1 else []}
        return (
            values
            | (handlers.shown(studio, pairs[-1] if not over else pairs[0]) if pairs else {})
            | ({"status": status(studio.status(job))} if over and job.state == "failed" else {})
        )

    def refused(request: gr.Request, error: UnbleedError) -> Values:
        """Return the page's values after a request that was refused; an earlier one may be under way."""
        return {"status": failed(str(error))} | _busy(str(request.session_hash) in followed)

    async def draw(request: gr.Request, *raw: Any) -> AsyncIterator[dict[Any, Any]]:
        regions = raw[_INPUTS.index("regions")]
        try:
            form = await asyncio.to_thread(handlers.form_from, studio, raw)
            job = studio.draw(str(request.session_hash), form)
        except UnbleedError as error:
            yield answer(refused(request, error), regions)
            return
        async for values in follow(job, told_of):
            yield answer(values, regions)

    async def replay(request: gr.Request, value: Any, regions: Any) -> AsyncIterator[dict[Any, Any]]:
        try:
            found = await asyncio.to_thread(handlers.replayed, studio, value)
            values = await asyncio.to_thread(handlers.form_values, studio, found.form)
            yield answer(values | {"status": said(found.note), "tabs": "draw"}, regions)
            regions = values["regions"]
            if found.recipe is None:
                return
            job = studio.replay(str(request.session_hash), found.recipe, maps=True)
        except UnbleedError as error:
            yield answer(refused(request, error), regions)
            return
        async for values in follow(job, told_of):
            if job.state == "done" and job.results:
                line = handlers.verdict(studio, found, job.results[0].guided)
                values["status"] = said(f"{line} {found.note}".strip())
            yield answer(values, regions)

    async def compare(request: gr.Request, methods: Any, *raw: Any) -> AsyncIterator[dict[Any, Any]]:
        def told(job: Job, over: bool) -> Values:
            return {"compared": list(job.results), "matrix": handlers.captioned(studio, job.results, methods=True)}

        try:
            chosen = handlers.methods_from(studio, methods)
            form = await asyncio.to_thread(handlers.form_from, studio, raw)
            job = await asyncio.to_thread(studio.compare, str(request.session_hash), form, chosen)
        except UnbleedError as error:
            yield answer(refused(request, error), None)
            return
        yield {parts["matrix"]: gr.Gallery([], columns=len(chosen))}
        async for values in follow(job, told):
            yield answer(values, None)

    def watch(request: gr.Request, doubts: int) -> dict[Any, Any]:
        """Tell a page that waits for a drawing of which it will hear nothing more.

        At the first doubt the last values may be on their way.
        """
        if str(request.session_hash) in followed:
            return {parts["doubts"]: 0}
        if not doubts:
            return {parts["doubts"]: 1}
        return answer({"status": failed(_LOST)} | _busy(False), None) | {parts["doubts"]: 0}

    def fail() -> dict[Any, Any]:
        """Free a page whose drawing could not be shown, for a reason outside `follow`."""
        return answer({"status": failed(_FAILED)} | _busy(False), None)

    outputs = [parts[name] for name in drawn]  # few: Gradio makes each of them anew whenever a line of status is sent
    replayed = list(dict.fromkeys([*outputs, *(parts[name] for name in filled)]))
    freed = [parts[name] for name in busy]
    private: dict[str, Any] = {"show_progress": "hidden", "queue": False, "api_visibility": "private"}
    for event in (
        parts["draw"].click(draw, inputs, outputs, api_name="draw", **slow),
        parts["prompt"].submit(draw, inputs, outputs, api_visibility="private", **slow),
        parts["drop"].drop(replay, [parts["drop"], parts["regions"]], replayed, api_visibility="private", **slow),
        parts["compare"].click(
            compare, [parts["methods"], *inputs], [*freed, parts["compared"], parts["matrix"]], api_visibility="private", **slow
        ),
    ):
        event.failure(fail, None, freed, **private)
    parts["watch"].tick(watch, parts["doubts"], [*freed, parts["doubts"]], **private)

    def cancel(request: gr.Request) -> None:
        studio.jobs.cancel(str(request.session_hash))

    parts["cancel"].click(cancel, None, None, queue=False, api_visibility="private")

    def pick(pairs: list[Pair], regions: Any, chosen: gr.SelectData) -> dict[Any, Any]:
        index = chosen.index if isinstance(chosen.index, int) else 0
        return answer(handlers.shown(studio, pairs[index]) if 0 <= index < len(pairs) else {"status": said("")}, regions)

    def pick_compared(pairs: list[Pair], regions: Any, chosen: gr.SelectData) -> dict[Any, Any]:
        index = chosen.index if isinstance(chosen.index, int) else 0
        if not 0 <= index < len(pairs):
            return answer({"status": said("")}, regions)
        return answer(handlers.opened(studio, pairs, index) | {"tabs": "draw"}, regions)

    parts["gallery"].select(pick, [parts["pairs"], parts["regions"]], [parts[name] for name in detail], **private)
    parts["matrix"].select(
        pick_compared,
        [parts["compared"], parts["regions"]],
        [parts[name] for name in dict.fromkeys([*detail, *filled, "pairs", "gallery"])],
        **private,
    )
    for tab, seen in (("draw_tab", True), ("compare_tab", True), ("bench_tab", False)):
        parts[tab].select(
            lambda seen=seen: gr.Column(visible=seen),
            None,
            parts["recipe"],
            queue=False,
            show_progress="hidden",
            api_visibility="private",
        )
    return cancel


def _busy(busy: bool) -> Values:
    return {"draw": not busy, "cancel": busy, "compare": not busy, "watch": busy}


def _update(name: str, value: Any) -> Any:
    """Return what Gradio takes for a new value of a component."""
    if name in ("draw", "cancel", "compare"):
        return gr.Button(interactive=value)
    if name == "watch":
        return gr.Timer(active=value)
    if name == "tabs":
        return gr.Tabs(selected=value)
    if name == "sides":
        return gr.HTML(visible=value)
    if name == "save":
        return gr.DownloadButton(value=value, visible=True)
    if name == "gallery":
        return gr.Gallery(value, visible=bool(value))
    return value
