"""What the service answers, and that it is what the model and the gallery say."""

import base64
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient

from quickstudy import runtime
from quickstudy.core.errors import ConfigError
from quickstudy.estimators import Encoding, FewShotClassifier, FittedModel
from quickstudy.estimators.views import METHODS
from quickstudy.serve import Limits, ServerSettings
from quickstudy.serve.keys import add_key, remove_key

SHAPES = ("circle", "cross", "bars")
Client = Callable[..., TestClient]
Files = Callable[..., list[tuple[str, tuple[str, bytes, str]]]]
Png = Callable[..., bytes]


def test_answers_are_the_models_and_a_bad_item_fails_alone(
    client: Client, place: Path, files: Files, png: Png, drawing: Callable[..., Any]
) -> None:
    http = client()
    sent = [*files(*SHAPES), ("file", ("note.png", b"no image", "image/png"))]
    said = http.post("/v1/models/shapes/predict", files=sent)
    assert said.status_code == 200
    body = said.json()
    model = FittedModel.load(place / "shapes")
    assert model.encoder is not None
    x = model.encoder.encode([drawing(shape, 7) for shape in SHAPES])
    expected = model.answer_vectors(SHAPES, x.astype(float))
    for answer, one in zip(body["answers"], expected, strict=False):
        assert answer["answer"] == one.label
        assert answer["score"] == pytest.approx(one.score, abs=1e-5)
        assert answer["scores"][answer["nearest"]] == pytest.approx(one.probability, abs=1e-5)
    assert [a["nearest"] for a in body["answers"][:3]] == list(SHAPES)
    assert body["answers"][3]["answer"] is None
    assert body["answers"][3]["error"]
    assert body["promise"]["false_accept_rate"] == 0.05
    assert body["promise"]["unknowns"] == 40
    assert body["version"] == model.origin[1]
    assert body["request_id"] == said.headers["x-request-id"]
    coded = [{"name": s, "data": base64.b64encode(png(s, 7)).decode()} for s in SHAPES]
    again = http.post("/v1/models/shapes/predict", json={"items": coded}).json()
    bare = http.post(
        "/v1/models/shapes/predict",
        content=png("cross", 7),
        headers={"content-type": "image/png"},
    ).json()
    keys = ("answer", "score", "scores")
    for one, other in zip(body["answers"], again["answers"], strict=False):
        assert [one[k] for k in keys] == [other[k] for k in keys]
    assert bare["answers"][0]["answer"] == body["answers"][1]["answer"]


def test_prediction_sets_are_the_models(
    client: Client, place: Path, files: Files, drawing: Callable[..., Any]
) -> None:
    http = client()
    address = "/v1/models/shapes/predict"
    model = FittedModel.load(place / "shapes")
    assert model.encoder is not None
    x = model.encoder.encode([drawing(shape, 7) for shape in SHAPES])
    said = http.post(f"{address}?sets=0.15", files=files(*SHAPES)).json()["answers"]
    expected = model.with_sets(0.15).answer_vectors(SHAPES, x.astype(float))
    assert [one["classes"] for one in said] == [list(one.classes) for one in expected]
    plain = http.post(address, files=files("cross")).json()["answers"]
    assert plain[0]["classes"] is None
    for share, words in (("0.01", "99 examples"), ("1.5", "less than 1")):
        refused = http.post(f"{address}?sets={share}", files=files("cross"))
        assert refused.status_code == 422
        assert words in refused.json()["detail"]


def test_the_inference_protocol_says_the_same(client: Client, files: Files, png: Png) -> None:
    http = client()
    assert http.get("/v2/health/ready").json() == {"ready": True}
    about = http.get("/v2/models/shapes").json()
    data = [base64.b64encode(png(s, 7)).decode() for s in (*SHAPES, "scribble")]
    tensor = {"name": "images", "shape": [4], "datatype": "BYTES", "data": data}
    path = f"/v2/models/shapes/versions/{about['versions'][0]}/infer"
    body = http.post(path, json={"id": "mine", "inputs": [tensor]}).json()
    assert body["id"] == "mine"
    out = {o["name"]: o for o in body["outputs"]}
    sent = files(*SHAPES, "scribble")
    answers = http.post("/v1/models/shapes/predict", files=sent).json()["answers"]
    assert out["label"]["data"] == [a["answer"] for a in answers]
    assert out["unknown"]["data"] == [a["answer"] == "unknown" for a in answers]
    assert out["probabilities"]["shape"] == [4, 3]
    assert http.get("/v2/models/shapes/versions/1").status_code == 404
    tensor["data"] = ["no base64!"]
    assert http.post("/v2/models/shapes/infer", json={"inputs": [tensor]}).status_code == 422


@pytest.mark.filterwarnings("ignore:.*of the cohort resemble")
def test_a_class_of_the_cohort_is_answered_with_a_warning(client: Client, files: Files) -> None:
    """The threshold rises above its examples, which are its unknowns, too."""
    http = client()
    path = "/v1/models/shapes/classes"
    other = http.post(path, files=files("bars", seed=50), data={"name": "bars"}).json()
    assert not any("cohort" in one for one in other["warnings"])
    member = http.post(path, files=files("scribble"), data={"name": "scrawl"}).json()
    assert any("of the cohort resembles" in one and "scrawl" in one for one in member["warnings"])


@pytest.mark.filterwarnings("ignore:.*of the cohort resemble")
def test_an_example_that_another_class_holds_is_answered_with_a_warning(
    client: Client, files: Files
) -> None:
    http = client()
    path = "/v1/models/shapes/classes"
    for name, expected in (("bars", False), ("more", True)):
        made = http.post(path, files=files("bars", seed=50), data={"name": name}).json()
        said = [one for one in made["warnings"] if "of another class" in one]
        assert bool(said) == expected
        assert all("(bars)" in one for one in said)


def test_classes_come_get_another_name_and_go(client: Client, place: Path, files: Files) -> None:
    http = client()
    path = "/v1/models/shapes/classes"
    made = http.post(path, data={"name": "scrawl"}, files=files("scribble", seed=1000))
    assert made.status_code == 201
    assert made.json()["classes"] == {"bars": 3, "circle": 3, "cross": 3, "scrawl": 1}
    http.post(path, data={"name": "scrawl"}, files=files("scribble", seed=1001))
    assert FittedModel.load(place / "shapes").counts["scrawl"] == 2
    assert http.patch(f"{path}/scrawl", json={"name": "a/b"}).json()["classes"]["a/b"] == 2
    assert http.patch(f"{path}/bars", json={"name": "cross"}).status_code == 409
    assert http.delete(f"{path}/nothing").status_code == 404
    assert http.delete(f"{path}/a%2Fb").status_code == 200
    with FittedModel.editing(place / "shapes") as model:  # another process
        model.remove_class("bars")
    assert sorted(http.get("/v1/models/shapes").json()["classes"]) == ["circle", "cross"]


def test_feedback_is_learned_from_and_undone(client: Client, place: Path, files: Files) -> None:
    http = client()

    def ask() -> dict[str, Any]:
        sent = files("circle")
        return http.post("/v1/models/shapes/predict", files=sent).json()["answers"][0]

    first = ask()
    assert first["answer"] == "circle"
    verdict = {"answer": first["id"], "verdict": "wrong"}
    said = http.post("/v1/models/shapes/feedback", json=verdict)
    assert said.status_code == 201
    assert ask()["answer"] == "unknown"
    assert http.post("/v1/models/shapes/feedback", json=verdict).status_code == 410
    kept = FittedModel.load(place / "shapes").feedback
    assert [one.id for one in kept] == [said.json()["feedback"]]
    path = f"/v1/models/shapes/feedback/{kept[0].id}"
    assert http.delete(path).status_code == 200
    assert http.delete(path).status_code == 404
    again = ask()
    assert (again["answer"], again["score"]) == (first["answer"], first["score"])
    named = {"answer": again["id"], "verdict": "wrong", "label": "ring"}
    assert http.post("/v1/models/shapes/feedback", json=named).json()["classes"]["ring"] == 1
    assert ask()["answer"] == "ring"


def test_a_model_is_measured_and_shown(client: Client, files: Files) -> None:
    http = client()
    labels = [*SHAPES, "scrawl"]
    measured = http.post(
        "/v1/models/shapes/score",
        files=[*files(*SHAPES), *files("scribble", seed=3000)],
        data={"label": labels},
    ).json()
    assert measured["items"] == 4
    assert set(measured["by_class"]) == set(labels)
    curve = http.get("/v1/models/shapes/curve").json()
    assert curve["false_accept"][0] >= curve["false_accept"][-1] == 0
    assert curve["false_reject"][-1] == 1
    asked = http.post("/v1/models/shapes/predict", files=files("circle")).json()
    shown = http.get("/v1/models/shapes/map", params={"asked": asked["answers"][0]["id"]}).json()
    assert len(shown["examples"]) == 9
    near = min(
        shown["examples"],
        key=lambda p: (
            (p["x"] - shown["asked"][0]["x"]) ** 2 + (p["y"] - shown["asked"][0]["y"]) ** 2
        ),
    )
    assert near["label"] == "circle"


def test_people_are_enrolled_known_again_exported_and_forgotten(
    client: Client, files: Files
) -> None:
    http = client()
    root = "/v1/galleries/marks"
    made = http.post(
        f"{root}/identities",
        data={"name": "Zoë / squiggle", "consent": "by letter", "retain_until": "2030-01-31"},
        files=files("scribble", seed=5),
    )
    assert made.status_code == 201, made.text
    people = {person["name"]: person for person in http.get(f"{root}/identities").json()}
    assert people["Zoë / squiggle"]["consent"] == "by letter"
    assert http.put(f"{root}/policy", json={"threshold": 0.9}).status_code == 200
    seen = http.post(f"{root}/identify", files=files("scribble", seed=5)).json()
    assert seen["answers"][0]["answer"] == "Zoë / squiggle"
    claimed = http.post(
        f"{root}/verify", data={"identity": "circle"}, files=files("scribble", seed=5)
    )
    assert claimed.json()["answers"][0]["answer"] == "unknown"
    renamed = http.patch(f"{root}/identities/Zo%C3%AB%20%2F%20squiggle", json={"name": "Zoe"})
    assert renamed.json()["name"] == "Zoe", renamed.text
    about = http.get(f"{root}/identities/Zoe/export").json()
    assert len(about["templates"][0]["vector"]) == about["dim"] == 64
    assert {"enrol", "identify", "rename"} <= {entry["action"] for entry in about["audit"]}
    verdict = {"answer": seen["answers"][0]["id"], "verdict": "wrong", "label": "circle"}
    learned = http.post(f"{root}/feedback", json=verdict).json()
    (template,) = learned["templates"]
    assert http.delete(f"{root}/templates/{template}").json()["names"] == []
    assert http.delete(f"{root}/identities/Zoe").json()["names"] == ["Zoe"]
    assert http.get(f"{root}/identities/Zoe").status_code == 404
    for rate in (0.01, 5e-324, 0, 1):
        said = http.post(f"{root}/calibrate", json={"false_accept_rate": rate})
        assert said.status_code == 422
    assert http.get(f"{root}/audit/check").json()["problems"] in ([], ())


def test_keys_open_what_their_scope_allows(client: Client, tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    reader, owner = add_key(path, "reader", "read"), add_key(path, "owner", "administer")
    assert reader not in path.read_text()
    assert path.stat().st_mode & 0o077 == 0
    http = client(keys=path)
    for url in ("/v1/models", "/metrics", "/v2/models/shapes", "/v1/openapi.json"):
        assert http.get(url).status_code == 401
        assert (
            http.get(
                url, headers={"x-api-key": reader[:-1] + ("1" if reader[-1] == "0" else "0")}
            ).status_code
            == 401
        )
        assert http.get(url, headers={"authorization": f"Bearer {reader}"}).status_code == 200
    assert http.get("/v2/health/live").status_code == 200
    url = "/v1/models/shapes/classes/bars"
    assert http.delete(url, headers={"x-api-key": reader}).status_code == 403
    assert http.delete(url, headers={"x-api-key": owner}).status_code == 200
    remove_key(path, owner.split("_")[1])
    assert http.get("/v1/models", headers={"x-api-key": owner}).status_code == 401


def test_people_are_not_shown_to_a_network() -> None:
    keys = Path("keys.json")
    for settings, galleries in (
        (ServerSettings(host="0.0.0.0"), 0),
        (ServerSettings(host="0.0.0.0", tls_in_front=True), 1),
        (ServerSettings(host="192.0.2.1", keys=keys), 1),
    ):
        with pytest.raises(ConfigError, match=settings.host):
            settings.check(galleries=galleries)
    ServerSettings(host="0.0.0.0", keys=keys, tls_in_front=True).check(galleries=2)
    ServerSettings().check(galleries=2)


def test_no_image_and_no_name_is_kept_or_logged(
    client: Client, place: Path, caplog: pytest.LogCaptureFixture, png: Png
) -> None:
    caplog.set_level(logging.INFO)
    http = client()
    root = "/v1/galleries/marks"
    sent = [("file", ("secret-name.png", png("scribble", 9), "image/png"))]
    http.post(f"{root}/identities", data={"name": "Hidden Person"}, files=sent)
    http.post(f"{root}/identify", files=sent)
    http.get(f"{root}/identities/Hidden%20Person")
    answer = http.post("/v1/models/shapes/predict", files=sent).json()["answers"][0]["id"]
    http.post("/v1/models/shapes/feedback", json={"answer": answer, "verdict": "wrong"})
    kept = [path for path in place.rglob("*") if path.is_file()]
    assert len(kept) >= 3
    pixels = png("scribble", 9)[40:80]
    for path in kept:
        content = path.read_bytes()
        assert b"\x89PNG" not in content
        assert pixels not in content
    logged = "".join(r.getMessage() for r in caplog.records if r.name == "quickstudy.serve")
    assert "/v1/galleries/{gallery}/identities/{identity:path}" in logged
    assert "Hidden" not in logged
    assert "secret-name" not in logged


def test_a_client_gets_no_more_than_its_rate(client: Client) -> None:
    http = client(limits=Limits(rate=0.001, burst=3))
    codes = [http.get("/v1/models").status_code for _ in range(5)]
    assert codes == [200, 200, 200, 429, 429]
    assert http.get("/v2/health/live").status_code == 200
    assert http.get("/v1/models").headers["retry-after"] == "1"


def test_what_happened_is_counted(client: Client, files: Files) -> None:
    http = client()
    http.post("/v1/models/shapes/predict", files=files("circle", "cross"))
    page = http.get("/metrics").text
    assert "quickstudy_batch_items_sum 2.0" in page
    assert 'route="/v1/models/{model}/predict",status="200"' in page


def test_rows_of_a_table_are_answered(client: Client, place: Path) -> None:
    x = np.repeat(np.eye(2), 3, axis=0) + np.arange(6)[:, None] / 50
    known = FewShotClassifier().fit(x, np.repeat(["oak", "elm"], 3))
    FittedModel(known, Encoding("table", columns=("a", "b"))).save(place / "trees")
    http = client()
    rows = [{"row": {"a": 1, "b": 0.1}}, {"row": {"a": "no", "b": 1}}, {"row": {"a": 0, "b": 1}}]
    answers = http.post("/v1/models/trees/predict", json={"items": rows}).json()["answers"]
    assert [a["nearest"] for a in answers] == ["oak", None, "elm"]
    assert [a["answer"] for a in answers] == ["not calibrated", None, "not calibrated"]
    assert "'no'" in answers[1]["error"]
    tensor = {"name": "rows", "shape": [2, 2], "datatype": "FP32", "data": [1, 0.1, 0, 1]}
    body = http.post("/v2/models/trees/infer", json={"inputs": [tensor]}).json()
    assert body["parameters"]["classes"] == ["elm", "oak"]
    said = {"answer": answers[0]["id"], "verdict": "wrong"}
    assert http.post("/v1/models/trees/feedback", json=said).status_code == 422
    numbers = http.post("/v1/models/trees/predict", json={"items": [{"row": [1, 0.1]}]}).json()
    assert '"row" must be an object with the columns' in numbers["detail"]
    picture = http.post("/v1/models/trees/predict", files=[("file", ("a.png", b"\x89PNG", ""))])
    assert "a JSON object with the columns a, b in 'row'" in picture.json()["detail"]
    lacking = http.post("/v1/models/trees/predict", json={"items": [{"row": {"b": 1}}]}).json()
    assert "The request has no column 'a'. Wanted are a, b; given are b." in lacking["detail"]


def test_an_empty_file_is_said_to_be_empty(client: Client) -> None:
    said = client().post("/v1/models/shapes/predict", files=[("file", ("a.png", b"", "image/png"))])
    assert said.status_code == 415
    assert "a.png: The file is empty" in said.json()["detail"]


def test_a_model_as_one_graph_and_as_a_page(
    client: Client, place: Path, drawing: Callable[..., Any], tmp_path: Path
) -> None:
    http = client()
    file = tmp_path / "shapes.onnx"
    file.write_bytes(http.get("/v1/models/shapes/onnx").content)
    exported = runtime.ExportedClassifier(file)
    model = FittedModel.load(place / "shapes")
    assert model.encoder is not None
    images = [drawing(shape, 7) for shape in (*SHAPES, "scribble")]
    vectors = model.encoder.encode(images).astype(float)
    for one, other in zip(
        exported.predict(images), model.answer_vectors(images, vectors), strict=True
    ):
        assert one.label == other.label
        assert one.score == pytest.approx(other.score, abs=1e-4)
    assert exported.about["model"] == http.get("/v1/models/shapes").json()["version"]
    page = http.get("/v1/models/shapes/report")
    assert page.headers["content-disposition"] == 'attachment; filename="shapes.html"'
    assert "circle, example 3" in page.text


def test_methods_are_compared_on_the_same_examples(client: Client, place: Path) -> None:
    http = client()
    rows = http.get("/v1/models/shapes/methods").json()
    assert {row["method"] for row in rows} == set(METHODS)
    assert all(row["examples"] == 9 for row in rows)
    model = FittedModel.load(place / "shapes")
    scores = model.known.left_out_scores()
    accuracy = float((scores.argmax(1) == model.known.labels_).mean())
    by_name = {row["method"]: row["accuracy"] for row in rows}
    assert by_name[model.known.head if model.known.head in METHODS else "prototype"] == accuracy
    one = http.get("/v1/models/shapes/methods", params={"method": "proto-maml"}).json()
    assert [row["method"] for row in one] == ["proto-maml"]
    assert http.get("/v1/models/shapes/methods", params={"method": "none"}).status_code == 422


def test_look_alikes_are_merged_but_never_two_of_one_photo(
    client: Client, files: Files, place: Path
) -> None:
    http = client()
    for name, file in (("wheel", "w.png"), ("disc", "w.png")):
        sent = [("file", (file, files("circle", seed=11)[0][1][1], "image/png"))]
        fields = {"name": name, "force": "true"}
        answer = http.post("/v1/galleries/marks/identities", data=fields, files=sent)
        assert answer.status_code == 201, answer.text
    pairs = http.get("/v1/galleries/marks/look-alikes").json()
    assert set(pairs[0]["names"]) == {"wheel", "disc"}
    assert pairs[0]["photo"] == "w.png"
    refused = http.post("/v1/galleries/marks/merge", json={"identity": "disc", "into": "wheel"})
    assert refused.status_code == 409
    done = http.post("/v1/galleries/marks/merge", json={"identity": "disc", "into": "circle"})
    assert done.json()["names"] == ["disc"]
    assert done.json()["warnings"] == []
    missing = http.post("/v1/galleries/marks/merge", json={"identity": "disc", "into": "circle"})
    assert missing.status_code == 404
