"""The story of Whetstone with real partners: story.py WHETSTONE [PART...]. Run by run.sh, which installs them."""

import pathlib
import shutil
import sys
import tempfile
import time

import story_agents
import story_embeddings
import story_gateway
import story_model
from partners import Failed, Servers, stop_on_signals

PARTS = {
    "agents": story_agents.story,
    "gateway": story_gateway.story,
    "embeddings": story_embeddings.story,
    "model": story_model.story,
}


def main(binary, *parts):
    unknown = [part for part in parts if part not in PARTS]
    if unknown:
        sys.exit(f"no part {unknown[0]!r}; there are {', '.join(PARTS)}")
    stop_on_signals()
    work = pathlib.Path(tempfile.mkdtemp(prefix="whetstone-partners."))
    began = time.monotonic()
    try:
        for part in parts or PARTS:
            with Servers(work) as servers:
                PARTS[part](pathlib.Path(binary).resolve(), servers, work / part)
    except Failed as failed:
        sys.exit(f"partners: {part}: {failed}")
    finally:
        shutil.rmtree(work, ignore_errors=True)
    print(f"all as it should be; {time.monotonic() - began:.0f} s")


main(*sys.argv[1:])
