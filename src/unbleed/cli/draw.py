"""`unbleed generate` and `unbleed attention`: the commands that make pictures."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from ..errors import MethodError, OutputError, PromptError, UnbleedWarning
from . import app
from .common import check_picture, is_file_name, print_json, read_seeds
from .options import (
    AsJson,
    Config,
    DefaultMethod,
    Device,
    EntitiesOption,
    Height,
    Loras,
    MethodName,
    Model,
    Precision,
    RegionsOption,
    Scale,
    Scheduler,
    Setting,
    Steps,
    Width,
    named,
)
from .replay import check_strength, initial, load_recipe, read_replayed


@app.command()
def generate(
    context: typer.Context,
    prompt: Annotated[str | None, typer.Argument(help="What the picture should show.")] = None,
    method: DefaultMethod = None,
    settings: Setting = None,
    seed: Annotated[int | None, typer.Option(help="One seed [0].")] = None,
    seeds: Annotated[str | None, typer.Option(help="Several: 0-7 or 1,5,9.")] = None,
    steps: Steps = None,
    guidance_scale: Scale = None,
    negative_prompt: Annotated[str | None, typer.Option(help="What the picture should not show.")] = None,
    entities: EntitiesOption = None,
    regions: RegionsOption = None,
    height: Height = None,
    width: Width = None,
    image: Annotated[Path | None, typer.Option(parser=named, help="A picture to begin with, instead of noise.")] = None,
    strength: Annotated[float | None, typer.Option(help="How much of --image to change, up to 1 for all of it [0.8].")] = None,
    model: Model = "emoji",
    config: Config = None,
    scheduler: Scheduler = None,
    loras: Loras = None,
    dtype: Precision = None,
    device: Device = None,
    compare: Annotated[bool, typer.Option("--compare", help="Make the unguided picture too, and a sheet of both.")] = False,
    replay: Annotated[
        Path | None,
        typer.Option(parser=named, help="Repeat the recipe in this picture, of unbleed, AUTOMATIC1111, ComfyUI or InvokeAI."),
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Pictures per batch; 1 is exact to the bit.")] = 1,
    out: Annotated[Path, typer.Option(parser=named, help="Folder, or NAME.png for a single picture.")] = Path("out"),
    json: AsJson = False,
) -> None:
    """Make pictures of a prompt, guided by a method."""
    given = {name: value for name, value in context.params.items() if _is_given(context, name)}
    single = is_file_name(out)
    if seed is not None and seeds is not None:
        raise PromptError("both --seed and --seeds; give one of them")
    numbers = None if seeds is None else read_seeds(seeds)
    if replay is None:
        check_strength(image, strength)
        if prompt is None:
            raise PromptError('no prompt; write one, as in: unbleed generate "a red cat and a blue bench"')

    from .. import generation, recipes, sheets  # heavy: after the checks that need none of it
    from ..files import check_writable, slug
    from ..methods import DEFAULT_METHOD
    from ..model_settings import method_of, read_settings
    from ..regions.texts import read_regions

    recipe, foreign = (None, {}) if replay is None else read_replayed(replay, given)
    if recipe is not None:
        numbers = [recipe.seed]
    else:
        fields = {"prompt": prompt, "negative_prompt": negative_prompt, "height": height, "width": width}
        fields |= {"steps": steps, "guidance_scale": guidance_scale}
        fields = {**foreign, **{name: value for name, value in fields.items() if value is not None}}
        if numbers is None:
            numbers = [fields.pop("seed", 0) if seed is None else seed]
        chosen = method_of(DEFAULT_METHOD if method is None else method, model, read_settings(settings or []))
        fields |= {"seed": numbers[0], "method": chosen.name, "settings": chosen.settings(), "entities": entities}
        fields |= {"regions": read_regions(regions or [])}
        fields |= {"model": model, "config": config, "scheduler": scheduler, "loras": tuple(loras or ()), "dtype": dtype}
        recipe = recipes.Recipe(**fields, **initial(image, strength))
    _check_prompt(recipe.prompt, recipe.entities, recipe.model)
    if recipe.regions:
        _check_regions(recipe)
    if compare and recipe.method == "none":
        raise MethodError("--compare with --method none compares a picture with itself; name another method")
    if single and (len(numbers) > 1 or compare):
        raise OutputError(
            f"{out} is one file, but {len(numbers) * (2 if compare else 1)} pictures are to be written; name a folder"
        )
    folder = out.parent if single else out
    if single:
        check_picture(out)
    check_writable(folder)
    if replay is not None and single and os.path.exists(out) and out.samefile(replay):
        raise OutputError(f"{out} is the picture that is replayed; name another file to keep both")
    pipe = load_recipe(recipe, device)

    def path_of(kind: str, own: recipes.Recipe) -> Path:
        """Return the file to write: never one with another recipe, unless the user named that file."""
        return out if single else recipes.free_name(folder / f"{slug(own.prompt)}-{slug(kind)}-seed{own.seed}.png", own)

    console = Console(stderr=True, highlight=False)
    images: list[dict[str, Any]] = []
    written: list[str] = []
    plain = iter(
        generation.generate(pipe, sheets.unguided(recipe), numbers, batch_size=batch_size, record_maps=True) if compare else ()
    )
    done = generation.generate(pipe, recipe, numbers, batch_size=batch_size, record_maps=compare)
    for number, guided in enumerate(done, start=1):
        pictures = [next(plain), guided] if compare else [guided]
        for picture in pictures:
            path = recipes.save(picture.image, picture.recipe, path_of(picture.recipe.method, picture.recipe))
            images.append(_describe(picture, path))
        if compare:
            sheet = sheets.comparison(pictures[0], guided)
            written.append(str(recipes.save(sheet, guided.recipe, path_of("compare", guided.recipe))))
        console.print(f"{number}/{len(numbers)}  seed {guided.recipe.seed}  {guided.seconds:.1f} s", style="dim")
    if json:
        document: dict[str, Any] = {"images": images, "entities": _entities(guided)}
        print_json(document | ({"comparisons": written} if compare else {}))
    else:
        for path in written or [image["path"] for image in images]:
            typer.echo(path)


def _is_given(context: typer.Context, name: str) -> bool:
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def _check_prompt(prompt: str, entities: str | None, model: str) -> None:
    """Raise `PromptError` for entities that are not in the prompt; warn of words unknown to the embedded model."""
    from ..emoji import EMBEDDED
    from ..emoji.scenes import unknown_words
    from ..emoji.sprites import COLOURS, NOUNS
    from ..prompt import parse

    parse(prompt, entities)
    if model in EMBEDDED and (unknown := unknown_words(prompt)):
        listed = ", ".join(f'"{word}"' for word in unknown[:6]) + (f" and {len(unknown) - 6} more" if len(unknown) > 6 else "")
        warnings.warn(
            f"the embedded model does not know {listed} and draws something else there: it was trained on {len(NOUNS)} nouns "
            f"and {len(COLOURS)} colours (unbleed emoji words lists them); --model takes another model",
            UnbleedWarning,
            stacklevel=2,
        )


def _check_regions(recipe: Any) -> None:
    """Raise now, before a model is loaded, for a region of no entity, a method without regions, and an unknown adapter."""
    from ..guidance.checks import refuse_regions
    from ..loading import adapter_names
    from ..methods import method_from
    from ..prompt import parse
    from ..regions.given import assign
    from ..regions.texts import regions_of

    refuse_regions(method_from(recipe.method, recipe.settings).parts())
    regions = regions_of(recipe.regions)
    assign(parse(recipe.prompt, recipe.entities), regions)
    known = adapter_names(recipe.loras)
    for phrase, region in regions.items():
        if region.adapter not in (None, *known):
            there = ", ".join(f'"{name}"' for name in known) or "none"
            raise PromptError(
                f'the region of "{phrase}" names the adapter "{region.adapter}"; known: {there}. A LoRA is named by its file: '
                "--lora knight.safetensors is the adapter knight"
            )


def _entities(picture: Any) -> list[dict[str, Any]]:
    return [{"noun": entity.noun, "modifiers": list(entity.modifiers)} for entity in picture.tokens.kept]


def _describe(picture: Any, path: Path) -> dict[str, Any]:
    """Return a picture as `--json` prints it."""
    from ..regions.layout import bounds

    steps = [
        {
            "step": step.step,
            "timestep": step.timestep,
            "loss": step.loss,
            "losses": step.losses,
            "terms": step.terms,
            "gradient_norm": step.gradient_norm,
            "refinements": step.refinements,
            "skipped": step.skipped,
        }
        for step in picture.steps
    ]
    regions = {str(entity): bounds(mask) for entity, mask in picture.region_masks.items()}  # the last
    return {
        "path": str(path),
        "prompt": picture.recipe.prompt,
        "seed": picture.recipe.seed,
        "method": picture.recipe.method,
        "settings": picture.recipe.settings,
        "num_inference_steps": picture.recipe.steps,
        "guidance_scale": picture.recipe.guidance_scale,
        "steps": steps,
        "seconds": round(picture.seconds, 3),
        **({"regions": regions} if regions else {}),
    }


@app.command()
def attention(
    prompt: Annotated[str, typer.Argument(help="What the picture should show.")],
    method: MethodName = "none",
    settings: Setting = None,
    seed: Annotated[int, typer.Option(help="Seed.")] = 0,
    steps: Steps = None,
    guidance_scale: Scale = None,
    entities: EntitiesOption = None,
    height: Height = None,
    width: Width = None,
    model: Model = "emoji",
    config: Config = None,
    scheduler: Scheduler = None,
    loras: Loras = None,
    dtype: Precision = None,
    device: Device = None,
    resolution: Annotated[
        int | None, typer.Option(help="Read and guide the layers with this grid at the model's own size [the method's].")
    ] = None,
    per_step: Annotated[int, typer.Option(min=0, max=50, help="Further rows, each of one step.")] = 0,
    out: Annotated[Path, typer.Option(parser=named, help="The picture to write, NAME.png.")] = Path("attention.png"),
    json: AsJson = False,
) -> None:
    """Show which pixels attend to each word of the prompt."""
    is_file_name(out)

    from .. import generation, recipes, sheets
    from ..model_settings import method_of, read_settings

    changes = read_settings(settings or []) | ({} if resolution is None else {"resolution": resolution})
    chosen = method_of(method, model, changes)
    recipe = recipes.Recipe(
        prompt=prompt,
        seed=seed,
        method=chosen.name,
        settings=chosen.settings(),
        entities=entities,
        steps=steps,
        guidance_scale=guidance_scale,
        height=height,
        width=width,
        model=model,
        config=config,
        scheduler=scheduler,
        loras=tuple(loras or ()),
        dtype=dtype,
    )
    _check_prompt(prompt, entities, model)
    check_picture(out)
    picture = next(generation.generate(load_recipe(recipe, device), recipe, [seed], record_maps=True))
    path = recipes.save(sheets.attention_sheet(picture, per_step=per_step), picture.recipe, out)
    if json:
        assert picture.attention is not None
        recorded = [(word, positions, picture.attention.over_steps(positions)) for word, positions in picture.tokens.words]
        words = [
            {
                "word": word,
                "positions": list(positions),
                "peak_per_step": [round(float(maps.max()), 6) for maps in over_steps],
                "mean_per_step": [round(float(maps.mean()), 6) for maps in over_steps],
            }
            for word, positions, over_steps in recorded
        ]
        read = {"layers": list(picture.attention.layers), "grid": picture.attention.grid}
        print_json({"path": str(path), "prompt": prompt, "seed": seed, "method": method, **read, "words": words})
    else:
        typer.echo(str(path))
