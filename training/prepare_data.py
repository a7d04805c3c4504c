"""Prepare the artwork of the embedded model: `python -m training.prepare_data`.

Fetches three pinned npm packages, draws the objects of `hart/assets/objects.json` in both styles and writes one
file, `sprites.npz`. Needs npm on the path and `pip install pillow resvg_py`. Running it again does nothing unless
the objects or this module's recipe have changed.
"""

import argparse
import hashlib
import io
import json
import logging
import subprocess
import tarfile
from importlib import resources
from pathlib import Path
from typing import TypeVar

import numpy as np
import resvg_py
from PIL import Image

from hart.evaluation.scenes import SIDES, STYLES, SceneObject, load_objects

logger = logging.getLogger(__name__)
T = TypeVar("T")

CACHE = Path(__file__).parent / ".cache"
RECIPE = 1
"""Raised when the drawing below changes, so that an older sprites.npz is made anew."""

PACKAGES = {
    "@lobehub/fluent-emoji-3d@1.1.0": "c1bb7eee7de090205a232518a9ab4adb3df458bfbe8a1f78232991194c8b2e58",
    "@iconify-json/twemoji@1.2.5": "19046dff7d8707ce96212ec86468b36ac5f8e60409629dd13f809265c6d0ebb7",
    "emojibase-data@17.0.0": "d01d0e2ca4e22cb402679532155342c71e2e871f25c32223c013b8b166ebdf5a",
}
"""Pinned packages and the SHA-256 of their archives."""

DRAWING_SIDE = 512
MIN_ALPHA = 8


def prepare(cache: Path = CACHE, force: bool = False) -> Path:
    """Make `sprites.npz` in the cache folder, unless it is there and up to date.

    Args:
        cache: folder for the downloads and the result.
        force: draw again even if the file is up to date.

    Returns:
        The file's path. It holds `big` uint8 [O, S, 112, 112, 4] and `small` uint8 [O, S, 64, 64, 4] (RGBA, straight
        alpha), and the text arrays `codes`, `labels`, `tags` (comma separated) of length O and `styles` of length S.
    """
    path, fingerprint = cache / "sprites.npz", _fingerprint()
    if path.exists() and not force:
        with np.load(path, allow_pickle=False) as stored:
            if str(stored["fingerprint"]) == fingerprint:
                logger.info("%s is up to date", path)
                return path
    cache.mkdir(parents=True, exist_ok=True)
    fluent, twemoji, emojibase = (_fetch(package, sha, cache) for package, sha in PACKAGES.items())
    drawings = {"3d": _read_fluent(fluent), "flat": _draw_twemoji(twemoji)}
    tags = _read_tags(emojibase)
    arrays = {size: _fit_all(drawings, side) for size, side in SIDES.items()}
    objects = load_objects()
    temporary = path.with_name("sprites.tmp.npz")
    np.savez_compressed(
        temporary,
        **arrays,
        codes=np.array([item.code for item in objects]),
        labels=np.array([item.label for item in objects]),
        tags=np.array([tags[item.code] for item in objects]),
        styles=np.array(STYLES),
        fingerprint=np.array(fingerprint),
    )
    # Renaming last means that a run cut short never leaves half a file under the final name.
    temporary.replace(path)
    logger.info("wrote %s: %d objects in %d styles", path, len(objects), len(STYLES))
    return path


def _fingerprint() -> str:
    """Digest of everything that the result depends on."""
    objects = (resources.files("hart") / "assets" / "objects.json").read_bytes()
    return hashlib.sha256(objects + json.dumps([RECIPE, PACKAGES, SIDES, STYLES]).encode()).hexdigest()


def _fetch(package: str, sha256: str, cache: Path) -> Path:
    """Return the archive of an npm package, downloaded at most once and checked.

    Raises:
        ValueError: if the archive is not the pinned one.
    """
    name, _, version = package.rpartition("@")
    archive = cache / f"{name.strip('@').replace('/', '-')}-{version}.tgz"
    if not archive.exists():
        logger.info("fetching %s", package)
        command = ["npm", "pack", package, "--pack-destination", str(cache), "--silent"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    if digest != sha256:
        raise ValueError(f"{archive} has SHA-256 {digest}; allowed is {sha256}. Delete the file and run again.")
    return archive


def _read_fluent(archive: Path) -> list[Image.Image]:
    """Read the objects' Fluent 3D pictures, RGBA 256 x 256."""
    with tarfile.open(archive) as tar:
        members = {_plain_code(Path(m.name).stem): m for m in tar.getmembers() if m.name.endswith(".webp")}
        files = {item: _read_member(tar, _lookup(members, item, archive)) for item in load_objects()}
    return [Image.open(io.BytesIO(data)).convert("RGBA") for data in files.values()]


def _draw_twemoji(archive: Path) -> list[Image.Image]:
    """Draw the objects' Twemoji vector pictures, RGBA 512 x 512."""
    with tarfile.open(archive) as tar:
        names = {_plain_code(code): name for code, name in json.loads(_read_member(tar, "package/chars.json")).items()}
        icons = json.loads(_read_member(tar, "package/icons.json"))["icons"]
    return [_draw_svg(icons[_lookup(names, item, archive)]["body"]) for item in load_objects()]


def _draw_svg(body: str) -> Image.Image:
    """Rasterise the body of one 36 x 36 icon."""
    svg = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 36 36">{body}</svg>'
    png = resvg_py.svg_to_bytes(svg_string=svg, width=DRAWING_SIDE, height=DRAWING_SIDE)
    return Image.open(io.BytesIO(bytes(png))).convert("RGBA")


def _read_tags(archive: Path) -> dict[str, str]:
    """Read the comma-separated tags of every code point."""
    with tarfile.open(archive) as tar:
        entries = json.loads(_read_member(tar, "package/en/data.json"))
    return {_plain_code(entry["hexcode"]): ",".join(entry.get("tags", [])) for entry in entries}


def _read_member(tar: tarfile.TarFile, member: str | tarfile.TarInfo) -> bytes:
    """Read one file of an archive, whose absence would be a broken pin."""
    file = tar.extractfile(member)
    if file is None:
        raise ValueError(f"archive member is {member!r}; allowed is a regular file.")
    return file.read()


def _lookup(table: dict[str, T], item: SceneObject, archive: Path) -> T:
    """Find an object's entry by code point."""
    if item.code not in table:
        raise ValueError(f"code is {item.code!r} ({item.label}), which {archive.name} lacks; choose another object.")
    return table[item.code]


def _plain_code(code: str) -> str:
    """Lower-case hex code without the variation selector, which the three packages write differently."""
    return "-".join(part for part in code.lower().split("-") if part != "fe0f")


def _fit_all(drawings: dict[str, list[Image.Image]], side: int) -> np.ndarray:
    """Fit every drawing into a square: uint8 [O, S, side, side, 4]."""
    return np.stack([[_fit(drawing, side) for drawing in row] for row in zip(*drawings.values(), strict=True)])


def _fit(drawing: Image.Image, side: int) -> np.ndarray:
    """Crop to the artwork, scale its longer side to `side`, centre it: uint8 [side, side, 4].

    Pillow resizes the "RGBa" mode premultiplied, so that hidden colours of transparent pixels never bleed in.
    """
    visible = drawing.getchannel("A").point(lambda level: 255 if level >= MIN_ALPHA else 0)
    art = drawing.crop(visible.getbbox()).convert("RGBa")
    scale = side / max(art.size)
    width, height = (max(1, round(length * scale)) for length in art.size)
    square = Image.new("RGBA", (side, side))
    resized = art.resize((width, height), Image.Resampling.LANCZOS).convert("RGBA")
    square.paste(resized, ((side - width) // 2, (side - height) // 2))
    return np.asarray(square)


def main() -> None:
    """Read the command line and prepare the data."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--cache", type=Path, default=CACHE, help="folder for downloads and sprites.npz")
    parser.add_argument("--force", action="store_true", help="draw again even if sprites.npz is up to date")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    prepare(arguments.cache, arguments.force)


if __name__ == "__main__":
    main()
