"""The container files name commands, options, paths and addresses that are there. Nothing is built
here: that takes docker.
"""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from quickstudy.cli.app import COMMANDS

yaml = pytest.importorskip("yaml")
ROOT = Path(__file__).parent.parent.parent
DEPLOY = ROOT / "deploy"
DOCKERFILE = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))
MANIFESTS = list(yaml.safe_load_all((DEPLOY / "kubernetes.yaml").read_text(encoding="utf-8")))
SERVER: dict[str, Any] = COMPOSE["services"]["server"]
CONTAINER: dict[str, Any] = MANIFESTS[0]["spec"]["template"]["spec"]["containers"][0]


def instruction(name: str) -> str:
    """The last instruction of this name."""
    return re.findall(rf"^{name} (.*)$", DOCKERFILE, re.MULTILINE)[-1]


@pytest.mark.parametrize(
    "arguments",
    [
        json.loads(instruction("CMD")),
        SERVER["command"],
        COMPOSE["services"]["create"]["command"],
        CONTAINER["args"],
    ],
)
def test_the_command_line_takes_what_the_files_say(arguments: list[str]) -> None:
    name, *rest = arguments
    command: Any = next(one for one in COMMANDS if one.name == name).load()
    if name == "gallery":
        command, rest = command.commands[rest[0]], rest[1:]
    context = command.make_context(name, rest)
    if name == "serve":
        assert context.params["host"] == "0.0.0.0"
        assert context.params["port"] == 8000
        assert str(context.params["keys"]) == "/keys/keys.json"


def test_the_image_is_built_of_files_that_are_there_and_runs_without_root() -> None:
    for sources in re.findall(r"^COPY (?!--from)(.*) \S+$", DOCKERFILE, re.MULTILINE):
        for source in sources.split():
            assert (ROOT / source).exists(), source
    assert instruction("USER") == "10001:10001"
    assert instruction("EXPOSE") == "8000"
    assert instruction("ENTRYPOINT") == '["quickstudy"]'
    assert (DEPLOY / SERVER["build"]["context"]).resolve() == ROOT
    assert (ROOT / SERVER["build"]["dockerfile"]).is_file()


def test_roots_are_read_only_and_what_is_written_has_a_place() -> None:
    assert SERVER["read_only"] is True
    assert SERVER["tmpfs"] == ["/tmp"]
    assert any(volume.endswith(":/keys:ro") for volume in SERVER["volumes"])
    security = CONTAINER["securityContext"]
    assert security["readOnlyRootFilesystem"] is True
    assert security["allowPrivilegeEscalation"] is False
    assert MANIFESTS[0]["spec"]["template"]["spec"]["securityContext"]["runAsUser"] == 10001
    volumes = {v["name"] for v in MANIFESTS[0]["spec"]["template"]["spec"]["volumes"]}
    mounts = {m["name"]: m["mountPath"] for m in CONTAINER["volumeMounts"]}
    assert mounts.keys() == volumes
    assert set(mounts.values()) == {"/keys", "/tmp"}
    for variable in ("QUICKSTUDY_CACHE", "MPLCONFIGDIR"):
        assert re.search(rf"{variable}=/tmp/", DOCKERFILE)


def test_the_probes_ask_what_the_service_answers(client: Any) -> None:
    http = client()
    probes = [CONTAINER[name]["httpGet"]["path"] for name in ("readinessProbe", "livenessProbe")]
    asked = re.findall(r"http://127\.0\.0\.1:8000(/[\w/]+)", instruction("HEALTHCHECK"))
    for path in [*probes, *asked]:
        assert http.get(path).status_code == 200
    assert len(asked) == 1
