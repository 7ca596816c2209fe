"""The speed comparison on a GPU, within a limit of time: 32 tasks a step, gradients checked.

python benchmarks/speed_gpu.py                       writes benchmarks/gpu/tf32-off.json
python benchmarks/speed_gpu.py --tf32                writes benchmarks/gpu/tf32-on.json
python benchmarks/speed_gpu.py --device cpu --n-tasks 1 --width 2 --rounds 1         tries it so

The most telling workloads come first. Each one is written as soon as it is measured; none is begun
after ``--minutes``, and those that were not begun stand in the file. It has not been run on a GPU
yet.
"""

import argparse
import os
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent
ORDER = ("W1", "W5", "W6-60way", "W3", "W4", "W2", "W6-84")
N_TASKS = 32


def main(arguments: list[str] | None = None) -> None:
    """Measure what the time is enough for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=7.0, help="begin no workload after these")
    parser.add_argument("--tf32", action="store_true", help="let matrix products round to TF32")
    parser.add_argument("--rounds", type=int, default=5, help="counted rounds of each workload")
    parser.add_argument("--n-tasks", type=int, default=N_TASKS, help="tasks of a step of MAML")
    parser.add_argument("--width", type=int, default=0, help="filters; 0 = each workload's own")
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    parser.add_argument("--workload", action="append", choices=ORDER, help="only these")
    parser.add_argument("--folder", type=Path, default=ROOT / "benchmarks" / "gpu")
    given = parser.parse_args(arguments)
    # For this process, which checks the gradients, and for those of the contenders.
    os.environ["NVIDIA_TF32_OVERRIDE"] = "1" if given.tf32 else "0"
    began = time.monotonic()

    from quickstudy.bench import PEERS, WORKLOADS, compare_speed, device_named
    from quickstudy.bench.speed import write_json

    device = device_named(given.device)
    path = given.folder / f"tf32-{'on' if given.tf32 else 'off'}.json"
    left = list(given.workload or ORDER)
    parts: list[dict[str, object]] = []
    while left and time.monotonic() - began < 60 * given.minutes:
        workload = WORKLOADS[left.pop(0)]
        n_tasks = given.n_tasks if workload.has_inner_loop else workload.n_tasks
        report = compare_speed(
            [workload.changed(n_tasks=n_tasks, width=given.width or workload.width)],
            list(PEERS.values()),
            device=device,
            rounds=given.rounds,
            with_memory=False,
            with_shares=False,
            on_progress=lambda text: print(text, flush=True),
        )
        parts.append(report.to_json())
        seconds = round(time.monotonic() - began, 1)
        content = {"tf32": given.tf32, "seconds": seconds, "not_begun": left, "reports": parts}
        write_json(content, path)
        print(f"{workload.name} is in {path} after {seconds:.0f} s", flush=True)


if __name__ == "__main__":
    main()
