"""Objects that only one thread may use at a time: the tokenizers of transformers, and translation engines.

A fast tokenizer keeps the length at which it cuts. A call that cuts elsewhere changes it, while another thread may be
in the middle of a call that relies on it.
"""

from threading import RLock
from typing import Any
from weakref import WeakKeyDictionary

_turns: "WeakKeyDictionary[Any, Any]" = WeakKeyDictionary()
_others, _asking = RLock(), RLock()


def turn(thing: Any) -> Any:
    """Return the lock of an object, for `with`; objects that cannot be keys of a weak dictionary share one."""
    try:
        with _asking:
            return _turns.setdefault(thing, RLock())
    except TypeError:
        return _others


def call_tokenizer(tokenizer: Any, *texts: Any, **options: Any) -> Any:
    """Return what a tokenizer of transformers makes of texts, after the calls of other threads."""
    with turn(tokenizer):
        return tokenizer(*texts, **options)
