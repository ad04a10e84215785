import pytest

from crossflare.errors import UserError
from crossflare.tasks.kinds import TextTask


def test_labels_and_aliases_lead_to_the_index(mood: TextTask) -> None:
    assert [mood.label_index(value, "f:1") for value in ("bad", "good", "awful")] == [0, 1, 0]


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("goood", "unknown label 'goood': did you mean 'good'? (known: bad, good)"),
        (" good", "unknown label ' good'"),
        ("Good", "unknown label 'Good'"),
        (None, "expected a label, found none; known: bad, good"),
        ("", "expected a label, found none"),
        (1, "label 1 is a number; known: bad, good; say what it means, as in aliases: {'1': bad}"),
        ("1", "unknown label '1'"),
        (True, "label true is a truth value; known: bad, good; say what it means, as in aliases"),
        (["good"], "unknown label ['good']"),
    ],
)
def test_anything_else_is_refused_with_place_value_and_allowed_set(mood: TextTask, value: object, says: str) -> None:
    with pytest.raises(UserError) as caught:
        mood.label_index(value, "reviews.csv:7")
    assert str(caught.value).startswith(f"reviews.csv:7: {says}")


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"labels": ("one",)}, "expected at least two labels"),
        ({"labels": ("a", "b", "a")}, "named twice"),
        ({"aliases": {"x": "c"}}, "alias 'x' stands for 'c', no label; known: a, b"),
        ({"aliases": {"a": "b"}}, "'a' is both a label and an alias"),
        ({"metrics": ("accuracy",), "main_metric": "macro_f1"}, "main metric macro_f1 is not among"),
    ],
)
def test_a_wrong_task_is_refused(settings: dict, says: str) -> None:
    with pytest.raises(UserError, match=says):
        TextTask(**{"name": "t", "version": 1, "labels": ("a", "b"), **settings})
