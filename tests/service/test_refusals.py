"""What a request may be: every limit, every status, keys, and bodies that are not as they should be (fault test 40)."""

import hmac
import json
import logging
import string

import pytest
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from crossflare.errors import UserError
from crossflare.service import keys as keys_module
from crossflare.service.address import take_address
from crossflare.service.keys import Keys, keys_from
from crossflare.service.limits import Limits

JSON = {"content-type": "application/json"}
GOOD = {"text": "w1 w2", "source": "w3", "language": "sw"}
KEY = "k" * 20


def problem(response, status: int, *words: str) -> dict:
    """Check that a response is a problem in our form, and holds these words."""
    said = response.json()
    assert (response.status_code, sorted(said)) == (status, ["error", "id"]), response.text
    assert said["id"] == response.headers["x-request-id"]
    assert "\n" not in said["error"]
    for word in words:
        assert word in said["error"]
    return said


def alive(client: TestClient) -> None:
    assert client.post("/predict", json=GOOD).status_code == 200


def test_40a_a_body_over_the_limit_is_refused_by_its_length_and_by_its_chunks(serving):
    """By what the head says before a byte of it is read; without a length as soon as it is too long."""
    with serving(body_bytes=1000) as client:
        long = json.dumps({"text": "w" * 2000})
        response = client.post("/predict", content=long, headers=JSON)
        problem(response, 413, "1000 bytes")
        assert response.headers["connection"] == "close"
        read = []

        def parts():
            for number in range(100_000):
                read.append(number)
                yield b" " * 100

        problem(client.post("/predict", content=parts(), headers=JSON), 413)
        problem(client.post("/predict", content=b"x", headers={**JSON, "content-encoding": "gzip"}), 415)
        problem(client.post("/predict", content=b"x", headers={**JSON, "content-length": "9" * 30}), 413)
        alive(client)


MALFORMED = {
    "empty": (b"", 400),
    "no JSON": (b"text=w1", 400),
    "cut": (b'{"text": "w1', 400),
    "two": (b'{"text": "w1"} {}', 400),
    "NaN": (b'{"text": "w1", "coverage": NaN}', 400),
    "infinite": (b'{"text": "w1", "coverage": -Infinity}', 400),
    "deep": (b"[" * 100_000, 400),
    "deep and closed": (b'{"text": ' + b"[" * 20 + b"]" * 20 + b"}", 400),
    "twice": (b'{"text": "w1", "text": "w2"}', 400),
    "huge integer": (b'{"text": "w1", "coverage": ' + b"1" * 5000 + b"}", 400),
    "large integer": (b'{"text": "w1", "coverage": ' + b"1" * 500 + b"}", 422),
    "not UTF-8": (b'{"text": "\xff"}', 400),
    "UTF-16": ('{"text": "w1"}'.encode("utf-16"), 400),
    "half a pair": (b'{"text": "\\ud800", "language": "sw"}', 422),
    "half a pair in a language": (b'{"text": "w1", "language": "\\udfff"}', 422),
    "half a pair in a key": (b'{"\\ud800": "w1"}', 422),
    "a list": (b"[]", 422),
    "a text": (b'"w1"', 422),
    "null": (b"null", 422),
    "a number": (b'{"text": 1}', 422),
    "true": (b'{"text": true}', 422),
    "an object": (b'{"text": {"a": "b"}}', 422),
    "a number among texts": (b'{"texts": ["w1", 2]}', 422),
    "three texts": (b'{"text": ["w1", "w2", "w3"]}', 422),
    "unknown field": (b'{"text": "w1", "model": "/etc/passwd"}', 422),
    "nothing": (b"{}", 422),
    "both": (b'{"text": "w1", "texts": ["w2"]}', 422),
    "no texts": (b'{"texts": [], "language": "sw"}', 422),
    "blank": (b'{"text": " \\n", "language": "sw"}', 422),
    "coverage": (b'{"text": "w1", "language": "sw", "coverage": 1.5}', 422),
    "sources of one text": (b'{"text": "w1", "sources": ["w2"], "language": "sw"}', 422),
    "source of texts": (b'{"texts": ["w1"], "source": "w2", "language": "sw"}', 422),
    "too few sources": (b'{"texts": ["w1", "w2"], "sources": ["w2"], "language": "sw"}', 422),
    "two texts for one": (b'{"text": ["w1", "w2"], "language": "sw"}', 422),
    "one text for two": (b'{"text": "w1", "language": "pairs"}', 422),
    "two sources for one": (b'{"text": "w1", "source": ["w1", "w2"], "language": "sw"}', 422),
    "a source for an adapter that reads none": (b'{"text": "w1", "source": "w2", "language": "id"}', 422),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_40b_a_malformed_body_is_refused_and_never_a_fault_of_ours(client, name):
    body, status = MALFORMED[name]
    problem(client.post("/predict", content=body, headers=JSON), status)
    alive(client)


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "", "application/json2"])
def test_40b_another_type_of_content_is_refused(client, kind):
    problem(client.post("/predict", content=json.dumps(GOOD), headers={"content-type": kind}), 415)


def test_a_text_with_a_nul_is_read_as_the_library_reads_it(client, adapters):
    said = client.post("/predict", json={"text": "w1 \0 w2", "source": "w3", "language": "sw"}).json()["predictions"]
    assert said[0]["probability"] == pytest.approx(adapters.predict(["w1 \0 w2"], ["w3"], languages="sw")[0].score)


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(string.printable) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["text", "texts", "x"]), inner),
    max_leaves=8,
)
FIELDS = st.fixed_dictionaries({}, optional=dict.fromkeys([*GOOD, "texts", "sources", "coverage"], JUNK))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=FIELDS.map(json.dumps).map(str.encode) | st.binary(max_size=60))
def test_40b_any_body_gets_an_answer_below_500(client, body):
    assert client.post("/predict", content=body, headers=JSON).status_code in (200, 400, 404, 422)


def test_40c_too_many_and_too_long_texts_are_refused_with_the_limit(serving):
    with serving(texts=2, characters=10) as client:
        problem(client.post("/predict", json={"texts": ["w1"] * 3, "language": "sw"}), 422, "1 to 2 texts")
        problem(client.post("/predict", json={"texts": ["w1", "w" * 11], "language": "jv"}), 422, "texts[1]", "10 char")
        problem(client.post("/predict", json={**GOOD, "source": "w" * 11}), 422, "source", "10 characters")
        limits = client.get("/info").json()["limits"]
        assert (limits["texts"], limits["characters"]) == (2, 10)
        alive(client)


def test_40g_only_a_key_lets_in_and_nothing_tells_how_near_one_is(serving, monkeypatch):
    others = [letter * 20 for letter in "abc"]
    with serving((*others, KEY)) as client:
        compared, inner = [], hmac.compare_digest

        def compare(one, other):
            compared.append(1)
            return inner(one, other)

        monkeypatch.setattr(keys_module.hmac, "compare_digest", compare)
        for wrong in (
            {},
            {"authorization": f"Bearer {KEY}x"},
            {"authorization": KEY},
            {"authorization": f"Basic {KEY}"},
        ):
            for path in ("/info", "/languages", "/metrics", "/openapi.json", "/nothing"):
                compared.clear()
                response = client.get(path, headers=wrong)
                problem(response, 401, "Bearer KEY")
                assert response.headers["www-authenticate"] == "Bearer"
                assert len(compared) == 4
            problem(client.post("/predict", json=GOOD, headers=wrong), 401)
        compared.clear()
        for right in (KEY, others[0]):
            assert client.post("/predict", json=GOOD, headers={"authorization": f"bearer {right}"}).status_code == 200
        assert len(compared) == 8  # all four, whichever is right
        assert client.get("/health").status_code == client.get("/ready").status_code == 200


def test_40g_other_addresses_are_refused_without_a_key():
    for host in ("0.0.0.0", "::"):
        with pytest.raises(UserError, match="reached from other machines"):
            take_address(host, 0, Keys(()))
    take_address("0.0.0.0", 0, Keys([KEY])).close()
    taken = take_address("127.0.0.1", 0, Keys(()))
    taken.listen()
    with pytest.raises(UserError, match="is in use; give another"):
        take_address("127.0.0.1", taken.getsockname()[1], Keys(()))
    taken.close()


def test_keys_come_from_a_file_or_the_environment(tmp_path, monkeypatch):
    file = tmp_path / "keys"
    file.write_text(f"# ours\n\n  {KEY}  \n")
    assert keys_from(file).admit(f"Bearer {KEY}".encode())
    monkeypatch.setenv(keys_module.VARIABLE, f"{'a' * 20} {'b' * 20}")
    assert keys_from(None).admit(b"Bearer " + b"b" * 20)
    assert not keys_from(None).admit(b"Bearer " + b"c" * 20)
    for content, said in (("", "found none"), ("short", "at least 16"), ("é" * 20, "ASCII")):
        file.write_text(content)
        with pytest.raises(UserError, match=said):
            keys_from(file)
    with pytest.raises(UserError, match="cannot be read"):
        keys_from(tmp_path / "nothing")


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd", "http://127.0.0.1:9/x", "owner/name", "xx", ""])
def test_40h_an_adapter_is_one_that_is_listed(client, name, monkeypatch):
    """Neither a file nor a socket is touched for any other name."""

    def touched(*args, **named):
        raise AssertionError("touched")

    monkeypatch.setattr("crossflare.serving.card.open_saved", touched)
    monkeypatch.setattr("crossflare.fusion.saved.hub.folder_of", touched)
    problem(client.post("/predict", json={**GOOD, "language": name}), 404, "sw, jv, id, pairs")
    alive(client)


@pytest.mark.parametrize("path", ["/docs", "/redoc", "/predict/../../etc/passwd", "/adapters", "/Predict", "/predict/"])
def test_40h_there_are_no_other_routes(client, path):
    problem(client.get(path), 404)


def test_a_route_takes_its_method(client):
    for method, path, allowed in (("GET", "/predict", "POST"), ("POST", "/info", "GET"), ("DELETE", "/health", "GET")):
        response = client.request(method, path)
        problem(response, 405)
        assert response.headers["allow"] == allowed


def test_no_page_of_another_site_may_read_answers(client):
    headers = {"origin": "https://elsewhere.example", "access-control-request-method": "POST"}
    preflight = client.options("/predict", headers=headers)
    assert preflight.status_code == 405
    answered = client.post("/predict", json=GOOD, headers=headers)
    assert not [name for name in (*preflight.headers, *answered.headers) if name.startswith("access-control")]


def test_the_log_has_a_line_for_each_request_and_no_text(serving, caplog):
    caplog.set_level(logging.DEBUG)
    secret = "w9 siri yangu"
    with serving((KEY,)) as client:
        headers = {"authorization": f"Bearer {KEY}"}
        logging.getLogger("crossflare.service").propagate = True
        client.post("/predict", json={"texts": [secret, "w1"], "language": "sw"}, headers=headers)
        client.post("/predict", json={"text": "poison " + secret, "language": "sw"}, headers=headers)
        client.post("/predict", json={"text": secret, "language": secret}, headers=headers)
        client.post(f"/{secret}?text={secret}", content=secret, headers=headers)
    lines = [record.getMessage() for record in caplog.records if record.name != "httpx2"]  # the client of the test
    ours = [line for line in lines if " rows=" in line]
    assert [line.split()[1:4] for line in ours] == [
        ["POST", "/predict", "200"],
        ["POST", "/predict", "422"],
        ["POST", "/predict", "404"],
        ["POST", "(other)", "404"],
    ]
    assert ours[0].endswith("rows=2 sw")
    assert not [line for line in lines if "siri" in line or KEY in line]


def test_metrics_count_requests_rows_and_batches(client):
    client.post("/predict", json={"texts": ["w1", "w2"], "language": "sw"})
    client.post("/predict", json={"text": "w1"}, headers={"content-type": "text/plain"})
    said = client.get("/metrics").text
    assert 'crossflare_requests_total{route="/predict",status="200"} 1.0' in said
    assert 'crossflare_requests_total{route="/predict",status="415"} 1.0' in said
    assert 'crossflare_rows_total{language="sw",source="translated"} 2.0' in said
    assert "crossflare_batch_rows_sum 2.0" in said
    assert 'crossflare_engine_up{language="sw"} 1.0' in said
    assert "crossflare_rows_open 0.0" in said


def test_a_limit_that_lets_nothing_through_is_refused():
    with pytest.raises(UserError, match="texts: expected a number above 0"):
        Limits(texts=0)
