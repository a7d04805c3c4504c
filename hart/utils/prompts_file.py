"""Prompts from a text file, for the command lines."""

from pathlib import Path


def read_prompts_file(
    path: Path,
    name: str = "prompts_file",
    if_empty: str = "has no prompt; allowed is a text with one prompt a line",
) -> list[str]:
    """The lines of a file that are not blank.

    Args:
        path: file, one prompt a line.
        name: what messages call it.
        if_empty: what the message says of a file without prompts.

    Raises:
        FileNotFoundError: no such file.
        ValueError: it is not UTF-8, or holds no prompt.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"{name} {str(path)!r} is not UTF-8 text ({error}).") from error
    prompts = [line.strip() for line in lines if line.strip()]
    if not prompts:
        raise ValueError(f"{name} {str(path)!r} {if_empty}.")
    return prompts
