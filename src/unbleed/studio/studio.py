"""What the page does, without the page: drawings in turn, the pictures that are kept, text for the user. Knows no Gradio."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ..recipes import Recipe
from ..sheets import unguided
from .form import Form, House, recipes_of
from .jobs import Job, Jobs
from .limits import Limits
from .picture_store import Drawn, PictureStore, key_of
from .run_table import RunTable
from .sampler import Sampler


@dataclass(frozen=True)
class Pair:
    """Keys of two pictures of one prompt and seed; `plain` is None where the picture itself is unguided."""

    guided: str
    plain: str | None


@dataclass
class Studio:
    """A model and its queue. Use it as a context manager: leaving it cancels what is under way.

    Args:
        house: The model of every picture.
        samplers: The model, once for each device.
        folder: An own folder for pictures.
        limits: Bounds.
        run_tables: Runs of a benchmark, to be browsed.
        device: The device, if the user chose one.
    """

    house: House
    samplers: Sequence[Sampler]
    folder: Path
    limits: Limits = field(default_factory=Limits)
    run_tables: Sequence[RunTable] = ()
    device: str | None = None

    def __post_init__(self) -> None:
        self.house = replace(self.house, dtype=self.samplers[0].dtype)
        self.store = PictureStore(self.folder, self.limits.pictures)
        self.jobs = Jobs(self.samplers, self.limits.waiting)

    def __enter__(self) -> Studio:
        self.jobs.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self.jobs.__exit__(*error)

    def draw(self, owner: str, form: Form) -> Job:
        """Queue the pictures of a form, each with the unguided one of the same seed; results are of type `Pair`.

        Raises:
            UnbleedError: the form cannot be drawn, or the queue is full.
        """
        return self._submit(owner, [(recipe, True) for recipe in recipes_of(form, self.house)], form.attention)

    def compare(self, owner: str, form: Form, methods: Sequence[str]) -> Job:
        """Queue a form's pictures for several methods, each with its own settings on this model.

        Raises:
            UnbleedError: as `draw`.
        """
        recipes: list[Recipe] = []
        for label in methods:
            own = replace(form, method=label, settings={})
            takes = _takes_regions(label, self.house.model)
            recipes += recipes_of(own if takes else replace(own, regions={}), self.house)
        recipes.sort(key=lambda recipe: recipe.seed)  # seed by seed, so that a stopped comparison has whole rows
        return self._submit(owner, [(recipe, False) for recipe in recipes], maps=False)

    def replay(self, owner: str, recipe: Recipe, *, maps: bool) -> Job:
        """Queue a recipe to be drawn anew, even if its picture is kept."""
        return self._submit(owner, [(recipe, True)], maps, anew=True)

    def _submit(self, owner: str, wanted: Sequence[tuple[Recipe, bool]], maps: bool, *, anew: bool = False) -> Job:
        chosen = [(self.samplers[0].check(recipe), with_plain and recipe.method != "none") for recipe, with_plain in wanted]
        count = sum(1 + with_plain for _, with_plain in chosen)

        def work(sampler: Sampler, job: Job) -> None:
            job.note = "counting the cost"
            ratios = [sampler.weigh(recipe, self.limits.forwards) for recipe, _ in chosen]
            job.weight = sum(ratio + with_plain for ratio, (_, with_plain) in zip(ratios, chosen, strict=True))
            done, number = 0.0, 0
            for ratio, (recipe, with_plain) in zip(ratios, chosen, strict=True):
                keys = []
                for one, own in [(unguided(recipe), 1.0)] * with_plain + [(recipe, ratio)]:
                    number += 1
                    title = f"picture {number} of {count}" if count > 1 else "picture"
                    keys.append(self._drawn(sampler, job, one, maps, anew, title, done, own).key)
                    done += own
                job.results.append(Pair(guided=keys[-1], plain=keys[0] if with_plain else None))
            job.advance(job.weight, "")

        return self.jobs.submit(owner, work)

    def _drawn(
        self, sampler: Sampler, job: Job, recipe: Recipe, maps: bool, anew: bool, title: str, done: float, weight: float
    ) -> Drawn:
        if not anew and (kept := self.store.get(key_of(recipe), maps=maps)):
            return kept
        steps = recipe.steps or 1
        job.advance(done, f"{title}: step 0 of {steps}")

        def on_step(step: int) -> None:
            job.advance(done + weight * step / steps, f"{title}: step {step} of {steps}")

        return self.store.put(*sampler.draw(recipe, maps=maps, check=job.check, on_step=on_step))

    def status(self, job: Job) -> dict[str, Any]:
        """Return where a job is, as the page shows it."""
        if job.state == "waiting":
            ahead = self.jobs.ahead(job)
            text = "waiting" if not ahead else f"waiting: {ahead} drawing{'s' * (ahead != 1)} ahead"
        elif job.state == "running":
            left = job.seconds_left
            text = "cancelling" if job.cancelling else job.note or "beginning"
            text += f" · {_seconds(left)} left" if left is not None and not job.cancelling else ""
        else:
            text = {"done": "", "cancelled": "Cancelled.", "failed": job.error}[job.state]
        return {"state": job.state, "text": text, "share": round(job.share, 3)}


def _takes_regions(label: str, model: str) -> bool:
    from ..errors import MethodError
    from ..guidance.checks import refuse_regions
    from ..model_settings import method_of

    try:
        refuse_regions(method_of(label, model).parts())
    except MethodError:
        return False
    return True


def _seconds(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"


def summary(drawn: Drawn) -> Mapping[str, Any]:
    """Return the facts beside a picture."""
    recipe = drawn.recipe
    return {
        "method": recipe.method,
        "seed": recipe.seed,
        "steps": recipe.steps,
        "cost": drawn.cost,
        "seconds": drawn.seconds,
        "skipped": sum(step["skipped"] for step in drawn.steps),
        "dropped": drawn.dropped,
    }
