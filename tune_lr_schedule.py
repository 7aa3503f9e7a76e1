"""Search for learning rates: ``python tune_lr_schedule.py key=value …``, keys as for training."""

from glideslope.cli.entry import run

if __name__ == "__main__":
    run("tune")
