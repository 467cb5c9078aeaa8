#!/usr/bin/env python3
"""Rewrites the tables of docs/dependencies.md from what cargo knows: the manifests, the lock file, the sources of the packages and cargo's
cached index of crates.io (`cargo update --dry-run` refreshes it). The column "why" is kept as it stands.

    python3 docs/dependencies.py
"""

import collections
import json
import os
import pathlib
import re
import subprocess

ROOT = pathlib.Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs/dependencies.md"
CARGO_HOME = pathlib.Path(os.environ.get("CARGO_HOME", pathlib.Path.home() / ".cargo"))
PROGRAMS = {
    "voxwire-audio", "voxwire-client", "voxwire-conformance", "voxwire-inspect", "voxwire-load", "voxwire-server",
}
BUILD_TOOLS = {"cc", "cmake", "pkg-config"}
HEAD = "| crate | why | used by | licence | behind | last release | `unsafe` | C |"


def metadata():
    """The packages, and what depends on what."""
    command = ["cargo", "metadata", "--format-version", "1", "--all-features", "--offline"]
    return json.loads(subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout)


def index(name):
    """Every version of a package that cargo's cached index has, oldest first."""
    lower = name.lower()
    folder = {1: "1", 2: "2", 3: f"3/{lower[0]}"}.get(len(lower), f"{lower[:2]}/{lower[2:4]}")
    for cache in CARGO_HOME.glob(f"registry/index/*/.cache/{folder}/{lower}"):
        lines = cache.read_bytes().split(b"\0")
        return [json.loads(line) for line in lines if line.startswith(b"{")]
    return []


def number(version):
    """A version to compare by; None for a pre-release."""
    plain = version.split("+")[0]
    return None if "-" in plain else tuple(int(part) for part in plain.split("."))


def newest(name):
    """The newest release: its version and its day."""
    versions = [v for v in index(name) if not v["yanked"] and number(v["vers"])]
    if not versions:
        return None, "–"
    best = max(versions, key=lambda v: number(v["vers"]))
    return best["vers"], best.get("pubtime", "–")[:10]


def unsafe_lines(package):
    """The lines of its sources that open something unsafe."""
    folder = pathlib.Path(package["manifest_path"]).parent
    opens = re.compile(r"\bunsafe\s*(\{|fn\b|impl\b|trait\b|extern\b)")
    lines = 0
    for path in (folder / "src").rglob("*.rs"):
        for line in path.read_text(errors="replace").splitlines():
            lines += bool(opens.search(line.split("//")[0]))
    return lines


def c_packages(start, edges, builds):
    """The packages below `start` whose build compiles or looks for C."""
    found, seen, todo = set(), set(), [start]
    while todo:
        one = todo.pop()
        if one not in seen:
            seen.add(one)
            found |= {one} & builds
            todo += edges.get(one, [])
    return found


def main():
    data = metadata()
    packages = {package["id"]: package for package in data["packages"]}
    ours = set(data["workspace_members"])
    edges, builds, used = {}, set(), collections.defaultdict(lambda: collections.defaultdict(set))
    for node in data["resolve"]["nodes"]:
        edges[node["id"]] = [d["pkg"] for d in node["deps"] if any(kind["kind"] is None for kind in d["dep_kinds"])]
        for dep in node["deps"]:
            if packages[dep["pkg"]]["name"] in BUILD_TOOLS and any(kind["kind"] == "build" for kind in dep["dep_kinds"]):
                builds.add(node["id"])
        if node["id"] not in ours:
            continue
        for dep in node["deps"]:
            if dep["pkg"] not in ours:
                kinds = {kind["kind"] or "normal" for kind in dep["dep_kinds"]}
                used[dep["pkg"]][packages[node["id"]]["name"]] |= kinds
    text = PAGE.read_text()
    inside = "".join(re.findall(r"(?s)<!-- \w+ -->(.*?)<!-- end -->", text))
    why = dict(re.findall(r"(?m)^\| `([^`]+)` \| ([^|]*?) \|", inside))
    tables = {"libraries": [], "programs": [], "tests": []}
    for one, users in sorted(used.items(), key=lambda item: packages[item[0]]["name"]):
        package = packages[one]
        name = package["name"]
        normal = {u for u, kinds in users.items() if "normal" in kinds and u not in ("voxwire-benches", "voxwire-fuzz")}
        table = "libraries" if normal - PROGRAMS else "programs" if normal else "tests"
        by = sorted(u.removeprefix("voxwire-") if u != "voxwire" else u for u in (normal or users))
        latest, day = newest(name)
        behind = "–" if latest in (None, package["version"]) else f"{package['version']} of {latest}"
        c = ", ".join(f"`{packages[p]['name']}`" for p in sorted(c_packages(one, edges, builds))) or "–"
        row = f"| `{name}` | {why.get(name, '')} | {', '.join(by)} | {package['license']} | {behind} | {day} | {unsafe_lines(package)} | {c} |"
        tables[table].append(row)
    for table, rows in tables.items():
        block = "\n".join([HEAD, "|" + " --- |" * 8, *rows])
        text = re.sub(rf"(?s)<!-- {table} -->.*?<!-- end -->", lambda _: f"<!-- {table} -->\n\n{block}\n\n<!-- end -->", text)
    PAGE.write_text(text)


if __name__ == "__main__":
    main()
