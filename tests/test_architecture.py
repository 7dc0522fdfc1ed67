"""Which room may import which: measured from the code's own imports, and from what a report loads."""

import ast
import subprocess
import sys

import pytest

from lab.files import PROJECT

MODULES = {
    ".".join(path.relative_to(PROJECT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted((PROJECT / "lab").rglob("*.py"))
}
READING_PATH = (
    "data/reviews",
    "model/classifier",
    "model/bptt",
    "training/loop",
    "language/model",
    "language/training",
)


def imports(module: str, top_level: bool = False) -> set[str]:
    """The modules of the lab that ``module`` imports, anywhere or while it is loaded."""
    tree = ast.parse(MODULES[module].read_text(encoding="utf-8"))
    nodes = tree.body if top_level else list(ast.walk(tree))
    found = set()
    for node in nodes:
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "lab":
            for name in node.names:
                whole = f"{node.module}.{name.name}"
                found.add(whole if whole in MODULES else node.module)
        elif isinstance(node, ast.Import):
            found |= {name.name for name in node.names if name.name in MODULES}
    return found - {"lab"}


def test_no_circle():
    arrows, done = {module: imports(module) for module in MODULES}, set()

    def visit(module, way):
        assert module not in way, " -> ".join([*way[way.index(module) :], module])
        if module not in done:
            for other in arrows[module]:
                visit(other, [*way, module])
            done.add(module)

    for module in MODULES:
        visit(module, [])


@pytest.mark.parametrize(
    ("room", "others"),
    [
        ("lab.results", ("lab.training", "lab.engine", "lab.language", "lab.model", "lab.bench")),
        ("lab.export", ("lab.training", "lab.engine", "lab.language", "lab.model", "lab.results", "lab.data")),
        ("lab.data", ("lab.training", "lab.engine", "lab.language", "lab.model", "lab.results", "lab.export")),
        ("lab.engine", ("lab.training", "lab.language", "lab.model", "lab.results", "lab.export")),
        ("lab.model", ("lab.training", "lab.language", "lab.results", "lab.export")),
        ("lab.training", ("lab.language", "lab.results", "lab.export")),
    ],
)
def test_rooms_do_not_look_up(room, others):
    arrows = {(module, other) for module in MODULES if module.startswith(room) for other in imports(module)}
    assert not {arrow for arrow in arrows if arrow[1].startswith(others)}


def test_a_report_loads_neither_torch_nor_numba():
    rooms = [module for module in MODULES if module.startswith(("lab.results", "lab.export"))]
    code = f"import sys\nfor name in {rooms!r}: __import__(name)\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"torch", "numba", "spacy", "torchtext"} & set(done.stdout.split())


def test_files_are_short_and_the_reading_path_too():
    lines = {module: len(path.read_text(encoding="utf-8").splitlines()) for module, path in MODULES.items()}
    assert {module: n for module, n in lines.items() if n > 320} == {}
    own = [PROJECT / "lab" / f"{name}.py" for name in READING_PATH]
    text = "\n".join(path.read_text(encoding="utf-8") for path in own)
    assert text.count("\n") <= 1000
    assert not [word for word in ("malloc", "thread", "heap", "memory-mapped", "cache line") if word in text.lower()]


def test_packages_hold_a_docstring_only():
    for module, path in MODULES.items():
        if path.name == "__init__.py" and module != "lab":
            assert [type(node) for node in ast.parse(path.read_text(encoding="utf-8")).body] == [ast.Expr]
