"""Reads with arroba what the test wrote into a folder, and says how much agreed."""

import json
import sys
from pathlib import Path

import arroba.mst
from arroba.did import decode_did_key
from arroba.mst import MST
from arroba.storage import Block, MemoryStorage
from arroba.util import verify_sig
from carbox import read_car
from multiformats import CID

# arroba limits keys to 256 characters; the specification's paths may have 830.
arroba.mst.ensure_valid_key = lambda key: None

folder = Path(sys.argv[1])
plan = json.loads((folder / "plan.json").read_text())
key = decode_did_key(plan["key"])
counts = {"commits": 0, "operations": 0, "exports": 0, "records": 0, "claims": 0}


def cid(text):
    return None if text is None else CID.decode(text)


class Car:
    def __init__(self, name, root):
        roots, blocks = read_car((folder / name).read_bytes())
        self.storage = MemoryStorage()
        self.storage.write_blocks(Block(cid=block.cid, encoded=block.data) for block in blocks)
        commit = self.storage.read(roots[0]).decoded
        assert commit["did"] == plan["did"]
        assert verify_sig(commit, key), name
        assert commit["data"] == cid(root), name
        self.tree = MST.load(storage=self.storage, cid=commit["data"])

    def record(self, value):
        assert isinstance(self.storage.read(value).decoded, dict)


for commit in plan["commits"]:
    car = Car(commit["car"], commit["root"])
    tree = car.tree
    # Inverted, the last path first.
    for operation in sorted(commit["ops"], key=lambda op: op["path"], reverse=True):
        path, now, before = operation["path"], cid(operation["cid"]), cid(operation["prev"])
        assert tree.get(path) == now, path
        if now is not None:
            car.record(now)
        if before is None:
            tree = tree.delete(path)
        elif now is None:
            tree = tree.add(path, before)
        else:
            tree = tree.update(path, before)
        counts["operations"] += 1
    assert tree.get_pointer() == cid(commit["before"]), commit["car"]
    counts["commits"] += 1

for export in plan["exports"]:
    car = Car(export["car"], export["root"])
    records = {path: cid(value) for path, value in export["records"].items()}
    assert {leaf.key: leaf.value for leaf in car.tree.list()} == records
    # Rebuilt from nothing, it is the same tree.
    tree = MST.create(storage=MemoryStorage())
    for path, value in records.items():
        car.record(value)
        tree = tree.add(path, value)
        counts["records"] += 1
    assert tree.get_pointer() == cid(export["root"])
    counts["exports"] += 1

for proof in plan["proofs"]:
    car = Car(proof["car"], proof["root"])
    for claim in proof["claims"]:
        assert car.tree.get(claim["path"]) == cid(claim["cid"])
        counts["claims"] += 1

print(json.dumps(counts))
