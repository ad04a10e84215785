"""A service in a process of its own: python service_process.py ADAPTER FOLDER LIMITS, with the engine `Slow`."""

import json
import sys
from functools import partial
from pathlib import Path

from service_engines import Slow


def main(adapter: str, folder: str, limits: str) -> None:
    # Here, since the engine's process reads this module, too, and starts without them in half a second.
    from crossflare.service.address import take_address
    from crossflare.service.keys import Keys
    from crossflare.service.limits import Limits
    from crossflare.service.server import log_requests, serve
    from crossflare.service.service import Service
    from crossflare.service.translations import Translations
    from crossflare.service.worker import EngineProcess
    from crossflare.serving.several import open_adapters

    keys, chosen = Keys(()), Limits(**json.loads(limits))
    taken = take_address("127.0.0.1", 0, keys)
    process = EngineProcess(partial(Slow, Path(folder)), "sw", "en")
    engine = Translations("slow", process, chosen)
    engine.start()
    service = Service(open_adapters({"sw": adapter}), {"sw": engine}, {}, chosen)
    log_requests()
    serve(service, keys, taken, lambda address: print(address, process.pid, flush=True))


if __name__ == "__main__":
    main(*sys.argv[1:])
