"""Prompts from a text file, for the command lines."""

from pathlib import Path

from hart.utils.files import read_lines


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
        ValueError: it is a folder, is not UTF-8, or holds no prompt.
        OSError: it cannot be read.
    """
    if path.is_dir():
        raise ValueError(f"{name} {str(path)!r} is a folder; allowed is a text file with one prompt a line.")
    if not path.exists():
        raise FileNotFoundError(f"{name} {str(path)!r} does not exist; give a text file with one prompt a line.")
    try:
        lines = read_lines(path)
    except ValueError as error:
        raise ValueError(f"{name} {error}") from error
    except OSError as error:
        raise OSError(f"{name} {str(path)!r} cannot be read ({error.strerror}).") from error
    prompts = [line.strip() for line in lines if line.strip()]
    if not prompts:
        raise ValueError(f"{name} {str(path)!r} {if_empty}.")
    return prompts
