#!/usr/bin/env python3
"""Writes a suite of N single-turn scenarios and the world that answers it, for benches/throughput.sh.

    benches/suite.py N LATENCY_MS CONCURRENCY DIR

Every scenario has one exact check and no judge, so that one scenario is one call.
"""

import json
import pathlib
import sys

n, latency, concurrency = (int(argument) for argument in sys.argv[1:4])
out = pathlib.Path(sys.argv[4])
out.mkdir(parents=True, exist_ok=True)

with (out / "scenarios.jsonl").open("w") as scenarios:
    for number in range(n):
        scenario = {
            "id": f"s{number:06}",
            "message": f"What is the state of order A-{number}? I ordered it two weeks ago and have heard nothing since.",
            "expect": {"checks": [{"contains": "on its way"}]},
        }
        scenarios.write(json.dumps(scenario) + "\n")

world = {"fallback": "Your order is on its way and arrives within two days."}
if latency:
    world["faults"] = {"latency": {"fixed": f"{latency}ms"}}
(out / "world.yaml").write_text(json.dumps(world, indent=1))
(out / "prompt.md").write_text("# Role\nYou are the support assistant of a shop. Answer in one sentence.\n")
(out / "optimization.yaml").write_text(
    json.dumps(
        {
            "apiVersion": "whetstone.dev/v1alpha1",
            "kind": "AgentOptimization",
            "metadata": {"name": "throughput"},
            "spec": {
                "profile": "Prototype",
                "agent": {"prompt": {"file": "prompt.md"}, "runtime": {"model": {"ref": "worker"}}},
                "models": [{"name": "worker", "openAI": {"model": "gpt-4o-mini"}, "limits": {"concurrency": concurrency}}],
                "scenarios": [{"file": "scenarios.jsonl"}],
                "split": {"train": 1, "regression": 0, "heldOut": 0},
                "execution": {"repeats": 1, "concurrency": concurrency},
                "scoring": {"dimensions": [{"name": "accuracy", "weight": 1, "scorer": "Checks"}]},
            },
        },
        indent=1,
    )
)
