"""The 80 templates of CLIP's zero-shot classifier for ImageNet, and text embeddings as the mean over them.

The templates are those of openai/CLIP (MIT), notebooks/Prompt_Engineering_for_ImageNet.ipynb; Attend-and-Excite uses them
for its metrics (metrics/imagenet_utils.py at 163efdfd).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import torch.nn.functional as F
from torch import Tensor

_TEMPLATES = """\
a bad photo of a {}.|a photo of many {}.|a sculpture of a {}.|a photo of the hard to see {}.
a low resolution photo of the {}.|a rendering of a {}.|graffiti of a {}.|a bad photo of the {}.
a cropped photo of the {}.|a tattoo of a {}.|the embroidered {}.|a photo of a hard to see {}.
a bright photo of a {}.|a photo of a clean {}.|a photo of a dirty {}.|a dark photo of the {}.
a drawing of a {}.|a photo of my {}.|the plastic {}.|a photo of the cool {}.
a close-up photo of a {}.|a black and white photo of the {}.|a painting of the {}.|a painting of a {}.
a pixelated photo of the {}.|a sculpture of the {}.|a bright photo of the {}.|a cropped photo of a {}.
a plastic {}.|a photo of the dirty {}.|a jpeg corrupted photo of a {}.|a blurry photo of the {}.
a photo of the {}.|a good photo of the {}.|a rendering of the {}.|a {} in a video game.
a photo of one {}.|a doodle of a {}.|a close-up photo of the {}.|a photo of a {}.
the origami {}.|the {} in a video game.|a sketch of a {}.|a doodle of the {}.
a origami {}.|a low resolution photo of a {}.|the toy {}.|a rendition of the {}.
a photo of the clean {}.|a photo of a large {}.|a rendition of a {}.|a photo of a nice {}.
a photo of a weird {}.|a blurry photo of a {}.|a cartoon {}.|art of a {}.
a sketch of the {}.|a embroidered {}.|a pixelated photo of a {}.|itap of the {}.
a jpeg corrupted photo of the {}.|a good photo of a {}.|a plushie {}.|a photo of the nice {}.
a photo of the small {}.|a photo of the weird {}.|the cartoon {}.|art of the {}.
a drawing of the {}.|a photo of the large {}.|a black and white photo of a {}.|the plushie {}.
a dark photo of a {}.|itap of a {}.|graffiti of the {}.|a toy {}.
itap of my {}.|a photo of a cool {}.|a photo of a small {}.|a tattoo of the {}."""
IMAGENET_TEMPLATES = tuple(re.split(r"[|\n]", _TEMPLATES))

_ARTICLE = re.compile(r"(an?|the) ", re.IGNORECASE)
_SEAM = re.compile(r"(?<!\w)(an?|the) (?=\{\})")


def filled(text: str) -> list[str]:
    """Return the templates filled with `text`. If it has an article, that replaces the template's.

    >>> filled("the red panda")[0], filled("red panda")[0]
    ('a bad photo of the red panda.', 'a bad photo of a red panda.')
    """
    templates = [_SEAM.sub("", template) for template in IMAGENET_TEMPLATES] if _ARTICLE.match(text) else IMAGENET_TEMPLATES
    return [template.replace("{}", text) for template in templates]


def filled_strictly(text: str) -> list[str]:
    """Return the templates as Attend-and-Excite fills them: "a a" and "the a" become "a" everywhere.

    This removes double articles, but also letters of a word that ends in "a" before one that begins with "a":

    >>> filled_strictly("a blue panda and a bowl")[0]
    'a bad photo of a blue pandand a bowl.'
    """
    return [t.replace("{}", text).replace("a a", "a").replace("the a", "a") for t in IMAGENET_TEMPLATES]


def mean_of_templates(of_texts: Callable[[Sequence[str]], Tensor], sentences: Sequence[str]) -> Tensor:
    """Return the normalised mean of the sentences' unit vectors, shape (channel,)."""
    return F.normalize(of_texts(sentences).mean(dim=0), dim=-1)
