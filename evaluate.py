"""Score a policy: ``python evaluate.py run=<folder or snapshot>``; ``--help`` shows the keys."""

from glideslope.cli.entry import run

if __name__ == "__main__":
    run("evaluate")
