"""The specification is true: schemathesis makes requests of it, and of what it excludes; none is a fault of ours."""

from typing import Any

import pytest

schemathesis = pytest.importorskip("schemathesis")

import requests  # noqa: E402
from hypothesis import HealthCheck, given, settings  # noqa: E402
from schemathesis.checks import CHECKS, load_all_checks  # noqa: E402

load_all_checks()
TRUE = ("not_a_server_error", "status_code_conformance", "content_type_conformance", "response_schema_conformance")
KEY = "k" * 20


@pytest.mark.slow
@pytest.mark.parametrize("keys", [(), (KEY,)], ids=["open", "with keys"])
def test_no_request_of_the_specification_or_beside_it_is_a_fault(serving, keys):
    headers = {"authorization": f"Bearer {KEY}"} if keys else {}
    statuses: dict[str, set[int]] = {}
    with serving(keys) as client:
        schema = schemathesis.openapi.from_dict(client.get("/openapi.json", headers=headers).json())
        for operation in (each.ok() for each in schema.get_all_operations()):
            seen = statuses[operation.path] = set()
            for mode in schemathesis.GenerationMode if operation.method == "post" else (None,):
                strategy = operation.as_strategy() if mode is None else operation.as_strategy(generation_mode=mode)
                ask_all(strategy, client, headers, seen, examples=3 if mode is None else 25)
        valid = client.post("/predict", json={"text": "w1", "language": "sw"}, headers=headers)
    assert valid.status_code == 200
    assert statuses.keys() == {"/predict", "/languages", "/info", "/health", "/ready", "/metrics"}
    assert 422 in statuses["/predict"]


def ask_all(strategy: Any, client: Any, headers: dict[str, str], seen: set[int], examples: int) -> None:
    checks = [CHECKS.get_one(name) for name in TRUE]

    @settings(max_examples=examples, suppress_health_check=list(HealthCheck), database=None)
    @given(case=strategy)
    def run(case: Any) -> None:
        made = requests.Request(**case.as_transport_kwargs(base_url="http://testserver")).prepare()
        response = client.request(made.method, made.url, content=made.body, headers={**made.headers, **headers})
        case.validate_response(response, checks=checks)
        seen.add(response.status_code)

    run()
