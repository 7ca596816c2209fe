"""A model as a file: ``.onnx`` for any program, ``.pt2`` for torch."""

import json
import logging
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from quickstudy import runtime
from quickstudy.anomaly import PatchMemory
from quickstudy.core.arrays import NDArray
from quickstudy.core.disk import write_file
from quickstudy.core.errors import ConfigError, QuickstudyError
from quickstudy.estimators import FittedModel, OpenSetClassifier
from quickstudy.estimators.encoding import TABLE
from quickstudy.export.graphs import ClassifierGraph, PatchGraph, RowGraph
from quickstudy.kernels.backends import backend
from quickstudy.pretrained.encoder import hash_of
from quickstudy.version import __version__

ENDINGS = (".onnx", ".pt2")
TOLERANCE = 1e-4
_OPSET = 20
_TRIED = 3
Answers = dict[str, NDArray[Any]]
_LOGGERS = ("torch.onnx", "torch.export", "onnxscript", "onnx_ir")


def export_model(model: FittedModel, path: str | Path) -> Path:
    """Write a fitted model as one graph from resized pixels, or from rows of a table, to the scores
    and probabilities of its classes, the membership score, and the vectors.

    The file says in its metadata how a picture is prepared, the classes, the threshold and the hash
    of the model; `quickstudy.runtime` reads it. Before it is written, what it answers is compared
    with what the model answers.

    Args:
        model: with its encoder open.
        path: ends with .onnx (needs the extra ``export``) or .pt2.

    Raises:
        ConfigError: when the model cannot be a graph, for another ending, without the packages, or
            when the file cannot be written.
    """
    file = _checked(path)
    preprocessing: dict[str, Any]
    classifier = model.classifier
    graph: nn.Module
    if model.encoding.kind == TABLE:
        if model.encoding.categories:
            raise ConfigError(
                "The model was fitted to a table with columns of words, which a graph of numbers "
                "does not take. Fit to columns of numbers, or serve it (quickstudy serve)."
            )
        graph = ClassifierGraph(model, RowGraph(model))
        example = torch.randn(_TRIED, model.known.n_features_in_, dtype=torch.float64)
        preprocessing = {"way": runtime.ROWS, "columns": list(model.encoding.columns)}
        names = "rows"
    elif model.encoder is None:
        raise ConfigError('The model was loaded without its encoder. Load it with encoder="".')
    else:
        encoder = model.encoder.graph()
        graph = ClassifierGraph(model, encoder.network)
        example = _pixels(encoder.shape)
        preprocessing = encoder.preprocessing
        names = "pixels"
    about: dict[str, Any] = {
        "kind": runtime.CLASSIFIER,
        "preprocessing": preprocessing,
        "encoder": model.encoding.key,
        "classes": model.known.classes_.tolist(),
        "threshold": None,
        "model": model.origin[1] or hash_of(*(t.numpy() for t in graph.state_dict().values())),
    }
    if isinstance(classifier, OpenSetClassifier):
        about |= {
            "reject_label": classifier.reject_label_,
            "threshold": classifier.threshold_,
            "review_threshold": classifier.review_threshold_,
            "false_accept_rate": classifier.rate_,
            "unknowns": classifier.n_unknowns_,
        }

    def expected(out: Answers) -> Answers:
        x = out["vectors"].astype(np.float64)
        scores = model.known.class_scores(x)
        members = scores.max(1)
        if isinstance(classifier, OpenSetClassifier):
            members = classifier.membership(x)
        return {
            "scores": scores,
            "probabilities": classifier.predict_proba(x),
            "membership": members,
        }

    outputs = ("scores", "probabilities", "membership", "vectors")
    return export_graph(graph, example, names, outputs, about, file, expected)


def export_patch_memory(memory: PatchMemory, path: str | Path) -> Path:
    """Write a patch memory, with its bank, as one graph from resized pixels to how anomalous a
    picture is (``anomaly``) and each of its places (``places``).

    Args:
        memory: fitted.
        path: ends with .onnx (needs the extra ``export``) or .pt2.

    Raises:
        ConfigError: as `export_model`.
    """
    file = _checked(path)
    encoder = memory.encoder_.graph()
    if encoder.patches is None:
        raise ConfigError(
            f"The places of '{memory.encoder_.source}' cannot be exported. Fit with the encoder "
            "photographs, or a trained run with a Conv4."
        )
    about = {
        "kind": runtime.PATCH_MEMORY,
        "preprocessing": encoder.preprocessing,
        "encoder": memory.key_,
        "threshold": memory.threshold_,
        "model": hash_of(memory.key_, memory.memory_.numpy()),
    }
    graph = PatchGraph(memory, encoder.patches)
    example = _pixels(encoder.shape)
    return export_graph(graph, example, "pixels", ("anomaly", "places"), about, file)


def export_graph(
    graph: nn.Module,
    example: Tensor,
    given: str,
    outputs: tuple[str, ...],
    about: dict[str, Any],
    file: Path,
    expected: Callable[[Answers], Answers] | None = None,
) -> Path:
    """Write a graph with any number of items, after its answers to an example were compared.

    Args:
        graph: the module.
        example: items ``[n *S]``.
        given: the name of the input.
        outputs: the names of the outputs.
        about: what the file says of itself.
        file: where to.
        expected: gives what some outputs shall be, from what the module answers, both by name;
            None = what the module answers.

    Raises:
        ConfigError: when torch cannot trace it, the answers differ, or the file cannot be written.
    """
    graph.eval()
    shape = ["n", *example.shape[1:]]
    kind = str(example.dtype).removeprefix("torch.")
    about = {
        "format": runtime.FORMAT,
        "quickstudy": __version__,
        "input": {"name": given, "type": kind, "shape": shape},
        "outputs": list(outputs),
        **about,
    }
    written = json.dumps(about, ensure_ascii=False)
    with tempfile.TemporaryDirectory() as folder, _quiet(), torch.no_grad(), backend("plain"):
        out = {k: v.numpy() for k, v in zip(outputs, graph(example), strict=True)}
        new = Path(folder) / f"graph{file.suffix}"
        try:
            program = torch.export.export(
                graph, (example,), dynamic_shapes=({0: torch.export.Dim("n", min=1)},)
            )
            if file.suffix == ".onnx":
                actual = _write_onnx(program, example, given, outputs, written, new)
            else:
                torch.export.save(program, new, extra_files={f"{runtime.METADATA}.json": written})
                again = torch.export.load(new).module()
                actual = {k: v.numpy() for k, v in zip(outputs, again(example), strict=True)}
        except QuickstudyError:
            raise
        except Exception as error:  # of the many kinds that tracing has
            cause = _first_cause(error)
            raise ConfigError(
                f"The model cannot be exported: {type(cause).__name__}: "
                f"{(str(cause).splitlines() or [''])[0]} Fit with another head or learner."
            ) from error
        _compare(actual, out if expected is None else {**out, **expected(out)})
        content = new.read_bytes()
    write_file(file, content)
    return file


def _write_onnx(
    program: Any, example: Tensor, given: str, outputs: tuple[str, ...], about: str, file: Path
) -> Answers:
    exported: Any = torch.onnx.export(
        program,
        input_names=[given],
        output_names=list(outputs),
        opset_version=_OPSET,
        dynamo=True,
        external_data=False,
        verbose=False,
    )
    proto = exported.model_proto
    proto.producer_name = "quickstudy"
    proto.producer_version = __version__
    entry = proto.metadata_props.add()
    entry.key = runtime.METADATA
    entry.value = about
    file.write_bytes(proto.SerializeToString())
    import onnxruntime

    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    values = session.run(list(outputs), {given: example.numpy()})
    return dict(zip(outputs, map(np.asarray, values), strict=True))


def _first_cause(error: BaseException) -> BaseException:
    while error.__cause__ is not None:
        error = error.__cause__
    return error


def _compare(actual: Answers, expected: Answers) -> None:
    for name, values in expected.items():
        if not np.allclose(actual[name], values, rtol=TOLERANCE, atol=TOLERANCE):
            gap = float(np.abs(actual[name] - values).max())
            raise ConfigError(
                f"The exported graph does not answer as the model does: {name} differs by "
                f"{gap:.3g}, and {TOLERANCE} is allowed. Nothing was written; fit with another "
                "head or encoder."
            )


def _checked(path: str | Path) -> Path:
    file = Path(path)
    if file.suffix not in ENDINGS:
        raise ConfigError(
            f"A model is exported into a file that ends with {' or '.join(ENDINGS)}, not into "
            f"'{file.name}'. Choose one of these."
        )
    if file.suffix == ".onnx":
        for package in ("onnx", "onnxscript", "onnxruntime"):
            try:
                __import__(package)
            except ImportError as error:
                raise ConfigError(
                    f"Exporting to ONNX needs the package {package}: pip install "
                    "'quickstudy[export]'."
                ) from error
    return file


def _pixels(shape: tuple[int, ...]) -> Tensor:
    return torch.randint(0, 256, (_TRIED, *shape), dtype=torch.uint8)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what torch says of packages that are not there."""
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            for logger in loggers:
                logger.setLevel(logging.ERROR)
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
