"""Export a policy: ``python export.py run=<folder or snapshot> out=policy.onnx``; ``--help`` shows the keys."""

from glideslope.cli.entry import run

if __name__ == "__main__":
    run("export")
