"""Train a quadrotor to land: ``python train_gimbal_curriculum.py key=value …``; ``--help`` shows the keys."""

from glideslope.cli.entry import run

if __name__ == "__main__":
    run("train")
