"""`write_report`: results as one HTML file that needs nothing else, not even a network."""

from importlib.util import find_spec
from pathlib import Path

from hart.benchmark.results import Results
from hart.utils.files import write_whole

NAME = "report.html"


def write_report(results: Results, folder: Path) -> Path:
    """Write `report.html`; an interrupted write leaves the old file.

    Args:
        results: what was measured.
        folder: where the report goes, and where the folders of pictures lie that the settings name.

    Returns:
        The path of the report.

    Raises:
        ImportError: matplotlib or Jinja2 is not installed; the message says what to install.
    """
    need_plots()
    from hart.benchmark.report.page import page

    target = Path(folder) / NAME
    write_whole(target, page(results, Path(folder)))
    return target


def need_plots() -> None:
    """Raise an ImportError that says what to install, before time is spent on measuring what no report can show."""
    packages = {"matplotlib": "matplotlib", "jinja2": "jinja2", "skimage": "scikit-image"}
    missing = [package for name, package in packages.items() if find_spec(name) is None]
    if missing:
        raise ImportError(
            f"the report is drawn with {', '.join(missing)}, not installed here; "
            "run `pip install hart-stage-cache[benchmark]`."
        )
