"""The same application on a Ray cluster: replicas that Ray Serve starts, watches and replaces (`docs/serving.md`)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from crossflare.errors import UserError, choose
from crossflare.serving.http.limits import Limits

LISTS = ("adapters", "translate")
"""The arguments that are lists, and may be a text."""


@dataclass(frozen=True)
class Deployed:
    """What is served, and by how many; every file must exist at the same path on every node."""

    adapters: Sequence[str]
    """As for `crossflare serve --adapter`."""
    translate: Sequence[str] = ()
    """As for `crossflare serve --translate`."""
    base: str | None = None
    """As for `crossflare serve --base`."""
    replicas: int = 1
    """Processes with all the adapters each."""
    cpus: float = 1
    """The processors that Ray reserves for a replica."""
    gpus: float = 0
    """The GPUs that Ray reserves for a replica."""
    without_keys: bool = False
    """Whether a replica may start without keys in its environment."""
    limits: Limits = field(default_factory=Limits)
    """The limits of each replica."""

    @classmethod
    def of(cls, args: Mapping[str, Any]) -> "Deployed":
        """Return what a mapping says, with its types, and the folders of adapters with their whole paths.

        Raises:
            UserError: An argument is unknown, missing or wrong.
        """
        from pydantic import TypeAdapter, ValidationError

        _refuse_unknown("argument", args, cls)
        given = {name: each.split() if name in LISTS and isinstance(each, str) else each for name, each in args.items()}
        if not given.get("adapters"):
            raise UserError("adapters: expected at least one, as in adapters=sw=/models/sw")
        if isinstance(limits := given.get("limits"), Mapping):
            _refuse_unknown("limit", limits, Limits)
        try:
            made = TypeAdapter(cls).validate_python(given)
        except ValidationError as error:
            first = error.errors()[0]
            if isinstance(ours := first.get("ctx", {}).get("error"), UserError):
                raise ours from error
            place = ".".join(map(str, first["loc"]))
            raise UserError(f"{place}: {first['msg']}; got {str(first['input'])[:80]}") from error
        return replace(made, adapters=[_whole(each) for each in made.adapters])


def app_of(args: dict[str, Any]) -> Any:
    """Return a Ray Serve application, for `serve.run`, `serve run` and `serve deploy`.

    Args:
        args: Fields of `Deployed`, as a command line or a YAML file has them: a list may be a text with blanks between
            its entries, a number may be a text, and `limits` is a mapping of fields of `Limits`.

    Raises:
        UserError: Ray Serve is not installed, or an argument is unknown or wrong.
    """
    try:
        from ray import serve
    except ImportError as error:
        raise UserError("Ray Serve is not installed; install it: pip install 'crossflare[serve-ray]'") from error
    wanted = Deployed.of(args)
    open_requests = wanted.limits.open_requests
    deployment: Any = serve.deployment(
        serve.ingress()(Replica),
        name="crossflare",
        num_replicas=wanted.replicas,
        ray_actor_options={"num_cpus": wanted.cpus, "num_gpus": wanted.gpus},
        max_ongoing_requests=open_requests,
        max_queued_requests=open_requests,  # by default Ray Serve lets any number wait
        graceful_shutdown_timeout_s=wanted.limits.drain_seconds,
    )
    return deployment.bind(wanted)


class Replica:
    """A service in a process of Ray Serve, which calls the methods."""

    def __init__(self, wanted: Deployed) -> None:
        """Open the adapters and start the engines.

        Raises:
            UserError: There are no keys in the environment, or `open_service` refuses something.
        """
        from crossflare.serving.http.keys import VARIABLE, keys_from
        from crossflare.serving.http.opening import adapters_named, engines_named, open_service
        from crossflare.serving.http.server import log_requests

        self._keys = keys_from(None)
        if not self._keys and not wanted.without_keys:
            raise UserError(
                f"{VARIABLE} is not set where a replica runs; set it for `ray start` on each node, or give "
                "without_keys=true where no one else reaches the address"
            )
        adapters = adapters_named(wanted.adapters)
        engines = engines_named(wanted.translate, [*adapters])
        self._service = open_service(adapters, engines, base=wanted.base, limits=wanted.limits)
        log_requests()

    def __serve_build_asgi_app__(self) -> Any:
        """Return the application; Ray Serve runs its lifespan."""
        from crossflare.serving.http.app import create_app

        return create_app(self._service, self._keys)

    def check_health(self) -> None:
        """Raise an error if the replica can answer nothing any more; Ray Serve then replaces it."""
        if not self._service.batches.alive:
            raise RuntimeError("the model's thread has ended")


def _refuse_unknown(kind: str, names: Mapping[str, Any], known: type[Any]) -> None:
    for name in names:
        choose(kind, name, [each.name for each in fields(known)])


def _whole(adapter: str) -> str:
    """Return `NAME=FOLDER` with the whole path of a folder: a replica may start in another one."""
    name, equals, place = ("", "", adapter) if Path(adapter).is_dir() else adapter.rpartition("=")
    return f"{name}{equals}{Path(place).resolve()}" if Path(place).is_dir() else adapter
