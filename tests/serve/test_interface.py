"""Requests made from the description of both interfaces find no fault of the server: schemathesis
runs all its checks (server errors, statuses, media types and forms of answers, refusal of what does
not fit, acceptance of what does).
"""

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from quickstudy.serve import Limits, ServerSettings, create_app, open_registry, registry

schemathesis = pytest.importorskip("schemathesis")
# Its own strategies draw in ways that hypothesis warns of.
pytestmark = pytest.mark.filterwarnings("ignore::hypothesis.errors.HypothesisDeprecationWarning")
# For a longer run: QUICKSTUDY_EXAMPLES=200 pytest tests/serve/test_interface.py
EXAMPLES = int(os.environ.get("QUICKSTUDY_EXAMPLES", "2"))
KNOWN = {"model": "shapes", "gallery": "marks"}
# Half the requests ask for these, the others for whatever the description allows.
OFTEN = {"label": "bars", "identity": "circle", "template": 1}
# The description cannot say what a picture is, or what was asked before.
SEMANTIC = ["400", "410", "413", "415", "422"]
ACCEPTED = ["2xx", "3xx", "401", "403", "404", "409", "429", *SEMANTIC]


def test_no_request_brings_the_server_to_fall(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # An export takes seconds; test_service makes one.
    monkeypatch.setattr(registry, "export_model", lambda model, path: place / "marks.db")
    options = ServerSettings(limits=Limits(rate=0), names=("testserver",))
    app = create_app(open_registry(str(place)), options)
    config = schemathesis.Config.from_dict(
        {
            "request-timeout": 120,
            "checks": {"positive_data_acceptance": {"expected-statuses": ACCEPTED}},
        }
    )
    schema = schemathesis.openapi.from_asgi("/v1/openapi.json", app, config=config)
    asked: list[int] = []
    for result in schema.get_all_operations():
        operation = result.ok()

        @settings(
            max_examples=EXAMPLES,
            database=None,
            deadline=None,
            derandomize=True,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
            phases=[Phase.generate],
        )
        @given(case=operation.as_strategy())
        def ask(case) -> None:
            for name in KNOWN.keys() & case.path_parameters.keys():
                case.path_parameters[name] = KNOWN[name]
            for name in OFTEN.keys() & case.path_parameters.keys():
                if len(asked) % 2:
                    case.path_parameters[name] = OFTEN[name]
            asked.append(case.call_and_validate().status_code)

        ask()
    assert {200, 201} & set(asked)
    assert {404, 422} <= set(asked)
    assert len(asked) > 70
