"""What is Ray's own, and clusters of two nodes on this machine; the contract is in test_cluster."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

import pytest

from corpus.engine import open_engine
from corpus.errors import BadValue, MissingPackage
from corpus.progress import Reporter
from corpus.ray_engine import RayCluster
from sobert import main
from tests.test_line import digest_tree

CHECKOUT = Path(__file__).parents[2]
RECIPE = CHECKOUT / "datacards" / "demo" / "recipe.toml"
PAGE = CHECKOUT / "docs" / "cluster.md"

# For all of a process: what starts other processes must not hand them on.
SET_BY_US = ("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "RAY_DEDUP_LOGS_SKIP_REGEX")
ABSENT = "the extra `cluster` is not installed"
needs_ray = pytest.mark.skipif(not find_spec("ray"), reason=ABSENT)
needs_dask = pytest.mark.skipif(not find_spec("distributed"), reason=ABSENT)


@pytest.fixture
def environment() -> dict[str, str]:
    """A token of the test's own, and a checkout that workers can import tests from."""
    own = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "5" * 64, "PYTHONPATH": str(CHECKOUT)}
    own |= {"OMP_NUM_THREADS": "1", "RAY_USAGE_STATS_ENABLED": "0"}
    return {name: value for name, value in os.environ.items() if name not in SET_BY_US} | own


def poll(condition: Callable[[], object], seconds: float = 90) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.05)


def start_build(
    dump: Path, store: Path, environment: dict[str, str], *options: str
) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "sobert", "corpus", "build", str(RECIPE)]
    command += ["--dump", str(dump), "--store", str(store), *options]
    pipe = subprocess.PIPE
    return subprocess.Popen(
        command, cwd=CHECKOUT, env=environment, stdout=pipe, stderr=pipe, text=True
    )


def end_build(build: subprocess.Popen[str]) -> tuple[int, str, str]:
    try:
        out, told = build.communicate(timeout=240)
    finally:
        build.kill()
    return build.returncode, out, told


# Without a cluster


def test_a_missing_package_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in SET_BY_US:
        monkeypatch.setenv(name, "0")
    monkeypatch.setitem(sys.modules, "ray", None)
    engine = open_engine("ray", store=Path("store"), reporter=Reporter())
    with pytest.raises(
        MissingPackage, match=r"^ray is not installed; run: pip install 'sobert\[cluster\]'$"
    ):
        engine.__enter__()


def test_the_address_of_a_client_is_refused() -> None:
    with pytest.raises(BadValue, match="--address ray://x:1: run sobert on a node and give HOST"):
        RayCluster("ray://x:1")


def test_commands_on_the_page_exist_with_their_options() -> None:
    shown = re.findall(r"\bsobert ((?:corpus|labeling) (?:.*\\\n)*.*)$", PAGE.read_text(), re.M)
    assert len(shown) > 3
    for command in shown:
        words = shlex.split(command.replace("\\\n", " "))
        options = [word for word in words if word.startswith("--")]
        known = {o for p in main.commands[words[0]].commands[words[1]].params for o in p.opts}
        assert set(options) <= known, command


# One node, started here


@needs_ray
@pytest.mark.slow
def test_a_build_on_ray_gives_the_bytes_of_a_local_one_and_nothing_to_do_after(
    demo_dump: Path, demo_store: Path, tmp_path: Path, environment: dict[str, str]
) -> None:
    store = tmp_path / "store"
    options = ("--engine", "ray", "--workers", "2")
    code, out, told = end_build(start_build(demo_dump, store, environment, *options))
    assert code == 0, told
    assert digest_tree(store) == digest_tree(demo_store)
    assert out.startswith("dataset ")
    code, _, told = end_build(start_build(demo_dump, store, environment, *options))
    assert code == 0
    assert {line.split()[2] for line in told.splitlines() if "note:" not in line} == {"as"}


@pytest.mark.slow
@pytest.mark.parametrize(
    "engine",
    ["local", pytest.param("ray", marks=needs_ray), pytest.param("dask", marks=needs_dask)],
)
def test_a_task_that_raises_ends_the_build_with_1_and_its_line(
    engine: str, demo_dump: Path, tmp_path: Path, environment: dict[str, str]
) -> None:
    shutil.copytree(demo_dump, tmp_path / "dump")
    [table, *_] = sorted((tmp_path / "dump").rglob("Posts.xml"))
    table.write_bytes(table.read_bytes()[:-100])
    options = ("--engine", engine, "--workers", "2", "--quiet")
    code, out, told = end_build(
        start_build(tmp_path / "dump", tmp_path / "store", environment, *options)
    )
    assert (code, out) == (1, "")
    assert re.fullmatch(r"sobert: \S+/Posts\.xml: cut off at byte \d+, .*\n", told)


@needs_ray
@pytest.mark.slow
def test_an_own_cluster_listens_on_the_loopback_alone(environment: dict[str, str]) -> None:
    script = """
from corpus.ray_engine import RayCluster
cluster = RayCluster()
cluster.open(reports=True)
print({one["NodeManagerAddress"] for one in cluster._ray.nodes()})
cluster.close()
"""
    ran = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True
    )
    assert ran.stdout == "{'127.0.0.1'}\n"


# Two nodes


class TwoNodes:
    """A head, and nodes that join it; each the tree of processes below one `ray start`."""

    def __init__(self, environment: dict[str, str]) -> None:
        self.environment = environment
        # The sockets below it have names of a hundred bytes at most.
        self.folder = Path(tempfile.mkdtemp(prefix="ray-"))
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.address = f"127.0.0.1:{free.getsockname()[1]}"
        self.started: list[subprocess.Popen[bytes]] = []
        port = self.address.partition(":")[2]
        self.start("--head", f"--port={port}", "--include-dashboard=false")
        self.wait_for_nodes(1)

    def start(self, *options: str, inside: tuple[str, ...] = ()) -> subprocess.Popen[bytes]:
        where = [f"--temp-dir={self.folder}"] if "--head" in options else []
        command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--block", *where]
        command += ["--num-cpus=1", "--object-store-memory=100000000", *options]
        quiet = subprocess.DEVNULL
        self.started.append(
            subprocess.Popen([*inside, *command], env=self.environment, stdout=quiet, stderr=quiet)
        )
        return self.started[-1]

    def join(self, *, inside: tuple[str, ...] = ()) -> subprocess.Popen[bytes]:
        node = self.start(f"--address={self.address}", inside=inside)
        self.wait_for_nodes(2)
        return node

    def wait_for_nodes(self, number: int) -> None:
        script = f"""
import logging, time
from corpus.errors import BadValue
from corpus.ray_engine import RayCluster
cluster, deadline = RayCluster({self.address!r}), time.monotonic() + 60
while time.monotonic() < deadline:
    try:
        cluster.open(reports=False)
        break
    except BadValue:
        time.sleep(0.5)
while len(cluster.nodes()) < {number}:
    assert time.monotonic() < deadline
    time.sleep(0.1)
"""
        subprocess.run([sys.executable, "-c", script], env=self.environment, check=True)

    def kill(self, node: subprocess.Popen[bytes]) -> None:
        for pid in [node.pid, *descendants(node.pid)]:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        node.wait()

    def close(self) -> None:
        for node in reversed(self.started):
            self.kill(node)
        shutil.rmtree(self.folder, ignore_errors=True)


def descendants(pid: int) -> list[int]:
    parents = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            parents[int(path.parent.name)] = int(path.read_text().rpartition(")")[2].split()[1])
    found = [pid]
    for one in found:
        found += [child for child, parent in parents.items() if parent == one]
    return found[1:]


@pytest.fixture
def nodes(environment: dict[str, str]) -> Iterator[TwoNodes]:
    started = TwoNodes(environment)
    try:
        yield started
    finally:
        started.close()


@needs_ray
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_node_killed_half_way_changes_no_byte(
    nodes: TwoNodes, demo_dump: Path, demo_store: Path, tmp_path: Path
) -> None:
    second, store = nodes.join(), tmp_path / "store"
    options = ("--engine", "ray", "--address", nodes.address)
    build = start_build(demo_dump, store, nodes.environment, *options)
    poll(lambda: list(store.glob("dedup/*.building")) or build.poll() is not None)
    assert len(list(store.glob(".nodes/*/*"))) == 3
    nodes.kill(second)
    code, _, told = end_build(build)
    assert code == 0, told
    assert digest_tree(store) == digest_tree(demo_store)
    code, _, told = end_build(start_build(demo_dump, store, nodes.environment, *options))
    assert code == 0, told
    assert {line.split()[2] for line in told.splitlines() if "note:" not in line} == {"as"}


MAP = """
import sys
from pathlib import Path
from corpus.engine import open_engine
from corpus.progress import Reporter
from tests.corpus.test_ray_engine import say_where_and_wait
address, store = sys.argv[1], Path(sys.argv[2])
with open_engine("ray", address=address, store=store, reporter=Reporter()) as engine:
    print(engine.map(say_where_and_wait, [store / str(number) for number in range(6)]))
"""


def say_where_and_wait(path: Path) -> int:
    with path.open("a") as log:
        log.write(f"{os.getppid()}\n")
    poll(lambda: path.with_name("go").exists())
    return int(path.name)


@needs_ray
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_what_ran_on_a_killed_node_runs_again_elsewhere_and_is_told(
    nodes: TwoNodes, tmp_path: Path
) -> None:
    second, store = nodes.join(), tmp_path / "store"
    pipe, command = subprocess.PIPE, [sys.executable, "-c", MAP, nodes.address, str(store)]
    run = subprocess.Popen(command, env=nodes.environment, stdout=pipe, stderr=pipe, text=True)
    poll(lambda: len(list(store.glob("[0-9]"))) == 2 or run.poll() is not None)
    nodes.kill(second)
    (store / "go").touch()
    code, out, told = end_build(run)
    assert (code, out) == (0, "[0, 1, 2, 3, 4, 5]\n"), told
    assert re.search(r"note: a (node|worker) died; task [01] runs again, attempt 2 of 4\n", told)


@needs_ray
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_store_that_one_node_does_not_see_is_refused(
    nodes: TwoNodes, demo_dump: Path, tmp_path: Path
) -> None:
    store = tmp_path / "store"
    store.mkdir()
    hide = f"mount -t tmpfs none {shlex.quote(str(store))}"
    if subprocess.run(["unshare", "-m", "sh", "-c", hide], capture_output=True).returncode:
        pytest.skip("needs a mount namespace (unshare -m), which this user may not make")
    nodes.join(inside=("unshare", "-m", "sh", "-c", f'{hide} && exec "$@"', "sh"))
    options = ("--engine", "ray", "--address", nodes.address, "--quiet")
    code, _, told = end_build(start_build(demo_dump, store, nodes.environment, *options))
    assert code == 1
    assert re.fullmatch(
        rf"sobert: store {store} is not seen by node \S+ \(\w{{8}}\); give a --store on a path "
        r"that all nodes share\n",
        told,
    )


@needs_ray
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_cluster_with_another_token_is_one_clear_error(nodes: TwoNodes, tmp_path: Path) -> None:
    wrong = nodes.environment | {"RAY_AUTH_TOKEN": "6" * 64}
    options = ("--engine", "ray", "--address", nodes.address, "--quiet")
    code, _, told = end_build(start_build(tmp_path, tmp_path / "store", wrong, *options))
    assert code == 1
    assert re.search(r"sobert: cannot join Ray at .*RAY_AUTH_TOKEN.* must hold its token\n$", told)
