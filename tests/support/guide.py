"""The YAML files of the learning-rate guide, literally."""

STEP_DECAY = """
lr_schedule:
  encoder:
    type: step_decay
    intervals:
      - {start: 0, end: 1000000, lr: 1.0e-4}      # 0-1M steps: LR = 1e-4
      - {start: 1000000, end: 3000000, lr: 5.0e-5}  # 1M-3M steps: LR = 5e-5
      - {start: 3000000, end: 6000000, lr: 1.0e-5}  # 3M-6M steps: LR = 1e-5
"""
EXPONENTIAL_DECAY = """
lr_schedule:
  encoder:
    type: exponential_decay
    intervals:
      - start: 0
        end: 1000000
        init_lr: 1.0e-4
        decay_rate: 0.999      # Multiply by 0.999 every decay_interval
        decay_interval: 1000    # Decay every 1000 steps
"""
PER_NETWORK = """
lr_schedule:
  # Encoder: Conservative (stable features)
  encoder:
    type: step_decay
    intervals:
      - {start: 0, end: 3000000, lr: 8.0e-5}

  # Actor: Moderate (exploration to exploitation)
  actor:
    type: exponential_decay
    intervals:
      - {start: 0, end: 2000000, init_lr: 1.2e-4, decay_rate: 0.999, decay_interval: 5000}

  # Critic: Aggressive (fast convergence)
  critic:
    type: step_decay
    intervals:
      - {start: 0, end: 1000000, lr: 1.5e-4}
      - {start: 1000000, end: 3000000, lr: 5.0e-5}
"""
YOUR_PRESET = """# @package _global_

lr_schedule:
  encoder:
    type: step_decay
    intervals:
      - {start: 0, end: 2000000, lr: 1.0e-4}
      - {start: 2000000, end: 6000000, lr: 5.0e-5}

  actor:
    type: step_decay
    intervals:
      - {start: 0, end: 2000000, lr: 1.0e-4}
      - {start: 2000000, end: 6000000, lr: 5.0e-5}

  critic:
    type: step_decay
    intervals:
      - {start: 0, end: 2000000, lr: 1.0e-4}
      - {start: 2000000, end: 6000000, lr: 5.0e-5}
"""
