import re
import shutil
from pathlib import Path

import pytest
import torch
from torch.utils import _pytree as pytree

from quickstudy.algorithms import ALGORITHMS, MatchingNet, NearestNeighbour, ProtoNet, anil, maml
from quickstudy.core.errors import ConfigError, LoadError
from quickstudy.core.predictor import Predictor
from quickstudy.core.saving import MANIFEST, load_folder, save_folder
from quickstudy.core.types import Classes, Examples, Reals
from quickstudy.encoders import MLP, Conv4, Identity, Wrapped
from quickstudy.testing import toy_episode, toy_learner
from quickstudy.testing.faults import check_damage, check_faults


def images(n=8, size=16):
    return Examples.single(torch.rand(n, 1, size, size), torch.arange(n) % 3)


def learners():
    toys = {name: toy_learner(name) for name in ALGORITHMS}
    yield from (
        (name, learner, (6,)) for name, learner in toys.items() if not learner.traits.transductive
    )
    yield "protonet on images", ProtoNet(Conv4(size=16, width=4)), (1, 16, 16)
    yield (
        "protonet with support statistics",
        ProtoNet(Conv4(size=16, width=4, norm="support", norm_scale=False)),
        (1, 16, 16),
    )
    yield (
        "maml with support statistics",
        maml(Conv4(size=16, width=4, norm="support"), n_out=4, inner_lr=0.1, inner_steps=2),
        (1, 16, 16),
    )
    yield (
        "anil with group norm",
        anil(Conv4(size=16, width=4, norm="group"), n_out=4, inner_lr=0.1),
        (1, 16, 16),
    )


def fitted(learner, shape=(6,)):
    target = Classes(4) if Classes in learner.traits.targets else Reals(4)
    episode = toy_episode(n_tasks=1, shape=shape, target=target)
    learner.train()
    if isinstance(getattr(learner, "encoder", None), Conv4):
        learner(episode)  # running statistics of its own
    return learner.fit(episode.support, episode.target), episode.query.x[0]


@pytest.mark.parametrize(
    ("name", "learner", "shape"), list(learners()), ids=lambda v: v if isinstance(v, str) else ""
)
def test_what_is_loaded_answers_bit_for_bit_as_what_was_saved(name, learner, shape, tmp_path):
    predictor, x = fitted(learner, shape)
    again = Predictor.load(predictor.save(tmp_path / "deep" / "folder"))
    assert torch.equal(again(x), predictor(x))
    assert not again.training
    assert again.target == predictor.target
    assert pytree.tree_structure(again.state) == pytree.tree_structure(predictor.state)
    manifest, tensors = sorted((tmp_path / "deep" / "folder").glob("[!.]*"), key=lambda p: p.suffix)
    assert manifest.name == MANIFEST
    assert re.fullmatch(r"predictor\.qs-[0-9a-f]{16}\.safetensors", tensors.name)


@pytest.mark.parametrize("name", ["protonet", "maml", "linear_probe"])
def test_double_precision_is_kept(name, tmp_path):
    episode = toy_episode(n_tasks=1)
    support = Examples(episode.support.x.double(), episode.support.y)
    predictor = toy_learner(name).double().fit(support, episode.target)
    again = Predictor.load(predictor.save(tmp_path))
    out = again(episode.query.x[0].double())
    assert out.dtype == torch.float64
    assert torch.equal(out, predictor(episode.query.x[0].double()))


def test_regression_predictors_are_saved_too(tmp_path):
    support = Examples.single(torch.randn(5, 1), torch.randn(5, 1))
    predictor = maml(MLP(1, widths=(8,)), n_out=1, inner_lr=0.1).fit(support, Reals(1))
    again = Predictor.load(predictor.save(tmp_path))
    assert again.target == Reals(1)
    assert torch.equal(again(support.x[0]), predictor(support.x[0]))


def test_a_predictor_does_not_learn_nor_look_at_its_other_queries():
    learner = ProtoNet(Conv4(size=16, width=4))
    learner.train()
    predictor, x = fitted(learner, (1, 16, 16))
    before = {name: t.clone() for name, t in predictor.state_dict().items()}
    whole = predictor(x)
    alone = torch.cat([predictor(one[None]) for one in x])
    torch.testing.assert_close(whole, alone)
    assert all(torch.equal(t, before[name]) for name, t in predictor.state_dict().items())
    assert learner.training


def test_it_answers_as_its_learner_does(tmp_path):
    learner = toy_learner("matching").eval()
    episode = toy_episode(n_tasks=1)
    predictor = learner.fit(episode.support, episode.target)
    assert torch.equal(predictor(episode.query.x[0]), learner(episode)[0])


# --- labels and extras


def test_labels_and_extras_come_back(tmp_path):
    predictor, _ = fitted(toy_learner("protonet"))
    extra = {"image": {"size": 28, "mean": [0.5]}, "note": "naïve ≠ simple"}
    named = Predictor(
        predictor.learner,
        predictor.state,
        predictor.target,
        labels=("wren", "tit", "Ärger", "梟"),
        extra=extra,
    )
    again = Predictor.load(named.save(tmp_path))
    assert again.labels == ("wren", "tit", "Ärger", "梟")
    assert again.extra == extra
    assert "梟" in (tmp_path / MANIFEST).read_text(encoding="utf-8")


def test_the_number_of_labels_must_fit():
    predictor, _ = fitted(toy_learner("protonet"))
    with pytest.raises(ConfigError, match="3 labels for 4 outputs"):
        Predictor(predictor.learner, predictor.state, predictor.target, labels=("a", "b", "c"))


def test_a_state_of_two_tasks_is_refused():
    learner = toy_learner("protonet")
    episode = toy_episode(n_tasks=2)
    with pytest.raises(
        ConfigError, match=r"one task, but leaf 0 of its state has shape \(2, 4, 16\)"
    ):
        Predictor(learner, learner.adapt(episode.support, episode.target), episode.target)


def test_a_state_of_something_else_is_refused():
    learner = toy_learner("protonet")
    episode = toy_episode(n_tasks=1)
    with pytest.raises(ConfigError, match="tuples, lists and dicts, but this one has a Examples"):
        Predictor(learner, (episode.support,), episode.target)


def test_the_state_is_a_copyable_part_of_the_module():
    predictor, _ = fitted(MatchingNet(MLP(6)))
    names = [name for name in predictor.state_dict() if name.startswith("state_")]
    assert names == ["state_0", "state_1"]
    assert all(t.dtype == torch.float64 for t in predictor.double().state[:2])
    assert not any(t.requires_grad for t in pytree.tree_leaves(predictor.state))


def test_nested_states_of_many_leaves_keep_their_order(tmp_path):
    learner, target = ProtoNet(Identity(2)), Classes(2)
    leaf = iter(torch.arange(20.0)[:, None])
    state = (
        {"b": next(leaf), "a": [next(leaf), (next(leaf),)]},
        tuple(next(leaf) for _ in range(11)),
        (),
        [],
    )
    again = Predictor.load(Predictor(learner, state, target).save(tmp_path))
    assert pytree.tree_structure(again.state) == pytree.tree_structure(state)
    assert list(again.state[0]) == ["b", "a"]
    assert torch.equal(torch.cat(pytree.tree_leaves(again.state)), torch.arange(14.0))


def test_what_cannot_be_described_is_not_half_saved(tmp_path):
    class Scaled(ProtoNet):
        def __init__(self, encoder, scale):
            super().__init__(encoder)

    predictor, _ = fitted(Scaled(MLP(6, widths=(2,)), torch.ones(2)))
    with pytest.raises(ConfigError, match="Tensor"):
        predictor.save(tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_wrapped_network_is_saved_without_its_code(tmp_path):
    network = torch.nn.Linear(6, 2)
    predictor, x = fitted(ProtoNet(Wrapped(network, out_dim=2, name="backbone")))
    folder = predictor.save(tmp_path / "saved")
    with pytest.raises(LoadError, match=r"load\(folder, modules=\{'backbone': network\}\)"):
        Predictor.load(folder)
    fresh = torch.nn.Linear(6, 2)
    before = fresh.weight.clone()
    loaded = Predictor.load(folder, modules={"backbone": fresh})
    assert torch.equal(loaded(x), predictor(x))
    assert torch.equal(fresh.weight, before)


# --- damaged files


@pytest.fixture
def folder(tmp_path):
    predictor, _ = fitted(toy_learner("maml"))
    return predictor.save(tmp_path / "saved")


def load_error(folder):
    with pytest.raises(LoadError) as caught:
        Predictor.load(folder)
    assert str(folder) in str(caught.value)
    return str(caught.value)


def edited(folder, change):
    """Saved again with another description, so that only its meaning is wrong."""
    saved = load_folder(folder)
    change(saved.about)
    save_folder(folder, kind="predictor", about=saved.about, files=saved.files)


def tensors_of(folder):
    return next(folder.glob("predictor.*.safetensors"))


def test_an_empty_folder(tmp_path):
    assert "nothing that quickstudy saved" in load_error(tmp_path)


def test_missing_tensors(folder):
    tensors_of(folder).unlink()
    load_error(folder)


def test_something_else_that_quickstudy_saved(tmp_path):
    save_folder(tmp_path, kind="run", about={})
    assert "holds a training run, but a predictor was expected" in load_error(tmp_path)


@pytest.mark.parametrize("key", ["learner", "target", "labels", "state", "extra"])
@pytest.mark.parametrize("value", ["missing", None, 3, [{"type": "os.system", "arguments": {}}]])
def test_damaged_parts(folder, key, value):
    edited(
        folder, lambda about: about.pop(key) if value == "missing" else about.update({key: value})
    )
    load_error(folder)


@pytest.mark.parametrize(
    "part",
    [
        {"type": "os.system", "arguments": {}},
        {"type": "FixedRate", "arguments": {"lr": 1.0}},
        {"type": "dict", "arguments": {}},
    ],
)
@pytest.mark.parametrize("key", ["learner", "target"])
def test_parts_of_another_kind(folder, key, part):
    edited(folder, lambda about: about.update({key: part}))
    load_error(folder)


@pytest.mark.parametrize("labels", [["a"], ["a", "b", "c"], [1, 2, 3, 4], "abcd"])
def test_labels_that_do_not_fit(folder, labels):
    edited(folder, lambda about: about.update(labels=labels))
    load_error(folder)


@pytest.mark.parametrize(
    "state",
    [
        {"tuple": [0, 99]},
        {"tuple": [-1]},
        {"set": [0]},
        {"dict": [["a", 0, 1]]},
        {"tuple": 0},
        {"tuple": []},
        7,
        {},
    ],
)
def test_states_that_do_not_fit(folder, state):
    edited(folder, lambda about: about.update(state=state))
    load_error(folder)


@pytest.mark.parametrize("other", ["protonet", "maml wider", "maml 3-way"])
def test_swapped_files(folder, tmp_path, other):
    learner = {
        "protonet": toy_learner("protonet"),
        "maml wider": maml(MLP(6, widths=(17, 16)), n_out=4),
        "maml 3-way": toy_learner("maml", n_out=3),
    }[other]
    episode = toy_episode(n_tasks=1, n_way=3 if "3" in other else 4)
    swapped = learner.fit(episode.support, episode.target).save(tmp_path / "other")
    exchange_tensors(swapped, folder)
    assert "do not belong together" in load_error(folder)


def exchange_tensors(source, folder):
    about = load_folder(folder).about
    save_folder(folder, kind="predictor", about=about, files=load_folder(source).files)


def test_a_file_of_another_predictor(tmp_path):
    folders = []
    for n_way in (3, 4):
        episode = toy_episode(n_tasks=1, n_way=n_way)
        predictor = toy_learner("protonet").fit(episode.support, episode.target)
        folders.append(predictor.save(tmp_path / f"{n_way}-way"))
    shutil.copy(tensors_of(folders[0]), tensors_of(folders[1]))
    assert "damaged" in load_error(folders[1])


def test_every_fault_of_a_save_leaves_the_old_predictor_or_the_new(tmp_path):
    older, x = fitted(toy_learner("matching"))
    newer, _ = fitted(toy_learner("maml"))

    def read(path):
        predictor = Predictor.load(path)
        return type(predictor.learner), predictor(x).tolist()

    counts = check_faults(read, newer.save, older.save, scratch=tmp_path)
    assert min(counts.values()) > 15


def test_every_damaged_byte_is_noticed_or_harmless(folder, tmp_path):
    x = toy_episode(n_tasks=1).query.x[0]
    (tmp_path / "scratch").mkdir()
    counts = check_damage(
        lambda path: Predictor.load(path)(x).tolist(),
        folder,
        scratch=tmp_path / "scratch",
        changes=300,
        truncations=60,
    )
    assert counts["noticed"] > 300


def test_saving_over_an_older_predictor(tmp_path):
    first, _ = fitted(toy_learner("maml"))
    second, x = fitted(NearestNeighbour(Identity(6)))
    first.save(tmp_path)
    assert torch.equal(Predictor.load(second.save(tmp_path))(x), second(x))


def test_paths_may_be_text(tmp_path):
    predictor, x = fitted(toy_learner("protonet"))
    made = predictor.save(str(tmp_path / "a"))
    assert isinstance(made, Path)
    assert torch.equal(Predictor.load(str(made))(x), predictor(x))
