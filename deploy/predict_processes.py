"""Millions of pictures, with processes of one machine: python deploy/predict_processes.py MODEL
FOLDER OUT.csv
"""

import csv
import multiprocessing
import os
import sys
from pathlib import Path

# A thread for each process: threads of several would wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")

from quickstudy import FittedModel

SHOWN = ("item", "label", "probability", "error")

if __name__ == "__main__":
    model, folder, out = FittedModel.load(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3])
    files = [str(path) for path in sorted(folder.rglob("*")) if path.is_file()]
    batches = [{"path": files[i : i + 256]} for i in range(0, len(files), 256)]
    n = max(1, min(os.cpu_count() or 1, len(batches)))
    # Fresh processes: threads of torch do not outlive a fork.
    with multiprocessing.get_context("spawn").Pool(n) as pool, out.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(SHOWN)
        for answers in pool.imap(model.predict_batch, batches):
            writer.writerows(zip(*(answers[name] for name in SHOWN), strict=True))
