"""The embedded model's text side: a word-level tokenizer and a tiny decoder-only language model, trained with HART."""

from pathlib import Path

from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
from transformers import LlamaConfig, LlamaModel, PreTrainedTokenizerFast

from hart.evaluation.scenes import COLOURS, POSITIONS, STYLES, load_objects

CONTEXT_TOKENS = 20
CONTEXT_DIM = 256


def vocabulary() -> list[str]:
    """Every word a caption can hold, in a fixed order, after the two special tokens."""
    words = {"a", "an", "small", "on", "background", "at", "the", *STYLES, *COLOURS}
    words |= {word for position in POSITIONS for word in position.split()}
    for item in load_objects():
        words |= {word for name in (item.label, *item.synonyms) for word in name.split()}
    return ["<pad>", "<unk>", *sorted(words)]


def build_tokenizer() -> PreTrainedTokenizerFast:
    """Words in lower case, punctuation at their ends ignored, padded on the right."""
    core = Tokenizer(models.WordLevel({word: i for i, word in enumerate(vocabulary())}, unk_token="<unk>"))
    core.normalizer = normalizers.Sequence(
        [normalizers.Lowercase(), normalizers.Replace(",", " "), normalizers.Replace(".", " ")]
    )
    core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        pad_token="<pad>",
        unk_token="<unk>",
        padding_side="right",
        model_max_length=CONTEXT_TOKENS,
    )


def build_text_model(vocab_size: int) -> LlamaModel:
    """Two llama layers; the last hidden states are the context."""
    return LlamaModel(
        LlamaConfig(
            vocab_size=vocab_size,
            hidden_size=CONTEXT_DIM,
            intermediate_size=512,
            num_hidden_layers=2,
            num_attention_heads=4,
            max_position_embeddings=64,
            pad_token_id=0,
            bos_token_id=None,
            eos_token_id=None,
        )
    )


def save_text(folder: Path, tokenizer: PreTrainedTokenizerFast, model: LlamaModel) -> None:
    tokenizer.save_pretrained(folder)
    model.save_pretrained(folder)
