"""Captions of all scenes as token tables on the device, so that no step reads text.

Shapes: N scenes, M wordings of a scene's caption (the label and its synonyms), T text tokens, B pictures.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from hart.evaluation.scenes import SYNONYM_CHANCE, Scene, load_objects
from training.text import CONTEXT_TOKENS


class Captions(NamedTuple):
    """Captions of a batch: tokens int64 [B, T], padded on the right, and how many of them are words, int64 [B]."""

    tokens_BT: Tensor
    length_B: Tensor

    def empty(self, dropped_B: Tensor) -> "Captions":
        """The same with lengths of 1, as of a text whose positions are all zero, where dropped."""
        return Captions(self.tokens_BT, torch.where(dropped_B, 1, self.length_B))


def tokenised(texts: Sequence[str], tokenizer: PreTrainedTokenizerBase, device: torch.device) -> Captions:
    tokens = tokenizer(list(texts), padding="max_length", max_length=CONTEXT_TOKENS, return_tensors="pt").to(device)
    return Captions(tokens["input_ids"], tokens["attention_mask"].sum(1))


def wordings(scene: Scene) -> list[str]:
    """The canonical caption, then one for each synonym."""
    text, style = scene.caption(), scene.style
    synonyms = load_objects()[scene.object_index].synonyms
    return [text, *(text.replace(f"{style} {scene.label} on", f"{style} {word} on", 1) for word in synonyms)]


class CaptionTable:
    """All wordings of all scenes.

    Args:
        scenes: N scenes.
        tokenizer: of the text model.
        device: where the tables go.
        synonym_chance: how often a synonym stands in for the label.
    """

    def __init__(
        self,
        scenes: Sequence[Scene],
        tokenizer: PreTrainedTokenizerBase,
        device: torch.device,
        synonym_chance: float = SYNONYM_CHANCE,
    ):
        texts = [wordings(scene) for scene in scenes]
        self.first_N = torch.tensor([0, *map(len, texts)]).cumsum(0)[:-1].to(device)
        self.synonyms_N = torch.tensor([len(words) - 1 for words in texts]).to(device)
        self.captions = tokenised([text for words in texts for text in words], tokenizer, device)
        self.synonym_chance = synonym_chance

    def draw(self, chosen_B: Tensor) -> Captions:
        """Captions of scenes, given by their places; the wording is drawn on the device."""
        synonyms_B = self.synonyms_N[chosen_B]
        which_B, chance_B = torch.rand(2, len(chosen_B), device=chosen_B.device)
        offset_B = 1 + (which_B * synonyms_B).long().clamp_max((synonyms_B - 1).clamp_min(0))
        offset_B = torch.where((chance_B < self.synonym_chance) & (synonyms_B > 0), offset_B, 0)
        row_B = self.first_N[chosen_B] + offset_B
        return Captions(self.captions.tokens_BT[row_B], self.captions.length_B[row_B])
