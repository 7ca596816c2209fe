"""How fast quickstudy is, beside the other libraries, in time that can be compared. See
docs/experiments/speed.md.
"""

from quickstudy.bench.growth import AXES as AXES
from quickstudy.bench.growth import GrowthReport as GrowthReport
from quickstudy.bench.growth import axis_named as axis_named
from quickstudy.bench.growth import measure_growth as measure_growth
from quickstudy.bench.learners import LearnersReport as LearnersReport
from quickstudy.bench.learners import measure_learners as measure_learners
from quickstudy.bench.machine import device_named as device_named
from quickstudy.bench.ours import OURS as OURS
from quickstudy.bench.peers import PEERS as PEERS
from quickstudy.bench.peers import peer_named as peer_named
from quickstudy.bench.pictures import growth_page as growth_page
from quickstudy.bench.pictures import ratio_bars as ratio_bars
from quickstudy.bench.speed import SpeedReport as SpeedReport
from quickstudy.bench.speed import compare_speed as compare_speed
from quickstudy.bench.speed import missing_entries as missing_entries
from quickstudy.bench.workloads import WORKLOADS as WORKLOADS
from quickstudy.bench.workloads import Workload as Workload
from quickstudy.bench.workloads import workload_named as workload_named
