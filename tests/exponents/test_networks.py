"""The exponents of a network in three lines."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import lyapopt
from lyapopt.dynamics import Training, TrainingMap, stack
from lyapopt.errors import RadiusError, UserError
from lyapopt.exponents import from_neighbours, spectrum

SGD = partial(torch.optim.SGD, lr=0.1, momentum=0.9)


def data() -> tuple[torch.Tensor, torch.Tensor]:
    source = torch.Generator().manual_seed(0)
    x = torch.randn(32, 4, generator=source)
    return x, x[:, :2].sin()


def network(activation: type[nn.Module] = nn.Tanh, width: int = 5, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(4, width), activation(), nn.Linear(width, 2))


def test_one_network_is_what_the_estimator_gives_in_double_precision():
    model = network()
    found = lyapopt.training_exponent(
        model, nn.MSELoss(), SGD(model.parameters()), data(), horizon=8, neighbours=2, batch_size=8
    )
    double = network().double()
    x, y = data()
    step = TrainingMap(
        [
            Training(
                double,
                nn.MSELoss(),
                SGD(double.parameters()),
                (x.double(), y.double()),
                batch_size=8,
            )
        ]
    )
    expected = from_neighbours(step, step.initial_state(), 8, neighbours=2)
    torch.testing.assert_close(found.value, expected.value, rtol=0, atol=0)
    assert all(p.dtype == torch.float32 for p in model.parameters())
    assert found.in_units(per="epoch").value.item() == pytest.approx(4 * found.value.item())


def test_a_list_of_networks_of_any_structures_comes_back_in_order():
    models = [network(), network(nn.ReLU), network(seed=1), network(width=7)]
    settings = {"horizon": 6, "neighbours": 2}
    together = lyapopt.training_exponent(models, nn.MSELoss(), SGD, data(), **settings)
    alone = [lyapopt.training_exponent(m, nn.MSELoss(), SGD, data(), **settings) for m in models]
    torch.testing.assert_close(
        together.value, torch.cat([e.value for e in alone]), rtol=0, atol=1e-9
    )
    assert together.losses.shape == (6, 4, 3)
    assert len(together.flags) == 4
    assert together.final_state.shape == (4, 1, 0)
    assert together.select([2]).value.shape == (1,)
    tangents = lyapopt.training_spectrum(models, nn.MSELoss(), SGD, data(), horizon=6, k=2)
    assert tangents.values.shape == (4, 2)
    one = lyapopt.training_spectrum(models[3], nn.MSELoss(), SGD, data(), horizon=6, k=2)
    torch.testing.assert_close(tangents.values[3:], one.values, rtol=0, atol=1e-9)
    with pytest.raises(UserError, match="ask for the largest few"):
        lyapopt.training_spectrum(models, nn.MSELoss(), SGD, data(), horizon=2)


def test_networks_with_seeds_of_their_own_are_replicas():
    models = [network(), network(nn.ReLU), network()]
    settings = {"horizon": 5, "neighbours": 2, "batch_size": 8}
    found = lyapopt.training_exponent(models, nn.MSELoss(), SGD, data(), seed=[3, 4, 5], **settings)
    for row, (model, seed) in enumerate(zip(models, [3, 4, 5], strict=True)):
        alone = lyapopt.training_exponent(model, nn.MSELoss(), SGD, data(), seed=seed, **settings)
        torch.testing.assert_close(found.value[row], alone.value[0], rtol=0, atol=1e-9)
    assert abs(found.value[0] - found.value[2]).item() > 1e-4
    low, high = found.interval(over="replicas")
    assert (low < found.value.mean()).all()
    assert (found.value.mean() < high).all()
    spectra = lyapopt.training_spectrum(
        models, nn.MSELoss(), SGD, data(), seed=[3, 4, 5], horizon=3, k=2, batch_size=8
    )
    assert abs(spectra.value[0] - spectra.value[2]).item() > 1e-4
    with pytest.raises(UserError, match="2 numbers for 3 systems"):
        lyapopt.training_exponent(models, nn.MSELoss(), SGD, data(), seed=[1, 2], horizon=2)


def test_optimisers_that_have_run_keep_their_memory():
    model = network()
    adam = torch.optim.Adam(model.parameters(), lr=0.01)
    x, y = data()
    for _ in range(5):
        adam.zero_grad()
        nn.MSELoss()(model(x), y).backward()
        adam.step()
    warm = lyapopt.training_exponent(model, nn.MSELoss(), adam, (x, y), horizon=5, neighbours=2)
    fresh = lyapopt.training_exponent(
        model, nn.MSELoss(), partial(torch.optim.Adam, lr=0.01), (x, y), horizon=5, neighbours=2
    )
    assert abs(warm.value - fresh.value).item() > 1e-4
    assert adam.state[model[0].weight]["exp_avg"].dtype == torch.float32


@pytest.mark.parametrize("source_type", ["loader", "dataset"])
def test_data_sets_and_loaders_are_read(source_type):
    dataset = TensorDataset(*data())
    source = dataset if source_type == "dataset" else DataLoader(dataset, 8, shuffle=True)
    model = network()
    found = lyapopt.training_exponent(
        model,
        nn.MSELoss(),
        SGD,
        source,
        horizon=4,
        neighbours=2,
        batch_size=8 if source_type == "dataset" else None,
    )
    plain = lyapopt.training_exponent(
        model, nn.MSELoss(), SGD, data(), horizon=4, neighbours=2, batch_size=8
    )
    torch.testing.assert_close(found.value, plain.value, rtol=0, atol=0)


def test_classes_as_targets_stay_integers():
    model, (x, y) = network(), data()
    loss = nn.CrossEntropyLoss(weight=torch.tensor([1.0, 2.0]))
    found = lyapopt.training_exponent(
        model, loss, SGD, (x, (y[:, 0] > 0).long()), horizon=4, neighbours=2
    )
    assert torch.isfinite(found.value).all()
    assert loss.weight.dtype == torch.float32


def test_single_precision_asks_for_its_own_radius():
    model = network()
    arguments = (model, nn.MSELoss(), SGD, data())
    with pytest.raises(RadiusError, match="float64"):
        lyapopt.training_exponent(*arguments, horizon=4, dtype=None)
    found = lyapopt.training_exponent(*arguments, horizon=4, dtype=None, radius=1e-2)
    exact = lyapopt.training_exponent(*arguments, horizon=4)
    assert abs(found.value - exact.value).item() < 1e-2


def test_optimisers_that_do_not_fit_are_explained():
    models = [network(), network(seed=1)]
    one = SGD(models[0].parameters())
    for optimizer, message in [
        (one, "one optimizer"),
        ([one], "1 optimizers"),
        ([one, one], "not its model's"),
        (lambda p: None, "returned"),
        ("sgd", "not str"),
    ]:
        with pytest.raises(UserError, match=message):
            lyapopt.training_exponent(models, nn.MSELoss(), optimizer, data(), horizon=2)
    with pytest.raises(UserError, match="no models"):
        lyapopt.training_exponent([], nn.MSELoss(), SGD, data(), horizon=2)
    for wrong in ("net", nn.Linear, [nn.Linear(4, 2), 1]):
        with pytest.raises(UserError, match="model must be"):
            lyapopt.training_exponent(wrong, nn.MSELoss(), SGD, data(), horizon=2)


def test_a_module_list_is_a_list():
    models = [network(), network(seed=1)]
    found, expected = (
        lyapopt.training_exponent(given, nn.MSELoss(), SGD, data(), horizon=2, neighbours=1)
        for given in (nn.ModuleList(models), models)
    )
    assert torch.equal(found.value, expected.value)


MATES = {
    "momentum": (partial(torch.optim.SGD, lr=0.1, momentum=0.9), {}),
    "nesterov": (partial(torch.optim.SGD, lr=0.1, momentum=0.9, nesterov=True), {}),
    "weight decay": (partial(torch.optim.SGD, lr=0.1, weight_decay=0.1), {}),
    "ascent": (partial(torch.optim.SGD, lr=0.1, maximize=True), {}),
    "divergence": (partial(torch.optim.SGD, lr=1e200), {}),
    "clipping": (partial(torch.optim.SGD, lr=0.1), {"clip_grad_norm": 0.01}),
    "a schedule": (partial(torch.optim.SGD, lr=0.1), {"scheduler": lambda t: 0.5**t}),
    "other moments": (partial(torch.optim.Adam, lr=0.01, amsgrad=True), {}),
}


@pytest.mark.parametrize("own", ["sgd", "adam"])
@pytest.mark.parametrize("mate", MATES)
def test_a_spectrum_does_not_depend_on_what_else_is_in_the_stack(own, mate):
    optimizer = {
        "sgd": partial(torch.optim.SGD, lr=0.1),
        "adam": partial(torch.optim.Adam, lr=0.01),
    }[own]

    def training(seed, make, **options):
        model = network(width=2, seed=seed).double()
        x, y = (part.double() for part in data())
        return Training(model, nn.MSELoss(), make(model.parameters()), (x, y), **options)

    make_mate, options = MATES[mate]
    [(_, alone)] = stack([training(0, optimizer)])
    maps = stack([training(0, optimizer), training(1, make_mate, **options)])
    expected = spectrum(alone, alone.initial_state(), 4)
    found = spectrum(maps[0][1], maps[0][1].initial_state(), 4)
    slots = {"sgd": 0, "adam": 2}[own]
    assert found.values.shape[1] == 16 * (1 + slots)
    torch.testing.assert_close(found.values[0], expected.values[0], rtol=0, atol=1e-9)
    assert found.flags[0] == expected.flags[0]


@pytest.mark.parametrize("function", [lyapopt.training_exponent, lyapopt.training_spectrum])
@pytest.mark.parametrize("name", ["unknown", "z0", "step"])
def test_an_argument_that_is_none_is_refused_in_the_name_of_the_function_called(function, name):
    model = network()
    sgd = torch.optim.SGD(model.parameters(), lr=0.1)
    expected = rf"{function.__name__}\(\) got an unexpected keyword argument '{name}'"
    with pytest.raises(TypeError, match=expected):
        function(model, nn.MSELoss(), sgd, data(), horizon=3, **{name: 1})
