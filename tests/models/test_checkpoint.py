"""Saved networks: the round trip, and files that are refused."""

import pickle

import pytest
import torch
from torch import nn

from rfprune.errors import NetworkError
from rfprune.models import architecture, build, load_checkpoint, save_checkpoint
from rfprune.models.spec import ModelSpec

SPEC = ModelSpec(name="mlp", args={"hidden": [6, 5], "batch_norm": True})


@pytest.fixture
def saved(tmp_path):
    """A trained network and the file it was saved to."""
    torch.manual_seed(1)
    model = build(SPEC, (4,), 3)
    model(torch.randn(20, 4))
    model.eval()
    path = tmp_path / "net.pt"
    save_checkpoint(path, model, SPEC, (4,), 3, extra={"step": 2, "mask": torch.tensor([True])})
    return model, path


def test_round_trip(saved):
    model, path = saved
    checkpoint = load_checkpoint(path)
    assert checkpoint.spec == SPEC
    assert (checkpoint.input_shape, checkpoint.n_outputs) == ((4,), 3)
    assert checkpoint.extra["step"] == 2
    assert checkpoint.extra["mask"].tolist() == [True]
    assert list(checkpoint.state_dict) == list(model.state_dict())
    again = build(ModelSpec(name=str(path)), (4,), 3).eval()
    x = torch.randn(9, 4)
    assert torch.equal(again(x), model(x))
    assert [entry.name for entry in path.parent.iterdir()] == ["net.pt"]


def test_a_saved_network_as_initial_weights(saved):
    model, path = saved
    spec = SPEC.model_copy(update={"weights": "net.pt"})
    again = build(spec, (4,), 3, base_dir=path.parent)
    assert torch.equal(again.fc1.weight, model.fc1.weight)


def test_the_architecture_of_a_saved_network(saved, tmp_path):
    _, path = saved
    spec = architecture(ModelSpec(name="net.pt"), base_dir=path.parent)
    assert spec == SPEC.model_copy(update={"weights": str(path)})
    model = build(spec, (4,), 3)
    save_checkpoint(tmp_path / "again.pt", model, spec, (4,), 3)
    assert load_checkpoint(tmp_path / "again.pt").spec == SPEC


def test_a_failed_save_leaves_the_old_file(saved):
    model, path = saved
    before = path.read_bytes()
    with pytest.raises(Exception, match="pickle"):
        save_checkpoint(path, model, SPEC, (4,), 3, extra={"f": lambda: 0})
    assert path.read_bytes() == before
    assert [entry.name for entry in path.parent.iterdir()] == ["net.pt"]


def test_a_saved_network_for_other_data(saved):
    _, path = saved
    words = r"shape \(4,\) and has 3 outputs, but .* \(5,\) and need 3"
    with pytest.raises(NetworkError, match=words):
        build(ModelSpec(name=str(path)), (5,), 3)


class Hostile:
    """Its unpickling would fail the test."""

    def __reduce__(self):
        return pytest.fail, ("unpickled",)


class Whole(nn.Module):
    def forward(self, x):
        return x


def save_hostile(path):
    torch.save({"format": "rfprune.network/1", "state_dict": Hostile()}, path)


def save_raw_pickle(path):
    path.write_bytes(pickle.dumps(Hostile(), protocol=2))


def save_whole_module(path):
    torch.save(Whole(), path)


@pytest.mark.filterwarnings("ignore:.*torch.jit")
def save_torchscript(path):
    torch.jit.trace(nn.Linear(2, 2), torch.ones(1, 2)).save(str(path))


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
@pytest.mark.parametrize(
    "save", [save_hostile, save_raw_pickle, save_whole_module, save_torchscript]
)
def test_files_that_could_run_code_are_refused(tmp_path, save):
    path = tmp_path / "net.pt"
    save(path)
    with pytest.raises(NetworkError, match=r"could run any code, so it is refused\. Save the"):
        load_checkpoint(path)


def test_a_file_must_not_choose_a_function(saved, tmp_path):
    model, _ = saved
    spec = ModelSpec(name="os:system", args={"command": "false"})
    save_checkpoint(tmp_path / "own.pt", model, spec, (4,), 3)
    for act in (lambda s: build(s, (4,), 3, tmp_path), lambda s: architecture(s, tmp_path)):
        with pytest.raises(NetworkError, match=r"Give model\.name: os:system .* own\.pt"):
            act(ModelSpec(name="own.pt"))
    assert load_checkpoint(tmp_path / "own.pt").spec == spec


def cut(content):
    return content[: len(content) // 2]


def flipped(content):
    """Flip one bit of the first weight, which `saved` made with this seed."""
    torch.manual_seed(1)
    first = build(SPEC, (4,), 3).fc1.weight.detach().numpy().tobytes()
    position = content.index(first)
    return content[:position] + bytes([content[position] ^ 1]) + content[position + 1 :]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (cut, "damaged or cut short"),
        (flipped, "damaged; the checksum of its part"),
        (lambda content: b"", "damaged or cut short"),
        (lambda content: b"hello world" * 50, "damaged or cut short"),
    ],
)
def test_damaged_files(saved, damage, message):
    _, path = saved
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(NetworkError, match=message):
        load_checkpoint(path)


def test_files_of_another_kind(saved, tmp_path):
    model, path = saved
    other = tmp_path / "other.pt"
    torch.save(model.state_dict(), other)
    with pytest.raises(NetworkError, match=r"not a network saved by rfprune .* model\.weights"):
        load_checkpoint(other)
    torch.save([1, 2], other)
    with pytest.raises(NetworkError, match="holds a list, expected a dict of tensors"):
        load_checkpoint(other)
    content = torch.load(path, weights_only=True)
    without = {k: v for k, v in content.items() if k != "n_outputs"}
    torch.save(without, other)
    with pytest.raises(NetworkError, match=r"incomplete .*n_outputs"):
        load_checkpoint(other)
    torch.save(without | {"n_classes": 3}, other)  # as version 0.1 wrote it
    assert load_checkpoint(other).n_outputs == 3
    torch.save(content | {"model": {"name": "mpl"}}, other)
    with pytest.raises(NetworkError, match=r"is invalid: .*unknown model 'mpl'"):
        load_checkpoint(other)
    torch.save(content | {"state_dict": {"fc1.weight": 3}}, other)
    with pytest.raises(NetworkError, match=r"'fc1\.weight' is an int; a state dict holds tensors"):
        load_checkpoint(other)
    with pytest.raises(NetworkError, match="no such file"):
        load_checkpoint(tmp_path / "absent.pt")
