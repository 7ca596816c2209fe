"""Millions of pictures, with Ray Data, here or on a cluster: python deploy/predict_ray.py MODEL
FOLDER OUT
"""

import sys
from pathlib import Path

import pyarrow
import ray

from quickstudy import FittedModel

# Files of Parquet must agree on types, also where all pictures of a batch are broken.
TEXT, NUMBER = pyarrow.string(), pyarrow.float64()
SHOWN = pyarrow.schema({"item": TEXT, "label": TEXT, "probability": NUMBER, "error": TEXT})


class Predict:
    """An actor: it is sent the model once, and opens the encoder once."""

    def __init__(self, model):
        self.model = model

    def __call__(self, batch):
        answers = self.model.predict_batch(batch)
        answers["item"] = [str(path) for path in answers["item"]]
        return pyarrow.table(answers, schema=SHOWN)


if __name__ == "__main__":
    model = FittedModel.load(sys.argv[1])
    folder, out = Path(sys.argv[2]).resolve(), Path(sys.argv[3]).resolve()
    files = [{"path": str(path)} for path in sorted(folder.rglob("*")) if path.is_file()]
    # For a cluster: the environment variable RAY_ADDRESS, where every machine sees both folders.
    answers = ray.data.from_items(files).map_batches(
        Predict, fn_constructor_args=[model], batch_size=256
    )
    # OUT must be a new folder: a second run would add its rows to those of the first. Writing
    # reserves no processor: of two, one would wait for rows.
    mode, writing = ray.data.SaveMode.CREATE, {"num_cpus": 0}
    answers.write_parquet(str(out), mode=mode, ray_remote_args=writing)
