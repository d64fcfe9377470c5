"""Levels that are trained together."""

import pytest
import torch

from rfprune.edge.adaptive import fit_levels, measure_levels, recalibrate
from rfprune.edge.adaptive.fitting import sandwich_loss
from rfprune.edge.monitor import input_statistics
from rfprune.errors import DataError
from rfprune.tasks import TaskSpec, make_task
from rfprune.training import evaluate
from tests.edge.adaptive.made import dark, fit_for, images, level_power, noisy, slimmable


def fitted(epochs=10, seed=0, levels_per_step=4):
    net, (x, y) = slimmable(), images(240)
    fit_levels(net, x, y, fit_for(epochs, seed), levels_per_step)
    return net


def test_all_levels_learn_and_keep_one_set_of_weights():
    net, (x, y) = fitted(), images(150, seed=1)
    untrained, (rows, _) = slimmable(), images(240)
    recalibrate(untrained, rows, 32)
    for level, masks in enumerate(net.levels.masks):
        assert evaluate(net.at(level), x, y) >= 0.9
        assert evaluate(untrained.at(level), x, y) < 0.8
        kept = masks["stem"]
        shared = net.network.get_submodule("stem").weight[kept]
        assert torch.equal(net.at(level).get_submodule("stem").weight, shared)


def test_fitting_is_seeded():
    one, same, other = fitted(1), fitted(1), fitted(1, seed=1)
    for name, tensor in one.state_dict().items():
        assert torch.equal(tensor, same.state_dict()[name])
    assert not torch.equal(
        one.network.get_submodule("stem").weight, other.network.get_submodule("stem").weight
    )


def test_each_step_sees_the_largest_the_smallest_and_some_between():
    net, (x, y) = slimmable().train(), images(12)
    seen = []
    forward = net.forward
    net.forward = lambda x, level=0: (seen.append(level), forward(x, level))[1]
    for _ in range(20):
        sandwich_loss(net, x, y, levels_per_step=3, task=make_task(TaskSpec()))
    steps = [tuple(seen[i : i + 3]) for i in range(0, len(seen), 3)]
    assert set(steps) == {(0, 1, 3), (0, 2, 3)}


def test_smaller_levels_learn_from_the_largest_which_does_not_learn_from_them():
    net, (x, y) = slimmable().train(), images(12)
    loss = sandwich_loss(net, x, y, levels_per_step=2, task=make_task(TaskSpec()))
    whole = torch.nn.functional.cross_entropy(net(x), y)
    taught = net(x).softmax(dim=1).detach()
    expected = whole - (taught * net(x, 3).log_softmax(dim=1)).sum(dim=1).mean()
    torch.testing.assert_close(loss, expected)


def test_table_of_measurements():
    net, (x, y) = fitted(), images(150, seed=1)
    power = level_power(net.levels)
    rows = {"clean": x, "noisy": noisy(x), "dark": dark(x)}
    table = measure_levels(net, rows, y, power)
    assert table.accuracy.shape == (3, 4)
    assert table.accuracy[1, 2] == evaluate(net.at(2), rows["noisy"], y)
    assert table.power_source == "estimated: energy model of raspberry_pi_4"
    for number, condition in enumerate(rows.values()):
        for batch in condition.split(10):
            assert table.nearest(input_statistics(batch).mean) == number


def test_a_table_needs_conditions_and_a_power_per_level():
    net, (x, y) = slimmable(), images(6)
    power = level_power(net.levels)
    with pytest.raises(DataError, match="0 conditions and 4 powers for 4 levels"):
        measure_levels(net, {}, y, power)
    with pytest.raises(DataError, match="1 conditions and 3 powers for 4 levels"):
        measure_levels(net, {"clean": x}, y, power[:3])
