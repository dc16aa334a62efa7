"""How the text encoders of each family get a prompt: their tokenizer, what stands around it, what the denoiser gets of it.

Each function takes a pipeline, the arguments of its `encode_prompt`, and the number of text tokens that the denoiser gets.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from diffusers.utils import is_bs4_available, is_ftfy_available

from ..errors import PromptError
from ..prompt.tokens import Encoder, as_it_is
from .family import Arguments

_SLOT = "\N{OBJECT REPLACEMENT CHARACTER}"  # stands for the prompt in a chat template


def _of(pipe: Any, *names: str) -> Any:
    """Return a setting of a pipeline: an attribute of it, or of a block of a modular one; None if nothing has one."""
    places = [pipe]
    while places:
        place = places.pop(0)
        found = next((getattr(place, name) for name in names if getattr(place, name, None) is not None), None)
        if found is not None:
            return found
        inner = getattr(place, "_blocks", None) or place
        places += (getattr(inner, "sub_blocks", None) or {}).values()
    return None


def _learning(pipe: Any, tokenizer: Any) -> Callable[[str], str]:
    """Return the function by which a pipeline expands learned words of several vectors (textual inversion)."""
    convert = getattr(pipe, "maybe_convert_prompt", None)
    return (lambda text: convert(text, tokenizer)) if convert else as_it_is


def _cleaning(pipe: Any, given: Arguments) -> Callable[[str], str]:
    """Return how PixArt and Sana change a prompt: to lower case and, on request and where it is installed, without markup."""
    clean = bool(given.get("clean_caption")) and is_bs4_available() and is_ftfy_available()
    return lambda text: pipe._text_preprocessing(text, clean_caption=clean)[0]


def clip(pipe: Any, given: Arguments, length: int) -> tuple[Encoder, ...]:
    """Also for Stable Diffusion XL, whose two encoders have the same words at the same positions."""
    tokenizer = pipe.tokenizer or pipe.tokenizer_2
    encoder = Encoder(tokenizer, written=_learning(pipe, tokenizer))
    chunks, rest = divmod(length, encoder.tokens)
    if rest or not chunks:
        raise PromptError(
            f"the denoiser was given {length} tokens of text, but the tokenizer makes {encoder.tokens}; long prompts can be "
            f"located in chunks of {encoder.tokens}, each with a start and an end token, as compel makes them"
        )
    return (replace(encoder, length=encoder.tokens, chunks=chunks),)


def clip_and_t5(pipe: Any, given: Arguments, length: int) -> tuple[Encoder, ...]:
    own = Encoder(pipe.tokenizer, pipe.tokenizer_max_length)
    rest = given.get("max_sequence_length") or length - own.tokens
    if own.tokens + rest != length:
        raise PromptError(
            f"the denoiser was given {length} tokens of text, but {own.tokens} of CLIP and {rest} of T5 are expected; call "
            "the pipeline with the max_sequence_length of the embeddings"
        )
    if pipe.text_encoder_3 is None:  # zeros replace it
        return (own,)
    return own, Encoder(pipe.tokenizer_3, rest, argument="prompt_3")


def second_t5(pipe: Any, given: Arguments, length: int) -> tuple[Encoder, ...]:
    return (Encoder(pipe.tokenizer_2, length, written=_learning(pipe, pipe.tokenizer_2)),)


def cleaned_t5(pipe: Any, given: Arguments, length: int) -> tuple[Encoder, ...]:
    return (Encoder(pipe.tokenizer, length, written=_cleaning(pipe, given)),)


def plain(pipe: Any, given: Arguments, length: int) -> tuple[Encoder, ...]:
    """One encoder, of which the denoiser gets all (Chroma, Kolors)."""
    return (Encoder(pipe.tokenizer, length, written=_learning(pipe, pipe.tokenizer)),)


def gemma(pipe: Any, given: Arguments, length: int) -> tuple[Encoder, ...]:
    """The prompt follows an instruction; of the whole sequence the start token and the last ones are kept."""
    instruction, written = "\n".join(given.get("complex_human_instruction") or ()), _cleaning(pipe, given)
    if not instruction:
        return (Encoder(pipe.tokenizer, length, written=written),)
    whole = len(pipe.tokenizer.encode(instruction)) + length - 2
    return (Encoder(pipe.tokenizer, whole, instruction + "{}", (1, whole - length + 1), written=written),)


def instructed(pipe: Any, given: Arguments, length: int) -> tuple[Encoder, ...]:
    """The prompt follows Lumina 2's instruction, which the denoiser gets too."""
    instruction = given.get("system_prompt") or pipe.system_prompt
    return (Encoder(pipe.tokenizer, length, f"{instruction} <Prompt Start> {{}}"),)


def templated(pipe: Any, given: Arguments, length: int) -> tuple[Encoder, ...]:
    """The prompt stands in the pipeline's template, whose start is cut off; the sequence ends with the batch's longest prompt.

    Qwen-Image's edit pipelines have pictures before it, each as many tokens as its size asks for.
    """
    start = _of(pipe, "prompt_template_encode_start_idx")
    most = min(_of(pipe, "tokenizer_max_length"), given.get("max_sequence_length") or length)
    template, pictures = _of(pipe, "prompt_template_encode"), given.get("image")
    if pictures is None:
        return (Encoder(pipe.tokenizer, most + start, template, (0, start), compact=True),)
    count = len(pictures) if isinstance(pictures, (list, tuple)) else 1
    if "<|image_pad|>" not in template:  # the pipeline of several pictures
        vision = "<|vision_start|><|image_pad|><|vision_end|>"
        template = template.replace("{}", "".join(f"Picture {number + 1}: {vision}" for number in range(count)) + "{}")
    seen = pipe.processor(text=[template.replace("{}", "")], images=pictures, return_tensors="pt")
    tokens = pipe.tokenizer.convert_ids_to_tokens(seen["input_ids"][0])
    pads = [len(run) for run in _runs(tokens, "<|image_pad|>")]
    for number in pads:
        template = template.replace("<|image_pad|>", _SLOT * number, 1)
    return (Encoder(pipe.tokenizer, length + start, template.replace(_SLOT, "<|image_pad|>"), (0, start), compact=True),)


def _runs(values: list[str], wanted: str) -> list[list[str]]:
    """Return the runs of one value in a list."""
    runs: list[list[str]] = []
    for at, value in enumerate(values):
        if value == wanted:
            if at == 0 or values[at - 1] != wanted:
                runs.append([])
            runs[-1].append(value)
    return runs


def all_of_template(pipe: Any, given: Arguments, length: int) -> tuple[Encoder, ...]:
    """The prompt stands in HunyuanImage's template, whose start is cut off, padded to a fixed length."""
    start = pipe.prompt_template_encode_start_idx
    return (Encoder(pipe.tokenizer, pipe.tokenizer_max_length + start, pipe.prompt_template_encode, (0, start)),)


def padded_in_the_middle(pipe: Any, given: Arguments, length: int) -> tuple[Encoder, ...]:
    """Krea 2 pads between the prompt and the end of its template, so that end is not part of what is tokenized here."""
    start = pipe.prompt_template_encode_start_idx
    whole = length - pipe.prompt_template_encode_num_suffix_tokens + start
    return (Encoder(pipe.tokenizer, whole, pipe.prompt_template_encode_prefix + "{}", (0, start)),)


def of_processor(pipe: Any, given: Arguments, length: int) -> tuple[Encoder, ...]:
    """Qwen-Image 2.1: the start of the template is cut off, and there is no fixed length."""
    start = pipe._drop_idx
    return (Encoder(pipe.processor.tokenizer, length + start, pipe.prompt_template_t2i, (0, start), compact=True),)


def chat(thinking: bool) -> Callable[[Any, Arguments, int], tuple[Encoder, ...]]:
    """Return encoders whose prompt is a user's turn in the tokenizer's chat template, of which the denoiser gets all.

    Pads are left out of what Z-Image's denoiser gets; FLUX.2's gets them.
    """

    def encoders(pipe: Any, given: Arguments, length: int) -> tuple[Encoder, ...]:
        most = given.get("max_sequence_length") or length
        messages = [{"role": "user", "content": _SLOT}]
        text = _turned(pipe.tokenizer, messages, add_generation_prompt=True, enable_thinking=thinking)
        return (Encoder(pipe.tokenizer, most, _with_slot(text), compact=True),)

    return encoders


def flux2(pipe: Any, given: Arguments, length: int) -> tuple[Encoder, ...]:
    """FLUX.2 dev has an instruction and Mistral's processor, klein a user's turn of Qwen3."""
    instruction = _of(pipe, "system_message", "DEFAULT_SYSTEM_MESSAGE")
    if instruction is None:
        (encoder,) = chat(thinking=False)(pipe, given, length)
        return (replace(encoder, length=length, compact=False),)
    messages = [
        {"role": "system", "content": [{"type": "text", "text": instruction}]},
        {"role": "user", "content": [{"type": "text", "text": _SLOT}]},
    ]
    text = _turned(pipe.tokenizer, messages, add_generation_prompt=False)
    tokenizer = getattr(pipe.tokenizer, "tokenizer", pipe.tokenizer)  # of a processor
    return (Encoder(tokenizer, length, _with_slot(text), written=_without_pictures, special=False),)


def _without_pictures(text: str) -> str:
    return text.replace("[IMG]", "")


def _turned(tokenizer: Any, messages: list[dict[str, Any]], **options: Any) -> str:
    return tokenizer.apply_chat_template(messages, tokenize=False, **options)


def _with_slot(text: str) -> str:
    if text.count(_SLOT) != 1:
        raise PromptError(
            f"the tokenizer's chat template repeats or drops the user's message ({text.count(_SLOT)} times in it), so the "
            "prompt's words cannot be located; load the tokenizer that belongs to the model"
        )
    return text.replace(_SLOT, "{}")
