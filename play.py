"""Watch a policy fly: ``python play.py run=<folder or snapshot>``; ``--help`` shows the keys."""

from glideslope.cli.entry import run

if __name__ == "__main__":
    run("play")
