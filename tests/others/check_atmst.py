"""Reads with atmst what the test wrote into a folder, and says how much agreed."""

import hashlib
import json
import sys
from pathlib import Path

from atmst.blockstore import MemoryBlockStore, OverlayBlockStore
from atmst.blockstore.car_file import ReadOnlyCARBlockStore
from atmst.mst.node_store import NodeStore
from atmst.mst.node_walker import NodeWalker
from atmst.mst.node_wrangler import NodeWrangler
from atmst.mst.proof import verify_exclusion, verify_inclusion
from cbrrr import CID, decode_dag_cbor

folder = Path(sys.argv[1])
plan = json.loads((folder / "plan.json").read_text())
counts = {"commits": 0, "operations": 0, "exports": 0, "records": 0, "claims": 0}


def cid(text):
    return None if text is None else CID.decode(text)


class Car:
    def __init__(self, name, root):
        self.blocks = ReadOnlyCARBlockStore((folder / name).open("rb"))
        self.commit = decode_dag_cbor(self.blocks.get_block(bytes(self.blocks.car_root)))
        assert self.commit["data"] == cid(root), name
        self.nodes = NodeStore(OverlayBlockStore(MemoryBlockStore(), self.blocks))

    def record(self, value):
        assert isinstance(decode_dag_cbor(self.blocks.get_block(bytes(value))), dict)


for commit in plan["commits"]:
    car = Car(commit["car"], commit["root"])
    for block in car.blocks.block_offsets:
        decode_dag_cbor(car.blocks.get_block(block))
    # Inverted, the last path first.
    wrangler = NodeWrangler(car.nodes)
    root = cid(commit["root"])
    for operation in sorted(commit["ops"], key=lambda op: op["path"], reverse=True):
        path, now, before = operation["path"], cid(operation["cid"]), cid(operation["prev"])
        assert NodeWalker(car.nodes, root).find_rpath(path) == now, path
        if now is not None:
            car.record(now)
        if before is None:
            root = wrangler.del_record(root, path)
        else:
            root = wrangler.put_record(root, path, before)
        counts["operations"] += 1
    assert root == cid(commit["before"]), commit["car"]
    counts["commits"] += 1

for export in plan["exports"]:
    car = Car(export["car"], export["root"])
    records = {path: cid(value) for path, value in export["records"].items()}
    assert dict(NodeWalker(car.nodes, cid(export["root"])).iter_kv()) == records
    # Rebuilt from nothing, it is the same tree.
    nodes = NodeStore(MemoryBlockStore())
    wrangler = NodeWrangler(nodes)
    root = nodes.get_node(None).cid
    for path, value in sorted(records.items(), key=lambda pair: hashlib.sha256(pair[0].encode()).digest()):
        car.record(value)
        root = wrangler.put_record(root, path, value)
        counts["records"] += 1
    assert root == cid(export["root"])
    # Everything needed, and no more: the commit, the nodes, the records.
    needed = {bytes(node) for node in NodeWalker(nodes, root).iter_node_cids()}
    needed |= {bytes(value) for value in records.values()} | {bytes(car.blocks.car_root)}
    assert set(car.blocks.block_offsets) == needed
    counts["exports"] += 1

for proof in plan["proofs"]:
    car = Car(proof["car"], proof["root"])
    for claim in proof["claims"]:
        verify = verify_exclusion if claim["cid"] is None else verify_inclusion
        verify(car.nodes, cid(proof["root"]), claim["path"])
        found = NodeWalker(car.nodes, cid(proof["root"])).find_rpath(claim["path"])
        assert found == cid(claim["cid"])
        counts["claims"] += 1

print(json.dumps(counts))
