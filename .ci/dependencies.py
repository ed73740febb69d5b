#!/usr/bin/env python3
"""Holds the dependencies against deny.toml: their licences, banned crates, and where they come from.

Reads `cargo metadata`. It is what `cargo deny check licenses bans sources` looks at, without having to build cargo-deny;
advisories need its database, and so `make deny`.
"""

import json
import pathlib
import re
import subprocess
import sys
import tomllib

ROOT = pathlib.Path(__file__).resolve().parent.parent


def allowed(expression: str, allow: set[str]) -> bool:
    """Whether an SPDX expression can be satisfied by allowed licences alone."""
    # crates.io used to write `MIT/Apache-2.0` for a choice.
    tokens = re.findall(r"[()]|[^\s()]+", expression.replace("/", " OR "))
    at = 0

    def either() -> bool:
        nonlocal at
        holds = both()
        while at < len(tokens) and tokens[at] == "OR":
            at += 1
            holds = both() or holds
        return holds

    def both() -> bool:
        nonlocal at
        holds = one()
        while at < len(tokens) and tokens[at] == "AND":
            at += 1
            holds = one() and holds
        return holds

    def one() -> bool:
        nonlocal at
        if at >= len(tokens):
            raise ValueError(f"{expression!r} ends too early")
        token = tokens[at]
        at += 1
        if token == "(":
            holds = either()
            if at >= len(tokens) or tokens[at] != ")":
                raise ValueError(f"{expression!r} has no closing parenthesis")
            at += 1
            return holds
        if token in (")", "AND", "OR", "WITH"):
            raise ValueError(f"{expression!r} is no SPDX expression")
        if at < len(tokens) and tokens[at] == "WITH":
            token = " ".join([token, "WITH", *tokens[at + 1 : at + 2]])
            at += 2
        return token in allow

    holds = either()
    if at != len(tokens):
        raise ValueError(f"{expression!r} is no SPDX expression")
    return holds


def problems(metadata: dict, policy: dict) -> list[str]:
    """Everything that is wrong, one line each."""
    allow = set(policy["licenses"]["allow"])
    banned = {ban["crate"]: ban.get("reason", "") for ban in policy["bans"]["deny"]}
    registries = {f"registry+{url}" for url in policy["sources"]["allow-registry"]}
    members = set(metadata["workspace_members"])
    # Packages that no target of ours builds are in the metadata, and not in the graph: those for other platforms are.
    used = {node["id"] for node in metadata["resolve"]["nodes"]}
    found = []
    for package in metadata["packages"]:
        name = f"{package['name']} {package['version']}"
        if package["id"] not in used:
            continue
        if package["name"] in banned:
            found.append(f"{name} is banned: {banned[package['name']]}")
        if package["id"] in members:
            continue
        if package["source"] not in registries:
            found.append(f"{name} comes from {package['source'] or 'a path'}, which deny.toml does not allow")
        licence = package["license"]
        try:
            if licence is None:
                found.append(f"{name} says no licence")
            elif not allowed(licence, allow):
                found.append(f"{name} is licensed {licence}, which deny.toml does not allow")
        except ValueError as error:
            found.append(f"{name}: {error}")
    for package in metadata["packages"]:
        if package["id"] in members:
            for dependency in package["dependencies"]:
                if dependency["req"] == "*" and dependency["source"]:
                    found.append(f"{package['name']} wants any version of {dependency['name']}: name one")
    return found


def check_ourselves() -> None:
    """A check that lets everything through would look like one that passes."""
    allow = {"MIT", "Apache-2.0", "Apache-2.0 WITH LLVM-exception"}
    for expression, expected in {
        "MIT": True,
        "GPL-3.0": False,
        "MIT OR GPL-3.0": True,
        "MIT AND GPL-3.0": False,
        "GPL-3.0/MIT": True,
        "(GPL-3.0 OR MIT) AND Apache-2.0 WITH LLVM-exception": True,
        "GPL-3.0 OR MIT AND GPL-2.0": False,
    }.items():
        assert allowed(expression, allow) is expected, expression
    package = {"name": "x", "version": "1", "id": "x", "license": "GPL-3.0", "source": "git+https://x", "dependencies": []}
    metadata = {"packages": [package], "workspace_members": [], "resolve": {"nodes": [{"id": "x"}]}}
    policy = {
        "licenses": {"allow": ["MIT"]},
        "bans": {"deny": [{"crate": "x"}]},
        "sources": {"allow-registry": ["https://github.com/rust-lang/crates.io-index"]},
    }
    assert len(problems(metadata, policy)) == 3, problems(metadata, policy)


def main() -> int:
    check_ourselves()
    policy = tomllib.loads((ROOT / "deny.toml").read_text())
    command = ["cargo", "metadata", "--locked", "--format-version", "1"]
    metadata = json.loads(subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE).stdout)
    found = problems(metadata, policy)
    for line in found:
        print(line, file=sys.stderr)
    print(f"{len(metadata['packages'])} packages, {len(found)} problems")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
