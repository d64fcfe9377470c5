"""The adaptive model: it follows its policy, and comes back from its file."""

import subprocess
import sys
from dataclasses import replace

import pytest
import torch

import rfprune
from rfprune.edge.adaptive import (
    AdaptiveModel,
    AgentRule,
    LevelPolicy,
    TableRule,
    measure_levels,
    recalibrate,
)
from rfprune.errors import NetworkError, SpecError
from rfprune.models import save_checkpoint
from rfprune.models.spec import ModelSpec
from tests.edge.adaptive.made import (
    N_CLASSES,
    SHAPE,
    SPEC,
    dark,
    images,
    level_power,
    network,
    noisy,
    slimmable,
)
from tests.edge.adaptive.test_policy import prefers

X, Y = images(60)


def adaptive(least_accuracy=None, hold=2):
    net = slimmable()
    recalibrate(net, X, batch_size=30)
    power = level_power(net.levels)
    made = measure_levels(net, {"clean": X, "noisy": noisy(X), "dark": dark(X)}, Y, power)
    # Made accuracies: which level is the best one must not hang on a network that learned nothing.
    accuracy = torch.tensor([[0.95, 0.9, 0.85, 0.6], [0.9, 0.6, 0.5, 0.4], [0.9, 0.85, 0.5, 0.4]])
    made = replace(made, accuracy=accuracy.double().numpy())
    return AdaptiveModel(net, LevelPolicy(TableRule(made, least_accuracy), hold))


def test_it_answers_input_and_budget():
    model = adaptive(least_accuracy=0.8)
    assert model.level is None
    with torch.inference_mode():
        for batch, expected in [(X, 2), (noisy(X), 2), (noisy(X), 0), (dark(X), 0), (dark(X), 1)]:
            logits = model(batch)
            assert model.level == expected
            assert torch.equal(logits, model.network.at(expected)(batch))
        power_mw = model.policy.rule.power_mw
        model.power_budget_share = (power_mw[1] + power_mw[2]) / 2 / power_mw[0]
        model(dark(X))
    assert model.level == 2
    assert model.power_budget_mw == pytest.approx((power_mw[1] + power_mw[2]) / 2)
    assert model.power_budget_share == pytest.approx(model.power_budget_mw / power_mw[0])
    assert model.history[-1].power_mw <= model.history[-1].power_budget_mw
    assert [step.level for step in model.history][:5] == [2, 2, 0, 0, 1]
    model.power_budget_share = None
    assert model.power_budget_mw is None


def test_a_level_can_be_pinned():
    model = adaptive()
    with torch.inference_mode(), model.pinned(3):
        assert torch.equal(model(X), model.network.at(3)(X))
        assert model.level == 3
    with torch.inference_mode():
        model(X)
    assert model.level == 0
    with pytest.raises(SpecError, match="level: 7"), model.pinned(7):
        pass


@pytest.mark.parametrize("kind", ["table", "agent"])
def test_a_file_brings_back_network_policy_and_budget(tmp_path, kind):
    model = adaptive(least_accuracy=0.8)
    if kind == "agent":
        agent = prefers(model.network.levels, (3, 0))
        table = model.policy.rule.table
        state = replace(agent.state, mean=table.mean.mean(axis=0), scale=table.scale)
        weights = torch.zeros(4, state.size).numpy()
        agent = replace(
            agent,
            state=state,
            weights=((weights, agent.weights[0][1]),),
            conditions=(table.mean - state.mean) / state.scale,
        )
        rule = AgentRule(agent, model.network.levels.fractions[:, :1], table.power_mw)
        model = AdaptiveModel(model.network, LevelPolicy(rule, hold=4))
    model.power_budget_mw = 4000.0
    path = tmp_path / "model.pt"
    model.save(path, SPEC)
    found = AdaptiveModel.load(path)
    assert not found.training
    assert found.power_budget_mw == 4000.0
    assert found.policy.hold == model.policy.hold
    with torch.inference_mode():
        for level in range(4):
            assert torch.equal(found.network(X, level), model.network(X, level))
        for batch in (X, noisy(X), dark(X), X) * 3:
            assert torch.equal(found(batch), model(batch))
    assert found.history == model.history
    found.save(tmp_path / "again.pt", SPEC)
    assert AdaptiveModel.load(tmp_path / "again.pt").network.levels.sparsity == (0, 0.25, 0.5, 0.75)


def test_it_runs_without_what_learned_it(tmp_path):
    adaptive().save(tmp_path / "model.pt", SPEC)
    script = f"""
import sys
from pathlib import Path
import torch
from rfprune.edge.adaptive import AdaptiveModel
model = AdaptiveModel.load(Path({str(tmp_path / "model.pt")!r}))
print(tuple(model(torch.rand(2, 1, 16, 16)).shape))
print({{"ray", "mlflow", "torchvision", "rfprune.methods.akperl.dqn"}} & set(sys.modules))
"""
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert ran.stdout.split("\n")[:2] == ["(2, 3)", "set()"]


def test_damaged_and_foreign_files_are_one_sentence(tmp_path):
    path = tmp_path / "model.pt"
    adaptive().save(path, SPEC)
    content = path.read_bytes()
    for wrong in (content[: len(content) // 2], content[:-4000] + b"x" * 4000, b"no file of torch"):
        path.write_bytes(wrong)
        with pytest.raises(NetworkError, match=r"damaged|not a readable") as caught:
            AdaptiveModel.load(path)
        assert "\n" not in str(caught.value)
    with pytest.raises(NetworkError, match="no such file"):
        AdaptiveModel.load(tmp_path / "none.pt")
    save_checkpoint(path, network()[0], SPEC, SHAPE, N_CLASSES)
    with pytest.raises(NetworkError, match="not one with several levels"):
        AdaptiveModel.load(path)


def drop_norms(values):
    values["norms"][0].popitem()


def drop_rule(values):
    del values["rule"]


def shorten_mask(values):
    values["masks"][1]["stem"] = torch.ones(3, dtype=torch.bool)


def cut_policy(values):
    table = values["rule"]["table"]
    table["power_mw"], table["accuracy"] = table["power_mw"][:3], table["accuracy"][:, :3]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (drop_norms, "the batch norms of level 1 are others"),
        (drop_rule, "'rule'"),
        (shorten_mask, "its mask has shape"),
        (cut_policy, "another number of levels"),
    ],
)
def test_a_file_with_wrong_content_is_one_sentence(tmp_path, change, message):
    path = tmp_path / "model.pt"
    adaptive().save(path, SPEC)
    content = torch.load(path, weights_only=True)
    change(content["extra"]["adaptive"])
    torch.save(content, path)
    with pytest.raises(NetworkError, match="does not fit the network it names") as caught:
        AdaptiveModel.load(path)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_users_function_is_never_chosen_by_the_file(tmp_path):
    path = tmp_path / "model.pt"
    spec = ModelSpec(name="tests.edge.adaptive.made:built")
    adaptive().save(path, spec)
    with pytest.raises(NetworkError, match="a file must not decide what code is run"):
        AdaptiveModel.load(path)
    assert AdaptiveModel.load(path, SPEC).network.levels.sparsity[2] == 0.5
    assert rfprune.load_adaptive(path, run_code=True).network.levels.sparsity[2] == 0.5


def test_a_rule_of_ones_own_runs_but_is_not_saved(tmp_path):
    model = adaptive()

    class Always:
        power_mw = model.policy.rule.power_mw

        def wanted(self, features, power_budget_mw):
            return 2

    own = AdaptiveModel(model.network, LevelPolicy(Always()))
    own(X)
    assert own.level == 2
    with pytest.raises(SpecError, match="the rule Always cannot be saved"):
        own.save(tmp_path / "model.pt", SPEC)
