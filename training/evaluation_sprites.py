"""Put the prepared artwork into the package: `python -m training.evaluation_sprites`.

Run it after `python -m training.prepare_data` whenever the objects change, and commit the result.
"""

import argparse
import logging
from pathlib import Path

import numpy as np

import hart.evaluation
from hart.evaluation.artwork import read_sprites
from hart.evaluation.scenes import load_objects

logger = logging.getLogger(__name__)

PREPARED = Path(__file__).parent / ".cache" / "sprites.npz"
PATH = Path(hart.evaluation.__file__).parents[1] / "assets" / "evaluation_sprites.npz"


def install(prepared: Path = PREPARED, path: Path = PATH) -> None:
    """Write what of the prepared artwork the package needs, losslessly.

    Args:
        prepared: `sprites.npz` of `training.prepare_data`.
        path: the package's file.
    """
    sprites = read_sprites(prepared)
    codes = np.array([item.code for item in load_objects()])
    temporary = path.with_suffix(".tmp.npz")
    np.savez_compressed(temporary, big=sprites.big, small=sprites.small, codes=codes)
    temporary.replace(path)
    logger.info("wrote %s, %d bytes", path, path.stat().st_size)


def main() -> None:
    """Read the command line and write the package's file."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--prepared", type=Path, default=PREPARED, help="file that prepare_data wrote")
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    install(parser.parse_args().prepared)


if __name__ == "__main__":
    main()
