"""Show a training's learning rates: ``python preview_lr_schedule.py key=value …``, keys as for training."""

from glideslope.cli.entry import run

if __name__ == "__main__":
    run("preview")
