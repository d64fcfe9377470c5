"""What is handed over in Python, as the plain values of a sweep file, and files for the rest."""

from __future__ import annotations

import contextlib
import copy
import re
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rfprune.api.arrays import write_data
from rfprune.api.identity import identity, is_own_module
from rfprune.core.digests import sha256_of
from rfprune.core.files import read_json, write_json
from rfprune.core.given import FOLDER, module_text
from rfprune.core.own_code import own_functions
from rfprune.core.registry import importable, resolve
from rfprune.errors import RfpruneError, SpecError

if TYPE_CHECKING:
    from torch import nn

__all__ = ["Copies", "Given", "hand_over"]

_INDEX = f"{FOLDER}.json"


class Copies:
    """A function that makes networks: each call returns a copy of the one that was handed over.

    Every trial so starts from the weights that the network has, be they random or trained.
    """

    def __init__(self, network: nn.Module) -> None:
        self.network = copy.deepcopy(network).cpu()

    def __call__(self) -> nn.Module:
        """Return a new copy."""
        return copy.deepcopy(self.network)


def _choices(choices: Any) -> Any:
    """Return several networks with a label for each object, which else had only that of a file."""
    if not isinstance(choices, list | tuple):
        return choices
    sections = [dict(c) if isinstance(c, Mapping) else {"name": c} for c in choices]
    names = ["" if "label" in each else _own_name(each.get("name")) for each in sections]
    twice = {name for name, count in Counter(names).items() if name and count > 1}
    for number, (section, name) in enumerate(zip(sections, names, strict=True), start=1):
        if name:
            section["label"] = f"{name}-{number}" if name in twice else name
    return sections


def _own_name(thing: Any) -> str:
    """Return what a network or function of the user's own is called; nothing for other names."""
    if thing is None or isinstance(thing, str):
        return re.sub(r"\W+", "", thing.rpartition(":")[2]) if thing and ":" in thing else ""
    named = thing if hasattr(thing, "__name__") else type(thing)
    return re.sub(r"\W+", "", named.__name__) or "network"


@dataclass(frozen=True)
class Given:
    """A spec's plain values, and where the objects are that they name.

    Attributes:
        values: of the file.
        base_dir: folder that relative paths and modules in `values` refer to.
        staged: a scratch folder with the objects; None where there are none.
        notes: what the user should know, one sentence each.
    """

    values: dict[str, Any]
    base_dir: Path
    staged: Path | None = None
    notes: tuple[str, ...] = ()

    @contextlib.contextmanager
    def installed(self, home: Path) -> Iterator[Path]:
        """Yield the folder of the objects below `home`; they stay there if all goes well.

        Where there are none it is `base_dir`.
        """
        if self.staged is None:
            yield self.base_dir
            return
        place, fresh = home / FOLDER, not (home / FOLDER).exists()
        shutil.copytree(self.staged, place, dirs_exist_ok=True)
        try:
            yield place
        except RfpruneError:
            # Refused before anything was begun: nothing half-written stays.
            if fresh and not any((home / name).exists() for name in ("sweep.json", "trial.json")):
                shutil.rmtree(place, ignore_errors=True)
                with contextlib.suppress(OSError):
                    home.rmdir()
            raise


@contextlib.contextmanager
def hand_over(values: Mapping[str, Any], base_dir: Path, home: Path) -> Iterator[Given]:
    """Yield `values` in plain form, with a file for every object, array and table among them.

    Args:
        values: as a file would have them; in the place of a name there may be an object.
        base_dir: folder that relative paths in `values` refer to.
        home: the run folder, where objects of an earlier call may be.

    Raises:
        SpecError: an object cannot be pickled, or a value that stands for nothing.
        DataError: data that are no arrays.
    """
    plain = {key: value for key, value in values.items() if value is not None}
    if isinstance(plain.get("model"), str) or (
        "model" in plain and not isinstance(plain["model"], Mapping)
    ):
        plain["model"] = {"name": plain["model"]}
    if isinstance(plain.get("model"), Mapping) and "choices" in plain["model"]:
        plain["model"] = {**plain["model"], "choices": _choices(plain["model"]["choices"])}
    with tempfile.TemporaryDirectory(prefix="rfprune-given-") as scratch:
        folder = Path(scratch) / FOLDER
        folder.mkdir()
        writer = _Writer(folder, home / FOLDER)
        if "data" in plain:
            plain["data"] = write_data(plain["data"], folder, writer.is_object)
        plain = {key: writer.plain(value, key) for key, value in plain.items()}
        if not any(folder.iterdir()):
            yield Given(plain, base_dir)
            return
        # The folder of the objects is where names are looked for from now on.
        writer.carry_over(plain, base_dir)
        _make_absolute(plain, base_dir, folder)
        writer.write_index()
        with _named_as_given(folder, writer.called):
            yield Given(plain, folder, folder, tuple(writer.notes))


@contextlib.contextmanager
def _named_as_given(folder: Path, called: Mapping[str, str]) -> Iterator[None]:
    """Let messages say what was handed over, not which file stands for it.

    Args:
        folder: the scratch folder of the files, which is gone when a message is read.
        called: what users call an object, by the name of its module.
    """
    try:
        yield
    except RfpruneError as error:
        # Among the places where a file was looked for, the scratch folder tells nobody anything.
        text = re.sub(rf"{re.escape(str(folder))}/(?!data_)[^\s,]+, ", "", str(error))
        text = re.sub(r"(?:[^\s']*/)?data_[0-9a-f]{12}(\.parquet)?(?!\.?\w)", "data", text)
        for module, name in called.items():
            text = text.replace(f"{module}:given", name)
        error.args = (text,)
        raise


class _Writer:
    """Turns values into plain ones, objects into files."""

    def __init__(self, folder: Path, earlier: Path) -> None:
        self.notes: list[str] = []
        #: What users call an object, by the name of its module.
        self.called: dict[str, str] = {}
        self._folder, self._earlier = folder, earlier
        self._known = read_json(earlier / _INDEX) if (earlier / _INDEX).exists() else {}
        self._index: dict[str, Any] = {}

    @staticmethod
    def is_object(value: Any) -> bool:
        """Return whether a value stands for itself and not for a name: a function, for instance."""
        return callable(value)

    def plain(self, value: Any, key: str) -> Any:
        """Return a value as a file would have it."""
        if value is None or isinstance(value, bool | int | float | str):
            return value
        if isinstance(value, Mapping):
            return {str(k): self.plain(inner, f"{key}.{k}") for k, inner in value.items()}
        if isinstance(value, list | tuple):
            return [self.plain(inner, f"{key}.{k}") for k, inner in enumerate(value)]
        if isinstance(value, Path):
            return str(value)
        if hasattr(value, "model_dump"):
            return self.plain(value.model_dump(mode="json"), key)
        if hasattr(value, "item") and getattr(value, "ndim", None) == 0:
            return self.plain(value.item(), key)
        if hasattr(value, "tolist") and not callable(value):
            return self.plain(value.tolist(), key)
        return self.name_of(value, key)

    def name_of(self, thing: Any, key: str) -> str:
        """Write an object; return the name that stands for it."""
        who = identity(thing)
        for name, known in self._known.items():
            if known["key"] == key and known["identity"] == who:
                self.called[name] = _shown(thing)
                return self._again(name, known, thing, key)
        shown = _shown(thing)
        if _is_network(thing):
            thing = Copies(thing)
        content = _pickled(thing, key)
        role = re.sub(r"\W+", "_", key)
        module = f"given_{role}_{sha256_of(content)[:8]}"
        self.called[module] = shown
        (self._folder / f"{module}.py").write_text(module_text(f"{key} of a sweep or trial"))
        (self._folder / f"{module}.pkl").write_bytes(content)
        self._index[module] = {"key": key, "identity": who, "weights": _weights(thing)}
        return f"{module}:given"

    def _again(self, module: str, known: dict[str, Any], thing: Any, key: str) -> str:
        """Take what an earlier call has kept: the same code, perhaps with other weights."""
        for suffix in (".py", ".pkl"):
            shutil.copy2(self._earlier / f"{module}{suffix}", self._folder)
        self._index[module] = known
        fresh = _weights(Copies(thing)) if _is_network(thing) else known["weights"]
        if fresh != known["weights"]:
            self.notes.append(
                f"{key}: the sweep goes on from the weights of its first start; the network that "
                "was handed over now has others. fresh=True begins anew with them."
            )
        return f"{module}:given"

    def carry_over(self, values: dict[str, Any], base_dir: Path) -> None:
        """Hand over the functions as well that values name by modules beside the file."""
        with importable(base_dir):
            for name in sorted(set(own_functions(values))):
                module = name.partition(":")[0]
                if module.startswith("given_") or not _is_beside(module, base_dir):
                    continue
                thing = resolve(name)
                if is_own_module(module):
                    _replace(values, name, self.name_of(thing, _key_of(values, name)))

    def write_index(self) -> None:
        """Write what each object was made for."""
        write_json(self._folder / _INDEX, {**self._known, **self._index})


def _is_beside(module: str, base_dir: Path) -> bool:
    root = module.partition(".")[0]
    places = (base_dir, Path.cwd())
    return any((place / f"{root}.py").exists() or (place / root).is_dir() for place in places)


def _key_of(values: Any, name: str, path: str = "") -> str:
    """Return the dotted key at which a name stands first."""
    if values == name:
        return path
    items: Any = ()
    if isinstance(values, dict):
        items = values.items()
    elif isinstance(values, list):
        items = enumerate(values)
    found = (_key_of(inner, name, f"{path}.{key}".lstrip(".")) for key, inner in items)
    return next((key for key in found if key), "")


def _replace(values: Any, old: str, new: str) -> None:
    """Put `new` wherever `old` stands, in place."""
    items = list(values.items() if isinstance(values, dict) else enumerate(values))
    for key, inner in items:
        if inner == old:
            values[key] = new
        elif isinstance(inner, dict | list):
            _replace(inner, old, new)


def _make_absolute(values: dict[str, Any], base_dir: Path, folder: Path) -> None:
    """Let paths that were relative to another folder still lead where they led."""
    model = values.get("model")
    choices = model.get("choices", ()) if isinstance(model, dict) else ()
    networks = [model, *(choices.values() if isinstance(choices, dict) else choices)]
    places = [(inner, key) for inner in networks for key in ("name", "weights")]
    for inner, key in (*places, (values.get("data"), "file")):
        if not isinstance(inner, dict):
            continue
        path = inner.get(key)
        if not isinstance(path, str) or ":" in path or (folder / path).exists():
            continue
        for place in (base_dir, Path.cwd()):
            if (place / path).exists():
                inner[key] = str((place / path).resolve())
                break


def _shown(thing: Any) -> str:
    """Return what users call an object: the name of a function or class, or of its class."""
    return str(getattr(thing, "__name__", None) or type(thing).__name__)


def _is_network(thing: Any) -> bool:
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(thing, torch.nn.Module)


def _weights(thing: Any) -> str:
    """Return the hash of a network's weights; of what is none, an empty text."""
    if not isinstance(thing, Copies):
        return ""
    tensors = thing.network.state_dict()
    parts = [f"{name}:{t.detach().cpu().numpy().tobytes().hex()}" for name, t in tensors.items()]
    return sha256_of("\n".join(parts))


def _pickled(thing: Any, key: str) -> bytes:
    """Return an object pickled by value, with what it uses of the user's own modules.

    Raises:
        SpecError: it cannot be pickled.
    """
    import cloudpickle

    inner = thing.network if isinstance(thing, Copies) else thing
    home = getattr(inner, "__module__", None) or type(inner).__module__
    own = [
        module
        for name, module in list(sys.modules.items())
        if name not in ("__main__", "__mp_main__") and _near(name, home) and is_own_module(name)
    ]
    added = [m for m in own if m.__name__ not in cloudpickle.list_registry_pickle_by_value()]
    for module in added:
        cloudpickle.register_pickle_by_value(module)
    try:
        content: bytes = cloudpickle.dumps(thing)
    except Exception as error:
        raise SpecError(
            f"{key}: {type(inner).__name__} cannot be sent to the workers "
            f"({type(error).__name__}: {error}). Allowed: an object that cloudpickle can pickle, a "
            "function that makes one, or a name like 'package.module:function'."
        ) from error
    finally:
        for module in added:
            cloudpickle.unregister_pickle_by_value(module)
    return content


def _near(name: str, home: str) -> bool:
    """Return whether a module is of the same package, or a file of the user's own beside it."""
    return name.partition(".")[0] == home.partition(".")[0] or "." not in name
