"""Compare runs: ``python compare_runs.py <folders of runs> by=lr_schedule``; ``--help`` shows the keys."""

from glideslope.cli.program import run

if __name__ == "__main__":
    run("compare")
