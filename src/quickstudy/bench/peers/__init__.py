"""Other ways to do the same work, one file each. Optional packages are imported when they are
used.
"""

from quickstudy.bench.entry import Entry
from quickstudy.bench.peers.easyfsl import EASYFSL as EASYFSL
from quickstudy.bench.peers.higher import HIGHER as HIGHER
from quickstudy.bench.peers.jax import JAX as JAX
from quickstudy.bench.peers.plain import PLAIN as PLAIN
from quickstudy.bench.peers.torchopt import TORCHOPT as TORCHOPT
from quickstudy.bench.peers.vmap import VMAP as VMAP
from quickstudy.bench.peers.vmap import VMAP_COMPILED as VMAP_COMPILED
from quickstudy.core.errors import ConfigError, did_you_mean

PEERS: dict[str, Entry] = {
    e.name: e for e in (PLAIN, TORCHOPT, HIGHER, EASYFSL, VMAP, VMAP_COMPILED, JAX)
}


def peer_named(name: str) -> Entry:
    """The peer of this name.

    Raises:
        ConfigError: for any other name, with the nearest spelling; and for a peer that is not
            installed, with what installs it.
    """
    if name not in PEERS:
        raise ConfigError(f"No peer is called '{name}'. {did_you_mean(name, PEERS)}")
    if missing := PEERS[name].missing:
        raise ConfigError(f"The peer {missing}")
    return PEERS[name]
