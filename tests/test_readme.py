"""What the README and the method page show must work: files parse, commands and links exist."""

import ast
import os
import re
import shlex
import subprocess
import sys
import tomllib
from contextlib import chdir
from pathlib import Path

import numpy as np
import pytest
import typer
import yaml

from rfprune.cli import main
from rfprune.cli.app import app
from rfprune.core.registry import resolve
from rfprune.spec import SweepSpec
from rfprune.spec.yaml_files import parse_spec, parse_yaml

ROOT = Path(__file__).parents[1]
PAGES = [
    ROOT / "README.md",
    ROOT / "sweeps" / "README.md",
    *sorted((ROOT / "docs").rglob("*.md")),
    ROOT / "CONTRIBUTING.md",
]
WITH_PYTHON = ["README.md", "docs/python.md", "docs/howto.md"]
WITH_SECTIONS = ["docs/howto.md", "docs/method.md", "docs/schema/README.md"]
WITH_SWEEPS = ["README.md", "sweeps/README.md", "docs/tutorials/jets.md", "docs/tutorials/edge.md"]


def blocks(page: Path, language: str) -> list[str]:
    """Return the fenced blocks of one language."""
    # All of them: the end of a block would otherwise be taken for the begin of the next one.
    found = re.findall(r"^```([^\n]*)\n(.*?)^```$", page.read_text(), re.DOTALL | re.MULTILINE)
    return [text for own, text in found if own == language]


def commands() -> list[str]:
    """Return every rfprune command in a block without a language."""
    lines = [line for page in PAGES for block in blocks(page, "") for line in block.split("\n")]
    return [line.split("#")[0].strip() for line in lines if line.startswith("rfprune ")]


@pytest.mark.parametrize("name", WITH_SWEEPS)
def test_sweep_files_in_the_text_are_right(name: str) -> None:
    page = ROOT / name
    found = blocks(page, "yaml")
    assert found
    for block in found:
        parse_spec(SweepSpec, parse_yaml(block, page.name), page.name)


#: What the sections of a page that are no whole sweep are put into.
AROUND = """
name: around
model: {name: mlp, args: {hidden: [8]}}
data: {name: digits}
search: {seed: {choices: [0, 1]}}
"""
AROUND_EDGE = """
name: around
model: {name: edge_cnn}
data: {name: digits_images}
edge: {device: raspberry_pi_4}
search: {seed: {choices: [0, 1]}}
objectives: {val_accuracy: max, energy_mj: min}
"""


@pytest.mark.parametrize("name", WITH_SECTIONS)
def test_sections_of_sweep_files_in_the_text_are_right(name: str) -> None:
    for block in blocks(ROOT / name, "yaml"):
        section = parse_yaml(f"{block}\nname: around", name)
        edge = {"edge", "agent"} & {*section, *section.get("prune", {})} or "akperl" in block
        sweep = parse_yaml(AROUND_EDGE if edge else AROUND, name)
        parse_spec(SweepSpec, {**sweep, **section}, name)


def test_sections_of_data_one_per_line_are_right() -> None:
    (block,) = blocks(ROOT / "sweeps" / "README.md", "text")
    lines = [line for line in block.splitlines() if line.startswith("{")]
    assert len(lines) == 5
    for line in lines:
        section = parse_yaml("data: " + line.split("   ")[0], "sweeps/README.md")
        parse_spec(SweepSpec, {**parse_yaml(AROUND, "around"), **section}, "sweeps/README.md")


def test_every_message_of_the_troubleshooting_page_is_one_that_is_said() -> None:
    page = (ROOT / "docs" / "troubleshooting.md").read_text()
    cells = [line.split("|")[1] for line in page.splitlines() if line.startswith("| ")][1:]
    messages = [message for cell in cells for message in re.findall("`([^`]+)`", cell)]
    assert len(messages) >= 15
    trees = [ast.parse(path.read_text()) for path in (ROOT / "rfprune").rglob("*.py")]
    nodes = [node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Constant)]
    said = "\n".join(node.value for node in nodes if isinstance(node.value, str))
    for message in messages:
        for part in message.split("..."):
            assert part.strip() in said, message


#: First words of blocks that show something else than what is typed.
SHOWN = ("maximise ", "dense training ", "R = sum_i", "sweep file ", "{file: mine.npz} ", " " * 12)
TARGETS = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_block_is_of_a_kind_that_is_tested(page: Path) -> None:
    name = page.relative_to(ROOT).as_posix()
    found = re.findall(r"^```([^\n]*)\n(.*?)^```$", page.read_text(), re.DOTALL | re.MULTILINE)
    for language, text in found:
        if language == "python":
            assert name in (*WITH_PYTHON, "docs/method.md")
        elif language == "yaml":
            assert name in (*WITH_SWEEPS, *WITH_SECTIONS)
        elif not text.startswith(SHOWN):
            assert language == ""
            for line in text.splitlines():
                verb, target, *_ = line.split()
                assert verb in ("make", "rfprune", "python"), line
                assert verb != "make" or target in TARGETS
                assert verb != "python" or target == "runner.py"


@pytest.mark.parametrize("command", commands())
def test_commands_in_the_text_parse(command: str) -> None:
    words = shlex.split(command)[1:]
    group = typer.main.get_command(app)
    verb = group.commands[words[0]]  # type: ignore[attr-defined]
    verb.make_context(words[0], words[1:], resilient_parsing=False)


def test_python_in_the_text_names_what_exists() -> None:
    for block in blocks(ROOT / "README.md", "python"):
        for name in re.findall(r"rfprune\.(\w+)\(", block):
            assert callable(resolve(f"rfprune:{name}"))


@pytest.mark.slow
@pytest.mark.parametrize("name", WITH_PYTHON)
def test_python_in_the_text_runs(name: str, tmp_path: Path) -> None:
    """The blocks of a page one after the other, in a folder and a process of their own."""
    written = blocks(ROOT / name, "python")
    # The README ends with loading what its commands have exported.
    program = "\n".join(written[:1] if name == "README.md" else written)
    (tmp_path / "page.py").write_text(program)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "RFPRUNE_TRACKING": "0"}
    ran = subprocess.run(
        [sys.executable, "page.py"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr[-3000:]


#: What the method page takes for granted: a CNN of (3, 64, 64) images, rows, and how to train.
SCENE = """
import torch

from rfprune.models import ModelSpec, build
from rfprune.spec import TrainSpec
from rfprune.training import Fit

torch.manual_seed(0)
spec = ModelSpec(name="mobilenet_v3_small", args={"stem_stride": 1})
model = build(spec, (3, 64, 64), 4)
x, x_val, batch = (torch.rand(8, 3, 64, 64) for _ in range(3))
y, y_val = torch.arange(8) % 4, torch.arange(8) % 4
how = Fit(epochs=1, learning_rate=1e-3, train=TrainSpec(batch_size=8, device="cpu"), seed=0)
"""


@pytest.mark.slow
def test_python_of_the_method_runs(tmp_path: Path) -> None:
    own_metric, own_training, *network = blocks(ROOT / "docs" / "method.md", "python")
    program = "\n".join([own_metric, own_training, SCENE, *network])
    (tmp_path / "page.py").write_text(program)
    ran = subprocess.run(
        [sys.executable, "page.py"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr[-3000:]


#: Pages whose commands run, in this order, over one small sweep.
RUN = ["docs/tutorials/jets.md", "README.md", "docs/howto.md", "docs/tutorials/cluster.md"]
#: Why a command of these pages is parsed and not run, by how it begins.
NOT_RUN = {
    "rfprune ui": "serves until it is stopped; tests/tracking runs it in a browser",
    "rfprune submit sweeps/digits.yml --on ray": "needs a cluster; tests/execution has stand-ins",
    "rfprune calibrate": "needs reports of a vendor's tool; tests/cli has some",
    "rfprune estimate best --by": "needs open tools; tests/fpga/estimators/test_open_tools.py",
    "rfprune export mine": "of a sweep whose networks are graphs of adders",
    "rfprune compare camera": "of a sweep over methods; tests/cli compares sweeps",
    "make test": "runs these tests",
}
#: Every step of it has few DSPs and cycles, as the commands ask for.
SMALL_SWEEP = """
name: digits
model: {name: mlp, args: {hidden: [8]}}
data: {name: digits}
hardware: {part: xc7z020clg400-1, clock_ns: 10}
train: {epochs: 3, learning_rate: 3.0e-3}
prune: {steps: 1, epochs_per_step: 2, tolerance: 0.9}
search:
  hardware.layers.*.reuse_factor: {valid: true, low: 4, high: 8}
  prune.budget.dsp: {low: 0.1, high: 0.3}
objectives: {val_accuracy: max, dsp: min, latency_cycles: min}
sampler: {name: random, seed: 0}
trials: 2
"""


def typed_in(page: str) -> list[str]:
    """Return the commands in the blocks of a page, without what stands behind them."""
    lines = [line for block in blocks(ROOT / page, "") for line in block.split("\n")]
    wanted = ("rfprune ", "make ", "python ")
    return [line.split("#")[0].strip() for line in lines if line.startswith(wanted)]


def run_typed(command: str, folder: Path) -> None:
    """Run a command of a page in `folder`; those of rfprune in this process, which has torch."""
    words = shlex.split(command)
    if words[0] == "rfprune":
        with chdir(folder), pytest.raises(SystemExit) as ended:
            main(words[1:])
        assert ended.value.code == 0, command
        return
    if words[0] == "make":
        # The environment is there: make is not to install it, and runs what comes after.
        words += ["-f", f"{ROOT}/Makefile", "-o", f"{sys.prefix}/.installed", f"VENV={sys.prefix}"]
        words += ["SWEEP=digits.yml"]
    else:
        words[0] = sys.executable
    done = subprocess.run(
        words,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{command}: {done.stdout[-1000:]}{done.stderr[-2000:]}"


@pytest.fixture
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to run commands in; what they change of this process is undone."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setenv("RFPRUNE_TRACKING", "0")
    return tmp_path


def test_what_is_not_run_is_in_the_text() -> None:
    written = [command for page in RUN for command in typed_in(page)]
    assert [key for key in NOT_RUN if not any(each.startswith(key) for each in written)] == []


@pytest.mark.slow
def test_commands_in_the_text_run(alone: Path) -> None:
    """Those of several pages, one after the other, as they stand there but for the sweep."""
    (alone / "sweeps").mkdir()
    for name in ("digits.yml", "sweeps/digits.yml"):
        (alone / name).write_text(SMALL_SWEEP)
    ran = []
    # What stands in several places is run once: an export takes a new folder.
    for command in dict.fromkeys(command for page in RUN for command in typed_in(page)):
        if command.startswith(tuple(NOT_RUN)):
            continue
        here = re.sub(r"\bjets\b", "digits", command)
        here = re.sub(r"^rfprune (check|sweep) digits\b", r"rfprune \1 digits.yml", here)
        run_typed(here.replace("--trials 48", "--trials 3"), alone)
        ran.append(command.split()[1])
    assert {"check", "sweep", "pareto", "export", "estimate", "list", "submit"} == set(ran)
    assert (alone / "tagger" / "certificate.json").is_file()
    assert (alone / "front.html").is_file()
    _, loads_the_export = blocks(ROOT / "README.md", "python")
    (alone / "page.py").write_text(loads_the_export)
    run_typed("python page.py", alone)


def write_images(folder: Path) -> None:
    """Write pictures of three colours, as the edge tutorial wants them."""
    from PIL import Image

    rng = np.random.default_rng(0)
    for part, rows in (("train", 16), ("val", 8)):
        for color, name in enumerate(("red", "green", "blue")):
            place = folder / "images" / part / name
            place.mkdir(parents=True)
            for row in range(rows):
                values = rng.integers(0, 120, (32, 32, 3))
                values[..., color] += 100
                Image.fromarray(values.astype(np.uint8)).save(place / f"{row}.jpeg")


@pytest.mark.slow
def test_commands_of_the_edge_tutorial_run(alone: Path) -> None:
    """As they stand there, over a few pictures and short trainings; states come from its runner."""
    write_images(alone)
    (sweep,) = blocks(ROOT / "docs" / "tutorials" / "edge.md", "yaml")
    short = parse_yaml(sweep, "edge.md")
    short |= {"train": {"epochs": 1}, "trials": 1, "resources": {"cpus": 1}}
    short["prune"] |= {"steps": 1, "epochs_per_step": 1, "tolerance": 1.0}
    (alone / "camera.yml").write_text(yaml.safe_dump(short))
    np.save(alone / "rows.npy", np.zeros((320, 3, 32, 32), np.float32))
    (alone / "energy_uj").write_text("0")
    (runner,) = (line for line in typed_in("docs/method.md") if line.startswith("python "))
    runner = re.sub(r"/sys/\S+", "energy_uj", runner.replace("runner.py DIR", "{0}/runner.py {0}"))
    for command in typed_in("docs/tutorials/edge.md"):
        if command.startswith("rfprune federate"):
            for device in ("a", "b"):
                run_typed(runner.format("adaptive"), alone)
                (alone / device).mkdir()
                (alone / "adaptive" / "state.json").rename(alone / device / "state.json")
        run_typed(command, alone)
    assert {"small", "small_int8", "adaptive", "state.json"} <= set(os.listdir(alone))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_to_files_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page.name}: {target}"


DECISIONS = sorted((ROOT / "docs" / "decisions").glob("*.md"))


@pytest.mark.parametrize("page", DECISIONS, ids=lambda page: page.name)
def test_files_named_in_decisions_exist(page: Path) -> None:
    """Names of modules and of files with a folder before them; others belong to other projects."""
    folders = "rfprune|tests|benchmarks|sweeps|cluster|docs"
    named = re.findall(rf"`((?:{folders})/[\w./-]*\w)`", page.read_text())
    for target in named:
        assert (ROOT / target).exists(), f"{page.name}: {target}"
    for module in re.findall(r"`(rfprune(?:\.\w+)+)`", page.read_text()):
        path = ROOT / module.replace(".", "/")
        known = path.is_dir() or path.with_suffix(".py").exists()
        assert known or hasattr(resolve(":".join(module.rsplit(".", 1))), "__doc__"), module


def test_every_decision_is_in_the_index() -> None:
    index = (ROOT / "docs" / "decisions" / "README.md").read_text()
    linked = set(re.findall(r"\]\(([\w-]+\.md)\)", index))
    assert linked == {page.name for page in DECISIONS} - {"README.md"}


ARCHITECTURE = (ROOT / "docs" / "architecture.md").read_text()


def test_files_named_in_the_table_of_additions_exist() -> None:
    named = re.findall(r"`((?:rfprune|cluster|sweeps)/[\w/.]*)`", ARCHITECTURE)
    assert len(named) > 20
    for target in named:
        assert (ROOT / target).exists(), target


def test_tables_named_among_the_additions_are_where_they_are_said_to_be() -> None:
    named = re.findall(r"`(\w+)`(?: or `(\w+)`)? (?:of|in) `(rfprune/[\w/]+\.py)`", ARCHITECTURE)
    assert len(named) > 10
    for *names, target in named:
        text = (ROOT / target).read_text()
        for name in filter(None, names):
            assert re.search(rf"^(def |class )?{name}\b", text, re.MULTILINE), f"{target}: {name}"


def test_rooms_are_shown_in_the_order_in_which_they_import() -> None:
    rooms = rooms_from_top_to_bottom()
    picture = ARCHITECTURE.split("```")[1]
    shown = dict.fromkeys(word for word in re.findall(r"\w+", picture) if word in rooms)
    assert list(shown) == rooms
    rows = re.findall(r"^\| (`[^|]*`) \|", ARCHITECTURE, re.MULTILINE)
    described = [room for row in rows for room in re.findall(r"`(\w+)`", row)]
    assert sorted(described) == sorted(rooms)


def rooms_from_top_to_bottom() -> list[str]:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    (layers,) = (row["layers"] for row in contracts["contracts"] if row["type"] == "layers")
    return [room for row in layers for room in row.split(" | ")]
