"""Every benchmark, as the first two Markdown tables of README.md."""

from __future__ import annotations

import platform

import torch

from benchmarks import bench_diagnostics, bench_env, bench_lr_scheduler, bench_shares, bench_train, bench_update
from glideslope.envs.physics import usable_processors


def main() -> None:
    processors = usable_processors()
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    print(f"{platform.machine()}, {processors} processors, {gpu}, torch {torch.__version__}\n")
    print("| what | figure |\n| --- | ---: |")
    for bench in (bench_env, bench_update, bench_lr_scheduler, bench_diagnostics, bench_train):
        for name, figure, unit in bench.measure():
            decimals = 0 if figure >= 100 else 1 if figure >= 10 else 2
            print(f"| {name} | {figure:,.{decimals}f} {unit} |", flush=True)
    print()
    bench_shares.main()


if __name__ == "__main__":
    main()
