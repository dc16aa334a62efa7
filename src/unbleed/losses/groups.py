"""The entities of a batch of images as tensors, so that no loss loops over images, entities or words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..prompt.tokens import Positions, PromptTokens


@dataclass(frozen=True)
class TokenGroups:
    """The entities of a batch of images as masks over tokens.

    The rows of `noun` are the entities of all images one after another, the rows of `modifier` their modifiers. Index tensors
    give the image or the entity that a row belongs to. True marks the tokens that are pieces of the word.

    >>> from unbleed.losses import TokenGroups
    >>> groups = TokenGroups.from_positions([[(2, [1]), (4, [3])]], length=6)  # "red cat blue bench"
    >>> groups.noun.long()
    tensor([[0, 0, 1, 0, 0, 0],
            [0, 0, 0, 0, 1, 0]])
    >>> groups.entity_image, groups.modifier_entity
    (tensor([0, 0]), tensor([0, 1]))

    Args:
        images: Number of images in the batch.
        noun: Bool (entity, token).
        entity_image: Long (entity,), the image of each entity.
        modifier: Bool (modifier, token).
        modifier_entity: Long (modifier,), the entity of each modifier.
        prompt: Bool (batch, token), the prompt's own pieces, without start, end and padding.
        padded_with_end: Bool (batch,), whether padding repeats the end token (SD 1) instead of "!" (SD 2).
        chunks: Number of sequences of equal length that the tokens consist of, each with its own start and end.
    """

    images: int
    noun: Tensor
    entity_image: Tensor
    modifier: Tensor
    modifier_entity: Tensor
    prompt: Tensor
    padded_with_end: Tensor
    chunks: int = 1

    @classmethod
    def from_positions(cls, entities: Sequence[Sequence[tuple[int, Sequence[int]]]], length: int) -> TokenGroups:
        """Return groups made by hand, to try a loss without a prompt.

        Args:
            entities: For each image a list of entities, each the position of the noun's token and those of its modifiers'
                tokens. Position 0 is the start token; the prompt ends with the last word.
            length: Number of tokens.
        """
        ends = [max((at for noun, words in image for at in (noun, *words)), default=0) for image in entities]
        nouns = [(image, noun, words) for image, own in enumerate(entities) for noun, words in own]
        modifiers = [(entity, word) for entity, (_, _, words) in enumerate(nouns) for word in words]
        eye = torch.eye(length, dtype=torch.bool)
        position = torch.arange(length)
        return cls(
            images=len(entities),
            noun=eye[[noun for _, noun, _ in nouns]],
            entity_image=torch.tensor([image for image, _, _ in nouns], dtype=torch.long),
            modifier=eye[[word for _, word in modifiers]],
            modifier_entity=torch.tensor([entity for entity, _ in modifiers], dtype=torch.long),
            prompt=torch.stack([(position > 0) & (position <= end) for end in ends]),
            padded_with_end=torch.ones(len(entities), dtype=torch.bool),
        )

    @property
    def tokens(self) -> int:
        return self.prompt.shape[1]

    @property
    def whole(self) -> Tensor:
        """Bool (entity, token): the pieces of an entity's noun and of all its modifiers."""
        return self.noun | (
            self.noun.new_zeros(self.noun.shape, dtype=torch.long).index_add(0, self.modifier_entity, self.modifier.long()) > 0
        )

    @property
    def entity_pairs(self) -> tuple[Tensor, Tensor, Tensor]:
        """Every pair of entities of one image, once: first entity, second entity, and their image, each long (pair,)."""
        same = self.entity_image[:, None] == self.entity_image[None, :]
        first, second = torch.triu(same, diagonal=1).nonzero(as_tuple=True)
        return first, second, self.entity_image[first]

    def select(self, rows: Sequence[int]) -> TokenGroups:
        """Return the groups of only the images `rows`, in that order."""
        device = self.prompt.device
        index = torch.tensor(list(rows), dtype=torch.long, device=device)
        new_image = torch.full((self.images,), -1, dtype=torch.long, device=device)
        new_image[index] = torch.arange(len(index), device=device)
        keep_entity = new_image[self.entity_image] >= 0
        new_entity = keep_entity.cumsum(0) - 1
        keep_modifier = keep_entity[self.modifier_entity]
        return TokenGroups(
            images=len(index),
            noun=self.noun[keep_entity],
            entity_image=new_image[self.entity_image[keep_entity]],
            modifier=self.modifier[keep_modifier],
            modifier_entity=new_entity[self.modifier_entity[keep_modifier]],
            prompt=self.prompt[index],
            padded_with_end=self.padded_with_end[index],
            chunks=self.chunks,
        )

    def only(self, keep: Tensor) -> TokenGroups:
        """Return the groups with only the entities `keep`, bool (entity,); images and tokens stay."""
        new_entity = keep.cumsum(0) - 1
        keep_modifier = keep[self.modifier_entity]
        return replace(
            self,
            noun=self.noun[keep],
            entity_image=self.entity_image[keep],
            modifier=self.modifier[keep_modifier],
            modifier_entity=new_entity[self.modifier_entity[keep_modifier]],
        )

    def to(self, device: torch.device) -> TokenGroups:
        moved = {k: v.to(device) for k, v in vars(self).items() if isinstance(v, Tensor)}
        return replace(self, **moved)


def group_tokens(prompts: Sequence[PromptTokens]) -> TokenGroups:
    """Return the groups of a batch: one `PromptTokens` per image."""
    length = max((len(p.pieces) for p in prompts), default=0)

    def row(positions: Positions) -> Tensor:
        mask = torch.zeros(length, dtype=torch.bool)
        mask[list(positions)] = True
        return mask

    def rows(masks: list[Tensor]) -> Tensor:
        return torch.stack(masks) if masks else torch.zeros(0, length, dtype=torch.bool)

    nouns, entity_image, modifiers, modifier_entity = [], [], [], []
    for image, tokens in enumerate(prompts):
        for noun, words in tokens.entities:
            modifiers += [row(word) for word in words]
            modifier_entity += [len(nouns)] * len(words)
            nouns.append(row(noun))
            entity_image.append(image)
    return TokenGroups(
        images=len(prompts),
        noun=rows(nouns),
        entity_image=torch.tensor(entity_image, dtype=torch.long),
        modifier=rows(modifiers),
        modifier_entity=torch.tensor(modifier_entity, dtype=torch.long),
        prompt=rows([row(tokens.own) for tokens in prompts]),
        padded_with_end=torch.tensor([tokens.padded_with_end for tokens in prompts], dtype=torch.bool),
        chunks=prompts[0].chunks if prompts else 1,
    )
