"""`shan-engine watch`."""

from __future__ import annotations

from shan_cli.console import say
from shan_cli.options import Device, Verbose
from shan_cli.update import CollectionName, run_update


def watch(collection: CollectionName = None, device: Device = "auto", verbose: Verbose = False) -> None:
    """Keep a collection up to date: run `update` now, and when photos are added, changed or deleted. Ctrl-C stops it.

    Examples:

      shan-engine watch

      shan-engine watch work

    Photos of a folder that vanishes stay; `update` asks about them. Changes on a network share may be seen late: every
    collection is looked through once an hour.
    """
    from shan_engine.base.errors import ShanError
    from shan_engine.collections.named import need_collection
    from shan_engine.updating.watch import Watch

    chosen = need_collection(collection)
    said: set[str] = set()
    failure = ""
    changes = Watch(chosen, on_trouble=say)
    for _ in changes:
        try:
            done = run_update(chosen, device, said=said)
        except (ShanError, OSError) as error:
            if str(error) != failure:
                say(f"error: {error}", style="red")
            failure = str(error)
            changes.again_soon()
            continue
        failure = ""
        if done.changed or done.new:
            say(f"{chosen.name}: {done.summary}")
