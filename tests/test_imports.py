"""What may import what: the directions of the house, and what `import hart` must not cost."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "hart"
FILES = sorted([*PACKAGE.rglob("*.py"), *(ROOT / "examples").glob("*.py")])

# From the top of the house down: a file may import its own layer and those below it.
LAYERS = (
    ("examples",),
    ("hart.demo", "hart.serve"),
    ("hart.settings",),
    ("hart.benchmark", "hart.compare", "hart.evaluation.__main__", "hart.token_maps"),
    ("hart.pipeline", "hart.system_prompt"),
    ("hart.modules.enhanced_hart", "hart.modules.cache_planner"),
    ("hart.tuning",),  # knows the model by a protocol
    ("hart.evaluation",),  # judges pictures, whoever painted them
    ("hart.modules.models.transformer",),
    ("hart.modules.models.autoencoder",),
    ("hart.modules.models.editable_config",),
    ("hart.modules.diffusion", "hart.modules.networks", "hart.modules.cache_config"),
    ("hart.modules.cache",),
    ("hart.embedded", "hart.utils", "hart.version"),
    ("hart",),
)
# The parts of the model's forward passes name its class in their signatures, and it calls them.
TRANSFORMER = "hart.modules.models.transformer"
TYPE_HINTS = {
    f"{TRANSFORMER}.{name}" for name in ("generation", "hart_transformer_t2i", "initialisation", "inputs", "training")
}
# The object that means "no cache" is all that networks know of the cache.
NO_CACHE = "hart.modules.cache.branch_cache"
EXTENSIONS = ("apex", "flash_attn", "hart_backend", "triton", "xformers", "efficientvit")


def module_name(file: Path) -> str:
    return ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def imported(file: Path, for_types: bool = False) -> list[str]:
    """Names of all modules that a file imports, at any depth; those for type checking alone only `for_types`."""
    names, tree = [], ast.parse(file.read_text(encoding="utf-8"))
    for node in ast.walk(tree) if for_types else _running(tree):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file} has a relative import; name the module in full"
            names += [_module_of(node.module, alias.name) for alias in node.names]
    return names


def _running(node: ast.AST):
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and isinstance(child.test, ast.Name) and child.test.id == "TYPE_CHECKING":
            continue
        yield child
        yield from _running(child)


def _module_of(package: str, name: str) -> str:
    path = ROOT.joinpath(*package.split("."), name)
    return f"{package}.{name}" if path.with_suffix(".py").is_file() or path.is_dir() else package


def loaded_by_name(source: str) -> set[str]:
    """Modules of the package that a text passes to `import_module` or `__import__` by their full names."""
    calls = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call) and node.args]
    names = set()
    for call in calls:
        function = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
        first = call.args[0]
        if function in ("import_module", "__import__") and isinstance(first, ast.Constant):
            names.add(str(first.value))
    return {name for name in names if name.partition(".")[0] == "hart"}


def layer(module: str) -> int | None:
    for index, prefixes in enumerate(LAYERS):
        if any(module == prefix or module.startswith(f"{prefix}.") for prefix in prefixes):
            return index
    return None


@pytest.mark.parametrize("file", FILES, ids=module_name)
def test_imports_point_down_the_house(file):
    own = layer(module_name(file))
    for name in imported(file):
        other = layer(name)
        if name == "hart" or other is None or module_name(file) == "hart":
            continue  # the front door: anyone may read its paths, and it imports the pipeline on first use
        assert other >= own, f"{module_name(file)} imports {name}, which stands above it"


def circles(for_types: bool) -> list[set[str]]:
    """Sets of modules that import one another, directly or by way of others."""
    files = {module_name(file): file for file in FILES}
    graph = {name: {other for other in imported(file, for_types) if other in files} for name, file in files.items()}
    reached = {name: reachable(graph, name) for name in graph}
    found = [{name for name in reached if name in reached[start] and start in reached[name]} for start in reached]
    return [circle for index, circle in enumerate(found) if len(circle) > 1 and circle not in found[:index]]


def reachable(graph: dict[str, set[str]], start: str) -> set[str]:
    seen, waiting = set(), [start]
    while waiting:
        for name in graph[waiting.pop()] - seen:
            seen.add(name)
            waiting.append(name)
    return seen


def test_imports_run_in_no_circle():
    assert circles(for_types=False) == []


def test_circles_of_type_hints_are_those_left_on_purpose():
    assert circles(for_types=True) == [TYPE_HINTS]


def test_reachable_goes_all_the_way():
    assert reachable({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": {"a"}}, "a") == {"b", "c"}


@pytest.mark.parametrize("file", FILES, ids=module_name)
def test_no_import_hides_in_a_name(file):
    assert loaded_by_name(file.read_text(encoding="utf-8")) == set()


def test_names_that_hide_an_import_are_seen():
    source = 'import_module("hart.a"); importlib.import_module("hart.b"); __import__("hart"); import_module("json")'
    assert loaded_by_name(f"{source}; import_module(name); import_module(f'hart.{{name}}')") == {
        "hart.a",
        "hart.b",
        "hart",
    }


@pytest.mark.parametrize("file", sorted((PACKAGE / "modules" / "cache").rglob("*.py")), ids=module_name)
def test_the_cache_knows_no_model(file):
    for name in imported(file):
        assert not name.startswith("hart.") or name.startswith(("hart.modules.cache", "hart.utils")), name


@pytest.mark.parametrize("file", sorted((PACKAGE / "modules" / "networks").rglob("*.py")), ids=module_name)
def test_networks_know_the_absent_cache_only(file):
    for name in imported(file):
        assert not name.startswith("hart.modules.cache") or name == NO_CACHE, name


@pytest.mark.parametrize("file", FILES, ids=module_name)
def test_nothing_needs_an_extension_or_names_a_device(file):
    assert not {name.partition(".")[0] for name in imported(file)} & set(EXTENSIONS)
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            assert node.func.attr != "cuda", f"{file}:{node.lineno} moves to CUDA; take the device of a tensor"


LIGHT = [
    "import hart",
    "import hart; hart.embedded_model_path(); hart.sample_prompts()",
    "import hart.modules.cache_config",
]


@pytest.mark.parametrize("statement", LIGHT)
def test_the_front_door_and_the_cache_config_are_light(statement):
    code = f"import sys; {statement}; sys.exit(bool({{'torch', 'transformers', 'numpy', 'PIL'}} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_the_front_door_offers_what_it_lists():
    import hart

    for name in hart.__all__:
        assert getattr(hart, name) is not None and name in dir(hart)
    with pytest.raises(AttributeError, match="no attribute 'HARTPipline'"):
        hart.HARTPipline  # noqa: B018
