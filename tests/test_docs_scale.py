"""What docs/experiments/scale.md tells people to copy is read by what they give it to."""

import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from quickstudy.cli.app import COMMANDS
from quickstudy.recipes import recipe_named
from quickstudy.tuning import parse_space

PAGES = {
    name: (Path(__file__).parents[1] / "docs" / "experiments" / name).read_text(encoding="utf-8")
    for name in ("scale.md", "tuning.md")
}


def blocks(language: str) -> list[str]:
    return [
        block
        for page in PAGES.values()
        for block in re.findall(rf"```{language}\n(.*?)```", page, re.DOTALL)
    ]


def objects() -> dict[tuple[str, str], Any]:
    return {
        (o["kind"], o["metadata"]["name"]): o
        for block in blocks("yaml")
        for o in yaml.safe_load_all(block)
    }


def scripts() -> list[str]:
    """The shell blocks, and the scripts inside the pods."""
    inside = [
        c["args"][0]
        for o in objects().values()
        if o["kind"] == "Job"
        for c in containers(o)
        if c["command"][:2] == ["bash", "-c"]
    ]
    return [*blocks("bash"), *blocks("sh"), *inside]


def containers(o: Any) -> list[Any]:
    return o["spec"]["template"]["spec"]["containers"]


def commands() -> list[list[str]]:
    """What follows ``quickstudy`` on each line that starts it, directly or by a launcher, and in
    each pod.
    """
    found = []
    for script in scripts():
        for line in script.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            if "quickstudy" in words and words[0] != "pip":
                after = words[words.index("quickstudy") + 1 :]
                found.append(after[:-1] if after[-1] == "&" else after)
    found += [
        [*c["command"], *c["args"]][1:]
        for o in objects().values()
        if o["kind"] == "Job"
        for c in containers(o)
        if c["command"][0] != "bash"
    ]
    return found


def test_the_page_has_what_it_should() -> None:
    assert len(blocks("bash")) == 2
    assert len(commands()) >= 9
    assert {kind for kind, _ in objects()} == {
        "PersistentVolumeClaim",
        "Service",
        "Job",
        "Secret",
        "StatefulSet",
    }


@pytest.mark.parametrize("script", scripts())
def test_scripts_are_bash(script: str) -> None:
    done = subprocess.run(["bash", "-n"], input=script, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_commands_have_options_that_exist(words: list[str]) -> None:
    recipe = "omniglot-5w1s-maml"
    written = {
        "$RECIPE": [recipe],
        "${OPTIONS[@]}": ["--out", "runs/maml", "--resume"],
        "${resume[@]}": ["--resume"],
    }
    plain = [part for word in words for part in written.get(word, [word])]
    assert not [word for word in plain if "$" in word]
    command = next(entry for entry in COMMANDS if entry.name == plain[0]).load()
    given = command.make_context(plain[0], plain[1:]).params
    if "recipe" not in given:
        return
    chosen = recipe_named(given["recipe"]).with_changes(
        dict(text.split("=", 1) for text in given["set_"] or ())
    )
    if "tune_" in given:
        space = parse_space(dict(text.split("=", 1) for text in given["tune_"]))
        assert chosen.train.validate_every
        for field, dimension in space.items():
            for text in dimension.ends:
                chosen.with_changes({field: text})


def test_the_job_script_sets_fields_that_exist() -> None:
    (fields,) = re.findall(r"^OPTIONS=\((.*)\)$", blocks("bash")[0], re.MULTILINE)
    words = shlex.split(fields)
    changes = dict(words[i + 1].split("=", 1) for i, word in enumerate(words) if word == "--set")
    assert changes
    recipe_named("omniglot-5w1s-maml").with_changes(changes)


def test_objects_find_each_other() -> None:
    found = objects()
    for (kind, name), o in found.items():
        assert o["apiVersion"] == {"Job": "batch/v1", "StatefulSet": "apps/v1"}.get(kind, "v1")
        if kind not in ("Job", "StatefulSet"):
            continue
        pod = o["spec"]["template"]["spec"]
        volumes = {
            v["name"]: v
            for v in [
                *pod.get("volumes", []),
                *(
                    {"name": c["metadata"]["name"]}
                    for c in o["spec"].get("volumeClaimTemplates", [])
                ),
            ]
        }
        for c in pod["containers"]:
            assert {m["name"] for m in c["volumeMounts"]} <= set(volumes)
            for variable in c.get("env", []):
                if "valueFrom" in variable:
                    ref = variable["valueFrom"]["secretKeyRef"]
                    assert ref["key"] in found["Secret", ref["name"]]["stringData"]
        for v in volumes.values():
            if "persistentVolumeClaim" in v:
                assert ("PersistentVolumeClaim", v["persistentVolumeClaim"]["claimName"]) in found
        if kind == "Job":
            assert pod["restartPolicy"] in ("OnFailure", "Never")
            assert o["spec"]["completions"] == o["spec"]["parallelism"]
        else:
            assert (
                o["spec"]["selector"]["matchLabels"]
                == o["spec"]["template"]["metadata"]["labels"]
                == found["Service", name]["spec"]["selector"]
            )


def test_the_pods_of_a_training_meet() -> None:
    job, service = objects()["Job", "maml"], objects()["Service", "maml"]
    (script,) = (c["args"][0] for c in containers(job))
    assert service["spec"]["clusterIP"] == "None"
    assert service["spec"]["selector"] == {"job-name": job["metadata"]["name"]}
    assert job["spec"]["completionMode"] == "Indexed"
    subdomain = job["spec"]["template"]["spec"]["subdomain"]
    port = service["spec"]["ports"][0]["port"]
    assert subdomain == service["metadata"]["name"]
    assert f"--rdzv-endpoint {job['metadata']['name']}-0.{subdomain}:{port}" in script
    assert f"--nnodes {job['spec']['completions']}" in script


def test_the_pods_of_a_search_reach_the_study() -> None:
    found = objects()
    search = containers(found["Job", "tune"])[0]
    database = containers(found["StatefulSet", "study"])[0]
    there = {v["name"]: v.get("value") for v in database["env"]}
    names = [v["name"] for v in search["env"]]
    # Kubernetes fills in only what stands before.
    assert names.index("PASSWORD") < names.index("QUICKSTUDY_STORAGE")
    url = search["env"][names.index("QUICKSTUDY_STORAGE")]["value"]
    host = found["Service", "study"]["metadata"]["name"]
    user, database_name = there["POSTGRES_USER"], there["POSTGRES_DB"]
    assert url == f"postgresql+psycopg://{user}:$(PASSWORD)@{host}/{database_name}"


def test_launchers_know_the_options() -> None:
    from torch.distributed.run import get_args_parser

    for script in scripts():
        for line in script.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            if "torchrun" in words:
                options = words[words.index("torchrun") + 1 : words.index("quickstudy") + 1]
                parsed = get_args_parser().parse_args(
                    [{"$SLURM_NNODES": "2", "$PROCESSES": "4"}.get(word, word) for word in options]
                )
                assert (parsed.module, parsed.training_script) == (True, "quickstudy")
