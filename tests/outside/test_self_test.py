"""`crossflare doctor --self-test`: every law holds here, and fails once what it rests on is broken."""

import json
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
import torch
from peft import PeftModel

from crossflare.cli import doctor, main
from crossflare.fusion import functions
from crossflare.fusion.attachment import Attachment
from crossflare.fusion.config import FlareConfig
from crossflare.fusion.inputs import Inputs
from crossflare.selftest import many_calls, models, one_call, run
from crossflare.selftest.models import CLOSE, Measure, agree, differ
from crossflare.selftest.run import ELSEWHERE, LAWS, Law

CPU = torch.device("cpu")
Patch = pytest.MonkeyPatch


@pytest.fixture
def one_setting(monkeypatch: Patch) -> None:
    """Leave of the adapters the usual one."""
    for table in (models.SETTINGS, models.FEW):
        for name in list(table)[1:]:
            monkeypatch.delitem(table, name)


def failure(law: Law) -> str:
    """Return the failure of a law, which stops at its first broken comparison."""

    def until_broken(device: torch.device) -> Iterator[Measure]:
        for measure in law(device):
            yield measure
            if not measure.holds:
                return

    return run._check("law", until_broken, CPU).failure


@pytest.mark.parametrize("name", LAWS)
@pytest.mark.usefixtures("one_setting")
def test_every_law_holds(name: str) -> None:
    assert failure(LAWS[name]) == ""


@pytest.mark.slow
@pytest.mark.parametrize("name", LAWS)
def test_every_law_holds_for_every_adapter(name: str) -> None:
    assert failure(LAWS[name]) == ""


# What each law rests on, broken ---------------------------------------------------------------------------------------


def generate(monkeypatch: Patch, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """Let `generate` be called with changed arguments."""
    real = Attachment.generate
    monkeypatch.setattr(Attachment, "generate", lambda self, plain, given: real(self, plain, change(given)))


def take(monkeypatch: Patch, change: Callable[[Inputs], Inputs]) -> None:
    """Let every call of a model see other inputs."""
    real = Inputs.take
    monkeypatch.setattr(Inputs, "take", lambda *args: change(real(*args)))


def without_source(given: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in given.items() if not name.startswith("source_")}


def cached_steps_forget_the_source(monkeypatch: Patch) -> None:
    generate(monkeypatch, lambda given: without_source(given) if given.get("use_cache") else given)


def prompts_of_a_batch_read_padding(monkeypatch: Patch) -> None:
    mask = "source_attention_mask"
    generate(monkeypatch, lambda given: given | {mask: torch.ones_like(given[mask])})


def padding_is_read(monkeypatch: Patch) -> None:
    def change(inputs: Inputs) -> Inputs:
        inputs.given_mask = None
        return inputs

    take(monkeypatch, change)


def no_source_is_read(monkeypatch: Patch) -> None:
    def change(inputs: Inputs) -> Inputs:
        inputs.source, inputs.given_mask = {}, None
        return inputs

    take(monkeypatch, change)


def no_source_takes_another_path(monkeypatch: Patch) -> None:
    real = functions._partner

    def partner(source: Any, target: Any, pairing: Any, neutral: float) -> Any:
        return real(source, target, pairing, neutral + (source is None))

    monkeypatch.setattr(functions, "_partner", partner)


def lora_b_starts_at_random(monkeypatch: Patch) -> None:
    monkeypatch.setattr(one_call, "FlareConfig", partial(FlareConfig, init_lora_weights=False))


def lose_a_weight(model: Any) -> Any:
    weight = next(weight for name, weight in model.named_parameters() if "lora_B" in name)
    weight.data.zero_()
    return model


def crossflare_loses_a_weight(monkeypatch: Patch) -> None:
    real = one_call.load_adapter
    monkeypatch.setattr(one_call, "load_adapter", lambda *args, **rest: lose_a_weight(real(*args, **rest)))


def peft_loses_a_weight(monkeypatch: Patch) -> None:
    real = PeftModel.from_pretrained
    monkeypatch.setattr(PeftModel, "from_pretrained", lambda *args: lose_a_weight(real(*args)))


def in_backward() -> bool:
    """Whether this is a layer that is run again by activation checkpointing."""
    return torch._C._current_graph_task_id() != -1


def the_source_is_gone_at_backward(monkeypatch: Patch) -> None:
    real = functions.add_relu
    monkeypatch.setattr(functions, "add_relu", lambda source, *rest: real(None if in_backward() else source, *rest))


def backward_sees_the_last_call(monkeypatch: Patch) -> None:
    real, seen = functions.add_relu, dict[tuple[int, ...], Any]()

    def last(source: Any, target: Any, pairing: Any) -> Any:
        if in_backward():
            return real(*seen[target.shape])
        seen[target.shape] = (source, target, pairing)
        return real(source, target, pairing)

    monkeypatch.setattr(functions, "add_relu", last)


def calls_share_one_place(monkeypatch: Patch) -> None:
    place: list[Inputs] = []

    def change(inputs: Inputs) -> Inputs:
        place[:] = [inputs]
        time.sleep(0.001)  # lets the other thread in
        return place[0]

    take(monkeypatch, change)


def one_device_has_other_weights(monkeypatch: Patch) -> None:
    real, seeds = one_call.adapted, iter(range(9))
    monkeypatch.setattr(one_call, "adapted", lambda kind, at: real(kind, at, base=models.build_base(kind, next(seeds))))


BROKEN: list[tuple[Callable[[Patch], None], Law, str]] = [
    (cached_steps_forget_the_source, one_call.cached, "decoder, add_relu by position, written with the cache"),
    (prompts_of_a_batch_read_padding, one_call.prompt_alone, "decoder, add_relu by position, "),
    (padding_is_read, one_call.row_alone, "encoder, add_relu by position, row 1 by itself and in a batch"),
    (padding_is_read, one_call.padding, "encoder, add_relu by position, the source padded by 4 columns more"),
    (no_source_is_read, one_call.source, "encoder, add_relu by position, with a source and without"),
    (no_source_takes_another_path, one_call.without_source, "encoder, add_relu by position, sources without a token"),
    (lora_b_starts_at_random, one_call.fresh, "encoder, add_relu by position, lora_B at zero and the base model"),
    (crossflare_loses_a_weight, one_call.saved, "encoder, add_relu by position, saved by save_adapter"),
    (peft_loses_a_weight, one_call.saved, "encoder, add_relu by position, saved by save_pretrained"),
    (
        the_source_is_gone_at_backward,
        many_calls.checkpointed,
        "encoder, add_relu by position, gradients with checkpoint",
    ),
    (
        backward_sees_the_last_call,
        many_calls.two_forwards,
        "encoder, add_relu by position, gradients of two calls before",
    ),
    (calls_share_one_place, many_calls.threads, "encoder, two threads, of 20 calls "),
    (one_device_has_other_weights, one_call.as_on_cpu, "encoder, add_relu by position, on cpu and on the CPU"),
]


@pytest.mark.parametrize(("fault", "law", "said"), BROKEN, ids=lambda each: getattr(each, "__name__", ""))
@pytest.mark.usefixtures("one_setting")
def test_every_law_fails_once_broken(
    fault: Callable[[Patch], None], law: Law, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fault(monkeypatch)
    line = failure(law)
    assert line.startswith(said)
    assert "\n" not in line
    assert f"apart, expected at {'least 0.01' if law is one_call.source else 'most 0.001'}" in line


def test_every_law_is_broken_by_something() -> None:
    assert {law for _, law, _ in BROKEN} == {*LAWS.values(), *ELSEWHERE.values()}


def test_measures() -> None:
    one, nan = torch.zeros(2, 3), torch.full((2, 3), float("nan"))
    assert agree("x", one, one + CLOSE / 2).holds
    assert str(agree("x", one, one + 0.5)) == "x: 0.5 apart, expected at most 0.001"
    assert agree("x", one + 5000, one + 5001).holds  # a share of the largest value
    assert not agree("x", one, nan).holds
    assert not agree("x", one, torch.zeros(2, 1)).holds
    assert not differ("x", one, nan).holds
    assert not differ("x", one, torch.tensor([[0.0, 0.0, 1.0], [0.0, 0.0, 0.0]])).holds  # the second row does not
    assert differ("x", one, torch.tensor([[0.0, 0.0, 1.0], [0.0, 0.0, 1.0]])).holds


# The command ----------------------------------------------------------------------------------------------------------


def holds(device: torch.device) -> Iterator[Measure]:
    yield Measure("fine", 0.0, CLOSE)


def breaks(device: torch.device) -> Iterator[Measure]:
    yield Measure("one [bold]thing[/bold] and another", 0.25, CLOSE)
    yield Measure("a second pair", 0.0, CLOSE)


def raises(device: torch.device) -> Iterator[Measure]:
    yield from holds(device)
    raise KeyError("moved\nand more")


def laws(monkeypatch: pytest.MonkeyPatch, **table: Law) -> None:
    monkeypatch.setattr(run, "LAWS", table)
    monkeypatch.setattr(run, "ELSEWHERE", {})
    monkeypatch.setattr("crossflare.devices.best_device", lambda: CPU)


def test_all_green(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    laws(monkeypatch, first=holds, second=holds)
    assert main(["doctor", "--self-test"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("  torch 2.")
    assert [line.partition(" (")[0] for line in lines[1:4]] == [
        "✓ the libraries can be imported, and compute on cpu", "✓ first", "✓ second",
    ]  # fmt: skip
    assert lines[4].startswith("✓ all hold, ")


def test_one_line_for_each_failure(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    laws(monkeypatch, first=breaks, second=raises, third=lambda device: iter(()), fourth=holds)
    monkeypatch.setattr(doctor, "untested", lambda: ["peft 9.1 is newer than tested (>=0.21)"])
    assert main(["doctor", "--self-test"]) == 1
    shown = capsys.readouterr()
    lines = shown.out.splitlines()
    said = "one [bold]thing[/bold] and another: 0.25 apart, expected at most 0.001 (1 of 2 comparisons fail)"
    assert lines[2].startswith("✗ first (")
    assert lines[2].endswith(f" s): {said}")
    assert lines[3].endswith(" s): KeyError: 'moved\\nand more'")
    assert lines[4].endswith(" s): nothing was compared")
    assert lines[5].startswith("✓ fourth")
    assert lines[6] == (
        "✗ 3 of 5 fail; the likely cause: peft 9.1 is newer than tested (>=0.21); install a tested version"
    )
    assert (len(lines), shown.err) == (7, "")


def test_json(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    laws(monkeypatch, first=holds, second=breaks)
    assert main(["doctor", "--self-test", "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert not found["ok"]
    assert found["versions"]["torch"].startswith("2.")
    assert [law["ok"] for law in found["laws"]] == [True, True, False]
    laws(monkeypatch, first=holds)
    assert main(["doctor", "--self-test", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["ok"]


def test_libraries_that_cannot_be_imported(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(sys.modules, "crossflare.selftest.run", None)
    assert main(["doctor", "--self-test"]) == 1
    assert "✗ the libraries can be imported (0.0 s): ModuleNotFoundError: " in capsys.readouterr().out


def test_another_device_has_a_law_more(monkeypatch: pytest.MonkeyPatch) -> None:
    laws(monkeypatch, here=holds)
    monkeypatch.setattr(run, "ELSEWHERE", {"as on the CPU": holds})
    assert [verdict.law for verdict in run.self_test(CPU)] == ["here"]
    assert [verdict.law for verdict in run.self_test(torch.device("meta"))] == ["here", "as on the CPU"]


def test_a_model_has_no_place_beside_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "minilm", "--self-test"]) == 2
    assert capsys.readouterr().err == "error: --self-test has tiny models of its own; leave 'minilm' out\n"


def test_it_leaves_the_random_generator_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def law(device: torch.device) -> Iterator[Measure]:
        models.adapted("decoder", device)
        return holds(device)

    laws(monkeypatch, law=law)
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    assert all(verdict.ok for verdict in run.self_test(CPU))
    assert torch.equal(torch.rand(3), expected)
