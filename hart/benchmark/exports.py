"""Pictures of a run in the folder layouts that judges of text-to-image models read; nothing of theirs is needed here.

Every setting gets a folder of its own inside the export's, named as in the run, ready to be given to the tool.
"""

import hashlib
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

from hart.benchmark.results import Results, Setting

Pictures = list[tuple[str, Path]]
"""Prompt and file of every picture."""


def export_geneval(results: Results, folder: Path, target: Path) -> Path:
    """GenEval's: a folder per prompt, `00000/metadata.jsonl` (tag, include, prompt) and `00000/samples/0000.png`.

    `tag` and `include` say what its detector looks for. They belong to GenEval's own prompts, so they are empty here;
    replace a prompt's line by the one of its `evaluation_metadata.jsonl` before judging. A prompt that was painted more
    than once has several samples.
    """
    for setting, pictures in _by_setting(results, folder):
        root = target / setting
        for index, (prompt, files) in enumerate(_by_prompt(pictures).items()):
            place = root / f"{index:05d}"
            _write(place / "metadata.jsonl", json.dumps({"tag": "", "include": [], "prompt": prompt}) + "\n")
            for sample, file in enumerate(files):
                _copy(file, place / "samples" / f"{sample:04d}")
    return target


def export_mjhq(results: Results, folder: Path, target: Path) -> Path:
    """MJHQ-30K's: pictures by category, `<category>/<name>.png`, and `meta_data.json` with category and prompt by name.

    Its prompts come with names and categories; a run knows neither, so the name is a digest of prompt and sample, and
    the category `unsorted`. The Frechet distance is taken over all pictures of a folder and needs neither.
    """
    for setting, pictures in _by_setting(results, folder):
        meta = {}
        for index, (prompt, file) in enumerate(pictures):
            name = hashlib.sha1(f"{prompt} {index}".encode(), usedforsecurity=False).hexdigest()
            _copy(file, target / setting / "unsorted" / name)
            meta[name] = {"category": "unsorted", "prompt": prompt}
        _write(target / setting / "meta_data.json", json.dumps(meta, indent=1) + "\n")
    return target


def export_hps(results: Results, folder: Path, target: Path) -> Path:
    """HPSv2's: `<style>/00000.png` in the order of the style's prompts, and the prompts as `<style>.json`.

    Its benchmark has the styles anime, concept-art, paintings and photo; prompts of a run are `custom`. With its own
    prompts painted style by style, rename the folder.
    """
    for setting, pictures in _by_setting(results, folder):
        for index, (_, file) in enumerate(pictures):
            _copy(file, target / setting / "custom" / f"{index:05d}")
        prompts = [prompt for prompt, _ in pictures]
        _write(target / setting / "custom.json", json.dumps(prompts, indent=1) + "\n")
    return target


def export_imagereward(results: Results, folder: Path, target: Path) -> Path:
    """ImageReward's: `images/<prompt id>_<sample>.png`, and `prompts.json`, a list of `id`, `prompt` and `generations`.

    `ImageReward.score(prompt, files)` takes an entry's prompt and its files.
    """
    for setting, pictures in _by_setting(results, folder):
        entries = []
        for index, (prompt, files) in enumerate(_by_prompt(pictures).items()):
            copies = [
                _copy(file, target / setting / "images" / f"{index:06d}_{sample}") for sample, file in enumerate(files)
            ]
            names = [copy.relative_to(target / setting).as_posix() for copy in copies]
            entries.append({"id": f"{index:06d}", "prompt": prompt, "generations": names})
        _write(target / setting / "prompts.json", json.dumps(entries, indent=1) + "\n")
    return target


EXPORTS: dict[str, Callable[[Results, Path, Path], Path]] = {
    "geneval": export_geneval,
    "mjhq": export_mjhq,
    "hps": export_hps,
    "imagereward": export_imagereward,
}
"""Functions (results, folder of the run, target) -> target, by tool."""


def _by_setting(results: Results, folder: Path) -> list[tuple[str, Pictures]]:
    """Name of a folder and pictures of every setting."""
    found = []
    for setting in results.settings:
        if setting.folder is None:
            continue
        place = folder / setting.folder
        files = sorted(file for file in place.iterdir() if re.fullmatch(r"\d+\.(png|npy)", file.name))
        prompts = results.work.prompts
        _check(setting, place, len(files), len(prompts))
        found.append((place.name, list(zip(prompts, files, strict=True))))
    return found


def _check(setting: Setting, place: Path, found: int, wanted: int) -> None:
    if found != wanted:
        raise ValueError(
            f"setting {setting.name!r} has {found} pictures in {str(place)!r}; allowed is one per prompt, {wanted}: "
            "run the benchmark again."
        )


def _by_prompt(pictures: Pictures) -> dict[str, list[Path]]:
    found: dict[str, list[Path]] = {}
    for prompt, file in pictures:
        found.setdefault(prompt, []).append(file)
    return found


def _copy(file: Path, target: Path) -> Path:
    """Copy under another name; the suffix stays."""
    copy = target.with_name(target.name + file.suffix)
    copy.parent.mkdir(parents=True, exist_ok=True)
    return Path(shutil.copyfile(file, copy))


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
