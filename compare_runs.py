"""Compare runs: ``python compare_runs.py <folders of runs> by=lr_schedule``; ``--help`` shows the keys."""

from glideslope.cli.entry import run

if __name__ == "__main__":
    run("compare")
