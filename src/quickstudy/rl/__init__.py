"""Meta reinforcement learning: policies that adapt to a task from a few episodes."""

from typing import TYPE_CHECKING

from quickstudy.core.lazy import attach

if TYPE_CHECKING:
    from quickstudy.rl.adapt import Adaptation as Adaptation
    from quickstudy.rl.adapt import AdaptedPolicy as AdaptedPolicy
    from quickstudy.rl.adapt import PolicyLearner as PolicyLearner
    from quickstudy.rl.adapt import maml_policy as maml_policy
    from quickstudy.rl.bandits import Bandits as Bandits
    from quickstudy.rl.environment import AbstractEnvironment as AbstractEnvironment
    from quickstudy.rl.navigation import Navigation2D as Navigation2D
    from quickstudy.rl.outer import PPO as PPO
    from quickstudy.rl.outer import TRPO as TRPO
    from quickstudy.rl.policy import policy_for as policy_for
    from quickstudy.rl.recurrent import RecurrentPolicy as RecurrentPolicy
    from quickstudy.rl.recurrent import TrialPPO as TrialPPO
    from quickstudy.rl.recurrent import live as live
    from quickstudy.rl.recurrent import train_recurrent as train_recurrent
    from quickstudy.rl.rollout import Trajectories as Trajectories
    from quickstudy.rl.rollout import collect as collect
    from quickstudy.rl.rollout import play as play
    from quickstudy.rl.tabular import TabularWorlds as TabularWorlds
    from quickstudy.rl.train import returns_along as returns_along
    from quickstudy.rl.train import train_policy as train_policy
else:
    __getattr__, __dir__, __all__ = attach(__name__)
