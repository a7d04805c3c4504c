"""Pictures of a run in the folder layouts that judges of text-to-image models read; nothing of theirs is needed here.

Every setting gets a folder of its own inside the export's, named as in the run, ready to be given to the tool.
"""

import hashlib
import json
import re
import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hart.benchmark.pictures import load_picture
from hart.benchmark.results import Results, Setting


@dataclass(frozen=True)
class Picture:
    """A picture's file, its prompt with what is known of it, and which of its samples it is, from 0.

    Samples are of one entry of the prompts file (`key`), or of one text where there was no such file.
    """

    file: Path
    prompt: str
    entry: dict[str, Any]
    key: int | str
    sample: int


def export_geneval(results: Results, folder: Path, target: Path) -> Path:
    """GenEval's: a folder per prompt, `00000/metadata.jsonl` (tag, include, prompt) and `00000/samples/0000.png`.

    What its detector looks for is known where its own `evaluation_metadata.jsonl` was the prompts file; else `tag` and
    `include` are empty. A prompt that was painted more than once has several samples.
    """
    for setting, pictures in _by_setting(results, folder):
        for index, samples in enumerate(_by_key(pictures)):
            place, first = target / setting / f"{index:05d}", samples[0]
            line = {"tag": "", "include": []} | first.entry | {"prompt": first.prompt}
            _write(place / "metadata.jsonl", json.dumps(line) + "\n")
            for picture in samples:
                _copy(picture.file, place / "samples" / f"{picture.sample:04d}")
    return target


def export_mjhq(results: Results, folder: Path, target: Path) -> Path:
    """MJHQ-30K's: pictures by category, `<category>/<name>.png`, and `meta_data.json` with category and prompt by name.

    Names and categories are those of its own `meta_data.json` where that was the prompts file; else the name is a
    digest of prompt and sample, and the category `unsorted`. The Frechet distance is taken over all pictures of a
    folder and needs neither. Further samples of a prompt get their number behind the name.
    """
    for setting, pictures in _by_setting(results, folder):
        meta = {}
        for index, picture in enumerate(pictures):
            digest = hashlib.sha1(f"{picture.prompt} {index}".encode(), usedforsecurity=False).hexdigest()
            own = picture.entry.get("name")
            name = _plain(digest if own is None else f"{own}-{picture.sample}" if picture.sample else str(own))
            category = str(picture.entry.get("category", "unsorted"))
            _copy(picture.file, target / setting / _plain(category) / name)
            meta[name] = {"category": category, "prompt": picture.prompt}
        _write(target / setting / "meta_data.json", json.dumps(meta, indent=1) + "\n")
    return target


def export_hps(results: Results, folder: Path, target: Path) -> Path:
    """HPSv2's: `<style>/00000.jpg` in the order of the style's prompts, and the prompts as `prompts/<style>.json`.

    Its benchmark (hpsv2 1.2.0, `BenchmarkDataset`) takes every name in a setting's folder for a style and reads JPEG
    alone. It has the styles anime, concept-art, paintings and photo, a file each; with these as prompts files the
    styles are theirs, else `custom`.
    """
    for setting, pictures in _by_setting(results, folder):
        styles: dict[str, list[str]] = {}
        for picture in pictures:
            style = _plain(str(picture.entry.get("style", "custom")))
            prompts = styles.setdefault(style, [])
            _save_jpeg(picture.file, target / setting / style / f"{len(prompts):05d}.jpg")
            prompts.append(picture.prompt)
        for style, prompts in styles.items():
            _write(target / "prompts" / f"{style}.json", json.dumps(prompts, indent=1) + "\n")
    return target


def export_imagereward(results: Results, folder: Path, target: Path) -> Path:
    """ImageReward's: `images/<prompt id>_<sample>.png`, and `prompts.json`, a list of `id`, `prompt` and `generations`.

    `ImageReward.score(prompt, files)` takes an entry's prompt and its files.
    """
    for setting, pictures in _by_setting(results, folder):
        entries = []
        for index, samples in enumerate(_by_key(pictures)):
            copies = [
                _copy(picture.file, target / setting / "images" / f"{index:06d}_{picture.sample}")
                for picture in samples
            ]
            names = [copy.relative_to(target / setting).as_posix() for copy in copies]
            entries.append({"id": f"{index:06d}", "prompt": samples[0].prompt, "generations": names})
        _write(target / setting / "prompts.json", json.dumps(entries, indent=1) + "\n")
    return target


EXPORTS: dict[str, Callable[[Results, Path, Path], Path]] = {
    "geneval": export_geneval,
    "mjhq": export_mjhq,
    "hps": export_hps,
    "imagereward": export_imagereward,
}
"""Functions (results, folder of the run, target) -> target, by tool."""


def _by_setting(results: Results, folder: Path) -> list[tuple[str, list[Picture]]]:
    """Name of a folder and pictures of every setting."""
    found = []
    for setting in results.settings:
        if setting.folder is None:
            continue
        place = folder / setting.folder
        files = sorted(file for file in place.iterdir() if re.fullmatch(r"\d+\.(png|npy)", file.name))
        prompts = results.work.prompts
        _check(setting, place, len(files), len(prompts))
        found.append((place.name, _pictures(files, prompts, results.work.metadata)))
    return found


def _pictures(files: Sequence[Path], prompts: Sequence[str], metadata: Sequence[dict[str, Any]]) -> list[Picture]:
    seen: Counter[int | str] = Counter()
    found = []
    for index, (file, prompt) in enumerate(zip(files, prompts, strict=True)):
        key = index % len(metadata) if metadata else prompt
        entry = metadata[index % len(metadata)] if metadata else {}
        found.append(Picture(file, prompt, entry, key, seen[key]))
        seen[key] += 1
    return found


def _plain(name: str) -> str:
    """A name from a prompts file as that of a file or folder."""
    return re.sub(r"[^A-Za-z0-9._ -]+", "-", name).lstrip(".") or "unnamed"


def _check(setting: Setting, place: Path, found: int, wanted: int) -> None:
    if found != wanted:
        raise ValueError(
            f"setting {setting.name!r} has {found} pictures in {str(place)!r}; allowed is one per prompt, {wanted}: "
            "run the benchmark again."
        )


def _by_key(pictures: Sequence[Picture]) -> list[list[Picture]]:
    """All samples of every entry."""
    found: dict[int | str, list[Picture]] = {}
    for picture in pictures:
        found.setdefault(picture.key, []).append(picture)
    return list(found.values())


def _save_jpeg(file: Path, target: Path) -> None:
    """Best quality, colours at full resolution."""
    from PIL import Image

    target.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(load_picture(file)).save(target, quality=100, subsampling=0)


def _copy(file: Path, target: Path) -> Path:
    """Copy under another name; the suffix stays."""
    copy = target.with_name(target.name + file.suffix)
    copy.parent.mkdir(parents=True, exist_ok=True)
    return Path(shutil.copyfile(file, copy))


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
