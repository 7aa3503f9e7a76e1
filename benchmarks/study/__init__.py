"""The study behind docs/which_schedule.md: which learning-rate schedule helps.

``parts.py`` lists the runs, ``campaign.py`` trains those that are missing, ``records.py`` keeps what they came to in
``results/``, and ``report.py`` makes the tables and pictures from that alone.
"""
