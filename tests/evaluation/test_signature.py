from dataclasses import fields, replace

import pytest

from crossflare.errors import UserError
from crossflare.evaluation.signature import Signature, check_comparable, combine

ONE = Signature(
    task="nusax", task_version="1", split="test", language="ace", n=400, model="mini", model_digest="abc",
    source="none", method="lora", metric="macro_f1", seeds=(1,), data="d1", version="0.1.0",
)  # fmt: skip


def test_line_names_every_value() -> None:
    assert str(replace(ONE, seeds=(1, 2))) == (
        "task:nusax|version:1|split:test|language:ace|n:400|model:mini|digest:abc|source:none|method:lora|"
        "metric:macro_f1|seeds:1+2|data:d1|crossflare:0.1.0"
    )


def test_json_there_and_back() -> None:
    assert Signature.from_json(ONE.to_json()) == ONE


def test_seeds_combine_in_order() -> None:
    assert combine([replace(ONE, seeds=(3,)), ONE]) == replace(ONE, seeds=(1, 3))


def test_languages_combine_for_a_macro_average_only() -> None:
    other = replace(ONE, language="ban", n=300, data="d2")
    both = combine([other, ONE], languages=True)
    assert (both.language, both.n, both.seeds) == ("ace+ban", 700, (1,))
    assert both == combine([ONE, other], languages=True)
    with pytest.raises(UserError, match="differ in language, n, data"):
        combine([ONE, replace(other, seeds=(2,))])


@pytest.mark.parametrize("name", [f.name for f in fields(Signature) if f.name != "seeds"])
def test_anything_else_unequal_is_refused_and_both_are_shown(name: str) -> None:
    other = replace(ONE, **{"seeds": (2,), name: 7 if name == "n" else "other"})
    with pytest.raises(UserError, match=f"differ in {name} ") as caught:
        combine([ONE, other])
    assert str(ONE) in str(caught.value)
    assert str(other) in str(caught.value)


def test_macro_average_over_unequal_seeds_is_refused() -> None:
    with pytest.raises(UserError, match="differ in seeds"):
        combine([ONE, replace(ONE, language="ban", seeds=(1, 2))], languages=True)


def test_the_same_seed_or_language_twice_is_refused() -> None:
    with pytest.raises(UserError, match="each seed once"):
        combine([ONE, ONE])
    with pytest.raises(UserError, match="each language once"):
        combine([ONE, ONE], languages=True)
    with pytest.raises(UserError, match="at least one"):
        combine([])


def test_methods_with_other_sources_are_comparable_and_other_models_not() -> None:
    check_comparable(ONE, replace(ONE, method="flare", source="nllb-1", data="d9"))
    with pytest.raises(UserError, match=r"model:mini.*model:maxi"):
        check_comparable(ONE, replace(ONE, model="maxi"))


def test_a_field_missing_or_unknown_is_named() -> None:
    values = ONE.to_json()
    with pytest.raises(UserError, match="missing or unknown: colour"):
        Signature.from_json(values, colour="red")
    values.pop("task")
    with pytest.raises(UserError, match="missing or unknown: task"):
        Signature.from_json(values)
    with pytest.raises(UserError, match="whole numbers"):
        Signature.from_json(ONE.to_json(), seeds="1")


def test_one_engine_with_a_lexicon_for_each_language_has_a_macro_average() -> None:
    ace, ban = replace(ONE, source="dictionary-1a"), replace(ONE, language="ban", source="dictionary-2b")
    both = combine([ban, ace], languages=True).source
    assert both.startswith("dictionary-")
    assert both not in (ace.source, ban.source)
    with pytest.raises(UserError, match="differ in source"):
        combine([ace, replace(ban, source="apertium-2b")], languages=True)
    with pytest.raises(UserError, match="differ in source"):
        combine([ace, replace(ban, language="ace", seeds=(2,))])
