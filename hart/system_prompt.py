"""Take the published system prompt from a clone of the published code into a checkpoint.

Usage: `python -m hart.system_prompt PUBLISHED_CLONE CHECKPOINT`. The text belongs to the checkpoint's owner and is
no part of this package. The clone's files are parsed, never imported or run; standard library only.
"""

import argparse
import ast
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from hart.utils.files import read_text, write_whole

VARIABLE = "llm_system_prompt"
FILE_NAME = "system_prompt.txt"


def find_system_prompt(clone: Path) -> str:
    """The text that a file of the clone assigns to `llm_system_prompt`.

    Raises:
        FileNotFoundError: no such folder, or no file that assigns one.
        ValueError: files assign different texts; they are named.
    """
    if not clone.is_dir():
        raise FileNotFoundError(f"PUBLISHED_CLONE must be a folder, got {str(clone)!r}.")
    found: dict[str, Path] = {}
    for file in sorted(clone.rglob("*.py")):
        for text in _assigned(file):
            found.setdefault(text, file)
    if not found:
        raise FileNotFoundError(
            f"PUBLISHED_CLONE must hold a Python file that assigns a text to {VARIABLE}, got {str(clone)!r}, which "
            "has none."
        )
    if len(found) > 1:
        files = ", ".join(repr(str(file)) for file in found.values())
        raise ValueError(f"{VARIABLE} must be one text, got different ones in {files}; give a smaller folder.")
    return next(iter(found))


def checkpoint_root(path: Path) -> Path:
    """The folder that holds `llm`: the path itself or its parent.

    Raises:
        FileNotFoundError: neither holds one.
    """
    for folder in (path, path.resolve().parent):
        if (folder / "llm" / "config.json").is_file():
            return folder
    raise FileNotFoundError(f"CHECKPOINT must be a folder that holds llm/config.json, or that llm, got {str(path)!r}.")


def _assigned(file: Path) -> Iterator[str]:
    """Texts that a file assigns to the variable; a file that is no Python of ours is passed over."""
    try:
        tree = ast.parse(read_text(file))
    except (SyntaxError, ValueError, OSError, RecursionError):
        return
    for node in ast.walk(tree):
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        named = any(isinstance(target, ast.Name) and target.id == VARIABLE for target in targets)
        if named and isinstance(node, ast.Assign | ast.AnnAssign):
            text = _text(node.value)
            if text is not None:
                yield text


def _text(node: ast.expr | None) -> str | None:
    """The text of a literal, or of literals that are added up."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        parts = _text(node.left), _text(node.right)
        return None if None in parts else "".join(part for part in parts if part)
    return None


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status."""
    parser = argparse.ArgumentParser(prog="python -m hart.system_prompt", description=__doc__, allow_abbrev=False)
    parser.add_argument("clone", type=Path, metavar="PUBLISHED_CLONE", help="folder of the published code")
    parser.add_argument("checkpoint", type=Path, metavar="CHECKPOINT", help="folder of the published weights")
    arguments = parser.parse_args(argv)
    try:
        text = find_system_prompt(arguments.clone)
        target = checkpoint_root(arguments.checkpoint) / FILE_NAME
        write_whole(target, text)
    except (ValueError, OSError) as error:
        sys.stderr.write(f"{parser.prog}: {error}\n")
        return 2
    sys.stdout.write(f"{len(text)} characters written to {target}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
