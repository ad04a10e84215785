"""An endpoint answers, or there is one line after bounded tries; the key is in the header alone."""

from collections.abc import Generator
from email.utils import formatdate

import pytest

from crossflare.errors import UserError
from crossflare.experiment.prompting.endpoint import Endpoint
from model_server import Fault, ModelServer, serving

KEY = "sk-very-secret-0123456789"


@pytest.fixture
def server() -> Generator[ModelServer]:
    with serving(ModelServer(answer=lambda prompt: f"you said {prompt}")) as mine:
        yield mine


def endpoint(server: ModelServer, waits: list[float] | None = None, **options: float | str | None) -> Endpoint:
    pauses: list[float] = [] if waits is None else waits
    return Endpoint(**{"address": server.address, "model": "m", "wait": pauses.append, "tries": 3, **options})  # type: ignore[arg-type]


def test_chat_and_continuation_go_by_the_address(server: ModelServer) -> None:
    assert endpoint(server).ask("hello", 5).text == "you said hello"
    assert endpoint(server, address=f"{server.address}/chat/completions").ask("b", 5).model == "m-0613"
    assert endpoint(server, address=f"{server.address}/completions").ask("a", 5).text == "you said a"
    assert server.paths == ["/v1/chat/completions", "/v1/chat/completions", "/v1/completions"]
    assert [body["temperature"] for body in server.bodies] == [0, 0, 0]
    assert [body["max_tokens"] for body in server.bodies] == [5, 5, 5]
    assert server.keys == {""}  # no key where none is named


def test_a_key_comes_from_the_environment_into_the_header(server: ModelServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", KEY + "\n")
    endpoint(server, key_env="MY_KEY").ask("a", 5)
    assert server.keys == {f"Bearer {KEY}"}
    monkeypatch.setenv("MY_KEY", KEY + "\nX-Other: 1")
    with pytest.raises(UserError, match="signs that no key has") as caught:
        endpoint(server, key_env="MY_KEY").ask("a", 5)
    assert KEY not in str(caught.value)
    monkeypatch.delenv("MY_KEY")
    with pytest.raises(UserError, match="MY_KEY is not set; run `export MY_KEY=KEY`"):
        endpoint(server, key_env="MY_KEY").ask("a", 5)


AGAIN: dict[str, tuple[Fault, str]] = {
    "overloaded": ((503, "", {}), "status 503"),
    "too many": ((429, "", {}), "status 429"),
    "garbage": ((200, "<html>welcome</html>", {}), "something else than an answer in JSON ('<html>welcome</html>')"),
    "no choices": ((200, '{"choices": []}', {}), "something else than an answer"),
    "no text": ((200, '{"choices": [{"message": {"content": 3}}]}', {}), "something else than an answer"),
    "half an answer": ((200, "half", {}), "something else than an answer"),
}


@pytest.mark.parametrize("name", AGAIN)
def test_a_fault_that_may_pass_is_tried_again_and_then_told_in_one_line(server: ModelServer, name: str) -> None:
    fault, said = AGAIN[name]
    waits: list[float] = []
    server.faults = [fault, fault]
    assert endpoint(server, waits).ask("a", 5).text == "you said a"
    assert waits == [1.0, 2.0]
    server.faults = [fault] * 3
    with pytest.raises(UserError, match="no answer after 3 tries") as caught:
        endpoint(server).ask("a", 5)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(server.prompts) == 6


def test_a_server_that_does_not_answer_in_time(server: ModelServer) -> None:
    server.faults = [(200, "hang", {})] * 2
    with pytest.raises(UserError, match=r"no answer after 2 tries, at last nothing within 0\.05 seconds"):
        endpoint(server, timeout=0.05, tries=2).ask("a", 5)


def test_a_server_that_is_not_there() -> None:
    with serving() as gone:
        pass
    with pytest.raises(UserError, match="no answer after 2 tries, at last no connection"):
        endpoint(gone, tries=2).ask("a", 5)


def test_retry_after_is_honoured(server: ModelServer) -> None:
    waits: list[float] = []
    server.faults = [(429, "", {"Retry-After": "7"}), (503, "", {"Retry-After": formatdate(0, usegmt=True)})]
    endpoint(server, waits).ask("a", 5)
    assert waits == [7.0, 0.0]
    server.faults = [(429, "", {"Retry-After": "soon"})]
    endpoint(server, waits).ask("a", 5)
    assert waits[2:] == [1.0]
    server.faults = [(429, "", {"Retry-After": "86400"})]
    with pytest.raises(UserError, match="asks to wait 86400 seconds; run again then"):
        endpoint(server).ask("a", 5)


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ((401, f'{{"error": {{"message": "wrong key: {KEY}"}}}}', {}), "status 401 (wrong key: [key]); check the key"),
        ((404, '{"error": "no model m"}', {}), "status 404 (no model m); check address and model"),
        ((400, "max_tokens\n is too large", {}), "status 400 (max_tokens is too large); check the recipe"),
        ((307, "", {"Location": f"http://b.invalid/{KEY}"}), "it sends on to http://b.invalid/[key], which is not"),
    ],
)  # fmt: skip
def test_what_will_not_pass_is_told_at_once_without_the_key(
    server: ModelServer, monkeypatch: pytest.MonkeyPatch, fault: Fault, said: str
) -> None:
    monkeypatch.setenv("MY_KEY", KEY)
    server.faults = [fault]
    with pytest.raises(UserError) as caught:
        endpoint(server, key_env="MY_KEY").ask("a", 5)
    assert said in str(caught.value)
    assert KEY not in str(caught.value)
    assert len(server.prompts) == 1


def test_a_server_that_repeats_the_key_does_not_get_it_onto_the_disk(
    server: ModelServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_KEY", KEY)
    server.answer = lambda prompt: f"{KEY} is good"
    assert endpoint(server, key_env="MY_KEY").ask("a", 5).text == "[key] is good"
    server.faults = [(200, KEY * 3, {})] * 3
    with pytest.raises(UserError) as caught:
        endpoint(server, key_env="MY_KEY").ask("a", 5)
    assert KEY not in str(caught.value)


def test_an_answer_without_text_is_empty(server: ModelServer) -> None:
    server.faults = [(200, '{"choices": [{"message": {"content": null}}]}', {})]
    assert endpoint(server).ask("a", 5).text == ""
