"""Millions of pictures, with Dask on one machine or a cluster: python deploy/predict_dask.py MODEL
FOLDER OUT
"""

import json
import sys
from pathlib import Path

import dask.bag

from quickstudy import FittedModel

if __name__ == "__main__":
    model, folder, out = FittedModel.load(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
    files = [str(path) for path in sorted(folder.rglob("*")) if path.is_file()]
    batches = [{"path": files[i : i + 256]} for i in range(0, len(files), 256)]
    # For a cluster: dask.distributed.Client("ADDRESS"), where every machine sees the files.
    answers = dask.bag.from_sequence(batches, partition_size=1).map(model.predict_batch)
    answers.map(lambda batch: json.dumps(batch, default=str)).to_textfiles(f"{out}/*.jsonl")
