"""Makes a folder of pretrained/ from a run: python -m tools.pretrained <snapshot of the run> pretrained/cpu.

The snapshot keeps the networks that act, with weights of 16 bits, and none of what training needs. The ONNX file is
that of these weights. `finished.json` and the commit go along; `README.md`, the model card, is written by hand.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch

from glideslope.evaluation.export import export
from glideslope.evaluation.policy import open_trained
from glideslope.runs import snapshots
from glideslope.runs.run_folder import FINISHED, VERSIONS
from glideslope.settings import ExportSettings
from glideslope.storage.atomic_files import read_json_object, write_text

_LARGEST = 3_000_000  # bytes of snapshot and ONNX file together


def main(source: Path, folder: Path) -> None:
    """Write the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    content = snapshots.load(source)
    acting = open_trained(source, "cpu").agent.acting
    networks = {name: _halved(content["agent"]["networks"][name]) for name in acting}
    kept = {key: content[key] for key in ("settings", "step", "frame", "stage", "success_rate") if key in content}
    history = {"history": content["curriculum"]["history"]}
    small = snapshots.save(folder / "snapshot.pt", {**kept, "curriculum": history, "agent": {"networks": networks}})
    finished = read_json_object(source.parent / FINISHED)
    write_text(folder / FINISHED, f"{json.dumps(finished, indent=2)}\n")
    git = read_json_object(source.parent / VERSIONS).get("git")
    write_text(folder / VERSIONS, f"{json.dumps({'git': git}, indent=2)}\n")
    export(ExportSettings(run=str(small), out=str(folder / "policy.onnx")))
    size = sum((folder / name).stat().st_size for name in ("snapshot.pt", "policy.onnx"))
    if size > _LARGEST:
        sys.exit(f"{folder}: snapshot and ONNX file have {size:,} bytes together; at most {_LARGEST:,} are allowed")
    print(f"{size:,} bytes")


def _halved(state: dict[str, Any]) -> dict[str, Any]:
    return {name: tensor.half() if tensor.dtype == torch.float32 else tensor for name, tensor in state.items()}


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
