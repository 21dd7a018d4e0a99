"""Which package may import which, and what no module may do: read from the source itself."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[1]
MAY_IMPORT: dict[str, set[str]] = {
    "corpus": set(),
    "labeling": {"corpus"},
    "pretrain": {"corpus"},
    "finetune": {"corpus", "labeling", "pretrain"},
}
# A takedown has to reach what was made of a corpus: the command, when it runs, and nothing else.
CROSSINGS: dict[str, set[str]] = {"corpus/commands.py": {"labeling"}}
SOURCES = sorted(path for package in MAY_IMPORT for path in (CHECKOUT / package).rglob("*.py"))
# Heavy, or of one package only: the floor stands without them.
REFUSED = ("torch", "megatron", "transformers", "datasets", "bs4", "ray")
RANDOM_STATE = {"Generator", "Philox", "PCG64", "RandomState", "SeedSequence", "default_rng"}
CLOCKS = {"datetime.now", "datetime.utcnow", "date.today", "time.time", "time.time_ns"}
CHANCE = {"random", "secrets"}


def name_of(path: Path) -> str:
    return path.relative_to(CHECKOUT).as_posix()


def module_of(path: Path) -> str:
    return name_of(path).removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def walk(path: Path) -> Iterator[ast.AST]:
    return ast.walk(ast.parse(path.read_text("utf-8"), str(path)))


def imports_of(path: Path) -> set[str]:
    """Return the top-level packages that a file imports, wherever in it."""
    found = set()
    for node in walk(path):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name_of(path)}:{node.lineno} is a relative import"
            found.add(str(node.module).partition(".")[0])
    return found


def attributes_of(path: Path) -> Iterator[tuple[str, int]]:
    """Yield each dotted name in a file, without what it is called on, and its line."""
    for node in walk(path):
        if isinstance(node, ast.Attribute):
            yield ast.unparse(node), node.lineno


def test_there_is_something_to_look_at() -> None:
    assert {path.parts[-2] for path in SOURCES} >= {"corpus"}
    assert len(SOURCES) > 40


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_packages_import_only_what_is_below_them(package: str) -> None:
    others = {*MAY_IMPORT, "sobert", "tests"} - {package} - MAY_IMPORT[package]
    found = {
        name_of(path): imports_of(path) & others - CROSSINGS.get(name_of(path), set())
        for path in (CHECKOUT / package).rglob("*.py")
    }
    assert {name: crossing for name, crossing in found.items() if crossing} == {}


COMMANDS = [path for path in SOURCES if path.name == "commands.py"]


@pytest.mark.parametrize("path", COMMANDS, ids=name_of)
def test_a_command_imports_what_it_needs_when_it_runs(path: Path) -> None:
    tree = ast.parse(path.read_text("utf-8"))
    at_top = [node for node in tree.body if isinstance(node, ast.ImportFrom)]
    ours = {node.module for node in at_top if str(node.module).partition(".")[0] in MAY_IMPORT}
    assert ours == {"corpus.options"}


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_no_module_is_called_after_nothing(path: Path) -> None:
    assert path.stem not in {"base", "common", "helpers", "misc", "utils"}


def test_nothing_depends_on_chance_or_on_the_hash_seed() -> None:
    found = []
    for path in SOURCES:
        found += [f"{name_of(path)} imports {name}" for name in imports_of(path) & CHANCE]
        for node in walk(path):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "hash":
                found.append(f"{name_of(path)}:{node.lineno} hash()")
        for name, line in attributes_of(path):
            match = re.fullmatch(r"(?:np|numpy)\.random\.(\w+)", name)
            if (match and match[1] not in RANDOM_STATE) or name in ("uuid.uuid1", "uuid.uuid4"):
                found.append(f"{name_of(path)}:{line} {name}")
    assert found == []


def test_the_clock_is_read_for_provenance_alone() -> None:
    found = [
        (name_of(path), name)
        for path in SOURCES
        for name, _ in attributes_of(path)
        if re.sub(r"^datetime\.(?=date)", "", name) in CLOCKS
    ]
    # And for the day of a takedown, and when someone judged, which the commands tell the store.
    assert found == [
        ("corpus/commands.py", "datetime.now"),
        ("corpus/store.py", "datetime.now"),
        ("labeling/commands.py", "datetime.now"),
    ]


def test_every_exception_is_caught_by_the_engine_alone() -> None:
    found = {
        name_of(path)
        for path in SOURCES
        for node in walk(path)
        if isinstance(node, ast.ExceptHandler)
        and (node.type is None or re.search(r"\b(Base)?Exception\b", ast.unparse(node.type)))
    }
    assert found == {"corpus/engine.py"}


def test_no_source_names_a_place_on_the_machine_it_was_written_on() -> None:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
    )
    if listed.returncode:
        pytest.skip("this is no git checkout")
    place = re.compile(r"(?<![\w.$}])/(?:home|root|Users|work)/\w|" + re.escape(f"{CHECKOUT}/"))
    found = []
    for name in listed.stdout.split("\n"):
        path = CHECKOUT / name
        is_source = (
            path.suffix in {".cfg", ".md", ".py", ".toml", ".txt", ".yml"} or not path.suffix
        )
        if is_source and path.is_file() and not name.startswith("tests/data/"):
            lines = path.read_text("utf-8").split("\n")
            found += [f"{name}:{n}" for n, line in enumerate(lines, 1) if place.search(line)]
    assert found == []


EVENTS = ["open", "os.fork", "os.mkdir", "os.putenv", "os.remove", "os.rename", "os.system"]
EVENTS += ["shutil", "socket", "subprocess"]
PROBE = """
import importlib, json, sys, time

sys.path.insert(0, {checkout!r})
sys.dont_write_bytecode = True
refused, modules = {refused!r}, {modules!r}


class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in refused:
            raise ModuleNotFoundError(f"{{name}} was refused")


sys.meta_path.insert(0, Refuse())
for name in modules:
    importlib.import_module(name)

# Other packages are loaded now. Import our own once more and watch what they do by themselves.
import numba.core.dispatcher

done, watching, seconds = [], False, {{}}


def watch(event, arguments):
    kind, what = event.partition(".")[0], str(arguments[0]) if arguments else ""
    if not watching or kind not in {events!r} and event not in {events!r}:
        return
    # Python reads sources; numba looks whether it could keep what it will have compiled.
    if not what.endswith((".py", ".pyc", "__pycache__")):
        done.append(f"{{event}} {{what}}")


def compile(self, signature):
    done.append(f"compile {{self.py_func.__qualname__}}")


sys.addaudithook(watch)
numba.core.dispatcher.Dispatcher.compile = compile
for name in modules:
    del sys.modules[name]
watching = True
for name in modules:
    begun = time.process_time()
    importlib.import_module(name)
    seconds[name] = time.process_time() - begun
watching = False
print(json.dumps({{"done": done, "seconds": seconds}}))
"""


@pytest.mark.parametrize("package", ["corpus", "labeling"])
def test_importing_any_module_only_defines_names_and_needs_no_heavy_package(
    package: str,
) -> None:
    modules = [module_of(path) for path in SOURCES if path.parts[len(CHECKOUT.parts)] == package]
    values = {"checkout": str(CHECKOUT), "refused": REFUSED, "modules": modules, "events": EVENTS}
    probe = PROBE.format(**values)
    ran = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, cwd="/")
    assert ran.returncode == 0, ran.stderr
    result = json.loads(ran.stdout)
    assert result["done"] == []
    assert {name: spent for name, spent in result["seconds"].items() if spent > 1} == {}
    assert ran.stderr == ""
