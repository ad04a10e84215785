"""Answers to prompts on disk, by what is asked and whom: nothing is asked twice, and a killed run goes on.

<root>/<id of who is asked, and how>/asked.json
<root>/<id>/<part>.jsonl                             rows of prompt and answer, as the store of translations has them
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

from crossflare.disk.files import content_id, json_text, write_if_new
from crossflare.disk.locks import in_turn
from crossflare.errors import UserError
from crossflare.experiment.prompting.endpoint import Endpoint
from crossflare.progress import bar
from crossflare.translation.store import Shelf

Pairs = Sequence[tuple[str, str]]
"""(prompt, answer) of each."""
Ask = Callable[[Sequence[str]], Iterator[Pairs]]
"""Prompts -> some of them with their answers, until all are answered."""


def answered(root: Path, about: Mapping[str, Any], prompts: Sequence[str], ask: Ask) -> list[str]:
    """Return the answer to each prompt; those that are not on disk yet are asked, and kept as soon as they come.

    Args:
        root: The folder of all answers of a run.
        about: Who is asked, and all that an answer depends on beside the prompt; JSON.
        prompts: N prompts; one that stands there several times is asked once.
        ask: Asks; called only if an answer is missing. One process asks at a time, the others wait for its answers.

    Raises:
        UserError: Nobody answers, or the disk is full; what was answered is kept.
    """
    folder = root / content_id(about)
    write_if_new(folder / "asked.json", json_text(about))
    with in_turn(folder / ".asking.lock"), Shelf(folder, "answers") as shelf:
        known = shelf.find(prompts)
        missing = [prompt for prompt in dict.fromkeys(prompts) if prompt not in known]
        if missing:
            with bar("asking", len(missing)) as done:
                for pairs in ask(missing):
                    shelf.append(pairs)
                    known.update(pairs)
                    done(len(pairs))
    return [known[prompt] for prompt in prompts]


def ask_endpoint(endpoint: Endpoint, tokens: int, at_once: int) -> Ask:
    """Return a way to ask a server, with a few requests at the same time.

    After the first failure nothing more is asked; the answers to requests that are under way still come.

    Args:
        endpoint: The server.
        tokens: The most tokens of an answer.
        at_once: The most requests at the same time.
    """

    def one(prompt: str) -> str:
        reply = endpoint.ask(prompt, tokens)
        return json.dumps({"text": reply.text, "model": reply.model})

    def ask(prompts: Sequence[str]) -> Iterator[Pairs]:
        ahead, failed = iter(prompts), None
        with ThreadPoolExecutor(at_once) as pool:
            under_way: dict[Future[str], str] = {}
            while True:
                while failed is None and len(under_way) < at_once and (prompt := next(ahead, None)) is not None:
                    under_way[pool.submit(one, prompt)] = prompt
                if not under_way:
                    break
                for future in wait(under_way, return_when=FIRST_COMPLETED).done:
                    prompt = under_way.pop(future)
                    try:
                        answer = future.result()
                    except UserError as error:
                        failed = failed or error
                    else:
                        yield [(prompt, answer)]
        if failed is not None:
            raise failed

    return ask
