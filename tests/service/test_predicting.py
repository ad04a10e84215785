"""Every answer is the offline prediction, whatever shares its batch, and says what it was read with."""

import asyncio
import math
import threading
from dataclasses import replace
from types import SimpleNamespace

import pytest

from crossflare.serving.http.batches import Batches, Ticket, WaitingRow, choose_batch
from crossflare.serving.http.limits import Limits
from crossflare.serving.http.service import Asked, predicted_of
from crossflare.serving.prediction import Prediction
from service_engines import reversed_words
from tiny_adapters import LABELS

TEXTS = ["w1 w2 w3", "w30", "w4 " * 100, "w9 w8 w7 w6", "w1 w2 w3", "unknown words", "w7"]
SOURCES = ["w21 w22", "", None, "w28", "w39 w38 w37", "w24", "w25 w26 w27"]


def told(answer, said: Prediction) -> None:
    """Compare an answer with an offline prediction."""
    assert answer["label"] == said.label
    assert answer["probability"] == pytest.approx(said.score, abs=1e-5)
    assert answer["probabilities"] == pytest.approx(dict(said.probabilities), abs=1e-5)
    assert answer["cut"] is said.truncated
    assert answer["source"]["text"] == said.source


def test_answers_are_the_offline_predictions(client, adapters):
    body = {"texts": TEXTS, "sources": SOURCES, "language": "jv"}  # jv has no engine
    response = client.post("/predict", json=body)
    assert response.status_code == 200, response.text
    offline = adapters.predict(TEXTS, SOURCES, languages="jv")
    for answer, said in zip(response.json()["predictions"], offline, strict=True):
        told(answer, said)
    how = [answer["source"]["how"] for answer in response.json()["predictions"]]
    assert how == ["given", "none", "none", "given", "given", "given", "given"]


def test_texts_without_a_source_are_translated_once_and_say_so(client, adapters, engine):
    body = {"texts": ["w1 w2 w3", "w7 w8", "w1 w2 w3"], "sources": [None, "w30", None], "language": "sw"}
    for _ in range(2):
        said = client.post("/predict", json=body).json()["predictions"]
        offline = adapters.predict(
            body["texts"], [reversed_words("w1 w2 w3"), "w30", reversed_words("w1 w2 w3")], languages="sw"
        )
        for answer, each in zip(said, offline, strict=True):
            told(answer, each)
    assert [answer["source"]["how"] for answer in said] == ["translated", "given", "translated"]
    assert engine.calls == [["w1 w2 w3"]]


def test_two_texts_and_adapters_without_sources(client, adapters):
    said = client.post("/predict", json={"text": ["w1 w2", "w3"], "source": ["w5", "w6"], "language": "pairs"}).json()
    told({**said["predictions"][0], "source": {"text": tuple(said["predictions"][0]["source"]["text"])}},
         adapters.predict([("w1 w2", "w3")], [("w5", "w6")], languages="pairs")[0])  # fmt: skip
    said = client.post("/predict", json={"text": "w1 w2", "language": "ind"}).json()["predictions"][0]
    told(said, adapters.predict(["w1 w2"], languages="id")[0])
    assert said["language"] == "id"
    assert said["source"]["how"] == "none"


def test_many_clients_at_once_get_their_own_answers(client, adapters):
    """Rows of several requests and adapters share batches at the model; no answer goes to another client."""
    batches, wait = [], threading.Event()
    inner = client.service.batches._predict

    def watched(rows):
        wait.wait(10)
        batches.append([row.name for row in rows])
        return inner(rows)

    client.service.batches._predict = watched
    names, found = ["sw", "jv", "id"], {}

    def ask(number: int) -> None:
        text, name = f"w{number} w{number + 1}", names[number % 3]
        body = {"text": text, "language": name} | ({} if name == "id" else {"source": f"w{39 - number}"})
        found[number] = client.post("/predict", json=body).json()["predictions"][0]

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(24)]
    for thread in threads:
        thread.start()
    while client.service.open_rows < 24:
        pass
    wait.set()
    for thread in threads:
        thread.join()
    for number, answer in found.items():
        name = names[number % 3]
        source = None if name == "id" else [f"w{39 - number}"]
        told(answer, adapters.predict([f"w{number} w{number + 1}"], source, languages=name)[0])
    assert len(batches) < 12
    assert any(len(set(batch)) > 1 for batch in batches)


def test_a_share_of_rows_is_answered_if_the_adapter_is_calibrated(client):
    refused = client.post("/predict", json={"text": "w1", "language": "jv", "coverage": 0.5})
    assert (refused.status_code, "calibration" in refused.json()["error"]) == (422, True)


def test_the_language_is_detected_among_those_served(client, monkeypatch):
    monkeypatch.setattr(
        "crossflare.serving.http.service.chooser", lambda names: lambda text: "jv" if "w2" in text else "id"
    )
    said = client.post("/predict", json={"texts": ["w1", "w2"]}).json()["predictions"]
    assert [each["language"] for each in said] == ["id", "jv"]


def row(ticket=None, place=0, tokens=(5, 5), name="sw") -> WaitingRow:
    return WaitingRow(ticket or SimpleNamespace(gone=False), place, name, "w1", None, *tokens)


def test_a_batch_stays_within_its_tokens_and_takes_rows_of_about_one_length():
    limits = replace(Limits(), batch_tokens=100, batch_rows=6)
    rows = [row(tokens=(size, 0)) for size in (10, 60, 11, 9, 10, 500, 10, 10, 10, 10)]
    assert [each.target_tokens for each in choose_batch(rows, limits)] == [10] * 6
    rows = [row(tokens=(size, 0)) for size in (30, 31, 40, 29, 30)]
    batch = choose_batch(rows, limits)
    assert len(batch) * max(each.tokens for each in batch) <= 100
    assert batch[0] is rows[0]  # who waits longest is never passed over
    assert choose_batch([row(tokens=(5000, 0)), row()], limits)[0].tokens == 5000


def said(name: str, score: float = 0.9) -> Prediction:
    return Prediction(name, score, {name: score})


def run_batches(predict, rows_of, limits=None):
    """Run rows through the model's thread; `rows_of` gets tickets' maker and returns futures' tickets."""

    async def main():
        batches = Batches(predict, lambda rows: None, limits or Limits(), lambda rows: None)
        tickets, rows = rows_of()
        batches.put(rows)
        batches.start()
        results = await asyncio.gather(*(ticket.future for ticket in tickets), return_exceptions=True)
        batches.close()
        return results

    return asyncio.run(main())


def test_what_fails_fails_alone():
    def predict(rows):
        if any(each.name == "bad" for each in rows):
            raise RuntimeError("a fault")
        return [said(each.name, float("nan") if each.name == "nan" else 0.9) for each in rows]

    def rows_of():
        tickets = [Ticket(1) for _ in range(4)]
        return tickets, [row(ticket, name=name) for ticket, name in zip(tickets, ("a", "bad", "nan", "b"), strict=True)]

    good, bad, nan, other = run_batches(predict, rows_of)
    assert (good[0].label, other[0].label) == ("a", "b")
    assert int(bad.status) == int(nan.status) == 500


def test_rows_whose_client_is_gone_are_not_predicted():
    seen = []

    def predict(rows):
        seen.extend(each.name for each in rows)
        return [said(each.name) for each in rows]

    def rows_of():
        gone, here = Ticket(1), Ticket(2)
        gone.gone = True
        return [here], [
            row(gone, name="gone"),
            row(here, 0, name="one"),
            row(gone, name="gone"),
            row(here, 1, name="two"),
        ]

    [answers] = run_batches(predict, rows_of)
    assert [each.label for each in answers] == ["one", "two"]
    assert seen == ["one", "two"]


def test_a_queue_of_rows_without_clients_does_not_end_the_model():
    async def main():
        batches = Batches(
            lambda rows: [said(each.name) for each in rows], lambda rows: None, Limits(), lambda rows: None
        )
        gone, here = Ticket(1), Ticket(1)
        gone.gone = True
        batches.put([row(gone), row(gone)])
        batches.start()
        while len(batches):
            await asyncio.sleep(0.001)
        batches.put([row(here)])
        found = await asyncio.wait_for(here.future, 20)
        batches.close()
        return found

    assert len(asyncio.run(main())) == 1


def test_labels_are_those_of_the_card(client):
    languages = {each["language"]: each for each in client.get("/languages").json()["languages"]}
    assert languages["sw"]["labels"] == LABELS
    assert (languages["sw"]["engine"], languages["jv"]["engine"]) == ("obedient", None)
    assert languages["pairs"]["texts"] == ["premise", "hypothesis"]
    assert languages["id"]["reads_source"] is False


def test_an_answer_to_a_question_has_a_probability():
    """The score of an answer is a log-probability; clients get what the field's name says."""
    row = Asked("sw", ("Where?", "In Nairobi."), None, "none")
    said = predicted_of(row, Prediction("Nairobi", math.log(0.25)), 0.0)
    assert (said.answer, said.label, said.abstained) == ("Nairobi", None, False)
    assert said.probability == pytest.approx(0.25)
    labelled = predicted_of(row, Prediction("bad", 0.75, {"bad": 0.75, "good": 0.25}), 0.0)
    assert (labelled.label, labelled.answer, labelled.probability) == ("bad", None, 0.75)
