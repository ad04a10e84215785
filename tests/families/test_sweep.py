"""Model types of transformers are right by the laws of `sweep`, or refused in one line; never silently different."""

import datetime
import json

import pytest

from families import sweep
from families.any_model import TABLES, Pair, pairs
from families.sweep import PAGE, STATE, Verdict, examined, of_this_week

MOST_USED = (
    "bart", "bert", "big_bird", "bloom", "camembert", "cohere", "deberta", "deberta-v2", "distilbert", "electra",
    "ernie", "falcon", "gemma", "gemma2", "gpt2", "gpt_neox", "gptj", "granite", "llama", "m2m_100", "marian",
    "mbart", "mistral", "mixtral", "modernbert", "mpnet", "mt5", "olmo2", "opt", "pegasus", "phi", "phi3", "qwen2",
    "qwen3", "roberta", "smollm3", "t5", "umt5", "xglm", "xlm-roberta",
)  # fmt: skip
ALL = pairs()
FAST = [Pair("bert", "SEQ_CLS", "BertForSequenceClassification"), Pair("gpt2", "CAUSAL_LM", "GPT2LMHeadModel")]


def name(pair: Pair) -> str:
    return f"{pair.type}-{pair.task}"


@pytest.mark.parametrize("pair", FAST, ids=name)
def test_two_of_them(pair: Pair) -> None:
    assert examined(pair) == Verdict("right")


@pytest.mark.slow
@pytest.mark.parametrize("pair", [pair for pair in ALL if pair.type in MOST_USED], ids=name)
def test_the_most_used_are_right(pair: Pair) -> None:
    assert examined(pair) == Verdict("right")


@pytest.mark.slow
@pytest.mark.parametrize(
    "kind", of_this_week({pair.type for pair in ALL} - {*MOST_USED}, datetime.date.today().isocalendar().week)
)
def test_a_fifth_of_the_rest_is_right_or_refused(kind: str) -> None:
    found = {pair.task: examined(pair) for pair in ALL if pair.type == kind}
    assert not {task: verdict for task, verdict in found.items() if verdict.word == "wrong"}


def test_each_type_has_its_week() -> None:
    kinds = {pair.type for pair in ALL}
    weeks = [set(of_this_week(kinds, week)) for week in range(5)]
    assert set.union(*weeks) == kinds
    assert sum(map(len, weeks)) == len(kinds)


BROKEN = {
    "causal": ("crossflare.fusion.blocks.CAUSAL", frozenset(), Pair("bloom", "CAUSAL_LM", "BloomForCausalLM")),
    "norm": ("crossflare.fusion.blocks.PRE_NORM_BARTS", frozenset(), Pair("opt", "CAUSAL_LM", "OPTForCausalLM")),
    "key": ("crossflare.fusion.tuner.one_matrix", lambda *_: None, FAST[1]),
}


@pytest.mark.parametrize("what", BROKEN)
def test_what_is_taken_for_something_else_is_seen(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    place, value, pair = BROKEN[what]
    monkeypatch.setattr(place, value)
    verdict = examined(pair)
    assert verdict.word == ("refused" if what == "norm" else "wrong")  # the first pass sees a norm that is not known
    assert "something else" in verdict.why if what == "norm" else "is not the equation" in verdict.why


@pytest.mark.skipif(not STATE.is_file(), reason="no documentation around the tests")
def test_the_page_lists_what_was_found() -> None:
    state = json.loads(STATE.read_text(encoding="utf-8"))
    text = PAGE.read_text(encoding="utf-8")
    assert sweep.written(text, state) == text, "run python tests/families/sweep.py"
    assert set(TABLES) >= {task for found in state["types"].values() for task in found}
    assert not [kind for kind, found in state["types"].items() for each in found.values() if each["word"] == "wrong"]
    assert {each["word"] for kind in MOST_USED for each in state["types"][kind].values()} == {"right"}
