"""What `make load` found, as docs/reliability.md tells it."""

from typing import Any

WANTED = {"CPU of a row / offline": 1.25, "CPU of a row / batches of one": 0.5, "growth of memory, MB": 50.0}
"""Figure -> the most that it should be."""


def load_section(state: dict[str, Any]) -> str:
    """Return the section, if the load was run."""
    if (found := state.get("load")) is None:
        return ""
    counts, ms = found["counts"], found["ms"]
    refused = ", ".join(f"{key.split()[1]}: {n}" for key, n in counts.items() if key.startswith("refused"))
    others = ", ".join(f"{key}: {n}" for key, n in counts.items() if key in ("429", "503"))
    faults = len(found["faults"])
    lines = [
        f"64 clients for {found['seconds']:g} s, two adapters on MiniLM, one with a dictionary as its engine:",
        f"{counts['200']} requests with {counts['rows']} rows answered, {faults} faults (an answer unlike the offline",
        "prediction, an unexpected status, a crash). Oversized, malformed and slow requests by status, 0 for a closed",
        f"connection: {refused}. Valid requests that were put off: {others or 'none'}. The engine was killed halfway,",
        f"and its first translation came {found['back']:g} s later.",
        "",
        "| What | Measured | At most |",
        "| - | -: | -: |",
        *(f"| {name} | {found[name]:g} | {most:g} |" for name, most in WANTED.items()),
        "",
        f"A row of 20 tokens, text and source each, took {ms['served']:g} ms of the processor in the server,",
        f"{ms['alone']:g} in `predict`, and {ms['ones']:g} in a server whose batches have one row.",
    ]  # fmt: skip
    return "## The service under load\n\n" + "\n".join(lines) + "\n\n"
