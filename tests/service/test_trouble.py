"""Load, engines that die or hang, clients that go away, and a stop (fault test 40)."""

import asyncio
import threading
import time

import pytest

from crossflare.service.limits import Limits
from crossflare.service.messages import PredictRequest
from crossflare.service.problems import ProblemError
from crossflare.service.translations import EACH, Cache, Translations
from service.test_refusals import GOOD, alive, problem


def hold(client) -> threading.Event:
    """Let the model wait for an event."""
    free, inner = threading.Event(), client.service.batches._predict

    def held(rows):
        assert free.wait(20)
        return inner(rows)

    client.service.batches._predict = held
    return free


def ask(client, found: list, body=GOOD) -> threading.Thread:
    thread = threading.Thread(target=lambda: found.append(client.post("/predict", json=body)))
    thread.start()
    return thread


def until(true) -> None:
    end = time.monotonic() + 20
    while not true():
        assert time.monotonic() < end
        time.sleep(0.001)


def test_40d_beyond_the_limit_clients_are_told_to_wait_and_the_others_get_their_answers(serving, adapters):
    with serving(waiting_rows=4) as client:
        free, found = hold(client), []
        threads = [ask(client, found, {**GOOD, "text": f"w{number}"}) for number in range(4)]
        until(lambda: client.service.open_rows == 4)
        response = client.post("/predict", json=GOOD)
        problem(response, 429, "more than 4 rows")
        assert int(response.headers["retry-after"]) >= 1
        assert client.get("/health").status_code == 200
        free.set()
        for thread in threads:
            thread.join()
        scores = sorted(each.json()["predictions"][0]["probability"] for each in found)
        offline = [adapters.predict([f"w{number}"], ["w3"], languages="sw")[0].score for number in range(4)]
        assert scores == pytest.approx(sorted(offline), abs=1e-5)
        alive(client)


def test_40d_too_many_open_requests_are_refused_before_their_bodies_are_read(serving):
    with serving(open_requests=1) as client:
        free, found = hold(client), []
        thread = ask(client, found)
        until(lambda: client.service.open_rows == 1)
        problem(client.post("/predict", json=GOOD), 429, "requests are open")
        free.set()
        thread.join()
        alive(client)


def test_a_request_that_takes_too_long_gets_504_and_frees_its_rows(serving):
    with serving(request_seconds=0.05) as client:
        free = hold(client)
        problem(client.post("/predict", json=GOOD), 504)
        assert client.service.open_rows == 0
        free.set()


def test_40e_a_slow_body_is_timed_out(serving):
    async def main(app):
        sent = []

        async def receive():
            await asyncio.sleep(0.02)
            return {"type": "http.request", "body": b" ", "more_body": True}

        async def send(message):
            sent.append(message)

        headers = [(b"content-type", b"application/json"), (b"transfer-encoding", b"chunked")]
        await app({"type": "http", "method": "POST", "path": "/predict", "headers": headers}, receive, send)
        return sent

    with serving(body_seconds=0.1) as client:
        start, *_ = asyncio.run(main(client.app))
        assert start["status"] == 408
        assert (b"connection", b"close") in start["headers"]
        alive(client)


def test_40f_when_the_client_is_gone_its_rows_are_dropped(serving, caplog):
    with serving() as client:
        free = hold(client)
        seen = []

        async def leave():
            messages = [{"type": "http.request", "body": b'{"text": "w1", "source": "w2", "language": "sw"}'}]

            async def receive():
                return messages.pop(0) if messages else await gone()

            async def gone():
                while client.service.open_rows == 0:
                    await asyncio.sleep(0.001)
                seen.append(client.service.open_rows)
                return {"type": "http.disconnect"}

            async def send(message):
                raise AssertionError("answered")

            headers = [(b"content-type", b"application/json")]
            scope = {"type": "http", "method": "POST", "path": "/predict", "headers": headers, "query_string": b""}
            await client.app(scope, receive, send)

        client.portal.call(leave)
        assert (seen, client.service.open_rows) == ([1], 0)
        assert not len(client.service.batches) or client.service.batches._waiting[0].ticket.gone
        free.set()
        alive(client)


def test_40i_a_model_that_fails_gives_an_id_and_the_next_request_is_fine(client, caplog):
    inner = client.service.batches._predict

    def broken(rows):
        raise RuntimeError("/secret/place w1")

    client.service.batches._predict = broken
    said = problem(client.post("/predict", json=GOOD), 500)
    assert "secret" not in said["error"]
    client.service.batches._predict = inner
    alive(client)


def test_40i_a_fault_in_a_route_is_an_answer_in_our_form(client, monkeypatch):
    def broken(service):
        raise RuntimeError("/secret/place")

    monkeypatch.setattr("crossflare.service.app.info_of", broken)
    said = problem(client.get("/info"), 500)
    assert "secret" not in said["error"]
    alive(client)


def test_a_folder_that_vanishes_changes_nothing(tmp_path):
    """What an adapter needs is in memory once it is open."""
    import shutil

    from crossflare.serving.several import open_adapters
    from tiny_adapters import make_adapters, with_card

    folder = make_adapters(tmp_path)
    opened = open_adapters({"sw": with_card(folder / "flare", folder / "sw", settings={"precision": "fp32"})})
    before = opened.predict(["w1 w2"], ["w3"])
    shutil.rmtree(folder)
    assert opened.predict(["w1 w2"], ["w3"]) == before


UNTRANSLATED = {"text": "w1 w2 w5", "language": "sw"}


def test_a_dead_engine_gives_503_for_its_language_alone_and_is_started_again(client, engine, monkeypatch):
    monkeypatch.setattr("crossflare.service.translations.FIRST_WAIT", 0.01)
    engine.dead, engine.starting_fails = True, 1
    engine.starts = 0
    response = client.post("/predict", json=UNTRANSLATED)
    problem(response, 503, "obedient")
    assert int(response.headers["retry-after"]) >= 1
    alive(client)  # with its source it needs no engine
    assert client.post("/predict", json={"text": "w1", "language": "jv"}).status_code == 200
    until(lambda: client.get("/languages").json()["languages"][0]["available"])
    assert engine.starts == 2
    assert client.post("/predict", json=UNTRANSLATED).json()["predictions"][0]["source"]["how"] == "translated"


def test_a_hanging_engine_is_ended_and_others_are_not_delayed(serving, engine):
    with serving(translate_seconds=0.1) as client:
        engine.free.clear()
        found = []
        thread = ask(client, found, UNTRANSLATED)
        until(lambda: engine.calls)
        assert client.post("/predict", json={"text": "w1", "language": "jv"}).status_code == 200
        thread.join()
        problem(found[0], 503)
        engine.free.set()
        until(lambda: client.get("/languages").json()["languages"][0]["available"])
        assert client.post("/predict", json=UNTRANSLATED).status_code == 200


def test_a_text_that_the_engine_refuses_fails_alone(client, engine):
    found = []
    engine.free.clear()
    threads = [ask(client, found, {"text": "w1 w0", "language": "sw"})]
    until(lambda: len(engine.calls) == 1)
    threads += [ask(client, found, {"text": text, "language": "sw"}) for text in ("w1 w2", "poison w1", "w3 w4")]
    until(lambda: client.service.open_rows == 4)
    engine.free.set()
    for thread in threads:
        thread.join()
    assert sorted(each.status_code for each in found) == [200, 200, 200, 422]


def test_the_cache_is_bounded_and_drops_the_oldest():
    cache = Cache(3 * (EACH + 2))
    for text in "abc":
        cache.put(text, text)
    assert cache.get("a") == "a"
    cache.put("d", "d")
    assert [cache.get(text) for text in "abcd"] == ["a", None, "c", "d"]
    cache.put("long" * EACH, "x")
    assert len(cache) == 0


def test_texts_of_clients_that_are_gone_are_not_translated(engine):
    async def main():
        translations = Translations("obedient", engine, Limits())
        translations.start()
        engine.free.clear()
        first = asyncio.create_task(translations.translate(["w1"]))
        await asyncio.sleep(0.02)
        gone = asyncio.create_task(translations.translate(["w2"]))
        here = asyncio.create_task(translations.translate(["w3"]))
        await asyncio.sleep(0)
        gone.cancel()
        await asyncio.sleep(0)
        engine.free.set()
        await asyncio.gather(first, here)
        translations.close()

    asyncio.run(main())
    assert engine.calls == [["w1"], ["w3"]]


def test_40j_before_a_stop_it_is_not_ready_and_finishes_what_is_in_flight(serving):
    with serving() as client:
        free, found = hold(client), []
        thread = ask(client, found)
        until(lambda: client.service.open_rows == 1)
        client.service.stopping = True
        problem(client.get("/ready"), 503)
        assert client.get("/health").status_code == 200
        problem(client.post("/predict", json=GOOD), 503, "stopping")
        free.set()
        thread.join()
        assert found[0].status_code == 200


def test_rows_that_cannot_be_admitted_leave_no_trace(serving):
    async def main(service):
        request = PredictRequest(texts=["w1"] * 3, language="jv")
        with pytest.raises(ProblemError, match="more than 2 rows"):
            await service.predict(request)
        return service.open_rows

    with serving(waiting_rows=2) as client:
        assert client.portal.call(main, client.service) == 0
