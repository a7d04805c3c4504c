"""What to install where an extra is missing; standard library only."""

from importlib.util import find_spec


def need_extra(extra: str, what: str, *modules: str) -> None:
    """Raise an ImportError that names the extra, unless all of its modules can be imported.

    Args:
        extra: its name in `pyproject.toml`.
        what: the part of this package that needs it, as the sentence's subject in the singular.
        modules: top-level modules of the extra's packages.

    Raises:
        ImportError: one sentence with the missing modules and the command that installs them.
    """
    missing = [name for name in modules if find_spec(name) is None]
    if missing:
        raise ImportError(
            f"{what} needs {', '.join(missing)}; install the extra `{extra}`: pip install 'hart-stage-cache[{extra}]'."
        )
