"""Every benchmark, as the Markdown table of README.md."""

from __future__ import annotations

import platform

import torch

from benchmarks import bench_env, bench_train, bench_update
from glideslope.envs.physics import usable_processors


def main() -> None:
    processors = usable_processors()
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    print(f"{platform.machine()}, {processors} processors, {gpu}, torch {torch.__version__}\n")
    print("| what | figure |\n| --- | ---: |")
    for bench in (bench_env, bench_update, bench_train):
        for name, figure, unit in bench.measure():
            print(f"| {name} | {figure:,.{0 if figure >= 100 else 1}f} {unit} |", flush=True)


if __name__ == "__main__":
    main()
