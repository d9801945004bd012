"""Networks with a backward pass by hand, against autograd over the same operations: equal to the bit."""

import copy
import itertools

import pytest
import torch
from gymnasium import spaces
from stable_baselines3.common.policies import ActorCriticPolicy
from torch import nn, optim

from lit_rl.networks.activations import activation_of, tanh
from lit_rl.networks.actor_critic import ActorCritic, Slope
from lit_rl.networks.dense import Dense, layers_of, parameters_of_layers
from lit_rl.networks.dense_actor_critic import DenseActorCritic
from lit_rl.networks.flat import Flat, FlatAdam, FlatRMSprop
from lit_rl.networks.policies import make_optimizer
from tests.helpers.followed import through

ACTIVATIONS = [
    nn.Tanh(),
    nn.ReLU(),
    nn.Sigmoid(),
    nn.LeakyReLU(0.1),
    nn.ELU(0.7),
    nn.SiLU(),
    nn.GELU(),
    nn.GELU("tanh"),
]


def numbers(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def perceptron(sizes, activation=None, last=False):
    torch.manual_seed(len(sizes))
    layers = []
    for inputs, outputs in itertools.pairwise(sizes):
        layers += [nn.Linear(inputs, outputs), copy.deepcopy(activation or nn.Tanh())]
    return nn.Sequential(*(layers if last else layers[:-1]))


def dense(*networks):
    layers = [layers_of([network]) for network in networks]
    assert None not in layers
    flat = Flat(parameters_of_layers(layers))
    return Dense(layers, flat), flat


@pytest.mark.parametrize("activation", ACTIVATIONS, ids=str)
def test_an_activation_is_torchs_with_its_derivative(activation):
    x = (4.0 * numbers(1000)).double()
    ours = activation_of(activation)
    wanted = activation(x.clone().requires_grad_())
    y = ours.forward(x.clone())
    torch.testing.assert_close(y, wanted.detach())
    leaf = x.clone().requires_grad_()
    activation(leaf).backward(torch.ones_like(x))
    torch.testing.assert_close(ours.backward(torch.ones_like(x), x if ours.keeps_input else y), leaf.grad)


def test_tanh_in_single_precision():
    x = torch.cat([numbers(100_000) * 4.0, torch.tensor([0.0, -50.0, 50.0, 1e-8])])
    wanted = torch.tanh(x.double())
    assert float((tanh(x.clone()).double() - wanted).abs().max()) < 2.5e-7
    assert not tanh(torch.tensor([float("nan")])).isfinite().any()


@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("sizes", [(4, 64, 64), (17, 64, 32, 6), (3, 256, 256, 1), (40, 8), (5, 5, 5, 5)], ids=str)
@pytest.mark.parametrize("activation", [nn.Tanh(), nn.ReLU(), nn.SiLU()], ids=str)
def test_equal_to_autograd(count, sizes, activation):
    networks = [perceptron(sizes, activation, last=sizes == (4, 64, 64)) for _ in range(count)]
    plain = [copy.deepcopy(network) for network in networks]
    x, g = numbers(64, sizes[0]), numbers(count, 64, sizes[-1], seed=1)  # each begins where memory is aligned
    followed = [through(layers_of([network]), x.requires_grad_()) for network in plain]
    wanted = torch.stack([y for y, _ in followed])
    wanted.backward(g)
    ours, flat = dense(*networks)
    with torch.no_grad():
        found = ours.forward(x.detach())
        d_x = ours.backward(g.clone(), inputs=True)
    assert torch.equal(found, wanted)
    linears = [layer.linear for network in networks for layer in layers_of([network])]
    for linear, (_, weight, bias) in zip(linears, [each for _, leaves in followed for each in leaves], strict=True):
        assert torch.equal(flat.gradient_of(linear.weight), weight.grad)
        assert torch.equal(flat.gradient_of(linear.bias), bias.grad)
    torch.testing.assert_close(d_x.sum(dim=0), x.grad)
    for i, network in enumerate(plain):
        torch.testing.assert_close(found[i], network(x.detach()).detach(), atol=1e-6, rtol=1e-5)


def test_inputs_of_each_and_no_weights():
    networks = [perceptron((3, 8, 2)) for _ in range(2)]
    ours, flat = dense(*networks)
    with torch.no_grad():
        ours.forward(numbers(2, 7, 3))
        assert ours.backward(numbers(2, 7, 2), inputs=True, weights=False).shape == (2, 7, 3)
        assert not flat.gradient.any()
        torch.testing.assert_close(ours.infer(numbers(7, 3)), networks[0](numbers(7, 3)), atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize(
    "network",
    [
        nn.Sequential(nn.Linear(3, 3), nn.Dropout(0.1)),
        nn.Sequential(nn.Linear(3, 3), nn.LayerNorm(3)),
        nn.Sequential(nn.Linear(3, 3, bias=False)),
        nn.Sequential(nn.Tanh(), nn.Linear(3, 3)),
        nn.Sequential(nn.Linear(3, 3), nn.Tanh(), nn.Tanh()),
        nn.Sequential(nn.Linear(3, 3, dtype=torch.float64)),
    ],
    ids=str,
)
def test_what_is_no_plain_perceptron(network):
    assert layers_of([network]) is None


def test_a_hook_is_no_plain_perceptron():
    network = perceptron((3, 4, 2))
    network[0].register_forward_hook(lambda *_: None)
    assert layers_of([network]) is None


# -- flat memory ------------------------------------------------------------------------------------------------------


def test_parameters_keep_their_names_values_and_ties():
    network = perceptron((3, 5, 2))
    before = copy.deepcopy(network.state_dict())
    flat = Flat(network.parameters())
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())
    flat.values.data += 1.0
    assert all(torch.equal(before[name] + 1.0, value) for name, value in network.state_dict().items())
    network.load_state_dict(before)
    assert torch.equal(flat.split(flat.values)[0], before["0.weight"])


@pytest.mark.parametrize(
    "cls", [optim.Adam, optim.AdamW, optim.RMSprop, optim.SGD, optim.NAdam], ids=lambda cls: cls.__name__
)
def test_an_optimizer_of_one_tensor_is_one_of_many(cls):
    """Steps to float tolerance; and its state goes over into the other's, either way, and on from there."""
    kwargs = {"momentum": 0.9} if cls is optim.SGD else {}
    one, many = perceptron((3, 5, 2)), perceptron((3, 5, 2))
    *others, last = one.parameters()
    flat = Flat([last, *others])  # lies in another order than the optimizer has it

    def step(network, optimizer, seed):
        gradients = [numbers(*each.shape, seed=seed + i) for i, each in enumerate(network.parameters())]
        for parameter, gradient in zip(network.parameters(), gradients, strict=True):
            if network is one:
                flat.gradient_of(parameter).copy_(gradient)
            parameter.grad = gradient
        flat.show_gradient()
        optimizer.step()

    def equal():
        for a, b in zip(one.parameters(), many.parameters(), strict=True):
            torch.testing.assert_close(a, b)

    def make(parameters):
        policy = type("Policy", (), {"optimizer_class": cls, "optimizer_kwargs": kwargs})
        return make_optimizer(policy, 0.01, parameters)

    ours, theirs = flat.optimizer(make, list(one.parameters())), make(list(many.parameters()))
    assert isinstance(ours, FlatAdam) == (cls is optim.Adam)
    assert isinstance(ours, FlatRMSprop) == (cls is optim.RMSprop)
    for seed in (0, 10):
        step(one, ours, seed)
        step(many, theirs, seed)
    equal()
    a, b = ours.state_dict(), theirs.state_dict()
    assert a["state"].keys() == b["state"].keys()
    assert a["param_groups"][0]["params"] == b["param_groups"][0]["params"]
    for i, state in b["state"].items():
        assert a["state"][i].keys() == state.keys()
        for key, value in state.items():
            torch.testing.assert_close(a["state"][i][key], value)
    ours_again, theirs_again = flat.optimizer(make, list(one.parameters())), make(list(many.parameters()))
    ours_again.load_state_dict(b)
    theirs_again.load_state_dict(a)
    step(one, ours_again, 20)
    step(many, theirs_again, 20)
    equal()


@pytest.mark.parametrize("settings", [{}, {"weight_decay": 0.1, "eps": 1e-5, "alpha": 0.9}])
def test_rmsprop_of_one_tensor_is_torchs_own_to_the_bit(settings):
    one, other = (torch.nn.Parameter(numbers(40, seed=1)) for _ in range(2))
    theirs = optim.RMSprop([one], lr=0.01, **settings)
    ours = FlatRMSprop.like(optim.RMSprop([other], lr=0.01, **settings))
    assert isinstance(ours, FlatRMSprop)
    for seed in range(3):
        for parameter, optimizer in ((one, theirs), (other, ours)):
            parameter.grad = numbers(40, seed=seed)
            optimizer.step()
    assert torch.equal(one, other)
    a, b = theirs.state_dict(), ours.state_dict()
    assert all(torch.equal(a["state"][0][key], b["state"][0][key]) for key in ("step", "square_avg"))
    assert a["param_groups"] == b["param_groups"]


@pytest.mark.parametrize("settings", [{"momentum": 0.9}, {"centered": True}, {"maximize": True}])
def test_another_rmsprop_is_left_to_torch(settings):
    theirs = optim.RMSprop([torch.nn.Parameter(torch.zeros(1))], **settings)
    assert FlatRMSprop.like(theirs) is theirs


def test_a_state_is_the_same_to_the_bit_after_its_way_through_a_dictionary():
    network = perceptron((3, 5, 2))
    flat = Flat(network.parameters())

    def make(parameters):
        return optim.Adam(parameters, fused=True)

    optimizer = flat.optimizer(make, list(network.parameters()))
    flat.gradient.copy_(numbers(len(flat.gradient)))
    flat.show_gradient()
    optimizer.step()
    other = flat.optimizer(make, list(network.parameters()))
    other.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    (one,), (two,) = optimizer.state.values(), other.state.values()
    for parts in zip(*(flat.split(each[key]) for each in (one, two) for key in ("exp_avg", "exp_avg_sq")), strict=True):
        assert torch.equal(parts[0], parts[2])
        assert torch.equal(parts[1], parts[3])
    assert one["step"] == two["step"]


# -- actor and critic -------------------------------------------------------------------------------------------------

SPACES = {
    "Discrete": (spaces.Discrete(3), lambda rng: rng(0, 3, (40,))),
    "MultiDiscrete": (spaces.MultiDiscrete([2, 3]), lambda rng: torch.stack([rng(0, 2, (40,)), rng(0, 3, (40,))], 1)),
    "MultiBinary": (spaces.MultiBinary(2), lambda rng: rng(0, 2, (40, 2))),
    "Box": (spaces.Box(-1, 1, (2,)), lambda rng: numbers(40, 2, seed=5)),
}
ARCHITECTURES = {
    "as SB3": {},
    "apart": {"net_arch": {"pi": [8], "vf": [16, 16]}},
    "none": {"net_arch": []},
    "relu": {"net_arch": [16, 16, 16], "activation_fn": nn.ReLU},
}


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("space", SPACES)
def test_actor_and_critic_as_autograd_has_them(space, architecture):
    """The whole way from observations to the gradient of every parameter, in both ways."""
    action_space, draw = SPACES[space]
    torch.manual_seed(1)
    policy = ActorCriticPolicy(spaces.Box(-1, 1, (5,)), action_space, lambda _: 1e-3, **ARCHITECTURES[architecture])
    plain, ours = ActorCritic(copy.deepcopy(policy)), DenseActorCritic.of(policy)
    rng = torch.Generator().manual_seed(0)
    obs, action = numbers(40, 5), draw(lambda low, high, shape: torch.randint(low, high, shape, generator=rng))
    slope = Slope(numbers(40, seed=1), numbers(40, seed=2), entropy=0.3)
    a, b = plain.evaluate(obs, action), ours.evaluate(obs, action)
    for name in ("log_prob", "value", "entropy"):
        torch.testing.assert_close(getattr(a, name), getattr(b, name))
    plain.backward(slope)
    ours.backward(slope)
    for (name, theirs), mine in zip(plain.policy.named_parameters(), policy.parameters(), strict=True):
        torch.testing.assert_close(ours.flat.gradient_of(mine), theirs.grad, atol=1e-5, rtol=1e-5, msg=name)
    torch.testing.assert_close(plain.actor(obs)[0].detach(), ours.actor(obs)[0])
    torch.testing.assert_close(plain.critic(obs).detach(), ours.critic(obs))


@pytest.mark.parametrize(
    ("kwargs", "why"),
    [
        ({"use_sde": True}, "use_sde"),
        ({"activation_fn": nn.Softsign}, "usual activations"),
    ],
)
def test_a_policy_that_keeps_autograd(kwargs, why):
    policy = ActorCriticPolicy(spaces.Box(-1, 1, (5,)), spaces.Box(-1, 1, (2,)), lambda _: 1e-3, **kwargs)
    assert why in DenseActorCritic.of(policy)
