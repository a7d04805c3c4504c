"""Prompts with what judges know of them: plain text, and the files that GenEval, MJHQ-30K and HPSv2 come with."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hart.utils.files import read_json, read_lines
from hart.utils.prompts_file import read_prompts_file

Entry = dict[str, Any]
"""A prompt's metadata; `prompt` is the text."""

FORMS = "a text with one prompt a line, GenEval's .jsonl, MJHQ-30K's meta_data.json, or a .json list of texts (HPSv2)"


def read_prompt_files(paths: Sequence[Path]) -> tuple[list[str], list[Entry]]:
    """The prompts of files in order, and an entry of metadata for each.

    GenEval's entries are kept as they are (tag, include, prompt); MJHQ-30K's hold `name`, `category` and `prompt`;
    those of a JSON list (HPSv2) hold the file's name as `style`; those of plain text the prompt alone.

    Raises:
        FileNotFoundError: no such file.
        ValueError: another shape, or no prompt.
    """
    entries = [entry for path in paths for entry in _entries(path)]
    return [entry["prompt"] for entry in entries], entries


def _entries(path: Path) -> list[Entry]:
    if path.suffix not in (".json", ".jsonl"):
        return [{"prompt": prompt} for prompt in read_prompts_file(path)]
    try:
        if path.suffix == ".jsonl":
            found = [json.loads(line) for line in read_lines(path) if line.strip()]
        else:
            found = _of_json(read_json(path), path.stem)
    except ValueError as error:
        raise ValueError(f"prompts_file {str(path)!r} is no JSON ({error}); allowed is {FORMS}.") from error
    if not found or not all(isinstance(entry, dict) and isinstance(entry.get("prompt"), str) for entry in found):
        raise ValueError(f"prompts_file {str(path)!r} has no prompts, or an entry without one; allowed is {FORMS}.")
    return found


def _of_json(content: Any, stem: str) -> list[Any]:
    if isinstance(content, dict):
        return [{"name": name, **entry} for name, entry in content.items() if isinstance(entry, dict)]
    if isinstance(content, list):
        return [{"style": stem, "prompt": prompt} for prompt in content]
    return []
