"""Recipes on miniImageNet."""

from dataclasses import replace

from quickstudy.core.setting import Setting
from quickstudy.recipes.recipe import Evaluation, Part, Recipe
from quickstudy.training import Optimiser, Plan


def mini_imagenet_protonet() -> Recipe:
    """Prototypical networks on photographs, from scratch in less than an hour: 4,000 tasks,
    where the paper's training goes on until nothing improves.
    """
    return Recipe(
        name="mini-imagenet-protonet",
        summary="Prototypical networks on miniImageNet, a short training: 4,000 steps of one "
        "20-way 1-shot task.",
        data=Part("mini-imagenet"),
        encoder=Part("conv4", {"size": 84, "in_channels": 3, "norm": "running"}),
        learner=Part("protonet"),
        transform=Part("photos", {"crop": 1.0, "light": 0.0}),
        episodes=Setting(n_way=20, n_shot=1, n_query=5),
        validation=Setting(n_way=5, n_shot=5, n_query=15),
        train=Plan(steps=4_000, validate_every=0, precision="bf16"),
        # Ahead of AdamW at 1e-3 on validation classes, in short trials that are not kept.
        optimiser=Optimiser(name="muon", lr=2e-2, schedule="one_cycle"),
        evaluations=(
            Evaluation(Setting(5, 1, 15), n_tasks=10_000),
            Evaluation(Setting(5, 5, 15), n_tasks=10_000),
        ),
        paper="Snell, Swersky, Zemel 2017, arXiv:1703.05175 (the method; trained for far shorter)",
    )


def mini_imagenet_classify() -> Recipe:
    """Pre-training: classification of the 64 training classes; scored by SimpleShot."""
    return Recipe(
        name="mini-imagenet-classify",
        summary="An encoder of photographs: classification of miniImageNet's 64 training classes, "
        "33 times through the data.",
        data=Part("mini-imagenet"),
        encoder=Part("conv4", {"size": 84, "in_channels": 3, "norm": "running"}),
        learner=Part("protonet", {"similarity": "cosine"}),
        objective=Part("classify", {"n_classes": 64, "dim": 1600}),
        transform=Part("photos", {"crop": 0.75}),
        # A batch: two pictures of each class, so that all are seen at every step.
        episodes=Setting(n_way=64, n_shot=1, n_query=1),
        validation=Setting(n_way=5, n_shot=5, n_query=15),
        train=Plan(steps=10_000, validate_every=0, precision="bf16"),
        optimiser=Optimiser(name="sgd", lr=0.1, weight_decay=5e-4, schedule="one_cycle"),
        evaluations=(
            Evaluation(Setting(5, 1, 15), n_tasks=10_000, learner="simpleshot"),
            Evaluation(Setting(5, 5, 15), n_tasks=10_000, learner="simpleshot"),
        ),
        paper="Chen et al. 2019, arXiv:1904.04232 (the pre-training)",
    )


def mini_imagenet_meta() -> Recipe:
    """Meta-training after pre-training: begin with ``--from runs/mini-imagenet-classify``."""
    return Recipe(
        name="mini-imagenet-meta",
        summary="Cosine prototypes on miniImageNet, meta-trained from an encoder that was trained "
        "to classify (--from runs/mini-imagenet-classify).",
        data=Part("mini-imagenet"),
        encoder=Part("conv4", {"size": 84, "in_channels": 3, "norm": "running"}),
        learner=Part("meta_baseline"),
        transform=Part("photos", {"crop": 0.75}),
        episodes=Setting(n_way=20, n_shot=3, n_query=5),
        validation=Setting(n_way=5, n_shot=5, n_query=15),
        train=Plan(steps=1_500, validate_every=0, precision="bf16"),
        optimiser=Optimiser(lr=5e-4, schedule="one_cycle"),
        evaluations=(
            Evaluation(Setting(5, 1, 15), n_tasks=10_000),
            Evaluation(Setting(5, 5, 15), n_tasks=10_000),
        ),
        paper="Chen et al. 2021, arXiv:2003.04390 (its numbers are of a ResNet-12; those beside "
        "are of prototypes on this encoder)",
    )


def mini_imagenet_meta_more() -> Recipe:
    """The second round of meta-training, at five shots: begin with ``--from
    runs/mini-imagenet-meta``.
    """
    first = mini_imagenet_meta()
    return replace(
        first,
        name="mini-imagenet-meta-more",
        summary="Cosine prototypes on miniImageNet, meta-trained on at five shots (--from "
        "runs/mini-imagenet-meta).",
        episodes=Setting(n_way=20, n_shot=5, n_query=5),
        train=replace(first.train, steps=6_000),
        optimiser=replace(first.optimiser, lr=1e-3),
    )


def mini_imagenet_meta_whole() -> Recipe:
    """The end of meta-training, on whole pictures as they will be asked about: begin with ``--from
    runs/mini-imagenet-meta-more``.
    """
    last = mini_imagenet_meta_more()
    return replace(
        last,
        name="mini-imagenet-meta-whole",
        summary="Cosine prototypes on miniImageNet, brought to an end on whole images (--from "
        "runs/mini-imagenet-meta-more).",
        transform=Part("photos", {"crop": 1.0, "light": 0.0}),
        train=replace(last.train, steps=1_000),
        optimiser=replace(last.optimiser, lr=5e-4),
    )


def mini_imagenet_distil() -> Recipe:
    """RFS: self-distillation after pre-training, and logistic regression on what comes of it: begin
    with ``--from runs/mini-imagenet-classify``.
    """
    first = mini_imagenet_classify()
    return replace(
        first,
        name="mini-imagenet-distil",
        summary="Self-distillation on miniImageNet: the encoder learns from its predecessor "
        "(--from runs/mini-imagenet-classify).",
        learner=Part("linear_probe", {"normalise": True}),
        objective=Part("distil", {"n_classes": 64, "dim": 1600}),
        train=replace(first.train, steps=2_000),
        optimiser=replace(first.optimiser, lr=0.05),
        evaluations=(
            Evaluation(Setting(5, 1, 15)),
            Evaluation(Setting(5, 5, 15)),
        ),
        paper="Tian et al. 2020, arXiv:2003.11539 (RFS-distill)",
    )


def mini_imagenet_rfs_paper() -> Recipe:
    """RFS with a ResNet-12, as published: 100 times through the data, for a GPU."""
    first = mini_imagenet_classify()
    return replace(
        first,
        name="mini-imagenet-rfs-paper",
        summary="RFS on miniImageNet with a ResNet-12, the published training; for a GPU.",
        encoder=Part("resnet12", {"size": 84, "drop_warm_up": 0}),
        learner=Part("linear_probe", {"normalise": True}),
        objective=Part("classify", {"n_classes": 64, "dim": 640}),
        train=replace(first.train, steps=30_000),
        optimiser=replace(first.optimiser, lr=0.05),
        evaluations=(
            Evaluation(Setting(5, 1, 15)),
            Evaluation(Setting(5, 5, 15)),
        ),
        paper="Tian et al. 2020, arXiv:2003.11539 (RFS-simple; its rate falls in three steps, ours "
        "along a cycle)",
    )


def mini_imagenet_rfs_distil_paper() -> Recipe:
    """RFS with a ResNet-12 and self-distillation, as published: begin with ``--from
    runs/mini-imagenet-rfs-paper``.
    """
    first = mini_imagenet_rfs_paper()
    return replace(
        first,
        name="mini-imagenet-rfs-distil-paper",
        summary="The generation after mini-imagenet-rfs-paper (--from "
        "runs/mini-imagenet-rfs-paper); for a GPU.",
        objective=Part("distil", {"n_classes": 64, "dim": 640}),
        evaluations=(
            Evaluation(Setting(5, 1, 15)),
            Evaluation(Setting(5, 5, 15)),
        ),
        paper="Tian et al. 2020, arXiv:2003.11539 (RFS-distill)",
    )
